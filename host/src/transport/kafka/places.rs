//! Offsets on their way to the library and back, in its lists of partitions, and the questions about them.

use super::offsets::patiently;
use crate::{
    manifest::Start,
    transport::{NextOffset, Partition, Progress},
};
use anyhow::{Result, ensure};
use rdkafka::{
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    topic_partition_list::{Offset, TopicPartitionList},
};
use std::time::Duration;

/// How long one question to the cluster may take.
pub(super) const QUESTION: Duration = Duration::from_secs(5);

/// Partitions of these topics, all of them at the same offset.
pub(super) fn list<'a>(
    topics: &[String],
    partitions: impl IntoIterator<Item = &'a Partition>,
    at: Offset,
) -> TopicPartitionList {
    collect(topics, partitions.into_iter().map(|partition| (*partition, at)))
}

/// Progress as the library takes it.
pub(super) fn offsets(topics: &[String], progress: &Progress) -> TopicPartitionList {
    let offset = |next: NextOffset| Offset::Offset(i64::try_from(next.0).unwrap_or(i64::MAX));
    collect(topics, progress.iter().map(|(partition, next)| (partition, offset(next))))
}

fn collect(topics: &[String], all: impl Iterator<Item = (Partition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (Partition { input, number }, offset) in all {
        list.add_partition_offset(&topics[input], number as i32, offset).expect("an offset that the library knows");
    }
    list
}

/// The offsets that stand in a list, whatever else does.
pub(super) fn known(topics: &[String], list: &TopicPartitionList) -> Progress {
    let elements = list.elements();
    let found = elements.iter().filter_map(|element| {
        let input = topics.iter().position(|topic| topic == element.topic())?;
        let Offset::Offset(next) = element.offset() else { return None };
        let number = u32::try_from(element.partition()).ok()?;
        Some((Partition { input, number }, NextOffset(u64::try_from(next).ok()?)))
    });
    found.collect()
}

/// The same; an error in the place of one is an error of all.
fn progress(topics: &[String], list: &TopicPartitionList) -> Result<Progress, KafkaError> {
    list.elements().iter().try_for_each(|element| element.error())?;
    Ok(known(topics, list))
}

/// The first, and where it has nothing, the second.
pub(super) fn or(first: &Progress, second: &Progress) -> Progress {
    let missing = second.iter().filter(|(partition, _)| first.get(*partition).is_none());
    missing.chain(first.iter()).collect()
}

/// Every partition that is there.
pub(super) fn partitions<C: ConsumerContext>(client: &BaseConsumer<C>, topics: &[String]) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    for (input, topic) in topics.iter().enumerate() {
        let metadata = client.fetch_metadata(Some(topic), QUESTION)?;
        for found in metadata.topics() {
            let is_there = found.error().is_none() && !found.partitions().is_empty();
            ensure!(is_there, "topic {topic} cannot be read now");
            let numbers = found.partitions().iter().map(|partition| partition.id() as u32);
            partitions.extend(numbers.map(|number| Partition { input, number }));
        }
    }
    Ok(partitions)
}

/// Where partitions begin, end, or pass a time.
pub(super) fn at<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topics: &[String],
    partitions: &[Partition],
    place: Offset,
) -> Result<Progress, KafkaError> {
    progress(topics, &client.offsets_for_times(list(topics, partitions, place), QUESTION)?)
}

/// Where a start lies in partitions that end there: where nothing is that late, at the end.
pub(super) fn start<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topics: &[String],
    start: Start,
    ends: &Progress,
) -> Result<Progress, KafkaError> {
    let partitions: Vec<_> = ends.iter().map(|(partition, _)| partition).collect();
    let found = match start {
        Start::Earliest => at(client, topics, &partitions, Offset::Beginning)?,
        Start::Timestamp(time) => at(client, topics, &partitions, Offset::Offset(time))?,
        Start::Latest | Start::Refuse => Progress::default(),
    };
    Ok(or(&found, ends))
}

/// What the client's group has committed.
pub(super) fn committed<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topics: &[String],
    partitions: &[Partition],
) -> Result<Progress, KafkaError> {
    let asked = list(topics, partitions, Offset::Invalid);
    progress(topics, &patiently(|| client.committed_offsets(asked.clone(), QUESTION))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(all: &[(usize, u32, u64)]) -> Progress {
        all.iter()
            .map(|(input, number, next)| (Partition { input: *input, number: *number }, NextOffset(*next)))
            .collect()
    }

    #[test]
    fn what_goes_to_the_library_comes_back() {
        let topics = ["a".to_owned(), "b".to_owned()];
        let there = progress(&[(0, 0, 5), (0, 2, 0), (1, 0, 7)]);
        assert_eq!(known(&topics, &offsets(&topics, &there)), there);
        let unknown = list(&topics, [&Partition { input: 1, number: 3 }], Offset::Invalid);
        assert!(known(&topics, &unknown).is_empty() && unknown.find_partition("b", 3).is_some());
    }

    #[test]
    fn what_is_missing_is_taken_from_the_second() {
        let found = or(&progress(&[(0, 0, 9)]), &progress(&[(0, 0, 5), (0, 1, 5)]));
        assert_eq!(found, progress(&[(0, 0, 9), (0, 1, 5)]));
    }
}
