//! OffsetForLeaderEpoch (key 23), versions 2-4: where an epoch ended, for clients that check for truncation (KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use protocol::{LeaderEpoch, PartitionId};

use super::Context;
use super::topic_access::partition_key;
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOps};

pub async fn handle(context: &Context, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let shard = context.shard();
    let mut ops = PartitionOps::default();
    {
        let image = shard.image();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = partition_key(&image, topic.topic.as_str(), PartitionId(partition.partition));
                let kind = PartitionOpKind::EpochEnd {
                    epoch: LeaderEpoch(partition.leader_epoch),
                    current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                };
                ops.push(key.map(|key| PartitionOp { key, kind }));
            }
        }
    }
    let mut answers = ops.run(shard).await;
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let response = EpochEndOffset::default().with_partition(partition.partition);
                match answers.next().expect("one answer a partition") {
                    Ok(PartitionOpOutput::EpochEnd { epoch, end_offset }) => {
                        response.with_leader_epoch(epoch.0).with_end_offset(end_offset.0)
                    }
                    Ok(other) => unreachable!("an epoch look-up answered {other:?}"),
                    Err(error) => response.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(-1),
                }
            });
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        })
        .collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}
