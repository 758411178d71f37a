//! The clusters as they stand in their file.

use super::{Clusters, Connection, Origin};
use crate::manifest::{
    AS_WRITTEN, Diagnostic, Document, Many, Named, Report, Spanned, Text, check_broker_address, check_cluster_name,
    owned_by_host, read_text,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, fmt::Write as _, path::Path};

const DOCUMENT: Document = Document {
    name: "file of clusters",
    outline: "it has clusters under `clusters:`; `millstream clusters add` writes it",
    has_secrets: true,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    current: Option<Spanned<String>>,
    #[serde(default)]
    clusters: Named<Cluster>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    brokers: Many<Spanned<String>>,
    #[serde(default)]
    properties: Named<Value>,
}

/// A property's value.
enum Value {
    Text(String),
    Elsewhere(Elsewhere),
}

/// Where it comes from: one of these.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Elsewhere {
    env: Option<Spanned<String>>,
    file: Option<Spanned<String>>,
    command: Option<Spanned<String>>,
}

impl<'d> Deserialize<'d> for Value {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'d> Visitor<'d> for Visit {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text, `{env: VARIABLE}`, `{file: PATH}` or `{command: WORDS}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Value, A::Error> {
                Elsewhere::deserialize(MapAccessDeserializer::new(entries)).map(Value::Elsewhere)
            }
        }
        deserializer.deserialize_newtype_struct(AS_WRITTEN, Visit)
    }
}

/// Reads the text of such a file, or says all that is wrong with it.
pub(super) fn read(path: &Path, text: &str) -> Result<Clusters, Report> {
    let Text { written, mut report, .. } = read_text::<File>(DOCUMENT, &path.display().to_string(), text);
    let Some(written) = written else { return Err(report) };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut clusters = Clusters::default();
    for (name, cluster) in written.clusters.iter() {
        refuse(&mut report, name, check_cluster_name(&name.value));
        let mut connection = Connection::default();
        for written in &cluster.brokers.0 {
            for broker in written.value.split(',').map(str::trim) {
                refuse(&mut report, written, check_broker_address(broker));
                connection.brokers.push(broker.to_owned());
            }
        }
        for (key, value) in cluster.properties.iter() {
            refuse(&mut report, key, owned_by_host(&key.value).map_or(Ok(()), Err));
            let origin = match value {
                Value::Text(text) => Some(Origin::Written(text.clone().into())),
                Value::Elsewhere(elsewhere) => origin(elsewhere, folder),
            };
            match origin {
                Some(origin) => drop(connection.properties.insert(key.value.clone(), origin)),
                None => {
                    let why = format!("where `{}` comes from is said by one of `env`, `file` and `command`", key.value);
                    refuse(&mut report, key, Err((why, "name one of them, and something in it".to_owned())));
                }
            }
        }
        clusters.all.insert(name.value.clone(), connection);
    }
    if let Some(current) = &written.current {
        if !clusters.all.contains_key(&current.value) {
            let known: Vec<_> = clusters.all.keys().map(String::as_str).collect();
            let way_out = match &known[..] {
                [] => "remove the line".to_owned(),
                known => format!("there is {}", known.join(", ")),
            };
            refuse(&mut report, current, Err((format!("there is no cluster {}", current.shown()), way_out)));
        }
        clusters.current = Some(current.value.clone());
    }
    if report.mistakes() > 0 { Err(report) } else { Ok(clusters) }
}

/// Reports a mistake at this place, unless what stands there was reported before.
fn refuse<T>(report: &mut Report, at: &Spanned<T>, result: Result<(), (String, String)>) {
    if let (Some(at), Err((message, way_out))) = (&at.at, result) {
        report.add(Diagnostic::mistake(at.clone(), message).help(way_out));
    }
}

fn origin(written: &Elsewhere, folder: &Path) -> Option<Origin> {
    let origin = match (&written.env, &written.file, &written.command) {
        (Some(name), None, None) if !name.value.contains(['=', '\0']) => {
            (name, Origin::Environment(name.value.clone()))
        }
        (None, Some(path), None) => (path, Origin::File(folder.join(&path.value))),
        (None, None, Some(words)) => (words, Origin::Command(words.value.clone())),
        _ => return None,
    };
    // What is made up was reported before.
    let (written, origin) = origin;
    (!written.value.trim().is_empty() || written.at.is_none()).then_some(origin)
}

/// Clusters as they are written down.
pub(super) fn text(clusters: &Clusters) -> String {
    let mut text = "# `millstream clusters` writes this file anew, and keeps no other comments.\n".to_owned();
    let mut put = |line: String| writeln!(text, "{line}").expect("a string takes any text");
    if let Some(current) = &clusters.current {
        put(format!("current: {}", scalar(current)));
    }
    put(format!("clusters:{}", if clusters.all.is_empty() { " {}" } else { "" }));
    for (name, connection) in &clusters.all {
        put(format!("  {}:", scalar(name)));
        put(format!("    brokers: {}", scalar(&connection.brokers.join(","))));
        if !connection.properties.is_empty() {
            put("    properties:".to_owned());
        }
        for (key, origin) in &connection.properties {
            let value = match origin {
                Origin::Written(value) => scalar(value.reveal()),
                Origin::Environment(name) => format!("{{env: {}}}", quoted(name)),
                Origin::File(path) => format!("{{file: {}}}", quoted(&path.display().to_string())),
                Origin::Command(words) => format!("{{command: {}}}", quoted(words)),
            };
            put(format!("      {}: {value}", scalar(key)));
        }
    }
    text
}

/// As it is, where YAML takes that for this text and nothing else.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':' | '/' | ',');
    let is_word =
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && !text.ends_with(':') && text.chars().all(is_plain);
    let means_something = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    match is_word && !means_something.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// JSON's texts are YAML's, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
