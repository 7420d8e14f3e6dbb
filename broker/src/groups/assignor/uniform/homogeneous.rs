//! All members subscribe to the same topics: shares are equal but for one partition, and nobody loses more than it has
//! above its share.
//!
//! Shares that are larger by one go to members that have more than the smaller share already, since each of them that got
//! the smaller one would lose a partition for nothing.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;

use super::super::subscriptions::Subscriptions;
use super::super::{Assignment, GroupSpec};

/// A member on the way to its target.
struct Holder<'a> {
    id: &'a StrBytes,
    target: Assignment,
    /// The partitions in `target`.
    held: usize,
    share: usize,
}

pub(super) fn assign(group: &GroupSpec, subscriptions: &Subscriptions<'_>) -> BTreeMap<StrBytes, Assignment> {
    let mut free: Assignment =
        subscriptions.topics.iter().map(|topic| (topic.id, (0..topic.partitions).collect())).collect();
    let total = free.values().map(BTreeSet::len).sum();
    let mut holders: Vec<Holder> = group
        .members
        .iter()
        .map(|(id, member)| {
            let target = take_held(&mut free, &member.assignment);
            let held = target.values().map(BTreeSet::len).sum();
            Holder { id, target, held, share: 0 }
        })
        .collect();
    set_shares(&mut holders, total);
    for holder in &mut holders {
        holder.give_up_surplus(&mut free);
    }
    let mut free = free.into_iter().flat_map(|(topic, partitions)| partitions.into_iter().map(move |p| (topic, p)));
    for holder in &mut holders {
        for (topic, partition) in free.by_ref().take(holder.share - holder.held) {
            holder.target.entry(topic).or_default().insert(partition);
        }
    }
    assert!(free.next().is_none(), "shares add up to all partitions");
    holders.into_iter().map(|holder| (holder.id.clone(), holder.target)).collect()
}

/// What is both free and in `assignment`, which then is free no more.
fn take_held(free: &mut Assignment, assignment: &Assignment) -> Assignment {
    let mut taken = Assignment::new();
    for (topic, partitions) in assignment {
        let Some(free) = free.get_mut(topic) else { continue };
        let held: BTreeSet<i32> = partitions.iter().copied().filter(|partition| free.remove(partition)).collect();
        if !held.is_empty() {
            taken.insert(*topic, held);
        }
    }
    taken
}

fn set_shares(holders: &mut [Holder<'_>], total: usize) {
    let smaller = total / holders.len();
    let mut larger_left = total % holders.len();
    let (above, others): (Vec<&mut Holder>, Vec<&mut Holder>) =
        holders.iter_mut().partition(|holder| holder.held > smaller);
    for holder in above.into_iter().chain(others) {
        let larger = larger_left.min(1);
        larger_left -= larger;
        holder.share = smaller + larger;
    }
}

impl Holder<'_> {
    /// The last of its partitions, in the order of topics and partitions, become free.
    fn give_up_surplus(&mut self, free: &mut Assignment) {
        while self.held > self.share {
            let mut topic = self.target.last_entry().expect("it holds partitions");
            let partition = topic.get_mut().pop_last().expect("no topic is without a partition");
            free.entry(*topic.key()).or_default().insert(partition);
            if topic.get().is_empty() {
                topic.remove();
            }
            self.held -= 1;
        }
    }
}
