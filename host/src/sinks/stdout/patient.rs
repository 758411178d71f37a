//! A writer that stands beside its own thread: a reader who does not read, as `less` does behind its first page, holds
//! a call to write for ever, and must not hold the worker that is to end.

use crate::worker::control::Control;
use std::{
    io::{self, ErrorKind, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// How long an orderly end waits for a reader who takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at whether the run is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Writes in a thread of its own. What is not taken when the run is to end is given up with [`ErrorKind::TimedOut`].
pub(super) struct Patient<W> {
    to: Option<W>,
    run: Arc<Control>,
    thread: Option<Thread>,
    given_up: bool,
}

/// The thread, from outside: bytes, and what became of them.
struct Thread {
    bytes: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
}

impl<W: Write + Send + 'static> Patient<W> {
    /// Writes to `to` until `run` is to end. The thread starts with the first bytes.
    pub(super) fn new(to: W, run: Arc<Control>) -> Patient<W> {
        Patient { to: Some(to), run, thread: None, given_up: false }
    }

    fn thread(&mut self) -> io::Result<&Thread> {
        if let Some(mut to) = self.to.take() {
            let (bytes, taken) = sync_channel::<Vec<u8>>(0);
            let (answer, written) = sync_channel(1);
            thread::Builder::new().name("stdout".into()).spawn(move || {
                for bytes in taken {
                    if answer.send(to.write_all(&bytes).and_then(|()| to.flush())).is_err() {
                        return;
                    }
                }
            })?;
            self.thread = Some(Thread { bytes, written });
        }
        self.thread.as_ref().ok_or_else(gone)
    }
}

impl<W: Write + Send + 'static> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.given_up {
            return Err(ErrorKind::TimedOut.into());
        }
        let (run, since) = (self.run.clone(), Instant::now());
        let Thread { bytes: to, written } = self.thread()?;
        to.send(bytes.to_vec()).map_err(|_| gone())?;
        loop {
            match written.recv_timeout(LOOK) {
                Ok(done) => return done.map(|()| bytes.len()),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if run.stopped_at().is_some_and(|stopped| stopped.max(since).elapsed() > PATIENCE) {
                self.given_up = true;
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that prints has ended")
}
