//! Where the record in hand comes from, and its headers.

use crate::Bytes;

pub use crate::bindings::stage::millstream::stage::context::*;

/// The value of the first header of that name; none when there is no such header, or it has no value.
pub fn header(name: &str) -> Bytes {
    headers().into_iter().find(|header| header.name == name).and_then(|header| header.value)
}
