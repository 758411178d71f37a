//! Dead letters: the record as it came, and why it failed.

use super::{
    Failure, Output, StageSettings,
    letter::{HEADERS, PREFIX},
};
use crate::{
    clock::Clock,
    record::Header,
    transport::{Batch, Fault, Offset, Outgoing, Partition},
};

/// The longest message that a letter carries.
const MESSAGE_BYTES: usize = 1024;
/// Room for what a letter says about its failure.
pub const HEADROOM: usize = 4096;

/// Sends the letter of the record at `index` to the output at the given place.
pub(super) fn send(
    settings: &StageSettings,
    (output, topic): (usize, &Output),
    (batch, index): (&dyn Batch, usize),
    failure: &Failure,
    clock: &dyn Clock,
    send: &mut dyn FnMut(&Outgoing<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let record = batch.get(index);
    let mut headers = headers(settings, failure, batch.origin(index), record.timestamp, clock);
    let mut value = record.value;
    // The record was taken from a topic with a larger limit than this one's: better a part of it than none.
    let kept: usize =
        batch.headers(index).iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Vec::len) + 8).sum();
    let key = record.key.map_or(0, <[u8]>::len) + HEADROOM;
    let keep_headers = key + kept <= topic.largest;
    let rest = if keep_headers { key + kept } else { key };
    if let Some(bytes) = record.value.filter(|bytes| bytes.len() + rest > topic.largest) {
        value = Some(&bytes[..topic.largest.saturating_sub(rest)]);
        headers.push(header("cut", bytes.len().to_string()));
    } else if !keep_headers {
        headers.push(header("cut", record.value.map_or(0, <[u8]>::len).to_string()));
    }
    send(&Outgoing {
        output,
        partition: None,
        key: record.key,
        value,
        timestamp: Some(clock.wall_ms()),
        keep_headers,
        headers: &headers,
    })
}

fn headers(
    settings: &StageSettings,
    failure: &Failure,
    (partition, offset): (Partition, Offset),
    timestamp: Option<i64>,
    clock: &dyn Clock,
) -> Vec<Header> {
    let values: [String; 13] = [
        settings.pipeline.clone(),
        settings.stage.clone(),
        settings.module.clone(),
        settings.inputs[partition.input].clone(),
        partition.number.to_string(),
        offset.0.to_string(),
        timestamp.map(|time| time.to_string()).unwrap_or_default(),
        failure.kind.into(),
        failure.reason.code.clone().unwrap_or_default(),
        cut(&failure.reason.message, MESSAGE_BYTES).into(),
        failure.attempts.to_string(),
        clock.wall_ms().to_string(),
        env!("CARGO_PKG_VERSION").into(),
    ];
    HEADERS.iter().zip(values).map(|((name, _), value)| header(name, value)).collect()
}

fn header(name: &str, value: String) -> Header {
    Header { name: format!("{PREFIX}{name}"), value: Some(value.into_bytes()) }
}

/// At most so many bytes of a text, and no half character.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
