//! What only the whole shows: loops, groups that split their records, topics that nobody writes.

use super::{
    check::{PlacedSink, PlacedSource, PlacedStage},
    checked::{Kind, OnError},
    names::check_topic,
    on_error::{OnError as WrittenOnError, WordOr},
    report::{Diagnostic, Findings, Span},
    shapes::{Named, Spanned},
    wires::Wire,
    written,
};
use crate::text::nearest;
use std::{collections::HashMap, path::Path};

/// Among more topics, none is suggested: comparing takes its time.
const MOST_COMPARED: usize = 1_000;

/// Checks all of them.
pub(super) fn check(
    topics: &Named<Option<written::Topic>>,
    sources: &[PlacedSource<'_>],
    stages: &[PlacedStage<'_>],
    sinks: &[PlacedSink<'_>],
    findings: &Findings,
) {
    for stage in stages {
        check_loop(stage, findings);
    }
    for letters in stages.iter().map(Letters::of_stage).chain(sinks.iter().map(Letters::of_sink)) {
        letters.check(findings);
    }
    check_names(sources, stages, sinks, findings);
    let readers: Vec<_> = stages.iter().map(Reader::stage).chain(sinks.iter().map(Reader::sink)).collect();
    check_groups(&readers, findings);
    check_inputs_are_known(topics, sources, (stages, sinks), &readers, findings);
}

/// A stage or a sink, as the member of a group.
struct Reader<'a> {
    name: &'a Spanned<String>,
    inputs: &'a [Wire],
    group: &'a str,
    group_written: Option<&'a Spanned<String>>,
    module: Option<&'a Path>,
}

impl<'a> Reader<'a> {
    fn stage(stage: &'a PlacedStage<'_>) -> Reader<'a> {
        Reader {
            name: stage.name,
            inputs: &stage.inputs,
            group: &stage.checked.group,
            group_written: stage.written.group.as_ref(),
            module: Some(&stage.checked.module.path.value),
        }
    }

    fn sink(sink: &'a PlacedSink<'_>) -> Reader<'a> {
        Reader {
            name: sink.name,
            inputs: &sink.inputs,
            group: &sink.checked.group,
            group_written: sink.written.group.as_ref(),
            module: None,
        }
    }

    /// Where its group is said, or else it itself.
    fn group_place(&self) -> Option<Span> {
        self.group_written.map_or_else(|| self.name.at.clone(), |group| group.at.clone())
    }
}

/// Groups, writers and messages are named after them, whatever they are.
fn check_names(
    sources: &[PlacedSource<'_>],
    stages: &[PlacedStage<'_>],
    sinks: &[PlacedSink<'_>],
    findings: &Findings,
) {
    let mut known: HashMap<&str, (Kind, &Spanned<String>)> = HashMap::new();
    let sources = sources.iter().map(|source| (Kind::Source, source.name));
    let stages = stages.iter().map(|stage| (Kind::Stage, stage.name));
    let sinks = sinks.iter().map(|sink| (Kind::Sink, sink.name));
    for (kind, name) in sources.chain(stages).chain(sinks) {
        let Some((first_kind, first)) = known.insert(&name.value, (kind, name)) else { continue };
        // Twice under one key is said already.
        let (true, Some(at), Some(first_at)) = (first_kind != kind, &name.at, &first.at) else { continue };
        let message = format!("there is a {} {} already", first_kind.word(), name.shown());
        findings.add(
            Diagnostic::mistake(at.clone(), message)
                .also(first_at.clone(), "here")
                .help("give each source, stage and sink a name of its own"),
        );
    }
}

/// A stage that reads what it writes may never come to rest.
fn check_loop(stage: &PlacedStage<'_>, findings: &Findings) {
    let outputs: HashMap<_, _> = stage.outputs.iter().map(|output| (&output.topic.value, output)).collect();
    let looped = stage.inputs.iter().find_map(|input| {
        let output = outputs.get(&input.topic.value)?;
        Some((input, output, output.topic.at.clone()?))
    });
    match (looped, &stage.written.r#loop) {
        (Some((input, output, at)), None) => {
            let name = &stage.name.value;
            let diagnostic =
                Diagnostic::mistake(at, format!("`{name}` reads what it writes: {}", output.topic.shown()))
                    .help("write to another topic, or add `loop: allowed` when this is meant");
            findings.add(match &input.topic.at {
                Some(input_at) => diagnostic.also(input_at.clone(), "read here"),
                None => diagnostic,
            });
        }
        (Some(_), Some(allowed)) if stage.checked.provenance => {
            findings.mistake(&allowed.at, || {
                (
                    format!("`{}` adds its `provenance` to a record in each round of a loop", stage.name.value),
                    "leave `provenance` out, or write to another topic".to_owned(),
                )
            });
        }
        (None, Some(allowed)) if all_known(&stage.inputs) && all_known(&stage.outputs) => {
            findings.mistake(&allowed.at, || {
                (format!("`{}` does not read what it writes", stage.name.value), "remove `loop`".to_owned())
            });
        }
        _ => {}
    }
}

fn all_known(wires: &[Wire]) -> bool {
    !wires.is_empty() && wires.iter().all(|wire| wire.topic.at.is_some())
}

/// The dead letters of a stage or a sink.
struct Letters<'a> {
    name: &'a Spanned<String>,
    topic: &'a str,
    written: Option<&'a Spanned<String>>,
    on_error: &'a OnError,
    on_error_written: Option<&'a Spanned<WrittenOnError>>,
    wires: [(&'a [Wire], &'static str); 2],
}

impl<'a> Letters<'a> {
    fn of_stage(stage: &'a PlacedStage<'_>) -> Letters<'a> {
        Letters {
            name: stage.name,
            topic: &stage.checked.dead_letter,
            written: stage.written.dead_letter.as_ref(),
            on_error: &stage.checked.on_error,
            on_error_written: stage.written.on_error.as_ref(),
            wires: [(&stage.inputs, "reads"), (&stage.outputs, "writes")],
        }
    }

    fn of_sink(sink: &'a PlacedSink<'_>) -> Letters<'a> {
        Letters {
            name: sink.name,
            topic: &sink.checked.dead_letter,
            // One that prints has no use for it, and that is said already.
            written: sink.written.dead_letter.as_ref().filter(|_| sink.written.stdout.is_none()),
            on_error: &sink.checked.on_error,
            on_error_written: sink.written.on_error.as_ref(),
            wires: [(&sink.inputs, "reads"), (&[], "writes")],
        }
    }

    /// They have a topic of their own.
    fn check(&self, findings: &Findings) {
        let (at, given) = match self.written {
            Some(written) => (&written.at, true),
            None => (&self.name.at, false),
        };
        let Some(at) = at else { return };
        let policy = self.on_error_written;
        if !self.on_error.has_dead_letters() {
            if let Some(policy) = policy.filter(|_| given) {
                let what = match &policy.value {
                    WordOr::Word(_) => format!("`on-error: {}`", policy.written),
                    WordOr::Mapping(_) => "this `on-error`".to_owned(),
                };
                findings.add(
                    Diagnostic::warning(at.clone(), format!("with {what} there are no dead letters"))
                        .help("remove `dead-letter`, or write `on-error: dead-letter`"),
                );
            }
            return;
        }
        for (wires, what) in self.wires {
            let Some(wire) = wires.iter().find(|wire| wire.topic.value == self.topic) else {
                continue;
            };
            let name = &self.name.value;
            let message = format!("the dead letters of `{name}` would go to a topic that it {what}");
            let diagnostic = Diagnostic::mistake(at.clone(), message)
                .help(format!("give them a topic of their own: `dead-letter: …` in `{name}`"));
            findings.add(match &wire.topic.at {
                Some(wire_at) => diagnostic.also(wire_at.clone(), "here"),
                None => diagnostic,
            });
        }
    }
}

/// Two stages that read one topic as one group would each get a part of its records.
fn check_groups(all: &[Reader<'_>], findings: &Findings) {
    let mut readers: HashMap<(&str, &str), &Reader<'_>> = HashMap::new();
    for reader in all {
        let mut reported = false;
        for input in reader.inputs {
            let reading = (reader.group, &*input.topic.value);
            match readers.get(&reading) {
                None => {
                    readers.insert(reading, reader);
                }
                Some(first) if !reported && !std::ptr::eq(*first, reader) => {
                    reported = true;
                    report_group(first, reader, &input.topic, findings);
                }
                Some(_) => {}
            }
        }
    }
}

fn report_group(first: &Reader<'_>, second: &Reader<'_>, topic: &Spanned<String>, findings: &Findings) {
    let (Some(at), Some(first_at), Some(_)) = (second.group_place(), first.group_place(), &topic.at) else {
        return;
    };
    let message = format!(
        "`{}` and `{}` read {} as one group: each gets only a part of the records",
        first.name.value,
        second.name.value,
        topic.shown(),
    );
    // Copies of one module may be meant to share the work, though `workers` is there for that.
    let same_module = first.module.is_some() && first.module == second.module;
    let diagnostic = match same_module {
        true => Diagnostic::warning(at, message).help("to share the work, write `workers: 2` in one stage"),
        false => Diagnostic::mistake(at, message).help("leave `group` out, or give each its own"),
    };
    findings.add(diagnostic.also(first_at, "the other one"));
}

/// An input that nothing here makes is waited for. That may be meant, or a slip of the pen.
fn check_inputs_are_known(
    topics: &Named<Option<written::Topic>>,
    sources: &[PlacedSource<'_>],
    (stages, sinks): (&[PlacedStage<'_>], &[PlacedSink<'_>]),
    readers: &[Reader<'_>],
    findings: &Findings,
) {
    let outputs = sources.iter().flat_map(|source| &source.outputs).chain(stages.iter().flat_map(|s| &s.outputs));
    let letters = stages.iter().flat_map(|stage| &stage.written.dead_letter);
    let letters = letters.chain(sinks.iter().flat_map(|sink| &sink.written.dead_letter));
    let here: Vec<_> = outputs.map(|wire| &wire.topic).chain(letters).collect();
    if findings.is_incomplete() || here.iter().any(|topic| topic.at.is_none()) {
        return; // What is not known yet may be the one.
    }
    // Each topic, and how messages show it.
    let known: HashMap<&str, &str> = topics
        .iter()
        .map(|(name, _)| name)
        .chain(here)
        .map(|topic| (&*topic.value, &*topic.written))
        .chain(stages.iter().map(|stage| (&*stage.checked.dead_letter, &*stage.dead_letter_written)))
        .chain(sinks.iter().map(|sink| (&*sink.checked.dead_letter, &*sink.dead_letter_written)))
        .collect();
    for topic in readers.iter().flat_map(|reader| reader.inputs).map(|input| &input.topic) {
        let Some(at) = &topic.at else { continue };
        let is_position = sources.iter().any(|source| source.checked.position == topic.value);
        if is_position || known.contains_key(&*topic.value) || check_topic(&topic.value, "").is_err() {
            continue;
        }
        let near = match known.len() {
            ..=MOST_COMPARED => nearest(&topic.value, known.keys().copied()),
            _ => None,
        };
        let message = format!("{} is neither under `topics` nor an output here: it will be waited for", topic.shown());
        findings.add(Diagnostic::warning(at.clone(), message).help(match near {
            Some(near) => format!("did you mean `{}`?", known[near]),
            None => "when it is to be made, add it under `topics`".to_owned(),
        }));
    }
}
