//! Where groups stand when a run begins: said for each, and chosen where a start is to be a moment in time.

use crate::{
    manifest::{Manifest, Port, Start},
    text::count,
    transport::log::{Lag, Log},
    worker::control::Control,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long to go on asking.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the start waits for words that nothing depends on. A transaction that a killed host left open holds an
/// answer back until a worker of that name is here again.
const COURTESY: Duration = Duration::from_millis(300);

/// Where a group stands.
type Standing = BTreeMap<(String, u32), Lag>;

/// The groups of a run, asked while other things are found out.
pub(super) struct Groups {
    groups: Vec<(Arc<Group>, JoinHandle<Option<Standing>>)>,
    asked: Instant,
}

/// One of them.
struct Group {
    name: String,
    log: Log,
    topics: Vec<String>,
    from: Start,
    control: Arc<Control>,
}

impl Groups {
    /// Asks where the groups of a manifest stand.
    pub(super) fn ask(manifest: &Manifest, log: &Log, control: &Arc<Control>) -> Groups {
        let group = |name: &str, log: Log, inputs: &[Port], from| {
            let topics = inputs.iter().map(|port| port.topic.clone()).collect();
            Arc::new(Group { name: name.to_owned(), log, topics, from, control: control.clone() })
        };
        let stages = manifest.stages.iter().map(|s| group(&s.group, log.with(&s.properties), &s.inputs, s.from));
        let sinks = manifest.sinks.iter().map(|s| group(&s.group, log.with(&s.properties), &s.inputs, s.from));
        let ask = |group: Arc<Group>| {
            let asking = group.clone();
            (group, thread::spawn(move || asking.ask_once()))
        };
        Groups { groups: stages.chain(sinks).map(ask).collect(), asked: Instant::now() }
    }

    /// Says where each stands, and chooses a start where that cannot wait until a worker is there: what comes from now
    /// on, comes from now on.
    pub(super) fn settle(self, control: &Control) {
        let is_fresh = self.asked.elapsed() < COURTESY * 10;
        let settling: Vec<_> = self
            .groups
            .into_iter()
            .map(|(group, asked)| {
                let must_wait = matches!(group.from, Start::Latest | Start::Timestamp(_));
                let thread = thread::spawn(move || {
                    // Where there was something to wait for, others may have worked meanwhile.
                    let early = asked.join().ok().flatten().filter(|_| is_fresh);
                    group.settle(early);
                });
                (must_wait, thread)
            })
            .collect();
        let begun = Instant::now();
        for (must_wait, thread) in settling {
            while !thread.is_finished() && !control.stopping() && (must_wait || begun.elapsed() < COURTESY) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Group {
    fn ask_once(&self) -> Option<Standing> {
        let offsets = self.log.offsets(&self.name, &self.topics).ok()?;
        let standing = offsets.ask().ok();
        end_aside(offsets);
        standing
    }

    fn settle(&self, early: Option<Standing>) {
        let Some(standing) = early.or_else(|| self.ask_patiently()) else { return };
        let is_new = standing.values().all(|lag| lag.committed.is_none());
        if is_new && matches!(self.from, Start::Latest | Start::Timestamp(_)) {
            self.choose();
        }
        self.say(&standing, is_new);
    }

    /// On a young cluster the group's coordinator is a moment away.
    fn ask_patiently(&self) -> Option<Standing> {
        let offsets = self.log.offsets(&self.name, &self.topics).ok()?;
        let since = Instant::now();
        loop {
            match offsets.ask() {
                Ok(standing) => return Some(standing),
                Err(_) if self.control.stopping() => return None,
                Err(error) if since.elapsed() > PATIENCE => {
                    tracing::warn!("group {}: where it stands cannot be said: {error:#}", self.name);
                    return None;
                }
                Err(_) => self.control.wait(Duration::from_millis(100)),
            }
        }
    }

    /// For all of its partitions at once. A group that has members, or offsets by now, has chosen for itself.
    fn choose(&self) {
        let chosen = self.log.offsets(&self.name, &self.topics).and_then(|offsets| {
            let starts = offsets.find(self.from)?;
            match offsets.ask()?.values().all(|lag| lag.committed.is_none()) {
                true => offsets.set(&starts),
                false => Ok(()),
            }
        });
        if let Err(error) = chosen {
            tracing::debug!("group {} chooses its start by itself: {error:#}", self.name);
        }
    }

    fn say(&self, standing: &Standing, is_new: bool) {
        let group = &self.name;
        let left = |from: &dyn Fn(&Lag) -> u64| {
            count(standing.values().map(|lag| lag.end.saturating_sub(from(lag))).sum(), "record")
        };
        if !is_new {
            let left = left(&|lag| lag.committed.unwrap_or(lag.start));
            return tracing::info!(target: "start", "group {group} goes on: up to {left} left to read");
        }
        let all = left(&|lag| lag.start);
        match self.from {
            Start::Earliest => {
                tracing::info!(target: "start", "group {group} has no offsets: reads {all} from earliest")
            }
            Start::Latest => {
                tracing::info!(target: "start", "group {group} has no offsets: reads what comes from now on, not the {all} before");
            }
            Start::Timestamp(time) => {
                tracing::info!(target: "start", "group {group} has no offsets: reads from the first record at {time} ms since 1970");
            }
            Start::Refuse => {}
        }
    }
}

/// Ends a client's connections in a thread of their own: that takes a tenth of a second, and there is more to do.
pub(super) fn end_aside<T: Send + 'static>(client: T) {
    thread::spawn(move || drop(client));
}
