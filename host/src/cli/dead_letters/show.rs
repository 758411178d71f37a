//! `dead-letters show`: letters one by one, for people, or as `consume` prints records.

use super::read::{Found, each};
use crate::{
    lines::{OutputFormat, Shown},
    manifest::{Burier, Manifest},
    record::Header,
    stage::{Choice, Letter},
    text::{count, grouped, hex},
    transport::log::Log,
};
use anyhow::Result;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

/// So much of a key, a value or a header is shown.
const SHOWN_BYTES: usize = 2048;

/// Shows a stage's letters, or all of them, up to so many; how many there were.
pub(super) fn show(
    manifest: &Manifest,
    log: &Log,
    stage: &Burier<'_>,
    (choice, all, most): (&Choice, bool, u64),
    json: bool,
) -> Result<u64> {
    let topic = stage.dead_letter;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut shown = 0;
    if most > 0 && log.topics()?.find(&[topic])?.contains_key(topic) {
        each(manifest, log, topic, &[*stage], &mut |found| {
            if !found.is_of(manifest, stage) || !(all || found.waits) {
                return Ok(true);
            }
            let Some((letter, own)) = found.letter.as_ref().filter(|(letter, _)| choice.is_met_by(letter)) else {
                return Ok(true);
            };
            match json {
                true => out.write_all(&line(topic, found))?,
                false => {
                    let headers = found.headers[..own.start].iter().chain(&found.headers[own.end..]);
                    out.write_all(page(topic, found, letter, headers)?.as_bytes())?;
                }
            }
            shown += 1;
            Ok(shown < most)
        })?;
    }
    out.flush()?;
    Ok(shown)
}

/// The letter as it lies there.
fn line(topic: &str, found: &Found<'_>) -> Vec<u8> {
    let headers: Vec<_> = found.headers.iter().map(|h| (h.name.as_bytes(), h.value.as_deref())).collect();
    let record = found.record;
    let shown = Shown {
        topic: Some(topic),
        partition: Some(record.partition.number),
        offset: Some(record.offset.0),
        timestamp: record.timestamp,
        key: record.key,
        value: record.value,
        headers: &headers,
        ..Shown::default()
    };
    let mut line = Vec::new();
    OutputFormat::Json.write(&shown, &mut line);
    line
}

/// The letter as people read it.
fn page<'a>(
    topic: &str,
    found: &Found<'_>,
    letter: &Letter,
    headers: impl Iterator<Item = &'a Header>,
) -> Result<String> {
    let mut text = format!("{topic}/{}@{}\n", found.record.partition.number, found.record.offset.0);
    let written = letter.timestamp.map(|time| format!(", of {}", moment(time))).unwrap_or_default();
    writeln!(text, "  why     {}", readable(letter.why().as_bytes()))?;
    writeln!(text, "  when    {}, after {}", moment(letter.at), count(letter.attempts.into(), "attempt"))?;
    writeln!(text, "  from    {}{written}", readable(letter.place().as_bytes()))?;
    writeln!(text, "  module  {}", readable(letter.module.as_bytes()))?;
    if let Some(whole) = letter.cut {
        writeln!(text, "  cut     its value had {} bytes: the topic takes no larger record", grouped(whole))?;
    }
    writeln!(text, "  key     {}", shown(found.record.key))?;
    writeln!(text, "  value   {}", shown(found.record.value))?;
    for header in headers {
        writeln!(text, "  header  {}: {}", readable(header.name.as_bytes()), shown(header.value.as_deref()))?;
    }
    text.push('\n');
    Ok(text)
}

fn shown(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "none".into(), readable)
}

/// Text with nothing in it that moves a cursor; what is no text, in hexadecimal.
fn readable(bytes: &[u8]) -> String {
    let part = &bytes[..bytes.len().min(SHOWN_BYTES)];
    // What is cut may end within a character.
    let text = match str::from_utf8(part) {
        Ok(text) => Some(text),
        Err(error) if part.len() < bytes.len() && error.error_len().is_none() => {
            str::from_utf8(&part[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let mut line = match text {
        Some("") => "empty".into(),
        Some(text) => text.chars().fold(String::new(), |mut line, c| {
            match c {
                c if c.is_control() => line.extend(c.escape_default()),
                c => line.push(c),
            }
            line
        }),
        None => format!("hex {}", hex(part)),
    };
    if part.len() < bytes.len() {
        line.push_str(&format!("… ({} bytes)", grouped(bytes.len() as u64)));
    }
    line
}

fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms since 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        for (bytes, text) in [
            (&b"caf\xc3\xa9"[..], "café"),
            (b"", "empty"),
            (b"a\nb\x1b[31m", "a\\nb\\u{1b}[31m"),
            (b"\xff\x00", "hex ff00"),
        ] {
            assert_eq!(readable(bytes), text);
        }
        let long = "é".repeat(SHOWN_BYTES);
        assert!(readable(format!("a{long}").as_bytes()).ends_with("é… (4,097 bytes)"));
    }
}
