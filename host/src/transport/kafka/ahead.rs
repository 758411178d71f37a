//! Records of a transaction that cannot be opened yet, as the commit of the one before is under way.

use super::raw::{Headers, Parts};
use std::ops::Range;

/// How many bytes may wait; then the commit is waited for.
const ROOM: usize = 8 << 20;

/// Records in the order in which they are to be sent.
#[derive(Default)]
pub(super) struct Ahead {
    records: Vec<Record>,
    bytes: Vec<u8>,
    /// What their headers take, which lie elsewhere.
    headers: usize,
}

struct Record {
    output: usize,
    partition: Option<u32>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    timestamp: Option<i64>,
    headers: Option<Headers>,
}

impl Ahead {
    /// Adds a copy of a record.
    pub(super) fn push(&mut self, output: usize, parts: Parts<'_>) {
        let (key, value) = (self.keep(parts.key), self.keep(parts.value));
        let Parts { partition, timestamp, headers, .. } = parts;
        self.headers += headers.as_ref().map_or(0, Headers::bytes);
        self.records.push(Record { output, partition, key, value, timestamp, headers });
    }

    fn keep(&mut self, bytes: Option<&[u8]>) -> Option<Range<usize>> {
        bytes.map(|bytes| {
            let from = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            from..self.bytes.len()
        })
    }

    /// True when no more is to be added.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() + self.headers + self.records.len() * size_of::<Record>() >= ROOM
    }

    /// Hands every record to `send`, up to the first that fails, and is empty then.
    pub(super) fn drain<E>(&mut self, mut send: impl FnMut(usize, Parts<'_>) -> Result<(), E>) -> Result<(), E> {
        let Ahead { records, bytes, headers } = self;
        let part = |range: Option<Range<usize>>| range.map(|range| &bytes[range]);
        let sent = records.drain(..).try_for_each(|record| {
            let Record { output, partition, key, value, timestamp, headers } = record;
            send(output, Parts { partition, key: part(key), value: part(value), timestamp, headers })
        });
        bytes.clear();
        *headers = 0;
        // What came of the last record may have been much more than there is room for.
        bytes.shrink_to(ROOM);
        records.shrink_to(ROOM / size_of::<Record>());
        sent
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Parts<'a> {
        Parts { partition: Some(3), key, value, timestamp: Some(7), headers: None }
    }

    #[test]
    fn records_come_out_as_they_went_in_and_once() {
        let mut ahead = Ahead::default();
        ahead.push(1, parts(None, Some(b"value")));
        ahead.push(0, parts(Some(b""), None));
        let mut seen = Vec::new();
        let mut see = |output: usize, parts: Parts<'_>| {
            let Parts { partition, key, value, timestamp, headers } = parts;
            assert!(headers.is_none());
            seen.push((output, partition, key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec), timestamp));
            Ok::<_, ()>(())
        };
        ahead.drain(&mut see).unwrap();
        ahead.drain(&mut see).unwrap();
        let expected =
            [(1, Some(3), None, Some(b"value".to_vec()), Some(7)), (0, Some(3), Some(Vec::new()), None, Some(7))];
        assert_eq!(seen, expected);
    }

    #[test]
    fn it_is_full_of_large_records_and_of_many() {
        let mut ahead = Ahead::default();
        ahead.push(0, parts(None, Some(&vec![0; ROOM])));
        assert!(ahead.is_full());
        ahead.drain(|_, _| Err(())).unwrap_err();
        assert!(!ahead.is_full());
        while !ahead.is_full() {
            ahead.push(0, parts(None, None));
        }
        assert!(ahead.records.len() < ROOM);
    }
}
