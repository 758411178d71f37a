//! A guest's log is the host's, but neither a flood nor a way to draw on a terminal.

use crate::wasm::{
    Limits, Setup,
    fixture::{One, Stage, lines, setup},
};
use std::time::Duration;

const MARK: &str = "stage=trial topic=orders-prod partition=3 offset=42";

#[test]
fn a_line_is_marked_with_the_record_and_escaped() {
    let mut trial = Stage::trial();
    let (_, lines) = lines(|| trial.says("log 1"));
    assert_eq!(lines, [format!(r"INFO line 1\n\u{{1b}}[31mred\u{{7}} {MARK}")]);
}

#[test]
fn what_turns_the_line_around_is_escaped_and_umlauts_are_not() {
    let mut trial = Stage::trial();
    let (_, lines) = lines(|| trial.says("say Grüße \u{202e}evil"));
    assert_eq!(lines, [format!(r"INFO Grüße \u{{202e}}evil {MARK}")]);
}

#[test]
fn a_long_line_is_cut() {
    let mut trial = Stage::trial();
    let (_, lines) = lines(|| trial.says("shout 2000"));
    assert_eq!(lines, [format!("INFO {}… {MARK}", "x".repeat(1024))]);
}

#[test]
fn a_record_writes_twenty_lines_and_the_rest_is_counted() {
    let mut trial = Stage::trial();
    let (_, lines) = lines(|| trial.says("log 100000"));
    assert_eq!(lines.len(), 21);
    assert!(lines[19].starts_with("INFO line 20"), "{}", lines[19]);
    let dropped = "WARN 99,980 lines dropped: a call may write 20, an instance 200 a second stage=trial";
    assert_eq!(lines[20], dropped);
}

#[test]
fn the_manifest_says_how_many_lines_a_record_writes() {
    let limited = |log_lines, value: &str| {
        // A slow machine is to write all of them in the time of one call.
        let limits = Limits { log_lines, time: Duration::from_secs(20), ..Limits::default() };
        let mut stage = Stage::with(Setup { limits, ..setup() }).unwrap();
        lines(|| stage.says(value)).1
    };
    let dropped = "WARN 2 lines dropped: a call may write 3, an instance 30 a second stage=trial";
    assert_eq!(limited(3, "log 5")[3..], [dropped]);
    assert_eq!(limited(1000, "log 1000").len(), 1000);
    let silent = limited(0, "log 1");
    assert_eq!(silent, ["WARN 1 line dropped: a call may write 0, an instance 0 a second stage=trial"]);
}

#[test]
fn an_instance_writes_two_hundred_lines_a_second() {
    let mut trial = Stage::trial();
    // Its end is among them: that tells of the last ones that were dropped.
    let ((), lines) = lines(move || {
        (0..30).for_each(|offset| drop(trial.takes(One { offset, ..One::of("log 20") })));
    });
    let written = lines.iter().filter(|line| line.starts_with("INFO")).count();
    // A slow machine may have seen a second pass.
    assert!(written.is_multiple_of(200) && written < 600, "{written}");
    let dropped = lines.iter().filter_map(|line| line.strip_prefix("WARN ")?.split_once(' ')?.0.parse::<usize>().ok());
    assert_eq!(written + dropped.sum::<usize>(), 600);
}

#[test]
fn lines_of_open_have_no_record() {
    let mut setup = setup();
    setup.config.push(("open".into(), "panic".into()));
    let (_, lines) = lines(|| Stage::with(setup).err());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("ERROR panicked at ") && lines[0].ends_with("asked to panic in open stage=trial"));
}
