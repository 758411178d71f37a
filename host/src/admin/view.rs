//! What a host shows of itself, as JSON.

use super::Admin;
use crate::{
    plan::Work,
    supervisor::Running,
    swap::{Desk, Named},
    transport::log::Member,
};
use serde_json::{Value, json};
use std::sync::PoisonError;

pub(super) fn status(admin: &Admin) -> Value {
    json!({
        "pipeline": admin.pipeline,
        "log": admin.log,
        "version": env!("CARGO_PKG_VERSION"),
        "stages": parts(admin),
    })
}

pub(super) fn parts(admin: &Admin) -> Vec<Value> {
    admin.running().iter().map(|running| part(admin, running)).collect()
}

/// A source, a stage or a sink.
pub(super) fn part(admin: &Admin, running: &Running) -> Value {
    let part = &running.part;
    let (kind, counts) = (kind(&part.work), running.tally.counts());
    let held: Vec<_> = running
        .tally
        .held()
        .into_values()
        .flatten()
        .filter_map(|held| Some(json!({"topic": part.link.inputs.get(held.input)?, "partition": held.number})))
        .collect();
    let mut view = json!({
        "name": part.name,
        "kind": kind,
        "state": running.state().word(),
        "failure": running.failure(),
        "inputs": if part.is_source() { &[] } else { &part.link.inputs[..] },
        "outputs": part.link.outputs,
        "group": part.link.group,
        "workers": part.workers(),
        "partitions": held,
        "done": running.done(),
        "sent": counts.sent,
        "dead-letters": counts.dead_letters,
        "skipped": counts.skipped,
        "put-off": running.tally.retries(),
        "rate": running.rate(),
        "lag": lag(admin, running),
    });
    if let (Some(modules), Some(desk)) = (running.modules(), admin.desk(&part.name)) {
        let current = modules.current();
        let named = Named { digest: current.digest.clone(), name: current.name.clone() };
        view["module"] = json!(named);
        view["drift"] = json!(drift(desk, &named));
        view["trial"] = modules.trial().map_or(
            Value::Null,
            |(version, done)| json!({"digest": version.digest, "name": version.name, "records": done.records}),
        );
        view["last-swap"] = json!(desk.swaps().ok().and_then(|swaps| swaps.into_iter().next_back()));
    }
    view
}

/// The members of its group, and which of them are here; nothing when the log does not say.
pub(super) fn members(running: &Running) -> Option<Value> {
    let part = &running.part;
    let (names, members) = (running.names(), part.log.groups().named_members(&part.link.group).ok()?);
    let member = |member: &Member| {
        let here = names.iter().any(|name| member.is(name));
        json!({"name": member.name, "host": member.host, "here": here})
    };
    Some(members.iter().map(member).collect())
}

/// The manifest's module, when another one runs.
fn drift(desk: &Desk, current: &Named) -> Option<Named> {
    let manifest = desk.manifest();
    (manifest.digest != current.digest).then(|| manifest.clone())
}

fn kind(work: &Work) -> &'static str {
    match work {
        Work::Source { .. } => "source",
        Work::Stage { .. } => "stage",
        Work::Sink { .. } => "sink",
    }
}

/// How many records its group has not read; nothing for a source, or when the log does not say.
fn lag(admin: &Admin, running: &Running) -> Option<u64> {
    if running.part.is_source() {
        return None;
    }
    let lags = admin.lags.lock().unwrap_or_else(PoisonError::into_inner).of(running)?;
    Some(lags.values().map(|lag| lag.end.saturating_sub(lag.committed.unwrap_or(lag.start))).sum())
}
