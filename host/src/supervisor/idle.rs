//! Finds out when nothing is left to do: every group's committed offsets stand at the end of all partitions of all of
//! its inputs, whoever holds them, and every source has said that nothing more will come. A worker that is idle itself
//! says nothing of a dead one that still holds records. What has stopped is not waited for: the others come to their end.

use super::{Event, Running};
use crate::{
    plan::Part,
    source::SourceState,
    stage::{Again, Tally},
    transport::{
        Partition,
        log::{Lag, Log, Offsets},
    },
    worker::control::Control,
};
use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long there may be no answer before that is said.
const SILENCE: Duration = Duration::from_secs(10);

/// Watches in a thread of its own, and tells when there has been nothing to do for `quiet`.
pub(super) fn watch(running: &[Arc<Running>], quiet: Duration, control: Arc<Control>, events: mpsc::Sender<Event>) {
    let (sources, others): (Vec<_>, Vec<_>) = running.iter().partition(|running| running.part.is_source());
    let mut watch = Watch {
        sources: sources.iter().map(|running| (running.source.clone(), running.control.clone())).collect(),
        // What a source's group has committed tells nothing.
        groups: others.iter().map(|running| Group::of(running)).collect(),
        tallies: running.iter().map(|running| running.tally.clone()).collect(),
    };
    thread::spawn(move || {
        let mut since: Option<(Instant, u64)> = None;
        let (mut answered, mut said) = (Instant::now(), false);
        while !control.stopping() {
            let done = match watch.is_done() {
                Ok(done) => {
                    (answered, said) = (Instant::now(), false);
                    done
                }
                Err(error) => {
                    if answered.elapsed() > SILENCE && !std::mem::replace(&mut said, true) {
                        tracing::warn!("whether anything is left to do cannot be told: {error:#}");
                    }
                    false
                }
            };
            let taken = watch.tallies.iter().map(|tally| tally.counts().taken).sum();
            since = match (done, since) {
                (false, _) => None,
                // Answers of one moment may not belong together: it takes two that agree.
                (true, Some((since, before))) if before == taken && since.elapsed() >= quiet => {
                    events.blocking_send(Event::Idle).ok();
                    return;
                }
                (true, Some((since, before))) if before == taken => Some((since, before)),
                (true, _) => Some((Instant::now(), taken)),
            };
            control.wait(INTERVAL);
        }
    });
}

struct Watch {
    sources: Vec<(Arc<SourceState>, Arc<Control>)>,
    groups: Vec<Group>,
    tallies: Vec<Arc<Tally>>,
}

impl Watch {
    fn is_done(&mut self) -> Result<bool> {
        if !self.sources.iter().all(|(source, control)| source.is_done() || control.stopping()) {
            return Ok(false);
        }
        for group in self.groups.iter_mut().filter(|group| !group.control.stopping()) {
            let standing = group.ask()?;
            if standing.is_empty() || !standing.iter().all(|((_, number), lag)| group.is_at_end(*number, lag)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A group, and the connection that asks about it.
struct Group {
    log: Log,
    name: String,
    topics: Vec<String>,
    /// Where its input ends, when it is not to be read on from there.
    again: Option<Arc<Again>>,
    control: Arc<Control>,
    offsets: Option<Box<dyn Offsets>>,
}

impl Group {
    fn of(running: &Running) -> Group {
        let Part { log, link, again, .. } = &*running.part;
        let (name, topics) = (link.group.clone(), link.inputs.clone());
        let (again, control) = (again.clone(), running.control.clone());
        Group { log: log.clone(), name, topics, again, control, offsets: None }
    }

    /// True when nothing is left to read in a partition, as far as this is read.
    fn is_at_end(&self, number: u32, lag: &Lag) -> bool {
        let Some(again) = &self.again else { return lag.is_none() };
        let end = again.ends.get(Partition { input: 0, number });
        // A place behind the end is one in another topic that had this name.
        let at = lag.committed.filter(|next| *next <= lag.end).unwrap_or(lag.start);
        at.max(lag.start) >= end.map_or(0, |end| end.0)
    }

    fn ask(&mut self) -> Result<BTreeMap<(String, u32), Lag>> {
        let offsets = match &mut self.offsets {
            Some(offsets) => offsets,
            none => none.insert(self.log.offsets(&self.name, &self.topics)?),
        };
        offsets.ask().with_context(|| format!("group {}", self.name))
    }
}
