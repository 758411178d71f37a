//! JSON as it is encoded from: borrowed from its text, its keys in their order, its numbers exact.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use std::{borrow::Cow, fmt};

/// A value.
#[derive(Debug)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// A number without a point, as far as 64 bits hold it.
    Whole(i128),
    /// Any other number.
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// What kinds of JSON a place takes, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NULL: Kinds = Kinds(1);
    pub(super) const BOOL: Kinds = Kinds(2);
    pub(super) const NUMBER: Kinds = Kinds(4);
    pub(super) const TEXT: Kinds = Kinds(8);
    pub(super) const LIST: Kinds = Kinds(16);
    pub(super) const MAP: Kinds = Kinds(32);

    pub(super) const fn or(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub(super) fn takes(self, json: &Json<'_>) -> bool {
        self.0 & json.kind().0 != 0
    }
}

impl Json<'_> {
    /// Reads a text.
    pub(super) fn read(text: &[u8]) -> Result<Json<'_>, serde_json::Error> {
        serde_json::from_slice(text)
    }

    fn kind(&self) -> Kinds {
        match self {
            Json::Null => Kinds::NULL,
            Json::Bool(_) => Kinds::BOOL,
            Json::Whole(_) | Json::Float(_) => Kinds::NUMBER,
            Json::Text(_) => Kinds::TEXT,
            Json::List(_) => Kinds::LIST,
            Json::Map(_) => Kinds::MAP,
        }
    }

    /// A whole number, however it is written: `5.0` is one too, as far as a double is exact.
    pub(super) fn whole(&self) -> Option<i128> {
        const EXACT: f64 = (1_u64 << 53) as f64;
        match self {
            Json::Whole(number) => Some(*number),
            Json::Float(number) if number.fract() == 0.0 && number.abs() < EXACT => Some(*number as i128),
            _ => None,
        }
    }
}

/// A value in a message: its beginning, when it is long.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(truth) => write!(f, "{truth}"),
            Json::Whole(number) => write!(f, "{number}"),
            Json::Float(number) => write!(f, "{number:?}"),
            Json::Text(text) => {
                let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
                let more = if end < text.len() { "…" } else { "" };
                write!(f, "{}{more}", serde_json::Value::from(&text[..end]))
            }
            Json::List(_) => f.write_str("a list"),
            Json::Map(_) => f.write_str("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Json<'de>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<Json<'de>, E> {
                Ok(Json::Bool(truth))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Json<'de>, E> {
                Ok(Json::Whole(number.into()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Json<'de>, E> {
                Ok(Json::Whole(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Json<'de>, E> {
                Ok(Json::Float(number))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
                Ok(Json::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Json::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some((Key(key), value)) = entries.next_entry()? {
                    all.push((key, value));
                }
                Ok(Json::Map(all))
            }
        }
        from.deserialize_any(Visit)
    }
}

/// A key, borrowed where nothing in it is escaped. (`Cow` by itself is never borrowed by serde.)
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key<'de>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Visit)
    }
}
