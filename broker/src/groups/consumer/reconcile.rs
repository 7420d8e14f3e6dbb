//! Brings what a member has one step closer to what it is to have (Kafka's `CurrentAssignmentBuilder`).
//!
//! Two rules keep a partition from having two owners: a member gets a partition only when nobody has it, and who is to
//! give one up keeps it, and its epoch, until its own report of what it owns leaves it out.

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use protocol::TopicId;

use super::super::assignor::Assignment;
use super::super::records::consumer_group::{
    AssignmentWithEpochs, ConsumerGroupCurrentMemberAssignmentValue as CurrentAssignment,
};
use super::member::{ConsumerMember, MemberState};

/// The member is in a state that this version does not know and has to start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct UnknownState;

/// What a member's next step depends on.
pub(in crate::groups) struct Reconciliation<'a> {
    pub(in crate::groups) member: &'a ConsumerMember,
    pub(in crate::groups) target_epoch: i32,
    pub(in crate::groups) target: &'a Assignment,
    /// The member has changed what it subscribes to, so that it may have partitions of topics that it does not any more.
    pub(in crate::groups) subscription_changed: bool,
    pub(in crate::groups) is_subscribed: &'a dyn Fn(TopicId) -> bool,
    /// Whether any member has the partition.
    pub(in crate::groups) is_owned: &'a dyn Fn(TopicId, i32) -> bool,
    /// What the member says it owns; `None` when it does not say.
    pub(in crate::groups) owned: Option<&'a [TopicPartitions]>,
}

impl Reconciliation<'_> {
    /// The member's next current assignment, which may be the one it has.
    pub(in crate::groups) fn next(&self) -> Result<CurrentAssignment, UnknownState> {
        let current = &*self.member.current;
        Ok(match self.member.state() {
            MemberState::Stable if self.member.epoch() != self.target_epoch => {
                self.towards_target(current.member_epoch)
            }
            MemberState::Stable if self.subscription_changed => self.within_subscription(),
            MemberState::Stable => current.clone(),
            MemberState::UnrevokedPartitions if self.still_owns(&current.pending_revocation) => {
                if self.subscription_changed { self.within_subscription() } else { current.clone() }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.towards_target(current.member_epoch)
            }
            MemberState::Unknown => match self.owned {
                // It says that it has nothing, so nothing can go wrong.
                Some([]) => self.towards_target(self.target_epoch),
                _ => return Err(UnknownState),
            },
        })
    }

    /// Whether the member still has any of these partitions. One that does not say may.
    fn still_owns(&self, partitions: &AssignmentWithEpochs) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|topic| {
            partitions
                .get(&TopicId(topic.topic_id))
                .is_some_and(|meant| topic.partitions.iter().any(|partition| meant.contains_key(partition)))
        })
    }

    fn current(&self, state: MemberState, epoch: i32) -> CurrentAssignment {
        CurrentAssignment {
            member_epoch: epoch,
            previous_member_epoch: self.member.epoch(),
            state: state.number(),
            assigned: AssignmentWithEpochs::new(),
            pending_revocation: AssignmentWithEpochs::new(),
        }
    }

    /// Takes away what the member does not subscribe to any more, and leaves the rest as it is.
    fn within_subscription(&self) -> CurrentAssignment {
        let current = &*self.member.current;
        let (kept, lost): (AssignmentWithEpochs, AssignmentWithEpochs) =
            current.assigned.clone().into_iter().partition(|(topic, _)| (self.is_subscribed)(*topic));
        if lost.is_empty() {
            return current.clone();
        }
        let mut pending = current.pending_revocation.clone();
        for (topic, partitions) in lost {
            pending.entry(topic).or_default().extend(partitions);
        }
        if self.still_owns(&pending) {
            let next = self.current(MemberState::UnrevokedPartitions, current.member_epoch);
            CurrentAssignment { assigned: kept, pending_revocation: pending, ..next }
        } else {
            // It has given them up already.
            CurrentAssignment { assigned: kept, ..self.current(self.member.state(), current.member_epoch) }
        }
    }

    fn towards_target(&self, epoch: i32) -> CurrentAssignment {
        let current = &*self.member.current;
        let mut assigned = AssignmentWithEpochs::new();
        let mut revoked = AssignmentWithEpochs::new();
        let mut added: Vec<(TopicId, i32)> = Vec::new();
        let mut waits = false;
        let nothing = BTreeSet::new();
        let topics: BTreeSet<TopicId> = self.target.keys().chain(current.assigned.keys()).copied().collect();
        for topic in topics {
            let target = self.target.get(&topic).filter(|_| (self.is_subscribed)(topic)).unwrap_or(&nothing);
            let has = current.assigned.get(&topic);
            for (partition, since) in has.into_iter().flatten() {
                let set = if target.contains(partition) { &mut assigned } else { &mut revoked };
                set.entry(topic).or_default().insert(*partition, *since);
            }
            for partition in target {
                if has.is_some_and(|has| has.contains_key(partition)) {
                    continue;
                }
                // Its own, on its way out, is as good as free: a partition has one owner.
                let own = current.pending_revocation.get(&topic).is_some_and(|own| own.contains_key(partition));
                if !own && (self.is_owned)(topic, *partition) {
                    waits = true;
                } else {
                    added.push((topic, *partition));
                }
            }
        }
        if !revoked.is_empty() && self.still_owns(&revoked) {
            let next = self.current(MemberState::UnrevokedPartitions, epoch);
            return CurrentAssignment { assigned, pending_revocation: revoked, ..next };
        }
        for (topic, partition) in added {
            assigned.entry(topic).or_default().insert(partition, self.target_epoch);
        }
        let state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        CurrentAssignment { assigned, ..self.current(state, self.target_epoch) }
    }
}
