//! A stage: which payments somebody should look at. One rule more than before: a payment in the night.

use millstream::{Bytes, Failure, Record, record, reject};
use serde::Deserialize;

millstream::stage!(judge);

#[derive(Deserialize)]
struct Payment {
    amount: f64,
    /// The hour of the day where the card was made out.
    hour: u8,
}

/// Why a payment is suspicious, if it is.
fn suspicion(payment: &Payment) -> Option<&'static str> {
    match payment {
        Payment { amount, .. } if *amount > 1000.0 => Some("a large amount"),
        Payment { amount, hour: 0..5 } if *amount > 200.0 => Some("in the night"),
        _ => None,
    }
}

fn judge(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let value = value.unwrap_or_default();
    let payment = serde_json::from_slice(&value).map_err(reject)?;
    let record = record(key, value);
    Ok(vec![match suspicion(&payment) {
        Some(why) => record.to("suspicious").header("why", why),
        None => record.to("clear"),
    }])
}
