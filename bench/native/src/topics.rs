//! Topics: making them, and how many partitions they have.

use crate::{MakeArgs, PATIENCE};
use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_executor::block_on;
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::{Client, DefaultClientContext},
    error::RDKafkaErrorCode,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Between two looks at a cluster that has not settled yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Makes a topic, and returns when each of its partitions has a leader.
///
/// Its records stay for ever: they carry the timestamps of their input, and time retention goes by these.
pub(crate) fn make(args: &MakeArgs) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &args.brokers).create()?;
    let deadline = Instant::now() + PATIENCE;
    let deleted = args.fresh && delete(&admin, &args.topic)?;
    loop {
        match create(&admin, &args.topic, args.partitions)? {
            Ok(()) => break,
            // The name of a topic that was just deleted may be taken for a moment more.
            Err(RDKafkaErrorCode::TopicAlreadyExists) if deleted && Instant::now() < deadline => thread::sleep(PAUSE),
            Err(RDKafkaErrorCode::TopicAlreadyExists) => {
                bail!("topic {} exists: choose another name, or say --fresh to delete it", args.topic)
            }
            Err(code) => bail!("topic {} cannot be made: {code}", args.topic),
        }
    }
    while !has_leaders(admin.inner(), &args.topic, args.partitions)? {
        ensure!(Instant::now() < deadline, "topic {} has partitions without a leader", args.topic);
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// How many partitions a topic has, which must exist.
pub(crate) fn partitions(client: &Client<impl ClientContext>, topic: &str) -> Result<i32> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE).context("the brokers do not answer")?;
    let count = metadata.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len());
    ensure!(count > 0, "there is no topic {topic}");
    Ok(i32::try_from(count)?)
}

fn create(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    partitions: i32,
) -> Result<Result<(), RDKafkaErrorCode>> {
    let brokers_default = TopicReplication::Fixed(-1);
    let new = NewTopic::new(topic, partitions, brokers_default).set("retention.ms", "-1");
    let answer = block_on(admin.create_topics([&new], &options()))?.pop();
    Ok(answer.ok_or_else(|| anyhow!("no answer about {topic}"))?.map(drop).map_err(|(_, code)| code))
}

/// Says whether there was such a topic.
fn delete(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<bool> {
    match block_on(admin.delete_topics(&[topic], &options()))?.pop() {
        Some(Ok(_)) => Ok(true),
        Some(Err((_, RDKafkaErrorCode::UnknownTopicOrPartition))) => Ok(false),
        Some(Err((_, code))) => bail!("topic {topic} cannot be deleted: {code}"),
        None => bail!("no answer about {topic}"),
    }
}

fn has_leaders(client: &Client<impl ClientContext>, topic: &str, partitions: i32) -> Result<bool> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE)?;
    Ok(metadata.topics().iter().any(|it| {
        it.partitions().len() == partitions as usize && it.partitions().iter().all(|partition| partition.leader() >= 0)
    }))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
