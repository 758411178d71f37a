//! What a pipeline needs of its log's topics, beside what is there.

use super::parts::{DEFAULT_LARGEST, largest};
use crate::{
    manifest::{self, Burier, Manifest},
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
    /// The topic to be made first where topics wait for nothing but each other, as in a loop: the next look finds
    /// what follows from it. One that others' dead letters are shaped by comes before them.
    pub fn knot(&self, manifest: &Manifest, there: &BTreeMap<String, TopicFacts>) -> Option<NewTopic> {
        if !self.create.is_empty() || !self.missing.is_empty() {
            return None;
        }
        let is_read = |name: &&String| manifest.stages.iter().any(|s| s.inputs.iter().any(|port| port.topic == **name));
        let is_letter = |name: &str| buriers(manifest).any(|burier| burier.dead_letter == name);
        let shapes = self.later.iter().filter(is_read).map(|name| shape(manifest, there, name).0);
        shapes.max_by_key(|topic| (!is_letter(&topic.name), topic.partitions))
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
        let made_here: Vec<_> = by_sources
            .chain(by_stages)
            .map(|port| port.topic.as_str())
            .chain(manifest.sources.iter().map(|source| source.position.as_str()))
            .chain(buriers(manifest).map(|burier| burier.dead_letter))
            .collect();
        let stages = manifest.stages.iter().flat_map(|stage| &stage.inputs);
        for input in stages.chain(manifest.sinks.iter().flat_map(|sink| &sink.inputs)).map(|port| &port.topic) {
            let is_made = made_here.contains(&input.as_str()) || manifest.topics.contains_key(input);
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
        }
        for burier in buriers(manifest) {
            wanted.add(manifest, there, burier.dead_letter);
        }
        wanted
    }

    fn add(&mut self, manifest: &Manifest, there: &BTreeMap<String, TopicFacts>, name: &str) {
        let known = |list: &[String]| list.iter().any(|other| other == name);
        if there.contains_key(name)
            || manifest.topics.contains_key(name)
            || known(&self.later)
            || self.create.iter().any(|topic| topic.name == name)
        {
            return;
        }
        match shape(manifest, there, name) {
            (topic, true) => self.create.push(topic),
            (_, false) => self.later.push(name.to_owned()),
        }
    }
}

/// Those whose dead letters have a topic.
fn buriers(manifest: &Manifest) -> impl Iterator<Item = Burier<'_>> {
    manifest.buriers().filter(|burier| burier.buries)
}

/// An output that nobody declared gets as many partitions as the largest input of those that write it; one that
/// only sources write, as many as the log gives. False when not all of those inputs are there.
fn shape(manifest: &Manifest, there: &BTreeMap<String, TopicFacts>, name: &str) -> (NewTopic, bool) {
    let writes = |stage: &&manifest::Stage| stage.outputs.iter().any(|port| port.topic == name);
    let writers = manifest.stages.iter().filter(writes).map(|stage| stage.inputs.as_slice());
    let letters = || buriers(manifest).filter(|burier| burier.dead_letter == name);
    let inputs = writers.chain(letters().map(|burier| burier.inputs)).flatten();
    let inputs: Vec<_> = inputs.map(|port| there.get(&port.topic)).collect();
    let known = || inputs.iter().flatten();
    let mut config = BTreeMap::new();
    let has_brokers_time = letters().next().is_some();
    if has_brokers_time {
        let room = known().map(|facts| largest(facts)).max().unwrap_or(DEFAULT_LARGEST);
        let room = room.saturating_add(LETTER_HEADROOM).min(i32::MAX as usize);
        config.insert("retention.ms".into(), "-1".into());
        config.insert("cleanup.policy".into(), "delete".into());
        config.insert("max.message.bytes".into(), room.to_string());
    }
    let partitions = known().map(|facts| facts.partitions).max();
    let topic = NewTopic { name: name.to_owned(), partitions, replication: None, config, has_brokers_time };
    (topic, inputs.iter().all(Option::is_some))
}

/// Of a position only the last counts, so the topic is compacted; one partition gives it one holder.
pub fn position_topic(name: &str) -> NewTopic {
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    NewTopic { name: name.to_owned(), partitions: Some(1), replication: None, config, has_brokers_time: false }
}

/// A declared topic, as it says; dead letters stay for ever unless it says otherwise.
fn declared(manifest: &Manifest, name: &str, topic: &manifest::Topic) -> NewTopic {
    let mut config = topic.config.clone();
    let stages = manifest.stages.iter().map(|stage| &stage.dead_letter);
    let has_brokers_time = stages.chain(manifest.sinks.iter().map(|sink| &sink.dead_letter)).any(|topic| topic == name);
    if has_brokers_time {
        config.entry("retention.ms".into()).or_insert_with(|| "-1".into());
        config.entry("cleanup.policy".into()).or_insert_with(|| "delete".into());
    }
    let mut partitions = topic.partitions;
    if manifest.sources.iter().any(|source| source.position == name) {
        config.entry("cleanup.policy".into()).or_insert_with(|| "compact".into());
        partitions = partitions.or(Some(1));
    }
    NewTopic { name: name.to_owned(), partitions, replication: topic.replication, config, has_brokers_time }
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
        match facts.config.get(key) {
            Some(real) if real != value => {
                found.push(format!("topic {name} has {key}={real}, the manifest says {value}"));
            }
            // Who may not see the configuration sees nothing of it.
            None if !facts.config.is_empty() => {
                found.push(format!("topic {name} has no {key}, the manifest says {value}"));
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What is made of a pipeline whose inputs of these names are there, with four partitions each; nothing of it waits
    /// for somebody else.
    fn made(parts: &str, there: &[&str]) -> BTreeMap<String, NewTopic> {
        let text = format!("name: p\n{parts}");
        let (manifest, report) =
            manifest::read(Path::new("p.yaml"), &text, &|_| None, None).finish().map_err(|r| r.render(None)).unwrap();
        assert_eq!(report.render(None), "");
        let four = || TopicFacts { partitions: 4, ..TopicFacts::default() };
        let mut there: BTreeMap<_, _> = there.iter().map(|name| ((*name).to_owned(), four())).collect();
        let mut made = BTreeMap::new();
        for _ in 0..10 {
            let wanted = Wanted::new(&manifest, &there);
            assert_eq!(wanted.missing, [""; 0]);
            for topic in wanted.create.iter().cloned().chain(wanted.knot(&manifest, &there)) {
                let partitions = topic.partitions.unwrap_or(1);
                there.insert(topic.name.clone(), TopicFacts { partitions, ..TopicFacts::default() });
                made.insert(topic.name.clone(), topic);
            }
        }
        assert!(manifest.topic_names().all(|name| there.contains_key(name)), "{made:?}");
        made
    }

    #[test]
    fn dead_letters_that_are_read_again_are_made_here() {
        // Beside an input that is there.
        let again = "{module: a.wasm, inputs: [orders, p.b.dead-letter], output: mid}";
        let made_of = made(
            &format!(
                "topics: {{orders: {{partitions: 4}}}}\nstages:\n  a: {again}\n  b: {{module: a.wasm, input: mid, output: done}}\n"
            ),
            &["orders"],
        );
        assert_eq!(made_of.keys().collect::<Vec<_>>(), ["done", "mid", "p.a.dead-letter", "p.b.dead-letter"]);
        assert!(made_of.values().all(|topic| topic.partitions == Some(4)), "{made_of:?}");
        // Where nothing is there.
        let made_of = made(
            "sources: {shop: {module: a.wasm, output: orders}}\nstages:\n  price: {module: a.wasm, input: orders, output: priced}\n  again: {module: a.wasm, input: p.price.dead-letter, output: orders}\n",
            &[],
        );
        // Dead letters of each other: there is nothing else to begin with.
        let each_other = made(
            "topics: {orders: }\nstages:\n  a: {module: a.wasm, inputs: [orders, p.b.dead-letter], output: x}\n  b: {module: a.wasm, input: p.a.dead-letter, output: y}\n",
            &["orders"],
        );
        let letters = |name: &&String| name.ends_with(".dead-letter");
        for topic in made_of
            .keys()
            .filter(letters)
            .map(|n| &made_of[n])
            .chain(each_other.keys().filter(letters).map(|n| &each_other[n]))
        {
            let config: Vec<_> = topic.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let room = (DEFAULT_LARGEST + LETTER_HEADROOM).to_string();
            let expected = [("cleanup.policy", "delete"), ("max.message.bytes", &room), ("retention.ms", "-1")];
            assert!(topic.has_brokers_time, "{}", topic.name);
            assert_eq!(config, expected, "{}", topic.name);
        }
    }

    #[test]
    fn a_position_that_is_read_is_made_here() {
        let made = made(
            "sources: {shop: {module: a.wasm, output: orders}}\nsinks: {show: {input: p.shop.position, stdout: {}}}\n",
            &[],
        );
        assert_eq!(made["p.shop.position"].partitions, Some(1));
    }
}
