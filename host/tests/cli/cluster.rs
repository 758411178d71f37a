//! What is said of a Kafka that does not answer.

use crate::support::{Folder, Said, closed_port, golden_text};
use std::time::{Duration, Instant};

const MANIFEST: &str =
    "name: x\nkafka: {brokers: localhost:1}\ntopics: {i: }\nstages:\n  a: {module: trial.wasm, input: i, output: o}\n";

/// What is said within the time that somebody waits for it, whatever the port.
fn in_time(folder: &Folder, words: &str, port: &str) -> Said {
    let started = Instant::now();
    let said = folder.says(&format!("{words} --kafka {port}"));
    assert!(started.elapsed() < Duration::from_secs(10), "{} took {:?}", said.shown(), started.elapsed());
    said
}

#[test]
fn a_broker_that_does_not_answer_fails_in_one_line_that_says_why() {
    let (folder, port) = (Folder::new(), closed_port());
    let mut shown = Vec::new();
    for words in ["list", "describe orders", "create orders", "grow orders --partitions 4", "delete orders"] {
        let said = in_time(&folder, &format!("topics {words}"), &port);
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (1, "", 1), "{}", said.shown());
        assert!(said.err.contains("Connection refused"), "{}", said.err);
        shown.push(said.shown());
    }
    golden_text("no-broker", &shown.join("\n").replace(&port, "127.0.0.1:PORT"));
}

#[test]
fn a_check_notes_that_no_broker_answers_and_fails_when_told_to_ask() {
    let (folder, port) = (Folder::with(MANIFEST).trial("trial.wasm"), closed_port());
    let noted = in_time(&folder, "check pipeline.yaml", &port);
    let online = in_time(&folder, "check pipeline.yaml --online", &port);
    assert_eq!((noted.code, online.code), (0, 1));
    assert_eq!(noted.out, online.out);
    for said in [&noted, &online] {
        assert!(said.err.lines().count() == 1 && said.err.contains("Connection refused"), "{}", said.err);
    }
    let digest = noted.out.lines().find_map(|line| line.trim().strip_prefix("sha256")).unwrap().trim();
    let shown = [noted.shown(), online.shown()].join("\n");
    golden_text("check", &shown.replace(&port, "127.0.0.1:PORT").replace(digest, "DIGEST"));
}
