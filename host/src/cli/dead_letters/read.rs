//! Goes through the records of dead-letter topics, from their beginning to where they end now.

use super::group;
use crate::{
    cli::{
        say,
        scan::{LOOK, scan, whole},
    },
    manifest::{Burier, Manifest},
    record::Header,
    stage::{Letter, note_key},
    transport::{
        Incoming,
        log::{Lag, Log},
    },
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

/// How long a broker may take to end the transaction of somebody who was killed.
const LEFT_OPEN: Duration = Duration::from_secs(30);

/// A record of a dead-letter topic.
pub(super) struct Found<'a> {
    /// What it says, and which of its headers say it; nothing when no host wrote it.
    pub(super) letter: Option<(Letter, Range<usize>)>,
    /// The record as it lies there.
    pub(super) record: Incoming<'a>,
    /// All of its headers.
    pub(super) headers: Vec<Header>,
    /// It was not tried again.
    pub(super) waits: bool,
}

impl Found<'_> {
    /// True when this stage wrote it.
    pub(super) fn is_of(&self, manifest: &Manifest, stage: &Burier<'_>) -> bool {
        let is_its = |(letter, _): &(Letter, _)| letter.pipeline == manifest.name && letter.stage == stage.name;
        self.letter.as_ref().is_some_and(is_its)
    }
}

/// Where a group stands in each partition of a topic. A transaction that somebody left open hides it until its time is
/// over.
pub(super) fn stands(log: &Log, group: &str, topic: &str) -> Result<BTreeMap<u32, u64>> {
    let (since, mut is_said) = (Instant::now(), false);
    let offsets = log.offsets(group, &[topic.to_owned()])?;
    loop {
        match offsets.ask() {
            Ok(lags) => {
                let noted = match lags.values().all(|lag| lag.committed.is_some()) {
                    true => BTreeMap::new(),
                    false => notes(log, group, topic)?,
                };
                let at = |number, lag: Lag| {
                    // A place behind the end is one in another topic that had this name.
                    let is_here = |next: &u64| *next <= lag.end;
                    let noted = noted.get(&number).copied().filter(is_here);
                    lag.committed.filter(is_here).or(noted).unwrap_or(0).max(lag.start)
                };
                return Ok(lags.into_iter().map(|((_, number), lag)| (number, at(number, lag))).collect());
            }
            Err(error) if since.elapsed() > LEFT_OPEN => return Err(error.context(format!("group {group}"))),
            Err(_) if !std::mem::replace(&mut is_said, true) => {
                say(&format!(
                    "group {group} does not tell yet where it stands: waiting, as it may have just been killed\n"
                ));
            }
            Err(_) => {}
        }
        thread::sleep(LOOK);
    }
}

/// What is noted of how far the letters of a topic were tried: in a topic that is called as the group that tries them.
pub(super) fn notes(log: &Log, group: &str, topic: &str) -> Result<BTreeMap<u32, u64>> {
    let mut noted = BTreeMap::new();
    let Log::Kafka(_) = log else { return Ok(noted) };
    if !log.topics()?.find(&[group])?.contains_key(group) {
        return Ok(noted);
    }
    scan(log, &whole(group), None, &mut |batch, _| {
        for index in 0..batch.len() {
            let Incoming { key, value, .. } = batch.get(index);
            let text = |bytes: Option<&[u8]>| str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default().to_owned();
            let (key, next) = (text(key), text(value).parse::<u64>().ok());
            let number = key.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
            if let Some((number, next)) = number.zip(next)
                && key == note_key(topic, number)
            {
                noted.insert(number, next);
            }
        }
        Ok(true)
    })?;
    Ok(noted)
}

/// Shows each record of a topic that is there, those of a partition in their order; goes on for as long as it hears
/// true. `stages` are those whose dead letters lie in it.
pub(super) fn each(
    manifest: &Manifest,
    log: &Log,
    topic: &str,
    stages: &[Burier<'_>],
    see: &mut dyn FnMut(&Found<'_>) -> Result<bool>,
) -> Result<()> {
    let mut retried = Vec::new();
    for stage in stages {
        retried.push((*stage, stands(log, &group(manifest, stage.name), topic)?));
    }
    scan(log, &whole(topic), None, &mut |batch, ends| {
        for index in 0..batch.len() {
            let (record, headers) = (batch.get(index), batch.headers(index));
            if ends.get(record.partition).is_none_or(|end| record.offset.next() > end) {
                continue;
            }
            let mut found = Found { letter: Letter::read(&headers), record, headers, waits: true };
            let owner = retried.iter().find(|(stage, _)| found.is_of(manifest, stage));
            let behind = owner.and_then(|(_, committed)| committed.get(&record.partition.number));
            found.waits = behind.is_none_or(|next| record.offset.0 >= *next);
            if !see(&found)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}
