//! The transaction coordinator: who may write under a name, and what becomes of what was written.

use super::{faults::Event, log::Data, world::World};
use crate::transport::{Partition, Progress};
use std::{collections::BTreeSet, rc::Rc, time::Duration};

/// Tells the writers in a log apart.
pub(super) type WriterId = u32;

/// Another writer has the name by now, or the transaction was ended for taking too long.
#[derive(Debug)]
pub(super) struct Fenced;

/// All that is known under one transactional id.
#[derive(Debug, Default)]
pub(super) struct Writer {
    id: WriterId,
    epoch: u32,
    open: Option<Open>,
    ending: Option<Ending>,
    /// A request to commit that is still on its way.
    late: Option<u32>,
}

#[derive(Debug)]
struct Open {
    since: Duration,
    offsets: Progress,
    written: Vec<(usize, u32, Rc<Data>)>,
}

/// A transaction whose end is decided: its markers are being written.
#[derive(Debug)]
struct Ending {
    commit: bool,
    due: Duration,
    partitions: Vec<(usize, u32)>,
    offsets: Progress,
}

impl World {
    /// Lets a new writer in under a name: what the one before left open is settled when this returns.
    pub(super) fn init_writer(&mut self, name: &str) -> u32 {
        let id = self.writers.len() as WriterId;
        let writer = self.writers.entry(name.to_owned()).or_insert(Writer { id, ..Writer::default() });
        let late = writer.late.take().is_some_and(|epoch| epoch == writer.epoch);
        if late && self.rng.bool() {
            self.count(Event::CommittedLate);
            self.decide(name, true);
        }
        self.decide(name, false);
        self.finish(name);
        let writer = self.writer(name);
        writer.epoch += 1;
        writer.epoch
    }

    /// Writes a record in the writer's transaction, which opens with it.
    pub(super) fn write(
        &mut self,
        (name, epoch): (&str, u32),
        (topic, partition): (usize, u32),
        data: Rc<Data>,
    ) -> Result<(), Fenced> {
        let open = self.open(name, epoch)?;
        open.written.push((topic, partition, data.clone()));
        let id = self.writer(name).id;
        self.output(topic, partition).append(Some(id), data);
        Ok(())
    }

    /// Writes progress in the writer's transaction.
    pub(super) fn write_offsets(&mut self, (name, epoch): (&str, u32), progress: &Progress) -> Result<(), Fenced> {
        self.open(name, epoch)?.offsets.merge(progress);
        Ok(())
    }

    /// Ends the writer's transaction. One that wrote nothing is not known here.
    pub(super) fn end(&mut self, (name, epoch): (&str, u32), commit: bool) -> Result<(), Fenced> {
        if self.writer(name).epoch != epoch {
            return Err(Fenced);
        }
        self.decide(name, commit);
        Ok(())
    }

    /// A request to commit is on its way, and may arrive whenever it likes.
    pub(super) fn end_late(&mut self, (name, epoch): (&str, u32)) {
        self.writer(name).late = Some(epoch);
    }

    /// True when a transaction that is not settled holds offsets of one of these partitions.
    pub(super) fn unstable(&self, partitions: &[Partition]) -> bool {
        self.writers.values().any(|writer| {
            let open = writer.open.as_ref().map(|open| &open.offsets);
            let ending = writer.ending.as_ref().map(|ending| &ending.offsets);
            let mut all = open.into_iter().chain(ending).flat_map(Progress::iter);
            all.any(|(partition, _)| partitions.contains(&partition))
        })
    }

    /// True when everything that was begun is settled.
    pub(super) fn all_settled(&self) -> bool {
        let settled = |writer: &Writer| writer.open.is_none() && writer.ending.is_none();
        self.writers.values().all(settled)
    }

    /// Time passes: transactions that take too long are aborted, late requests arrive, markers are written.
    pub(super) fn tend_transactions(&mut self) {
        let now = self.now();
        let timeout = self.settings.transaction_timeout;
        let busy = |writer: &Writer| writer.open.is_some() || writer.ending.is_some() || writer.late.is_some();
        let names: Vec<String> =
            self.writers.iter().filter(|(_, writer)| busy(writer)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let writer = self.writer(&name);
            let (epoch, late) = (writer.epoch, writer.late);
            let age = writer.open.as_ref().map(|open| now - open.since);
            let due = writer.ending.as_ref().map(|ending| ending.due);
            if late.is_some() && self.rng.u8(..) < 16 {
                self.writer(&name).late = None;
                if late == Some(epoch) && age.is_some() {
                    self.count(Event::CommittedLate);
                    self.decide(&name, true);
                }
            } else if age.is_some_and(|age| age > timeout) {
                self.count(Event::TransactionExpired);
                self.decide(&name, false);
                self.writer(&name).epoch += 1;
            } else if due.is_some_and(|due| due <= now) {
                self.finish(&name);
            } else if due.is_some() && self.rng.u8(..) < 64 {
                self.write_marker(&name);
            }
        }
    }

    fn writer(&mut self, name: &str) -> &mut Writer {
        self.writers.get_mut(name).expect("a writer is let in before it writes")
    }

    fn open(&mut self, name: &str, epoch: u32) -> Result<&mut Open, Fenced> {
        let now = self.now();
        if self.writer(name).epoch != epoch {
            return Err(Fenced);
        }
        // The client waits until the transaction before is settled.
        self.finish(name);
        Ok(self.writer(name).open.get_or_insert_with(|| Open {
            since: now,
            offsets: Progress::default(),
            written: Vec::new(),
        }))
    }

    /// From here on it is certain what becomes of the open transaction.
    fn decide(&mut self, name: &str, commit: bool) {
        let Some(open) = self.writer(name).open.take() else {
            return;
        };
        self.note(|| match commit {
            true => format!("{name}'s transaction is committed: {}", open.describe()),
            false => format!("{name}'s transaction is aborted: {}", open.describe()),
        });
        self.count(match commit {
            true => Event::Committed,
            false => Event::Aborted,
        });
        if commit {
            for (topic, _, data) in &open.written {
                self.audit.written(*topic, data);
            }
            self.audit.progressed(&open.offsets, &self.inputs);
        }
        let due = self.now() + Duration::from_millis(self.rng.u64(0..40));
        let partitions: BTreeSet<_> = open.written.iter().map(|(t, p, _)| (*t, *p)).collect();
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        self.rng.shuffle(&mut partitions);
        self.writer(name).ending = Some(Ending { commit, due, partitions, offsets: open.offsets });
    }

    fn write_marker(&mut self, name: &str) {
        let writer = self.writer(name);
        let id = writer.id;
        let Some(ending) = &mut writer.ending else {
            return;
        };
        let commit = ending.commit;
        if let Some((topic, partition)) = ending.partitions.pop() {
            self.output(topic, partition).mark(id, commit);
        }
    }

    /// Writes the markers that are missing: the last one is the group's.
    fn finish(&mut self, name: &str) {
        while let Some(ending) = &self.writer(name).ending {
            if !ending.partitions.is_empty() {
                self.write_marker(name);
            } else if let Some(ending) = self.writer(name).ending.take()
                && ending.commit
            {
                self.group.committed.extend(ending.offsets.iter());
            }
        }
    }
}

impl Open {
    fn describe(&self) -> String {
        let records: Vec<_> = self.written.iter().map(|(_, _, data)| data.text()).collect();
        let offsets: Vec<_> = self.offsets.iter().map(|(p, next)| format!("{}/{}→{next}", p.input, p.number)).collect();
        format!("[{}] {}", records.join(", "), offsets.join(" "))
    }
}
