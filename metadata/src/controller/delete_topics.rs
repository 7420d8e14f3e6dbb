//! DeleteTopics, by name or (KIP-516) by id.

use super::{Decision, repeated};
use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use protocol::newtypes::TopicId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One topic of a DeleteTopics request: exactly one of the two is to be given, [`TopicId::ZERO`] being none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TopicToDelete {
    pub name: Option<String>,
    pub id: TopicId,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTopic {
    pub name: String,
    pub id: TopicId,
}

/// Why a topic is not deleted. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicsError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("This server does not host this topic-partition.")]
    UnknownName { name: String },
    /// UNKNOWN_TOPIC_ID
    #[error("This server does not host this topic ID.")]
    UnknownId { id: TopicId },
    /// INVALID_REQUEST
    #[error("You may not specify both topic name and topic id.")]
    NameAndId,
    /// INVALID_REQUEST
    #[error("Neither topic name nor id were specified.")]
    NeitherNameNorId,
    /// INVALID_REQUEST
    #[error("Duplicate topic name.")]
    DuplicateName,
    /// INVALID_REQUEST
    #[error("Duplicate topic id.")]
    DuplicateId,
    /// TOPIC_DELETION_DISABLED
    #[error("Topic deletion is disabled.")]
    Disabled,
}

/// Decides on a DeleteTopics request. `enabled` is `delete.topic.enable`.
pub fn delete_topics(
    image: &MetadataImage,
    enabled: bool,
    topics: &[TopicToDelete],
) -> Decision<TopicToDelete, DeletedTopic, DeleteTopicsError> {
    let repeated = repeated(topics.iter());
    let mut answered = BTreeSet::new();
    let mut deleted = BTreeSet::new();
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for wanted in topics {
        if !answered.insert(wanted) {
            continue;
        }
        let answer = if !enabled {
            Err(DeleteTopicsError::Disabled)
        } else {
            find(image, wanted, repeated.contains(wanted)).and_then(|found| {
                // The same topic by name and by id in one request: deleted once, and the second is gone.
                if !deleted.insert(found.id) {
                    return Err(unknown(wanted));
                }
                records.push(MetadataRecord::TopicDeleted { topic_id: found.id });
                Ok(found)
            })
        };
        answers.push((wanted.clone(), answer));
    }
    (records, answers)
}

fn find(image: &MetadataImage, wanted: &TopicToDelete, is_repeated: bool) -> Result<DeletedTopic, DeleteTopicsError> {
    let has_id = wanted.id != TopicId::ZERO;
    let found = match &wanted.name {
        Some(_) if has_id => return Err(DeleteTopicsError::NameAndId),
        None if !has_id => return Err(DeleteTopicsError::NeitherNameNorId),
        Some(_) if is_repeated => return Err(DeleteTopicsError::DuplicateName),
        None if is_repeated => return Err(DeleteTopicsError::DuplicateId),
        Some(name) => image.topic(name),
        None => image.topic_by_id(wanted.id),
    };
    match found {
        Some(topic) => Ok(DeletedTopic { name: topic.name.to_string(), id: topic.id }),
        None => Err(unknown(wanted)),
    }
}

fn unknown(wanted: &TopicToDelete) -> DeleteTopicsError {
    match &wanted.name {
        Some(name) => DeleteTopicsError::UnknownName { name: name.clone() },
        None => DeleteTopicsError::UnknownId { id: wanted.id },
    }
}
