//! FetchResponse without copying records.
//!
//! The message library wants the records of a partition as one contiguous buffer and copies them into the frame. Here a
//! response is a list of chunks: what belongs to the protocol in small buffers of our own, and between them the record
//! batches as the log or the tail cache hands them over, verbatim. Sent one after another the chunks are the frame,
//! byte for byte what the library gives.
//!
//! Fields that a version lacks are left out in silence, so one value serves a session's whatever version; `SnapshotId`,
//! which only a Raft leader would set, is deliberately absent.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api_versions::ApiKey;
use crate::frame::LENGTH_BYTES;
use crate::header::put_response_header;
use crate::newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use crate::request_guard::STRING_BYTES_MAX;
use crate::response::EncodeError;

#[cfg(test)]
mod tests;

/// A response to Fetch, versions 4 to 18.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    /// Error of the whole request; from version 7.
    pub error_code: i16,
    /// Fetch session (KIP-227), 0 for none; from version 7.
    pub session_id: i32,
    pub topics: Vec<FetchTopic>,
    /// Where the leaders named in `current_leader` are (KIP-951); from version 16.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic in a [`FetchResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FetchTopic {
    /// Up to version 12.
    pub name: StrBytes,
    /// From version 13.
    pub topic_id: TopicId,
    pub partitions: Vec<FetchPartition>,
}

/// A partition in a [`FetchResponse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub partition: PartitionId,
    pub error_code: i16,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    /// From version 5.
    pub log_start_offset: Offset,
    /// Largest epoch, and its end offset, up to which the fetcher's log agrees (KIP-595); from version 12.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// Leader and epoch, for a fetcher that asked the wrong broker; from version 12.
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
    /// Producer and first offset of aborted transactions; `None` (null) but for read-committed fetches.
    pub aborted_transactions: Option<Vec<(ProducerId, Offset)>>,
    /// Broker the consumer should rather read from (KIP-392); from version 11.
    pub preferred_read_replica: Option<BrokerId>,
    /// Whole record batches in offset order, cut into buffers anywhere. Nothing is empty records, not null, as in
    /// Kafka.
    pub records: Vec<Bytes>,
}

impl FetchPartition {
    /// A partition without records or offsets, as for an error.
    #[must_use]
    pub fn empty(partition: PartitionId, error_code: i16) -> FetchPartition {
        FetchPartition {
            partition,
            error_code,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: None,
            records: Vec::new(),
        }
    }

    /// Bytes of all records together.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// Address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node: BrokerId,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

impl FetchResponse {
    /// The whole frame, its length in front, as chunks to be sent in order.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<Vec<Bytes>, EncodeError> {
        let mut out = Encoder::new(version);
        put_response_header(&mut out.open, ApiKey::Fetch, version, correlation_id);
        out.open.put_i32(self.throttle_time_ms);
        if version >= 7 {
            out.open.put_i16(self.error_code);
            out.open.put_i32(self.session_id);
        }
        out.array_length(self.topics.len())?;
        for topic in &self.topics {
            out.topic(topic)?;
        }
        if version >= 16 && !self.node_endpoints.is_empty() {
            let mut endpoints = Encoder::new(version);
            endpoints.array_length(self.node_endpoints.len())?;
            for endpoint in &self.node_endpoints {
                endpoints.node_endpoint(endpoint)?;
            }
            out.tagged_fields(&[(0, &endpoints.open[LENGTH_BYTES..])]);
        } else {
            out.tagged_fields(&[]);
        }
        out.finish()
    }
}

/// Grows the frame: `done` chunks, and the one that is being written.
struct Encoder {
    version: i16,
    flexible: bool,
    done: Vec<Chunk>,
    open: BytesMut,
}

/// A finished chunk. The first one stays mutable until the frame's length is known.
enum Chunk {
    Own(BytesMut),
    Records(Bytes),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Chunk::Own(bytes) => bytes.len(),
            Chunk::Records(bytes) => bytes.len(),
        }
    }
}

impl Encoder {
    fn new(version: i16) -> Encoder {
        let mut open = BytesMut::with_capacity(512);
        open.put_bytes(0, LENGTH_BYTES);
        Encoder { version, flexible: ApiKey::Fetch.is_flexible(version), done: Vec::new(), open }
    }

    fn topic(&mut self, topic: &FetchTopic) -> Result<(), EncodeError> {
        if self.version >= 13 {
            let TopicId(id): TopicId = topic.topic_id;
            self.uuid(id);
        } else {
            self.string(&topic.name)?;
        }
        self.array_length(topic.partitions.len())?;
        for partition in &topic.partitions {
            self.partition(partition)?;
        }
        self.tagged_fields(&[]);
        Ok(())
    }

    fn partition(&mut self, partition: &FetchPartition) -> Result<(), EncodeError> {
        self.open.put_i32(partition.partition.0);
        self.open.put_i16(partition.error_code);
        self.open.put_i64(partition.high_watermark.0);
        self.open.put_i64(partition.last_stable_offset.0);
        if self.version >= 5 {
            self.open.put_i64(partition.log_start_offset.0);
        }
        match &partition.aborted_transactions {
            None => self.null_array(),
            Some(aborted) => {
                self.array_length(aborted.len())?;
                for (producer, first_offset) in aborted {
                    self.open.put_i64(producer.0);
                    self.open.put_i64(first_offset.0);
                    self.tagged_fields(&[]);
                }
            }
        }
        if self.version >= 11 {
            self.open.put_i32(partition.preferred_read_replica.map_or(-1, |broker| broker.0));
        }
        self.records(&partition.records)?;

        let diverging = partition.diverging_epoch.map(|(epoch, end)| struct_of_i32_i64(epoch.0, end.0));
        let leader = partition.current_leader.map(|(broker, epoch)| struct_of_i32_i32(broker.0, epoch.0));
        match (&diverging, &leader) {
            (None, None) => self.tagged_fields(&[]),
            (Some(diverging), None) => self.tagged_fields(&[(0, diverging)]),
            (None, Some(leader)) => self.tagged_fields(&[(1, leader)]),
            (Some(diverging), Some(leader)) => self.tagged_fields(&[(0, diverging), (1, leader)]),
        }
        Ok(())
    }

    fn node_endpoint(&mut self, endpoint: &NodeEndpoint) -> Result<(), EncodeError> {
        self.open.put_i32(endpoint.node.0);
        self.string(&endpoint.host)?;
        self.open.put_i32(endpoint.port);
        match &endpoint.rack {
            Some(rack) => self.string(rack)?,
            None => self.varint(0),
        }
        self.tagged_fields(&[]);
        Ok(())
    }

    /// The length of the records, and then the records themselves as chunks of their own.
    fn records(&mut self, records: &[Bytes]) -> Result<(), EncodeError> {
        let bytes = records.iter().map(Bytes::len).sum();
        self.length(bytes)?;
        if bytes > 0 {
            self.done.push(Chunk::Own(self.open.split()));
            self.done.extend(records.iter().filter(|chunk| !chunk.is_empty()).cloned().map(Chunk::Records));
        }
        Ok(())
    }

    fn array_length(&mut self, count: usize) -> Result<(), EncodeError> {
        self.length(count)
    }

    fn null_array(&mut self) {
        if self.flexible { self.varint(0) } else { self.open.put_i32(-1) }
    }

    /// INT32, or one more as a varint.
    fn length(&mut self, length: usize) -> Result<(), EncodeError> {
        let signed = i32::try_from(length).map_err(|_| EncodeError::TooLong { api: ApiKey::Fetch, bytes: length })?;
        if self.flexible {
            self.varint(signed as u32 + 1)
        } else {
            self.open.put_i32(signed)
        }
        Ok(())
    }

    fn string(&mut self, text: &StrBytes) -> Result<(), EncodeError> {
        if text.len() > STRING_BYTES_MAX {
            return Err(EncodeError::TooLong { api: ApiKey::Fetch, bytes: text.len() });
        }
        if self.flexible {
            self.varint(text.len() as u32 + 1)
        } else {
            self.open.put_i16(text.len() as i16)
        }
        self.open.put_slice(text.as_bytes());
        Ok(())
    }

    fn uuid(&mut self, id: Uuid) {
        self.open.put_slice(id.as_bytes());
    }

    fn varint(&mut self, value: u32) {
        put_varint(&mut self.open, value);
    }

    /// Tagged fields by rising tag; versions that have none write nothing.
    fn tagged_fields(&mut self, fields: &[(u32, &[u8])]) {
        if !self.flexible {
            return;
        }
        self.varint(fields.len() as u32);
        for (tag, value) in fields {
            self.varint(*tag);
            self.varint(value.len() as u32);
            self.open.put_slice(value);
        }
    }

    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        self.done.push(Chunk::Own(self.open));
        let bytes = self.done.iter().map(Chunk::len).sum::<usize>() - LENGTH_BYTES;
        let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLong { api: ApiKey::Fetch, bytes })?;
        if let Some(Chunk::Own(first)) = self.done.first_mut() {
            first[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        }
        let frozen = self.done.into_iter().map(|chunk| match chunk {
            Chunk::Own(bytes) => bytes.freeze(),
            Chunk::Records(bytes) => bytes,
        });
        Ok(frozen.collect())
    }
}

/// A struct of INT32 and INT64 with no tagged fields of its own.
fn struct_of_i32_i64(first: i32, second: i64) -> [u8; 13] {
    let mut out = [0; 13];
    out[..4].copy_from_slice(&first.to_be_bytes());
    out[4..12].copy_from_slice(&second.to_be_bytes());
    out
}

/// A struct of two INT32 with no tagged fields of its own.
fn struct_of_i32_i32(first: i32, second: i32) -> [u8; 9] {
    let mut out = [0; 9];
    out[..4].copy_from_slice(&first.to_be_bytes());
    out[4..8].copy_from_slice(&second.to_be_bytes());
    out
}

fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
