//! Finds out when nothing is left to do: every group's committed offsets stand at the end of all partitions of all of
//! its inputs, whoever holds them. A worker that is idle itself says nothing of a dead one that still holds records.

use super::{Event, Running};
use crate::worker::control::Control;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(200);

/// Watches in a thread of its own, and tells when there has been nothing to do for `quiet`.
pub(super) fn watch(running: &[Running], quiet: Duration, control: Arc<Control>, events: mpsc::Sender<Event>) {
    let groups: Vec<_> = running
        .iter()
        .map(|stage| {
            let link = &stage.plan.link;
            (stage.plan.log.clone(), link.group.clone(), link.inputs.clone(), stage.tally.clone())
        })
        .collect();
    thread::spawn(move || {
        let questions: Vec<_> =
            groups.iter().filter_map(|(log, group, inputs, _)| log.offsets(group, inputs).ok()).collect();
        let mut since: Option<(Instant, u64)> = None;
        while !control.stopping() {
            let done = questions.len() == groups.len()
                && questions.iter().all(|offsets| {
                    offsets
                        .ask()
                        .is_ok_and(|partitions| !partitions.is_empty() && partitions.values().all(|lag| lag.is_none()))
                });
            let taken = groups.iter().map(|(.., tally)| tally.counts().taken).sum();
            since = match (done, since) {
                (false, _) => None,
                (true, Some((since, before))) if before == taken => Some((since, before)),
                (true, _) => Some((Instant::now(), taken)),
            };
            if since.is_some_and(|(since, _)| since.elapsed() >= quiet) {
                events.blocking_send(Event::Idle).ok();
                return;
            }
            control.wait(INTERVAL);
        }
    });
}
