//! A sink into a database that keeps how far it is, through everything that may go wrong: each record is one row there,
//! or a dead letter, whatever becomes of the log, of the worker, and of the answer to a COMMIT.
//!
//! The database is what a real one is to its clients: a session's locks last until it ends, a COMMIT may be done though
//! nobody hears of it, and may be on its way when its sender has given it up.

use super::{
    Violation,
    faults::{Counts, Event, Moment, Odds, Strike},
    link::SimulatedLink,
    play::play,
    records::{LETTERS, MAIN},
    scene::{on_error, settings},
    schedule::record,
    simulation::{Simulation, Turns, at_work as at_work_on},
    world::{Settings, World},
};
use crate::{
    clock::Clock,
    manifest::{Delivery, Policy},
    record::Reason,
    sinks::{
        batched::{Batched, Target},
        ledger::{Ledger, LedgerLink, Mutant, Step},
    },
    stage::{
        Stage, StageSettings, Tally,
        guest::{Failed, Guest, InHand},
    },
    transport::{Births, Fault, NextOffset, Partition, Progress},
    worker::WorkerSettings,
};
use fastrand::Rng;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

/// A sink at work, maybe one that is broken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sinking {
    mutant: Option<DatabaseMutant>,
}

/// What is done wrong, as somebody could have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DatabaseMutant {
    /// By the link.
    Link(Mutant),
    /// The rows are written before it is looked whether they may be: what another one wrote is taken for a mistake.
    LocksLate,
    /// How far the sink is, is read while somebody's COMMIT may be on its way.
    ReadsPastLocks,
    /// A step is taken wherever the sink is.
    SetsWithoutComparing,
}

/// The database: the rows are in the world's first output.
#[derive(Default)]
pub(super) struct Database {
    progress: BTreeMap<Partition, NextOffset>,
    rows: BTreeSet<String>,
    sessions: BTreeMap<u64, Session>,
    number: u64,
}

/// A transaction, as the server has it.
struct Session {
    process: usize,
    locks: BTreeSet<Partition>,
    rows: Vec<String>,
    /// A COMMIT is on its way.
    ending: Option<Vec<Step>>,
    /// Its client is gone, and the server does not know yet.
    is_left: bool,
}

/// A worker's client.
struct Client {
    /// Whose calls go wrong as any call does.
    moments: SimulatedLink,
    simulation: Rc<Simulation>,
    process: usize,
    batch: Vec<(Partition, String)>,
    session: Option<u64>,
    at: Progress,
    mutant: Option<DatabaseMutant>,
}

/// A worker at a sink.
pub(super) fn at_work(
    simulation: &Rc<Simulation>,
    link: SimulatedLink,
    (stage, tally): (Arc<StageSettings>, Arc<Tally>),
    clock: Rc<dyn Clock>,
    settings: WorkerSettings,
    Sinking { mutant }: Sinking,
) -> Turns {
    let process = settings.number as usize;
    let client = Rc::new(RefCell::new(Client {
        moments: SimulatedLink::new(simulation.clone(), settings.name.clone(), process),
        simulation: simulation.clone(),
        process,
        batch: Vec::new(),
        session: None,
        at: Progress::default(),
        mutant,
    }));
    let guest: Box<dyn Guest> = Box::new(Batched::new(client.clone()));
    let stage = Stage::new(stage, guest, clock.clone(), tally);
    let broken = match mutant {
        Some(DatabaseMutant::Link(mutant)) => Some(mutant),
        _ => None,
    };
    at_work_on(LedgerLink::new(link, client).broken(broken, Duration::ZERO), stage, clock, settings)
}

impl Client {
    fn is(&self, mutant: DatabaseMutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn with<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.simulation.world.borrow_mut())
    }

    /// One call: it takes its time, and its process may die of it.
    fn call(&mut self, moment: Moment) -> Result<Option<Strike>, Fault> {
        self.simulation.pass(Duration::from_micros(100));
        self.moments.at(moment)
    }

    /// Locks partitions. Who is at work there is waited for; of who is gone the server finds out.
    fn lock(&mut self, partitions: &BTreeSet<Partition>) -> Result<(), Fault> {
        let (process, is_hasty) = (self.process, self.is(DatabaseMutant::ReadsPastLocks));
        let session = self.session;
        let locked = self.with(|world| {
            let others: Vec<_> = world.database.sessions.keys().copied().filter(|id| Some(*id) != session).collect();
            for other in others {
                let known = &world.database.sessions[&other];
                if known.locks.is_disjoint(partitions) || (is_hasty && world.rng.bool()) {
                    continue;
                }
                if world.processes[known.process].alive && !known.is_left {
                    return Err(Fault::Unavailable("somebody else has the lock".into()));
                }
                find_out(world, other);
            }
            let id = session.unwrap_or(world.database.number);
            world.database.number += 1;
            let own = world.database.sessions.entry(id).or_insert_with(|| Session {
                process,
                locks: BTreeSet::new(),
                rows: Vec::new(),
                ending: None,
                is_left: false,
            });
            own.locks.extend(partitions);
            Ok(id)
        })?;
        self.session = Some(locked);
        Ok(())
    }

    fn hang_up(&mut self) {
        let Some(session) = self.session.take() else { return };
        self.with(|world| {
            // A server that hears of it undoes what was done; it may not hear of it.
            let is_heard = world.rng.bool();
            match world.database.sessions.get_mut(&session) {
                Some(left) if left.ending.is_some() || !is_heard => left.is_left = true,
                _ => drop(world.database.sessions.remove(&session)),
            }
        });
    }

    /// Writes what may be written: what is there already is refused, as it is by a unique index.
    fn write(&mut self, batch: &[(Partition, String)]) -> Vec<(usize, Failed)> {
        let Some(session) = self.session else { return Vec::new() };
        self.with(|world| {
            let mut wrong = Vec::new();
            for (place, (_, text)) in batch.iter().enumerate() {
                let is_wrong = text.starts_with("fault") || world.database.rows.contains(text);
                match is_wrong {
                    true => wrong.push((place, refused())),
                    false => world.database.sessions.get_mut(&session).expect("it is open").rows.push(text.clone()),
                }
            }
            wrong
        })
    }

    fn check(&self, partitions: &BTreeSet<Partition>) -> Result<(), Fault> {
        self.with(|world| {
            let is_true =
                |partition: &Partition| world.database.progress.get(partition).copied() == self.at.get(*partition);
            match partitions.iter().all(is_true) {
                true => Ok(()),
                false => {
                    world.count(Event::OffsetsRefused);
                    Err(Fault::Aborted("another one has gone on from there".into()))
                }
            }
        })
    }
}

fn refused() -> Failed {
    Failed::Reject(Reason { code: Some("23505".into()), message: "it is refused".into() })
}

/// The server hears the last of a client that is gone: a COMMIT that was on its way has come, or never will.
fn find_out(world: &mut World, session: u64) {
    let Some(Session { rows, ending: Some(steps), .. }) = world.database.sessions.remove(&session) else { return };
    match world.rng.bool() {
        true => {
            world.count(Event::UnknownLate);
            apply(world, rows, &steps);
        }
        false => world.count(Event::UnknownLost),
    }
}

/// A transaction is there for good, unless a step of it is none any more.
fn apply(world: &mut World, rows: Vec<String>, steps: &[Step]) {
    for Step { partition, to, .. } in steps {
        world.database.progress.insert(*partition, *to);
    }
    for text in rows {
        let id = text.split_once(' ').map_or("", |(_, id)| id);
        let data = record(&format!("{id}>0"));
        world.database.rows.insert(text.clone());
        world.audit.written(MAIN, &data);
        world.output(MAIN, 0).append(None, Rc::new(data));
    }
}

impl Target for Client {
    fn take(&mut self, record: &InHand<'_>) -> Result<bool, Failed> {
        let text = String::from_utf8_lossy(record.record.value.unwrap_or_default()).into_owned();
        self.simulation.spend(Duration::from_millis(1));
        match text.split(' ').next() {
            Some("reject") => Err(refused()),
            Some("drop") => Ok(false),
            _ => {
                self.batch.push((record.record.partition, text));
                Ok(true)
            }
        }
    }

    fn put(&mut self) -> Result<Vec<(usize, Failed)>, Fault> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let partitions: BTreeSet<_> = batch.iter().map(|(partition, _)| *partition).collect();
        self.lock(&partitions)?;
        if !self.is(DatabaseMutant::LocksLate) {
            self.check(&partitions)?;
        }
        let struck = self.call(Moment::Send)?;
        if struck.is_some() {
            return Err(Fault::Unavailable("the connection was cut".into()));
        }
        Ok(self.write(&batch))
    }

    fn withdraw(&mut self) {
        self.batch.clear();
        self.hang_up();
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= 20
    }
}

impl Ledger for Client {
    fn connect(&mut self) -> Result<(), Fault> {
        self.hang_up();
        match self.call(Moment::Init)? {
            Some(_) => Err(Fault::Unavailable("the database does not answer".into())),
            None => Ok(()),
        }
    }

    fn claim(&mut self, starts: &Progress, _: &Births) -> Result<Progress, Fault> {
        let partitions: BTreeSet<_> = starts.iter().map(|(partition, _)| partition).collect();
        self.lock(&partitions)?;
        if self.call(Moment::Starts)?.is_some() {
            return Err(Fault::Unavailable("the database does not answer".into()));
        }
        let found = self.with(|world| {
            let known = &mut world.database.progress;
            starts.iter().map(|(partition, start)| (partition, *known.entry(partition).or_insert(start))).collect()
        });
        self.at = found;
        self.with(|world| drop(self.session.and_then(|session| world.database.sessions.remove(&session))));
        self.session = None;
        Ok(self.at.clone())
    }

    fn commit(&mut self, steps: &[Step]) -> Result<(), Fault> {
        let partitions: BTreeSet<_> = steps.iter().map(|step| step.partition).collect();
        self.lock(&partitions)?;
        if self.call(Moment::Offsets)?.is_some() {
            return Err(Fault::Unavailable("the connection was cut".into()));
        }
        if !self.is(DatabaseMutant::SetsWithoutComparing) {
            self.check(&partitions)?;
        }
        let Some(id) = self.session else { return Err(Fault::Aborted("no session".into())) };
        self.with(|world| world.database.sessions.get_mut(&id).expect("it is open").ending = Some(steps.to_vec()));
        let unknown = || Fault::Unknown("there was no answer to a COMMIT".into());
        // From here on nobody knows: a kill, or a line that is cut, and the server finds out later.
        match self.call(Moment::End)? {
            None => {}
            Some(Strike::Late) => return Err(unknown()),
            Some(_) => {
                self.with(|world| world.database.sessions.get_mut(&id).expect("it is open").ending = None);
                return Err(unknown());
            }
        }
        let rows = self.with(|world| world.database.sessions.remove(&id).map(|session| session.rows));
        self.session = None;
        self.with(|world| apply(world, rows.unwrap_or_default(), steps));
        if self.call(Moment::Answer)?.is_some() {
            self.with(|world| world.count(Event::UnknownCommitted));
            return Err(unknown());
        }
        for step in steps {
            self.at = self.at.iter().filter(|(partition, _)| *partition != step.partition).collect();
            self.at.reach(step.partition, step.to);
        }
        Ok(())
    }
}

/// Runs the schedule of a seed: in the end each record must have had its outcome, and each row be there once.
fn run(seed: u64, mutant: Option<DatabaseMutant>, told: bool) -> Result<Counts, Violation> {
    play(seed, |rng| draw(rng, mutant, told), objection)
}

fn draw(rng: &mut Rng, mutant: Option<DatabaseMutant>, told: bool) -> Rc<Simulation> {
    let inputs: Vec<u32> = (0..rng.usize(1..=2)).map(|_| rng.u32(1..=3)).collect();
    let policy = if rng.u8(0..4) == 0 { Policy::Skip } else { Policy::DeadLetter };
    let settings = Settings {
        // Its dead letters; its rows are better off.
        delivery: Delivery::AtLeastOnce,
        on_error: on_error(policy),
        commit_interval: Duration::from_millis([5, 50, 50, 300][rng.usize(0..4)]),
        chunk: [1, 3, 10, 60][rng.usize(0..4)],
        tells_late: rng.bool(),
        prompt: false,
        strict: mutant.is_none(),
        sink: Some(Sinking { mutant }),
        ..settings()
    };
    let simulation = Simulation::new(rng.fork(), settings, (&inputs, &[1, 1, 1]), None, told);
    for host in 0..rng.usize(1..=3) {
        simulation.add_seat(&simulation.new_name(), host);
    }
    let mut world = simulation.world.borrow_mut();
    for (input, partitions) in inputs.iter().enumerate() {
        for number in 0..*partitions {
            for serial in 0..rng.u64(0..=15) {
                let word = ["pass", "pass", "pass", "pass", "pass", "drop", "reject", "fault"][rng.usize(0..8)];
                world.produce((input, number as usize), record(&format!("{word} {input}/{number}#{serial}")));
            }
        }
    }
    world.odds = Odds::draw(rng);
    drop(world);
    simulation
}

/// What is wrong with the rows, or with the letters: none is of a record that is a row.
fn objection(world: &World) -> Option<String> {
    let mut rows = BTreeSet::new();
    for (_, data) in world.outputs[MAIN].iter().flat_map(|log| log.read(0)) {
        if !rows.insert(data.text()) {
            return Some(format!("{} is a row twice", data.text()));
        }
    }
    let mut letters = world.outputs[LETTERS].iter().flat_map(|log| log.read(0));
    let wrong = letters.find(|(_, data)| !data.text().starts_with("reject") && !data.text().starts_with("fault"));
    wrong.map(|(_, data)| format!("{} is a dead letter", data.text()))
}

mod tests {
    use super::*;

    /// How many schedules a test run goes through.
    const SCHEDULES: u64 = 4_000;
    /// In how many of them a mutant must have been found.
    const FIND_WITHIN: u64 = 2_000;
    /// How often each kind of trouble must have come up in them.
    const OFTEN: u64 = 100;

    #[test]
    fn every_record_is_one_row_whatever_happens() {
        if let Ok(seed) = std::env::var("MILLSTREAM_SEED") {
            let seed = seed.parse().expect("MILLSTREAM_SEED is a number");
            if let Err(violation) = run(seed, None, true) {
                panic!("{violation}");
            }
            return;
        }
        let mut counts = Counts::default();
        for seed in 0..SCHEDULES {
            match run(seed, None, false) {
                Ok(found) => counts.merge(&found),
                Err(violation) => panic!("{}", run(seed, None, true).err().unwrap_or(violation)),
            }
        }
        use Event::*;
        let often = [Killed, SessionLost, UnknownCommitted, UnknownLate, UnknownLost, OffsetsRefused];
        let seldom: Vec<_> = often.into_iter().filter(|event| counts.get(*event) < OFTEN).collect();
        // A simulation in which nothing happens proves nothing.
        assert!(seldom.is_empty(), "hardly ever tried: {seldom:?}");
    }

    #[test]
    fn every_way_to_be_careless_with_a_database_is_found() {
        use DatabaseMutant::*;
        let links = Mutant::ALL.map(Link);
        for mutant in links.into_iter().chain([LocksLate, ReadsPastLocks, SetsWithoutComparing]) {
            let found = (0..FIND_WITHIN).find_map(|seed| run(seed, Some(mutant), false).err());
            let Some(violation) = found else { panic!("never found: {mutant:?}") };
            println!("{:6} schedules: {mutant:?}: {}", violation.seed + 1, violation.what);
            // It is the mutant that was found, and not the worker that it breaks.
            assert!(run(violation.seed, None, false).is_ok());
        }
    }
}
