//! Which shard owns a partition.

use crate::partition::PartitionKey;

/// The owning shard among `shards`.
///
/// A function of topic id, partition and number of shards alone, so every shard computes it alike and nothing is stored;
/// a restart with another number of shards moves whole partition directories to other owners. Partitions of one topic go
/// round-robin from a start that the topic id gives: a topic with as many partitions as shards uses them all.
pub fn owner_of(key: PartitionKey, shards: usize) -> usize {
    let start = key.topic_id.0.as_u128() % shards as u128;
    (start as usize + key.partition.0.max(0) as usize) % shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{PartitionId, TopicId};

    #[test]
    fn partitions_of_a_topic_spread_evenly() {
        for shards in 1..9 {
            let topic_id = TopicId(uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1111_2222_3333_4444));
            let mut owned = vec![0; shards];
            for partition in 0..shards as i32 * 3 {
                owned[owner_of(PartitionKey { topic_id, partition: PartitionId(partition) }, shards)] += 1;
            }
            assert!(owned.iter().all(|n| *n == 3), "{owned:?}");
        }
    }
}
