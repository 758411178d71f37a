//! Modules that only look on: what they make goes nowhere, and what differs is told.

use crate::{
    process::{Host, with_manners},
    support::Pipeline,
    swapping::{ask, get, send, status, until_at_work},
};
use serde_json::{Value, json};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

const COPIES: &str = "
topics: {in: {partitions: 4}, out: {partitions: 4}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out, workers: 2, commit-interval: 10ms,
         limits: {time: 50ms}, probation: {records: 50, time: 100ms}}
";

fn pipeline() -> Pipeline {
    let pipeline = Pipeline::new(COPIES);
    ["in", "out"].iter().for_each(|topic| drop(pipeline.says(&format!("topics create {topic} --partitions 4"))));
    for manners in ["same", "marks-one", "marks-two", "panics", "loops", "rejects", "refuses"] {
        fs::write(pipeline.path(&format!("{manners}.wasm")), with_manners(manners)).unwrap();
    }
    pipeline
}

fn run(pipeline: &Pipeline) -> Host {
    let host = pipeline.run("--admin 127.0.0.1:0");
    until_at_work(&pipeline.path(""), &host);
    host
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("key-{}:{number}", number % 40)).collect()
}

/// What the host says of the module that looks on, or did last.
fn shadow(host: &Host) -> Value {
    let (code, body) = get(&host.admin(), "/v1/stages/copy");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["shadow"].clone()
}

/// The command, while records come for as long as it runs.
fn swap(pipeline: &Pipeline, host: &Host, words: &str) -> (i32, String, String) {
    thread::scope(|scope| {
        let words = format!("swap copy {words} --admin {}", host.admin());
        let swapped = scope.spawn(move || ask(&pipeline.path(""), &words));
        let (since, mut at) = (Instant::now(), 0);
        while !swapped.is_finished() {
            assert!(since.elapsed() < Duration::from_secs(60), "{}", host.said());
            pipeline.produce("in", &lines(at..at + 50));
            at += 50;
        }
        swapped.join().unwrap()
    })
}

/// All that came out has come in, as it came in.
fn check(pipeline: &Pipeline, host: &mut Host, is_marked: bool) {
    host.signal("TERM");
    assert!(host.wait(Duration::from_secs(20)).success(), "{}", host.said());
    pipeline.drain();
    let mut values = [pipeline.values("in"), pipeline.values("out")];
    values.iter_mut().for_each(|values| values.sort_unstable());
    assert_eq!(values[0], values[1]);
    let marked = pipeline.records("out").iter().any(|record| record["headers"] != json!([]));
    assert_eq!(marked, is_marked);
    assert_eq!(pipeline.given("", "consume test.copy.dead-letter -o start --until-end").out, "");
}

#[test]
fn a_module_that_makes_the_same_is_swapped_in_and_no_other() {
    let pipeline = pipeline();
    let mut host = run(&pipeline);
    let (code, out, err) = swap(&pipeline, &host, "marks-one.wasm --shadow 200 --promote-if-equal");
    assert_eq!(code, 1, "{out}{err}");
    assert!(err.contains("200 records of copy: 0 alike, 200 differ, 10 shown\ncopy: nothing was swapped\n"), "{err}");
    let shown: Vec<_> = out.lines().take(3).collect();
    assert!(shown[0].starts_with("in/") && shown[1].starts_with("- {\"key\":\"key-"), "{out}");
    assert!(shown[2].starts_with("+ ") && shown[2].ends_with(",\"headers\":[[\"by\",\"one\"]]}"), "{out}");
    assert_eq!(
        (out.lines().count(), status(&pipeline.path(""), &host)["stages"][0]["drift"].clone()),
        (30, Value::Null)
    );

    let (code, out, err) = swap(&pipeline, &host, "same.wasm --shadow 200 --promote-if-equal --json");
    let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(
        (code, &told["shadow"]["records"], &told["swap"]["outcome"]),
        (0, &json!(200), &json!("confirmed")),
        "{told}"
    );
    assert_eq!(
        (&told["shadow"]["against"]["name"], &told["swap"]["to"]["name"]),
        (&json!("trial.wasm"), &json!("same.wasm"))
    );
    // It was compared with one that does not run any more.
    let against = told["shadow"]["against"]["digest"].as_str().unwrap();
    let module = fs::read(pipeline.path("marks-one.wasm")).unwrap();
    let mut request = format!(
        "PUT /v1/stages/copy/module?instead-of={against} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        host.admin(),
        module.len()
    )
    .into_bytes();
    request.extend_from_slice(&module);
    let (code, body) = send(&host.admin(), &request);
    assert!(code == 409 && body.contains("same.wasm runs by now"), "{code} {body}");
    let (code, out, err) = swap(&pipeline, &host, "marks-two.wasm --shadow 20 --promote-if-equal");
    assert!(code == 1 && err.contains("- same.wasm (") && err.contains("+ marks-two.wasm ("), "{out}{err}");
    let told = shadow(&host);
    assert_eq!((&told["records"], &told["of"], &told["state"]), (&json!(20), &json!(20), &json!("done")), "{told}");
    check(&pipeline, &mut host, false);
}

#[test]
fn whatever_a_module_does_that_looks_on_the_stage_does_what_it_did() {
    let pipeline = pipeline();
    let mut host = run(&pipeline);
    for (module, first) in [("panics", "fault"), ("loops", "limit"), ("rejects", "reject")] {
        let (code, out, err) = swap(&pipeline, &host, &format!("{module}.wasm --shadow 4 --json"));
        let told: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        let told = &told["shadow"];
        assert_eq!((code, &told["different"], &told["state"]), (1, &json!(4), &json!("done")), "{told}");
        let after = &told["first"][0]["after"];
        assert!(after["outputs"] == json!([]) && after["failure"]["kind"] == first, "{told}");
        assert_eq!(told["first"].as_array().unwrap().len(), 4);
    }
    let (code, out, err) = swap(&pipeline, &host, "refuses.wasm --shadow 8");
    assert!(
        code == 1 && out.is_empty() && err.contains("copy: nothing looks on: ") && err.contains("not the right day"),
        "{err}"
    );
    assert!(!pipeline.says(&format!("swaps copy --admin {}", host.admin())).contains("refuses.wasm"));
    check(&pipeline, &mut host, false);
}

#[test]
fn a_module_looks_on_until_it_is_ended() {
    let pipeline = pipeline();
    let host = run(&pipeline);
    let admin = host.admin();
    let said = pipeline.given("", &format!("swap copy same.wasm --shadow 1000 --no-wait --admin {admin}"));
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.contains("copy: same.wasm looks on, for 1,000 records\n"), "{said:?}");
    assert!(said.err.contains("`millstream rollback copy --shadow-only` ends that"), "{said:?}");
    pipeline.produce("in", &lines(0..100));
    host.until("it has looked on", Duration::from_secs(30), || shadow(&host)["records"] == 100);
    assert_eq!(shadow(&host)["state"], "running");
    let said = pipeline.says(&format!("rollback copy --shadow-only --admin {admin}"));
    assert!(said.starts_with("copy: same.wasm (") && said.contains("is withdrawn, trial.wasm"), "{said}");
    let told = shadow(&host);
    assert_eq!((&told["state"], &told["why"]), (&json!("ended"), &json!("somebody ended it")), "{told}");
    let said = pipeline.given("", &format!("rollback copy --shadow-only --admin {admin}"));
    assert!(said.code == 1 && said.err.contains("no module looks on"), "{said:?}");

    // Nobody waits for what does not come without being told.
    let mut command =
        pipeline.command(crate::support::MILLSTREAM, &format!("swap copy same.wasm --shadow 5 --admin {admin}"));
    let mut waiting = pipeline.start(&mut command);
    waiting.wait_until_said("no record has come to copy so far: it waits for as long as you do");
    waiting.signal("INT");
    assert_eq!(waiting.wait(Duration::from_secs(10)).code(), Some(1));
    assert!(waiting.said().contains("same.wasm goes on to look on after 0 records"), "{}", waiting.said());
    assert_eq!(shadow(&host)["state"], "running");

    for (query, code) in [("shadow=0", 400), ("shadow=x", 400), ("shadow=5&prepare=true", 400), ("shadow=5", 422)] {
        let head =
            format!("PUT /v1/stages/copy/module?{query} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 4\r\n\r\nnull");
        assert_eq!(send(&admin, head.as_bytes()).0, code, "{query}");
    }
}
