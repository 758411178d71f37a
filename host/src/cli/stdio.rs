//! Input and output of the commands that run until somebody ends them.

use crate::supervisor;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// Between two looks at whether the process is to end.
const LOOK_MS: i64 = 100;
/// How much a pipe may hold: what anybody may ask for.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// How often the process was told to end.
#[derive(Clone, Default)]
pub(super) struct Signals(Arc<AtomicU32>);

impl Signals {
    /// Listens for SIGTERM and Ctrl-C from here on: this many are the command's own affair, the next one ends it at once.
    pub(super) fn listen(heeded: u32) -> Result<Signals> {
        let count = Arc::new(AtomicU32::new(0));
        let signals = Signals(count.clone());
        supervisor::until_signals(async move |mut signals| {
            signals.next().await;
            while count.fetch_add(1, Ordering::AcqRel) < heeded {
                signals.next().await;
            }
        })?;
        Ok(signals)
    }

    /// True when an orderly end was asked for.
    pub(super) fn ending(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }

    /// True when it was asked for again, as it took long.
    pub(super) fn impatient(&self) -> bool {
        self.0.load(Ordering::Acquire) > 1
    }
}

/// Standard input; a signal ends what is read from it.
pub(super) struct Stdin {
    file: File,
    signals: Signals,
    /// What was read last is no whole line.
    cut: Arc<AtomicBool>,
}

impl Stdin {
    /// The input, and what tells whether it ended within a line.
    pub(super) fn new(signals: &Signals) -> Result<(Stdin, Arc<AtomicBool>)> {
        let file = File::from(io::stdin().as_fd().try_clone_to_owned().context("standard input is closed")?);
        let cut = Arc::new(AtomicBool::new(false));
        Ok((Stdin { file, signals: signals.clone(), cut: cut.clone() }, cut))
    }
}

impl Read for Stdin {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wait = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
        loop {
            // No end of input: what it had begun is no line.
            if self.signals.ending() {
                return Err(io::Error::other("a signal ended it"));
            }
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) | Err(_) => {}
            }
            let count = self.file.read(into)?;
            if count > 0 {
                self.cut.store(into[count - 1] != b'\n', Ordering::Release);
            }
            return Ok(count);
        }
    }
}

/// Standard output without a buffer of its own.
pub(super) fn stdout() -> Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned().context("standard output is closed")?))
}

/// Lets a pipe take more before somebody reads it, so that who writes and who reads need not wait for each other at each
/// turn. What is not a pipe, or must not have more, stays as it is.
#[cfg(target_os = "linux")]
pub(super) fn widen(output: &File) {
    rustix::pipe::fcntl_setpipe_size(output, PIPE_BYTES).ok();
}

/// Pipes have one size here.
#[cfg(not(target_os = "linux"))]
pub(super) fn widen(_: &File) {}

/// True when nobody reads this any more.
pub(super) fn is_left(output: &File) -> bool {
    let mut watched = [PollFd::new(output, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut watched, Some(&now)).is_ok_and(|found| found > 0 && watched[0].revents().contains(PollFlags::ERR))
}
