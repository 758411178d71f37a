//! Exactly once, shown by harm: hosts and brokers are killed again and again, and every record is counted at the far
//! end by a reader that watches all along.

use crate::support::{
    Answers, Failures, Host, Kafka, Pipeline, Proxied, Seen, Sent, Watch, broken_host, read_all, send_one, soak, until,
};
use rdkafka::producer::BaseProducer;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError::Timeout, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::kafka::{Cluster, Setup};

const KEYS: u64 = 40;

pub(crate) const COPY: &str = "
topics:
  '{name}-in': {partitions: 4}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
    workers: 2
    commit-interval: 20ms
";

/// The values of each key, in the order of their offsets.
fn by_key(records: &[Seen]) -> BTreeMap<Vec<u8>, Vec<String>> {
    let mut keys: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    for record in records {
        keys.entry(record.key.clone().unwrap_or_default()).or_default().push(record.text());
    }
    keys
}

/// What is wrong with what was seen of an output, compared with the input that it is a copy of. What counts is what
/// the input holds: a writer that was cut off from its broker may have doubled a record there itself.
pub(crate) fn problems(kafka: &Kafka, input: &str, watch: &Watch, records: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let sent = read_all(kafka, input);
    let since = Instant::now();
    while watch.count() < sent.len() && since.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(50));
    }
    // What should not come may come late.
    thread::sleep(Duration::from_millis(300));
    let mut seen: BTreeMap<(i32, i64), Seen> = BTreeMap::new();
    for record in watch.seen() {
        // A reader that lost its broker may read again, but never something else.
        if let Some(before) = seen.insert((record.partition, record.offset), record.clone())
            && before != record
        {
            problems.push(format!("seen, and then replaced: {before:?} {record:?}"));
        }
    }
    let seen = by_key(&seen.into_values().collect::<Vec<_>>());
    let sent = by_key(&sent);
    let distinct: BTreeSet<_> = sent.iter().flat_map(|(key, all)| all.iter().map(move |text| (key, text))).collect();
    assert_eq!(distinct.len() as u64, records, "the input is not complete");
    for (key, sent) in &sent {
        let seen = seen.get(key).map_or(&[][..], Vec::as_slice);
        if let Some(at) = (0..sent.len().max(seen.len())).find(|at| sent.get(*at) != seen.get(*at)) {
            let (due, came, key) = (sent.get(at), seen.get(at), String::from_utf8_lossy(key));
            problems.push(format!("{key}: {due:?} was due, {came:?} came ({} sent, {} seen)", sent.len(), seen.len()));
        }
    }
    problems
}

/// Sends `records` over about `time`, in a thread of its own.
pub(crate) fn send_slowly(kafka: &Kafka, topic: &str, records: u64, time: Duration) -> thread::JoinHandle<()> {
    send_each_slowly(kafka, topic, records, time, text)
}

/// The same, as JSON objects that tell their number.
pub(crate) fn send_json_slowly(kafka: &Kafka, topic: &str, records: u64, time: Duration) -> thread::JoinHandle<()> {
    send_each_slowly(kafka, topic, records, time, |number| format!("{{\"id\":{number},\"name\":\"n{number}\"}}"))
}

/// Records on their way into a topic, until somebody has seen enough.
pub(crate) struct Sending {
    end: Sender<()>,
    thread: thread::JoinHandle<u64>,
}

impl Sending {
    /// Sends about so many a second.
    pub(crate) fn start(kafka: &Kafka, topic: &str, every_second: u64) -> Sending {
        let (kafka, topic) = (kafka.clone(), topic.to_owned());
        let (end, is_enough) = channel();
        let thread = thread::spawn(move || {
            let producer = kafka.producer();
            let mut numbers = 0..;
            while is_enough.recv_timeout(Duration::from_secs(1) * 20 / every_second as u32) == Err(Timeout) {
                numbers.by_ref().take(20).for_each(|number| send_number(&producer, &topic, number, &text(number)));
            }
            rdkafka::producer::Producer::flush(&producer, Duration::from_secs(120)).unwrap();
            numbers.start
        });
        Sending { end, thread }
    }

    /// Ends it, once all are there; how many it has sent.
    pub(crate) fn end(self) -> u64 {
        drop(self.end);
        self.thread.join().unwrap()
    }
}

/// The value of a number: how many its key had before.
fn text(number: u64) -> String {
    (number / KEYS).to_string()
}

fn send_number(producer: &BaseProducer<Failures>, topic: &str, number: u64, value: &str) {
    let key = format!("key-{}", number % KEYS);
    let record = Sent { key: Some(key.as_bytes()), value: Some(value.as_bytes()), ..Sent::default() };
    send_one(producer, topic, &record);
}

fn send_each_slowly(
    kafka: &Kafka,
    topic: &str,
    records: u64,
    time: Duration,
    value: impl Fn(u64) -> String + Send + 'static,
) -> thread::JoinHandle<()> {
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    thread::spawn(move || {
        let producer = kafka.producer();
        let begun = Instant::now();
        for number in 0..records {
            let due = time.mul_f64(number as f64 / records as f64);
            if number.is_multiple_of(20) {
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            send_number(&producer, &topic, number, &value(number));
        }
        rdkafka::producer::Producer::flush(&producer, Duration::from_secs(120)).unwrap();
    })
}

/// How much is harmed, and how often.
struct Harm {
    records: u64,
    kills: u32,
    kill_every: Duration,
    broker_every: Option<Duration>,
}

/// Two hosts of one manifest copy a topic while they, and the broker, are killed; then one drains the rest.
fn harm(harm: &Harm, setup: &Setup, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path(), setup).unwrap();
    let kafka = Kafka { address: cluster.address() };
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 4, &[]);
    kafka.make(&output, 4, &[]);
    let watch = Watch::start(&kafka, &output);
    let time = harm.kill_every * harm.kills;
    let sending = send_slowly(&kafka, &input, harm.records, time);
    let mut hosts = [start(&pipeline), start(&pipeline)];
    let done = Arc::new(AtomicBool::default());
    let killing = {
        let (done, every, brokers) = (done.clone(), harm.broker_every, setup.brokers);
        thread::spawn(move || {
            let mut next = every.map(|every| Instant::now() + every);
            let mut brokers = (0..brokers).cycle();
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
                if next.is_some_and(|next| Instant::now() >= next) {
                    let broker = brokers.next().unwrap();
                    cluster.kill(broker);
                    cluster.boot(broker).unwrap();
                    next = every.map(|every| Instant::now() + every);
                }
            }
            cluster
        })
    };
    for kill in 0..harm.kills as usize {
        // Not at the same moment of the commit interval each time.
        thread::sleep(harm.kill_every.mul_f64(0.7 + 0.6 * ((kill * 7919) % 100) as f64 / 100.0));
        let host = &mut hosts[kill % 2];
        assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
        host.kill();
        *host = start(&pipeline);
    }
    sending.join().unwrap();
    done.store(true, Ordering::Relaxed);
    let _cluster = killing.join().unwrap();
    // One of them is left as a dead member that still holds partitions.
    hosts.into_iter().for_each(|mut host| host.kill());
    let said = pipeline.drain();
    assert!(said.contains("records done"), "{said}");
    let group = format!("{}.copy", pipeline.name);
    assert_eq!(kafka.lag(&group, &input), 0);
    problems(&kafka, &input, &watch, harm.records)
}

#[test]
fn delivery_is_exactly_once_while_hosts_and_the_broker_are_killed() {
    let counts = match soak() {
        true => Harm {
            records: 200_000,
            kills: 60,
            kill_every: Duration::from_secs(3),
            broker_every: Some(Duration::from_secs(25)),
        },
        false => Harm {
            records: 20_000,
            kills: 10,
            kill_every: Duration::from_millis(2500),
            broker_every: Some(Duration::from_secs(9)),
        },
    };
    let found = harm(&counts, &Setup::default(), |pipeline| pipeline.run(&[]));
    assert_eq!(found, Vec::<String>::new());
}

/// Of three brokers one after the other is killed: leaders move, and with them the coordinators of the group and of the
/// transactions.
#[test]
fn delivery_is_exactly_once_while_coordinators_move() {
    let counts = Harm {
        records: 6_000,
        kills: 6,
        kill_every: Duration::from_secs(5),
        broker_every: Some(Duration::from_millis(2500)),
    };
    let setup = Setup { brokers: 3, ..Setup::default() };
    let found = harm(&counts, &setup, |pipeline| pipeline.run(&[]));
    assert_eq!(found, Vec::<String>::new());
}

/// Answers come late, or never, those to commits among them: what became of each is found out.
#[test]
fn delivery_is_exactly_once_while_answers_are_late_or_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Proxied { cluster: _cluster, direct, through, proxy } = Proxied::start(folder.path(), &Setup::default());
    let pipeline = Pipeline::new(&through, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    direct.make(&input, 4, &[]);
    direct.make(&output, 4, &[]);
    let watch = Watch::start(&direct, &output);
    let records = 6_000;
    let sending = send_slowly(&direct, &input, records, Duration::from_secs(35));
    let mut hosts = [pipeline.run(&[]), pipeline.run(&[])];
    hosts[0].until("the first records are through", Duration::from_secs(60), || watch.count() > 100);
    // Longer than a request is waited for, and than a transaction may take; or so long that what became of a commit
    // counts as unknown.
    let longest = if soak() { 70_000 } else { 13_000 };
    for (round, held) in [300, 7_500, 400, 600, longest, 200].into_iter().enumerate() {
        proxy.let_answers_be(Answers::HeldBack);
        thread::sleep(Duration::from_millis(held));
        // What was held back arrives, or is lost.
        if round % 2 == 0 {
            proxy.cut();
        }
        proxy.let_answers_be(Answers::Late(Duration::from_millis(20)));
        thread::sleep(Duration::from_millis(1700));
    }
    proxy.let_answers_be(Answers::Prompt);
    sending.join().unwrap();
    for host in &mut hosts {
        assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
        host.kill();
    }
    pipeline.drain();
    assert_eq!(problems(&direct, &input, &watch, records), Vec::<String>::new());
}

#[test]
fn delivery_is_exactly_once_with_kafkas_own_timeouts() {
    let counts = Harm { records: 5_000, kills: 3, kill_every: Duration::from_secs(3), broker_every: None };
    let setup = Setup { default_timeouts: true, ..Setup::default() };
    let found = harm(&counts, &setup, |pipeline| pipeline.run(&[]));
    assert_eq!(found, Vec::<String>::new());
}

/// The check above finds a host that commits its offsets outside of the transaction.
#[test]
fn delivery_of_a_broken_host_is_found_wrong() {
    let counts = Harm { records: 5_000, kills: 10, kill_every: Duration::from_millis(1500), broker_every: None };
    let broken =
        |pipeline: &Pipeline| pipeline.run_as(&broken_host(), &[], &[("MILLSTREAM_MUTANT", "offsets-outside")]);
    // A kill has to fall between its two commits.
    let is_found = |_| !harm(&counts, &Setup::default(), broken).is_empty();
    assert!((0..3).any(is_found), "the broken host was not found out");
}

#[test]
fn delivery_at_least_once_loses_nothing_when_hosts_are_killed() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    delivery: at-least-once\n"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 4, &[]);
    let records = 4_000;
    let sending = send_slowly(&kafka, &input, records, Duration::from_secs(8));
    let mut host = pipeline.run(&[]);
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(1700));
        host.kill();
        host = pipeline.run(&[]);
    }
    sending.join().unwrap();
    host.kill();
    pipeline.drain();
    let mut seen: BTreeMap<(Vec<u8>, String), u32> = BTreeMap::new();
    for record in read_all(&kafka, &output) {
        *seen.entry((record.key.clone().unwrap(), record.text())).or_default() += 1;
    }
    assert_eq!(seen.len() as u64, records);
}

/// A host is stopped in its tracks for longer than its session: another one takes its partitions over, and when it
/// wakes, what it had in hand is refused.
#[test]
fn delivery_survives_a_host_that_sleeps_past_its_session() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 4, &[]);
    kafka.make(&output, 4, &[]);
    let watch = Watch::start(&kafka, &output);
    let sending = Sending::start(&kafka, &input, 250);
    let (mut sleeper, mut other) = (pipeline.run(&[]), pipeline.run(&[]));
    let group = format!("{}.copy", pipeline.name);
    until("the first records are through", Duration::from_secs(60), || watch.count() > 100);
    until("both are at work", Duration::from_secs(60), || kafka.is_shared_by(&group, 4));
    sleeper.signal("STOP");
    until("the other one has it all", Duration::from_secs(60), || kafka.is_shared_by(&group, 2));
    // Longer than its transaction may take, too.
    thread::sleep(Duration::from_secs(8));
    sleeper.signal("CONT");
    // What it had in hand is behind it then.
    until("both are at work again", Duration::from_secs(60), || kafka.is_shared_by(&group, 4));
    let records = sending.end();
    other.until("everything is through", Duration::from_secs(60), || watch.count() as u64 >= records);
    assert!(sleeper.is_running(), "{}", sleeper.said());
    assert!(other.is_running(), "{}", other.said());
    sleeper.signal("TERM");
    assert!(sleeper.wait(Duration::from_secs(12)).success(), "{}", sleeper.said());
    drop(other);
    pipeline.drain();
    assert_eq!(problems(&kafka, &input, &watch, records), Vec::<String>::new());
}

/// The broker goes away for longer than every timeout of a transaction, and comes back.
#[test]
fn delivery_waits_for_a_broker_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(folder.path(), &Setup::default()).unwrap();
    let kafka = Kafka { address: cluster.address() };
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 4, &[]);
    kafka.make(&output, 4, &[]);
    let watch = Watch::start(&kafka, &output);
    let records = 6_000;
    let sending = send_slowly(&kafka, &input, records, Duration::from_secs(10));
    let host = pipeline.run(&[]);
    host.until("the first records are through", Duration::from_secs(60), || watch.count() > 100);
    cluster.kill(0);
    thread::sleep(Duration::from_secs(16));
    cluster.boot(0).unwrap();
    sending.join().unwrap();
    host.until("everything is through", Duration::from_secs(90), || watch.count() as u64 >= records);
    let said = host.said();
    // A broker that is just back may be slow to answer, and then this is said again.
    let times = ["does not answer: waiting for it", "answers again"].map(|words| said.matches(words).count());
    assert!(times[0] == times[1] && (1..3).contains(&times[0]), "{said}");
    drop(host);
    pipeline.drain();
    assert_eq!(problems(&kafka, &input, &watch, records), Vec::<String>::new());
}
