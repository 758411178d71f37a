//! A sink into PostgreSQL behind a real broker: two hosts share its partitions and are killed in turn, and so is the
//! server; each record is one row in the end.

use crate::{
    delivery::send_json_slowly,
    support::{Host, Kafka, Pipeline, Sent, broken_host, soak},
};
use std::{thread, time::Duration};
use xtask::postgres::Postgres;

/// No index keeps a row from coming twice.
const ROWS: &str = "
topics:
  '{name}-in': {partitions: 4}
sinks:
  rows: {input: '{name}-in', commit-interval: 20ms, postgres: {url: '{url}', table: rows}}
";

/// What is wrong in the end, with so many records, and so many kills of hosts and of the server.
fn harm(records: u64, kills: u32, server_kills: u32, start: impl Fn(&Pipeline) -> Host) -> Vec<String> {
    let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
    let server = Postgres::start(folder.path()).unwrap();
    server.sql("CREATE TABLE rows (id bigint, name text)").unwrap();
    let pipeline = Pipeline::new(&kafka, &ROWS.replace("{url}", &server.url()));
    let input = pipeline.topic("in");
    kafka.make(&input, 4, &[]);
    let every = Duration::from_millis(2500);
    let sending = send_json_slowly(&kafka, &input, records, every * (kills + server_kills));
    let mut hosts = [start(&pipeline), start(&pipeline)];
    for kill in 0..(kills + server_kills) as usize {
        // Not at the same moment of the commit interval each time.
        thread::sleep(every.mul_f64(0.7 + 0.6 * ((kill * 7919) % 100) as f64 / 100.0));
        let between = (kills + server_kills) as usize / (server_kills.max(1) as usize) + 1;
        if server_kills > 0 && kill % between == 1 {
            server.kill().unwrap();
            server.boot().unwrap();
            continue;
        }
        let host = &mut hosts[kill % 2];
        assert!(host.is_running(), "the host ended by itself:\n{}", host.said());
        host.kill();
        *host = start(&pipeline);
    }
    sending.join().unwrap();
    hosts.into_iter().for_each(|mut host| host.kill());
    pipeline.drain();
    assert_eq!(kafka.lag(&format!("{}.rows", pipeline.name), &input), 0);
    let found = server.sql("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM rows").unwrap().join(" ");
    let due = format!("{records}|{records}|0|{}", records - 1);
    if found == due { Vec::new() } else { vec![format!("{due} was due, {found} came")] }
}

#[test]
fn every_record_is_one_row_while_hosts_and_the_server_are_killed() {
    let (records, kills, server_kills) = if soak() { (100_000, 20, 3) } else { (10_000, 4, 1) };
    assert_eq!(harm(records, kills, server_kills, |pipeline| pipeline.run(&[])), Vec::<String>::new());
}

/// The check above finds a host that takes its step in a transaction of its own.
#[test]
fn rows_of_a_broken_host_are_found_wrong() {
    let broken =
        |pipeline: &Pipeline| pipeline.run_as(&broken_host(), &[], &[("MILLSTREAM_LEDGER_MUTANT", "StepsOutside")]);
    assert!((0..4).any(|_| !harm(8_000, 6, 0, broken).is_empty()), "the broken host was not found out");
}

/// The table knows how far it was in the topic that is gone: of the new one it has nothing.
#[test]
fn a_topic_that_is_made_anew_is_written_from_its_beginning() {
    let (kafka, folder) = (Kafka::shared(), tempfile::tempdir().unwrap());
    let server = Postgres::start(folder.path()).unwrap();
    server.sql("CREATE TABLE rows (id bigint, name text)").unwrap();
    let pipeline = Pipeline::new(&kafka, &ROWS.replace("{url}", &server.url()));
    let input = pipeline.topic("in");
    let rows = || server.sql("SELECT count(*), count(DISTINCT id) FROM rows").unwrap().join(" ");
    let send = |numbers: std::ops::Range<u32>| {
        let values: Vec<_> = numbers.map(|n| format!("{{\"id\":{n}}}")).collect();
        kafka.send(&input, values.iter().map(|value| Sent { value: Some(value.as_bytes()), ..Sent::default() }));
    };
    kafka.make(&input, 1, &[]);
    send(0..5);
    pipeline.drain();
    assert_eq!(rows(), "5|5");
    kafka.topics().delete(&input).unwrap();
    crate::support::until("it is gone", Duration::from_secs(60), || {
        kafka.topics().find(&[&input]).is_ok_and(|found| found.is_empty())
    });
    kafka.make(&input, 1, &[]);
    send(5..15);
    let said = pipeline.drain();
    assert_eq!(rows(), "15|15", "{said}");
    assert!(said.contains("is not the one of which the database has 5: it begins at 0"), "{said}");
}
