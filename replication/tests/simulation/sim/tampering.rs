//! Mistakes of the controller that change what it has decided.

use super::bug::Bug;
use super::controller::{Cause, TOPIC, partition_of};
use metadata::image::MetadataImage;
use metadata::record::{MetadataRecord, PartitionRecord};
use protocol::newtypes::{BrokerId, LeaderEpoch};

/// The records as a controller with this mistake would have made them.
pub fn tampered(
    bug: Option<Bug>,
    image: &MetadataImage,
    mut records: Vec<MetadataRecord>,
    cause: &Cause,
) -> Vec<MetadataRecord> {
    let Some(bug) = bug else { return records };
    for record in &mut records {
        if bug == Bug::CompleteReassignmentEarly {
            complete_early(image, record);
        }
        let Some(partition) = partition_in(record) else { continue };
        if image.topic_by_id(TOPIC).is_none_or(|topic| topic.partition(partition.partition).is_none()) {
            continue;
        }
        let before = partition_of(image, partition.partition.0 as usize);
        match bug {
            Bug::KeepEpochAtElection if partition.leader != before.leader => {
                partition.leader_epoch = before.leader_epoch;
            }
            Bug::ReuseEpoch if before.leader.is_none() && partition.leader.is_some() => {
                partition.leader_epoch = before.leader_epoch;
            }
            Bug::ElectPreferredThoughIsrEmpty if partition.isr.is_empty() => {
                let alive = |id: &BrokerId| cause.gone != Some(*id) && image.is_unfenced(*id);
                let Some(first) = partition.replicas.iter().copied().find(alive) else { continue };
                (partition.isr, partition.leader) = (vec![first], Some(first));
                partition.leader_epoch = LeaderEpoch(before.leader_epoch.0 + 1);
                let partition = partition.clone();
                *record = MetadataRecord::PartitionChanged(partition);
            }
            _ => {}
        }
    }
    records
}

fn partition_in(record: &mut MetadataRecord) -> Option<&mut PartitionRecord> {
    match record {
        MetadataRecord::PartitionChanged(partition)
        | MetadataRecord::PartitionReassigning { partition, .. }
        | MetadataRecord::PartitionUnderMinIsr { partition, .. } => Some(partition),
        _ => None,
    }
}

/// A reassignment is complete as soon as it begins: whoever is to have a replica counts as in sync.
fn complete_early(image: &MetadataImage, record: &mut MetadataRecord) {
    let (MetadataRecord::PartitionReassigning { partition, adding, removing }
    | MetadataRecord::PartitionUnderMinIsr { partition, adding, removing, .. }) = record
    else {
        return;
    };
    if adding.is_empty() {
        return;
    }
    let mut partition = partition.clone();
    partition.replicas.retain(|replica| !removing.contains(replica));
    partition.isr.retain(|member| partition.replicas.contains(member));
    partition.isr.extend(adding.iter().copied().filter(|added| image.is_unfenced(*added)));
    let stays = partition.leader.is_some_and(|leader| partition.isr.contains(&leader));
    if !stays {
        partition.leader = partition.isr.first().copied().filter(|first| image.is_unfenced(*first));
        partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
    }
    *record = MetadataRecord::PartitionChanged(partition);
}
