//! More replicas for partitions that have too few.

use super::loads::{BrokerAt, Loads};
use super::{Move, Placement};
use crate::controller::PartitionName;
use std::collections::BTreeSet;

/// Moves after which these partitions have `replicas` replicas each, or as many as there are brokers that can have one.
///
/// Nobody loses a replica, and the preferred leader stays: what is added stands behind the others. Each goes to the unfenced
/// broker that is furthest below its share, among those on racks that the partition is not on yet, if there are any. A
/// replica that is awaited in vain, since its broker is gone, counts for nothing, and another is put in its place. Partitions
/// that have enough, or that do not exist, are passed over.
#[must_use]
pub fn widen(placement: &Placement, partitions: &BTreeSet<PartitionName>, replicas: usize) -> Vec<Move> {
    let mut loads = Loads::new(placement);
    for at in 0..loads.partitions.len() {
        let place = loads.place(at);
        // Looked up by a tuple, which owns its name.
        let name = (loads.topic_name(at).to_owned(), place.partition);
        if !partitions.contains(&name) {
            continue;
        }
        let before = loads.partitions[at].target.clone();
        let mut target = before.clone();
        target.retain(|broker| !place.awaits_in_vain(loads.brokers[*broker].broker, placement));
        while target.len() < replicas {
            let Some(chosen) = next(&loads, at, &target) else { break };
            target.push(chosen);
        }
        if target != before && !target.is_empty() {
            loads.set_target(at, target);
        }
    }
    loads.into_moves()
}

fn next(loads: &Loads<'_>, partition: usize, target: &[BrokerAt]) -> Option<BrokerAt> {
    let isr = &loads.place(partition).isr;
    let free = |broker: &BrokerAt| !target.contains(broker);
    loads.usable().filter(free).min_by(|a, b| {
        let (a, b) = (*a, *b);
        let in_sync = |broker: BrokerAt| isr.contains(&loads.brokers[broker].broker);
        let shares_rack = |broker: BrokerAt| loads.shares_rack(target, broker);
        shares_rack(a)
            .cmp(&shares_rack(b))
            // Whoever has been taken in already has everything.
            .then_with(|| in_sync(b).cmp(&in_sync(a)))
            .then_with(|| loads.prefer(partition, a, b))
    })
}
