//! Finding what a request names in the cluster's image.

use kafka_protocol::ResponseError;
pub use metadata::controller::{OFFSETS_TOPIC, is_internal_topic as is_internal};
use metadata::image::MetadataImage;
use protocol::PartitionId;

use crate::partition::PartitionKey;

/// The partition of that name, or UNKNOWN_TOPIC_OR_PARTITION.
pub fn partition_key(
    image: &MetadataImage,
    topic: &str,
    partition: PartitionId,
) -> Result<PartitionKey, ResponseError> {
    match image.topic(topic) {
        Some(topic) if topic.partition(partition).is_some() => Ok(PartitionKey { topic_id: topic.id, partition }),
        _ => Err(ResponseError::UnknownTopicOrPartition),
    }
}

/// Without authorization everything is allowed; the operations that make sense on a topic: Read, Write, Create, Delete,
/// Alter, Describe, DescribeConfigs, AlterConfigs (bits as in Kafka's `AclOperation`).
pub const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
