//! ListPartitionReassignments (key 46), version 0 (KIP-455): which replicas are on their way, out of this broker's image.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use kafka_protocol::messages::{
    BrokerId, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, TopicName,
};
use metadata::image::{MetadataImage, TopicImage};
use protocol::PartitionId;

use super::Context;

pub fn handle(context: &Context, request: ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
    let image = context.shard().image();
    let topics = match request.topics {
        None => image.topics().filter_map(|topic| ongoing(topic, topic.partitions().map(|(id, _)| id))).collect(),
        Some(asked) => {
            // A topic that is named again is answered once: an answer must not outgrow the cluster.
            let mut named: BTreeMap<String, BTreeSet<PartitionId>> = BTreeMap::new();
            for topic in asked {
                let partitions = topic.partition_indexes.into_iter().map(PartitionId);
                named.entry(topic.name.to_string()).or_default().extend(partitions);
            }
            of_named(&image, &named)
        }
    };
    ListPartitionReassignmentsResponse::default().with_topics(topics)
}

/// As in Kafka, what does not exist or stays is not named.
fn of_named(image: &MetadataImage, named: &BTreeMap<String, BTreeSet<PartitionId>>) -> Vec<OngoingTopicReassignment> {
    let known = named.iter().filter_map(|(name, partitions)| Some((image.topic(name)?, partitions)));
    known.filter_map(|(topic, partitions)| ongoing(topic, partitions.iter().copied())).collect()
}

fn ongoing(topic: &TopicImage, asked: impl Iterator<Item = PartitionId>) -> Option<OngoingTopicReassignment> {
    let brokers = |ids: &[protocol::BrokerId]| ids.iter().map(|id| BrokerId(id.0)).collect();
    let partitions: Vec<_> = asked
        .filter_map(|partition| {
            let state = topic.partition(partition)?;
            let moving = state.reassignment.as_ref()?;
            let ongoing = OngoingPartitionReassignment::default()
                .with_partition_index(partition.0)
                .with_replicas(brokers(&state.replicas))
                .with_adding_replicas(brokers(&moving.adding))
                .with_removing_replicas(brokers(&moving.removing));
            Some(ongoing)
        })
        .collect();
    let name = TopicName(topic.name.to_string().into());
    (!partitions.is_empty()).then(|| OngoingTopicReassignment::default().with_name(name).with_partitions(partitions))
}
