//! ListOffsets (key 2), versions 1-10: earliest, latest, by timestamp, max timestamp (KIP-734), and the two of tiered
//! storage, of which there is none: earliest local is earliest, latest tiered is none.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use protocol::{LeaderEpoch, PartitionId};

use super::Context;
use super::topic_access::partition_key;
use crate::partition_op::{
    PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOpResult, PartitionOps, TIMESTAMP_EARLIEST,
    TIMESTAMP_EARLIEST_LOCAL, TIMESTAMP_LATEST, TIMESTAMP_LATEST_TIERED, TIMESTAMP_MAX,
};

pub async fn handle(context: &Context, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let shard = context.shard();
    let mut ops = PartitionOps::default();
    let mut times_asked: HashMap<(&str, i32), usize> = HashMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *times_asked.entry((topic.name.as_str(), partition.partition_index)).or_default() += 1;
        }
    }
    {
        let image = shard.image();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = partition_key(&image, topic.name.as_str(), PartitionId(partition.partition_index));
                let kind = PartitionOpKind::OffsetForTimestamp {
                    timestamp: partition.timestamp,
                    current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                };
                ops.push(match key {
                    _ if times_asked[&(topic.name.as_str(), partition.partition_index)] > 1 => {
                        Err(ResponseError::InvalidRequest)
                    }
                    _ if !is_served(partition.timestamp, context.version()) => Err(ResponseError::UnsupportedVersion),
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

/// Whether the version knows this special value; all times from 0 on are plain ones.
fn is_served(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | TIMESTAMP_LATEST | TIMESTAMP_EARLIEST => true,
        TIMESTAMP_MAX => version >= 7,
        TIMESTAMP_EARLIEST_LOCAL => version >= 8,
        TIMESTAMP_LATEST_TIERED => version >= 9,
        _ => false,
    }
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
        Err(error) => {
            // Older clients do not know OFFSET_NOT_AVAILABLE (KIP-207), and ask again at this one too.
            let error = match error {
                ResponseError::OffsetNotAvailable if version < 5 => ResponseError::LeaderNotAvailable,
                error => error,
            };
            response.with_error_code(error.code()).with_timestamp(-1).with_offset(-1)
        }
    }
}
