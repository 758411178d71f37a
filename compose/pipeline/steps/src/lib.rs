//! A stage: how many steps a number takes to come to 1, when each step halves an even number, and takes an odd one to
//! three times as much and one more. Nobody knows why all that were ever tried come there.

use millstream::{Bytes, Failure, Reason, Record, code, record, reject};

millstream::stage!(steps);

/// `7` → `{"number":7,"steps":16,"highest":52}`, under its number as the key
fn steps(_key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let text = String::from_utf8(value.unwrap_or_default()).map_err(reject)?;
    let number = text.parse().map_err(|_| reject(code("no-number", format!("`{text}` is no whole number"))))?;
    let (steps, highest) = walk(number).map_err(reject)?;
    let found = format!(r#"{{"number":{number},"steps":{steps},"highest":{highest}}}"#);
    Ok(vec![record(number.to_string(), found)])
}

/// How many steps there are, and the highest number on the way.
fn walk(number: i64) -> Result<(u32, i64), Reason> {
    if number < 1 {
        return Err(code("never", format!("{number} never comes to 1")));
    }
    let (mut at, mut steps, mut highest) = (number, 0, number);
    while at != 1 {
        let up = || at.checked_mul(3)?.checked_add(1);
        let too_far = || code("too-far", "a number on the way is too large");
        at = if at % 2 == 0 { at / 2 } else { up().ok_or_else(too_far)? };
        highest = highest.max(at);
        steps += 1;
    }
    Ok((steps, highest))
}
