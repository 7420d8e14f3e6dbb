//! Cases of one partition, of the topic of committed offsets, and of voters.

use metadata::image::MetadataImage;
use metadata::record::{BrokerState, ConfigResource, MetadataRecord, NodeBinding, PartitionRecord};
use protocol::{LeaderEpoch, TopicId};
use uuid::Uuid;

use super::*;
use crate::shard::assignment::testing::partition;

const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(7));
const OFFSETS: &str = "__consumer_offsets";
const ME: BrokerId = BrokerId(1);

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

/// A broker of the cluster.
fn broker(broker: i32, is_fenced: bool) -> [MetadataRecord; 2] {
    let (broker, one) = (BrokerId(broker), Uuid::from_u128(1));
    let address = "h:1".to_owned();
    let bound = MetadataRecord::NodeBound(NodeBinding { node: broker, directory_id: one, address });
    let changed = MetadataRecord::BrokerChanged(BrokerState {
        broker,
        incarnation: one,
        epoch: 0,
        host: "h".into(),
        port: 1,
        rack: None,
        shards: 1,
        fenced_at: is_fenced.then_some(0),
    });
    [bound, changed]
}

/// Brokers 1 to 3, the fenced ones among them, and one partition.
struct Case {
    topic: &'static str,
    min: &'static str,
    fenced: &'static [i32],
    replicas: &'static [i32],
    isr: &'static [i32],
    elr: &'static [i32],
    leader: Option<i32>,
}

const THREE: Case =
    Case { topic: "t", min: "2", fenced: &[], replicas: &[1, 2, 3], isr: &[1, 2, 3], elr: &[], leader: Some(2) };

impl Case {
    fn image(&self) -> MetadataImage {
        let mut records: Vec<MetadataRecord> = (1..=3).flat_map(|id| broker(id, self.fenced.contains(&id))).collect();
        records.push(MetadataRecord::TopicCreated { topic_id: TOPIC_ID, name: self.topic.into() });
        let partition = PartitionRecord {
            topic_id: TOPIC_ID,
            partition: PartitionId(0),
            replicas: ids(self.replicas),
            isr: ids(self.isr),
            leader: self.leader.map(BrokerId),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        };
        records.push(match self.elr.is_empty() {
            true => MetadataRecord::PartitionChanged(partition),
            false => MetadataRecord::PartitionUnderMinIsr {
                partition,
                adding: vec![],
                removing: vec![],
                elr: ids(self.elr),
                last_known_elr: vec![],
            },
        });
        records.push(MetadataRecord::ConfigChanged {
            resource: ConfigResource::Topic(self.topic.into()),
            name: "min.insync.replicas".into(),
            value: Some(self.min.into()),
        });
        MetadataImage::default().apply_batch(&records).unwrap().0
    }

    /// What broker 1's stop would cost, with who would be left in sync.
    fn loss(&self) -> Option<(Loss, Vec<i32>)> {
        let mut seen = partitions(&self.image(), ME, OFFSETS, 10);
        assert_eq!(seen.of_offsets_topic, AffectedPartitions::default());
        let affected = seen.of_topics.listed.pop()?;
        assert_eq!(seen.of_topics.count, 1);
        Some((affected.loss, affected.in_sync_left.iter().map(|broker| broker.0).collect()))
    }
}

#[test]
fn a_full_isr_can_spare_one() {
    assert_eq!(THREE.loss(), None);
    assert_eq!(Case { leader: Some(1), ..THREE }.loss(), None, "others lead then");
    assert_eq!(Case { min: "1", isr: &[1, 2], ..THREE }.loss(), None);
}

#[test]
fn one_that_is_at_its_minimum_cannot() {
    assert_eq!(Case { isr: &[1, 2], ..THREE }.loss(), Some((Loss::BelowMinIsr, vec![2])));
    assert_eq!(Case { min: "3", ..THREE }.loss(), Some((Loss::BelowMinIsr, vec![2, 3])));
}

#[test]
fn fenced_brokers_do_not_count() {
    assert_eq!(Case { fenced: &[3], ..THREE }.loss(), Some((Loss::BelowMinIsr, vec![2])));
    let alone = Case { min: "1", isr: &[1, 2], fenced: &[2], ..THREE };
    assert_eq!(alone.loss(), Some((Loss::LastInSync, vec![])));
}

#[test]
fn the_only_replica_is_the_last_in_sync() {
    let only = Case { min: "1", replicas: &[1], isr: &[1], leader: Some(1), ..THREE };
    assert_eq!(only.loss(), Some((Loss::LastInSync, vec![])));
}

/// Kafka takes the minimum for no more than there are replicas.
#[test]
fn a_minimum_above_the_number_of_replicas_is_that_number() {
    let two = Case { min: "3", replicas: &[1, 2], isr: &[1, 2], ..THREE };
    assert_eq!(two.loss(), Some((Loss::BelowMinIsr, vec![2])));
    let affected = partitions(&two.image(), ME, OFFSETS, 10).of_topics.listed.pop().unwrap();
    assert_eq!(affected.min_insync_replicas, 2);
}

#[test]
fn a_partition_loses_nothing_by_a_broker_that_is_not_in_sync_with_it() {
    assert_eq!(Case { isr: &[2, 3], ..THREE }.loss(), None);
    assert_eq!(Case { min: "3", isr: &[2], ..THREE }.loss(), None, "it is below its minimum anyway");
    assert_eq!(Case { min: "1", replicas: &[2], isr: &[2], ..THREE }.loss(), None, "it has no replica here");
}

#[test]
fn a_partition_that_is_offline_needs_whoever_may_lead_it() {
    let offline = Case { isr: &[], elr: &[1], leader: None, fenced: &[1], ..THREE };
    assert_eq!(offline.loss(), Some((Loss::LastEligible, vec![])));
    assert_eq!(Case { elr: &[1, 2], ..offline }.loss(), None, "another can");
    assert_eq!(Case { elr: &[1, 2], fenced: &[1, 2], ..offline }.loss(), Some((Loss::LastEligible, vec![])));
    assert_eq!(Case { elr: &[2], fenced: &[2], ..offline }.loss(), None, "it is not for this broker to mend");
}

#[test]
fn committed_offsets_are_told_apart() {
    let seen = partitions(&Case { topic: OFFSETS, isr: &[1, 2], ..THREE }.image(), ME, OFFSETS, 10);
    assert_eq!((seen.of_topics.count, seen.of_offsets_topic.count), (0, 1));
}

#[test]
fn all_are_counted_and_so_many_are_named() {
    let mut records = Vec::from(broker(1, false));
    records.push(MetadataRecord::TopicCreated { topic_id: TOPIC_ID, name: "t".into() });
    records.extend((0..5).map(|at| partition(TOPIC_ID, at, (&[1], Some(1), 0))));
    let image = MetadataImage::default().apply_batch(&records).unwrap().0;
    let seen = partitions(&image, ME, OFFSETS, 3).of_topics;
    assert_eq!((seen.count, seen.listed.len()), (5, 3));
}

#[test]
fn voters_must_stay_a_majority() {
    for (voters, away, broker, is_safe) in [
        (&[1, 2, 3][..], &[][..], 1, true),
        (&[1, 2, 3], &[3], 1, false),
        (&[1, 2, 3], &[1], 1, true),
        (&[1, 2, 3], &[2, 3], 4, true),
        (&[1, 2, 3, 4, 5], &[5], 1, true),
        (&[1, 2, 3, 4, 5], &[4, 5], 1, false),
        (&[1], &[], 1, false),
        (&[1], &[], 2, true),
        (&[1, 2], &[], 1, false),
    ] {
        let alive = |voter: BrokerId| !away.contains(&voter.0);
        let seen = quorum(&ids(voters).into_iter().collect(), BrokerId(broker), alive);
        assert_eq!(seen.is_safe, is_safe, "{voters:?} without {away:?} and {broker}: {seen:?}");
    }
}
