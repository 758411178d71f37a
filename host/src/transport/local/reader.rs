//! The reading half of a link: where it stands in each of its partitions.

use super::{
    LocalLog,
    batch::LocalBatch,
    codec::Blob,
    rows::{self, Expected, Step, Topic},
    schema::Store,
    starts,
    trouble::Trouble,
    watch::Watch,
};
use crate::transport::{Assignment, Batch, Fault, LinkSettings, NextOffset, Partition, Progress, Taken};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// How many bytes are taken at once.
const MOST_BYTES: usize = 8 << 20;
/// How many batches are read ahead, unless they have so many bytes before.
const MOST_AHEAD: usize = 16;

pub(super) struct Reader {
    store: Store,
    settings: Arc<LinkSettings>,
    watch: Watch,
    /// The inputs as they were when this began, and what tells whether they are still so.
    topics: Vec<Option<Topic>>,
    version: i64,
    cursors: BTreeMap<Partition, Cursor>,
    /// They have changed: nothing comes before [`Reader::start`] goes by what they are now.
    stale: bool,
    /// All that there was has been taken.
    drained: bool,
    /// What was read while the disk was at work; trouble stands last.
    ahead: VecDeque<Result<LocalBatch, Trouble>>,
    /// How many records are taken at once.
    limit: usize,
    /// Which partition comes first at the next turn.
    turn: usize,
    said_gone: bool,
}

/// A place in a partition.
struct Cursor {
    /// The partition's own id.
    part: i64,
    /// What the group has of it.
    committed: Expected,
    /// What is read next.
    at: u64,
    /// What is left of a blob that was too large for the last batch.
    rest: Option<(Arc<Blob>, usize)>,
    /// The end that was told of.
    told: Option<u64>,
    held: bool,
}

impl Reader {
    /// A reader that has not started yet.
    pub(super) fn open(log: &LocalLog, settings: Arc<LinkSettings>) -> Result<Reader, Trouble> {
        Ok(Reader {
            store: log.reader()?,
            settings,
            watch: Watch::new(log.0.bell.clone()),
            topics: Vec::new(),
            version: 0,
            cursors: BTreeMap::new(),
            stale: true,
            drained: false,
            ahead: VecDeque::new(),
            limit: 0,
            turn: 0,
            said_gone: false,
        })
    }

    /// Goes to what the group has committed.
    pub(super) fn start(&mut self) -> Result<Assignment, Fault> {
        let Reader { store, settings, .. } = self;
        // What comes after this look is noticed by the next.
        self.watch.look(store)?;
        let (version, topics, starts) = store.read(|tx| {
            let topics = settings.inputs.iter().map(|name| rows::topic(tx, name)).collect::<Result<Vec<_>, _>>()?;
            let starts = starts::find(tx, settings, &topics)?;
            Ok((rows::topics_version(tx)?, topics, starts))
        })?;
        let mut assignment = Assignment::default();
        self.cursors.clear();
        self.ahead.clear();
        for start in starts {
            assignment.starts.reach(start.partition, NextOffset(start.at));
            if start.chosen {
                assignment.chosen.reach(start.partition, NextOffset(start.at));
            }
            let cursor = Cursor {
                part: start.part,
                committed: start.committed,
                at: start.at,
                rest: None,
                told: None,
                held: false,
            };
            self.cursors.insert(start.partition, cursor);
        }
        (self.version, self.topics) = (version, topics);
        (self.stale, self.drained) = (false, false);
        Ok(assignment)
    }

    /// The inputs as they were at the last start.
    pub(super) fn inputs(&self) -> &[Option<Topic>] {
        &self.topics
    }

    /// A partition's own id.
    pub(super) fn birth(&self, partition: Partition) -> Option<String> {
        Some(self.cursors.get(&partition)?.part.to_string())
    }

    /// Says, once, which inputs are waited for.
    pub(super) fn say_gone(&mut self) {
        let inputs = self.settings.inputs.iter().zip(&self.topics);
        let gone: Vec<_> = inputs.filter(|(_, topic)| topic.is_none()).map(|(name, _)| &**name).collect();
        if gone.is_empty() {
            self.said_gone = false;
        } else if !std::mem::replace(&mut self.said_gone, true) {
            tracing::warn!("group {}: the topic {} is gone: waiting for it", self.settings.group, gone.join(", "));
        }
    }

    /// The group's way to there.
    pub(super) fn steps(&self, progress: &Progress) -> Result<Vec<Step>, Fault> {
        let step = |(partition, next): (Partition, NextOffset)| {
            let cursor = self.cursors.get(&partition).ok_or_else(not_read)?;
            Ok(Step {
                group: self.settings.group.clone(),
                topic: self.settings.inputs[partition.input].clone(),
                number: partition.number,
                part: cursor.part,
                from: cursor.committed,
                next: next.0,
            })
        };
        progress.iter().map(step).collect()
    }

    /// The group has come there.
    pub(super) fn committed(&mut self, progress: &Progress) -> Result<(), Fault> {
        progress.iter().try_for_each(|(partition, next)| {
            self.cursor(partition)?.committed = Expected::At(next.0);
            Ok(())
        })
    }

    pub(super) fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<LocalBatch>, Fault> {
        let until = Instant::now() + wait;
        let mut changed = self.watch.look(&self.store)?;
        loop {
            if changed {
                self.drained = false;
                self.stale = self.stale || self.topics_changed()?;
            }
            if self.stale {
                return Ok(Taken::Rebalance);
            }
            if limit > 0 && limit != std::mem::replace(&mut self.limit, limit) {
                self.go_back();
            }
            if limit > 0
                && let Some(batch) = self.ahead.pop_front()
            {
                return Ok(Taken::Records(batch?));
            }
            if limit > 0 && !self.drained {
                let (batch, drained) = self.fetch(limit)?;
                self.drained = drained;
                if !batch.is_empty() || !batch.ends().is_empty() {
                    return Ok(Taken::Records(batch));
                }
            }
            changed = self.watch.wait(&self.store, until)?;
            if !changed {
                return Ok(Taken::Nothing);
            }
        }
    }

    /// Reads what will be taken next; false when there is nothing to read now, or enough of it.
    pub(super) fn read_ahead(&mut self) -> bool {
        let bytes: usize = self.ahead.iter().flatten().map(LocalBatch::size).sum();
        let is_over = self.ahead.back().is_some_and(Result::is_err);
        if is_over || bytes >= MOST_BYTES || self.ahead.len() >= MOST_AHEAD || self.limit == 0 || self.drained {
            return false;
        }
        // Whether that was all is found out when it has been taken.
        let batch = self.fetch(self.limit).map(|(batch, _)| batch);
        let is_any = batch.as_ref().map_or(true, |batch| !batch.is_empty() || !batch.ends().is_empty());
        if is_any {
            self.ahead.push_back(batch);
        }
        is_any
    }

    /// Forgets what was read ahead: it will be read again. Trouble is none that goes away.
    fn go_back(&mut self) {
        let ahead = std::mem::take(&mut self.ahead);
        for batch in ahead.into_iter().rev() {
            match batch {
                Ok(batch) => {
                    for (partition, first) in batch.firsts() {
                        if let Some(cursor) = self.cursors.get_mut(&partition) {
                            (cursor.at, cursor.rest, cursor.told) = (first.0, None, None);
                        }
                    }
                }
                Err(trouble) => self.ahead.push_back(Err(trouble)),
            }
        }
        self.drained = false;
    }

    /// True when inputs came, grew, went, or were made anew.
    fn topics_changed(&mut self) -> Result<bool, Trouble> {
        let Reader { store, settings, topics, version, .. } = self;
        store.read(|tx| {
            let now = rows::topics_version(tx)?;
            if now == *version {
                return Ok(false);
            }
            for (name, known) in settings.inputs.iter().zip(&*topics) {
                let found = rows::topic(tx, name)?;
                let shape = |topic: &Option<Topic>| topic.as_ref().map(|topic| (topic.id, topic.parts.len()));
                if shape(&found) != shape(known) {
                    return Ok(true);
                }
            }
            *version = now;
            Ok(false)
        })
    }

    /// What there is, and whether that was all.
    fn fetch(&mut self, limit: usize) -> Result<(LocalBatch, bool), Trouble> {
        let Reader { store, settings, cursors, turn, .. } = self;
        let (mut batch, mut bytes, mut drained) = (LocalBatch::default(), 0, true);
        *turn = (*turn + 1) % cursors.len().max(1);
        store.read(|tx| {
            let order: Vec<_> = cursors.keys().copied().collect();
            for partition in order.iter().cycle().skip(*turn).take(order.len()) {
                let Some(cursor) = cursors.get_mut(partition).filter(|cursor| !cursor.held) else {
                    continue;
                };
                if batch.len() >= limit || bytes >= MOST_BYTES {
                    drained = false;
                    break;
                }
                if let Some((blob, index)) = cursor.rest.take() {
                    let reached = batch.add(*partition, &blob, index, limit - batch.len());
                    if reached < blob.len() {
                        cursor.rest = Some((blob, reached));
                        drained = false;
                        continue;
                    }
                }
                // A topic that is gone by now is noticed as such.
                let Some((first, next)) = rows::bounds(tx, cursor.part)? else {
                    continue;
                };
                let topic = &settings.inputs[partition.input];
                if cursor.at < first || cursor.at > next {
                    return Err(Trouble::overtaken(format!(
                        "{topic}/{}: the records from offset {} on are gone, there is {first} to {next}",
                        partition.number, cursor.at
                    )));
                }
                let mut all = true;
                if cursor.at < next {
                    let place = (cursor.part, topic.as_str(), partition.number);
                    rows::read_blobs(tx, place, cursor.at, |last, blob| {
                        bytes += blob.size();
                        let blob = Arc::new(blob);
                        let reached = batch.add(*partition, &blob, blob.find(cursor.at), limit - batch.len());
                        cursor.at = last + 1;
                        if reached < blob.len() {
                            cursor.rest = Some((blob, reached));
                        }
                        all = cursor.rest.is_none() && batch.len() < limit && bytes < MOST_BYTES;
                        all
                    })?;
                }
                all |= cursor.rest.is_none() && cursor.at == next;
                if !all {
                    drained = false;
                    continue;
                }
                cursor.at = next;
                if cursor.told.replace(next) != Some(next) {
                    batch.end(*partition, next);
                }
            }
            Ok(())
        })?;
        Ok((batch, drained))
    }

    pub(super) fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.cursor(partition)?.held = true;
        Ok(())
    }

    pub(super) fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.go_back();
        let cursor = self.cursor(partition)?;
        (cursor.held, cursor.at, cursor.rest, cursor.told) = (false, from.0, None, None);
        self.drained = false;
        Ok(())
    }

    /// What the topics were like at the last look.
    pub(super) fn topics_version(&self) -> i64 {
        self.version
    }

    /// Topics as they are now.
    pub(super) fn topics(&mut self, names: &[String]) -> Result<Vec<Option<Topic>>, Trouble> {
        self.store.read(|tx| names.iter().map(|name| rows::topic(tx, name)).collect())
    }

    fn cursor(&mut self, partition: Partition) -> Result<&mut Cursor, Fault> {
        self.cursors.get_mut(&partition).ok_or_else(not_read)
    }
}

fn not_read() -> Fault {
    Fault::Aborted("the partition is not read any more".into())
}
