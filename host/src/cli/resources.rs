//! `resources`: what a pipeline has in its log, and how it goes away with it.

use super::{
    Exit, Mistakes, client,
    confirm::confirm,
    load::{self, Source},
    log::{existing, explain},
    offsets::wait_for_the_end,
    print, say, terminal,
};
use crate::{
    manifest::Manifest,
    plan::{Id, Owned, Roles},
    text::count,
    transport::log::{Groups, Log, TopicFacts},
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, fs};

/// Show the groups, ids and topics of a pipeline; with --delete, remove them
#[derive(clap::Args)]
#[command(after_help = "Examples:
  millstream resources pipeline.yaml
  millstream resources pipeline.yaml --delete

What is the pipeline's own goes: its groups, and the topics that it declares or
writes, with all of their records. An input that it neither declares nor writes
stays, and so do the manifest, its modules and its state folder.")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Remove them, after asking; refused while a group has members
    #[arg(long, env = "MILLSTREAM_DELETE")]
    delete: bool,
    /// Without asking
    #[arg(long, requires = "delete", env = "MILLSTREAM_YES")]
    yes: bool,
    /// Print JSON
    #[arg(long, env = "MILLSTREAM_JSON")]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit> {
    let mut reading = load::read(&arguments.source)?;
    let found = reading.draft().map(|draft| client::check(draft, &reading)).unwrap_or_default();
    found.into_iter().for_each(|mistake| reading.report.add(mistake));
    let (manifest, _) = reading.finish().map_err(|report| Mistakes(report.render(terminal())))?;
    match existing(&manifest)? {
        Some(log) => {
            let work = || {
                let found = Found::ask(&manifest, &log)?;
                if arguments.delete { found.delete(&log, arguments) } else { found.show(arguments.json) }
            };
            work().map_err(explain(&log))
        }
        None => {
            let found = Found::nothing(&manifest);
            if arguments.delete { found.removed(arguments.json, (&[], &[])) } else { found.show(arguments.json) }
        }
    }
}

/// What a pipeline has, and what of it is there.
struct Found {
    pipeline: String,
    log: String,
    owned: Owned,
    /// How many members each group has that is there.
    groups: BTreeMap<String, usize>,
    /// The topics that are there.
    topics: BTreeMap<String, TopicFacts>,
    /// The transactional ids that workers on this machine have had.
    known_ids: Vec<String>,
}

impl Found {
    /// Nothing was made yet.
    fn nothing(manifest: &Manifest) -> Found {
        let mut owned = Owned::of(manifest);
        if manifest.kafka.is_none() {
            // An embedded log has transactions without names.
            owned.ids.clear();
        }
        Found {
            pipeline: manifest.name.clone(),
            log: "an embedded log that is not there yet".to_owned(),
            owned,
            groups: BTreeMap::new(),
            topics: BTreeMap::new(),
            known_ids: Vec::new(),
        }
    }

    fn ask(manifest: &Manifest, log: &Log) -> Result<Found> {
        let mut found = Found { log: log.to_string(), ..Found::nothing(manifest) };
        let names: Vec<_> = found.owned.topics.keys().map(String::as_str).collect();
        found.topics = log.topics()?.find(&names)?;
        let groups = log.groups();
        let there = groups.list()?;
        for (group, _) in &found.owned.groups {
            let members = groups.members(group)?;
            if members > 0 || there.contains(group) {
                found.groups.insert(group.clone(), members);
            }
        }
        found.known_ids = known_ids(manifest);
        Ok(found)
    }

    fn show(&self, json: bool) -> Result<Exit> {
        if json {
            print(&format!("{}\n", self.json()))?;
            return Ok(Exit::Done);
        }
        let mut text = format!("{} on {}\n", self.pipeline, self.log);
        text.push_str("groups\n");
        let width = self.width();
        for (group, of) in &self.owned.groups {
            let state = match self.groups.get(group) {
                None => "not there".to_owned(),
                Some(0) => "does not run".to_owned(),
                Some(members) => count(*members as u64, "member"),
            };
            writeln!(text, "  {group:width$}  of {of}: {state}")?;
        }
        if !self.owned.ids.is_empty() {
            text.push_str("transactional ids, which Kafka forgets by itself\n");
        }
        for id in &self.owned.ids {
            let of = &id.of;
            match id.is_prefix {
                true => {
                    let name = format!("{}…", id.name);
                    let known = match self.known(id).len() {
                        0 => String::new(),
                        known => format!(", {} on this machine", count(known as u64, "worker")),
                    };
                    writeln!(text, "  {name:width$}  of {of}, one a worker{known}")?;
                }
                false => writeln!(text, "  {:width$}  of {of}", id.name)?,
            }
        }
        text.push_str("topics\n");
        for (topic, roles) in self.own() {
            let state = match self.topics.get(topic) {
                Some(facts) => count(facts.partitions.into(), "partition"),
                None => "not there".to_owned(),
            };
            writeln!(text, "  {topic:width$}  {}: {state}", words(roles))?;
        }
        let mut others = self.owned.topics.iter().filter(|(_, roles)| !roles.is_own()).peekable();
        if others.peek().is_some() {
            text.push_str("topics of others, which stay\n");
        }
        for (topic, roles) in others {
            writeln!(text, "  {topic:width$}  {}", words(roles))?;
        }
        print(&text)?;
        Ok(Exit::Done)
    }

    fn width(&self) -> usize {
        let groups = self.owned.groups.iter().map(|(group, _)| group.len());
        let ids = self.owned.ids.iter().map(|id| id.name.len() + usize::from(id.is_prefix));
        groups.chain(ids).chain(self.owned.topics.keys().map(String::len)).max().unwrap_or(0)
    }

    /// The topics that go with the pipeline.
    fn own(&self) -> impl Iterator<Item = (&String, &Roles)> {
        self.owned.topics.iter().filter(|(_, roles)| roles.is_own())
    }

    fn known(&self, id: &Id) -> Vec<&String> {
        // A stage's name may begin with that of another, a dot behind it not.
        self.known_ids.iter().filter(|known| id.is_prefix && known.starts_with(&id.name)).collect()
    }

    fn json(&self) -> Value {
        let groups: Vec<_> = self
            .owned
            .groups
            .iter()
            .map(|(group, of)| {
                let members = self.groups.get(group);
                json!({"group": group, "of": of, "there": members.is_some(), "members": members.unwrap_or(&0)})
            })
            .collect();
        let ids: Vec<_> = self
            .owned
            .ids
            .iter()
            .map(|id| json!({"id": id.name, "prefix": id.is_prefix, "of": id.of, "here": self.known(id)}))
            .collect();
        let topics: Vec<_> = self
            .owned
            .topics
            .iter()
            .map(|(topic, roles)| {
                let partitions = self.topics.get(topic).map(|facts| facts.partitions);
                json!({"topic": topic, "roles": roles.roles, "declared": roles.is_declared, "own": roles.is_own(),
                       "there": partitions.is_some(), "partitions": partitions})
            })
            .collect();
        json!({"pipeline": self.pipeline, "log": self.log, "groups": groups, "transactional-ids": ids, "topics": topics})
    }

    fn delete(&self, log: &Log, arguments: &Arguments) -> Result<Exit> {
        let groups: Vec<_> = self.groups.keys().cloned().collect();
        let own = self.own().map(|(topic, _)| topic).filter(|topic| self.topics.contains_key(*topic));
        let topics: Vec<_> = own.cloned().collect();
        let asker = log.groups();
        refuse_while_it_runs(&*asker, &groups)?;
        if groups.is_empty() && topics.is_empty() {
            return self.removed(arguments.json, (&[], &[]));
        }
        let listed = |thing: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!("{}: {}\n", count(names.len() as u64, thing), names.join(", ")),
        };
        if !arguments.yes {
            say(&format!("{}{}", listed("group", &groups), listed("topic", &topics)));
        }
        let question = format!("remove these of {} from {log}, with all records in them", self.pipeline);
        if !confirm(&question, arguments.yes)? {
            say("nothing was done\n");
            return Ok(Exit::Failed);
        }
        // Somebody may have taken their time to answer.
        refuse_while_it_runs(&*asker, &groups)?;
        // The groups last: what fails before can be done again, and no offsets are gone while records stay.
        let connection = log.topics()?;
        for (done, topic) in topics.iter().enumerate() {
            connection.delete(topic).with_context(|| match &topics[..done] {
                [] => "nothing was removed".to_owned(),
                gone => format!("removed so far: {}; no group", gone.join(", ")),
            })?;
        }
        for group in &groups {
            asker.delete(group).context("the topics are removed, not all groups")?;
        }
        self.removed(arguments.json, (&groups, &topics))
    }

    fn removed(&self, json: bool, (groups, topics): (&[String], &[String])) -> Result<Exit> {
        if json {
            print(&format!(
                "{}\n",
                json!({"pipeline": self.pipeline, "deleted": {"groups": groups, "topics": topics}})
            ))?;
            return Ok(Exit::Done);
        }
        let mut text = String::new();
        groups.iter().for_each(|group| text += &format!("group {group} deleted\n"));
        topics.iter().for_each(|topic| text += &format!("topic {topic} deleted\n"));
        if text.is_empty() {
            text = format!("nothing of {} is there\n", self.pipeline);
        }
        print(&text)?;
        Ok(Exit::Done)
    }
}

/// A topic that is only declared has no other role.
fn words(roles: &Roles) -> String {
    match (&roles.roles[..], roles.is_declared) {
        ([], _) => "declared".to_owned(),
        (roles, true) => format!("declared, {}", roles.join(", ")),
        (roles, false) => roles.join(", "),
    }
}

fn refuse_while_it_runs(asker: &dyn Groups, groups: &[String]) -> Result<()> {
    groups.iter().try_for_each(|group| wait_for_the_end(asker, group, "remove it"))
}

/// The names that workers on this machine have had: its state folder has a file for each.
fn known_ids(manifest: &Manifest) -> Vec<String> {
    let Ok(instance) = fs::read_to_string(manifest.state.join("instance")) else { return Vec::new() };
    let entries = fs::read_dir(manifest.state.join("workers")).into_iter().flatten().flatten();
    let worker = |name: String| {
        let (stage, number) = name.rsplit_once('.')?;
        Some(format!("{stage}.{}.{number}", instance.trim()))
    };
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter_map(worker).collect();
    names.sort();
    names
}
