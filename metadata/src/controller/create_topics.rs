//! CreateTopics, and topics that are created because a client asked for them.

use super::assignment::{AssignmentError, Placer, TooFewBrokers, assigned_partition, check_manual};
use super::topic_name::{CLUSTER_METADATA_TOPIC, TopicNameError, check_topic_name};
use super::{Decision, PARTITIONS_PER_REQUEST_MAX, RECORDS_PER_REQUEST_MAX, repeated};
use crate::config::{self, BrokerConfig, ConfigError, ConfigOverrides, Scope};
use crate::image::{MetadataImage, PartitionImage};
use crate::record::{ConfigResource, MetadataRecord};
use crate::shown::shown;
use protocol::newtypes::{BrokerId, PartitionId, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One topic of a CreateTopics request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    pub name: String,
    /// -1 for `num.partitions`, and where `assignments` say it.
    pub num_partitions: i32,
    /// -1 for `default.replication.factor`, and where `assignments` say it.
    pub replication_factor: i16,
    /// Replicas by partition; empty to let them be placed.
    pub assignments: Vec<(PartitionId, Vec<BrokerId>)>,
    /// Topic configs; a value must be given.
    pub configs: Vec<(String, Option<String>)>,
}

/// What was created, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    pub topic_id: TopicId,
    pub num_partitions: i32,
    pub replication_factor: i16,
    /// The topic's own configs. [`config::describe`] turns them into the entries that CreateTopics v5+ answers.
    pub configs: ConfigOverrides,
}

/// Why a topic is not created. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CreateTopicsError {
    /// INVALID_TOPIC_EXCEPTION
    #[error(transparent)]
    InvalidName(#[from] TopicNameError),
    /// INVALID_TOPIC_EXCEPTION
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    NameCollision { name: String, existing: String },
    /// TOPIC_ALREADY_EXISTS
    #[error("Topic '{name}' already exists.")]
    TopicExists { name: String },
    /// INVALID_REQUEST
    #[error("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.")]
    ReservedName,
    /// INVALID_REQUEST
    #[error("Duplicate topic name.")]
    DuplicateName,
    /// INVALID_REQUEST
    #[error("A manual partition assignment was specified, but replication factor was not set to -1.")]
    AssignmentAndReplicationFactor,
    /// INVALID_REQUEST
    #[error("A manual partition assignment was specified, but numPartitions was not set to -1.")]
    AssignmentAndPartitions,
    /// INVALID_PARTITIONS
    #[error("Number of partitions was set to an invalid non-positive value.")]
    InvalidPartitions,
    /// INVALID_REPLICATION_FACTOR
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    InvalidReplicationFactor,
    /// INVALID_REPLICATION_FACTOR
    #[error(transparent)]
    TooFewBrokers(#[from] TooFewBrokers),
    /// INVALID_REPLICA_ASSIGNMENT
    #[error(transparent)]
    InvalidAssignment(#[from] AssignmentError),
    /// INVALID_CONFIG
    #[error(transparent)]
    InvalidConfig(#[from] ConfigError),
    /// INVALID_CONFIG
    #[error("Null value not supported for topic configs: {name}")]
    NullConfig { name: String },
    /// POLICY_VIOLATION
    #[error("Excessively large number of partitions per request.")]
    TooManyPartitions,
    /// POLICY_VIOLATION
    #[error("Unable to perform excessively large batch operation.")]
    TooManyRecords,
}

/// Decides on a CreateTopics request. `next_topic_id` gives an id that no topic ever had, once per topic created.
pub fn create_topics(
    image: &MetadataImage,
    broker: &BrokerConfig,
    topics: &[NewTopic],
    mut next_topic_id: impl FnMut() -> TopicId,
) -> Decision<String, CreatedTopic, CreateTopicsError> {
    if let Err(error) = check_size(broker, topics) {
        return (Vec::new(), topics.iter().map(|topic| (topic.name.clone(), Err(error.clone()))).collect());
    }
    let repeated = repeated(topics.iter().map(|topic| topic.name.as_str()));
    let mut placer = Placer::new(image);
    // Topics of this request are part of the image for those behind them: their names may collide.
    let mut image = image.clone();
    let mut records = Vec::new();
    let mut answers = Vec::new();
    let mut reported_duplicates = BTreeSet::new();
    for topic in topics {
        if repeated.contains(topic.name.as_str()) {
            if reported_duplicates.insert(topic.name.as_str()) {
                answers.push((topic.name.clone(), Err(CreateTopicsError::DuplicateName)));
            }
            continue;
        }
        let answer = plan(&image, broker, topic, &mut placer).map(|plan| {
            let topic_id = next_topic_id();
            let created = plan.answer(topic_id);
            let topic_records = plan.records(topic, topic_id);
            for record in &topic_records {
                image.apply_in_place(record).expect("the plan was made on this image");
            }
            records.extend(topic_records);
            created
        });
        answers.push((topic.name.clone(), answer));
    }
    if records.len() > RECORDS_PER_REQUEST_MAX {
        let refuse = |(name, _)| (name, Err(CreateTopicsError::TooManyRecords));
        return (Vec::new(), answers.into_iter().map(refuse).collect());
    }
    (records, answers)
}

/// Refuses the whole request before any work in proportion to it is done.
fn check_size(broker: &BrokerConfig, topics: &[NewTopic]) -> Result<(), CreateTopicsError> {
    let partitions: usize = topics
        .iter()
        .map(|topic| match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => usize::try_from(broker.num_partitions).unwrap_or(0),
            (0, wanted) => usize::try_from(wanted).unwrap_or(0),
            (assigned, _) => assigned,
        })
        .fold(0, usize::saturating_add);
    if partitions > PARTITIONS_PER_REQUEST_MAX { Err(CreateTopicsError::TooManyPartitions) } else { Ok(()) }
}

/// What a topic will be made of.
struct Plan {
    partitions: Vec<PartitionImage>,
    replication_factor: i16,
    configs: ConfigOverrides,
}

fn plan(
    image: &MetadataImage,
    broker: &BrokerConfig,
    topic: &NewTopic,
    placer: &mut Placer<'_>,
) -> Result<Plan, CreateTopicsError> {
    check_topic_name(&topic.name)?;
    if topic.name == CLUSTER_METADATA_TOPIC {
        return Err(CreateTopicsError::ReservedName);
    }
    match image.topic_colliding_with(&topic.name) {
        Some(existing) if *existing.name == *topic.name => {
            return Err(CreateTopicsError::TopicExists { name: topic.name.clone() });
        }
        Some(existing) => {
            let existing = existing.name.to_string();
            return Err(CreateTopicsError::NameCollision { name: topic.name.clone(), existing });
        }
        None => {}
    }
    let configs = check_configs(broker, &topic.configs)?;
    let partitions = if topic.assignments.is_empty() {
        placed_partitions(image, broker, topic, placer)?
    } else {
        assigned_partitions(image, topic)?
    };
    let replication_factor = partitions.first().map_or(0, |partition| partition.replicas.len());
    let replication_factor = i16::try_from(replication_factor).unwrap_or(i16::MAX);
    Ok(Plan { partitions, replication_factor, configs })
}

fn check_configs(
    broker: &BrokerConfig,
    configs: &[(String, Option<String>)],
) -> Result<ConfigOverrides, CreateTopicsError> {
    let mut overrides = BTreeMap::new();
    for (name, value) in configs {
        let Some(value) = value else {
            return Err(CreateTopicsError::NullConfig { name: shown(name) });
        };
        config::parse(Scope::Topic, name, value)?;
        overrides.insert(name.clone(), value.clone());
    }
    let overrides: ConfigOverrides = overrides.into_iter().collect();
    broker.topic_defaults.with(&overrides).check()?;
    Ok(overrides)
}

fn placed_partitions(
    image: &MetadataImage,
    broker: &BrokerConfig,
    topic: &NewTopic,
    placer: &mut Placer<'_>,
) -> Result<Vec<PartitionImage>, CreateTopicsError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(CreateTopicsError::InvalidReplicationFactor);
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return Err(CreateTopicsError::InvalidPartitions);
    }
    let or_default = |wanted, default| if wanted == -1 { default } else { wanted };
    let count = or_default(topic.num_partitions, broker.num_partitions);
    let factor = match topic.replication_factor {
        -1 => broker.default_replication_factor,
        wanted => wanted,
    };
    placer.begin_topic(None);
    let place = |partition| Ok(assigned_partition(image, partition, &placer.place(factor)?)?);
    (0..count).map(place).collect()
}

fn assigned_partitions(image: &MetadataImage, topic: &NewTopic) -> Result<Vec<PartitionImage>, CreateTopicsError> {
    if topic.replication_factor != -1 {
        return Err(CreateTopicsError::AssignmentAndReplicationFactor);
    }
    if topic.num_partitions != -1 {
        return Err(CreateTopicsError::AssignmentAndPartitions);
    }
    let mut by_partition = BTreeMap::new();
    let mut replica_count = None;
    for (partition, replicas) in &topic.assignments {
        if by_partition.contains_key(partition) {
            return Err(AssignmentError::DuplicatePartition { partition: partition.0 }.into());
        }
        check_manual(image, replicas, replica_count)?;
        replica_count = Some(replicas.len());
        by_partition.insert(*partition, assigned_partition(image, partition.0, replicas)?);
    }
    if by_partition.keys().zip(0..).any(|(partition, expected)| partition.0 != expected) {
        return Err(AssignmentError::NotConsecutive.into());
    }
    Ok(by_partition.into_values().collect())
}

impl Plan {
    fn answer(&self, topic_id: TopicId) -> CreatedTopic {
        CreatedTopic {
            topic_id,
            num_partitions: i32::try_from(self.partitions.len()).expect("bounded by PARTITIONS_PER_REQUEST_MAX"),
            replication_factor: self.replication_factor,
            configs: self.configs.clone(),
        }
    }

    fn records(self, topic: &NewTopic, topic_id: TopicId) -> Vec<MetadataRecord> {
        let created = MetadataRecord::TopicCreated { topic_id, name: topic.name.clone() };
        let configs = self.configs.iter().map(|(name, value)| MetadataRecord::ConfigChanged {
            resource: ConfigResource::Topic(topic.name.clone()),
            name: name.to_owned(),
            value: Some(value.to_owned()),
        });
        let partitions = (0..).zip(&self.partitions).map(|(id, state)| state.to_record(topic_id, PartitionId(id)));
        // Configs come before partitions: a shard opens a partition with the configs it has then.
        std::iter::once(created).chain(configs).chain(partitions).collect()
    }
}
