//! From one image to the next.
//!
//! Records were decided against the very image they are applied to, so a record that does not fit means that the log is
//! damaged or that a decision was wrong. Both are errors here, and the image before stays as it was.

use super::{MetadataImage, PartitionImage, TopicImage, metric_name};
use crate::delta::MetadataDelta;
use crate::record::{BrokerState, ConfigResource, MetadataRecord, NodeBinding};
use protocol::newtypes::{BrokerId, PartitionId, ProducerId, TopicId};
use std::sync::Arc;

/// A record does not fit the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata record at offset {metadata_offset} does not fit what precedes it: {reason}")]
pub struct ApplyError {
    /// Of the record in the metadata log.
    pub metadata_offset: u64,
    pub reason: Misfit,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    #[error("the cluster was created before")]
    ClusterExists,
    #[error("topic id {topic_id} was created before")]
    TopicIdExists { topic_id: TopicId },
    #[error("topic name '{name}' is taken by topic id {topic_id}")]
    TopicNameExists { name: String, topic_id: TopicId },
    #[error("there is no topic id {topic_id}")]
    NoSuchTopicId { topic_id: TopicId },
    #[error("there is no topic '{name}' to configure")]
    NoSuchTopic { name: String },
    #[error("partition {partition} of topic id {topic_id} comes when the next new one is {expected}")]
    PartitionGap { topic_id: TopicId, partition: PartitionId, expected: i32 },
    #[error("there is no partition {partition} of topic id {topic_id}")]
    NoSuchPartition { topic_id: TopicId, partition: PartitionId },
    #[error("partition {partition} of topic id {topic_id} goes back from {field} {before} to {after}")]
    EpochWentBack { topic_id: TopicId, partition: PartitionId, field: &'static str, before: i32, after: i32 },
    #[error("partition {partition} of topic id {topic_id} cannot be so: {reason}")]
    Members { topic_id: TopicId, partition: PartitionId, reason: Box<MembersMisfit> },
    #[error("producer ids up to {before} are given away, and the record says {after}")]
    ProducerIdsWentBack { before: ProducerId, after: ProducerId },
    #[error("node {node} belongs to directory {bound}, and the record says {found}")]
    OtherDirectory { node: BrokerId, bound: uuid::Uuid, found: uuid::Uuid },
    #[error("there is no node {node}")]
    NoSuchNode { node: BrokerId },
    #[error("broker {broker} goes back from epoch {before} to {after}")]
    BrokerEpochWentBack { broker: BrokerId, before: u64, after: u64 },
}

/// What is wrong with the replicas that a record says. A broker that took up such a state would lead without being in sync.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersMisfit {
    #[error("leader {leader} is not in the ISR {isr:?}")]
    LeaderNotInSync { leader: BrokerId, isr: Vec<BrokerId> },
    #[error("the {list} {members:?} is not of the replicas {replicas:?}, each once")]
    NotOfReplicas { list: &'static str, members: Vec<BrokerId>, replicas: Vec<BrokerId> },
    #[error("the ISR {isr:?} and the eligible leader replicas {elr:?} share a broker")]
    InSyncAndEligible { isr: Vec<BrokerId>, elr: Vec<BrokerId> },
}

impl MetadataImage {
    /// The image after one more record.
    pub fn apply(&self, record: &MetadataRecord) -> Result<MetadataImage, ApplyError> {
        let mut next = self.clone();
        next.apply_in_place(record)?;
        Ok(next)
    }

    /// The image after a batch of records, and what shards must know of it.
    pub fn apply_batch(&self, records: &[MetadataRecord]) -> Result<(MetadataImage, Vec<MetadataDelta>), ApplyError> {
        let mut next = self.clone();
        let mut deltas = Vec::new();
        for record in records {
            deltas.extend(MetadataDelta::of(record, &next));
            next.apply_in_place(record)?;
        }
        Ok((next, deltas))
    }

    /// Moves the image to the offset of the snapshot it was read from.
    pub(crate) fn at_metadata_offset(mut self, metadata_offset: u64) -> MetadataImage {
        self.metadata_offset = metadata_offset;
        self
    }

    /// As [`MetadataImage::apply`], without a new handle; on an error the image is as before.
    pub(crate) fn apply_in_place(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        let metadata_offset = self.metadata_offset;
        self.change(record).map_err(|reason| ApplyError { metadata_offset, reason })?;
        self.metadata_offset += 1;
        Ok(())
    }

    fn change(&mut self, record: &MetadataRecord) -> Result<(), Misfit> {
        match record {
            MetadataRecord::ClusterCreated { .. } if self.cluster_id.is_some() => return Err(Misfit::ClusterExists),
            MetadataRecord::ClusterCreated { cluster_id } => self.cluster_id = Some(*cluster_id),
            MetadataRecord::BrokerRegistered(registration) => {
                self.brokers.insert_mut(registration.broker, Arc::new(BrokerState::from(registration)));
            }
            MetadataRecord::TopicCreated { topic_id, name } => self.create_topic(*topic_id, name)?,
            MetadataRecord::PartitionChanged(_)
            | MetadataRecord::PartitionReassigning { .. }
            | MetadataRecord::PartitionUnderMinIsr { .. } => {
                let (topic_id, partition, state) = PartitionImage::of_record(record).expect("a partition's record");
                self.change_partition(topic_id, partition, state)?;
            }
            MetadataRecord::TopicDeleted { topic_id } => self.delete_topic(*topic_id)?,
            MetadataRecord::ConfigChanged { resource, name, value } => {
                self.change_config(resource, name, value.as_deref())?;
            }
            MetadataRecord::ProducerIdsAllocated { next } if *next < self.next_producer_id => {
                return Err(Misfit::ProducerIdsWentBack { before: self.next_producer_id, after: *next });
            }
            MetadataRecord::ProducerIdsAllocated { next } => self.next_producer_id = *next,
            MetadataRecord::NodeBound(binding) => self.bind_node(binding)?,
            MetadataRecord::NodeRemoved { node } => {
                if !self.nodes.remove_mut(node) {
                    return Err(Misfit::NoSuchNode { node: *node });
                }
                self.brokers.remove_mut(node);
            }
            MetadataRecord::BrokerChanged(state) => self.change_broker(state)?,
            MetadataRecord::ReplicaCountChosen { topic_id, partition } => {
                self.choose_replica_count(*topic_id, *partition)?;
            }
        }
        Ok(())
    }

    fn bind_node(&mut self, binding: &NodeBinding) -> Result<(), Misfit> {
        match self.nodes.get(&binding.node) {
            Some(known) if known.directory_id != binding.directory_id => {
                let (node, bound, found) = (binding.node, known.directory_id, binding.directory_id);
                Err(Misfit::OtherDirectory { node, bound, found })
            }
            _ => {
                self.nodes.insert_mut(binding.node, Arc::new(binding.clone()));
                Ok(())
            }
        }
    }

    fn change_broker(&mut self, state: &BrokerState) -> Result<(), Misfit> {
        let broker = state.broker;
        if !self.nodes.contains_key(&broker) {
            return Err(Misfit::NoSuchNode { node: broker });
        }
        if let Some(before) = self.brokers.get(&broker)
            && before.epoch > state.epoch
        {
            return Err(Misfit::BrokerEpochWentBack { broker, before: before.epoch, after: state.epoch });
        }
        self.brokers.insert_mut(broker, Arc::new(state.clone()));
        Ok(())
    }

    fn create_topic(&mut self, topic_id: TopicId, name: &str) -> Result<(), Misfit> {
        if self.topics.contains_key(&topic_id) {
            return Err(Misfit::TopicIdExists { topic_id });
        }
        if let Some(taken_by) = self.topic_colliding_with(name) {
            return Err(Misfit::TopicNameExists { name: name.to_owned(), topic_id: taken_by.id });
        }
        let name: Arc<str> = name.into();
        self.topic_ids.insert_mut(Arc::clone(&name), topic_id);
        self.topic_ids_by_metric_name.insert_mut(metric_name(&name), topic_id);
        let (partitions, replica_counts_chosen) = Default::default();
        let topic = TopicImage { id: topic_id, name, partitions, replica_counts_chosen };
        self.topics.insert_mut(topic_id, Arc::new(topic));
        Ok(())
    }

    fn choose_replica_count(&mut self, topic_id: TopicId, partition: PartitionId) -> Result<(), Misfit> {
        let Some(topic) = self.topics.get_mut(&topic_id) else {
            return Err(Misfit::NoSuchTopicId { topic_id });
        };
        if topic.partition(partition).is_none() {
            return Err(Misfit::NoSuchPartition { topic_id, partition });
        }
        if !topic.is_replica_count_chosen(partition) {
            Arc::make_mut(topic).replica_counts_chosen.insert_mut(partition);
        }
        Ok(())
    }

    fn change_partition(
        &mut self,
        topic_id: TopicId,
        partition: PartitionId,
        state: PartitionImage,
    ) -> Result<(), Misfit> {
        let Some(topic) = self.topics.get_mut(&topic_id) else {
            return Err(Misfit::NoSuchTopicId { topic_id });
        };
        let expected = topic.partition_count();
        state.check_members().map_err(|reason| Misfit::Members { topic_id, partition, reason: Box::new(reason) })?;
        match topic.partition(partition) {
            Some(before) => {
                before.check_epochs_against(&state, topic_id, partition)?;
                let at = usize::try_from(partition.0).expect("a partition that was found");
                Arc::make_mut(topic).partitions.set_mut(at, state);
            }
            None if partition.0 == expected => {
                Arc::make_mut(topic).partitions.push_back_mut(state);
                self.partition_count += 1;
            }
            None => return Err(Misfit::PartitionGap { topic_id, partition, expected }),
        }
        Ok(())
    }

    fn delete_topic(&mut self, topic_id: TopicId) -> Result<(), Misfit> {
        let Some(topic) = self.topics.get(&topic_id).cloned() else {
            return Err(Misfit::NoSuchTopicId { topic_id });
        };
        self.topics.remove_mut(&topic_id);
        self.topic_ids.remove_mut(&*topic.name);
        self.topic_ids_by_metric_name.remove_mut(&metric_name(&topic.name));
        self.configs.remove_mut(&ConfigResource::Topic(topic.name.to_string()));
        self.partition_count -= topic.partitions.len();
        Ok(())
    }

    fn change_config(&mut self, resource: &ConfigResource, name: &str, value: Option<&str>) -> Result<(), Misfit> {
        if let ConfigResource::Topic(topic) = resource
            && !self.topic_ids.contains_key(topic.as_str())
        {
            return Err(Misfit::NoSuchTopic { name: topic.clone() });
        }
        let changed = self.overrides(resource).with([(name, value)]);
        if changed.is_empty() {
            self.configs.remove_mut(resource);
        } else {
            self.configs.insert_mut(resource.clone(), changed);
        }
        Ok(())
    }
}

impl PartitionImage {
    fn check_members(&self) -> Result<(), MembersMisfit> {
        let lists = [("ISR", &self.isr), ("ELR", &self.elr), ("last known ELR", &self.last_known_elr)];
        for (list, members) in lists {
            let each_once = |(at, member)| self.replicas.contains(member) && !members[..at].contains(member);
            if !members.iter().enumerate().all(each_once) {
                let (members, replicas) = (members.to_vec(), self.replicas.to_vec());
                return Err(MembersMisfit::NotOfReplicas { list, members, replicas });
            }
        }
        if self.elr.iter().any(|member| self.isr.contains(member)) {
            return Err(MembersMisfit::InSyncAndEligible { isr: self.isr.to_vec(), elr: self.elr.to_vec() });
        }
        match self.leader {
            Some(leader) if !self.isr.contains(&leader) => {
                Err(MembersMisfit::LeaderNotInSync { leader, isr: self.isr.to_vec() })
            }
            _ => Ok(()),
        }
    }

    fn check_epochs_against(
        &self,
        after: &PartitionImage,
        topic_id: TopicId,
        partition: PartitionId,
    ) -> Result<(), Misfit> {
        let epochs = [
            ("leader epoch", self.leader_epoch.0, after.leader_epoch.0),
            ("partition epoch", self.partition_epoch, after.partition_epoch),
        ];
        for (field, before, after) in epochs {
            if after < before {
                return Err(Misfit::EpochWentBack { topic_id, partition, field, before, after });
            }
        }
        Ok(())
    }
}
