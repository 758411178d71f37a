//! A disk that is full: the host says so once, loses nothing, and goes on when there is room.

use crate::{
    process::Host,
    support::{MILLSTREAM, Pipeline},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const COPY: &str = "
topics: {in: {partitions: 1}}
stages:
  copy: {module: '{guests}/trial.wasm', input: in, output: out}
";

/// So many records, six thousand to the MiB.
fn fill(pipeline: &Pipeline, count: u32) -> Vec<String> {
    let values: Vec<_> = (0..count).map(|number| format!("{number} {}", "x".repeat(150))).collect();
    let lines: Vec<_> = values.iter().map(|value| format!("k:{value}")).collect();
    pipeline.produce("in", &lines);
    values
}

/// It says once that it cannot go on, and works on. What is left may do for a small transaction: then it goes on, and
/// may say it once more.
fn is_starved(host: &mut Host, words: &str) {
    host.wait_until_said("copy: cannot go on: ");
    std::thread::sleep(Duration::from_secs(3));
    assert!(host.is_running(), "{}", host.said());
    let said = host.said();
    let lines = |part: &str| part.lines().filter(|line| line.contains(words)).count();
    assert!(lines(&said) > 0 && said.split("copy: goes on").all(|part| lines(part) <= 1), "{said}");
    assert!(said.lines().all(|line| !line.contains(words) || line.contains("log.db")), "{said}");
}

/// No file may grow beyond a limit, as under `ulimit -f`: that needs no disk of its own, and no superuser.
#[test]
fn a_host_whose_files_cannot_grow_says_so_and_loses_nothing() {
    let pipeline = Pipeline::new(COPY);
    pipeline.says("topics create in");
    let values = fill(&pipeline, 60_000);
    // Units of 512 or 1024 bytes: 4 MiB, or 8. The input alone has ten.
    let limited = "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\"";
    let mut shell = pipeline.command("sh", "");
    shell.args(["-c", limited, MILLSTREAM, "run", "pipeline.yaml"]);
    let mut host = pipeline.start(&mut shell);
    is_starved(&mut host, "it cannot be read or written");
    host.signal("TERM");
    let ended = host.wait(Duration::from_secs(10));
    assert!(ended.code().is_some_and(|code| code < 2), "{ended}\n{}", host.said());
    // What could be read before can be read now, and with room everything is done once.
    assert_eq!(pipeline.values("in"), values);
    pipeline.drain();
    assert_eq!(pipeline.values("out"), values);
}

/// A small disk of memory.
struct Disk(PathBuf);

impl Disk {
    /// Nothing where none can be had.
    fn mount(at: &Path) -> Option<Disk> {
        fs::create_dir(at).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", at.to_str()?]).then(|| Disk(at.to_owned()))
    }

    /// Takes all room but so much.
    fn fill(&self, but: u64) {
        let mut filler = File::create(self.filler()).unwrap();
        while filler.write_all(&[0; 64 << 10]).is_ok() {}
        filler.set_len(filler.metadata().unwrap().len() - but).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(&["umount", self.0.to_str().unwrap()]);
    }
}

fn run(words: &[&str]) -> bool {
    Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Only the superuser may mount a disk, and not everywhere.
#[test]
fn a_host_on_a_full_disk_waits_for_room_and_goes_on() {
    let pipeline = Pipeline::new(&format!("state: disk\n{COPY}"));
    let Some(disk) = Disk::mount(&pipeline.path("disk")) else {
        eprintln!("not shown: no disk may be mounted here");
        return;
    };
    pipeline.says("topics create in");
    let mut values = fill(&pipeline, 20_000);
    disk.fill(2 << 20);
    let mut host = pipeline.run("--until-idle=500ms");
    is_starved(&mut host, "the disk is full: free some space");
    // Who else wants to write is told as well.
    let large = "y".repeat(900_000);
    let said = pipeline.given(format!("k:{large}\n").repeat(4), "produce in --key-separator :");
    assert!(said.code == 1 && said.err.contains("the disk is full: free some space"), "{said:?}");
    // What was acknowledged before there was no room is there for good.
    let acknowledged = said.out.split(' ').next().unwrap().parse().unwrap();
    values.extend(std::iter::repeat_n(large, acknowledged));
    let times = |host: &Host| host.said().matches("copy: goes on").count();
    let before = times(&host);
    disk.free();
    host.until("it goes on", Duration::from_secs(30), || times(&host) > before);
    assert!(host.wait(Duration::from_secs(30)).success(), "{}", host.said());
    // Too large to be shown.
    assert!(pipeline.values("out") == values, "not what was produced, {acknowledged} large ones");
}
