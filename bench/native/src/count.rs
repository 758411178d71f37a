//! Reads a topic to its end and holds it against what `load` numbered: is anything lost, doubled or out of order?

use crate::{
    CountArgs, PATIENCE,
    clients::{self, Isolation},
    load::NUMBER_DIGITS,
    topics,
};
use anyhow::{Result, bail};
use rdkafka::{Message, Offset, TopicPartitionList, consumer::Consumer, error::KafkaError};
use serde::Serialize;
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

pub(crate) fn run(args: &CountArgs) -> Result<()> {
    let isolation = if args.uncommitted { Isolation::Uncommitted } else { Isolation::Committed };
    let reader = clients::reader(&args.brokers, isolation, &[("enable.partition.eof", "true")])?;
    let partitions = topics::partitions(reader.client(), &args.topic)?;
    let mut beginnings = TopicPartitionList::new();
    for partition in 0..partitions {
        beginnings.add_partition_offset(&args.topic, partition, Offset::Beginning)?;
    }
    reader.assign(&beginnings)?;

    let mut count = Count::new(partitions as usize);
    let mut open: HashSet<i32> = (0..partitions).collect();
    let mut heard = Instant::now();
    while !open.is_empty() {
        match reader.poll(Duration::from_secs(1)) {
            Some(Ok(record)) => count.record(record.partition() as usize, record.payload()),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) if clients::passes(&error) => eprintln!("{error}"),
            Some(Err(error)) => bail!(error),
            None if heard.elapsed() > PATIENCE => {
                bail!("nothing came for {PATIENCE:?}, and the end was not reached")
            }
            None => continue,
        }
        heard = Instant::now();
    }
    println!("{}", serde_json::to_string(&count.summary())?);
    Ok(())
}

struct Count {
    records: u64,
    numbers: HashSet<u64>,
    unnumbered: u64,
    out_of_order: u64,
    /// The last number of each partition.
    last: Vec<Option<u64>>,
}

#[derive(Serialize)]
struct Summary {
    records: u64,
    /// Different numbers.
    distinct: u64,
    /// Records whose number was there before.
    duplicates: u64,
    /// Numbers below the largest that are not there. What is missing behind the largest nobody can see from here:
    /// compare `distinct` with what was sent.
    lost: u64,
    /// Records whose number is below the one before them in their partition.
    out_of_order: u64,
    /// Records that were never numbered.
    unnumbered: u64,
}

impl Count {
    fn new(partitions: usize) -> Self {
        Self { records: 0, numbers: HashSet::new(), unnumbered: 0, out_of_order: 0, last: vec![None; partitions] }
    }

    fn record(&mut self, partition: usize, value: Option<&[u8]>) {
        self.records += 1;
        let Some(number) = value.and_then(number) else {
            self.unnumbered += 1;
            return;
        };
        self.numbers.insert(number);
        if self.last[partition].is_some_and(|last| number < last) {
            self.out_of_order += 1;
        }
        self.last[partition] = Some(number);
    }

    fn summary(&self) -> Summary {
        let distinct = self.numbers.len() as u64;
        Summary {
            records: self.records,
            distinct,
            duplicates: self.records - self.unnumbered - distinct,
            lost: self.numbers.iter().max().map_or(0, |largest| largest + 1 - distinct),
            out_of_order: self.out_of_order,
            unnumbered: self.unnumbered,
        }
    }
}

/// The number with which `load` begins a value.
fn number(value: &[u8]) -> Option<u64> {
    str::from_utf8(value.get(..NUMBER_DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts numbers of one partition, written as they came.
    fn summary(numbers: &[u64]) -> Summary {
        let mut count = Count::new(1);
        for number in numbers {
            count.record(0, Some(format!("{number:0NUMBER_DIGITS$} TEXT").as_bytes()));
        }
        count.summary()
    }

    #[test]
    fn a_whole_topic_has_nothing_to_report() {
        let it = summary(&[0, 1, 2, 3]);
        assert_eq!((it.records, it.distinct, it.duplicates, it.lost, it.out_of_order), (4, 4, 0, 0, 0));
    }

    #[test]
    fn a_repeated_stretch_is_doubled_and_goes_back_once() {
        let it = summary(&[0, 1, 2, 1, 2, 3]);
        assert_eq!((it.duplicates, it.lost, it.out_of_order), (2, 0, 1));
    }

    #[test]
    fn a_gap_is_lost() {
        assert_eq!(summary(&[0, 3]).lost, 2);
    }

    #[test]
    fn a_value_without_a_number_is_counted_apart() {
        let mut count = Count::new(1);
        count.record(0, None);
        count.record(0, Some(b"short"));
        count.record(0, Some(b"no number here"));
        let it = count.summary();
        assert_eq!((it.records, it.unnumbered, it.duplicates, it.lost), (3, 3, 0, 0));
    }
}
