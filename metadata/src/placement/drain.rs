//! Emptying a broker.

use super::loads::{BrokerAt, Counted, Loads, PartitionAt};
use super::{Move, Placement};
use crate::controller::PartitionName;
use protocol::newtypes::BrokerId;

/// Why a broker cannot be emptied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    #[error("there is no node {node}: the brokers are {}, and no partition has a replica on it", listed(known))]
    UnknownNode { node: BrokerId, known: Vec<BrokerId> },
    #[error(
        "{} partition(s) have no other broker to go to: {}-{} has {replication_factor} replicas, and only {found} broker(s) \
         besides broker {node} can have them; start another broker, or take replicas off these partitions \
         (`ringlog partition reassign`){}",
        partitions.len(), partitions[0].0, partitions[0].1, others(partitions)
    )]
    TooFewBrokers {
        node: BrokerId,
        /// In order of name; never empty.
        partitions: Vec<PartitionName>,
        /// Of the first of them.
        replication_factor: usize,
        /// Brokers that can have a replica of it, those that have one among them.
        found: usize,
    },
}

/// Names that a message lists.
const SHOWN_NAMES_MAX: usize = 10;

fn listed(brokers: &[BrokerId]) -> String {
    brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn others(partitions: &[PartitionName]) -> String {
    let shown =
        partitions.iter().skip(1).take(SHOWN_NAMES_MAX).map(|(topic, partition)| format!("{topic}-{partition}"));
    let more = if partitions.len() > SHOWN_NAMES_MAX + 1 { ", …" } else { "" };
    let shown = shown.collect::<Vec<_>>().join(", ");
    if shown.is_empty() { String::new() } else { format!("; the others are {shown}{more}") }
}

/// Moves after which no partition has a replica on `node`, which may be dead, or forgotten by the cluster.
///
/// Every replica goes to the unfenced broker that is furthest below its share, among those that keep the partition on as many
/// racks as can be. Where the node was the preferred leader, the replica with the fewest leaders for its share is that then.
/// One partition is decided on after the other, those with the most replicas first, each by what the placement is by then: planning again when some are done, or
/// under way, gives the rest of the plan.
///
/// # Errors
/// If there is no such node, or some partition has nowhere to go; nothing is planned then.
pub fn drain(placement: &Placement, node: BrokerId) -> Result<Vec<Move>, DrainError> {
    let mut loads = Loads::new(placement);
    let Some(drained) = loads.broker_at(node) else {
        let known = placement.brokers.iter().map(|broker| broker.broker).collect();
        return Err(DrainError::UnknownNode { node, known });
    };
    let mut stuck: Vec<PartitionAt> = Vec::new();
    // Those with the most replicas have the least choice.
    let mut order: Vec<PartitionAt> = (0..loads.partitions.len()).collect();
    order.sort_by_key(|partition| std::cmp::Reverse(loads.partitions[*partition].target.len()));
    for partition in order {
        let place = loads.place(partition);
        if !place.replicas.contains(&node) {
            continue;
        }
        let leaves = |loads: &Loads<'_>, broker: BrokerAt| {
            broker == drained || place.awaits_in_vain(loads.brokers[broker].broker, placement)
        };
        let is_placed = leave(&mut loads, partition, |loads, broker| leaves(loads, broker), Some(drained));
        if !is_placed {
            stuck.push(partition);
        }
    }
    stuck.sort_unstable();
    let Some(first) = stuck.first() else { return Ok(loads.into_moves()) };
    let target = loads.place(*first).target();
    let is_other = |broker: BrokerAt| broker != drained;
    let staying = target.iter().filter(|id| **id != node && !placement.is_unfenced(**id)).count();
    Err(DrainError::TooFewBrokers {
        node,
        partitions: stuck.iter().map(|at| (loads.topic_name(*at).to_owned(), loads.place(*at).partition)).collect(),
        replication_factor: target.len(),
        found: loads.usable().filter(|broker| is_other(*broker)).count() + staying,
    })
}

/// Puts others in the place of a partition's replicas that are to leave; nothing goes to `avoided`. False if there is nobody
/// for one of them, and then the partition stays as it is.
pub(super) fn leave(
    loads: &mut Loads<'_>,
    partition: PartitionAt,
    leaves: impl Fn(&Loads<'_>, BrokerAt) -> bool,
    avoided: Option<BrokerAt>,
) -> bool {
    let before = loads.partitions[partition].target.clone();
    let leads = before.first().is_some_and(|first| leaves(loads, *first));
    let mut target = before.clone();
    for position in 0..target.len() {
        if !leaves(loads, target[position]) {
            continue;
        }
        let Some(chosen) = replacement(loads, partition, &target, position, avoided) else { return false };
        target[position] = chosen;
    }
    if target == before {
        return true;
    }
    if leads {
        let isr = &loads.place(partition).isr;
        let preferred = (0..target.len()).filter(|at| loads.brokers[target[*at]].usable).min_by(|a, b| {
            let (a, b) = (target[*a], target[*b]);
            let in_sync = |broker: BrokerAt| isr.contains(&loads.brokers[broker].broker);
            loads
                .compare_with_one_more(Counted::PreferredLeaders, a, b)
                .then_with(|| loads.compare_in_topic(Counted::PreferredLeaders, partition, a, b))
                // Who has everything can lead at once.
                .then_with(|| in_sync(b).cmp(&in_sync(a)))
                .then(a.cmp(&b))
        });
        if let Some(preferred) = preferred {
            target.swap(0, preferred);
        }
    }
    loads.set_target(partition, target);
    true
}

/// The best broker for one position of a partition's target.
fn replacement(
    loads: &Loads<'_>,
    partition: PartitionAt,
    target: &[BrokerAt],
    position: usize,
    avoided: Option<BrokerAt>,
) -> Option<BrokerAt> {
    let isr = &loads.place(partition).isr;
    let others: Vec<BrokerAt> = target.iter().enumerate().filter(|(at, _)| *at != position).map(|(_, b)| *b).collect();
    let free = |broker: &BrokerAt| Some(*broker) != avoided && !target.contains(broker);
    loads.usable().filter(free).min_by(|a, b| {
        let (a, b) = (*a, *b);
        let shares_rack = |broker: BrokerAt| loads.shares_rack(&others, broker);
        let in_sync = |broker: BrokerAt| isr.contains(&loads.brokers[broker].broker);
        shares_rack(a)
            .cmp(&shares_rack(b))
            // Whoever was on its way out has everything.
            .then_with(|| in_sync(b).cmp(&in_sync(a)))
            .then_with(|| loads.prefer(partition, a, b))
    })
}
