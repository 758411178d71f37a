//! Dead letters on a real Kafka: counted, and tried again exactly once while the command is killed.

use crate::{
    command::{MILLSTREAM, Running, Said, json_lines},
    support::{Host, Kafka, Pipeline, Seen, Sent, broken_host, read_all, until},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use std::{
    collections::BTreeMap,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

const KEYS: usize = 10;

/// A stage that writes to a topic which takes nothing, and the same one when it is mended.
fn manifest(output: &str) -> String {
    format!(
        "
topics:
  '{{name}}-in': {{partitions: 2}}
  '{{name}}-tight': {{partitions: 2, config: {{max.message.bytes: 64}}}}
  '{{name}}-out': {{partitions: 2}}
stages:
  price:
    module: '{{guests}}/trial.wasm'
    input: '{{name}}-in'
    output: '{{name}}-{output}'
    commit-interval: 5ms
    limits: {{outputs: 1}}
    on-error: {{stop-when: never}}
"
    )
}

/// What becomes of a record: most go through, some fail again, some are left.
fn value(number: usize) -> String {
    match number % 10 {
        3 => format!("burst 2 {number}"),
        7 => format!("reject {number}"),
        _ => number.to_string(),
    }
}

/// A command on the pipeline's manifest.
fn command(pipeline: &Pipeline, binary: &str, words: &str) -> std::process::Command {
    let mut command = xtask::clean_command(binary);
    command.args(words.split_whitespace()).env("MILLSTREAM_MANIFEST", pipeline.folder.path().join("pipeline.yaml"));
    command
}

fn says(pipeline: &Pipeline, words: &str) -> Said {
    let said = Running::start(&mut command(pipeline, MILLSTREAM, words), words).end();
    assert_eq!(said.code, 0, "{said:?}");
    said
}

/// The command, killed so often once it is at work; then it is left to come to its end. What is wrong then.
fn harm(
    records: usize,
    kills: u64,
    start: impl Fn(&Pipeline, u64) -> Host,
    is_at_work: impl Fn(&Kafka, &Pipeline, &Host) -> bool,
) -> Vec<String> {
    let kafka = Kafka::shared();
    let pipeline = Pipeline::new(&kafka, &manifest("tight"));
    kafka.make(&pipeline.topic("in"), 2, &[]);
    let values: Vec<_> = (0..records).map(|number| (format!("key-{}", number % KEYS), value(number))).collect();
    let sent = values.iter().map(|(key, value)| Sent {
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Sent::default()
    });
    kafka.send(&pipeline.topic("in"), sent);
    pipeline.drain();
    pipeline.write(&manifest("out"));
    let listed = says(&pipeline, "dead-letters list --json");
    let waiting = &json_lines(&listed.out)[0];
    let waiting: u64 = waiting.as_array().unwrap().iter().map(|row| row["letters"].as_u64().unwrap()).sum();
    assert_eq!(waiting, records as u64, "{}", listed.out);

    for kill in 0..kills {
        let mut host = start(&pipeline, kill);
        // A broken one may find nothing to do any more.
        let since = Instant::now();
        while host.is_running() && !is_at_work(&kafka, &pipeline, &host) {
            assert!(since.elapsed() < Duration::from_secs(60), "it does nothing:\n{}", host.said());
            thread::sleep(Duration::from_millis(3));
        }
        thread::sleep(Duration::from_millis(kill * 7919 % 40));
        host.kill();
    }
    says(&pipeline, "dead-letters retry price --kind fault,limit");
    // As after some days without a member.
    forget(&kafka, &format!("{}.price.dead-letter.retry", pipeline.name));
    says(&pipeline, "dead-letters retry price --kind fault,limit");
    // A reader finds nothing twice, and nothing too little.
    let mut problems = Vec::new();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in read_all(&kafka, &pipeline.topic("out")) {
        let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
        seen.entry(key).or_default().push(Seen::text(&record));
    }
    for key in (0..KEYS).map(|key| format!("key-{key}")) {
        let of_key = values.iter().filter(|(other, value)| *other == key && !value.contains(' '));
        let due: Vec<_> = of_key.map(|(_, value)| value.clone()).collect();
        let came = seen.get(&key).map_or(&[][..], Vec::as_slice);
        if came != due {
            problems.push(format!("{key}: {} came in place of {}, or in another order", came.len(), due.len()));
        }
    }
    let mut waits: BTreeMap<String, usize> = BTreeMap::new();
    for letter in json_lines(&says(&pipeline, "dead-letters show price --json").out) {
        *waits.entry(letter["value"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let due: BTreeMap<_, _> =
        values.iter().filter(|(_, value)| value.contains(' ')).map(|(_, value)| (value.clone(), 1)).collect();
    if waits != due {
        problems.push(format!("{} letters wait in place of {}", waits.len(), due.len()));
    }
    problems
}

/// One of the letters has failed again.
fn has_failed(host: &Host) -> bool {
    host.said().contains("again a dead letter")
}

/// Has the cluster forget where a group stands.
fn forget(kafka: &Kafka, group: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.config().create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // Until the member of a command that was killed is given up, the group is at work.
    until("the group is deleted", Duration::from_secs(60), || {
        let deleted = runtime.block_on(admin.delete_groups(&[group], &AdminOptions::new())).unwrap();
        deleted.iter().all(Result::is_ok)
    });
}

fn retry(pipeline: &Pipeline, run: u64, binary: &str, environment: &[(&str, &str)]) -> Host {
    let mut command = command(pipeline, binary, "dead-letters retry price --kind fault,limit");
    command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(Stdio::null());
    Host::start(&mut command, pipeline.folder.path().join(format!("retry.{run}")))
}

#[test]
fn letters_are_tried_again_exactly_once_while_the_command_is_killed() {
    let found = harm(3000, 5, |pipeline, run| retry(pipeline, run, MILLSTREAM, &[]), |_, _, host| has_failed(host));
    assert_eq!(found, Vec::<String>::new());
}

/// The check above finds a host that commits what it has only taken.
#[test]
fn letters_of_a_broken_host_are_found_wrong() {
    let broken = [("MILLSTREAM_MUTANT", "early-progress")];
    // It stands still behind each early commit.
    let has_committed = |kafka: &Kafka, pipeline: &Pipeline, host: &Host| {
        let topic = format!("{}.price.dead-letter", pipeline.name);
        has_failed(host) && kafka.has_offsets(&format!("{topic}.retry"), &topic)
    };
    let start = |pipeline: &Pipeline, run| retry(pipeline, run, &broken_host(), &broken);
    let is_found = |_| !harm(3000, 2, start, has_committed).is_empty();
    assert!((0..6).any(is_found), "the broken host was not found out");
}
