//! The parts of a plan, made of what the manifest says and what is known of the log.

use super::{Letters, Part, Tries, Work};
use crate::{
    manifest::{self, Delivery, Manifest, OnError, OnLostOffset, Policy, Port, Properties, Start},
    schemas::{Bound, Codec},
    sinks,
    source::SourceSettings,
    stage::{Again, Notes, Output, Retry, StageSettings},
    swap::{Modules, Version},
    text::hex,
    transport::{
        LinkSettings, NextOffset, Partition, Progress,
        log::{Log, Rules, TopicFacts},
    },
    wasm::{Allowed, Compiled, Input, Limits, Setup},
    worker::control::Control,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What Kafka takes when nobody says otherwise.
pub(super) const DEFAULT_LARGEST: usize = Rules::DEFAULT_LARGEST;
/// What a batch adds to its records.
const BATCH_OVERHEAD: usize = 1024;
/// How long a sink collects before it prints.
const PRINT_INTERVAL: Duration = Duration::from_millis(20);
/// After so many positions a source's group commits its progress.
const PROGRESS_EVERY: u64 = 1000;
/// How long a transaction may take, unless limits need more.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long dead letters that are tried again wait, all together, for what is to pass: whoever asked for it waits too.
const LONGEST_OUTAGE: Duration = Duration::from_secs(60);

/// What is known when a plan is made.
pub(super) struct Surroundings<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) log: &'a Log,
    pub(super) compiled: &'a BTreeMap<String, Compiled>,
    pub(super) topics: &'a BTreeMap<String, TopicFacts>,
    pub(super) schemas: &'a Bound,
    pub(super) control: &'a Arc<Control>,
}

impl Surroundings<'_> {
    /// A source; nothing when its module was not compiled.
    pub(super) fn source(&self, source: &manifest::Source) -> Option<Part> {
        let compiled = self.compiled.get(&source.name)?.clone();
        let mut outputs = self.outputs(&source.outputs);
        outputs.push(self.output("position", &source.position));
        let name = format!("{}.{}", self.manifest.name, source.name);
        let link = LinkSettings {
            group: name.clone(),
            shared_writer: Some(name),
            from: Start::Earliest,
            on_lost_offset: OnLostOffset::Earliest,
            transaction_timeout: transaction_timeout(&source.limits, source.commit_interval),
            ..self.link(std::slice::from_ref(&source.position), &outputs)
        };
        let settings = Arc::new(SourceSettings {
            source: source.name.clone(),
            codec: self.codec(source.decodes, &[], &source.outputs),
            outputs,
            forgets: self.topics.get(&source.position).is_some_and(forgets),
            progress_every: PROGRESS_EVERY,
            every: source.every,
            retry: Retry::default(),
        });
        let work = Work::Source { compiled, setup: source_setup(source), settings };
        Some(self.part(&source.name, work, source.commit_interval, &source.properties, link))
    }

    /// A stage; nothing when its module was not compiled.
    pub(super) fn stage(&self, stage: &manifest::Stage) -> Option<Part> {
        let compiled = self.compiled.get(&stage.name)?.clone();
        let mut outputs = self.outputs(&stage.outputs);
        if stage.on_error.has_dead_letters() {
            outputs.push(self.output("dead-letter", &stage.dead_letter));
        }
        let inputs = topics_of(&stage.inputs);
        let link = LinkSettings {
            group: stage.group.clone(),
            delivery: stage.delivery,
            from: stage.from,
            on_lost_offset: stage.on_lost_offset,
            transaction_timeout: transaction_timeout(&stage.limits, stage.commit_interval),
            place: (0, stage.workers),
            ..self.link(&inputs, &outputs)
        };
        let settings = Arc::new(StageSettings {
            pipeline: self.manifest.name.clone(),
            stage: stage.name.clone(),
            module: format!("sha256:{}", compiled.digest()),
            inputs,
            outputs,
            on_error: stage.on_error.clone(),
            provenance: stage.provenance,
            codec: self.codec(stage.decodes, &stage.inputs, &stage.outputs),
        });
        let setup = setup(stage);
        let modules = Modules::new(Version::of(&compiled, &setup));
        let work = Work::Stage { compiled, setup, settings, modules };
        Some(self.part(&stage.name, work, stage.commit_interval, &stage.properties, link))
    }

    /// A stage whose input are its own dead letters; nothing when its module was not compiled. Whatever fails again is a
    /// dead letter again: what was kept once is not given up by a second try, and one that waits holds up no other for
    /// long.
    pub(super) fn again(&self, letters: &Letters<'_>) -> Option<Part> {
        let Letters { of, group, choice, most, ends, notes } = letters;
        let progress = |at: &BTreeMap<u32, u64>| -> Progress {
            at.iter().map(|(number, next)| (Partition { input: 0, number: *number }, NextOffset(*next))).collect()
        };
        let on_error = |written: &OnError| OnError {
            retry: Retry { give_up_after: written.retry.give_up_after.min(LONGEST_OUTAGE), ..written.retry.clone() },
            retry_then: Policy::DeadLetter,
            stop_when: None,
            ..OnError::all(Policy::DeadLetter)
        };
        let part = match of {
            Tries::Stage(stage) => {
                let on_error = on_error(&stage.on_error);
                self.stage(&manifest::Stage { on_error, workers: 1, ..(*stage).clone() })?
            }
            Tries::Sink(sink) => {
                let on_error = on_error(&sink.on_error);
                self.sink(&manifest::Sink { on_error, workers: 1, ..(*sink).clone() })
            }
        };
        let again = Again {
            pipeline: self.manifest.name.clone(),
            stage: of.name().to_owned(),
            inputs: topics_of(of.inputs()),
            output: of.outputs().len(),
            choice: choice.clone(),
            most: *most,
            ends: progress(ends),
            notes: notes.as_ref().map(|(_, known)| Notes {
                output: part.link.outputs.len(),
                topic: of.dead_letter().to_owned(),
                known: progress(known),
            }),
        };
        let notes = notes.iter().map(|(topic, _)| topic.clone());
        let inputs = vec![of.dead_letter().to_owned()];
        let link = LinkSettings {
            group: group.clone(),
            from: Start::Earliest,
            on_lost_offset: OnLostOffset::Earliest,
            inputs_digest: self.inputs_digest(&inputs),
            inputs,
            outputs: part.link.outputs.into_iter().chain(notes).collect(),
            ..part.link
        };
        let name = format!("{}.dead-letter.retry", of.name());
        Some(Part { name, link, again: Some(Arc::new(again)), ..part })
    }

    /// A sink is a stage whose function keeps what it gets.
    pub(super) fn sink(&self, sink: &manifest::Sink) -> Part {
        let inputs = topics_of(&sink.inputs);
        let mut outputs = Vec::new();
        if sink.on_error.has_dead_letters() {
            outputs.push(self.output("dead-letter", &sink.dead_letter));
        }
        let link = LinkSettings {
            group: sink.group.clone(),
            // What leaves the log is no part of its transactions. What is exactly once, is so elsewhere.
            delivery: Delivery::AtLeastOnce,
            from: sink.from,
            on_lost_offset: sink.on_lost_offset,
            place: (0, sink.workers),
            ..self.link(&inputs, &outputs)
        };
        let settings = Arc::new(StageSettings {
            pipeline: self.manifest.name.clone(),
            stage: sink.name.clone(),
            module: sink.into.module().into(),
            inputs,
            outputs,
            on_error: sink.on_error.clone(),
            provenance: false,
            codec: self.codec(sink.decodes, &sink.inputs, &[]),
        });
        let interval = match sink.into {
            sinks::Into::Stdout(_) => PRINT_INTERVAL,
            _ => sink.commit_interval,
        };
        let work = Work::Sink { into: sink.into.clone(), settings };
        self.part(&sink.name, work, interval, &sink.properties, link)
    }

    fn part(
        &self,
        name: &str,
        work: Work,
        commit_interval: Duration,
        properties: &Properties,
        link: LinkSettings,
    ) -> Part {
        Part { name: name.to_owned(), work, commit_interval, log: self.log.with(properties), link, again: None }
    }

    /// A link with everything that follows from its topics; what else it needs, its owner says.
    fn link(&self, inputs: &[String], outputs: &[Output]) -> LinkSettings {
        let largest_batch = outputs.iter().map(|output| output.largest.saturating_sub(BATCH_OVERHEAD)).min();
        LinkSettings {
            group: String::new(),
            name: String::new(),
            shared_writer: None,
            inputs_digest: self.inputs_digest(inputs),
            inputs: inputs.to_vec(),
            outputs: outputs.iter().map(|output| output.topic.clone()).collect(),
            delivery: Delivery::ExactlyOnce,
            from: Start::default(),
            on_lost_offset: OnLostOffset::default(),
            largest_record: outputs.iter().map(|output| output.largest).max().unwrap_or(DEFAULT_LARGEST),
            largest_batch: largest_batch.unwrap_or(DEFAULT_LARGEST),
            transaction_timeout: TRANSACTION_TIMEOUT,
            place: (0, 1),
            control: self.control.clone(),
        }
    }

    /// What records go through, where that was asked for.
    fn codec(&self, decodes: bool, inputs: &[Port], outputs: &[Port]) -> Codec {
        match decodes {
            true => self.schemas.codec(&topics_of(inputs), &topics_of(outputs)),
            false => Codec::default(),
        }
    }

    fn outputs(&self, ports: &[Port]) -> Vec<Output> {
        ports.iter().map(|port| self.output(&port.name, &port.topic)).collect()
    }

    fn output(&self, name: &str, topic: &str) -> Output {
        let unknown = TopicFacts::default();
        output(name, topic, self.topics.get(topic).unwrap_or(&unknown))
    }

    fn inputs_digest(&self, inputs: &[String]) -> String {
        let mut digest = Sha256::new();
        for input in inputs {
            let partitions = self.topics.get(input).map_or(0, |facts| facts.partitions);
            digest.update(format!("{input}:{partitions},"));
        }
        hex(&digest.finalize()[..4])
    }
}

/// An output to a topic of which this is known.
pub(crate) fn output(name: &str, topic: &str, facts: &TopicFacts) -> Output {
    let Rules { partitions, largest, compacted, ahead, keeps } = Rules::of(facts);
    Output { name: name.to_owned(), topic: topic.to_owned(), partitions, largest, compacted, ahead, keeps }
}

/// What a topic that is not there is taken for: what the manifest wants of it, and whatever partition is asked for.
pub(crate) fn facts_as_wanted(manifest: &Manifest, topic: &str) -> TopicFacts {
    let wanted = manifest.topics.get(topic).cloned().unwrap_or_default();
    TopicFacts {
        partitions: wanted.partitions.unwrap_or(i32::MAX.unsigned_abs()),
        config: wanted.config,
        ..TopicFacts::default()
    }
}

fn topics_of(ports: &[Port]) -> Vec<String> {
    ports.iter().map(|port| port.topic.clone()).collect()
}

/// What a source's instances are told.
pub fn source_setup(source: &manifest::Source) -> Setup {
    Setup {
        stage: source.name.clone(),
        inputs: Vec::new(),
        config: source.config.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        limits: source.limits,
        allowed: allowed(&source.allow),
        timing: Arc::default(),
    }
}

/// What a stage's instances are told.
pub fn setup(stage: &manifest::Stage) -> Setup {
    Setup {
        stage: stage.name.clone(),
        inputs: stage.inputs.iter().map(|port| Input { topic: port.topic.clone(), name: port.name.clone() }).collect(),
        config: stage.config.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect(),
        limits: stage.limits,
        allowed: allowed(&stage.allow),
        timing: Arc::default(),
    }
}

fn allowed(allow: &manifest::Allow) -> Allowed {
    let env = allow.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect();
    Allowed { env, dirs: allow.dirs.clone(), http: allow.http.clone().into() }
}

/// True for a topic that is known to delete records for their age. Without the right to see its configuration, nobody
/// knows.
fn forgets(facts: &TopicFacts) -> bool {
    let policy = facts.config.get("cleanup.policy");
    policy.is_some_and(|policy| policy.split(',').any(|word| word.trim() == "delete"))
}

pub(super) fn largest(facts: &TopicFacts) -> usize {
    Rules::of(facts).largest
}

/// A transaction must outlive its slowest call: the commit interval may be over just before it, and a record may run
/// twice.
fn transaction_timeout(limits: &Limits, commit_interval: Duration) -> Duration {
    let slowest = limits.time * 10 * 2;
    TRANSACTION_TIMEOUT.max(slowest + commit_interval + Duration::from_secs(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_forgets_when_it_deletes_as_well_and_an_unknown_one_is_trusted() {
        let with = |policy: &str| {
            forgets(&TopicFacts { config: [("cleanup.policy".into(), policy.into())].into(), ..TopicFacts::default() })
        };
        assert_eq!(["delete", "compact,delete", "delete, compact"].map(with), [true; 3]);
        assert_eq!(["compact", ""].map(with), [false; 2]);
        assert!(!forgets(&TopicFacts::default()));
    }
}
