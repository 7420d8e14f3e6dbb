//! What a record is about: its key, which begins with the record's type (Kafka's `CoordinatorRecordType`).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::codec::{DecodeError, EncodeError, Reader, put_string};

/// Version 0 of an offset commit's key, with the same fields.
const LEGACY_OFFSET_COMMIT: i16 = 0;
const OFFSET_COMMIT: i16 = 1;
const GROUP_METADATA: i16 = 2;
const CONSUMER_GROUP_METADATA: i16 = 3;
const CONSUMER_GROUP_PARTITION_METADATA: i16 = 4;
const CONSUMER_GROUP_MEMBER_METADATA: i16 = 5;
const CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA: i16 = 6;
const CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER: i16 = 7;
const CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT: i16 = 8;
const CONSUMER_GROUP_REGULAR_EXPRESSION: i16 = 16;

const GROUP_ID: &str = "group id";
const TOPIC_NAME: &str = "topic name";
const MEMBER_ID: &str = "member id";
const REGULAR_EXPRESSION: &str = "regular expression";

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    OffsetCommit {
        group: StrBytes,
        topic: StrBytes,
        partition: i32,
    },
    /// A classic group.
    GroupMetadata {
        group: StrBytes,
    },
    ConsumerGroupMetadata {
        group: StrBytes,
    },
    /// Written by Kafka up to 4.0. Its value means nothing since; it is read so that it can be deleted with the group.
    ConsumerGroupPartitionMetadata {
        group: StrBytes,
    },
    ConsumerGroupMemberMetadata {
        group: StrBytes,
        member_id: StrBytes,
    },
    ConsumerGroupTargetAssignmentMetadata {
        group: StrBytes,
    },
    ConsumerGroupTargetAssignmentMember {
        group: StrBytes,
        member_id: StrBytes,
    },
    ConsumerGroupCurrentMemberAssignment {
        group: StrBytes,
        member_id: StrBytes,
    },
    ConsumerGroupRegularExpression {
        group: StrBytes,
        regular_expression: StrBytes,
    },
}

impl RecordKey {
    /// The type with which the key is written.
    #[must_use]
    pub fn key_type(&self) -> i16 {
        match self {
            RecordKey::OffsetCommit { .. } => OFFSET_COMMIT,
            RecordKey::GroupMetadata { .. } => GROUP_METADATA,
            RecordKey::ConsumerGroupMetadata { .. } => CONSUMER_GROUP_METADATA,
            RecordKey::ConsumerGroupPartitionMetadata { .. } => CONSUMER_GROUP_PARTITION_METADATA,
            RecordKey::ConsumerGroupMemberMetadata { .. } => CONSUMER_GROUP_MEMBER_METADATA,
            RecordKey::ConsumerGroupTargetAssignmentMetadata { .. } => CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA,
            RecordKey::ConsumerGroupTargetAssignmentMember { .. } => CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER,
            RecordKey::ConsumerGroupCurrentMemberAssignment { .. } => CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT,
            RecordKey::ConsumerGroupRegularExpression { .. } => CONSUMER_GROUP_REGULAR_EXPRESSION,
        }
    }

    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(self.key_type());
        match self {
            RecordKey::OffsetCommit { group, topic, partition } => {
                put_string(&mut buffer, GROUP_ID, group)?;
                put_string(&mut buffer, TOPIC_NAME, topic)?;
                buffer.put_i32(*partition);
            }
            RecordKey::GroupMetadata { group }
            | RecordKey::ConsumerGroupMetadata { group }
            | RecordKey::ConsumerGroupPartitionMetadata { group }
            | RecordKey::ConsumerGroupTargetAssignmentMetadata { group } => {
                put_string(&mut buffer, GROUP_ID, group)?;
            }
            RecordKey::ConsumerGroupMemberMetadata { group, member_id }
            | RecordKey::ConsumerGroupTargetAssignmentMember { group, member_id }
            | RecordKey::ConsumerGroupCurrentMemberAssignment { group, member_id } => {
                put_string(&mut buffer, GROUP_ID, group)?;
                put_string(&mut buffer, MEMBER_ID, member_id)?;
            }
            RecordKey::ConsumerGroupRegularExpression { group, regular_expression } => {
                put_string(&mut buffer, GROUP_ID, group)?;
                put_string(&mut buffer, REGULAR_EXPRESSION, regular_expression)?;
            }
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<RecordKey, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(match reader.i16()? {
            LEGACY_OFFSET_COMMIT | OFFSET_COMMIT => RecordKey::OffsetCommit {
                group: reader.owned_string(GROUP_ID)?,
                topic: reader.owned_string(TOPIC_NAME)?,
                partition: reader.i32()?,
            },
            GROUP_METADATA => RecordKey::GroupMetadata { group: reader.owned_string(GROUP_ID)? },
            CONSUMER_GROUP_METADATA => RecordKey::ConsumerGroupMetadata { group: reader.owned_string(GROUP_ID)? },
            CONSUMER_GROUP_PARTITION_METADATA => {
                RecordKey::ConsumerGroupPartitionMetadata { group: reader.owned_string(GROUP_ID)? }
            }
            CONSUMER_GROUP_MEMBER_METADATA => RecordKey::ConsumerGroupMemberMetadata {
                group: reader.owned_string(GROUP_ID)?,
                member_id: reader.owned_string(MEMBER_ID)?,
            },
            CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA => {
                RecordKey::ConsumerGroupTargetAssignmentMetadata { group: reader.owned_string(GROUP_ID)? }
            }
            CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER => RecordKey::ConsumerGroupTargetAssignmentMember {
                group: reader.owned_string(GROUP_ID)?,
                member_id: reader.owned_string(MEMBER_ID)?,
            },
            CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT => RecordKey::ConsumerGroupCurrentMemberAssignment {
                group: reader.owned_string(GROUP_ID)?,
                member_id: reader.owned_string(MEMBER_ID)?,
            },
            CONSUMER_GROUP_REGULAR_EXPRESSION => RecordKey::ConsumerGroupRegularExpression {
                group: reader.owned_string(GROUP_ID)?,
                regular_expression: reader.owned_string(REGULAR_EXPRESSION)?,
            },
            key_type => return Err(DecodeError::UnknownType { key_type }),
        })
    }
}
