//! Records as lines of text: how people and other programs hand them over, and get to see them.
//!
//! A record as a JSON line says all there is to say, and what goes out can come in again:
//!
//! ```json
//! {"topic":"t","partition":0,"offset":7,"timestamp":1700000000000,"key":"k","value":"v","headers":[["a","1"],["b",null]]}
//! ```
//!
//! Bytes that are not UTF-8 are `{"base64":"…"}`, no key and no value (a tombstone) are `null`. Of what comes in, only
//! `value` must be there.

mod entries;
mod json;
mod read;
mod write;

pub use entries::{Entries, Given};
pub use read::{Input, InputFormat, LINE_BYTES, LineError, Lines, Separator};
pub use write::{OutputFormat, Shown, ShownHeader, json_value};

/// A record that came in as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// `None` is no key, which is not the same as an empty one.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// In their order; names may repeat.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The partition that it is to go to, or came from.
    pub partition: Option<u32>,
    /// Where it stood, when it came from a topic.
    pub offset: Option<u64>,
}
