//! Cases as they are written, read as a manifest is: all mistakes at once, each with its place.

use super::form::{Bytes, Event, FailureForm, Header, RecordForm};
use crate::{
    lines::{Entry, Given},
    manifest::{Config, Diagnostic, Document, Named, Places, Report, Span, Spanned, Stage, read_text},
    text::nearest,
};
use serde::{Deserialize, Deserializer};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

const DOCUMENT: Document = Document {
    name: "case file",
    outline: "it starts with `stage: …` and has cases under `cases:`",
    has_secrets: false,
};

/// What a file of cases holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping with `stage` and `cases`")]
struct Written {
    /// The stage, as its manifest calls it.
    stage: Spanned<String>,
    /// The manifest, seen from the file's folder. Default: `millstream.yaml` there.
    manifest: Option<String>,
    /// Configuration for all cases, over the stage's own; null takes a value away.
    #[serde(default)]
    config: Named<Option<Config>>,
    cases: Vec<WrittenCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a case such as `{name: …, input: …, output: …}`")]
struct WrittenCase {
    name: Spanned<String>,
    /// Over the file's.
    #[serde(default)]
    config: Named<Option<Config>>,
    input: Option<WrittenInput>,
    inputs: Option<Vec<WrittenInput>>,
    output: Option<WrittenEvent>,
    outputs: Option<Vec<WrittenEvent>>,
    failure: Option<FailureForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record such as `{key: k, value: v}`")]
struct WrittenInput {
    /// The topic that it comes from, or the input's name. Default: the stage's first.
    topic: Option<Spanned<String>>,
    partition: Option<u32>,
    offset: Option<u64>,
    /// How many times the stage has it in hand, this time among them. Default: 1.
    attempt: Option<NonZeroU32>,
    timestamp: Option<i64>,
    key: Option<Bytes>,
    // One that is forgotten is no tombstone.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<Bytes>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record such as `{key: k, value: v}`, or `{failure: …}`")]
struct WrittenEvent {
    output: Option<Spanned<String>>,
    partition: Option<u32>,
    timestamp: Option<i64>,
    key: Option<Bytes>,
    #[serde(default, deserialize_with = "written")]
    value: Option<Option<Bytes>>,
    headers: Option<Vec<Header>>,
    failure: Option<FailureForm>,
}

/// A stage's configuration, as a case changes it.
type Texts = BTreeMap<String, Option<String>>;

/// Nothing that is written is something else than nothing that is not.
fn written<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Option<Bytes>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The text of a file of cases. What is wrong with it is known when the stage is.
pub struct CaseText {
    written: Option<Written>,
    report: Report,
    places: Places,
    path: PathBuf,
    source: String,
}

/// A file of cases that may run.
#[derive(Debug)]
pub struct CaseFile {
    /// What it is called in messages.
    pub path: PathBuf,
    /// Its text.
    pub source: String,
    /// Its cases, in their order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The line that it begins at.
    pub line: usize,
    /// Without a value, what the stage has of its own is taken away.
    pub(super) config: Texts,
    pub(super) given: Vec<Given>,
    /// At which attempt each of them is.
    pub(super) attempts: Vec<u32>,
    /// `None` when it does not say.
    pub(super) expected: Option<Vec<Event>>,
    pub(super) place: Place,
}

/// Where a case stands in its text.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) whole: Span,
    /// The end of the last thing in it.
    pub(super) end: usize,
    /// What it says itself that it expects, with its key.
    pub(super) expected: Option<Span>,
}

impl CaseText {
    /// Reads it; `path` is shown in messages.
    pub fn read(path: &Path, source: String) -> CaseText {
        let text = read_text(DOCUMENT, &path.display().to_string(), &source);
        CaseText { written: text.written, report: text.report, places: text.places, path: path.to_owned(), source }
    }

    /// The stage that it is for, and the manifest that it names, if any. What is wrong with it, when that cannot be
    /// told.
    pub fn stage(&self) -> Result<(&str, Option<PathBuf>), &Report> {
        match &self.written {
            Some(written) if written.stage.at.is_some() => {
                Ok((&written.stage.value, written.manifest.as_ref().map(PathBuf::from)))
            }
            _ => Err(&self.report),
        }
    }

    /// The cases, or everything that is wrong with them for this stage. `update` allows cases that do not say what
    /// they expect.
    pub fn finish(mut self, stage: &Stage, update: bool) -> Result<CaseFile, Report> {
        let mut cases = Vec::new();
        if let Some(written) = self.written.take() {
            let config = texts(&written.config);
            for (number, case) in written.cases.into_iter().enumerate() {
                cases.push(self.case(&number.to_string(), case, &config, stage, update));
            }
            if cases.is_empty() {
                let at = self.places.of(&["cases"]);
                self.report.add(
                    Diagnostic::mistake(at, "there is no case").help("add one: `- {name: …, input: …, output: …}`"),
                );
            }
        }
        match self.report.mistakes() {
            0 => Ok(CaseFile { path: self.path, source: self.source, cases }),
            _ => Err(self.report),
        }
    }

    fn case(&mut self, number: &str, written: WrittenCase, config: &Texts, stage: &Stage, update: bool) -> Case {
        let mut said = Vec::new();
        for (key, is_said) in [
            ("output", written.output.is_some()),
            ("outputs", written.outputs.is_some()),
            ("failure", written.failure.is_some()),
        ] {
            said.extend(is_said.then_some(key));
        }
        let place = |key: &str| self.places.of(&["cases", number, key]);
        let whole = |key: &str| self.places.whole(&["cases", number, key]);
        // What is missing may be what is wrong.
        let is_sound = self.places.whole(&["cases", number]).is_none_or(|whole| !self.report.has_mistakes_in(&whole));
        let mut mistakes = Vec::new();
        match said[..] {
            [] if !update && is_sound => mistakes.push(
                Diagnostic::mistake(place("name"), "this case does not say what is to come of its records")
                    .help("add `output`, `outputs` or `failure`, or let `millstream test --update` write what comes"),
            ),
            [one, other, ..] => mistakes.push(
                Diagnostic::mistake(place(other), format!("`{one}` and `{other}` are both given"))
                    .help("keep one of the two; `outputs` may hold records and failures"),
            ),
            _ => {}
        }
        let inputs = match (written.input, written.inputs) {
            (Some(input), None) => vec![input],
            (None, Some(inputs)) => inputs,
            (Some(_), Some(_)) => {
                mistakes
                    .push(Diagnostic::mistake(place("inputs"), "`input` and `inputs` are both given").help("keep one"));
                Vec::new()
            }
            (None, None) => {
                let missing = Diagnostic::mistake(place("name"), "no record is given here")
                    .help("add `input: {value: …}`, or `inputs` with a list of them");
                mistakes.extend(is_sound.then_some(missing));
                Vec::new()
            }
        };
        let attempts = inputs.iter().map(|input| input.attempt.map_or(1, NonZeroU32::get)).collect();
        let given = inputs.into_iter().map(|input| given(input, stage, &mut mistakes)).collect();
        let events = match (written.output, written.outputs, written.failure) {
            (Some(one), ..) => Some(vec![one]),
            (_, Some(all), _) => Some(all),
            (.., Some(failure)) => Some(vec![WrittenEvent::of(failure)]),
            _ => None,
        };
        let key = said.first().copied().unwrap_or("name");
        let expected =
            events.map(|events| events.into_iter().map(|e| event(e, stage, place(key), &mut mistakes)).collect());
        let case = self.places.whole(&["cases", number]).unwrap_or_default();
        // What `<<` brings stands elsewhere, and is no part of this case.
        let own = |key: &str| whole(key).filter(|at| case.start <= at.start && at.end <= case.end);
        let end = ["name", "config", "input", "inputs"].into_iter().filter_map(own).map(|own| own.end).max();
        let place =
            Place { end: end.unwrap_or(case.end), expected: said.first().and_then(|key| own(key)), whole: case };
        mistakes.into_iter().for_each(|mistake| self.report.add(mistake));
        let mut config = config.clone();
        config.extend(texts(&written.config));
        let line = 1 + self.source[..place.whole.start].matches('\n').count();
        Case { name: written.name.value, line, config, given, attempts, expected, place }
    }
}

fn texts(config: &Named<Option<Config>>) -> Texts {
    config.iter().map(|(key, value)| (key.value.clone(), value.as_ref().map(|value| value.0.clone()))).collect()
}

fn given(written: WrittenInput, stage: &Stage, mistakes: &mut Vec<Diagnostic>) -> Given {
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0);
    let input = match &written.topic {
        None => 0,
        Some(topic) => {
            let found = stage.inputs.iter().position(|input| input.topic == topic.value || input.name == topic.value);
            if found.is_none() {
                let known = stage.inputs.iter().map(|input| input.topic.as_str());
                mistakes.extend(unknown(topic, &format!("{} does not read", stage.name), known));
            }
            found.unwrap_or(0)
        }
    };
    let entry = Entry {
        key: bytes(written.key),
        value: bytes(written.value),
        headers: written.headers.into_iter().map(|Header(name, value)| (name.0, bytes(value))).collect(),
        timestamp: written.timestamp,
        partition: written.partition,
        offset: written.offset,
    };
    Given { input, entry }
}

impl WrittenEvent {
    fn of(failure: FailureForm) -> WrittenEvent {
        WrittenEvent {
            output: None,
            partition: None,
            timestamp: None,
            key: None,
            value: None,
            headers: None,
            failure: Some(failure),
        }
    }
}

fn event(written: WrittenEvent, stage: &Stage, at: Span, mistakes: &mut Vec<Diagnostic>) -> Event {
    let mixed = written.output.is_some()
        || written.partition.is_some()
        || written.timestamp.is_some()
        || written.key.is_some()
        || written.value.is_some()
        || written.headers.is_some();
    if let Some(failure) = written.failure {
        if mixed {
            mistakes.push(
                Diagnostic::mistake(at, "something is a record and a failure")
                    .help("write them as two items of `outputs`"),
            );
        }
        return Event::Failure(failure);
    }
    if let Some(output) = &written.output
        && !stage.outputs.iter().any(|port| port.name == output.value)
    {
        let known = stage.outputs.iter().map(|port| port.name.as_str());
        mistakes.extend(unknown(output, &format!("{} has no output", stage.name), known));
    }
    if written.value.is_none() {
        mistakes
            .push(Diagnostic::mistake(at, "a record here has no `value`").help("write `value: null` for a tombstone"));
    }
    Event::Record(RecordForm {
        output: written.output.map(|output| output.value),
        partition: written.partition,
        timestamp: written.timestamp,
        key: written.key,
        value: written.value.flatten(),
        headers: written.headers,
    })
}

/// A name that the stage does not know.
fn unknown<'a>(name: &Spanned<String>, what: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<Diagnostic> {
    let help = match nearest(&name.value, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
    };
    Some(Diagnostic::mistake(name.at.clone()?, format!("{what} `{}`", name.value)).help(help))
}
