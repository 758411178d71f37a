//! A stage: a record for each word of a text.

use millstream::{Bytes, Record, record};
use serde_json::json;

millstream::stage!(words);

/// `to be or not to be` → `{"word": "to"}`, `{"word": "be"}`, …, each under its word as the key
fn words(_: Bytes, value: Bytes) -> Vec<Record> {
    let text = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| record(word, json!({ "word": word }).to_string())).collect()
}
