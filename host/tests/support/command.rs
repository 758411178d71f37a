//! Commands that read and print through pipes, and cannot hold the tests up for ever.
#![allow(dead_code, reason = "each suite takes its part")]

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

/// The host, as a user has it.
pub(crate) const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// Longer than any command of a test takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Kills a process that does not end in time, or is left behind by a test that failed.
pub(crate) struct Watchdog(Sender<()>);

impl Watchdog {
    pub(crate) fn over(pid: u32, words: &str) -> Watchdog {
        let ((off, called_off), words) = (channel(), words.to_owned());
        thread::spawn(move || {
            if let Err(why) = called_off.recv_timeout(PATIENCE) {
                eprintln!("{words}: killed: {why}");
                xtask::kafka::signal(pid, "KILL").ok();
            }
        });
        Watchdog(off)
    }

    /// The process has ended.
    pub(crate) fn call_off(self) {
        self.0.send(()).ok();
    }
}

/// A command that runs.
pub(crate) struct Running {
    words: String,
    pub(crate) process: Child,
    /// What it said on stderr, as far as that was waited for.
    said: String,
    watchdog: Watchdog,
}

impl Running {
    /// Starts it; what it reads and prints goes through pipes.
    pub(crate) fn start(command: &mut Command, words: &str) -> Running {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let watchdog = Watchdog::over(process.id(), words);
        Running { words: words.to_owned(), process, said: String::new(), watchdog }
    }

    /// Writes to its standard input.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.process.stdin.as_mut().unwrap().write_all(bytes.as_ref()).unwrap();
    }

    /// Reads so many lines of what it prints.
    pub(crate) fn lines(&mut self, count: usize) -> Vec<String> {
        let mut from = BufReader::with_capacity(1, self.process.stdout.as_mut().unwrap());
        let line = |_| {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            line.strip_suffix('\n').unwrap_or_else(|| panic!("{} ended: {line:?}", self.words)).to_owned()
        };
        (0..count).map(line).collect()
    }

    /// Waits until it says so on stderr.
    pub(crate) fn wait_until_said(&mut self, words: &str) {
        let mut from = BufReader::with_capacity(1, self.process.stderr.as_mut().unwrap());
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(from.read_line(&mut line).unwrap() > 0, "{} ended before {words:?}:\n{}", self.words, self.said);
            self.said.push_str(&line);
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        xtask::kafka::signal(self.process.id(), name).unwrap();
    }

    /// Gives it this to read, as far as it takes it, and waits for its end.
    pub(crate) fn given(mut self, input: impl AsRef<[u8]>) -> Said {
        // Who refuses before it reads leaves.
        self.process.stdin.as_mut().unwrap().write_all(input.as_ref()).ok();
        self.end()
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn end(self) -> Said {
        let mut output = self.process.wait_with_output().unwrap();
        self.watchdog.call_off();
        output.stderr.splice(..0, self.said.into_bytes());
        Said::of(&self.words, output)
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) words: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(words: &str, output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, mut err) = (text(output.stdout), text(output.stderr));
        // Said of what takes longer than a second, and that is the machine's affair.
        let is_slow = |line: &str| line.starts_with("compiling ") && line.trim_end().ends_with(", once…");
        err = err.split_inclusive('\n').filter(|line| !is_slow(line)).collect();
        let code = output.status.code().unwrap_or_else(|| panic!("{words}: {}\n{err}", output.status));
        Said { words: words.to_owned(), code, out, err }
    }

    /// The exit code, and what it said on stdout and stderr.
    pub(crate) fn parts(self) -> (i32, String, String) {
        (self.code, self.out, self.err)
    }
}

/// What it printed, when it did what it was asked to and had nothing else to say.
pub(crate) fn done(said: Said) -> String {
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}: {}", said.words, said.out);
    said.out
}

/// What was printed as JSON, a value a line.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
