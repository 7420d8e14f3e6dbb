//! A small blocking Kafka client: one connection, requests of fixed versions, answers within a time limit.
//!
//! It serves to create topics, to learn whether a broker is ready, and as the ground of [`crate::fill`]. It is not a
//! client for others: one broker, no retries, no metadata. Versions are the newest without tagged fields that Kafka 4.3
//! serves, so that they work with any broker that keeps to the protocol.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use protocol::frame::{FRAME_BYTES_MAX_DEFAULT, FrameDecoder, FrameError};

use crate::interrupt::{CHECK_INTERVAL, Interrupt, Interrupted};

const CLIENT_ID: &str = "ringlog-bench";
const API_VERSIONS_VERSION: i16 = 0;
const CREATE_TOPICS_VERSION: i16 = 4;
const LIST_OFFSETS_VERSION: i16 = 5;
const METADATA_VERSION: i16 = 8;
/// Bytes read from the socket at a time.
const READ_BYTES: usize = 16 * 1024;
/// "The offset after the last record" in ListOffsets.
pub const LATEST_TIMESTAMP: i64 = -1;
/// "The offset of the first record" in ListOffsets.
pub const EARLIEST_TIMESTAMP: i64 = -2;

/// Error codes of a partition that is not ready yet (Kafka protocol guide, "Error Codes").
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const KAFKA_STORAGE_ERROR: i16 = 56;
const OFFSET_NOT_AVAILABLE: i16 = 78;

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{broker}: {action} failed: {source}")]
    Io { broker: SocketAddr, action: &'static str, source: io::Error },
    #[error("{broker} closed the connection")]
    Closed { broker: SocketAddr },
    #[error("{broker} did not answer within {limit:?}")]
    NoAnswer { broker: SocketAddr, limit: Duration },
    #[error("{broker}: {source}")]
    Frame { broker: SocketAddr, source: FrameError },
    #[error("{broker}: correlation id {found} where {expected} was expected")]
    Correlation { broker: SocketAddr, expected: i32, found: i32 },
    #[error("{broker}: {message} version {version} cannot be {action}: {reason}")]
    Codec { broker: SocketAddr, message: &'static str, version: i16, action: &'static str, reason: String },
    #[error("{broker}: {request} for {topic} partition {partition} gave error code {code}")]
    Partition { broker: SocketAddr, request: &'static str, topic: String, partition: i32, code: i16 },
    #[error("{broker}: CreateTopics for {topic} gave error code {code}: {message}")]
    CreateTopic { broker: SocketAddr, topic: String, code: i16, message: String },
    #[error("{broker}: {request} was answered with {found} partitions of {topic}, expected {expected}")]
    PartitionCount { broker: SocketAddr, request: &'static str, topic: String, expected: usize, found: usize },
    #[error("{broker}: not all {partitions} partitions of {topic} were ready after {limit:?}")]
    NotReady { broker: SocketAddr, topic: String, partitions: usize, limit: Duration },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// One connection to a broker.
#[derive(Debug)]
pub struct Connection {
    broker: SocketAddr,
    stream: TcpStream,
    received: BytesMut,
    next_correlation_id: i32,
    interrupt: Interrupt,
}

impl Connection {
    /// Connects. A broker that does not listen yet is an error at once.
    pub fn open(broker: SocketAddr, interrupt: &Interrupt) -> Result<Connection, ClientError> {
        let io_error = |action| move |source| ClientError::Io { broker, action, source };
        let stream = TcpStream::connect(broker).map_err(io_error("connecting"))?;
        stream.set_nodelay(true).map_err(io_error("setting TCP_NODELAY"))?;
        stream.set_read_timeout(Some(CHECK_INTERVAL)).map_err(io_error("setting a time limit"))?;
        let interrupt = interrupt.clone();
        Ok(Connection { broker, stream, received: BytesMut::new(), next_correlation_id: 0, interrupt })
    }

    /// Sends a request and waits for its answer; nothing else may be in flight.
    pub fn call<R: Request>(&mut self, request: &R, version: i16, limit: Duration) -> Result<R::Response, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let frame = encode_request(self.broker, request, version, correlation_id)?;
        self.send(&frame)?;
        let answer = self.receive(limit)?;
        decode_response::<R>(self.broker, answer, version, correlation_id)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), ClientError> {
        self.stream.write_all(frame).map_err(|source| self.io_error("sending", source))
    }

    /// The next frame from the broker, without its length.
    pub fn receive(&mut self, limit: Duration) -> Result<Bytes, ClientError> {
        let deadline = Instant::now() + limit;
        let decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
        loop {
            let frame = decoder.next_frame(&mut self.received);
            if let Some(frame) = frame.map_err(|source| ClientError::Frame { broker: self.broker, source })? {
                return Ok(frame);
            }
            self.interrupt.check()?;
            let mut chunk = [0; READ_BYTES];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed { broker: self.broker }),
                Ok(size) => self.received.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if Instant::now() > deadline {
                        return Err(ClientError::NoAnswer { broker: self.broker, limit });
                    }
                }
                Err(source) => return Err(self.io_error("receiving", source)),
            }
        }
    }

    /// Asks for the served API versions: the first thing any client asks. The content of the answer does not matter.
    pub fn api_versions(&mut self, limit: Duration) -> Result<(), ClientError> {
        self.call(&ApiVersionsRequest::default(), API_VERSIONS_VERSION, limit).map(|_| ())
    }

    /// How many brokers the cluster has by what this one says.
    pub fn brokers_known(&mut self, limit: Duration) -> Result<usize, ClientError> {
        let request = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(false);
        Ok(self.call(&request, METADATA_VERSION, limit)?.brokers.len())
    }

    /// Creates a topic of replication factor 1, and waits until each partition answers ListOffsets.
    pub fn create_topic(&mut self, topic: &str, partitions: i32, limit: Duration) -> Result<(), ClientError> {
        let creatable = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let timeout_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
        let request = CreateTopicsRequest::default().with_topics(vec![creatable]).with_timeout_ms(timeout_ms);
        let response = self.call(&request, CREATE_TOPICS_VERSION, limit)?;
        let result = response.topics.first();
        let (code, message) = result.map_or((-1, None), |result| (result.error_code, result.error_message.clone()));
        if code != 0 {
            let message = message.map_or_else(String::new, |message| message.to_string());
            return Err(ClientError::CreateTopic { broker: self.broker, topic: topic.to_owned(), code, message });
        }
        self.wait_for_end_offsets(topic, partitions, limit).map(|_| ())
    }

    /// The log end offset of each partition, in their order, as soon as all are ready.
    pub fn wait_for_end_offsets(
        &mut self,
        topic: &str,
        partitions: i32,
        limit: Duration,
    ) -> Result<Vec<i64>, ClientError> {
        let partitions: Vec<i32> = (0..partitions).collect();
        self.wait_for_offsets(topic, &partitions, LATEST_TIMESTAMP, limit)
    }

    /// The offset that each of these partitions, which are in order, has for a timestamp, as soon as all are ready.
    pub fn wait_for_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        limit: Duration,
    ) -> Result<Vec<i64>, ClientError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(offsets) = self.offsets(topic, partitions, timestamp, limit)? {
                return Ok(offsets);
            }
            if Instant::now() > deadline {
                let (topic, partitions) = (topic.to_owned(), partitions.len());
                return Err(ClientError::NotReady { broker: self.broker, topic, partitions, limit });
            }
            self.interrupt.sleep(Duration::from_millis(2))?;
        }
    }

    /// `None` while a partition has no leader here that is ready.
    pub fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        limit: Duration,
    ) -> Result<Option<Vec<i64>>, ClientError> {
        const REQUEST: &str = "ListOffsets";
        let asked = partitions.iter().map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        });
        let asked = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let mut response = self.call(&request, LIST_OFFSETS_VERSION, limit)?;
        let mut answered = response.topics.pop().map_or_else(Vec::new, |topic| topic.partitions);
        answered.sort_by_key(|partition| partition.partition_index);
        for partition in &answered {
            match partition.error_code {
                0 => {}
                UNKNOWN_TOPIC_OR_PARTITION
                | LEADER_NOT_AVAILABLE
                | NOT_LEADER_OR_FOLLOWER
                | KAFKA_STORAGE_ERROR
                | OFFSET_NOT_AVAILABLE => return Ok(None),
                code => {
                    let (topic, partition) = (topic.to_owned(), partition.partition_index);
                    return Err(ClientError::Partition {
                        broker: self.broker,
                        request: REQUEST,
                        topic,
                        partition,
                        code,
                    });
                }
            }
        }
        let (expected, found) = (partitions.len(), answered.len());
        if found != expected {
            let topic = topic.to_owned();
            return Err(ClientError::PartitionCount { broker: self.broker, request: REQUEST, topic, expected, found });
        }
        Ok(Some(answered.iter().map(|partition| partition.offset).collect()))
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> ClientError {
        ClientError::Io { broker: self.broker, action, source }
    }
}

/// A topic's name as the messages want it.
#[must_use]
pub fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A whole frame, its length included. The correlation id is at [`CORRELATION_ID_AT`].
pub fn encode_request<R: Request>(
    broker: SocketAddr,
    request: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<u8>, ClientError> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
    let mut body = BytesMut::new();
    header
        .encode(&mut body, R::header_version(version))
        .and_then(|()| request.encode(&mut body, version))
        .map_err(|error| codec_error::<R>(broker, version, "encoded", &error))?;
    let length = u32::try_from(body.len()).expect("requests are far below 4 GiB");
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// Where an encoded frame has its correlation id: behind length, API key and version.
pub const CORRELATION_ID_AT: std::ops::Range<usize> = 8..12;

/// Reads the answer to a request of `version`.
pub fn decode_response<R: Request>(
    broker: SocketAddr,
    mut answer: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, ClientError> {
    let decode_error = |error| codec_error::<R>(broker, version, "decoded from the answer", &error);
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(decode_error)?;
    if header.correlation_id != correlation_id {
        return Err(ClientError::Correlation { broker, expected: correlation_id, found: header.correlation_id });
    }
    R::Response::decode(&mut answer, version).map_err(decode_error)
}

fn codec_error<R>(
    broker: SocketAddr,
    version: i16,
    action: &'static str,
    error: &impl std::fmt::Display,
) -> ClientError {
    let path = std::any::type_name::<R>();
    let message = path.rsplit("::").next().unwrap_or(path);
    ClientError::Codec { broker, message, version, action, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
