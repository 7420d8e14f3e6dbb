//! Replicas that move.

use super::cluster::{id, ids_of, led, with_topics};
use super::*;
use crate::image::PartitionImage;
use crate::testing::{catch_up, history, request, say_isr};
use proptest::prelude::*;

fn wanted(topic: &str, partition: i32, target: Option<&[i32]>) -> WantedReassignment {
    let (topic, partition) = (topic.to_owned(), PartitionId(partition));
    WantedReassignment { topic, partition, target: target.map(ids_of) }
}

/// Of partition `t0`-0; what it was answered, and the image then.
fn ask(image: &MetadataImage, target: Option<&[i32]>) -> (MetadataImage, Result<(), String>) {
    let (records, mut answers) = alter_partition_reassignments(image, true, &[wanted("t0", 0, target)]);
    (applied(image, &records), answers.remove(0).1.map_err(|error| error.to_string()))
}

fn reassigned(image: &MetadataImage, target: &[i32]) -> MetadataImage {
    let (image, answer) = ask(image, Some(target));
    answer.unwrap();
    image
}

fn cancelled(image: &MetadataImage) -> MetadataImage {
    let (image, answer) = ask(image, None);
    answer.unwrap();
    image
}

fn caught_up(image: &MetadataImage, replica: i32) -> MetadataImage {
    applied(image, &catch_up(image, id(replica)))
}

fn state(image: &MetadataImage) -> &PartitionImage {
    image.partition("t0", PartitionId(0)).unwrap()
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

/// Replicas, and of them those that are added and removed.
fn moving(image: &MetadataImage) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
    let state = state(image);
    let (adding, removing) =
        state.reassignment.as_ref().map_or((Vec::new(), Vec::new()), |m| (numbers(&m.adding), numbers(&m.removing)));
    (numbers(&state.replicas), adding, removing)
}

#[test]
fn a_move_is_complete_when_its_target_is_in_sync() {
    let image = with_topics(&image_with_brokers(4), &[&[1, 2]]);
    let moved = reassigned(&image, &[4, 3]);
    assert_eq!(moving(&moved), (vec![4, 3, 1, 2], vec![3, 4], vec![1, 2]));
    assert_eq!(led(&moved, 0), (Some(1), 0, vec![1, 2]), "nothing changes for those that serve");
    let half = caught_up(&moved, 3);
    assert_eq!(moving(&half), moving(&moved));
    assert_eq!(led(&half, 0), (Some(1), 0, vec![1, 2, 3]));
    let done = caught_up(&half, 4);
    assert_eq!(moving(&done), (vec![4, 3], vec![], vec![]));
    assert_eq!(led(&done, 0), (Some(4), 1, vec![3, 4]), "the first of the target leads");
}

#[test]
fn what_needs_no_copy_is_done_at_once() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2, 3]]);
    let reordered = reassigned(&image, &[3, 1, 2]);
    assert_eq!(moving(&reordered), (vec![3, 1, 2], vec![], vec![]));
    assert_eq!(led(&reordered, 0), (Some(1), 0, vec![1, 2, 3]), "who leads may stay");
    assert_eq!(state(&reordered).partition_epoch, 1);
    let without_follower = reassigned(&image, &[1, 3]);
    assert_eq!(moving(&without_follower), (vec![1, 3], vec![], vec![]));
    assert_eq!(led(&without_follower, 0), (Some(1), 1, vec![1, 3]), "a new epoch, for the one that has left");
    let without_leader = reassigned(&image, &[3, 2]);
    assert_eq!(moving(&without_leader), (vec![3, 2], vec![], vec![]));
    assert_eq!(led(&without_leader, 0), (Some(3), 1, vec![2, 3]));
    assert_eq!(alter_partition_reassignments(&image, true, &[wanted("t0", 0, Some(&[1, 2, 3]))]).0, []);
    // One that is kept and not in sync is waited for: nothing is thrown away before.
    let fenced = applied(&image, &fence(&image, id(3), &LogEnds::default()));
    let shrinking = reassigned(&fenced, &[3]);
    assert_eq!(moving(&shrinking), (vec![3, 1, 2], vec![], vec![1, 2]));
    assert_eq!(led(&shrinking, 0), (Some(1), 0, vec![1, 2]));
}

#[test]
fn cancelling_and_replacing_start_from_what_there_was() {
    let image = with_topics(&image_with_brokers(6), &[&[1, 2]]);
    let moved = caught_up(&reassigned(&image, &[2, 3, 4]), 3);
    assert_eq!(led(&moved, 0), (Some(1), 0, vec![1, 2, 3]));
    let back = cancelled(&moved);
    assert_eq!(moving(&back), (vec![2, 1], vec![], vec![]), "those that were to go are behind the others");
    assert_eq!(led(&back, 0), (Some(1), 1, vec![1, 2]));
    assert_eq!(ask(&back, None).1, Err("No partition reassignment is in progress.".to_owned()));
    // Another target: 4 was on its way in and is wanted no more, 3 is kept with what it has.
    let elsewhere = reassigned(&moved, &[3, 5]);
    assert_eq!(moving(&elsewhere), (vec![3, 5, 1, 2], vec![3, 5], vec![1, 2]));
    assert_eq!(led(&elsewhere, 0), (Some(1), 1, vec![1, 2, 3]));
    let mut back = moving(&cancelled(&elsewhere)).0;
    back.sort_unstable();
    assert_eq!(back, [1, 2]);
    assert_eq!(moving(&reassigned(&moved, &[1, 2])), (vec![1, 2], vec![], vec![]), "asking for what there was cancels");
    let kept_too = reassigned(&reassigned(&image, &[3, 4]), &[3, 1, 2]);
    assert_eq!(moving(&kept_too), (vec![3, 1, 2], vec![3], vec![]), "those that were to go stay");
}

#[test]
fn what_was_acknowledged_is_not_dropped() {
    let image = with_topics(&image_with_brokers(4), &[&[1]]);
    let moved = caught_up(&reassigned(&image, &[2, 3]), 2);
    let lost = applied(&moved, &fence(&moved, id(1), &LogEnds::default()));
    assert_eq!(led(&lost, 0), (Some(2), 1, vec![2]));
    let refused = "Unable to revert partition assignment for t0:0 because it would require an unclean leader election.";
    assert_eq!(ask(&lost, None), (lost.clone(), Err(refused.to_owned())));
    assert_eq!(ask(&lost, Some(&[4])), (lost.clone(), Err(refused.to_owned())));
    assert_eq!(moving(&reassigned(&lost, &[2, 4])).0, [2, 4, 1], "while a target with what is in sync is fine");
}

#[test]
fn targets_are_refused_as_by_kafka() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2]]);
    let manual = "The manual partition assignment includes";
    let cases: [(&str, i32, Option<&[i32]>, String); 7] = [
        ("none", 0, Some(&[1]), "Unable to find a topic named none.".into()),
        ("t0", 1, Some(&[1]), "Unable to find partition t0:1.".into()),
        ("t0", -1, None, "Unable to find partition t0:-1.".into()),
        ("t0", 0, Some(&[]), format!("{manual} an empty replica list.")),
        ("t0", 0, Some(&[1, 9]), format!("{manual} broker 9, but no such broker is registered.")),
        ("t0", 0, Some(&[1, -1]), format!("{manual} broker -1, but no such broker is registered.")),
        ("t0", 0, Some(&[1, 2, 1]), format!("{manual} the broker 1 more than once.")),
    ];
    for (topic, partition, target, expected) in cases {
        let (records, answers) = alter_partition_reassignments(&image, true, &[wanted(topic, partition, target)]);
        assert_eq!(records, []);
        let (name, answer) = &answers[0];
        assert_eq!(*name, (topic.to_owned(), PartitionId(partition)));
        assert_eq!(answer.as_ref().unwrap_err().to_string(), expected);
    }
    let strictly = |image: &MetadataImage, target: &[i32]| {
        let (_, answers) = alter_partition_reassignments(image, false, &[wanted("t0", 0, Some(target))]);
        answers[0].1.clone()
    };
    let other = |current, wanted| Err(ReassignmentError::OtherReplicationFactor { current, wanted });
    assert_eq!(strictly(&image, &[1]), other(2, 1));
    assert_eq!(strictly(&image, &[3, 1]), Ok(()));
    let growing = reassigned(&image, &[1, 2, 3]);
    assert_eq!(strictly(&growing, &[1, 2]), other(3, 2), "the replicas that it will have count");
}

#[test]
fn a_partition_named_twice_is_moved_twice() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2, 3]]);
    let twice = [wanted("t0", 0, Some(&[2])), wanted("t0", 0, None), wanted("t0", 0, Some(&[2, 3]))];
    let (records, answers) = alter_partition_reassignments(&image, true, &twice);
    let answers: Vec<bool> = answers.into_iter().map(|(_, answer)| answer.is_ok()).collect();
    assert_eq!((records.len(), answers), (1, vec![true, false, true]));
    let image = applied(&image, &records);
    assert_eq!(moving(&image), (vec![2, 3], vec![3], vec![]), "3 has left and must catch up");
}

fn target() -> impl Strategy<Value = Vec<i32>> {
    (Just((1..=5).collect::<Vec<i32>>()).prop_shuffle(), 1..=4_usize).prop_map(|(all, count)| all[..count].to_vec())
}

#[derive(Clone, Debug)]
enum Step {
    To(Vec<i32>),
    Cancel,
    CatchUp(i32),
    FallBehind(i32),
    Fence(i32),
    Unfence(i32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => target().prop_map(Step::To),
        1 => Just(Step::Cancel),
        6 => (1..=5_i32).prop_map(Step::CatchUp),
        1 => (1..=5_i32).prop_map(Step::FallBehind),
        1 => (1..=5_i32).prop_map(Step::Fence),
        2 => (1..=5_i32).prop_map(Step::Unfence),
    ]
}

fn set(brokers: &[i32]) -> std::collections::BTreeSet<i32> {
    brokers.iter().copied().collect()
}

proptest! {
    /// The ISR is of the replicas and a leader in it; a cancelled move leaves the replicas that there were before the first of
    /// a row of moves; a move whose target has caught up is complete, with exactly its target; epochs only rise.
    #[test]
    fn moves_arrive_or_go_back(
        first in target(),
        steps in proptest::collection::vec(step(), 0..40),
    ) {
        let mut image = with_topics(&image_with_brokers(5), &[&first]);
        let mut settled = set(&first);
        let mut goal = first;
        for step in steps {
            let before = image.clone();
            match &step {
                Step::To(target) => {
                    let (next, answer) = ask(&image, Some(target));
                    image = next;
                    if answer.is_ok() {
                        goal.clone_from(target);
                    } else {
                        prop_assert_eq!(&before, &image);
                    }
                }
                Step::Cancel => {
                    let (next, answer) = ask(&image, None);
                    image = next;
                    if answer.is_ok() {
                        let (replicas, adding, removing) = moving(&image);
                        prop_assert_eq!(set(&replicas), settled.clone());
                        prop_assert!(adding.is_empty() && removing.is_empty());
                        goal = replicas;
                    } else {
                        prop_assert_eq!(&before, &image);
                    }
                }
                Step::CatchUp(replica) => image = caught_up(&image, *replica),
                Step::FallBehind(replica) => {
                    let now = state(&image);
                    if now.leader.is_some() && now.leader != Some(id(*replica)) {
                        let isr: Vec<BrokerId> = now.isr.iter().copied().filter(|member| member.0 != *replica).collect();
                        let topic = image.topic("t0").unwrap();
                        let records = say_isr(&image, topic, now, &isr);
                        image = applied(&image, &records);
                    }
                }
                Step::Fence(broker) => image = applied(&image, &fence(&image, id(*broker), &LogEnds::default())),
                Step::Unfence(broker) => {
                    image = applied(&image, &crate::testing::beat(&image, *broker, Wish::Unfenced));
                }
            }
            let (now, was) = (state(&image), state(&before));
            let (replicas, adding, removing) = moving(&image);
            let isr = numbers(&now.isr);
            let with_all = [&isr[..], &numbers(&now.elr)].concat();
            prop_assert!(!with_all.is_empty() && with_all.iter().all(|member| replicas.contains(member)), "{now:?}");
            prop_assert_eq!(set(&replicas).len(), replicas.len(), "twice in {:?}", now);
            prop_assert!(now.leader.is_none_or(|leader| now.isr.contains(&leader) && image.is_unfenced(leader)));
            prop_assert!(now.leader_epoch >= was.leader_epoch && now.partition_epoch >= was.partition_epoch);
            prop_assert!(now.leader == was.leader || now.leader_epoch > was.leader_epoch);
            prop_assert!(adding.iter().chain(&removing).all(|replica| replicas.contains(replica)));
            prop_assert!(adding.iter().all(|replica| !removing.contains(replica)));
            if now.reassignment.is_some() {
                prop_assert_eq!(&replicas[..goal.len()], &goal[..], "the target comes first");
                prop_assert!(!goal.iter().all(|replica| isr.contains(replica)), "complete and not completed: {:?}", now);
                let original: Vec<i32> = replicas.iter().copied().filter(|replica| !adding.contains(replica)).collect();
                prop_assert_eq!(set(&original), settled.clone());
            } else {
                if was.reassignment.is_some() && matches!(step, Step::CatchUp(_) | Step::FallBehind(_)) {
                    prop_assert_eq!(set(&isr), set(&goal), "complete too soon");
                }
                prop_assert_eq!(&replicas, &goal);
                settled = set(&replicas);
            }
        }
    }

    /// Among everything else that happens, replicas that come and go stay consistent.
    #[test]
    fn what_is_added_and_removed_is_of_the_replicas(requests in proptest::collection::vec(request(), 0..60)) {
        let mut image = MetadataImage::default();
        for batch in history(&requests) {
            image = image.apply_batch(&batch).unwrap().0;
            for (_, state) in image.topics().flat_map(|topic| topic.partitions()) {
                let Some(moving) = &state.reassignment else { continue };
                let (adding, removing) = (&moving.adding, &moving.removing);
                prop_assert!(!adding.is_empty() || !removing.is_empty());
                prop_assert!(adding.iter().chain(removing).all(|replica| state.replicas.contains(replica)));
                prop_assert!(adding.iter().all(|replica| !removing.contains(replica)));
            }
        }
    }
}
