//! How records lie in the log: many in one blob, each byte of theirs as it came.
//!
//! A blob is a version, a checksum of all that follows, the first record's timestamp, how many offsets it spans, how
//! many records it holds, and then the records: the offsets passed over since the one before (compaction leaves gaps),
//! the timestamp, key, value, and the headers with their length first, so that they are passed over, and copied, as
//! they are. Lengths of what may be null count from one.

use std::ops::Range;

const VERSION: u8 = 1;
/// Version, checksum, first timestamp, span, count.
const HEAD: usize = 1 + 4 + 8 + 4 + 4;
/// What the checksum is about begins behind it.
const CHECKED: usize = 1 + 4;
/// A blob that has grown so large takes no more records.
pub(super) const FULL: usize = 256 * 1024;

/// Records on their way into the log.
#[derive(Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    base: i64,
    latest: i64,
    count: u32,
    span: u32,
}

/// A blob as it goes into the log.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// The blob.
    pub(super) data: Vec<u8>,
    /// How many records it holds.
    pub(super) count: u32,
    /// How many offsets it takes.
    pub(super) span: u32,
    /// The latest timestamp in it.
    pub(super) latest: i64,
}

/// A record without its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    /// `None` is no key.
    pub(super) key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub(super) value: Option<&'a [u8]>,
    /// Headers as [`push_header`] writes them.
    pub(super) headers: &'a [u8],
}

impl Draft {
    /// Adds a record, `gap` offsets behind the one before.
    pub(super) fn push(&mut self, gap: u32, record: Content<'_>) {
        if self.count == 0 {
            self.bytes.resize(HEAD, 0);
            (self.base, self.latest) = (record.timestamp, record.timestamp);
        }
        self.latest = self.latest.max(record.timestamp);
        self.count += 1;
        self.span += gap + 1;
        push_number(&mut self.bytes, gap.into());
        push_number(&mut self.bytes, zigzag(record.timestamp.wrapping_sub(self.base)));
        push_bytes(&mut self.bytes, record.key);
        push_bytes(&mut self.bytes, record.value);
        push_number(&mut self.bytes, record.headers.len() as u64);
        self.bytes.extend_from_slice(record.headers);
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when it holds no record.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The blob, which ends `tail` offsets behind its last record.
    pub(super) fn seal(self, tail: u32) -> Sealed {
        let Draft { bytes: mut data, base, latest, count, span } = self;
        let span = span + tail;
        data[0] = VERSION;
        data[5..13].copy_from_slice(&base.to_le_bytes());
        data[13..17].copy_from_slice(&span.to_le_bytes());
        data[17..21].copy_from_slice(&count.to_le_bytes());
        let checksum = crc32c::crc32c(&data[CHECKED..]);
        data[1..5].copy_from_slice(&checksum.to_le_bytes());
        data.shrink_to_fit();
        Sealed { data, count, span, latest }
    }
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is of a newer version")]
    Version,
    #[error("it ends early")]
    Short,
}

/// A blob that was read and checked.
#[derive(Debug)]
pub(super) struct Blob {
    data: Vec<u8>,
    base: u64,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    offset: u64,
    timestamp: i64,
    /// A range that begins behind its end is null.
    key: Range<u32>,
    value: Range<u32>,
    headers: Range<u32>,
}

const NULL: Range<u32> = Range { start: 1, end: 0 };

impl Blob {
    /// Reads a blob whose last offset is `last`.
    pub(super) fn read(data: Vec<u8>, last: u64) -> Result<Blob, Damage> {
        if data.len() < HEAD {
            return Err(Damage::Short);
        }
        if data[0] != VERSION {
            return Err(Damage::Version);
        }
        let word = |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
        if crc32c::crc32c(&data[CHECKED..]) != word(1) {
            return Err(Damage::Checksum);
        }
        let base = (u64::from(word(5)) | u64::from(word(9)) << 32) as i64;
        let (span, count) = (word(13), word(17));
        let end = last.checked_add(1).ok_or(Damage::Short)?;
        let start = end.checked_sub(span.into()).ok_or(Damage::Short)?;
        let mut offset = start;
        let mut slots = Vec::with_capacity((count as usize).min(data.len() / 5));
        let mut rest = Rest { data: &data, at: HEAD };
        for _ in 0..count {
            offset = offset.checked_add(rest.number()?).filter(|offset| *offset < end).ok_or(Damage::Short)?;
            let timestamp = base.wrapping_add(unzigzag(rest.number()?));
            let (key, value) = (rest.bytes()?, rest.bytes()?);
            let length = rest.number()?;
            let headers = rest.range(length)?;
            slots.push(Slot { offset, timestamp, key, value, headers });
            offset += 1;
        }
        Ok(Blob { data, base: start, slots })
    }

    /// How many records it holds.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.data.len()
    }

    /// The first offset that it spans.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// A record's offset.
    pub(super) fn offset(&self, index: usize) -> u64 {
        self.slots[index].offset
    }

    /// A record.
    pub(super) fn content(&self, index: usize) -> Content<'_> {
        let slot = &self.slots[index];
        Content {
            timestamp: slot.timestamp,
            key: self.bytes(&slot.key),
            value: self.bytes(&slot.value),
            headers: self.bytes(&slot.headers).unwrap_or_default(),
        }
    }

    /// The first record at or behind an offset.
    pub(super) fn find(&self, offset: u64) -> usize {
        self.slots.partition_point(|slot| slot.offset < offset)
    }

    fn bytes(&self, range: &Range<u32>) -> Option<&[u8]> {
        (range.start <= range.end).then(|| &self.data[range.start as usize..range.end as usize])
    }
}

/// Writes a header behind others.
pub(super) fn push_header(headers: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    push_number(headers, name.len() as u64);
    headers.extend_from_slice(name);
    push_bytes(headers, value);
}

/// A record's headers, one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headers<'a>(Rest<'a>);

impl<'a> Headers<'a> {
    pub(super) fn new(data: &'a [u8]) -> Headers<'a> {
        Headers(Rest { data, at: 0 })
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &mut self.0;
        let length = rest.number().ok()?;
        let (name, value) = (rest.range(length).ok()?, rest.bytes().ok()?);
        let slice = |range: Range<u32>| &rest.data[range.start as usize..range.end as usize];
        Some((slice(name), (value != NULL).then(|| slice(value))))
    }
}

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
struct Rest<'a> {
    data: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.data.get(self.at).ok_or(Damage::Short)?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage::Short)
    }

    fn bytes(&mut self) -> Result<Range<u32>, Damage> {
        match self.number()? {
            0 => Ok(NULL),
            more => self.range(more - 1),
        }
    }

    fn range(&mut self, length: u64) -> Result<Range<u32>, Damage> {
        let left = self.data.len() - self.at;
        let length = usize::try_from(length).ok().filter(|length| *length <= left).ok_or(Damage::Short)?;
        let start = self.at;
        self.at += length;
        Ok(start as u32..self.at as u32)
    }
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn push_bytes(bytes: &mut Vec<u8>, data: Option<&[u8]>) {
    push_number(bytes, data.map_or(0, |data| data.len() as u64 + 1));
    bytes.extend_from_slice(data.unwrap_or_default());
}

/// Small numbers stay small on both sides of zero.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage;

    fn content<'a>(timestamp: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: &'a [u8]) -> Content<'a> {
        Content { timestamp, key, value, headers }
    }

    #[test]
    fn every_shape_of_record_comes_back_byte_for_byte() {
        let mut headers = Vec::new();
        let list: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"1")), (b"a", None), (b"", Some(b"")), (b"\xff\x00", Some(b"\x80\xfe"))];
        list.iter().for_each(|(name, value)| push_header(&mut headers, name, *value));
        let long = vec![7; 70_000];
        let records = [
            content(1_700_000_000_000, Some(b"k"), Some(b"v"), &headers),
            content(0, None, Some(b""), b""),
            content(-1, Some(b""), None, b""),
            content(i64::MAX, None, None, &headers),
            content(i64::MIN, Some(&long), Some(&long), b""),
        ];
        let mut draft = Draft::default();
        records.iter().for_each(|record| draft.push(0, *record));
        let sealed = draft.seal(0);
        assert_eq!((sealed.count, sealed.span, sealed.latest), (5, 5, i64::MAX));
        let blob = Blob::read(sealed.data, 104).unwrap();
        for (index, record) in records.iter().enumerate() {
            let back = blob.content(index);
            assert_eq!(blob.offset(index), 100 + index as u64);
            assert_eq!(
                (back.timestamp, back.key, back.value, back.headers),
                (record.timestamp, record.key, record.value, record.headers)
            );
        }
        assert_eq!(Headers::new(blob.content(0).headers).collect::<Vec<_>>(), list);
    }

    #[test]
    fn gaps_stay_where_they_are() {
        let mut draft = Draft::default();
        draft.push(2, content(1, None, Some(b"a"), b""));
        draft.push(300, content(1, None, Some(b"b"), b""));
        let sealed = draft.seal(5);
        assert_eq!(sealed.span, 2 + 1 + 300 + 1 + 5);
        let blob = Blob::read(sealed.data, 308).unwrap();
        assert_eq!((blob.offset(0), blob.offset(1)), (2, 303));
        assert_eq!([0, 2, 3, 303, 304].map(|offset| blob.find(offset)), [0, 0, 1, 1, 2]);
    }

    /// Whatever a file holds, with a checksum that fits it: a record that is read lies within the blob, and takes no more
    /// room than the blob has bytes for.
    #[test]
    fn bytes_of_any_kind_are_read_within_their_bounds() {
        let mut good = 0;
        for mut random in damage::tries(20_000) {
            let mut draft = Draft::default();
            for _ in 0..random.usize(0..6) {
                let (key, value) = (damage::maybe(&mut random, 40), damage::maybe(&mut random, 40));
                let mut headers = Vec::new();
                for _ in 0..random.usize(0..3) {
                    let (name, value) = (damage::bytes(&mut random, 8), damage::maybe(&mut random, 8));
                    push_header(&mut headers, &name, value.as_deref());
                }
                let record = content(random.i64(..), key.as_deref(), value.as_deref(), &headers);
                draft.push(random.u32(0..3), record);
            }
            let mut data = match draft.is_empty() {
                true => damage::bytes(&mut random, 100),
                false => draft.seal(random.u32(0..3)).data,
            };
            damage::harm(&mut random, &mut data);
            if data.len() >= HEAD {
                data[0] = VERSION;
                let checksum = crc32c::crc32c(&data[CHECKED..]);
                data[1..5].copy_from_slice(&checksum.to_le_bytes());
            }
            let last = random.choice([0, 3, 1000, u64::MAX - 1, u64::MAX]).unwrap();
            let Ok(blob) = Blob::read(data.clone(), last) else { continue };
            good += 1;
            assert!(blob.slots.capacity() <= data.len() / 5, "{} slots of {} bytes", blob.slots.capacity(), data.len());
            for index in 0..blob.len() {
                let Content { key, value, headers, .. } = blob.content(index);
                assert!((blob.base()..=last).contains(&blob.offset(index)));
                let read = Headers::new(headers).map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
                assert!(read.sum::<usize>() <= headers.len());
                let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                assert!(length(key) + length(value) + headers.len() <= data.len());
            }
        }
        assert!(good > 1000, "only {good} were read at all");
    }

    #[test]
    fn what_is_written_at_random_comes_back() {
        for mut random in damage::tries(2_000) {
            let (mut draft, mut written) = (Draft::default(), Vec::new());
            let (mut next, first) = (0, random.u64(0..1 << 40));
            for _ in 0..random.usize(1..20) {
                let gap = random.u32(0..4);
                let timestamp = if random.bool() { random.i64(..) } else { 1_700_000_000_000 + random.i64(0..1000) };
                let (key, value) = (damage::maybe(&mut random, 300), damage::maybe(&mut random, 300));
                let mut headers = Vec::new();
                (0..random.usize(0..3)).for_each(|_| {
                    push_header(&mut headers, &damage::bytes(&mut random, 9), damage::maybe(&mut random, 9).as_deref());
                });
                draft.push(gap, content(timestamp, key.as_deref(), value.as_deref(), &headers));
                next += u64::from(gap);
                written.push((first + next, timestamp, key, value, headers));
                next += 1;
            }
            let sealed = draft.seal(random.u32(0..4));
            let blob = Blob::read(sealed.data, first + u64::from(sealed.span) - 1).unwrap();
            let read: Vec<_> = (0..blob.len()).map(|index| (blob.offset(index), blob.content(index))).collect();
            assert_eq!((read.len(), blob.base()), (written.len(), first));
            for ((offset, back), (at, timestamp, key, value, headers)) in read.iter().zip(&written) {
                assert_eq!((offset, back.timestamp), (at, *timestamp));
                assert_eq!((back.key, back.value, back.headers), (key.as_deref(), value.as_deref(), &headers[..]));
            }
        }
    }

    #[test]
    fn any_byte_that_changed_is_noticed() {
        let mut draft = Draft::default();
        draft.push(0, content(5, Some(b"key"), Some(b"value"), b""));
        let data = draft.seal(0).data;
        for at in 0..data.len() {
            for bit in 0..8 {
                let mut damaged = data.clone();
                damaged[at] ^= 1 << bit;
                assert!(Blob::read(damaged, 0).is_err(), "byte {at}");
            }
        }
        for length in 0..data.len() {
            assert!(Blob::read(data[..length].to_vec(), 0).is_err(), "{length} bytes");
        }
    }
}
