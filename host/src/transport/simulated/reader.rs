//! The consuming half of a simulated link: one member of the group.

use super::{faults::Event, group::Word, log::Data, world::World};
use crate::{
    record::Header,
    transport::{Batch, Fault, Incoming, NextOffset, Offset, Partition, Progress},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Whether the group has news for the member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Announced,
}

/// Where a partition is read, and which end was told last.
#[derive(Debug)]
struct Position {
    next: u64,
    told: Option<u64>,
}

pub(super) struct Reader {
    id: u64,
    generation: Option<u32>,
    pub(super) given: Vec<Partition>,
    pub(super) started: bool,
    announced: bool,
    positions: BTreeMap<Partition, Position>,
    held: BTreeSet<Partition>,
}

impl Reader {
    /// Joins the group.
    pub(super) fn open(name: &str, process: usize, world: &mut World) -> Reader {
        let id = world.group.join(name, process, world.now());
        world.tend_group();
        Reader {
            id,
            generation: None,
            given: Vec::new(),
            started: false,
            announced: false,
            positions: BTreeMap::new(),
            held: BTreeSet::new(),
        }
    }

    /// Asks whether the group has news: it is not always heard of at once.
    pub(super) fn change(&mut self, name: &str, world: &mut World) -> Result<Change, Fault> {
        if world.away > world.now() && !self.announced {
            return Ok(Change::None);
        }
        match world.group.word(name, self.id, self.generation) {
            Word::Replaced => return Err(replaced(world)),
            Word::Nothing => self.announced = false,
            _ => self.announced |= world.settings.prompt || world.rng.u8(0..4) > 0,
        }
        Ok(match self.announced {
            true => Change::Announced,
            false => Change::None,
        })
    }

    /// Does what the group says, until it has nothing more to say.
    pub(super) fn follow(&mut self, name: &str, process: usize, world: &mut World) -> Result<(), Fault> {
        self.announced = false;
        loop {
            match world.group.word(name, self.id, self.generation) {
                Word::Nothing => return Ok(()),
                Word::Replaced => return Err(replaced(world)),
                Word::Lost => {
                    self.stop();
                    self.generation = None;
                    self.id = world.group.join(name, process, world.now());
                }
                Word::Revoke => {
                    self.stop();
                    world.group.join_again(name);
                }
                Word::Assign(given, generation) => {
                    world.note(|| {
                        let all: Vec<_> = given.iter().map(|p| format!("{}/{}", p.input, p.number)).collect();
                        format!("{name} gets {} in generation {generation}", all.join(" "))
                    });
                    self.given = given;
                    self.generation = Some(generation);
                }
            }
            world.tend_group();
        }
    }

    fn stop(&mut self) {
        self.given.clear();
        self.started = false;
        self.positions.clear();
    }

    /// Reads from these places on.
    pub(super) fn start(&mut self, starts: &Progress) {
        let at = |(partition, next): (Partition, NextOffset)| {
            let position = Position { next: next.0, told: None };
            (partition, position)
        };
        self.positions = starts.iter().map(at).collect();
        self.held.clear();
        self.started = true;
    }

    /// Whether the group takes this member's progress.
    pub(super) fn accepted(&self, name: &str, world: &mut World) -> Result<(), Fault> {
        match world.group.accepts(name, self.id, self.generation) {
            Ok(()) => Ok(()),
            Err(Word::Replaced) => Err(replaced(world)),
            Err(_) => {
                world.count(Event::OldGeneration);
                Err(Fault::Aborted("the group has another generation".into()))
            }
        }
    }

    /// What is read next must be there still.
    pub(super) fn check_positions(&self, world: &World) -> Result<(), Fault> {
        let start = |at: &Partition| world.inputs[at.input][at.number as usize].start();
        match self.positions.iter().any(|(partition, position)| position.next < start(partition)) {
            true => Err(Fault::Aborted("the offset is gone".into())),
            false => Ok(()),
        }
    }

    /// Some records, or the news of ends that were reached.
    pub(super) fn fetch(&mut self, world: &mut World, limit: usize) -> Option<SimulatedBatch> {
        let settings = &world.settings;
        let (prompt, chunk) = (settings.prompt, settings.chunk.min(limit));
        let mut room = match prompt {
            true => chunk,
            false => world.rng.usize(1..=chunk),
        };
        let mut order: Vec<Partition> = self.positions.keys().copied().collect();
        if !prompt {
            world.rng.shuffle(&mut order);
        }
        let mut batch = SimulatedBatch { records: Vec::new(), ends: Vec::new() };
        for partition in order {
            let position = self.positions.get_mut(&partition)?;
            if self.held.contains(&partition) {
                continue;
            }
            let log = &world.inputs[partition.input][partition.number as usize];
            let mut came = log.read(position.next);
            for (offset, data) in came.by_ref().take(room) {
                batch.records.push((partition, Offset(offset), data.clone()));
                position.next = offset + 1;
                room -= 1;
            }
            let end = log.stable_end();
            if came.next().is_none() && position.told != Some(end) && (prompt || world.rng.bool()) {
                if position.next < end {
                    world.counts.add(Event::EndPassed);
                }
                position.next = end;
                position.told = Some(end);
                batch.ends.push((partition, NextOffset(end)));
            }
        }
        (!batch.records.is_empty() || !batch.ends.is_empty()).then_some(batch)
    }

    pub(super) fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.position(partition)?;
        self.held.insert(partition);
        Ok(())
    }

    pub(super) fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        *self.position(partition)? = Position { next: from.0, told: None };
        self.held.remove(&partition);
        Ok(())
    }

    fn position(&mut self, partition: Partition) -> Result<&mut Position, Fault> {
        let (input, number) = (partition.input, partition.number);
        self.positions.get_mut(&partition).ok_or_else(|| Fault::Aborted(format!("{input}/{number} is not assigned")))
    }
}

fn replaced(world: &mut World) -> Fault {
    world.count(Event::Replaced);
    Fault::Replaced("the member has another process".into())
}

/// Records as a simulated log hands them over.
pub(super) struct SimulatedBatch {
    pub(super) records: Vec<(Partition, Offset, Rc<Data>)>,
    ends: Vec<(Partition, NextOffset)>,
}

impl Batch for SimulatedBatch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let (partition, offset, data) = &self.records[index];
        Incoming {
            partition: *partition,
            offset: *offset,
            timestamp: data.timestamp,
            key: data.key.as_deref(),
            value: data.value.as_deref(),
        }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: value.clone(),
        };
        self.records[index].2.headers.iter().map(header).collect()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &self.ends
    }
}
