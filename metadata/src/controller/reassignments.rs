//! AlterPartitionReassignments (KIP-455): where a partition's replicas shall be, and when they are there.
//!
//! A reassignment has a target. Until every replica of it is in sync, the partition has those of the target and, behind them,
//! those that are to go; then the latter leave. One whose target is in sync from the start is complete at once. Cancelling
//! one, or replacing it by another, starts from the replicas that the partition had before: what was only on its way in is
//! dropped. (Kafka takes the replicas of the moment, so that replacing a reassignment and then cancelling it leaves a
//! partition with more replicas than it ever should have had.)

use super::assignment::{AssignmentError, check_manual};
use super::partition_changes::PartitionChanges;
use super::settle::{Electorate, settle, target_of};
use super::topic_name::OFFSETS_TOPIC;
use super::{Decision, PartitionName};
use crate::image::{MetadataImage, PartitionImage, Reassignment, TopicImage};
use crate::record::MetadataRecord;
use crate::shown::shown;
use protocol::newtypes::{BrokerId, PartitionId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One partition of an AlterPartitionReassignments request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedReassignment {
    pub topic: String,
    pub partition: PartitionId,
    /// In order of preference for leadership; `None` cancels the reassignment that is in progress.
    pub target: Option<Vec<BrokerId>>,
}

/// Why a partition's replicas stay as they are. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignmentError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("Unable to find a topic named {topic}.")]
    UnknownTopic { topic: String },
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("Unable to find partition {topic}:{partition}.")]
    UnknownPartition { topic: String, partition: PartitionId },
    /// INVALID_REPLICA_ASSIGNMENT
    #[error(transparent)]
    InvalidAssignment(#[from] AssignmentError),
    /// INVALID_REPLICATION_FACTOR
    #[error("The replication factor is changed from {current} to {wanted}")]
    OtherReplicationFactor { current: usize, wanted: usize },
    /// NO_REASSIGNMENT_IN_PROGRESS
    #[error("No partition reassignment is in progress.")]
    NoneInProgress,
    /// INVALID_REPLICA_ASSIGNMENT: only replicas that would be dropped have what was acknowledged.
    #[error(
        "Unable to revert partition assignment for {topic}:{partition} because it would require an unclean leader election."
    )]
    OnlyDroppedInSync { topic: String, partition: PartitionId },
    /// POLICY_VIOLATION
    #[error("Unable to perform excessively large batch operation.")]
    TooManyRecords,
}

/// Decides on an AlterPartitionReassignments request. `may_change_replication_factor` is its
/// `allow_replication_factor_change` (KIP-860).
///
/// Whoever asks for another number of replicas of a partition of `__consumer_offsets`, or takes back one that is on its way,
/// has chosen: the controller does not raise it any more ([`super::raise_offsets_replication_factor`]).
pub fn alter_partition_reassignments(
    image: &MetadataImage,
    may_change_replication_factor: bool,
    wanted: &[WantedReassignment],
) -> Decision<PartitionName, (), ReassignmentError> {
    let (mut records, answers) = reassignments(image, may_change_replication_factor, wanted);
    let choices: Vec<MetadataRecord> = records.iter().filter_map(|record| choice(image, record)).collect();
    records.extend(choices);
    (records, answers)
}

/// The record of a choice that comes with a reassignment's.
fn choice(image: &MetadataImage, reassigned: &MetadataRecord) -> Option<MetadataRecord> {
    let (topic_id, partition, state) = PartitionImage::of_record(reassigned)?;
    let topic = image.topic_by_id(topic_id).filter(|topic| *topic.name == *OFFSETS_TOPIC)?;
    let before = topic.partition(partition)?;
    let is_choice = target_of(before).len() != target_of(&state).len() && !topic.is_replica_count_chosen(partition);
    is_choice.then_some(MetadataRecord::ReplicaCountChosen { topic_id, partition })
}

/// As [`alter_partition_reassignments`], whoever wants it.
pub(super) fn reassignments(
    image: &MetadataImage,
    may_change_replication_factor: bool,
    wanted: &[WantedReassignment],
) -> Decision<PartitionName, (), ReassignmentError> {
    let mut changes = PartitionChanges::new(image);
    let mut answers = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let answer = reassign(&mut changes, may_change_replication_factor, wanted);
        answers.push(((wanted.topic.clone(), wanted.partition), answer));
    }
    (changes.into_records(), answers)
}

fn reassign(
    changes: &mut PartitionChanges<'_>,
    may_change_replication_factor: bool,
    wanted: &WantedReassignment,
) -> Result<(), ReassignmentError> {
    let (image, partition) = (changes.image(), wanted.partition);
    let Some(topic) = image.topic(&wanted.topic) else {
        return Err(ReassignmentError::UnknownTopic { topic: shown(&wanted.topic) });
    };
    let Some(state) = changes.state(topic, partition) else {
        return Err(ReassignmentError::UnknownPartition { topic: wanted.topic.clone(), partition });
    };
    let next = match &wanted.target {
        None if state.reassignment.is_none() => return Err(ReassignmentError::NoneInProgress),
        None => towards(image, topic, partition, state, &original(state)),
        Some(target) => {
            check_manual(image, target, None)?;
            let (current, wanted) = (target_of(state).len(), target.len());
            if current != wanted && !may_change_replication_factor {
                return Err(ReassignmentError::OtherReplicationFactor { current, wanted });
            }
            towards(image, topic, partition, state, target)
        }
    };
    let next = next.ok_or_else(|| ReassignmentError::OnlyDroppedInSync { topic: wanted.topic.clone(), partition })?;
    let same = PartitionImage { partition_epoch: state.partition_epoch, ..next.clone() } == *state;
    if !same && !changes.has_room() {
        return Err(ReassignmentError::TooManyRecords);
    }
    if !same {
        changes.set(topic, partition, next);
    }
    Ok(())
}

/// The topic's partition once this is its ISR: a reassignment whose target is in sync is complete then.
pub(super) fn with_isr(
    image: &MetadataImage,
    topic: &TopicImage,
    partition: PartitionId,
    state: &PartitionImage,
    isr: &[BrokerId],
) -> PartitionImage {
    state.changed(|changed| {
        changed.isr = isr.into();
        settle(Electorate::of(image), topic, partition, state, changed);
    })
}

/// The partition on its way to `target`, or there. `None` if those that are dropped are all that is in sync, or, where nobody
/// is, all that is eligible: nobody else has what was acknowledged, or nobody else who serves.
fn towards(
    image: &MetadataImage,
    topic: &TopicImage,
    partition: PartitionId,
    state: &PartitionImage,
    target: &[BrokerId],
) -> Option<PartitionImage> {
    let original = original(state);
    let (adding, removing) = (sorted(without(target, &original)), sorted(without(&original, target)));
    let replicas = [target, removing.as_slice()].concat();
    let isr: Vec<BrokerId> = state.isr.iter().copied().filter(|member| replicas.contains(member)).collect();
    let kept = if state.isr.is_empty() { &state.elr } else { &state.isr };
    if !kept.iter().any(|member| replicas.contains(member)) {
        return None;
    }
    let moves = !adding.is_empty() || !removing.is_empty();
    Some(state.changed(|changed| {
        changed.replicas = replicas.into();
        changed.isr = isr.into();
        changed.reassignment = moves.then(|| Arc::new(Reassignment { adding, removing }));
        settle(Electorate::of(image), topic, partition, state, changed);
    }))
}

/// The replicas that the partition had before its reassignment, or has.
fn original(state: &PartitionImage) -> Vec<BrokerId> {
    without(&state.replicas, state.reassignment.as_ref().map_or(&[], |moving| &moving.adding))
}

fn without(brokers: &[BrokerId], others: &[BrokerId]) -> Vec<BrokerId> {
    brokers.iter().copied().filter(|broker| !others.contains(broker)).collect()
}

fn sorted(mut brokers: Vec<BrokerId>) -> Vec<BrokerId> {
    brokers.sort_unstable();
    brokers
}
