//! Orders go on to `main`, large ones to `large` as well. An order's value is its amount in cents; its header `kind`
//! may say `test`, which goes nowhere, or `held`, which is to come a second time.
//!
//! Configuration: `large` is the amount from which on an order is large (100000), `hold-ms` how long one is held
//! (without it, the stage's back-off).

use millstream::{Bytes, Failure, Record, code, config, context, fault, record, reject, retry, retry_after};

millstream::stage!(route);

fn route(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let Some(order) = value else { return Ok(vec![record(key, None)]) };
    let origin = context::origin();
    let kind = context::header("kind");
    match kind.as_deref() {
        Some(b"test") => return Ok(vec![]),
        Some(b"held") if origin.attempt == 1 => {
            let reason = code("held", "the order is held");
            return Err(match setting("hold-ms")? {
                Some(ms) => retry_after(ms, reason),
                None => retry(reason),
            });
        }
        _ => {}
    }

    let amount = number(&order).ok_or_else(|| reject(code("no-number", "the amount is not a number of cents")))?;
    let main = record(key, order.clone()).null_header("checked").header("route", "main");
    if amount < setting("large")?.unwrap_or(100_000) {
        return Ok(vec![main]);
    }
    let large = record(kind.unwrap_or("plain".into()), order)
        .to("large")
        .replace_headers()
        .header("from", origin.topic)
        .header("from", format!("{}/{}@{}", origin.input, origin.partition, origin.offset))
        .null_header("checked");
    // Those of a minute stand together.
    let large = match origin.timestamp {
        Some(time) => large.at(time - time % 60_000),
        None => large,
    };
    Ok(vec![main.header("route", "large"), large])
}

fn setting(name: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = config::get(name) else { return Ok(None) };
    let number = number(text.as_bytes()).ok_or_else(|| fault(code("config", format!("`{name}` is not a number"))))?;
    Ok(Some(number))
}

/// Digits alone, where `parse` would take a sign as well; 15 of them are exact in any language.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.len() <= 15 && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
