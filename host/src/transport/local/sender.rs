//! Records from outside of any group, some on their way to the disk while others come.

use super::{
    LocalLog,
    appender::{NewRecord, Rules},
    codec::{Content, push_header},
    partitioner,
    rows::{self, Topic},
    scribe::{Append, Job, Scribe},
    trouble::Trouble,
    writer::{Pending, now},
};
use crate::transport::{
    Outgoing,
    log::{Sender, Sent, Unsent},
};
use anyhow::{Context, Result};
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
    scribe: Arc<Scribe>,
    topic: Topic,
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
        let found = log.desk().read(|tx| rows::topic(tx, topic))?;
        let found = found.with_context(|| format!("there is no topic {topic}"))?;
        Ok(LocalSender {
            scribe: log.scribe()?,
            rules: Rules::of(&found),
            topic: found,
            open: BTreeMap::new(),
            bytes: 0,
            names: Names::default(),
            underway: VecDeque::new(),
            turn: 0,
            headers: Vec::new(),
            sent: Sent::default(),
        })
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
        self.turn = (self.turn + 1) % self.topic.parts.len() as u32;
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
        self.headers.clear();
        for header in record.headers {
            push_header(&mut self.headers, header.name.as_bytes(), header.value.as_deref());
        }
        let partition = record.partition.unwrap_or_else(|| match record.key {
            Some(key) => partitioner::of_key(key, self.topic.parts.len() as u32),
            None => self.turn,
        });
        let Outgoing { key, value, timestamp, .. } = *record;
        let new = NewRecord { partition: Some(partition), timestamp, key, value, headers: &[] };
        let refused = match timestamp {
            Some(..0) => Err("a timestamp counts milliseconds since 1970".to_owned()),
            _ => self.rules.check(&new, partition, self.headers.len()),
        };
        let name = || key.map(<[u8]>::to_vec);
        if let Err(why) = refused {
            self.sent.fail(Unsent { number, key: name(), why });
            return Ok(true);
        }
        let content = Content { timestamp: timestamp.unwrap_or_else(now), key, value, headers: &self.headers };
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + self.headers.len();
        self.bytes += self.open.entry(partition).or_default().push(content, size);
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
