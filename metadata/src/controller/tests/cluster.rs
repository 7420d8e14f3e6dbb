//! Brokers that come and go, and who leads and votes meanwhile.

use super::*;
use crate::controller::brokers::StaleBroker;
use crate::record::NodeBinding;
use crate::testing::{beat, binding, bootstrap, history, request, start, with_broker};
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(super) fn id(broker: i32) -> BrokerId {
    BrokerId(broker)
}

pub(super) fn ids_of(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

/// Topics `t0`, `t1` and so on, of one partition each on these replicas.
pub(super) fn with_topics(image: &MetadataImage, replicas: &[&[i32]]) -> MetadataImage {
    let topics = (0..).zip(replicas).map(|(at, on): (i32, _)| assigned(&format!("t{at}"), &[(0, on)]));
    let (records, answers) = create(image, &topics.collect::<Vec<_>>());
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    applied(image, &records)
}

/// Eligible leader replicas, and whoever led last.
pub(super) fn eligible(image: &MetadataImage, at: i32) -> (Vec<i32>, Vec<i32>) {
    let state = image.partition(&format!("t{at}"), PartitionId(0)).unwrap();
    let numbers = |brokers: &[BrokerId]| brokers.iter().map(|id| id.0).collect();
    (numbers(&state.elr), numbers(&state.last_known_elr))
}

/// Leader, leader epoch and ISR.
pub(super) fn led(image: &MetadataImage, at: i32) -> (Option<i32>, i32, Vec<i32>) {
    let state = image.partition(&format!("t{at}"), PartitionId(0)).unwrap();
    (state.leader.map(|id| id.0), state.leader_epoch.0, state.isr.iter().map(|id| id.0).collect())
}

#[test]
fn a_node_id_keeps_its_directory_until_it_is_removed() {
    let image = image_with_brokers(2);
    let refused = join(&image, &binding(2, 7)).unwrap_err();
    let (bound, found) = (Uuid::from_u128(0), Uuid::from_u128(7));
    assert_eq!(refused, NodeRefused::OtherDirectory { node: id(2), bound, found });
    assert_eq!(join(&image, &binding(2, 0)), Ok(Vec::new()), "asked again it is told the same");
    assert_eq!(remove_node(&image, id(2)), Err(RemoveError::Alive { node: id(2) }));
    let image = applied(&image, &fence(&image, id(2), &LogEnds::default()));
    let image = applied(&image, &remove_node(&image, id(2)).unwrap());
    assert_eq!(image.broker(id(2)), None);
    assert_eq!(register_broker(&image, &start(2, 0), &LogEnds::default()), Err(NodeRefused::Removed { node: id(2) }));
    assert_eq!(remove_node(&image, id(2)), Err(RemoveError::Unknown { node: id(2) }));
    let image = applied(&image, &join(&image, &binding(2, 7)).unwrap());
    assert_eq!(image.node(id(2)).unwrap().directory_id, found);
    assert_eq!(join(&image, &binding(-1, 7)), Err(NodeRefused::NegativeId { node: id(-1) }));
}

#[test]
fn a_node_that_alone_is_in_sync_is_not_forgotten() {
    // `t0` has no other replica that could lead; of `t1` broker 1 is the last in sync.
    let image = with_topics(&image_with_brokers(2), &[&[1], &[1, 2]]);
    let image =
        [2, 1].iter().fold(image, |image, broker| applied(&image, &fence(&image, id(*broker), &LogEnds::default())));
    assert_eq!((led(&image, 1), eligible(&image, 1)), ((None, 1, vec![]), (vec![1], vec![1])));
    let error = remove_node(&image, id(1)).unwrap_err();
    assert_eq!(error, RemoveError::LastInSync { node: id(1), partitions: 1, example: "t1-0".to_owned() });
    let image = applied(
        &image,
        &delete_topics(&image, true, &[TopicToDelete { name: Some("t1".into()), id: TopicId::ZERO }]).0,
    );
    let image = applied(&image, &remove_node(&image, id(1)).unwrap());
    assert_eq!(eligible(&image, 0), (vec![1], vec![1]), "whoever comes under its id begins with nothing");
}

#[test]
fn a_process_is_let_in_when_it_has_applied_its_own_registration() {
    let image = image_with_broker();
    let image = applied(&image, &join(&image, &binding(2, 0)).unwrap());
    let (records, epoch) = register_broker(&image, &start(2, 1), &LogEnds::default()).unwrap();
    let registered = applied(&image, &records);
    assert_eq!(epoch, image.metadata_offset(), "the offset of the record that registers it");
    assert_eq!(
        register_broker(&registered, &start(2, 1), &LogEnds::default()),
        Ok((Vec::new(), epoch)),
        "the same process asks again"
    );
    let beat = |applied, wish| Heartbeat { broker: id(2), epoch, applied, wish };
    assert_eq!(heartbeat(&registered, &beat(epoch, Wish::Unfenced), &LogEnds::default()), Ok((Vec::new(), true)));
    assert_eq!(heartbeat(&registered, &beat(epoch + 1, Wish::Fenced), &LogEnds::default()), Ok((Vec::new(), true)));
    let (records, fenced) = heartbeat(&registered, &beat(epoch + 1, Wish::Unfenced), &LogEnds::default()).unwrap();
    assert!(!fenced);
    let serving = applied(&registered, &records);
    assert!(serving.is_unfenced(id(2)));
    assert_eq!(heartbeat(&serving, &beat(0, Wish::Unfenced), &LogEnds::default()), Ok((Vec::new(), false)));
    let stopping = applied(&serving, &heartbeat(&serving, &beat(0, Wish::Fenced), &LogEnds::default()).unwrap().0);
    assert!(!stopping.is_unfenced(id(2)));
    // The next process: what the one before says counts no more.
    let (records, next) = register_broker(&stopping, &start(2, 2), &LogEnds::default()).unwrap();
    let image = applied(&stopping, &records);
    let stale = StaleBroker { broker: id(2), epoch, current: Some(next) };
    assert_eq!(heartbeat(&image, &beat(u64::MAX, Wish::Unfenced), &LogEnds::default()), Err(stale));
}

#[test]
fn a_fenced_broker_leads_nothing_and_the_last_one_in_sync_leads_again() {
    let image = with_topics(&image_with_brokers(3), &[&[1, 2, 3], &[2, 1, 3], &[1]]);
    assert_eq!(led(&image, 0), (Some(1), 0, vec![1, 2, 3]));
    let image = applied(&image, &fence(&image, id(1), &LogEnds::default()));
    assert_eq!(led(&image, 0), (Some(2), 1, vec![2, 3]));
    assert_eq!(led(&image, 1), (Some(2), 0, vec![2, 3]), "a leader keeps its epoch when a follower goes");
    assert_eq!((led(&image, 2), eligible(&image, 2)), ((None, 1, vec![]), (vec![1], vec![1])));
    assert_eq!(fence(&image, id(1), &LogEnds::default()), []);
    let image = applied(&image, &fence(&image, id(2), &LogEnds::default()));
    let image = applied(&image, &fence(&image, id(3), &LogEnds::default()));
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 3, vec![]), (vec![3], vec![3])));
    // Broker 1 may lead what nobody else had, and nothing that others went on with.
    let image = applied(&image, &beat(&image, 1, Wish::Unfenced));
    assert_eq!(led(&image, 0), (None, 3, vec![]));
    assert_eq!((led(&image, 2), eligible(&image, 2)), ((Some(1), 2, vec![1]), (vec![], vec![])));
    let image = applied(&image, &beat(&image, 3, Wish::Unfenced));
    assert_eq!(led(&image, 0), (Some(3), 4, vec![3]));
}

#[test]
fn a_new_process_leads_at_new_epochs() {
    let image = with_topics(&image_with_brokers(2), &[&[1], &[2], &[1, 2]]);
    let registered = applied(&image, &register_broker(&image, &start(1, 9), &LogEnds::default()).unwrap().0);
    assert_eq!((led(&registered, 0), eligible(&registered, 0)), ((None, 1, vec![]), (vec![1], vec![1])));
    assert_eq!(led(&registered, 1), (Some(2), 0, vec![2]));
    assert_eq!(led(&registered, 2), (Some(2), 1, vec![2]));
    let back = applied(&registered, &beat(&registered, 1, Wish::Unfenced));
    assert_eq!(led(&back, 0), (Some(1), 2, vec![1]));
}

#[test]
fn a_cluster_of_one_broker_from_before_is_taken_over() {
    let mut records = bootstrap();
    records.push(MetadataRecord::BrokerRegistered(crate::testing::registration(1, 0)));
    let image = with_topics(&applied(&MetadataImage::default(), &records), &[&[1]]);
    let image = with_broker(&image, 1);
    assert_eq!(led(&image, 0), (Some(1), 0, vec![1]), "the same incarnation");
    let image = applied(&image, &register_broker(&image, &start(1, 4), &LogEnds::default()).unwrap().0);
    assert_eq!((led(&image, 0), eligible(&image, 0)), ((None, 1, vec![]), (vec![1], vec![1])));
}

#[test]
fn replicas_go_to_brokers_that_serve() {
    let image = image_with_brokers(3);
    let image = applied(&image, &fence(&image, id(1), &LogEnds::default()));
    let (records, answers) = create(&image, &[topic("t", 4, 2)]);
    answers[0].1.as_ref().unwrap();
    let placed = applied(&image, &records);
    for (_, state) in placed.topic("t").unwrap().partitions() {
        assert!(!state.replicas.contains(&id(1)), "{state:?}");
    }
    let (records, _) = create(&image, &[topic("t", 4, 3)]);
    for (_, state) in applied(&image, &records).topic("t").unwrap().partitions() {
        assert_eq!(state.replicas[2], id(1), "where there is no other, and never as leader");
        assert!(!state.isr.contains(&id(1)));
    }
    let (_, answers) = create(&image, &[assigned("t", &[(0, &[1])])]);
    let error = answers[0].1.as_ref().unwrap_err().to_string();
    assert_eq!(
        error,
        "All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown."
    );
    let none =
        [2, 3].iter().fold(image, |image, broker| applied(&image, &fence(&image, id(*broker), &LogEnds::default())));
    let (_, answers) = create(&none, &[topic("t", 1, 1)]);
    assert!(answers[0].1.as_ref().unwrap_err().to_string().contains("All brokers are currently fenced"));
}

#[test]
fn leaders_replicas_and_racks_stay_even() {
    // Brokers 1 and 3 are on one rack, 2 and 4 on the other.
    let image = image_with_brokers(4);
    let (records, _) = create(&image, &[topic("t", 40, 2)]);
    let image = applied(&image, &records);
    let mut leaders = BTreeMap::<BrokerId, usize>::new();
    let mut replicas = BTreeMap::<BrokerId, usize>::new();
    for (_, state) in image.topic("t").unwrap().partitions() {
        *leaders.entry(state.leader.unwrap()).or_default() += 1;
        state.replicas.iter().for_each(|replica| *replicas.entry(*replica).or_default() += 1);
        assert_ne!(state.replicas[0].0 % 2, state.replicas[1].0 % 2, "on one rack: {:?}", state.replicas);
    }
    assert_eq!(leaders.into_values().collect::<Vec<_>>(), [10; 4]);
    assert_eq!(replicas.into_values().collect::<Vec<_>>(), [20; 4]);
}

#[test]
fn a_topic_is_spread_over_the_brokers_whatever_they_hold() {
    // Broker 1 leads much already, and each new topic still has one leader on every broker.
    let image = with_topics(&image_with_brokers(3), &[&[1], &[1], &[1], &[1]]);
    let (records, _) = create(&image, &[topic("a", 3, 2), topic("b", 3, 2)]);
    let image = applied(&image, &records);
    let leaders = |image: &MetadataImage, topic: &str| {
        let partitions = image.topic(topic).unwrap().partitions();
        let mut leaders: Vec<i32> = partitions.map(|(_, state)| state.leader.unwrap().0).collect();
        leaders.sort_unstable();
        leaders
    };
    assert_eq!((leaders(&image, "a"), leaders(&image, "b")), (vec![1, 2, 3], vec![1, 2, 3]));
    let more = NewPartitions { topic: "a".to_owned(), total_count: 6, assignments: None };
    let image = applied(&image, &create_partitions(&image, &[more]).0);
    assert_eq!(leaders(&image, "a"), [1, 1, 2, 2, 3, 3]);
}

/// A quorum that carries its changes out at once.
struct Group {
    image: MetadataImage,
    quorum: Quorum,
    voters_max: usize,
}

impl Group {
    fn new(voters_max: usize) -> Group {
        let (image, voters) = (image_with_broker(), BTreeSet::from([id(1)]));
        let members = BTreeMap::from([(id(1), binding(1, 0))]);
        let quorum = Quorum { leader: id(1), voters, members, ..Quorum::default() };
        Group { image, quorum, voters_max }
    }

    fn step(&mut self) -> Option<MembershipChange> {
        let change = next_membership_change(&self.image, &self.quorum, self.voters_max)?;
        match change.clone() {
            MembershipChange::SetVoters(voters) => {
                self.quorum.voters = voters;
                self.quorum.outgoing_voters = None;
            }
            MembershipChange::RemoveLearners(nodes) => {
                self.quorum.members.retain(|node, _| !nodes.contains(node));
                self.quorum.caught_up.retain(|node| !nodes.contains(node));
            }
            MembershipChange::AddLearner(node) | MembershipChange::SetAddress(node) => {
                self.quorum.members.insert(node.node, node);
            }
        }
        Some(change)
    }

    /// Until nothing is left to change: the voters, and how many steps it took.
    fn settle(&mut self) -> (Vec<i32>, usize) {
        let steps = (0..20).take_while(|_| self.step().is_some()).count();
        assert!(steps < 20, "it never settles: {:?}", self.quorum);
        (self.quorum.voters.iter().map(|id| id.0).collect(), steps)
    }

    fn arrive(&mut self, broker: i32) {
        self.image = with_broker(&self.image, broker);
        self.settle();
        self.quorum.caught_up.insert(id(broker));
    }

    fn apply(&mut self, records: &[MetadataRecord]) {
        self.image = applied(&self.image, records);
    }
}

#[test]
fn voters_go_from_one_to_three_to_five() {
    let mut group = Group::new(5);
    let voters: Vec<Vec<i32>> = (2..=7)
        .map(|broker| {
            group.arrive(broker);
            group.settle().0
        })
        .collect();
    assert_eq!(
        voters,
        [vec![1], vec![1, 2, 3], vec![1, 2, 3], vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5], vec![1, 2, 3, 4, 5]]
    );
    let mut group = Group::new(3);
    (2..=7).for_each(|broker| group.arrive(broker));
    assert_eq!(group.settle().0, [1, 2, 3]);
}

#[test]
fn a_learner_that_is_behind_or_fenced_does_not_vote() {
    let mut group = Group::new(3);
    group.arrive(2);
    group.arrive(3);
    group.quorum.caught_up.remove(&id(3));
    assert_eq!(group.settle().0, [1]);
    group.quorum.caught_up.insert(id(3));
    let fenced = fence(&group.image, id(3), &LogEnds::default());
    group.apply(&fenced);
    assert_eq!(group.settle().0, [1]);
    let unfenced = beat(&group.image, 3, Wish::Unfenced);
    group.apply(&unfenced);
    assert_eq!(group.settle().0, [1, 2, 3]);
    // A voter that is away for a while stays one: its vote counts, and it comes back.
    let fenced = fence(&group.image, id(3), &LogEnds::default());
    group.apply(&fenced);
    group.quorum.caught_up.remove(&id(3));
    assert_eq!(group.settle().0, [1, 2, 3]);
}

#[test]
fn a_removed_voter_is_replaced_in_one_change_and_its_id_returns_last() {
    let mut group = Group::new(3);
    (2..=4).for_each(|broker| group.arrive(broker));
    assert_eq!(group.settle().0, [1, 2, 3]);
    let fenced = fence(&group.image, id(3), &LogEnds::default());
    group.apply(&fenced);
    let removed = remove_node(&group.image, id(3)).unwrap();
    group.apply(&removed);
    let joined = join(&group.image, &binding(3, 9)).unwrap();
    group.apply(&joined);
    let set_voters = MembershipChange::SetVoters(BTreeSet::from_iter(ids_of(&[1, 2, 4])));
    assert_eq!(group.step(), Some(set_voters));
    assert_eq!(group.step(), Some(MembershipChange::RemoveLearners(BTreeSet::from([id(3)]))));
    assert_eq!(group.step(), Some(MembershipChange::AddLearner(binding(3, 9))));
    assert_eq!(group.step(), None);
    // Without another to take over, one goes on alone rather than two.
    let fenced = fence(&group.image, id(4), &LogEnds::default());
    group.apply(&fenced);
    let removed = remove_node(&group.image, id(4)).unwrap();
    group.apply(&removed);
    assert_eq!(group.settle().0, [1]);
}

#[test]
fn an_address_follows_and_a_change_that_was_left_half_way_is_finished() {
    let mut group = Group::new(3);
    group.arrive(2);
    let moved = NodeBinding { address: "elsewhere:1".to_owned(), ..binding(2, 0) };
    let joined = join(&group.image, &moved).unwrap();
    group.apply(&joined);
    assert_eq!(group.step(), Some(MembershipChange::SetAddress(moved)));
    assert_eq!(group.step(), None);
    group.quorum.outgoing_voters = Some(BTreeSet::from_iter(ids_of(&[1, 2])));
    assert_eq!(group.step(), Some(MembershipChange::SetVoters(BTreeSet::from([id(1)]))));
}

proptest! {
    /// Whatever happens: leaders are in sync and let in, somebody is always in sync or eligible, nobody waits who could lead.
    #[test]
    fn leaders_are_in_sync_and_serve(requests in proptest::collection::vec(request(), 0..60)) {
        let mut image = MetadataImage::default();
        for batch in history(&requests) {
            image = image.apply_batch(&batch).unwrap().0;
            for (_, state) in image.topics().flat_map(|topic| topic.partitions()) {
                let with_all = || state.isr.iter().chain(state.elr.iter());
                prop_assert!(with_all().next().is_some());
                prop_assert!(with_all().all(|member| state.replicas.contains(member)));
                match state.leader {
                    Some(leader) => prop_assert!(state.isr.contains(&leader) && image.is_unfenced(leader)),
                    None => prop_assert!(state.isr.is_empty() && !with_all().any(|member| image.is_unfenced(*member))),
                }
            }
        }
    }

    /// Of voters that change one step at a time, a quorum of the old and one of the new always share directories.
    #[test]
    fn an_id_that_votes_never_changes_directory(
        requests in proptest::collection::vec(request(), 0..60),
        voters_max in prop::sample::select(vec![1_usize, 3, 5]),
    ) {
        let mut group = Group { image: MetadataImage::default(), ..Group::new(voters_max) };
        for batch in history(&requests) {
            group.image = group.image.apply_batch(&batch).unwrap().0;
            let before = group.quorum.clone();
            group.step();
            group.quorum.caught_up = group.quorum.members.keys().copied().collect();
            for voter in &group.quorum.voters {
                let (was, is) = (before.members.get(voter), group.quorum.members.get(voter));
                prop_assert!(was.zip(is).is_some_and(|(was, is)| was.directory_id == is.directory_id), "{voter:?}");
            }
            prop_assert!(group.quorum.voters.len() % 2 == 1 && group.quorum.voters.len() <= voters_max);
        }
    }
}
