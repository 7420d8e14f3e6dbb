//! What may still be changed while the controller's disk is full: that which has brokers keep less.
//!
//! Looked at are the records of a decision, whatever request they come from. All of them must be of this kind: a request that
//! also makes something grow is refused as a whole, and can be made again in parts.

use crate::config::{StaticConfig, TopicConfig};
use crate::image::{MetadataImage, PartitionImage};
use crate::record::{ConfigResource, MetadataRecord};
use protocol::newtypes::BrokerId;

/// Configs that say how much is kept, of topics and of brokers. Others may well need room.
const CONFIGS: [&str; 22] = [
    "cleanup.policy",
    "delete.retention.ms",
    "internal.segment.bytes",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.cleanup.policy",
    "log.retention.bytes",
    "log.retention.hours",
    "log.retention.minutes",
    "log.retention.ms",
    "log.roll.hours",
    "log.roll.ms",
    "log.segment.bytes",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// Whether what these records say frees space, or at least takes none of `me`, the broker whose disk is full.
///
/// - A topic is deleted.
/// - A config has less kept than before, by what it comes to and not by its text: taking an override away counts as setting
///   what applies then.
/// - A partition that exists changes, and `me` gets no replica that it did not have: replicas go elsewhere, others lead.
#[must_use]
pub fn frees_space(
    image: &MetadataImage,
    me: BrokerId,
    static_config: &StaticConfig,
    records: &[MetadataRecord],
) -> bool {
    let Ok((after, _)) = image.apply_batch(records) else { return false };
    records.iter().all(|record| match record {
        MetadataRecord::TopicDeleted { .. } | MetadataRecord::ReplicaCountChosen { .. } => true,
        MetadataRecord::ConfigChanged { resource, name, .. } => {
            let resolved = |image| resolved(image, me, static_config, resource);
            CONFIGS.contains(&name.as_str())
                && matches!((resolved(image), resolved(&after)), (Some(before), Some(after)) if keeps_no_more(&before, &after))
        }
        other => PartitionImage::of_record(other).is_some_and(|(topic, partition, state)| {
            let before = image.topic_by_id(topic).and_then(|topic| topic.partition(partition));
            before.is_some_and(|before| !state.replicas.contains(&me) || before.replicas.contains(&me))
        }),
    })
}

/// What a resource's configs come to for topics; `None` of one that has none for them.
fn resolved(
    image: &MetadataImage,
    me: BrokerId,
    static_config: &StaticConfig,
    resource: &ConfigResource,
) -> Option<TopicConfig> {
    let defaults = |broker| image.broker_config(broker, static_config);
    match resource {
        ConfigResource::Topic(topic) => Some(image.topic_config(topic, &defaults(me))),
        ConfigResource::Broker(broker) => Some(defaults(*broker).topic_defaults),
        ConfigResource::BrokerDefault => Some(defaults(me).topic_defaults),
        ConfigResource::Group(_) => None,
    }
}

fn keeps_no_more(before: &TopicConfig, after: &TopicConfig) -> bool {
    let limit = |limit: Option<i64>| limit.unwrap_or(i64::MAX);
    let (policy, was) = (after.cleanup_policy, before.cleanup_policy);
    // Deletion may take the place of compaction, and not the other way round: compaction needs room for what it writes.
    let policy_keeps_no_more = policy.delete >= was.delete && (policy.compact >= was.compact || policy.delete);
    policy_keeps_no_more
        && limit(after.retention_ms) <= limit(before.retention_ms)
        && limit(after.retention_bytes) <= limit(before.retention_bytes)
        && after.segment_bytes <= before.segment_bytes
        && after.segment_ms <= before.segment_ms
        && after.delete_retention_ms <= before.delete_retention_ms
        && after.min_compaction_lag_ms <= before.min_compaction_lag_ms
        && after.max_compaction_lag_ms <= before.max_compaction_lag_ms
        && after.min_cleanable_dirty_ratio <= before.min_cleanable_dirty_ratio
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Scope, definition};
    use crate::record::PartitionRecord;
    use protocol::newtypes::{LeaderEpoch, PartitionId, TopicId};
    use uuid::Uuid;

    const ME: BrokerId = BrokerId(1);
    const TOPIC: TopicId = TopicId(Uuid::from_u128(1));

    fn partition(partition: i32, replicas: &[i32], epoch: i32) -> MetadataRecord {
        let replicas: Vec<BrokerId> = replicas.iter().copied().map(BrokerId).collect();
        MetadataRecord::PartitionChanged(PartitionRecord {
            topic_id: TOPIC,
            partition: PartitionId(partition),
            isr: replicas.clone(),
            leader: replicas.first().copied(),
            replicas,
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: epoch,
        })
    }

    fn config(resource: ConfigResource, name: &str, value: Option<&str>) -> MetadataRecord {
        MetadataRecord::ConfigChanged { resource, name: name.to_owned(), value: value.map(str::to_owned) }
    }

    fn topic() -> ConfigResource {
        ConfigResource::Topic("t".to_owned())
    }

    /// A topic of two partitions on brokers 1 and 2, and on 2 and 3.
    fn image(configs: &[MetadataRecord]) -> MetadataImage {
        let created = MetadataRecord::TopicCreated { topic_id: TOPIC, name: "t".to_owned() };
        let records = [&[created, partition(0, &[1, 2], 0), partition(1, &[2, 3], 0)][..], configs].concat();
        MetadataImage::default().apply_batch(&records).unwrap().0
    }

    fn frees(image: &MetadataImage, records: &[MetadataRecord]) -> bool {
        frees_space(image, ME, &StaticConfig::default(), records)
    }

    #[test]
    fn every_config_that_says_how_much_is_kept_exists() {
        for name in CONFIGS {
            assert!([Scope::Topic, Scope::Broker].into_iter().any(|scope| definition(scope, name).is_some()), "{name}");
        }
    }

    #[test]
    fn a_deleted_topic_frees_space_and_a_new_one_does_not() {
        let deleted = MetadataRecord::TopicDeleted { topic_id: TOPIC };
        let created = MetadataRecord::TopicCreated { topic_id: TopicId(Uuid::from_u128(2)), name: "u".to_owned() };
        assert!(frees(&image(&[]), std::slice::from_ref(&deleted)));
        assert!(!frees(&image(&[]), std::slice::from_ref(&created)));
        assert!(!frees(&image(&[]), &[deleted, created]), "all of it must");
        assert!(!frees(&image(&[]), &[partition(2, &[2, 3], 0)]), "a new partition");
    }

    #[test]
    fn replicas_may_leave_and_not_come() {
        for (moved, expected) in [
            (partition(0, &[2, 3], 1), true),
            (partition(0, &[1], 1), true),
            (partition(0, &[2, 1, 3], 1), true),
            (partition(1, &[3, 2], 1), true),
            (partition(1, &[1, 2], 1), false),
        ] {
            assert_eq!(frees(&image(&[]), std::slice::from_ref(&moved)), expected, "{moved:?}");
        }
    }

    #[test]
    fn configs_count_by_what_they_come_to() {
        let day = config(topic(), "retention.ms", Some("86400000"));
        let compacted = config(topic(), "cleanup.policy", Some("compact"));
        let broker = |value| config(ConfigResource::BrokerDefault, "log.retention.ms", Some(value));
        for (before, name, value, expected) in [
            (vec![], "retention.ms", Some("1000"), true),
            (vec![], "retention.ms", Some("-1"), false),
            (vec![], "retention.ms", Some("604800001"), false),
            (vec![], "retention.bytes", Some("1000"), true),
            (vec![day.clone()], "retention.ms", Some("86400001"), false),
            (vec![day.clone()], "retention.ms", None, false),
            (vec![day.clone(), broker("1000")], "retention.ms", None, true),
            (vec![], "segment.bytes", Some("1048576"), true),
            (vec![], "cleanup.policy", Some("compact"), false),
            (vec![], "cleanup.policy", Some("compact,delete"), true),
            (vec![], "cleanup.policy", Some(""), false),
            (vec![compacted.clone()], "cleanup.policy", Some("delete"), true),
            (vec![compacted.clone()], "cleanup.policy", Some(""), false),
            (vec![], "min.cleanable.dirty.ratio", Some("0.1"), true),
            (vec![], "max.message.bytes", Some("1000"), false),
        ] {
            let record = config(topic(), name, value);
            assert_eq!(frees(&image(&before), &[record]), expected, "{before:?}, then {name}={value:?}");
        }
        for (value, expected) in [("1000", true), ("-1", false)] {
            assert_eq!(frees(&image(&[]), &[broker(value)]), expected, "{value}");
            let of_one = config(ConfigResource::Broker(BrokerId(2)), "log.retention.ms", Some(value));
            assert_eq!(frees(&image(&[]), &[of_one]), expected, "{value}");
        }
        let group = config(ConfigResource::Group("g".to_owned()), "retention.ms", Some("1"));
        assert!(!frees(&image(&[]), &[group]));
    }
}
