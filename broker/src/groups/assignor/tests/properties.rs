//! Random groups, and large ones.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn member_id(number: usize) -> StrBytes {
    StrBytes::from_string(format!("m{number:04}"))
}

fn member(subscribed: &Rc<BTreeSet<TopicId>>) -> MemberSpec {
    MemberSpec { subscribed: Rc::clone(subscribed), assignment: Assignment::new(), instance_id: None }
}

/// A group in which every member has what it was assigned.
fn settled(mut group: GroupSpec, assignor: Assignor) -> GroupSpec {
    for (id, target) in assignor.assign(&group).expect("known topics") {
        group.members.get_mut(&id).expect("a member").assignment = target;
    }
    group
}

fn total(targets: &BTreeMap<StrBytes, Assignment>) -> usize {
    loads(targets).iter().sum()
}

fn spread(targets: &BTreeMap<StrBytes, Assignment>) -> usize {
    let loads = loads(targets);
    loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0)
}

/// No subscriber of a topic has two more than another while it has a partition of the topic.
fn check_even(group: &GroupSpec, targets: &BTreeMap<StrBytes, Assignment>) {
    let loads: BTreeMap<&StrBytes, usize> = targets.keys().zip(loads(targets)).collect();
    for (owner, target) in targets {
        for topic in target.keys() {
            for (other, member) in &group.members {
                if member.subscribed.contains(topic) {
                    assert!(
                        loads[owner] < loads[other] + 2,
                        "{topic} could go from {owner:?} to {other:?}: {targets:?}"
                    );
                }
            }
        }
    }
}

prop_compose! {
    /// Topics of 0 to 9 partitions.
    fn any_topics()(counts in vec(0..10i32, 1..6)) -> BTreeMap<TopicId, i32> {
        counts.into_iter().enumerate().map(|(number, partitions)| (topic(number as u64), partitions)).collect()
    }
}

/// Partitions that there are, and others, of topics that there are, and others.
fn any_assignment() -> impl Strategy<Value = Assignment> {
    vec((0..7u64, btree_set(-1..12i32, 1..6)), 0..5)
        .prop_map(|topics| topics.into_iter().map(|(number, partitions)| (topic(number), partitions)).collect())
}

prop_compose! {
    /// Members with any subscriptions, each of which had anything.
    fn any_group()(topics in any_topics())(
        members in vec(
            (
                btree_set(proptest::sample::select(topics.keys().copied().collect::<Vec<_>>()), 0..=topics.len()),
                any_assignment(),
                proptest::option::weighted(0.3, 0..1_000usize),
            ),
            0..8,
        ),
        topics in Just(topics),
    ) -> GroupSpec {
        let members = members.into_iter().enumerate().map(|(number, (subscribed, assignment, instance))| {
            let instance_id = instance.map(|instance| StrBytes::from_string(format!("i{instance}-{number}")));
            (member_id(number), MemberSpec { subscribed: Rc::new(subscribed), assignment, instance_id })
        });
        GroupSpec { members: members.collect(), topics }
    }
}

prop_compose! {
    /// Members that all subscribe to everything and had anything.
    fn any_homogeneous_group()(topics in any_topics(), before in vec(any_assignment(), 1..8)) -> GroupSpec {
        let subscribed: Rc<BTreeSet<TopicId>> = Rc::new(topics.keys().copied().collect());
        let members = before
            .into_iter()
            .enumerate()
            .map(|(number, assignment)| (member_id(number), MemberSpec { assignment, ..member(&subscribed) }));
        GroupSpec { members: members.collect(), topics }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_goes_to_one_subscriber(group in any_group()) {
        for assignor in Assignor::ALL {
            let targets = assignor.assign(&group).expect("known topics");
            check_complete(&group, &targets);
            prop_assert_eq!(&assignor.assign(&group).expect("known topics"), &targets);
            // Who is settled stays so.
            let settled = settled(group.clone(), assignor);
            prop_assert_eq!(&assignor.assign(&settled).expect("known topics"), &targets);
        }
        check_even(&group, &Assignor::Uniform.assign(&group).expect("known topics"));
    }

    #[test]
    fn equal_subscriptions_get_equal_shares_and_lose_only_surplus(group in any_homogeneous_group()) {
        let targets = Assignor::Uniform.assign(&group).expect("known topics");
        check_complete(&group, &targets);
        prop_assert!(spread(&targets) <= 1, "{:?}", targets);
    }

    #[test]
    fn who_joins_takes_a_share_and_who_leaves_gives_one(
        group in any_homogeneous_group(),
        at in any::<proptest::sample::Index>(),
    ) {
        let group = settled(group, Assignor::Uniform);
        let mut joined = group.clone();
        let newcomer = StrBytes::from_static_str("m0000-new");
        joined.members.insert(newcomer.clone(), member(&group.members[&member_id(0)].subscribed));
        let targets = Assignor::Uniform.assign(&joined).expect("known topics");
        prop_assert!(spread(&targets) <= 1);
        let taken: usize = targets[&newcomer].values().map(BTreeSet::len).sum();
        prop_assert_eq!(kept(&joined, &targets) + taken, total(&targets), "only the newcomer got anything");

        let mut left = group.clone();
        let leaver = left.members.remove(&member_id(at.index(left.members.len()))).expect("a member");
        let given: usize = leaver.assignment.values().map(BTreeSet::len).sum();
        let targets = Assignor::Uniform.assign(&left).expect("known topics");
        if !left.members.is_empty() {
            prop_assert_eq!(kept(&left, &targets) + given, total(&targets), "nothing but the leaver's moved");
        }
    }

    #[test]
    fn a_range_is_in_one_piece_and_equal_topics_are_cut_equally(
        partitions in 0..20i32,
        members in 1..9usize,
    ) {
        let topics: BTreeMap<TopicId, i32> = (0..3).map(|number| (topic(number), partitions)).collect();
        let subscribed = Rc::new(topics.keys().copied().collect());
        let members = (0..members).map(|number| (member_id(number), member(&subscribed))).collect();
        let targets = Assignor::Range.assign(&GroupSpec { members, topics }).expect("known topics");
        for target in targets.values() {
            let mut ranges = target.values();
            let Some(first) = ranges.next() else { continue };
            prop_assert!(ranges.all(|range| range == first));
            let (from, to) = (*first.first().expect("not empty"), *first.last().expect("not empty"));
            prop_assert_eq!(first.len() as i32, to - from + 1);
        }
        // Equal topics go to the same members, so that each counts three times.
        prop_assert!(spread(&targets) <= 3);
    }
}

#[test]
fn a_topic_that_is_not_described_is_an_error() {
    for assignor in Assignor::ALL {
        let subscribed = Rc::new(BTreeSet::from([topic(1), topic(2)]));
        let group = GroupSpec {
            members: BTreeMap::from([(member_id(0), member(&subscribed)), (member_id(1), member(&subscribed))]),
            topics: BTreeMap::from([(topic(1), 3)]),
        };
        let error = AssignError::UnknownTopic { member: member_id(0), topic: topic(2) };
        assert_eq!(assignor.assign(&group), Err(error));
        assert_eq!(assignor.assign(&GroupSpec::default()), Ok(BTreeMap::new()));
    }
}

#[test]
fn names_are_kafkas() {
    assert_eq!(Assignor::ALL.map(Assignor::name), ["uniform", "range"]);
    for assignor in Assignor::ALL {
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::from_name("Uniform"), None);
}

/// Kafka sorts by UTF-16: a surrogate pair comes before U+FFFD there, and behind it in UTF-8.
#[test]
fn ranges_follow_the_order_of_java_strings() {
    let subscribed = Rc::new(BTreeSet::from([topic(1)]));
    let ids = ["\u{fffd}", "\u{1f600}"].map(StrBytes::from_static_str);
    let group = GroupSpec {
        members: ids.iter().map(|id| (id.clone(), member(&subscribed))).collect(),
        topics: BTreeMap::from([(topic(1), 2)]),
    };
    let targets = Assignor::Range.assign(&group).expect("known topics");
    assert_eq!(targets[&ids[1]], Assignment::from([(topic(1), BTreeSet::from([0]))]));
}

/// Shows how long it takes, with `--nocapture`.
#[test]
fn a_thousand_members_share_ten_thousand_partitions() {
    let mut groups = Vec::new();
    for topic_count in [10, 10_000u64] {
        let topics: BTreeMap<TopicId, i32> =
            (0..topic_count).map(|number| (topic(number), 10_000 / topic_count as i32)).collect();
        let all: Rc<BTreeSet<TopicId>> = Rc::new(topics.keys().copied().collect());
        let members: BTreeMap<_, _> = (0..999).map(|number| (member_id(number), member(&all))).collect();
        groups.push(("all to all", GroupSpec { members: members.clone(), topics: topics.clone() }));
        let mut different = members;
        for (number, member) in different.values_mut().enumerate() {
            // Each subscribes to a seventh of all, no two to the same where there are enough.
            let takes = |id: &TopicId| {
                let topic = id.0.as_u64_pair().1;
                topic == number as u64 || (topic + number as u64).is_multiple_of(7)
            };
            let subscribed = topics.keys().copied().filter(takes);
            member.subscribed = Rc::new(subscribed.collect());
        }
        groups.push(("different subscriptions", GroupSpec { members: different, topics }));
    }
    for (name, group) in groups {
        for assignor in Assignor::ALL {
            let mut group = group.clone();
            for what in ["fresh", "one joins"] {
                let start = std::time::Instant::now();
                let targets = assignor.assign(&group).expect("known topics");
                println!("{} {name}, {} topics, {what}: {:?}", assignor.name(), group.topics.len(), start.elapsed());
                check_complete(&group, &targets);
                if assignor == Assignor::Uniform && is_homogeneous(&group) {
                    assert!(spread(&targets) <= 1);
                }
                group = settled(group, assignor);
                let like = Rc::clone(&group.members[&member_id(0)].subscribed);
                group.members.insert(member_id(999), member(&like));
            }
        }
    }
}
