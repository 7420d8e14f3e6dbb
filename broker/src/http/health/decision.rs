//! Whether a broker may be stopped without anybody losing what it has now: decided from the metadata alone.
//!
//! A partition is safe if those in sync without the broker are still as many as `min.insync.replicas` asks for, so that
//! `acks=all` goes on, and at least one, so that somebody leads. Kafka's `min.insync.replicas` counts as no more than there are
//! replicas. A partition that the broker is not in sync with loses nothing by its stop. Only brokers that are not fenced count.
//!
//! The metadata quorum is safe if the voters that are left are a majority of all.

use std::collections::BTreeSet;

use metadata::image::{MetadataImage, PartitionImage};
use protocol::{BrokerId, PartitionId};

/// What would become of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Produces with `acks=all` would be refused.
    BelowMinIsr,
    /// Nobody in sync is left: no leader until the broker is back.
    LastInSync,
    /// Nobody leads now, and nobody else who may would be left (KIP-966).
    LastEligible,
}

impl Loss {
    /// As the page names it.
    pub fn name(self) -> &'static str {
        match self {
            Loss::BelowMinIsr => "below-min-isr",
            Loss::LastInSync => "last-in-sync",
            Loss::LastEligible => "last-eligible-leader",
        }
    }
}

/// A partition that would lose by the stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    pub topic: String,
    pub partition: PartitionId,
    pub loss: Loss,
    pub replicas: Vec<BrokerId>,
    /// Those in sync and alive that would be left.
    pub in_sync_left: Vec<BrokerId>,
    /// As many as must be in sync.
    pub min_insync_replicas: usize,
}

/// Some of them, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AffectedPartitions {
    pub count: usize,
    pub listed: Vec<Affected>,
}

impl AffectedPartitions {
    fn add(&mut self, listed_max: usize, affected: impl FnOnce() -> Affected) {
        self.count += 1;
        if self.listed.len() < listed_max {
            self.listed.push(affected());
        }
    }
}

/// What a stop would do to partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionsSeen {
    pub of_topics: AffectedPartitions,
    /// Of the topic of committed offsets: groups whose coordinator is there.
    pub of_offsets_topic: AffectedPartitions,
}

/// Looks at every partition; of each kind `listed_max` are named.
pub fn partitions(image: &MetadataImage, broker: BrokerId, offsets_topic: &str, listed_max: usize) -> PartitionsSeen {
    let mut seen = PartitionsSeen::default();
    for topic in image.topics() {
        let min = usize::try_from(image.min_insync_replicas(&topic.name)).unwrap_or(0);
        for (number, partition) in topic.partitions() {
            let Some((loss, in_sync_left)) = loss(image, broker, partition, min) else { continue };
            let affected = match &*topic.name == offsets_topic {
                true => &mut seen.of_offsets_topic,
                false => &mut seen.of_topics,
            };
            affected.add(listed_max, || Affected {
                topic: topic.name.to_string(),
                partition: number,
                loss,
                replicas: partition.replicas.to_vec(),
                in_sync_left,
                min_insync_replicas: min.min(partition.replicas.len()),
            });
        }
    }
    seen
}

/// What the partition would lose, with who would be left in sync; `None` if nothing.
fn loss(
    image: &MetadataImage,
    broker: BrokerId,
    partition: &PartitionImage,
    min_insync_replicas: usize,
) -> Option<(Loss, Vec<BrokerId>)> {
    let alive_of = |brokers: &[BrokerId]| -> Vec<BrokerId> {
        brokers.iter().copied().filter(|other| *other != broker && image.is_unfenced(*other)).collect()
    };
    let left = alive_of(&partition.isr);
    if partition.isr.contains(&broker) {
        return match left.len() {
            0 => Some((Loss::LastInSync, left)),
            count if count < min_insync_replicas.min(partition.replicas.len()) => Some((Loss::BelowMinIsr, left)),
            _ => None,
        };
    }
    let is_last_eligible =
        partition.isr.is_empty() && partition.elr.contains(&broker) && alive_of(&partition.elr).is_empty();
    is_last_eligible.then_some((Loss::LastEligible, left))
}

/// What a stop would do to the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumSeen {
    pub voters: BTreeSet<BrokerId>,
    /// Those that are alive without the broker.
    pub voters_left: BTreeSet<BrokerId>,
    pub majority: usize,
    /// Metadata could be changed still, and another controller be elected.
    pub is_safe: bool,
}

/// Looks at the voters, of whom `is_alive` says who could vote now.
pub fn quorum(voters: &BTreeSet<BrokerId>, broker: BrokerId, is_alive: impl Fn(BrokerId) -> bool) -> QuorumSeen {
    let voters_left: BTreeSet<BrokerId> =
        voters.iter().copied().filter(|voter| *voter != broker && is_alive(*voter)).collect();
    let majority = voters.len() / 2 + 1;
    // A broker that does not vote takes nothing away.
    let is_safe = !voters.contains(&broker) || voters_left.len() >= majority;
    QuorumSeen { voters: voters.clone(), voters_left, majority, is_safe }
}

#[cfg(test)]
mod tests;
