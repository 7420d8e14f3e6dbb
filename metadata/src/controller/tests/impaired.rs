//! Replicas whose brokers say that they have lost something, or cannot be opened.

use super::cluster::{eligible, id, led, with_topics};
use super::*;
use crate::controller::brokers::StaleBroker;
use crate::testing::{beat, start};

fn cluster(replicas: &[i32]) -> MetadataImage {
    with_topics(&image_with_brokers(3), &[replicas])
}

fn fenced(image: &MetadataImage, brokers: &[i32]) -> MetadataImage {
    brokers
        .iter()
        .fold(image.clone(), |image, broker| applied(&image, &fence(&image, id(*broker), &LogEnds::default())))
}

/// A new process of the broker has registered, found this of its replica of `t0`, and then been let in.
fn back(image: &MetadataImage, broker: i32, found: Option<Impairment>) -> MetadataImage {
    let incarnation = u128::from(image.metadata_offset());
    let image = applied(image, &register_broker(image, &start(broker, incarnation), &LogEnds::default()).unwrap().0);
    let image = found.map_or(image.clone(), |found| report(&image, broker, found));
    applied(&image, &beat(&image, broker, Wish::Unfenced))
}

fn report(image: &MetadataImage, broker: i32, impairment: Impairment) -> MetadataImage {
    let topic_id = image.topic("t0").unwrap().id;
    let replica = ImpairedReplica { topic_id, partition: PartitionId(0), impairment };
    let epoch = image.broker(id(broker)).unwrap().epoch;
    applied(image, &report_impaired(image, id(broker), epoch, &[replica]).unwrap())
}

#[test]
fn a_replica_that_lost_records_is_not_eligible_when_it_is_back() {
    // 1 was the last in sync; 2 may lack what it acknowledged.
    let image = fenced(&cluster(&[1, 2]), &[2, 1]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 1, vec![]), (vec![1], vec![1])));
    assert_eq!(led(&back(&image, 1, None), 0).0, Some(1));
    assert_eq!(led(&back(&image, 1, Some(Impairment::Damaged)), 0).0, Some(1), "nobody else has what it has");
    // It was the last to lead, too, and stands alone.
    let lost = back(&image, 1, Some(Impairment::Lost));
    assert_eq!((led(&lost, 0), eligible(&lost, 0)), ((Some(1), 2, vec![1]), (vec![], vec![])));
}

#[test]
fn another_eligible_replica_is_waited_for() {
    let min_isr =
        ConfigChange { name: "min.insync.replicas".to_owned(), op: AlterOp::Set, value: Some("2".to_owned()) };
    let alteration = ConfigAlteration { resource: ConfigResource::Topic("t0".to_owned()), changes: vec![min_isr] };
    let image = cluster(&[1, 2]);
    let image = applied(&image, &incremental_alter_configs(&image, &StaticConfig::default(), &[alteration]).0);
    let image = fenced(&image, &[2, 1]);
    assert_eq!(eligible(&image, 0), (vec![1, 2], vec![1]));
    let lost = back(&image, 1, Some(Impairment::Lost));
    assert_eq!((led(&lost, 0), eligible(&lost, 0)), ((None, 1, vec![]), (vec![2], vec![1])), "though it led last");
    let damaged = back(&image, 1, Some(Impairment::Damaged));
    assert_eq!((led(&damaged, 0), eligible(&damaged, 0)), ((None, 1, vec![]), (vec![2], vec![1])));
    let closed = back(&image, 1, Some(Impairment::Closed));
    assert_eq!(led(&closed, 0).0, Some(1), "2 may never come back, and 1 may yet be opened");
    let led_again = back(&lost, 2, None);
    assert_eq!(led(&led_again, 0), (Some(2), 2, vec![2]));
    let closed = back(&lost, 2, Some(Impairment::Closed));
    assert_eq!(led(&closed, 0).0, Some(2), "nobody else has what it has, and its log may be opened yet");
    // With both lost, the last to lead does again, also if the other comes first.
    let both = back(&back(&image, 2, Some(Impairment::Lost)), 1, Some(Impairment::Lost));
    assert_eq!((led(&both, 0), eligible(&both, 0)), ((Some(1), 2, vec![1]), (vec![], vec![])));
    let both = back(&lost, 2, Some(Impairment::Lost));
    assert_eq!(
        (led(&both, 0), eligible(&both, 0)),
        ((Some(1), 2, vec![1]), (vec![], vec![])),
        "at once, since it serves"
    );
}

#[test]
fn a_leader_that_cannot_open_its_log_is_replaced_by_one_in_sync() {
    let image = report(&cluster(&[1, 2, 3]), 1, Impairment::Closed);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(2), 1, vec![2, 3]), (vec![], vec![])));
    let image = report(&image, 3, Impairment::Damaged);
    assert_eq!(led(&image, 0), (Some(2), 1, vec![2]));
    let alone = report(&image, 2, Impairment::Damaged);
    assert_eq!(led(&alone, 0), (Some(2), 1, vec![2]), "nobody else has what it has");
    assert_eq!(alone.metadata_offset(), image.metadata_offset());
}

#[test]
fn a_node_that_was_removed_does_not_come_back_as_the_last_to_lead() {
    let image = fenced(&cluster(&[1, 2]), &[2, 1]);
    // Gone from the eligible ones, it is only the last that led.
    let incarnation = start(1, 77);
    let image = applied(&image, &register_broker(&image, &incarnation, &LogEnds::default()).unwrap().0);
    let image = report(&image, 1, Impairment::Lost);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 1, vec![]), (vec![], vec![1])));
    let image = applied(&image, &remove_node(&image, id(1)).unwrap());
    assert_eq!(eligible(&image, 0), (vec![], vec![]), "an empty disk under its id has led nothing");
    assert_eq!(led(&back(&image, 2, None), 0).0, None);
}

#[test]
fn only_the_present_process_is_believed() {
    let image = cluster(&[1, 2]);
    let epoch = image.broker(id(1)).unwrap().epoch;
    let stale = StaleBroker { broker: id(1), epoch: epoch + 1, current: Some(epoch) };
    assert_eq!(report_impaired(&image, id(1), epoch + 1, &[]), Err(stale));
    let unknown = ImpairedReplica { topic_id: TopicId::ZERO, partition: PartitionId(0), impairment: Impairment::Lost };
    assert_eq!(report_impaired(&image, id(1), epoch, &[unknown]), Ok(Vec::new()), "it may be deleted by now");
}
