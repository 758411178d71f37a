//! A source: what people post, one at each poll. It writes JSON; the topic's schema makes Avro of it.
//!
//! Configuration: `count` is how many posts there are.

use millstream::{Batch, Bytes, PollFailure, config, record, stop};

millstream::source!(feed);

const AUTHORS: [&str; 3] = ["ada", "grace", "linus"];
/// As they stand in JSON, and as carelessly as they were typed.
const TEXTS: [&str; 5] = [
    r"  a great morning,\n\n great coffee   #Berlin",
    r"#rust is great and #wasm is good",
    r"   ",
    r"lost my keys. a sad day #berlin #monday",
    r"nobody has to know",
];
/// The time of the first post; a minute lies between two of them.
const FIRST: u64 = 1_767_225_600_000;

/// The position is the number of the post that comes next.
fn feed(position: Bytes) -> Result<Batch, PollFailure> {
    let count: u64 = config::get("count").unwrap_or("100".into()).parse().map_err(stop)?;
    let next: u64 = match position {
        None => 0,
        Some(text) => String::from_utf8_lossy(&text).parse().map_err(stop)?,
    };
    if next >= count {
        return Ok(Batch::empty().done(true));
    }
    let author = AUTHORS[next as usize % AUTHORS.len()];
    let text = TEXTS[next as usize % TEXTS.len()];
    let at = FIRST + next * 60_000;
    // A time is understood as a number, too. The language is left out: the schema has a default.
    let post = format!(r#"{{"id": {next}, "author": "{author}", "text": "{text}", "at": {at}}}"#);
    Ok(Batch::of([record(author, post)]).at((next + 1).to_string()).done(next + 1 == count))
}
