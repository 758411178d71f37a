//! JSON Schema: the value is JSON already, and is only held against its schema.

use super::Misfit;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::Value;

/// The longest words about what does not fit; a validator shows the whole part.
const WORDS: usize = 300;

/// The most `$ref`s. A chain of them is followed link by link, each with some stack, and made ready in the time of its
/// square.
const MOST_REFERENCES: usize = 5000;

/// A schema.
#[derive(Debug)]
pub(super) struct JsonSchema(Validator);

impl JsonSchema {
    /// Reads a schema's text. In words, what is wrong with it.
    pub(super) fn read(text: &str) -> Result<JsonSchema, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
        if references(&schema) > MOST_REFERENCES {
            return Err(format!("it has more than {MOST_REFERENCES} references"));
        }
        let mut options = jsonschema::options();
        if schema.get("$schema").is_none() {
            // What other clients of a registry take it for.
            options = options.with_draft(Draft::Draft7);
        }
        options.build(&schema).map(JsonSchema).map_err(|error| error.to_string())
    }

    /// Whether a value is JSON, and fits.
    pub(super) fn check(&self, text: &[u8]) -> Result<(), Misfit> {
        let value: Value =
            serde_json::from_slice(text).map_err(|error| Misfit::new(format!("it is no JSON: {error}")))?;
        self.0.validate(&value).map_err(|error| misfit(&value, &error))
    }
}

/// How many references there are, as far as names tell.
fn references(schema: &Value) -> usize {
    match schema {
        Value::Array(list) => list.iter().map(references).sum(),
        Value::Object(map) => {
            let here = map.keys().filter(|key| matches!(&key[..], "$ref" | "$dynamicRef")).count();
            here + map.values().map(references).sum::<usize>()
        }
        _ => 0,
    }
}

fn misfit(whole: &Value, error: &ValidationError<'_>) -> Misfit {
    let mut words = error.to_string();
    if words.len() > WORDS {
        words.truncate(words.floor_char_boundary(WORDS));
        words.push('…');
    }
    let pointer = error.instance_path().as_str().to_owned();
    let names: Vec<_> = pointer.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
    let mut values = vec![whole];
    for name in &names {
        let next = match values.last() {
            Some(Value::Object(map)) => map.get(name),
            Some(Value::Array(list)) => name.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        };
        values.push(next.unwrap_or(&Value::Null));
    }
    let steps = names.iter().zip(values).rev();
    steps.fold(Misfit::new(words), |misfit, (name, around)| match (around, name.parse()) {
        (Value::Array(_), Ok(index)) => misfit.in_item(index),
        _ => misfit.in_field(name),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::served::serve, *};
    use serde_json::json;
    use std::{fs, sync::mpsc};

    const ORDER: &str = r#"{
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}}
        },
        "required": ["id"]
    }"#;

    #[test]
    fn what_does_not_fit_is_told_with_its_path() {
        let schema = JsonSchema::read(ORDER).unwrap();
        let path = |text: &str| schema.check(text.as_bytes()).map_err(|misfit| misfit.path());
        assert_eq!(path(r#"{"id": 1, "items": [{"price": 1.5}]}"#), Ok(()));
        assert_eq!(path(r#"{"id": 1, "items": [{"price": 1}, {"price": "x"}]}"#), Err("$.items[1].price".into()));
        assert_eq!(path(r#"{"items": []}"#), Err("$".into()));
        assert_eq!(path("no JSON"), Err("$".into()));
        assert!(JsonSchema::read(r#"{"type": "no type"}"#).is_err());
    }

    #[test]
    fn nothing_is_fetched_for_a_schema() {
        let (asked, questions) = mpsc::channel();
        let url = serve(move |question, _| {
            asked.send(question.to_owned()).unwrap();
            (200, "{}".to_owned())
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("other.json");
        fs::write(&file, "{}").unwrap();
        for place in [format!("{url}/other.json"), format!("file://{}", file.display())] {
            assert!(JsonSchema::read(&json!({"$ref": place}).to_string()).is_err(), "{place}");
        }
        assert_eq!(questions.try_recv(), Err(mpsc::TryRecvError::Empty));
    }

    #[test]
    fn a_chain_of_references_is_of_bounded_length() {
        let chain = |length: usize| {
            let link = |at| (format!("d{at}"), json!({"$ref": format!("#/definitions/d{}", at + 1)}));
            let links: serde_json::Map<_, _> = (1..length).map(link).collect();
            let mut schema = json!({"$ref": "#/definitions/d1", "definitions": links});
            schema["definitions"][format!("d{length}")] = json!({"type": "integer"});
            JsonSchema::read(&schema.to_string())
        };
        assert!(chain(MOST_REFERENCES).unwrap().check(b"1").is_ok());
        assert_eq!(chain(MOST_REFERENCES + 1).unwrap_err(), "it has more than 5000 references");
    }

    #[test]
    fn a_schema_that_is_nothing_but_itself_does_no_harm() {
        for text in [
            r##"{"$ref": "#"}"##,
            r##"{"allOf": [{"$ref": "#"}]}"##,
            r##"{"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}, "$ref": "#/definitions/a"}"##,
        ] {
            if let Ok(schema) = JsonSchema::read(text) {
                drop(schema.check(b"{}"));
            }
        }
    }
}
