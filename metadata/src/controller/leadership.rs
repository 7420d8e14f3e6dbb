//! Who leads, and who could, when a broker goes or comes, or `min.insync.replicas` is another.
//!
//! Only in-sync replicas lead. A broker that goes leaves the ISR of every partition; where that is too small then, it may lead
//! again when it is back (KIP-966). So somebody always is in sync or eligible, and where nobody leads it is them who can.

use super::RECORDS_PER_REQUEST_MAX;
use super::log_ends::LogEnds;
use super::reassignments::with_isr;
use super::settle::{Electorate, settle};
use crate::config::{BrokerConfig, MIN_INSYNC_REPLICAS};
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::{ConfigResource, MetadataRecord};
use protocol::newtypes::{BrokerId, PartitionId};
use std::sync::Arc;

/// Changes of partitions that a broker has a part in, when it is gone; `ends` is what the others have told of their logs.
pub(super) fn without<'a>(
    image: &'a MetadataImage,
    gone: BrokerId,
    ends: &'a LogEnds,
) -> impl Iterator<Item = MetadataRecord> + 'a {
    let electorate = Electorate::without(image, gone).knowing(ends);
    changes(image, move |topic, partition, state| {
        let has_part = state.leader == Some(gone) || state.isr.contains(&gone);
        has_part.then(|| left_by(electorate, topic, partition, state, gone))
    })
}

/// As [`without`], when it is gone for good: whoever has its id next is not eligible to lead what this one had. Unless there
/// is no other replica: then that one is to begin with nothing.
pub(super) fn without_for_good(image: &MetadataImage, gone: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |topic, partition, state| {
        let lists = [&state.isr, &state.elr, &state.last_known_elr];
        let has_part = state.leader == Some(gone) || lists.iter().any(|list| list.contains(&gone));
        if !has_part {
            return None;
        }
        if *state.replicas == [gone] {
            return Some(left_by(Electorate::without(image, gone), topic, partition, state, gone));
        }
        let mut changed = left_by(Electorate::without_for_good(image, gone), topic, partition, state, gone);
        if changed.last_known_elr.contains(&gone) {
            changed.last_known_elr = Arc::default();
        }
        Some(changed)
    })
}

/// The partition without a broker in its ISR.
pub(super) fn left_by(
    electorate: Electorate<'_>,
    topic: &TopicImage,
    partition: PartitionId,
    state: &PartitionImage,
    gone: BrokerId,
) -> PartitionImage {
    state.changed(|changed| {
        changed.isr = state.isr.iter().copied().filter(|member| *member != gone).collect();
        settle(electorate, topic, partition, state, changed);
    })
}

/// Changes of partitions that nobody leads and that a broker may lead, when it is let in.
pub(super) fn with(image: &MetadataImage, come: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    let electorate = Electorate::with(image, come);
    changes(image, move |topic, partition, state| {
        let is_idle = state.leader.is_none() && state.replicas.contains(&come);
        let settled = |changed: &mut PartitionImage| settle(electorate, topic, partition, state, changed);
        let changed = is_idle.then(|| state.changed(settled))?;
        changed.leader.is_some().then_some(changed)
    })
}

/// Elections among all replicas that are let in, of partitions that nobody leads and whose config allows that what only others
/// have is lost (`unclean.leader.election.enable`). `config` is the controller's; `ends` is what replicas have told of their
/// logs.
#[must_use]
pub fn elect_unclean(image: &MetadataImage, config: &BrokerConfig, ends: &LogEnds) -> Vec<MetadataRecord> {
    let electorate = Electorate::of(image).knowing(ends);
    let elected = changes(image, move |topic, partition, state| {
        if state.leader.is_some() || !image.topic_config(&topic.name, config).unclean_leader_election_enable {
            return None;
        }
        let leader = electorate.choose_open(topic, partition, &state.replicas)?;
        Some(led_uncleanly(image, topic, partition, state, leader))
    });
    elected.take(RECORDS_PER_REQUEST_MAX).collect()
}

/// The partition led by a replica that need not have all that is committed: what it lacks is given up, so nobody is eligible
/// any more.
pub(super) fn led_uncleanly(
    image: &MetadataImage,
    topic: &TopicImage,
    partition: PartitionId,
    state: &PartitionImage,
    leader: BrokerId,
) -> PartitionImage {
    let elected = with_isr(image, topic, partition, state, &[leader]);
    PartitionImage { elr: Arc::default(), ..elected }
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
            ConfigResource::Broker(_) | ConfigResource::Group(_) => false,
        })
    };
    let topics: Vec<&Arc<TopicImage>> = image.topics().filter(|topic| is_concerned(topic)).collect();
    if topics.is_empty() {
        return Vec::new();
    }
    let (after, _) = image.apply_batch(records).expect("configs fit the image that they were decided on");
    let partitions = topics.into_iter().flat_map(|topic| topic.partitions().map(move |(id, state)| (topic, id, state)));
    let changes = partitions.filter(|(_, _, state)| !state.elr.is_empty()).filter_map(|(topic, id, state)| {
        let electorate = Electorate::of(&after);
        let changed = state.changed(|changed| settle(electorate, topic, id, state, changed));
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
    change: impl Fn(&TopicImage, PartitionId, &PartitionImage) -> Option<PartitionImage> + Copy,
) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| {
        topic.partitions().filter_map(move |(id, state)| Some(change(topic, id, state)?.to_record(topic.id, id)))
    })
}
