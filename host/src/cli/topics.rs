//! `topics`: what is there, made, grown, deleted.

use super::{
    Exit,
    log::{Which, explain},
    pair::{once, pair},
    print, wrong,
};
use crate::{
    manifest::check_topic_name,
    text::{count, grouped, nearest},
    transport::log::{NewTopic, TopicFacts, Topics},
};
use anyhow::Result;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt::Write,
    thread,
    time::{Duration, Instant},
};

/// How long brokers may take to tell of a change, and how long to wait between two looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// List, create, describe, grow and delete topics
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream topics list --kafka localhost:9092
  millstream topics create orders --partitions 4 --kafka localhost:9092
  millstream topics describe orders --manifest pipeline.yaml")]
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
    /// List the topics
    #[command(after_help = "Example:\n  millstream topics list --kafka localhost:9092")]
    List,
    /// Create a topic
    #[command(after_help = "Example:
  millstream topics create orders --partitions 4 --config retention.ms=86400000")]
    Create {
        /// Its name
        topic: String,
        /// How many partitions; the broker's default when not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
              env = "MILLSTREAM_PARTITIONS")]
        partitions: Option<u32>,
        /// How many replicas; the broker's default when not given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
              env = "MILLSTREAM_REPLICATION")]
        replication: Option<u16>,
        /// Its configuration; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
        config: Vec<(String, String)>,
    },
    /// Show a topic's partitions and configuration
    #[command(after_help = "Example:\n  millstream topics describe orders --manifest pipeline.yaml")]
    Describe {
        /// The topic
        topic: String,
    },
    /// Give a topic more partitions
    #[command(after_help = "Example:\n  millstream topics grow orders --partitions 8 --kafka localhost:9092")]
    Grow {
        /// The topic
        topic: String,
        /// How many partitions it is to have
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
              env = "MILLSTREAM_PARTITIONS")]
        partitions: u32,
    },
    /// Delete a topic, with all of its records
    #[command(after_help = "Example:\n  millstream topics delete orders --kafka localhost:9092")]
    Delete {
        /// The topic
        topic: String,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<Exit> {
    if let Command::Delete { .. } = arguments.command {
        arguments.log.be_named()?;
    }
    let log = arguments.log.open()?;
    let topics = log.topics()?;
    let json = arguments.json;
    let result = match arguments.command {
        Command::List => list(&*topics, json),
        Command::Create { topic, partitions, replication, config } => {
            let new = NewTopic { name: topic, partitions, replication, config: once(config)?, has_brokers_time: false };
            create(&*topics, &new, json)
        }
        Command::Describe { topic } => describe(&*topics, &topic, json),
        Command::Grow { topic, partitions } => grow(&*topics, &topic, partitions, json),
        Command::Delete { topic } => delete(&*topics, &topic, json),
    };
    result.map_err(explain(&log))
}

fn list(topics: &dyn Topics, json: bool) -> Result<Exit> {
    let all = topics.list()?;
    if json {
        let rows: Vec<_> = all
            .iter()
            .map(|(name, facts)| json!({"topic": name, "partitions": facts.partitions, "replication": facts.replication}))
            .collect();
        print(&format!("{}\n", serde_json::to_string(&rows)?))?;
        return Ok(Exit::Done);
    }
    let width = all.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (name, facts) in &all {
        writeln!(text, "{name:width$}  {}", count(facts.partitions.into(), "partition"))?;
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn create(topics: &dyn Topics, new: &NewTopic, json: bool) -> Result<Exit> {
    check_topic_name(&new.name).map_err(wrong)?;
    if topics.list()?.contains_key(&new.name) || !topics.create(new)? {
        return Err(wrong(format!("topic {} is there already; `topics describe` shows it", new.name)));
    }
    until_seen(topics, |all| all.contains_key(&new.name));
    done(json, json!({"created": new.name}), format!("topic {} made", new.name))
}

fn grow(topics: &dyn Topics, name: &str, partitions: u32, json: bool) -> Result<Exit> {
    let has = topics.list()?.get(name).map(|facts| facts.partitions).ok_or_else(|| wrong(unknown(topics, name)))?;
    if partitions <= has {
        return Err(wrong(format!("topic {name} has {}, and a topic never shrinks", count(has.into(), "partition"))));
    }
    topics.grow(name, partitions)?;
    until_seen(topics, |all| all.get(name).is_some_and(|facts| facts.partitions >= partitions));
    let text = format!("topic {name} has {partitions} partitions now; keys may move to other ones");
    done(json, json!({"topic": name, "partitions": partitions}), text)
}

fn delete(topics: &dyn Topics, name: &str, json: bool) -> Result<Exit> {
    if !topics.list()?.contains_key(name) {
        return Err(wrong(unknown(topics, name)));
    }
    topics.delete(name)?;
    until_seen(topics, |all| !all.contains_key(name));
    done(json, json!({"deleted": name}), format!("topic {name} deleted"))
}

/// Waits until brokers tell of a change that is made, so that the next command finds it; not for long, as somebody may
/// have made another one meanwhile.
fn until_seen(topics: &dyn Topics, is_seen: impl Fn(&BTreeMap<String, TopicFacts>) -> bool) {
    let since = Instant::now();
    while !topics.list().is_ok_and(|all| is_seen(&all)) && since.elapsed() < PATIENCE {
        thread::sleep(PAUSE);
    }
}

fn done(json: bool, value: serde_json::Value, text: String) -> Result<Exit> {
    print(&if json { format!("{value}\n") } else { format!("{text}\n") })?;
    Ok(Exit::Done)
}

fn describe(topics: &dyn Topics, name: &str, json: bool) -> Result<Exit> {
    let facts = find(topics, name)?;
    let partitions = topics.partitions(name)?.unwrap_or_default();
    let own: BTreeMap<_, _> =
        facts.own_config.iter().filter_map(|key| Some((key.as_str(), facts.config.get(key)?.as_str()))).collect();
    if json {
        let rows: Vec<_> = partitions
            .iter()
            .map(|p| {
                json!({"partition": p.number, "leader": p.leader, "replicas": p.replicas, "in-sync": p.in_sync,
                       "start": p.start, "end": p.end})
            })
            .collect();
        let all = json!({"topic": name, "replication": facts.replication, "config": own, "partitions": rows});
        print(&format!("{all}\n"))?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{name}: {}", count(facts.partitions.into(), "partition"));
    if facts.replication > 0 {
        write!(text, ", {}", count(facts.replication as u64, "replica"))?;
    }
    text.push('\n');
    for (key, value) in own {
        writeln!(text, "  {key}={value}")?;
    }
    writeln!(text, "{:>9}  {:>15}  {:>15}  {:>6}  in sync", "partition", "start", "end", "leader")?;
    for partition in partitions {
        let shown = |offset: Option<u64>| offset.map_or_else(|| "?".to_owned(), grouped);
        let leader = if partition.leader < 0 { "none".to_owned() } else { partition.leader.to_string() };
        let (start, end) = (shown(partition.start), shown(partition.end));
        let in_sync = format!("{} of {}", partition.in_sync.len(), partition.replicas.len());
        writeln!(text, "{:>9}  {start:>15}  {end:>15}  {leader:>6}  {in_sync}", partition.number)?;
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// What is known of a topic; when it is not there, that is wrong.
pub(super) fn find(topics: &dyn Topics, name: &str) -> Result<TopicFacts> {
    topics.find(&[name])?.remove(name).ok_or_else(|| wrong(unknown(topics, name)))
}

/// A partition that was named must be there.
pub(super) fn check_partition(name: &str, facts: &TopicFacts, partition: Option<u32>) -> Result<()> {
    match partition.filter(|partition| *partition >= facts.partitions) {
        Some(partition) => {
            let last = facts.partitions.saturating_sub(1);
            Err(wrong(format!("{name} has no partition {partition}: the last one is {last}")))
        }
        None => Ok(()),
    }
}

fn unknown(topics: &dyn Topics, name: &str) -> String {
    match similar(topics, name) {
        Some(near) => format!("there is no topic {name}: did you mean {near}?"),
        None => format!("there is no topic {name}; `topics list` shows those that are there"),
    }
}

/// The topic that somebody probably meant.
pub(super) fn similar(topics: &dyn Topics, name: &str) -> Option<String> {
    let all = topics.list().unwrap_or_default();
    nearest(name, all.keys().map(String::as_str)).map(str::to_owned)
}
