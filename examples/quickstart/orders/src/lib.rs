//! A source: the orders of a small café, one a poll. The key is the table, the value says how many of what.
//!
//! Its position is how many orders there were. The host keeps it, in one transaction with the orders themselves.

use millstream::{Batch, Bytes, PollFailure, record};

millstream::source!(next_order);

const ORDERS: [(&str, &str); 8] = [
    ("table 1", "2 espresso"),
    ("table 2", "1 latte"),
    ("table 3", "3 tea"),
    ("table 1", "1 cake"),
    ("table 4", "1 petrol"),
    ("table 2", "2 cake"),
    ("table 3", "1 espresso"),
    ("table 4", "4 latte"),
];

fn next_order(position: Bytes) -> Result<Batch, PollFailure> {
    let before = position.map_or(0, |bytes| usize::from(bytes[0]));
    let Some((table, order)) = ORDERS.get(before) else {
        return Ok(Batch::empty().done(true));
    };
    let after = before + 1;
    Ok(Batch::of([record(*table, *order)]).at([after as u8]).done(after == ORDERS.len()))
}
