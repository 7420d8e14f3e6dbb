//! DescribeTopicPartitions (key 75), version 0 (KIP-966): topics page by page.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use metadata::image::{MetadataImage, PartitionImage};
use protocol::{PartitionId, TopicId};

use super::topic_access::{TOPIC_OPERATIONS, is_internal};
use super::{Context, availability};

pub fn handle(context: &Context, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let shard = context.shard();
    let image = shard.image();
    let config_limit = shard.broker_config().max_request_partition_size_limit;
    let mut room = usize::try_from(request.response_partition_limit.clamp(1, config_limit.max(1))).unwrap_or(1);

    // As Kafka: all topics when none is named, in order of name, from the cursor on.
    let mut names: Vec<String> = if request.topics.is_empty() {
        image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    names.sort();
    names.dedup();
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index.max(0)),
        None => (String::new(), 0),
    };
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names.into_iter().filter(|name| *name >= from_topic) {
        let response = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(TopicName(name.clone().into())))
            .with_is_internal(is_internal(&name));
        let Some(topic) = image.topic(&name) else {
            let error = match metadata::controller::check_topic_name(&name) {
                Ok(()) => ResponseError::UnknownTopicOrPartition,
                Err(_) => ResponseError::InvalidTopicException,
            };
            topics.push(response.with_error_code(error.code()).with_topic_id(TopicId::ZERO.0));
            continue;
        };
        let first = if name == from_topic { from_partition } else { 0 };
        if room == 0 {
            next_cursor = Some(cursor(&name, first));
            break;
        }
        let mut partitions = Vec::new();
        for (partition, state) in topic.partitions().filter(|(partition, _)| partition.0 >= first) {
            if room == 0 {
                next_cursor = Some(cursor(&name, partition.0));
                break;
            }
            room -= 1;
            partitions.push(partition_response(&image, partition, state, shard.cut_off()));
        }
        topics.push(
            response
                .with_topic_id(topic.id.0)
                .with_partitions(partitions)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
        if next_cursor.is_some() {
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next_cursor)
}

fn cursor(topic: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(TopicName(topic.to_owned().into())).with_partition_index(partition)
}

/// As Kafka, a partition without leader is no error here.
fn partition_response(
    image: &MetadataImage,
    partition: PartitionId,
    state: &PartitionImage,
    cut_off: Option<protocol::BrokerId>,
) -> DescribeTopicPartitionsResponsePartition {
    let brokers = |ids: &[protocol::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(partition.0)
        .with_leader_id(BrokerId(availability::leader(image, state, cut_off).map_or(-1, |id| id.0)))
        .with_leader_epoch(state.leader_epoch.0)
        .with_replica_nodes(brokers(&state.replicas))
        .with_isr_nodes(brokers(&state.isr))
        .with_offline_replicas(brokers(&availability::offline_replicas(image, state)))
        .with_eligible_leader_replicas(Some(brokers(&state.elr)))
        .with_last_known_elr(Some(brokers(&state.last_known_elr)))
}
