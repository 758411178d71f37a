//! Bad surroundings: each is told in one clear line, and where it passes, the host goes on by itself.

use crate::support::{Host, Kafka, Pipeline, Sent, read_all};
use std::{fs, process::Command, thread, time::Duration};
use xtask::kafka::{self, Cluster, Second, Setup};

const COPY: &str = "
topics:
  '{name}-in': {partitions: 1}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
";

const MINUTE: Duration = Duration::from_secs(60);

fn value(text: &str) -> Sent<'_> {
    Sent { key: Some(b"key"), value: Some(text.as_bytes()), ..Sent::default() }
}

fn texts(kafka: &Kafka, topic: &str) -> Vec<String> {
    let is_there = kafka.topics().find(&[topic]).is_ok_and(|found| !found.is_empty());
    let all = if is_there { read_all(kafka, topic) } else { Vec::new() };
    all.iter().map(|record| record.text()).collect()
}

fn free_port() -> u16 {
    kafka::free_ports(1).unwrap()[0]
}

/// Its lines that warn, or tell of an error.
fn warnings(host: &Host) -> Vec<String> {
    let said = host.said();
    said.lines().filter(|line| line.contains("warning: ") || line.contains("error: ")).map(str::to_owned).collect()
}

#[test]
fn a_broker_that_is_not_there_at_the_start_is_waited_for() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let kafka = Kafka { address: format!("127.0.0.1:{port}") };
    let pipeline = Pipeline::new(&kafka, COPY);
    let host = pipeline.run(&[]);
    host.wait_until_said("waiting until it answers");
    thread::sleep(Duration::from_secs(3));
    let warned = warnings(&host);
    assert!(warned.len() == 1 && warned[0].contains("Connection refused"), "{}", host.said());
    let _cluster = Cluster::start_at(folder.path(), &Setup::default(), vec![port]).unwrap();
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    host.until("the topics are made", MINUTE, || kafka.topics().find(&[&output]).is_ok_and(|found| !found.is_empty()));
    kafka.send(&input, [value("first")]);
    host.until("it is at work", MINUTE, || texts(&kafka, &output) == ["first"]);
}

/// A cluster with a listener for those who have a password, and rights for each of them.
struct Guarded {
    folder: tempfile::TempDir,
    _cluster: Cluster,
    /// Where everything is allowed.
    kafka: Kafka,
    /// Where a password is asked for.
    door: u16,
}

impl Guarded {
    fn start() -> Guarded {
        let (folder, door) = (tempfile::tempdir().unwrap(), free_port());
        let properties = [
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SECOND:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            (
                "listener.name.second.plain.sasl.jaas.config",
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_copy=\"right\";",
            ),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:ANONYMOUS"),
        ];
        let setup = Setup {
            properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            second: Some(Second { behind: door, front: door }),
            ..Setup::default()
        };
        let _cluster = Cluster::start(folder.path(), &setup).unwrap();
        let kafka = Kafka { address: _cluster.address() };
        Guarded { folder, _cluster, kafka, door }
    }

    /// Has the pipeline come in by the door.
    fn enter(&self, pipeline: &Pipeline, password: &str) {
        let path = pipeline.folder.path().join("pipeline.yaml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(self.folder.path().join("password"), password).unwrap();
        let brokers = format!("brokers: \"{}\"", self.kafka.address);
        let properties = format!(
            "brokers: \"127.0.0.1:{}\", properties: {{security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, \
             sasl.username: copy, sasl.password: {{file: '{}'}}}}",
            self.door,
            self.folder.path().join("password").display()
        );
        fs::write(path, text.replace(&brokers, &properties)).unwrap();
    }

    /// Gives the user a right, or takes it.
    fn right(&self, verb: &str, words: &str) {
        let mut tool = kafka::tool("org.apache.kafka.tools.AclCommand").unwrap();
        tool.args(["--bootstrap-server", &self.kafka.address, verb, "--allow-principal", "User:copy"]);
        let output = tool.args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_wrong_password_is_told_once_and_tried_until_it_is_right() {
    let guarded = Guarded::start();
    let pipeline = Pipeline::new(&guarded.kafka, COPY);
    guarded.enter(&pipeline, "wrong");
    let mut host = pipeline.run(&[]);
    host.wait_until_said("Invalid username or password: waiting until it answers");
    thread::sleep(Duration::from_secs(4));
    assert!(warnings(&host).len() == 1 && host.is_running(), "{}", host.said());
    host.signal("TERM");
    assert!(host.wait(MINUTE).success(), "{}", host.said());
}

/// Each right is missing for a while, before the start and for one that runs.
#[test]
fn a_right_that_is_missing_is_named_and_waited_for() {
    let guarded = Guarded::start();
    let pipeline = Pipeline::new(&guarded.kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    for topic in [&input, &output, &format!("{}.copy.dead-letter", pipeline.name)] {
        guarded.kafka.make(topic, 1, &[]);
    }
    guarded.enter(&pipeline, "right");
    let mut blind = pipeline.run(&[]);
    assert_eq!(blind.wait(MINUTE).code(), Some(1), "{}", blind.said());
    let told = format!("topic {input} cannot be made: make it, and allow this user to describe, read and write it");
    assert!(blind.said().contains(&told), "{}", blind.said());

    guarded.right("--add", "--topic * --operation Describe --operation DescribeConfigs --operation Read");
    guarded.right("--add", "--topic * --operation Write");
    guarded.right("--add", "--group * --operation Read");
    let (group, ids) =
        (format!("{}.copy", pipeline.name), "--transactional-id * --operation Write --operation Describe");
    for (count, (right, told)) in (1..).zip([
        (ids, format!("no right to the transactional id {group}.")),
        ("--group * --operation Read", format!("no right to the group {group}: allow it to read it")),
        ("--topic * --operation Read", input.clone()),
        ("--topic * --operation Write", output.clone()),
    ]) {
        if count > 1 {
            guarded.right("--remove", &format!("{right} --force"));
        }
        let mut host = pipeline.run(&[]);
        guarded.kafka.send(&input, [value("a record")]);
        host.until(&format!("{told:?} is told"), MINUTE, || warnings(&host).iter().any(|line| line.contains(&told)));
        thread::sleep(Duration::from_secs(3));
        let all = warnings(&host);
        assert!(all.len() == 1 && all[0].contains(&told), "{right}: {all:#?}");
        assert!(host.is_running(), "{}", host.said());
        guarded.right("--add", right);
        host.until("it goes on", MINUTE, || texts(&guarded.kafka, &output).len() == count);
        host.signal("TERM");
        assert!(host.wait(MINUTE).success(), "{}", host.said());
    }
}

/// Its records are others, whatever their numbers are.
#[test]
fn an_input_that_is_deleted_and_made_again_is_read_from_its_beginning() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.send(&input, ["a", "b", "c"].map(value));
    let mut host = pipeline.run(&[]);
    host.until("three are there", MINUTE, || texts(&kafka, &output).len() == 3);
    kafka.topics().delete(&input).unwrap();
    host.wait_until_said(&format!("a topic of {input} is gone: waiting for it"));
    kafka.make(&input, 1, &[]);
    kafka.send(&input, ["d", "e", "f", "g", "h"].map(value));
    let whole = ["a", "b", "c", "d", "e", "f", "g", "h"];
    host.until("all are there", MINUTE, || texts(&kafka, &output) == whole);
    assert!(warnings(&host).len() == 1 && host.is_running(), "{}", host.said());
}

#[test]
fn a_topic_that_grows_is_read_whole_while_it_runs() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.send(&input, [value("a")]);
    let host = pipeline.run(&[]);
    host.until("the first is there", MINUTE, || texts(&kafka, &output).len() == 1);
    kafka.topics().grow(&input, 2).unwrap();
    let on_new = || Sent { partition: Some(1), ..value("b") };
    kafka.until_known(&input, 2);
    kafka.send(&input, [on_new()]);
    host.until("the second is there", Duration::from_secs(120), || texts(&kafka, &output) == ["a", "b"]);
}

#[test]
fn an_output_that_forgets_sooner_than_its_input_is_old_is_told_once() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    kafka.make(&input, 1, &[]);
    kafka.make(&output, 1, &[("retention.ms", "86400000")]);
    let old = |text| Sent { timestamp: Some(1_600_000_000_000), ..value(text) };
    kafka.send(&input, [old("a"), old("b")]);
    let said = pipeline.drain();
    let told = format!("{output} keeps records for 86400s, by their own time, and what is written to it is older");
    assert_eq!(said.matches(&told).count(), 1, "{said}");
    kafka.send(&input, [value("c")]);
    let said = pipeline.drain();
    assert!(!said.contains("keeps records"), "{said}");
}

/// What a host takes for the time of day lies as many seconds ahead as a file says.
const JUMPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    long ahead = 0;
    FILE *file = clock == CLOCK_REALTIME ? fopen(getenv("CLOCK_AHEAD"), "r") : NULL;
    if (file) {
        if (fscanf(file, "%ld", &ahead) == 1) time->tv_sec += ahead;
        fclose(file);
    }
    return result;
}
"#;

#[test]
#[cfg(target_os = "linux")]
fn a_clock_that_jumps_holds_up_nothing() {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, COPY);
    let folder = tempfile::tempdir().unwrap();
    let [source, library, ahead] = ["clock.c", "clock.so", "ahead"].map(|name| folder.path().join(name));
    fs::write(&source, JUMPING_CLOCK).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(built.unwrap().success());
    let environment = [("LD_PRELOAD", library.to_str().unwrap()), ("CLOCK_AHEAD", ahead.to_str().unwrap())];
    let (input, output) = (pipeline.topic("in"), pipeline.topic("out"));
    let letters = format!("{}.copy.dead-letter", pipeline.name);
    let mut host = pipeline.run_as(crate::command::MILLSTREAM, &[], &environment);
    host.until("the topics are made", MINUTE, || !kafka.topics().find(&[&output, &letters]).unwrap().is_empty());
    for (count, seconds) in (1..).zip(["0", "86400", "-86400", "31536000", "0"]) {
        fs::write(&ahead, seconds).unwrap();
        kafka.send(&input, [value(seconds), value("reject")]);
        let is_done = || texts(&kafka, &output).len() == count && texts(&kafka, &letters).len() == count;
        host.until(&format!("it goes on {seconds} s ahead"), Duration::from_secs(20), is_done);
    }
    assert!(host.is_running());
    assert_eq!(texts(&kafka, &output), ["0", "86400", "-86400", "31536000", "0"], "{}", host.said());
}
