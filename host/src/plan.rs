//! What should run: a checked manifest, its compiled modules and what the cluster knows of its topics, put together
//! into everything that a worker needs.

use crate::{
    lines::OutputFormat,
    manifest::{self, Delivery, Manifest, OnError},
    stage::{LETTER_HEADROOM, Output, Retry, StageSettings},
    text::hex,
    transport::{
        LinkSettings,
        log::{Log, NewTopic, TopicFacts},
    },
    wasm::{Compiled, Input, Setup},
    worker::control::Control,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// What Kafka takes when nobody says otherwise.
const DEFAULT_LARGEST: usize = 1_048_588;
/// What a batch adds to its records.
const BATCH_OVERHEAD: usize = 1024;
/// How long a sink collects before it prints.
const SINK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a transaction may take, unless a stage's limits need more.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// A module's function is called for each.
    Stage {
        /// The module.
        compiled: Compiled,
        /// What its instances are told.
        setup: Setup,
    },
    /// Each is a line on the standard output.
    Sink(OutputFormat),
}

/// One part of a plan: a source, a stage or a sink with all of its workers.
pub struct Part {
    /// What is done with its records.
    pub work: Work,
    /// What becomes of its records.
    pub settings: Arc<StageSettings>,
    /// How many workers it has.
    pub workers: u32,
    /// How long a transaction stays open.
    pub commit_interval: Duration,
    /// The log, reached as this part says.
    pub log: Log,
    /// How its workers are connected; each has a name, a place and a control of its own.
    pub link: LinkSettings,
}

impl Plan {
    /// Puts together what is known. Every topic that the manifest names is there.
    pub fn new(
        manifest: &Manifest,
        log: &Log,
        compiled: &BTreeMap<String, Compiled>,
        topics: &BTreeMap<String, TopicFacts>,
        control: &Arc<Control>,
    ) -> Plan {
        let stages = manifest
            .stages
            .iter()
            .filter_map(|stage| {
                let compiled = compiled.get(&stage.name)?.clone();
                Some(Part::stage(manifest, stage, log, compiled, topics, control))
            });
        let sinks = manifest.sinks.iter().map(|sink| Part::sink(manifest, sink, log, topics, control));
        let parts = stages.chain(sinks).collect();
        Plan { pipeline: manifest.name.clone(), state: manifest.state.clone(), log: log.clone(), parts }
    }
}

impl Part {
    fn stage(
        manifest: &Manifest,
        stage: &manifest::Stage,
        log: &Log,
        compiled: Compiled,
        topics: &BTreeMap<String, TopicFacts>,
        control: &Arc<Control>,
    ) -> Part {
        let mut outputs: Vec<_> = stage.outputs.iter().map(|port| output(&port.name, &port.topic, topics)).collect();
        if stage.on_error == OnError::DeadLetter {
            outputs.push(output("dead-letter", &stage.dead_letter, topics));
        }
        let inputs: Vec<_> = stage.inputs.iter().map(|port| port.topic.clone()).collect();
        let largest = |sizes: &mut dyn Iterator<Item = usize>| sizes.max().unwrap_or(DEFAULT_LARGEST);
        let link = LinkSettings {
            group: stage.group.clone(),
            name: String::new(),
            shared_writer: None,
            place: (0, stage.workers),
            inputs_digest: inputs_digest(&inputs, topics),
            inputs: inputs.clone(),
            outputs: outputs.iter().map(|output| output.topic.clone()).collect(),
            delivery: stage.delivery,
            from: stage.from,
            on_lost_offset: stage.on_lost_offset,
            largest_record: largest(&mut outputs.iter().map(|output| output.largest)),
            largest_batch: outputs
                .iter()
                .map(|output| output.largest.saturating_sub(BATCH_OVERHEAD))
                .min()
                .unwrap_or(DEFAULT_LARGEST),
            transaction_timeout: transaction_timeout(stage),
            control: control.clone(),
        };
        Part {
            settings: Arc::new(StageSettings {
                pipeline: manifest.name.clone(),
                stage: stage.name.clone(),
                module: format!("sha256:{}", compiled.digest()),
                inputs,
                outputs,
                on_error: stage.on_error,
                retry: Retry::default(),
            }),
            work: Work::Stage { compiled, setup: setup(stage) },
            log: log.with(&stage.properties),
            workers: stage.workers,
            commit_interval: stage.commit_interval,
            link,
        }
    }

    /// A sink is a stage whose function keeps what it gets.
    fn sink(
        manifest: &Manifest,
        sink: &manifest::Sink,
        log: &Log,
        topics: &BTreeMap<String, TopicFacts>,
        control: &Arc<Control>,
    ) -> Part {
        let inputs: Vec<_> = sink.inputs.iter().map(|port| port.topic.clone()).collect();
        Part {
            work: Work::Sink(sink.format),
            settings: Arc::new(StageSettings {
                pipeline: manifest.name.clone(),
                stage: sink.name.clone(),
                module: "stdout".into(),
                inputs: inputs.clone(),
                outputs: Vec::new(),
                on_error: OnError::Stop,
                retry: Retry::default(),
            }),
            workers: 1,
            commit_interval: SINK_INTERVAL,
            log: log.with(&sink.properties),
            link: LinkSettings {
                group: sink.group.clone(),
                name: String::new(),
                shared_writer: None,
                inputs_digest: inputs_digest(&inputs, topics),
                inputs,
                outputs: Vec::new(),
                // What was printed is no part of a transaction.
                delivery: Delivery::AtLeastOnce,
                from: sink.from,
                on_lost_offset: sink.on_lost_offset,
                largest_record: DEFAULT_LARGEST,
                largest_batch: DEFAULT_LARGEST,
                transaction_timeout: TRANSACTION_TIMEOUT,
                place: (0, 1),
                control: control.clone(),
            },
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        if let Work::Sink(_) = self.work {
            return format!("{}: {} → standard output", self.settings.stage, self.settings.inputs.join(", "));
        }
        let settings = &self.settings;
        let delivery = match self.link.delivery {
            Delivery::ExactlyOnce => "exactly once",
            Delivery::AtLeastOnce => "at least once",
        };
        let workers = match self.workers {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        };
        let letters = usize::from(settings.on_error == OnError::DeadLetter);
        let outputs = &settings.outputs[..settings.outputs.len() - letters];
        let outputs: Vec<_> = outputs.iter().map(|output| output.topic.as_str()).collect();
        format!("{}: {} → {}, {workers}, {delivery}", settings.stage, settings.inputs.join(", "), outputs.join(", "))
    }
}

/// What a stage's instances are told.
pub fn setup(stage: &manifest::Stage) -> Setup {
    Setup {
        stage: stage.name.clone(),
        inputs: stage.inputs.iter().map(|port| Input { topic: port.topic.clone(), name: port.name.clone() }).collect(),
        config: stage.config.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        limits: stage.limits,
    }
}

fn output(name: &str, topic: &str, topics: &BTreeMap<String, TopicFacts>) -> Output {
    let unknown = TopicFacts::default();
    let facts = topics.get(topic).unwrap_or(&unknown);
    let says = |key: &str, word: &str| facts.config.get(key).is_some_and(|value| value.contains(word));
    let ahead = facts.number("message.timestamp.after.max.ms").and_then(|ms| u64::try_from(ms).ok());
    Output {
        name: name.to_owned(),
        topic: topic.to_owned(),
        partitions: facts.partitions,
        largest: largest(facts),
        compacted: says("cleanup.policy", "compact"),
        // Where the broker puts in its own time it does not look at ours.
        ahead: ahead
            .filter(|ms| *ms < i64::MAX as u64 && !says("message.timestamp.type", "LogAppendTime"))
            .map(Duration::from_millis),
    }
}

fn largest(facts: &TopicFacts) -> usize {
    facts.number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(DEFAULT_LARGEST)
}

fn inputs_digest(inputs: &[String], topics: &BTreeMap<String, TopicFacts>) -> String {
    let mut digest = Sha256::new();
    for input in inputs {
        let partitions = topics.get(input).map_or(0, |facts| facts.partitions);
        digest.update(format!("{input}:{partitions},"));
    }
    hex(&digest.finalize()[..4])
}

/// A transaction must outlive its slowest record: the commit interval may be over just before it, and it may run
/// twice.
fn transaction_timeout(stage: &manifest::Stage) -> Duration {
    let slowest = stage.limits.time * 10 * 2;
    TRANSACTION_TIMEOUT.max(slowest + stage.commit_interval + Duration::from_secs(4))
}

/// What a pipeline needs of its cluster's topics, beside what is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Topics to be made now.
    pub create: Vec<NewTopic>,
    /// Inputs that somebody else has to make.
    pub missing: Vec<String>,
    /// Topics whose partitions cannot be chosen before the missing ones are there.
    pub later: Vec<String>,
    /// Where declared and real topics differ, in words.
    pub differences: Vec<String>,
}

impl Wanted {
    /// Topics that wait for nothing but each other, as in a loop: what is to be made to end that.
    pub fn knots(&self, manifest: &Manifest) -> Vec<NewTopic> {
        if !self.create.is_empty() || !self.missing.is_empty() {
            return Vec::new();
        }
        let is_read = |name: &String| manifest.stages.iter().any(|s| s.inputs.iter().any(|port| port.topic == *name));
        let plain = |name: &String| NewTopic {
            name: name.clone(),
            partitions: None,
            replication: None,
            config: BTreeMap::new(),
        };
        self.later.iter().filter(|name| is_read(name)).map(plain).collect()
    }

    /// Compares what the manifest says with what is there.
    pub fn new(manifest: &Manifest, there: &BTreeMap<String, TopicFacts>) -> Wanted {
        let mut wanted = Wanted::default();
        for (name, topic) in &manifest.topics {
            match there.get(name) {
                Some(facts) => wanted.differences.extend(differences(name, topic, facts)),
                None => wanted.create.push(declared(manifest, name, topic)),
            }
        }
        let by_sources = manifest.sources.iter().flat_map(|source| &source.outputs);
        let by_stages = manifest.stages.iter().flat_map(|stage| &stage.outputs);
        let made_here: Vec<_> = by_sources.chain(by_stages).map(|port| &port.topic).collect();
        let stages = manifest.stages.iter().flat_map(|stage| &stage.inputs);
        for input in stages.chain(manifest.sinks.iter().flat_map(|sink| &sink.inputs)).map(|port| &port.topic) {
            let is_made = made_here.contains(&input) || manifest.topics.contains_key(input);
            if !is_made && !there.contains_key(input) && !wanted.missing.contains(input) {
                wanted.missing.push(input.clone());
            }
        }
        for source in &manifest.sources {
            for output in source.outputs.iter().map(|port| &port.topic) {
                wanted.add(manifest, there, output);
            }
            if !there.contains_key(&source.position) && !manifest.topics.contains_key(&source.position) {
                wanted.create.push(position_topic(&source.position));
            }
        }
        for stage in &manifest.stages {
            for output in stage.outputs.iter().map(|port| &port.topic) {
                wanted.add(manifest, there, output);
            }
            if stage.on_error == OnError::DeadLetter {
                wanted.add(manifest, there, &stage.dead_letter);
            }
        }
        wanted
    }

    /// An output that nobody declared gets as many partitions as the largest input of the stages that write it; one that
    /// only sources write, as many as the log gives.
    fn add(&mut self, manifest: &Manifest, there: &BTreeMap<String, TopicFacts>, name: &str) {
        let known = |list: &[String]| list.iter().any(|other| other == name);
        if there.contains_key(name)
            || manifest.topics.contains_key(name)
            || known(&self.later)
            || self.create.iter().any(|topic| topic.name == name)
        {
            return;
        }
        let buries = |stage: &manifest::Stage| stage.on_error == OnError::DeadLetter && stage.dead_letter == name;
        let writes = |stage: &manifest::Stage| stage.outputs.iter().any(|port| port.topic == name) || buries(stage);
        let writers: Vec<_> = manifest.stages.iter().filter(|stage| writes(stage)).collect();
        let inputs: Option<Vec<_>> =
            writers.iter().flat_map(|stage| &stage.inputs).map(|port| there.get(&port.topic)).collect();
        let Some(inputs) = inputs else {
            return self.later.push(name.to_owned());
        };
        let mut config = BTreeMap::new();
        if writers.iter().any(|stage| buries(stage)) {
            let room = inputs.iter().map(|facts| largest(facts)).max().unwrap_or(DEFAULT_LARGEST);
            let room = room.saturating_add(LETTER_HEADROOM).min(i32::MAX as usize);
            config.insert("retention.ms".into(), "-1".into());
            config.insert("cleanup.policy".into(), "delete".into());
            config.insert("max.message.bytes".into(), room.to_string());
        }
        self.create.push(NewTopic {
            name: name.to_owned(),
            partitions: inputs.iter().map(|facts| facts.partitions).max(),
            replication: None,
            config,
        });
    }
}

/// Of a position only the last counts, so the topic is compacted; one partition gives it one holder.
fn position_topic(name: &str) -> NewTopic {
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    NewTopic { name: name.to_owned(), partitions: Some(1), replication: None, config }
}

/// A declared topic, as it says; dead letters stay for ever unless it says otherwise.
fn declared(manifest: &Manifest, name: &str, topic: &manifest::Topic) -> NewTopic {
    let mut config = topic.config.clone();
    if manifest.stages.iter().any(|stage| stage.dead_letter == name) {
        config.entry("retention.ms".into()).or_insert_with(|| "-1".into());
        config.entry("cleanup.policy".into()).or_insert_with(|| "delete".into());
    }
    NewTopic { name: name.to_owned(), partitions: topic.partitions, replication: topic.replication, config }
}

fn differences(name: &str, topic: &manifest::Topic, facts: &TopicFacts) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(partitions) = topic.partitions.filter(|count| *count != facts.partitions) {
        found.push(format!("topic {name} has {} partitions, the manifest says {partitions}", facts.partitions));
    }
    // A log without replicas says 0: what a manifest asks for is meant for a Kafka.
    let is_other = |count: &u16| facts.replication > 0 && usize::from(*count) != facts.replication;
    if let Some(replication) = topic.replication.filter(is_other) {
        found.push(format!("topic {name} has {} replicas, the manifest says {replication}", facts.replication));
    }
    for (key, value) in &topic.config {
        if let Some(real) = facts.config.get(key).filter(|real| *real != value) {
            found.push(format!("topic {name} has {key}={real}, the manifest says {value}"));
        }
    }
    found
}
