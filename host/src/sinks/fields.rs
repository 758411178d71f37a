//! A record's value as sinks see it: a JSON object, each field as it is written, so that no digit of a number is lost.
//! This is the one place that says how a value is read.

use super::reject;
use crate::stage::guest::Failed;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The fields of a JSON object, in their order. Of a name that comes twice the last one counts.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Those of a record's value.
    pub(super) fn of_value(value: &'a [u8]) -> Result<Fields<'a>, Failed> {
        let text = std::str::from_utf8(value).map_err(|_| not_json("the value", "it is not UTF-8"))?;
        Fields::of(text, "the value")
    }

    fn of(text: &'a str, what: &str) -> Result<Fields<'a>, Failed> {
        serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => reject("not-an-object", format!("{what} is no JSON object")),
            _ => not_json(what, &error.to_string()),
        })
    }

    /// Those of a key, when it is a JSON object.
    pub(super) fn of_key(key: &'a str) -> Option<Fields<'a>> {
        let is_object = key.trim_start().starts_with('{');
        is_object.then(|| Fields::of(key, "the key").ok()).flatten()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The field of this name, as JSON.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }

    /// The field at the end of this path, as JSON. What is no object has no fields.
    pub(super) fn find(&self, path: &[String]) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        let mut found = self.get(first)?;
        for name in rest {
            found = Fields::of(found, "it").ok()?.get(name)?;
        }
        Some(found)
    }
}

fn not_json(what: &str, why: &str) -> Failed {
    reject("not-json", format!("{what} is not JSON: {why}"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::with_capacity(entries.size_hint().unwrap_or(8));
                while let Some((Name(name), value)) = entries.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// A name that is borrowed where it needs no unescaping.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a JSON text or another scalar says, without quotes.
pub(super) fn unquoted(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn code(value: &str) -> String {
        let failed = Fields::of_value(value.as_bytes()).err().unwrap();
        failed.reason().code.clone().unwrap()
    }

    #[test]
    fn fields_are_what_is_written() {
        let text = r#"{"a":0.12345678901234567890123, "b":{"c":{"d":[1, 2]}}, "e\"":null, "a":1e400}"#;
        let fields = Fields::of_value(text.as_bytes()).unwrap();
        assert_eq!(fields.get("a"), Some("1e400"));
        assert_eq!(fields.get("e\""), Some("null"));
        assert_eq!(fields.find(&["b".into(), "c".into(), "d".into()]), Some("[1, 2]"));
        assert_eq!(fields.find(&["a".into(), "c".into()]), None);
        assert_eq!(fields.find(&["b".into(), "x".into()]), None);
    }

    #[test]
    fn what_is_no_object_is_told_from_what_is_no_json() {
        assert_eq!(code("[1]"), "not-an-object");
        assert_eq!(code("7"), "not-an-object");
        assert_eq!(code("{\"a\":"), "not-json");
        assert_eq!(code("hello"), "not-json");
        assert_eq!(code("{} {}"), "not-json");
        assert!(Fields::of_value(b"{\"a\":\"\xff\"}").is_err());
    }
}
