//! Who is elected where several may lead: whoever has the longest log.

use super::cluster::{eligible, id, led, with_topics};
use super::isr::{ask, change};
use super::*;
use crate::testing::{beat, catch_up, start};

/// `t0` on brokers 1 to 3, all in sync.
fn cluster() -> MetadataImage {
    with_topics(&image_with_brokers(4), &[&[1, 2, 3]])
}

/// Broker, latest epoch and end, of `t0`'s partition.
fn told(image: &MetadataImage, ends: &[(i32, i32, i64)]) -> LogEnds {
    let topic = image.topic("t0").unwrap().id;
    let mut told = LogEnds::default();
    for (broker, epoch, end) in ends {
        let end = LogEnd { epoch: LeaderEpoch(*epoch), end: Offset(*end) };
        told.insert((topic, PartitionId(0)), id(*broker), end);
    }
    told
}

fn fenced(image: &MetadataImage, broker: i32, ends: &[(i32, i32, i64)]) -> MetadataImage {
    applied(image, &fence(image, id(broker), &told(image, ends)))
}

fn asked(questions: Questions) -> Vec<(i32, usize)> {
    questions.into_iter().map(|(broker, partitions)| (broker.0, partitions.len())).collect()
}

#[test]
fn the_longest_log_leads_and_the_epoch_counts_first() {
    let image = cluster();
    assert_eq!(led(&fenced(&image, 1, &[(2, 0, 10), (3, 0, 11)]), 0).0, Some(3));
    assert_eq!(led(&fenced(&image, 1, &[(2, 1, 10), (3, 0, 11)]), 0).0, Some(2), "a later epoch, of a leader since");
    assert_eq!(led(&fenced(&image, 1, &[(2, 0, 11), (3, 0, 11)]), 0).0, Some(2), "of equals the preferred one");
    assert_eq!(led(&fenced(&image, 1, &[(3, 0, 0)]), 0).0, Some(3), "one that is silent comes after all that are not");
    assert_eq!(led(&fenced(&image, 1, &[]), 0).0, Some(2), "where all are silent, the preferred one");
}

#[test]
fn the_longest_log_of_a_replica_that_may_not_lead_counts_for_nothing() {
    let image = fenced(&cluster(), 3, &[]);
    let image = applied(&image, &beat(&image, 3, Wish::Unfenced));
    assert_eq!(led(&image, 0), (Some(1), 0, vec![1, 2]));
    assert_eq!(led(&fenced(&image, 1, &[(1, 9, 99), (2, 0, 1), (3, 0, 50), (4, 1, 50)]), 0), (Some(2), 1, vec![2]));
}

#[test]
fn a_new_process_and_a_wish_to_stop_elect_by_log_too() {
    let image = cluster();
    let ends = told(&image, &[(2, 0, 10), (3, 0, 11)]);
    let again = applied(&image, &register_broker(&image, &start(1, 9), &ends).unwrap().0);
    assert_eq!(led(&again, 0), (Some(3), 1, vec![2, 3]));
    let known = image.broker(id(1)).unwrap();
    let wish = Heartbeat { broker: id(1), epoch: known.epoch, applied: 0, wish: Wish::Fenced };
    let stopping = applied(&image, &heartbeat(&image, &wish, &ends).unwrap().0);
    assert_eq!(led(&stopping, 0), (Some(3), 1, vec![2, 3]));
}

#[test]
fn those_are_asked_who_may_lead_and_only_where_there_is_a_choice() {
    let image = with_topics(&image_with_brokers(4), &[&[1, 2, 3], &[1, 2], &[2, 1, 3], &[1]]);
    assert_eq!(
        asked(questions_without(&image, id(1))),
        [(2, 1), (3, 1)],
        "of the one partition with a choice that it leads"
    );
    assert_eq!(asked(questions_without(&image, id(4))), []);
    // 1 and 2 are all that is in sync, and then 2 may lead alone.
    let (image, answer) = ask(&image, 1, change(&image, &[1, 2]));
    assert!(answer.is_ok());
    assert_eq!(asked(questions_without(&image, id(1))), []);
}

#[test]
fn unclean_elections_are_for_topics_that_allow_them() {
    let allow = |image: &MetadataImage| {
        let name = "unclean.leader.election.enable".to_owned();
        let changes = vec![ConfigChange { name, op: AlterOp::Set, value: Some("true".to_owned()) }];
        let alteration = ConfigAlteration { resource: ConfigResource::Topic("t0".to_owned()), changes };
        applied(image, &incremental_alter_configs(image, &StaticConfig::default(), &[alteration]).0)
    };
    // 2 and 3 are out of sync when 1 goes.
    let image = [2, 3].iter().fold(cluster(), |image, broker| fenced(&image, *broker, &[]));
    let image = fenced(&image, 1, &[]);
    let image = [2, 3].iter().fold(image, |image, broker| applied(&image, &beat(&image, *broker, Wish::Unfenced)));
    assert_eq!((led(&image, 0).0, eligible(&image, 0).0), (None, vec![1]));
    let ends = told(&image, &[(2, 0, 10), (3, 0, 11)]);
    assert_eq!(elect_unclean(&image, &config(&[]), &ends), []);
    assert_eq!(asked(questions_unclean(&image, &config(&[]))), []);
    let allowed = allow(&image);
    assert_eq!(asked(questions_unclean(&allowed, &config(&[]))), [(2, 1), (3, 1)]);
    let elected = applied(&allowed, &elect_unclean(&allowed, &config(&[]), &ends));
    assert_eq!((led(&elected, 0), eligible(&elected, 0).0), ((Some(3), 2, vec![3]), vec![]));
    assert_eq!(elect_unclean(&elected, &config(&[]), &ends), [], "it is led");
    // Whose log is not open leads only where it has what is committed.
    let mut not_open = told(&image, &[(2, 0, 10)]);
    not_open.insert_not_open((image.topic("t0").unwrap().id, PartitionId(0)), id(3));
    assert_eq!(led(&applied(&allowed, &elect_unclean(&allowed, &config(&[]), &not_open)), 0).0, Some(2));
    not_open.insert_not_open((image.topic("t0").unwrap().id, PartitionId(0)), id(2));
    assert_eq!(elect_unclean(&allowed, &config(&[]), &not_open), []);
    let (records, answers) = elect_leaders(&image, ElectionType::Unclean, None, &not_open);
    assert_eq!((records, &answers[0].1), (vec![], &Err(ElectLeadersError::NoneEligible)));
    let all_in_sync = cluster();
    let gone = applied(&all_in_sync, &fence(&all_in_sync, id(1), &not_open));
    assert_eq!(led(&gone, 0).0, Some(2), "somebody has to, and the log may be opened yet");
    // The brokers' own setting is a topic's default.
    let of_brokers = config(&[("unclean.leader.election.enable", "true")]);
    assert_eq!(elect_unclean(&image, &of_brokers, &ends).len(), 1);
    let nobody = [2, 3].iter().fold(allowed, |image, broker| fenced(&image, *broker, &[]));
    assert_eq!(elect_unclean(&nobody, &config(&[]), &ends), [], "nobody is alive");
    // As one that asks for it.
    let (records, _) = elect_leaders(&image, ElectionType::Unclean, None, &ends);
    assert_eq!(led(&applied(&image, &records), 0).0, Some(3));
    // Where somebody is in sync again, nothing is to be done.
    let caught_up = applied(&elected, &catch_up(&elected, id(2)));
    assert_eq!(elect_unclean(&caught_up, &of_brokers, &ends), []);
}
