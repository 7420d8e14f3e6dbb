//! Members subscribe to different topics.
//!
//! Everybody keeps what it has and may have. What is left goes, topic by topic, to the subscriber that has least. Then
//! partitions move, topic by topic, from the subscriber with most to the one with least, as long as they differ by two or
//! more; this is repeated until a round moves nothing, or [`ROUNDS_MAX`] times.
//!
//! A move never makes anybody's load the new greatest, and each makes the sum of the squared loads smaller, so that this
//! ends by itself; the limit bounds the time. Chains of moves, in which a member gives away one partition to make room for
//! another, are not looked for.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use kafka_protocol::protocol::StrBytes;

use super::super::subscriptions::{self, Subscriptions};
use super::super::{Assignment, GroupSpec};

/// One round suffices if nobody's topics overlap with another's without being the same; otherwise, a round makes the
/// differences about half as large.
const ROUNDS_MAX: usize = 16;

/// Marks a partition that nobody has.
const NOBODY: u32 = u32::MAX;

/// The partitions of a topic on their way to the members.
struct Topic<'a> {
    topic: &'a subscriptions::Topic,
    /// By partition, the member that is to have it.
    owners: Vec<u32>,
    /// By partition, the member that had it, if it may keep it.
    kept_by: Vec<u32>,
}

pub(super) fn assign(group: &GroupSpec, subscriptions: &Subscriptions<'_>) -> BTreeMap<StrBytes, Assignment> {
    let mut loads = Loads::new(subscriptions);
    let mut topics = keep(group, subscriptions, &mut loads);
    // Many partitions among few subscribers first: they leave little choice.
    topics.sort_by(|Topic { topic: a, .. }, Topic { topic: b, .. }| {
        let a_share = a.partitions as usize * b.subscribers;
        let b_share = b.partitions as usize * a.subscribers;
        b_share.cmp(&a_share).then(a.subscribers.cmp(&b.subscribers)).then(a.id.cmp(&b.id))
    });
    for topic in &mut topics {
        deal_out(topic, &mut loads);
    }
    for _ in 0..ROUNDS_MAX {
        let moves: usize = topics.iter_mut().map(|topic| balance(topic, &mut loads)).sum();
        if moves == 0 {
            break;
        }
    }
    let mut targets = vec![Assignment::new(); group.members.len()];
    for topic in &topics {
        for (partition, owner) in topic.owners.iter().enumerate() {
            targets[*owner as usize].entry(topic.topic.id).or_default().insert(partition as i32);
        }
    }
    group.members.keys().cloned().zip(targets).collect()
}

/// Everybody keeps what it may.
fn keep<'a>(group: &GroupSpec, subscriptions: &'a Subscriptions<'_>, loads: &mut Loads) -> Vec<Topic<'a>> {
    let mut topics: Vec<Topic> = subscriptions
        .topics
        .iter()
        .map(|topic| Topic { topic, owners: Vec::new(), kept_by: vec![NOBODY; topic.partitions as usize] })
        .collect();
    for (member, spec) in group.members.values().enumerate() {
        let subscription = subscriptions.classes[subscriptions.class_of[member]];
        let mut kept = 0;
        for (id, partitions) in spec.assignment.iter().filter(|(id, _)| subscription.contains(id)) {
            let at = topics.binary_search_by(|topic| topic.topic.id.cmp(id)).expect("a subscribed topic");
            for partition in partitions {
                let keeper =
                    usize::try_from(*partition).ok().and_then(|partition| topics[at].kept_by.get_mut(partition));
                if let Some(keeper) = keeper.filter(|keeper| **keeper == NOBODY) {
                    *keeper = member as u32;
                    kept += 1;
                }
            }
        }
        loads.set(member as u32, kept);
    }
    for topic in &mut topics {
        topic.owners.clone_from(&topic.kept_by);
    }
    topics
}

fn deal_out(topic: &mut Topic<'_>, loads: &mut Loads) {
    for owner in topic.owners.iter_mut().filter(|owner| **owner == NOBODY) {
        let (load, member) = loads.least(&topic.topic.classes);
        *owner = member;
        loads.set(member, load + 1);
    }
}

/// Returns how many partitions moved.
fn balance(topic: &mut Topic<'_>, loads: &mut Loads) -> usize {
    let most = topic.owners.iter().map(|owner| loads.of(*owner)).max().unwrap_or(0);
    if most < loads.least(&topic.topic.classes).0 + 2 {
        return 0;
    }
    // What each owner gives away first is at the end: what it did not have before, then the last partition.
    let mut owned: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (partition, owner) in topic.owners.iter().enumerate() {
        owned.entry(*owner).or_default().push(partition);
    }
    for (owner, partitions) in &mut owned {
        partitions.sort_by_key(|partition| topic.kept_by[*partition] != *owner);
    }
    let mut moves = 0;
    // Who receives in this round does not become one who has to give: it is behind everybody who gave.
    let mut givers: BinaryHeap<(u32, u32)> = owned.keys().map(|owner| (loads.of(*owner), *owner)).collect();
    while let Some((load, giver)) = givers.pop() {
        let (least, receiver) = loads.least(&topic.topic.classes);
        if load < least + 2 {
            break;
        }
        let Some(partition) = owned.get_mut(&giver).and_then(Vec::pop) else { continue };
        topic.owners[partition] = receiver;
        loads.set(giver, load - 1);
        loads.set(receiver, least + 1);
        givers.push((load - 1, giver));
        moves += 1;
    }
    moves
}

/// How many partitions each member has, and who of a class has least.
struct Loads {
    of_member: Vec<u32>,
    class_of: Vec<usize>,
    /// Members by load, then by number.
    members: Vec<BTreeSet<(u32, u32)>>,
    /// The first of each set: a topic asks for those of all its classes.
    first: Vec<(u32, u32)>,
}

impl Loads {
    fn new(subscriptions: &Subscriptions<'_>) -> Loads {
        let class_of = &subscriptions.class_of;
        let mut members = vec![BTreeSet::new(); subscriptions.classes.len()];
        for (member, class) in class_of.iter().enumerate() {
            members[*class].insert((0, member as u32));
        }
        let first = members.iter().map(|members| *members.first().expect("a class has a member")).collect();
        Loads { of_member: vec![0; class_of.len()], class_of: class_of.clone(), members, first }
    }

    fn of(&self, member: u32) -> u32 {
        self.of_member[member as usize]
    }

    fn set(&mut self, member: u32, load: u32) {
        let class = self.class_of[member as usize];
        let before = std::mem::replace(&mut self.of_member[member as usize], load);
        self.members[class].remove(&(before, member));
        self.members[class].insert((load, member));
        self.first[class] = *self.members[class].first().expect("a class has a member");
    }

    /// The member with least in these classes, with its load.
    fn least(&self, classes: &[usize]) -> (u32, u32) {
        classes.iter().map(|class| self.first[*class]).min().expect("a topic has subscribers")
    }
}
