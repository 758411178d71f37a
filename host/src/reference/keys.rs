//! The manifest's keys, from its JSON Schema.

use super::{code, table};
use crate::manifest;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Where the schema has a word of an enumeration: beside it stands a variable that may hold it.
const WORD: &str = "/anyOf/0/const";

/// A section for each mapping, in the order in which a reader comes to them.
pub(super) fn tell() -> String {
    let schema = manifest::schema();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut next = VecDeque::from([(String::new(), &schema)]);
    let mut text = String::new();
    while let Some((path, mapping)) = next.pop_front() {
        let mut rows = Vec::new();
        for (key, value) in properties(mapping) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let mut says = describe(&schema, value);
            if mapping["required"].as_array().is_some_and(|all| all.contains(&Value::from(key.as_str()))) {
                says = format!("**Needed.** {says}");
            }
            for (name, is_named) in mappings(&schema, value) {
                let path = if is_named { format!("{path}.NAME") } else { path.clone() };
                let place = told.entry(name.clone()).or_insert_with(|| {
                    next.push_back((path.clone(), &schema["$defs"][&name]));
                    path
                });
                says += &format!(" See [`{place}`](#{}).", anchor(place));
            }
            rows.push([code(key), says]);
        }
        if !path.is_empty() {
            text += &format!("### `{path}`\n\n{}\n\n", mapping["description"].as_str().unwrap_or_default());
        }
        text += &table(["key", "is"], rows.into_iter());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn properties(mapping: &Value) -> impl Iterator<Item = (&String, &Value)> {
    mapping["properties"].as_object().into_iter().flatten()
}

/// What a key is, with the words that it may be where it is one of a few.
fn describe(schema: &Value, value: &Value) -> String {
    let mut says = value["description"].as_str().unwrap_or_default().to_owned();
    for word in words(schema, value) {
        let name = word.pointer(WORD).and_then(Value::as_str).unwrap_or_default();
        let means = word["description"].as_str().unwrap_or_default();
        // Where the words are explained by the key's own line, that is enough.
        if !says.contains(&code(name)) || !means.is_empty() {
            says += &format!(" `{name}`: {means}");
        }
    }
    says
}

/// The words that a value may be: those of an enumeration.
fn words<'a>(schema: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    targets(schema, value)
        .into_iter()
        .flat_map(|(_, target, _)| target["anyOf"].as_array().into_iter().flatten())
        .filter(|word| word.pointer(WORD).is_some())
        .collect()
}

/// The mappings that a value may be or may hold, by their names in the schema, and whether it holds them by names of the
/// user's own.
fn mappings(schema: &Value, value: &Value) -> Vec<(String, bool)> {
    targets(schema, value)
        .into_iter()
        .filter(|(_, target, _)| target["properties"].is_object())
        .map(|(name, _, is_named)| (name, is_named))
        .collect()
}

/// What a value refers to.
fn targets<'a>(schema: &'a Value, value: &'a Value) -> Vec<(String, &'a Value, bool)> {
    let own = [("", false), ("/additionalProperties", true), ("/items", false)];
    let mut found = Vec::new();
    for (place, is_named) in own {
        let Some(value) = value.pointer(place) else { continue };
        let either = value["anyOf"].as_array().into_iter().flatten();
        for one in [value].into_iter().chain(either) {
            if let Some(name) = one["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
                found.push((name.to_owned(), &schema["$defs"][name], is_named));
            }
        }
    }
    found
}

/// How a heading is linked to.
fn anchor(path: &str) -> String {
    path.to_lowercase().replace('.', "")
}
