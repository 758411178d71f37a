//! The producing half of a link: one transactional writer, or, at least once, an idempotent one.

use super::{
    batch::Queued,
    health::Health,
    raw::{self, Answer, End, Headers, Parts, Topic},
    reader::notice,
    settings::Cluster,
};
use crate::manifest::Delivery;
use crate::transport::{Fault, LinkSettings, Outgoing};
use rdkafka::{
    client::ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Message},
    producer::{BaseProducer, Producer, ProducerContext},
    topic_partition_list::TopicPartitionList,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A step of a call whose outcome is waited for: between two steps failed deliveries are served.
const STEP: Duration = Duration::from_millis(100);
/// How long one question to the cluster may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How long the group's coordinator may take for a transaction's progress: the library aborts the transaction when it
/// takes longer.
const PROGRESS: Duration = Duration::from_secs(5);
/// How long an outcome is waited for before it counts as unknown.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a writer that is given up tries to abort what it had open.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a new writer asks to be let in before the worker is told that there is no answer.
const INIT_PATIENCE: Duration = Duration::from_secs(10);

/// What became of records that were not delivered.
pub(super) struct Reports {
    failed: Mutex<Option<(RDKafkaErrorCode, String)>>,
    health: Arc<Health>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{facility} {text}");
        self.health.overhear(level, facility);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        notice(&self.health, &error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            // What was purged with an abort says nothing about why.
            if !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert_with(|| (code, message.topic().to_owned()));
            }
        }
    }
}

/// What is known of the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// None is open.
    Closed,
    /// One is open, and nobody has tried to end it.
    Open,
    /// Its end was asked for, and there is no answer. Only a new writer settles what became of it.
    Doubtful,
}

pub(super) struct Writer {
    // In this order: the handles go before their client.
    topics: Vec<Topic>,
    producer: BaseProducer<Reports>,
    settings: Arc<LinkSettings>,
    state: State,
    /// It was let in.
    ready: bool,
    begun: Instant,
}

impl Writer {
    /// A new writer under the worker's name. Whatever an earlier one left open is settled when this returns.
    pub(super) fn open(cluster: &Cluster, settings: &Arc<LinkSettings>, health: &Arc<Health>) -> Result<Writer, Fault> {
        let reports = Reports { failed: Mutex::default(), health: health.clone() };
        let producer: BaseProducer<Reports> = BaseProducer::from_config_and_context(&cluster.writer(settings), reports)
            .map_err(|error| Fault::Fatal(error.to_string()))?;
        let mut writer = Writer {
            topics: settings
                .outputs
                .iter()
                .map(|name| Topic::new(&producer, name).ok_or_else(|| Fault::Fatal(format!("{name}: no such topic"))))
                .collect::<Result<_, _>>()?,
            producer,
            settings: settings.clone(),
            state: State::Closed,
            ready: false,
            begun: Instant::now(),
        };
        if settings.delivery == Delivery::ExactlyOnce {
            // The library looks for a broker to be let in by at once, when it has reached none, and then after half a
            // second; but also when it learns of a topic. What keeps it from that, shows below.
            let first = settings.outputs.first().map(String::as_str);
            writer.producer.client().fetch_metadata(first, QUESTION).ok();
            writer.init()?;
        }
        writer.ready = true;
        Ok(writer)
    }

    /// Hears what the client has to say, so that it does not pile up while nothing is written.
    pub(super) fn serve(&self) {
        raw::serve(&self.producer);
    }

    fn init(&mut self) -> Result<(), Fault> {
        let since = Instant::now();
        loop {
            let answer = self.producer.init_transactions(Duration::from_millis(500)).map_or_else(
                |error| match error {
                    KafkaError::Transaction(error) => match error.code() {
                        RDKafkaErrorCode::UnsupportedFeature => Answer::Fatal(
                            "this broker has no transactions: write `delivery: at-least-once`, or use Kafka 2.5 or later"
                                .into(),
                        ),
                        RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                        | RDKafkaErrorCode::ClusterAuthorizationFailed => Answer::Forbidden(error.string()),
                        _ => raw::answer(&error),
                    },
                    other => Answer::Fatal(other.to_string()),
                },
                |()| Answer::Done,
            );
            raw::serve(&self.producer);
            match answer {
                Answer::Done => return Ok(()),
                Answer::Pending | Answer::Abort(_) if since.elapsed() < INIT_PATIENCE => {
                    if self.settings.control.stopping() {
                        return Err(Fault::Unavailable("ended before the transactions were ready".into()));
                    }
                }
                Answer::Pending | Answer::Abort(_) => {
                    return Err(Fault::Unavailable("the transaction coordinator does not answer".into()));
                }
                other => return Err(self.fault(other)),
            }
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.begun = Instant::now();
        if self.settings.delivery == Delivery::ExactlyOnce {
            match self.producer.begin_transaction() {
                Ok(()) => {}
                Err(KafkaError::Transaction(error)) => return Err(self.fault(raw::answer(&error))),
                Err(error) => return Err(Fault::Fatal(error.to_string())),
            }
        }
        self.state = State::Open;
        Ok(())
    }

    pub(super) fn send(&mut self, record: &Outgoing<'_>, origin: Option<&Queued>) -> Result<(), Fault> {
        let mut headers = origin.filter(|_| record.keep_headers).and_then(Headers::copy_of);
        if !record.headers.is_empty() {
            let list = headers.get_or_insert_with(Headers::new);
            record.headers.iter().for_each(|header| list.push(&header.name, header.value.as_deref()));
        }
        let mut parts = Parts {
            partition: record.partition,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers,
        };
        loop {
            match raw::produce(&self.producer, &self.topics[record.output], &mut parts) {
                Ok(()) => return Ok(()),
                // Back-pressure: the client takes more when it has sent some.
                Err(RDKafkaErrorCode::QueueFull) => {
                    self.producer.poll(Duration::from_millis(1));
                    if self.settings.control.out_of_patience() {
                        return Err(Fault::Unavailable("the records of the last transaction could not be sent".into()));
                    }
                }
                // The transaction has failed already; why, the client's own end tells, or its failed deliveries.
                Err(code @ (RDKafkaErrorCode::State | RDKafkaErrorCode::Fatal)) => {
                    return Err(match raw::death(&self.producer) {
                        Some(answer) => self.fault(answer),
                        None => self.why_failed(code.to_string()),
                    });
                }
                // Not counted by the library: were we to go on, the commit would succeed without this record.
                Err(code) => {
                    let topic = &self.settings.outputs[record.output];
                    return Err(refusal(code, topic).unwrap_or_else(|| Fault::Aborted(format!("{topic}: {code}"))));
                }
            }
        }
    }

    /// Progress and commit, in the transaction.
    pub(super) fn commit(&mut self, offsets: &TopicPartitionList, group: &ConsumerGroupMetadata) -> Result<(), Fault> {
        if offsets.count() > 0 {
            self.until_known(|writer| match writer.producer.send_offsets_to_transaction(offsets, group, PROGRESS) {
                Ok(()) => Answer::Done,
                Err(KafkaError::Transaction(error)) => raw::answer(&error),
                Err(error) => Answer::Fatal(error.to_string()),
            })?;
        }
        self.state = State::Doubtful;
        self.until_known(|writer| raw::end_transaction(&writer.producer, End::Commit, STEP))?;
        self.state = State::Closed;
        Ok(())
    }

    /// Waits until everything sent is acknowledged, outside of transactions.
    pub(super) fn flush(&mut self) -> Result<(), Fault> {
        self.until_known(|writer| {
            let done = raw::flush(&writer.producer, STEP);
            raw::serve(&writer.producer);
            let failed = writer.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            match (failed, done) {
                (true, _) => Answer::Abort("a record was not delivered".into()),
                (false, true) => Answer::Done,
                (false, false) => Answer::Pending,
            }
        })?;
        self.state = State::Closed;
        Ok(())
    }

    /// Calls until the outcome is known, serving the client's events between two calls: it waits for them itself.
    fn until_known(&mut self, call: impl Fn(&Writer) -> Answer) -> Result<(), Fault> {
        let since = Instant::now();
        loop {
            let answer = call(self);
            raw::serve(&self.producer);
            match answer {
                Answer::Done => return Ok(()),
                Answer::Pending if since.elapsed() > PATIENCE || self.settings.control.out_of_patience() => {
                    self.state = State::Doubtful;
                    return Err(Fault::Unknown("there was no answer to the commit".into()));
                }
                Answer::Pending => {}
                other => return Err(self.fault(other)),
            }
        }
    }

    /// What an answer means for the worker, and what it leaves of the transaction.
    fn fault(&mut self, answer: Answer) -> Fault {
        match answer {
            Answer::Abort(text) => {
                self.state = State::Open;
                self.why_failed(text)
            }
            Answer::Fenced(text) => {
                self.state = State::Closed;
                // A transaction that takes too long is ended by the broker, in the same words.
                match self.is_overdue() {
                    true => Fault::TimedOut(format!("the transaction took too long: {text}")),
                    false => Fault::Fenced(text),
                }
            }
            // This client is dead, which says nothing of the next one.
            Answer::Fatal(text) if self.ready => {
                self.state = State::Doubtful;
                Fault::Unknown(text)
            }
            Answer::Fatal(text) => Fault::Fatal(text),
            Answer::Forbidden(text) => Fault::Unavailable(text),
            Answer::Done | Answer::Pending => Fault::Unknown("there was no answer".into()),
        }
    }

    /// True when the broker may have ended the transaction already.
    fn is_overdue(&self) -> bool {
        self.settings.delivery == Delivery::ExactlyOnce
            && self.begun.elapsed() > self.settings.transaction_timeout * 9 / 10
    }

    /// Why a transaction failed: the first record that was not delivered tells more than the transaction's error.
    fn why_failed(&mut self, text: String) -> Fault {
        raw::serve(&self.producer);
        let failed = self.producer.context().failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            None if self.is_overdue() => Fault::TimedOut(format!("the transaction took too long: {text}")),
            None => Fault::Aborted(text),
            Some((code, topic)) => refusal(code, &topic).unwrap_or_else(|| match code {
                RDKafkaErrorCode::MessageTimedOut => {
                    Fault::TimedOut(format!("{topic}: no broker took its records in time"))
                }
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition => Fault::Unavailable(format!("{topic}: {code}")),
                _ if self.is_overdue() => Fault::TimedOut(format!("the transaction took too long: {topic}: {code}")),
                _ => Fault::Aborted(format!("{topic}: {code}")),
            }),
        }
    }

    /// Gives the writer up. What is known never to be committed is aborted now, so that readers and the next writer
    /// need not wait for it; what is in doubt is left to the next writer, whose start settles it.
    pub(super) fn settle(mut self) {
        if self.state == State::Open && self.settings.delivery == Delivery::ExactlyOnce {
            let since = Instant::now();
            while let Answer::Pending = raw::end_transaction(&self.producer, End::Abort, STEP) {
                raw::serve(&self.producer);
                if since.elapsed() > ABORT_PATIENCE || self.settings.control.out_of_patience() {
                    break;
                }
            }
        }
        self.topics.clear();
    }
}

/// What a broker will never take, however often it is sent.
fn refusal(code: RDKafkaErrorCode, topic: &str) -> Option<Fault> {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::MessageBatchTooLarge
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::UnknownPartition
    )
    .then(|| Fault::Refused(format!("{topic}: {code}")))
}
