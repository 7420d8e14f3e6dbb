//! DescribeLogDirs (key 35), versions 1-4: bytes per partition and of the disk (KIP-113, KIP-827).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_log_dirs_request::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::PartitionId;

use super::Context;
use crate::logging::limit;
use crate::partition::PartitionKey;
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOps};
use crate::shard::assignment::{Wanted, wanted};

/// "Unknown", where the file system does not tell.
const UNKNOWN_BYTES: i64 = -1;

pub async fn handle(context: &Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let shard = context.shard();
    let mut asked: BTreeMap<String, BTreeSet<PartitionId>> = BTreeMap::new();
    {
        let image = shard.image();
        match &request.topics {
            None => {
                for topic in image.topics() {
                    asked.insert(topic.name.to_string(), topic.partitions().map(|(id, _)| id).collect());
                }
            }
            Some(topics) => {
                for topic in topics {
                    let partitions = asked.entry(topic.topic.to_string()).or_default();
                    partitions.extend(topic.partitions.iter().map(|p| PartitionId(*p)));
                }
            }
        }
    }
    let mut ops = PartitionOps::default();
    let mut named = Vec::new();
    {
        let image = shard.image();
        for (topic, partitions) in &asked {
            for partition in partitions {
                // As on Kafka, what does not exist or is not here is left out.
                let Some(topic_id) = image.topic(topic).map(|topic| topic.id) else { continue };
                let key = PartitionKey { topic_id, partition: *partition };
                if let Wanted::Here(_) = wanted(&image, shard.broker_id(), key) {
                    ops.push(Ok(PartitionOp { key, kind: PartitionOpKind::SizeBytes }));
                    named.push((topic.clone(), *partition));
                }
            }
        }
    }
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for ((topic, partition), answer) in named.into_iter().zip(ops.run(shard).await) {
        if let Ok(PartitionOpOutput::SizeBytes { bytes }) = answer {
            let size = i64::try_from(bytes).unwrap_or(i64::MAX);
            topics.entry(topic).or_default().push(
                DescribeLogDirsPartition::default()
                    .with_partition_index(partition.0)
                    .with_partition_size(size)
                    .with_offset_lag(0),
            );
        }
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| {
            DescribeLogDirsTopic::default()
                .with_name(kafka_protocol::messages::TopicName(name.into()))
                .with_partitions(partitions)
        })
        .collect();
    let log_dir = &shard.settings().data_dir;
    let result = DescribeLogDirsResult::default().with_log_dir(log_dir.clone().into()).with_topics(topics);
    let result = if context.version() >= 4 {
        let (total, usable) = disk_bytes(log_dir);
        result.with_total_bytes(total).with_usable_bytes(usable)
    } else {
        result
    };
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn disk_bytes(dir: &str) -> (i64, i64) {
    match rustix::fs::statvfs(dir) {
        Ok(stat) => {
            let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
            (bytes(stat.f_blocks), bytes(stat.f_bavail))
        }
        Err(error) => {
            if limit::REQUEST_FAILED.admit() {
                tracing::warn!(dir, %error, "cannot tell the size of the file system");
            }
            (UNKNOWN_BYTES, UNKNOWN_BYTES)
        }
    }
}
