//! Records on their way out. Each is appended to a buffer that the caller keeps, so that none costs memory of its own.

use base64::{Engine, prelude::BASE64_STANDARD};
use std::io::Write;

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// The value as it is; a tombstone is an empty line.
    #[default]
    Value,
    /// The key, a tab, the value; what is not there is empty.
    KeyValue,
    /// All there is, in JSON.
    Json,
    /// Key, value and headers in hexadecimal.
    Hex,
}

/// A header: its name and its value.
pub type ShownHeader<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record that is to be printed. What is not known of it is not said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// Which of a stage's outputs it goes to.
    pub output: Option<&'a str>,
    /// The topic that it comes from.
    pub topic: Option<&'a str>,
    /// Its partition.
    pub partition: Option<u32>,
    /// Its place there.
    pub offset: Option<u64>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// `None` is no key.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers; [`OutputFormat::shows_headers`] says whether they need to be fetched.
    pub headers: &'a [ShownHeader<'a>],
}

impl OutputFormat {
    /// True when a record's headers are printed.
    pub fn shows_headers(self) -> bool {
        matches!(self, OutputFormat::Json | OutputFormat::Hex)
    }

    /// Appends a record, as one line where its bytes have no line ends of their own.
    pub fn write(self, record: &Shown<'_>, to: &mut Vec<u8>) {
        match self {
            OutputFormat::Value => to.extend_from_slice(record.value.unwrap_or_default()),
            OutputFormat::KeyValue => {
                to.extend_from_slice(record.key.unwrap_or_default());
                to.push(b'\t');
                to.extend_from_slice(record.value.unwrap_or_default());
            }
            OutputFormat::Json => json(record, to),
            OutputFormat::Hex => hex(record, to),
        }
        to.push(b'\n');
    }
}

fn json(record: &Shown<'_>, to: &mut Vec<u8>) {
    to.push(b'{');
    if let Some(output) = record.output {
        member("output", to);
        json_text(output, to);
    }
    if let Some(topic) = record.topic {
        member("topic", to);
        json_text(topic, to);
    }
    if let Some(partition) = record.partition {
        member("partition", to);
        number(partition, to);
    }
    if let Some(offset) = record.offset {
        member("offset", to);
        number(offset, to);
    }
    if let Some(timestamp) = record.timestamp {
        member("timestamp", to);
        number(timestamp, to);
    }
    member("key", to);
    json_bytes(record.key, to);
    member("value", to);
    json_bytes(record.value, to);
    member("headers", to);
    to.push(b'[');
    for (at, (name, value)) in record.headers.iter().enumerate() {
        to.extend_from_slice(if at > 0 { b",[" } else { b"[" });
        json_bytes(Some(name), to);
        to.push(b',');
        json_bytes(*value, to);
        to.push(b']');
    }
    to.extend_from_slice(b"]}");
}

fn member(name: &str, to: &mut Vec<u8>) {
    if to.last() != Some(&b'{') {
        to.push(b',');
    }
    to.push(b'"');
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b"\":");
}

/// Bytes as a record in JSON has them.
pub fn json_value(bytes: Option<&[u8]>) -> serde_json::Value {
    let mut text = Vec::new();
    json_bytes(bytes, &mut text);
    serde_json::from_slice(&text).expect("it was written as JSON")
}

fn json_bytes(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return to.extend_from_slice(b"null") };
    match str::from_utf8(bytes) {
        Ok(text) => json_text(text, to),
        Err(_) => {
            to.extend_from_slice(b"{\"base64\":\"");
            let start = to.len();
            to.resize(start + bytes.len().div_ceil(3) * 4, 0);
            let written = BASE64_STANDARD.encode_slice(bytes, &mut to[start..]);
            written.expect("four characters for three bytes");
            to.extend_from_slice(b"\"}");
        }
    }
}

fn json_text(text: &str, to: &mut Vec<u8>) {
    serde_json::to_writer(to, text).expect("memory takes all that is written");
}

fn number(number: impl std::fmt::Display, to: &mut Vec<u8>) {
    write!(to, "{number}").expect("memory takes all that is written");
}

/// `orders/0@7 key 6b value 76 header 61 31`.
fn hex(record: &Shown<'_>, to: &mut Vec<u8>) {
    if let Some(output) = record.output {
        to.extend_from_slice(output.as_bytes());
        to.push(b' ');
    }
    if let (Some(topic), Some(partition), Some(offset)) = (record.topic, record.partition, record.offset) {
        to.extend_from_slice(topic.as_bytes());
        write!(to, "/{partition}@{offset} ").expect("memory takes all that is written");
    }
    to.extend_from_slice(b"key ");
    hex_bytes(record.key, to);
    to.extend_from_slice(b" value ");
    hex_bytes(record.value, to);
    for (name, value) in record.headers {
        to.extend_from_slice(b" header ");
        hex_bytes(Some(name), to);
        to.push(b' ');
        hex_bytes(*value, to);
    }
}

/// What is not there and what is empty are words that no hexadecimal number looks like.
fn hex_bytes(bytes: Option<&[u8]>, to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match bytes {
        None => to.extend_from_slice(b"none"),
        Some([]) => to.extend_from_slice(b"empty"),
        Some(bytes) => {
            for byte in bytes {
                to.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lines::{Entry, Input, Lines};

    fn shown(format: OutputFormat, record: &Shown<'_>) -> String {
        let mut text = b"before".to_vec();
        format.write(record, &mut text);
        String::from_utf8(text).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn each_format_shows_what_it_says() {
        let record = Shown {
            output: None,
            topic: Some("t"),
            partition: Some(0),
            offset: Some(7),
            timestamp: Some(1_700_000_000_000),
            key: Some(b"k"),
            value: Some(b"v\xc3\xa9"),
            headers: &[(b"a", Some(b"1")), (b"b", None)],
        };
        assert_eq!(shown(OutputFormat::Value, &record), "vé\n");
        assert_eq!(shown(OutputFormat::KeyValue, &record), "k\tvé\n");
        assert_eq!(
            shown(OutputFormat::Json, &record),
            "{\"topic\":\"t\",\"partition\":0,\"offset\":7,\"timestamp\":1700000000000,\"key\":\"k\",\"value\":\"vé\",\
             \"headers\":[[\"a\",\"1\"],[\"b\",null]]}\n"
        );
        assert_eq!(shown(OutputFormat::Hex, &record), "t/0@7 key 6b value 76c3a9 header 61 31 header 62 none\n");
    }

    #[test]
    fn what_is_not_there_is_told_apart_where_that_can_be() {
        let nothing = Shown::default();
        let empty = Shown { key: Some(b""), value: Some(b""), output: Some("large"), ..nothing };
        let both = |format| (shown(format, &nothing), shown(format, &empty));
        let texts = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(both(OutputFormat::Value), texts("\n", "\n"));
        assert_eq!(both(OutputFormat::KeyValue), texts("\t\n", "\t\n"));
        assert_eq!(both(OutputFormat::Hex), texts("key none value none\n", "large key empty value empty\n"));
        assert_eq!(
            both(OutputFormat::Json),
            texts(
                "{\"key\":null,\"value\":null,\"headers\":[]}\n",
                "{\"output\":\"large\",\"key\":\"\",\"value\":\"\",\"headers\":[]}\n"
            )
        );
    }

    #[test]
    fn any_bytes_come_back_as_they_were() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut bytes = || {
            let alphabet: &[u8] = if random.bool() { &[0, b'"', b'\\', b'{', b'\n', b'a', 0xc3, 0xa9] } else { &[] };
            let any = |random: &mut fastrand::Rng| match alphabet {
                [] => random.u8(..),
                some => some[random.usize(..some.len())],
            };
            let bytes: Vec<_> = (0..random.usize(..9)).map(|_| any(&mut random)).collect();
            random.u8(..5).checked_sub(1).map(|_| bytes)
        };
        let mut entries = Vec::new();
        let mut text = Vec::new();
        for number in 0..2000 {
            let headers = (0..number % 3).map(|_| (bytes().unwrap_or_default(), bytes())).collect();
            let (timestamp, partition, offset) = (Some(number), Some(number as u32), Some(u64::MAX - number as u64));
            let entry = Entry { key: bytes(), value: bytes(), headers, timestamp, partition, offset };
            let headers: Vec<_> =
                entry.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
            let (key, value) = (entry.key.as_deref(), entry.value.as_deref());
            let record = Shown { timestamp, partition, offset, key, value, headers: &headers, ..Shown::default() };
            OutputFormat::Json.write(&record, &mut text);
            entries.push(entry);
        }
        assert!(text.windows(10).any(|window| window == b"{\"base64\":"), "some are not UTF-8");
        let mut lines = Lines::new(text.as_slice(), Input::Json);
        for entry in entries {
            assert_eq!(lines.next_record().unwrap(), Some(entry));
        }
        assert_eq!(lines.next_record().unwrap(), None);
    }
}
