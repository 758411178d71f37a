//! How a host begins and ends: idle, told to, or in the middle of trouble.

use crate::support::{Kafka, Pipeline, Sent, Watch, read_all, until};
use std::{thread, time::Duration};
use xtask::kafka::{Cluster, Setup};

const COPY: &str = "
topics:
  '{name}-in': {partitions: 3}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
";

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn values(numbers: &[String]) -> impl Iterator<Item = Sent<'_>> {
    numbers.iter().map(|number| Sent {
        key: Some(number.as_bytes()),
        value: Some(number.as_bytes()),
        ..Sent::default()
    })
}

#[test]
fn idle_is_reached_behind_control_records_and_aborted_records() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let input = pipeline.topic("in");
    kafka.make(&input, 3, &[]);
    let numbers = numbers(60);
    kafka.send_in_transaction(&input, values(&numbers[..30]), true);
    kafka.send_in_transaction(&input, values(&numbers[30..]), false);
    pipeline.drain();
    assert_eq!(read_all(&kafka, &pipeline.topic("out")).len(), 30);
    assert_eq!(kafka.lag(&format!("{}.copy", pipeline.name), &input), 0, "the ends are the group's");
    // Nothing is left, and that is seen at once.
    pipeline.drain();
}

#[test]
fn idle_is_not_reached_while_a_dead_member_holds_records() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    kafka.make(&output, 3, &[]);
    let watch = Watch::start(&kafka, &output);
    let (_living, mut dead) = (pipeline.run(&[]), pipeline.run(&[]));
    let mut numbers = numbers(30);
    kafka.send(&input, values(&numbers));
    until("both are at work", Duration::from_secs(60), || watch.count() == 30);
    let group = format!("{}.copy", pipeline.name);
    until("both have their partitions", Duration::from_secs(60), || kafka.is_shared_by(&group, 2));
    dead.kill();
    numbers.iter_mut().for_each(|number| number.push('x'));
    kafka.send(&input, values(&numbers));
    let mut drain = pipeline.run(&["--until-idle=500ms"]);
    assert!(drain.wait(Duration::from_secs(60)).success(), "{}", drain.said());
    assert_eq!(read_all(&kafka, &output).len(), 60, "ended before everything was done:\n{}", drain.said());
}

#[test]
fn a_restart_with_other_inputs_more_partitions_or_fewer_workers_leaves_nothing_unread() {
    let kafka = Kafka::shared();
    let two = COPY.replace("input: '{name}-in'", "inputs: ['{name}-in', '{name}-more']\n    workers: 3")
        + "    group: '{name}.group'\n";
    let pipeline = Pipeline::new(&kafka, &two);
    let (input, more, output) = (pipeline.topic("in"), pipeline.topic("more"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    kafka.make(&more, 2, &[]);
    let numbers = numbers(90);
    kafka.send(&input, values(&numbers[..10]));
    pipeline.drain();
    assert_eq!(read_all(&kafka, &output).len(), 10);

    kafka.topics().grow(&input, 7).unwrap();
    kafka.until_known(&input, 7);
    let spread = numbers[10..40].iter().enumerate().map(|(at, number)| Sent {
        value: Some(number.as_bytes()),
        partition: Some(at as i32 % 7),
        ..Sent::default()
    });
    kafka.send(&input, spread);
    kafka.send(&more, values(&numbers[40..50]));
    pipeline.drain();
    assert_eq!(read_all(&kafka, &output).len(), 50, "more partitions");

    let third = pipeline.topic("third");
    kafka.make(&third, 2, &[]);
    pipeline
        .write(&two.replace("'{name}-more']", "'{name}-more', '{name}-third']").replace("workers: 3", "workers: 1"));
    kafka.send(&third, values(&numbers[50..70]));
    kafka.send(&more, values(&numbers[70..90]));
    pipeline.drain();
    let mut seen: Vec<_> = read_all(&kafka, &output).iter().map(|record| record.text()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 90, "other inputs, fewer workers");
}

#[test]
fn a_grown_topic_is_read_from_its_new_partitions_start_even_with_from_latest() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    from: latest\n"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    let numbers = numbers(30);
    kafka.send(&input, values(&numbers[..10]));
    let said = pipeline.drain();
    assert!(said.contains("has no offsets: reads what comes from now on"), "{said}");
    kafka.send(&input, values(&numbers[10..20]));
    kafka.topics().grow(&input, 4).unwrap();
    kafka.until_known(&input, 4);
    kafka.send(&input, [Sent { value: Some(b"new"), partition: Some(3), ..Sent::default() }]);
    pipeline.drain();
    let mut seen: Vec<_> = read_all(&kafka, &output).iter().map(|record| record.text()).collect();
    seen.sort();
    let mut expected: Vec<_> = numbers[10..20].to_vec();
    expected.push("new".into());
    assert_eq!(seen, expected);
}

#[test]
fn what_it_starts_from_is_said_with_the_count() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    kafka.make(&pipeline.topic("in"), 3, &[]);
    kafka.make(&pipeline.topic("out"), 3, &[]);
    let numbers = numbers(1234);
    kafka.send(&pipeline.topic("in"), values(&numbers));
    let said = pipeline.drain();
    let line = format!("group {}.copy has no offsets: reads 1,234 records from earliest", pipeline.name);
    assert!(said.contains(&line), "{said}");
    assert!(said.contains("copy: 1,234 records done, 1,234 sent"), "{said}");
    let said = pipeline.drain();
    assert!(said.contains("goes on: up to 0 records left to read"), "{said}");
}

#[test]
fn a_group_without_offsets_is_refused_when_the_manifest_says_so() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    from: none\n"));
    kafka.make(&pipeline.topic("in"), 3, &[]);
    let mut host = pipeline.run(&[]);
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1), "{}", host.said());
    assert!(host.said().contains("`from: none` refuses to choose one"), "{}", host.said());
}

#[test]
fn a_signal_ends_it_in_order_with_the_running_transaction_committed() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    commit-interval: 3s\n"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    kafka.make(&output, 3, &[]);
    let numbers = numbers(20);
    for (signal, range) in [("TERM", 0..10), ("INT", 10..20)] {
        let mut host = pipeline.run(&[]);
        let first = range.start + 1;
        kafka.send(&input, values(&numbers[range.start..first]));
        host.until("it is at work", Duration::from_secs(60), || read_all(&kafka, &output).len() == first);
        kafka.until_settled(&output);
        let end = || kafka.end(&output, "read_uncommitted");
        let all = end() + (range.end - first) as i64;
        kafka.send(&input, values(&numbers[first..range.end]));
        host.until("a long transaction holds them all", Duration::from_secs(60), || end() >= all);
        host.signal(signal);
        assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
        kafka.until_settled(&output);
        assert_eq!(read_all(&kafka, &output).len(), range.end, "{}", host.said());
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path(), &Setup::default()).unwrap();
    let kafka = Kafka { address: cluster.address() };
    let pipeline = Pipeline::new(&kafka, &format!("{COPY}    commit-interval: 5s\n"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    kafka.make(&output, 3, &[]);
    let watch = Watch::start(&kafka, &output);
    let numbers = numbers(2);
    // A transaction is open, and the broker then answers nothing: it cannot be committed any more.
    let stop_amid_a_transaction = |number: usize| {
        kafka.send(&input, values(&numbers[number..=number]));
        let open = || kafka.has_open_transaction(&output);
        until("a transaction is open", Duration::from_secs(60), open);
        cluster.pause(0).unwrap();
    };
    let mut host = pipeline.run(&[]);
    stop_amid_a_transaction(0);
    host.signal("TERM");
    thread::sleep(Duration::from_secs(1));
    assert!(host.is_running(), "it waits for its last transaction:\n{}", host.said());
    host.signal("TERM");
    // The first one alone would take twice as long.
    assert_eq!(host.wait(Duration::from_secs(5)).code(), Some(1), "{}", host.said());

    // And without the second one, it ends all the same.
    cluster.resume(0).unwrap();
    let mut host = pipeline.run(&[]);
    until("the next one did it", Duration::from_secs(60), || watch.count() == 1);
    kafka.until_settled(&output);
    stop_amid_a_transaction(1);
    host.signal("TERM");
    assert_eq!(host.wait(Duration::from_secs(20)).code(), Some(1), "{}", host.said());
    cluster.resume(0).unwrap();
}

#[test]
fn a_standby_without_partitions_takes_over() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &COPY.replace("partitions: 3", "partitions: 1"));
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.make(&output, 1, &[]);
    let watch = Watch::start(&kafka, &output);
    let numbers = numbers(30);
    let mut first = pipeline.run(&[]);
    kafka.send(&input, values(&numbers[..10]));
    until("the first is at work", Duration::from_secs(60), || watch.count() == 10);
    let mut second = pipeline.run(&[]);
    let group = format!("{}.copy", pipeline.name);
    until("one has nothing", Duration::from_secs(60), || kafka.is_shared_by(&group, 2));
    // Whichever has the partition: the other one takes it over, once the dead one's session is over.
    first.kill();
    kafka.send(&input, values(&numbers[10..20]));
    until("the second has taken over", Duration::from_secs(60), || watch.count() == 20);
    let third = pipeline.run(&[]);
    thread::sleep(Duration::from_secs(5));
    second.kill();
    kafka.send(&input, values(&numbers[20..]));
    until("the third has taken over", Duration::from_secs(60), || watch.count() == 30);
    drop(third);
}

/// Retention took what the group had not read yet.
#[test]
fn an_offset_that_is_gone_stops_the_stage_or_is_passed_as_the_manifest_says() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 3, &[]);
    let numbers = numbers(60);
    let spread = |range: std::ops::Range<usize>| {
        let sent = range.map(|at| Sent {
            value: Some(numbers[at].as_bytes()),
            partition: Some((at % 3) as i32),
            ..Sent::default()
        });
        sent.collect::<Vec<_>>()
    };
    kafka.send(&input, spread(0..30));
    pipeline.drain();
    kafka.send(&input, spread(30..57));
    kafka.delete_records(&input, 3, 19);
    kafka.send(&input, spread(57..60));
    let mut host = pipeline.run(&["--until-idle"]);
    assert_eq!(host.wait(Duration::from_secs(60)).code(), Some(1), "{}", host.said());
    assert!(host.said().contains("is gone"), "{}", host.said());
    pipeline.write(&format!("{COPY}    on-lost-offset: earliest\n"));
    let said = pipeline.drain();
    assert!(said.contains("is gone: going on at 19"), "{said}");
    assert_eq!(read_all(&kafka, &output).len(), 30 + 3, "{said}");
}
