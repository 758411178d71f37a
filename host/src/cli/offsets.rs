//! `offsets`: where a group stands, and where it is put.

use super::{
    Exit,
    log::{Which, explain, time},
    print, say, topics, wrong,
};
use crate::{
    manifest::Start,
    text::{count, grouped, nearest},
    transport::log::{From, Groups, Lag, Log},
};
use anyhow::Result;
use clap::builder::NonEmptyStringValueParser;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::Write,
    thread,
    time::{Duration, Instant},
};

/// Show where a group stands, or put it elsewhere
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream offsets show orders.price --kafka localhost:9092
  millstream offsets set orders.price --topic orders --to earliest --dry-run

A stage's group is called PIPELINE.STAGE, unless its manifest says otherwise.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: Which,
    /// Print JSON
    #[arg(long, global = true, env = "MILLSTREAM_JSON")]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show a group's position, the end and the lag, by partition
    #[command(after_help = "Example:\n  millstream offsets show orders.price --kafka localhost:9092")]
    Show {
        /// The group
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        group: String,
        /// Only in this topic
        #[arg(long, value_name = "T", env = "MILLSTREAM_TOPIC")]
        topic: Option<String>,
    },
    /// Put a group elsewhere; refused while it runs
    #[command(after_help = "Examples:
  millstream offsets set orders.price --topic orders --to earliest
  millstream offsets set orders.price --topic orders --partition 2 --to 1000
  millstream offsets set orders.price --topic orders --to @1767225600000 --dry-run")]
    Set {
        /// The group
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        group: String,
        /// The topic
        #[arg(long, value_name = "T", env = "MILLSTREAM_TOPIC")]
        topic: String,
        /// Only in this partition
        #[arg(long, value_name = "P", env = "MILLSTREAM_PARTITION")]
        partition: Option<u32>,
        /// Where to: earliest, latest, an offset, or a time such as 2026-01-01T00:00:00Z, or @ and milliseconds since
        /// 1970
        #[arg(long, value_name = "WHERE", value_parser = place, env = "MILLSTREAM_TO")]
        to: From,
        /// Show what would be done, and do nothing
        #[arg(long, env = "MILLSTREAM_DRY_RUN")]
        dry_run: bool,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    if let Command::Set { dry_run: false, .. } = arguments.command {
        arguments.log.be_named()?;
    }
    let log = arguments.log.open()?;
    let json = arguments.json;
    let result = match arguments.command {
        Command::Show { group, topic } => show(&log, &group, topic, json),
        Command::Set { group, topic, partition, to, dry_run } => {
            set(&log, &group, &topic, &Move { partition, to, dry_run }, json)
        }
    };
    result.map_err(explain(&log))
}

fn show(log: &Log, group: &str, topic: Option<String>, json: bool) -> Result<Exit> {
    let groups = log.groups();
    let members = groups.members(group)?;
    let mut topics = groups.topics(group)?;
    if topics.is_empty() && members == 0 {
        return Err(wrong(unknown(&groups.list()?, group)));
    }
    if let Some(topic) = topic {
        topics::find(&*log.topics()?, &topic)?;
        topics = vec![topic];
    }
    let all = if topics.is_empty() { BTreeMap::new() } else { log.offsets(group, &topics)?.settled()? };
    if json {
        let rows: Vec<_> = all
            .iter()
            .map(|((topic, partition), lag)| {
                json!({"topic": topic, "partition": partition, "position": lag.committed, "start": lag.start,
                       "end": lag.end, "lag": left(lag)})
            })
            .collect();
        print(&format!("{}\n", json!({"group": group, "members": members, "partitions": rows})))?;
        return Ok(Exit::Done);
    }
    let mut text = match members {
        0 => format!("{group} does not run\n"),
        members => format!("{group} runs, with {}\n", count(members as u64, "member")),
    };
    let width = topics.iter().map(String::len).max().unwrap_or(0).max("topic".len());
    writeln!(text, "{:width$}  {:>9}  {:>15}  {:>15}  {:>15}", "topic", "partition", "position", "end", "lag")?;
    for ((topic, partition), lag) in &all {
        let position = lag.committed.map_or_else(|| "none".to_owned(), grouped);
        let (end, left) = (grouped(lag.end), grouped(left(lag)));
        writeln!(text, "{topic:width$}  {partition:>9}  {position:>15}  {end:>15}  {left:>15}")?;
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// How much is left to read; without a position, all there is.
fn left(lag: &Lag) -> u64 {
    lag.end.saturating_sub(lag.committed.unwrap_or(lag.start).max(lag.start))
}

/// What is to be done to a group.
struct Move {
    partition: Option<u32>,
    to: From,
    dry_run: bool,
}

fn set(log: &Log, group: &str, topic: &str, wish: &Move, json: bool) -> Result<Exit> {
    let facts = topics::find(&*log.topics()?, topic)?;
    topics::check_partition(topic, &facts, wish.partition)?;
    let groups = log.groups();
    if wish.dry_run {
        let members = groups.members(group)?;
        if members > 0 {
            say(&format!("group {group} runs now, with {}: it could not be set\n", count(members as u64, "member")));
        }
    } else {
        wait_for_the_end(&*groups, group, "set it")?;
    }
    let offsets = log.offsets(group, &[topic.to_owned()])?;
    let mut before = offsets.ask()?;
    before.retain(|(_, number), _| wish.partition.is_none_or(|only| only == *number));
    let mut after = match wish.to {
        From::Start(start) => offsets.find(start)?,
        From::Offset(offset) => {
            let way_out = if before.len() > 1 { ": name one with `--partition`" } else { "" };
            for ((topic, partition), lag) in &before {
                if offset < lag.start || offset > lag.end {
                    let (start, end) = (lag.start, lag.end);
                    return Err(wrong(format!(
                        "{topic}/{partition} has the offsets {start} to {end}, so {group} cannot be put at {offset}{way_out}"
                    )));
                }
            }
            before.keys().map(|partition| (partition.clone(), offset)).collect()
        }
    };
    after.retain(|partition, _| before.contains_key(partition));
    if !wish.dry_run {
        offsets.set(&after)?;
    }
    tell(group, &before, &after, wish.dry_run, json)
}

fn tell(
    group: &str,
    before: &BTreeMap<(String, u32), Lag>,
    after: &BTreeMap<(String, u32), u64>,
    dry_run: bool,
    json: bool,
) -> Result<Exit> {
    let stood = |partition| before.get(partition).and_then(|lag: &Lag| lag.committed);
    if json {
        let rows: Vec<_> = after
            .iter()
            .map(|(at, after)| json!({"topic": at.0, "partition": at.1, "before": stood(at), "after": after}))
            .collect();
        print(&format!("{}\n", json!({"group": group, "set": !dry_run, "partitions": rows})))?;
        return Ok(Exit::Done);
    }
    let mut text = if dry_run { format!("{group} would be put:\n") } else { format!("{group} is put:\n") };
    for (at, after) in after {
        let before = stood(at).map_or_else(|| "none".to_owned(), grouped);
        writeln!(text, "  {}/{}: {before} → {}", at.0, at.1, grouped(*after))?;
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// Refuses to do this when the group runs. One whose host has just ended is waited for.
pub(super) fn wait_for_the_end(groups: &dyn Groups, group: &str, what: &str) -> Result<()> {
    let (since, mut is_said) = (Instant::now(), false);
    loop {
        let members = groups.members(group)?;
        if members == 0 {
            return Ok(());
        }
        if since.elapsed() >= groups.echo() {
            return Err(wrong(format!(
                "group {group} runs, with {}: end its host first, and then {what}",
                count(members as u64, "member")
            )));
        }
        if !std::mem::replace(&mut is_said, true) {
            let wait = groups.echo().as_secs();
            say(&format!("group {group} has members: waiting up to {wait} s, as its host may have just ended\n"));
        }
        thread::sleep(Duration::from_millis(300));
    }
}

fn unknown(all: &[String], name: &str) -> String {
    match nearest(name, all.iter().map(String::as_str)) {
        Some(near) => format!("there is no group {name}: did you mean {near}?"),
        None => format!("there is no group {name}, or it has no offsets yet"),
    }
}

/// Where to, as it is written. A number is an offset, as it is everywhere else.
fn place(text: &str) -> Result<From, String> {
    match text {
        "earliest" => Ok(From::Start(Start::Earliest)),
        "latest" => Ok(From::Start(Start::Latest)),
        _ => match text.parse() {
            Ok(offset) => Some(From::Offset(offset)),
            Err(_) => time(text.strip_prefix('@').unwrap_or(text)).map(|time| From::Start(Start::Timestamp(time))),
        }
        .ok_or_else(|| "write `earliest`, `latest`, an offset, or a time such as `2026-01-01T00:00:00Z`".to_owned()),
    }
}
