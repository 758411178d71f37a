//! Hosts that are broken on purpose, to see that the tests of delivery find them.
//!
//! A mutant wraps any link and breaks the order of delivery in one way that somebody could have written. Never in a
//! release.

use super::{Assignment, Batch, Births, Fault, Incoming, Link, NextOffset, Outgoing, Partition, Progress, Taken};
use crate::record::Header;
use std::{
    collections::BTreeMap,
    fmt,
    rc::Rc,
    str::FromStr,
    time::{Duration, Instant},
};

/// What a mutant does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The progress is committed after the records, in a transaction of its own.
    OffsetsOutside,
    /// The progress is committed before the records are sent.
    CommitBeforeProduce,
    /// After a fault, records that were taken before are not taken again.
    NoRewind,
    /// A commit without an answer is taken for done.
    GoOnAfterUnknown,
    /// After a commit without an answer the work begins again at the last answer, wherever the group is.
    ReplayAfterUnknown,
    /// The offset of the last record is committed, not the one after it.
    ProcessedOffset,
    /// What was taken is committed, whether it is done or not.
    EarlyProgress,
    /// A partition that is to wait for a record goes on behind it.
    NoHold,
    /// While a record waits, its partition is not the only one that does.
    HoldAll,
    /// A record that is refused is forgotten.
    IgnoreRefusal,
    /// What was taken from a partition is finished after the group has given it to somebody else.
    KeepLostPartitions,
    /// An aborted commit is taken for done.
    DeafToFaults,
    /// A commit whose outcome is told late is taken for done.
    DeafToLateFaults,
    /// The records of a transaction are sent in any order.
    Unordered,
}

impl Mutant {
    /// Every mutant.
    pub const ALL: [Mutant; 14] = [
        Mutant::OffsetsOutside,
        Mutant::CommitBeforeProduce,
        Mutant::NoRewind,
        Mutant::GoOnAfterUnknown,
        Mutant::ReplayAfterUnknown,
        Mutant::ProcessedOffset,
        Mutant::EarlyProgress,
        Mutant::NoHold,
        Mutant::HoldAll,
        Mutant::IgnoreRefusal,
        Mutant::KeepLostPartitions,
        Mutant::DeafToFaults,
        Mutant::DeafToLateFaults,
        Mutant::Unordered,
    ];

    /// Its name, as a test asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::OffsetsOutside => "offsets-outside",
            Mutant::CommitBeforeProduce => "commit-before-produce",
            Mutant::NoRewind => "no-rewind",
            Mutant::GoOnAfterUnknown => "go-on-after-unknown",
            Mutant::ReplayAfterUnknown => "replay-after-unknown",
            Mutant::ProcessedOffset => "processed-offset",
            Mutant::EarlyProgress => "early-progress",
            Mutant::NoHold => "no-hold",
            Mutant::HoldAll => "hold-all",
            Mutant::IgnoreRefusal => "ignore-refusal",
            Mutant::KeepLostPartitions => "keep-lost-partitions",
            Mutant::DeafToFaults => "deaf-to-faults",
            Mutant::DeafToLateFaults => "deaf-to-late-faults",
            Mutant::Unordered => "unordered",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Mutant, String> {
        let found = Mutant::ALL.into_iter().find(|mutant| mutant.name() == name);
        found.ok_or_else(|| {
            let known = Mutant::ALL.map(Mutant::name).join(", ");
            format!("no mutant is named `{name}`: known are {known}")
        })
    }
}

/// A link that does one thing wrong, or, for those who are only to be killed, nothing.
pub struct Broken<L: Link> {
    link: L,
    mutant: Option<Mutant>,
    /// What lies behind all that was taken.
    taken: BTreeMap<Partition, NextOffset>,
    /// What the group has, as far as it answered.
    answered: BTreeMap<Partition, NextOffset>,
    /// There was no answer to the last commit.
    unsure: bool,
    withheld: Vec<Withheld<L::Batch>>,
    /// How long it stands between two commits that should be one.
    pause: Duration,
}

/// A batch that is kept for as long as one of its records is withheld.
pub struct Kept<B>(Rc<B>);

/// A record that is sent later.
struct Withheld<B> {
    output: usize,
    partition: Option<u32>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    timestamp: Option<i64>,
    keep_headers: bool,
    headers: Vec<Header>,
    origin: Option<(Rc<B>, usize)>,
}

impl<L: Link> Broken<L> {
    /// Breaks a link.
    pub fn new(link: L, mutant: impl Into<Option<Mutant>>) -> Broken<L> {
        Broken {
            link,
            mutant: mutant.into(),
            taken: BTreeMap::new(),
            answered: BTreeMap::new(),
            unsure: false,
            withheld: Vec::new(),
            pause: Duration::ZERO,
        }
    }

    /// The same, standing for so long between two commits that should be one: a kill is likely to fall there.
    pub fn pausing(self, pause: Duration) -> Broken<L> {
        Broken { pause, ..self }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn send_withheld(&mut self) -> Result<(), Fault> {
        for record in std::mem::take(&mut self.withheld) {
            let outgoing = Outgoing {
                output: record.output,
                partition: record.partition,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                timestamp: record.timestamp,
                keep_headers: record.keep_headers,
                headers: &record.headers,
            };
            self.link.send(&outgoing, record.origin.as_ref().map(|(batch, index)| (&**batch, *index)))?;
        }
        Ok(())
    }

    fn commit_as_it_does(&mut self, progress: &Progress) -> Result<(), Fault> {
        let nothing = Progress::default();
        match self.mutant {
            Some(Mutant::OffsetsOutside) => {
                self.link.commit(&nothing)?;
                std::thread::sleep(self.pause);
                self.link.begin()?;
                self.link.commit(progress)
            }
            Some(Mutant::CommitBeforeProduce) => {
                self.link.commit(progress)?;
                std::thread::sleep(self.pause);
                self.link.begin()?;
                self.send_withheld()?;
                self.link.commit(&nothing)
            }
            Some(Mutant::Unordered) => {
                self.withheld.reverse();
                self.send_withheld()?;
                self.link.commit(progress)
            }
            Some(Mutant::ProcessedOffset) => {
                let before = |(partition, next): (_, NextOffset)| (partition, NextOffset(next.0.saturating_sub(1)));
                self.link.commit(&progress.iter().map(before).collect())
            }
            Some(Mutant::EarlyProgress) => {
                let taken = self.taken.iter().map(|(partition, next)| (*partition, *next));
                self.link.commit(&taken.chain(progress.iter()).collect())?;
                std::thread::sleep(self.pause);
                Ok(())
            }
            _ => self.link.commit(progress),
        }
    }

    /// Connects again, but stays where it is.
    fn go_on(&mut self) -> Result<(), Fault> {
        let assignment = self.link.recover()?;
        for (partition, _) in assignment.starts.iter() {
            if let Some(at) = self.taken.get(&partition) {
                self.link.release(partition, *at)?;
            }
        }
        Ok(())
    }

    /// Where the work begins now.
    fn begins(&mut self, assignment: &Assignment) {
        self.withheld.clear();
        self.unsure = false;
        self.taken = assignment.starts.iter().collect();
        self.answered = self.taken.clone();
    }
}

impl<L: Link> Link for Broken<L> {
    type Batch = Kept<L::Batch>;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault> {
        Ok(match self.link.take(limit, wait)? {
            Taken::Records(batch) => {
                for index in 0..batch.len() {
                    let record = batch.get(index);
                    self.taken.insert(record.partition, record.offset.next());
                }
                self.taken.extend(batch.ends().iter().copied());
                Taken::Records(Kept(Rc::new(batch)))
            }
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance if self.is(Mutant::KeepLostPartitions) => {
                let assignment = self.link.rebalance()?;
                self.begins(&assignment);
                Taken::Nothing
            }
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        let assignment = self.link.rebalance()?;
        self.begins(&assignment);
        Ok(assignment)
    }

    fn births(&mut self, partitions: &Progress) -> Result<Births, Fault> {
        self.link.births(partitions)
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        match self.mutant {
            Some(Mutant::NoHold) => Ok(()),
            Some(Mutant::HoldAll) => self.taken.keys().try_for_each(|all| self.link.hold(*all)),
            _ => self.link.hold(partition),
        }
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        if self.is(Mutant::NoHold) {
            return Ok(());
        }
        self.taken.insert(partition, from);
        self.link.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.link.begin()
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&Self::Batch, usize)>) -> Result<(), Fault> {
        if self.is(Mutant::CommitBeforeProduce) || self.is(Mutant::Unordered) {
            self.withheld.push(Withheld {
                output: record.output,
                partition: record.partition,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                timestamp: record.timestamp,
                keep_headers: record.keep_headers,
                headers: record.headers.to_vec(),
                origin: origin.map(|(batch, index)| (batch.0.clone(), index)),
            });
            return Ok(());
        }
        match self.link.send(record, origin.map(|(batch, index)| (&*batch.0, index))) {
            Err(Fault::Refused(_)) if self.is(Mutant::IgnoreRefusal) => Ok(()),
            other => other,
        }
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
        match self.commit_as_it_does(progress) {
            Ok(()) => {
                self.answered.extend(progress.iter());
                Ok(())
            }
            Err(Fault::Unknown(_)) if self.is(Mutant::GoOnAfterUnknown) => self.go_on(),
            Err(Fault::Aborted(_)) if self.is(Mutant::DeafToFaults) => self.go_on(),
            Err(fault) => {
                self.unsure = matches!(fault, Fault::Unknown(_));
                Err(fault)
            }
        }
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        match self.mutant {
            // These do not break the commit itself, so it is the link's own.
            None | Some(Mutant::DeafToLateFaults) => self.link.start_commit(progress),
            _ => self.commit(progress),
        }
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        match self.link.finish_commit() {
            Err(Fault::Unknown(_) | Fault::Aborted(_)) if self.is(Mutant::DeafToLateFaults) => self.go_on(),
            other => other,
        }
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        let (taken, answered, unsure) =
            (std::mem::take(&mut self.taken), std::mem::take(&mut self.answered), self.unsure);
        let recovered = self.link.recover();
        let Ok(mut assignment) = recovered else {
            (self.taken, self.answered) = (taken, answered);
            return recovered;
        };
        self.begins(&assignment);
        let remembered = match self.mutant {
            Some(Mutant::NoRewind) => taken,
            Some(Mutant::ReplayAfterUnknown) if unsure => answered,
            _ => return Ok(assignment),
        };
        let starts: Vec<_> = assignment.starts.iter().collect();
        assignment.starts = Progress::default();
        for (partition, start) in starts {
            let at = remembered.get(&partition).copied().unwrap_or(start);
            self.link.release(partition, at)?;
            assignment.starts.reach(partition, at);
        }
        self.begins(&assignment);
        Ok(assignment)
    }

    fn close(self) {
        self.link.close();
    }
}

impl<B: Batch> Batch for Kept<B> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        self.0.get(index)
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.0.headers(index)
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        self.0.ends()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::simulated;

    /// In how many schedules a mutant must have been found.
    const SCHEDULES: u64 = 2_000;

    #[test]
    fn the_simulation_finds_every_mutant() {
        let found: Vec<_> = Mutant::ALL.into_iter().map(|mutant| (mutant, find(mutant))).collect();
        for (mutant, place) in &found {
            match place {
                Some((seed, violation)) => {
                    println!("{:6} schedules: {mutant}: {}", seed + 1, violation.what())
                }
                None => println!("  never: {mutant}"),
            }
        }
        assert!(found.iter().all(|(_, place)| place.is_some()));
    }

    fn find(mutant: Mutant) -> Option<(u64, Box<simulated::Violation>)> {
        let found = (0..SCHEDULES).find_map(|seed| Some((seed, simulated::run(seed, Some(mutant)).err()?)))?;
        // It is the mutant that was found, and not the worker that it breaks.
        assert!(simulated::run(found.0, None).is_ok());
        Some(found)
    }

    #[test]
    fn a_mutant_is_asked_for_by_its_name() {
        for mutant in Mutant::ALL {
            assert_eq!(mutant.to_string().parse(), Ok(mutant));
        }
        let error = "no-such".parse::<Mutant>().expect_err("nobody has this name");
        assert!(error.contains("known are offsets-outside, "), "{error}");
    }
}
