//! Dead letters that are tried again, through everything that may go wrong: what comes of each comes once, those that are
//! not meant stay as they are, and what came behind them at the start is not read.

use super::{
    Violation,
    faults::{Counts, Odds},
    link::SimulatedLink,
    log::Data,
    play::play,
    records::{self, LARGE, LETTERS, MAIN},
    scene::{on_error, settings},
    schedule::record,
    simulation::{Simulation, Turns, at_work as at_work_on},
    world::{Settings, World},
};
use crate::{
    clock::Clock,
    manifest::{Delivery, OnError, Policy},
    record::Header,
    stage::{Again, Choice, Letter, LetterLink, Letters, Stage},
    transport::{
        Assignment, Batch, Fault, Incoming, Link, NextOffset, Offset, Outgoing, Partition, Progress, Role, Taken,
        mutants::{Broken, Mutant},
    },
    worker::WorkerSettings,
};
use fastrand::Rng;
use std::{collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

/// The code of those that are meant.
const MEANT: &str = "meant";

/// Dead letters that are tried again, maybe by a worker that is broken.
#[derive(Clone, Debug)]
pub(super) struct Retried {
    pub(super) again: Arc<Again>,
    mutant: Option<LetterMutant>,
}

/// What is done wrong with dead letters, as somebody could have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LetterMutant {
    /// What came behind the end, as that was at the start, is tried as well.
    ReadsOn,
    /// What is not meant is passed over, and nobody will see it again.
    DropsLeft,
    /// What comes of a record loses that record's headers.
    LosesHeaders,
    /// The guest sees what the letter says of its failure.
    ShowsLetters,
    /// A letter that fails again forgets how often its record was tried.
    ForgetsAttempts,
    /// A letter that fails again goes to another partition.
    Strays,
}

impl LetterMutant {
    const ALL: [LetterMutant; 6] = [
        LetterMutant::ReadsOn,
        LetterMutant::DropsLeft,
        LetterMutant::LosesHeaders,
        LetterMutant::ShowsLetters,
        LetterMutant::ForgetsAttempts,
        LetterMutant::Strays,
    ];
}

/// A worker at dead letters.
pub(super) fn at_work(
    link: SimulatedLink,
    stage: Stage,
    clock: Rc<dyn Clock>,
    settings: WorkerSettings,
    Retried { again, mutant }: Retried,
    broken: Option<Mutant>,
) -> Turns {
    let stage = stage.for_letters(None, &settings.control);
    match (mutant, broken) {
        (_, Some(broken)) => at_work_on(LetterLink::new(Broken::new(link, broken), again), stage, clock, settings),
        (None | Some(LetterMutant::ReadsOn), None) => at_work_on(LetterLink::new(link, again), stage, clock, settings),
        (Some(mutant), None) => {
            at_work_on(Careless { link: LetterLink::new(link, again), mutant }, stage, clock, settings)
        }
    }
}

/// What lies in a partition of the topic.
enum Kind {
    Meant,
    Left,
    Foreign,
}

/// Runs the schedule of a seed: in the end each letter that was there at the start must have had its outcome.
fn run(seed: u64, mutant: Option<LetterMutant>, broken: Option<Mutant>, told: bool) -> Result<Counts, Violation> {
    play(seed, |rng| draw(rng, mutant, broken, told), objection)
}

fn draw(rng: &mut Rng, mutant: Option<LetterMutant>, broken: Option<Mutant>, told: bool) -> Rc<Simulation> {
    let partitions = rng.u32(1..=3);
    let on_error = match rng.u8(0..4) {
        0 => OnError { reject: Policy::Skip, ..on_error(Policy::DeadLetter) },
        _ => on_error(Policy::DeadLetter),
    };
    let settings = Settings {
        delivery: if rng.u8(0..4) == 0 { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce },
        on_error,
        commit_interval: Duration::from_millis([5, 50, 50, 300][rng.usize(0..4)]),
        chunk: [1, 3, 10, 60][rng.usize(0..4)],
        most_in_time: [usize::MAX, usize::MAX, 40][rng.usize(0..3)],
        tells_late: rng.bool(),
        prompt: false,
        strict: mutant.is_none() && broken.is_none(),
        ..settings()
    };
    let outputs = [rng.u32(1..=3), rng.u32(1..=2), partitions];
    let simulation = Simulation::new(rng.fork(), settings, (&[partitions], &outputs), broken, told);
    for host in 0..rng.usize(1..=2) {
        simulation.add_seat(&simulation.new_name(), host);
    }
    let mut ends = Progress::default();
    for number in 0..partitions {
        let end = fill(&mut simulation.world.borrow_mut(), rng, number);
        let end = if mutant == Some(LetterMutant::ReadsOn) { u64::MAX } else { end };
        ends.reach(Partition { input: 0, number }, NextOffset(end));
    }
    let again = Again {
        pipeline: "simulated".into(),
        stage: "stage".into(),
        inputs: vec!["0".into()],
        output: LETTERS,
        choice: Choice { codes: vec![MEANT.into()], ..Choice::default() },
        most: None,
        ends,
        notes: None,
    };
    let mut world = simulation.world.borrow_mut();
    world.settings.again = Some(Retried { again: Arc::new(again), mutant });
    world.odds = Odds::draw(rng);
    drop(world);
    simulation
}

/// Fills a partition of the topic: where it ends at the start, as some more comes behind that.
fn fill(world: &mut World, rng: &mut Rng, number: u32) -> u64 {
    let place = (0, number as usize);
    for serial in 0..rng.u64(0..=15) {
        let kind = match rng.u8(0..10) {
            // One of a transaction that was aborted.
            0 => {
                let writer = 1_000_000 + number;
                let log = &mut world.inputs[0][place.1];
                log.append(Some(writer), Rc::default());
                log.mark(writer, false);
                continue;
            }
            1 => Kind::Foreign,
            2 => Kind::Left,
            _ => Kind::Meant,
        };
        world.produce(place, letter(rng, &kind, number, serial));
    }
    let end = world.inputs[0][place.1].stable_end();
    for serial in 0..rng.u64(0..=2) {
        // Nobody has asked for it.
        let letter = letter(rng, &Kind::Meant, number, 100 + serial);
        world.inputs[0][place.1].append(None, Rc::new(letter));
    }
    end
}

/// A letter as a stage may have written it.
fn letter(rng: &mut Rng, kind: &Kind, partition: u32, serial: u64) -> Data {
    let (word, stage, code) = match kind {
        Kind::Meant => (records::draw_word(rng), "stage", MEANT),
        Kind::Left => ("left", "stage", "other"),
        Kind::Foreign => ("foreign", "another", MEANT),
    };
    let mut data = record(&format!("{word} 0/{partition}#{serial}"));
    let attempts = rng.u32(1..=2);
    let says = [
        ("pipeline", "simulated"),
        ("stage", stage),
        ("module", "sha256:0"),
        ("topic", "0"),
        ("partition", &partition.to_string()),
        ("offset", &(1000 + serial).to_string()),
        ("kind", "reject"),
        ("code", code),
        ("attempts", &attempts.to_string()),
        ("at", "1700000000000"),
    ];
    let header = |(name, value): &(&str, &str)| {
        (format!("millstream.error.{name}").into_bytes(), Some(value.as_bytes().to_vec()))
    };
    data.headers.extend(says.iter().map(header));
    data
}

/// What is wrong with the headers of what came out, or with the place of a letter.
fn objection(world: &World) -> Option<String> {
    let lay = world.inputs[0].iter().flat_map(|log| log.read(0)).map(|(_, data)| (data.text(), data));
    let lay: BTreeMap<_, _> = lay.collect();
    for (_, data) in [MAIN, LARGE].iter().flat_map(|topic| &world.outputs[*topic]).flat_map(|log| log.read(0)) {
        if data.headers.len() != 1 {
            return Some(format!("{} has other headers than its record: {:?}", data.text(), data.headers));
        }
    }
    for (number, log) in world.outputs[LETTERS].iter().enumerate() {
        for (_, data) in log.read(0) {
            let text = data.text();
            let before = lay[text];
            let (Some((was, _)), Some((is, own))) = (letter_of(before), letter_of(data)) else {
                return Some(format!("{text} is no letter any more"));
            };
            let has_record = own.start == 1 && own.end == data.headers.len();
            let is_right = match text.starts_with("left") {
                true => data.headers == before.headers,
                false => has_record && is.attempts > was.attempts && is.place() == was.place(),
            };
            if !is_right || was.partition != number as u32 {
                return Some(format!("{text} in partition {number} is {is:?}, and was {was:?}"));
            }
        }
    }
    None
}

fn letter_of(data: &Data) -> Option<(Letter, std::ops::Range<usize>)> {
    let headers: Vec<_> = data.headers.iter().map(|(name, value)| header(name, value.clone())).collect();
    Letter::read(&headers)
}

fn header(name: &[u8], value: Option<Vec<u8>>) -> Header {
    Header { name: String::from_utf8_lossy(name).into_owned(), value }
}

/// A link that does one thing wrong with dead letters.
struct Careless<L: Link> {
    link: LetterLink<L>,
    mutant: LetterMutant,
}

/// A batch of it.
struct Seen<B> {
    letters: Letters<B>,
    mutant: LetterMutant,
}

impl<L: Link> Link for Careless<L> {
    type Batch = Seen<L::Batch>;

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Self::Batch>, Fault> {
        Ok(match self.link.take(limit, wait)? {
            Taken::Records(letters) => Taken::Records(Seen { letters, mutant: self.mutant }),
            Taken::Nothing => Taken::Nothing,
            Taken::Rebalance => Taken::Rebalance,
        })
    }

    fn rebalance(&mut self) -> Result<Assignment, Fault> {
        self.link.rebalance()
    }

    fn hold(&mut self, partition: Partition) -> Result<(), Fault> {
        self.link.hold(partition)
    }

    fn release(&mut self, partition: Partition, from: NextOffset) -> Result<(), Fault> {
        self.link.release(partition, from)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.link.begin()
    }

    fn send(&mut self, record: &Outgoing<'_>, origin: Option<(&Self::Batch, usize)>) -> Result<(), Fault> {
        let is_left = origin.is_some_and(|(batch, index)| matches!(batch.role(index), Role::Left(_)));
        let mut record = *record;
        match self.mutant {
            LetterMutant::DropsLeft if is_left => return Ok(()),
            LetterMutant::LosesHeaders => record.keep_headers = false,
            LetterMutant::Strays if record.output == LETTERS => record.partition = Some(0),
            _ => {}
        }
        self.link.send(&record, origin.map(|(batch, index)| (&batch.letters, index)))
    }

    fn is_waiting(&mut self) -> bool {
        self.link.is_waiting()
    }

    fn is_full(&self) -> bool {
        self.link.is_full()
    }

    fn commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.link.commit(progress)
    }

    fn start_commit(&mut self, progress: &Progress) -> Result<(), Fault> {
        self.link.start_commit(progress)
    }

    fn finish_commit(&mut self) -> Result<(), Fault> {
        self.link.finish_commit()
    }

    fn recover(&mut self) -> Result<Assignment, Fault> {
        self.link.recover()
    }

    fn close(self) {
        self.link.close();
    }
}

impl<B: Batch> Batch for Seen<B> {
    fn len(&self) -> usize {
        self.letters.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        self.letters.get(index)
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        let mut headers = self.letters.headers(index);
        if self.mutant == LetterMutant::ShowsLetters {
            headers.push(header(b"millstream.error.kind", Some(b"reject".to_vec())));
        }
        headers
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        self.letters.ends()
    }

    fn origin(&self, index: usize) -> (Partition, Offset) {
        self.letters.origin(index)
    }

    fn role(&self, index: usize) -> Role<'_> {
        match self.letters.role(index) {
            Role::Again { .. } if self.mutant == LetterMutant::ForgetsAttempts => Role::Again { attempts: 0 },
            role => role,
        }
    }
}

mod tests {
    use super::*;
    use crate::transport::simulated::faults::Event;

    /// How many schedules a test run goes through.
    const SCHEDULES: u64 = 4_000;
    /// In how many of them a mutant must have been found.
    const FIND_WITHIN: u64 = 1_000;
    /// How often each kind of trouble must have come up in them.
    const OFTEN: u64 = 100;

    #[test]
    fn every_letter_is_tried_once_whatever_happens() {
        if let Ok(seed) = std::env::var("MILLSTREAM_SEED") {
            let seed = seed.parse().expect("MILLSTREAM_SEED is a number");
            if let Err(violation) = run(seed, None, None, true) {
                panic!("{violation}");
            }
            return;
        }
        let mut counts = Counts::default();
        for seed in 0..SCHEDULES {
            match run(seed, None, None, false) {
                Ok(found) => counts.merge(&found),
                Err(violation) => panic!("{}", run(seed, None, None, true).err().unwrap_or(violation)),
            }
        }
        use Event::*;
        let often = [Committed, Held, Killed, SessionLost, TransactionExpired, UnknownCommitted, UnknownLost];
        let seldom: Vec<_> = often.into_iter().filter(|event| counts.get(*event) < OFTEN).collect();
        // A simulation in which nothing happens proves nothing.
        assert!(seldom.is_empty(), "hardly ever tried: {seldom:?}");
    }

    #[test]
    fn every_way_to_be_careless_with_letters_is_found() {
        let careless = LetterMutant::ALL.map(|mutant| (Some(mutant), None));
        use Mutant::*;
        let broken = [OffsetsOutside, CommitBeforeProduce, NoRewind, ProcessedOffset, EarlyProgress, NoHold]
            .map(|mutant| (None, Some(mutant)));
        for (mutant, broken) in careless.into_iter().chain(broken) {
            let found = (0..FIND_WITHIN).find_map(|seed| run(seed, mutant, broken, false).err());
            let Some(violation) = found else { panic!("never found: {mutant:?} {broken:?}") };
            println!("{:6} schedules: {mutant:?} {broken:?}: {}", violation.seed + 1, violation.what);
            // It is the mutant that was found, and not the worker that it breaks.
            assert!(run(violation.seed, None, None, false).is_ok());
        }
    }
}
