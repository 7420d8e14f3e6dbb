//! Partitions as one request changes them, step by step.
//!
//! A request may name a partition twice. What is said about it the second time is decided on what the first made of it, and
//! one record says the outcome: two records that were each decided on the image could contradict each other.

use super::RECORDS_PER_REQUEST_MAX;
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::MetadataRecord;
use protocol::newtypes::{PartitionId, TopicId};
use std::collections::BTreeMap;

pub(super) struct PartitionChanges<'a> {
    image: &'a MetadataImage,
    changed: BTreeMap<(TopicId, PartitionId), PartitionImage>,
}

impl<'a> PartitionChanges<'a> {
    pub fn new(image: &'a MetadataImage) -> PartitionChanges<'a> {
        PartitionChanges { image, changed: BTreeMap::new() }
    }

    pub fn image(&self) -> &'a MetadataImage {
        self.image
    }

    /// The partition as it is by now.
    pub fn state(&self, topic: &'a TopicImage, partition: PartitionId) -> Option<&PartitionImage> {
        self.changed.get(&(topic.id, partition)).or_else(|| topic.partition(partition))
    }

    /// Whether the request may come to one more record.
    pub fn has_room(&self) -> bool {
        self.changed.len() < RECORDS_PER_REQUEST_MAX
    }

    pub fn set(&mut self, topic: &TopicImage, partition: PartitionId, state: PartitionImage) {
        self.changed.insert((topic.id, partition), state);
    }

    pub fn into_records(self) -> Vec<MetadataRecord> {
        self.changed.iter().map(|((topic, partition), state)| state.to_record(*topic, *partition)).collect()
    }
}
