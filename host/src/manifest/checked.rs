//! The manifest as the rest of the host uses it: complete, checked, with every default filled in. No places in the
//! text are left here, and nothing that came from the environment or a file shows in `Debug`.

use crate::{
    schemas::Written,
    sinks,
    stage::Retry,
    swap::Probation,
    transport::local::Durability,
    wasm::{Folder, Limits, Site},
};
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// A checked manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The pipeline's name.
    pub name: String,
    /// The folder that the manifest lies in; all paths in it start there.
    pub folder: PathBuf,
    /// The folder that keeps what must outlive a run.
    pub state: PathBuf,
    /// The cluster; without one the pipeline runs on its embedded log.
    pub kafka: Option<Kafka>,
    /// The registry of schemas, where one is named.
    pub schema_registry: Option<SchemaRegistry>,
    /// What the manifest says of topics, by their names.
    pub topics: BTreeMap<String, Topic>,
    /// What the embedded log keeps its promises against.
    pub durability: Durability,
    /// The sources, in the order in which they are written.
    pub sources: Vec<Source>,
    /// The stages, in the order in which they are written.
    pub stages: Vec<Stage>,
    /// The sinks, in the order in which they are written. There is at least one source, stage or sink.
    pub sinks: Vec<Sink>,
}

/// What stands under `sources`, `stages` or `sinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It brings records.
    Source,
    /// It makes records of records.
    Stage,
    /// It takes records away.
    Sink,
}

impl Kind {
    /// The key that it stands under.
    pub fn key(self) -> &'static str {
        match self {
            Kind::Source => "sources",
            Kind::Stage => "stages",
            Kind::Sink => "sinks",
        }
    }

    /// What one of them is called.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Stage => "stage",
            Kind::Sink => "sink",
        }
    }
}

/// One source.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub module: Module,
    /// What it writes; at least one. The first takes the records that name no output.
    pub outputs: Vec<Port>,
    /// Records of topics with a schema are JSON to it.
    pub decodes: bool,
    /// The topic that keeps its position.
    pub position: String,
    /// The time from one poll to the next.
    pub every: Duration,
    /// How long a transaction stays open.
    pub commit_interval: Duration,
    /// librdkafka's properties: the pipeline's, and over them the source's own.
    pub properties: Properties,
    /// What its module may ask for: scalars as they are written, mappings and lists as JSON.
    pub config: BTreeMap<String, Secret>,
    /// What a poll may cost.
    pub limits: Limits,
    /// What its module may reach.
    pub allow: Allow,
}

/// One sink.
#[derive(Clone, Debug)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// What it reads; at least one, no topic twice.
    pub inputs: Vec<Port>,
    /// Records of topics with a schema are JSON to it.
    pub decodes: bool,
    /// Its consumer group.
    pub group: String,
    /// librdkafka's properties: the pipeline's, and over them the sink's own.
    pub properties: Properties,
    /// Where it starts when its group has no offset.
    pub from: Start,
    /// Where it goes on when the offset that it had is gone.
    pub on_lost_offset: OnLostOffset,
    /// Where its records go.
    pub into: sinks::Into,
    /// How many workers take part in the group from this process; above 0.
    pub workers: u32,
    /// How long records are collected.
    pub commit_interval: Duration,
    /// What becomes of records that do not fit.
    pub on_error: OnError,
    /// The topic of its dead letters.
    pub dead_letter: String,
}

impl Manifest {
    /// Everything that runs: its kind and its name.
    pub fn parts(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.properties().map(|(kind, name, _)| (kind, name))
    }

    /// The properties of everything that runs: whose they are, and what they are.
    pub fn properties(&self) -> impl Iterator<Item = (Kind, &str, &Properties)> {
        let sources = self.sources.iter().map(|source| (Kind::Source, source.name.as_str(), &source.properties));
        let stages = self.stages.iter().map(|stage| (Kind::Stage, stage.name.as_str(), &stage.properties));
        let sinks = self.sinks.iter().map(|sink| (Kind::Sink, sink.name.as_str(), &sink.properties));
        sources.chain(stages).chain(sinks)
    }

    /// Whether this one writes in transactions.
    pub fn is_exactly_once(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Source => true,
            Kind::Stage => {
                self.stages.iter().any(|stage| stage.name == name && stage.delivery == Delivery::ExactlyOnce)
            }
            Kind::Sink => false,
        }
    }

    /// The stages, and the sinks whose records can fail.
    pub fn buriers(&self) -> impl Iterator<Item = Burier<'_>> {
        let stages = self.stages.iter().map(|stage| (&stage.on_error, &stage.name, &stage.dead_letter, &stage.inputs));
        let sinks = self.sinks.iter().filter(|sink| !matches!(sink.into, sinks::Into::Stdout(_)));
        let sinks = sinks.map(|sink| (&sink.on_error, &sink.name, &sink.dead_letter, &sink.inputs));
        stages.chain(sinks).map(|(on_error, name, dead_letter, inputs)| Burier {
            name,
            dead_letter,
            inputs,
            buries: on_error.has_dead_letters(),
        })
    }

    /// Every topic that it names, some of them more than once.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        let stages = self.stages.iter().flat_map(|stage| {
            let ports = stage.inputs.iter().chain(&stage.outputs).map(|port| port.topic.as_str());
            let letters = stage.on_error.has_dead_letters().then_some(stage.dead_letter.as_str());
            ports.chain(letters)
        });
        let sources = self
            .sources
            .iter()
            .flat_map(|source| source.outputs.iter().map(|port| port.topic.as_str()).chain([source.position.as_str()]));
        let sinks = self.sinks.iter().flat_map(|sink| {
            let letters = sink.on_error.has_dead_letters().then_some(sink.dead_letter.as_str());
            sink.inputs.iter().map(|port| port.topic.as_str()).chain(letters)
        });
        self.topics.keys().map(String::as_str).chain(sources).chain(stages).chain(sinks)
    }
}

/// How the cluster is reached.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Where it is reached, as `HOST:PORT`; at least one.
    pub brokers: Vec<String>,
    /// The pipeline's properties. Those of a stage stand there, and already hold these.
    pub properties: Properties,
}

/// librdkafka's properties. None of them is one that the host sets itself.
pub type Properties = BTreeMap<String, Secret>;

/// A topic as the manifest wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// How many partitions; above 0.
    pub partitions: Option<u32>,
    /// How many replicas; above 0.
    pub replication: Option<u16>,
    /// The topic's own configuration.
    pub config: BTreeMap<String, String>,
    /// The schema of its keys.
    pub key: Option<TopicSchema>,
    /// The schema of its values.
    pub value: Option<TopicSchema>,
}

impl Topic {
    /// True when its keys or its values have a schema.
    pub fn has_schema(&self) -> bool {
        self.key.is_some() || self.value.is_some()
    }
}

/// The schema of a topic's keys or values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSchema {
    /// Where it comes from.
    pub source: SchemaSource,
    /// Whether it is registered.
    pub register: Register,
}

/// Where a schema comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaSource {
    /// A file, which was read.
    Text(Written),
    /// The latest one of a subject.
    Subject(String),
}

/// Whether a schema that is not there is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Register {
    /// It is.
    #[default]
    Missing,
    /// It is not, and has to be there.
    Never,
}

/// How a schema registry is reached.
#[derive(Clone, Debug)]
pub struct SchemaRegistry {
    /// Its URL, without a user.
    pub url: String,
    /// The name that it knows; it comes with a password.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// A bearer token, where there is no user.
    pub token: Option<Secret>,
    /// Certificates that vouch for it, beside those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that it wants to see; it comes with a key.
    pub certificate: Option<PathBuf>,
    /// The certificate's key.
    pub key: Option<PathBuf>,
    /// What is done with schemas whose topic does not say.
    pub register: Register,
}

impl SchemaRegistry {
    /// One that lets everybody in.
    pub fn at(url: &str) -> SchemaRegistry {
        SchemaRegistry {
            url: url.to_owned(),
            user: None,
            password: None,
            token: None,
            ca: None,
            certificate: None,
            key: None,
            register: Register::Never,
        }
    }
}

/// One stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub module: Module,
    /// What it reads; at least one, no topic twice.
    pub inputs: Vec<Port>,
    /// What it writes; at least one. The first takes the records that name no output.
    pub outputs: Vec<Port>,
    /// Records of topics with a schema are JSON to it.
    pub decodes: bool,
    /// Its consumer group.
    pub group: String,
    /// How many workers it has in this process; above 0.
    pub workers: u32,
    /// What is promised of its records.
    pub delivery: Delivery,
    /// How long a transaction stays open.
    pub commit_interval: Duration,
    /// librdkafka's properties: the pipeline's, and over them the stage's own.
    pub properties: Properties,
    /// Where it starts when its group has no offset.
    pub from: Start,
    /// Where it goes on when the offset that it had is gone.
    pub on_lost_offset: OnLostOffset,
    /// What its module may ask for: scalars as they are written, mappings and lists as JSON.
    pub config: BTreeMap<String, Secret>,
    /// What a record may cost.
    pub limits: Limits,
    /// What its module may reach.
    pub allow: Allow,
    /// What becomes of records that fail.
    pub on_error: OnError,
    /// The topic of its dead letters.
    pub dead_letter: String,
    /// How long a module that replaces another has to prove itself.
    pub probation: Probation,
    /// What comes of a record says where it came from.
    pub provenance: bool,
}

/// A stage or a sink, as the owner of dead letters.
#[derive(Clone, Copy, Debug)]
pub struct Burier<'a> {
    /// Its name.
    pub name: &'a str,
    /// The topic of its dead letters.
    pub dead_letter: &'a str,
    /// What it reads.
    pub inputs: &'a [Port],
    /// By what its `on-error` says now, some of its records become dead letters.
    pub buries: bool,
}

/// What a module may reach beyond what it is handed.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    /// The variables of its environment.
    pub env: BTreeMap<String, Secret>,
    /// The folders that it may use.
    pub dirs: Vec<Folder>,
    /// The hosts that it may send HTTP requests to.
    pub http: Vec<Site>,
}

/// The code of a stage.
#[derive(Clone, Debug)]
pub struct Module {
    /// Where it lies, and how the manifest says so.
    pub path: AsWritten<PathBuf>,
    /// The digest that it must have.
    pub sha256: Option<[u8; 32]>,
    /// The command that makes it, run in the manifest's folder.
    pub build: Option<AsWritten<String>>,
}

/// A topic that a stage reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What the module calls it. An input without a name of its own is called as its topic, an output `main`.
    pub name: String,
    /// The topic.
    pub topic: String,
}

/// What is promised of a stage's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing lost, nothing doubled.
    #[default]
    ExactlyOnce,
    /// Nothing lost; repeats after a failure.
    AtLeastOnce,
}

/// Where a stage starts when its group has no offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
    /// Not at all: it is refused.
    Refuse,
    /// With the first record of this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// Where a stage goes on when the offset that it had is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLostOffset {
    /// Nowhere: it stops.
    #[default]
    Stop,
    /// With the oldest record there is.
    Earliest,
    /// With the next record that comes.
    Latest,
}

/// What becomes of records that fail, by what made them fail.
#[derive(Clone, Debug)]
pub struct OnError {
    /// The module rejected it.
    pub reject: Policy,
    /// The module failed.
    pub fault: Policy,
    /// It hit a limit.
    pub limit: Policy,
    /// It is not what its schema says.
    pub decode: Policy,
    /// What comes of it is not what its schema says.
    pub encode: Policy,
    /// How records are tried again that the module asks for again.
    pub retry: Retry,
    /// What becomes of one that was tried again for as long as it may.
    pub retry_then: Policy,
    /// When the stage itself is to stop; never, when nothing is said.
    pub stop_when: Option<StopWhen>,
}

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It goes to the topic of dead letters, with the reason.
    #[default]
    DeadLetter,
    /// It is passed over, and counted.
    Skip,
    /// The stage stops before it.
    Stop,
}

/// When most of a stage's records die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopWhen {
    /// So many; above 0.
    pub dead_letters: u64,
    /// Among so many records, the latest ones; not fewer.
    pub of: u64,
}

impl OnError {
    /// The same for every failure. What may pass later is waited for all the same, and then stops the stage: an outage
    /// of something else is no reason to give up records.
    pub fn all(policy: Policy) -> OnError {
        OnError {
            reject: policy,
            fault: policy,
            limit: policy,
            decode: policy,
            encode: policy,
            retry: Retry::default(),
            retry_then: Policy::Stop,
            stop_when: Some(StopWhen { dead_letters: 100, of: 1000 }),
        }
    }

    /// True when some of them become dead letters.
    pub fn has_dead_letters(&self) -> bool {
        [self.reject, self.fault, self.limit, self.decode, self.encode, self.retry_then].contains(&Policy::DeadLetter)
    }

    /// True when records may be given up in a way that [`StopWhen`] counts: as dead letters, or skipped where the module
    /// did not mean it.
    pub fn may_give_up(&self) -> bool {
        self.has_dead_letters() || [self.fault, self.limit, self.encode, self.retry_then].contains(&Policy::Skip)
    }
}

impl Default for OnError {
    fn default() -> Self {
        OnError::all(Policy::default())
    }
}

/// A text that must not be shown: a property's value, a module's configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What it is. Never goes into a message or a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("…")
    }
}

/// A value beside what the manifest says, which is what messages show: `${VAR}`, not what it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct AsWritten<T> {
    /// The value.
    pub value: T,
    /// What stands in the manifest.
    pub written: String,
}

impl<T> fmt::Debug for AsWritten<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl<T> fmt::Display for AsWritten<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.written.fmt(f)
    }
}
