//! How far each group is behind. The log is asked, but not more often than once a second.

use crate::{
    supervisor::Running,
    transport::log::{Lag, Offsets},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// For so long an answer is good enough, and for so long it is believed that there is none.
const FRESH: Duration = Duration::from_secs(1);
const SILENT: Duration = Duration::from_secs(15);

/// What groups were asked, and what they answered.
#[derive(Default)]
pub(super) struct Lags(BTreeMap<String, Asked>);

struct Asked {
    offsets: Box<dyn Offsets>,
    /// What it answered, and when; nothing, when it did not.
    answer: Option<(Instant, Option<Lagging>)>,
}

/// How far a group is behind, partition by partition.
pub(super) type Lagging = BTreeMap<(String, u32), Lag>;

impl Lags {
    /// That of a stage or a sink, when the log tells.
    pub(super) fn of(&mut self, running: &Running) -> Option<Lagging> {
        let part = &running.part;
        let asked = match self.0.entry(part.name.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let offsets = part.log.offsets(&part.link.group, &part.link.inputs).ok()?;
                new.insert(Asked { offsets, answer: None })
            }
        };
        if let Some((at, answer)) = &asked.answer
            && at.elapsed() < if answer.is_some() { FRESH } else { SILENT }
        {
            return answer.clone();
        }
        let answer = asked.offsets.settled().ok();
        asked.answer = Some((Instant::now(), answer.clone()));
        answer
    }
}
