//! The cluster: topics, the group, transactions, the processes that use them, and what goes wrong between them.

use super::{
    audit::Audit,
    database::{Database, Sinking},
    faults::{Counts, Event, Moment, Odds, Strike},
    group::Group,
    letters::Retried,
    log::{Data, Log},
    sources::{Numbers, POSITIONS},
    transactions::Writer,
};
use crate::{
    manifest::{Delivery, OnError, OnLostOffset, Start},
    transport::{Fault, NextOffset, Partition},
};
use fastrand::Rng;
use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

/// How many events are kept to tell a violation's story.
const STORY: usize = 80;

/// What does not change in a schedule.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) delivery: Delivery,
    /// What becomes of records that fail.
    pub(super) on_error: OnError,
    /// Where a topic is read from that the group does not know yet.
    pub(super) from: Start,
    /// Where to go on when the offset is gone.
    pub(super) on_lost_offset: OnLostOffset,
    pub(super) commit_interval: Duration,
    /// The most records that come at once.
    pub(super) chunk: usize,
    /// How long a silent process stays a member.
    pub(super) session: Duration,
    /// How long a rebalance waits for a member.
    pub(super) join_patience: Duration,
    pub(super) transaction_timeout: Duration,
    /// The most records that can be written in a transaction's time.
    pub(super) most_in_time: usize,
    /// What became of a commit is told when the next transaction ends.
    pub(super) tells_late: bool,
    /// Whatever there is comes at once: no luck in what a take brings.
    pub(super) prompt: bool,
    /// A worker that calls on after a fault is to be blamed.
    pub(super) strict: bool,
    /// The records say themselves what is to become of them, and it is looked whether it does.
    pub(super) audited: bool,
    /// A source is at work, and not a stage: what it writes last are positions, which its one input takes.
    pub(super) source: Option<Numbers>,
    /// The input is dead letters, which are tried again.
    pub(super) again: Option<Retried>,
    /// A sink into a database is at work, and not a stage.
    pub(super) sink: Option<Sinking>,
    /// The first record of this partition is put off for ever: what is behind it waits, and nobody else does.
    pub(super) waits: Option<Partition>,
}

/// A process with one worker in it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) host: usize,
    pub(super) alive: bool,
    /// Since when nobody has heard from it.
    pub(super) silent: Option<Duration>,
}

/// A test's wish: what is to happen to whom, when it comes to a moment for the nth time from now.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) moment: Moment,
    pub(super) skip: usize,
    pub(super) strike: Strike,
}

/// Everything that is outside of the workers.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) settings: Settings,
    pub(super) inputs: Vec<Vec<Log>>,
    pub(super) outputs: Vec<Vec<Log>>,
    pub(super) group: Group,
    pub(super) writers: BTreeMap<String, Writer>,
    pub(super) processes: Vec<Process>,
    pub(super) audit: Audit,
    pub(super) database: Database,
    pub(super) odds: Odds,
    pub(super) script: Vec<Rule>,
    pub(super) counts: Counts,
    /// Until when the brokers do not answer.
    pub(super) away: Duration,
    time: Rc<Cell<Duration>>,
    story: Option<VecDeque<String>>,
}

impl World {
    pub(super) fn new(
        rng: Rng,
        settings: Settings,
        (inputs, outputs): (&[u32], &[u32]),
        time: Rc<Cell<Duration>>,
        told: bool,
    ) -> World {
        let topics = |counts: &[u32]| {
            let topic = |count: &u32| (0..*count).map(|_| Log::default()).collect();
            counts.iter().map(topic).collect()
        };
        World {
            audit: Audit::new(&settings),
            database: Database::default(),
            rng,
            settings,
            inputs: topics(inputs),
            outputs: topics(outputs),
            group: Group::default(),
            writers: BTreeMap::new(),
            processes: Vec::new(),
            odds: Odds::default(),
            script: Vec::new(),
            counts: Counts::default(),
            away: Duration::ZERO,
            time,
            story: told.then(VecDeque::new),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.time.get()
    }

    pub(super) fn count(&mut self, event: Event) {
        self.counts.add(event);
    }

    /// Adds to the story, when somebody will read it.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(story) = &mut self.story {
            if story.len() == STORY {
                story.pop_front();
            }
            story.push_back(format!("{:8.3} {}", now.as_secs_f64(), line()));
        }
    }

    pub(super) fn take_story(&mut self) -> Vec<String> {
        self.story.take().unwrap_or_default().into()
    }

    /// What goes wrong here and now.
    pub(super) fn strike(&mut self, name: &str, moment: Moment) -> Option<Strike> {
        let Some(at) = self.script.iter().position(|rule| rule.name == name && rule.moment == moment) else {
            return self.odds.strike(moment, &mut self.rng);
        };
        match self.script[at].skip.checked_sub(1) {
            Some(skip) => {
                self.script[at].skip = skip;
                None
            }
            None => Some(self.script.remove(at).strike),
        }
    }

    /// What time brings about by itself.
    pub(super) fn tend(&mut self) {
        self.tend_transactions();
        self.tend_group();
        if self.rng.u8(..) < 16 {
            self.audit.watch(&self.outputs);
        }
    }

    pub(super) fn tend_group(&mut self) {
        let (now, session) = (self.now(), self.settings.session);
        let processes = &self.processes;
        let gone = |process: usize| processes[process].silent.is_some_and(|since| now - since > session);
        if self.group.expire(now, gone) {
            self.count(Event::SessionLost);
            self.note(|| "a silent member is removed from the group".into());
        }
        if self.group.hurry(now, self.settings.join_patience) {
            self.count(Event::JoinTimeout);
            self.note(|| "a member that did not join in time is removed from the group".into());
        }
        let partitions = self.partitions();
        if self.group.complete(partitions, &mut self.rng) {
            self.count(Event::Generation);
            self.note(|| "the group has a new generation".into());
        }
    }

    /// Where a partition is read from, and whether that was chosen now.
    pub(super) fn start_of(&self, partition: Partition) -> Result<(NextOffset, bool), Fault> {
        let log = &self.inputs[partition.input][partition.number as usize];
        let (first, end) = (log.start(), log.stable_end());
        let at = match self.group.committed.get(&partition) {
            Some(next) if next.0 >= first => return Ok((*next, false)),
            Some(lost) => match self.settings.on_lost_offset {
                OnLostOffset::Stop => {
                    return Err(Fault::Fatal(format!("the offset {lost} is gone, there is {first} to {end} now")));
                }
                OnLostOffset::Earliest => first,
                OnLostOffset::Latest => end,
            },
            // A new one of a topic that the group knows from its start, as what it holds came after the group had begun.
            None if self.group.committed.keys().any(|known| known.input == partition.input) => first,
            None => match self.settings.from {
                Start::Earliest => first,
                Start::Latest => end,
                Start::Timestamp(time) => {
                    log.read(first).find(|(_, data)| data.timestamp >= Some(time)).map_or(end, |(offset, _)| offset)
                }
                Start::Refuse => return Err(Fault::Fatal("`from: none` refuses to choose one".into())),
            },
        };
        Ok((NextOffset(at), true))
    }

    fn partitions(&self) -> Vec<Partition> {
        let numbers =
            |(input, topic): (usize, &Vec<Log>)| (0..topic.len() as u32).map(move |number| Partition { input, number });
        self.inputs.iter().enumerate().flat_map(numbers).collect()
    }

    /// Where records for an output stand.
    pub(super) fn output(&mut self, topic: usize, partition: u32) -> &mut Log {
        match self.settings.source.is_some() && topic == POSITIONS {
            true => &mut self.inputs[0][0],
            false => &mut self.outputs[topic][partition as usize],
        }
    }

    /// A process dies.
    pub(super) fn kill(&mut self, process: usize) {
        let now = self.now();
        self.processes[process].alive = false;
        self.processes[process].silent.get_or_insert(now);
    }

    /// A record stands in an input for good.
    pub(super) fn produce(&mut self, (topic, partition): (usize, usize), data: Data) {
        self.expect((topic, partition), data.text());
        self.note(|| format!("{topic}/{partition} gets {}", data.text()));
        self.inputs[topic][partition].append(None, Rc::new(data));
    }

    /// A record's outcomes are due from now on, unless it waits for ever.
    pub(super) fn expect(&mut self, (topic, partition): (usize, usize), text: &str) {
        if self.settings.waits != Some(Partition { input: topic, number: partition as u32 }) {
            self.audit.expect(text);
        }
    }

    /// Up to where the group is to come in a partition.
    fn goal(&self, partition: Partition) -> NextOffset {
        if self.settings.waits == Some(partition) {
            return NextOffset(0);
        }
        let log = &self.inputs[partition.input][partition.number as usize];
        let all = NextOffset(log.stable_end());
        self.settings.again.as_ref().map_or(all, |retried| retried.again.ends.get(partition).unwrap_or(NextOffset(0)))
    }

    /// True when the group is done with everything that is in the inputs.
    pub(super) fn drained(&self) -> bool {
        if self.settings.source.is_some() {
            return self.all_settled() && self.audit.is_complete();
        }
        let done = |partition: Partition| {
            let log = &self.inputs[partition.input][partition.number as usize];
            let committed = self.group.committed.get(&partition).copied().unwrap_or(NextOffset(0));
            !log.is_open() && committed == self.goal(partition)
        };
        self.all_settled() && self.partitions().into_iter().all(done)
    }
}
