//! What every change of a partition brings with it, in Kafka's order (`PartitionChangeBuilder`): a reassignment whose target
//! is in sync is complete, replicas that left an ISR which is too small now are eligible to lead (KIP-966), and somebody
//! leads if anybody may ([`candidates`]).
//!
//! **Why an eligible leader has all that is committed.** Nothing is committed while the ISR is below `min.insync.replicas`.
//! Whoever leaves the ISR then has all that was committed before, and whatever it misses later is not committed until the ISR
//! is large enough again, which is when nobody is eligible any more. Kafka takes brokers that did not stop in order out of
//! these lists, since what they acknowledged may not have been on their disks; here the high watermark counts what is on
//! disk alone, so they stay.

use super::log_ends::{LogEnds, Told};
use crate::image::{MetadataImage, PartitionImage, TopicImage, shared};
use protocol::newtypes::{BrokerId, PartitionId};

/// Who may be elected in an image, and what is known of their logs.
#[derive(Clone, Copy)]
pub(super) struct Electorate<'a> {
    image: &'a MetadataImage,
    ends: Option<&'a LogEnds>,
    come: Option<BrokerId>,
    gone: Option<BrokerId>,
    lost: bool,
}

impl<'a> Electorate<'a> {
    /// The brokers that are let in, whose logs nobody has asked for.
    pub fn of(image: &'a MetadataImage) -> Electorate<'a> {
        Electorate { image, ends: None, come: None, gone: None, lost: false }
    }

    /// What is known of brokers' logs.
    pub fn knowing(self, ends: &'a LogEnds) -> Electorate<'a> {
        Electorate { ends: Some(ends), ..self }
    }

    /// Without a broker that may not lead now.
    pub fn without(image: &'a MetadataImage, gone: BrokerId) -> Electorate<'a> {
        Electorate { gone: Some(gone), ..Electorate::of(image) }
    }

    /// Without a broker that may not lead, also when it comes back: it has lost something.
    pub fn without_for_good(image: &'a MetadataImage, gone: BrokerId) -> Electorate<'a> {
        Electorate { lost: true, ..Electorate::without(image, gone) }
    }

    /// With a broker that is just being let in.
    pub fn with(image: &'a MetadataImage, come: BrokerId) -> Electorate<'a> {
        Electorate { come: Some(come), ..Electorate::of(image) }
    }

    pub fn admits(&self, replica: BrokerId) -> bool {
        self.gone != Some(replica) && (self.come == Some(replica) || self.image.is_unfenced(replica))
    }

    /// Of these, in order of preference, the one that is let in and has the longest log: one that has told nothing comes after
    /// all that have an end, one whose log is not open comes last, and of equals the first leads.
    pub fn choose(&self, topic: &TopicImage, partition: PartitionId, pool: &[BrokerId]) -> Option<BrokerId> {
        let admitted = pool.iter().copied().filter(|replica| self.admits(*replica));
        // Of equal maxima the last is taken.
        admitted.rev().max_by_key(|replica| self.told(topic, partition, *replica))
    }

    /// As [`Electorate::choose`], where nobody need lead: none whose log is not open.
    pub fn choose_open(&self, topic: &TopicImage, partition: PartitionId, pool: &[BrokerId]) -> Option<BrokerId> {
        let chosen = self.choose(topic, partition, pool);
        chosen.filter(|replica| self.told(topic, partition, *replica) != Told::NotOpen)
    }

    fn told(&self, topic: &TopicImage, partition: PartitionId, replica: BrokerId) -> Told {
        self.ends.map_or(Told::Nothing, |ends| ends.of(topic.id, partition, replica))
    }
}

/// The partition of that topic after a change that `changed` begins.
pub(super) fn settle(
    electorate: Electorate<'_>,
    topic: &TopicImage,
    partition: PartitionId,
    before: &PartitionImage,
    changed: &mut PartitionImage,
) {
    let left = before.isr.iter().chain(before.elr.iter()).copied();
    let left = left.filter(|member| !electorate.lost || electorate.gone != Some(*member)).collect();
    let has_led = before.leader.filter(|_| !before.isr.is_empty());
    complete_reassignment(changed);
    changed.elr = eligible(changed, left);
    let leader = match changed.leader {
        Some(leader) if changed.isr.contains(&leader) && electorate.admits(leader) => Some(leader),
        _ => electorate.choose(topic, partition, &candidates(changed, None)),
    };
    if let Some(leader) = leader.filter(|leader| !changed.isr.contains(leader)) {
        changed.isr = [leader].into();
        complete_reassignment(changed);
        changed.elr = eligible(changed, changed.elr.to_vec());
    }
    // With fewer replicas than that, all of them are enough, and then nobody is left to be eligible.
    let min_insync_replicas = electorate.image.min_insync_replicas(&topic.name);
    if !changed.elr.is_empty() && is_at_least(changed.isr.len(), min_insync_replicas) {
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

/// Who may lead if they are let in, in order of preference: replicas in sync, but for the one that is gone; where there is none,
/// those that are eligible; where there is none either, whoever led last, who has all that anybody has (KIP-966).
pub(super) fn candidates(state: &PartitionImage, gone: Option<BrokerId>) -> Vec<BrokerId> {
    let among = |pool: &[BrokerId]| {
        let is_in = |replica: &BrokerId| pool.contains(replica) && gone != Some(*replica);
        state.replicas.iter().copied().filter(is_in).collect::<Vec<_>>()
    };
    let in_sync = among(&state.isr);
    if !in_sync.is_empty() {
        return in_sync;
    }
    match &*state.last_known_elr {
        [last] if state.isr.is_empty() && state.elr.is_empty() => among(&[*last]),
        _ => among(&state.elr),
    }
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
