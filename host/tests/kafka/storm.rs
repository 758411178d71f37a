//! Everything at once: faults of every kind at random, while good records and hostile ones flow. The output is watched
//! all along, and counted at the end.
//!
//! `cargo xtask soak --minutes N --seed S` says for how long and which; without it, it is a short one.

use crate::support::{Answers, Host, Kafka, Pipeline, Proxied, Proxy, Seen, Sent, Watch, read_all, send_one};
use fastrand::Rng;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::kafka::{Cluster, Setup};

const MANIFEST: &str = "
topics:
  '{name}-in': {partitions: 6}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
    workers: 2
    commit-interval: 20ms
    on-error: {retry: {backoff: 50ms}}
";

const KEYS: u64 = 97;
const HOSTS: usize = 3;
/// One record in so many is hostile, and as many are tried again before they pass.
const ODD: u64 = 500;
/// What the hostile ones do.
const HOSTILE: [&str; 9] =
    ["panic", "loop", "memory", "recurse", "many 5000", "huge 48", "reject", "fault", "to nowhere"];

struct Storm {
    seed: u64,
    time: Duration,
    records_per_s: u64,
}

impl Storm {
    /// The one that was asked for.
    fn asked() -> Storm {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        match number("MILLSTREAM_SOAK_MINUTES") {
            Some(minutes) => Storm {
                seed: number("MILLSTREAM_SOAK_SEED").unwrap_or(1),
                time: Duration::from_mins(minutes),
                records_per_s: 900,
            },
            None => Storm { seed: 1, time: Duration::from_secs(40), records_per_s: 300 },
        }
    }

    fn records(&self) -> u64 {
        self.time.as_secs() * self.records_per_s
    }

    /// What the record of this number asks the stage to do. The number stands last.
    fn value(&self, number: u64) -> String {
        match Rng::with_seed(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(0..ODD) {
            0 => format!("{} {number}", HOSTILE[(number % HOSTILE.len() as u64) as usize]),
            1 => format!("attempts 2 {number}"),
            _ => format!("pass {number}"),
        }
    }
}

fn number_of(text: &str) -> u64 {
    text.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number in {text:?}"))
}

fn is_hostile(text: &str) -> bool {
    !text.starts_with("pass ") && !text.starts_with("attempts ")
}

/// What was done so far.
#[derive(Default)]
struct Faults(Mutex<BTreeMap<&'static str, u32>>);

impl Faults {
    fn note(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn count(&self) -> u32 {
        self.0.lock().unwrap().values().sum()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.lock().unwrap().iter().map(|(what, count)| format!("{count} {what}")).collect();
        f.write_str(&all.join(", "))
    }
}

/// Lasts until the end of the storm, in pieces that end with it.
struct Weather {
    over: AtomicBool,
}

impl Weather {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn wait(&self, millis: u64) {
        let until = Instant::now() + Duration::from_millis(millis);
        while !self.is_over() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Hosts are killed, stopped in their tracks for longer than their session and their transaction, told to end, and come
/// back.
fn harm_hosts(pipeline: &Pipeline, mut rng: Rng, weather: &Weather, faults: &Faults) -> Vec<Host> {
    let mut hosts: Vec<_> = (0..HOSTS).map(|_| pipeline.run(&[])).collect();
    while !weather.is_over() {
        weather.wait(rng.u64(300..2500));
        let host = &mut hosts[rng.usize(0..HOSTS)];
        assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
        // Before it listens to signals it can only be killed.
        let listens = host.said().contains(" on Kafka at ");
        match rng.u32(0..20) {
            14..18 if listens => {
                host.signal("TERM");
                let status = host.wait(Duration::from_secs(20));
                // While the broker does not answer, its end takes longer than it is given.
                let said = host.said();
                let is_late = said.contains("will be done again");
                assert!(status.success() || status.code() == Some(1) && is_late, "{status} after SIGTERM:\n{said}");
                faults.note("hosts told to end");
                *host = pipeline.run(&[]);
            }
            0..18 => {
                host.kill();
                faults.note("hosts killed");
                *host = pipeline.run(&[]);
            }
            _ => {
                host.signal("STOP");
                weather.wait(rng.u64(7_000..14_000));
                host.signal("CONT");
                faults.note("hosts stopped in their tracks");
            }
        }
    }
    hosts
}

/// The broker is killed, and stopped in its tracks.
fn harm_broker(cluster: &mut Cluster, mut rng: Rng, weather: &Weather, faults: &Faults) {
    while !weather.is_over() {
        weather.wait(rng.u64(8_000..20_000));
        match rng.bool() {
            true => {
                cluster.kill(0);
                faults.note("broker crashes");
                cluster.boot(0).unwrap();
            }
            false => {
                cluster.pause(0).unwrap();
                weather.wait(rng.u64(300..6_000));
                cluster.resume(0).unwrap();
                faults.note("broker pauses");
            }
        }
    }
}

/// Answers come late, come together, or are lost with their connections.
fn harm_answers(proxy: &Proxy, mut rng: Rng, weather: &Weather, faults: &Faults) {
    while !weather.is_over() {
        weather.wait(rng.u64(1_000..6_000));
        match rng.u32(0..3) {
            0 => {
                proxy.let_answers_be(Answers::Late(Duration::from_millis(rng.u64(5..120))));
                weather.wait(rng.u64(500..3_000));
                faults.note("times of late answers");
            }
            1 => {
                proxy.let_answers_be(Answers::HeldBack);
                weather.wait(rng.u64(100..9_000));
                faults.note("times of answers held back");
            }
            _ => {
                proxy.let_answers_be(Answers::HeldBack);
                weather.wait(rng.u64(20..1_500));
                proxy.cut();
                faults.note("times of answers lost");
            }
        }
        proxy.let_answers_be(Answers::Prompt);
    }
}

fn send(storm: &Storm, kafka: &Kafka, topic: &str, weather: &Weather) {
    let producer = kafka.producer();
    let begun = Instant::now();
    for number in (0..storm.records()).take_while(|_| !weather.is_over()) {
        if number.is_multiple_of(50) {
            let due = storm.time.mul_f64(number as f64 / storm.records() as f64);
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        let (key, value) = (format!("key-{}", number % KEYS), storm.value(number));
        let record = Sent { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Sent::default() };
        send_one(&producer, topic, &record);
    }
    rdkafka::producer::Producer::flush(&producer, Duration::from_secs(120)).unwrap();
}

/// Looks at what came, as it comes: within a key the numbers grow, and nothing hostile is among it.
#[derive(Default)]
struct Lookout {
    looked_at: usize,
    offsets: BTreeMap<i32, i64>,
    last: BTreeMap<Vec<u8>, u64>,
}

impl Lookout {
    fn look(&mut self, watch: &Watch) -> Option<String> {
        let new = watch.seen_from(self.looked_at);
        self.looked_at += new.len();
        new.iter().find_map(|record| self.objection(record))
    }

    fn objection(&mut self, record: &Seen) -> Option<String> {
        // Who reads and lost the broker may read again.
        let read = self.offsets.entry(record.partition).or_insert(-1);
        if record.offset <= std::mem::replace(read, record.offset.max(*read)) {
            return None;
        }
        let text = record.text();
        if is_hostile(&text) {
            return Some(format!("{text:?} came out"));
        }
        let (key, number) = (record.key.clone().unwrap_or_default(), number_of(&text));
        let before = self.last.insert(key, number).filter(|before| *before >= number)?;
        Some(format!("{number} came after {before}, at {}@{}", record.partition, record.offset))
    }
}

fn texts_by_key(records: &[Seen]) -> BTreeMap<Vec<u8>, Vec<String>> {
    let mut keys: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for record in records {
        keys.entry(record.key.clone().unwrap_or_default()).or_default().push(record.text());
    }
    keys
}

/// What differs, key by key, from what is due.
fn differences(what: &str, due: &[Seen], came: &[Seen]) -> Vec<String> {
    let (due, came) = (texts_by_key(due), texts_by_key(came));
    let mut all = Vec::new();
    for key in due.keys().chain(came.keys().filter(|key| !due.contains_key(*key))) {
        let [due, came] = [&due, &came].map(|texts| texts.get(key).map_or(&[][..], Vec::as_slice));
        if let Some(at) = (0..due.len().max(came.len())).find(|at| due.get(*at) != came.get(*at)) {
            let key = String::from_utf8_lossy(key);
            all.push(format!("{what}, {key}: {:?} was due, {:?} came", due.get(at), came.get(at)));
        }
    }
    all
}

#[test]
fn faults_of_every_kind_at_random() {
    let storm = Storm::asked();
    let mut folder = tempfile::tempdir().unwrap();
    let Proxied { mut cluster, direct, through, proxy } = Proxied::start(folder.path(), &Setup::default());
    let mut pipeline = Pipeline::new(&through, MANIFEST);
    // What was said and written stays when this fails.
    folder.disable_cleanup(true);
    pipeline.folder.disable_cleanup(true);
    println!("seed {}: {} records in {} s", storm.seed, storm.records(), storm.time.as_secs());
    println!("kept when it fails: {} {}", folder.path().display(), pipeline.folder.path().display());

    let [input, output] = ["in", "out"].map(|stem| pipeline.topic(stem));
    direct.make(&input, 6, &[]);
    direct.make(&output, 6, &[]);
    let letters = format!("{}.copy.dead-letter", pipeline.name);
    let watch = Watch::start(&direct, &output);
    let (weather, faults) = (Weather { over: AtomicBool::new(false) }, Faults::default());
    let mut rngs = Rng::with_seed(storm.seed);
    let [hosts_rng, broker_rng, answers_rng] = [(); 3].map(|()| rngs.fork());
    let (mut lookout, begun) = (Lookout::default(), Instant::now());
    let objection = thread::scope(|scope| {
        let (pipeline, cluster, weather, faults) = (&mut pipeline, &mut cluster, &weather, &faults);
        let hosts = scope.spawn(move || harm_hosts(pipeline, hosts_rng, weather, faults));
        let broker = scope.spawn(move || harm_broker(cluster, broker_rng, weather, faults));
        scope.spawn(|| harm_answers(&proxy, answers_rng, weather, faults));
        let sending = scope.spawn(|| send(&storm, &direct, &input, weather));
        let (mut objection, mut told) = (None, Instant::now());
        while objection.is_none() && ![sending.is_finished(), hosts.is_finished(), broker.is_finished()].contains(&true)
        {
            thread::sleep(Duration::from_millis(200));
            objection = lookout.look(&watch);
            if told.elapsed() > Duration::from_secs(30) {
                told = Instant::now();
                println!("{:4} s: {} records through, {faults}", begun.elapsed().as_secs(), watch.count());
            }
        }
        weather.over.store(true, Ordering::Relaxed);
        // With what the hosts have in hand: it is for the next one to find.
        drop(hosts.join().unwrap());
        objection
    });

    pipeline.drain();
    let (hostile, good): (Vec<_>, Vec<_>) =
        read_all(&direct, &input).into_iter().partition(|record| is_hostile(&record.text()));
    println!(
        "{} good records, {} hostile ones, {} faults in {} s: {faults}",
        good.len(),
        hostile.len(),
        faults.count(),
        begun.elapsed().as_secs()
    );
    assert!(faults.count() > 0 && !good.is_empty() && !hostile.is_empty(), "there was no storm");
    let mut problems: Vec<_> = objection.into_iter().collect();
    problems.extend(differences("output", &good, &read_all(&direct, &output)));
    problems.extend(differences("dead letters", &hostile, &read_all(&direct, &letters)));
    assert_eq!(problems, Vec::<String>::new());
    folder.disable_cleanup(false);
    pipeline.folder.disable_cleanup(false);
}
