//! How numbers, lists and the words of others are written for people.

use std::{borrow::Cow, fmt::Write};

/// The longest line of somebody else's words, before it is escaped.
pub const LINE_BYTES: usize = 1024;

/// A number with its thousands apart: `12,345,678`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 record`, `2 records`.
pub fn count(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Words that move no cursor and end no line: control characters stand there by their numbers, as JSON has them.
pub fn inert(words: &str) -> Cow<'_, str> {
    if !words.contains(char::is_control) {
        return words.into();
    }
    let mut text = String::with_capacity(words.len() + 5);
    for c in words.chars() {
        match c.is_control() {
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    text.into()
}

/// Somebody else's words as one line of a log or of a terminal: cut where they are too long, and with what would move a
/// cursor or look like another line written out.
pub fn escaped(words: &str) -> String {
    let end = words.floor_char_boundary(LINE_BYTES);
    let mut line = String::with_capacity(end);
    for c in words[..end].chars() {
        match c {
            c if c.is_control() || reorders(c) => {
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
    if end < words.len() {
        line.push('…');
    }
    line
}

/// Characters that break a line or turn its direction without being control characters.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The one of `known` that somebody who wrote `word` probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        .filter(|(distance, other)| *distance <= word.len().max(other.len()) / 3)
        .min()
        .map(|(_, other)| other)
}

/// Words without the values that must not be shown.
pub fn conceal(words: &str, hidden: &[&str]) -> String {
    let mut hidden: Vec<_> = hidden.iter().flat_map(|value| [*value, value.trim()]).collect();
    // The longest first, as one may hold another.
    hidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
    hidden.iter().filter(|value| !value.is_empty()).fold(words.to_owned(), |words, value| match value.len() {
        // A short one may be a part of any word.
        ..4 => {
            let is_it = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()) == *value || word == *value;
            words.split(' ').map(|word| if is_it(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
        }
        _ => words.replace(value, "…"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!((count(1, "record").as_str(), count(1000, "record").as_str()), ("1 record", "1,000 records"));
    }

    #[test]
    fn what_moves_a_cursor_is_written_out() {
        let json = serde_json::to_string("a\u{7f}\u{80}ü\u{9b}2J\u{9f}\u{a0}\n\u{1b}").expect("it is text");
        assert_eq!(inert(&json), "\"a\\u007f\\u0080ü\\u009b2J\\u009f\u{a0}\\n\\u001b\"");
        assert_eq!(inert("one\nline"), "one\\u000aline");
        assert_eq!(inert("as it is"), "as it is");
    }

    #[test]
    fn what_is_concealed_is_gone() {
        assert_eq!(
            conceal("no provider for swordfish2: swordfish", &["swordfish", "swordfish2"]),
            "no provider for …: …"
        );
        assert_eq!(conceal("value \"5\" is outside 0..15", &["5", ""]), "value … is outside 0..15");
        assert_eq!(conceal("says abcd\n", &["abcd\n"]), "says …");
        assert_eq!(conceal("nothing to hide", &[]), "nothing to hide");
    }
}
