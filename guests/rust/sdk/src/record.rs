//! Records on their way out, put together step by step.

use crate::{Header, HeaderEdit, Record};

/// A key or a value. `None` is not the same as empty: a record without a value is a tombstone.
pub type Bytes = Option<Vec<u8>>;

/// What can stand as a key or a value.
pub trait IntoBytes {
    /// The bytes, or none.
    fn into_bytes(self) -> Bytes;
}

impl IntoBytes for Bytes {
    fn into_bytes(self) -> Bytes {
        self
    }
}

impl IntoBytes for Vec<u8> {
    fn into_bytes(self) -> Bytes {
        Some(self)
    }
}

impl IntoBytes for String {
    fn into_bytes(self) -> Bytes {
        Some(self.into())
    }
}

impl IntoBytes for &str {
    fn into_bytes(self) -> Bytes {
        Some(self.into())
    }
}

impl IntoBytes for &[u8] {
    fn into_bytes(self) -> Bytes {
        Some(self.into())
    }
}

/// Such as `b"text"`.
impl<const N: usize> IntoBytes for &[u8; N] {
    fn into_bytes(self) -> Bytes {
        Some(self.into())
    }
}

/// A record to the first output. The input's headers and timestamp go along, and the key decides the partition.
pub fn record(key: impl IntoBytes, value: impl IntoBytes) -> Record {
    Record {
        key: key.into_bytes(),
        value: value.into_bytes(),
        headers: HeaderEdit::Keep,
        output: None,
        partition: None,
        timestamp: None,
    }
}

impl Record {
    /// To one of the stage's outputs, by its name in the manifest.
    pub fn to(mut self, output: impl Into<String>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// To this partition, whatever the key is.
    pub fn partition(mut self, number: u32) -> Self {
        self.partition = Some(number);
        self
    }

    /// At this time, in milliseconds since 1970.
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// One header more. A name may stand twice.
    pub fn header(self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.push(Header { name: name.into(), value: Some(value.into()) })
    }

    /// One header more, without a value.
    pub fn null_header(self, name: impl Into<String>) -> Self {
        self.push(Header { name: name.into(), value: None })
    }

    /// Drops all headers so far, the input's among them. Those given after this stand instead.
    pub fn replace_headers(mut self) -> Self {
        self.headers = HeaderEdit::Replace(Vec::new());
        self
    }

    fn push(mut self, header: Header) -> Self {
        match &mut self.headers {
            HeaderEdit::Keep => self.headers = HeaderEdit::Add(vec![header]),
            HeaderEdit::Add(headers) | HeaderEdit::Replace(headers) => headers.push(header),
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: Option<&str>) -> Header {
        Header { name: name.into(), value: value.map(Into::into) }
    }

    #[test]
    fn a_plain_record_leaves_all_else_to_the_host() {
        let plain = record("k", None);
        assert_eq!((plain.key, plain.value), (Some(b"k".to_vec()), None));
        assert_eq!(plain.headers, HeaderEdit::Keep);
        assert_eq!((plain.output, plain.partition, plain.timestamp), (None, None, None));
    }

    #[test]
    fn what_is_asked_for_is_set() {
        let sent = record(b"k", vec![1]).to("large").partition(3).at(5);
        assert_eq!((sent.key, sent.value), (Some(b"k".to_vec()), Some(vec![1])));
        assert_eq!((sent.output.as_deref(), sent.partition, sent.timestamp), (Some("large"), Some(3), Some(5)));
    }

    #[test]
    fn added_headers_keep_their_order_and_repeats() {
        let added = record(None, "v").header("tag", "a").header("tag", "b").null_header("none");
        let headers = vec![header("tag", Some("a")), header("tag", Some("b")), header("none", None)];
        assert_eq!(added.headers, HeaderEdit::Add(headers));
    }

    #[test]
    fn replacing_headers_forgets_those_before() {
        let replaced = record(None, "v").header("tag", "a").replace_headers().header("only", "this");
        assert_eq!(replaced.headers, HeaderEdit::Replace(vec![header("only", Some("this"))]));
    }
}
