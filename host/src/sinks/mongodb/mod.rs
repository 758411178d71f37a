//! The sink into MongoDB: records are documents of a collection. They are written at least once, under an `_id` that a
//! repeat finds again, so that it changes nothing.
//!
//! What is said to the server are the commands `insert`, `update` and `delete`, which every server has that the driver
//! speaks with; transactions and bulk writes over many collections are not needed.

mod change;
mod session;

use super::{Mode, OnTombstone, Place, batched::Target};
use crate::{
    stage::guest::{Failed, InHand},
    transport::Fault,
    worker::control::Control,
};
use change::{Change, What};
use session::{Call, Job, Refused, Session};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    sync::Arc,
};

pub use session::check_uri;

/// How many bytes a batch holds when it is full, and a command at most, unless one document alone is larger. The server
/// takes twice as many.
const MOST_BYTES: usize = 8 << 20;

/// From how many changes on, or bytes of them, the server begins with a batch while the rest of it is collected. A server
/// needs some times as long for a change as it takes to make one of a record.
const EARLY: usize = 2000;
const EARLY_BYTES: usize = 2 << 20;

/// What the manifest says of the sink.
#[derive(Clone)]
pub struct Settings {
    /// Where the servers are, and how to get in.
    pub uri: crate::manifest::Secret,
    /// The database.
    pub database: String,
    /// The collection.
    pub collection: String,
    /// Whether documents are added or replaced.
    pub mode: Mode,
    /// What becomes the document's `_id`.
    pub id: Id,
    /// What becomes of a record without a value.
    pub on_tombstone: OnTombstone,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{} by {:?}", self.database, self.collection, self.id)
    }
}

/// What becomes a document's `_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// The record's key, as text.
    Key,
    /// Where the record stands: `TOPIC/PARTITION@OFFSET`.
    Position,
    /// A field of the value.
    Field(Vec<String>),
}

impl Id {
    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Id> {
        match (text, text.parse()) {
            ("position", _) => Some(Id::Position),
            (_, Ok(Place::Key)) => Some(Id::Key),
            (_, Ok(Place::Field(path))) => Some(Id::Field(path)),
            _ => None,
        }
    }
}

/// One worker's connection to the database, and its batch.
pub struct Mongodb {
    settings: Arc<Settings>,
    /// The topics that its records came from, in the order that `Partition::input` counts.
    origins: Vec<String>,
    session: Session,
    batch: Vec<Change>,
    bytes: usize,
    /// The server is at work at so many of the batch, the first ones.
    begun: Option<(usize, Call)>,
}

impl Mongodb {
    /// A connection that is not made yet, of a sink of this name.
    pub fn new(
        settings: Arc<Settings>,
        name: &str,
        origins: Vec<String>,
        control: Arc<Control>,
    ) -> Result<Mongodb, String> {
        let session = Session::new(&settings, name, control)?;
        Ok(Mongodb { settings, origins, session, batch: Vec::new(), bytes: 0, begun: None })
    }

    /// How documents are written.
    fn writing(&self) -> Job {
        match self.settings.mode {
            Mode::Insert => Job::Insert,
            Mode::Upsert => Job::Replace,
        }
    }

    /// Lets the server begin with what there is of the batch, where one command writes most of it.
    fn begin_early(&mut self) {
        let changes: Vec<_> = self.batch[..head(&self.batch, self.settings.mode)].iter().collect();
        // What does not go well now is found when the batch is put.
        if 2 * changes.len() >= self.batch.len() {
            self.begun = self.session.begin(self.writing(), &changes).ok().map(|call| (changes.len(), call));
        }
    }

    /// Makes the changes of one kind, which are at these places of the batch, in their order.
    fn put_part(&mut self, batch: &[Change], places: &[usize], wrong: &mut Vec<(usize, Failed)>) -> Result<(), Fault> {
        let sizes: Vec<_> = places.iter().map(|place| batch[*place].size()).collect();
        commands(&sizes).into_iter().try_for_each(|range| self.put_command(batch, &places[range], wrong))
    }

    /// The same by one command.
    fn put_command(
        &mut self,
        batch: &[Change],
        places: &[usize],
        wrong: &mut Vec<(usize, Failed)>,
    ) -> Result<(), Fault> {
        let changes: Vec<_> = places.iter().map(|place| &batch[*place]).collect();
        let Some(first) = changes.first() else { return Ok(()) };
        let job = match first.what {
            What::Delete => Job::Delete,
            What::Write(_) => self.writing(),
        };
        let call = self.session.begin(job, &changes)?;
        let refused = self.session.end(job, &changes, call)?;
        wrong.extend(refused.into_iter().map(|Refused { place, failed }| (places[place], failed)));
        Ok(())
    }
}

impl Target for Mongodb {
    fn prepare(&mut self) -> Result<(), Fault> {
        self.session.find_server()
    }

    fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed> {
        let Some(change) = change::of(record, &self.settings, &self.origins)? else { return Ok(false) };
        let before = self.bytes;
        self.bytes += change.size();
        self.batch.push(change);
        let is_time = self.batch.len() == EARLY || (before < EARLY_BYTES && self.bytes >= EARLY_BYTES);
        if is_time && self.begun.is_none() {
            self.begin_early();
        }
        Ok(true)
    }

    fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let (mut wrong, mut refused) = (Vec::new(), Vec::new());
        let head = match self.begun.take() {
            None => 0,
            Some((count, call)) => {
                let changes: Vec<_> = batch[..count].iter().collect();
                let found = self.session.end(self.writing(), &changes, call)?;
                refused.extend(found.into_iter().map(|Refused { place, failed }| (place, failed)));
                count
            }
        };
        for part in parts(&batch, head, self.settings.mode) {
            self.put_part(&batch, &part.writes, &mut refused)?;
            self.put_part(&batch, &part.deletes, &mut wrong)?;
            // What a unique index had against it may be one that was to go before.
            let again: Vec<_> = match part.deletes.is_empty() {
                true => Vec::new(),
                false => refused
                    .extract_if(.., |(place, failed)| part.is_last(&batch, head, *place) && is_double(failed))
                    .collect(),
            };
            wrong.append(&mut refused);
            let again: Vec<_> = again.into_iter().map(|(place, _)| place).collect();
            self.put_part(&batch, &again, &mut wrong)?;
        }
        wrong.sort_by_key(|(place, _)| *place);
        Ok(wrong)
    }

    fn withdraw(&mut self) {
        self.batch.clear();
        self.bytes = 0;
        if let Some((_, call)) = self.begun.take() {
            self.session.leave(call);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }
}

/// How many changes at the front of a batch one command can make.
fn head(batch: &[Change], mode: Mode) -> usize {
    let (mut names, mut bytes) = (HashSet::new(), 0);
    for (place, change) in batch.iter().enumerate() {
        bytes += change.size();
        let is_alone = mode == Mode::Upsert || names.insert(&change.name);
        if matches!(change.what, What::Delete) || !is_alone || bytes > MOST_BYTES {
            return place;
        }
    }
    batch.len()
}

/// Cuts changes of these sizes into commands that the server takes.
fn commands(sizes: &[usize]) -> Vec<Range<usize>> {
    let (mut commands, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (place, size) in sizes.iter().enumerate() {
        if place > begin && bytes + size > MOST_BYTES {
            commands.push(begin..place);
            (begin, bytes) = (place, 0);
        }
        bytes += size;
    }
    commands.push(begin..sizes.len());
    commands
}

/// Changes that may be made by two commands, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    writes: Vec<usize>,
    deletes: Vec<usize>,
}

impl Part {
    /// Whether this part, or the head of so many before it, does nothing to the same document behind this place.
    fn is_last(&self, batch: &[Change], head: usize, place: usize) -> bool {
        let own = self.writes.iter().chain(&self.deletes).filter(|other| **other > place).map(|other| &batch[*other]);
        let mut behind = batch.get(place + 1..head).unwrap_or_default().iter().chain(own);
        !behind.any(|change| change.name == batch[place].name)
    }
}

/// Whether the server says that there is such a one already.
fn is_double(failed: &Failed) -> bool {
    failed.reason().code.as_deref() == Some("11000")
}

/// Cuts a batch where the order of what is done to one document would be lost. Replacements of one document stay together,
/// as a command does them in their order; of additions each has to see the one before. The head
/// of so many changes is done.
fn parts(batch: &[Change], head: usize, mode: Mode) -> Vec<Part> {
    let mut parts = vec![Part::default()];
    // What was done last to a document in the last part.
    let mut last: HashMap<&str, bool> = HashMap::new();
    for (place, change) in batch.iter().enumerate().skip(head) {
        let deletes = matches!(change.what, What::Delete);
        let before = last.get(change.name.as_str());
        if before.is_some_and(|before| *before != deletes || (!deletes && mode == Mode::Insert)) {
            parts.push(Part::default());
            last.clear();
        }
        last.insert(&change.name, deletes);
        let part = parts.last_mut().expect("there is one");
        if deletes { part.deletes.push(place) } else { part.writes.push(place) }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::mongodb::bson::{Bson, RawDocumentBuf};

    /// `+a` writes the document a, `-a` removes it.
    fn cut(changes: &str, mode: Mode) -> String {
        let change = |word: &str| Change {
            id: Bson::Null,
            name: word[1..].to_owned(),
            what: if word.starts_with('-') { What::Delete } else { What::Write(RawDocumentBuf::new()) },
            by_id: RawDocumentBuf::new(),
        };
        let batch: Vec<_> = changes.split(' ').map(change).collect();
        let word = |place: &usize| changes.split(' ').nth(*place).unwrap_or_default().to_owned();
        let parts = parts(&batch, 0, mode);
        let words =
            parts.iter().map(|part| part.writes.iter().chain(&part.deletes).map(word).collect::<Vec<_>>().join(" "));
        words.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn a_command_is_no_larger_than_the_server_takes() {
        const MIB: usize = 1 << 20;
        let cut = |sizes: &[usize]| commands(sizes).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(cut(&[MIB; 3]), [3]);
        assert_eq!(cut(&[7 * MIB, 2 * MIB, 16 * MIB, MIB]), [1, 1, 1, 1]);
        assert_eq!(cut(&[16 * MIB, MIB, 7 * MIB, 1]), [1, 2, 1]);
    }

    #[test]
    fn what_the_server_begins_with_is_one_command() {
        let change = |word: &str| Change {
            id: Bson::Null,
            name: word[1..].to_owned(),
            what: if word.starts_with('-') { What::Delete } else { What::Write(RawDocumentBuf::new()) },
            by_id: RawDocumentBuf::new(),
        };
        let head = |changes: &str, mode| head(&changes.split(' ').map(change).collect::<Vec<_>>(), mode);
        assert_eq!((head("+a +b +a -c +d", Mode::Upsert), head("-c +a", Mode::Upsert)), (3, 0));
        assert_eq!((head("+a +b +a", Mode::Insert), head("+a -a", Mode::Insert)), (2, 1));
        let large = |bytes: usize| {
            let mut document = RawDocumentBuf::new();
            document.append(::mongodb::bson::cstr!("a"), "a".repeat(bytes));
            Change { what: What::Write(document), ..change("+a") }
        };
        assert_eq!(super::head(&[large(2 << 20), large(7 << 20)], Mode::Upsert), 1);
    }

    #[test]
    fn what_is_done_to_one_document_keeps_its_order() {
        assert_eq!(cut("+a +b +a -c", Mode::Upsert), "+a +b +a -c");
        assert_eq!(cut("-c +a +b", Mode::Upsert), "+a +b -c");
        assert_eq!(cut("+a -a +a +b", Mode::Upsert), "+a | -a | +a +b");
        assert_eq!(cut("-a +a", Mode::Upsert), "-a | +a");
        assert_eq!(cut("+a +b +a", Mode::Insert), "+a +b | +a");
    }
}
