//! What librdkafka says of a manifest's properties, before anything is connected. Its words hold values, and one that
//! comes from the environment or a file is never shown.

use crate::{
    manifest::{Diagnostic, Kafka, Kind, Manifest, Properties, Reading, Secret, is_secret},
    text::conceal,
    transport::kafka::{Cluster, KafkaTopics},
};
use std::path::Path;

/// A value that no property takes.
const PROBE: &str = "(probe)";
/// Where the pipeline's properties stand.
const PIPELINE: [&str; 2] = ["kafka", "properties"];

/// Finds the properties that the library refuses, alone or together.
pub(super) fn check(draft: &Manifest, reading: &Reading) -> Vec<Diagnostic> {
    let none = Properties::new();
    let pipeline = draft.kafka.as_ref().map_or(&none, |kafka| &kafka.properties);
    let mut found = check_set(&PIPELINE, pipeline, &none, reading);
    // What is wrong with the pipeline's would be said again of each stage.
    if found.is_empty() {
        for (kind, name, properties) in draft.properties().filter(|(.., properties)| *properties != pipeline) {
            found.extend(check_set(&[kind.key(), name, "properties"], properties, pipeline, reading));
        }
        let early = draft.properties().find(|(kind, name, properties)| {
            draft.is_exactly_once(*kind, name) && Cluster::new("", properties).acks_early()
        });
        if let Some((kind, name, properties)) = early {
            let key = if properties.contains_key("acks") { "acks" } else { "request.required.acks" };
            let is_own = properties.get(key) != pipeline.get(key);
            let own = [kind.key(), name, "properties", key];
            let place = if is_own { own.to_vec() } else { [&PIPELINE[..], &[key]].concat() };
            let why =
                format!("`{key}` is `all` where records count exactly once, as they do for the {} {name}", kind.word());
            let help = match kind {
                Kind::Stage => "leave it out, or write `delivery: at-least-once` in the stage",
                _ => "leave it out",
            };
            found.push(Diagnostic::mistake(reading.places.of(&place), why).help(help));
        }
    }
    found
}

/// Finds out what the library refuses of a cluster's properties, alone or together, in one line.
pub(super) fn check_cluster(kafka: &Kafka) -> Result<(), String> {
    let cluster = Cluster::new("", &kafka.properties);
    for (name, value) in &kafka.properties {
        if let Some(why) = objection(&cluster, name, value, false) {
            return Err(why);
        }
    }
    if let Some(why) = lacks_tokens(&kafka.properties) {
        return Err(why.to_owned());
    }
    let hidden: Vec<_> = kafka.properties.iter().filter(|(name, _)| is_secret(name)).map(|(_, v)| v.reveal()).collect();
    match together(cluster) {
        Some(words) => Err(format!("librdkafka refuses its properties: {}", conceal(&words, &hidden))),
        None => Ok(()),
    }
}

/// Why the library has no such property, or does not take this value for it; nothing when it does.
pub(super) fn check_property(name: &str, value: Option<&str>) -> Result<(), String> {
    let cluster = Cluster::new("", &Properties::new());
    match cluster.refuses(name, value.unwrap_or(PROBE)) {
        Some(words) if value.is_some() => Err(refusal(&cluster, name, &words, !is_secret(name))),
        Some(words) if one_line(&words).starts_with("No such configuration property") => {
            Err(refusal(&cluster, name, &words, false))
        }
        _ => Ok(()),
    }
}

/// Properties that are put into one client; those that it inherits were looked at.
fn check_set(path: &[&str], properties: &Properties, inherited: &Properties, reading: &Reading) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // Without a broker: it connects to none.
    let cluster = Cluster::new("", properties);
    let mut hidden = Vec::new();
    for (name, value) in properties {
        // What stands over the manifest was looked at by itself.
        if reading.over.get(name) == Some(value) {
            hidden.push(value.reveal());
            continue;
        }
        let is_inherited = inherited.get(name) == Some(value);
        let place = [if is_inherited { &PIPELINE } else { path }, &[name]].concat();
        let at = reading.places.of(&place);
        let shown = reading.report.shows(&at, value.reveal());
        if !shown {
            hidden.push(value.reveal());
        }
        if !is_inherited
            && reading.is_sound(&place)
            && let Some(why) = objection(&cluster, name, value, shown)
        {
            found.push(Diagnostic::mistake(at, why));
        }
    }
    let is_complete = reading.is_sound(path) && reading.is_sound(&PIPELINE);
    if let Some(why) = lacks_tokens(properties).filter(|_| lacks_tokens(inherited).is_none()) {
        found.push(Diagnostic::mistake(reading.places.of(path), why));
    }
    if found.is_empty() && is_complete && !properties.is_empty() {
        found.extend(together(cluster).map(|words| {
            Diagnostic::mistake(
                reading.places.of(path),
                format!("librdkafka refuses these: {}", conceal(&words, &hidden)),
            )
        }));
    }
    found
}

fn refusal(cluster: &Cluster, name: &str, words: &str, shown: bool) -> String {
    let words = one_line(words);
    if words.starts_with("No such configuration property") {
        return format!("librdkafka has no property `{name}`");
    }
    if let Some((_, range)) = words.split_once("is outside allowed range ") {
        return format!("librdkafka refuses the value of `{name}`: it is outside {range}");
    }
    // Some properties are refused whatever their value is.
    if shown || cluster.refuses(name, PROBE).is_some_and(|other| one_line(&other) == words && !words.contains(PROBE)) {
        return format!("librdkafka refuses `{name}`: {words}");
    }
    format!("librdkafka refuses the value of `{name}`")
}

/// What is wrong with a property by itself, as it is to be put; its value is in it where that may be shown.
fn objection(cluster: &Cluster, name: &str, value: &Secret, shown: bool) -> Option<String> {
    let value = value.reveal();
    // Of a file that is missing the library speaks in OpenSSL's words. (One of these values is none.)
    let is_place = name.starts_with("ssl.") && name.ends_with(".location") && !["", "probe"].contains(&value);
    if is_place && !Path::new(value).exists() {
        return Some(match shown {
            true => format!("there is no file {value}, which `{name}` names"),
            false => format!("`{name}` names a file that is not there"),
        });
    }
    cluster.refuses(name, value).map(|words| refusal(cluster, name, &words, shown))
}

/// Why a client with these properties would wait for ever.
fn lacks_tokens(properties: &Properties) -> Option<&'static str> {
    let is = |name: &str, word: &str| {
        properties.get(name).is_some_and(|value| value.reveal().trim().eq_ignore_ascii_case(word))
    };
    let wants = is("sasl.mechanism", "OAUTHBEARER") || is("sasl.mechanisms", "OAUTHBEARER");
    (wants && !is("enable.sasl.oauthbearer.unsecure.jwt", "true")).then_some(
        "OAUTHBEARER wants a token that is made anew again and again, and nothing here can make one: take SCRAM, PLAIN or a \
         certificate",
    )
}

/// Why the library makes no client with these properties.
fn together(mut cluster: Cluster) -> Option<String> {
    // As every worker's producer has it: with it, some other properties must fit.
    let is_counted = !cluster.acks_early();
    cluster.properties.insert("enable.idempotence".into(), is_counted.to_string());
    let words = one_line(&format!("{:#}", KafkaTopics::new(&cluster).err()?));
    Some(words.strip_prefix("Client creation error: ").map_or_else(|| words.clone(), str::to_owned))
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}
