//! `dead-letters show`: letters one by one, for people, or as `consume` prints records.

use super::read::{Found, each};
use crate::{
    cli::{say, schemas},
    lines::{OutputFormat, Shown},
    manifest::{Burier, Manifest},
    record::Header,
    schemas::{Codec, Decoded, Part, Schemas},
    stage::{Choice, Letter},
    text::{count, grouped, hex},
    transport::log::Log,
};
use anyhow::Result;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// So much of a key, a value or a header is shown.
const SHOWN_BYTES: usize = 2048;
/// How long schemas are waited for in all.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let mut texts = Texts::of(schemas::of(manifest, &manifest.state, false)?);
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
                    out.write_all(page(topic, found, letter, &mut texts, headers)?.as_bytes())?;
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

/// Reads what was written with the schemas of a manifest's topics.
struct Texts {
    schemas: Schemas,
    /// How each topic that a letter came from is read, when it has a schema.
    codecs: BTreeMap<String, Option<Codec>>,
    /// How long the rest of them may be waited for.
    patience: Duration,
    said_waiting: bool,
}

impl Texts {
    fn of(schemas: Schemas) -> Texts {
        Texts { schemas, codecs: BTreeMap::new(), patience: PATIENCE, said_waiting: false }
    }

    /// A part of a letter's record as text; nothing where it has no schema, or cannot be read with it.
    fn read(&mut self, letter: &Letter, part: Part, bytes: Option<&[u8]>) -> Option<Vec<u8>> {
        let codec = match self.codecs.get(&letter.topic) {
            Some(codec) => codec,
            None => {
                let codec = self.schemas.reader_of(&letter.topic);
                self.codecs.entry(letter.topic.clone()).or_insert(codec)
            }
        };
        let (mut text, begun) = (Vec::new(), Instant::now());
        let decoded = codec.as_ref()?.decode(0, part, bytes?, self.patience, &mut text);
        self.patience = self.patience.saturating_sub(begun.elapsed());
        match decoded {
            Decoded::Text => return Some(text),
            Decoded::Waiting if !std::mem::replace(&mut self.said_waiting, true) => {
                let topic = &letter.topic;
                say(&format!("a schema of {topic} did not come in time: what was written with it is shown as it is\n"));
            }
            Decoded::Waiting | Decoded::Raw | Decoded::Wrong(_) => {}
        }
        None
    }
}

/// The letter as people read it.
fn page<'a>(
    topic: &str,
    found: &Found<'_>,
    letter: &Letter,
    texts: &mut Texts,
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
    for (part, bytes) in [(Part::Key, found.record.key), (Part::Value, found.record.value)] {
        let read = texts.read(letter, part, bytes);
        writeln!(text, "  {:<7} {}", part.to_string(), shown(read.as_deref().or(bytes)))?;
    }
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
