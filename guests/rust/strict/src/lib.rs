//! Puts a currency behind every value, and refuses to start with one that is wrong.
//!
//! Configuration: `currency`, three capital letters.

use millstream::config;

millstream::open!(open);
millstream::map_value!(|value| [&value[..], b" ", currency().as_bytes()].concat());

fn open() -> Result<(), String> {
    let currency = currency();
    if currency.len() != 3 || !currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Err(format!("`currency: {currency}` is not three capital letters, as EUR is"));
    }
    Ok(())
}

fn currency() -> String {
    config::get("currency").unwrap_or_default()
}
