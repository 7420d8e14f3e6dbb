//! The records of `__consumer_offsets`, in Kafka's own format.
//!
//! A key begins with its type: 0 and 1 an offset commit, 2 a classic group's metadata; others belong to the protocols of
//! KIP-848 and later. A value begins with the version of its own schema. Written are what Kafka 4.3 writes: offset commits
//! as version 4 (1 when the client gave its own retention), group metadata as version 3. Read are all versions up to 4.
//!
//! Decoders take any bytes: they never panic and allocate no more than a small multiple of what they are given.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use protocol::{LeaderEpoch, Offset, TopicId};

const OFFSET_COMMIT_KEY: i16 = 1;
const GROUP_METADATA_KEY: i16 = 2;
const OFFSET_COMMIT_VALUE: i16 = 4;
/// The last version with an expire timestamp.
const OFFSET_COMMIT_VALUE_WITH_EXPIRY: i16 = 1;
const GROUP_METADATA_VALUE: i16 = 3;
const VALUE_VERSION_MAX: i16 = 4;
/// From this version on, strings and arrays are compact and structures end in tagged fields.
const FLEXIBLE_VERSION: i16 = 4;
const TAG_TOPIC_ID: u32 = 0;
/// The smallest member in a group metadata value: its fields' lengths, all empty.
const MEMBER_BYTES_MIN: usize = 16;

/// The longest string that a record can hold.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why bytes are not a record of `__consumer_offsets` that this broker understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{field} needs {need} bytes and {have} are left")]
    Truncated { field: &'static str, need: usize, have: usize },
    #[error("{field} has the impossible length {length}")]
    Length { field: &'static str, length: i64 },
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("{field} has version {version}; 0 to {max} are known")]
    Version { field: &'static str, version: i16, max: i16 },
    #[error("record type {key_type} is not one of offset commit (0, 1) or group metadata (2)")]
    UnknownType { key_type: i16 },
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} has {length} bytes; a record holds at most {STRING_BYTES_MAX}")]
    StringTooLong { field: &'static str, length: usize },
    #[error("{field} has {length} bytes; a record holds at most {max}", max = i32::MAX)]
    BytesTooLong { field: &'static str, length: usize },
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKey {
    OffsetCommit { group: StrBytes, topic: StrBytes, partition: i32 },
    GroupMetadata { group: StrBytes },
}

/// A committed offset (`OffsetCommitValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitValue {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: StrBytes,
    /// Milliseconds since the epoch.
    pub commit_timestamp_ms: i64,
    /// Milliseconds since the epoch; only from a client that gave its own retention time (OffsetCommit 2-4).
    pub expire_timestamp_ms: Option<i64>,
    /// [`TopicId::ZERO`] when the client did not name it.
    pub topic_id: TopicId,
}

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

impl RecordKey {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        match self {
            RecordKey::OffsetCommit { group, topic, partition } => {
                buffer.put_i16(OFFSET_COMMIT_KEY);
                put_string(&mut buffer, "group id", group)?;
                put_string(&mut buffer, "topic name", topic)?;
                buffer.put_i32(*partition);
            }
            RecordKey::GroupMetadata { group } => {
                buffer.put_i16(GROUP_METADATA_KEY);
                put_string(&mut buffer, "group id", group)?;
            }
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<RecordKey, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.i16()? {
            0 | OFFSET_COMMIT_KEY => Ok(RecordKey::OffsetCommit {
                group: reader.owned_string("group id")?,
                topic: reader.owned_string("topic name")?,
                partition: reader.i32()?,
            }),
            GROUP_METADATA_KEY => Ok(RecordKey::GroupMetadata { group: reader.owned_string("group id")? }),
            key_type => Err(DecodeError::UnknownType { key_type }),
        }
    }
}

impl OffsetCommitValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            buffer.put_i16(OFFSET_COMMIT_VALUE_WITH_EXPIRY);
            buffer.put_i64(self.offset.0);
            put_string(&mut buffer, "offset metadata", &self.metadata)?;
            buffer.put_i64(self.commit_timestamp_ms);
            buffer.put_i64(expire_timestamp_ms);
        } else {
            buffer.put_i16(OFFSET_COMMIT_VALUE);
            buffer.put_i64(self.offset.0);
            buffer.put_i32(self.leader_epoch.0);
            put_compact_string(&mut buffer, "offset metadata", &self.metadata)?;
            buffer.put_i64(self.commit_timestamp_ms);
            if self.topic_id == TopicId::ZERO {
                put_varint(&mut buffer, 0);
            } else {
                put_varint(&mut buffer, 1);
                put_varint(&mut buffer, TAG_TOPIC_ID);
                put_varint(&mut buffer, 16);
                buffer.put_slice(self.topic_id.0.as_bytes());
            }
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<OffsetCommitValue, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version("offset commit value")?;
        let offset = Offset(reader.i64()?);
        let leader_epoch = if version >= 3 { LeaderEpoch(reader.i32()?) } else { LeaderEpoch::UNKNOWN };
        let metadata = reader.string_of(version, "offset metadata")?;
        let commit_timestamp_ms = reader.i64()?;
        let expire_timestamp_ms = if version == 1 { Some(reader.i64()?).filter(|at| *at != -1) } else { None };
        let mut topic_id = TopicId::ZERO;
        if version >= FLEXIBLE_VERSION {
            reader.tagged_fields(|tag, value| {
                if tag == TAG_TOPIC_ID
                    && let Ok(bytes) = <[u8; 16]>::try_from(value)
                {
                    topic_id = TopicId(uuid::Uuid::from_bytes(bytes));
                }
            })?;
        }
        Ok(OffsetCommitValue { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
    }
}

impl GroupMetadataValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(GROUP_METADATA_VALUE);
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
        let version = reader.version("group metadata value")?;
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
                reader.tagged_fields(|_, _| {})?;
            }
        }
        if version >= FLEXIBLE_VERSION {
            reader.tagged_fields(|_, _| {})?;
        }
        Ok(GroupMetadataValue { protocol_type, generation, protocol, leader, current_state_timestamp_ms, members })
    }
}

fn put_string(buffer: &mut BytesMut, field: &'static str, string: &StrBytes) -> Result<(), EncodeError> {
    let length = i16::try_from(string.len()).map_err(|_| EncodeError::StringTooLong { field, length: string.len() })?;
    buffer.put_i16(length);
    buffer.put_slice(string.as_bytes());
    Ok(())
}

fn put_nullable_string(
    buffer: &mut BytesMut,
    field: &'static str,
    string: Option<&StrBytes>,
) -> Result<(), EncodeError> {
    match string {
        Some(string) => put_string(buffer, field, string),
        None => {
            buffer.put_i16(-1);
            Ok(())
        }
    }
}

fn put_compact_string(buffer: &mut BytesMut, field: &'static str, string: &StrBytes) -> Result<(), EncodeError> {
    if string.len() > STRING_BYTES_MAX {
        return Err(EncodeError::StringTooLong { field, length: string.len() });
    }
    put_varint(buffer, string.len() as u32 + 1);
    buffer.put_slice(string.as_bytes());
    Ok(())
}

fn put_bytes(buffer: &mut BytesMut, field: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
    buffer.put_i32(length_i32(field, bytes.len())?);
    buffer.put_slice(bytes);
    Ok(())
}

fn length_i32(field: &'static str, length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::BytesTooLong { field, length })
}

fn put_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// Takes Kafka's primitive types off the front of untrusted bytes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated {
            field,
            need: count,
            have: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated {
            field: "integer",
            need: N,
            have: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        self.take("bytes", count).map(|_| ())
    }

    /// An unsigned varint of at most five bytes.
    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for shift in 0..5 {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Length { field: "varint", length: value as i64 });
            }
        }
        Err(DecodeError::Length { field: "varint", length: value as i64 })
    }

    fn version(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        let version = self.i16()?;
        if (0..=VALUE_VERSION_MAX).contains(&version) {
            Ok(version)
        } else {
            Err(DecodeError::Version { field, version, max: VALUE_VERSION_MAX })
        }
    }

    /// A string with an INT16 length; null is an error.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.i16()?;
        let count = usize::try_from(length).map_err(|_| DecodeError::Length { field, length: length.into() })?;
        std::str::from_utf8(self.take(field, count)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    fn owned_string(&mut self, field: &'static str) -> Result<StrBytes, DecodeError> {
        self.string(field).map(|s| StrBytes::from_string(s.to_owned()))
    }

    fn string_of(&mut self, version: i16, field: &'static str) -> Result<StrBytes, DecodeError> {
        self.nullable_string_of(version, field)?.ok_or(DecodeError::Length { field, length: -1 })
    }

    fn nullable_string_of(&mut self, version: i16, field: &'static str) -> Result<Option<StrBytes>, DecodeError> {
        let length = if version >= FLEXIBLE_VERSION { self.compact_length()? } else { i64::from(self.i16()?) };
        self.sized(field, length)?
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field }))
            .transpose()
            .map(|string| string.map(|s| StrBytes::from_string(s.to_owned())))
    }

    fn bytes_of(&mut self, version: i16, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = if version >= FLEXIBLE_VERSION { self.compact_length()? } else { i64::from(self.i32()?) };
        let bytes = self.sized(field, length)?.ok_or(DecodeError::Length { field, length: -1 })?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn array_length_of(&mut self, version: i16, field: &'static str) -> Result<usize, DecodeError> {
        let length = if version >= FLEXIBLE_VERSION { self.compact_length()? } else { i64::from(self.i32()?) };
        usize::try_from(length).map_err(|_| DecodeError::Length { field, length })
    }

    /// A compact length; -1 for null.
    fn compact_length(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(self.varint()?) - 1)
    }

    fn sized(&mut self, field: &'static str, length: i64) -> Result<Option<&'a [u8]>, DecodeError> {
        if length == -1 {
            return Ok(None);
        }
        let count = usize::try_from(length).map_err(|_| DecodeError::Length { field, length })?;
        self.take(field, count).map(Some)
    }

    fn tagged_fields(&mut self, mut field: impl FnMut(u32, &'a [u8])) -> Result<(), DecodeError> {
        let count = self.varint()?;
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()?;
            field(tag, self.take("tagged field", length as usize)?);
        }
        Ok(())
    }
}
