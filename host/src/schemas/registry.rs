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
        if !words.is_empty() {
            return Ok(Some(words.join("; ")));
        }
        // Some say no more. What they go by may be more than that readers of the new one read what was written.
        let latest = self.latest(subject)?;
        let own = latest.and_then(|(_, latest)| written.reads(&latest).err());
        Ok(Some(own.unwrap_or_else(|| "it does not say why".to_owned())))
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
        self.follow(answer, &mut Followed::default(), &mut others)?;
        Ok(Written { language, text, others })
    }

    /// Fetches what a schema refers to, and what that refers to. Of a name that several refer to, each in another version,
    /// the first that is met is taken, as other clients do.
    fn follow(&self, answer: &Value, followed: &mut Followed, others: &mut Vec<String>) -> Result<(), Trouble> {
        for reference in answer["references"].as_array().into_iter().flatten() {
            let (name, subject) = (reference["name"].as_str(), reference["subject"].as_str());
            let (Some(name), Some(subject), Some(version)) = (name, subject, reference["version"].as_u64()) else {
                return Err(self.odd());
            };
            if !followed.names.insert(name.to_owned()) || !followed.texts.insert((subject.to_owned(), version)) {
                continue;
            }
            if followed.texts.len() > MOST_REFERENCES {
                let words = format!("a schema refers to more than {MOST_REFERENCES} others");
                return Err(Trouble::Refused(words));
            }
            // What is deleted is still referred to.
            let path = format!("/subjects/{}/versions/{version}?deleted=true", escaped(subject));
            let gone =
                || Trouble::Refused(format!("version {version} of {subject}, which is referred to, is not there"));
            let other = self.ask(Method::GET, &path, None)?.ok_or_else(gone)?;
            self.follow(&other, followed, others)?;
            others.push(other["schema"].as_str().ok_or_else(|| self.odd())?.to_owned());
        }
        Ok(())
    }
}

/// What was met on the way through references.
#[derive(Default)]
struct Followed {
    names: BTreeSet<String>,
    /// By subject and version. One may define several names.
    texts: BTreeSet<(String, u64)>,
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::{schema::Schema, served::serve},
        *,
    };

    /// A record with one field, and what it refers to: by name, a name being a subject as well.
    fn record(name: &str, field: &str, references: &[(&str, u64)]) -> Value {
        let schema = json!({"type": "record", "name": name, "fields": [{"name": "a", "type": field}]});
        let reference = |(name, version): &(&str, u64)| json!({"name": name, "subject": name, "version": version});
        let references: Vec<_> = references.iter().map(reference).collect();
        json!({"id": 1, "schema": schema.to_string(), "references": references})
    }

    #[test]
    fn a_name_that_is_referred_to_twice_is_what_it_is_first() {
        let url = serve(|question, _| {
            let answer = match question {
                "GET /schemas/ids/1" => record("Order", "Customer", &[("Customer", 1), ("Address", 2)]),
                "GET /subjects/Customer/versions/1?deleted=true" => record("Customer", "Address", &[("Address", 1)]),
                "GET /subjects/Address/versions/1?deleted=true" => record("Address", "int", &[]),
                // As it does of one that was deleted, unless it is asked for that.
                _ => return (404, r#"{"error_code":40402}"#.to_owned()),
            };
            (200, answer.to_string())
        });
        let written = Registry::new(&SchemaRegistry::at(&url)).unwrap().by_id(1).unwrap().unwrap();
        assert_eq!(written.others.len(), 2);
        let mut bytes = Vec::new();
        Schema::read(&written).unwrap().encode(br#"{"a":{"a":{"a":1}}}"#, &mut bytes).unwrap();
        assert_eq!(bytes, [2]);
    }
}
