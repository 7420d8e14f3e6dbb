//! What every change of a partition brings with it, in Kafka's order (`PartitionChangeBuilder`): a reassignment whose target
//! is in sync is complete, replicas that left an ISR which is too small now are eligible to lead (KIP-966), and somebody
//! leads if anybody may.
//!
//! **Why an eligible leader has all that is committed.** Nothing is committed while the ISR is below `min.insync.replicas`.
//! Whoever leaves the ISR then has all that was committed before, and whatever it misses later is not committed until the ISR
//! is large enough again, which is when nobody is eligible any more. Kafka takes brokers that did not stop in order out of
//! these lists, since what they acknowledged may not have been on their disks; here the high watermark counts what is on
//! disk alone, so they stay.

use crate::image::{MetadataImage, PartitionImage, TopicImage, shared};
use protocol::newtypes::BrokerId;

/// The partition of that topic after a change that `changed` begins, where `may_lead` are the brokers that are let in.
pub(super) fn settle(
    image: &MetadataImage,
    topic: &TopicImage,
    before: &PartitionImage,
    changed: &mut PartitionImage,
    may_lead: impl Fn(BrokerId) -> bool,
) {
    let left = before.isr.iter().chain(before.elr.iter()).copied().collect();
    let has_led = before.leader.filter(|_| !before.isr.is_empty());
    complete_reassignment(changed);
    changed.elr = eligible(changed, left);
    let leader = match changed.leader {
        Some(leader) if changed.isr.contains(&leader) && may_lead(leader) => Some(leader),
        _ => candidate(changed, may_lead),
    };
    if let Some(leader) = leader.filter(|leader| !changed.isr.contains(leader)) {
        changed.isr = [leader].into();
        complete_reassignment(changed);
        changed.elr = eligible(changed, changed.elr.to_vec());
    }
    // With fewer replicas than that, all of them are enough, and then nobody is left to be eligible.
    if !changed.elr.is_empty() && is_at_least(changed.isr.len(), image.min_insync_replicas(&topic.name)) {
        changed.elr = shared(&[]);
    }
    let last_known = match leader {
        Some(_) => Vec::new(),
        None if changed.isr.is_empty() && has_led.is_some() => has_led.into_iter().collect(),
        None => before.last_known_elr.to_vec(),
    };
    changed.last_known_elr = shared(&among(&last_known, &changed.replicas));
    // A new epoch also where replicas have left: what they still ask for is refused (KAFKA-12870).
    let has_left = before.replicas.iter().any(|replica| !changed.replicas.contains(replica));
    if leader != changed.leader || has_left {
        changed.elect(leader);
    }
}

/// The first replica in order of preference that is in sync and may lead; where nobody is in sync, that is eligible and may.
pub(super) fn candidate(state: &PartitionImage, may_lead: impl Fn(BrokerId) -> bool) -> Option<BrokerId> {
    let pool = if state.isr.is_empty() { &state.elr } else { &state.isr };
    state.replicas.iter().copied().find(|replica| pool.contains(replica) && may_lead(*replica))
}

/// The replicas that the partition will have, or has if they stay.
pub(super) fn target_of(state: &PartitionImage) -> Vec<BrokerId> {
    let Some(moving) = &state.reassignment else { return state.replicas.to_vec() };
    state.replicas.iter().copied().filter(|replica| !moving.removing.contains(replica)).collect()
}

fn complete_reassignment(changed: &mut PartitionImage) {
    let target = target_of(changed);
    if changed.reassignment.is_some() && target.iter().all(|replica| changed.isr.contains(replica)) {
        changed.isr = shared(&among(&changed.isr, &target));
        changed.replicas = target.into();
        changed.reassignment = None;
    }
}

/// Of these brokers, the replicas that are not in sync; in order of id, as Kafka shows them.
fn eligible(state: &PartitionImage, mut brokers: Vec<BrokerId>) -> std::sync::Arc<[BrokerId]> {
    brokers.retain(|broker| state.replicas.contains(broker) && !state.isr.contains(broker));
    brokers.sort_unstable();
    brokers.dedup();
    shared(&brokers)
}

fn is_at_least(isr_size: usize, min_insync_replicas: i32) -> bool {
    i32::try_from(isr_size).is_ok_and(|size| size >= min_insync_replicas.max(1))
}

fn among(brokers: &[BrokerId], others: &[BrokerId]) -> Vec<BrokerId> {
    brokers.iter().copied().filter(|broker| others.contains(broker)).collect()
}
