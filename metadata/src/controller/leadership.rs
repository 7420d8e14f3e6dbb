//! Who leads, and who could, when a broker goes or comes, or `min.insync.replicas` is another.
//!
//! Only in-sync replicas lead. A broker that goes leaves the ISR of every partition; where that is too small then, it may lead
//! again when it is back (KIP-966). So somebody always is in sync or eligible, and where nobody leads it is them who can.

use super::settle::settle;
use crate::config::MIN_INSYNC_REPLICAS;
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::{ConfigResource, MetadataRecord};
use protocol::newtypes::{BrokerId, PartitionId};
use std::sync::Arc;

/// Changes of partitions that a broker has a part in, when it is gone.
pub(super) fn without(image: &MetadataImage, gone: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |topic, state| {
        let has_part = state.leader == Some(gone) || state.isr.contains(&gone);
        has_part.then(|| left_by(image, topic, state, gone))
    })
}

/// As [`without`], when it is gone for good: whoever has its id next is not eligible to lead what this one had. Unless there
/// is no other replica: then that one is to begin with nothing.
pub(super) fn without_for_good(image: &MetadataImage, gone: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |topic, state| {
        let has_part = state.leader == Some(gone) || state.isr.contains(&gone) || state.elr.contains(&gone);
        let mut changed = has_part.then(|| left_by(image, topic, state, gone))?;
        if *state.replicas != [gone] {
            changed.elr = changed.elr.iter().copied().filter(|member| *member != gone).collect();
        }
        Some(changed)
    })
}

fn left_by(image: &MetadataImage, topic: &TopicImage, state: &PartitionImage, gone: BrokerId) -> PartitionImage {
    state.changed(|changed| {
        changed.isr = state.isr.iter().copied().filter(|member| *member != gone).collect();
        settle(image, topic, state, changed, |replica| replica != gone && image.is_unfenced(replica));
    })
}

/// Changes of partitions that nobody leads and that a broker may lead, when it is let in.
pub(super) fn with(image: &MetadataImage, come: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |topic, state| {
        let may_lead = |replica| replica == come || image.is_unfenced(replica);
        let is_idle = state.leader.is_none() && state.replicas.contains(&come);
        let changed = is_idle.then(|| state.changed(|changed| settle(image, topic, state, changed, may_lead)))?;
        changed.leader.is_some().then_some(changed)
    })
}

/// Changes of partitions that these records bring with them, if they change `min.insync.replicas`: where the ISR is no longer
/// below it, records are committed that those out of sync do not have, so nobody is eligible any more. Where it still is,
/// they stay eligible: nothing has been committed, and nothing will be. (Kafka forgets all of them at every such change.)
pub(super) fn with_configs(image: &MetadataImage, records: &[MetadataRecord]) -> Vec<MetadataRecord> {
    let changed = records.iter().filter_map(|record| match record {
        MetadataRecord::ConfigChanged { resource, name, .. } if name == MIN_INSYNC_REPLICAS => Some(resource),
        _ => None,
    });
    let changed: Vec<&ConfigResource> = changed.collect();
    let is_concerned = |topic: &TopicImage| {
        changed.iter().any(|resource| match resource {
            ConfigResource::Topic(name) => **name == *topic.name,
            ConfigResource::BrokerDefault => true,
            ConfigResource::Broker(_) => false,
        })
    };
    let topics: Vec<&Arc<TopicImage>> = image.topics().filter(|topic| is_concerned(topic)).collect();
    if topics.is_empty() {
        return Vec::new();
    }
    let (after, _) = image.apply_batch(records).expect("configs fit the image that they were decided on");
    let partitions = topics.into_iter().flat_map(|topic| topic.partitions().map(move |(id, state)| (topic, id, state)));
    let changes = partitions.filter(|(_, _, state)| !state.elr.is_empty()).filter_map(|(topic, id, state)| {
        let may_lead = |replica| image.is_unfenced(replica);
        let changed = state.changed(|changed| settle(&after, topic, state, changed, may_lead));
        (changed.elr != state.elr).then(|| changed.to_record(topic.id, id))
    });
    changes.collect()
}

/// Partitions, as `topic-partition`, of which nobody but this broker is in sync or eligible although others have replicas.
pub(super) fn only_in_sync(image: &MetadataImage, broker: BrokerId) -> impl Iterator<Item = String> + '_ {
    let partitions = image.topics().flat_map(|topic| topic.partitions().map(move |(id, state)| (topic, id, state)));
    let alone = partitions.filter(move |(_, _, state)| {
        state.replicas.len() > 1 && state.isr.iter().chain(state.elr.iter()).eq([&broker])
    });
    alone.map(|(topic, id, _): (_, PartitionId, _)| format!("{}-{id}", topic.name))
}

fn changes(
    image: &MetadataImage,
    change: impl Fn(&TopicImage, &PartitionImage) -> Option<PartitionImage> + Copy,
) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| {
        topic.partitions().filter_map(move |(id, state)| Some(change(topic, state)?.to_record(topic.id, id)))
    })
}
