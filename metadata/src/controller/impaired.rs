//! Replicas that are not what the metadata takes them for: their broker says so, and they leave ISR and eligible leaders
//! (KIP-966 takes those of a broker that did not stop in order out of them; here each replica is told of by itself).

use super::brokers::StaleBroker;
use super::leadership::left_by;
use super::partition_changes::PartitionChanges;
use super::settle::Electorate;
use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use protocol::newtypes::{BrokerId, PartitionId, TopicId};
use serde::{Deserialize, Serialize};

/// What is wrong with a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Impairment {
    /// It lacks records that it had acknowledged or called committed.
    Lost,
    /// Its log is damaged and cannot be opened.
    Damaged,
    /// Its log cannot be opened at the moment, and may have all that it had.
    Closed,
}

/// A replica of the broker that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImpairedReplica {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub impairment: Impairment,
}

/// Takes replicas out of ISR and eligible leaders; whoever else has all that is committed leads instead. A broker tells of what
/// it finds at its start before it asks to be let in, and of what comes later as it comes; of no more at once than
/// [`RECORDS_PER_REQUEST_MAX`](super::RECORDS_PER_REQUEST_MAX).
///
/// A replica that alone has what is committed stays what it is: a log that cannot be opened may be opened yet, or restored, and
/// nobody has what one that serves has lost. One that has lost records and does not serve yet is eligible no more; if nobody is then, it
/// leads again only if it was the last to lead, as in Kafka.
///
/// # Errors
/// STALE_BROKER_EPOCH where another process of this broker has registered since.
pub fn report_impaired(
    image: &MetadataImage,
    broker: BrokerId,
    broker_epoch: u64,
    replicas: &[ImpairedReplica],
) -> Result<Vec<MetadataRecord>, StaleBroker> {
    let current = image.broker(broker).map(|known| known.epoch);
    if current != Some(broker_epoch) {
        return Err(StaleBroker { broker, epoch: broker_epoch, current });
    }
    let mut changes = PartitionChanges::new(image);
    for ImpairedReplica { topic_id, partition, impairment } in replicas {
        let Some(topic) = image.topic_by_id(*topic_id) else { continue };
        let Some(state) = changes.state(topic, *partition) else { continue };
        let others = |may: &dyn Fn(BrokerId) -> bool| {
            state.isr.iter().chain(state.elr.iter()).any(|member| *member != broker && may(*member))
        };
        let others = match impairment {
            Impairment::Lost | Impairment::Damaged => others(&|_| true),
            // Those that are away may never come back.
            Impairment::Closed => others(&|member| image.is_unfenced(member)),
        };
        let leaves_isr = state.isr.contains(&broker) && others;
        let leaves_elr = state.elr.contains(&broker) && (others || *impairment == Impairment::Lost);
        if !leaves_isr && !leaves_elr {
            continue;
        }
        let next = left_by(Electorate::without_for_good(image, broker), topic, *partition, state, broker);
        changes.set(topic, *partition, next);
    }
    Ok(changes.into_records())
}
