//! What is on the wire between Kafka clients and the broker, and nothing that acts on it.

pub mod newtypes;
pub mod record_batch;

pub use newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
