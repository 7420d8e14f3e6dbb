//! ElectLeaders (KIP-460): the preferred replica back in the lead, or, where nobody in sync is left, any replica that is alive.

use super::leadership::led_uncleanly;
use super::log_ends::LogEnds;
use super::partition_changes::PartitionChanges;
use super::settle::Electorate;
use super::{Decision, PartitionName};
use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use crate::shown::shown;
use protocol::newtypes::PartitionId;
use serde::{Deserialize, Serialize};

/// Who is to lead; the numbers are ElectLeaders' `ElectionType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i8)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred = 0,
    /// Where there is no leader: of the replicas that are alive and open, in sync or not, the one with the longest log. What
    /// only others had is lost.
    Unclean = 1,
}

impl ElectionType {
    /// The election of this number on the wire.
    ///
    /// # Errors
    /// INVALID_REQUEST for a number that means none.
    pub fn from_wire(id: i8) -> Result<ElectionType, UnknownElectionType> {
        match id {
            0 => Ok(ElectionType::Preferred),
            1 => Ok(ElectionType::Unclean),
            _ => Err(UnknownElectionType { id }),
        }
    }
}

/// INVALID_REQUEST
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown election type {id}")]
pub struct UnknownElectionType {
    pub id: i8,
}

/// Elections of one step of balancing (Kafka's limit).
pub const BALANCED_AT_ONCE_MAX: usize = 1000;

/// Why there is no election. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectLeadersError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("No such topic as {topic}")]
    UnknownTopic { topic: String },
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("No such partition as {topic}-{partition}")]
    UnknownPartition { topic: String, partition: PartitionId },
    /// ELECTION_NOT_NEEDED
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    /// PREFERRED_LEADER_NOT_AVAILABLE
    #[error("The preferred leader was not available.")]
    PreferredNotAvailable,
    /// ELIGIBLE_LEADERS_NOT_AVAILABLE
    #[error("Eligible topic partition leaders are not available.")]
    NoneEligible,
    /// POLICY_VIOLATION
    #[error("Unable to perform excessively large batch operation.")]
    TooManyRecords,
}

/// Decides on an ElectLeaders request, for these partitions or (`None`) for all. Of all, those that need no election are
/// left out of the answers, as in Kafka. `ends` is what replicas have told of their logs, for unclean elections.
pub fn elect_leaders(
    image: &MetadataImage,
    election: ElectionType,
    partitions: Option<&[PartitionName]>,
    ends: &LogEnds,
) -> Decision<PartitionName, (), ElectLeadersError> {
    let mut changes = PartitionChanges::new(image);
    let mut answers = Vec::new();
    match partitions {
        Some(partitions) => {
            for (topic, partition) in partitions {
                let answer = elect(&mut changes, election, ends, topic, *partition);
                answers.push(((topic.clone(), *partition), answer));
            }
        }
        None => {
            for topic in image.topics() {
                for (partition, _) in topic.partitions() {
                    let answer = elect(&mut changes, election, ends, &topic.name, partition);
                    if answer != Err(ElectLeadersError::NotNeeded) {
                        answers.push(((topic.name.to_string(), partition), answer));
                    }
                }
            }
        }
    }
    (changes.into_records(), answers)
}

/// Gives leadership back to first replicas that are in sync (`auto.leader.rebalance.enable`), of so many partitions at once.
#[must_use]
pub fn balance_leaders(image: &MetadataImage) -> Vec<MetadataRecord> {
    let (mut records, _) = elect_leaders(image, ElectionType::Preferred, None, &LogEnds::default());
    records.truncate(BALANCED_AT_ONCE_MAX);
    records
}

fn elect(
    changes: &mut PartitionChanges<'_>,
    election: ElectionType,
    ends: &LogEnds,
    topic: &str,
    partition: PartitionId,
) -> Result<(), ElectLeadersError> {
    let image = changes.image();
    let Some(found) = image.topic(topic) else {
        return Err(ElectLeadersError::UnknownTopic { topic: shown(topic) });
    };
    let Some(state) = changes.state(found, partition) else {
        return Err(ElectLeadersError::UnknownPartition { topic: topic.to_owned(), partition });
    };
    let next = match election {
        ElectionType::Preferred => {
            let preferred = state.replicas.first().copied();
            if state.leader == preferred {
                return Err(ElectLeadersError::NotNeeded);
            }
            let available = preferred.filter(|replica| state.isr.contains(replica) && image.is_unfenced(*replica));
            let leader = available.ok_or(ElectLeadersError::PreferredNotAvailable)?;
            state.changed(|changed| changed.elect(Some(leader)))
        }
        ElectionType::Unclean => {
            if state.leader.is_some() {
                return Err(ElectLeadersError::NotNeeded);
            }
            // In sync or eligible there is nobody alive, or it would lead.
            let leader = Electorate::of(image).knowing(ends).choose_open(found, partition, &state.replicas);
            led_uncleanly(image, found, partition, state, leader.ok_or(ElectLeadersError::NoneEligible)?)
        }
    };
    if !changes.has_room() {
        return Err(ElectLeadersError::TooManyRecords);
    }
    changes.set(found, partition, next);
    Ok(())
}
