//! A committed offset: `OffsetCommitValue`.
//!
//! Written is version 4, or 1 when the client gave its own retention, as Kafka 4.3 does. Read are all up to 4.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use protocol::{LeaderEpoch, Offset, TopicId};

use super::codec::{
    DecodeError, EncodeError, FLEXIBLE_VERSION, Reader, put_compact_string, put_string, put_tagged_field, put_varint,
};

const VERSION: i16 = 4;
/// The last version with an expire timestamp.
const VERSION_WITH_EXPIRY: i16 = 1;
const VERSION_MAX: i16 = 4;
const TAG_TOPIC_ID: u32 = 0;

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

impl OffsetCommitValue {
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut buffer = BytesMut::new();
        if let Some(expire_timestamp_ms) = self.expire_timestamp_ms {
            buffer.put_i16(VERSION_WITH_EXPIRY);
            buffer.put_i64(self.offset.0);
            put_string(&mut buffer, "offset metadata", &self.metadata)?;
            buffer.put_i64(self.commit_timestamp_ms);
            buffer.put_i64(expire_timestamp_ms);
        } else {
            buffer.put_i16(VERSION);
            buffer.put_i64(self.offset.0);
            buffer.put_i32(self.leader_epoch.0);
            put_compact_string(&mut buffer, "offset metadata", &self.metadata)?;
            buffer.put_i64(self.commit_timestamp_ms);
            if self.topic_id == TopicId::ZERO {
                put_varint(&mut buffer, 0);
            } else {
                put_varint(&mut buffer, 1);
                put_tagged_field(&mut buffer, "topic id", TAG_TOPIC_ID, self.topic_id.0.as_bytes())?;
            }
        }
        Ok(buffer.freeze())
    }

    pub fn decode(bytes: &[u8]) -> Result<OffsetCommitValue, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version("offset commit value", VERSION_MAX)?;
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
                Ok(())
            })?;
        }
        Ok(OffsetCommitValue { offset, leader_epoch, metadata, commit_timestamp_ms, expire_timestamp_ms, topic_id })
    }
}
