//! Records as their guest sees them: those of topics with a schema are JSON. The guest looks ahead in a batch, so what it
//! is given is a batch, too: as many records as can be read, up to the first one that cannot.

use crate::{
    record::{Header, Reason},
    schemas::{Codec, Decoded, Part},
    transport::{Batch, Incoming, NextOffset, Offset, Partition, Role},
};
use std::{any::Any, ops::Range, rc::Rc, time::Duration};

/// As many are read at once, and about so many bytes of their text: no guest looks further ahead.
const TOGETHER: usize = 128;
const TOGETHER_BYTES: usize = 1 << 20;

/// Reads the records that a stage takes up.
pub(super) struct Reader {
    codec: Codec,
    /// What was read last.
    run: Option<Rc<Run>>,
}

/// What came of reading a record.
pub(super) enum Read {
    /// It may be handed over.
    Ready,
    /// It cannot be read, for this reason.
    Wrong(Reason),
    /// Its schema is not known yet.
    Waiting,
}

impl Reader {
    pub(super) fn new(codec: Codec) -> Reader {
        Reader { codec, run: None }
    }

    /// Reads a record, whose schema is waited for so long, and those behind it that need no wait.
    pub(super) fn read<B: Batch>(&mut self, batch: &Rc<B>, index: usize, patience: Duration) -> Read {
        let (origin, _) = batch.origin(index);
        if !self.codec.reads(origin.input) {
            self.run = None;
            return Read::Ready;
        }
        if self.run.as_ref().is_some_and(|run| run.holds(batch, index)) {
            return Read::Ready;
        }
        let mut run = Run { raw: batch.clone(), first: index, records: Vec::new(), text: Vec::new() };
        while run.len() < batch.len().min(index + TOGETHER) && run.text.len() < TOGETHER_BYTES {
            let patience = if run.records.is_empty() { patience } else { Duration::ZERO };
            match run.read_next(&self.codec, patience) {
                Read::Ready => {}
                other if run.records.is_empty() => {
                    self.run = None;
                    return other;
                }
                // It is that record's turn later.
                Read::Wrong(_) | Read::Waiting => break,
            }
        }
        self.run = Some(Rc::new(run));
        Read::Ready
    }

    /// What was read comes again.
    pub(super) fn forget(&mut self) {
        self.run = None;
    }

    /// The batch that a guest is to see of a record that is ready.
    pub(super) fn seen<B: Batch>(&self, batch: &Rc<B>, index: usize) -> Rc<dyn Batch> {
        match &self.run {
            Some(run) if run.holds(batch, index) => run.clone(),
            _ => batch.clone(),
        }
    }
}

/// The batch as it came, of what a guest was given of it.
pub(super) fn raw<B: Batch>(seen: Rc<dyn Batch>) -> Rc<B> {
    let seen: Rc<dyn Any> = seen;
    let raw: Rc<dyn Any> = match seen.downcast::<Run>() {
        Ok(run) => run.raw.clone(),
        Err(raw) => raw,
    };
    raw.downcast::<B>().expect("a guest gives back what it was given")
}

/// Records that were read, one behind the other.
struct Run {
    raw: Rc<dyn Batch>,
    /// The place of the first one.
    first: usize,
    /// Where key and value of each stand in the text, if they do.
    records: Vec<[Option<Range<usize>>; 2]>,
    text: Vec<u8>,
}

impl Run {
    fn holds<B: Batch>(&self, batch: &Rc<B>, index: usize) -> bool {
        std::ptr::addr_eq(Rc::as_ptr(&self.raw), Rc::as_ptr(batch)) && (self.first..self.len()).contains(&index)
    }

    fn read_next(&mut self, codec: &Codec, patience: Duration) -> Read {
        let index = self.first + self.records.len();
        let raw = self.raw.clone();
        let Incoming { key, value, .. } = raw.get(index);
        let (Partition { input, .. }, _) = raw.origin(index);
        let mut record = [None, None];
        for (part, bytes) in [(Part::Key, key), (Part::Value, value)] {
            let Some(bytes) = bytes else { continue };
            let start = self.text.len();
            match codec.decode(input, part, bytes, patience, &mut self.text) {
                Decoded::Raw => {}
                Decoded::Text => record[part as usize] = Some(start..self.text.len()),
                Decoded::Wrong(reason) => return Read::Wrong(reason),
                Decoded::Waiting => return Read::Waiting,
            }
        }
        self.records.push(record);
        Read::Ready
    }
}

impl Batch for Run {
    fn len(&self) -> usize {
        self.first + self.records.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let raw = self.raw.get(index);
        let Some([key, value]) = index.checked_sub(self.first).and_then(|at| self.records.get(at)) else { return raw };
        let text = |range: &Option<Range<usize>>| range.clone().map(|range| &self.text[range]);
        Incoming { key: text(key).or(raw.key), value: text(value).or(raw.value), ..raw }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.raw.headers(index)
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        self.raw.ends()
    }

    fn origin(&self, index: usize) -> (Partition, Offset) {
        self.raw.origin(index)
    }

    fn role(&self, index: usize) -> Role<'_> {
        self.raw.role(index)
    }
}
