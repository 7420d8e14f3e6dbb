//! One change of a group, which is one record of the internal topic.
//!
//! A group is only ever changed by such changes, whether they were just decided or come from the log, so what is in memory
//! is what a replay of the log makes.

use std::rc::Rc;

use kafka_protocol::protocol::StrBytes;

use super::super::api::StoredRecord;
use super::super::records::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue as CurrentAssignment, ConsumerGroupMemberMetadataValue as MemberMetadata,
    ConsumerGroupMetadataValue as GroupEpoch, ConsumerGroupRegularExpressionValue as ResolvedRegex,
    ConsumerGroupTargetAssignmentMemberValue as Target, ConsumerGroupTargetAssignmentMetadataValue as TargetEpoch,
};
use super::super::records::{DecodeError, EncodeError, GroupMetadataValue, RecordKey};

/// What becomes of one record's key. `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Change {
    /// The group as a classic one.
    Classic(Option<Rc<GroupMetadataValue>>),
    Group(Option<GroupEpoch>),
    /// A record of Kafka 4.0 and before, which is only ever deleted here: whether there is one.
    PartitionMetadata(bool),
    Member(StrBytes, Option<Rc<MemberMetadata>>),
    TargetEpoch(Option<TargetEpoch>),
    Target(StrBytes, Option<Rc<Target>>),
    Current(StrBytes, Option<Rc<CurrentAssignment>>),
    /// The topics that a regular expression stands for.
    Regex(StrBytes, Option<Rc<ResolvedRegex>>),
}

impl Change {
    /// The record that makes the change durable.
    pub(in crate::groups) fn record(&self, group: &StrBytes) -> Result<StoredRecord, EncodeError> {
        let group = group.clone();
        let (key, value) = match self {
            Change::Classic(value) => (RecordKey::GroupMetadata { group }, value.as_ref().map(|v| v.encode())),
            Change::Group(value) => (RecordKey::ConsumerGroupMetadata { group }, value.as_ref().map(|v| v.encode())),
            Change::PartitionMetadata(_) => (RecordKey::ConsumerGroupPartitionMetadata { group }, None),
            Change::Member(member_id, value) => {
                let key = RecordKey::ConsumerGroupMemberMetadata { group, member_id: member_id.clone() };
                (key, value.as_ref().map(|v| v.encode()))
            }
            Change::TargetEpoch(value) => {
                (RecordKey::ConsumerGroupTargetAssignmentMetadata { group }, value.as_ref().map(|v| v.encode()))
            }
            Change::Target(member_id, value) => {
                let key = RecordKey::ConsumerGroupTargetAssignmentMember { group, member_id: member_id.clone() };
                (key, value.as_ref().map(|v| v.encode()))
            }
            Change::Current(member_id, value) => {
                let key = RecordKey::ConsumerGroupCurrentMemberAssignment { group, member_id: member_id.clone() };
                (key, value.as_ref().map(|v| v.encode()))
            }
            Change::Regex(regex, value) => {
                let key = RecordKey::ConsumerGroupRegularExpression { group, regular_expression: regex.clone() };
                (key, value.as_ref().map(|v| v.encode()))
            }
        };
        Ok(StoredRecord { key: key.encode()?, value: value.transpose()? })
    }

    /// The change that a record of the log makes, and to which group. `None` for a record that is about no group.
    pub(in crate::groups) fn of_record(
        key: RecordKey,
        value: Option<&[u8]>,
    ) -> Result<Option<(StrBytes, Change)>, DecodeError> {
        Ok(Some(match key {
            RecordKey::OffsetCommit { .. } => return Ok(None),
            RecordKey::GroupMetadata { group } => {
                (group, Change::Classic(value.map(GroupMetadataValue::decode).transpose()?.map(Rc::new)))
            }
            RecordKey::ConsumerGroupMetadata { group } => {
                (group, Change::Group(value.map(GroupEpoch::decode).transpose()?))
            }
            RecordKey::ConsumerGroupPartitionMetadata { group } => (group, Change::PartitionMetadata(value.is_some())),
            RecordKey::ConsumerGroupMemberMetadata { group, member_id } => {
                (group, Change::Member(member_id, value.map(MemberMetadata::decode).transpose()?.map(Rc::new)))
            }
            RecordKey::ConsumerGroupTargetAssignmentMetadata { group } => {
                (group, Change::TargetEpoch(value.map(TargetEpoch::decode).transpose()?))
            }
            RecordKey::ConsumerGroupTargetAssignmentMember { group, member_id } => {
                (group, Change::Target(member_id, value.map(Target::decode).transpose()?.map(Rc::new)))
            }
            RecordKey::ConsumerGroupCurrentMemberAssignment { group, member_id } => {
                (group, Change::Current(member_id, value.map(CurrentAssignment::decode).transpose()?.map(Rc::new)))
            }
            RecordKey::ConsumerGroupRegularExpression { group, regular_expression } => {
                (group, Change::Regex(regular_expression, value.map(ResolvedRegex::decode).transpose()?.map(Rc::new)))
            }
        }))
    }

    /// Whether the record brings a consumer group into being where there is none.
    pub(in crate::groups) fn makes_consumer_group(&self) -> bool {
        match self {
            Change::Classic(_) => false,
            Change::Group(value) => value.is_some(),
            Change::PartitionMetadata(there) => *there,
            Change::Member(_, value) => value.is_some(),
            Change::TargetEpoch(value) => value.is_some(),
            Change::Target(_, value) => value.is_some(),
            Change::Current(_, value) => value.is_some(),
            Change::Regex(_, value) => value.is_some(),
        }
    }
}
