//! What a shard is told when metadata changes: one closed enum, in the order of the records.
//!
//! A delta says what differs from the image before it, with the names a shard would otherwise have to look up in an image
//! that may no longer hold them. Changes that concern no shard (producer ids, nodes, the cluster's identity) have no delta.

mod between;

use crate::image::{MetadataImage, PartitionImage};
use crate::record::{BrokerState, ConfigResource, MetadataRecord};
use protocol::newtypes::{BrokerId, PartitionId, TopicId};
use std::sync::Arc;

/// One change, complete in itself.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataDelta {
    TopicCreated {
        topic_id: TopicId,
        topic: Arc<str>,
    },
    /// A partition is new or has changed; `state` is all of it.
    PartitionChanged {
        topic_id: TopicId,
        topic: Arc<str>,
        partition: PartitionId,
        state: PartitionImage,
    },
    /// The topic is gone, with partitions 0 to `partition_count` - 1.
    TopicDeleted {
        topic_id: TopicId,
        topic: Arc<str>,
        partition_count: i32,
    },
    /// Resolve the topic's configs anew.
    TopicConfigChanged {
        topic_id: TopicId,
        topic: Arc<str>,
        name: String,
        value: Option<String>,
    },
    /// Resolve this broker's configs anew, and with them those of all topics. `broker` is `None` for all brokers.
    BrokerConfigChanged {
        broker: Option<BrokerId>,
        name: String,
        value: Option<String>,
    },
    /// Resolve the group's configs anew.
    GroupConfigChanged {
        group: Arc<str>,
        name: String,
        value: Option<String>,
    },
    /// A broker is new, has started anew, or was fenced or let in; this is all of its state.
    BrokerChanged(Arc<BrokerState>),
    BrokerRemoved(BrokerId),
}

impl MetadataDelta {
    /// What a shard that knows `before` must be told to know `after`, of which no records in between are known.
    #[must_use]
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> Vec<MetadataDelta> {
        between::between(before, after)
    }

    /// What `record` changes for shards, given the image it is about to be applied to. The record must fit that image.
    pub(crate) fn of(record: &MetadataRecord, before: &MetadataImage) -> Option<MetadataDelta> {
        Some(match record {
            MetadataRecord::ClusterCreated { .. }
            | MetadataRecord::ProducerIdsAllocated { .. }
            | MetadataRecord::NodeBound(_)
            | MetadataRecord::ReplicaCountChosen { .. } => return None,
            MetadataRecord::BrokerRegistered(registration) => {
                MetadataDelta::BrokerChanged(Arc::new(BrokerState::from(registration)))
            }
            MetadataRecord::BrokerChanged(state) => MetadataDelta::BrokerChanged(Arc::new(state.clone())),
            MetadataRecord::NodeRemoved { node } => {
                before.broker(*node)?;
                MetadataDelta::BrokerRemoved(*node)
            }
            MetadataRecord::TopicCreated { topic_id, name } => {
                MetadataDelta::TopicCreated { topic_id: *topic_id, topic: name.as_str().into() }
            }
            MetadataRecord::PartitionChanged(_)
            | MetadataRecord::PartitionReassigning { .. }
            | MetadataRecord::PartitionUnderMinIsr { .. } => {
                let (topic_id, partition, state) = PartitionImage::of_record(record)?;
                let topic = Arc::clone(&before.topic_by_id(topic_id)?.name);
                MetadataDelta::PartitionChanged { topic_id, topic, partition, state }
            }
            MetadataRecord::TopicDeleted { topic_id } => {
                let topic = before.topic_by_id(*topic_id)?;
                MetadataDelta::TopicDeleted {
                    topic_id: *topic_id,
                    topic: Arc::clone(&topic.name),
                    partition_count: topic.partition_count(),
                }
            }
            MetadataRecord::ConfigChanged { resource, name, value } => match resource {
                ConfigResource::Topic(topic) => {
                    let topic = before.topic(topic)?;
                    MetadataDelta::TopicConfigChanged {
                        topic_id: topic.id,
                        topic: Arc::clone(&topic.name),
                        name: name.clone(),
                        value: value.clone(),
                    }
                }
                ConfigResource::Broker(broker) => MetadataDelta::BrokerConfigChanged {
                    broker: Some(*broker),
                    name: name.clone(),
                    value: value.clone(),
                },
                ConfigResource::Group(group) => MetadataDelta::GroupConfigChanged {
                    group: group.as_str().into(),
                    name: name.clone(),
                    value: value.clone(),
                },
                ConfigResource::BrokerDefault => {
                    MetadataDelta::BrokerConfigChanged { broker: None, name: name.clone(), value: value.clone() }
                }
            },
        })
    }
}
