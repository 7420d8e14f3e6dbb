//! What the metadata core is seen to do, and what follows from the metadata image alone: pure, and in proportion to the cluster's
//! partitions.

use std::sync::Arc;

use metadata::image::MetadataImage;
use metadata::raft::QuorumProgress;
use protocol::BrokerId;

use super::changes::Changes;

/// What the metadata core is seen to do.
pub struct CoreFacts {
    pub me: BrokerId,
    pub image: MetadataImage,
    pub progress: QuorumProgress,
    /// Metadata offset that all shards have applied, once they have begun.
    pub applied: Option<u64>,
    pub changes: Arc<Changes>,
}

/// Counts of one image, as one broker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterCounts {
    pub brokers: usize,
    pub fenced: usize,
    pub topics: usize,
    pub partitions: usize,
    /// Nobody leads them.
    pub offline: usize,
    /// This broker is fenced, or not known.
    pub is_fenced: bool,
    /// Replicas here.
    pub replicas: usize,
    pub led: usize,
    /// Of those led here.
    pub under_replicated: usize,
    pub under_min_isr: usize,
    pub at_min_isr: usize,
    pub reassigning: usize,
    /// This broker is the first of the replicas, and another leads or none.
    pub not_preferred: usize,
}

pub fn count(image: &MetadataImage, me: BrokerId) -> ClusterCounts {
    let mut counts = ClusterCounts {
        brokers: image.brokers().count(),
        fenced: image.brokers().filter(|broker| broker.is_fenced()).count(),
        topics: image.topic_count(),
        partitions: image.partition_count(),
        is_fenced: !image.is_unfenced(me),
        ..ClusterCounts::default()
    };
    for topic in image.topics() {
        let mut min_isr = None;
        for (_, partition) in topic.partitions() {
            counts.offline += usize::from(partition.leader.is_none());
            if !partition.replicas.contains(&me) {
                continue;
            }
            counts.replicas += 1;
            counts.not_preferred +=
                usize::from(partition.replicas.first() == Some(&me) && partition.leader != Some(me));
            if partition.leader != Some(me) {
                continue;
            }
            let min_isr = *min_isr.get_or_insert_with(|| image.min_insync_replicas(&topic.name));
            let at_min_isr = usize::try_from(min_isr).is_ok_and(|min_isr| partition.isr.len() == min_isr);
            counts.led += 1;
            counts.under_replicated += usize::from(partition.is_under_replicated());
            counts.under_min_isr += usize::from(partition.is_under_min_isr(min_isr));
            counts.at_min_isr += usize::from(at_min_isr && partition.is_under_replicated());
            counts.reassigning += usize::from(partition.reassignment.is_some());
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::image_of;

    #[test]
    fn partitions_are_counted_as_their_leader_and_as_the_cluster_see_them() {
        let image =
            image_of(&[1, 2], &[(&[1, 2], Some(1), 0), (&[1], Some(1), 0), (&[2, 1], Some(2), 0), (&[1], None, 0)]);
        let one = count(&image, BrokerId(1));
        assert_eq!((one.brokers, one.fenced, one.topics, one.partitions, one.offline), (2, 0, 1, 4, 1));
        assert_eq!((one.replicas, one.led, one.not_preferred), (4, 2, 1));
        let two = count(&image, BrokerId(2));
        assert_eq!((two.replicas, two.led, two.not_preferred, two.is_fenced), (2, 1, 0, false));
        assert!(count(&image, BrokerId(9)).is_fenced);
    }
}
