//! Elections that somebody asks for.

use super::cluster::{eligible, id, led, with_topics};
use super::*;
use crate::testing::{beat, catch_up};

fn name(topic: &str, partition: i32) -> PartitionName {
    (topic.to_owned(), PartitionId(partition))
}

fn fenced(image: &MetadataImage, brokers: &[i32]) -> MetadataImage {
    brokers
        .iter()
        .fold(image.clone(), |image, broker| applied(&image, &fence(&image, id(*broker), &LogEnds::default())))
}

fn back(image: &MetadataImage, broker: i32) -> MetadataImage {
    applied(image, &beat(image, broker, Wish::Unfenced))
}

#[test]
fn the_preferred_replica_leads_again_once_it_is_in_sync() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2], &[2, 3], &[3, 1]]);
    let image = back(&fenced(&image, &[1]), 1);
    assert_eq!(led(&image, 0), (Some(2), 1, vec![2]));
    let asked = [name("t0", 0), name("t1", 0), name("t0", 1), name("none", 0)];
    let (records, answers) = elect_leaders(&image, ElectionType::Preferred, Some(&asked), &LogEnds::default());
    assert_eq!(records, []);
    let errors: Vec<String> = answers.iter().map(|(_, answer)| answer.as_ref().unwrap_err().to_string()).collect();
    assert_eq!(
        errors,
        [
            "The preferred leader was not available.",
            "Leader election not needed for topic partition.",
            "No such partition as t0-1",
            "No such topic as none"
        ]
    );
    let image = applied(&image, &catch_up(&image, id(1)));
    let (records, answers) = elect_leaders(&image, ElectionType::Preferred, None, &LogEnds::default());
    assert_eq!(answers, [(name("t0", 0), Ok(()))], "of all, those that need none are not named");
    let image = applied(&image, &records);
    assert_eq!(led(&image, 0), (Some(1), 2, vec![2, 1]));
    assert_eq!(led(&image, 1), (Some(2), 0, vec![2, 3]));
    // Eligible, and fenced: the last of an ISR.
    let alone = with_topics(&image_with_brokers(2), &[&[1, 2]]);
    let alone = back(&fenced(&alone, &[2, 1]), 2);
    let (_, answers) = elect_leaders(&alone, ElectionType::Preferred, Some(&[name("t0", 0)]), &LogEnds::default());
    assert_eq!(answers[0].1, Err(ElectLeadersError::PreferredNotAvailable));
}

#[test]
fn whoever_is_alive_leads_uncleanly_and_only_where_nobody_does() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2], &[1, 3], &[2]]);
    // 2 falls out of sync, then 1, the last in sync, goes, and 2 comes back.
    let image = back(&fenced(&image, &[2, 1]), 2);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 1, vec![]), (vec![1], vec![1])));
    let asked = [name("t0", 0), name("t1", 0), name("t0", 0), name("t2", 0)];
    let (records, answers) = elect_leaders(&image, ElectionType::Unclean, Some(&asked), &LogEnds::default());
    let answers: Vec<_> = answers.into_iter().map(|(_, answer)| answer).collect();
    let not_needed = Err(ElectLeadersError::NotNeeded);
    assert_eq!(answers, [Ok(()), not_needed.clone(), not_needed.clone(), not_needed]);
    let elected = applied(&image, &records);
    assert_eq!(led(&elected, 0), (Some(2), 2, vec![2]), "what only 1 had is given up");
    assert_eq!(eligible(&elected, 0), (vec![], vec![]));
    let (records, answers) =
        elect_leaders(&fenced(&image, &[2, 3]), ElectionType::Unclean, Some(&asked), &LogEnds::default());
    assert_eq!((records, &answers[0].1), (vec![], &Err(ElectLeadersError::NoneEligible)));
    // Broker 1 comes back after all, as one that has to catch up.
    assert_eq!(led(&back(&elected, 1), 0), (Some(2), 2, vec![2]));
}

#[test]
fn an_unclean_leader_that_is_all_of_the_target_completes_the_move() {
    let image = with_topics(&image_with_brokers(2), &[&[1]]);
    let target = Some(vec![id(2)]);
    let wanted = WantedReassignment { topic: "t0".to_owned(), partition: PartitionId(0), target };
    let image = applied(&image, &alter_partition_reassignments(&image, true, &[wanted]).0);
    let image = fenced(&image, &[1]);
    let image = applied(&image, &elect_leaders(&image, ElectionType::Unclean, None, &LogEnds::default()).0);
    let state = image.partition("t0", PartitionId(0)).unwrap();
    assert_eq!((&state.replicas[..], state.reassignment.is_none()), (&[id(2)][..], true));
    assert_eq!(led(&image, 0), (Some(2), 2, vec![2]));
}

#[test]
fn elections_have_kafkas_numbers() {
    assert_eq!(ElectionType::from_wire(0), Ok(ElectionType::Preferred));
    assert_eq!(ElectionType::from_wire(1), Ok(ElectionType::Unclean));
    assert_eq!(ElectionType::from_wire(2).unwrap_err().to_string(), "Unknown election type 2");
}
