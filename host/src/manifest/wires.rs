//! The topics of a source, a stage or a sink, with their places: its inputs and outputs in their short and their long form.

use super::{
    check::Surroundings,
    checked::{Kind, Port},
    names::check_topic,
    report::{Diagnostic, Span},
    shapes::{Inputs, Named, One, Outputs, Spanned, Topics},
};
use std::collections::HashMap;

/// A topic that a stage reads or writes.
pub(super) struct Wire {
    /// What the module calls it.
    pub(super) name: String,
    pub(super) topic: Spanned<String>,
}

impl Wire {
    fn new(name: &str, topic: &Spanned<String>) -> Self {
        Wire { name: name.to_owned(), topic: topic.clone() }
    }

    /// Without its place.
    pub(super) fn port(&self) -> Port {
        Port { name: self.name.clone(), topic: self.topic.value.clone() }
    }
}

/// What it reads, in either form.
pub(super) fn inputs(
    (kind, name): (Kind, &Spanned<String>),
    input: Option<&Spanned<One<Inputs>>>,
    inputs: Option<&Spanned<Topics>>,
    around: &Surroundings<'_>,
) -> Vec<Wire> {
    let short = input.map(|input| input.with(input.value.0.clone()));
    let mut wires: Vec<_> = short.iter().map(|topic| Wire::new(&topic.value, topic)).collect();
    match inputs.map(|inputs| &inputs.value) {
        Some(Topics::List(topics)) => wires.extend(topics.iter().map(|topic| Wire::new(&topic.value, topic))),
        Some(Topics::Named(topics)) => wires.extend(topics.iter().map(|(name, topic)| Wire::new(&name.value, topic))),
        None => {}
    }
    let given = Given {
        key: "input",
        short: input.map(|input| input.at.clone()),
        long: inputs.map(|inputs| inputs.at.clone()),
        long_form: "inputs: [TOPIC, TOPIC]",
    };
    given.check((kind, name), wires.len(), around);
    check_topics(&wires, around);
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for topic in wires.iter().map(|wire| &wire.topic) {
        let Some(at) = &topic.at else { continue };
        match seen.get(&*topic.value) {
            None => {
                seen.insert(&topic.value, at);
            }
            Some(first) => around.findings.add(
                Diagnostic::mistake(at.clone(), format!("{} is read twice", topic.shown()))
                    .also(Span::clone(first), "first here")
                    .help("keep one of the two"),
            ),
        }
    }
    wires
}

/// What it writes, in either form.
pub(super) fn outputs(
    (kind, name): (Kind, &Spanned<String>),
    output: Option<&Spanned<One<Outputs>>>,
    outputs: Option<&Spanned<Named<Spanned<String>>>>,
    around: &Surroundings<'_>,
) -> Vec<Wire> {
    let short = output.map(|output| output.with(output.value.0.clone()));
    let mut wires: Vec<_> = short.iter().map(|topic| Wire::new("main", topic)).collect();
    if let Some(outputs) = outputs {
        wires.extend(outputs.value.iter().map(|(name, topic)| Wire::new(&name.value, topic)));
    }
    let given = Given {
        key: "output",
        short: output.map(|output| output.at.clone()),
        long: outputs.map(|outputs| outputs.at.clone()),
        long_form: "outputs: {NAME: TOPIC}",
    };
    given.check((kind, name), wires.len(), around);
    check_topics(&wires, around);
    wires
}

fn check_topics(wires: &[Wire], around: &Surroundings<'_>) {
    for wire in wires {
        around.named(check_topic, &wire.topic);
    }
}

/// Which of the two forms of a key are written, and where; the inner `None` is a value that was reported.
struct Given {
    key: &'static str,
    short: Option<Option<Span>>,
    long: Option<Option<Span>>,
    long_form: &'static str,
}

impl Given {
    /// One of the two must be there, with at least one topic, and not both.
    fn check(&self, (kind, name): (Kind, &Spanned<String>), count: usize, around: &Surroundings<'_>) {
        let key = self.key;
        let place = |key: &str| around.places.of(&[kind.key(), &name.value, key]);
        match (&self.short, &self.long) {
            (Some(_), Some(_)) => around.findings.add(
                Diagnostic::mistake(place(&format!("{key}s")), format!("`{key}s` and `{key}` are both given"))
                    .also(place(key), "here")
                    .help("keep one of the two"),
            ),
            (None, Some(Some(_))) | (None, None) if count == 0 && !around.findings.is_cut_off() => {
                around.findings.mistake(&Some(place(&format!("{key}s"))), || {
                    (format!("`{}` has no {key}", name.value), format!("add `{key}: TOPIC`, or `{}`", self.long_form))
                });
            }
            _ => {}
        }
    }
}
