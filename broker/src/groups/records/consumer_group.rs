//! Consumer groups of KIP-848: the values of a group, its members, and what is and is to be assigned to them.
//!
//! All have one version, 0, in which every structure may end in tagged fields. Written are the bytes of Kafka 4.3, except
//! that topics and partitions come in ascending order where Kafka has any.
//!
//! Absent: the value of `ConsumerGroupPartitionMetadata`, which nobody has read since Kafka 4.1.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::codec::{
    DecodeError, EncodeError, Reader, put_compact_bytes, put_compact_length, put_compact_nullable_string,
    put_compact_string, put_tagged_field, put_uuid, put_varint,
};

const VERSION: i16 = 0;
const NO_TAGGED_FIELDS: u32 = 0;
const TAG_METADATA_HASH: u32 = 0;
const TAG_CLASSIC_MEMBER_METADATA: u32 = 0;
const TAG_ASSIGNMENT_TIMESTAMP: u32 = 0;
const TAG_ASSIGNMENT_EPOCHS: u32 = 0;

/// A group's epoch (`ConsumerGroupMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMetadataValue {
    pub epoch: i32,
    /// Over all topics that the group subscribes to (KIP-1101); 0 when there is none, or the record is of Kafka 4.0.
    pub metadata_hash: i64,
}

/// What a member told of itself (`ConsumerGroupMemberMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupMemberMetadataValue {
    pub instance_id: Option<StrBytes>,
    pub rack_id: Option<StrBytes>,
    pub client_id: StrBytes,
    pub client_host: StrBytes,
    pub subscribed_topic_names: BTreeSet<StrBytes>,
    /// Empty is as good as null: no regular expression.
    pub subscribed_topic_regex: Option<StrBytes>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<StrBytes>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicMemberMetadata>,
}

/// What a member that speaks the classic protocol told besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberMetadata {
    pub session_timeout_ms: i32,
    /// In the member's order of preference.
    pub supported_protocols: Vec<ClassicProtocol>,
}

/// A classic protocol's name, and the member's subscription by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicProtocol {
    pub name: StrBytes,
    pub metadata: Bytes,
}

/// Which epoch of the group the target assignment is for (`ConsumerGroupTargetAssignmentMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    pub assignment_epoch: i32,
    /// When the assignment was computed, in milliseconds since the epoch; 0 in records before Kafka 4.3.
    pub assignment_timestamp_ms: i64,
}

/// What a member is to have (`ConsumerGroupTargetAssignmentMemberValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    pub partitions: BTreeMap<TopicId, BTreeSet<i32>>,
}

/// What a member has, and how far it is with changing it (`ConsumerGroupCurrentMemberAssignmentValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    /// Kafka's `MemberState`: 0 stable, 1 unrevoked partitions, 2 unreleased partitions; others are unknown.
    pub state: i8,
    pub assigned: AssignmentWithEpochs,
    pub pending_revocation: AssignmentWithEpochs,
}

/// Partitions, each with the member epoch at which the member got it. Where a record has no such epochs (those before Kafka
/// 4.3), or not as many as partitions, every partition gets the member's epoch, or 0 if that is negative.
pub type AssignmentWithEpochs = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// The topics that a regular expression stands for (`ConsumerGroupRegularExpressionValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupRegularExpressionValue {
    pub topics: BTreeSet<StrBytes>,
    /// The version of the metadata image by which it was resolved.
    pub version: i64,
    /// When it was resolved, in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl ConsumerGroupMetadataValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        buffer.put_i32(self.epoch);
        put_tagged_i64(&mut buffer, "metadata hash", TAG_METADATA_HASH, self.metadata_hash)?;
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group metadata value", VERSION)?;
        let epoch = reader.i32()?;
        let metadata_hash = tagged_i64(&mut reader, TAG_METADATA_HASH)?;
        Ok(ConsumerGroupMetadataValue { epoch, metadata_hash })
    }
}

impl ConsumerGroupMemberMetadataValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        put_compact_nullable_string(&mut buffer, "group instance id", self.instance_id.as_ref())?;
        put_compact_nullable_string(&mut buffer, "rack id", self.rack_id.as_ref())?;
        put_compact_string(&mut buffer, "client id", &self.client_id)?;
        put_compact_string(&mut buffer, "client host", &self.client_host)?;
        put_strings(&mut buffer, "subscribed topic names", &self.subscribed_topic_names)?;
        put_compact_nullable_string(&mut buffer, "subscribed topic regex", self.subscribed_topic_regex.as_ref())?;
        buffer.put_i32(self.rebalance_timeout_ms);
        put_compact_nullable_string(&mut buffer, "server assignor", self.server_assignor.as_ref())?;
        match &self.classic {
            None => put_varint(&mut buffer, NO_TAGGED_FIELDS),
            Some(classic) => {
                put_varint(&mut buffer, 1);
                let classic = classic.encode()?;
                put_tagged_field(&mut buffer, "classic member metadata", TAG_CLASSIC_MEMBER_METADATA, &classic)?;
            }
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group member metadata value", VERSION)?;
        let mut value = ConsumerGroupMemberMetadataValue {
            instance_id: reader.compact_nullable_string("group instance id")?,
            rack_id: reader.compact_nullable_string("rack id")?,
            client_id: reader.compact_string("client id")?,
            client_host: reader.compact_string("client host")?,
            subscribed_topic_names: strings(&mut reader, "subscribed topic names")?,
            subscribed_topic_regex: reader.compact_nullable_string("subscribed topic regex")?,
            rebalance_timeout_ms: reader.i32()?,
            server_assignor: reader.compact_nullable_string("server assignor")?,
            classic: None,
        };
        reader.tagged_fields(|tag, bytes| {
            if tag == TAG_CLASSIC_MEMBER_METADATA {
                value.classic = ClassicMemberMetadata::decode(bytes)?;
            }
            Ok(())
        })?;
        Ok(value)
    }
}

impl ClassicMemberMetadata {
    /// A nullable structure: it begins with 1, or is -1.
    fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i8(1);
        buffer.put_i32(self.session_timeout_ms);
        put_compact_length(&mut buffer, "supported protocols", self.supported_protocols.len())?;
        for protocol in &self.supported_protocols {
            put_compact_string(&mut buffer, "protocol name", &protocol.name)?;
            put_compact_bytes(&mut buffer, "protocol metadata", &protocol.metadata)?;
            put_varint(&mut buffer, NO_TAGGED_FIELDS);
        }
        put_varint(&mut buffer, NO_TAGGED_FIELDS);
        Ok(buffer.freeze())
    }

    fn decode(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.i8()? < 0 {
            return Ok(None);
        }
        let session_timeout_ms = reader.i32()?;
        let count = reader.compact_array_length("supported protocols")?;
        let mut supported_protocols = Vec::new();
        for _ in 0..count {
            supported_protocols.push(ClassicProtocol {
                name: reader.compact_string("protocol name")?,
                metadata: reader.compact_bytes("protocol metadata")?,
            });
            reader.skip_tagged_fields()?;
        }
        reader.skip_tagged_fields()?;
        Ok(Some(ClassicMemberMetadata { session_timeout_ms, supported_protocols }))
    }
}

impl ConsumerGroupTargetAssignmentMetadataValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        buffer.put_i32(self.assignment_epoch);
        put_tagged_i64(&mut buffer, "assignment time", TAG_ASSIGNMENT_TIMESTAMP, self.assignment_timestamp_ms)?;
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group target assignment metadata value", VERSION)?;
        let assignment_epoch = reader.i32()?;
        let assignment_timestamp_ms = tagged_i64(&mut reader, TAG_ASSIGNMENT_TIMESTAMP)?;
        Ok(ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp_ms })
    }
}

impl ConsumerGroupTargetAssignmentMemberValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        put_compact_length(&mut buffer, "assigned topics", self.partitions.len())?;
        for (topic, partitions) in &self.partitions {
            put_uuid(&mut buffer, *topic);
            put_i32s(&mut buffer, "assigned partitions", partitions.len(), partitions)?;
            put_varint(&mut buffer, NO_TAGGED_FIELDS);
        }
        put_varint(&mut buffer, NO_TAGGED_FIELDS);
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group target assignment member value", VERSION)?;
        let count = reader.compact_array_length("assigned topics")?;
        let mut partitions = BTreeMap::new();
        for _ in 0..count {
            let topic = reader.uuid()?;
            partitions.insert(topic, i32s(&mut reader, "assigned partitions")?.into_iter().collect());
            reader.skip_tagged_fields()?;
        }
        reader.skip_tagged_fields()?;
        Ok(ConsumerGroupTargetAssignmentMemberValue { partitions })
    }
}

impl ConsumerGroupCurrentMemberAssignmentValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        buffer.put_i32(self.member_epoch);
        buffer.put_i32(self.previous_member_epoch);
        buffer.put_i8(self.state);
        put_assignment_with_epochs(&mut buffer, &self.assigned)?;
        put_assignment_with_epochs(&mut buffer, &self.pending_revocation)?;
        put_varint(&mut buffer, NO_TAGGED_FIELDS);
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group current member assignment value", VERSION)?;
        let member_epoch = reader.i32()?;
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch,
            previous_member_epoch: reader.i32()?,
            state: reader.i8()?,
            assigned: assignment_with_epochs(&mut reader, member_epoch)?,
            pending_revocation: assignment_with_epochs(&mut reader, member_epoch)?,
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }
}

impl ConsumerGroupRegularExpressionValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        buffer.put_i16(VERSION);
        put_strings(&mut buffer, "matching topics", &self.topics)?;
        buffer.put_i64(self.version);
        buffer.put_i64(self.timestamp_ms);
        put_varint(&mut buffer, NO_TAGGED_FIELDS);
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("consumer group regular expression value", VERSION)?;
        let value = ConsumerGroupRegularExpressionValue {
            topics: strings(&mut reader, "matching topics")?,
            version: reader.i64()?,
            timestamp_ms: reader.i64()?,
        };
        reader.skip_tagged_fields()?;
        Ok(value)
    }
}

fn put_assignment_with_epochs(buffer: &mut BytesMut, assignment: &AssignmentWithEpochs) -> Result<(), EncodeError> {
    put_compact_length(buffer, "assigned topics", assignment.len())?;
    for (topic, partitions) in assignment {
        put_uuid(buffer, *topic);
        put_i32s(buffer, "assigned partitions", partitions.len(), partitions.keys())?;
        put_varint(buffer, 1);
        let mut epochs = BytesMut::new();
        put_i32s(&mut epochs, "assignment epochs", partitions.len(), partitions.values())?;
        put_tagged_field(buffer, "assignment epochs", TAG_ASSIGNMENT_EPOCHS, &epochs)?;
    }
    Ok(())
}

fn assignment_with_epochs(reader: &mut Reader<'_>, member_epoch: i32) -> Result<AssignmentWithEpochs, DecodeError> {
    let count = reader.compact_array_length("assigned topics")?;
    let mut assignment = BTreeMap::new();
    for _ in 0..count {
        let topic = reader.uuid()?;
        let partitions = i32s(reader, "assigned partitions")?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, bytes| {
            if tag == TAG_ASSIGNMENT_EPOCHS {
                epochs = nullable_i32s(&mut Reader::new(bytes), "assignment epochs")?.unwrap_or_default();
            }
            Ok(())
        })?;
        if epochs.len() != partitions.len() {
            epochs = vec![member_epoch.max(0); partitions.len()];
        }
        assignment.insert(topic, partitions.into_iter().zip(epochs).collect());
    }
    Ok(assignment)
}

/// The tagged fields of a value that has one, an INT64 which is left out when it is 0.
fn put_tagged_i64(buffer: &mut BytesMut, field: &'static str, tag: u32, value: i64) -> Result<(), EncodeError> {
    if value == 0 {
        put_varint(buffer, NO_TAGGED_FIELDS);
        return Ok(());
    }
    put_varint(buffer, 1);
    put_tagged_field(buffer, field, tag, &value.to_be_bytes())
}

fn tagged_i64(reader: &mut Reader<'_>, known: u32) -> Result<i64, DecodeError> {
    let mut value = 0;
    reader.tagged_fields(|tag, bytes| {
        if tag == known {
            value = Reader::new(bytes).i64()?;
        }
        Ok(())
    })?;
    Ok(value)
}

fn put_strings(buffer: &mut BytesMut, field: &'static str, strings: &BTreeSet<StrBytes>) -> Result<(), EncodeError> {
    put_compact_length(buffer, field, strings.len())?;
    strings.iter().try_for_each(|string| put_compact_string(buffer, field, string))
}

fn strings(reader: &mut Reader<'_>, field: &'static str) -> Result<BTreeSet<StrBytes>, DecodeError> {
    let count = reader.compact_array_length(field)?;
    let mut strings = BTreeSet::new();
    for _ in 0..count {
        strings.insert(reader.compact_string(field)?);
    }
    Ok(strings)
}

fn put_i32s<'a>(
    buffer: &mut BytesMut,
    field: &'static str,
    length: usize,
    values: impl IntoIterator<Item = &'a i32>,
) -> Result<(), EncodeError> {
    put_compact_length(buffer, field, length)?;
    values.into_iter().for_each(|value| buffer.put_i32(*value));
    Ok(())
}

fn i32s(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<i32>, DecodeError> {
    nullable_i32s(reader, field)?.ok_or(DecodeError::Length { field, length: -1 })
}

fn nullable_i32s(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<Vec<i32>>, DecodeError> {
    let Some(count) = reader.compact_nullable_array_length(field)? else { return Ok(None) };
    let mut values = Vec::with_capacity(count.min(reader.left() / size_of::<i32>()));
    for _ in 0..count {
        values.push(reader.i32()?);
    }
    Ok(Some(values))
}
