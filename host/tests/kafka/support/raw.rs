//! Headers whose names are not text: no client that we know writes them, but the protocol lets them through.

use super::Kafka;
use rdkafka::{
    bindings as rd,
    consumer::{BaseConsumer, Consumer},
    producer::Producer,
};
use std::{ffi::CString, ptr, time::Duration};

/// Writes one record with one header of this name.
pub fn send_with_header(kafka: &Kafka, topic: &str, name: &[u8], value: &[u8]) {
    let producer = kafka.producer();
    let topic = CString::new(topic).unwrap();
    // SAFETY: every argument has the type that its tag asks for; all bytes are copied by the calls, and the list of
    // headers belongs to the client when the record was taken.
    unsafe {
        let headers = rd::rd_kafka_headers_new(1);
        let size = name.len() as isize;
        rd::rd_kafka_header_add(headers, name.as_ptr().cast(), size, value.as_ptr().cast(), value.len() as isize);
        let code = rd::rd_kafka_producev(
            producer.client().native_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            rd::RD_KAFKA_MSG_F_COPY,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            b"x".as_ptr(),
            1usize,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        );
        assert_eq!(code, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// The name and value of the first header of the first record of a topic's only partition.
pub fn first_header(kafka: &Kafka, topic: &str) -> (Vec<u8>, Vec<u8>) {
    let consumer: BaseConsumer = kafka.config().set("group.id", "raw").create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_offset(topic, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    // SAFETY: the message is ours until it is destroyed, and name and value belong to it; they are copied before.
    unsafe {
        let message = rd::rd_kafka_consumer_poll(consumer.client().native_ptr(), 30_000);
        assert!(!message.is_null() && (*message).err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
        let (mut headers, mut name, mut value, mut size) = (ptr::null_mut(), ptr::null(), ptr::null(), 0);
        rd::rd_kafka_message_headers(message, &mut headers);
        rd::rd_kafka_header_get_all(headers, 0, &mut name, &mut value, &mut size);
        let name = std::ffi::CStr::from_ptr(name).to_bytes().to_vec();
        let value = std::slice::from_raw_parts(value.cast(), size).to_vec();
        rd::rd_kafka_message_destroy(message);
        (name, value)
    }
}
