//! Records on their way in.

use super::{Entry, json};
use crate::text::count;
use std::{
    io::{self, BufRead, BufReader, Read},
    str::FromStr,
};

/// The longest line: far more than a log takes as one record.
pub const LINE_BYTES: usize = 128 << 20;
/// How much is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// A line is a value.
    #[default]
    Lines,
    /// A line is a record in JSON.
    Json,
}

/// What is to be made of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is a value, byte for byte; where there is a separator, what stands before the first one is the key.
    Lines {
        /// What parts key and value.
        key_separator: Option<Separator>,
    },
    /// It is a record in JSON; a blank one is passed over.
    Json,
}

impl Input {
    /// Puts together what was asked for.
    pub fn new(format: InputFormat, key_separator: Option<Separator>) -> Result<Input, String> {
        match (format, key_separator) {
            (InputFormat::Lines, key_separator) => Ok(Input::Lines { key_separator }),
            (InputFormat::Json, None) => Ok(Input::Json),
            (InputFormat::Json, Some(_)) => {
                Err("a record in JSON says its key itself: leave `--key-separator` out".into())
            }
        }
    }
}

/// What parts key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Separator(Vec<u8>);

/// As typed: a shell makes it hard to type a tab, so `\t` is one, as `\xNN` is any byte.
impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Separator, String> {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        loop {
            let (byte, length) = match rest {
                [b'\\', b't', ..] => (b'\t', 2),
                [b'\\', b'\\', ..] => (b'\\', 2),
                [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let digit = |byte: u8| char::from(byte).to_digit(16).map_or(0, |digit| digit as u8);
                    (digit(*high) << 4 | digit(*low), 4)
                }
                [b'\\', ..] => return Err(r"write `\t`, `\xNN` or `\\` where a backslash stands".into()),
                [byte, ..] => (*byte, 1),
                [] => break,
            };
            bytes.push(byte);
            rest = &rest[length..];
        }
        match bytes.as_slice() {
            [] => Err(r"write what stands between key and value, such as `:` or `\t`".into()),
            bytes if bytes.contains(&b'\n') => Err("a line ends a record, so it parts no key from a value".into()),
            _ => Ok(Separator(bytes)),
        }
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// This line is wrong; the ones behind it can be read.
    #[error("line {line}: {why}")]
    Wrong {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing more can be read.
    #[error("the input cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Reads records, one a line. A last line may lack its end.
pub struct Lines<R> {
    from: BufReader<R>,
    input: Input,
    line: u64,
    longest: usize,
    buffer: Vec<u8>,
}

impl<R: Read> Lines<R> {
    /// The lines of a file, a pipe, or a terminal.
    pub fn new(from: R, input: Input) -> Lines<R> {
        let from = BufReader::with_capacity(BUFFER_BYTES, from);
        Lines { from, input, line: 0, longest: LINE_BYTES, buffer: Vec::new() }
    }

    /// The line that was read last, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// True when a line lies ready, so that to read it is not to wait for it.
    pub fn is_ready(&self) -> bool {
        self.from.buffer().contains(&b'\n')
    }

    /// The next record; `None` when there are no more.
    pub fn next_record(&mut self) -> Result<Option<Entry>, LineError> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            let entry = match &self.input {
                Input::Json if self.buffer.trim_ascii().is_empty() => continue,
                Input::Json => json::parse(&self.buffer),
                Input::Lines { key_separator: None } => Ok(whole(std::mem::take(&mut self.buffer))),
                Input::Lines { key_separator: Some(separator) } => parted(&self.buffer, separator),
            };
            return entry.map(Some).map_err(|why| LineError::Wrong { line: self.line, why });
        }
    }

    /// Reads one line without its end; false when there are no more.
    fn read_line(&mut self) -> Result<bool, LineError> {
        self.buffer.clear();
        let limit = self.longest as u64 + 1;
        if self.from.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
        } else if self.buffer.len() > self.longest {
            self.from.skip_until(b'\n')?;
            self.buffer = Vec::new();
            let why = format!("it has more than {}, the most a line may have", count(self.longest as u64, "byte"));
            return Err(LineError::Wrong { line: self.line, why });
        }
        Ok(true)
    }
}

fn whole(line: Vec<u8>) -> Entry {
    Entry { value: Some(line), ..Entry::default() }
}

fn parted(line: &[u8], Separator(separator): &Separator) -> Result<Entry, String> {
    let at = line.windows(separator.len()).position(|window| window == &separator[..]).ok_or_else(|| {
        let shown = separator.escape_ascii();
        format!("it has no `{shown}`: write `KEY{shown}VALUE`, or leave `--key-separator` out")
    })?;
    let (key, value) = (&line[..at], &line[at + separator.len()..]);
    Ok(Entry { key: Some(key.to_vec()), value: Some(value.to_vec()), ..Entry::default() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(separator: Option<&str>) -> Input {
        Input::Lines { key_separator: separator.map(|text| text.parse().unwrap()) }
    }

    fn read(input: Input, bytes: &[u8]) -> Vec<Result<Entry, String>> {
        let mut lines = Lines { longest: 64, ..Lines::new(bytes, input) };
        std::iter::from_fn(|| lines.next_record().map_err(|error| error.to_string()).transpose()).collect()
    }

    fn json(line: &str) -> Result<Entry, String> {
        json::parse(line.as_bytes())
    }

    fn value(bytes: &[u8]) -> Result<Entry, String> {
        Ok(whole(bytes.to_vec()))
    }

    #[test]
    fn a_line_is_a_value_byte_for_byte() {
        assert_eq!(read(lines(None), b""), []);
        assert_eq!(
            read(lines(None), b"a\n\n\xff\0\r\nlast"),
            [value(b"a"), value(b""), value(b"\xff\0\r"), value(b"last")]
        );
    }

    #[test]
    fn a_key_stands_before_the_first_separator() {
        let entry = |key: &[u8], value: &[u8]| {
            Ok(Entry { key: Some(key.to_vec()), value: Some(value.to_vec()), ..Entry::default() })
        };
        assert_eq!(
            read(lines(Some("::")), b"a::b::c\n::\n\xff::\xfe\nnone:\nd::"),
            [
                entry(b"a", b"b::c"),
                entry(b"", b""),
                entry(b"\xff", b"\xfe"),
                Err("line 4: it has no `::`: write `KEY::VALUE`, or leave `--key-separator` out".into()),
                entry(b"d", b""),
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_passed() {
        let long = [&[b'x'; 65][..], b"\n", &[b'y'; 64], b"\n", &[b'z'; 200]].concat();
        let refused = |line| Err(format!("line {line}: it has more than 64 bytes, the most a line may have"));
        assert_eq!(read(lines(None), &long), [refused(1), value(&[b'y'; 64]), refused(3)]);
    }

    #[test]
    fn only_a_whole_line_is_ready() {
        let mut lines = Lines::new(&b"a\nb\nc"[..], lines(None));
        assert!(!lines.is_ready(), "nothing was read");
        let mut ready = || lines.next_record().unwrap().map(|_| (lines.line(), lines.is_ready()));
        assert_eq!([ready(), ready(), ready(), ready()], [Some((1, true)), Some((2, false)), Some((3, false)), None]);
    }

    #[test]
    fn separators_are_typed_as_a_shell_lets_them() {
        for (text, bytes) in [(":", &b":"[..]), (r"\t", b"\t"), (r"\x00|\\", b"\0|\\"), ("→", "→".as_bytes())] {
            assert_eq!(text.parse(), Ok(Separator(bytes.to_vec())));
        }
        for text in ["", "\n", r"\x0a", r"\n", r"\x", r"\x+1", r"a\"] {
            assert!(text.parse::<Separator>().is_err(), "{text:?}");
        }
        assert!(Input::new(InputFormat::Json, Some(Separator(vec![b':']))).is_err());
    }

    #[test]
    fn only_the_value_of_a_json_line_must_be_there() {
        assert_eq!(json(r#"{"value":"v"}"#), value(b"v"));
        assert_eq!(json(r#" {"value":null, "key":null, "timestamp":null} "#), Ok(Entry::default()));
        assert_eq!(json(r#"{"value":{"base64":""}}"#), value(b""));
        let all = r#"{"output":"main","topic":"t","partition":3,"offset":7,"timestamp":-1,"key":{"base64":"/w=="},
            "value":"\u0000é","headers":[["a","1"],["b",null],[{"base64":"/w=="},""]]}"#;
        assert_eq!(
            json(all),
            Ok(Entry {
                key: Some(vec![0xff]),
                value: Some("\0é".into()),
                headers: vec![(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None), (vec![0xff], Some(vec![]))],
                timestamp: Some(-1),
                partition: Some(3),
                offset: Some(7),
            })
        );
        assert_eq!(
            read(Input::Json, b"\n \r\n{\"value\":\"a\"}\n\n{\"key\":1}"),
            [
                value(b"a"),
                Err("line 5: invalid type: integer `1`, expected text in quotes, or {\"base64\": \"…\"}, at column 8"
                    .into())
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_json_line_is_said() {
        for (line, words) in [
            ("", "EOF while parsing a value: a record is one line"),
            (r#"{"value":"#, "EOF while parsing a value: a record is one line"),
            (r#"{"key":"k"}"#, "missing field `value`, at column 11"),
            (r#"{"value":"v","value":"w"}"#, "duplicate field `value`, at column 20"),
            (
                r#"{"vlaue":"v"}"#,
                "unknown field `vlaue`, expected one of `output`, `topic`, `partition`, `offset`, \
                                  `timestamp`, `key`, `value`, `headers`, at column 8",
            ),
            (
                r#"{"value":{"a":1}}"#,
                "invalid type: map, expected text in quotes, or {\"base64\": \"…\"}, at column 13",
            ),
            (r#"{"value":{}}"#, "invalid type: map, expected text in quotes, or {\"base64\": \"…\"}, at column 11"),
            (
                r#"{"value":{"base64":"/w==","a":1}}"#,
                "invalid type: map, expected text in quotes, or {\"base64\": \
                                                      \"…\"}, at column 29",
            ),
            (r#"{"value":{"base64":"/w"}}"#, "no base64: Invalid padding: \"/w\", at column 24"),
            (r#"{"value":{"base64":"?w=="}}"#, "no base64: Invalid symbol 63, offset 0.: \"?w==\", at column 26"),
            (r#"{"value":"v","partition":-1}"#, "invalid value: integer `-1`, expected u32, at column 27"),
            (r#"{"value":"v","headers":[["a"]]}"#, "invalid length 1, expected a tuple of size 2, at column 29"),
            (r#"{"value":"v"} x"#, "trailing characters, at column 15"),
            ("v", "expected value, at column 1"),
            ("5", "invalid type: integer `5`, expected a record, such as {\"value\": \"v\"}, at column 1"),
        ] {
            assert_eq!(json(line), Err(words.to_owned()), "{line}");
        }
        assert!(json::parse(b"{\"value\":\"\xff\"}").is_err());
    }
}
