//! From the manifest as written to the checked one: fills in the defaults, and looks at what serde cannot see.
//! Values that are made up for a mistake (`at` is `None`) are passed over: they were reported.

use super::{
    checked::{AsWritten, Kafka, Manifest, Module, OnError, Secret, Stage, Start, Topic},
    measure::Count,
    names::{Wrong, check_broker, check_name, check_topic},
    places::Places,
    properties,
    report::Findings,
    rules,
    secrets::starred,
    shapes::Spanned,
    wires::{Wire, inputs, outputs},
    written,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What is known besides the text.
pub(super) struct Surroundings<'a> {
    pub(super) folder: &'a Path,
    /// They take the place of those that are written.
    pub(super) brokers: Option<&'a [String]>,
    pub(super) places: &'a Places,
    pub(super) findings: &'a Findings,
}

/// A stage with the places of its topics, for the rules that hold between stages.
pub(super) struct Placed<'a> {
    pub(super) name: &'a Spanned<String>,
    pub(super) written: &'a written::Stage,
    pub(super) inputs: Vec<Wire>,
    pub(super) outputs: Vec<Wire>,
    /// How messages show the topic of its dead letters.
    pub(super) dead_letter_written: String,
    pub(super) checked: Stage,
}

/// The checked manifest; fit for use only when nothing was found. With it the modules that are written.
pub(super) fn check(written: &written::Manifest, around: &Surroundings<'_>) -> (Manifest, Vec<(String, Module)>) {
    around.named(check_name, &written.name);
    let kafka = around.kafka(written);
    let mut topics = std::collections::BTreeMap::new();
    for (name, topic) in written.topics.iter() {
        around.named(check_topic, name);
        topics.insert(name.value.clone(), topic.as_ref().map(checked_topic).unwrap_or_default());
    }
    if written.stages.value.0.is_empty() && !around.findings.is_cut_off() {
        around.findings.mistake(&written.stages.at.as_ref().map(|_| around.places.of(&["stages"])), || {
            ("there is no stage".to_owned(), "add one: `stages: {NAME: {module: …, input: …, output: …}}`".to_owned())
        });
    }
    let stages: Vec<_> = written
        .stages
        .value
        .iter()
        .map(|(name, stage)| around.stage(name, stage, &written.name, kafka.as_ref()))
        .collect();
    rules::check(&written.topics, &stages, around.findings);

    let modules = stages
        .iter()
        .filter(|stage| stage.written.module.at.is_some() && !stage.written.module.value.is_empty())
        .map(|stage| (stage.name.value.clone(), stage.checked.module.clone()))
        .collect();
    if let Some(state) = &written.state {
        around.not_empty("state", state, ".millstream");
    }
    let state = written.state.as_ref().map_or(".millstream", |state| &state.value);
    let manifest = Manifest {
        name: written.name.value.clone(),
        folder: around.folder.to_owned(),
        state: around.folder.join(state),
        kafka,
        topics,
        stages: stages.into_iter().map(|stage| stage.checked).collect(),
    };
    (manifest, modules)
}

fn checked_topic(written: &written::Topic) -> Topic {
    Topic {
        partitions: written.partitions.map(Count::get),
        replication: written.replication.map(Count::get),
        config: written.config.iter().map(|(key, value)| (key.value.clone(), value.clone())).collect(),
    }
}

impl Surroundings<'_> {
    /// Reports a name that breaks its rules.
    pub(super) fn named(&self, rule: fn(&str, &str) -> Result<(), Wrong>, name: &Spanned<String>) {
        if let Err(wrong) = rule(&name.value, &name.shown()) {
            self.findings.mistake(&name.at, || wrong);
        }
    }

    fn not_empty(&self, key: &str, text: &Spanned<String>, example: &str) {
        if text.value.trim().is_empty() {
            self.findings.mistake(&text.at, || {
                (format!("`{key}` is empty"), format!("write something like `{key}: {example}`"))
            });
        }
    }

    fn kafka(&self, written: &written::Manifest) -> Option<Kafka> {
        if written.kafka.is_none() && self.brokers.is_none() {
            return None;
        }
        let mut kafka = Kafka { brokers: Vec::new(), properties: Default::default() };
        if let Some(written) = &written.kafka {
            properties::put(&written.value.properties, self.folder, self.findings, &mut kafka.properties);
            kafka.brokers = self.brokers_as_written(&written.value);
        }
        if let Some(brokers) = self.brokers {
            kafka.brokers = brokers.to_vec();
            return Some(kafka);
        }
        let said_enough = self.findings.is_cut_off()
            || written.kafka.as_ref().is_some_and(|kafka| {
                kafka.at.is_none() || kafka.value.brokers.as_ref().is_some_and(|brokers| brokers.at.is_none())
            });
        if kafka.brokers.is_empty() && !said_enough {
            self.findings.mistake(&Some(self.places.of(&["kafka", "brokers"])), || {
                let way_out = "add `brokers: localhost:9092` under `kafka`, or pass `--kafka`";
                ("no brokers are given".to_owned(), way_out.to_owned())
            });
        }
        Some(kafka)
    }

    fn brokers_as_written(&self, kafka: &written::Kafka) -> Vec<String> {
        let mut brokers = Vec::new();
        for written in kafka.brokers.iter().flat_map(|brokers| &brokers.value.0) {
            for broker in written.value.split(',').map(str::trim) {
                if let Err(wrong) = check_broker(broker, &written.shown()) {
                    self.findings.mistake(&written.at, || wrong);
                }
                brokers.push(broker.to_owned());
            }
        }
        brokers
    }

    fn stage<'a>(
        &self,
        name: &'a Spanned<String>,
        written: &'a written::Stage,
        pipeline: &Spanned<String>,
        kafka: Option<&Kafka>,
    ) -> Placed<'a> {
        self.named(check_name, name);
        let inputs = inputs(name, written, self);
        let outputs = outputs(name, written, self);
        if let Some(group) = &written.group {
            self.not_empty("group", group, &format!("{}.{}", pipeline.written, name.value));
        }
        if let Some(dead_letter) = &written.dead_letter {
            self.named(check_topic, dead_letter);
        }
        let mut properties = kafka.map(|kafka| kafka.properties.clone()).unwrap_or_default();
        properties::put(&written.properties, self.folder, self.findings, &mut properties);
        let dead_letter_written = written
            .dead_letter
            .as_ref()
            .map_or_else(|| format!("{}.{}.dead-letter", pipeline.written, name.value), |topic| topic.written.clone());
        let config = written.config.iter();
        let checked = Stage {
            name: name.value.clone(),
            module: self.module(written),
            inputs: inputs.iter().map(Wire::port).collect(),
            outputs: outputs.iter().map(Wire::port).collect(),
            group: written
                .group
                .as_ref()
                .map_or_else(|| format!("{}.{}", pipeline.value, name.value), |group| group.value.clone()),
            workers: written.workers.map_or(1, Count::get),
            delivery: written.delivery.map(Into::into).unwrap_or_default(),
            commit_interval: written.commit_interval.map_or(Duration::from_millis(50), Into::into),
            properties,
            from: written.from.map_or(Start::default(), |from| from.0),
            on_lost_offset: written.on_lost_offset.map(Into::into).unwrap_or_default(),
            config: config.map(|(key, value)| (key.value.clone(), Secret::from(value.0.clone()))).collect(),
            limits: written.limits.as_ref().map(written::Limits::checked).unwrap_or_default(),
            on_error: written.on_error.as_ref().map_or(OnError::default(), |policy| policy.value.into()),
            dead_letter: written
                .dead_letter
                .as_ref()
                .map_or_else(|| format!("{}.{}.dead-letter", pipeline.value, name.value), |topic| topic.value.clone()),
        };
        Placed { name, written, inputs, outputs, dead_letter_written, checked }
    }

    fn module(&self, written: &written::Stage) -> Module {
        self.not_empty("module", &written.module, "guests/price.wasm");
        if let Some(build) = &written.build {
            self.not_empty("build", build, "cargo build --release");
        }
        Module {
            path: AsWritten {
                value: self.folder.join(PathBuf::from(&written.module.value)),
                written: starred(&written.module.written, &[]),
            },
            sha256: written.sha256.map(|digest| digest.0),
            build: written
                .build
                .as_ref()
                .map(|build| AsWritten { value: build.value.clone(), written: starred(&build.written, &[]) }),
        }
    }
}
