//! Who takes part in the metadata quorum: every node of the cluster as a learner, and 1, 3 or 5 of them as voters.
//!
//! The cluster's nodes are what the image says; membership follows it, one change at a time. A node that was removed, or
//! whose id has another data directory now, leaves before its id comes back: a vote must not be forgotten within a membership.

use crate::image::MetadataImage;
use crate::record::NodeBinding;
use protocol::newtypes::BrokerId;
use std::collections::{BTreeMap, BTreeSet};

/// The quorum as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    pub leader: BrokerId,
    pub voters: BTreeSet<BrokerId>,
    /// Voters of the membership that is on its way out, while there are two.
    pub outgoing_voters: Option<BTreeSet<BrokerId>>,
    /// Voters and learners.
    pub members: BTreeMap<BrokerId, NodeBinding>,
    /// Members whose log is nearly as long as the leader's.
    pub caught_up: BTreeSet<BrokerId>,
}

/// The next step of the membership towards what the image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Exactly these vote from now on; who voted before and is not among them becomes a learner.
    SetVoters(BTreeSet<BrokerId>),
    /// Learners leave.
    RemoveLearners(BTreeSet<BrokerId>),
    /// A node becomes a learner.
    AddLearner(NodeBinding),
    /// A member is reached at another address.
    SetAddress(NodeBinding),
}

/// What to change now; `None` when all is as it should be. `voters_max` is `quorum.voters.max`, an odd number.
#[must_use]
pub fn next_membership_change(image: &MetadataImage, quorum: &Quorum, voters_max: usize) -> Option<MembershipChange> {
    if quorum.outgoing_voters.is_some() {
        return Some(MembershipChange::SetVoters(quorum.voters.clone()));
    }
    // Before the first process has registered in a cluster of an earlier version, nodes are not bound yet.
    image.nodes().next()?;
    let belongs = |node: &BrokerId| {
        let member = quorum.members.get(node);
        member.zip(image.node(*node)).is_some_and(|(member, bound)| member.directory_id == bound.directory_id)
    };
    let voters = voters(image, quorum, voters_max, belongs);
    if voters != quorum.voters {
        return Some(MembershipChange::SetVoters(voters));
    }
    let leaving: BTreeSet<BrokerId> =
        quorum.members.keys().filter(|node| !belongs(node) && !quorum.voters.contains(node)).copied().collect();
    if !leaving.is_empty() {
        return Some(MembershipChange::RemoveLearners(leaving));
    }
    image.nodes().find_map(|node| match quorum.members.get(&node.node) {
        None => Some(MembershipChange::AddLearner(node.as_ref().clone())),
        Some(member) if belongs(&node.node) && member.address != node.address => {
            Some(MembershipChange::SetAddress(node.as_ref().clone()))
        }
        Some(_) => None,
    })
}

/// Who should vote: those who do and still belong, then learners that are alive and have caught up, in order of id; as many
/// as there may be, and an odd number.
fn voters(
    image: &MetadataImage,
    quorum: &Quorum,
    voters_max: usize,
    belongs: impl Fn(&BrokerId) -> bool,
) -> BTreeSet<BrokerId> {
    // Leader first: it is the last to stop voting.
    let leader = quorum.voters.get(&quorum.leader).into_iter();
    let others = quorum.voters.iter().filter(|voter| **voter != quorum.leader);
    let mut wanted: Vec<BrokerId> = leader.chain(others).filter(|voter| belongs(voter)).copied().collect();
    let learners = quorum.members.keys().filter(|node| !quorum.voters.contains(node) && belongs(node));
    let ready = learners.filter(|node| image.is_unfenced(**node) && quorum.caught_up.contains(node)).copied();
    wanted.extend(ready);
    let count = wanted.len().min(voters_max.max(1));
    wanted.truncate(count - usize::from(count > 0 && count.is_multiple_of(2)));
    match wanted.is_empty() {
        // Never nobody: a removed node that is the only voter goes on until another can take over.
        true => quorum.voters.clone(),
        false => wanted.into_iter().collect(),
    }
}
