//! How far each group is behind. The log is asked, but not more often than once a second.

use crate::{
    supervisor::Running,
    transport::log::{Lag, Offsets},
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// For so long an answer is good enough.
const FRESH: Duration = Duration::from_secs(1);

/// What groups were asked, and what they answered.
#[derive(Default)]
pub(super) struct Lags(BTreeMap<String, Asked>);

struct Asked {
    offsets: Box<dyn Offsets>,
    answer: Option<(Instant, Lagging)>,
}

/// How far a group is behind, partition by partition.
pub(super) type Lagging = BTreeMap<(String, u32), Lag>;

impl Lags {
    /// That of a stage or a sink.
    pub(super) fn of(&mut self, running: &Running) -> Result<Lagging> {
        let part = &running.part;
        let asked = match self.0.entry(part.name.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let offsets = part.log.offsets(&part.link.group, &part.link.inputs)?;
                new.insert(Asked { offsets, answer: None })
            }
        };
        if let Some((at, answer)) = &asked.answer
            && at.elapsed() < FRESH
        {
            return Ok(answer.clone());
        }
        let answer = asked.offsets.ask()?;
        asked.answer = Some((Instant::now(), answer.clone()));
        Ok(answer)
    }
}
