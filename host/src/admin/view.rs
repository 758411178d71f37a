//! What a host shows of itself, as JSON.

use super::Admin;
use crate::{
    plan::Work,
    supervisor::Running,
    swap::{Desk, Difference, Looked, Looking, Named},
    testing::{Line, Origin, difference},
    transport::log::Member,
};
use serde_json::{Value, json};
use std::sync::PoisonError;

pub(super) fn status(admin: &Admin) -> Value {
    json!({
        "pipeline": admin.pipeline,
        "log": admin.log.to_string(),
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
        "trouble": running.control.trouble(),
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
        let named = current.named();
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

/// A module that looks on, or did, and what it makes of records that the one that stands makes something else of.
pub(super) fn shadow(admin: &Admin, stage: &str, looked: &Looked) -> Value {
    let Looked { number, version, against, of, records, different, first, state } = looked;
    let running = admin.find(stage);
    let inputs = running.map_or(&[][..], |running| &running.part.link.inputs[..]);
    let first_output = match running.map(|running| &running.part.work) {
        Some(Work::Stage { settings, .. }) => settings.outputs.first().map_or("", |output| output.name.as_str()),
        _ => "",
    };
    let outcome = |json: String| serde_json::from_str::<Value>(&json).unwrap_or_default();
    let shown = |difference_of: &Difference| {
        let Difference { partition, offset, timestamp, headers, before, after } = difference_of;
        let lines = difference((before, after), &Origin::new(*timestamp, headers.clone()), first_output);
        json!({
            "topic": inputs.get(partition.input),
            "partition": partition.number,
            "offset": offset,
            "before": outcome(before.json()),
            "after": outcome(after.json()),
            "difference": lines.iter().map(Line::to_string).collect::<Vec<_>>(),
        })
    };
    let (state, why) = match state {
        Looking::Running => ("running", None),
        Looking::Done => ("done", None),
        Looking::Ended(why) => ("ended", Some(why)),
    };
    json!({
        "number": number,
        "module": version.named(),
        "against": against.named(),
        "records": records,
        "of": of,
        "different": different,
        "first": first.iter().map(shown).collect::<Vec<_>>(),
        "state": state,
        "why": why,
    })
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
