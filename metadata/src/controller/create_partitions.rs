//! CreatePartitions: more partitions for a topic that exists.

use super::assignment::{AssignmentError, Placer, TooFewBrokers, assigned_partition, check_manual};
use super::{Decision, PARTITIONS_PER_REQUEST_MAX, repeated};
use crate::image::{MetadataImage, TopicImage};
use crate::record::MetadataRecord;
use protocol::newtypes::{BrokerId, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One topic of a CreatePartitions request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPartitions {
    pub topic: String,
    /// Partitions that the topic shall have in all.
    pub total_count: i32,
    /// Replicas of each partition that is added; `None` to let them be placed.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Why a topic gets no partitions. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("This server does not host this topic-partition.")]
    UnknownTopic { topic: String },
    /// INVALID_REQUEST
    #[error("Duplicate topic name.")]
    DuplicateName,
    /// INVALID_PARTITIONS
    #[error("Topic already has {count} partition(s).")]
    NothingToAdd { count: i32 },
    /// INVALID_PARTITIONS
    #[error("The topic {topic} currently has {count} partition(s); {wanted} would not be an increase.")]
    NotAnIncrease { topic: String, count: i32, wanted: i32 },
    /// INVALID_REPLICATION_FACTOR
    #[error(transparent)]
    TooFewBrokers(#[from] TooFewBrokers),
    /// INVALID_REPLICA_ASSIGNMENT
    #[error(transparent)]
    InvalidAssignment(#[from] AssignmentError),
    /// POLICY_VIOLATION
    #[error("Excessively large number of partitions per request.")]
    TooManyPartitions,
}

/// Decides on a CreatePartitions request; a topic's answer is the count of its partitions then.
pub fn create_partitions(
    image: &MetadataImage,
    topics: &[NewPartitions],
) -> Decision<String, i32, CreatePartitionsError> {
    let repeated = repeated(topics.iter().map(|topic| topic.topic.as_str()));
    let mut placer = Placer::new(image);
    let mut records = Vec::new();
    let mut answers = Vec::new();
    let mut answered = BTreeSet::new();
    for topic in topics {
        if !answered.insert(topic.topic.as_str()) {
            continue;
        }
        let room = PARTITIONS_PER_REQUEST_MAX - records.len();
        let answer = if repeated.contains(topic.topic.as_str()) {
            Err(CreatePartitionsError::DuplicateName)
        } else {
            add_partitions(image, topic, room, &mut placer).map(|added| {
                records.extend(added);
                topic.total_count
            })
        };
        answers.push((topic.topic.clone(), answer));
    }
    (records, answers)
}

fn add_partitions(
    image: &MetadataImage,
    wanted: &NewPartitions,
    room: usize,
    placer: &mut Placer<'_>,
) -> Result<Vec<MetadataRecord>, CreatePartitionsError> {
    let Some(topic) = image.topic(&wanted.topic) else {
        return Err(CreatePartitionsError::UnknownTopic { topic: wanted.topic.clone() });
    };
    let count = topic.partition_count();
    if wanted.total_count == count {
        return Err(CreatePartitionsError::NothingToAdd { count });
    }
    if wanted.total_count < count {
        let (topic, wanted) = (wanted.topic.clone(), wanted.total_count);
        return Err(CreatePartitionsError::NotAnIncrease { topic, count, wanted });
    }
    let added = usize::try_from(wanted.total_count - count).expect("more than there are");
    if added > room {
        return Err(CreatePartitionsError::TooManyPartitions);
    }
    let replication_factor = replication_factor(topic);
    let replicas: Vec<Vec<BrokerId>> = match &wanted.assignments {
        Some(assignments) if assignments.len() != added => {
            return Err(AssignmentError::WrongCount { added, given: assignments.len() }.into());
        }
        Some(assignments) => {
            for replicas in assignments {
                check_manual(image, replicas, Some(usize::from(replication_factor.unsigned_abs())))?;
            }
            assignments.clone()
        }
        None => {
            placer.begin_topic(Some(topic));
            (0..added).map(|_| placer.place(replication_factor)).collect::<Result<_, _>>()?
        }
    };
    let to_record = |(id, replicas): (i32, &Vec<BrokerId>)| {
        Ok(assigned_partition(image, id, replicas)?.to_record(topic.id, PartitionId(id)))
    };
    (count..).zip(&replicas).map(to_record).collect()
}

/// As many replicas as the topic's first partition has.
fn replication_factor(topic: &TopicImage) -> i16 {
    let replicas = topic.partition(PartitionId(0)).map_or(1, |first| first.replicas.len());
    i16::try_from(replicas).unwrap_or(i16::MAX)
}
