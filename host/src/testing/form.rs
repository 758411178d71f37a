//! What comes of a record, in the form that cases have it.

use crate::{
    lines::json_value,
    manifest::{AS_WRITTEN, Policy},
    stage::{Lost, Made, Outcome},
    transport::Batch,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use std::fmt;

/// A key, a value, a header's name or value: text, or `{base64: …}`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) Vec<u8>);

/// A header: its name and its value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(expecting = "a header such as `[name, value]`")]
pub(super) struct Header(pub(super) Bytes, pub(super) Option<Bytes>);

/// A record. What it does not say is as it is for a record of which nothing was said: it has no key, goes to the first
/// output and to whatever partition, and its headers and its timestamp are those of the record that it came of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RecordForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timestamp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) headers: Option<Vec<Header>>,
}

/// What a record has from the one that it came of, where it does not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Vec<Header>,
}

impl Origin {
    /// That of what comes of the record at `index`.
    pub fn of(batch: &dyn Batch, index: usize) -> Origin {
        Origin::new(batch.get(index).timestamp, batch.headers(index))
    }

    /// That of what comes of a record with this time and these headers.
    pub fn new(timestamp: Option<i64>, headers: Vec<crate::record::Header>) -> Origin {
        Origin { timestamp, headers: headers.into_iter().map(Header::from).collect() }
    }
}

impl From<crate::record::Header> for Header {
    fn from(header: crate::record::Header) -> Header {
        Header(Bytes(header.name.into_bytes()), header.value.map(Bytes))
    }
}

impl RecordForm {
    fn of(made: &Made) -> RecordForm {
        RecordForm {
            output: Some(made.output.clone()),
            partition: made.partition,
            timestamp: made.timestamp,
            key: made.key.clone().map(Bytes),
            value: made.value.clone().map(Bytes),
            headers: Some(made.headers.iter().cloned().map(Header::from).collect()),
        }
    }

    /// Without what it has from the record that it came of, or as any record has it.
    pub(super) fn short(mut self, origin: &Origin, first_output: &str) -> RecordForm {
        self.output = self.output.filter(|output| output != first_output);
        self.timestamp = self.timestamp.filter(|timestamp| Some(*timestamp) != origin.timestamp);
        self.headers = self.headers.filter(|headers| *headers != origin.headers);
        self
    }
}

/// A failure. Of what a case expects, only its kind must be said.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "a mapping such as `{kind: reject, code: …}`")]
pub struct FailureForm {
    pub(super) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after_ms: Option<u64>,
    /// What becomes of the record by the manifest's `on-error`; where nothing is said, what does when that says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) then: Option<Then>,
}

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Then {
    /// It is a dead letter.
    DeadLetter,
    /// It is passed over.
    Skip,
    /// The stage stops in front of it.
    Stop,
}

impl Then {
    /// When the manifest says nothing.
    pub(super) fn default_of(kind: Kind) -> Then {
        match kind {
            Kind::Retry | Kind::Open => Then::Stop,
            Kind::Reject | Kind::Fault | Kind::Limit => Then::DeadLetter,
        }
    }
}

impl From<Policy> for Then {
    fn from(policy: Policy) -> Then {
        match policy {
            Policy::DeadLetter => Then::DeadLetter,
            Policy::Skip => Then::Skip,
            Policy::Stop => Then::Stop,
        }
    }
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The record is wrong and always will be.
    Reject,
    /// It may go through later.
    Retry,
    /// The stage's own code failed.
    Fault,
    /// It hit a limit.
    Limit,
    /// The stage refused to start at all.
    Open,
}

impl From<&Lost> for FailureForm {
    fn from(lost: &Lost) -> FailureForm {
        let kind = match lost.kind {
            "reject" => Kind::Reject,
            "retry" => Kind::Retry,
            "limit" => Kind::Limit,
            _ => Kind::Fault,
        };
        let (code, message) = (lost.code.clone(), Some(lost.message.clone()));
        FailureForm { kind, code, message, after_ms: lost.after_ms, then: None }
    }
}

/// One thing that comes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record.
    Record(RecordForm),
    /// Nothing, and why.
    Failure(FailureForm),
}

impl Event {
    /// What came of a record, each without what it has from there.
    pub fn of(outcome: &Outcome, origin: &Origin, first_output: &str) -> Vec<Event> {
        let made = outcome.made.iter().map(|made| Event::Record(RecordForm::of(made).short(origin, first_output)));
        let lost = outcome.lost.as_ref().map(|lost| Event::Failure(FailureForm::from(lost)));
        made.chain(lost).collect()
    }

    /// True when the other one is the same thing; a failure may have other words.
    pub(super) fn is_like(&self, other: &Event) -> bool {
        match (self, other) {
            (Event::Failure(one), Event::Failure(other)) => (one.kind, &one.code) == (other.kind, &other.code),
            (one, other) => one == other,
        }
    }

    /// As JSON, which is YAML as well.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Failed<'a> {
            failure: &'a FailureForm,
        }
        let json = match self {
            Event::Record(record) => serde_json::to_string(record),
            Event::Failure(failure) => serde_json::to_string(&Failed { failure }),
        };
        json.unwrap_or_default()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        json_value(Some(&self.0)).serialize(to)
    }
}

impl<'d> Deserialize<'d> for Bytes {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'d> Visitor<'d> for Visit {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text or `{base64: …}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Bytes, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Encoded {
                    base64: String,
                }
                let encoded = Encoded::deserialize(de::value::MapAccessDeserializer::new(entries))?;
                let bytes = BASE64_STANDARD.decode(encoded.base64);
                bytes.map(Bytes).map_err(|error| de::Error::custom(format!("this is no base64: {error}")))
            }
        }
        from.deserialize_newtype_struct(AS_WRITTEN, Visit)
    }
}
