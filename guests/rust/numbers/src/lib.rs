//! A source of the numbers from 0 on, a record each. Its position is the number that comes next.
//!
//! Configuration: `count` is how many there are (without it they never end), `batch` how many a poll brings (1).

use millstream::{Batch, Bytes, PollFailure, code, config, record, stop};
use std::str::FromStr;

millstream::source!(poll);
millstream::open!(open);

fn poll(position: Bytes) -> Result<Batch, PollFailure> {
    let next = match position {
        Some(position) => read(&position)?,
        None => 0,
    };
    let (count, batch) = (setting("count", u64::MAX).map_err(stop)?, setting("batch", 1).map_err(stop)?);
    let end = next.saturating_add(batch).min(count);
    let numbers = (next..end).map(|number| record(None, number.to_string()));
    Ok(Batch::of(numbers).at(end.max(next).to_string()).done(end >= count))
}

fn open() -> Result<(), String> {
    setting::<u64>("count", 0).and(setting("batch", 1)).map(|_: u64| ())
}

fn read(position: &[u8]) -> Result<u64, PollFailure> {
    let text = String::from_utf8_lossy(position);
    text.parse().map_err(|_| stop(code("position", format!("`{text}` is no number to go on from"))))
}

fn setting<T: FromStr>(name: &str, default: T) -> Result<T, String> {
    let Some(text) = config::get(name) else { return Ok(default) };
    text.parse().map_err(|_| format!("`{name}: {text}` is not a number"))
}
