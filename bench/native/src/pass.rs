//! The passthrough: one thread, one consumer, one producer, and the delivery order of the host.

use crate::{
    Delivery, PATIENCE, PassArgs,
    clients::{self, Deliveries, FirstProblem},
    meter::{self, Meter},
    raw::{self, CommitStep, Outgoing, OutputTopic, Record, RecordQueue},
    topics,
};
use anyhow::{Context as _, Result, bail, ensure};
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, Producer},
};
use std::{
    ffi::CString,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Records taken at once.
const BATCH_RECORDS: usize = 4096;
/// The longest wait for records: so often the consumer is served.
const IDLE: Duration = Duration::from_millis(10);
/// A step of a commit or a flush, after which the producer is served. One that goes well ends in its first step.
const STEP: Duration = Duration::from_millis(100);
/// Until a full producer queue is tried again.
const BACKOFF: Duration = Duration::from_millis(1);

pub(crate) fn run(args: &PassArgs, process_start: Instant) -> Result<()> {
    let group = args.group.clone().unwrap_or_else(|| format!("millstream-bench-{}", meter::epoch_ms()));
    let instance = args.instance.as_ref().unwrap_or(&group);
    // The consumer first: it joins its group while the producer takes over the transactional id.
    let input = Input::join(args, &group, instance)?;
    let output = Output::open(args, instance)?;
    pass(args, &input, &output, Meter::new(process_start))
}

/// Takes, transforms, sends and commits until all records went through. The whole order of delivery stands here.
fn pass(args: &PassArgs, input: &Input, output: &Output, mut meter: Meter) -> Result<()> {
    let endless = args.records == 0;
    let interval = Duration::from(args.commit_interval);
    let mut left = if endless { u64::MAX } else { args.records };
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    let mut upper_case = Vec::new();
    let mut progress = Progress::new(input);
    let mut opened: Option<Instant> = None;
    while left > 0 {
        input.serve(opened.is_some())?;
        output.serve()?;
        let wait = opened.map_or(IDLE, |opened| interval.saturating_sub(opened.elapsed()).min(IDLE));
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH_RECORDS);
        input.queue.take(&mut batch, most, wait)?;
        if !batch.is_empty() && opened.is_none() {
            meter.taken();
            output.begin()?;
            opened = Some(Instant::now());
        }
        left -= batch.len() as u64;
        for mut record in batch.drain(..) {
            if let Some(error) = record.error() {
                bail!("{}: partition {}: {error}", args.input, record.partition());
            }
            output.send(&mut record, &mut upper_case)?;
            progress.reach(record.partition(), record.offset() + 1);
        }
        if opened.is_some_and(|opened| left == 0 || opened.elapsed() >= interval) {
            let begun = Instant::now();
            let mode = if left == 0 { CommitMode::Sync } else { CommitMode::Async };
            output.commit(&progress.take(&args.input)?, input, mode)?;
            opened = None;
            let first = meter.committed(begun);
            if let Some(first) = first.filter(|_| endless) {
                println!("{}", serde_json::to_string(&first)?);
            }
        }
    }
    println!("{}", serde_json::to_string(&meter.report(args.records))?);
    Ok(())
}

/// The consuming half.
struct Input {
    queue: Arc<RecordQueue<Assignments>>,
    consumer: Arc<BaseConsumer<Assignments>>,
    partitions: usize,
}

impl Input {
    fn join(args: &PassArgs, group: &str, instance: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &args.brokers)
            .set("reconnect.backoff.max.ms", "1000")
            .set("group.id", group)
            .set("group.instance.id", instance)
            .set("group.protocol", "classic")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            .set("queued.max.messages.kbytes", args.queued_kbytes.to_string());
        set_all(&mut config, &args.consumer_property);
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&config, Assignments::default())?);
        let partitions = usize::try_from(topics::partitions(consumer.client(), &args.input)?)?;
        let queue = Arc::new(RecordQueue::new(Arc::clone(&consumer)));
        // Weak, because the queue holds the consumer, which holds this context.
        consumer.context().queue.get_or_init(|| Arc::downgrade(&queue));
        consumer.subscribe(&[&args.input])?;
        Ok(Self { queue, consumer, partitions })
    }

    /// Serves rebalances, answers to commits, and errors.
    ///
    /// A partition that is taken away under an open transaction ends the run: a worker would abort and go on, a
    /// measurement is spoilt.
    fn serve(&self, in_transaction: bool) -> Result<()> {
        let context = self.consumer.context();
        let revoked_before = context.revocations.load(Ordering::Relaxed);
        match self.consumer.poll(Duration::ZERO) {
            None => {}
            Some(Ok(_)) => bail!("a record came past the queue of its partition"),
            Some(Err(error)) if clients::passes(&error) => eprintln!("consumer: {error}"),
            Some(Err(error)) => bail!("consumer: {error}"),
        }
        context.problem.check()?;
        let revoked = context.revocations.load(Ordering::Relaxed) > revoked_before;
        ensure!(!(in_transaction && revoked), "the group took partitions away in the middle of a transaction");
        Ok(())
    }
}

/// The consumer's context: it leads each partition that is assigned to the one queue.
#[derive(Default)]
struct Assignments {
    queue: OnceLock<Weak<RecordQueue<Assignments>>>,
    revocations: AtomicU64,
    problem: FirstProblem,
}

impl ClientContext for Assignments {
    fn error(&self, error: KafkaError, reason: &str) {
        eprintln!("consumer: {error}: {reason}");
    }
}

impl ConsumerContext for Assignments {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => {
                let Some(queue) = self.queue.get().and_then(Weak::upgrade) else {
                    return;
                };
                for partition in partitions.elements() {
                    let topic = CString::new(partition.topic()).expect("Kafka has no topic with a zero in its name");
                    queue.forward(&topic, partition.partition());
                }
            }
            Rebalance::Revoke(_) => drop(self.revocations.fetch_add(1, Ordering::Relaxed)),
            Rebalance::Error(error) => self.problem.note(format!("rebalance: {error}")),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            self.problem.note(format!("offsets were not committed: {error}"));
        }
    }
}

/// The producing half.
struct Output {
    topic: OutputTopic<Deliveries>,
    delivery: Delivery,
}

impl Output {
    fn open(args: &PassArgs, instance: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &args.brokers)
            .set("reconnect.backoff.max.ms", "1000")
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("retry.backoff.ms", "10")
            .set("delivery.report.only.error", "true");
        if args.delivery == Delivery::ExactlyOnce {
            config
                .set("transactional.id", instance)
                .set("transaction.timeout.ms", "10000")
                .set("message.timeout.ms", "8000");
        }
        set_all(&mut config, &args.producer_property);
        let producer = BaseProducer::from_config_and_context(&config, Deliveries::default())?;
        topics::partitions(producer.client(), &args.output)?;
        if args.delivery == Delivery::ExactlyOnce {
            producer.init_transactions(PATIENCE)?;
        }
        Ok(Self { topic: OutputTopic::new(producer, &args.output)?, delivery: args.delivery })
    }

    fn producer(&self) -> &BaseProducer<Deliveries> {
        self.topic.producer()
    }

    /// Serves failed deliveries and errors.
    fn serve(&self) -> Result<()> {
        raw::serve(self.producer());
        self.producer().context().problem.check()
    }

    fn begin(&self) -> Result<()> {
        match self.delivery {
            Delivery::ExactlyOnce => Ok(self.producer().begin_transaction()?),
            Delivery::AtLeastOnce => Ok(()),
        }
    }

    /// Sends a record on, its value in capital letters; `upper_case` is room for that. Its headers go along.
    fn send(&self, record: &mut Record<'_>, upper_case: &mut Vec<u8>) -> Result<()> {
        upper_case.clear();
        upper_case.extend_from_slice(record.value().unwrap_or_default());
        upper_case.make_ascii_uppercase();
        let mut headers = record.take_headers();
        let outgoing = Outgoing {
            key: record.key(),
            value: record.value().map(|_| upper_case.as_slice()),
            timestamp: record.timestamp(),
        };
        let mut refused_since = None;
        while let Err(error) = self.topic.send(&outgoing, &mut headers) {
            // Any other refusal must end the transaction: librdkafka would commit it without the record.
            ensure!(error == RDKafkaErrorCode::QueueFull, "a record was refused: {error}");
            let waited = refused_since.get_or_insert_with(Instant::now).elapsed();
            ensure!(waited < PATIENCE, "the brokers do not take the records");
            self.serve()?;
            self.producer().poll(BACKOFF);
        }
        Ok(())
    }

    /// Returns when the records and the progress behind them are safe; at least once, `mode` says how safe the latter.
    fn commit(&self, progress: &TopicPartitionList, input: &Input, mode: CommitMode) -> Result<()> {
        match self.delivery {
            Delivery::ExactlyOnce => {
                let group = input.consumer.group_metadata().context("the consumer is in no group")?;
                self.producer().send_offsets_to_transaction(progress, &group, PATIENCE)?;
                self.commit_transaction()
            }
            Delivery::AtLeastOnce => {
                self.flush()?;
                Ok(input.consumer.commit(progress, mode)?)
            }
        }
    }

    /// rdkafka's own commit flushes in steps of 100 ms first; the bare call takes about 10 ms. A failed one ends the
    /// run without an abort: whoever comes next under the same transactional id does that.
    fn commit_transaction(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let step = raw::commit_step(self.producer(), STEP);
            raw::serve(self.producer());
            match step {
                CommitStep::Committed => return Ok(()),
                CommitStep::Unknown => ensure!(Instant::now() < deadline, "the brokers do not answer a commit"),
                CommitStep::Failed(reason) => bail!("the transaction failed: {reason}"),
            }
        }
    }

    /// rdkafka's own flush works in steps of 100 ms too.
    fn flush(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !raw::flush_step(self.producer(), STEP) {
            self.serve()?;
            ensure!(Instant::now() < deadline, "the brokers do not acknowledge the records");
        }
        self.serve()
    }
}

/// How far each partition is done since the last commit.
struct Progress(Vec<Option<i64>>);

impl Progress {
    fn new(input: &Input) -> Self {
        Self(vec![None; input.partitions])
    }

    /// Everything before `next` is done.
    fn reach(&mut self, partition: i32, next: i64) {
        self.0[partition as usize] = Some(next);
    }

    /// The offsets to commit; a partition that brought nothing is left out.
    fn take(&mut self, topic: &str) -> Result<TopicPartitionList> {
        let mut offsets = TopicPartitionList::with_capacity(self.0.len());
        for (partition, next) in self.0.iter_mut().enumerate() {
            if let Some(next) = next.take() {
                offsets.add_partition_offset(topic, i32::try_from(partition)?, Offset::Offset(next))?;
            }
        }
        Ok(offsets)
    }
}

fn set_all(config: &mut ClientConfig, properties: &[(String, String)]) {
    for (key, value) in properties {
        config.set(key, value);
    }
}
