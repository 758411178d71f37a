//! The processes: who works under which name, who is at it now, and who goes on while somebody stands still.

use super::{
    broken_source::SourceMutant,
    database,
    faults::Event,
    letters,
    link::SimulatedLink,
    log::Log,
    records::{LETTERS, Manners, OUTPUTS, Obedient},
    sources,
    world::{Process, Settings, World},
};
use crate::{
    clock::Clock,
    schemas::Codec,
    source::SourceState,
    stage::{Output, Stage, StageSettings, Tally},
    swap::{self, Modules, Probation, Unwanted, Version},
    transport::{
        Link,
        mutants::{Broken, Mutant},
    },
    worker::{Ended, Worker, WorkerSettings, control::Control},
};
use fastrand::Rng;
use fragile::Fragile;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

/// A worker at work: each call is one turn.
pub(super) type Turns = Box<dyn FnMut() -> Option<Ended>>;

/// How many workers may stand still inside each other's calls.
const DEPTH: u32 = 3;

/// Where a worker works; when it ends, another one comes.
pub(super) struct Seat {
    pub(super) name: RefCell<String>,
    host: usize,
    turns: RefCell<Option<Turns>>,
    busy: Cell<bool>,
    /// Nobody comes before this time.
    vacant: Cell<Duration>,
    process: Cell<usize>,
    pub(super) control: RefCell<Arc<Control>>,
    pub(super) ended: RefCell<Option<Ended>>,
}

/// A world and the workers in it.
pub(super) struct Simulation {
    pub(super) world: RefCell<World>,
    pub(super) seats: RefCell<Vec<Rc<Seat>>>,
    time: Rc<Cell<Duration>>,
    depth: Cell<u32>,
    names: Cell<u32>,
    /// Names that two processes had at once.
    doubles: RefCell<BTreeSet<String>>,
    mutant: Option<Mutant>,
    stage: Arc<StageSettings>,
    pub(super) tally: Arc<Tally>,
    pub(super) modules: Arc<Modules>,
    /// That of the source, when one is at work.
    pub(super) state: Arc<SourceState>,
}

impl Simulation {
    pub(super) fn new(
        rng: Rng,
        settings: Settings,
        topics: (&[u32], &[u32]),
        mutant: Option<Mutant>,
        told: bool,
    ) -> Rc<Simulation> {
        let time = Rc::new(Cell::new(Duration::from_secs(60)));
        Rc::new_cyclic(|own| Simulation {
            modules: Modules::new(version(own, "first", Manners::Good)),
            stage: Arc::new(stage_settings(&settings, topics)),
            world: RefCell::new(World::new(rng, settings, topics, time.clone(), told)),
            seats: RefCell::default(),
            time,
            depth: Cell::new(0),
            names: Cell::new(0),
            doubles: RefCell::default(),
            mutant,
            tally: Arc::default(),
            state: Arc::default(),
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.time.get()
    }

    /// The time that workers go by.
    pub(super) fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(SimulatedClock(self.time.clone()))
    }

    /// Time passes, and nothing else.
    pub(super) fn spend(&self, time: Duration) {
        self.time.set(self.time.get() + time);
    }

    /// Time passes, with what it brings about.
    pub(super) fn pass(&self, time: Duration) {
        self.spend(time);
        self.world.borrow_mut().tend();
    }

    /// Another module is to take the place of the one that runs.
    pub(super) fn offer(self: &Rc<Self>, name: &str, manners: Manners, probation: Probation) -> Option<u64> {
        let offer = self.modules.offer(version(&Rc::downgrade(self), name, manners), probation, None).ok();
        self.world.borrow_mut().note(|| format!("{name}, {manners:?}, is offered: {offer:?}"));
        offer
    }

    /// Another module is to look on.
    pub(super) fn look_on(self: &Rc<Self>, name: &str, manners: Manners, of: u64) -> Result<u64, Unwanted> {
        self.modules.look_on(version(&Rc::downgrade(self), name, manners), of)
    }

    /// How an offer ended, when it has.
    pub(super) fn verdict(&self, offer: u64) -> Option<swap::Ended> {
        self.modules.outcome(offer, &|| self.now(), Duration::ZERO, Duration::ZERO)
    }

    /// A seat for workers of this name.
    pub(super) fn add_seat(&self, name: &str, host: usize) -> Rc<Seat> {
        let seat = Rc::new(Seat {
            name: RefCell::new(name.to_owned()),
            host,
            turns: RefCell::default(),
            busy: Cell::new(false),
            vacant: Cell::new(Duration::ZERO),
            process: Cell::new(usize::MAX),
            control: RefCell::default(),
            ended: RefCell::default(),
        });
        self.seats.borrow_mut().push(seat.clone());
        seat
    }

    /// Nobody comes to this seat for a while.
    pub(super) fn delay(&self, seat: &Seat, time: Duration) {
        seat.vacant.set(self.now() + time);
    }

    /// One turn of the worker in this seat, if it can have one.
    pub(super) fn run(self: &Rc<Self>, seat: &Rc<Seat>) -> bool {
        if seat.busy.get() || self.world.borrow().audit.violation.is_some() {
            return false;
        }
        if seat.turns.borrow().is_none() {
            if self.now() < seat.vacant.get() {
                return false;
            }
            self.hire(seat);
        }
        let Some(mut turns) = seat.turns.borrow_mut().take() else {
            return false;
        };
        seat.busy.set(true);
        let ended = turns();
        seat.busy.set(false);
        match ended {
            None => *seat.turns.borrow_mut() = Some(turns),
            Some(ended) => {
                drop(turns);
                self.ended(seat, ended);
            }
        }
        true
    }

    /// One turn of anybody.
    pub(super) fn run_any(self: &Rc<Self>) -> bool {
        let seat = {
            let seats = self.seats.borrow();
            let place = self.world.borrow_mut().rng.usize(0..seats.len());
            seats[place].clone()
        };
        self.run(&seat)
    }

    /// The others go on for a moment.
    pub(super) fn meanwhile(self: &Rc<Self>) {
        self.nested(|| {
            let turns = self.world.borrow_mut().rng.usize(1..=4);
            for _ in 0..turns {
                self.run_any();
            }
        });
    }

    /// A process stands still, and the others go on.
    pub(super) fn stall(self: &Rc<Self>, process: usize, time: Duration) {
        let until = self.now() + time;
        let now = self.now();
        self.world.borrow_mut().processes[process].silent.get_or_insert(now);
        self.nested(|| {
            while self.now() < until {
                let (leap, turns) = {
                    let world = &mut *self.world.borrow_mut();
                    match world.settings.prompt {
                        true => (time / 8, 16),
                        // At least something: time that stands still would never reach its end.
                        false => (time.mul_f64(world.rng.f64()) + Duration::from_millis(1), world.rng.usize(0..16)),
                    }
                };
                self.pass((until - self.now()).min(leap));
                for _ in 0..turns {
                    self.run_any();
                }
            }
        });
        let left = until.saturating_sub(self.now());
        self.pass(left);
        let mut world = self.world.borrow_mut();
        if world.processes[process].alive {
            world.processes[process].silent = None;
        }
    }

    fn nested(&self, others: impl FnOnce()) {
        if self.depth.get() < DEPTH {
            self.depth.set(self.depth.get() + 1);
            others();
            self.depth.set(self.depth.get() - 1);
        }
    }

    /// A new process, with a worker in it.
    fn hire(self: &Rc<Self>, seat: &Rc<Seat>) {
        let name = seat.name.borrow().clone();
        let process = {
            let mut world = self.world.borrow_mut();
            world.note(|| format!("{name} starts"));
            world.processes.push(Process { host: seat.host, alive: true, silent: None });
            world.processes.len() - 1
        };
        seat.process.set(process);
        let control = Arc::new(Control::default());
        *seat.control.borrow_mut() = control.clone();
        let clock = self.clock();
        let source = self.world.borrow().settings.source;
        if let Some(numbers) = source {
            *seat.turns.borrow_mut() = Some(sources::at_work(self, numbers, name, process, clock, control));
            return;
        }
        let settings = WorkerSettings {
            name: name.clone(),
            number: process as u32,
            commit_interval: self.world.borrow().settings.commit_interval,
            control: control.clone(),
        };
        let link = SimulatedLink::new(self.clone(), name, process);
        let sink = self.world.borrow().settings.sink;
        if let Some(sinking) = sink {
            let stage = (self.stage.clone(), self.tally.clone());
            *seat.turns.borrow_mut() = Some(database::at_work(self, link, stage, clock, settings, sinking));
            return;
        }
        let (part, tally) = (swap::Seat::new(&self.modules, process as u32), self.tally.clone());
        let stage = Stage::at(part, self.stage.clone(), clock.clone(), tally, &control)
            .expect("what stands has started before");
        let again = self.world.borrow().settings.again.clone();
        *seat.turns.borrow_mut() = Some(match (again, self.mutant) {
            (Some(retried), mutant) => letters::at_work(link, stage, clock, settings, retried, mutant),
            (None, None) => at_work(link, stage, clock, settings),
            (None, Some(mutant)) => at_work(Broken::new(link, mutant), stage, clock, settings),
        });
    }

    /// A worker ended: by now, or soon, another one takes its place.
    fn ended(&self, seat: &Rc<Seat>, ended: Ended) {
        let name = seat.name.borrow().clone();
        let mut world = self.world.borrow_mut();
        world.note(|| format!("{name} ended: {ended:?}"));
        let killed = !world.processes[seat.process.get()].alive;
        world.kill(seat.process.get());
        let doubled = self.doubled(&name);
        let had_double = self.doubles.borrow().contains(&name);
        if let Ended::Failed(why) = &ended
            && !killed
            && !had_double
            && world.settings.strict
        {
            world.audit.blame(format!("{name} gave up: {why}"));
        }
        let delay = match world.rng.u32(0..4) {
            0 => world.rng.u64(0..25_000),
            _ => world.rng.u64(0..1_000),
        };
        self.delay(seat, Duration::from_millis(delay));
        // Now and then another host's worker comes instead, under a name of its own.
        if doubled || (killed && !world.settings.prompt && world.rng.u32(0..4) == 0) {
            *seat.name.borrow_mut() = self.new_name();
        }
        *seat.ended.borrow_mut() = Some(ended);
    }

    /// True when two seats have this name.
    fn doubled(&self, name: &str) -> bool {
        let seats = self.seats.borrow();
        let same = |seat: &&Rc<Seat>| *seat.name.borrow() == name;
        seats.iter().filter(same).count() > 1
    }

    /// The name that all workers write under, when they are a source's.
    pub(super) fn shared_writer(&self) -> Option<&'static str> {
        self.world.borrow().settings.source.and_then(|numbers| numbers.shared_writer())
    }

    /// Those workers are broken: they become the writer when they have something to write, and not before they read.
    pub(super) fn fences_late(&self) -> bool {
        let source = self.world.borrow().settings.source;
        source.is_some_and(|numbers| numbers.mutant == Some(SourceMutant::ReadBeforeFencing))
    }

    /// A name that nobody had before.
    pub(super) fn new_name(&self) -> String {
        self.names.set(self.names.get() + 1);
        format!("w{}", self.names.get())
    }

    /// Somebody starts a second worker under a name.
    pub(super) fn double(&self, seat: &Rc<Seat>) {
        let name = seat.name.borrow().clone();
        if !self.doubled(&name) {
            self.world.borrow_mut().count(Event::Doubled);
            self.add_seat(&name, seat.host);
            self.doubles.borrow_mut().insert(name);
        }
    }

    /// A topic gets one more partition.
    pub(super) fn grow(&self, topic: usize) {
        let mut world = self.world.borrow_mut();
        world.inputs[topic].push(Log::default());
        world.count(Event::Grown);
        let now = world.now();
        world.group.rebalance(now);
    }

    /// Everybody goes home.
    pub(super) fn dismiss(&self) {
        let seats = std::mem::take(&mut *self.seats.borrow_mut());
        for seat in seats {
            drop(seat.turns.borrow_mut().take());
        }
    }
}

/// A module of this world. It lives on one thread, as all do here.
fn version(simulation: &Weak<Simulation>, name: &str, manners: Manners) -> Version {
    let simulation = Fragile::new(simulation.clone());
    Version::new(name, name, move || {
        let simulation = simulation.get().upgrade().expect("nobody starts a guest when the world is gone");
        match manners {
            Manners::Refuses => Err("it does not start".into()),
            _ => Ok(Box::new(Obedient::new(simulation, manners))),
        }
    })
}

/// A worker at this link.
pub(super) fn at_work<L: Link + 'static>(
    link: L,
    stage: Stage,
    clock: Rc<dyn Clock>,
    settings: WorkerSettings,
) -> Turns {
    let mut worker = Worker::new(link, stage, clock, settings);
    let mut begun = false;
    Box::new(move || match std::mem::replace(&mut begun, true) {
        false => worker.start(),
        true => worker.step(),
    })
}

fn stage_settings(settings: &Settings, (inputs, outputs): (&[u32], &[u32])) -> StageSettings {
    let output = |(place, partitions): (usize, &u32)| Output {
        name: OUTPUTS[place].into(),
        topic: OUTPUTS[place].into(),
        partitions: *partitions,
        largest: 1_000_000,
        compacted: false,
        ahead: None,
        keeps: None,
    };
    let count = if settings.on_error.has_dead_letters() { OUTPUTS.len() } else { LETTERS };
    StageSettings {
        pipeline: "simulated".into(),
        stage: "stage".into(),
        module: "obedient".into(),
        inputs: (0..inputs.len()).map(|input| input.to_string()).collect(),
        outputs: outputs.iter().enumerate().take(count).map(output).collect(),
        on_error: settings.on_error.clone(),
        provenance: false,
        codec: Codec::default(),
    }
}

/// Milliseconds since 1970, at a time of the simulation's.
pub(super) fn wall_ms(time: Duration) -> i64 {
    1_700_000_000_000 + time.as_millis() as i64
}

/// Time as the simulation has it.
struct SimulatedClock(Rc<Cell<Duration>>);

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn wall_ms(&self) -> i64 {
        wall_ms(self.0.get())
    }

    fn wait(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}
