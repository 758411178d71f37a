//! More than one process on one log, and processes that are killed at the worst moments.
//!
//! The other processes are this test's own binary, which runs one of the ignored tests below as its work.

use super::{
    scene::{Scene, topic},
    workers::{check_outputs, wait_until_done, work},
};
use crate::{
    transport::{
        local::{LocalLog, NewRecord},
        log::Topics,
    },
    worker::control::Control,
};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

const FOLDER: &str = "MILLSTREAM_TEST_LOG";

/// Starts another process that does this work on the log in a folder.
fn start(folder: &Path, work: &str, fail_at: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("transport::local::tests::processes::{work}");
    command.args(["--exact", &test, "--ignored"]).env(FOLDER, folder);
    if let Some(step) = fail_at {
        command.env("MILLSTREAM_FAIL_AT", step);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The log that this process was started for; nothing when it is no such process.
fn given() -> Option<LocalLog> {
    Some(LocalLog::open(Path::new(&std::env::var_os(FOLDER)?)).unwrap())
}

#[test]
#[ignore = "the work of a process that another test starts"]
fn a_host() {
    let Some(log) = given() else { return };
    log.tidy().unwrap();
    let control = Arc::new(Control::default());
    let worker = thread::spawn({
        let (log, control) = (log.clone(), control.clone());
        move || work(log, (0, 1), control)
    });
    wait_until_done(&log);
    control.stop();
    worker.join().unwrap();
}

#[test]
#[ignore = "the work of a process that another test starts"]
fn a_producer() {
    let Some(log) = given() else { return };
    let record = NewRecord { value: Some(&[7; 100]), ..NewRecord::default() };
    let mut appender = log.appender().unwrap();
    loop {
        appender.append("noise", &[record; 100]).unwrap();
    }
}

#[test]
fn a_process_that_is_killed_at_any_step_loses_and_doubles_nothing() {
    let steps = [
        "before-begin",
        "after-inserts",
        "before-commit",
        "before-answer",
        "before-answer:3",
        "checkpoint",
        "retention",
        "retention:2",
        "compaction",
        "compaction:2",
    ];
    for step in steps {
        let scene = Scene::with(&["in:2", "out", "old:2 retention.ms=1000", "keys cleanup.policy=compact"]);
        for number in 0..2 {
            let values: Vec<_> = (0..200).map(|index| format!("{number}.{index}")).collect();
            for values in values.chunks(20) {
                scene.come("in", number, &values.iter().map(String::as_str).collect::<Vec<_>>());
            }
            let old = NewRecord { partition: Some(number), timestamp: Some(1), ..NewRecord::default() };
            scene.log.appender().unwrap().append("old", &[old; 10]).unwrap();
        }
        let key = NewRecord { key: Some(b"k"), value: Some(b"v"), ..NewRecord::default() };
        for _ in 0..3 {
            scene.log.appender().unwrap().append("keys", &vec![key; 20_000]).unwrap();
        }
        let killed = start(scene.folder.path(), "a_host", Some(step)).wait().unwrap();
        assert!(!killed.success(), "{step}: the process came to its end");
        assert!(start(scene.folder.path(), "a_host", None).wait().unwrap().success(), "{step}");
        check_outputs(&scene);
        assert_eq!(scene.values("old"), "0: ; 1: ", "{step}");
        assert_eq!(scene.values("keys"), "0: v", "{step}");
        let whole: String =
            scene.log.desk().read(|tx| Ok(tx.query_row("PRAGMA integrity_check", [], |r| r.get(0))?)).unwrap();
        assert_eq!(whole, "ok", "{step}");
    }
}

/// What two processes that write all the time leave each other, beside what each has alone. It takes a while and
/// needs a quiet machine, so it is run by hand, and says what it found.
#[test]
#[ignore = "a measurement"]
fn fairness_between_two_processes() {
    if std::env::var_os(FOLDER).is_some() {
        return;
    }
    let scene = Scene::with(&["noise"]);
    scene.log.create(&topic("own")).unwrap();
    let record = NewRecord { value: Some(&[7; 100]), ..NewRecord::default() };
    let mut appender = scene.log.appender().unwrap();
    let end = |name: &str| scene.log.partitions(name).unwrap().unwrap()[0].end.unwrap();
    for size in [100, 1_000, 10_000] {
        let mut run = |time: Duration| {
            let (own, noise, since) = (end("own"), end("noise"), Instant::now());
            while since.elapsed() < time {
                appender.append("own", &vec![record; size]).unwrap();
            }
            let rate = |count: u64| (count as f64 / since.elapsed().as_secs_f64()) as u64;
            (rate(end("own") - own), rate(end("noise") - noise))
        };
        let (alone, _) = run(Duration::from_secs(3));
        let mut other = start(scene.folder.path(), "a_producer", None);
        thread::sleep(Duration::from_millis(500));
        let before = (end("noise"), Instant::now());
        thread::sleep(Duration::from_secs(3));
        let noise_alone = ((end("noise") - before.0) as f64 / before.1.elapsed().as_secs_f64()) as u64;
        let both = run(Duration::from_secs(3));
        other.kill().unwrap();
        other.wait().unwrap();
        println!(
            "{size} records a group: own {alone}/s alone, {}/s beside ({:.2}); other, 100 a group, {noise_alone}/s alone, {}/s \
             beside ({:.2})",
            both.0,
            both.0 as f64 / alone as f64,
            both.1,
            both.1 as f64 / noise_alone as f64
        );
    }
}

/// How fast a million records are read, beside a bare loop over the same rows, and how long opening the log takes.
#[test]
#[ignore = "a measurement"]
fn a_million_records_are_read() {
    let scene = Scene::with(&["t"]);
    let record = NewRecord { key: Some(b"12345678"), value: Some(&[7; 100]), ..NewRecord::default() };
    let mut appender = scene.log.appender().unwrap();
    let since = Instant::now();
    for _ in 0..1_000 {
        appender.append("t", &[record; 1_000]).unwrap();
    }
    println!("written in {:?}", since.elapsed());
    for _ in 0..3 {
        let mut store = scene.log.reader().unwrap();
        let since = Instant::now();
        let bytes = store.read(|tx| {
            let mut query = tx.prepare("SELECT last, data FROM batch WHERE part = 1 AND last >= 0 ORDER BY last")?;
            let mut rows = query.query([])?;
            let mut bytes = 0;
            while let Some(row) = rows.next()? {
                bytes += row.get::<_, Vec<u8>>(1)?.len();
            }
            Ok(bytes)
        });
        let bare = since.elapsed();
        let mut scanner = scene.log.scanner().unwrap();
        let since = Instant::now();
        let (mut at, mut values) = (0, 0);
        while at < 1_000_000 {
            let page = scanner.read("t", 0, at).unwrap();
            values += page.records().map(|record| record.value.map_or(0, <[u8]>::len)).sum::<usize>();
            at = page.next;
        }
        let scanned = since.elapsed();
        let since = Instant::now();
        let other = scene.other();
        println!(
            "{} bytes bare in {bare:?}, {values} of values in {scanned:?}, opened in {:?}",
            bytes.unwrap(),
            since.elapsed()
        );
        drop(other);
    }
}
