//! The clock of a run that is measured from outside: how far is a group done, and when?
//!
//! It asks the broker for the group's offsets, so that it sees the same of whatever program runs under that group.

use crate::{
    ObserveArgs, PATIENCE,
    clients::{self, Isolation},
    meter, topics,
};
use anyhow::{Context, Result, ensure};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Between two questions. A commit is seen at most this much later than it was.
const PAUSE: Duration = Duration::from_millis(4);

pub(crate) fn run(args: &ObserveArgs) -> Result<()> {
    // What is committed by an open transaction is not shown to a group that reads like this, and not waited for.
    let client = clients::reader(&args.brokers, Isolation::Uncommitted, &[("group.id", &args.group)])?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..topics::partitions(client.client(), &args.topic)? {
        partitions.add_partition_offset(&args.topic, partition, Offset::Invalid)?;
    }
    let mut done = first(&client, &partitions)?;
    println!("{}", json!({"epoch_ms": meter::epoch_ms(), "records": done}));
    let mut moved = Instant::now();
    while done < args.records {
        thread::sleep(PAUSE);
        // A broker that is away for a moment is asked again.
        let now = committed(&client, &partitions).unwrap_or(done);
        if now > done {
            println!("{}", json!({"epoch_ms": meter::epoch_ms(), "records": now}));
            (done, moved) = (now, Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "group {} got no further for {PATIENCE:?}", args.group);
    }
    Ok(())
}

/// On a young cluster the group's coordinator is a moment away.
fn first(client: &BaseConsumer, partitions: &TopicPartitionList) -> Result<u64> {
    let since = Instant::now();
    loop {
        match committed(client, partitions) {
            Err(_) if since.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(100)),
            answer => return answer.context("the brokers do not tell the group's offsets"),
        }
    }
}

/// How many records the group is done with: topics that `load` filled begin at 0, and hold nothing but records.
fn committed(client: &BaseConsumer, partitions: &TopicPartitionList) -> KafkaResult<u64> {
    let answer = client.committed_offsets(partitions.clone(), PATIENCE)?;
    let mut done = 0;
    for partition in answer.elements() {
        partition.error()?;
        if let Offset::Offset(next) = partition.offset() {
            done += u64::try_from(next).unwrap_or(0);
        }
    }
    Ok(done)
}
