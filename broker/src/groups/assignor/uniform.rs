//! Even shares, and as little change as they allow.
//!
//! Where all members subscribe to the same topics, no two differ by more than one partition ([`homogeneous`]). Where they do
//! not, no move of one partition would bring two of them closer together ([`heterogeneous`]). Among the assignments that do
//! this, the first one leaves members as much as can be left of what they had, the second one tries to.
//!
//! Kafka's assignor of this name promises the same. Which partitions a member has is not the same as there, where it
//! depends on the order of hash tables.

mod heterogeneous;
mod homogeneous;

use std::collections::BTreeMap;

use kafka_protocol::protocol::StrBytes;

use super::subscriptions::Subscriptions;
use super::{Assignment, GroupSpec};

pub(super) fn assign(group: &GroupSpec, subscriptions: &Subscriptions<'_>) -> BTreeMap<StrBytes, Assignment> {
    match subscriptions.classes.len() {
        1 => homogeneous::assign(group, subscriptions),
        _ => heterogeneous::assign(group, subscriptions),
    }
}
