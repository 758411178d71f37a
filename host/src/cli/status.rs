//! `status`: how a running host is doing.

use super::{
    Exit,
    host::{Host, Hosts},
    print,
};
use crate::text::grouped;
use anyhow::Result;
use serde_json::{Value, json};

/// Show how a running host is doing
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream status --admin 127.0.0.1:8081
  millstream status --ready      (for health checks)")]
pub(super) struct Arguments {
    #[command(flatten)]
    hosts: Hosts,
    /// As JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
    /// Say only whether everything is at work, and end with code 1 when it is not
    #[arg(long, conflicts_with = "json", env = "MILLSTREAM_READY")]
    ready: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let hosts = arguments.hosts.all()?;
    if arguments.ready {
        return ready(&hosts);
    }
    let mut all = Vec::new();
    for host in &hosts {
        let status = host.get("/v1/status")?;
        if arguments.json {
            all.push(status);
            continue;
        }
        let at = if hosts.len() > 1 { format!("{}: ", host.address) } else { String::new() };
        print(&format!("{at}{}", show(&status)))?;
    }
    if arguments.json {
        let value = if all.len() == 1 { all.remove(0) } else { json!(all) };
        print(&format!("{value}\n"))?;
    }
    Ok(Exit::Done)
}

/// Whether all of these hosts hold their partitions, or wait for work.
fn ready(hosts: &[Host]) -> Result<Exit> {
    let mut exit = Exit::Done;
    for host in hosts {
        let health = host.get("/health/ready")?;
        let at = if hosts.len() > 1 { format!("{}: ", host.address) } else { String::new() };
        if health["ready"] == true {
            print(&format!("{at}ready\n"))?;
            continue;
        }
        let word = |part: &Value, key: &str| part[key].as_str().unwrap_or("-").to_owned();
        let waiting = health["waiting"].as_array().map_or(&[][..], Vec::as_slice);
        let parts: Vec<_> = waiting.iter().map(|part| word(part, "name") + " is " + &word(part, "state")).collect();
        let why = if parts.is_empty() { "nothing runs yet".to_owned() } else { parts.join(", ") };
        print(&format!("{at}not ready: {why}\n"))?;
        exit = Exit::Failed;
    }
    Ok(exit)
}

/// What people read of it.
fn show(status: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), grouped);
    let mut rows = vec![["name", "state", "rate", "behind", "done", "dead letters", "module"].map(str::to_owned)];
    let mut notes = String::new();
    for part in status["stages"].as_array().into_iter().flatten() {
        let digest = part["module"]["digest"].as_str().and_then(|digest| digest.get(..8));
        let module = match (part["module"]["name"].as_str(), digest) {
            (Some(name), Some(digest)) => format!("{name} ({digest})"),
            _ => "-".to_owned(),
        };
        let rate = format!("{}/s", number(&part["rate"]));
        let (behind, done, letters) = (number(&part["lag"]), number(&part["done"]), number(&part["dead-letters"]));
        rows.push([word(&part["name"]), word(&part["state"]), rate, behind, done, letters, module]);
        let name = word(&part["name"]);
        if let Some(why) = part["failure"].as_str() {
            notes += &format!("{name}: stopped: {why}\n");
        } else if let Some(why) = part["trouble"].as_str() {
            notes += &format!("{name}: cannot go on: {why}; trying until it can\n");
        }
        if let Some(manifest) = part["drift"]["name"].as_str() {
            notes += &format!("{name}: drift: the manifest has {manifest}, and another was swapped in\n");
        }
        if let Some(trial) = part["trial"]["name"].as_str() {
            notes += &format!("{name}: {trial} is on trial, {} records so far\n", number(&part["trial"]["records"]));
        }
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("{} on {}\n", word(&status["pipeline"]), word(&status["log"]));
    for row in &rows {
        let cell = |(place, (cell, width)): (usize, (&String, &usize))| match place {
            2..=5 => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        };
        let cells: Vec<_> = row.iter().zip(&widths).enumerate().map(cell).collect();
        text += &format!("{}\n", cells.join("  ").trim_end());
    }
    text + &notes
}
