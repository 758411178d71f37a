//! Where a record of a guest's goes, and what the topic there would refuse: found before anything is sent.

use crate::{
    clock::Clock,
    record::{HeaderEdit, Reason, Record},
    transport::Outgoing,
};
use std::{cell::Cell, rc::Rc, time::Duration};

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
}

/// Finds the output of each record.
pub(crate) struct Router {
    clock: Rc<dyn Clock>,
    /// The present, when somebody last looked: what was not too late then is not too late now.
    seen_ms: Cell<i64>,
}

impl Router {
    pub(crate) fn new(clock: Rc<dyn Clock>) -> Router {
        Router { clock, seen_ms: Cell::new(i64::MIN) }
    }

    /// Which of these outputs a record goes to; why not, when that output would not take it. `inherited` is its
    /// timestamp, when it has none of its own.
    pub(crate) fn route(&self, outputs: &[Output], record: &Record, inherited: Option<i64>) -> Result<usize, Reason> {
        let index = match &record.output {
            None => 0,
            Some(name) => outputs.iter().position(|output| output.name == *name).ok_or_else(|| {
                let known: Vec<_> = outputs.iter().map(|output| format!("`{}`", output.name)).collect();
                reason("unknown-output", format!("no output is named `{name}`: known are {}", known.join(", ")))
            })?,
        };
        let output = outputs.get(index).ok_or_else(|| reason("unknown-output", "there is no output".into()))?;
        if let Some(partition) = record.partition.filter(|partition| *partition >= output.partitions) {
            let (topic, count) = (&output.topic, output.partitions);
            return Err(reason("unknown-partition", format!("{topic} has no partition {partition}, it has {count}")));
        }
        if output.compacted && record.key.is_none() {
            return Err(reason("no-key", format!("{} is compacted, and takes no record without a key", output.topic)));
        }
        let size = size_of(record);
        if size > output.largest {
            let (topic, largest) = (&output.topic, output.largest);
            return Err(reason("too-large", format!("{topic} takes records of {largest} bytes, this one has {size}")));
        }
        if let (Some(time), Some(ahead)) = (record.timestamp.or(inherited), output.ahead)
            && self.is_too_late(time, ahead)
        {
            return Err(reason("future-timestamp", format!("{} takes no timestamp as late as {time}", output.topic)));
        }
        if record.timestamp.is_some_and(|time| time < 0) {
            return Err(reason("negative-timestamp", "a timestamp counts milliseconds since 1970".into()));
        }
        Ok(index)
    }

    /// Looks at the clock only when it must: for each record that would cost as much as all other checks together.
    fn is_too_late(&self, time: i64, ahead: Duration) -> bool {
        let ahead_ms = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
        let is_late = || time > self.seen_ms.get().saturating_add(ahead_ms);
        is_late() && {
            self.seen_ms.set(self.clock.wall_ms());
            is_late()
        }
    }
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

/// About what a record takes in a batch, its kept headers aside.
fn size_of(record: &Record) -> usize {
    const OVERHEAD: usize = 96;
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let own = match &record.headers {
        HeaderEdit::Keep => 0,
        HeaderEdit::Add(list) | HeaderEdit::Replace(list) => {
            list.iter().map(|header| header.name.len() + bytes(&header.value) + 8).sum()
        }
    };
    OVERHEAD + bytes(&record.key) + bytes(&record.value) + own
}
