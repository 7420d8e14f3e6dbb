//! Which replicas the metadata wants on this broker. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use metadata::config::Durability;
use metadata::delta::MetadataDelta;
use metadata::image::{MetadataImage, PartitionImage};
use protocol::{BrokerId, Offset, TopicId};
use wal::recovery::RecoveryReport;

use crate::partition::PartitionKey;

/// Where the metadata has a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// On this broker, and maybe on others.
    Here(&'a PartitionImage),
    /// On other brokers only.
    Elsewhere,
    /// The cluster does not have it.
    Nowhere,
}

pub fn wanted(image: &MetadataImage, broker: BrokerId, key: PartitionKey) -> Wanted<'_> {
    match image.topic_by_id(key.topic_id).and_then(|topic| topic.partition(key.partition)) {
        Some(state) if state.replicas.contains(&broker) => Wanted::Here(state),
        Some(_) => Wanted::Elsewhere,
        None => Wanted::Nowhere,
    }
}

/// Every partition with a replica on this broker.
pub fn all_here(image: &MetadataImage, broker: BrokerId) -> impl Iterator<Item = PartitionKey> {
    let topics = image.topics();
    topics.flat_map(move |topic| {
        let here = topic.partitions().filter(move |(_, state)| state.replicas.contains(&broker));
        here.map(|(partition, _)| PartitionKey { topic_id: topic.id, partition })
    })
}

/// What a client is told that asks for a partition which is not open here.
pub fn not_open(image: &MetadataImage, broker: BrokerId, key: PartitionKey) -> ResponseError {
    match wanted(image, broker, key) {
        // It should be: its log could not be opened.
        Wanted::Here(_) => ResponseError::KafkaStorageError,
        Wanted::Elsewhere => ResponseError::NotLeaderOrFollower,
        Wanted::Nowhere => ResponseError::UnknownTopicOrPartition,
    }
}

/// Whether a log as recovery found it may lack what this replica had acknowledged: it ends below what was noted as committed,
/// or was not closed in order and need not have been on disk.
pub fn has_lost(report: &RecoveryReport, durability: Durability, noted_high_watermark: Option<Offset>) -> bool {
    let was_cut = noted_high_watermark.is_some_and(|noted| noted > report.log_end);
    was_cut || !report.clean && !report.created && durability == Durability::Async
}

/// The partitions that a change touches, each once.
pub fn touched(deltas: &[MetadataDelta]) -> BTreeSet<PartitionKey> {
    let changed = deltas.iter().filter_map(|delta| match delta {
        MetadataDelta::PartitionChanged { topic_id, partition, .. } => {
            Some(PartitionKey { topic_id: *topic_id, partition: *partition })
        }
        _ => None,
    });
    changed.collect()
}

/// The topics that a change deletes and whose names it gives to others: their directories have to go first.
pub fn replaced(image: &MetadataImage, deltas: &[MetadataDelta]) -> BTreeSet<TopicId> {
    let deleted = deltas.iter().filter_map(|delta| match delta {
        MetadataDelta::TopicDeleted { topic_id, topic, .. } if image.topic(topic).is_some() => Some(*topic_id),
        _ => None,
    });
    deleted.collect()
}

/// The topics that a change creates, deletes, puts in the place of others of their name, or gives more partitions: what a
/// subscriber may want to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicChanges {
    pub names: BTreeSet<Arc<str>>,
    /// One of them was not there before.
    pub has_new: bool,
}

impl TopicChanges {
    pub fn between(before: &MetadataImage, after: &MetadataImage, deltas: &[MetadataDelta]) -> TopicChanges {
        let mut changes = TopicChanges::default();
        let shape =
            |image: &MetadataImage, name: &str| image.topic(name).map(|topic| (topic.id, topic.partition_count()));
        for delta in deltas {
            let (MetadataDelta::TopicCreated { topic, .. }
            | MetadataDelta::TopicDeleted { topic, .. }
            | MetadataDelta::PartitionChanged { topic, .. }) = delta
            else {
                continue;
            };
            let (was, is) = (shape(before, topic), shape(after, topic));
            if was != is {
                changes.has_new |= is.is_some_and(|(id, _)| was.is_none_or(|(before, _)| before != id));
                changes.names.insert(topic.clone());
            }
        }
        changes
    }
}

#[cfg(test)]
pub mod testing {
    use std::sync::Arc;

    use metadata::image::{MetadataImage, TopicImage};
    use metadata::record::{BrokerRegistration, MetadataRecord, PartitionRecord};
    use protocol::{BrokerId, LeaderEpoch, PartitionId, TopicId};
    use uuid::Uuid;

    pub const TOPIC: &str = "orders";
    pub const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(7));

    pub fn registration(broker: i32) -> MetadataRecord {
        MetadataRecord::BrokerRegistered(BrokerRegistration {
            broker: BrokerId(broker),
            incarnation: Uuid::from_u128(1),
            host: format!("host{broker}"),
            port: 9000 + broker as u16,
            rack: None,
        })
    }

    /// Replicas, all of them in sync, leader, and leader and partition epoch.
    pub type Assigned<'a> = (&'a [i32], Option<i32>, i32);

    pub fn partition(topic_id: TopicId, at: i32, (replicas, leader, epoch): Assigned<'_>) -> MetadataRecord {
        let replicas: Vec<BrokerId> = replicas.iter().map(|id| BrokerId(*id)).collect();
        MetadataRecord::PartitionChanged(PartitionRecord {
            topic_id,
            partition: PartitionId(at),
            isr: replicas.clone(),
            replicas,
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
        })
    }

    /// As [`partition`], with these of the replicas in sync.
    pub fn in_sync(topic_id: TopicId, at: i32, assigned: Assigned<'_>, isr: &[i32]) -> MetadataRecord {
        let MetadataRecord::PartitionChanged(mut record) = partition(topic_id, at, assigned) else { unreachable!() };
        record.isr = isr.iter().map(|id| BrokerId(*id)).collect();
        MetadataRecord::PartitionChanged(record)
    }

    pub fn created(topic_id: TopicId, name: &str, partitions: &[Assigned<'_>]) -> Vec<MetadataRecord> {
        let created = MetadataRecord::TopicCreated { topic_id, name: name.to_owned() };
        let partitions = (0..).zip(partitions).map(|(at, assigned)| partition(topic_id, at, *assigned));
        std::iter::once(created).chain(partitions).collect()
    }

    /// A cluster with these brokers and one topic.
    pub fn image_of(brokers: &[i32], partitions: &[Assigned<'_>]) -> MetadataImage {
        let mut records: Vec<MetadataRecord> = brokers.iter().map(|id| registration(*id)).collect();
        records.extend(created(TOPIC_ID, TOPIC, partitions));
        MetadataImage::default().apply_batch(&records).unwrap().0
    }

    pub fn topic(image: &MetadataImage) -> &Arc<TopicImage> {
        image.topic(TOPIC).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{TOPIC, TOPIC_ID, created, image_of, partition};
    use super::*;
    use metadata::record::MetadataRecord;
    use protocol::PartitionId;
    use uuid::Uuid;

    const HERE: BrokerId = BrokerId(1);

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic_id: TOPIC_ID, partition: PartitionId(partition) }
    }

    #[test]
    fn only_replicas_of_this_broker_are_wanted_here() {
        let image = image_of(&[1, 2, 3], &[(&[1, 2], Some(2), 0), (&[2, 3], Some(2), 0), (&[3, 1], None, 0)]);
        assert_eq!(all_here(&image, HERE).collect::<Vec<_>>(), [key(0), key(2)]);
        assert!(matches!(wanted(&image, HERE, key(0)), Wanted::Here(state) if state.leader == Some(BrokerId(2))));
        assert_eq!(wanted(&image, HERE, key(1)), Wanted::Elsewhere);
        assert_eq!(wanted(&image, HERE, key(3)), Wanted::Nowhere);
    }

    #[test]
    fn what_is_not_open_is_offline_elsewhere_or_unknown() {
        let image = image_of(&[1, 2], &[(&[1], Some(1), 0), (&[2], Some(2), 0)]);
        assert_eq!(not_open(&image, HERE, key(0)), ResponseError::KafkaStorageError);
        assert_eq!(not_open(&image, HERE, key(1)), ResponseError::NotLeaderOrFollower);
        assert_eq!(not_open(&image, HERE, key(2)), ResponseError::UnknownTopicOrPartition);
        let other = PartitionKey { topic_id: TopicId::ZERO, ..key(0) };
        assert_eq!(not_open(&image, HERE, other), ResponseError::UnknownTopicOrPartition);
    }

    #[test]
    fn a_log_has_lost_something_if_it_ends_early_or_was_not_kept_on_disk() {
        let found = |clean, created, end| RecoveryReport { clean, created, log_end: Offset(end), ..Default::default() };
        let (sync, unsynced) = (Durability::Sync, Durability::Async);
        assert!(!has_lost(&found(false, false, 10), sync, Some(Offset(10))), "cut above what was committed");
        assert!(has_lost(&found(false, false, 9), sync, Some(Offset(10))));
        assert!(has_lost(&found(true, true, 0), sync, Some(Offset(10))), "its files are gone");
        assert!(!has_lost(&found(true, true, 0), unsynced, None), "it is new");
        assert!(!has_lost(&found(true, false, 10), unsynced, Some(Offset(10))));
        assert!(has_lost(&found(false, false, 10), unsynced, Some(Offset(10))), "more may have been promised");
    }

    #[test]
    fn a_change_touches_its_partitions_once_and_the_image_says_how_it_ends() {
        let before = image_of(&[1, 2], &[(&[1, 2], Some(1), 0), (&[1], Some(1), 0)]);
        // Taken from this broker, and given back.
        let records = [partition(TOPIC_ID, 0, (&[2], Some(2), 1)), partition(TOPIC_ID, 0, (&[2, 1], Some(2), 2))];
        let (image, deltas) = before.apply_batch(&records).unwrap();
        assert_eq!(touched(&deltas).into_iter().collect::<Vec<_>>(), [key(0)]);
        assert!(matches!(wanted(&image, HERE, key(0)), Wanted::Here(state) if state.partition_epoch == 2));
    }

    #[test]
    fn subscribers_hear_of_topics_and_of_their_size_and_of_nothing_else() {
        let empty = MetadataImage::default();
        let (one, deltas) = empty.apply_batch(&created(TOPIC_ID, TOPIC, &[(&[1], Some(1), 0)])).unwrap();
        let changed = |has_new| TopicChanges { names: [TOPIC.into()].into(), has_new };
        assert_eq!(TopicChanges::between(&empty, &one, &deltas), changed(true));
        let (led, deltas) = one.apply_batch(&[partition(TOPIC_ID, 0, (&[1], None, 1))]).unwrap();
        assert_eq!(TopicChanges::between(&one, &led, &deltas), TopicChanges::default());
        let (two, deltas) = led.apply_batch(&[partition(TOPIC_ID, 1, (&[1], Some(1), 0))]).unwrap();
        assert_eq!(TopicChanges::between(&led, &two, &deltas), changed(false));
        let deleted = MetadataRecord::TopicDeleted { topic_id: TOPIC_ID };
        let anew = created(TopicId(Uuid::from_u128(8)), TOPIC, &[(&[1], Some(1), 0), (&[1], Some(1), 0)]);
        let (other, deltas) = two.apply_batch(&[vec![deleted.clone()], anew].concat()).unwrap();
        assert_eq!(TopicChanges::between(&two, &other, &deltas), changed(true));
        let (gone, deltas) = two.apply_batch(&[deleted]).unwrap();
        assert_eq!(TopicChanges::between(&two, &gone, &deltas), changed(false));
    }

    #[test]
    fn a_deleted_topic_is_replaced_only_if_its_name_is_used_again() {
        let before = image_of(&[1], &[(&[1], Some(1), 0)]);
        let deleted = MetadataRecord::TopicDeleted { topic_id: TOPIC_ID };
        let (image, deltas) = before.apply_batch(std::slice::from_ref(&deleted)).unwrap();
        assert!(replaced(&image, &deltas).is_empty());
        let anew = created(TopicId(Uuid::from_u128(8)), TOPIC, &[(&[1], Some(1), 0)]);
        let (image, deltas) = before.apply_batch(&[vec![deleted], anew].concat()).unwrap();
        assert_eq!(replaced(&image, &deltas).into_iter().collect::<Vec<_>>(), [TOPIC_ID]);
    }
}
