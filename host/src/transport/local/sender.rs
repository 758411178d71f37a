//! Records from outside of any group, some on their way to the disk while others come.

use super::{
    LocalLog,
    codec::{Content, push_header},
    partitioner,
    rows::{self, Topic},
    scribe::{Append, Job, Scribe},
    topics,
    trouble::Trouble,
    writer::{Pending, now},
};
use crate::transport::{
    Outgoing,
    log::{Rules, Sender, Sent, Unsent},
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

/// How many bytes go together.
const TOGETHER_BYTES: usize = 1 << 20;
/// How many such groups may be on their way.
const MOST_UNDERWAY: usize = 4;

/// Writes to one topic of an embedded log.
pub struct LocalSender {
    log: LocalLog,
    scribe: Arc<Scribe>,
    topic: Topic,
    /// What the topics were like then.
    version: i64,
    rules: Rules,
    /// What was not handed in yet, by partition.
    open: BTreeMap<u32, Pending>,
    bytes: usize,
    names: Names,
    underway: VecDeque<Underway>,
    /// Which partition records without a key go to, until they are handed in.
    turn: u32,
    headers: Vec<u8>,
    sent: Sent,
}

/// Records that were handed in, and their answer.
struct Underway {
    answer: Receiver<Result<Vec<u64>, Trouble>>,
    names: Names,
}

/// Which records go together, to be named when they fail.
#[derive(Default)]
struct Names {
    count: u64,
    first: Vec<(u64, Option<Vec<u8>>)>,
}

impl LocalSender {
    /// A writer to this topic.
    pub fn new(log: &LocalLog, topic: &str) -> Result<LocalSender> {
        let (version, topic) = log.desk().read(|tx| Ok((rows::topics_version(tx)?, rows::existing(tx, topic)?)))?;
        Ok(LocalSender {
            log: log.clone(),
            scribe: log.scribe()?,
            rules: topics::rules(&topic),
            topic,
            version,
            open: BTreeMap::new(),
            bytes: 0,
            names: Names::default(),
            underway: VecDeque::new(),
            turn: 0,
            headers: Vec::new(),
            sent: Sent::default(),
        })
    }

    /// The topic may have grown, or be another one by now.
    fn look(&mut self) -> Result<()> {
        let found = self.log.desk().read(|tx| {
            let version = rows::topics_version(tx)?;
            let topic = if version == self.version { None } else { rows::topic(tx, &self.topic.name)? };
            Ok(topic.map(|topic| (version, topic)))
        })?;
        if let Some((version, topic)) = found {
            (self.version, self.rules, self.topic) = (version, topics::rules(&topic), topic);
        }
        Ok(())
    }

    /// Hands in what was taken.
    fn submit(&mut self) -> Result<()> {
        if self.names.count == 0 {
            return Ok(());
        }
        let appends = std::mem::take(&mut self.open)
            .into_iter()
            .map(|(partition, pending)| Append {
                topic: self.topic.name.clone(),
                part: self.topic.parts[partition as usize].id,
                blobs: pending.finish(),
            })
            .collect();
        let answer = self.scribe.submit(Job { appends, ..Job::default() })?;
        self.underway.push_back(Underway { answer, names: std::mem::take(&mut self.names) });
        self.bytes = 0;
        self.turn = self.turn.wrapping_add(1);
        Ok(())
    }

    /// Waits up to this long for the answer to what was handed in first; false when there was none.
    fn hear(&mut self, wait: Duration) -> bool {
        let Some(first) = self.underway.front() else {
            return true;
        };
        let answer = match first.answer.recv_timeout(wait) {
            Ok(answer) => answer.map(drop).map_err(|trouble| trouble.to_string()),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => Err("the log's thread has ended".to_owned()),
        };
        if let Some(Underway { names, .. }) = self.underway.pop_front() {
            match answer {
                Ok(()) => self.sent.acknowledged += names.count,
                Err(why) => names.fail(&mut self.sent, &why),
            }
        }
        true
    }
}

impl Names {
    fn fail(self, sent: &mut Sent, why: &str) {
        let unnamed = self.count - self.first.len() as u64;
        for (number, key) in self.first {
            sent.fail(Unsent { number, key, why: why.to_owned() });
        }
        sent.failed += unnamed;
    }
}

impl Sender for LocalSender {
    fn offer(&mut self, number: u64, record: &Outgoing<'_>) -> Result<bool> {
        if self.bytes >= TOGETHER_BYTES {
            if self.underway.len() >= MOST_UNDERWAY && !self.hear(Duration::ZERO) {
                return Ok(false);
            }
            self.submit()?;
        }
        if self.names.count == 0 {
            self.look()?;
        }
        let Outgoing { key, value, timestamp, .. } = *record;
        let name = || key.map(<[u8]>::to_vec);
        if let Some(why) = self.rules.objection(&self.topic.name, record, 0, |_| false) {
            self.sent.fail(Unsent { number, key: name(), why: why.message });
            return Ok(true);
        }
        self.headers.clear();
        for header in record.headers {
            push_header(&mut self.headers, header.name.as_bytes(), header.value.as_deref());
        }
        let partitions = self.topic.parts.len() as u32;
        let partition = record.partition.unwrap_or_else(|| match key {
            Some(key) => partitioner::of_key(key, partitions),
            None => self.turn % partitions,
        });
        let content = Content { timestamp: timestamp.unwrap_or_else(now), key, value, headers: &self.headers };
        self.bytes += self.open.entry(partition).or_default().push(content);
        self.names.count += 1;
        if self.names.first.len() < Sent::NAMED {
            self.names.first.push((number, name()));
        }
        Ok(true)
    }

    fn settle(&mut self, wait: Duration) -> Result<bool> {
        let since = Instant::now();
        while !self.underway.is_empty() && self.hear(Duration::ZERO) {}
        // What comes while some is on its way to the disk goes together after it.
        if self.underway.is_empty() || (!wait.is_zero() && self.underway.len() < MOST_UNDERWAY) {
            self.submit()?;
        }
        while !wait.is_zero() && !self.underway.is_empty() {
            if !self.hear(wait.saturating_sub(since.elapsed())) {
                break;
            }
        }
        Ok(self.underway.is_empty() && self.names.count == 0)
    }

    fn give_up(&mut self) -> Result<()> {
        std::mem::take(&mut self.open);
        std::mem::take(&mut self.names).fail(&mut self.sent, "it was not sent before the end");
        for Underway { names, .. } in std::mem::take(&mut self.underway) {
            names.fail(&mut self.sent, "there was no answer before the end: it may be there all the same");
        }
        Ok(())
    }

    fn sent(&self) -> Sent {
        let underway = self.underway.iter().map(|underway| underway.names.count).sum::<u64>() + self.names.count;
        Sent { underway, ..self.sent.clone() }
    }
}
