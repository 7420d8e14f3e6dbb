//! Decisions about metadata, as pure functions: an image and a request go in, records and an answer come out.
//!
//! Nothing here reads a clock, draws a number or writes anything. Topic ids are passed in; the caller commits the records,
//! applies them and only then gives the answer. Checks and wording follow Kafka 4.3's controller.
//!
//! Requests over several topics or resources are answered for each of them: those that are refused do not keep the others
//! from being done. With `validate_only` there is an answer and no record.

mod alter_configs;
mod alter_partition;
mod assignment;
mod brokers;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod elect_leaders;
mod frees_space;
mod impaired;
mod leadership;
mod log_ends;
mod offsets_topic;
mod partition_changes;
mod producer_ids;
mod quorum;
mod reassignments;
mod sessions;
mod settle;
#[cfg(test)]
mod tests;
mod topic_name;

pub use alter_configs::{
    AlterConfigsError, AlterOp, ConfigAlteration, ConfigChange, ConfigReplacement, alter_configs,
    incremental_alter_configs,
};
pub use alter_partition::{AlterPartitionError, Ineligible, IsrChange, PartitionKey, alter_partition};
pub use assignment::AssignmentError;
pub use brokers::{
    BrokerStart, Heartbeat, NodeRefused, RemoveError, StaleBroker, Wish, bootstrap_records, fence, heartbeat, join,
    register_broker, remove_node,
};
pub use create_partitions::{CreatePartitionsError, NewPartitions, create_partitions};
pub use create_topics::{CreateTopicsError, CreatedTopic, NewTopic, create_topics};
pub use delete_topics::{DeleteTopicsError, DeletedTopic, TopicToDelete, delete_topics};
pub use elect_leaders::{
    BALANCED_AT_ONCE_MAX, ElectLeadersError, ElectionType, UnknownElectionType, balance_leaders, elect_leaders,
};
pub use frees_space::frees_space;
pub use impaired::{ImpairedReplica, Impairment, report_impaired};
pub use leadership::elect_unclean;
pub use log_ends::{LogEnd, LogEnds, Questions, questions_leaderless, questions_unclean, questions_without};
pub use offsets_topic::{RAISED_AT_ONCE_MAX, raise_offsets_replication_factor};
pub use producer_ids::{PRODUCER_ID_BLOCK_LENGTH, ProducerIdBlock, ProducerIdsExhausted, allocate_producer_ids};
pub use quorum::{MembershipChange, Quorum, next_membership_change};
pub use reassignments::{ReassignmentError, WantedReassignment, alter_partition_reassignments};
pub use sessions::{Sessions, lease_ms};
pub use topic_name::{OFFSETS_TOPIC, TopicNameError, check_topic_name, is_internal_topic};

use protocol::newtypes::PartitionId;
use std::collections::BTreeSet;

/// Records, and what the request's parts are answered in the request's order: the name or resource, and how it went.
pub type Decision<K, T, E> = (Vec<crate::record::MetadataRecord>, Vec<(K, Result<T, E>)>);

/// A partition as requests name it: by its topic's name and its id.
pub type PartitionName = (String, PartitionId);

/// Partitions that one request may create, over all its topics (Kafka's limit).
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// Records that one request may come to (Kafka's limit).
pub const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// The keys that a request names more than once. Requests are as long as a client makes them, so this is no double loop.
fn repeated<K: Ord + Copy>(keys: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| !seen.insert(*key)).collect()
}
