//! The clock of a reader: when do the next records of a topic become visible?

use crate::{
    PATIENCE, WatchArgs,
    clients::{self, Isolation},
    meter, topics,
};
use anyhow::{Result, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::time::Duration;

/// From the assignment until a fetch waits at the broker for each partition. A record that comes earlier is not
/// missed: it is only timed late.
const SETTLE: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &WatchArgs) -> Result<()> {
    let ends = ends(&args.brokers, &args.topic)?;
    // A fetch is answered when a commit makes its records visible; should one be overlooked, then this many ms later.
    let reader = clients::reader(&args.brokers, Isolation::Committed, &[("fetch.wait.max.ms", "10")])?;
    reader.assign(&ends)?;
    let mut left = args.records;
    let early = seen(&reader, SETTLE)?;
    println!("watching");
    report(early, &mut left);
    while left > 0 {
        report(seen(&reader, PATIENCE)?, &mut left);
    }
    Ok(())
}

/// Where each partition ends, open transactions included. A read_committed client is told less, the last stable
/// offset: from there it would also see what a dead worker left open, once that is committed or aborted.
fn ends(brokers: &str, topic: &str) -> Result<TopicPartitionList> {
    let reader = clients::reader(brokers, Isolation::Uncommitted, &[])?;
    let mut ends = TopicPartitionList::new();
    for partition in 0..topics::partitions(reader.client(), topic)? {
        let (_, end) = reader.fetch_watermarks(topic, partition, PATIENCE)?;
        ends.add_partition_offset(topic, partition, Offset::Offset(end))?;
    }
    Ok(ends)
}

/// The epoch milliseconds at which a record was seen, if one was.
fn seen(reader: &BaseConsumer, wait: Duration) -> Result<Option<u128>> {
    match reader.poll(wait) {
        Some(Ok(_)) => Ok(Some(meter::epoch_ms())),
        Some(Err(error)) if clients::passes(&error) => Ok(None),
        Some(Err(error)) => bail!(error),
        None => Ok(None),
    }
}

fn report(seen: Option<u128>, left: &mut u64) {
    if let Some(epoch_ms) = seen {
        println!("{epoch_ms}");
        *left -= 1;
    }
}
