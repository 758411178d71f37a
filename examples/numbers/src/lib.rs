//! A source: the numbers from 0 to 999, as JSON, one at each poll.

use millstream::{Batch, Bytes, PollFailure, record, stop};

millstream::source!(numbers);

const LAST: u32 = 999;

/// The position is the number that comes next.
fn numbers(position: Bytes) -> Result<Batch, PollFailure> {
    let next: u32 = match position {
        None => 0,
        Some(text) => String::from_utf8_lossy(&text).parse().map_err(stop)?,
    };
    if next > LAST {
        return Ok(Batch::empty().done(true));
    }
    let record = record(next.to_string(), format!("{{\"number\": {next}}}"));
    Ok(Batch::of([record]).at((next + 1).to_string()).done(next == LAST))
}
