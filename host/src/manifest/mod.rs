//! The manifest: as written, then checked. Every mistake is found in one go, with its place and a way out.
//!
//! The way of a text: [`yaml`] (a tree with places, the environment put in) → [`reader`] (serde, without stopping) → [`written`] →
//! [`check`] → [`Manifest`]. What is found on that way, and later with the modules, is a [`Report`].

mod allow;
mod check;
mod checked;
mod environment;
mod measure;
mod names;
mod on_error;
mod parts;
mod places;
mod properties;
mod reader;
mod refusal;
mod report;
mod rules;
mod scalars;
mod schema;
mod schemas;
mod secrets;
mod shapes;
mod sinks;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod wires;
mod written;
mod yaml;

pub use checked::{
    Allow, AsWritten, Burier, Delivery, Kafka, Kind, Manifest, Module, OnError, OnLostOffset, Policy, Port, Properties,
    Register, SchemaRegistry, SchemaSource, Secret, Sink, Source, Stage, Start, StopWhen, Topic, TopicSchema,
};
pub use places::Places;
pub(crate) use properties::{owned_by_host, read as read_secret};
pub use report::{Diagnostic, Report, Severity, Span};
pub use schema::schema;
pub(crate) use shapes::{AS_WRITTEN, Many, Named, Spanned};
pub(crate) use values::Config;
pub(crate) use yaml::Document;

use serde::de::DeserializeOwned;
use std::{path::Path, time::Duration};

/// A duration such as `250ms`, `10s`, `5m` or `1h`, as manifests and the command line have them.
pub fn parse_duration(text: &str) -> Option<Duration> {
    measure::parse_millis(text).map(Duration::from_millis)
}

/// True when what stands under this key must not be shown.
pub(crate) fn is_secret(key: &str) -> bool {
    secrets::is_secret(key)
}

/// What is wrong with a cluster's name, and the way out.
pub(crate) fn check_cluster_name(name: &str) -> Result<(), (String, String)> {
    names::check_name(name, &format!("`{name}`"))
}

/// What is wrong with a topic's name, and the way out, in one line.
pub fn check_topic_name(name: &str) -> Result<(), String> {
    names::check_topic(name, &format!("`{name}`")).map_err(|(what, way_out)| format!("{what}: {way_out}"))
}

/// What is wrong with a broker's address, and the way out.
pub(crate) fn check_broker_address(address: &str) -> Result<(), (String, String)> {
    names::check_broker(address, &format!("`{address}`"))
}

/// What is written by hand is no larger.
const LARGEST: usize = 1 << 20;

const MANIFEST: Document = Document {
    name: "manifest",
    outline: "it starts with `name: …` and has at least one stage under `stages:`",
    has_secrets: true,
};

/// Where `${VAR}` gets its value from.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What stands over what a manifest says of its cluster.
#[derive(Clone, Debug)]
pub enum Over {
    /// Other brokers, reached as the manifest says.
    Brokers(Vec<String>),
    /// Another cluster: its brokers, and how they are reached.
    Cluster(Kafka),
}

impl Over {
    /// True when a pipeline's or a part's property is not the manifest's to say.
    fn replaces(&self, property: &str) -> bool {
        matches!(self, Over::Cluster(_)) && properties::is_of_connection(property)
    }

    /// Puts a cluster's properties over those that are written.
    fn enter(&self, written: &mut Properties) {
        if let Over::Cluster(cluster) = self {
            written.retain(|name, _| !self.replaces(name));
            written.extend(cluster.properties.clone());
        }
    }
}

/// A module, and whose it is.
#[derive(Clone, Debug)]
pub struct NamedModule {
    /// A source's or a stage's.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The module.
    pub module: Module,
    /// Bytes that its file may have.
    pub module_size: u64,
}

/// A manifest that was read. Whatever else turns out to be wrong, for instance with its modules, goes into its
/// report, before [`Reading::finish`] tells whether it may be used.
pub struct Reading {
    /// What is wrong so far.
    pub report: Report,
    /// Where things stand in the text.
    pub places: Places,
    /// The modules that it names, each with whose it is; they are known whatever else is wrong.
    pub modules: Vec<NamedModule>,
    /// Properties that do not stand in the text, but over it.
    pub over: Properties,
    manifest: Option<Manifest>,
}

impl Reading {
    /// The manifest as far as it could be read, to look for more mistakes in it: where there is one, something is made
    /// up. Nothing when the text breaks off.
    pub fn draft(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// True when nothing is wrong with what stands under a path of keys, so that its part of the draft is what was
    /// meant.
    pub fn is_sound(&self, path: &[&str]) -> bool {
        self.places.whole(path).is_none_or(|whole| !self.report.has_mistakes_in(&whole))
    }

    /// Takes it for no mistake that what only clients need is not on this machine, such as a secret in the environment:
    /// for those who connect to nothing. The draft has something made up in its place.
    pub fn forgive_clients(&mut self) {
        let parts = self.draft().into_iter().flat_map(Manifest::parts);
        let clients = |(kind, name): (Kind, &str)| {
            ["properties", "postgres", "mongodb"].map(|key| self.places.whole(&[kind.key(), name, key]))
        };
        let shared = ["kafka", "schema-registry"].map(|key| self.places.whole(&[key]));
        for part in parts.flat_map(clients).chain(shared).flatten().collect::<Vec<_>>() {
            self.report.forgive_absence(&part);
        }
    }

    /// Takes it for no mistake that what is not used is missing, as something else stands over it.
    fn forgive_replaced(&mut self, over: &Over) {
        let parts = self.draft().into_iter().flat_map(Manifest::parts);
        let parts = parts.map(|(kind, name)| vec![kind.key(), name, "properties"]);
        let mut replaced: Vec<_> = self.places.whole(&["kafka", "brokers"]).into_iter().collect();
        for path in parts.chain([vec!["kafka", "properties"]]) {
            let names = self.places.keys(&path).filter(|name| over.replaces(name));
            replaced.extend(names.filter_map(|name| self.places.whole(&[&path[..], &[name]].concat())));
        }
        replaced.iter().for_each(|part| self.report.forgive_absence(part));
    }

    /// The manifest and a report with nothing but warnings; or the report, when there is a mistake in it.
    pub fn finish(self) -> Result<(Manifest, Report), Report> {
        match self.manifest {
            Some(manifest) if self.report.mistakes() == 0 => Ok((manifest, self.report)),
            _ => Err(self.report),
        }
    }
}

/// Reads a manifest's text. `path` is shown in messages, and relative paths in the text start in its folder.
pub fn read(path: &Path, source: &str, environment: Environment<'_>, over: Option<&Over>) -> Reading {
    let shown_path = path.display().to_string();
    let findings = report::Findings::default();
    if is_too_large(MANIFEST, source, &findings) {
        return Reading {
            report: findings.report(&shown_path, "", &[]),
            places: Places::default(),
            modules: Vec::new(),
            over: Properties::new(),
            manifest: None,
        };
    }
    let mut root = yaml::read(MANIFEST, source, Some(environment), &findings);
    let mut hidden = secrets::mark(&mut root);
    if findings.is_cut_off() {
        hidden.extend(secrets::in_broken_text(source));
    }
    let written = reader::collect::<written::Manifest>(&root, source, &findings);
    let places = Places::read(&root, source);
    let around = check::Surroundings {
        folder: path.parent().unwrap_or(Path::new("")),
        over,
        places: &places,
        findings: &findings,
    };
    let (manifest, modules) = written.map(|written| check::check(&written, &around)).unzip();
    let manifest = manifest.filter(|_| !findings.is_cut_off());
    let mut reading = Reading {
        report: findings.report(&shown_path, source, &hidden),
        places,
        modules: modules.unwrap_or_default(),
        over: Properties::new(),
        manifest,
    };
    if let Some(over) = over {
        reading.forgive_replaced(over);
        if let Over::Cluster(cluster) = over {
            reading.over.clone_from(&cluster.properties);
        }
    }
    reading
}

/// Another text that is written by hand, read as manifests are, but without the environment: the values in it are
/// what is written.
pub(crate) struct Text<T> {
    /// What could be read. Only without mistakes it is all that is written.
    pub(crate) written: Option<T>,
    /// What is wrong with it.
    pub(crate) report: Report,
    /// Where things stand in it.
    pub(crate) places: Places,
}

/// Reads such a text; `path` is shown in messages.
pub(crate) fn read_text<T: DeserializeOwned>(document: Document, path: &str, source: &str) -> Text<T> {
    let findings = report::Findings::default();
    if is_too_large(document, source, &findings) {
        return Text { written: None, report: findings.report(path, "", &[]), places: Places::default() };
    }
    let mut root = yaml::read(document, source, None, &findings);
    let mut hidden = Vec::new();
    if document.has_secrets {
        hidden = secrets::mark(&mut root);
        if findings.is_cut_off() {
            hidden.extend(secrets::in_broken_text(source));
        }
    }
    let written = reader::collect(&root, source, &findings);
    Text { written, report: findings.report(path, source, &hidden), places: Places::read(&root, source) }
}

fn is_too_large(document: Document, source: &str, findings: &report::Findings) -> bool {
    if source.len() > LARGEST {
        findings.add(
            Diagnostic::mistake(0..0, format!("the {} is larger than 1 MiB", document.name))
                .help("is this the file that was meant?"),
        );
    }
    source.len() > LARGEST
}
