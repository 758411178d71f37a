//! What should run: a checked manifest, its compiled modules and what the cluster knows of its topics, put together
//! into everything that a worker needs.

mod owned;
mod parts;
mod rights;
mod wanted;

pub use owned::{Id, Owned, Roles, retry_group};
pub(crate) use parts::{facts_as_wanted, output};
pub use parts::{setup, source_setup};
pub use rights::{Resource, Right, When, quoted, rights};
pub use wanted::{Wanted, position_topic};

use crate::{
    manifest::{self, Delivery, Manifest},
    schemas::Bound,
    sinks,
    source::SourceSettings,
    stage::{Again, Choice, StageSettings},
    swap::Modules,
    text::count,
    transport::{
        LinkSettings,
        log::{Log, TopicFacts},
    },
    wasm::{Compiled, Setup},
    worker::control::Control,
};
use parts::Surroundings;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// What should run.
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// Where its state is kept.
    pub state: PathBuf,
    /// The log that it runs on.
    pub log: Log,
    /// What runs.
    pub parts: Vec<Part>,
}

/// What is done with the records of a part.
pub enum Work {
    /// A module is polled for them.
    Source {
        /// The module.
        compiled: Compiled,
        /// What its instances are told.
        setup: Setup,
        /// Where its records go, and its pace.
        settings: Arc<SourceSettings>,
    },
    /// A module's function is called for each.
    Stage {
        /// The module.
        compiled: Compiled,
        /// What its instances are told.
        setup: Setup,
        /// What becomes of its records.
        settings: Arc<StageSettings>,
        /// What it runs, and may run later in its place.
        modules: Arc<Modules>,
    },
    /// Each leaves the log.
    Sink {
        /// Where to.
        into: sinks::Into,
        /// What becomes of those that do not fit there.
        settings: Arc<StageSettings>,
    },
}

/// Dead letters that are to be tried again.
pub struct Letters<'a> {
    /// Whose they are.
    pub of: Tries<'a>,
    /// The group that tries them.
    pub group: String,
    /// Those that are meant.
    pub choice: Choice,
    /// So many of them; all, when nothing is said.
    pub most: Option<u64>,
    /// Where each partition of their topic ends: what comes behind is left for another time.
    pub ends: BTreeMap<u32, u64>,
    /// The topic in which it is noted how far they were tried, and what is noted there; nothing where a group's offsets
    /// are kept for good.
    pub notes: Option<(String, BTreeMap<u32, u64>)>,
}

/// Who tries dead letters again.
#[derive(Clone, Copy)]
pub enum Tries<'a> {
    /// A stage.
    Stage(&'a manifest::Stage),
    /// A sink.
    Sink(&'a manifest::Sink),
}

impl<'a> Tries<'a> {
    /// Its name.
    pub fn name(self) -> &'a str {
        match self {
            Tries::Stage(stage) => &stage.name,
            Tries::Sink(sink) => &sink.name,
        }
    }

    /// The topic of its dead letters.
    pub fn dead_letter(self) -> &'a str {
        match self {
            Tries::Stage(stage) => &stage.dead_letter,
            Tries::Sink(sink) => &sink.dead_letter,
        }
    }

    /// What it writes, dead letters aside.
    pub fn outputs(self) -> &'a [manifest::Port] {
        match self {
            Tries::Stage(stage) => &stage.outputs,
            Tries::Sink(_) => &[],
        }
    }

    fn inputs(self) -> &'a [manifest::Port] {
        match self {
            Tries::Stage(stage) => &stage.inputs,
            Tries::Sink(sink) => &sink.inputs,
        }
    }
}

/// One part of a plan: a source, a stage or a sink with all of its workers.
pub struct Part {
    /// Its name.
    pub name: String,
    /// What is done with its records.
    pub work: Work,
    /// How long a transaction stays open.
    pub commit_interval: Duration,
    /// The log, reached as this part says.
    pub log: Log,
    /// How its workers are connected, and how many they are; each has a name, a place and a control of its own.
    pub link: LinkSettings,
    /// What is tried again, when its input are a stage's dead letters.
    pub again: Option<Arc<Again>>,
}

impl Plan {
    /// Puts together what is known. Every topic that the manifest names is there, and so are their schemas.
    pub fn new(
        manifest: &Manifest,
        log: &Log,
        compiled: &BTreeMap<String, Compiled>,
        (topics, schemas): (&BTreeMap<String, TopicFacts>, &Bound),
        control: &Arc<Control>,
    ) -> Plan {
        let around = Surroundings { manifest, log, compiled, topics, schemas, control };
        let sources = manifest.sources.iter().filter_map(|source| around.source(source));
        let stages = manifest.stages.iter().filter_map(|stage| around.stage(stage));
        let sinks = manifest.sinks.iter().map(|sink| around.sink(sink));
        let parts = sources.chain(stages).chain(sinks).collect();
        Plan { pipeline: manifest.name.clone(), state: manifest.state.clone(), log: log.clone(), parts }
    }

    /// The same for some of the dead letters of one stage, and nothing else; nothing when its module was not compiled.
    pub fn again(
        manifest: &Manifest,
        log: &Log,
        compiled: &BTreeMap<String, Compiled>,
        (topics, schemas): (&BTreeMap<String, TopicFacts>, &Bound),
        letters: &Letters<'_>,
    ) -> Option<Plan> {
        // The run's own control is over that of its only part.
        let around = Surroundings { manifest, log, compiled, topics, schemas, control: &Arc::default() };
        let parts = vec![around.again(letters)?];
        Some(Plan { pipeline: manifest.name.clone(), state: manifest.state.clone(), log: log.clone(), parts })
    }
}

impl Part {
    /// How many workers it has.
    pub fn workers(&self) -> u32 {
        self.link.place.1
    }

    /// True when its records come of polls, and of no topic.
    pub fn is_source(&self) -> bool {
        matches!(self.work, Work::Source { .. })
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let Part { name, link, .. } = self;
        let inputs = link.inputs.join(", ");
        // The last one may be of no interest here: a position, or dead letters.
        let outputs = |hidden: usize| link.outputs[..link.outputs.len().saturating_sub(hidden)].join(", ");
        match &self.work {
            Work::Source { .. } => format!("{name}: a source → {}", outputs(1)),
            Work::Sink { into, .. } => {
                let workers = match self.workers() {
                    1 => String::new(),
                    many => format!(", {}", count(many.into(), "worker")),
                };
                format!("{name}: {inputs} → {}{workers}", into.describe())
            }
            Work::Stage { settings, .. } => {
                let delivery = match link.delivery {
                    Delivery::ExactlyOnce => "exactly once",
                    Delivery::AtLeastOnce => "at least once",
                };
                let workers = count(self.workers().into(), "worker");
                let outputs = outputs(usize::from(settings.on_error.has_dead_letters()));
                format!("{name}: {inputs} → {outputs}, {workers}, {delivery}")
            }
        }
    }
}
