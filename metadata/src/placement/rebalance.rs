//! Evening out over all brokers that are there.

use super::drain::leave;
use super::loads::{BrokerAt, Counted, Loads, PartitionAt};
use super::{Move, Placement};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Moves after which every unfenced broker has its share of replicas and of preferred leaders.
///
/// What is on fenced brokers stays: they may come back, and if they do not, [`super::drain`] empties them. In this order:
///
/// 1. What was on its way to a broker that is gone goes elsewhere, first of all back.
/// 2. Replicas of one partition that share a rack are parted, where there is a rack without one.
/// 3. Replicas go from brokers above their share to brokers below: no more than that takes, and of topics that the one has
///    more of than the other. Of a topic small partitions go first, since less has to be sent.
/// 4. Preferred leaders are evened out by the order of replicas alone. No data moves for them: where replicas are such that
///    order cannot do it, leaders stay uneven.
///
/// A placement that a plan leads to needs no other one.
#[must_use]
pub fn rebalance(placement: &Placement) -> Vec<Move> {
    let mut loads = Loads::new(placement);
    for partition in 0..loads.partitions.len() {
        let place = loads.place(partition);
        // If there is nobody else it goes on waiting.
        leave(&mut loads, partition, |loads, at| place.awaits_in_vain(loads.brokers[at].broker, placement), None);
        part_racks(&mut loads, partition);
    }
    even_out(&mut loads, Counted::Replicas);
    even_out(&mut loads, Counted::PreferredLeaders);
    loads.into_moves()
}

/// Moves replicas of one partition to racks that have none.
fn part_racks(loads: &mut Loads<'_>, partition: PartitionAt) {
    loop {
        let target = &loads.partitions[partition].target;
        let shared = |at: &BrokerAt| loads.brokers[*at].usable && loads.shares_rack(target, *at);
        // Of those that share a rack, the fullest; rather a follower.
        let source = target
            .iter()
            .rev()
            .copied()
            .filter(shared)
            .min_by(|a, b| loads.compare_with_one_more(Counted::Replicas, *b, *a));
        let free = |at: &BrokerAt| !target.iter().any(|held| held == at) && !loads.shares_rack(target, *at);
        let sink = loads.usable().filter(free).min_by(|a, b| loads.prefer(partition, *a, *b));
        let (Some(source), Some(sink)) = (source, sink) else { return };
        let target = loads.replaced(partition, source, sink);
        loads.set_target(partition, target);
    }
}

/// One partition gives something from the first broker to the second.
type Step = (PartitionAt, BrokerAt, BrokerAt);

fn even_out(loads: &mut Loads<'_>, counted: Counted) {
    while let Some(steps) = next_steps(loads, counted) {
        for (partition, source, sink) in steps {
            let target = given(loads, counted, partition, source, sink);
            loads.set_target(partition, target);
        }
    }
}

/// The partition's target when `source` gives to `sink` what is counted.
fn given(
    loads: &Loads<'_>,
    counted: Counted,
    partition: PartitionAt,
    source: BrokerAt,
    sink: BrokerAt,
) -> Vec<BrokerAt> {
    match counted {
        Counted::Replicas => loads.replaced(partition, source, sink),
        Counted::PreferredLeaders => {
            let mut target = loads.partitions[partition].target.clone();
            let at = target.iter().position(|broker| *broker == sink).expect("only its replicas lead it");
            target.swap(0, at);
            target
        }
    }
}

/// Whether a partition can do it.
fn may_give(loads: &Loads<'_>, counted: Counted, partition: PartitionAt, source: BrokerAt, sink: BrokerAt) -> bool {
    let target = &loads.partitions[partition].target;
    match counted {
        Counted::Replicas => {
            !target.contains(&sink)
                && (!loads.shares_rack(target, sink)
                    || loads.racks(&loads.replaced(partition, source, sink)) >= loads.racks(target))
        }
        Counted::PreferredLeaders => target.first() == Some(&source) && target.contains(&sink),
    }
}

/// The next step from a broker above its share to one below: one partition if that can do it, else a chain over brokers in
/// between. `None` when counts are as even as they get.
fn next_steps(loads: &Loads<'_>, counted: Counted) -> Option<Vec<Step>> {
    let mut brokers: Vec<BrokerAt> = loads.usable().collect();
    brokers.sort_by(|a, b| loads.compare_with_one_more(counted, *a, *b).then(a.cmp(b)));
    // From the fullest to the emptiest. Brokers of different sizes come in another order as sources than as sinks, which
    // changes nothing about where it ends.
    for source in brokers.iter().rev().copied() {
        let sinks = brokers.iter().copied().filter(|sink| loads.evens(counted, source, *sink));
        for sink in sinks {
            if let Some(partition) = best_partition(loads, counted, source, sink) {
                return Some(vec![(partition, source, sink)]);
            }
        }
    }
    brokers.iter().rev().find_map(|source| chain(loads, counted, *source, &brokers))
}

/// Of the partitions that can give from `source` to `sink`, the one that should: of the topic that `source` has the most of
/// beyond what `sink` has. Looked at topic by topic, since a cluster may have very many partitions.
fn best_partition(loads: &Loads<'_>, counted: Counted, source: BrokerAt, sink: BrokerAt) -> Option<PartitionAt> {
    let held = |topic, broker| i64::try_from(loads.held_of_topic(counted, topic, broker)).unwrap_or(i64::MAX);
    let surplus = |topic| held(topic, source).saturating_sub(held(topic, sink));
    let mut topics: Vec<_> =
        loads.topics_on(source).map(|(topic, partitions)| (Reverse(surplus(topic)), topic, partitions)).collect();
    topics.sort_unstable_by_key(|(surplus, topic, _)| (*surplus, *topic));
    topics.into_iter().find_map(|(_, _, partitions)| {
        let can = partitions.iter().copied().filter(|at| may_give(loads, counted, *at, source, sink));
        match counted {
            // Unknown sizes last.
            Counted::Replicas => can.min_by_key(|at| loads.partitions[*at].bytes.unwrap_or(u64::MAX)),
            Counted::PreferredLeaders => can.min_by_key(|at| {
                let leads = loads.place(*at).leader == Some(loads.brokers[sink].broker);
                // What moves anyway, or is led from there already, costs no election.
                (!leads, !loads.is_changed(*at))
            }),
        }
    })
}

/// The shortest way from `source` to a broker that should have one more, from partition to partition.
fn chain(loads: &Loads<'_>, counted: Counted, source: BrokerAt, usable: &[BrokerAt]) -> Option<Vec<Step>> {
    if !usable.iter().any(|sink| loads.evens(counted, source, *sink)) {
        return None;
    }
    let mut reached: Vec<Option<Step>> = vec![None; loads.brokers.len()];
    let mut waiting = VecDeque::from([source]);
    while let Some(at) = waiting.pop_front() {
        for next in usable.iter().copied().filter(|next| *next != source) {
            if reached[next].is_some() {
                continue;
            }
            let Some(partition) = best_partition(loads, counted, at, next) else { continue };
            reached[next] = Some((partition, at, next));
            if !loads.evens(counted, source, next) {
                waiting.push_back(next);
                continue;
            }
            let mut steps = Vec::new();
            let mut end = next;
            while let Some(step) = reached[end] {
                steps.push(step);
                end = step.1;
            }
            let is_repeated = |at: usize| steps[..at].iter().any(|earlier| earlier.0 == steps[at].0);
            // Two steps of one partition were each found possible without the other.
            if (0..steps.len()).any(is_repeated) {
                reached[next] = None;
                continue;
            }
            steps.reverse();
            return Some(steps);
        }
    }
    None
}
