//! Dates and times as text, in their own precision. What no calendar has is the bare number that it is.

use super::{Misfit, json::Json};
use jiff::{
    SignedDuration,
    civil::{DateTime, Time},
    fmt::temporal::{DateTimePrinter, Pieces},
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

const SECOND_NANOS: i128 = 1_000_000_000;
const DAY_NANOS: i128 = 86_400 * SECOND_NANOS;
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// What a calendar shows so long after 1970 began. (An instant of its library ends before the last day of year 9999 does,
/// which stands for "for ever" in many tables.)
fn civil(nanos: i128) -> Option<DateTime> {
    let seconds = i64::try_from(nanos.div_euclid(SECOND_NANOS)).ok()?;
    let rest = i32::try_from(nanos.rem_euclid(SECOND_NANOS)).ok()?;
    EPOCH.checked_add(SignedDuration::new(seconds, rest)).ok()
}

/// `2026-01-31`; nothing where no calendar reaches.
pub(super) fn date(days: i32) -> Option<String> {
    Some(civil(i128::from(days) * DAY_NANOS)?.date().to_string())
}

/// `12:34:56.789`; nothing for what is no time of a day.
pub(super) fn time(count: i64, unit: Unit) -> Option<String> {
    let nanos = i128::from(count) * unit.nanos();
    let at = civil(nanos).filter(|_| (0..DAY_NANOS).contains(&nanos))?;
    Some(unit.printer().time_to_string(&at.time()))
}

/// `2026-01-31T12:34:56.789Z`, without the `Z` for one that is local.
pub(super) fn timestamp(count: i64, unit: Unit, is_local: bool) -> Option<String> {
    let zone = if is_local { "" } else { "Z" };
    let at = civil(i128::from(count) * unit.nanos())?;
    Some(unit.printer().datetime_to_string(&at) + zone)
}

/// The days since 1970.
pub(super) fn days(json: &Json<'_>) -> Result<i32, Misfit> {
    let wrong = || Misfit::new(format!("{json} is no date: write one such as \"2026-01-31\""));
    let days = match json {
        Json::Text(text) => {
            let pieces = Pieces::parse(text.as_bytes()).ok().filter(|it| it.time().is_none() && has_no_zone(it));
            let midnight = pieces.ok_or_else(wrong)?.date().at(0, 0, 0, 0);
            midnight.duration_since(EPOCH).as_nanos() / DAY_NANOS
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
            // What stands before or behind a time would be passed over.
            let is_bare = text.bytes().all(|byte| byte.is_ascii_digit() || b":.,".contains(&byte));
            let time: Time = text.parse().ok().filter(|_| is_bare).ok_or_else(wrong)?;
            unit.count(time.duration_since(Time::midnight()).as_nanos(), json)
        }
        json => i64::try_from(json.whole().ok_or_else(wrong)?).map_err(|_| wrong()),
    }
}

/// The time since 1970.
pub(super) fn since_epoch(json: &Json<'_>, unit: Unit, is_local: bool) -> Result<i64, Misfit> {
    let zone = if is_local { "" } else { "Z" };
    let wrong = || Misfit::new(format!("{json} is no timestamp: write one such as \"2026-01-31T12:34:56{zone}\""));
    match json {
        Json::Text(text) => {
            let pieces = Pieces::parse(text.as_bytes()).map_err(|_| wrong())?;
            let ahead = match is_local {
                true => has_no_zone(&pieces).then_some(0),
                false => pieces.to_numeric_offset().map(|offset| i128::from(offset.seconds())),
            };
            let (Some(time), Some(ahead)) = (pieces.time(), ahead) else { return Err(wrong()) };
            let at = pieces.date().to_datetime(time).duration_since(EPOCH);
            unit.count(at.as_nanos() - ahead * SECOND_NANOS, json)
        }
        json => i64::try_from(json.whole().ok_or_else(wrong)?).map_err(|_| wrong()),
    }
}

fn has_no_zone(pieces: &Pieces<'_>) -> bool {
    pieces.offset().is_none() && pieces.time_zone_annotation().is_none()
}
