//! A stage: puts into each order what the catalogue says of its product.

use millstream::{Bytes, Failure, Record, code, config, fault, record, reject, retry};
use serde_json::{Map, Value};
use waki::Client;

millstream::stage!(enrich);

/// `{"product": "tea"}` → `{"product": "tea", "name": "Green tea", "price": 3.2}`
fn enrich(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let mut order: Map<String, Value> = serde_json::from_slice(&value.unwrap_or_default()).map_err(reject)?;
    let product = order.get("product").and_then(Value::as_str).ok_or_else(|| reject("which `product`?"))?;
    order.extend(look_up(product)?);
    Ok(vec![record(key, Value::from(order).to_string())])
}

/// What the catalogue knows. That it is not to be reached, or has a bad day, is no fault of the order's: it is tried
/// again, and waits meanwhile.
fn look_up(product: &str) -> Result<Map<String, Value>, Failure> {
    let catalogue = config::get("catalogue").ok_or_else(|| fault("`config:` has no `catalogue`"))?;
    let response = Client::new().get(&format!("http://{catalogue}/{product}.json")).send().map_err(later)?;
    match response.status_code() {
        200 => response.json().map_err(fault),
        404 => Err(reject(code("unknown-product", format!("the catalogue has no {product}")))),
        status => Err(later(format!("the catalogue answers {status}"))),
    }
}

fn later(why: impl std::fmt::Display) -> Failure {
    retry(code("catalogue", why))
}
