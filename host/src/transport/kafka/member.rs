//! Reads a topic for people as a member of a group, as long as that takes: others of the group read the rest of it.

use super::{health::Health, reader::Reader, scanner::Alone, settings::Cluster};
use crate::{
    manifest::Start,
    transport::{
        Assignment, Batch, Fault, LinkSettings, Progress, Taken,
        log::{From, Scan, Scanner},
    },
};
use anyhow::Result;
use rdkafka::config::ClientConfig;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long faults are lived through before they are told.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Member {
    reader: Reader,
    config: ClientConfig,
    settings: Arc<LinkSettings>,
    health: Arc<Health>,
    ends: Progress,
    /// Where it put a group that stood nowhere.
    chosen: Progress,
    /// It has to be asked again where the group stands.
    astray: bool,
    /// Since when there was nothing but faults.
    trouble: Option<Instant>,
}

impl Member {
    /// Joins the group. `alone` knows where the topic ends and where a new group is to begin.
    pub(super) fn open(cluster: &Cluster, scan: &Scan, group: &str, mut alone: Alone) -> Result<Member> {
        let mut chosen = Progress::default();
        let from = match scan.from {
            From::Start(start) => start,
            // No rebalance knows of such a start, so the group is put there before.
            From::Offset(_) => {
                chosen = alone.chosen().cloned().unwrap_or_default();
                alone.commit(&chosen)?;
                Start::Latest
            }
        };
        let settings = Arc::new(LinkSettings::of_reader(group, &scan.topic, from));
        let (config, health) = (cluster.member(group, scan.uncommitted), Health::new(cluster.clone()));
        let reader = Reader::open(&config, &settings, &health, BTreeSet::new())?;
        let ends = alone.into_ends();
        Ok(Member { reader, config, settings, health, ends, chosen, astray: false, trouble: None })
    }

    /// What helps against most faults is to ask again where the group stands, with a new client if need be.
    fn survive(&mut self, fault: Fault) -> Result<()> {
        let since = *self.trouble.get_or_insert_with(Instant::now);
        let is_hopeless =
            matches!(fault, Fault::Fatal(_) | Fault::Fenced(_) | Fault::Replaced(_) | Fault::Forbidden(_));
        if is_hopeless || (since.elapsed() > PATIENCE && !self.health.waiting()) {
            return Err(fault.into());
        }
        tracing::debug!("{fault}");
        std::thread::sleep(Duration::from_millis(100));
        self.astray = true;
        Ok(())
    }
}

impl Scanner for Member {
    fn ends(&self) -> &Progress {
        &self.ends
    }

    fn take(&mut self, limit: usize, wait: Duration) -> Result<Taken<Box<dyn Batch>>> {
        if self.astray {
            return Ok(Taken::Rebalance);
        }
        match self.reader.take(limit, wait) {
            Ok(Taken::Records(batch)) => {
                self.trouble = None;
                Ok(Taken::Records(Box::new(batch)))
            }
            Ok(Taken::Nothing) => Ok(Taken::Nothing),
            Ok(Taken::Rebalance) => Ok(Taken::Rebalance),
            Err(fault) => self.survive(fault).map(|()| Taken::Nothing),
        }
    }

    fn rebalance(&mut self) -> Result<Assignment> {
        if self.reader.is_dead() {
            let lost = self.reader.lost().clone();
            self.reader = Reader::open(&self.config, &self.settings, &self.health, lost)?;
        }
        self.astray = false;
        match self.reader.follow().and_then(|()| self.reader.start()) {
            Ok(mut assignment) => {
                let starts = assignment.starts.iter();
                let chosen: Vec<_> = starts.filter(|start| self.chosen.get(start.0) == Some(start.1)).collect();
                assignment.chosen.merge(&chosen.into_iter().collect());
                Ok(assignment)
            }
            Err(fault) => self.survive(fault).map(|()| Assignment::default()),
        }
    }

    fn commit(&mut self, progress: &Progress) -> Result<bool> {
        match self.reader.membership().commit(&self.reader.offsets(progress)) {
            Ok(()) => Ok(true),
            Err(Fault::Aborted(why) | Fault::Unavailable(why)) => {
                tracing::debug!("{why}");
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }
}
