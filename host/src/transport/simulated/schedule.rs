//! One schedule: a time in which anything may go wrong, and a quiet one in which everything must come to its end.

use super::{
    Outcome, Violation,
    faults::{Event, Odds},
    log::Data,
    records::{self, Manners},
    scene::on_error,
    simulation::Simulation,
    transactions::WriterId,
    world::Settings,
};
use crate::{
    manifest::{Delivery, OnError, OnLostOffset, Policy, Start},
    swap::{Looked, Probation, Verdict},
    transport::{Partition, mutants::Mutant},
};
use fastrand::Rng;
use std::{panic::AssertUnwindSafe, rc::Rc, time::Duration};

/// How many turns the quiet time may take.
const QUIET_TURNS: usize = 20_000;

/// Writers of inputs have numbers that no worker's has.
const FIRST_PRODUCER: WriterId = 1_000_000;

struct Schedule {
    simulation: Rc<Simulation>,
    rng: Rng,
    /// Transactions in the inputs that are still open: the writer, the partition, the records.
    open: Vec<(WriterId, (usize, usize), Vec<String>)>,
    producers: WriterId,
    serials: Vec<Vec<u64>>,
    /// How many records are still to come.
    left: usize,
    /// The modules that were offered.
    offers: Vec<(u64, Manners)>,
    /// The module that looks on, or did last.
    looks: Option<(u64, Manners)>,
}

/// Runs the schedule of a seed. With `told` it keeps its story.
pub(super) fn run(seed: u64, mutant: Option<Mutant>, told: bool) -> Result<Outcome, Violation> {
    fastrand::seed(seed);
    let mut schedule = Schedule::draw(seed, mutant, told);
    let simulation = schedule.simulation.clone();
    let worked = std::panic::catch_unwind(AssertUnwindSafe(|| schedule.work()));
    let (violation, story, counts) = match worked {
        Err(_) => (Some("a worker panicked, as said above".to_owned()), Vec::new(), Default::default()),
        Ok(()) => {
            let mut world = simulation.world.borrow_mut();
            let counts = std::mem::take(&mut world.counts);
            (world.audit.violation.take(), world.take_story(), counts)
        }
    };
    simulation.dismiss();
    match violation {
        None => Ok(Outcome { counts }),
        Some(what) => Err(Violation { seed, what, story }),
    }
}

impl Schedule {
    fn draw(seed: u64, mutant: Option<Mutant>, told: bool) -> Schedule {
        let mut rng = Rng::with_seed(seed);
        let inputs: Vec<u32> = (0..rng.usize(1..=2)).map(|_| rng.u32(1..=3)).collect();
        let outputs = [rng.u32(1..=3), rng.u32(1..=2), rng.u32(1..=2)];
        let settings = Settings {
            delivery: match rng.u8(0..3) {
                0 => Delivery::AtLeastOnce,
                _ => Delivery::ExactlyOnce,
            },
            on_error: draw_on_error(&mut rng),
            from: Start::Earliest,
            on_lost_offset: OnLostOffset::Stop,
            commit_interval: Duration::from_millis([5, 50, 50, 300][rng.usize(0..4)]),
            chunk: [1, 3, 10, 60][rng.usize(0..4)],
            session: Duration::from_secs(6),
            join_patience: Duration::from_secs(20),
            transaction_timeout: Duration::from_secs(10),
            most_in_time: [usize::MAX, usize::MAX, 40, 8][rng.usize(0..4)],
            tells_late: rng.bool(),
            prompt: false,
            strict: mutant.is_none(),
            audited: true,
            source: None,
            again: None,
            sink: None,
            waits: (rng.u8(0..6) == 0).then_some(Partition { input: 0, number: 0 }),
        };
        let workers = rng.usize(1..=3);
        let hosts = rng.usize(1..=2);
        let topics = (&inputs[..], &outputs[..]);
        let simulation = Simulation::new(rng.fork(), settings, topics, mutant, told);
        for worker in 0..workers {
            simulation.add_seat(&simulation.new_name(), worker % hosts);
        }
        let mut serials: Vec<_> = inputs.iter().map(|count| vec![0; *count as usize]).collect();
        {
            let mut world = simulation.world.borrow_mut();
            world.odds = Odds::draw(&mut rng);
            if world.settings.waits.is_some() {
                world.count(Event::WaitsForEver);
                world.produce((0, 0), record("tired 0/0#1"));
                serials[0][0] = 1;
            }
        }
        Schedule {
            simulation,
            open: Vec::new(),
            producers: FIRST_PRODUCER,
            serials,
            left: rng.usize(5..=60),
            offers: Vec::new(),
            looks: None,
            rng,
        }
    }

    fn work(&mut self) {
        let turns = self.rng.usize(40..250);
        for _ in 0..turns {
            self.disturb();
            self.turn();
            if self.violated() {
                return;
            }
        }
        self.calm();
        for _ in 0..QUIET_TURNS {
            self.turn();
            if self.violated() {
                return;
            }
            if self.simulation.world.borrow().drained() {
                return self.conclude();
            }
        }
        let mut world = self.simulation.world.borrow_mut();
        let committed = format!("{:?}", world.group.committed);
        world.audit.blame(format!("stuck: the group is at {committed}"));
    }

    fn violated(&self) -> bool {
        self.simulation.world.borrow().audit.violation.is_some()
    }

    fn turn(&mut self) {
        if !self.simulation.run_any() {
            self.simulation.pass(Duration::from_millis(50));
        }
    }

    /// What happens between turns.
    fn disturb(&mut self) {
        match self.rng.u32(0..200) {
            0..40 => self.produce(),
            40..60 => self.end_transaction(),
            60 => self.grow(),
            61 => self.rebalance(),
            62 => self.lose_brokers(),
            63 => self.ask_to_end(),
            64 => self.double(),
            66 => self.swap(),
            67 => self.look_on(),
            65 if self.simulation.seats.borrow().len() < 4 => {
                self.simulation.add_seat(&self.simulation.new_name(), 2);
            }
            _ => {}
        }
    }

    /// Some records for a partition: as they are, or in a transaction.
    fn produce(&mut self) {
        let count = self.rng.usize(1..=8).min(self.left);
        if count == 0 {
            return;
        }
        self.left -= count;
        let topic = self.rng.usize(0..self.serials.len());
        let partition = self.rng.usize(0..self.serials[topic].len());
        let texts: Vec<String> = (0..count)
            .map(|_| {
                let serial = &mut self.serials[topic][partition];
                *serial += 1;
                let word = records::draw_word(&mut self.rng);
                format!("{word} {topic}/{partition}#{serial}")
            })
            .collect();
        let transactional = self.rng.u8(0..3) == 0;
        let mut world = self.simulation.world.borrow_mut();
        if transactional {
            self.producers += 1;
            for text in &texts {
                let data = Rc::new(record(text));
                world.inputs[topic][partition].append(Some(self.producers), data);
            }
            self.open.push((self.producers, (topic, partition), texts));
        } else {
            for text in &texts {
                world.produce((topic, partition), record(text));
            }
        }
    }

    fn end_transaction(&mut self) {
        let Some((writer, (topic, partition), texts)) = self.open.pop() else {
            return;
        };
        let commit = self.rng.u8(0..3) > 0;
        let mut world = self.simulation.world.borrow_mut();
        if commit {
            texts.iter().for_each(|text| world.expect((topic, partition), text));
        }
        world.note(|| format!("{topic}/{partition}: {texts:?}, committed: {commit}"));
        world.inputs[topic][partition].mark(writer, commit);
    }

    fn grow(&mut self) {
        let topic = self.rng.usize(0..self.serials.len());
        if self.serials[topic].len() < 4 {
            self.serials[topic].push(0);
            self.simulation.grow(topic);
        }
    }

    /// Another module is to take over; good ones stand, and of bad ones nothing is left.
    fn swap(&mut self) {
        self.judge_swaps();
        let manners = match self.rng.u8(0..4) {
            0 => Manners::FallsAfter(self.rng.u32(0..6)),
            1 => Manners::Refuses,
            _ => Manners::Good,
        };
        // A bad one is not let off before it did wrong.
        let (records, time) = match manners {
            Manners::Good => (self.rng.u64(1..30), Duration::from_millis(self.rng.u64(1..3_000))),
            _ => (u64::MAX, Duration::MAX),
        };
        let name = format!("m{}", self.offers.len());
        if let Some(offer) = self.simulation.offer(&name, manners, Probation { records, time }) {
            self.offers.push((offer, manners));
            self.simulation.world.borrow_mut().count(Event::Swapped);
        }
    }

    /// Another module is to look on: whatever it does, nobody may notice it.
    fn look_on(&mut self) {
        self.judge_looks();
        let manners = match self.rng.u8(0..6) {
            0 => Manners::FallsAfter(self.rng.u32(0..6)),
            1 => Manners::Garbles(self.rng.u32(0..6)),
            2 => Manners::Endless,
            3 => Manners::Refuses,
            _ => Manners::Good,
        };
        let of = self.rng.u64(1..100);
        // Not while one is on trial.
        if let Ok(number) = self.simulation.look_on("looks-on", manners, of) {
            self.looks = Some((number, manners));
            self.simulation.world.borrow_mut().note(|| format!("{manners:?} looks on, for {of} records"));
        }
    }

    fn judge_looks(&self) {
        let Some((looked, (number, manners))) = self.simulation.modules.looked().zip(self.looks) else { return };
        let mut world = self.simulation.world.borrow_mut();
        let &Looked { records, of, different, .. } = &looked;
        if records > 0 && (manners == Manners::Good || different > 0) {
            world.count(Event::LookedOn);
        }
        let is_right = looked.number == number && records <= of && different <= records;
        let exactly = world.settings.delivery == Delivery::ExactlyOnce;
        if !is_right || (manners == Manners::Good && different > 0) || (exactly && records > world.audit.records()) {
            world.audit.blame(format!("a module that looked on was told this: {looked:?}"));
        }
    }

    fn judge_swaps(&self) {
        let mut world = self.simulation.world.borrow_mut();
        for (offer, manners) in &self.offers {
            let Some(ended) =
                self.simulation.modules.outcome(*offer, &|| Duration::ZERO, Duration::ZERO, Duration::ZERO)
            else {
                continue;
            };
            match (ended.verdict, manners) {
                (Verdict::Confirmed, Manners::Refuses) => world.audit.blame("what does not start was confirmed".into()),
                // One that stumbles does so once a record, whoever had it before.
                (Verdict::RolledBack(why), Manners::Good) if !why.contains("stumble") => {
                    world.audit.blame(format!("a good module was rolled back: {why}"));
                }
                _ => {}
            }
        }
    }

    fn rebalance(&mut self) {
        let mut world = self.simulation.world.borrow_mut();
        let now = world.now();
        world.note(|| "a rebalance".into());
        world.group.rebalance(now);
    }

    fn lose_brokers(&mut self) {
        let mut world = self.simulation.world.borrow_mut();
        world.away = world.now() + Duration::from_millis(self.rng.u64(0..20_000));
        world.count(Event::BrokerAway);
        world.note(|| "the brokers are away".into());
    }

    fn ask_to_end(&mut self) {
        let seats = self.simulation.seats.borrow();
        let seat = &seats[self.rng.usize(0..seats.len())];
        seat.control.borrow().stop();
        self.simulation.world.borrow_mut().count(Event::AskedToEnd);
    }

    fn double(&mut self) {
        let place = self.rng.usize(0..self.simulation.seats.borrow().len());
        let seat = self.simulation.seats.borrow()[place].clone();
        self.simulation.double(&seat);
    }

    /// From here on nothing goes wrong any more, and nothing new comes.
    fn calm(&mut self) {
        while !self.open.is_empty() {
            self.end_transaction();
        }
        let mut world = self.simulation.world.borrow_mut();
        world.odds = Odds::default();
        world.away = Duration::ZERO;
        world.note(|| "all is quiet".into());
    }

    fn conclude(&mut self) {
        self.judge_swaps();
        self.judge_looks();
        let mut world = self.simulation.world.borrow_mut();
        let world = &mut *world;
        let refused = world.counts.get(Event::RecordRefused) > 0;
        let exactly = world.settings.delivery == Delivery::ExactlyOnce;
        world.audit.conclude(&world.outputs, exactly || !refused);
        let taken = self.simulation.tally.counts().taken;
        if exactly && taken > world.audit.records() {
            world.audit.blame(format!("{taken} records were counted, more than there were"));
        }
    }
}

/// Now and then everything is skipped, or one kind of failure.
fn draw_on_error(rng: &mut Rng) -> OnError {
    match rng.u8(0..10) {
        0 | 1 => on_error(Policy::Skip),
        2 => OnError { reject: Policy::Skip, ..on_error(Policy::DeadLetter) },
        3 => OnError { fault: Policy::DeadLetter, ..on_error(Policy::Skip) },
        _ => on_error(Policy::DeadLetter),
    }
}

/// A record as a producer writes it.
pub(super) fn record(text: &str) -> Data {
    let key = text.rsplit_once('#').map(|(_, serial)| serial);
    Data {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(text.as_bytes().to_vec()),
        headers: vec![(b"text".to_vec(), Some(text.as_bytes().to_vec()))],
        timestamp: Some(1_700_000_000_000),
    }
}
