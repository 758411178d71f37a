//! What a signal means: the first one asks for an orderly end, the second one gets an end.

use crate::worker::control::Control;
use anyhow::{Context, Result};
use std::{sync::Arc, thread};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Listens for SIGTERM and Ctrl-C from here on, in a thread of its own.
pub fn listen(control: Arc<Control>) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let (terminate, interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(end(terminate, interrupt, control)))
        .context("the thread for signals cannot be started")?;
    Ok(())
}

async fn end(mut terminate: Signal, mut interrupt: Signal, control: Arc<Control>) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if control.stopping() {
            std::process::exit(1);
        }
        tracing::info!("ending: the running transactions are committed; a second signal ends at once");
        control.stop();
    }
}
