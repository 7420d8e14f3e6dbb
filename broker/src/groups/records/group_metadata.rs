//! A classic group with its members: `GroupMetadataValue`.
//!
//! Written is version 3, as Kafka 4.3 does. Read are all up to 4.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::codec::{
    DecodeError, EncodeError, FLEXIBLE_VERSION, Reader, length_i32, put_bytes, put_nullable_string, put_string,
};

const VERSION: i16 = 3;
const VERSION_MAX: i16 = 4;
/// The smallest member in a value: its fields' lengths, all empty.
const MEMBER_BYTES_MIN: usize = 16;

/// A classic group's metadata (`GroupMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadataValue {
    /// Empty: a simple group.
    pub protocol_type: StrBytes,
    pub generation: i32,
    pub protocol: Option<StrBytes>,
    pub leader: Option<StrBytes>,
    /// Milliseconds since the epoch; -1 when unknown.
    pub current_state_timestamp_ms: i64,
    pub members: Vec<MemberMetadata>,
}

/// One member within [`GroupMetadataValue`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: StrBytes,
    pub group_instance_id: Option<StrBytes>,
    pub client_id: StrBytes,
    pub client_host: StrBytes,
    /// -1 in records of version 0, which do not have it.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl GroupMetadataValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        put_string(&mut buffer, "protocol type", &self.protocol_type)?;
        buffer.put_i32(self.generation);
        put_nullable_string(&mut buffer, "protocol name", self.protocol.as_ref())?;
        put_nullable_string(&mut buffer, "leader", self.leader.as_ref())?;
        buffer.put_i64(self.current_state_timestamp_ms);
        buffer.put_i32(length_i32("members", self.members.len())?);
        for member in &self.members {
            put_string(&mut buffer, "member id", &member.member_id)?;
            put_nullable_string(&mut buffer, "group instance id", member.group_instance_id.as_ref())?;
            put_string(&mut buffer, "client id", &member.client_id)?;
            put_string(&mut buffer, "client host", &member.client_host)?;
            buffer.put_i32(member.rebalance_timeout_ms);
            buffer.put_i32(member.session_timeout_ms);
            put_bytes(&mut buffer, "subscription", &member.subscription)?;
            put_bytes(&mut buffer, "assignment", &member.assignment)?;
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<GroupMetadataValue, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version("group metadata value", VERSION_MAX)?;
        let protocol_type = reader.string_of(version, "protocol type")?;
        let generation = reader.i32()?;
        let protocol = reader.nullable_string_of(version, "protocol name")?;
        let leader = reader.nullable_string_of(version, "leader")?;
        let current_state_timestamp_ms = if version >= 2 { reader.i64()? } else { -1 };
        let count = reader.array_length_of(version, "members")?;
        let mut members = Vec::with_capacity(count.min(reader.left() / MEMBER_BYTES_MIN));
        for _ in 0..count {
            members.push(MemberMetadata {
                member_id: reader.string_of(version, "member id")?,
                group_instance_id: if version >= 3 {
                    reader.nullable_string_of(version, "group instance id")?
                } else {
                    None
                },
                client_id: reader.string_of(version, "client id")?,
                client_host: reader.string_of(version, "client host")?,
                rebalance_timeout_ms: if version >= 1 { reader.i32()? } else { -1 },
                session_timeout_ms: reader.i32()?,
                subscription: reader.bytes_of(version, "subscription")?,
                assignment: reader.bytes_of(version, "assignment")?,
            });
            if version >= FLEXIBLE_VERSION {
                reader.skip_tagged_fields()?;
            }
        }
        if version >= FLEXIBLE_VERSION {
            reader.skip_tagged_fields()?;
        }
        Ok(GroupMetadataValue { protocol_type, generation, protocol, leader, current_state_timestamp_ms, members })
    }
}
