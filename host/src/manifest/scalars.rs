//! Values of one word that have a form of their own: a digest, and where a stage starts.

use super::checked;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected},
};
use std::borrow::Cow;

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct Digest(pub(super) [u8; 32]);

impl<'d> Deserialize<'d> for Digest {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        digest(&text).map(Digest).ok_or_else(|| {
            let expected = "a SHA-256 digest of 64 hexadecimal digits, as `sha256sum` prints it";
            D::Error::invalid_value(Unexpected::Str(&text), &expected)
        })
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

impl JsonSchema for Digest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

/// Where a stage starts when its group has no offset.
#[derive(Clone, Copy)]
pub(super) struct Start(pub(super) checked::Start);

impl<'d> Deserialize<'d> for Start {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let start = match &*text {
            "earliest" => Some(checked::Start::Earliest),
            "latest" => Some(checked::Start::Latest),
            "none" => Some(checked::Start::Refuse),
            _ => timestamp(&text).map(checked::Start::Timestamp),
        };
        start.map(Start).ok_or_else(|| {
            let expected = "`earliest`, `latest`, `none`, milliseconds since 1970, or a time such as \
                            `2026-01-01T00:00:00Z`";
            D::Error::invalid_value(Unexpected::Str(&text), &expected)
        })
    }
}

/// Milliseconds since 1970, from a number or from RFC 3339.
fn timestamp(text: &str) -> Option<i64> {
    let millis = match text.parse::<i64>() {
        Ok(millis) => millis,
        Err(_) => text.parse::<jiff::Timestamp>().ok()?.as_millisecond(),
    };
    (millis >= 0).then_some(millis)
}

impl JsonSchema for Start {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "enum": ["earliest", "latest", "none"] },
            { "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9:]+)$" },
            { "type": "integer", "minimum": 0 },
        ] })
    }
}
