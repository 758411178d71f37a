//! The rights that `check --acls` prints, on a broker with an authorizer: with exactly those a pipeline does all that it
//! can, and without any one of them it says what is missing.

use crate::{
    command::MILLSTREAM,
    process::soak,
    support::{Host, Kafka, Pipeline, Sent, read_all, until},
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use xtask::kafka::{self, Cluster, Second, Setup};

const MINUTE: Duration = Duration::from_secs(60);

/// Everything that asks for a right of its own.
const EVERYTHING: &str = "
topics:
  '{name}-in': {partitions: 2}
  '{name}-spare': {partitions: 1}
sources:
  numbers:
    module: '{guests}/numbers.wasm'
    output: '{name}-numbers'
    every: 50ms
    config: {count: 1000000000}
stages:
  copy:
    module: '{guests}/trial.wasm'
    input: '{name}-in'
    output: '{name}-out'
    workers: 2
    on-error: {stop-when: never}
  again:
    module: '{guests}/trial.wasm'
    input: '{name}-numbers'
    output: '{name}-counted'
    delivery: at-least-once
    on-error: skip
sinks:
  show: {input: '{name}-counted', stdout: {}}
";

/// A broker at which `User:orders` has no right but those that it is given.
struct Guarded {
    folder: TempDir,
    /// Where everything is allowed.
    kafka: Kafka,
    pipeline: Pipeline,
    _cluster: Cluster,
}

/// A line of `check --acls`, and what stands above it.
#[derive(Clone, Debug)]
struct Line {
    about: String,
    command: String,
}

impl Line {
    /// What is to be found in the words about its absence: what it is a right to.
    fn name(&self) -> &str {
        self.command.split_whitespace().next_back().unwrap().trim_end_matches('.')
    }

    fn is(&self, words: &str) -> bool {
        self.command.contains(words)
    }
}

impl Guarded {
    fn start(manifest: &str) -> Guarded {
        let folder = tempfile::tempdir().unwrap();
        let door = kafka::free_ports(1).unwrap()[0];
        let users = "org.apache.kafka.common.security.plain.PlainLoginModule required user_orders=\"right\" \
                     user_copier=\"right\" user_admin=\"admin\";";
        let properties = [
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SECOND:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.second.plain.sasl.jaas.config", users),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:ANONYMOUS;User:admin"),
        ];
        let setup = Setup {
            properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            second: Some(Second { behind: door, front: door }),
            ..Setup::default()
        };
        let _cluster = Cluster::start(&folder.path().join("cluster"), &setup).unwrap();
        let kafka = Kafka { address: _cluster.address() };
        let pipeline = Pipeline::new(&kafka, manifest);
        let path = pipeline.folder.path().join("pipeline.yaml");
        let brokers = format!(
            "\"127.0.0.1:{door}\", properties: {{security.protocol: SASL_PLAINTEXT, sasl.mechanism: PLAIN, sasl.username: \
             orders, sasl.password: right}}"
        );
        let text = fs::read_to_string(&path).unwrap().replace(&format!("\"{}\"", kafka.address), &brokers);
        fs::write(path, text).unwrap();
        let guarded = Guarded { folder, kafka, pipeline, _cluster };
        guarded.install_tool();
        guarded
    }

    /// Kafka's own tool under the name that it has where Kafka is installed, for who may give rights.
    fn install_tool(&self) {
        let jaas =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" password=\"admin\";";
        let properties = format!("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={jaas}\n");
        let admin = self.folder.path().join("admin.properties");
        fs::write(&admin, properties).unwrap();
        let tool = kafka::tool("org.apache.kafka.tools.AclCommand").unwrap();
        let words: Vec<_> = tool.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let script =
            format!("#!/bin/sh\nexec java {} --command-config '{}' \"$@\"\n", words.join(" "), admin.display());
        let path = self.folder.path().join("kafka-acls");
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs lines as an operator would: pasted into a shell.
    fn shell(&self, text: &str) {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let output =
            Command::new("sh").args(["-e", "-c", text]).env("PATH", path).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    fn give(&self, line: &Line) {
        self.shell(&line.command);
    }

    fn take(&self, line: &Line) {
        self.shell(&format!("{} --force", line.command.replace(" --add ", " --remove ")));
    }

    /// What is printed, and its lines.
    fn printed(&self) -> (String, Vec<Line>) {
        let mut command = xtask::clean_command(MILLSTREAM);
        let output = command.arg("check").arg(self.manifest()).arg("--acls").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let all: Vec<_> = text.lines().collect();
        let lines = all.windows(2).filter(|pair| !pair[1].starts_with('#'));
        let lines = lines.map(|pair| Line { about: pair[0].to_owned(), command: pair[1].to_owned() }).collect();
        (text, lines)
    }

    fn manifest(&self) -> String {
        self.pipeline.folder.path().join("pipeline.yaml").display().to_string()
    }

    fn send(&self, text: &str) {
        // Both workers have something to do.
        for partition in [0, 1] {
            let record = Sent { value: Some(text.as_bytes()), partition: Some(partition), ..Sent::default() };
            self.kafka.send(&self.pipeline.topic("in"), [record]);
        }
    }

    fn retry(&self, number: usize) -> Host {
        let mut command = xtask::clean_command(MILLSTREAM);
        command.args(["dead-letters", "retry", "copy", "--manifest", &self.manifest()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Host::start(&mut command, self.folder.path().join(format!("retry.{number}")))
    }

    fn count(&self, topic: &str) -> usize {
        let is_there = self.kafka.topics().find(&[topic]).is_ok_and(|found| !found.is_empty());
        if is_there { read_all(&self.kafka, topic).len() } else { 0 }
    }

    fn letters(&self) -> String {
        format!("{}.copy.dead-letter", self.pipeline.name)
    }

    /// With all rights it does all that it can, and is never without one.
    fn does_all(&self) {
        let (output, letters, counted) = (self.pipeline.topic("out"), self.letters(), self.pipeline.topic("counted"));
        let host = self.pipeline.run(&[]);
        host.until("its topics are made", MINUTE, || {
            self.kafka.topics().list().is_ok_and(|all| all.contains_key(&letters))
        });
        self.send("a record");
        self.send("reject");
        host.until("all parts work", MINUTE, || {
            self.count(&output) == 2 && self.count(&letters) == 2 && self.count(&counted) > 2
        });
        let mut retry = self.retry(0);
        assert!(retry.wait(MINUTE).success(), "{}", retry.said());
        assert_eq!(self.count(&letters), 4, "they fail again");
        assert!(troubles(&host).is_empty(), "{}", host.said());
        self.end(host);
    }

    fn end(&self, mut host: Host) {
        if host.is_running() {
            host.signal("TERM");
        }
        host.wait(MINUTE);
    }
}

/// Its lines about what is wrong, other than with records.
fn troubles(host: &Host) -> Vec<String> {
    let said = host.said();
    let is_one = |line: &&str| line.contains("warning: ") || line.contains("error: ");
    said.lines().filter(is_one).filter(|line| !line.contains("dead letter: ")).map(str::to_owned).collect()
}

/// True when something is said of what is missing, in a line that names it.
fn tells(host: &Host, name: &str) -> bool {
    troubles(host).iter().any(|line| line.contains(name))
}

#[test]
fn a_part_with_a_user_of_its_own_has_its_rights_and_the_pipeline_the_rest() {
    let own = "properties: {sasl.username: copier}\n    input: '{name}-in'";
    let guarded = Guarded::start(&EVERYTHING.replace("input: '{name}-in'", own));
    let (text, lines) = guarded.printed();
    let of = |user: &str| lines.iter().filter(|line| line.is(&format!("--allow-principal User:{user} "))).count();
    assert!(of("copier") >= 5 && of("copier") + of("orders") == lines.len(), "{text}");
    assert!(text.starts_with("# What User:orders and User:copier need to run "), "{text}");
    guarded.shell(&text);
    guarded.does_all();
}

#[test]
fn the_rights_that_are_printed_are_those_that_are_needed() {
    let guarded = Guarded::start(EVERYTHING);
    let (text, lines) = guarded.printed();
    assert!(lines.len() > 25 && lines.iter().all(|line| line.command.starts_with("kafka-acls ")), "{text}");
    guarded.shell(&text);
    let pipeline = &guarded.pipeline;
    let (output, letters) = (pipeline.topic("out"), guarded.letters());
    guarded.does_all();

    let exists = |topic: &str| guarded.kafka.topics().list().is_ok_and(|all| all.contains_key(topic));
    let delete = |topic: &str| {
        guarded.kafka.topics().delete(topic).unwrap();
        until("it is gone", MINUTE, || !exists(topic));
    };
    // Each takes its seconds.
    for (number, line) in (1..).zip(&lines).filter(|(number, _)| soak() || number % 4 == 1) {
        let (name, is_for) = (line.name(), |words: &str| line.about.contains(words));
        if is_for("(only on brokers before 3.0)") {
            assert!(line.is("IdempotentWrite --cluster"));
            continue;
        }
        if is_for("(only for `dead-letters retry`)") && guarded.count(&letters) == 0 {
            let host = pipeline.run(&[]);
            guarded.send("reject");
            host.until("there are letters again", MINUTE, || guarded.count(&letters) == 2);
            guarded.end(host);
        }
        guarded.take(line);
        if is_for("(only for `dead-letters retry`)") {
            if line.is("--operation Create") {
                delete(name);
            }
            let retry = guarded.retry(number);
            retry.until(&format!("{line:?} is told"), MINUTE, || tells(&retry, name));
            eprintln!("without {}: {:#?}", line.command, troubles(&retry));
            guarded.end(retry);
            guarded.give(line);
            let mut retry = guarded.retry(number + 1000);
            assert!(retry.wait(MINUTE).success(), "{line:?}: {}", retry.said());
        } else if is_for("(only where `run` is to make what is missing)") {
            delete(name);
            let mut host = pipeline.run(&[]);
            assert_eq!(host.wait(MINUTE).code(), Some(1), "{line:?}: {}", host.said());
            assert!(tells(&host, name) && host.said().contains("cannot be made"), "{line:?}: {}", host.said());
            eprintln!("without {}: {:#?}", line.command, troubles(&host));
            guarded.give(line);
            let host = pipeline.run(&[]);
            host.until("it is made", MINUTE, || exists(name));
            guarded.end(host);
        } else {
            let is_wish = is_for("(without it `run` takes topics for what they are by default)");
            let host = pipeline.run(&[]);
            guarded.send("reject");
            if !is_wish {
                host.until(&format!("{line:?} is told"), MINUTE, || tells(&host, name));
                thread::sleep(Duration::from_secs(1));
                let told = troubles(&host);
                assert!(told.len() <= 3, "{line:?} is told again and again: {told:#?}");
                eprintln!("without {}: {told:#?}", line.command);
                guarded.give(line);
            }
            let before = guarded.count(&output);
            guarded.send("again");
            host.until(&format!("it goes on: {line:?}"), MINUTE, || guarded.count(&output) >= before + 2);
            guarded.end(host);
            if is_wish {
                guarded.give(line);
            }
        }
    }
}
