//! What a signal means: the first one asks for an orderly end, the second one gets an end.

use crate::worker::control::Control;
use anyhow::{Context, Result};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// How long the end may take in all, and how often to look.
const END_WITHIN: Duration = Duration::from_millis(9900);
const LOOK: Duration = Duration::from_millis(100);

static HOST_LISTENS: AtomicBool = AtomicBool::new(false);

/// What the process is told.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Waits for the next SIGTERM or Ctrl-C.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Listens for SIGTERM and Ctrl-C from here on, in a thread of its own. When what hears them is done, the process ends at
/// once.
pub fn until(hears: impl AsyncFnOnce(Signals) + Send + 'static) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(hears(signals));
            std::process::exit(1);
        })
        .context("the thread for signals cannot be started")?;
    Ok(())
}

/// Has a signal end the process as soon as this is done; from the moment that a host listens, signals are its own.
pub fn until_host_listens(end: impl FnOnce() + Send + 'static) -> Result<()> {
    until(async move |mut signals| {
        signals.next().await;
        if HOST_LISTENS.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        end();
    })
}

/// Lets signals end a host.
pub fn listen(control: Arc<Control>) -> Result<()> {
    HOST_LISTENS.store(true, Ordering::SeqCst);
    until(async move |mut signals| {
        tokio::select! {
            () = until_second(async || signals.next().await, &control) => {}
            () = too_late(&control) => tracing::error!("the end took too long: what was not committed will be done again"),
        }
    })
}

/// The first signal asks for an orderly end, also of a host that is ending already by itself.
async fn until_second(mut next: impl AsyncFnMut(), control: &Control) {
    next().await;
    tracing::info!("ending: the running transactions are committed; a second signal ends at once");
    control.stop();
    next().await;
}

/// Whatever holds the end up, also before anything runs. The supervisor's own patience ends before.
async fn too_late(control: &Control) {
    loop {
        if control.stopped_at().is_some_and(|since| since.elapsed() > END_WITHIN) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_to_a_host_that_ends_by_itself_is_not_its_second() {
        let control = Control::default();
        control.stop();
        let mut signals = 0;
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(until_second(async || signals += 1, &control));
        assert_eq!(signals, 2);
    }
}
