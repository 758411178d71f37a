//! Who this member is for its group, which takes progress from nobody else.

use super::{super::raw, Events, Fault, aborted};
use rdkafka::{
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerGroupMetadata},
    error::RDKafkaErrorCode,
    topic_partition_list::TopicPartitionList,
};
use std::sync::Arc;

/// A member, as far as a commit has to know it.
pub(in super::super) struct Membership(pub(super) Arc<BaseConsumer<Events>>);

impl Membership {
    /// What a transaction needs to know of the group, as it is now.
    pub(in super::super) fn metadata(&self) -> Result<ConsumerGroupMetadata, Fault> {
        let group = self.0.group_metadata().ok_or_else(|| Fault::Fatal("the consumer has no group".into()))?;
        // Afterwards: what was lost before it was asked for shows now, and nothing comes back before the worker lets it.
        self.check()?;
        Ok(group)
    }

    /// A member that was thrown out has no generation any more, and must not commit without one: a group that is
    /// empty by now would accept it.
    fn check(&self) -> Result<(), Fault> {
        match raw::has_generation(&self.0) && !raw::assignment_lost(&self.0) {
            true => Ok(()),
            false => Err(Fault::Aborted("the group has given the partitions to others".into())),
        }
    }

    /// Commits progress without a transaction.
    pub(in super::super) fn commit(&self, offsets: &TopicPartitionList) -> Result<(), Fault> {
        // The library takes an empty list for an error.
        if offsets.count() == 0 {
            return Ok(());
        }
        self.check()?;
        self.0.commit(offsets, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::RebalanceInProgress,
            ) => aborted(error),
            _ => Fault::Unavailable(error.to_string()),
        })
    }
}
