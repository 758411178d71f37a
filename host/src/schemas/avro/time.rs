//! Dates and times as text, in their own precision. What no calendar has is the bare number that it is.

use super::{Misfit, json::Json};
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    fmt::temporal::DateTimePrinter,
    tz::Offset,
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    /// How many nanoseconds it has.
    fn nanos(self) -> i128 {
        match self {
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        }
    }

    /// How many digits a second has behind its point.
    fn digits(self) -> u8 {
        match self {
            Unit::Millis => 3,
            Unit::Micros => 6,
            Unit::Nanos => 9,
        }
    }

    fn count(self, nanos: i128, json: &Json<'_>) -> Result<i64, Misfit> {
        if nanos.rem_euclid(self.nanos()) != 0 {
            return Err(Misfit::new(format!("{json} has more than {} digits of a second", self.digits())));
        }
        i64::try_from(nanos.div_euclid(self.nanos())).map_err(|_| Misfit::new(format!("{json} is out of range")))
    }

    fn printer(self) -> DateTimePrinter {
        DateTimePrinter::new().precision(Some(self.digits()))
    }
}

const DAY_NANOS: i128 = 86_400 * 1_000_000_000;

/// `2026-01-31`; nothing where no calendar reaches.
pub(super) fn date(days: i32) -> Option<String> {
    let noon = Timestamp::from_second(i64::from(days) * 86_400).ok()?;
    Some(Offset::UTC.to_datetime(noon).date().to_string())
}

/// `12:34:56.789`; nothing for what is no time of a day.
pub(super) fn time(count: i64, unit: Unit) -> Option<String> {
    let nanos = i128::from(count) * unit.nanos();
    let at = Timestamp::from_nanosecond(nanos).ok().filter(|_| (0..DAY_NANOS).contains(&nanos))?;
    Some(unit.printer().time_to_string(&Offset::UTC.to_datetime(at).time()))
}

/// `2026-01-31T12:34:56.789Z`, without the `Z` for one that is local.
pub(super) fn timestamp(count: i64, unit: Unit, is_local: bool) -> Option<String> {
    let at = Timestamp::from_nanosecond(i128::from(count) * unit.nanos()).ok()?;
    Some(match is_local {
        true => unit.printer().datetime_to_string(&Offset::UTC.to_datetime(at)),
        false => unit.printer().timestamp_to_string(&at),
    })
}

/// The days since 1970.
pub(super) fn days(json: &Json<'_>) -> Result<i32, Misfit> {
    let wrong = || Misfit::new(format!("{json} is no date: write one such as \"2026-01-31\""));
    let days = match json {
        Json::Text(text) => {
            // What stands behind a date would be passed over.
            let date: Date = text.parse().ok().filter(|_| text.len() <= 13 && !text.contains('T')).ok_or_else(wrong)?;
            let midnight = Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|_| wrong())?;
            i128::from(midnight.as_second() / 86_400)
        }
        json => json.whole().ok_or_else(wrong)?,
    };
    i32::try_from(days).map_err(|_| Misfit::new(format!("{json} is out of range")))
}

/// The time since midnight.
pub(super) fn since_midnight(json: &Json<'_>, unit: Unit) -> Result<i64, Misfit> {
    let wrong = || Misfit::new(format!("{json} is no time of a day: write one such as \"12:34:56.789\""));
    match json {
        Json::Text(text) => {
            let time: Time = text.parse().ok().filter(|_| !text.contains(['T', '-'])).ok_or_else(wrong)?;
            let at = Offset::UTC.to_timestamp(Date::constant(1970, 1, 1).to_datetime(time)).map_err(|_| wrong())?;
            unit.count(at.as_nanosecond(), json)
        }
        json => i64::try_from(json.whole().ok_or_else(wrong)?).map_err(|_| wrong()),
    }
}

/// The time since 1970.
pub(super) fn since_epoch(json: &Json<'_>, unit: Unit, is_local: bool) -> Result<i64, Misfit> {
    let zone = if is_local { "" } else { "Z" };
    let wrong = || Misfit::new(format!("{json} is no timestamp: write one such as \"2026-01-31T12:34:56{zone}\""));
    match json {
        Json::Text(text) if is_local => {
            let local: DateTime = text.parse().ok().filter(|_| !text.contains('[')).ok_or_else(wrong)?;
            unit.count(Offset::UTC.to_timestamp(local).map_err(|_| wrong())?.as_nanosecond(), json)
        }
        Json::Text(text) => {
            let at: Timestamp = text.parse().map_err(|_| wrong())?;
            unit.count(at.as_nanosecond(), json)
        }
        json => i64::try_from(json.whole().ok_or_else(wrong)?).map_err(|_| wrong()),
    }
}
