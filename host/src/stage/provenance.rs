//! What a stage's record says of where it came from, in headers behind all others: as dead letters say it.

use super::StageSettings;
use crate::{
    record::{Header, HeaderEdit, Record},
    transport::{Offset, Partition},
};
use std::ops::Range;

/// What the names of these headers begin with.
pub(crate) const PREFIX: &str = "millstream.origin.";
/// Which there are, in their order, and what each says.
pub(crate) const HEADERS: [(&str, &str); 4] = [
    ("module", "the module that made the record, as its digest"),
    ("topic", "the topic of the record that it came of"),
    ("partition", "that one's partition"),
    ("offset", "its place there"),
];

/// Where a record came from, and what made it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The module that made it, as its digest.
    pub module: String,
    /// The topic of the record that it came of.
    pub topic: String,
    /// That one's partition.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
}

impl Provenance {
    /// That of what a stage makes of the record at this place.
    pub(super) fn of(settings: &StageSettings, (partition, offset): (Partition, Offset)) -> Provenance {
        Provenance {
            module: settings.module.clone(),
            topic: settings.inputs[partition.input].clone(),
            partition: partition.number,
            offset: offset.0,
        }
    }

    /// What these headers say, and which of them say it. A record that came through several stages has a set of each: the
    /// last one counts. `None` when no host wrote them.
    pub fn read(headers: &[Header]) -> Option<(Provenance, Range<usize>)> {
        let name = |header: &Header| header.name.strip_prefix(PREFIX).map(str::to_owned);
        let first = headers.iter().rposition(|header| name(header).as_deref() == Some(HEADERS[0].0))?;
        let own = first..first + HEADERS.len();
        let said = headers.get(own.clone())?;
        if said.iter().zip(HEADERS).any(|(header, (known, _))| name(header).as_deref() != Some(known)) {
            return None;
        }
        let text = |at: usize| str::from_utf8(said[at].value.as_deref()?).ok().map(str::to_owned);
        let provenance = Provenance {
            module: text(0)?,
            topic: text(1)?,
            partition: text(2)?.parse().ok()?,
            offset: text(3)?.parse().ok()?,
        };
        Some((provenance, own))
    }

    /// As headers.
    fn headers(&self) -> Vec<Header> {
        let Provenance { module, topic, partition, offset } = self;
        let values = [module.clone(), topic.clone(), partition.to_string(), offset.to_string()];
        let header = |((name, _), value): ((&str, &str), String)| Header {
            name: format!("{PREFIX}{name}"),
            value: Some(value.into_bytes()),
        };
        HEADERS.into_iter().zip(values).map(header).collect()
    }

    /// Puts it behind the headers of records that were made.
    pub(super) fn put(&self, records: &mut [Record]) {
        let own = match records {
            [] => return,
            _ => self.headers(),
        };
        for record in records {
            match &mut record.headers {
                HeaderEdit::Keep => record.headers = HeaderEdit::Add(own.clone()),
                HeaderEdit::Add(headers) | HeaderEdit::Replace(headers) => headers.extend_from_slice(&own),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(module: &str, offset: u64) -> Provenance {
        Provenance { module: module.into(), topic: "orders".into(), partition: 3, offset }
    }

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: Some(value.into()) }
    }

    #[test]
    fn it_stands_behind_what_a_guest_says() {
        let record =
            |headers| Record { key: None, value: None, headers, output: None, partition: None, timestamp: None };
        let own = vec![header("a", "1")];
        let mut records =
            [HeaderEdit::Keep, HeaderEdit::Add(own.clone()), HeaderEdit::Replace(own.clone())].map(record);
        let origin = origin("sha256:0", 17);
        origin.put(&mut records);
        let said = [
            header("millstream.origin.module", "sha256:0"),
            header("millstream.origin.topic", "orders"),
            header("millstream.origin.partition", "3"),
            header("millstream.origin.offset", "17"),
        ];
        let both = [own, said.to_vec()].concat();
        let found = records.map(|record| record.headers);
        assert_eq!(found, [HeaderEdit::Add(said.into()), HeaderEdit::Add(both.clone()), HeaderEdit::Replace(both)]);
    }

    #[test]
    fn of_several_the_last_one_counts() {
        let more = [header("traced", "by somebody")];
        let headers = [origin("first", 1).headers(), origin("second", 2).headers(), more.to_vec()].concat();
        assert_eq!(Provenance::read(&headers), Some((origin("second", 2), 4..8)));
    }

    #[test]
    fn what_no_host_wrote_says_nothing() {
        let whole = origin("sha256:0", 17).headers();
        let mut wrong = whole.clone();
        wrong[3].value = Some(b"first".to_vec());
        let mut empty = whole.clone();
        empty[1].value = None;
        let mut turned = whole.clone();
        turned.swap(1, 2);
        for headers in [Vec::new(), vec![header("a", "1")], whole[..3].to_vec(), wrong, empty, turned] {
            assert_eq!(Provenance::read(&headers), None, "{headers:?}");
        }
    }
}
