//! The producing half of a link: one transactional writer, or, at least once, an idempotent one.

use super::{
    ahead::Ahead,
    batch::Queued,
    commit::{Commit, Ending, STEP, Undone},
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
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Message},
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long one question to the cluster may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How long a writer that is given up tries to abort what it had open.
const ABORT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a new writer asks to be let in before the worker is told that there is no answer.
const INIT_PATIENCE: Duration = Duration::from_secs(10);

/// What became of records that were not delivered.
pub(super) struct Reports {
    failed: Mutex<Option<(RDKafkaErrorCode, String)>>,
    health: Arc<Health>,
}

impl Reports {
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// True when a record was not delivered.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
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

/// A commit, from its beginning until its outcome is asked for.
enum Last {
    /// There is none.
    Told,
    UnderWay(Commit),
    Known(Result<(), Fault>),
}

pub(super) struct Writer {
    // In this order: the handles go before their client, and the commit that is under way before both.
    last: Last,
    topics: Vec<Topic>,
    producer: Arc<BaseProducer<Reports>>,
    settings: Arc<LinkSettings>,
    state: State,
    /// The transaction behind the one that is being committed was begun.
    has_next: bool,
    /// Its records, until it can be opened.
    ahead: Ahead,
    /// It was let in.
    ready: bool,
    begun: Instant,
    /// When the outcome of its commit was known.
    over: Option<Instant>,
    /// The same of the last commit, whatever was begun since.
    pub(super) committed_at: Option<Instant>,
}

impl Writer {
    /// A new writer under the worker's name. Whatever an earlier one left open is settled when this returns.
    pub(super) fn open(cluster: &Cluster, settings: &Arc<LinkSettings>, health: &Arc<Health>) -> Result<Writer, Fault> {
        let reports = Reports { failed: Mutex::default(), health: health.clone() };
        let producer: BaseProducer<Reports> = BaseProducer::from_config_and_context(&cluster.writer(settings), reports)
            .map_err(|error| Fault::Fatal(error.to_string()))?;
        let mut writer = Writer {
            last: Last::Told,
            topics: settings
                .outputs
                .iter()
                .map(|name| Topic::new(&producer, name).ok_or_else(|| Fault::Fatal(format!("{name}: no such topic"))))
                .collect::<Result<_, _>>()?,
            producer: Arc::new(producer),
            settings: settings.clone(),
            state: State::Closed,
            has_next: false,
            ahead: Ahead::default(),
            ready: false,
            begun: Instant::now(),
            over: None,
            committed_at: None,
        };
        writer.settle_in();
        if settings.delivery == Delivery::ExactlyOnce {
            writer.init()?;
        }
        writer.ready = true;
        Ok(writer)
    }

    /// Waits until a broker is reached under its own name. The library asks at once for a number to write under, and finds
    /// no broker while it has reached none, nor while it changes from the address that it was given to the broker behind
    /// that: it tries again after half a second then. It also asks again when it learns of a topic.
    fn settle_in(&self) {
        let first = self.settings.outputs.first().map(String::as_str);
        for _ in 0..4 {
            match self.producer.client().fetch_metadata(first, QUESTION) {
                Ok(answer) if answer.orig_broker_id() < 0 => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Hears what the client has to say, so that it does not pile up while nothing is written.
    pub(super) fn serve(&mut self) {
        raw::serve(&self.producer);
        self.look();
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
                        | RDKafkaErrorCode::ClusterAuthorizationFailed => Answer::Forbidden(format!(
                            "this user has no right to the transactional id {}: allow it to write and describe it, \
                             best of all that begin so",
                            self.settings.shared_writer.as_ref().unwrap_or(&self.settings.name)
                        )),
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

    /// Begins a transaction. While the last one's commit is under way, its records wait here.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.look();
        match self.last {
            Last::Told => self.open_transaction(),
            Last::UnderWay(_) | Last::Known(_) => {
                self.has_next = true;
                self.catch_up()
            }
        }
    }

    fn open_transaction(&mut self) -> Result<(), Fault> {
        (self.begun, self.over) = (Instant::now(), None);
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

    /// Notes the outcome of the commit that is under way, when there is one already.
    fn look(&mut self) {
        if matches!(&self.last, Last::UnderWay(commit) if commit.is_known()) {
            self.await_outcome();
        }
    }

    fn await_outcome(&mut self) {
        self.last = match std::mem::replace(&mut self.last, Last::Told) {
            Last::UnderWay(commit) => {
                let (outcome, at) = commit.outcome();
                (self.over, self.committed_at) = (Some(at), Some(at));
                Last::Known(match outcome {
                    Ok(()) => {
                        self.state = State::Closed;
                        Ok(())
                    }
                    Err(Undone::Answered(answer)) => Err(self.fault(answer)),
                    Err(Undone::Group(fault)) => Err(fault),
                    Err(Undone::Silence) => Err(Fault::Unknown("there was no answer to the commit".into())),
                })
            }
            other => other,
        };
    }

    /// Opens the next transaction and sends what waited for that, if the commit before it is done.
    fn catch_up(&mut self) -> Result<(), Fault> {
        if !self.has_next || !matches!(self.last, Last::Told | Last::Known(Ok(()))) {
            return Ok(());
        }
        self.has_next = false;
        self.open_transaction()?;
        let mut ahead = std::mem::take(&mut self.ahead);
        let sent = ahead.drain(|output, parts| self.produce(output, parts));
        self.ahead = ahead;
        sent
    }

    pub(super) fn send(&mut self, record: &Outgoing<'_>, origin: Option<&Queued>) -> Result<(), Fault> {
        let mut headers = origin.filter(|_| record.keep_headers).and_then(Headers::copy_of);
        if !record.headers.is_empty() {
            let list = headers.get_or_insert_with(Headers::new);
            record.headers.iter().for_each(|header| list.push(&header.name, header.value.as_deref()));
        }
        let parts = Parts {
            partition: record.partition,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers,
        };
        self.look();
        self.catch_up()?;
        if self.has_next && self.ahead.is_full() {
            self.await_outcome();
            self.catch_up()?;
        }
        if self.has_next {
            self.ahead.push(record.output, parts);
            return Ok(());
        }
        self.produce(record.output, parts)
    }

    /// True while what is sent waits for the last commit.
    pub(super) fn is_waiting(&mut self) -> bool {
        self.look();
        self.has_next && matches!(self.last, Last::UnderWay(_))
    }

    /// True when what waits for the last commit will never be sent.
    pub(super) fn is_full(&self) -> bool {
        self.has_next && matches!(self.last, Last::Known(Err(_)))
    }

    /// Hands a record to the client.
    fn produce(&mut self, output: usize, mut parts: Parts<'_>) -> Result<(), Fault> {
        loop {
            match raw::produce(&self.producer, &self.topics[output], &mut parts) {
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
                    return Err(match raw::death(&self.producer).or_else(|| self.why_dead()) {
                        Some(answer) => self.fault(answer),
                        None => self.why_failed(code.to_string()),
                    });
                }
                // Not counted by the library: were we to go on, the commit would succeed without this record.
                Err(code) => {
                    let topic = &self.settings.outputs[output];
                    return Err(refusal(code, topic).unwrap_or_else(|| Fault::Aborted(format!("{topic}: {code}"))));
                }
            }
        }
    }

    /// Why the open transaction can only be aborted, if so. It is told to whoever wants to begin another one, and to do
    /// that within one changes nothing.
    fn why_dead(&self) -> Option<Answer> {
        match self.producer.begin_transaction() {
            Err(KafkaError::Transaction(error)) => {
                Some(raw::answer(&error)).filter(|answer| matches!(answer, Answer::Abort(_)))
            }
            _ => None,
        }
    }

    /// Begins a commit, as `end` says, behind everything that was sent.
    pub(super) fn start_commit(
        &mut self,
        end: impl FnOnce(&Ending) -> Result<(), Undone> + Send + 'static,
    ) -> Result<(), Fault> {
        self.catch_up()?;
        let ending = Ending { producer: self.producer.clone(), control: self.settings.control.clone() };
        let commit = Commit::start(ending, end)
            .map_err(|error| Fault::Unavailable(format!("the system gives no thread to commit with: {error}")))?;
        self.state = State::Doubtful;
        self.last = Last::UnderWay(commit);
        Ok(())
    }

    /// Waits for the outcome of the commit that was begun, if one was.
    pub(super) fn finish_commit(&mut self) -> Result<(), Fault> {
        self.await_outcome();
        match std::mem::replace(&mut self.last, Last::Told) {
            Last::Known(outcome) => outcome,
            Last::Told | Last::UnderWay(_) => Ok(()),
        }
    }

    /// What an answer means for the worker, and what it leaves of the transaction.
    fn fault(&mut self, answer: Answer) -> Fault {
        match answer {
            Answer::Abort(text) => {
                self.state = State::Open;
                // The broker says this of all topics of the transaction together.
                if text.contains("Topic authorization failed") {
                    return forbidden(&self.settings.outputs);
                }
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
            Answer::Forbidden(text) => Fault::Forbidden(text),
            Answer::Done | Answer::Pending => Fault::Unknown("there was no answer".into()),
        }
    }

    /// True when the broker may have ended the transaction already.
    fn is_overdue(&self) -> bool {
        self.settings.delivery == Delivery::ExactlyOnce
            && self.over.unwrap_or_else(Instant::now) - self.begun > self.settings.transaction_timeout * 9 / 10
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
                RDKafkaErrorCode::TopicAuthorizationFailed => forbidden(std::slice::from_ref(&topic)),
                RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => {
                    Fault::Unavailable(format!("{topic}: {code}"))
                }
                _ if self.is_overdue() => Fault::TimedOut(format!("the transaction took too long: {topic}: {code}")),
                _ => Fault::Aborted(format!("{topic}: {code}")),
            }),
        }
    }

    /// Gives the writer up. What is known never to be committed is aborted now, so that readers and the next writer
    /// need not wait for it; what is in doubt is left to the next writer, whose start settles it.
    pub(super) fn settle(mut self) {
        self.await_outcome();
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

/// That one of these topics may not be written.
fn forbidden(topics: &[String]) -> Fault {
    Fault::Forbidden(match topics {
        [topic] => format!("this user has no right to {topic}: allow it to write it"),
        _ => format!("this user has no right to one of {}: allow it to write them", topics.join(", ")),
    })
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
