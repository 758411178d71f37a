//! `swap`, `rollback` and `swaps`: a stage's module is replaced while it runs.

use super::{
    Exit,
    host::{Host, Hosts, No},
    print, say,
    shadow::{self, Found},
    wrong,
};
use crate::{
    swap::{Named, Outcome, Swap},
    text::{count, grouped},
};
use anyhow::{Context, Result};
use http::Method;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::PathBuf, thread};

/// Replace a stage's module while it runs, and wait until it has proven itself
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream swap price price-2.wasm
  millstream swap price price-2.wasm --admin 10.0.0.7:8080 --admin 10.0.0.8:8080
  millstream swap price price-2.wasm --shadow 10000 --promote-if-equal

The new module is compiled and opened while the old one works. One worker tries
it for one transaction, then all follow; whatever it does wrong in its probation
brings the old one back. Nothing is lost or doubled either way.

With --shadow it runs beside the old one on the next N records that each host
does, and what it makes goes nowhere: it is compared, and the first differences
are shown, `-` the old one and `+` the new one. Whatever it does, the stage does
what it did; but both take their time, and what `allow: {http: …}` lets a module
send, both send.

Exit codes: 0 confirmed, or there but not proven yet, or all alike; 1 refused,
rolled back, or something differs; 2 what was asked is wrong")]
pub(super) struct Arguments {
    /// The stage
    stage: String,
    /// The new module
    module: PathBuf,
    #[command(flatten)]
    hosts: Hosts,
    /// Only on the hosts that are named, whoever else works for the stage
    #[arg(long, env = "MILLSTREAM_THIS_HOST")]
    this_host: bool,
    /// Only run it beside the old one on the next N records, and compare
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), env = "MILLSTREAM_SHADOW")]
    shadow: Option<u64>,
    /// And swap when both make the same of them, on all hosts
    #[arg(long, env = "MILLSTREAM_PROMOTE_IF_EQUAL")]
    promote_if_equal: bool,
    /// Do not wait for the outcome
    #[arg(long, env = "MILLSTREAM_NO_WAIT")]
    no_wait: bool,
    /// The result as JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

/// Go back to the module before
#[derive(clap::Args)]
#[command(after_help = "Example:\n  millstream rollback price")]
pub(super) struct RollbackArguments {
    /// The stage
    stage: String,
    #[command(flatten)]
    hosts: Hosts,
    /// Only end a shadow: the module that stands goes on
    #[arg(long, env = "MILLSTREAM_SHADOW_ONLY")]
    shadow_only: bool,
    /// The result as JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

/// Show what was swapped, and how it went
#[derive(clap::Args)]
#[command(after_help = "Example:\n  millstream swaps price")]
pub(super) struct SwapsArguments {
    /// The stage; all when none is named
    stage: Option<String>,
    #[command(flatten)]
    hosts: Hosts,
    /// As JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

/// What came of a swap on one host.
type Told = Result<Swap>;

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let Arguments { stage, module, hosts, this_host, shadow, promote_if_equal, no_wait, json } = arguments;
    match (shadow, no_wait) {
        (None, _) if *promote_if_equal => {
            return Err(wrong("--promote-if-equal wants to know of how many records: add --shadow N"));
        }
        (Some(_), true) if *promote_if_equal => {
            return Err(wrong("--promote-if-equal waits for what --shadow finds: leave --no-wait out"));
        }
        _ => {}
    }
    let path = module.display();
    let bytes = fs::read(module).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(format!("{path} is not there: build the module, or correct its path")),
        std::io::ErrorKind::IsADirectory => wrong(format!("{path} is a folder: name the .wasm file in it")),
        _ => wrong(format!("{path} cannot be read: {error}")),
    })?;
    let name = module.file_name().unwrap_or(module.as_os_str()).to_string_lossy().into_owned();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect();
    let hosts = hosts.all()?;
    if !this_host
        && (shadow.is_none() || *promote_if_equal)
        && let Some(strangers) = strangers(&hosts, stage)?
    {
        return Err(wrong(strangers));
    }
    let mut found = Vec::new();
    if let Some(records) = *shadow {
        let wanted = shadow::Wanted { stage, name: &name, bytes: &bytes, records, wait: !no_wait, json: *json };
        match shadow::look_on(&hosts, &wanted)? {
            Found::Alike(alike) if *promote_if_equal => found = alike,
            Found::Alike(alike) => {
                if *json {
                    shadow::print_found(&hosts, alike)?;
                }
                return Ok(Exit::Done);
            }
            Found::Not(exit) => {
                if *promote_if_equal {
                    say(&format!("{stage}: nothing was swapped\n"));
                }
                return Ok(exit);
            }
        }
    }
    // Others may have come to work for the stage while the module looked on.
    if !found.is_empty()
        && !this_host
        && let Some(strangers) = strangers(&hosts, stage)?
    {
        return Err(wrong(strangers));
    }
    // And what it was compared with may have been replaced.
    let instead_of = |at: usize| {
        let against = found.get(at).and_then(|shadow: &Value| shadow["against"]["digest"].as_str());
        against.map_or_else(String::new, |digest| format!("&instead-of={digest}"))
    };
    let told = match &hosts[..] {
        [host] => vec![put(host, stage, &format!("name={name}&wait={}{}", !no_wait, instead_of(0)), &bytes)],
        hosts => together(hosts, stage, &name, (*no_wait, &instead_of), &bytes)?,
    };
    let mut exit = Exit::Done;
    let mut all = Vec::new();
    for (place, (host, told)) in hosts.iter().zip(told).enumerate() {
        let at = if hosts.len() > 1 { format!("{}: ", host.address) } else { String::new() };
        let mut shown = json!({"host": host.address});
        if let Some(shadow) = found.get(place) {
            shown["shadow"] = shadow.clone();
        }
        match told {
            Ok(swap) => {
                if matches!(swap.outcome, Outcome::RolledBack | Outcome::Withdrawn | Outcome::Refused | Outcome::Back) {
                    exit = Exit::Failed;
                }
                if *json {
                    shown["swap"] = json!(swap);
                    all.push(shown);
                } else {
                    print(&format!("{at}{}", describe(&swap)))?;
                }
            }
            Err(error) => match error.downcast_ref::<No>() {
                Some(no) if *json => {
                    exit = exit_of(no);
                    shown["error"] = json!({"code": no.code, "message": no.message});
                    all.push(shown);
                }
                Some(no) => {
                    exit = exit_of(no);
                    say(&format!("{at}{stage}: not swapped: {}\n", no.message));
                }
                None => return Err(error),
            },
        }
    }
    if *json {
        shadow::print_all(all)?;
    }
    Ok(exit)
}

/// How a command ends to which a host says no.
pub(super) fn exit_of(no: &No) -> Exit {
    if no.code == "not-found" { Exit::Wrong } else { Exit::Failed }
}

/// Who works for the stage on hosts that were not named. What cannot be asked, the swap itself will say.
fn strangers(hosts: &[Host], stage: &str) -> Result<Option<String>> {
    let mut known: BTreeMap<String, (bool, String)> = BTreeMap::new();
    for host in hosts {
        let part = match host.get(&format!("/v1/stages/{stage}")) {
            Ok(part) => part,
            // The swap itself will say it.
            Err(error) if error.downcast_ref::<No>().is_some_and(|no| no.code != "unauthorized") => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(members) = part["members"].as_array() else {
            return Ok(Some(format!(
                "who else works for {stage} is not known, as the cluster does not tell, so nothing was swapped; --this-host \
                 swaps all the same"
            )));
        };
        for member in members {
            let text = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
            let (here, _) = known.entry(text("name")).or_insert((false, text("host")));
            *here |= member["here"] == true;
        }
    }
    let strangers: Vec<_> = known.into_iter().filter(|(_, (here, _))| !here).collect();
    let names: Vec<_> = strangers.iter().map(|(name, (_, host))| format!("{name} at {host}")).collect();
    Ok((!names.is_empty()).then(|| {
        format!(
            "{stage} has {} on hosts that were not named, so nothing was swapped: {}; name those hosts by --admin, too, or \
             swap on this host alone by --this-host",
            count(names.len() as u64, "worker"),
            names.join(", ")
        )
    }))
}

fn put(host: &Host, stage: &str, query: &str, bytes: &[u8]) -> Told {
    read(host.ask(Method::PUT, &format!("/v1/stages/{stage}/module?{query}"), bytes.to_vec())?)
}

fn read(value: Value) -> Told {
    serde_json::from_value(value).context("the host's answer is not understood: it is of another version")
}

/// All hosts look at the module first, and only when none of them refuses it, all of them swap. When it fails on one of
/// them, the others go back.
fn together(
    hosts: &[Host],
    stage: &str,
    name: &str,
    (no_wait, instead_of): (bool, &dyn Fn(usize) -> String),
    bytes: &[u8],
) -> Result<Vec<Told>> {
    let looked: Vec<_> = on_each(hosts, |host| {
        host.ask(Method::PUT, &format!("/v1/stages/{stage}/module?name={name}&prepare=true"), bytes.to_vec())
    });
    if looked.iter().any(Result::is_err) {
        return Ok(looked
            .into_iter()
            .map(|looked| Err(looked.err().unwrap_or_else(|| not_here("another host refuses it"))))
            .collect());
    }
    let digest =
        looked.into_iter().flatten().find_map(|looked| looked["prepared"]["digest"].as_str().map(str::to_owned));
    let digest = digest.context("a host does not say what it has prepared")?;
    let instead_of: Vec<_> = (0..hosts.len()).map(instead_of).collect();
    let told = on_each(hosts, |host| {
        let place = hosts.iter().position(|other| other.address == host.address).unwrap_or_default();
        let path = format!("/v1/stages/{stage}/swap?digest={digest}&wait={}{}", !no_wait, instead_of[place]);
        read(host.ask(Method::POST, &path, Vec::new())?)
    });
    let fails =
        |told: &Told| !matches!(told, Ok(swap) if matches!(swap.outcome, Outcome::Confirmed | Outcome::Unproven));
    if !told.iter().any(fails) {
        return Ok(told);
    }
    let back = hosts.iter().zip(told).map(|(host, told)| match fails(&told) {
        true => told,
        false => read(host.ask(Method::POST, &format!("/v1/stages/{stage}/rollback?digest={digest}"), Vec::new())?),
    });
    Ok(back.collect())
}

fn not_here(why: &str) -> anyhow::Error {
    No { code: "conflict".into(), message: why.into() }.into()
}

/// Asks all hosts at once.
pub(super) fn on_each<T: Send>(hosts: &[Host], ask: impl Fn(&Host) -> Result<T> + Sync) -> Vec<Result<T>> {
    thread::scope(|scope| {
        let asked: Vec<_> = hosts.iter().map(|host| scope.spawn(|| ask(host))).collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap_or_else(|_| Err(not_here("a defect of this program"))))
            .collect()
    })
}

pub(super) fn roll_back(arguments: &RollbackArguments) -> Result<Exit> {
    let RollbackArguments { stage, hosts, shadow_only, json } = arguments;
    let mut exit = Exit::Done;
    for host in hosts.all()? {
        let path = format!("/v1/stages/{stage}/rollback");
        let answer = match shadow_only {
            true => shadow::check_version(&host, stage)
                .and_then(|()| host.ask(Method::POST, &format!("{path}?shadow=true"), Vec::new())),
            false => host.ask(Method::POST, &path, Vec::new()),
        };
        match answer {
            Ok(value) if *json => print(&format!("{value}\n"))?,
            Ok(value) => print(&describe(&read(value)?))?,
            Err(error) => match error.downcast_ref::<No>() {
                Some(no) => {
                    exit = exit_of(no);
                    say(&format!("{stage}: not rolled back: {}\n", no.message));
                }
                None => return Err(error),
            },
        }
    }
    Ok(exit)
}

pub(super) fn list(arguments: &SwapsArguments) -> Result<Exit> {
    let host = arguments.hosts.one()?;
    let stages = match &arguments.stage {
        Some(stage) => vec![stage.clone()],
        None => {
            let all = host.get("/v1/stages")?;
            let stages = all["stages"].as_array().into_iter().flatten().filter(|stage| stage["kind"] == "stage");
            stages.filter_map(|stage| stage["name"].as_str().map(str::to_owned)).collect()
        }
    };
    let mut swaps = Vec::new();
    for stage in stages {
        let answer = host.get(&format!("/v1/stages/{stage}/swaps")).map_err(|error| match error.downcast::<No>() {
            Ok(no) if no.code == "not-found" => wrong(no.message),
            Ok(no) => no.into(),
            Err(error) => error,
        })?;
        let Value::Array(list) = &answer["swaps"] else { continue };
        for swap in list {
            swaps.push(read(swap.clone())?);
        }
    }
    swaps.sort_by_key(|swap| swap.at);
    if arguments.json {
        print(&format!("{}\n", json!({"swaps": swaps})))?;
    } else if swaps.is_empty() {
        say("nothing was swapped yet\n");
    } else {
        for swap in swaps {
            let at = Timestamp::from_millisecond(swap.at).unwrap_or_default().to_zoned(TimeZone::UTC);
            print(&format!("{} {}", at.strftime("%Y-%m-%d %H:%M:%SZ"), describe(&swap)))?;
        }
    }
    Ok(Exit::Done)
}

/// What people read of a swap.
fn describe(swap: &Swap) -> String {
    let Swap { stage, from, to, records, .. } = swap;
    let (old, new, done) = (named(from), named(to), count(*records, "record"));
    let mut text = match swap.outcome {
        Outcome::Confirmed => {
            format!(
                "{stage}: {new} is confirmed after {done}, in place of {old}; it took over within {}\n",
                pause(swap.pause_us)
            )
        }
        Outcome::Unproven if *records == 0 => {
            format!("{stage}: {new} is loaded, not yet proven: no record has come; {old} is kept until then\n")
        }
        Outcome::Unproven => format!("{stage}: {new} is on trial, {done} so far; {old} is kept until it is proven\n"),
        Outcome::RolledBack => format!("{stage}: {new} is rolled back, {old} goes on\n"),
        Outcome::Back => format!("{stage}: back to {new} from {old}\n"),
        Outcome::Withdrawn => format!("{stage}: {new} is withdrawn, {old} goes on\n"),
        Outcome::Refused => format!("{stage}: {new} is refused, {old} goes on\n"),
    };
    if let Some(why) = &swap.reason {
        text += &format!("  {why}\n");
    }
    if swap.stricter > 0 {
        text += &format!("  it rejects {} that {old} takes\n", count(swap.stricter, "record"));
    }
    if swap.outcome == Outcome::RolledBack {
        if swap.offsets.is_empty() {
            text += "  nothing of it was committed\n";
        }
        for range in &swap.offsets {
            let (first, last) = (range.first, range.next.saturating_sub(1));
            text += &format!(
                "  its own stand: {}/{} from {} to {}\n",
                range.topic,
                range.partition,
                grouped(first),
                grouped(last)
            );
        }
    }
    if !swap.gains.is_empty() {
        text += &format!("  it imports what {old} does not: {}\n", swap.gains.join(", "));
    }
    text
}

fn named(named: &Named) -> String {
    match named.digest.get(..8) {
        Some(digest) => format!("{} ({digest})", named.name),
        None => named.name.clone(),
    }
}

fn pause(us: u64) -> String {
    if us < 1000 { "1 ms".to_owned() } else { format!("{} ms", us / 1000) }
}
