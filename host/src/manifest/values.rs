//! Values of open form: properties, which may lie in a file, and a module's configuration, which may be anything.

use super::shapes::{AS_WRITTEN, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use std::{borrow::Cow, fmt, fmt::Write as _};

/// A property's value.
pub(super) enum Property {
    /// It stands here.
    Text(String),
    /// It stands in a file.
    File(Spanned<String>),
}

/// A value that stands in a file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InFile {
    /// The file that holds the value, seen from the manifest's folder. The newline at its end does not count.
    file: Spanned<String>,
}

impl<'d> Deserialize<'d> for Property {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'d> Visitor<'d> for Visit {
            type Value = Property;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text or `{file: PATH}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Property, E> {
                Ok(Property::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Property, A::Error> {
                let InFile { file } = InFile::deserialize(MapAccessDeserializer::new(entries))?;
                Ok(Property::File(file))
            }
        }
        deserializer.deserialize_newtype_struct(AS_WRITTEN, Visit)
    }
}

impl JsonSchema for Property {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Property".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<String>();
        let file = generator.subschema_for::<InFile>();
        json_schema!({ "anyOf": [text, file] })
    }
}

/// What a module gets to know: a scalar as it is written, anything else as JSON.
pub(crate) struct Config(pub(crate) String);

impl<'d> Deserialize<'d> for Config {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'d> Visitor<'d> for Visit {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text, a list or a mapping")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Config, E> {
                Ok(Config(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'d>>(self, items: A) -> Result<Config, A::Error> {
                VisitJson.visit_seq(items).map(|json| Config(json.0))
            }

            fn visit_map<A: MapAccess<'d>>(self, entries: A) -> Result<Config, A::Error> {
                VisitJson.visit_map(entries).map(|json| Config(json.0))
            }
        }
        deserializer.deserialize_newtype_struct(AS_WRITTEN, Visit)
    }
}

impl JsonSchema for Config {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Config".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = generator.subschema_for::<String>();
        json_schema!({ "anyOf": [text, { "type": ["array", "object"] }] })
    }
}

/// JSON text, its keys in the order in which they are written (`serde_json::Value` would sort them).
pub(super) struct Json(pub(super) String);

struct VisitJson;

impl<'d> Deserialize<'d> for Json {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VisitJson)
    }
}

impl<'d> Visitor<'d> for VisitJson {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json("null".to_owned()))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Json, E> {
        Ok(Json(truth.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Json, E> {
        Ok(Json(serde_json::json!(number).to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json(quoted(text)))
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut text = String::from("[");
        while let Some(Json(item)) = items.next_element()? {
            let comma = if text.len() > 1 { "," } else { "" };
            write!(text, "{comma}{item}").expect("a string takes any text");
        }
        Ok(Json(text + "]"))
    }

    fn visit_map<A: MapAccess<'d>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut text = String::from("{");
        while let Some((key, Json(value))) = entries.next_entry::<String, Json>()? {
            let comma = if text.len() > 1 { "," } else { "" };
            write!(text, "{comma}{}:{value}", quoted(&key)).expect("a string takes any text");
        }
        Ok(Json(text + "}"))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
