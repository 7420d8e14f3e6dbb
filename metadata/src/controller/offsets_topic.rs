//! `__consumer_offsets` in a cluster that grows: it is made with as many replicas as there are brokers then, and gets the rest
//! of `offsets.topic.replication.factor` when there are more.
//!
//! (Kafka refuses to make it while there are too few brokers, so that a cluster of one has no groups until it is configured
//! for one, and what is made for one stays so.)
//!
//! - A few partitions at a time, by ordinary reassignments that only add: who leads stays, and so does who is preferred.
//! - Left alone is what an operator moves, and what has its number of replicas by an operator's choice
//!   ([`crate::record::MetadataRecord::ReplicaCountChosen`]). Nothing is ever taken off: the factor may be configured to be
//!   lower.
//! - A broker that goes while it is awaited is given up: as long as its replica counts as one of the partition's,
//!   `min.insync.replicas` asks for one more in sync than there were before.

use super::PartitionName;
use super::reassignments::{WantedReassignment, reassignments};
use super::topic_name::OFFSETS_TOPIC;
use crate::image::{MetadataImage, PartitionImage};
use crate::placement::{Placement, widen};
use crate::record::MetadataRecord;
use protocol::newtypes::PartitionId;
use std::collections::BTreeSet;

/// Partitions of the topic that get replicas at the same time.
pub const RAISED_AT_ONCE_MAX: usize = 5;

/// How a partition stands on its way to more replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// As it should be, or an operator's.
    Left,
    Lacking,
    Growing,
    /// It awaits a broker that is gone.
    InVain,
}

/// Brings partitions of `__consumer_offsets` nearer to `replication_factor` replicas, as far as there are brokers. To be asked
/// again whenever the image has changed.
#[must_use]
pub fn raise_offsets_replication_factor(image: &MetadataImage, replication_factor: i16) -> Vec<MetadataRecord> {
    let Some(topic) = image.topic(OFFSETS_TOPIC) else { return Vec::new() };
    let wanted = usize::try_from(replication_factor).unwrap_or(0);
    let stand = |(partition, state): (PartitionId, &PartitionImage)| match topic.is_replica_count_chosen(partition) {
        true => (partition, Stand::Left),
        false => (partition, stand(image, state, wanted)),
    };
    let stands: Vec<(PartitionId, Stand)> = topic.partitions().map(stand).collect();
    let which =
        |wanted: Stand| stands.iter().filter(move |(_, stand)| *stand == wanted).map(|(partition, _)| *partition);
    let room = RAISED_AT_ONCE_MAX.saturating_sub(which(Stand::Growing).count());
    let name = |partition| (OFFSETS_TOPIC.to_owned(), partition);
    let chosen: BTreeSet<PartitionName> =
        which(Stand::InVain).chain(which(Stand::Lacking).take(room)).map(name).collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let moves = widen(&Placement::of(image, None), &chosen, wanted);
    let wanted = moves.into_iter().map(|one| {
        let (topic, partition) = one.name;
        WantedReassignment { topic, partition, target: Some(one.to) }
    });
    // What cannot be now is looked at again.
    reassignments(image, true, &wanted.collect::<Vec<_>>()).0
}

fn stand(image: &MetadataImage, state: &PartitionImage, wanted: usize) -> Stand {
    let is_awaited_in_vain = |replica| !state.isr.contains(&replica) && !image.is_unfenced(replica);
    match &state.reassignment {
        // It takes replicas off: somebody else's.
        Some(moving) if !moving.removing.is_empty() => Stand::Left,
        Some(moving) if moving.adding.iter().copied().any(is_awaited_in_vain) => Stand::InVain,
        Some(_) => Stand::Growing,
        // Nobody has what it holds, for the time being.
        None if state.leader.is_none() => Stand::Left,
        None if state.replicas.len() < wanted && has_place(image, state) => Stand::Lacking,
        None => Stand::Left,
    }
}

/// Whether there is a broker that can have one more replica.
fn has_place(image: &MetadataImage, state: &PartitionImage) -> bool {
    image.unfenced_brokers().any(|broker| !state.replicas.contains(&broker.broker))
}
