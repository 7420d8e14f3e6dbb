//! What every assignment must be, over random groups that change; and the same groups beside Kafka 4.3.0's own assignors.

mod kafka;
mod properties;

use super::*;

pub(super) fn topic(number: u64) -> TopicId {
    TopicId(uuid::Uuid::from_u64_pair(7, number))
}

/// Every partition of a topic with subscribers is with exactly one of them, and nothing else is assigned.
pub(super) fn check_complete(group: &GroupSpec, targets: &BTreeMap<StrBytes, Assignment>) {
    assert!(targets.keys().eq(group.members.keys()), "every member has a target");
    let mut assigned = BTreeSet::new();
    for (id, target) in targets {
        for (topic, partitions) in target {
            assert!(group.members[id].subscribed.contains(topic), "{id:?} does not subscribe to {topic}");
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!((0..group.topics[topic]).contains(partition), "{topic} has no partition {partition}");
                assert!(assigned.insert((*topic, *partition)), "{topic}-{partition} is assigned twice");
            }
        }
    }
    let subscribed = |topic| group.members.values().any(|member| member.subscribed.contains(topic));
    let topics = group.topics.iter().filter(|(topic, _)| subscribed(topic));
    assert_eq!(assigned.len(), topics.map(|(_, partitions)| *partitions as usize).sum::<usize>());
}

pub(super) fn is_homogeneous(group: &GroupSpec) -> bool {
    let mut members = group.members.values();
    let first = members.next().map(|member| &member.subscribed);
    members
        .all(|member| first.is_some_and(|first| Rc::ptr_eq(first, &member.subscribed) || *first == member.subscribed))
}

pub(super) fn loads(targets: &BTreeMap<StrBytes, Assignment>) -> Vec<usize> {
    targets.values().map(|target| target.values().map(BTreeSet::len).sum()).collect()
}

/// Smaller is more even.
pub(super) fn unevenness(targets: &BTreeMap<StrBytes, Assignment>) -> usize {
    loads(targets).iter().map(|load| load * load).sum()
}

/// How many partitions stay where they were.
pub(super) fn kept(group: &GroupSpec, targets: &BTreeMap<StrBytes, Assignment>) -> usize {
    let held = |id, topic| group.members.get(id).and_then(|member| member.assignment.get(topic));
    let topics =
        targets.iter().flat_map(|(id, target)| target.iter().map(move |(topic, partitions)| (id, topic, partitions)));
    topics.map(|(id, topic, partitions)| held(id, topic).map_or(0, |held| held.intersection(partitions).count())).sum()
}
