//! A stage: which payments somebody should look at.

use millstream::{Bytes, Failure, Record, record, reject};
use serde::Deserialize;

millstream::stage!(judge);

#[derive(Deserialize)]
struct Payment {
    amount: f64,
}

/// Why a payment is suspicious, if it is.
fn suspicion(payment: &Payment) -> Option<&'static str> {
    (payment.amount > 1000.0).then_some("a large amount")
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
