//! Eligible leader replicas (KIP-966).

use super::cluster::{eligible, id, ids_of, led, with_topics};
use super::isr::{ask, change};
use super::*;
use crate::testing::{beat, catch_up};

/// Four brokers, one topic on the replicas, and this `min.insync.replicas` in all of the cluster.
fn cluster(replicas: &[i32], min_insync_replicas: i32) -> MetadataImage {
    let image = with_topics(&image_with_brokers(4), &[replicas]);
    with_min_isr(&image, ConfigResource::BrokerDefault, Some(min_insync_replicas))
}

fn with_min_isr(image: &MetadataImage, resource: ConfigResource, value: Option<i32>) -> MetadataImage {
    let op = if value.is_some() { AlterOp::Set } else { AlterOp::Delete };
    let change = ConfigChange { name: "min.insync.replicas".to_owned(), op, value: value.map(|v| v.to_string()) };
    let alteration = ConfigAlteration { resource, changes: vec![change] };
    let (records, answers) = incremental_alter_configs(image, &StaticConfig::default(), &[alteration]);
    assert_eq!(answers[0].1, Ok(()));
    applied(image, &records)
}

fn of_topic(image: &MetadataImage, value: Option<i32>) -> MetadataImage {
    with_min_isr(image, ConfigResource::Topic("t0".to_owned()), value)
}

fn fenced(image: &MetadataImage, brokers: &[i32]) -> MetadataImage {
    brokers
        .iter()
        .fold(image.clone(), |image, broker| applied(&image, &fence(&image, id(*broker), &LogEnds::default())))
}

fn back(image: &MetadataImage, broker: i32) -> MetadataImage {
    applied(image, &beat(image, broker, Wish::Unfenced))
}

fn shrunk(image: &MetadataImage, leader: i32, isr: &[i32]) -> MetadataImage {
    let (image, answer) = ask(image, leader, change(image, isr));
    answer.unwrap();
    image
}

fn moved(image: &MetadataImage, target: Option<&[i32]>) -> Result<MetadataImage, ReassignmentError> {
    let wanted = WantedReassignment { topic: "t0".to_owned(), partition: PartitionId(0), target: target.map(ids_of) };
    let (records, mut answers) = alter_partition_reassignments(image, true, &[wanted]);
    answers.remove(0).1.map(|()| applied(image, &records))
}

#[test]
fn whoever_leaves_an_isr_that_is_too_small_may_still_lead() {
    let image = shrunk(&cluster(&[1, 2, 3], 2), 1, &[1, 2]);
    assert_eq!(eligible(&image, 0), (vec![], vec![]), "large enough: what 3 misses is committed");
    // 2 is slow, and serves.
    let image = shrunk(&image, 1, &[1]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(1), 0, vec![1]), (vec![2], vec![])));
    let lost = fenced(&image, &[1]);
    assert_eq!((led(&lost, 0), eligible(&lost, 0)), ((Some(2), 1, vec![2]), (vec![1], vec![])), "at once");
    let grown = shrunk(&back(&lost, 1), 2, &[2, 3]);
    assert_eq!((led(&grown, 0), eligible(&grown, 0)), ((Some(2), 1, vec![2, 3]), (vec![], vec![])));
}

#[test]
fn an_eligible_replica_that_is_back_leads_alone() {
    let image = fenced(&cluster(&[1, 2, 3], 3), &[3, 1, 2]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 2, vec![]), (vec![1, 2, 3], vec![2])));
    let image = back(&image, 3);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(3), 3, vec![3]), (vec![1, 2], vec![])));
    let image = back(&back(&image, 2), 1);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(3), 3, vec![3]), (vec![1, 2], vec![])));
    // Who is in sync comes before who is preferred.
    let image = applied(&image, &catch_up(&image, id(2)));
    let image = fenced(&image, &[3]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(2), 4, vec![2]), (vec![1, 3], vec![])));
    // Of several eligible ones, the first in order of preference.
    assert_eq!(led(&fenced(&image, &[2]), 0), (Some(1), 5, vec![1]));
}

#[test]
fn a_replica_out_of_sync_before_is_never_eligible() {
    let image = shrunk(&cluster(&[1, 2, 3], 2), 1, &[1, 2]);
    let image = fenced(&image, &[1, 2]);
    assert_eq!(
        (led(&image, 0), eligible(&image, 0)),
        ((None, 2, vec![]), (vec![1, 2], vec![2])),
        "3 serves, and waits"
    );
    let (_, answers) = elect_leaders(&image, ElectionType::Preferred, None, &LogEnds::default());
    assert_eq!(answers[0].1, Err(ElectLeadersError::PreferredNotAvailable));
    let (records, answers) = elect_leaders(&image, ElectionType::Unclean, None, &LogEnds::default());
    assert_eq!(answers[0].1, Ok(()));
    let image = applied(&image, &records);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(3), 3, vec![3]), (vec![], vec![])));
    assert_eq!(led(&fenced(&back(&image, 1), &[3]), 0), (None, 4, vec![]), "what 1 has was given up");
}

#[test]
fn fewer_replicas_than_must_be_in_sync_are_enough_together() {
    let image = fenced(&cluster(&[1, 2], 3), &[2]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(1), 0, vec![1]), (vec![2], vec![])));
    let image = shrunk(&back(&image, 2), 1, &[1, 2]);
    assert_eq!(eligible(&image, 0), (vec![], vec![]));
}

#[test]
fn nobody_is_eligible_once_the_isr_is_large_enough_for_another_min_insync_replicas() {
    let image = shrunk(&cluster(&[1, 2, 3], 3), 1, &[1]);
    assert_eq!(eligible(&image, 0), (vec![2, 3], vec![]));
    let still = of_topic(&image, Some(2));
    assert_eq!(eligible(&still, 0), (vec![2, 3], vec![]), "nothing has been committed, and nothing is");
    let epochs =
        |image: &MetadataImage| image.partition("t0", PartitionId(0)).map(|s| (s.leader_epoch, s.partition_epoch));
    assert_eq!(epochs(&still), epochs(&image));
    let lower = of_topic(&image, Some(1));
    assert_eq!((led(&lower, 0), eligible(&lower, 0)), ((Some(1), 0, vec![1]), (vec![], vec![])));
    assert_eq!(epochs(&lower), Some((LeaderEpoch(0), 2)));
    assert_eq!(led(&fenced(&lower, &[1]), 0), (None, 1, vec![]), "2 and 3 may lack what is committed now");
    let lower = with_min_isr(&image, ConfigResource::BrokerDefault, Some(1));
    assert_eq!(eligible(&lower, 0), (vec![], vec![]));
    // The topic's own value comes first, until it is taken away.
    let own = with_min_isr(&of_topic(&image, Some(2)), ConfigResource::BrokerDefault, Some(1));
    assert_eq!(eligible(&own, 0), (vec![2, 3], vec![]));
    assert_eq!(eligible(&of_topic(&own, None), 0), (vec![], vec![]));
    // Where nobody leads nothing is committed, whatever the config says.
    let idle = of_topic(&fenced(&image, &[2, 3, 1]), Some(1));
    assert_eq!((led(&idle, 0), eligible(&idle, 0)), ((None, 1, vec![]), (vec![1, 2, 3], vec![1])));
    let image = back(&idle, 2);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(2), 2, vec![2]), (vec![], vec![])));
}

#[test]
fn a_raised_min_insync_replicas_makes_nobody_eligible() {
    let image = shrunk(&cluster(&[1, 2, 3], 1), 1, &[1]);
    let image = of_topic(&image, Some(2));
    assert_eq!(eligible(&image, 0), (vec![], vec![]), "2 and 3 left when what they missed was committed");
    let image = fenced(&image, &[1]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 1, vec![]), (vec![1], vec![1])));
}

#[test]
fn replicas_that_are_moved_away_are_eligible_no_more() {
    let image = shrunk(&cluster(&[1, 2, 3], 3), 1, &[1]);
    let kept = moved(&image, Some(&[1, 3])).unwrap();
    assert_eq!(eligible(&kept, 0), (vec![2, 3], vec![]), "while they are waited for");
    // One of two that are in sync is large enough for two replicas.
    let done = shrunk(&kept, 1, &[1, 3]);
    assert_eq!((led(&done, 0), eligible(&done, 0)), ((Some(1), 1, vec![1, 3]), (vec![], vec![])));
    // One on its way in is the last in sync, and another is eligible.
    let adding = moved(&cluster(&[1, 2], 2), Some(&[1, 2, 4])).unwrap();
    let image = fenced(&shrunk(&adding, 1, &[1, 4]), &[1]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(4), 1, vec![4]), (vec![1], vec![])));
    let refused = ReassignmentError::OnlyDroppedInSync { topic: "t0".to_owned(), partition: PartitionId(0) };
    assert_eq!(
        moved(&image, None),
        Err(refused.clone()),
        "a leader that serves is not exchanged for one that does not"
    );
    let image = fenced(&image, &[4]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 2, vec![]), (vec![1, 4], vec![4])));
    let cancelled = moved(&image, None).unwrap();
    assert_eq!((led(&cancelled, 0), eligible(&cancelled, 0)), ((None, 3, vec![]), (vec![1], vec![])));
    assert_eq!(led(&back(&moved(&cancelled, Some(&[2])).unwrap(), 1), 0), (Some(1), 4, vec![1]), "it was waited for");
    // The one on its way in is the only one that is eligible.
    let adding = moved(&cluster(&[1, 2], 1), Some(&[1, 2, 4])).unwrap();
    let image = fenced(&shrunk(&adding, 1, &[1, 4]), &[1, 4]);
    assert_eq!(eligible(&image, 0), (vec![4], vec![4]));
    assert_eq!(moved(&image, None), Err(refused));
}

#[test]
fn an_eligible_replica_that_is_all_of_the_target_completes_the_move() {
    let image = shrunk(&cluster(&[1, 2, 3], 3), 1, &[1]);
    let image = fenced(&moved(&image, Some(&[2])).unwrap(), &[2, 1, 3]);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 2, vec![]), (vec![1, 2, 3], vec![3])));
    let image = back(&image, 2);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((Some(2), 3, vec![2]), (vec![], vec![])));
    assert_eq!(*image.partition("t0", PartitionId(0)).unwrap().replicas, [id(2)]);
}

#[test]
fn a_node_that_is_removed_is_eligible_no_more() {
    let image = fenced(&cluster(&[1, 2, 3], 3), &[2]);
    assert_eq!(eligible(&image, 0), (vec![2], vec![]));
    let removed = applied(&image, &remove_node(&image, id(2)).unwrap());
    assert_eq!((led(&removed, 0), eligible(&removed, 0)), ((Some(1), 0, vec![1, 3]), (vec![], vec![])));
    // Nobody in sync: others that are eligible are enough, and the last of them stays.
    let idle = fenced(&image, &[1, 3]);
    let idle = applied(&idle, &remove_node(&idle, id(2)).unwrap());
    let idle = applied(&idle, &remove_node(&idle, id(1)).unwrap());
    assert_eq!((led(&idle, 0), eligible(&idle, 0)), ((None, 2, vec![]), (vec![3], vec![3])));
    let last = RemoveError::LastInSync { node: id(3), partitions: 1, example: "t0-0".to_owned() };
    assert_eq!(remove_node(&idle, id(3)), Err(last));
}
