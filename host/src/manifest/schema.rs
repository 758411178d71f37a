//! The manifest's JSON Schema, for editors: generated from the types that read it, then bent to how they read.

use super::{properties, written::Manifest};
use schemars::{
    Schema, json_schema,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

/// The JSON Schema (draft 2020-12) of a manifest.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Manifest);
    AsRead.transform(&mut schema);
    let mut schema = schema.to_value();
    schema["title"] = json!("A Millstream manifest");
    let some = |key: &str| json!({ "required": [key], "properties": { key: { "minProperties": 1 } } });
    schema["anyOf"] = json!([some("stages"), some("sources"), some("sinks")]);
    for definition in ["Kafka", "Source", "Stage", "Sink"] {
        let owned: Vec<_> = properties::owned().collect();
        schema["$defs"][definition]["properties"]["properties"]["propertyNames"] = json!({ "not": { "enum": owned } });
    }
    schema
}

/// The reader takes a number where a text is wanted, and `${VAR}` in the place of any scalar.
struct AsRead;

impl Transform for AsRead {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Object(keys)) = schema.get_mut("properties") {
            keys.values_mut().for_each(without_null);
        }
        if let Some(Value::String(description)) = schema.get_mut("description") {
            *description = description.replace('\n', " ");
        }
        // `${VAR}` fits each of the words, where only one may fit.
        if let Some(words) = schema.remove("oneOf") {
            schema.insert("anyOf".to_owned(), words);
        }
        transform_subschemas(self, schema);
        let kinds = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.clone(),
            Some(kind) => vec![kind.clone()],
            None => return,
        };
        let is_text = kinds.contains(&json!("string"));
        let is_narrow = ["enum", "const", "pattern"].iter().any(|key| schema.get(*key).is_some());
        let is_scalar = !kinds.contains(&json!("object")) && !kinds.contains(&json!("array"));
        if is_text && !is_narrow {
            let kinds: Vec<_> = kinds.into_iter().chain([json!("number"), json!("boolean")]).collect();
            schema.insert("type".to_owned(), kinds.into());
        } else if is_scalar && kinds != [json!("null")] {
            or_environment(schema);
        }
    }
}

/// A key's value is what it is, or nothing: editors tell more of what is wrong with it when nothing is left out.
fn without_null(schema: &mut Value) {
    let Some(Value::Array(either)) = schema.get("anyOf") else {
        return;
    };
    if let [Value::Object(one), null] = &**either
        && *null == json!({ "type": "null" })
    {
        let one = one.clone();
        let Value::Object(outer) = schema else { return };
        outer.remove("anyOf");
        outer.extend(one);
    }
}

fn or_environment(schema: &mut Schema) {
    let mut outer = json_schema!({});
    for shown in ["description", "default"] {
        if let Some(value) = schema.remove(shown) {
            outer.insert(shown.to_owned(), value);
        }
    }
    let either = json!([schema.clone(), { "type": "string", "pattern": "\\$\\{" }]);
    outer.insert("anyOf".to_owned(), either);
    *schema = outer;
}
