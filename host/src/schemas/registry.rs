//! A schema registry with Confluent's API: the six questions that are asked of it.

use super::{
    http::{Client, Trouble},
    schema::{Language, Written},
};
use crate::manifest::SchemaRegistry;
use anyhow::Result;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Of what it says, so many characters are shown.
const MOST_SHOWN: usize = 500;
/// The most schemas that one may refer to, all together.
const MOST_REFERENCES: usize = 100;

/// What is not there: a subject, a version of it, a schema.
const UNKNOWN: [u64; 4] = [40401, 40402, 40403, 404];

/// A registry.
#[derive(Debug)]
pub(super) struct Registry(Client);

impl Registry {
    /// Nothing is connected yet; what is wrong with the settings is told.
    pub(super) fn new(settings: &SchemaRegistry) -> Result<Registry> {
        Client::new(settings).map(Registry)
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        self.0.url()
    }

    /// The schema with this id.
    pub(super) fn by_id(&self, id: u32) -> Result<Option<Written>, Trouble> {
        let Some(answer) = self.ask(Method::GET, &format!("/schemas/ids/{id}"), None)? else { return Ok(None) };
        self.written(&answer, &format!("schema {id}")).map(Some)
    }

    /// A subject's latest schema, and its id.
    pub(super) fn latest(&self, subject: &str) -> Result<Option<(u32, Written)>, Trouble> {
        let path = format!("/subjects/{}/versions/latest", escaped(subject));
        let Some(answer) = self.ask(Method::GET, &path, None)? else { return Ok(None) };
        let written = self.written(&answer, &format!("the latest schema of {subject}"))?;
        Ok(Some((self.id(&answer)?, written)))
    }

    /// The id that a schema has in a subject.
    pub(super) fn find(&self, subject: &str, written: &Written) -> Result<Option<u32>, Trouble> {
        let path = format!("/subjects/{}", escaped(subject));
        let answer = self.ask(Method::POST, &path, Some(&body(written)))?;
        answer.map(|answer| self.id(&answer)).transpose()
    }

    /// What speaks against a schema as the next one of a subject.
    pub(super) fn objection(&self, subject: &str, written: &Written) -> Result<Option<String>, Trouble> {
        let path = format!("/compatibility/subjects/{}/versions/latest?verbose=true", escaped(subject));
        // A subject without a version takes any.
        let Some(answer) = self.ask(Method::POST, &path, Some(&body(written)))? else { return Ok(None) };
        if answer["is_compatible"] != json!(false) {
            return Ok(None);
        }
        let words = answer["messages"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<_> = words.map(one_line).collect();
        Ok(Some(if words.is_empty() { "it says no more".to_owned() } else { words.join("; ") }))
    }

    /// Registers a schema.
    pub(super) fn register(&self, subject: &str, written: &Written) -> Result<u32, Trouble> {
        let path = format!("/subjects/{}/versions", escaped(subject));
        match self.ask(Method::POST, &path, Some(&body(written)))? {
            Some(answer) => self.id(&answer),
            None => Err(self.odd()),
        }
    }

    /// What it answers; nothing when what is asked for is not there.
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Option<Value>, Trouble> {
        let (status, answer) = self.0.ask(method, path, body)?;
        let code = answer["error_code"].as_u64();
        match status {
            status if status.is_success() && !answer.is_null() => Ok(Some(answer)),
            StatusCode::NOT_FOUND if code.is_some_and(|code| UNKNOWN.contains(&code)) => Ok(None),
            // It may be that something else stands there for a while.
            status if code.is_none() => Err(Trouble::Unavailable(format!(
                "what answers at {} is no schema registry: it says {status}: correct the path of the URL",
                self.url()
            ))),
            status => {
                let words = answer["message"].as_str().map_or_else(|| status.to_string(), one_line);
                Err(Trouble::Refused(format!("the schema registry at {} says: {words}", self.url())))
            }
        }
    }

    fn id(&self, answer: &Value) -> Result<u32, Trouble> {
        answer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| self.odd())
    }

    fn odd(&self) -> Trouble {
        Trouble::Unavailable(format!("what answers at {} is no schema registry", self.url()))
    }

    fn written(&self, answer: &Value, what: &str) -> Result<Written, Trouble> {
        let text = answer["schema"].as_str().ok_or_else(|| self.odd())?.to_owned();
        let language = match answer["schemaType"].as_str() {
            None | Some("AVRO") => Language::Avro,
            Some("JSON") => Language::Json,
            Some(other) => {
                let words = format!("{what} is written in {other}: Avro and JSON Schema are understood");
                return Err(Trouble::Refused(words));
            }
        };
        let mut others = Vec::new();
        self.follow(answer, &mut BTreeSet::new(), &mut others)?;
        Ok(Written { language, text, others })
    }

    /// Fetches what a schema refers to, and what that refers to.
    fn follow(
        &self,
        answer: &Value,
        known: &mut BTreeSet<(String, u64)>,
        others: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        for reference in answer["references"].as_array().into_iter().flatten() {
            let (subject, version) = (reference["subject"].as_str(), reference["version"].as_u64());
            let (Some(subject), Some(version)) = (subject, version) else { return Err(self.odd()) };
            if !known.insert((subject.to_owned(), version)) {
                continue;
            }
            if known.len() > MOST_REFERENCES {
                let words = format!("a schema refers to more than {MOST_REFERENCES} others");
                return Err(Trouble::Refused(words));
            }
            let path = format!("/subjects/{}/versions/{version}", escaped(subject));
            let gone =
                || Trouble::Refused(format!("version {version} of {subject}, which is referred to, is not there"));
            let other = self.ask(Method::GET, &path, None)?.ok_or_else(gone)?;
            self.follow(&other, known, others)?;
            others.push(other["schema"].as_str().ok_or_else(|| self.odd())?.to_owned());
        }
        Ok(())
    }
}

fn body(written: &Written) -> Value {
    match written.language {
        // Older registries know of no others.
        Language::Avro => json!({ "schema": written.text }),
        Language::Json => json!({ "schema": written.text, "schemaType": "JSON" }),
    }
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What somebody else says, fit to be shown.
fn one_line(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(MOST_SHOWN).collect()
}
