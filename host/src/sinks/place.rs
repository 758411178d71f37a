//! Where in a record a value is taken from, as manifests say it.

use std::{fmt, str::FromStr};

/// A part of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its key, as text.
    Key,
    /// Its value, whole.
    Value,
    /// A field of its value, and of what lies in that.
    Field(Vec<String>),
    /// Its topic's name.
    Topic,
    /// Its partition's number.
    Partition,
    /// Its place in the partition.
    Offset,
    /// Its time.
    Timestamp,
    /// Its headers.
    Headers,
}

impl Place {
    /// What may be written.
    pub const WORDS: [&str; 7] = ["key", "value", "topic", "partition", "offset", "timestamp", "headers"];
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        Ok(match text {
            "key" => Place::Key,
            "value" => Place::Value,
            "topic" => Place::Topic,
            "partition" => Place::Partition,
            "offset" => Place::Offset,
            "timestamp" => Place::Timestamp,
            "headers" => Place::Headers,
            _ => {
                let path: Vec<_> = text.strip_prefix("value.").ok_or(())?.split('.').map(str::to_owned).collect();
                if path.iter().any(String::is_empty) {
                    return Err(());
                }
                Place::Field(path)
            }
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let word = match self {
            Place::Key => "key",
            Place::Value => "value",
            Place::Topic => "topic",
            Place::Partition => "partition",
            Place::Offset => "offset",
            Place::Timestamp => "timestamp",
            Place::Headers => "headers",
            Place::Field(path) => return write!(f, "value.{}", path.join(".")),
        };
        f.write_str(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        for text in Place::WORDS.into_iter().chain(["value.id", "value.customer.name", "value.value"]) {
            let place: Place = text.parse().expect(text);
            assert_eq!(place.to_string(), text);
        }
        for text in ["", "id", "value.", "value..a", "Key", "key.id", "headers.a"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
