//! What a pipeline needs of its log's topics, beside what is there.

use super::parts::{DEFAULT_LARGEST, largest};
use crate::{
    manifest::{self, Manifest, OnError},
    stage::LETTER_HEADROOM,
    transport::log::{NewTopic, TopicFacts},
};
use std::collections::BTreeMap;

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
    let mut partitions = topic.partitions;
    if manifest.sources.iter().any(|source| source.position == name) {
        config.entry("cleanup.policy".into()).or_insert_with(|| "compact".into());
        partitions = partitions.or(Some(1));
    }
    NewTopic { name: name.to_owned(), partitions, replication: topic.replication, config }
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
