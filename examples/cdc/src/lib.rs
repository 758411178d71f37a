//! A stage: changes of a database's rows, as Debezium tells them, become rows under their keys, and tombstones.

use millstream::{Bytes, Failure, Record, code, record, reject};
use serde_json::Value;

millstream::stage!(rows);

/// `{"op": "u", "before": …, "after": {"id": 7, …}}` → key `7`, the row as the value; `{"op": "d", …}` → key `7`, no value
fn rows(_: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    // Debezium lets a tombstone follow each deletion, for compaction: it says nothing new.
    let Some(value) = value else { return Ok(Vec::new()) };
    let change: Value = serde_json::from_slice(&value).map_err(reject)?;
    let change = change.get("payload").unwrap_or(&change);
    let (row, is_there) = match change["op"].as_str() {
        Some("c" | "u" | "r") => (&change["after"], true),
        Some("d") => (&change["before"], false),
        op => return Err(reject(code("unknown-op", format!("what is the operation {op:?}?")))),
    };
    let id = row.get("id").ok_or_else(|| reject(code("no-id", "the row has no `id`")))?;
    Ok(vec![record(id.to_string(), is_there.then(|| row.to_string().into_bytes()))])
}
