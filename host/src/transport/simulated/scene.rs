//! The stage on which behaviours are shown: a small cluster in which nothing goes wrong but what a test asks for.

use super::{
    faults::{Event, Moment, Strike},
    records::{LETTERS, Manners, OUTPUTS},
    schedule::record,
    simulation::{Seat, Simulation},
    sources::Numbers,
    world::{Rule, Settings},
};
use crate::{
    manifest::{Delivery, OnError, OnLostOffset, Policy, Start},
    source::SourceState,
    stage::Retry,
    swap::{self, Modules, Probation},
    worker::Ended,
};
use fastrand::Rng;
use std::{rc::Rc, time::Duration};

/// As many turns as anything here may take.
const TURNS: usize = 5_000;

/// Two inputs with two partitions each, and outputs with one.
pub(super) struct Scene {
    simulation: Rc<Simulation>,
    producers: u32,
}

/// Exactly once, and whatever there is comes at once.
pub(super) fn settings() -> Settings {
    Settings {
        delivery: Delivery::ExactlyOnce,
        on_error: on_error(Policy::DeadLetter),
        from: Start::Earliest,
        on_lost_offset: OnLostOffset::Stop,
        commit_interval: Duration::from_millis(50),
        chunk: 60,
        session: Duration::from_secs(6),
        join_patience: Duration::from_secs(20),
        transaction_timeout: Duration::from_secs(10),
        most_in_time: usize::MAX,
        tells_late: false,
        prompt: true,
        strict: true,
        audited: true,
        source: None,
        again: None,
        sink: None,
        waits: None,
    }
}

/// A policy for every failure, and what may pass is tried again for ever.
pub(super) fn on_error(policy: Policy) -> OnError {
    let retry = Retry {
        backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(2),
        give_up_after: Duration::from_secs(1_000_000),
    };
    OnError { retry, stop_when: None, ..OnError::all(policy) }
}

impl Scene {
    /// Records are there before anybody comes.
    pub(super) fn with(records: &str, settings: Settings) -> Scene {
        let topics = (&[2, 2][..], &[1, 1, 1][..]);
        let simulation = Simulation::new(Rng::with_seed(7), settings, topics, None, true);
        let mut scene = Scene { simulation, producers: 1_000_000 };
        scene.come(records);
        scene
    }

    /// A source of so many numbers, and nobody at work yet.
    pub(super) fn of_numbers(count: u64) -> Scene {
        Scene::of_numbers_every(count, Duration::from_millis(20))
    }

    /// The same at another pace.
    pub(super) fn of_numbers_every(count: u64, every: Duration) -> Scene {
        Scene::of(Numbers { count, every, stops_at: None, mutant: None }, true)
    }

    /// A source that gives up in front of this number.
    pub(super) fn of_numbers_up_to(number: u64) -> Scene {
        let (count, stops_at) = (number + 1, Some(number));
        Scene::of(Numbers { count, every: Duration::from_millis(20), stops_at, mutant: None }, false)
    }

    fn of(numbers: Numbers, strict: bool) -> Scene {
        let settings = Settings { source: Some(numbers), strict, ..settings() };
        let simulation = Simulation::new(Rng::with_seed(7), settings, (&[1], &[1, 1]), None, true);
        Scene { simulation, producers: 1_000_000 }
    }

    /// Records come to a worker `a` that has every partition, and has said so.
    pub(super) fn comes_to_a(records: &str, settings: Settings) -> Scene {
        let mut scene = Scene::with("", settings);
        scene.worker("a");
        scene.until("a has every partition", |scene| scene.is_known(4));
        scene.come(records);
        scene
    }

    /// True when the group knows where to begin in so many partitions.
    pub(super) fn is_known(&self, partitions: usize) -> bool {
        self.simulation.world.borrow().group.committed.len() == partitions
    }

    /// Records come.
    pub(super) fn come(&mut self, lines: &str) {
        for line in lines.split(';').filter(|line| !line.is_empty()) {
            let (place, words) = line.trim().split_once(": ").expect("PLACE: WORDS");
            let (topic, partition) = place.split_once('/').expect("TOPIC/PARTITION");
            let number = |text: &str| -> usize { text.parse().expect("a number") };
            let place = (number(topic), number(partition));
            let mut world = self.simulation.world.borrow_mut();
            let mut open = None;
            for word in words.split(' ') {
                if word.starts_with(['(', '!']) {
                    self.producers += 1;
                    open = Some(word.starts_with('('));
                }
                let offset = world.inputs[place.0][place.1].end();
                let name = word.trim_matches(['(', ')', '!']);
                let text = format!("{name} {topic}/{partition}#{offset}");
                match open {
                    None => world.produce(place, record(&text)),
                    Some(commit) => {
                        let data = Rc::new(record(&text));
                        world.inputs[place.0][place.1].append(Some(self.producers), data);
                        if commit {
                            world.audit.expect(&text);
                        }
                    }
                }
                if word.ends_with(')') {
                    let commit = open.take().expect("an open transaction");
                    world.inputs[place.0][place.1].mark(self.producers, commit);
                }
            }
        }
    }

    /// A worker, and whoever comes when it has ended.
    pub(super) fn worker(&self, name: &str) -> Rc<Seat> {
        self.simulation.add_seat(name, 0)
    }

    /// A worker that comes when others have begun.
    pub(super) fn comes_soon(&self, name: &str) {
        self.simulation.delay(&self.worker(name), Duration::from_secs(5));
    }

    /// Somebody starts a second process under a worker's name.
    pub(super) fn double(&self, seat: &Rc<Seat>) {
        self.simulation.double(seat);
    }

    /// What is to happen to a worker when it comes to this moment.
    pub(super) fn strike(&self, name: &str, moment: Moment, strike: Strike) {
        self.simulation.world.borrow_mut().script.push(Rule { name: name.into(), moment, skip: 0, strike });
    }

    /// The brokers do not answer until then.
    pub(super) fn loses_brokers(&self, until: Duration) {
        self.simulation.world.borrow_mut().away = until;
    }

    /// A topic gets one more partition.
    pub(super) fn grow(&self, topic: usize) {
        self.simulation.grow(topic);
    }

    /// Time passes.
    pub(super) fn passes(&self, time: Duration) {
        self.simulation.pass(time);
    }

    /// How the source is doing.
    pub(super) fn source(&self) -> &SourceState {
        &self.simulation.state
    }

    /// Another module is to take over, with so many records and so much time to prove itself.
    pub(super) fn offer(&self, name: &str, manners: Manners, records: u64, time: Duration) -> u64 {
        let offer = self.simulation.offer(name, manners, Probation { records, time });
        offer.unwrap_or_else(|| self.fail("another one is on trial"))
    }

    /// Another module is to look on, for so many records.
    pub(super) fn look_on(&self, name: &str, manners: Manners, of: u64) {
        if let Err(why) = self.simulation.look_on(name, manners, of) {
            self.fail(&why.to_string());
        }
    }

    /// How far it is.
    pub(super) fn looked(&self) -> swap::Looked {
        self.modules().looked().unwrap_or_else(|| self.fail("no module looks on"))
    }

    /// How an offer ended, when it has.
    pub(super) fn verdict(&self, offer: u64) -> Option<swap::Ended> {
        self.simulation.verdict(offer)
    }

    /// The modules of the stage.
    pub(super) fn modules(&self) -> &Modules {
        &self.simulation.modules
    }

    /// What time it is.
    pub(super) fn now(&self) -> Duration {
        self.simulation.now()
    }

    /// How often it has come to that.
    pub(super) fn count(&self, event: Event) -> u64 {
        self.simulation.world.borrow().counts.get(event)
    }

    /// Whether it has come to that.
    pub(super) fn happened(&self, event: Event) -> bool {
        self.count(event) > 0
    }

    /// Everybody works until it is true.
    pub(super) fn until(&self, what: &str, done: impl Fn(&Scene) -> bool) {
        for _ in 0..TURNS {
            if done(self) {
                return;
            }
            let seats = self.simulation.seats.borrow().clone();
            let worked = seats.iter().filter(|seat| self.simulation.run(seat)).count();
            if worked == 0 {
                self.passes(Duration::from_millis(50));
            }
            self.check();
        }
        self.fail(&format!("never: {what}"));
    }

    /// Everybody works until all is done; then these are the outputs.
    pub(super) fn ends_with(&self, expected: &str) {
        self.until("all is done", |scene| scene.simulation.world.borrow().drained());
        {
            let world = &mut *self.simulation.world.borrow_mut();
            world.audit.conclude(&world.outputs, true);
        }
        self.check();
        assert_eq!(self.outputs(), expected);
    }

    /// What a reader of committed records finds.
    pub(super) fn outputs(&self) -> String {
        let world = self.simulation.world.borrow();
        let mut topics = Vec::new();
        for (name, topic) in OUTPUTS.iter().zip(&world.outputs) {
            let ids: Vec<_> = topic[0].read(0).map(|(_, data)| place(data.text())).collect();
            if !ids.is_empty() {
                topics.push(format!("{name}: {}", ids.join(" ")));
            }
        }
        topics.join("; ")
    }

    /// How often a record was put off.
    pub(super) fn retries(&self) -> u64 {
        self.simulation.tally.retries()
    }

    /// What the first dead letter says of its failure under this name.
    pub(super) fn letter(&self, name: &str) -> String {
        let world = self.simulation.world.borrow();
        let (_, letter) = world.outputs[LETTERS][0].read(0).next().expect("a dead letter");
        let name = format!("millstream.error.{name}");
        let header = letter.headers.iter().find(|(key, _)| *key == name.as_bytes());
        let value = header.and_then(|(_, value)| value.clone()).unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8_lossy(&value).into_owned()
    }

    /// A worker's end, when it comes.
    pub(super) fn end_of(&self, seat: &Seat) -> Ended {
        self.until("it ends", |_| seat.ended.borrow().is_some());
        seat.ended.borrow().clone().expect("it ended")
    }

    fn check(&self) {
        let violation = self.simulation.world.borrow().audit.violation.clone();
        if let Some(what) = violation {
            self.fail(&what);
        }
    }

    fn fail(&self, what: &str) -> ! {
        let story = self.simulation.world.borrow_mut().take_story();
        panic!("{what}\n{}", story.join("\n"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.simulation.dismiss();
    }
}

/// The place of the record that a text is about.
fn place(text: &str) -> String {
    let id = text.rsplit_once(' ').map_or(text, |(_, id)| id);
    id.split('>').next().unwrap_or(id).into()
}

/// Why a worker failed.
pub(super) fn failed(ended: &Ended) -> &str {
    match ended {
        Ended::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}
