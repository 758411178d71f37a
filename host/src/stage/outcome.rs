//! What came of a record, held: to be compared with what another module makes of it, and shown.

use super::{KINDS, Letter, Provenance, Stage, guest::Failed};
use crate::{
    lines::{OutputFormat, Shown},
    record::Header,
    transport::{Batch, Fault, Outgoing},
};
use serde_json::json;
use std::{fmt, rc::Rc};

/// What came of a record: others, or a failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The records that were made, in their order.
    pub made: Vec<Made>,
    /// Why there are none.
    pub lost: Option<Lost>,
    /// It was too large to be held as a whole.
    pub is_cut: bool,
}

/// A record that was made, as it would be sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// What the output is called.
    pub output: String,
    /// Its topic.
    pub topic: String,
    /// `None`: the key decides.
    pub partition: Option<u32>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// `None` is no key.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// All of them, those that were kept first.
    pub headers: Vec<Header>,
}

/// How many bytes may still be kept.
struct Room(usize);

impl Room {
    /// True when there is room for all of so many.
    fn takes(&mut self, bytes: usize) -> bool {
        let is_enough = bytes <= self.0;
        self.0 -= if is_enough { bytes } else { 0 };
        is_enough
    }

    /// Keeps as much as there is room for.
    fn cut(&mut self, part: &mut Vec<u8>) {
        part.truncate(self.0);
        self.0 -= part.len();
    }
}

/// A failure, as far as it is told to others. In other words it is the same one.
#[derive(Clone, Debug)]
pub struct Lost {
    /// One of [`KINDS`].
    pub kind: &'static str,
    /// What groups failures.
    pub code: Option<String>,
    /// In words.
    pub message: String,
    /// When it may be tried again, where the module says so.
    pub after_ms: Option<u64>,
}

impl PartialEq for Lost {
    fn eq(&self, other: &Lost) -> bool {
        (self.kind, &self.code) == (other.kind, &other.code)
    }
}

impl Stage {
    /// What comes of the record at `index` at this attempt. Nothing is sent, and a failure has no consequence.
    pub fn outcome<B: Batch>(&mut self, batch: &Rc<B>, index: usize, attempt: u32) -> Result<Outcome, Fault> {
        let settings = self.settings.clone();
        let mut made = Vec::new();
        let answer = self.once(batch, index, attempt, &mut |sent| {
            let output = &settings.outputs[sent.output];
            made.push(Made::of(&output.name, &output.topic, sent, &**batch, index));
            Ok(())
        })?;
        Ok(match answer {
            Ok(()) => Outcome { made, ..Outcome::default() },
            Err(failed) => Outcome { lost: Some(Lost::from(&failed)), ..Outcome::default() },
        })
    }
}

impl Outcome {
    /// The same without what each record says last of where it came from.
    pub fn without_provenance(mut self) -> Outcome {
        for made in &mut self.made {
            if let Some((_, own)) = Provenance::read(&made.headers) {
                made.headers.drain(own);
            }
        }
        self
    }

    /// No more than about so many bytes of it.
    pub fn cut(mut self, bytes: usize) -> Outcome {
        if self.bytes() <= bytes {
            return self;
        }
        let mut room = Room(bytes);
        self.made.retain_mut(|made| room.takes(size_of::<Made>()) && made.cut(&mut room));
        if let Some(lost) = &mut self.lost {
            lost.message.truncate(lost.message.floor_char_boundary(room.0));
        }
        self.is_cut = true;
        self
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let lost = self.lost.as_ref().map_or(0, |lost| lost.message.len());
        lost + self.made.iter().map(Made::bytes).sum::<usize>()
    }

    /// `{"outputs":[…],"failure":{…}}`: each output is a record as a JSON line has it, and the failure is left out where
    /// there is none.
    pub fn json(&self) -> String {
        let mut text = b"{\"outputs\":[".to_vec();
        for (at, made) in self.made.iter().enumerate() {
            text.extend_from_slice(if at > 0 { b"," } else { b"" });
            made.write(&mut text);
            // The line's end.
            text.pop();
        }
        text.push(b']');
        if let Some(Lost { kind, code, message, .. }) = &self.lost {
            let (code, message) = (json!(code), json!(message));
            let failure = format!(",\"failure\":{{\"kind\":\"{kind}\",\"code\":{code},\"message\":{message}}}");
            text.extend_from_slice(failure.as_bytes());
        }
        if self.is_cut {
            text.extend_from_slice(b",\"cut\":true");
        }
        text.push(b'}');
        String::from_utf8(text).expect("JSON is text")
    }
}

impl Made {
    /// A record on its way to this output, which came of the one at `index`.
    pub fn of(output: &str, topic: &str, sent: &Outgoing<'_>, batch: &dyn Batch, index: usize) -> Made {
        let kept = if sent.keep_headers { batch.headers(index) } else { Vec::new() };
        let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Made {
            output: output.to_owned(),
            topic: topic.to_owned(),
            partition: sent.partition,
            timestamp: sent.timestamp,
            key: bytes(sent.key),
            value: bytes(sent.value),
            headers: kept.iter().chain(sent.headers).cloned().collect(),
        }
    }

    /// What there is room for; there is some for what is there at all.
    fn cut(&mut self, room: &mut Room) -> bool {
        self.key.iter_mut().chain(&mut self.value).for_each(|part| room.cut(part));
        self.headers.retain_mut(|header| {
            let is_kept = room.takes(size_of::<Header>() + header.name.len());
            header.value.iter_mut().filter(|_| is_kept).for_each(|value| room.cut(value));
            is_kept
        });
        true
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|h| size_of::<Header>() + h.name.len() + length(&h.value));
        let texts = self.output.len() + self.topic.len();
        size_of::<Made>() + texts + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }

    /// Appends it as a line of JSON, with the output and the topic that it goes to.
    pub fn write(&self, to: &mut Vec<u8>) {
        let headers: Vec<_> = self.headers.iter().map(|h| (h.name.as_bytes(), h.value.as_deref())).collect();
        let shown = Shown {
            output: Some(&self.output),
            topic: Some(&self.topic),
            partition: self.partition,
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
            ..Shown::default()
        };
        OutputFormat::Json.write(&shown, to);
    }
}

impl From<&Failed> for Lost {
    fn from(failed: &Failed) -> Lost {
        let after_ms = match failed {
            Failed::Retry(later) => later.after_ms,
            _ => None,
        };
        let reason = failed.reason();
        Lost { kind: failed.kind(), code: code(reason.code.as_deref()), message: reason.message.clone(), after_ms }
    }
}

/// An empty one is none: a dead letter does not tell the two apart.
fn code(code: Option<&str>) -> Option<String> {
    code.filter(|code| !code.is_empty()).map(str::to_owned)
}

/// `reject unknown-currency: there is no XYZ`.
impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} {code}: {}", self.kind, self.message),
            None => write!(f, "{} {}", self.kind, self.message),
        }
    }
}

impl Lost {
    /// What a dead letter says of its record's failure; `None` when that is of no kind that this host knows.
    pub fn of(letter: &Letter) -> Option<Lost> {
        let kind = KINDS.into_iter().find(|kind| *kind == letter.kind)?;
        Some(Lost { kind, code: code(Some(&letter.code)), message: letter.message.clone(), after_ms: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reason;

    fn made(value: &[u8], headers: usize) -> Made {
        let header = Header { name: "name".into(), value: Some(vec![b'v'; 10]) };
        Made { value: Some(value.to_vec()), headers: vec![header; headers], ..Made::default() }
    }

    #[test]
    fn what_is_kept_of_a_large_outcome_is_bounded_and_says_so() {
        let small = Outcome { made: vec![made(b"v", 1)], ..Outcome::default() };
        assert_eq!(small.clone().cut(8 << 10), small);
        let lost = |length| Some(Lost { kind: "fault", code: None, message: "é".repeat(length), after_ms: None });
        for large in [
            Outcome { made: vec![made(&vec![b'x'; 1 << 20], 3); 2], ..Outcome::default() },
            Outcome { made: vec![made(b"", 0); 100_000], ..Outcome::default() },
            Outcome { made: vec![made(b"x", 100_000)], ..Outcome::default() },
            Outcome { lost: lost(100_000), ..Outcome::default() },
        ] {
            let cut = large.cut(8 << 10);
            assert!(cut.is_cut && (4 << 10..=8 << 10).contains(&cut.bytes()), "{}", cut.bytes());
            let json: serde_json::Value = serde_json::from_str(&cut.json()).expect("it is JSON");
            assert_eq!(json["cut"], true);
        }
    }

    #[test]
    fn a_failure_in_other_words_is_the_same_one() {
        let lost = |kind, code: &str, message: &str| Lost {
            kind,
            code: Some(code.into()),
            message: message.into(),
            after_ms: None,
        };
        assert_eq!(lost("reject", "asked", "one"), lost("reject", "asked", "other"));
        assert_ne!(lost("reject", "asked", ""), lost("reject", "other", ""));
        assert_ne!(lost("reject", "asked", ""), lost("fault", "asked", ""));
        assert_eq!(lost("reject", "asked", "no\nmore").to_string(), "reject asked: no\nmore");
        // As a guest says it, and as its letter does.
        let reason = Reason { code: Some(String::new()), message: String::new() };
        let letter = Letter { kind: "reject".into(), ..Letter::default() };
        assert_eq!(Some(Lost::from(&Failed::Reject(reason))), Lost::of(&letter));
    }
}
