//! What comes in the place of a record, and what is done about it.

use super::Reader;
use crate::transport::{Fault, Partition};
use rdkafka::error::RDKafkaErrorCode;

/// Something that came in the place of a record.
pub(super) struct Instead {
    pub(super) code: RDKafkaErrorCode,
    pub(super) partition: Option<Partition>,
    /// Where it came, and what the library says of it.
    pub(super) text: String,
}

/// What can be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// The group's offset is gone, and the library has given the partition up: no seek brings it back.
    OffsetGone,
    /// Records could not be read. The library says so, and goes on behind them.
    Unreadable,
    /// A right is missing: the library says so once, and asks on in silence.
    Forbidden,
    /// There is no such partition now.
    PartitionGone,
    /// The library tries again by itself.
    Passing,
}

/// Tells what came apart, for whoever reads.
pub(in super::super) fn sort(code: RDKafkaErrorCode) -> Kind {
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Kind::OffsetGone,
        RDKafkaErrorCode::BadMessage
        | RDKafkaErrorCode::BadCompression
        | RDKafkaErrorCode::NotImplemented
        | RDKafkaErrorCode::CriticalSystemResource
        | RDKafkaErrorCode::Underflow => Kind::Unreadable,
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::GroupAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed => Kind::Forbidden,
        RDKafkaErrorCode::UnknownPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition => Kind::PartitionGone,
        _ => Kind::Passing,
    }
}

impl Reader {
    /// Where it is more than a passing trouble, nothing that came with it may be used: all is read again from what is
    /// committed.
    pub(super) fn hear_instead(&mut self, all: Vec<Instead>) -> Result<(), Fault> {
        let mut fault = None;
        for instead in all {
            let text = instead.text.clone();
            let found = match sort(instead.code) {
                Kind::OffsetGone => {
                    self.dead = true;
                    self.lost.extend(instead.partition);
                    Fault::Aborted(text)
                }
                Kind::Unreadable => {
                    self.say_once(&instead, "not passed over, but read again until it can be");
                    Fault::Aborted(text)
                }
                Kind::Forbidden if instead.code == RDKafkaErrorCode::GroupAuthorizationFailed => self.no_group(),
                // In the same words for each of its partitions.
                Kind::Forbidden => self.no_topic(),
                Kind::PartitionGone => {
                    self.say_gone();
                    continue;
                }
                Kind::Passing => {
                    self.say_once(&instead, "trying until it can be read");
                    continue;
                }
            };
            fault.get_or_insert(found);
        }
        fault.map_or(Ok(()), Err)
    }

    fn say_once(&mut self, instead: &Instead, then: &str) {
        if self.said.insert((instead.partition, instead.code.to_string())) {
            tracing::warn!("group {}: {}: {then}", self.settings.group, instead.text);
        }
    }

    /// An input is not there now. That is said once.
    pub(super) fn say_gone(&mut self) {
        if !std::mem::replace(&mut self.said_gone, true) {
            let topics = self.settings.inputs.join(", ");
            tracing::warn!("group {}: a topic of {topics} is gone: waiting for it", self.settings.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_would_go_on_behind_is_told_from_what_it_tries_again() {
        assert_eq!(sort(RDKafkaErrorCode::BadMessage), Kind::Unreadable);
        assert_eq!(sort(RDKafkaErrorCode::NotImplemented), Kind::Unreadable);
        assert_eq!(sort(RDKafkaErrorCode::InvalidMessage), Kind::Passing);
        assert_eq!(sort(RDKafkaErrorCode::TopicAuthorizationFailed), Kind::Forbidden);
    }
}
