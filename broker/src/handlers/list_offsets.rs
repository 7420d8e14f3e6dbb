//! ListOffsets (key 2), versions 1-10: earliest, latest, by timestamp, max timestamp (KIP-734), and the two of tiered
//! storage, of which there is none: earliest local is earliest, latest tiered is none.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use protocol::{LeaderEpoch, PartitionId};

use super::Context;
use super::topic_access::partition_key;
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOpResult, PartitionOps};

pub async fn handle(context: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let shard = context.shard();
    let mut ops = PartitionOps::default();
    {
        let image = shard.image();
        for topic in &request.topics {
            let mut asked = HashSet::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let repeated = !asked.insert(partition.partition_index);
                let key = partition_key(&image, topic.name.as_str(), PartitionId(partition.partition_index));
                let kind = PartitionOpKind::OffsetForTimestamp {
                    timestamp: partition.timestamp,
                    current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                };
                ops.push(match key {
                    _ if repeated => Err(ResponseError::InvalidRequest),
                    key => key.map(|key| PartitionOp { key, kind }),
                });
            }
        }
    }
    let mut answers = ops.run(shard).await;
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                partition_response(context.version(), partition, answers.next().expect("one answer a partition"))
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        })
        .collect();
    ListOffsetsResponse::default().with_topics(topics)
}

fn partition_response(
    version: i16,
    partition: &ListOffsetsPartition,
    answer: PartitionOpResult,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(partition.partition_index);
    match answer {
        Ok(PartitionOpOutput::Offset { timestamp, offset, leader_epoch }) => {
            let response = response.with_timestamp(timestamp).with_offset(offset.0);
            if version >= 4 { response.with_leader_epoch(leader_epoch.0) } else { response }
        }
        Ok(other) => unreachable!("a look-up by timestamp answered {other:?}"),
        Err(error) => response.with_error_code(error.code()).with_timestamp(-1).with_offset(-1),
    }
}
