//! What the clients make of a broker's answers, shown on librdkafka's own mock of one.

use super::{
    KafkaLink,
    commit::{Ending, Undone},
    health::Health,
    reader::Reader,
    settings::Cluster,
    writer::Writer,
};
use crate::{
    manifest::{Delivery, OnLostOffset, Start},
    transport::{Batch, Fault, Link, LinkSettings, Outgoing, Taken},
    worker::control::Control,
};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

const RECORD: Outgoing<'_> = Outgoing {
    output: 0,
    partition: Some(0),
    key: None,
    value: Some(b"a record"),
    timestamp: None,
    keep_headers: false,
    headers: &[],
};

/// A broker with an input and an output, and how a worker finds it.
struct Mock {
    broker: MockCluster<'static, DefaultProducerContext>,
    cluster: Cluster,
    health: Arc<Health>,
    settings: Arc<LinkSettings>,
}

fn mock() -> Mock {
    mock_of(1)
}

fn mock_of(brokers: i32) -> Mock {
    let broker = MockCluster::new(brokers).unwrap();
    broker.create_topic("in", 1, 1).unwrap();
    broker.create_topic("out", 1, 1).unwrap();
    let properties = [("socket.timeout.ms", "1000"), ("fetch.error.backoff.ms", "10")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let cluster = Cluster { brokers: broker.bootstrap_servers(), properties };
    let settings = LinkSettings {
        group: "group".into(),
        name: "worker".into(),
        shared_writer: None,
        inputs_digest: "inputs".into(),
        inputs: vec!["in".into()],
        outputs: vec!["out".into()],
        delivery: Delivery::ExactlyOnce,
        from: Start::Earliest,
        on_lost_offset: OnLostOffset::Stop,
        largest_record: 1_000_000,
        largest_batch: 1_000_000,
        transaction_timeout: Duration::from_secs(10),
        place: (0, 1),
        control: Arc::new(Control::default()),
    };
    Mock { broker, health: Health::new(cluster.clone()), cluster, settings: Arc::new(settings) }
}

impl Mock {
    fn writer(&self) -> Result<Writer, Fault> {
        Writer::open(&self.cluster, &self.settings, &self.health)
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.cluster.reader(&self.settings), &self.settings, &self.health, BTreeSet::new()).unwrap()
    }

    fn link(&self) -> KafkaLink {
        KafkaLink::new(self.cluster.clone(), (*self.settings).clone(), self.health.clone())
    }
}

/// Tries until there is something; no more than half a minute.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes until there is a fault.
fn fault_of(link: &mut KafkaLink) -> Fault {
    until("a fault", || match link.take(100, Duration::from_millis(50)) {
        Ok(Taken::Rebalance) => link.rebalance().err(),
        Ok(_) => None,
        Err(fault) => Some(fault),
    })
}

#[test]
fn a_writer_that_is_fenced_while_it_sends_says_so() {
    let mock = mock();
    let mut old = mock.writer().unwrap();
    old.begin().unwrap();
    old.send(&RECORD, None).unwrap();
    mock.broker.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    let fault = until("the old one is refused", || old.send(&RECORD, None).err());
    assert!(matches!(fault, Fault::Fenced(_)), "{fault:?}");
}

#[test]
fn a_commit_that_failed_is_told_also_when_that_was_seen_before() {
    let mock = mock();
    let mut writer = mock.writer().unwrap();
    writer.begin().unwrap();
    writer.start_commit(|_| Err(Undone::Silence)).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    writer.serve();
    let told = writer.finish_commit();
    assert!(matches!(told, Err(Fault::Unknown(_))), "{told:?}");
    writer.finish_commit().unwrap();
}

#[test]
fn a_missing_right_to_the_transactional_id_is_waited_for() {
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    for request in [RDKafkaApiKey::InitProducerId, RDKafkaApiKey::FindCoordinator] {
        let mock = mock();
        mock.broker.request_errors(request, &[refused; 3]);
        let fault = mock.writer().err().unwrap();
        assert!(matches!(fault, Fault::Forbidden(_)), "{request:?}: {fault:?}");
        mock.broker.clear_request_errors(request);
        mock.writer().unwrap();
    }
}

#[test]
fn a_missing_right_to_write_is_told_in_the_middle_of_a_transaction() {
    let mock = mock();
    let mut writer = mock.writer().unwrap();
    writer.begin().unwrap();
    mock.broker.request_errors(
        RDKafkaApiKey::AddPartitionsToTxn,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1000],
    );
    let fault = until("it is refused", || writer.send(&RECORD, None).err());
    assert!(matches!(&fault, Fault::Forbidden(why) if why.contains("no right to out")), "{fault:?}");
}

#[test]
fn a_missing_right_to_read_is_said_again_until_it_is_given() {
    let mock = mock();
    let mut link = mock.link();
    mock.broker
        .request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 1000]);
    link.recover().unwrap();
    for _ in 0..3 {
        let fault = fault_of(&mut link);
        assert!(matches!(fault, Fault::Forbidden(_)), "{fault:?}");
        link.recover().unwrap();
    }
    mock.broker.clear_request_errors(RDKafkaApiKey::Fetch);
    until("it reads", || match link.take(100, Duration::from_millis(50)) {
        Ok(Taken::Records(_)) => Some(()),
        Ok(_) => None,
        Err(_) => link.recover().err().map(|fault| panic!("{fault:?}")),
    });
    link.close();
}

#[test]
fn who_is_no_member_has_no_membership_to_commit_with() {
    let mock = mock();
    let reader = mock.reader();
    let fault = reader.membership().metadata().err().unwrap();
    assert!(matches!(fault, Fault::Aborted(_)), "{fault:?}");
}

#[test]
fn an_end_before_what_is_there_is_not_believed() {
    let mut mock = mock_of(2);
    let writing = LinkSettings {
        outputs: vec!["in".into()],
        delivery: Delivery::AtLeastOnce,
        shared_writer: Some("source".into()),
        ..(*mock.settings).clone()
    };
    mock.settings = Arc::new(writing);
    let mut writer = mock.writer().unwrap();
    for _ in 0..2 {
        writer.send(&RECORD, None).unwrap();
        writer.start_commit(Ending::flush).unwrap();
        writer.finish_commit().unwrap();
    }
    // A broker that knows of the first record alone tells its end.
    mock.broker.partition_leader("in", 0, Some(1)).unwrap();
    mock.broker.partition_follower("in", 0, 2).unwrap();
    mock.broker.follower_watermarks("in", 0, Some(0), Some(1)).unwrap();
    let config = mock.cluster.member("group", true);
    let mut reader = Reader::open(&config, &mock.settings, &mock.health, BTreeSet::new()).unwrap();
    let mut take = |records: &mut usize| {
        match reader.take(100, Duration::from_millis(50)).unwrap() {
            Taken::Rebalance => drop(reader.follow().and_then(|()| reader.start()).unwrap()),
            Taken::Records(batch) => {
                *records += batch.len();
                return batch.ends().first().map(|(_, end)| (end.0, *records));
            }
            Taken::Nothing => {}
        }
        None
    };
    let mut records = 0;
    until("both are read", || {
        assert_eq!(take(&mut records), None);
        (records == 2).then_some(())
    });
    mock.broker.follower_watermarks("in", 0, Some(0), Some(2)).unwrap();
    assert_eq!(until("there is an end", || take(&mut records)), (2, 2));
}

#[test]
fn a_broker_that_stands_still_is_noticed() {
    let mock = mock();
    let mut reader = mock.reader();
    mock.broker.broker_round_trip_time(1, Duration::from_secs(20)).unwrap();
    until("a request runs out of time", || {
        reader.take(0, Duration::from_millis(50)).unwrap();
        mock.health.troubled_lately().then_some(())
    });
}

#[test]
fn what_the_writer_has_to_say_is_heard_while_nothing_is_written() {
    let mock = mock();
    let mut link = mock.link();
    link.writer = Some(mock.writer().unwrap());
    mock.broker.broker_down(1).unwrap();
    until("the writer is heard", || {
        assert!(link.take(0, Duration::ZERO).is_err(), "there is no reader");
        mock.health.troubled_lately().then_some(())
    });
}
