//! Sources: several hosts of one, of which one is at work, through everything that may go wrong.
//!
//! The source gives the numbers from 0 on, and its position is the number that comes next. In the end the output holds
//! each number once, in order, whoever gave it.

use super::{
    Violation,
    broken_source::{Broken, SourceMutant},
    faults::{Counts, Odds},
    link::SimulatedLink,
    play::play,
    records::{MAIN, OUTPUTS},
    simulation::{Simulation, Turns},
    world::Settings,
};
use crate::{
    clock::Clock,
    manifest::{Delivery, OnError, OnLostOffset, Policy, Start},
    record::{HeaderEdit, Later, Polled, Reason, Record},
    schemas::Codec,
    source::{
        Source, SourceSettings,
        poller::{PollFailed, Poller},
    },
    stage::{Output, Retry},
    transport::Link,
    worker::{SourceWorker, WorkerSettings, control::Control},
};
use fastrand::Rng;
use std::{rc::Rc, sync::Arc, time::Duration};

/// The output that takes positions: the source reads them as its input.
pub(super) const POSITIONS: usize = 1;

/// A source of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) every: Duration,
    /// It gives up in front of this one.
    pub(super) stops_at: Option<u64>,
    pub(super) mutant: Option<SourceMutant>,
}

impl Numbers {
    /// What is to stand in the output.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> + use<> {
        (0..self.count).map(text)
    }

    /// The name that all of them write under.
    pub(super) fn shared_writer(&self) -> Option<&'static str> {
        (self.mutant != Some(SourceMutant::OwnName)).then_some("numbers")
    }
}

fn text(number: u64) -> String {
    format!("n#{number}")
}

/// A worker of the source.
pub(super) fn at_work(
    simulation: &Rc<Simulation>,
    numbers: Numbers,
    name: String,
    process: usize,
    clock: Rc<dyn Clock>,
    control: Arc<Control>,
) -> Turns {
    let output = |(place, partitions): (usize, usize)| Output {
        name: OUTPUTS[place].into(),
        topic: OUTPUTS[place].into(),
        partitions: partitions as u32,
        largest: 1_000_000,
        compacted: place == POSITIONS,
        ahead: None,
        keeps: None,
    };
    let (commit_interval, partitions) = {
        let world = simulation.world.borrow();
        (world.settings.commit_interval, world.outputs[MAIN].len())
    };
    let settings = SourceSettings {
        source: "numbers".into(),
        outputs: [(MAIN, partitions), (POSITIONS, 1)].map(output).into(),
        forgets: false,
        progress_every: 5,
        every: numbers.every,
        retry: Retry { backoff: Duration::from_millis(50), ..Retry::default() },
        codec: Codec::default(),
    };
    let poller = Box::new(Counter { simulation: simulation.clone(), numbers });
    let source = Source::new(Arc::new(settings), poller, clock.clone(), simulation.state.clone());
    let settings = WorkerSettings { name: name.clone(), number: 0, commit_interval, control };
    let link = SimulatedLink::new(simulation.clone(), name, process);
    match numbers.mutant {
        None | Some(SourceMutant::OwnName | SourceMutant::ReadBeforeFencing) => {
            turns(SourceWorker::new(link, source, clock, settings))
        }
        Some(mutant) => turns(SourceWorker::new(Broken::new(link, mutant), source, clock, settings)),
    }
}

fn turns<L: Link + 'static>(mut worker: SourceWorker<L>) -> Turns {
    let mut begun = false;
    Box::new(move || match std::mem::replace(&mut begun, true) {
        false => worker.start(),
        true => worker.step(),
    })
}

/// A module that counts on from where it is told to.
struct Counter {
    simulation: Rc<Simulation>,
    numbers: Numbers,
}

impl Poller for Counter {
    fn poll(&mut self, position: Option<&[u8]>) -> Result<Polled, PollFailed> {
        self.simulation.spend(Duration::from_millis(1));
        let (dice, most) = {
            let world = &mut *self.simulation.world.borrow_mut();
            match world.settings.prompt {
                true => (u32::MAX, 1),
                false => (world.rng.u32(0..20), world.rng.u64(1..=3)),
            }
        };
        let reason = Reason { code: None, message: "the dice said so".into() };
        match dice {
            0 => return Err(PollFailed::Retry(Later { reason, after_ms: None })),
            1 => return Err(PollFailed::Retry(Later { reason, after_ms: Some(30) })),
            2 => return Err(PollFailed::Fault(reason)),
            3 => return Ok(Polled { records: Vec::new(), position: None, done: false }),
            _ => {}
        }
        let next: u64 = position.map_or(0, |bytes| String::from_utf8_lossy(bytes).parse().expect("a number"));
        if self.numbers.stops_at == Some(next) {
            return Err(PollFailed::Stop(reason));
        }
        let end = (next + most).min(self.numbers.count);
        let record = |number: u64| Record {
            key: Some(number.to_string().into_bytes()),
            value: Some(text(number).into_bytes()),
            headers: HeaderEdit::Keep,
            output: None,
            partition: None,
            timestamp: None,
        };
        let position = Some(end.max(next).to_string().into_bytes());
        Ok(Polled { records: (next..end).map(record).collect(), position, done: end >= self.numbers.count })
    }
}

/// Runs the schedule of a seed: in the end all numbers must have come.
fn run(seed: u64, mutant: Option<SourceMutant>, told: bool) -> Result<Counts, Violation> {
    play(seed, |rng| draw(rng, mutant, told), |_| None)
}

fn draw(rng: &mut Rng, mutant: Option<SourceMutant>, told: bool) -> Rc<Simulation> {
    let every = Duration::from_millis([0, 5, 40][rng.usize(0..3)]);
    let settings = Settings {
        delivery: Delivery::ExactlyOnce,
        on_error: OnError::all(Policy::Stop),
        from: Start::Earliest,
        on_lost_offset: OnLostOffset::Stop,
        commit_interval: Duration::from_millis([5, 50, 50, 300][rng.usize(0..4)]),
        chunk: [1, 3, 10, 60][rng.usize(0..4)],
        session: Duration::from_secs(6),
        join_patience: Duration::from_secs(20),
        transaction_timeout: Duration::from_secs(10),
        most_in_time: [usize::MAX, usize::MAX, 40][rng.usize(0..3)],
        tells_late: false,
        prompt: false,
        strict: mutant.is_none(),
        audited: true,
        source: Some(Numbers { count: rng.u64(20..=200), every, stops_at: None, mutant }),
        again: None,
        sink: None,
        waits: None,
    };
    let partitions = rng.u32(1..=3);
    let simulation = Simulation::new(rng.fork(), settings, (&[1], &[partitions, 1]), None, told);
    for host in 0..rng.usize(1..=3) {
        simulation.add_seat(&simulation.new_name(), host);
    }
    simulation.world.borrow_mut().odds = Odds::draw(rng);
    simulation
}

mod tests {
    use super::*;
    use crate::{
        transport::simulated::{
            faults::{Event, Moment, Strike},
            scene::{Scene, failed},
        },
        worker::Ended,
    };

    /// How many schedules a test run goes through.
    const SCHEDULES: u64 = 4_000;
    /// In how many of them a mutant must have been found.
    const FIND_WITHIN: u64 = 1_000;
    /// How often each kind of trouble must have come up in them.
    const OFTEN: u64 = 100;
    /// Longer than a session, a transaction and a rebalance may take.
    const LONG: Strike = Strike::Stall(Duration::from_secs(40));
    /// Longer than a session, and shorter than a transaction may take.
    const MIDDLE: Strike = Strike::Stall(Duration::from_millis(7000));

    const ALL: &str = "main: n#0 n#1 n#2 n#3 n#4 n#5 n#6 n#7";

    /// `a` is at work at the numbers below 8, and `b` stands by.
    fn scene() -> Scene {
        let scene = Scene::of_numbers(8);
        scene.worker("a");
        scene.until("a is at work", |scene| scene.happened(Event::Committed));
        scene.comes_soon("b");
        scene
    }

    #[test]
    fn every_number_comes_once_whatever_happens() {
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
        let often =
            [CommittedLate, Fenced, InitFailed, Killed, SessionLost, TransactionExpired, UnknownCommitted, UnknownLost];
        let seldom: Vec<_> = often.into_iter().filter(|event| counts.get(*event) < OFTEN).collect();
        // A simulation in which nothing happens proves nothing.
        assert!(seldom.is_empty(), "hardly ever tried: {seldom:?}");
        println!("an old generation was refused {} times", counts.get(OldGeneration));
    }

    #[test]
    fn every_way_to_break_a_source_is_found() {
        for mutant in SourceMutant::ALL {
            let found = (0..FIND_WITHIN).find_map(|seed| run(seed, Some(mutant), false).err());
            let Some(violation) = found else { panic!("never found: {mutant:?}") };
            println!("{:6} schedules: {mutant:?}: {}", violation.seed + 1, violation.what);
            // It is the mutant that was found, and not the worker that it breaks.
            assert!(run(violation.seed, None, false).is_ok());
        }
    }

    #[test]
    fn one_that_is_killed_anywhere_is_replaced() {
        use Moment::{Answer, Begin, End, Flush, Send, Take};
        for moment in [Take, Begin, Send, Flush, End, Answer] {
            let scene = scene();
            scene.strike("a", moment, Strike::Kill);
            scene.ends_with(ALL);
            assert!(scene.happened(Event::Killed));
        }
    }

    #[test]
    fn one_that_stands_by_says_so_until_it_takes_over() {
        let scene = scene();
        scene.until("b stands by", |scene| scene.source().is_standby());
        scene.strike("a", Moment::Take, LONG);
        scene.until("b takes over", |scene| !scene.source().is_standby());
        scene.ends_with(ALL);
    }

    #[test]
    fn one_that_wakes_after_another_took_over_is_fenced() {
        for strike in [MIDDLE, LONG] {
            for moment in [Moment::Begin, Moment::Send, Moment::Flush, Moment::End] {
                let scene = scene();
                scene.strike("a", moment, strike);
                scene.ends_with(ALL);
                assert!(scene.happened(Event::SessionLost));
                // What took too long is refused in the same words, and told apart by its time.
                assert!(scene.happened(Event::Fenced) || strike == LONG, "{moment:?}");
            }
        }
    }

    #[test]
    fn an_unknown_outcome_is_settled_before_the_position_is_read() {
        for (moment, strike) in
            [(Moment::End, Strike::Fail), (Moment::End, Strike::Late), (Moment::Answer, Strike::Fail)]
        {
            let scene = scene();
            scene.strike("a", moment, strike);
            scene.ends_with(ALL);
        }
    }

    #[test]
    fn what_a_fault_undid_is_polled_again_at_once() {
        let scene = Scene::of_numbers_every(1, Duration::from_hours(24));
        scene.worker("a");
        scene.strike("a", Moment::Send, Strike::Fail);
        scene.until("it is done", |scene| scene.source().is_done());
        scene.strike("a", Moment::Take, Strike::Fail);
        scene.until("it fails", |scene| scene.happened(Event::TakeFailed));
        scene.until("it is done again", |scene| scene.source().is_done());
        scene.ends_with("main: n#0");
    }

    #[test]
    fn one_that_stops_says_why_and_has_committed_what_came_before() {
        let scene = Scene::of_numbers_up_to(3);
        let a = scene.worker("a");
        assert_eq!(failed(&scene.end_of(&a)), "the dice said so");
        scene.passes(Duration::from_secs(1));
        assert_eq!(scene.outputs(), "main: n#0 n#1 n#2");
    }

    #[test]
    fn one_that_is_done_keeps_others_from_polling_on() {
        let scene = Scene::of_numbers(2);
        let a = scene.worker("a");
        scene.ends_with("main: n#0 n#1");
        scene.worker("b");
        for _ in 0..50 {
            scene.passes(Duration::from_millis(50));
        }
        assert_eq!(scene.outputs(), "main: n#0 n#1");
        a.control.borrow().stop();
        assert_eq!(scene.end_of(&a), Ended::Orderly);
        scene.ends_with("main: n#0 n#1");
    }
}
