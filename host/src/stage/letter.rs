//! What a dead letter says of its record, read from its headers; and which letters are meant.

use crate::record::Header;
use std::ops::Range;

/// What the names of a letter's own headers begin with.
pub(crate) const PREFIX: &str = "millstream.error.";
/// Which there are, in their order, and what each says. The last one is there only where it applies.
pub(crate) const HEADERS: [(&str, &str); 14] = [
    ("pipeline", "the pipeline that wrote the letter"),
    ("stage", "the stage that wrote it"),
    ("module", "the module that failed, as its digest"),
    ("topic", "the topic that the record came from"),
    ("partition", "its partition there"),
    ("offset", "its place there"),
    ("timestamp", "its own time, in milliseconds since 1970; empty when it had none"),
    ("kind", "what kind of failure it was"),
    ("code", "the failure's code; empty when it had none"),
    ("message", "the failure in words, at most 1 KiB"),
    ("attempts", "how often the record was tried"),
    ("at", "when it failed, in milliseconds since 1970"),
    ("host-version", "the host that wrote the letter"),
    ("cut", "how many bytes the record's value had, where the letter's topic took only a part of the record"),
];

/// What a dead letter says of its record, and of why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The pipeline that wrote it.
    pub pipeline: String,
    /// The stage that wrote it.
    pub stage: String,
    /// The module that failed, as its digest.
    pub module: String,
    /// The topic that the record came from.
    pub topic: String,
    /// Its partition there.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
    /// Its own time, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// What kind of failure it was: `reject`, `fault`, `limit` or `retry`.
    pub kind: String,
    /// The failure's code; empty when it had none.
    pub code: String,
    /// The failure in words.
    pub message: String,
    /// How often the record was tried.
    pub attempts: u32,
    /// When it failed, in milliseconds since 1970.
    pub at: i64,
    /// The host that wrote the letter.
    pub host_version: String,
    /// How many bytes the record's value had, where the letter holds only a part of the record.
    pub cut: Option<u64>,
}

impl Letter {
    /// What these headers say, and which of them say it: the others are the record's own. Of a letter of a letter, the
    /// last ones count. `None` when no host wrote them.
    pub fn read(headers: &[Header]) -> Option<(Letter, Range<usize>)> {
        let mut letter = Letter::default();
        let first = headers.iter().rposition(|header| name(header) == Some("pipeline"))?;
        let count = headers[first..].iter().take_while(|header| name(header).is_some()).count();
        let own = first..first + count;
        for header in &headers[own.clone()] {
            let text = || String::from_utf8_lossy(header.value.as_deref().unwrap_or_default()).into_owned();
            match name(header)? {
                "pipeline" => letter.pipeline = text(),
                "stage" => letter.stage = text(),
                "module" => letter.module = text(),
                "topic" => letter.topic = text(),
                "partition" => letter.partition = text().parse().ok()?,
                "offset" => letter.offset = text().parse().ok()?,
                "timestamp" => letter.timestamp = text().parse().ok(),
                "kind" => letter.kind = text(),
                "code" => letter.code = text(),
                "message" => letter.message = text(),
                "attempts" => letter.attempts = text().parse().ok()?,
                "at" => letter.at = text().parse().ok()?,
                "host-version" => letter.host_version = text(),
                "cut" => letter.cut = text().parse().ok(),
                // A later host may say more.
                _ => {}
            }
        }
        (!letter.topic.is_empty()).then_some((letter, own))
    }

    /// Where its record stood: `orders/0@17`.
    pub fn place(&self) -> String {
        format!("{}/{}@{}", self.topic, self.partition, self.offset)
    }

    /// Why it failed, in one line: `reject unknown-currency: there is no XYZ`.
    pub fn why(&self) -> String {
        match self.code.as_str() {
            "" => format!("{} {}", self.kind, self.message),
            code => format!("{} {code}: {}", self.kind, self.message),
        }
    }
}

/// A letter's own header, without what all of them begin with.
fn name(header: &Header) -> Option<&str> {
    header.name.strip_prefix(PREFIX)
}

/// Which letters are meant; all, when nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Those of these kinds.
    pub kinds: Vec<String>,
    /// Those of these codes.
    pub codes: Vec<String>,
    /// Those that were written at this time or later, in milliseconds since 1970.
    pub since: Option<i64>,
}

impl Choice {
    /// True when this letter is meant.
    pub fn is_met_by(&self, letter: &Letter) -> bool {
        let among = |chosen: &[String], of: &String| chosen.is_empty() || chosen.contains(of);
        among(&self.kinds, &letter.kind)
            && among(&self.codes, &letter.code)
            && self.since.is_none_or(|since| letter.at >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: Some(value.into()) }
    }

    /// The headers of a letter of this stage.
    fn letter(stage: &str) -> Vec<Header> {
        let all = [
            ("pipeline", "shop"),
            ("stage", stage),
            ("module", "sha256:0"),
            ("topic", "orders"),
            ("partition", "3"),
            ("offset", "17"),
            ("timestamp", ""),
            ("kind", "reject"),
            ("code", "asked"),
            ("message", "asked to reject"),
            ("attempts", "2"),
            ("at", "1700000000000"),
            ("host-version", "0.1.0"),
        ];
        all.iter().map(|(name, value)| header(&format!("{PREFIX}{name}"), value)).collect()
    }

    #[test]
    fn a_letter_says_where_its_record_came_from_and_why_it_failed() {
        let headers = [vec![header("a", "1"), header("a", "2")], letter("price")].concat();
        let (read, own) = Letter::read(&headers).expect("it is a letter");
        assert_eq!((read.place().as_str(), own), ("orders/3@17", 2..15));
        assert_eq!(read.why(), "reject asked: asked to reject");
        assert_eq!((read.timestamp, read.attempts, read.at, read.cut), (None, 2, 1_700_000_000_000, None));
    }

    #[test]
    fn of_a_letter_of_a_letter_the_last_headers_count() {
        let added = header("traced", "by somebody");
        let headers = [letter("first"), letter("second"), vec![added]].concat();
        let (read, own) = Letter::read(&headers).expect("it is a letter");
        assert_eq!((read.stage.as_str(), own), ("second", 13..26));
    }

    #[test]
    fn what_no_host_wrote_is_no_letter() {
        let without = |left_out: &str| {
            let is_other = |header: &Header| header.name != format!("{PREFIX}{left_out}");
            letter("price").into_iter().filter(is_other).collect::<Vec<_>>()
        };
        let wrong: Vec<_> = letter("price")
            .into_iter()
            .map(|h| if h.name.ends_with(".offset") { header(&h.name, "first") } else { h })
            .collect();
        for headers in [Vec::new(), vec![header("a", "1")], without("pipeline"), without("topic"), wrong] {
            assert_eq!(Letter::read(&headers), None, "{headers:?}");
        }
    }

    /// Whoever may write to the topic may write anything there.
    #[test]
    fn headers_of_any_kind_are_a_letter_or_none() {
        let names = letter("price").into_iter().map(|header| header.name).collect::<Vec<_>>();
        let mut letters = 0;
        for mut random in damage::tries(20_000) {
            let mut headers = [letter("first"), letter("second")].concat();
            headers.truncate(random.usize(13..=26));
            for _ in 0..random.usize(0..4) {
                let at = random.usize(0..headers.len());
                match random.u8(0..5) {
                    0 => drop(headers.remove(at)),
                    1 => headers[at].value = damage::maybe(&mut random, 30),
                    2 => headers[at].name = random.choice(&names).unwrap().clone(),
                    3 => headers.insert(at, Header { name: PREFIX.into(), value: damage::maybe(&mut random, 30) }),
                    _ => {
                        let mut value = headers[at].value.take().unwrap_or_default();
                        damage::harm(&mut random, &mut value);
                        headers[at].value = Some(value);
                    }
                }
            }
            let Some((letter, own)) = Letter::read(&headers) else { continue };
            letters += 1;
            assert!(!own.is_empty() && headers[own].iter().all(|header| header.name.starts_with(PREFIX)));
            assert!(!letter.topic.is_empty() && letter.why().starts_with(&letter.kind) && !letter.place().is_empty());
        }
        assert!(letters > 5000, "only {letters} were letters");
    }

    #[test]
    fn a_choice_is_met_in_all_that_it_says() {
        let (letter, _) = Letter::read(&letter("price")).expect("it is a letter");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (kinds, codes, since, is_met) in [
            (&[][..], &[][..], None, true),
            (&["fault", "reject"], &["asked"], Some(1_700_000_000_000), true),
            (&["fault"], &[], None, false),
            (&["reject"], &["other"], None, false),
            (&[], &[], Some(1_700_000_000_001), false),
        ] {
            let choice = Choice { kinds: words(kinds), codes: words(codes), since };
            assert_eq!(choice.is_met_by(&letter), is_met, "{choice:?}");
        }
    }
}
