//! The rights that a pipeline needs on a Kafka with an authorizer: exactly those, each with what it is for.
//!
//! To read, to write or to delete something lets one describe it, too: no line says so again.

use super::owned::{Owned, retry_group};
use crate::manifest::{Delivery, Manifest, Properties};
use std::{collections::BTreeMap, fmt};

/// What a right is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A group.
    Group,
    /// A transactional id.
    TransactionalId,
    /// The cluster itself.
    Cluster,
}

/// When a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// As long as the pipeline runs.
    Running,
    /// When `run` has to make a topic.
    Making,
    /// By `dead-letters retry`.
    Retrying,
    /// Without it the pipeline runs, but takes topics' settings for the usual ones.
    Looking,
    /// On brokers before 3.0.
    OldBrokers,
}

impl When {
    /// Who can do without, in words; nothing of what is always needed.
    pub fn words(self) -> Option<&'static str> {
        match self {
            When::Running => None,
            When::Making => Some("only where `run` is to make what is missing"),
            When::Retrying => Some("only for `dead-letters retry`"),
            When::Looking => Some("without it `run` takes topics for what they are by default"),
            When::OldBrokers => Some("only on brokers before 3.0"),
        }
    }
}

/// A right, or one to several of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// Who needs it, by `sasl.username`, where a part has a user of its own; none for the pipeline's.
    pub user: Option<String>,
    /// What is allowed.
    pub operation: &'static str,
    /// To what kind of thing.
    pub resource: Resource,
    /// To which; none for the cluster.
    pub names: Vec<String>,
    /// The names are only how those of the things begin.
    pub is_prefix: bool,
    /// What for.
    pub what_for: Vec<String>,
    /// When.
    pub when: When,
}

/// What tells rights apart: what is allowed, to what, to whom.
type Key = (When, Resource, String, &'static str, bool, Option<String>);

/// Rights as they come together.
#[derive(Default)]
struct Rights {
    found: BTreeMap<Key, Vec<String>>,
    /// Whose rights are added.
    user: Option<String>,
}

impl Rights {
    /// From now on those of a part with these properties.
    fn are_of(&mut self, properties: &Properties, manifest: &Manifest) {
        let user = |properties: &Properties| properties.get("sasl.username").map(|user| user.reveal().to_owned());
        let usual = manifest.kafka.as_ref().and_then(|kafka| user(&kafka.properties));
        self.user = user(properties).filter(|own| Some(own) != usual.as_ref());
    }

    fn add(&mut self, when: When, operation: &'static str, (resource, name): (Resource, &str), what_for: String) {
        self.put((when, resource, name.to_owned(), operation, false, self.user.clone()), what_for);
    }

    fn put(&mut self, key: Key, what_for: String) {
        // What is needed to run is needed by nothing else.
        if key.0 != When::Running {
            let mut running = key.clone();
            running.0 = When::Running;
            if self.found.contains_key(&running) {
                return;
            }
        }
        let known = self.found.entry(key).or_default();
        if !known.contains(&what_for) {
            known.push(what_for);
        }
    }
}

/// The rights that a manifest needs of its cluster, in the order in which they are used.
pub fn rights(manifest: &Manifest) -> Vec<Right> {
    use Resource::{Cluster, Group, Topic, TransactionalId};
    let (mut rights, owned, pipeline) = (Rights::default(), Owned::of(manifest), &manifest.name);
    for source in &manifest.sources {
        rights.are_of(&source.properties, manifest);
        let (name, own) = (&source.name, format!("{pipeline}.{}", source.name));
        for port in &source.outputs {
            rights.add(When::Running, "Write", (Topic, &port.topic), format!("{name} writes it"));
        }
        rights.add(When::Running, "Read", (Topic, &source.position), format!("where {name} stands"));
        rights.add(When::Running, "Write", (Topic, &source.position), format!("where {name} stands"));
        rights.add(When::Running, "Read", (Group, &own), format!("one host at a time has {name}"));
        rights.add(When::Running, "Write", (TransactionalId, &own), format!("transactions of {name}"));
    }
    for stage in &manifest.stages {
        rights.are_of(&stage.properties, manifest);
        let name = &stage.name;
        for port in &stage.inputs {
            rights.add(When::Running, "Read", (Topic, &port.topic), format!("{name} reads it"));
        }
        for port in &stage.outputs {
            rights.add(When::Running, "Write", (Topic, &port.topic), format!("{name} writes it"));
        }
        rights.add(When::Running, "Read", (Group, &stage.group), format!("how far {name} is"));
        match stage.delivery {
            Delivery::ExactlyOnce => {
                let prefix = format!("{pipeline}.{name}.");
                let all = (When::Running, TransactionalId, prefix, "Write", true, rights.user.clone());
                rights.put(all, format!("transactions of {name}: each worker has a name of its own"));
            }
            Delivery::AtLeastOnce => {
                let what_for = format!("{name} writes what may be sent again");
                rights.add(When::OldBrokers, "IdempotentWrite", (Cluster, ""), what_for);
            }
        }
        if stage.on_error.has_dead_letters() {
            rights.add(When::Running, "Write", (Topic, &stage.dead_letter), format!("dead letters of {name}"));
        }
    }
    for sink in &manifest.sinks {
        rights.are_of(&sink.properties, manifest);
        let name = &sink.name;
        for port in &sink.inputs {
            rights.add(When::Running, "Read", (Topic, &port.topic), format!("{name} reads it"));
        }
        rights.add(When::Running, "Read", (Group, &sink.group), format!("how far {name} is"));
        if sink.on_error.has_dead_letters() {
            rights.add(When::Running, "Write", (Topic, &sink.dead_letter), format!("dead letters of {name}"));
            let what_for = format!("{name} writes what may be sent again");
            rights.add(When::OldBrokers, "IdempotentWrite", (Cluster, ""), what_for);
        }
    }
    let mut notes = Vec::new();
    for retried in retried(manifest) {
        rights.are_of(retried.properties, manifest);
        retried.add(&mut rights);
        if retried.has_notes {
            rights.add(When::Retrying, "Write", (Topic, &retried.group), retried.what_for_notes());
        }
        // To look first, and to make what is missing, is the pipeline's own.
        rights.user = None;
        retried.add(&mut rights);
        if retried.has_notes {
            for operation in ["Create", "Read"] {
                rights.add(When::Retrying, operation, (Topic, &retried.group), retried.what_for_notes());
            }
            notes.push(retried.group);
        }
    }
    // All topics are looked for at the start. What one may read or write one sees.
    rights.user = None;
    for (topic, roles) in owned.topics.iter().filter(|(topic, _)| !notes.contains(topic)) {
        let has = |operation| {
            let key = (When::Running, Topic, topic.clone(), operation, false, None);
            rights.found.contains_key(&key)
        };
        if !has("Read") && !has("Write") {
            let is_used = roles.is_read || roles.is_written;
            let what_for = if is_used { "it is looked for at the start" } else { "it is declared" };
            rights.add(When::Running, "Describe", (Topic, topic), what_for.to_owned());
        }
    }
    let own = owned.topics.iter().filter(|(topic, roles)| roles.is_own() && !notes.contains(topic));
    for (topic, roles) in own {
        let role = roles.roles.first().map_or("it is declared", String::as_str);
        rights.add(When::Making, "Create", (Topic, topic), role.to_owned());
    }
    let mut rights: Vec<_> = rights.found.into_iter().map(right).collect();
    rights.push(Right {
        user: None,
        operation: "DescribeConfigs",
        resource: Topic,
        names: owned.topics.keys().filter(|topic| !notes.contains(topic)).cloned().collect(),
        is_prefix: false,
        what_for: vec!["the largest record, what is compacted, and other settings of topics".to_owned()],
        when: When::Looking,
    });
    rights.sort_by_key(|right| right.when);
    rights
}

/// A part whose dead letters can be tried again.
struct Retried<'a> {
    name: &'a str,
    letters: &'a str,
    /// The group that tells how far that is, and the topic that knows it for longer.
    group: String,
    has_notes: bool,
    properties: &'a Properties,
}

impl Retried<'_> {
    fn add(&self, rights: &mut Rights) {
        let name = self.name;
        rights.add(When::Retrying, "Read", (Resource::Topic, self.letters), format!("dead letters of {name}"));
        let how_far = format!("how far it is with those of {name}");
        rights.add(When::Retrying, "Read", (Resource::Group, &self.group), how_far);
    }

    fn what_for_notes(&self) -> String {
        format!("how far it is with those of {}, for longer than the group knows", self.name)
    }
}

fn retried(manifest: &Manifest) -> impl Iterator<Item = Retried<'_>> {
    let stages = manifest.stages.iter().filter(|stage| stage.on_error.has_dead_letters()).map(|stage| Retried {
        name: &stage.name,
        letters: &stage.dead_letter,
        group: retry_group(&manifest.name, &stage.name),
        has_notes: stage.delivery == Delivery::ExactlyOnce,
        properties: &stage.properties,
    });
    let sinks = manifest.sinks.iter().filter(|sink| sink.on_error.has_dead_letters()).map(|sink| Retried {
        name: &sink.name,
        letters: &sink.dead_letter,
        group: retry_group(&manifest.name, &sink.name),
        has_notes: false,
        properties: &sink.properties,
    });
    stages.chain(sinks)
}

fn right(((when, resource, name, operation, is_prefix, user), what_for): (Key, Vec<String>)) -> Right {
    let names = if resource == Resource::Cluster { Vec::new() } else { vec![name] };
    Right { user, operation, resource, names, is_prefix, what_for, when }
}

/// As Kafka's `kafka-acls` takes it, behind whom it is for.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "--operation {}", self.operation)?;
        let flag = match self.resource {
            Resource::Topic => "--topic",
            Resource::Group => "--group",
            Resource::TransactionalId => "--transactional-id",
            Resource::Cluster => return f.write_str(" --cluster"),
        };
        if self.is_prefix {
            f.write_str(" --resource-pattern-type prefixed")?;
        }
        self.names.iter().try_for_each(|name| write!(f, " {flag} {}", quoted(name)))
    }
}

/// A word as the shell takes it for itself.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':' | '/' | ',' | '@' | '=');
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::path::Path;

    fn lines(parts: &str) -> Vec<String> {
        let text = format!("name: p\nkafka: {{brokers: a:1}}\n{parts}");
        let reading = crate::manifest::read(Path::new("p.yaml"), &text, &|_| None, None);
        let (manifest, _) = reading.finish().unwrap();
        let line = |right: &Right| format!("{:?}: {right}", right.when);
        rights(&manifest).iter().map(line).collect()
    }

    #[test]
    fn a_sink_has_its_dead_letters() {
        let found = lines("sinks: {a: {input: i, mongodb: {uri: \"mongodb://u@h\", database: d, collection: c}}}\n");
        for expected in [
            "Running: --operation Write --topic p.a.dead-letter",
            "Making: --operation Create --topic p.a.dead-letter",
            "Retrying: --operation Read --topic p.a.dead-letter",
            "Retrying: --operation Read --group p.a.dead-letter.retry",
        ] {
            assert!(found.iter().any(|line| line == expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn a_stage_has_what_it_reads_writes_and_is_called() {
        let found = lines("topics: {spare: }\nstages: {a: {module: a.wasm, input: i, output: o, group: \"it's\"}}\n");
        let expected = [
            "Running: --operation Write --topic o",
            "Running: --operation Write --topic p.a.dead-letter",
            "Running: --operation Read --topic i",
            "Running: --operation Describe --topic spare",
            "Running: --operation Read --group 'it'\\''s'",
            "Running: --operation Write --resource-pattern-type prefixed --transactional-id p.a.",
            "Making: --operation Create --topic o",
            "Making: --operation Create --topic p.a.dead-letter",
            "Making: --operation Create --topic spare",
            "Retrying: --operation Read --topic p.a.dead-letter",
            "Retrying: --operation Create --topic p.a.dead-letter.retry",
            "Retrying: --operation Read --topic p.a.dead-letter.retry",
            "Retrying: --operation Write --topic p.a.dead-letter.retry",
            "Retrying: --operation Read --group p.a.dead-letter.retry",
            "Looking: --operation DescribeConfigs --topic i --topic o --topic p.a.dead-letter --topic spare",
        ];
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(found), sorted(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_part_with_a_user_of_its_own_needs_its_rights_itself() {
        let text = "name: p\nkafka: {brokers: a:1, properties: {sasl.username: all}}\nstages:\n  a: {module: a.wasm, input: i, output: o, \
                    on-error: skip, properties: {sasl.username: own}}\n  b: {module: a.wasm, input: i, output: p, \
                    on-error: skip, properties: {sasl.username: all}}\n";
        let (manifest, _) = crate::manifest::read(Path::new("p.yaml"), text, &|_| None, None).finish().unwrap();
        let whose = |line: &str| -> Vec<_> {
            let rights = rights(&manifest).into_iter().filter(|right| right.to_string() == line);
            rights.map(|right| right.user.unwrap_or_default()).collect()
        };
        assert_eq!(whose("--operation Read --topic i"), ["", "own"]);
        assert_eq!(whose("--operation Write --topic o"), ["own"]);
        assert_eq!(whose("--operation Describe --topic o"), [""]);
        assert_eq!(whose("--operation Write --topic p"), [""]);
        assert_eq!(whose("--operation Describe --topic p").len(), 0);
        assert_eq!(whose("--operation Create --topic o"), [""]);
        assert_eq!(whose("--operation Write --resource-pattern-type prefixed --transactional-id p.a."), ["own"]);
    }

    #[test]
    fn what_a_stage_reads_of_itself_is_said_once() {
        let found = lines(
            "stages:\n  a: {module: a.wasm, input: i, output: o}\n  c: {module: a.wasm, input: p.a.dead-letter, output: o}\n  b: {module: a.wasm, input: o, output: e, \
             delivery: at-least-once, on-error: skip}\n",
        );
        let of = |words: &str| found.iter().filter(|line| line.ends_with(words)).count();
        assert_eq!(of("Read --topic p.a.dead-letter"), 1);
        assert!(found.contains(&"OldBrokers: --operation IdempotentWrite --cluster".to_owned()), "{found:#?}");
        assert!(!found.iter().any(|line| line.contains("p.b.")) && of("--transactional-id p.a.") == 1, "{found:#?}");
    }
}
