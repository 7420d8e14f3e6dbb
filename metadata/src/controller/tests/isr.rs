//! Who is in sync, as leaders say.

use super::cluster::{id, ids_of, led, with_topics};
use super::*;
use crate::image::PartitionImage;
use crate::testing::{beat, start};

fn epoch_of(image: &MetadataImage, broker: i32) -> u64 {
    image.broker(id(broker)).map_or(0, |known| known.epoch)
}

/// What a leader that knows all of the image asks for, of partition 0 of `t0`.
pub(super) fn change(image: &MetadataImage, isr: &[i32]) -> IsrChange {
    let topic = image.topic("t0").unwrap();
    let state = topic.partition(PartitionId(0)).unwrap();
    IsrChange {
        topic_id: topic.id,
        partition: PartitionId(0),
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        new_isr: isr.iter().map(|member| (id(*member), epoch_of(image, *member))).collect(),
    }
}

/// What `broker` is answered about one change, and the image then.
pub(super) fn ask(
    image: &MetadataImage,
    broker: i32,
    change: IsrChange,
) -> (MetadataImage, Result<i32, AlterPartitionError>) {
    let key = (change.topic_id, change.partition);
    let (records, mut answers) = alter_partition(image, id(broker), epoch_of(image, broker), &[change]).unwrap();
    let (answered, answer) = answers.remove(0);
    assert_eq!(answered, key);
    assert_eq!(records.len(), usize::from(answer.is_ok()));
    (applied(image, &records), answer)
}

fn state(image: &MetadataImage) -> &PartitionImage {
    image.partition("t0", PartitionId(0)).unwrap()
}

#[test]
fn the_leader_says_who_is_in_sync() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2, 3]]);
    let (image, answer) = ask(&image, 1, change(&image, &[1, 3]));
    assert_eq!(answer, Ok(1));
    assert_eq!((led(&image, 0), state(&image).partition_epoch), ((Some(1), 0, vec![1, 3]), 1));
    let (image, answer) = ask(&image, 1, change(&image, &[3, 1, 2]));
    assert_eq!(answer, Ok(2));
    assert_eq!(led(&image, 0), (Some(1), 0, vec![3, 1, 2]), "in the order that was asked for");
}

#[test]
fn asked_for_what_there_is_the_partition_epoch_still_rises() {
    let image = with_topics(&image_with_brokers(2), &[&[1, 2]]);
    let (image, answer) = ask(&image, 1, change(&image, &[1, 2]));
    assert_eq!((answer, state(&image).partition_epoch), (Ok(1), 1));
    // A leader that has not heard of the first asks again, and learns that something has changed.
    let again = IsrChange { partition_epoch: 0, ..change(&image, &[1]) };
    assert_eq!(ask(&image, 1, again).1, Err(AlterPartitionError::OldPartitionEpoch { found: 0, current: 1 }));
}

#[test]
fn changes_are_refused_as_by_kafka() {
    let image = with_topics(&image_with_brokers(4), &[&[1, 2, 3]]);
    let good = change(&image, &[1, 2]);
    let unknown = TopicId(Uuid::from_u128(99));
    let none = PartitionId(1);
    let cases = [
        (1, IsrChange { topic_id: unknown, ..good.clone() }, AlterPartitionError::UnknownTopicId { topic_id: unknown }),
        (
            1,
            IsrChange { partition: none, ..good.clone() },
            AlterPartitionError::UnknownPartition { topic_id: good.topic_id, partition: none, count: 1 },
        ),
        (
            1,
            IsrChange { leader_epoch: LeaderEpoch(1), ..good.clone() },
            AlterPartitionError::NewerThanController { field: "leader epoch", found: 1, current: 0 },
        ),
        (
            1,
            IsrChange { partition_epoch: 7, ..good.clone() },
            AlterPartitionError::NewerThanController { field: "partition epoch", found: 7, current: 0 },
        ),
        (
            1,
            IsrChange { leader_epoch: LeaderEpoch(-1), ..good.clone() },
            AlterPartitionError::FencedLeaderEpoch { found: LeaderEpoch(-1), current: LeaderEpoch(0) },
        ),
        (
            2,
            good.clone(),
            AlterPartitionError::NotLeader { broker: id(2), leader_epoch: LeaderEpoch(0), leader: Some(id(1)) },
        ),
        (
            1,
            IsrChange { partition_epoch: -1, ..good.clone() },
            AlterPartitionError::OldPartitionEpoch { found: -1, current: 0 },
        ),
        (1, change(&image, &[]), AlterPartitionError::WithoutLeader { leader: id(1), isr: vec![] }),
        (1, change(&image, &[2, 3]), AlterPartitionError::WithoutLeader { leader: id(1), isr: ids_of(&[2, 3]) }),
        (
            1,
            change(&image, &[1, 4]),
            AlterPartitionError::NoReplica { broker: id(4), isr: ids_of(&[1, 4]), replicas: ids_of(&[1, 2, 3]) },
        ),
        (1, change(&image, &[1, 2, 2]), AlterPartitionError::Repeated { broker: id(2), isr: ids_of(&[1, 2, 2]) }),
    ];
    for (broker, change, expected) in cases {
        let (after, answer) = ask(&image, broker, change);
        assert_eq!((answer, after), (Err(expected), image.clone()));
    }
}

#[test]
fn only_processes_that_serve_are_in_sync() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2, 3]]);
    let refused = |image: &MetadataImage, isr: IsrChange| match ask(image, 1, isr).1 {
        Err(AlterPartitionError::Ineligible { broker, reason }) => (broker.0, reason),
        other => panic!("{other:?}"),
    };
    // Broker 2 has started anew since the leader knew it as in sync.
    let known = epoch_of(&image, 2);
    let restarted = applied(&image, &register_broker(&image, &start(2, 9), &LogEnds::default()).unwrap().0);
    assert_eq!(refused(&restarted, change(&restarted, &[1, 2, 3])), (2, Ineligible::Fenced));
    let restarted = applied(&restarted, &beat(&restarted, 2, Wish::Unfenced));
    let (other, current) =
        (IsrChange { new_isr: change(&image, &[1, 2, 3]).new_isr, ..change(&restarted, &[]) }, epoch_of(&restarted, 2));
    assert_eq!(refused(&restarted, other), (2, Ineligible::OtherBrokerEpoch { found: known, current }));
    let gone = applied(&image, &fence(&image, id(3), &LogEnds::default()));
    let gone = applied(&gone, &remove_node(&gone, id(3)).unwrap());
    assert_eq!(refused(&gone, change(&gone, &[1, 2, 3])), (3, Ineligible::NotRegistered));
    let (image, answer) = ask(&restarted, 1, change(&restarted, &[1, 2, 3]));
    assert_eq!((answer, led(&image, 0)), (Ok(2), (Some(1), 0, vec![1, 2, 3])));
}

#[test]
fn a_process_that_was_followed_by_another_says_nothing() {
    let image = with_topics(&image_with_brokers(2), &[&[1, 2]]);
    let stale = |broker, epoch, current| Err(StaleBroker { broker: id(broker), epoch, current });
    let (change, current) = (change(&image, &[1]), epoch_of(&image, 1));
    assert_eq!(alter_partition(&image, id(1), 0, std::slice::from_ref(&change)), stale(1, 0, Some(current)));
    assert_eq!(alter_partition(&image, id(9), 0, &[change]), stale(9, 0, None));
}

#[test]
fn what_a_request_names_twice_is_decided_twice() {
    let image = with_topics(&image_with_brokers(2), &[&[1, 2], &[2, 1]]);
    let first = change(&image, &[1]);
    let stale = change(&image, &[1, 2]);
    let next = IsrChange { partition_epoch: 1, ..stale.clone() };
    let other = IsrChange { topic_id: image.topic("t1").unwrap().id, ..first.clone() };
    let (records, answers) = alter_partition(&image, id(1), epoch_of(&image, 1), &[first, other, stale, next]).unwrap();
    let answers: Vec<_> = answers.into_iter().map(|(_, answer)| answer).collect();
    let not_leader =
        AlterPartitionError::NotLeader { broker: id(1), leader_epoch: LeaderEpoch(0), leader: Some(id(2)) };
    let old = AlterPartitionError::OldPartitionEpoch { found: 0, current: 1 };
    assert_eq!(answers, [Ok(1), Err(not_leader), Err(old), Ok(2)]);
    assert_eq!(records.len(), 1, "one record says the outcome");
    let image = applied(&image, &records);
    assert_eq!((led(&image, 0), state(&image).partition_epoch), ((Some(1), 0, vec![1, 2]), 2));
}

#[test]
fn a_move_is_completed_by_the_leader_that_it_replaces() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2]]);
    let target = Some(ids_of(&[3]));
    let wanted = WantedReassignment { topic: "t0".to_owned(), partition: PartitionId(0), target };
    let image = applied(&image, &alter_partition_reassignments(&image, true, &[wanted]).0);
    let (image, answer) = ask(&image, 1, change(&image, &[1, 2, 3]));
    assert_eq!(answer, Ok(2));
    assert_eq!(led(&image, 0), (Some(3), 1, vec![3]));
    assert!(state(&image).reassignment.is_none());
    let late = ask(&image, 1, IsrChange { leader_epoch: LeaderEpoch(0), ..change(&image, &[1]) }).1;
    assert_eq!(late, Err(AlterPartitionError::FencedLeaderEpoch { found: LeaderEpoch(0), current: LeaderEpoch(1) }));
}

#[test]
fn one_request_makes_so_many_changes() {
    let image = image_with_broker();
    let (records, _) = create(&image, &[topic("t0", 9_999, 1)]);
    let image = applied(&image, &records);
    let (records, _) = create(&image, &[topic("t1", 2, 1)]);
    let image = applied(&image, &records);
    let changes = image.topics().flat_map(|topic| {
        topic.partitions().map(|(partition, _)| IsrChange { topic_id: topic.id, partition, ..change(&image, &[1]) })
    });
    let changes: Vec<_> = changes.collect();
    let (records, answers) = alter_partition(&image, id(1), epoch_of(&image, 1), &changes).unwrap();
    assert_eq!(records.len(), RECORDS_PER_REQUEST_MAX);
    assert_eq!(answers.last().unwrap().1, Err(AlterPartitionError::TooManyRecords));
}
