//! An image is the fold of its records, whatever way it is reached.

use super::apply::Misfit;
use super::*;
use crate::delta::MetadataDelta;
use crate::testing::{binding, history, image_with_broker, request};
use proptest::prelude::*;
use uuid::Uuid;

fn fold<'a>(records: impl IntoIterator<Item = &'a MetadataRecord>) -> MetadataImage {
    let mut image = MetadataImage::default();
    for record in records {
        image = image.apply(record).expect("a record that fits");
    }
    image
}

/// What an image says but for where in the log it stands.
fn content(image: &MetadataImage) -> MetadataImage {
    image.clone().at_metadata_offset(0)
}

/// The record that a delta was made from. Deltas are complete in themselves: nothing else is looked at.
fn record_of(delta: &MetadataDelta) -> MetadataRecord {
    match delta.clone() {
        MetadataDelta::TopicCreated { topic_id, topic } => {
            MetadataRecord::TopicCreated { topic_id, name: topic.to_string() }
        }
        MetadataDelta::PartitionChanged { topic_id, partition, state, .. } => state.to_record(topic_id, partition),
        MetadataDelta::TopicDeleted { topic_id, .. } => MetadataRecord::TopicDeleted { topic_id },
        MetadataDelta::TopicConfigChanged { topic, name, value, .. } => {
            MetadataRecord::ConfigChanged { resource: ConfigResource::Topic(topic.to_string()), name, value }
        }
        MetadataDelta::BrokerConfigChanged { broker, name, value } => {
            let resource = broker.map_or(ConfigResource::BrokerDefault, ConfigResource::Broker);
            MetadataRecord::ConfigChanged { resource, name, value }
        }
        MetadataDelta::GroupConfigChanged { group, name, value } => {
            MetadataRecord::ConfigChanged { resource: ConfigResource::Group(group.to_string()), name, value }
        }
        MetadataDelta::BrokerChanged(state) => MetadataRecord::BrokerChanged(state.as_ref().clone()),
        MetadataDelta::BrokerRemoved(node) => MetadataRecord::NodeRemoved { node },
    }
}

/// What shards see of an image: all but what has no deltas.
fn shards_view(image: &MetadataImage) -> MetadataImage {
    let mut view = content(image);
    view.cluster_id = None;
    view.next_producer_id = ProducerId::default();
    view.nodes = Default::default();
    // Whether somebody chose how many replicas a partition has is for the controller alone.
    for topic in image.topics() {
        let seen = TopicImage { replica_counts_chosen: Default::default(), ..TopicImage::clone(topic) };
        view.topics.insert_mut(topic.id, Arc::new(seen));
    }
    view
}

proptest! {
    #[test]
    fn batches_fold_like_single_records(requests in proptest::collection::vec(request(), 0..40)) {
        let batches = history(&requests);
        let mut image = MetadataImage::default();
        for batch in &batches {
            image = image.apply_batch(batch).unwrap().0;
        }
        let records: Vec<_> = batches.concat();
        prop_assert_eq!(image.metadata_offset(), records.len() as u64);
        prop_assert_eq!(image, fold(&records));
    }

    #[test]
    fn an_image_folds_from_its_own_records(requests in proptest::collection::vec(request(), 0..40)) {
        let image = fold(&history(&requests).concat());
        let records: Vec<_> = image.to_records().collect();
        prop_assert_eq!(content(&fold(&records)), content(&image));
    }

    #[test]
    fn deltas_lead_from_an_older_image_to_the_newer(
        requests in proptest::collection::vec(request(), 1..40),
        split in 0.0..1.0_f64,
    ) {
        let batches = history(&requests);
        let (older_batches, newer_batches) = batches.split_at((batches.len() as f64 * split) as usize);
        let older = fold(&older_batches.concat());
        let kept = older.clone();
        let (newer, deltas) = older.apply_batch(&newer_batches.concat()).unwrap();
        let mut by_deltas = older.clone();
        for delta in &deltas {
            // Nodes have no deltas, and shards do not ask whether a broker is one.
            by_deltas.nodes = (1..=3).map(|id| (BrokerId(id), Arc::new(binding(id, 0)))).collect();
            by_deltas = by_deltas.apply(&record_of(delta)).unwrap();
        }
        prop_assert_eq!(shards_view(&by_deltas), shards_view(&newer));
        prop_assert_eq!(&older, &kept, "an image never changes");
        prop_assert_eq!(older, fold(&older_batches.concat()));
    }

    #[test]
    fn counts_and_lookups_agree(requests in proptest::collection::vec(request(), 0..40)) {
        let image = fold(&history(&requests).concat());
        prop_assert_eq!(image.topics().count(), image.topic_count());
        let partitions: i32 = image.topics().map(|topic| topic.partition_count()).sum();
        prop_assert_eq!(partitions as usize, image.partition_count());
        prop_assert!(image.topics().map(|topic| &topic.name).is_sorted());
        for topic in image.topics() {
            prop_assert_eq!(image.topic(&topic.name), Some(topic));
            prop_assert_eq!(image.topic_by_id(topic.id), Some(topic));
            prop_assert_eq!(image.topic_colliding_with(&topic.name), Some(topic));
            for (id, partition) in topic.partitions() {
                prop_assert_eq!(image.partition(&topic.name, id), Some(partition));
            }
            prop_assert_eq!(topic.partition(PartitionId(topic.partition_count())), None);
            prop_assert_eq!(topic.partition(PartitionId(-1)), None);
        }
    }
}

fn topic_id(id: u128) -> TopicId {
    TopicId(Uuid::from_u128(id))
}

fn created(id: u128, name: &str) -> MetadataRecord {
    MetadataRecord::TopicCreated { topic_id: topic_id(id), name: name.to_owned() }
}

fn partition(topic: u128, partition: i32, leader_epoch: i32, partition_epoch: i32) -> MetadataRecord {
    MetadataRecord::PartitionChanged(PartitionRecord {
        topic_id: topic_id(topic),
        partition: PartitionId(partition),
        replicas: vec![BrokerId(1), BrokerId(2)],
        isr: vec![BrokerId(1)],
        leader: Some(BrokerId(1)),
        leader_epoch: LeaderEpoch(leader_epoch),
        partition_epoch,
    })
}

fn topic_config(topic: &str, value: Option<&str>) -> MetadataRecord {
    let resource = ConfigResource::Topic(topic.to_owned());
    MetadataRecord::ConfigChanged { resource, name: "retention.ms".to_owned(), value: value.map(str::to_owned) }
}

#[test]
fn records_that_do_not_fit_are_refused_and_change_nothing() {
    let image =
        [created(1, "a.b"), partition(1, 0, 3, 4), MetadataRecord::ProducerIdsAllocated { next: ProducerId(9) }]
            .iter()
            .fold(image_with_broker(), |image, record| image.apply(record).unwrap());
    let cases = [
        (MetadataRecord::ClusterCreated { cluster_id: crate::testing::cluster_id() }, Misfit::ClusterExists),
        (created(1, "x"), Misfit::TopicIdExists { topic_id: topic_id(1) }),
        (created(2, "a.b"), Misfit::TopicNameExists { name: "a.b".into(), topic_id: topic_id(1) }),
        (created(2, "a_b"), Misfit::TopicNameExists { name: "a_b".into(), topic_id: topic_id(1) }),
        (MetadataRecord::TopicDeleted { topic_id: topic_id(2) }, Misfit::NoSuchTopicId { topic_id: topic_id(2) }),
        (partition(2, 0, 0, 0), Misfit::NoSuchTopicId { topic_id: topic_id(2) }),
        (partition(1, 2, 0, 0), Misfit::PartitionGap { topic_id: topic_id(1), partition: PartitionId(2), expected: 1 }),
        (
            partition(1, -1, 0, 0),
            Misfit::PartitionGap { topic_id: topic_id(1), partition: PartitionId(-1), expected: 1 },
        ),
        (
            partition(1, 0, 2, 5),
            Misfit::EpochWentBack {
                topic_id: topic_id(1),
                partition: PartitionId(0),
                field: "leader epoch",
                before: 3,
                after: 2,
            },
        ),
        (
            partition(1, 0, 3, 3),
            Misfit::EpochWentBack {
                topic_id: topic_id(1),
                partition: PartitionId(0),
                field: "partition epoch",
                before: 4,
                after: 3,
            },
        ),
        (topic_config("x", Some("1")), Misfit::NoSuchTopic { name: "x".into() }),
        (
            MetadataRecord::ProducerIdsAllocated { next: ProducerId(8) },
            Misfit::ProducerIdsWentBack { before: ProducerId(9), after: ProducerId(8) },
        ),
    ];
    for (record, reason) in cases {
        let error = image.apply(&record).unwrap_err();
        assert_eq!(error, ApplyError { metadata_offset: image.metadata_offset(), reason });
        let mut in_place = image.clone();
        in_place.apply_in_place(&record).unwrap_err();
        assert_eq!(in_place, image, "after {record:?}");
    }
}

/// Partition 0 of topic 1, on replicas 1, 2 and 3.
fn members(isr: &[i32], elr: &[i32], last_known_elr: &[i32], leader: Option<i32>) -> MetadataRecord {
    let ids = |brokers: &[i32]| brokers.iter().copied().map(BrokerId).collect::<Vec<_>>();
    let partition = PartitionRecord {
        topic_id: topic_id(1),
        partition: PartitionId(0),
        replicas: ids(&[1, 2, 3]),
        isr: ids(isr),
        leader: leader.map(BrokerId),
        leader_epoch: LeaderEpoch(1),
        partition_epoch: 1,
    };
    let (elr, last_known_elr) = (ids(elr), ids(last_known_elr));
    MetadataRecord::PartitionUnderMinIsr { partition, adding: vec![], removing: vec![], elr, last_known_elr }
}

#[test]
fn no_record_makes_a_leader_that_is_not_in_sync() {
    let image = image_with_broker().apply(&created(1, "t")).unwrap();
    let cases = [
        (members(&[2], &[], &[], Some(1)), "leader 1 is not in the ISR [2]"),
        (members(&[], &[1], &[], Some(1)), "leader 1 is not in the ISR []"),
        (members(&[1, 9], &[], &[], Some(1)), "the ISR [1, 9] is not of the replicas [1, 2, 3], each once"),
        (members(&[1, 2, 1], &[], &[], Some(1)), "the ISR [1, 2, 1] is not of the replicas [1, 2, 3], each once"),
        (members(&[1], &[4], &[], Some(1)), "the ELR [4] is not of the replicas [1, 2, 3], each once"),
        (members(&[], &[1], &[4], None), "the last known ELR [4] is not of the replicas [1, 2, 3], each once"),
        (members(&[1, 2], &[2], &[], Some(1)), "the ISR [1, 2] and the eligible leader replicas [2] share a broker"),
    ];
    for (record, expected) in cases {
        let error = image.apply(&record).unwrap_err().reason.to_string();
        assert_eq!(error, format!("partition 0 of topic id {} cannot be so: {expected}", topic_id(1)));
    }
    let fits = members(&[], &[1, 2], &[1], None);
    let (image, deltas) = image.apply_batch(std::slice::from_ref(&fits)).unwrap();
    let state = image.partition("t", PartitionId(0)).unwrap();
    assert_eq!(state.to_record(topic_id(1), PartitionId(0)), fits);
    assert!(matches!(&deltas[..], [MetadataDelta::PartitionChanged { state: told, .. }] if told == state));
}

#[test]
fn a_deleted_topic_takes_its_configs_along_and_its_name_is_free_again() {
    let image = [created(1, "t"), topic_config("t", Some("5")), partition(1, 0, 0, 0)]
        .iter()
        .fold(image_with_broker(), |image, record| image.apply(record).unwrap());
    let (image, deltas) = image.apply_batch(&[MetadataRecord::TopicDeleted { topic_id: topic_id(1) }]).unwrap();
    assert_eq!(deltas, [MetadataDelta::TopicDeleted { topic_id: topic_id(1), topic: "t".into(), partition_count: 1 }]);
    let image = image.apply(&created(2, "t")).unwrap();
    assert!(image.overrides(&ConfigResource::Topic("t".into())).is_empty());
    assert_eq!(image.topic("t").unwrap().id, topic_id(2));
    assert_eq!(image.topic_by_id(topic_id(1)), None);
    assert_eq!(image.partition_count(), 0);
}

#[test]
fn one_change_shares_everything_else_with_the_image_before() {
    let topics = 200;
    let records: Vec<_> = (0..topics).flat_map(|id| [created(id, &format!("t{id}")), partition(id, 0, 0, 0)]).collect();
    let before = image_with_broker().apply_batch(&records).unwrap().0;
    let after = before.apply(&partition(7, 0, 1, 1)).unwrap();
    for id in (0..topics).map(topic_id) {
        let is_shared = Arc::ptr_eq(before.topic_by_id(id).unwrap(), after.topic_by_id(id).unwrap());
        assert_eq!(is_shared, id != topic_id(7));
    }
    assert_eq!(before.partition("t7", PartitionId(0)).unwrap().leader_epoch, LeaderEpoch(0));
    assert_eq!(after.partition("t7", PartitionId(0)).unwrap().leader_epoch, LeaderEpoch(1));
}

#[test]
fn configs_resolve_through_the_image() {
    let set = |resource, name: &str, value: &str| MetadataRecord::ConfigChanged {
        resource,
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let image = [
        created(1, "t"),
        created(2, "u"),
        set(ConfigResource::BrokerDefault, "log.retention.ms", "50"),
        set(ConfigResource::Broker(BrokerId(1)), "log.retention.ms", "60"),
        topic_config("t", Some("70")),
    ]
    .iter()
    .fold(image_with_broker(), |image, record| image.apply(record).unwrap());
    let static_config = StaticConfig::parse([("num.partitions", "3")]).unwrap();
    let own = image.broker_config(BrokerId(1), &static_config);
    let other = image.broker_config(BrokerId(2), &static_config);
    assert_eq!(own.num_partitions, 3);
    assert_eq!(image.topic_config("t", &own).retention_ms, Some(70));
    assert_eq!(image.topic_config("u", &own).retention_ms, Some(60));
    assert_eq!(image.topic_config("u", &other).retention_ms, Some(50));
    let names = Some(["retention.ms".to_owned()]);
    let resource = ConfigResource::Topic("t".into());
    let described = image.describe_configs(&resource, BrokerId(1), &static_config, names.as_ref().map(|n| &n[..]));
    assert_eq!(described[0].synonyms.len(), 4, "topic, broker, cluster default, and the hours of the table");
    let image = image.apply(&topic_config("t", None)).unwrap();
    assert_eq!(image.topic_config("t", &own).retention_ms, Some(60));
}

#[test]
fn a_broker_is_found_by_id_and_replaced_by_its_next_process() {
    let image = image_with_broker();
    let before = image.broker(BrokerId(1)).unwrap();
    let next = BrokerState { port: 9999, epoch: before.epoch + 1, ..before.as_ref().clone() };
    let image = image.apply(&MetadataRecord::BrokerChanged(next.clone())).unwrap();
    assert_eq!(image.brokers().count(), 1);
    assert_eq!(**image.broker(BrokerId(1)).unwrap(), next);
    let misfit = Misfit::BrokerEpochWentBack { broker: BrokerId(1), before: next.epoch, after: next.epoch - 1 };
    let older = BrokerState { epoch: next.epoch - 1, ..next };
    assert_eq!(image.apply(&MetadataRecord::BrokerChanged(older)).unwrap_err().reason, misfit);
    assert_eq!(image.broker(BrokerId(2)), None);
}

#[test]
fn a_partition_lacks_replicas_other_than_those_that_arrive() {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    let state = |isr: &[i32], adding: &[i32]| PartitionImage {
        replicas: brokers(&[1, 2, 3, 4]),
        isr: brokers(isr),
        elr: brokers(&[]),
        last_known_elr: brokers(&[]),
        leader: Some(BrokerId(1)),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        reassignment: (!adding.is_empty()).then(|| {
            Arc::new(Reassignment { adding: adding.iter().copied().map(BrokerId).collect(), removing: Vec::new() })
        }),
    };
    assert!(state(&[1, 2, 3], &[]).is_under_replicated());
    assert!(!state(&[1, 2, 3], &[4]).is_under_replicated(), "the fourth is on its way");
    assert!(state(&[1, 2], &[4]).is_under_replicated());
    assert!(!state(&[1, 2, 3, 4], &[4]).is_under_replicated());
    assert!(state(&[1], &[]).is_under_min_isr(2) && !state(&[1, 2], &[]).is_under_min_isr(2));
    assert!(!state(&[1, 2, 3, 4], &[]).is_under_min_isr(5), "no more are asked for than there are");
}
