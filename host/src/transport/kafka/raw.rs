//! The calls into librdkafka that its Rust wrapper does not have, each behind a safe function.
//!
//! The wrapper's own `commit_transaction` polls in steps of 100 ms whatever there is to do, its consumer gives one
//! record a call, and its producer cannot pass a record's headers on without rebuilding them: for a host these three
//! are most of the cost.

use super::{batch::Queued, reader::Events, writer::Reports};
use rdkafka::{
    bindings as rd,
    client::{Client, ClientContext},
    consumer::{BaseConsumer, Consumer},
    error::{IsError, RDKafkaErrorCode},
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_int, c_void},
    ptr,
    sync::Arc,
    time::Duration,
};

/// What librdkafka answers to a transactional call, sorted by what can be done about it.
#[derive(Debug)]
pub(super) enum Answer {
    /// Done.
    Done,
    /// Not known yet: call again.
    Pending,
    /// This transaction will never be committed.
    Abort(String),
    /// This producer is dead: another one with its name is at work, or the transaction took too long.
    Fenced(String),
    /// This producer is dead.
    Fatal(String),
    /// A right is missing, and may be given to the next one.
    Forbidden(String),
}

/// Sorts an error of the wrapper's transactional calls.
pub(super) fn answer(error: &rdkafka::error::RDKafkaError) -> Answer {
    sort(error.code(), error.is_fatal(), error.txn_requires_abort(), error.is_retriable(), error.string())
}

/// Why the producer is dead, when it is.
pub(super) fn death(producer: &BaseProducer<Reports>) -> Option<Answer> {
    producer.client().fatal_error().map(|(code, text)| sort(code, true, false, false, text))
}

fn sort(code: RDKafkaErrorCode, fatal: bool, abort: bool, retriable: bool, text: String) -> Answer {
    match code {
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::InvalidProducerEpoch | RDKafkaErrorCode::ProducerFenced => {
            Answer::Fenced(text)
        }
        _ if fatal => Answer::Fatal(text),
        _ if abort => Answer::Abort(text),
        // "Retriable", says the library; but it means that another call of this transaction is unfinished, and
        // calling again would spin for ever.
        RDKafkaErrorCode::Conflict => Answer::Fatal(text),
        _ if retriable => Answer::Pending,
        _ => Answer::Fatal(text),
    }
}

/// How a transaction ends.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Everything becomes visible.
    Commit,
    /// Nothing does.
    Abort,
}

/// One step of ending the open transaction, of at most `step`.
pub(super) fn end_transaction(producer: &BaseProducer<Reports>, end: End, step: Duration) -> Answer {
    let (client, step) = (producer.client().native_ptr(), millis(step));
    // SAFETY: the client lives as long as `producer`; the error is ours and is destroyed below, after its last use.
    unsafe {
        let error = match end {
            End::Commit => rd::rd_kafka_commit_transaction(client, step),
            End::Abort => rd::rd_kafka_abort_transaction(client, step),
        };
        if error.is_null() {
            return Answer::Done;
        }
        let code: RDKafkaErrorCode = rd::rd_kafka_error_code(error).into();
        let text = CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        let (fatal, abort, retriable) = (
            rd::rd_kafka_error_is_fatal(error) != 0,
            rd::rd_kafka_error_txn_requires_abort(error) != 0,
            rd::rd_kafka_error_is_retriable(error) != 0,
        );
        rd::rd_kafka_error_destroy(error);
        sort(code, fatal, abort, retriable, text)
    }
}

/// One step of waiting until everything sent is acknowledged; true when it is.
pub(super) fn flush<C: ProducerContext>(producer: &BaseProducer<C>, step: Duration) -> bool {
    // SAFETY: the client lives as long as `producer`.
    let code = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), millis(step)) };
    !code.is_error()
}

/// Serves everything that waits in the producer's queue: failed deliveries, errors, logs.
pub(super) fn serve<C: ProducerContext>(producer: &BaseProducer<C>) {
    // SAFETY: the client lives as long as `producer`; the queue's reference is given back at the end.
    unsafe {
        let queue = rd::rd_kafka_queue_get_main(producer.client().native_ptr());
        while rd::rd_kafka_queue_length(queue) > 0 {
            producer.poll(Duration::ZERO);
        }
        rd::rd_kafka_queue_destroy(queue);
    }
}

/// The ids of topics: one that is made anew has another. There are none for a topic that is not there, or that a broker has
/// which knows of none (before Kafka 2.8). Nothing at all, when there is no answer in this time.
pub(super) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    within: Duration,
) -> Option<BTreeMap<String, String>> {
    let names: Vec<_> = topics.iter().map(|topic| CString::new(*topic)).collect::<Result<_, _>>().ok()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let client = client.native_ptr();
    // SAFETY: the client lives as long as its reference, and the names until the call has copied them. Queue, options,
    // collection and event are ours and are given back here, after the last use of what lies in them.
    unsafe {
        let queue = rd::rd_kafka_queue_new(client);
        let options = rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        rd::rd_kafka_AdminOptions_set_request_timeout(options, millis(within), ptr::null_mut(), 0);
        let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd::rd_kafka_DescribeTopics(client, collection, options, queue);
        rd::rd_kafka_TopicCollection_destroy(collection);
        rd::rd_kafka_AdminOptions_destroy(options);
        // It ends by itself; this is for a library that does not.
        let event = rd::rd_kafka_queue_poll(queue, millis(within + Duration::from_secs(1)));
        let ids = (!event.is_null()).then(|| ids_of(event)).flatten();
        if !event.is_null() {
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_queue_destroy(queue);
        ids
    }
}

/// Those that an answer tells of.
///
/// # Safety
/// The event is one of the library's, and outlives this.
unsafe fn ids_of(event: *mut rd::rd_kafka_event_t) -> Option<BTreeMap<String, String>> {
    // SAFETY: as the caller promises; what an event holds lives as long as that.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        let failure: RDKafkaErrorCode = rd::rd_kafka_event_error(event).into();
        if result.is_null() || failure != RDKafkaErrorCode::NoError {
            return None;
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = BTreeMap::new();
        for place in 0..count {
            let topic = *topics.add(place);
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            if id.is_null() {
                continue;
            }
            let (most, least) =
                (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id));
            if (most, least) != (0, 0) {
                let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
                ids.insert(name, format!("{most:016x}{least:016x}"));
            }
        }
        Some(ids)
    }
}

/// The broker that clients are sent to for what a controller does, as it was told within this time.
pub(super) fn controller<C: ClientContext>(client: &Client<C>, within: Duration) -> Option<i32> {
    // SAFETY: the client lives as long as its reference.
    let number = unsafe { rd::rd_kafka_controllerid(client.native_ptr(), millis(within)) };
    (number >= 0).then_some(number)
}

/// True when the library has more to say to the consumer: errors, logs, a rebalance.
pub(super) fn has_events(consumer: &BaseConsumer<Events>) -> bool {
    // SAFETY: the client lives as long as `consumer`; the queue's reference is given back.
    unsafe {
        let queue = rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        if queue.is_null() {
            return false;
        }
        let waiting = rd::rd_kafka_queue_length(queue);
        rd::rd_kafka_queue_destroy(queue);
        waiting > 0
    }
}

/// True when the group has taken the consumer's partitions away without asking, as after a missed session.
pub(super) fn assignment_lost(consumer: &BaseConsumer<Events>) -> bool {
    // SAFETY: the client lives as long as `consumer`.
    unsafe { rd::rd_kafka_assignment_lost(consumer.client().native_ptr()) != 0 }
}

/// True when the consumer has a generation in its group.
pub(super) fn has_generation(consumer: &BaseConsumer<Events>) -> bool {
    // SAFETY: the client lives as long as `consumer`; the metadata is ours and is destroyed after its last use.
    unsafe {
        let metadata = rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd::rd_kafka_consumer_group_metadata_destroy(metadata);
        generation >= 0
    }
}

/// A queue into which all partitions of a consumer flow, to be read in batches.
pub(super) struct Queue {
    queue: *mut rd::rd_kafka_queue_t,
    consumer: Arc<BaseConsumer<Events>>,
}

impl Queue {
    pub(super) fn new(consumer: &Arc<BaseConsumer<Events>>) -> Queue {
        // SAFETY: the client lives as long as the consumer, which this queue holds.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Queue { queue, consumer: consumer.clone() }
    }

    /// Sends a partition's records here. To be called before the partition is assigned.
    pub(super) fn forward(&self, topic: &str, partition: i32) {
        let topic = CString::new(topic).expect("a topic's name has no NUL byte");
        // SAFETY: both queues belong to the same client; the partition queue's reference is given back.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let source = rd::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if !source.is_null() {
                rd::rd_kafka_queue_forward(source, self.queue);
                rd::rd_kafka_queue_destroy(source);
            }
        }
    }

    /// Waits up to `wait` for a record, an error or the end of a partition, and adds what has come by then to `into`:
    /// up to `limit` of them. The library's batch call alone would wait for a full batch, or the time's end.
    pub(super) fn take(&self, limit: usize, wait: Duration, into: &mut Vec<Queued>) {
        // SAFETY: the queue is ours; a message that is not null is handed over, and owned from here on.
        let first = unsafe { rd::rd_kafka_consume_queue(self.queue, millis(wait)) };
        if first.is_null() {
            return;
        }
        into.push(Queued::own(first));
        into.reserve(limit);
        let from = into.len();
        // SAFETY: `into` has room for `limit` pointers behind its length; `Queued` is a transparent pointer that owns
        // its message, and the library hands over `count` of them.
        unsafe {
            let room = into.as_mut_ptr().add(from).cast::<*mut rd::rd_kafka_message_t>();
            let count = rd::rd_kafka_consume_batch_queue(self.queue, 0, room, limit - 1);
            into.set_len(from + usize::try_from(count).unwrap_or(0));
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once, before the consumer that it belongs to.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) }
    }
}

/// A topic's handle for sending, so that its name is not looked up for every record.
pub(super) struct Topic(*mut rd::rd_kafka_topic_t);

impl Topic {
    /// `None` when the library will not have it.
    pub(super) fn new(producer: &BaseProducer<Reports>, name: &str) -> Option<Topic> {
        let name = CString::new(name).expect("a topic's name has no NUL byte");
        // SAFETY: the name is copied; a null configuration means the client's own.
        let topic = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut()) };
        (!topic.is_null()).then_some(Topic(topic))
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once; the handle keeps its client alive.
        unsafe { rd::rd_kafka_topic_destroy(self.0) }
    }
}

/// A list of headers on its way out.
pub(super) struct Headers(*mut rd::rd_kafka_headers_t);

impl Headers {
    pub(super) fn new() -> Headers {
        // SAFETY: no preconditions.
        Headers(unsafe { rd::rd_kafka_headers_new(8) })
    }

    /// The headers of a record that came, byte for byte; `None` when it has none.
    pub(super) fn copy_of(queued: &Queued) -> Option<Headers> {
        // SAFETY: the list belongs to the message, which outlives the copy that is made of it here.
        queued.raw_headers().map(|list| Headers(unsafe { rd::rd_kafka_headers_copy(list) }))
    }

    /// About what the list takes of memory.
    pub(super) fn bytes(&self) -> usize {
        const EACH: usize = 64;
        let mut sum = 0;
        for index in 0.. {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is ours; what the call gives out belongs to it, and nothing of that is read.
            let code = unsafe { rd::rd_kafka_header_get_all(self.0, index, &mut name, &mut value, &mut size) };
            if code.is_error() {
                break;
            }
            sum += size + EACH;
        }
        sum
    }

    pub(super) fn push(&mut self, name: &str, value: Option<&[u8]>) {
        let (bytes, size) = pointer(value);
        // SAFETY: the list is ours; name and value are copied by the call.
        unsafe {
            rd::rd_kafka_header_add(self.0, name.as_ptr().cast(), name.len() as isize, bytes, size as isize);
        }
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: still ours: `produce` forgets the lists that it gave away.
        unsafe { rd::rd_kafka_headers_destroy(self.0) }
    }
}

/// The key decides: `RD_KAFKA_PARTITION_UA`, a macro that the bindings do not have.
const ANY_PARTITION: i32 = -1;

/// The present, for the library; so that the first millisecond of 1970 is the only time that cannot be sent as it is.
const NOW: i64 = 0;

/// A record as the client takes it.
pub(super) struct Parts<'a> {
    pub(super) partition: Option<u32>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) timestamp: Option<i64>,
    pub(super) headers: Option<Headers>,
}

/// Hands a record to the client, which copies it. When its queue is full the record's headers come back.
pub(super) fn produce(
    producer: &BaseProducer<Reports>,
    topic: &Topic,
    parts: &mut Parts<'_>,
) -> Result<(), RDKafkaErrorCode> {
    use rd::rd_kafka_vtype_t as kind;
    let partition = parts.partition.map_or(ANY_PARTITION, |p| i32::try_from(p).unwrap_or(i32::MAX));
    let ((key, key_size), (value, value_size)) = (pointer(parts.key), pointer(parts.value));
    let headers = parts.headers.as_ref().map_or(ptr::null_mut(), |list| list.0);
    // SAFETY: every variadic argument has the type that its tag asks for; key and value are copied by the call; on
    // success the list of headers belongs to the client, so ours is forgotten, else it stays ours.
    let code = unsafe {
        rd::rd_kafka_producev(
            producer.client().native_ptr(),
            kind::RD_KAFKA_VTYPE_RKT,
            topic.0,
            kind::RD_KAFKA_VTYPE_PARTITION,
            partition,
            kind::RD_KAFKA_VTYPE_MSGFLAGS,
            rd::RD_KAFKA_MSG_F_COPY,
            kind::RD_KAFKA_VTYPE_VALUE,
            value,
            value_size,
            kind::RD_KAFKA_VTYPE_KEY,
            key,
            key_size,
            kind::RD_KAFKA_VTYPE_TIMESTAMP,
            parts.timestamp.map_or(NOW, |time| time.max(1)),
            kind::RD_KAFKA_VTYPE_HEADERS,
            headers,
            kind::RD_KAFKA_VTYPE_END,
        )
    };
    if code.is_error() {
        return Err(code.into());
    }
    if let Some(list) = parts.headers.take() {
        std::mem::forget(list);
    }
    Ok(())
}

/// What librdkafka takes for bytes: null is no value, which an empty slice is not.
fn pointer(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}
