//! The calls of librdkafka for which rdkafka has no form, or one that is too dear:
//!
//! - records by the batch (one at a time costs a fifth more);
//! - producing with headers that are moved from the input, not copied;
//! - flush and commit without rdkafka's waits, which go in steps of 100 ms.
//!
//! All that is unsafe in this program stands here, each call in a small safe function.

use anyhow::{Result, anyhow, bail};
use rdkafka::{
    bindings as sys,
    bindings::rd_kafka_vtype_t as vtype,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    ffi::{CStr, CString, c_int},
    marker::PhantomData,
    ptr::{self, NonNull},
    slice,
    sync::Arc,
    time::Duration,
};

/// RD_KAFKA_PARTITION_UA, which the bindings leave out.
const PARTITION_BY_KEY: c_int = -1;

/// One queue for the records of all partitions, beside the consumer's own.
///
/// The consumer's own queue carries the rebalances too, which only `BaseConsumer::poll` knows how to serve. So the
/// partitions' queues are forwarded to this one, and the consumer is polled between batches.
pub(crate) struct RecordQueue<C: ConsumerContext> {
    native: NonNull<sys::rd_kafka_queue_t>,
    /// Dropped after the queue, as librdkafka wants it.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka locks its queues; any thread may use and destroy one.
unsafe impl<C: ConsumerContext> Send for RecordQueue<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext> Sync for RecordQueue<C> {}

impl<C: ConsumerContext> RecordQueue<C> {
    pub(crate) fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client is alive, and the queue keeps it so.
        let native = unsafe { sys::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { native: NonNull::new(native).expect("rd_kafka_queue_new allocates or aborts"), consumer }
    }

    /// From now on the records of this partition come to this queue. To be called before the partition is assigned.
    pub(crate) fn forward(&self, topic: &CStr, partition: i32) {
        let client = self.consumer.client().native_ptr();
        // SAFETY: client, name and both queues are alive; the partition's queue is counted, and this reference to it
        // is given back once it is forwarded.
        unsafe {
            let queue = sys::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            sys::rd_kafka_queue_forward(queue, self.native.as_ptr());
            sys::rd_kafka_queue_destroy(queue);
        }
    }

    /// Adds up to `most` records to `batch`. Returns when they are there, or with fewer when `wait` is over.
    pub(crate) fn take<'q>(&'q self, batch: &mut Vec<Record<'q>>, most: usize, wait: Duration) -> Result<()> {
        batch.reserve(most);
        let room = batch.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: there is room for `most` records behind the end of the vector, a record is no more than the pointer
        // that librdkafka writes, and each pointer written is ours to destroy.
        let taken = unsafe { sys::rd_kafka_consume_batch_queue(self.native.as_ptr(), millis(wait), room, most) };
        let Ok(taken) = usize::try_from(taken) else { bail!("the queue cannot be read: {}", last_error()) };
        // SAFETY: that many were written.
        unsafe { batch.set_len(batch.len() + taken) };
        Ok(())
    }
}

impl<C: ConsumerContext> Drop for RecordQueue<C> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no record that borrows it is left.
        unsafe { sys::rd_kafka_queue_destroy(self.native.as_ptr()) }
    }
}

/// A record that was taken from a queue; its memory is librdkafka's.
#[repr(transparent)]
pub(crate) struct Record<'q> {
    native: NonNull<sys::rd_kafka_message_t>,
    queue: PhantomData<&'q ()>,
}

impl Record<'_> {
    /// What came in place of a record, when it is none.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.message().err {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            error => Some(error.into()),
        }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.message().partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.message().offset
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the key lives as long as the message.
        unsafe { bytes(message.key.cast(), message.key_len) }
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: the payload lives as long as the message.
        unsafe { bytes(message.payload.cast(), message.len) }
    }

    /// Milliseconds since 1970.
    pub(crate) fn timestamp(&self) -> Option<i64> {
        // SAFETY: the message is alive; the kind of timestamp is not asked for.
        let timestamp = unsafe { sys::rd_kafka_message_timestamp(self.native.as_ptr(), ptr::null_mut()) };
        (timestamp >= 0).then_some(timestamp)
    }

    /// Takes the headers away from the record, which has none from then on.
    pub(crate) fn take_headers(&mut self) -> Option<Headers> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and borrowed by nobody else; headers that were detached are ours.
        let answer = unsafe { sys::rd_kafka_message_detach_headers(self.native.as_ptr(), &mut headers) };
        match answer {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => NonNull::new(headers).map(Headers),
            _ => None,
        }
    }

    fn message(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: librdkafka gave it to us, and it is destroyed with `self` only.
        unsafe { self.native.as_ref() }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours, and its client is alive: the queue holds it.
        unsafe { sys::rd_kafka_message_destroy(self.native.as_ptr()) }
    }
}

/// Headers that belong to no record.
pub(crate) struct Headers(NonNull<sys::rd_kafka_headers_t>);

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: they are ours: whoever takes them forgets `self`.
        unsafe { sys::rd_kafka_headers_destroy(self.0.as_ptr()) }
    }
}

/// A record to be sent; what is borrowed is copied.
pub(crate) struct Outgoing<'a> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// The present, if none.
    pub(crate) timestamp: Option<i64>,
}

/// A topic to produce to, looked up once.
pub(crate) struct OutputTopic<C: ProducerContext> {
    native: NonNull<sys::rd_kafka_topic_t>,
    /// Dropped after the topic, as librdkafka wants it.
    producer: BaseProducer<C>,
}

impl<C: ProducerContext> OutputTopic<C> {
    pub(crate) fn new(producer: BaseProducer<C>, name: &str) -> Result<Self> {
        let name = CString::new(name)?;
        // SAFETY: client and name are alive; without settings of its own the topic has the client's.
        let native = unsafe { sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        let native = NonNull::new(native).ok_or_else(|| anyhow!("topic {name:?}: {}", last_error()))?;
        Ok(Self { native, producer })
    }

    /// Queues a record; its key decides on the partition. On success the headers are taken, else they are left.
    pub(crate) fn send(&self, record: &Outgoing<'_>, headers: &mut Option<Headers>) -> Result<(), RDKafkaErrorCode> {
        let (key, key_len) = parts(record.key);
        let (value, value_len) = parts(record.value);
        let headers_or_null = headers.as_ref().map_or(ptr::null_mut(), |headers| headers.0.as_ptr());
        // SAFETY: each tag is followed by the arguments, of the types, that rd_kafka_producev(3) lists for it, and the
        // list ends with END. Key and value outlive the call, which copies both. Headers are ours to give, and are
        // forgotten below when, and only when, they were taken.
        let answer = unsafe {
            sys::rd_kafka_producev(
                self.producer.client().native_ptr(),
                vtype::RD_KAFKA_VTYPE_RKT,
                self.native.as_ptr(),
                vtype::RD_KAFKA_VTYPE_PARTITION,
                PARTITION_BY_KEY,
                vtype::RD_KAFKA_VTYPE_MSGFLAGS,
                sys::RD_KAFKA_MSG_F_COPY,
                vtype::RD_KAFKA_VTYPE_KEY,
                key,
                key_len,
                vtype::RD_KAFKA_VTYPE_VALUE,
                value,
                value_len,
                vtype::RD_KAFKA_VTYPE_TIMESTAMP,
                record.timestamp.unwrap_or(0),
                vtype::RD_KAFKA_VTYPE_HEADERS,
                headers_or_null,
                vtype::RD_KAFKA_VTYPE_END,
            )
        };
        match answer {
            sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                std::mem::forget(headers.take());
                Ok(())
            }
            error => Err(error.into()),
        }
    }

    pub(crate) fn producer(&self) -> &BaseProducer<C> {
        &self.producer
    }
}

impl<C: ProducerContext> Drop for OutputTopic<C> {
    fn drop(&mut self) {
        // SAFETY: it is ours; records still queued for it count for themselves.
        unsafe { sys::rd_kafka_topic_destroy(self.native.as_ptr()) }
    }
}

/// What is known of a transaction after one step of its commit.
pub(crate) enum CommitStep {
    Committed,
    /// Nothing yet: the same call must be made again.
    Unknown,
    Failed(String),
}

/// Asks for the commit and waits for it. May be called until the outcome is known: librdkafka goes on where it stood.
pub(crate) fn commit_step<C: ProducerContext>(producer: &BaseProducer<C>, wait: Duration) -> CommitStep {
    // SAFETY: the producer is alive, and the answer is ours.
    let answer = unsafe { sys::rd_kafka_commit_transaction(producer.client().native_ptr(), millis(wait)) };
    match NonNull::new(answer).map(Error) {
        None => CommitStep::Committed,
        Some(error) if error.leaves_open() => CommitStep::Unknown,
        Some(error) => CommitStep::Failed(error.text()),
    }
}

/// Hurries what is queued. True when all of it was delivered, or has failed and said so.
pub(crate) fn flush_step<C: ProducerContext>(producer: &BaseProducer<C>, wait: Duration) -> bool {
    // SAFETY: the producer is alive.
    let answer = unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), millis(wait)) };
    // It has no other answer than this and _TIMED_OUT.
    answer == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Hands over what a producer has to say (failed deliveries, errors). One `poll(0)` would serve one event only.
pub(crate) fn serve<C: ProducerContext>(producer: &BaseProducer<C>) {
    while events(producer) > 0 {
        producer.poll(Duration::ZERO);
    }
}

fn events<C: ProducerContext>(producer: &BaseProducer<C>) -> usize {
    // SAFETY: the producer is alive; the reference to its queue is given back.
    unsafe {
        let queue = sys::rd_kafka_queue_get_main(producer.client().native_ptr());
        let events = sys::rd_kafka_queue_length(queue);
        sys::rd_kafka_queue_destroy(queue);
        events
    }
}

/// An answer of a transactional call.
struct Error(NonNull<sys::rd_kafka_error_t>);

impl Error {
    /// True when the transaction may yet be committed. The order of the questions is librdkafka's rule; `_CONFLICT`
    /// calls itself retriable, but means that another call of this transaction was left unfinished.
    fn leaves_open(&self) -> bool {
        let error = self.0.as_ptr();
        // SAFETY: the error is alive.
        unsafe {
            sys::rd_kafka_error_is_fatal(error) == 0
                && sys::rd_kafka_error_txn_requires_abort(error) == 0
                && sys::rd_kafka_error_code(error) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__CONFLICT
                && sys::rd_kafka_error_is_retriable(error) != 0
        }
    }

    fn text(&self) -> String {
        // SAFETY: the text lives as long as the error, and is copied.
        unsafe { CStr::from_ptr(sys::rd_kafka_error_string(self.0.as_ptr())) }.to_string_lossy().into_owned()
    }
}

impl Drop for Error {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { sys::rd_kafka_error_destroy(self.0.as_ptr()) }
    }
}

fn last_error() -> RDKafkaErrorCode {
    // SAFETY: reads a variable of this thread.
    unsafe { sys::rd_kafka_last_error() }.into()
}

fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// # Safety
/// `start` is null, or `len` bytes at it live as long as `'a`.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start, len) })
}

/// As C wants it: null is no key or value, which is not the same as an empty one.
fn parts(bytes: Option<&[u8]>) -> (*const u8, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()))
}
