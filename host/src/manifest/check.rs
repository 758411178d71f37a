//! From the manifest as written to the checked one: fills in the defaults, and looks at what serde cannot see.
//! Values that are made up for a mistake (`at` is `None`) are passed over: they were reported.

use super::{
    NamedModule, Over,
    checked::{
        AsWritten, Kafka, Kind, Manifest, Module, OnError, Policy, Properties, Secret, Sink, Source, Stage, Start,
        Topic,
    },
    measure::Count,
    names::{Wrong, check_broker, check_name, check_topic},
    places::Places,
    properties,
    report::Findings,
    rules,
    scalars::Digest,
    secrets::starred,
    shapes::{Named, Spanned},
    values::{Config, Property},
    wires::{Wire, inputs, outputs},
    written,
};
use crate::sinks;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a transaction stays open when nobody says otherwise.
const COMMIT_INTERVAL: Duration = Duration::from_millis(50);

/// What is known besides the text.
pub(super) struct Surroundings<'a> {
    pub(super) folder: &'a Path,
    /// It takes the place of what is written.
    pub(super) over: Option<&'a Over>,
    pub(super) places: &'a Places,
    pub(super) findings: &'a Findings,
}

/// A source, a stage or a sink with the places of its topics, for the rules that hold between them.
pub(super) struct Placed<'a, Written, Checked> {
    pub(super) name: &'a Spanned<String>,
    pub(super) written: &'a Written,
    pub(super) inputs: Vec<Wire>,
    pub(super) outputs: Vec<Wire>,
    /// How messages show the topic of its dead letters.
    pub(super) dead_letter_written: String,
    pub(super) checked: Checked,
}

pub(super) type PlacedSource<'a> = Placed<'a, written::Source, Source>;
pub(super) type PlacedStage<'a> = Placed<'a, written::Stage, Stage>;
pub(super) type PlacedSink<'a> = Placed<'a, written::Sink, Sink>;

/// The checked manifest; fit for use only when nothing was found. With it the modules that are written.
pub(super) fn check(written: &written::Manifest, around: &Surroundings<'_>) -> (Manifest, Vec<NamedModule>) {
    around.named(check_name, &written.name);
    let kafka = around.kafka(written);
    let schema_registry = around.schema_registry(written.schema_registry.as_ref());
    let mut topics = BTreeMap::new();
    for (name, topic) in written.topics.iter() {
        around.named(check_topic, name);
        let schema = |written| around.topic_schema(written, schema_registry.as_ref(), kafka.is_some());
        let checked = topic.as_ref().map(|topic| Topic {
            key: schema(topic.key.as_ref()),
            value: schema(topic.value.as_ref()),
            ..checked_topic(topic)
        });
        topics.insert(name.value.clone(), checked.unwrap_or_default());
    }
    let none = Named::default();
    let stages = written.stages.as_ref().map_or(&none, |stages| &stages.value);
    let is_broken = written.stages.as_ref().is_some_and(|stages| stages.at.is_none());
    if written.sources.0.is_empty() && stages.0.is_empty() && written.sinks.0.is_empty() {
        around.nothing_runs(is_broken);
    }
    let kafka = kafka.as_ref();
    let sources: Vec<_> =
        written.sources.iter().map(|(name, source)| around.source(name, source, written, kafka)).collect();
    let stages: Vec<_> = stages.iter().map(|(name, stage)| around.stage(name, stage, written, kafka)).collect();
    let sinks: Vec<_> = written.sinks.iter().map(|(name, sink)| around.sink(name, sink, written, kafka)).collect();
    rules::check(&written.topics, &sources, &stages, &sinks, around.findings);

    let sources_modules = sources.iter().map(|source| {
        (Kind::Source, &source.written.module, source.name, &source.checked.module, source.checked.limits)
    });
    let stages_modules = stages
        .iter()
        .map(|stage| (Kind::Stage, &stage.written.module, stage.name, &stage.checked.module, stage.checked.limits));
    let modules = sources_modules
        .chain(stages_modules)
        .filter(|(_, written, ..)| written.at.is_some() && !written.value.is_empty())
        .map(|(kind, _, name, module, limits)| NamedModule {
            kind,
            name: name.value.clone(),
            module: module.clone(),
            module_size: limits.module_size,
        })
        .collect();
    if let Some(state) = &written.state {
        around.not_empty("state", state, ".millstream");
    }
    let state = written.state.as_ref().map_or(".millstream", |state| &state.value);
    let manifest = Manifest {
        name: written.name.value.clone(),
        folder: around.folder.to_owned(),
        state: around.folder.join(state),
        kafka: kafka.cloned(),
        schema_registry,
        topics,
        durability: written.durability.map(Into::into).unwrap_or_default(),
        sources: sources.into_iter().map(|source| source.checked).collect(),
        stages: stages.into_iter().map(|stage| stage.checked).collect(),
        sinks: sinks.into_iter().map(|sink| sink.checked).collect(),
    };
    (manifest, modules)
}

/// The topic of dead letters.
fn dead_letter(written: Option<&Spanned<String>>, pipeline: &Spanned<String>, name: &Spanned<String>) -> String {
    written.map_or_else(|| format!("{}.{}.dead-letter", pipeline.value, name.value), |topic| topic.value.clone())
}

/// The same, as messages show it.
fn dead_letter_written(
    written: Option<&Spanned<String>>,
    pipeline: &Spanned<String>,
    name: &Spanned<String>,
) -> String {
    written.map_or_else(|| format!("{}.{}.dead-letter", pipeline.written, name.value), |topic| topic.written.clone())
}

fn config(written: &Named<Config>) -> BTreeMap<String, Secret> {
    written.iter().map(|(key, value)| (key.value.clone(), Secret::from(value.0.clone()))).collect()
}

fn checked_topic(written: &written::Topic) -> Topic {
    Topic {
        partitions: written.partitions.map(Count::get),
        replication: written.replication.map(Count::get),
        config: written.config.iter().map(|(key, value)| (key.value.clone(), value.clone())).collect(),
        ..Topic::default()
    }
}

impl Surroundings<'_> {
    /// Reports a name that breaks its rules.
    pub(super) fn named(&self, rule: fn(&str, &str) -> Result<(), Wrong>, name: &Spanned<String>) {
        if let Err(wrong) = rule(&name.value, &name.shown()) {
            self.findings.mistake(&name.at, || wrong);
        }
    }

    pub(super) fn not_empty(&self, key: &str, text: &Spanned<String>, example: &str) {
        if text.value.trim().is_empty() {
            self.findings.mistake(&text.at, || {
                (format!("`{key}` is empty"), format!("write something like `{key}: {example}`"))
            });
        }
    }

    fn kafka(&self, written: &written::Manifest) -> Option<Kafka> {
        if written.kafka.is_none() && self.over.is_none() {
            return None;
        }
        let mut kafka = Kafka { brokers: Vec::new(), properties: Default::default() };
        if let Some(written) = &written.kafka {
            properties::put(&written.value.properties, None, self.folder, self.findings, &mut kafka.properties);
            kafka.brokers = self.brokers_as_written(&written.value);
        }
        if let Some(over) = self.over {
            over.enter(&mut kafka.properties);
            kafka.brokers = match over {
                Over::Brokers(brokers) => brokers.clone(),
                Over::Cluster(cluster) => cluster.brokers.clone(),
            };
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

    /// A pipeline in which nothing runs.
    fn nothing_runs(&self, is_broken: bool) {
        if !is_broken && !self.findings.is_cut_off() {
            self.findings.mistake(&Some(self.places.of(&["stages"])), || {
                let way_out = "add one: `stages: {NAME: {module: …, input: …, output: …}}`";
                ("there is no source, no stage and no sink".to_owned(), way_out.to_owned())
            });
        }
    }

    fn source<'a>(
        &self,
        name: &'a Spanned<String>,
        written: &'a written::Source,
        manifest: &written::Manifest,
        kafka: Option<&Kafka>,
    ) -> PlacedSource<'a> {
        let pipeline = &manifest.name;
        self.named(check_name, name);
        let outputs = outputs((Kind::Source, name), written.output.as_ref(), written.outputs.as_ref(), self);
        let checked = Source {
            name: name.value.clone(),
            decodes: self.values(written.values.as_ref(), [&[], &outputs], &manifest.topics),
            module: self.module(&written.module, written.sha256, written.build.as_ref()),
            outputs: outputs.iter().map(Wire::port).collect(),
            position: format!("{}.{}.position", pipeline.value, name.value),
            every: written.every.map_or(Duration::ZERO, Into::into),
            commit_interval: written.commit_interval.map_or(COMMIT_INTERVAL, Into::into),
            properties: self.properties(Kind::Source, &written.properties, kafka),
            config: config(&written.config),
            limits: written.limits.as_ref().map(written::Limits::checked).unwrap_or_default(),
            allow: self.allow(written.allow.as_ref()),
        };
        Placed { name, written, inputs: Vec::new(), outputs, dead_letter_written: String::new(), checked }
    }

    fn sink<'a>(
        &self,
        name: &'a Spanned<String>,
        written: &'a written::Sink,
        manifest: &written::Manifest,
        kafka: Option<&Kafka>,
    ) -> PlacedSink<'a> {
        let pipeline = &manifest.name;
        self.named(check_name, name);
        let inputs = inputs((Kind::Sink, name), written.input.as_ref(), written.inputs.as_ref(), self);
        let into = self.into(name, written);
        let prints = matches!(into, sinks::Into::Stdout(_));
        if prints {
            self.not_for_stdout(name, written);
        }
        if let Some(dead_letter) = &written.dead_letter {
            self.named(check_topic, dead_letter);
        }
        // What is printed does not fail.
        let on_error = if prints { OnError::all(Policy::Stop) } else { self.on_error(written.on_error.as_ref()) };
        self.idle_breaker(written.on_error.as_ref(), &on_error);
        let checked = Sink {
            name: name.value.clone(),
            decodes: self.values(written.values.as_ref(), [&inputs, &[]], &manifest.topics),
            inputs: inputs.iter().map(Wire::port).collect(),
            group: self.group(written.group.as_ref(), pipeline, name),
            properties: self.properties(Kind::Sink, &written.properties, kafka),
            from: written.from.map_or(Start::default(), |from| from.0),
            on_lost_offset: written.on_lost_offset.map(Into::into).unwrap_or_default(),
            into,
            workers: written.workers.as_ref().map_or(1, |workers| workers.value.get()),
            commit_interval: written.commit_interval.as_ref().map_or(COMMIT_INTERVAL, |time| time.value.into()),
            on_error,
            dead_letter: dead_letter(written.dead_letter.as_ref(), pipeline, name),
        };
        let dead_letter_written = dead_letter_written(written.dead_letter.as_ref(), pipeline, name);
        Placed { name, written, inputs, outputs: Vec::new(), dead_letter_written, checked }
    }

    fn group(&self, written: Option<&Spanned<String>>, pipeline: &Spanned<String>, name: &Spanned<String>) -> String {
        if let Some(group) = written {
            self.not_empty("group", group, &format!("{}.{}", pipeline.written, name.value));
        }
        written.map_or_else(|| format!("{}.{}", pipeline.value, name.value), |group| group.value.clone())
    }

    /// The pipeline's, and over them those that are written here.
    fn properties(&self, kind: Kind, written: &Named<Property>, kafka: Option<&Kafka>) -> Properties {
        let mut properties = kafka.map(|kafka| kafka.properties.clone()).unwrap_or_default();
        let mut own = Properties::new();
        properties::put(written, Some(kind), self.folder, self.findings, &mut own);
        own.retain(|name, _| !self.over.is_some_and(|over| over.replaces(name)));
        properties.extend(own);
        properties
    }

    fn stage<'a>(
        &self,
        name: &'a Spanned<String>,
        written: &'a written::Stage,
        manifest: &written::Manifest,
        kafka: Option<&Kafka>,
    ) -> PlacedStage<'a> {
        let pipeline = &manifest.name;
        self.named(check_name, name);
        let inputs = inputs((Kind::Stage, name), written.input.as_ref(), written.inputs.as_ref(), self);
        let outputs = outputs((Kind::Stage, name), written.output.as_ref(), written.outputs.as_ref(), self);
        if let Some(dead_letter) = &written.dead_letter {
            self.named(check_topic, dead_letter);
        }
        let dead_letter_written = dead_letter_written(written.dead_letter.as_ref(), pipeline, name);
        let checked = Stage {
            name: name.value.clone(),
            decodes: self.values(written.values.as_ref(), [&inputs, &outputs], &manifest.topics),
            module: self.module(&written.module, written.sha256, written.build.as_ref()),
            inputs: inputs.iter().map(Wire::port).collect(),
            outputs: outputs.iter().map(Wire::port).collect(),
            group: self.group(written.group.as_ref(), pipeline, name),
            workers: written.workers.map_or(1, Count::get),
            delivery: written.delivery.map(Into::into).unwrap_or_default(),
            commit_interval: written.commit_interval.map_or(COMMIT_INTERVAL, Into::into),
            properties: self.properties(Kind::Stage, &written.properties, kafka),
            from: written.from.map_or(Start::default(), |from| from.0),
            on_lost_offset: written.on_lost_offset.map(Into::into).unwrap_or_default(),
            config: config(&written.config),
            limits: written.limits.as_ref().map(written::Limits::checked).unwrap_or_default(),
            allow: self.allow(written.allow.as_ref()),
            on_error: self.on_error(written.on_error.as_ref()),
            dead_letter: dead_letter(written.dead_letter.as_ref(), pipeline, name),
            probation: written.probation.map(written::Probation::checked).unwrap_or_default(),
            provenance: written.provenance.unwrap_or_default(),
        };
        self.idle_breaker(written.on_error.as_ref(), &checked.on_error);
        Placed { name, written, inputs, outputs, dead_letter_written, checked }
    }

    fn module(&self, path: &Spanned<String>, sha256: Option<Digest>, build: Option<&Spanned<String>>) -> Module {
        self.not_empty("module", path, "guests/price.wasm");
        if let Some(build) = build {
            self.not_empty("build", build, "cargo build --release");
        }
        Module {
            path: AsWritten {
                value: self.folder.join(PathBuf::from(&path.value)),
                written: starred(&path.written, &[]),
            },
            sha256: sha256.map(|digest| digest.0),
            build: build.map(|build| AsWritten { value: build.value.clone(), written: starred(&build.written, &[]) }),
        }
    }
}
