//! `try`: one module between stdin and stdout.

use crate::{
    command::done,
    support::{Folder, Said, golden},
};
use std::io;

const RECORDS: &str = r#"{"value":"a","key":"k","timestamp":5,"headers":[["h",{"base64":"/w=="}],["n",null]]}
{"value":{"base64":"/w=="},"topic":"orders","partition":3,"offset":7}
{"value":null}

{"value":"add","headers":[["h","1"]]}
{"value":"replace","headers":[["h","1"]]}
{"value":"to large x"}
{"value":"burst 2 b","key":""}
{"value":"headers","headers":[["a","1"],["b",null]]}
{"value":"origin","topic":"orders","partition":3,"offset":7,"timestamp":5}
{"value":"tombstone"}
{"value":"partition 12"}
"#;

fn trial() -> Folder {
    Folder::new().trial("trial.wasm")
}

#[test]
fn each_line_is_answered() {
    let folder = trial();
    let lines = "one\n\nfilter\nburst 2 x\norigin\nto large y\nlast, without an end";
    let said = folder.given(lines, "try trial.wasm");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(said.out, "one\n\nx/0\nx/1\nstdin/stdin/0@4/none/1\ny\nlast, without an end\n");
    let said = folder.given("", "try trial.wasm");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let keyed = "try trial.wasm --key-separator : --output-format key-value";
    let hex = "try trial.wasm --output-format hex";
    golden(
        "try",
        &[
            folder.given("config\nconfig currency\nconfig b\n", "try trial.wasm --config currency=EUR --config b=x=y"),
            folder.given("k:v:w\n:\n", keyed),
            folder.given("v\n\nadd\nto large x\n", hex),
            folder.given(RECORDS, "try trial.wasm --format json"),
            folder.given(RECORDS.replace("/w==", "YQ=="), "try trial.wasm --format json --output-format value"),
        ],
    );
}

#[test]
fn what_goes_out_as_json_comes_in_again() {
    let folder = trial();
    let once = folder.given(RECORDS.replace("replace", "changed"), "try trial.wasm --format json");
    let twice = folder.given(once.out.replace(":\"add\"", ":\"added\""), "try trial.wasm --format json");
    assert_eq!(twice.out, once.out.replace("\"output\":\"large\",", "").replace(":\"add\"", ":\"added\""));
    assert_eq!((once.code, twice.code), (0, 0));
}

#[test]
fn failures_are_said_with_their_line() {
    let folder = trial();
    let said = folder.given(
        "a\nreject\nretry\nattempts 2\nlater\nfault\nonce\nfresh\nloop\nmany 1001\nat -1\nb\n",
        "try trial.wasm",
    );
    assert_eq!((said.code, said.out.as_str()), (1, "a\nfresh\nb\n"), "{}", said.err);
    // What the guest writes to its log stands between them, with the time of day.
    let said_of_lines = |line: &&str| line.starts_with("line ") || line.contains(" records in, ");
    let failures: Vec<_> = said.err.lines().filter(said_of_lines).collect();
    let log = "panicked at trial/src/lib.rs:";
    let mut expected = vec![
        "line 2: reject asked: asked to reject",
        "line 3: retry asked to retry",
        "line 4: retry asked to retry",
        "line 5: retry asked: asked for later",
        "line 6: fault asked: asked for a fault",
        "line 9: limit time-limit: took more CPU time than its limit of 250ms",
        "line 10: limit output-limit: gave 1,001 records, and its limit is 1,000",
        "line 11: fault negative-timestamp: a timestamp counts milliseconds since 1970",
        "12 records in, 3 out, 9 failed",
    ];
    assert!(failures[5].starts_with(&format!("line 7: fault trap: {log}")), "{}", said.err);
    expected.insert(5, failures[5]);
    assert_eq!(failures, expected);
}

#[test]
fn a_line_that_is_no_record_fails_alone() {
    let folder = trial();
    golden(
        "try-wrong-lines",
        &[
            folder.given("a:b\na::b\n::\n", "try trial.wasm --key-separator ::"),
            folder
                .given("{\"value\":\"a\"}\nb\n{\"vlaue\":\"c\"}\n{\"key\":\"d\"}\n{\n", "try trial.wasm --format json"),
        ],
    );
}

#[test]
fn what_is_asked_wrong_is_refused() {
    let folder = trial().file("text.wasm", "(module)").module("core.wasm", "(module)");
    let said: Vec<_> = [
        "try",
        "try nowhere.wasm",
        "try text.wasm",
        "try core.wasm",
        "try trial.wasm --config currency",
        "try trial.wasm --config a=1 --config a=2",
        "try trial.wasm --config refuse=enough",
        "try trial.wasm --config open=panic",
        "try trial.wasm --config open=loop",
        "try trial.wasm --format yaml",
        "try trial.wasm --format json --key-separator :",
        "try trial.wasm --key-separator=",
    ]
    .iter()
    .map(|words| folder.given("a\n", words))
    .collect();
    for said in &said {
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.shown());
    }
    let without_log: Vec<_> = said.into_iter().map(crate::support::Said::without_log).collect();
    golden("try-asked-wrong", &without_log);
}

#[test]
fn who_types_sees_each_answer_at_once() {
    let folder = trial();
    let mut running = folder.start("try trial.wasm");
    for line in ["one", "two"] {
        running.write(format!("{line}\n"));
        assert_eq!(running.lines(1), [line]);
    }
    assert_eq!(done(running.end()), "");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let folder = trial().file("lines", "line\n".repeat(100_000));
    let lines = std::fs::File::open(folder.path("lines")).unwrap();
    let closed = io::pipe().unwrap().1;
    let output = folder.command(&["try", "trial.wasm"]).stdin(lines).stdout(closed).output().unwrap();
    assert_eq!(done(Said::of("try", output)), "");
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = trial();
    let stdin = std::fs::File::open(folder.path(".")).unwrap();
    let output = folder.command(&["try", "trial.wasm"]).stdin(stdin).output().unwrap();
    let said = Said::of("try", output);
    assert_eq!(said.code, 1);
    assert!(said.err.starts_with("error: the input cannot be read: Is a directory"), "{said:?}");
}
