//! AlterPartition (KIP-497, KIP-841, KIP-903): the leader of a partition says who is in sync.
//!
//! A change is made by whoever leads at the partition's leader epoch, on the very state that it names by its partition
//! epoch. Every change that is accepted raises the partition epoch, also one to the ISR that there is already (Kafka makes no
//! record of that one): a leader that never heard what became of a change asks again, and whatever it is answered, or sees
//! in the image, says for certain which ISR is in force.

use super::brokers::StaleBroker;
use super::partition_changes::PartitionChanges;
use super::reassignments::with_isr;
use super::{Decision, RECORDS_PER_REQUEST_MAX, repeated};
use crate::image::{MetadataImage, PartitionImage};
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use serde::{Deserialize, Serialize};

/// One partition of an AlterPartition request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrChange {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    /// At which the broker that asks leads.
    pub leader_epoch: LeaderEpoch,
    /// Of the state that it changes.
    pub partition_epoch: i32,
    /// Who is in sync, the leader included, and the broker epoch of the process that is (KIP-903): one that has started
    /// since may have lost what made it be in sync.
    pub new_isr: Vec<(BrokerId, u64)>,
}

/// A partition as AlterPartition names it: by its topic's id and its own.
pub type PartitionKey = (TopicId, PartitionId);

/// Why an ISR stays as it is. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterPartitionError {
    /// UNKNOWN_TOPIC_ID
    #[error("there is no topic with id {topic_id}")]
    UnknownTopicId { topic_id: TopicId },
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("topic id {topic_id} has partitions 0 to {}, and not {partition}", count - 1)]
    UnknownPartition { topic_id: TopicId, partition: PartitionId, count: i32 },
    /// NOT_CONTROLLER: whoever knows more than this controller has heard it from another one.
    #[error("{field} {found} is newer than {current}, the newest that this controller knows")]
    NewerThanController { field: &'static str, found: i32, current: i32 },
    /// FENCED_LEADER_EPOCH
    #[error("leader epoch {found} is over, the current one is {current}")]
    FencedLeaderEpoch { found: LeaderEpoch, current: LeaderEpoch },
    /// NOT_LEADER_OR_FOLLOWER; INVALID_REQUEST in Kafka, where brokers ask nothing else with it.
    #[error("broker {broker} does not lead at leader epoch {leader_epoch}, {} does", name(*leader))]
    NotLeader { broker: BrokerId, leader_epoch: LeaderEpoch, leader: Option<BrokerId> },
    /// INVALID_UPDATE_VERSION
    #[error("partition epoch {found} is over, the current one is {current}")]
    OldPartitionEpoch { found: i32, current: i32 },
    /// INVALID_REQUEST
    #[error("the ISR {isr:?} does not hold leader {leader}")]
    WithoutLeader { leader: BrokerId, isr: Vec<BrokerId> },
    /// INVALID_REQUEST
    #[error("the ISR {isr:?} holds broker {broker}, which is none of the replicas {replicas:?}")]
    NoReplica { broker: BrokerId, isr: Vec<BrokerId>, replicas: Vec<BrokerId> },
    /// INVALID_REQUEST
    #[error("the ISR {isr:?} holds broker {broker} more than once")]
    Repeated { broker: BrokerId, isr: Vec<BrokerId> },
    /// INELIGIBLE_REPLICA
    #[error("broker {broker} cannot be in sync: {reason}")]
    Ineligible { broker: BrokerId, reason: Ineligible },
    /// POLICY_VIOLATION
    #[error("more than {RECORDS_PER_REQUEST_MAX} partitions in one request")]
    TooManyRecords,
}

/// Why a broker cannot be in an ISR (KIP-841).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    #[error("it is not registered")]
    NotRegistered,
    #[error("it is fenced")]
    Fenced,
    #[error("its broker epoch is {current}, and the ISR is asked for with {found}")]
    OtherBrokerEpoch { found: u64, current: u64 },
}

fn name(broker: Option<BrokerId>) -> String {
    broker.map_or("nobody".to_owned(), |broker| format!("broker {broker}"))
}

/// Decides on the AlterPartition request of a broker's process: records, and what each change is answered, the partition's
/// new epoch where it is made. The changes are decided together: one that names a partition again is decided on what the one
/// before has made of it. A reassignment whose target is in sync then is complete, and may have taken the lead from whoever
/// asks; it learns that, as everything, from the metadata. (Kafka answers NEW_LEADER_ELECTED then.)
///
/// # Errors
/// STALE_BROKER_EPOCH, for the request as a whole, where another process of this broker has registered since.
pub fn alter_partition(
    image: &MetadataImage,
    broker: BrokerId,
    broker_epoch: u64,
    changes: &[IsrChange],
) -> Result<Decision<PartitionKey, i32, AlterPartitionError>, StaleBroker> {
    let current = image.broker(broker).map(|known| known.epoch);
    if current != Some(broker_epoch) {
        return Err(StaleBroker { broker, epoch: broker_epoch, current });
    }
    let mut made = PartitionChanges::new(image);
    let answers = changes.iter().map(|change| ((change.topic_id, change.partition), alter(&mut made, broker, change)));
    let answers = answers.collect();
    Ok((made.into_records(), answers))
}

fn alter(made: &mut PartitionChanges<'_>, broker: BrokerId, change: &IsrChange) -> Result<i32, AlterPartitionError> {
    let (image, topic_id, partition) = (made.image(), change.topic_id, change.partition);
    let topic = image.topic_by_id(topic_id).ok_or(AlterPartitionError::UnknownTopicId { topic_id })?;
    let Some(state) = made.state(topic, partition) else {
        return Err(AlterPartitionError::UnknownPartition { topic_id, partition, count: topic.partition_count() });
    };
    check_epochs(state, broker, change)?;
    check_isr(image, state, broker, &change.new_isr)?;
    if !made.has_room() {
        return Err(AlterPartitionError::TooManyRecords);
    }
    let isr: Vec<BrokerId> = change.new_isr.iter().map(|(member, _)| *member).collect();
    let next = with_isr(image, topic, partition, state, &isr);
    let partition_epoch = next.partition_epoch;
    made.set(topic, partition, next);
    Ok(partition_epoch)
}

/// In the order in which Kafka checks.
fn check_epochs(state: &PartitionImage, broker: BrokerId, change: &IsrChange) -> Result<(), AlterPartitionError> {
    let epochs = [
        ("leader epoch", change.leader_epoch.0, state.leader_epoch.0),
        ("partition epoch", change.partition_epoch, state.partition_epoch),
    ];
    if let Some((field, found, current)) = epochs.into_iter().find(|(_, found, current)| found > current) {
        return Err(AlterPartitionError::NewerThanController { field, found, current });
    }
    let (found, current) = (change.leader_epoch, state.leader_epoch);
    if found < current {
        return Err(AlterPartitionError::FencedLeaderEpoch { found, current });
    }
    if state.leader != Some(broker) {
        return Err(AlterPartitionError::NotLeader { broker, leader_epoch: current, leader: state.leader });
    }
    let (found, current) = (change.partition_epoch, state.partition_epoch);
    if found < current {
        return Err(AlterPartitionError::OldPartitionEpoch { found, current });
    }
    Ok(())
}

fn check_isr(
    image: &MetadataImage,
    state: &PartitionImage,
    leader: BrokerId,
    new_isr: &[(BrokerId, u64)],
) -> Result<(), AlterPartitionError> {
    let isr = || new_isr.iter().map(|(member, _)| *member).collect::<Vec<_>>();
    if let Some((broker, _)) = new_isr.iter().copied().find(|(member, _)| !state.replicas.contains(member)) {
        return Err(AlterPartitionError::NoReplica { broker, isr: isr(), replicas: state.replicas.to_vec() });
    }
    if let Some(broker) = repeated(new_isr.iter().map(|(member, _)| *member)).first().copied() {
        return Err(AlterPartitionError::Repeated { broker, isr: isr() });
    }
    if !new_isr.iter().any(|(member, _)| *member == leader) {
        return Err(AlterPartitionError::WithoutLeader { leader, isr: isr() });
    }
    for (broker, found) in new_isr.iter().copied() {
        let reason = match image.broker(broker) {
            None => Ineligible::NotRegistered,
            Some(known) if known.is_fenced() => Ineligible::Fenced,
            Some(known) if known.epoch != found => Ineligible::OtherBrokerEpoch { found, current: known.epoch },
            Some(_) => continue,
        };
        return Err(AlterPartitionError::Ineligible { broker, reason });
    }
    Ok(())
}
