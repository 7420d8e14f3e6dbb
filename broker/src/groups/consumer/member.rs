//! One member of a consumer group: what it told of itself, what it has, and how far it is with changing that.

use std::rc::Rc;

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::super::config::GroupSettings;
use super::super::records::consumer_group::{
    AssignmentWithEpochs, ClassicMemberMetadata, ConsumerGroupCurrentMemberAssignmentValue as CurrentAssignment,
    ConsumerGroupMemberMetadataValue as MemberMetadata,
};

/// The epoch of a member that is about to join, for the first time or again.
pub(in crate::groups) const JOINING_EPOCH: i32 = 0;
/// The epoch with which a member leaves.
pub(in crate::groups) const LEAVING_EPOCH: i32 = -1;
/// The epoch with which a static member leaves and says that its instance will be back.
pub(in crate::groups) const STATIC_LEAVING_EPOCH: i32 = -2;

/// Kafka's `MemberState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum MemberState {
    /// It has what it is to have in its epoch.
    Stable,
    /// It has yet to give partitions back before it may go on to the next epoch.
    UnrevokedPartitions,
    /// It is in the target's epoch and waits for partitions that others have yet to give back.
    UnreleasedPartitions,
    /// A state of a later version.
    Unknown,
}

impl MemberState {
    pub(in crate::groups) fn of(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            _ => MemberState::Unknown,
        }
    }

    pub(in crate::groups) fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
            MemberState::Unknown => 127,
        }
    }
}

/// A member. It is cheap to copy, and never changed in place: its records replace one half or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct ConsumerMember {
    pub(in crate::groups) id: StrBytes,
    pub(in crate::groups) metadata: Rc<MemberMetadata>,
    pub(in crate::groups) current: Rc<CurrentAssignment>,
}

impl ConsumerMember {
    /// A member of which nothing is known yet.
    pub(in crate::groups) fn new(id: StrBytes) -> ConsumerMember {
        let metadata = MemberMetadata {
            instance_id: None,
            rack_id: None,
            client_id: StrBytes::new(),
            client_host: StrBytes::new(),
            subscribed_topic_names: Default::default(),
            subscribed_topic_regex: Some(StrBytes::new()),
            rebalance_timeout_ms: -1,
            server_assignor: None,
            classic: None,
        };
        let current = CurrentAssignment {
            member_epoch: JOINING_EPOCH,
            previous_member_epoch: LEAVING_EPOCH,
            state: MemberState::Stable.number(),
            assigned: AssignmentWithEpochs::new(),
            pending_revocation: AssignmentWithEpochs::new(),
        };
        ConsumerMember { id, metadata: Rc::new(metadata), current: Rc::new(current) }
    }

    pub(in crate::groups) fn epoch(&self) -> i32 {
        self.current.member_epoch
    }

    pub(in crate::groups) fn state(&self) -> MemberState {
        MemberState::of(self.current.state)
    }

    pub(in crate::groups) fn instance_id(&self) -> Option<&StrBytes> {
        self.metadata.instance_id.as_ref()
    }

    /// The regular expression that it subscribes to, if any.
    pub(in crate::groups) fn regex(&self) -> Option<&StrBytes> {
        self.metadata.subscribed_topic_regex.as_ref().filter(|regex| !regex.is_empty())
    }

    /// What it told by the classic protocol, if it speaks that.
    pub(in crate::groups) fn classic(&self) -> Option<&ClassicMemberMetadata> {
        self.metadata.classic.as_ref()
    }

    /// It has to be heard of this often.
    pub(in crate::groups) fn session_timeout_ms(&self, settings: GroupSettings) -> i32 {
        self.classic().map_or(settings.consumer_session_timeout_ms, |classic| classic.session_timeout_ms)
    }

    pub(in crate::groups) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state() == MemberState::Stable && self.epoch() == target_epoch
    }

    /// Every partition that is the member's: assigned, or on its way out.
    pub(in crate::groups) fn owned(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        let all = [&self.current.assigned, &self.current.pending_revocation];
        all.into_iter().flatten().flat_map(|(topic, own)| own.keys().map(move |partition| (*topic, *partition)))
    }

    pub(in crate::groups) fn subscribed_names(&self) -> Vec<TopicName> {
        self.metadata.subscribed_topic_names.iter().map(|name| TopicName(name.clone())).collect()
    }
}
