//! What a stage's records go through on their way in and out: it belongs to the stage, whatever module it runs.

use super::{
    Bound, framing,
    schema::Schema,
    store::{Found, Store},
};
use crate::{record::Reason, text::escaped};
use std::{fmt, sync::Arc, time::Duration};

/// A part of a record that may have a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Part::Key => "key",
            Part::Value => "value",
        })
    }
}

/// How a stage's inputs are read and its outputs written. By default there is nothing to do.
#[derive(Clone, Debug, Default)]
pub struct Codec(Option<Arc<Ports>>);

#[derive(Debug)]
struct Ports {
    store: Arc<Store>,
    /// Whether key and value have a schema.
    inputs: Vec<[bool; 2]>,
    outputs: Vec<[Option<Writer>; 2]>,
}

/// What a part of an output's records is written with.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) topic: String,
    pub(super) id: u32,
    pub(super) schema: Arc<Schema>,
}

/// What came of reading a part of a record.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    /// It has no schema, and is what it is.
    Raw,
    /// Its text was appended.
    Text,
    /// It cannot be read, for this reason.
    Wrong(Reason),
    /// Its schema is not known yet.
    Waiting,
}

impl Codec {
    /// For the ports of a stage, by their topics.
    pub(super) fn new(bound: &Bound, inputs: &[String], outputs: &[String]) -> Codec {
        let inputs: Vec<_> = inputs.iter().map(|topic| bound.writers(topic).map(|writer| writer.is_some())).collect();
        let outputs: Vec<_> = outputs.iter().map(|topic| bound.writers(topic).map(|writer| writer.cloned())).collect();
        let is_idle = !inputs.as_flattened().contains(&true) && outputs.as_flattened().iter().all(Option::is_none);
        Codec((!is_idle).then(|| Arc::new(Ports { store: bound.store.clone(), inputs, outputs })))
    }

    /// For whoever only reads one topic, whose parts have a schema or not.
    pub(super) fn of_reader(store: Arc<Store>, parts: [bool; 2]) -> Codec {
        Codec(Some(Arc::new(Ports { store, inputs: vec![parts], outputs: Vec::new() })))
    }

    /// True when there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// True when an input has a schema.
    pub fn reads(&self, input: usize) -> bool {
        self.0.as_ref().is_some_and(|ports| ports.inputs.get(input).is_some_and(|parts| parts.contains(&true)))
    }

    /// Appends a part of an input's record as JSON text. Its schema is waited for so long.
    pub fn decode(&self, input: usize, part: Part, bytes: &[u8], patience: Duration, to: &mut Vec<u8>) -> Decoded {
        let has_schema = |ports: &&Arc<Ports>| ports.inputs.get(input).is_some_and(|parts| parts[part as usize]);
        let Some(ports) = self.0.as_ref().filter(has_schema) else { return Decoded::Raw };
        let wrong =
            |code: &str, why: String| Decoded::Wrong(reason(code, &format!("the {part} cannot be read: {why}")));
        let (id, body) = match framing::open(bytes) {
            Ok(opened) => opened,
            Err(misfit) => return wrong("no-schema", misfit.to_string()),
        };
        let schema = match ports.store.find(id, patience) {
            Found::Schema(schema) => schema,
            Found::Missing(why) => return wrong("unknown-schema", why),
            Found::Waiting => return Decoded::Waiting,
        };
        let start = to.len();
        match schema.decode(body, to) {
            Ok(()) => Decoded::Text,
            Err(misfit) => {
                to.truncate(start);
                wrong("misfit", format!("{misfit} (schema {id})"))
            }
        }
    }

    /// Writes key and value of an output's record with their schemas, where they have some.
    pub fn encode(&self, output: usize, key: &mut Option<Vec<u8>>, value: &mut Option<Vec<u8>>) -> Result<(), Reason> {
        let Some(writers) = self.0.as_ref().and_then(|ports| ports.outputs.get(output)) else { return Ok(()) };
        write(Part::Key, writers[0].as_ref(), key)?;
        write(Part::Value, writers[1].as_ref(), value)
    }
}

/// True when a value may have been written with a schema, as far as one can tell from its beginning.
pub fn is_framed(bytes: &[u8]) -> bool {
    framing::open(bytes).is_ok()
}

/// Writes a part of a record. What is not there stays away.
fn write(part: Part, writer: Option<&Writer>, bytes: &mut Option<Vec<u8>>) -> Result<(), Reason> {
    let (Some(Writer { topic, id, schema }), Some(text)) = (writer, bytes) else { return Ok(()) };
    let mut framed = Vec::with_capacity(text.len());
    framing::begin(*id, &mut framed);
    schema.encode(text, &mut framed).map_err(|misfit| {
        reason("misfit", &format!("the {part} does not fit the schema of {topic}: {misfit} (schema {id})"))
    })?;
    *text = framed;
    Ok(())
}

/// What is told of a record may hold its own words, such as the keys of a map.
fn reason(code: &str, message: &str) -> Reason {
    Reason { code: Some(code.to_owned()), message: escaped(message) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{
        super::schema::{Language, Written},
        *,
    };

    #[test]
    fn what_is_told_of_a_record_is_one_short_line() {
        let text = r#"{"type":"map","values":"int"}"#;
        let schema = Arc::new(Schema::read(&Written::new(Language::Avro, text)).unwrap());
        let writer = Writer { topic: "orders".into(), id: 1, schema };
        let record = format!("{{\"\u{9b}2J{}\":null}}", "k".repeat(300_000));
        let said = write(Part::Value, Some(&writer), &mut Some(record.into())).unwrap_err().message;
        assert!(said.starts_with(r#"the value does not fit the schema of orders: $["\u{9b}2Jkkk"#), "{said}");
        assert!(said.len() < 1100 && said.ends_with("k…"), "{said}");
    }
}
