//! How a host on the embedded log ends when it is told to, whoever reads what it prints.

use crate::{
    command::Watchdog,
    support::{MILLSTREAM, Pipeline},
};
use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    time::Duration,
};

const SHOWN: &str = "
topics: {in: {partitions: 1}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
sinks:
  show: {input: out, stdout: {}}
";

/// Records that fill any pipe.
fn fill(pipeline: &Pipeline) -> Vec<String> {
    pipeline.says("topics create in");
    let values: Vec<_> = (0..50_000).map(|number| format!("the record with the number {number}")).collect();
    let lines: Vec<_> = values.iter().enumerate().map(|(number, value)| format!("{number}:{value}")).collect();
    pipeline.produce("in", &lines);
    values
}

#[test]
fn a_signal_ends_it_in_order() {
    let pipeline = Pipeline::new(SHOWN);
    let values = fill(&pipeline);
    for signal in ["TERM", "INT"] {
        let mut host = pipeline.run("");
        host.wait_until_said("group ");
        host.signal(signal);
        assert!(host.wait(Duration::from_secs(10)).success(), "{}", host.said());
        assert!(!host.said().contains("done again"), "{}", host.said());
    }
    pipeline.drain();
    assert_eq!(pipeline.values("out"), values);
}

/// As `| less` does behind its first page.
#[test]
fn a_signal_ends_it_in_order_though_its_reader_does_not_read() {
    let pipeline = Pipeline::new(SHOWN);
    let values = fill(&pipeline);
    for signal in ["TERM", "INT"] {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut host = pipeline.start(pipeline.command(MILLSTREAM, "run pipeline.yaml").stdout(writer));
        let watchdog = Watchdog::over(host.pid(), "run");
        let mut first = [0; 10];
        reader.read_exact(&mut first).unwrap();
        watchdog.call_off();
        assert_eq!(&first, b"the record");
        // By now it has more to say than the pipe holds.
        let has_all = || pipeline.says("offsets show test.copy").contains(" 50,000           50,000 ");
        host.until("all is there to be printed", Duration::from_secs(60), has_all);
        host.signal(signal);
        let ended = host.wait(Duration::from_secs(10));
        assert!(ended.success(), "{ended}\n{}", host.said());
        assert!(host.said().contains("nobody reads stdout: its last lines will be printed again"), "{}", host.said());
    }
    // What nobody has read is printed again, all of it.
    let file = pipeline.path("printed");
    let mut command = pipeline.command(MILLSTREAM, "run pipeline.yaml --until-idle=500ms");
    let mut host = pipeline.start(command.stdout(fs::File::create(&file).unwrap()));
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.said());
    let printed = fs::read_to_string(file).unwrap();
    let printed: Vec<_> = printed.lines().collect();
    assert!(values.ends_with(&printed.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()));
    assert!(printed.len() > 40_000, "{} of 50,000", printed.len());
}

#[test]
fn a_reader_that_is_slow_gets_everything() {
    let pipeline = Pipeline::new(SHOWN);
    let values = fill(&pipeline);
    let (reader, writer) = io::pipe().unwrap();
    let mut command = pipeline.command(MILLSTREAM, "run pipeline.yaml --until-idle=500ms");
    let mut host = pipeline.start(command.stdout(writer));
    // The pipe ends with the last who writes.
    drop(command);
    let watchdog = Watchdog::over(host.pid(), "run");
    let mut seen = Vec::new();
    for line in BufReader::with_capacity(4096, reader).lines() {
        seen.push(line.unwrap());
        if seen.len() % 5_000 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    watchdog.call_off();
    assert!(host.wait(Duration::from_secs(30)).success(), "{}", host.said());
    assert_eq!(seen, values);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let pipeline = Pipeline::new(SHOWN);
    let values = fill(&pipeline);
    let (reader, writer) = io::pipe().unwrap();
    let mut command = pipeline.command(MILLSTREAM, "run pipeline.yaml");
    let mut host = pipeline.start(command.stdout(writer));
    drop(command);
    let watchdog = Watchdog::over(host.pid(), "run");
    let mut lines = BufReader::new(reader).lines();
    assert_eq!(lines.next().unwrap().unwrap(), values[0]);
    watchdog.call_off();
    drop(lines);
    let ended = host.wait(Duration::from_secs(10));
    assert!(ended.success(), "{ended}\n{}", host.said());
    let said = host.said().to_lowercase();
    assert!(!said.contains("error") && !said.contains("pipe") && !said.contains("warn"), "{said}");
}
