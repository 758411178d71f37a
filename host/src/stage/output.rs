//! Where a record of a guest's goes, and what the topic there would refuse: found before anything is sent.

use crate::{
    clock::Clock,
    record::{HeaderEdit, Reason, Record},
    transport::{Outgoing, log::Rules},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

/// A topic that a guest writes, and what its broker would refuse to take.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name in the manifest.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// The largest record that it takes, in bytes.
    pub largest: usize,
    /// Compacted: a record needs a key.
    pub compacted: bool,
    /// How far ahead of the present a timestamp may be.
    pub ahead: Option<Duration>,
    /// For how long it keeps a record, by the record's own time.
    pub keeps: Option<Duration>,
}

impl Output {
    fn rules(&self) -> Rules {
        let Output { partitions, largest, compacted, ahead, keeps, .. } = *self;
        Rules { partitions, largest, compacted, ahead, keeps }
    }
}

/// Finds the output of each record.
pub(crate) struct Router {
    clock: Rc<dyn Clock>,
    /// The present, when somebody last looked: what was not too late then is not too late now.
    seen_ms: Cell<i64>,
    /// The present at the beginning: what a topic had forgotten then it has forgotten now.
    began_ms: i64,
    /// The topics of which it was said that they forget at once what is written to them.
    forgetful: RefCell<BTreeSet<String>>,
}

impl Router {
    pub(crate) fn new(clock: Rc<dyn Clock>) -> Router {
        let began_ms = clock.wall_ms();
        Router { clock, seen_ms: Cell::new(i64::MIN), began_ms, forgetful: RefCell::default() }
    }

    /// Which of these outputs a record goes to; why not, when that output would not take it. `inherited` is its
    /// timestamp, when it has none of its own.
    pub(crate) fn route(&self, outputs: &[Output], record: &Record, inherited: Option<i64>) -> Result<usize, Reason> {
        let index = find(outputs, record).ok_or_else(|| {
            let known: Vec<_> = outputs.iter().map(|output| format!("`{}`", output.name)).collect();
            let name = record.output.as_deref().unwrap_or_default();
            reason("unknown-output", format!("no output is named `{name}`: known are {}", known.join(", ")))
        })?;
        let output = outputs.get(index).ok_or_else(|| reason("unknown-output", "there is no output".into()))?;
        let sent = outgoing(record, index, inherited);
        // How large the headers are that are kept, only the log knows.
        let objection = output.rules().objection(&output.topic, &sent, 0, |time| self.is_to_come(time));
        if let (None, Some(keeps), Some(time)) = (&objection, output.keeps, sent.timestamp)
            && time < self.began_ms.saturating_sub(i64::try_from(keeps.as_millis()).unwrap_or(i64::MAX))
        {
            self.warn_of(&output.topic, keeps);
        }
        objection.map_or(Ok(index), Err)
    }

    /// Says once of a topic that what is written to it may be gone before anybody reads it.
    #[cold]
    fn warn_of(&self, topic: &str, keeps: Duration) {
        if self.forgetful.borrow_mut().insert(topic.to_owned()) {
            tracing::warn!(
                "{topic} keeps records for {keeps:?}, by their own time, and what is written to it is older: it may be \
                 deleted before it is read; give the topic a longer retention.ms, or the records a time of their own"
            );
        }
    }

    /// Looks at the clock only when it must: for each record that would cost as much as all other checks together.
    fn is_to_come(&self, time: i64) -> bool {
        let is_late = || time > self.seen_ms.get();
        is_late() && {
            self.seen_ms.set(self.clock.wall_ms());
            is_late()
        }
    }
}

/// Which of these outputs a record names; the first, when it names none.
pub(crate) fn find(outputs: &[Output], record: &Record) -> Option<usize> {
    record.output.as_ref().map_or(Some(0), |name| outputs.iter().position(|output| output.name == *name))
}

/// A record as it is sent.
pub(crate) fn outgoing(record: &Record, output: usize, inherited: Option<i64>) -> Outgoing<'_> {
    let (keep_headers, headers) = match &record.headers {
        HeaderEdit::Keep => (true, &[][..]),
        HeaderEdit::Add(headers) => (true, &headers[..]),
        HeaderEdit::Replace(headers) => (false, &headers[..]),
    };
    Outgoing {
        output,
        partition: record.partition,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        timestamp: record.timestamp.or(inherited),
        keep_headers,
        headers,
    }
}

fn reason(code: &str, message: String) -> Reason {
    Reason { code: Some(code.into()), message }
}
