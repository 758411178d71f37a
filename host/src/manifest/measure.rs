//! Numbers, durations and sizes, each with its bounds in its type: the message, the schema and the check cannot
//! drift apart.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, Unexpected, Visitor},
};
use std::{borrow::Cow, fmt, time::Duration};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number, in a type that holds `MAX`.
    pub(super) fn get<N: TryFrom<u64>>(self) -> N {
        let number = N::try_from(self.0).ok();
        number.expect("the greatest number fits the type that is asked for")
    }
}

impl<'d, const MIN: u64, const MAX: u64> Deserialize<'d> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Visit<MIN, MAX> {
            type Value = Count<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count<MIN, MAX>, E> {
                if !(MIN..=MAX).contains(&number) {
                    return Err(E::invalid_value(Unexpected::Unsigned(number), &self));
                }
                Ok(Count(number))
            }
        }
        deserializer.deserialize_u64(Visit)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A unit and what it stands for, the smallest first.
type Units = [(&'static str, u64); 4];
const TIMES: Units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZES: Units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `64MiB` in the smallest unit; `None` when it is not written like that.
fn parse(text: &str, units: &Units) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The milliseconds of a duration such as `250ms`.
pub(super) fn parse_millis(text: &str) -> Option<u64> {
    parse(text, &TIMES)
}

/// The other way round, in the greatest unit that leaves no rest.
fn show(amount: u64, units: &Units) -> String {
    let (name, factor) =
        units.iter().rev().find(|(_, factor)| amount > 0 && amount.is_multiple_of(*factor)).unwrap_or(&units[0]);
    format!("{}{name}", amount / factor)
}

fn read<E: de::Error>(text: &str, units: &Units, min: u64, max: u64, like: &str) -> Result<u64, E> {
    match parse(text, units) {
        Some(amount) if (min..=max).contains(&amount) => Ok(amount),
        Some(_) => {
            let expected = format!("{like} from `{}` to `{}`", show(min, units), show(max, units));
            Err(E::invalid_value(Unexpected::Str(text), &&*expected))
        }
        None => {
            let example = if units[0].0 == "ms" { "`250ms`, `10s` or `5m`" } else { "`64MiB`, `8KiB` or `1GiB`" };
            Err(E::invalid_value(Unexpected::Str(text), &&*format!("{like} such as {example}")))
        }
    }
}

/// A duration between so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millis<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> From<Millis<MIN, MAX>> for Duration {
    fn from(millis: Millis<MIN, MAX>) -> Self {
        Duration::from_millis(millis.0)
    }
}

impl<'d, const MIN: u64, const MAX: u64> Deserialize<'d> for Millis<MIN, MAX> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text, &TIMES, MIN, MAX, "a duration").map(Millis)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Millis<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Millis".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" })
    }
}

/// A size between so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<'d, const MIN: u64, const MAX: u64> Deserialize<'d> for Bytes<MIN, MAX> {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text, &SIZES, MIN, MAX, "a size").map(Bytes)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Bytes<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }
}
