//! Consumer groups of KIP-848: the coordinator assigns the partitions, and members follow at their own pace.
//!
//! # How it hangs together
//! A group has an epoch, which rises with every change of its members, their subscriptions and the topics of those. For an
//! epoch there is one target assignment ([`target`]). Every member has an epoch too, that of the target it has reached, and
//! moves to the next on its own ([`reconcile`]): first it gives back what it is not to have any more, then it gets what
//! others have given back.
//!
//! Everything that a group is, is in its records. An operation ([`work`]) decides changes, which are records
//! ([`change`]), makes them, stores them and answers when they are durable ([`stores`]). A restart makes the same changes
//! from the log.
//!
//! # Deliberately absent
//! Share and streams groups, and assignors other than those of [`assignor`](super::assignor).

mod change;
mod classic;
mod convert;
mod describe;
mod group;
mod heartbeat;
mod member;
mod reconcile;
mod regexes;
mod stores;
mod subscription;
mod target;
mod work;

pub(super) use change::Change;
pub(super) use convert::group_tombstones;
pub(super) use describe::CONSUMER_GROUP_TYPE;
#[cfg(test)]
pub(super) use group::Recorded;
pub(super) use group::{ConsumerGroup, ConsumerGroupState};
pub(super) use member::ConsumerMember;
pub(super) use stores::{Durable, Flight, apply};
