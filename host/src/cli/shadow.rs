//! `swap --shadow`: a module beside the one that a stage runs, on its next records, and whether the two make the same of
//! them.

use super::{
    Exit,
    host::{Host, No},
    print, say,
    stdio::Signals,
    swap::{exit_of, on_each},
};
use crate::{
    supervisor,
    text::{count, grouped},
};
use anyhow::{Result, anyhow};
use http::Method;
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// How long a host may not answer until it is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long no record may come before that is said.
const LONELY: Duration = Duration::from_secs(5);

/// What is to look on, and how long.
pub(super) struct Wanted<'a> {
    pub(super) stage: &'a str,
    /// The module's name.
    pub(super) name: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) records: u64,
    pub(super) wait: bool,
    pub(super) json: bool,
}

/// What came of it.
pub(super) enum Found {
    /// On every host both modules made the same of all records: this is what was found there.
    Alike(Vec<Value>),
    /// They did not, or nobody knows.
    Not(Exit),
}

/// Begins it on all hosts, waits until it is over, and tells what was found.
pub(super) fn look_on(hosts: &[Host], wanted: &Wanted<'_>) -> Result<Found> {
    let begun: Vec<_> = on_each(hosts, |host| begin(host, wanted));
    if begun.iter().any(Result::is_err) {
        return refused(hosts, begun, wanted);
    }
    let begun: Vec<_> = begun.into_iter().flatten().collect();
    if !wanted.wait {
        say(&format!("{}: {} looks on, for {}\n", wanted.stage, wanted.name, count(wanted.records, "record")));
        say(&how_to_end(wanted.stage));
        return Ok(Found::Not(Exit::Done));
    }
    let Some(shadows) = wait(hosts, &begun, wanted)? else { return Ok(Found::Not(Exit::Failed)) };
    tell(hosts, shadows, wanted)
}

fn how_to_end(stage: &str) -> String {
    format!("`millstream rollback {stage} --shadow-only` ends that, and so does a swap\n")
}

/// A host that is of an earlier version would swap, or go back.
pub(super) fn check_version(host: &Host, stage: &str) -> Result<()> {
    let part = host.get(&format!("/v1/stages/{stage}?members=false"))?;
    if part["kind"] == "stage" && part.get("shadow").is_none() {
        let message = format!("the host at {} is of an earlier version, and knows no shadows", host.address);
        return Err(No { code: "conflict".into(), message }.into());
    }
    Ok(())
}

/// Begins it on a host, and gives what that calls it.
fn begin(host: &Host, wanted: &Wanted<'_>) -> Result<Value> {
    let Wanted { stage, name, records, bytes, .. } = wanted;
    check_version(host, stage)?;
    let path = format!("/v1/stages/{stage}/module?name={name}&shadow={records}");
    let mut answer = host.ask(Method::PUT, &path, bytes.to_vec())?;
    match answer["shadow"]["number"].is_u64() {
        true => Ok(answer["shadow"].take()),
        false => Err(anyhow!("the host's answer is not understood: it is of another version")),
    }
}

/// Where one host refuses it, it looks on nowhere.
fn refused(hosts: &[Host], begun: Vec<Result<Value>>, wanted: &Wanted<'_>) -> Result<Found> {
    let Wanted { stage, json, .. } = wanted;
    for (host, _) in hosts.iter().zip(&begun).filter(|(_, begun)| begun.is_ok()) {
        host.ask(Method::POST, &format!("/v1/stages/{stage}/rollback?shadow=true"), Vec::new()).ok();
    }
    let (mut exit, mut all) = (Exit::Failed, Vec::new());
    for (host, begun) in hosts.iter().zip(begun) {
        let Err(error) = begun else { continue };
        let error = error.downcast::<No>()?;
        exit = exit_of(&error);
        let at = if hosts.len() > 1 { format!("{}: ", host.address) } else { String::new() };
        match json {
            true => all.push(json!({"host": host.address, "error": {"code": error.code, "message": error.message}})),
            false => say(&format!("{at}{stage}: nothing looks on: {}\n", error.message)),
        }
    }
    if *json {
        print_all(all)?;
    }
    Ok(Found::Not(exit))
}

/// Waits until it is over everywhere, and gives what was found on each host; nothing, when whoever waits has had enough.
fn wait(hosts: &[Host], begun: &[Value], wanted: &Wanted<'_>) -> Result<Option<Vec<Value>>> {
    let signals = Signals::listen(1)?;
    let (since, mut is_said) = (Instant::now(), false);
    let (mut answered, mut records) = (Instant::now(), 0);
    let shows = io::stderr().is_terminal();
    loop {
        let shadows: Result<Vec<_>> =
            hosts.iter().zip(begun).map(|(host, begun)| look(host, begun, wanted.stage)).collect();
        match shadows {
            Ok(shadows) => {
                answered = Instant::now();
                let sum = |key: &str| shadows.iter().map(|shadow| shadow[key].as_u64().unwrap_or(0)).sum::<u64>();
                let different = sum("different");
                records = sum("records");
                if shadows.iter().all(|shadow| shadow["state"] != "running") {
                    supervisor::clear_line();
                    return Ok(Some(shadows));
                }
                if shows {
                    let of = grouped(wanted.records.saturating_mul(hosts.len() as u64));
                    let differ = grouped(different);
                    supervisor::show_line(&format!("{} of {of} records, {differ} differ", grouped(records)));
                }
                if records == 0 && since.elapsed() > LONELY && !std::mem::replace(&mut is_said, true) {
                    say(&format!("no record has come to {} so far: it waits for as long as you do\n", wanted.stage));
                }
            }
            // A host that says no does not say something else a moment later.
            Err(error) if error.downcast_ref::<No>().is_some() || answered.elapsed() > PATIENCE => {
                supervisor::clear_line();
                say(&how_to_end(wanted.stage));
                return Err(error);
            }
            Err(_) => {}
        }
        if signals.ending() {
            supervisor::clear_line();
            say(&format!("{} goes on to look on after {}\n", wanted.name, count(records, "record")));
            say(&how_to_end(wanted.stage));
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// How far it is on a host.
fn look(host: &Host, begun: &Value, stage: &str) -> Result<Value> {
    let mut part = host.get(&format!("/v1/stages/{stage}?members=false"))?;
    let shadow = part["shadow"].take();
    // Numbers begin anew with each start of a host.
    if ["number", "module", "against", "of"].iter().all(|key| shadow[key] == begun[key]) {
        return Ok(shadow);
    }
    let why = "the host was started anew, or another module looked on since";
    let mut ended = begun.clone();
    (ended["state"], ended["why"]) = (json!("ended"), json!(why));
    Ok(ended)
}

/// Tells what was found; in JSON not where all are alike, as something else may follow that belongs to it.
fn tell(hosts: &[Host], shadows: Vec<Value>, wanted: &Wanted<'_>) -> Result<Found> {
    let is_done = |shadow: &Value| shadow["state"] == "done" && shadow["different"] == 0;
    let alike = shadows.iter().all(is_done);
    if wanted.json {
        if !alike {
            print_found(hosts, shadows)?;
            return Ok(Found::Not(Exit::Failed));
        }
        return Ok(Found::Alike(shadows));
    }
    for (host, shadow) in hosts.iter().zip(&shadows) {
        let number = |key: &str| shadow[key].as_u64().unwrap_or(0);
        let (records, different) = (number("records"), number("different"));
        let at = if hosts.len() > 1 { format!("{}: ", host.address) } else { String::new() };
        if different > 0 {
            say(&format!("{at}- {}\n{at}+ {}\n", named(&shadow["against"]), named(&shadow["module"])));
        }
        for difference in shadow["first"].as_array().into_iter().flatten() {
            print(&shown(difference))?;
        }
        if let Some(why) = shadow["why"].as_str() {
            say(&format!("{at}{} looked on to no end: {why}\n", wanted.name));
        }
        let first = shadow["first"].as_array().map_or(0, Vec::len) as u64;
        let more = if first < different { format!(", {} shown", grouped(first)) } else { String::new() };
        let same = grouped(records - different);
        let of = count(records, "record");
        say(&format!("{at}{of} of {}: {same} alike, {} differ{more}\n", wanted.stage, grouped(different)));
    }
    Ok(if alike { Found::Alike(shadows) } else { Found::Not(Exit::Failed) })
}

/// What was found on each host, in JSON.
pub(super) fn print_found(hosts: &[Host], shadows: Vec<Value>) -> Result<()> {
    let of = |(host, shadow): (&Host, Value)| json!({"host": host.address, "shadow": shadow});
    print_all(hosts.iter().zip(shadows).map(of).collect())
}

/// One value a host, or that of the only one.
pub(super) fn print_all(mut all: Vec<Value>) -> Result<()> {
    let value = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
    print(&format!("{value}\n"))
}

fn named(module: &Value) -> String {
    let text = |key: &str| module[key].as_str().unwrap_or_default();
    format!("{} ({})", text("name"), text("digest").get(..8).unwrap_or_default())
}

/// A record's place, and what differs of it, as `replay` shows it.
fn shown(difference: &Value) -> String {
    let topic = difference["topic"].as_str().unwrap_or_default();
    let mut text = format!("{topic}/{}@{}\n", difference["partition"], difference["offset"]);
    for line in difference["difference"].as_array().into_iter().flatten() {
        text += &format!("{}\n", line.as_str().unwrap_or_default());
    }
    if ["before", "after"].iter().any(|side| difference[side]["cut"] == true) {
        text += "  … it is larger than what is kept of it\n";
    }
    text
}
