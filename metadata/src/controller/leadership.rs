//! Who leads when a broker goes or comes.
//!
//! Only in-sync replicas lead. A broker that goes leaves the ISR of every partition that has another member in sync; where it
//! is the last one it stays, since nobody else holds what was acknowledged.

use crate::image::{MetadataImage, PartitionImage};
use crate::record::MetadataRecord;
use protocol::newtypes::BrokerId;

/// The first replica in order of preference that is in sync and may lead.
pub(super) fn candidate(state: &PartitionImage, may_lead: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
    state.replicas.iter().copied().find(|replica| state.isr.contains(replica) && may_lead(*replica))
}

/// Changes of partitions that a broker has a part in, when it is gone.
pub(super) fn without(image: &MetadataImage, gone: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |state| {
        let (leads, in_sync) = (state.leader == Some(gone), state.isr.contains(&gone));
        let leaves_isr = in_sync && state.isr.len() > 1;
        (leads || leaves_isr).then(|| {
            state.changed(|changed| {
                if leaves_isr {
                    changed.isr = state.isr.iter().copied().filter(|member| *member != gone).collect();
                }
                if leads {
                    let next = candidate(changed, |replica| replica != gone && image.is_unfenced(replica));
                    changed.elect(next);
                }
            })
        })
    })
}

/// Changes of partitions that nobody leads and that a broker may lead, when it is let in.
pub(super) fn with(image: &MetadataImage, come: BrokerId) -> impl Iterator<Item = MetadataRecord> + '_ {
    changes(image, move |state| {
        let may_lead = |replica| replica == come || image.is_unfenced(replica);
        let next = candidate(state, may_lead).filter(|_| state.leader.is_none())?;
        Some(state.changed(|changed| changed.elect(Some(next))))
    })
}

/// Partitions, as `topic-partition`, of which nobody but this broker is in sync although others have replicas.
pub(super) fn only_in_sync(image: &MetadataImage, broker: BrokerId) -> impl Iterator<Item = String> + '_ {
    let partitions = image.topics().flat_map(|topic| topic.partitions().map(move |(id, state)| (topic, id, state)));
    let alone = partitions.filter(move |(_, _, state)| *state.isr == [broker] && state.replicas.len() > 1);
    alone.map(|(topic, id, _)| format!("{}-{id}", topic.name))
}

fn changes(
    image: &MetadataImage,
    change: impl Fn(&PartitionImage) -> Option<PartitionImage> + Copy,
) -> impl Iterator<Item = MetadataRecord> {
    image.topics().flat_map(move |topic| {
        topic.partitions().filter_map(move |(id, state)| Some(change(state)?.to_record(topic.id, id)))
    })
}
