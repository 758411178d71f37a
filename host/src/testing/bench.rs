//! What comes of a case: its records go through the stage, one after the other, on an instance of their own.

use super::{
    cases::Case,
    form::{Bytes, Event, FailureForm, Header, Kind, Origin, RecordForm, Then},
};
use crate::{
    clock::SystemClock,
    lines::{Entries, Given},
    manifest::{Manifest, OnError, Policy, Stage as Written},
    plan,
    record::Reason,
    schemas::Codec,
    stage::{Lost, Stage, StageSettings, guest::Failed},
    text::conceal,
    transport::Outgoing,
    wasm::{Compiled, Instance, OpenError},
    worker::control::Control,
};
use std::{rc::Rc, sync::Arc};

/// A stage that cases run on.
pub struct Bench<'a> {
    stage: &'a Written,
    compiled: &'a Compiled,
    hidden: &'a [String],
    settings: Arc<StageSettings>,
}

/// What came of a record, beside what it was given: what it did not say, it has from there.
pub(super) struct Came {
    pub(super) event: Event,
    pub(super) origin: usize,
}

impl<'a> Bench<'a> {
    /// The stage of a manifest, as it would run, with topics as the manifest wants them. What is hidden is not shown of
    /// the words in which it refuses to start.
    pub fn new(manifest: &Manifest, stage: &'a Written, compiled: &'a Compiled, hidden: &'a [String]) -> Bench<'a> {
        let outputs = stage
            .outputs
            .iter()
            .map(|port| plan::output(&port.name, &port.topic, &plan::facts_as_wanted(manifest, &port.topic)));
        let settings = StageSettings {
            pipeline: manifest.name.clone(),
            stage: stage.name.clone(),
            module: format!("sha256:{}", compiled.digest()),
            inputs: stage.inputs.iter().map(|port| port.topic.clone()).collect(),
            outputs: outputs.collect(),
            on_error: OnError::all(Policy::Stop),
            provenance: false,
            codec: Codec::default(),
        };
        Bench { stage, compiled, hidden, settings: Arc::new(settings) }
    }

    /// The stage.
    pub fn stage(&self) -> &Written {
        self.stage
    }

    /// What the first output is called: records that name none go there.
    pub(super) fn first_output(&self) -> &str {
        self.settings.outputs.first().map_or("", |output| &output.name)
    }

    pub(super) fn run(&self, case: &Case) -> Vec<Came> {
        let mut setup = plan::setup(self.stage);
        setup.config.retain(|(key, _)| !case.config.contains_key(key));
        let given = case.config.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        setup.config.extend(given);
        let instance = match Instance::new(self.compiled, setup) {
            Ok(instance) => instance,
            Err(error) => return vec![Came { event: Event::Failure(self.unopened(error)), origin: 0 }],
        };
        let clock = Rc::new(SystemClock::new(Arc::new(Control::default())));
        let mut stage = Stage::new(self.settings.clone(), Box::new(instance), clock, Arc::default());
        let batch = Rc::new(Entries::new(case.given.clone()));
        let mut came = Vec::new();
        for (origin, attempt) in case.attempts.iter().enumerate() {
            let mut records = Vec::new();
            let answer = stage.once(&batch, origin, *attempt, &mut |out| {
                records.push(self.record(&case.given[origin], out));
                Ok(())
            });
            match answer {
                Ok(Ok(())) => came.extend(records.into_iter().map(|event| Came { event, origin })),
                Ok(Err(failed)) => came.push(Came { event: Event::Failure(self.failure(&failed)), origin }),
                Err(fault) => {
                    let reason = Reason { code: None, message: fault.to_string() };
                    came.push(Came { event: Event::Failure(form(Kind::Fault, &reason)), origin });
                }
            }
        }
        came
    }

    /// A failure, and what the manifest makes of it.
    fn failure(&self, failed: &Failed) -> FailureForm {
        let form = FailureForm::from(&Lost::from(failed));
        let then =
            Some(Then::from(failed.policy(&self.stage.on_error))).filter(|then| *then != Then::default_of(form.kind));
        FailureForm { then, ..form }
    }

    fn unopened(&self, error: OpenError) -> FailureForm {
        let reason = match error {
            OpenError::Limit(reason) => reason,
            OpenError::Refused(message) | OpenError::Failed(message) => Reason { code: None, message },
        };
        let hidden: Vec<_> = self.hidden.iter().map(String::as_str).collect();
        form(Kind::Open, &Reason { message: conceal(&reason.message, &hidden), ..reason })
    }

    fn record(&self, given: &Given, out: &Outgoing<'_>) -> Event {
        let bytes = |bytes: Option<&[u8]>| bytes.map(|bytes| Bytes(bytes.to_vec()));
        let mut headers = Vec::new();
        if out.keep_headers {
            headers.extend(headers_of(given));
        }
        headers.extend(
            out.headers.iter().map(|header| Header(Bytes(header.name.clone().into()), bytes(header.value.as_deref()))),
        );
        let record = RecordForm {
            output: self.settings.outputs.get(out.output).map(|output| output.name.clone()),
            partition: out.partition,
            timestamp: out.timestamp,
            key: bytes(out.key),
            value: bytes(out.value),
            headers: Some(headers),
        };
        Event::Record(record.short(&origin_of(given), self.first_output()))
    }
}

/// What comes of a record has from it what it does not say.
pub(super) fn origin_of(given: &Given) -> Origin {
    Origin { timestamp: given.entry.timestamp, headers: headers_of(given).collect() }
}

fn headers_of(given: &Given) -> impl Iterator<Item = Header> {
    given.entry.headers.iter().map(|(name, value)| Header(Bytes(name.clone()), value.clone().map(Bytes)))
}

fn form(kind: Kind, reason: &Reason) -> FailureForm {
    FailureForm { kind, code: reason.code.clone(), message: Some(reason.message.clone()), after_ms: None, then: None }
}
