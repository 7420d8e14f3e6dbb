//! Elections and changes of ISRs, counted where they concern this broker: every one is counted once in a cluster.
//!
//! A change is that of the broker that leads afterwards; it has in common with Kafka's counters that a partition's creation is
//! none. Where nobody leads afterwards nobody counts, and gauges tell of it.

use std::collections::HashMap;

use instruments::Counter;
use metadata::delta::MetadataDelta;
use metadata::image::{MetadataImage, PartitionImage};
use protocol::{BrokerId, PartitionId, TopicId};

/// Written by the metadata core alone.
#[derive(Debug, Default)]
pub struct Changes {
    pub isr_shrinks: Counter,
    pub isr_expansions: Counter,
    pub elections: [Counter; Election::ALL.len()],
}

/// How a leader was elected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// From the ISR.
    Clean,
    /// The first of the replicas, from the ISR, and its predecessor is in it still.
    Preferred,
    /// From the eligible leader replicas (KIP-966).
    Eligible,
    /// Something that was committed may be lost.
    Unclean,
}

impl Election {
    pub const ALL: [Election; 4] = [Election::Clean, Election::Preferred, Election::Eligible, Election::Unclean];

    pub const fn name(self) -> &'static str {
        match self {
            Election::Clean => "clean",
            Election::Preferred => "preferred",
            Election::Eligible => "eligible",
            Election::Unclean => "unclean",
        }
    }
}

/// What a change of a partition is for the broker that leads it then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    shrinks: bool,
    expands: bool,
    election: Option<Election>,
}

impl Changes {
    /// Counts what `deltas` change, in order, in the image `before`.
    pub fn note(&self, me: BrokerId, before: &MetadataImage, deltas: &[MetadataDelta]) {
        let mut latest: HashMap<(TopicId, PartitionId), &PartitionImage> = HashMap::new();
        for delta in deltas {
            let MetadataDelta::PartitionChanged { topic_id, topic, partition, state } = delta else { continue };
            let known = latest.insert((*topic_id, *partition), state);
            let known = known.or_else(|| before.topic_by_id(*topic_id)?.partition(*partition));
            if let Some(known) = known
                && state.leader == Some(me)
            {
                let Change { shrinks, expands, election } = change(known, state, me);
                self.isr_shrinks.add(shrinks.into());
                self.isr_expansions.add(expands.into());
                if let Some(election) = election {
                    self.elections[election as usize].increment();
                }
                if election == Some(Election::Unclean) {
                    let (partition, epoch) = (partition.0, state.leader_epoch.0);
                    let had_led = known.leader.map(|leader| leader.0);
                    tracing::warn!(%topic, partition, epoch, had_led, "elected although others may have had more records");
                }
            }
        }
    }
}

fn change(before: &PartitionImage, after: &PartitionImage, leader: BrokerId) -> Change {
    let is_preferred = after.replicas.first() == Some(&leader)
        && before.leader.is_some_and(|predecessor| after.isr.contains(&predecessor));
    let election = if before.leader == Some(leader) {
        None
    } else if before.isr.contains(&leader) {
        Some(if is_preferred { Election::Preferred } else { Election::Clean })
    } else if before.elr.contains(&leader) {
        Some(Election::Eligible)
    } else {
        Some(Election::Unclean)
    };
    Change {
        // One that has moved away has not fallen behind.
        shrinks: before.isr.iter().any(|replica| after.replicas.contains(replica) && !after.isr.contains(replica)),
        expands: after.isr.iter().any(|replica| !before.isr.contains(replica)),
        election,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::LeaderEpoch;

    fn partition(isr: &[i32], elr: &[i32], leader: Option<i32>) -> PartitionImage {
        let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        PartitionImage {
            replicas: brokers(&[1, 2, 3]),
            isr: brokers(isr),
            elr: brokers(elr),
            last_known_elr: brokers(&[]),
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            reassignment: None,
        }
    }

    #[test]
    fn a_change_is_what_the_leader_then_sees_of_it() {
        let of = |before: &PartitionImage, after: &PartitionImage| {
            let Change { shrinks, expands, election } = change(before, after, after.leader.unwrap());
            (shrinks, expands, election)
        };
        let all = partition(&[1, 2, 3], &[], Some(1));
        assert_eq!(of(&all, &partition(&[1, 2], &[], Some(1))), (true, false, None), "a follower falls behind");
        assert_eq!(of(&partition(&[1, 2], &[], Some(1)), &all), (false, true, None), "and catches up");
        let moved = PartitionImage { replicas: [1, 2].map(BrokerId).into(), ..partition(&[1, 2], &[], Some(1)) };
        assert_eq!(of(&all, &moved), (false, false, None), "it has moved away");
        let failed_over = partition(&[2, 3], &[], Some(2));
        assert_eq!(of(&all, &failed_over), (true, false, Some(Election::Clean)), "its leader has gone");
        let back = partition(&[1, 2, 3], &[], Some(2));
        assert_eq!(of(&back, &all), (false, false, Some(Election::Preferred)), "it is given back");
        let resigned = partition(&[1, 2, 3], &[], Some(3));
        assert_eq!(of(&all, &resigned), (false, false, Some(Election::Clean)), "to one that is not the first");
        let nobody = partition(&[], &[1, 2], None);
        assert_eq!(of(&nobody, &partition(&[2], &[], Some(2))), (false, true, Some(Election::Eligible)));
        assert_eq!(of(&nobody, &partition(&[3], &[], Some(3))), (false, true, Some(Election::Unclean)));
    }

    #[test]
    fn kinds_are_in_the_order_of_their_places() {
        for (at, kind) in Election::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
        }
    }
}
