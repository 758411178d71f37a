//! Dead letters as a stage's input: each is the record that it was, from where it came, until the topic ends as it
//! stood at the start.
//!
//! The worker, its order of delivery and the log's link are those of any stage: what is different lies in between.

use super::letter::{Choice, Letter};
use crate::{
    record::Header,
    transport::{
        Assignment, Batch, Births, Fault, Incoming, Link, NextOffset, Offset, Outgoing, Partition, Progress, Role,
        Taken,
    },
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Which letters are tried again, and what a stage's records look like.
#[derive(Clone, Debug)]
pub struct Again {
    /// The pipeline whose letters they are.
    pub pipeline: String,
    /// Its stage.
    pub stage: String,
    /// The topics that the stage reads.
    pub inputs: Vec<String>,
    /// Which of its outputs takes the letters that fail again.
    pub output: usize,
    /// Those that are meant.
    pub choice: Choice,
    /// So many of them; all, when nothing is said.
    pub most: Option<u64>,
    /// Where the topic ended at the start: what comes behind is not read.
    pub ends: Progress,
    /// Where it is noted how far they were tried, beside the group's offsets: a Kafka forgets those of a group that has
    /// not been at work for some days, and then all would be tried again.
    pub notes: Option<Notes>,
}

/// How far a stage's dead letters were tried, in a topic of its own.
#[derive(Clone, Debug)]
pub struct Notes {
    /// Which of the link's outputs that is.
    pub output: usize,
    /// The dead letters' topic.
    pub topic: String,
    /// What was noted when this began.
    pub known: Progress,
}

/// What a note is filed under: the last one of each counts.
pub fn note_key(topic: &str, partition: u32) -> String {
    format!("{topic}/{partition}")
}

/// Dead letters as the records that they were.
pub struct Letters<B> {
    letters: B,
    records: Vec<Read>,
    ends: Vec<(Partition, NextOffset)>,
}

/// A record of the topic: its place in the batch, and what it is.
struct Read {
    place: usize,
    what: What,
}

enum What {
    /// To be tried again.
    Record(Box<Record>),
    /// Stays a letter, and why, when it is not what was asked for.
    Left(Option<String>),
    /// Not this stage's letter.
    Foreign,
}

/// A record as it was before it failed.
struct Record {
    origin: (Partition, Offset),
    timestamp: Option<i64>,
    headers: Vec<Header>,
    attempts: u32,
}

impl Again {
    /// These records of the topic, as far as they lay there at the start.
    pub fn read<B: Batch>(&self, letters: B) -> Letters<B> {
        let mut ends = BTreeMap::new();
        let mut records = Vec::with_capacity(letters.len());
        for place in 0..letters.len() {
            let Incoming { partition, offset, .. } = letters.get(place);
            let end = self.ends.get(partition).unwrap_or(NextOffset(0));
            match offset.next() <= end {
                true => records.push(Read { place, what: self.sort(letters.headers(place)) }),
                false => drop(ends.insert(partition, end)),
            }
        }
        for (partition, end) in letters.ends() {
            let end = self.ends.get(*partition).map_or(NextOffset(0), |last| last.min(*end));
            ends.insert(*partition, end);
        }
        Letters { letters, records, ends: ends.into_iter().collect() }
    }

    fn sort(&self, mut headers: Vec<Header>) -> What {
        let Some((letter, own)) = Letter::read(&headers) else { return What::Foreign };
        if letter.pipeline != self.pipeline || letter.stage != self.stage {
            return What::Foreign;
        }
        if !self.choice.is_met_by(&letter) {
            return What::Left(None);
        }
        if letter.cut.is_some() {
            return What::Left(Some(format!("only a part of {} is left", letter.place())));
        }
        let Some(input) = self.inputs.iter().position(|topic| *topic == letter.topic) else {
            return What::Left(Some(format!("{} reads {} no more", self.stage, letter.topic)));
        };
        headers.drain(own);
        let from = Partition { input, number: letter.partition };
        What::Record(Box::new(Record {
            origin: (from, Offset(letter.offset)),
            timestamp: letter.timestamp,
            headers,
            // Whoever wrote it: a record that is tried again was tried before.
            attempts: letter.attempts.max(1),
        }))
    }
}

impl<B> Letters<B> {
    fn record(&self, index: usize) -> Option<&Record> {
        match &self.records[index].what {
            What::Record(record) => Some(record),
            What::Left(_) | What::Foreign => None,
        }
    }
}

impl<B: Batch> Batch for Letters<B> {
    fn len(&self) -> usize {
        self.records.len()
    }

    /// A letter has its place among the letters: that is what progress is counted by.
    fn get(&self, index: usize) -> Incoming<'_> {
        let letter = self.letters.get(self.records[index].place);
        match self.record(index) {
            Some(record) => Incoming { timestamp: record.timestamp, ..letter },
            None => letter,
        }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        match self.record(index) {
            Some(record) => record.headers.clone(),
            None => self.letters.headers(self.records[index].place),
        }
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &self.ends
    }

    fn origin(&self, index: usize) -> (Partition, Offset) {
        self.record(index).map_or_else(|| self.letters.origin(self.records[index].place), |record| record.origin)
    }

    fn role(&self, index: usize) -> Role<'_> {
        match &self.records[index].what {
            What::Record(record) => Role::Again { attempts: record.attempts },
            What::Left(why) => Role::Left(why.as_deref()),
            What::Foreign => Role::Foreign,
        }
    }
}

/// A link to a stage's dead letters.
pub struct LetterLink<L: Link> {
    link: L,
    again: Arc<Again>,
}

impl<L: Link> LetterLink<L> {
    /// Reads dead letters with this link.
    pub fn new(link: L, again: Arc<Again>) -> LetterLink<L> {
        LetterLink { link, again }
    }
}

impl<L: Link> LetterLink<L> {
    /// Notes progress in the transaction that commits it.
    fn note(&mut self, progress: &Progress) -> Result<(), Fault> {
        let Some(Notes { output, topic, .. }) = &self.again.notes else { return Ok(()) };
        for (partition, next) in progress.iter() {
            let (key, value) = (note_key(topic, partition.number), next.to_string());
            let note = Outgoing {
                output: *output,
                partition: Some(0),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: None,
                keep_headers: false,
                headers: &[],
            };
            self.link.send(&note, None)?;
        }
        Ok(())
    }

    /// Where the group has no offset any more, it goes on where it is noted that it was.
    fn go_on(&mut self, mut assignment: Assignment) -> Result<Assignment, Fault> {
        let Some(notes) = &self.again.notes else { return Ok(assignment) };
        for (partition, start) in assignment.chosen.clone().iter() {
            let end = self.again.ends.get(partition);
            // A place behind the end is another topic's of this name.
            if let Some(noted) = notes.known.get(partition).filter(|noted| *noted > start && Some(*noted) <= end) {
                self.link.release(partition, noted)?;
                assignment.starts.reach(partition, noted);
                assignment.chosen.reach(partition, noted);
            }
        }
        Ok(assignment)
    }
}

impl<L: Link> Link for LetterLink<L> {
    type Batch = Letters<L::Batch>;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault> {
        Ok(match self.link.take(limit, wait)? {
            Taken::Records(letters) => Taken::Records(self.again.read(letters)),
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        let assignment = self.link.rebalance()?;
        self.go_on(assignment)
    }

    fn births(&mut self, partitions: &Progress) -> Result<Births, Fault> {
        self.link.births(partitions)
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.link.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.link.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.link.begin()
    }

    /// What comes of a record has that record's headers, and not those of its letter.
    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&Self::Batch, usize)>) -> Result<(), Fault> {
        let Some((batch, index)) = origin else { return self.link.send(record, None) };
        let mut sent = *record;
        // A letter that fails again stays in its partition.
        if sent.output == self.again.output {
            sent.partition = sent.partition.or(Some(batch.get(index).partition.number));
        }
        let headers = match batch.record(index).filter(|_| sent.keep_headers) {
            Some(from) => Cow::Owned([&from.headers, sent.headers].concat()),
            None => Cow::Borrowed(sent.headers),
        };
        sent.keep_headers &= batch.record(index).is_none();
        sent.headers = &headers;
        self.link.send(&sent, Some((&batch.letters, batch.records[index].place)))
    }

    fn is_waiting(&mut self) -> bool {
        self.link.is_waiting()
    }

    fn committed_at(&self) -> Option<Instant> {
        self.link.committed_at()
    }

    fn is_full(&self) -> bool {
        self.link.is_full()
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.note(progress)?;
        self.link.commit(progress)
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.note(progress)?;
        self.link.start_commit(progress)
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        self.link.finish_commit()
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        let assignment = self.link.recover()?;
        self.go_on(assignment)
    }

    fn close(self) {
        self.link.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lines::{Entries, Entry, Given},
        stage::letter::PREFIX,
    };

    const FIRST: Partition = Partition { input: 0, number: 0 };

    /// A letter of a stage, with a header of the record's own and one more of the letter's.
    fn letter(stage: &str, kind: &str, more: (&str, &str)) -> Given {
        let said = [
            ("pipeline", "shop"),
            ("stage", stage),
            ("topic", "orders"),
            ("partition", "3"),
            ("offset", "17"),
            ("timestamp", "5"),
            ("kind", kind),
            ("attempts", "2"),
            ("at", "7"),
            more,
        ];
        let own = said.map(|(name, value)| (format!("{PREFIX}{name}").into_bytes(), Some(value.into())));
        let headers = [(b"a".to_vec(), Some(b"1".to_vec()))].into_iter().chain(own).collect();
        let entry = Entry { value: Some(b"v".to_vec()), headers, timestamp: Some(8), ..Entry::default() };
        Given { input: 0, entry }
    }

    /// What is read of these letters, when the topic has so many.
    fn read(letters: Vec<Given>, end: u64) -> Letters<Entries> {
        let again = Again {
            pipeline: "shop".into(),
            stage: "price".into(),
            inputs: vec!["other".into(), "orders".into()],
            output: 1,
            choice: Choice { kinds: vec!["reject".into()], ..Choice::default() },
            most: None,
            notes: None,
            ends: Progress::from_iter([(FIRST, NextOffset(end))]),
        };
        again.read(Entries::new(letters))
    }

    #[test]
    fn a_letter_that_is_meant_is_the_record_that_it_was() {
        let letters = read(vec![letter("price", "reject", ("code", "asked"))], 1);
        assert_eq!(letters.role(0), Role::Again { attempts: 2 });
        assert_eq!(letters.origin(0), (Partition { input: 1, number: 3 }, Offset(17)));
        assert_eq!(letters.get(0).timestamp, Some(5));
        assert_eq!((letters.get(0).partition, letters.get(0).offset), (FIRST, Offset(0)));
        let headers: Vec<_> = letters.headers(0).into_iter().map(|header| (header.name, header.value)).collect();
        assert_eq!(headers, [("a".to_owned(), Some(b"1".to_vec()))]);
    }

    #[test]
    fn what_is_not_meant_stays_a_letter_and_what_is_another_stage_s_is_not_touched() {
        let ours = |kind, more| letter("price", kind, more);
        let none = Given { input: 0, entry: Entry::default() };
        let all = vec![
            ours("fault", ("code", "")),
            ours("reject", ("cut", "9000000")),
            ours("reject", ("topic", "gone")),
            letter("tax", "reject", ("code", "")),
            none,
        ];
        let letters = read(all, 5);
        let roles: Vec<_> = (0..5).map(|index| letters.role(index)).collect();
        let expected = [
            Role::Left(None),
            Role::Left(Some("only a part of orders/3@17 is left")),
            Role::Left(Some("price reads gone no more")),
            Role::Foreign,
            Role::Foreign,
        ];
        assert_eq!(roles, expected);
        // It goes back as it is.
        assert_eq!((letters.get(0).timestamp, letters.headers(0).len()), (Some(8), 11));
    }

    #[test]
    fn what_came_after_the_start_is_not_read() {
        let all = || vec![letter("price", "reject", ("code", "")); 5];
        let letters = read(all(), 3);
        assert_eq!((letters.len(), letters.ends()), (3, &[(FIRST, NextOffset(3))][..]));
        let letters = read(all(), 5);
        assert_eq!((letters.len(), letters.ends()), (5, &[][..]));
    }
}
