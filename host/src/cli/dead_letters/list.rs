//! `dead-letters list`: what there is, by stage, kind and code.

use super::{NONE, read::each};
use crate::{
    cli::{Exit, print},
    manifest::{Burier, Manifest},
    stage::{Choice, Letter},
    text::{count, grouped},
    transport::log::Log,
};
use anyhow::Result;
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write};

/// So many codes are told apart; a module may make up as many as it likes.
const MOST: usize = 1000;
/// What the others are counted under.
const OTHERS: &str = "(other codes)";
/// How wide a code and a message are shown.
const CODE: usize = 24;
const MESSAGE: usize = 66;

/// What was found.
#[derive(Default)]
pub(super) struct Listed {
    groups: BTreeMap<Group, Count>,
    /// Records that no host wrote, by their topic.
    others: BTreeMap<String, u64>,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    topic: String,
    pipeline: String,
    stage: String,
    kind: String,
    code: String,
}

#[derive(Default)]
struct Count {
    letters: u64,
    first: i64,
    last: i64,
    /// The last one's.
    message: String,
}

/// Counts the letters of these stages; `only` them, also where others share their topics.
pub(super) fn list(
    manifest: &Manifest,
    log: &Log,
    stages: &[Burier<'_>],
    (choice, all, only): (&Choice, bool, bool),
) -> Result<Listed> {
    let mut listed = Listed::default();
    let names: Vec<_> = stages.iter().map(|stage| stage.dead_letter).collect();
    for topic in log.topics()?.find(&names)?.keys() {
        let of_topic: Vec<_> = manifest.buriers().filter(|stage| stage.dead_letter == *topic).collect();
        each(manifest, log, topic, &of_topic, &mut |found| {
            match &found.letter {
                _ if only && !stages.iter().any(|stage| found.is_of(manifest, stage)) => {}
                Some((letter, _)) if (all || found.waits) && choice.is_met_by(letter) => listed.count(topic, letter),
                Some(_) => {}
                None => *listed.others.entry(topic.clone()).or_default() += 1,
            }
            Ok(true)
        })?;
    }
    Ok(listed)
}

impl Listed {
    fn count(&mut self, topic: &str, letter: &Letter) {
        let Letter { pipeline, stage, kind, code, .. } = letter.clone();
        let mut group = Group { topic: topic.to_owned(), pipeline, stage, kind, code };
        if self.groups.len() >= MOST && !self.groups.contains_key(&group) {
            group.code = OTHERS.into();
        }
        let fresh = || Count { first: letter.at, last: i64::MIN, ..Count::default() };
        let count = self.groups.entry(group).or_insert_with(fresh);
        count.letters += 1;
        count.first = count.first.min(letter.at);
        if letter.at >= count.last {
            (count.last, count.message) = (letter.at, letter.message.clone());
        }
    }

    /// Prints it.
    pub(super) fn print(&self, json: bool) -> Result<Exit> {
        let text = if json { self.json()? } else { self.table()? };
        print(&text)?;
        Ok(Exit::Done)
    }

    fn json(&self) -> Result<String> {
        let rows: Vec<_> = self
            .groups
            .iter()
            .map(|(Group { topic, pipeline, stage, kind, code }, count)| {
                let Count { letters, first, last, message } = count;
                json!({"topic": topic, "pipeline": pipeline, "stage": stage, "kind": kind, "code": code,
                       "letters": letters, "first": first, "last": last, "message": message})
            })
            .collect();
        Ok(format!("{}\n", serde_json::to_string(&rows)?))
    }

    fn table(&self) -> Result<String> {
        let mut text = String::new();
        let rows: Vec<_> = self.groups.iter().collect();
        let of_stage =
            |(group, _): &(&Group, &Count)| (group.topic.clone(), group.pipeline.clone(), group.stage.clone());
        for rows in rows.chunk_by(|one, other| of_stage(one) == of_stage(other)) {
            let (Group { topic, pipeline, stage, .. }, _) = &rows[0];
            let letters = rows.iter().map(|(_, count)| count.letters).sum();
            writeln!(text, "{pipeline}.{stage}: {} in {topic}", count(letters, "dead letter"))?;
            writeln!(text, "  {:6}  {:CODE$}  {:>7}  {:16}  last (UTC)", "kind", "code", "letters", "first (UTC)")?;
            for (group, count) in rows {
                let (kind, code) = (&group.kind, shortened(&group.code, CODE));
                let (letters, first, last) = (grouped(count.letters), minute(count.first), minute(count.last));
                writeln!(text, "  {kind:6}  {code:CODE$}  {letters:>7}  {first:16}  {last}")?;
                writeln!(text, "          {}", shortened(&count.message, MESSAGE))?;
            }
        }
        for (topic, records) in &self.others {
            writeln!(text, "{topic}: {} that no host wrote", count(*records, "record"))?;
        }
        if text.is_empty() {
            text.push_str(NONE);
        }
        Ok(text)
    }
}

/// So many characters of a text, and no line of its own.
fn shortened(text: &str, width: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    match text.chars().count() > width {
        true => text.chars().take(width - 1).map(shown).chain(['…']).collect(),
        false => text.chars().map(shown).collect(),
    }
}

/// A time, as people write it.
fn minute(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| "?".into(), |time| time.strftime("%Y-%m-%d %H:%M").to_string())
}
