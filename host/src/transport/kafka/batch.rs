//! Records as librdkafka hands them over, without a copy.

use super::reader::Events;
use crate::{
    record::Header,
    transport::{Batch, Incoming, NextOffset, Offset, Partition, Progress},
};
use rdkafka::{
    bindings as rd,
    consumer::BaseConsumer,
    error::{IsError, RDKafkaErrorCode},
};
use std::{ffi::CStr, ptr, sync::Arc};

/// A message that came out of a queue: a record, or an error in the place of one.
#[repr(transparent)]
pub(super) struct Queued(*mut rd::rd_kafka_message_t);

impl Queued {
    /// Owns a message that the library handed over. It is not null.
    pub(super) fn own(message: *mut rd::rd_kafka_message_t) -> Queued {
        Queued(message)
    }

    fn message(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: the library handed the message over to us; it stays until `drop`.
        unsafe { &*self.0 }
    }

    /// What came in the place of a record.
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.message().err;
        code.is_error().then(|| code.into())
    }

    pub(super) fn topic(&self) -> &CStr {
        let topic = self.message().rkt;
        if topic.is_null() {
            return c"";
        }
        // SAFETY: the topic's handle lives as long as the message that refers to it.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(topic)) }
    }

    /// Tells topics apart without comparing their names.
    fn topic_handle(&self) -> *mut rd::rd_kafka_topic_t {
        self.message().rkt
    }

    pub(super) fn partition(&self) -> i32 {
        self.message().partition
    }

    pub(super) fn offset(&self) -> u64 {
        u64::try_from(self.message().offset).unwrap_or(0)
    }

    fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: `key_len` bytes stand at `key`, as long as the message lives.
        (!message.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(message.key.cast(), message.key_len) })
    }

    fn value(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: `len` bytes stand at `payload`, as long as the message lives.
        (!message.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(message.payload.cast(), message.len) })
    }

    /// What an error message says in place of a value.
    pub(super) fn text(&self) -> String {
        self.value().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
    }

    fn timestamp(&self) -> Option<i64> {
        // SAFETY: the message is ours; nobody asks for the timestamp's type.
        let time = unsafe { rd::rd_kafka_message_timestamp(self.0, ptr::null_mut()) };
        (time >= 0).then_some(time)
    }

    pub(super) fn raw_headers(&self) -> Option<*const rd::rd_kafka_headers_t> {
        let mut list = ptr::null_mut();
        // SAFETY: the list stays the message's own, and is not kept beyond its life by the callers.
        let code = unsafe { rd::rd_kafka_message_headers(self.0, &mut list) };
        (!code.is_error()).then_some(list.cast_const())
    }

    fn headers(&self) -> Vec<Header> {
        let Some(list) = self.raw_headers() else {
            return Vec::new();
        };
        let mut all = Vec::new();
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: name and value belong to the list, which lives as long as the message; they are copied here.
        unsafe {
            while !rd::rd_kafka_header_get_all(list, all.len(), &mut name, &mut value, &mut size).is_error() {
                all.push(Header {
                    name: CStr::from_ptr(name).to_string_lossy().into_owned(),
                    value: (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast(), size).to_vec()),
                });
            }
        }
        all
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        // SAFETY: handed over to us once, destroyed once.
        unsafe { rd::rd_kafka_message_destroy(self.0) }
    }
}

/// A batch of records from Kafka.
pub struct KafkaBatch {
    records: Vec<(Queued, usize)>,
    ends: Vec<(Partition, NextOffset)>,
    /// Messages must go before the consumer that they came from.
    _consumer: Arc<BaseConsumer<Events>>,
}

impl KafkaBatch {
    /// Sorts what came into records and ends of partitions; everything else is handed to `trouble`.
    pub(super) fn new<E>(
        queued: impl Iterator<Item = Queued>,
        inputs: &[String],
        consumer: &Arc<BaseConsumer<Events>>,
        mut trouble: impl FnMut(Queued) -> Result<(), E>,
    ) -> Result<KafkaBatch, E> {
        let records = Vec::with_capacity(queued.size_hint().0);
        let mut batch = KafkaBatch { records, ends: Vec::new(), _consumer: consumer.clone() };
        let mut last = (ptr::null_mut(), 0);
        for queued in queued {
            if last.0 != queued.topic_handle() || last.0.is_null() {
                let name = queued.topic().to_bytes();
                let Some(input) = inputs.iter().position(|topic| topic.as_bytes() == name) else {
                    trouble(queued)?;
                    continue;
                };
                last = (queued.topic_handle(), input);
            }
            match queued.error() {
                None => batch.records.push((queued, last.1)),
                Some(RDKafkaErrorCode::PartitionEOF) => {
                    let partition = Partition { input: last.1, number: queued.partition() as u32 };
                    batch.ends.push((partition, NextOffset(queued.offset())));
                }
                Some(_) => trouble(queued)?,
            }
        }
        Ok(batch)
    }

    /// Ends that lie before what is known to be there are none. A broker that has become a leader a moment ago may tell
    /// of such.
    pub(super) fn pass_ends_before(&mut self, known: &Progress) {
        self.ends.retain(|(partition, end)| known.get(*partition).is_none_or(|known| *end >= known));
    }

    pub(super) fn queued(&self, index: usize) -> &Queued {
        &self.records[index].0
    }
}

impl Batch for KafkaBatch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn get(&self, index: usize) -> Incoming<'_> {
        let (queued, input) = &self.records[index];
        Incoming {
            partition: Partition { input: *input, number: queued.partition() as u32 },
            offset: Offset(queued.offset()),
            timestamp: queued.timestamp(),
            key: queued.key(),
            value: queued.value(),
        }
    }

    fn headers(&self, index: usize) -> Vec<Header> {
        self.queued(index).headers()
    }

    fn ends(&self) -> &[(Partition, NextOffset)] {
        &self.ends
    }
}
