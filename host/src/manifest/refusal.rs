//! Why serde refuses a value, kept in its parts: serde hands over what it expected and what it found, and
//! only the reader knows what of it may be shown.

use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// What is wanted where it is so or not.
pub(super) const TRUTH: &str = "`true` or `false`";

/// Why a value is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is reported, and the node is set aside.
    Reported,
    /// Nothing can be made up for a hole; its cause was reported.
    InHole,
    /// A key that is not known, and those that are.
    UnknownKey(&'static [&'static str]),
    /// A key that must be there.
    Missing(&'static str),
    /// Something else is wanted.
    Expected {
        expected: String,
        found: String,
        /// Words of which one may be meant.
        words: &'static [&'static str],
    },
    /// A mapping is wanted: what it would have declared is unknown.
    ExpectedMap { expected: String, found: String },
    /// In other words.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Refusal::Other(message) => f.write_str(message),
            _ => f.write_str("this is not accepted here"),
        }
    }
}

impl std::error::Error for Refusal {}

impl de::Error for Refusal {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Refusal::Other(message.to_string())
    }

    fn invalid_type(found: Unexpected, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Map => "a mapping".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Str(text) => format!("`{text}`"),
            Unexpected::Signed(number) => format!("`{number}`"),
            Unexpected::Unsigned(number) => format!("`{number}`"),
            Unexpected::Bool(truth) => format!("`{truth}`"),
            Unexpected::Float(number) => format!("`{number}`"),
            other => other.to_string(),
        };
        let expected = expected.to_string();
        if expected.starts_with("a mapping") {
            return Refusal::ExpectedMap { expected, found };
        }
        let expected = match &*expected {
            "a string" => "a text".to_owned(),
            "a boolean" => TRUTH.to_owned(),
            "u32" | "u64" | "i64" => "a whole number".to_owned(),
            _ => expected,
        };
        Refusal::Expected { expected, found, words: &[] }
    }

    fn invalid_value(found: Unexpected, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Refusal::UnknownKey(known)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Refusal::Expected { expected: one_of(known, "or"), found: format!("`{found}`"), words: known }
    }

    fn missing_field(key: &'static str) -> Self {
        Refusal::Missing(key)
    }
}

/// `` `a`, `b` or `c` ``
pub(super) fn one_of(words: &[&str], last: &str) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((end, start)) if !start.is_empty() => format!("{} {last} {end}", start.join(", ")),
        _ => quoted.concat(),
    }
}
