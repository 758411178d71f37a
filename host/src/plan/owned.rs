//! What a pipeline has in its log, as far as its manifest tells: groups, transactional ids and topics.

use crate::manifest::{Delivery, Manifest};
use std::collections::BTreeMap;

/// What a pipeline has in its log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Its groups, each with what it is for.
    pub groups: Vec<(String, String)>,
    /// Its transactional ids.
    pub ids: Vec<Id>,
    /// Every topic that it has to do with, by name.
    pub topics: BTreeMap<String, Roles>,
}

/// One transactional id or, as each worker has one of its own, all of a stage's.
#[derive(Debug, PartialEq, Eq)]
pub struct Id {
    /// The name, or how all of them begin.
    pub name: String,
    /// It is only how they begin.
    pub is_prefix: bool,
    /// Whose it is.
    pub of: String,
}

/// What a topic is to a pipeline.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// In words: `input of price`.
    pub roles: Vec<String>,
    /// It is declared in the manifest.
    pub is_declared: bool,
    /// The pipeline writes it.
    pub is_written: bool,
    /// The pipeline reads it.
    pub is_read: bool,
}

impl Roles {
    /// True for a topic that is the pipeline's own: `run` makes it when it is missing.
    pub fn is_own(&self) -> bool {
        self.is_declared || self.is_written
    }
}

/// The group that tries a stage's dead letters again: what it has behind it waits no more. On Kafka there is a topic of
/// that name, which says how far it is.
pub fn retry_group(pipeline: &str, stage: &str) -> String {
    format!("{pipeline}.{stage}.dead-letter.retry")
}

impl Owned {
    /// That of a manifest.
    pub fn of(manifest: &Manifest) -> Owned {
        let mut owned = Owned::default();
        let pipeline = &manifest.name;
        for name in manifest.topics.keys() {
            owned.topics.entry(name.clone()).or_default().is_declared = true;
        }
        for source in &manifest.sources {
            let name = &source.name;
            for port in &source.outputs {
                owned.written(&port.topic, format!("output of {name}"));
            }
            owned.written(&source.position, format!("position of {name}"));
            owned.topics.entry(source.position.clone()).or_default().is_read = true;
            owned.groups.push((format!("{pipeline}.{name}"), name.clone()));
            owned.ids.push(Id { name: format!("{pipeline}.{name}"), is_prefix: false, of: name.clone() });
        }
        for stage in &manifest.stages {
            let name = &stage.name;
            for port in &stage.inputs {
                owned.read(&port.topic, name);
            }
            for port in &stage.outputs {
                owned.written(&port.topic, format!("output of {name}"));
            }
            owned.groups.push((stage.group.clone(), name.clone()));
            if stage.delivery == Delivery::ExactlyOnce {
                owned.ids.push(Id { name: format!("{pipeline}.{name}."), is_prefix: true, of: name.clone() });
            }
            if stage.on_error.has_dead_letters() {
                let retry = retry_group(pipeline, name);
                owned.written(&stage.dead_letter, format!("dead letters of {name}"));
                if stage.delivery == Delivery::ExactlyOnce && manifest.kafka.is_some() {
                    owned.written(&retry, format!("how far `dead-letters retry {name}` is"));
                }
                owned.groups.push((retry, format!("`dead-letters retry {name}`")));
            }
        }
        for sink in &manifest.sinks {
            for port in &sink.inputs {
                owned.read(&port.topic, &sink.name);
            }
            owned.groups.push((sink.group.clone(), sink.name.clone()));
            if sink.on_error.has_dead_letters() {
                owned.written(&sink.dead_letter, format!("dead letters of {}", sink.name));
                owned.groups.push((retry_group(pipeline, &sink.name), format!("`dead-letters retry {}`", sink.name)));
            }
        }
        owned
    }

    fn read(&mut self, topic: &str, by: &str) {
        let roles = self.topics.entry(topic.to_owned()).or_default();
        roles.is_read = true;
        roles.roles.push(format!("input of {by}"));
    }

    fn written(&mut self, topic: &str, role: String) {
        let roles = self.topics.entry(topic.to_owned()).or_default();
        roles.is_written = true;
        roles.roles.push(role);
    }
}
