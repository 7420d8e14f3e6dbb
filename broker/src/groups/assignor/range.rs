//! Ranges: the partitions of a topic are cut into as many ranges as it has subscribers, the first ones longer by one if it
//! does not come out even, and dealt out in the order of members.
//!
//! Where all members subscribe to the same topics and those have as many partitions, each member has the same partition
//! numbers of every topic. What members had before does not count, as in Kafka 4.3; but static members come first, in the
//! order of their instance ids, so that a restart, which gives a member a new id, moves nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use kafka_protocol::protocol::StrBytes;

use super::subscriptions::Subscriptions;
use super::{Assignment, GroupSpec, MemberSpec};

pub(super) fn assign(group: &GroupSpec, subscriptions: &Subscriptions<'_>) -> BTreeMap<StrBytes, Assignment> {
    let mut members: Vec<(usize, (&StrBytes, &MemberSpec))> = group.members.iter().enumerate().collect();
    members.sort_by(|a, b| order(a.1, b.1));
    let mut targets = vec![Assignment::new(); members.len()];
    let mut subscribes = vec![false; subscriptions.classes.len()];
    for topic in &subscriptions.topics {
        topic.classes.iter().for_each(|class| subscribes[*class] = true);
        let subscribers = topic.subscribers as i32;
        let (shorter, mut longer_left) = (topic.partitions / subscribers, topic.partitions % subscribers);
        let mut next_partition = 0;
        let mut members = members.iter().map(|(member, _)| *member).filter(|m| subscribes[subscriptions.class_of[*m]]);
        while next_partition < topic.partitions {
            let member = members.next().expect("ranges add up to all partitions");
            let longer = longer_left.min(1);
            longer_left -= longer;
            let end = next_partition + shorter + longer;
            targets[member].insert(topic.id, (next_partition..end).collect());
            next_partition = end;
        }
        topic.classes.iter().for_each(|class| subscribes[*class] = false);
    }
    group.members.keys().cloned().zip(targets).collect()
}

/// Static members by instance id, then dynamic ones by member id.
fn order(a: (&StrBytes, &MemberSpec), b: (&StrBytes, &MemberSpec)) -> Ordering {
    match (&a.1.instance_id, &b.1.instance_id) {
        (Some(a), Some(b)) => by_utf16(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => by_utf16(a.0, b.0),
    }
}

/// As Java orders strings.
fn by_utf16(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
