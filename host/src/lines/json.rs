//! A record as a JSON line, on its way in.

use super::Entry;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Unexpected, Visitor},
};
use std::fmt;

/// As it is written. What says where a record stood in the log may come along, as `consume` prints it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record, such as {\"value\": \"v\"}")]
struct Written {
    #[serde(default, rename = "output")]
    _output: Option<String>,
    #[serde(default, rename = "topic")]
    _topic: Option<String>,
    partition: Option<u32>,
    offset: Option<u64>,
    timestamp: Option<i64>,
    key: Option<Bytes>,
    // Named, so that one that is forgotten is no tombstone.
    #[serde(deserialize_with = "Option::deserialize")]
    value: Option<Bytes>,
    #[serde(default)]
    headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Text, or `{"base64": "…"}`.
struct Bytes(Vec<u8>);

/// Reads one line; what is wrong with it is said with its column.
pub(super) fn parse(line: &[u8]) -> Result<Entry, String> {
    let written: Written = serde_json::from_slice(line).map_err(|error| {
        let words = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let words = words.strip_suffix(&place).unwrap_or(&words);
        match error.is_eof() {
            true => format!("{words}: a record is one line"),
            false => format!("{words}, at column {}", error.column()),
        }
    })?;
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.0);
    Ok(Entry {
        key: bytes(written.key),
        value: bytes(written.value),
        headers: written.headers.into_iter().map(|(name, value)| (name.0, bytes(value))).collect(),
        timestamp: written.timestamp,
        partition: written.partition,
        offset: written.offset,
    })
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        from.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("text in quotes, or {\"base64\": \"…\"}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        Ok(Bytes(text.as_bytes().to_vec()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Bytes, E> {
        Ok(Bytes(text.into_bytes()))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Bytes, M::Error> {
        // JSON within a record is text: that it must be quoted is the one thing worth saying of any other map.
        let other = || M::Error::invalid_type(Unexpected::Map, &self);
        match map.next_key::<String>()?.as_deref() {
            Some("base64") => {}
            _ => return Err(other()),
        }
        let text: String = map.next_value()?;
        let bytes =
            BASE64_STANDARD.decode(&text).map_err(|error| M::Error::custom(format!("no base64: {error}: {text:?}")))?;
        match map.next_key::<IgnoredAny>()? {
            Some(_) => Err(other()),
            None => Ok(Bytes(bytes)),
        }
    }
}
