//! DeleteTopics, by name or (KIP-516) by id.

use super::Decision;
use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use protocol::newtypes::TopicId;

/// One topic of a DeleteTopics request: exactly one of the two is to be given, [`TopicId::ZERO`] being none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicToDelete {
    pub name: Option<String>,
    pub id: TopicId,
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    let mut records = Vec::new();
    let mut answers: Vec<(TopicToDelete, Result<DeletedTopic, DeleteTopicsError>)> = Vec::new();
    for (at, wanted) in topics.iter().enumerate() {
        if topics[..at].contains(wanted) {
            continue;
        }
        let answer = if !enabled {
            Err(DeleteTopicsError::Disabled)
        } else {
            find(image, wanted, topics).and_then(|found| {
                // The same topic by name and by id in one request: deleted once, and the second is gone.
                let deletion = MetadataRecord::TopicDeleted { topic_id: found.id };
                if records.contains(&deletion) {
                    return Err(unknown(wanted));
                }
                records.push(deletion);
                Ok(found)
            })
        };
        answers.push((wanted.clone(), answer));
    }
    (records, answers)
}

fn find(
    image: &MetadataImage,
    wanted: &TopicToDelete,
    all: &[TopicToDelete],
) -> Result<DeletedTopic, DeleteTopicsError> {
    let has_id = wanted.id != TopicId::ZERO;
    let is_duplicate = || all.iter().filter(|other| *other == wanted).count() > 1;
    let found = match &wanted.name {
        Some(_) if has_id => return Err(DeleteTopicsError::NameAndId),
        None if !has_id => return Err(DeleteTopicsError::NeitherNameNorId),
        Some(_) if is_duplicate() => return Err(DeleteTopicsError::DuplicateName),
        None if is_duplicate() => return Err(DeleteTopicsError::DuplicateId),
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
