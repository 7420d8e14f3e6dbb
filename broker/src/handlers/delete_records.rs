//! DeleteRecords (key 21), versions 0-2: moves the log start (KIP-107).

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use protocol::{Offset, PartitionId};

use super::Context;
use super::topic_access::{is_internal, partition_key};
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOps};

/// A longer timeout is cut to this.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

pub async fn handle(context: &Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let shard = context.shard();
    let deadline =
        Instant::now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0)).min(TIMEOUT_MAX);
    let mut ops = PartitionOps::default();
    {
        let image = shard.image();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let key = partition_key(&image, topic.name.as_str(), PartitionId(partition.partition_index));
                let internal = is_internal(topic.name.as_str());
                let kind = PartitionOpKind::DeleteRecordsBefore { offset: Offset(partition.offset), deadline };
                ops.push(match key {
                    _ if internal => Err(ResponseError::InvalidTopicException),
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
                let result = DeleteRecordsPartitionResult::default().with_partition_index(partition.partition_index);
                match answers.next().expect("one answer a partition") {
                    Ok(PartitionOpOutput::LowWatermark { offset }) => result.with_low_watermark(offset.0),
                    Ok(other) => unreachable!("a deletion of records answered {other:?}"),
                    Err(error) => result.with_error_code(error.code()).with_low_watermark(-1),
                }
            });
            DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        })
        .collect();
    DeleteRecordsResponse::default().with_topics(topics)
}
