//! The schemas of a manifest's topics, as commands need them: before anything runs, or only to read and write by them.

use super::{say, wrong};
use crate::{
    manifest::Manifest,
    schemas::{Bound, Schemas, Unsettled},
    worker::control::Control,
};
use anyhow::{Result, anyhow};
use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

/// Between two looks at a registry that does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at whether somebody wants an end.
const LOOK: Duration = Duration::from_millis(50);
/// How long somebody waits before that is said.
const SILENCE: Duration = Duration::from_secs(1);

/// Finds all schemas and registers those that are new, before anything starts. What the registry has to say and nobody
/// else knows is waited for. Nothing when the host was told to end meanwhile.
pub(super) fn settle(manifest: &Manifest, state: &Path, is_scratch: bool, control: &Control) -> Result<Option<Bound>> {
    let schemas = of(manifest, state, is_scratch)?;
    let mut said = String::new();
    while !control.stopping() {
        // Whoever wants an end need not wait for the answer.
        let answer = ask(schemas.clone(), Schemas::settle)?;
        let settled = loop {
            match answer.recv_timeout(LOOK) {
                Ok(settled) => break settled,
                Err(RecvTimeoutError::Timeout) if control.stopping() => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        };
        match settled {
            Err(Unsettled::Unavailable(why)) => {
                if why != said {
                    tracing::warn!("{why}: waiting until it does");
                    said = why;
                }
                control.wait(PAUSE);
            }
            settled => {
                if !said.is_empty() {
                    tracing::info!("the schema registry answers");
                }
                return settled.map(Some).map_err(explain);
            }
        }
    }
    Ok(None)
}

/// The same, for a command that somebody waits for.
pub(super) fn settle_now(manifest: &Manifest) -> Result<Bound> {
    wait_for(of(manifest, &manifest.state, false)?, Schemas::settle)
}

/// The same for one topic: what is there of others is not this command's.
pub(super) fn settle_topic(manifest: &Manifest, topic: &str) -> Result<Bound> {
    wait_for(of(manifest, &manifest.state, false)?.only(topic), Schemas::settle)
}

/// The schemas as they are, for those who write nothing.
pub(super) fn known(manifest: &Manifest) -> Result<Bound> {
    wait_for(of(manifest, &manifest.state, false)?, Schemas::known)
}

fn wait_for(schemas: Schemas, question: Question) -> Result<Bound> {
    let answer = ask(schemas, question)?;
    let known = match answer.recv_timeout(SILENCE) {
        Ok(known) => known,
        Err(RecvTimeoutError::Timeout) => {
            say("waiting for the schema registry\n");
            answer.recv().map_err(|_| gone())?
        }
        Err(RecvTimeoutError::Disconnected) => return Err(gone()),
    };
    known.map_err(explain)
}

type Question = fn(&Schemas) -> Result<Bound, Unsettled>;

/// Asks on a thread of its own.
fn ask(schemas: Schemas, question: Question) -> Result<Receiver<Result<Bound, Unsettled>>> {
    let (to, answer) = sync_channel(1);
    thread::Builder::new().name("schemas".into()).spawn(move || to.send(question(&schemas)))?;
    Ok(answer)
}

fn gone() -> anyhow::Error {
    anyhow!("a defect of the host: the thread that asks for schemas panicked")
}

/// The schemas of a manifest's topics.
pub(super) fn of(manifest: &Manifest, state: &Path, is_scratch: bool) -> Result<Schemas> {
    Schemas::of(manifest, state, is_scratch).map_err(|error| wrong(format!("{error:#}")))
}

/// What is wrong with what was asked, and what failed.
pub(super) fn explain(error: Unsettled) -> anyhow::Error {
    match error {
        Unsettled::Denied(_) | Unsettled::Refused(_) => wrong(error.to_string()),
        Unsettled::Unavailable(why) => anyhow!(why),
        Unsettled::Failed(error) => error,
    }
}
