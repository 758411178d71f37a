//! A stage: what each order costs.

use millstream::{Bytes, Failure, Record, code, record, reject};

millstream::stage!(price);

const MENU: [(&str, f64); 4] = [("espresso", 2.50), ("latte", 3.80), ("tea", 3.20), ("cake", 4.50)];

/// `2 espresso` → `2 × espresso    5.00 EUR`
fn price(key: Bytes, value: Bytes) -> Result<Vec<Record>, Failure> {
    let order = String::from_utf8(value.unwrap_or_default()).map_err(reject)?;
    let (count, name) = order.split_once(' ').ok_or_else(|| reject("write an order like `2 espresso`"))?;
    let count: u32 = count.parse().map_err(|_| reject(code("no-number", format!("`{count}` is not a number"))))?;
    let Some((_, each)) = MENU.iter().find(|(drink, _)| *drink == name) else {
        return Err(reject(code("unknown", format!("no {name} on the menu"))));
    };
    let line = format!("{count} × {name:<10} {:>6.2} EUR", f64::from(count) * each);
    Ok(vec![record(key, line)])
}
