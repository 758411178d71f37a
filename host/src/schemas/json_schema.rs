//! JSON Schema: the value is JSON already, and is only held against its schema.

use super::Misfit;
use jsonschema::{Draft, ValidationError, Validator};
use serde_json::Value;

/// The longest words about what does not fit; a validator shows the whole part.
const WORDS: usize = 300;

/// A schema.
#[derive(Debug)]
pub(super) struct JsonSchema(Validator);

impl JsonSchema {
    /// Reads a schema's text. In words, what is wrong with it.
    pub(super) fn read(text: &str) -> Result<JsonSchema, String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
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
    use super::*;

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
        assert!(
            JsonSchema::read(r#"{"$ref": "https://example.com/other.json"}"#).is_err(),
            "nothing is fetched for it"
        );
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
