//! Fetch requests, versions 12 to 17, written anew for each request.
//!
//! From version 13 on topics have ids instead of names; nothing else that matters here has changed since 12.

use protocol::ApiKey;

use crate::load::produce_request::CLIENT_ID;
use crate::load::wire::{put_string, put_unsigned_varint};
use crate::load::workload::Workload;

/// Versions that can be written.
pub(super) const FETCH_VERSIONS: std::ops::RangeInclusive<i16> = 12..=17;
/// From here on topics go by their ids.
pub(super) const FETCH_VERSION_WITH_IDS: i16 = 13;
/// From here on the replica id is a tagged field.
const FETCH_VERSION_WITHOUT_REPLICA_ID: i16 = 15;

/// What a topic is called in requests and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicKey {
    pub(super) name: String,
    pub(super) id: [u8; 16],
}

impl TopicKey {
    /// As answers of `version` have it.
    pub(super) fn wire(&self, version: i16) -> &[u8] {
        if version >= FETCH_VERSION_WITH_IDS { &self.id } else { self.name.as_bytes() }
    }
}

/// A partition to fetch from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FetchFrom {
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// A fetch session's state in a request (KIP-227).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: i32,
    pub(super) epoch: i32,
}

impl Session {
    /// No session, and none wanted.
    pub(super) const NONE: Session = Session { id: 0, epoch: -1 };
    /// No session yet.
    pub(super) const NEW: Session = Session { id: 0, epoch: 0 };

    /// For the request after one that was answered with session `id`.
    pub(super) fn after_answer(self, id: i32) -> Session {
        match (self.epoch, id) {
            (-1, _) => Session::NONE,
            // The broker keeps none for us now; it may later.
            (_, 0) => Session::NEW,
            (i32::MAX, id) => Session { id, epoch: 1 },
            (epoch, id) => Session { id, epoch: epoch + 1 },
        }
    }

    /// Whether a request with it names only what has changed.
    pub(super) fn is_incremental(self) -> bool {
        self.epoch > 0
    }
}

/// Appends a whole request. Partitions of a topic have to follow one another.
pub(super) fn write(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    workload: &Workload,
    topics: &[TopicKey],
    session: Session,
    partitions: &[FetchFrom],
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(ApiKey::Fetch as i16).to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation_id.to_be_bytes());
    put_string(out, CLIENT_ID);
    out.push(0);
    if version < FETCH_VERSION_WITHOUT_REPLICA_ID {
        out.extend_from_slice(&(-1_i32).to_be_bytes());
    }
    out.extend_from_slice(&workload.fetch_max_wait_ms.to_be_bytes());
    out.extend_from_slice(&workload.fetch_min_bytes.to_be_bytes());
    out.extend_from_slice(&workload.fetch_max_bytes.to_be_bytes());
    // Read uncommitted.
    out.push(0);
    out.extend_from_slice(&session.id.to_be_bytes());
    out.extend_from_slice(&session.epoch.to_be_bytes());
    let topic_chunks = || partitions.chunk_by(|a, b| a.topic == b.topic);
    put_unsigned_varint(out, topic_chunks().count() as u32 + 1);
    for chunk in topic_chunks() {
        let topic = topics[chunk[0].topic].wire(version);
        if version < FETCH_VERSION_WITH_IDS {
            put_unsigned_varint(out, topic.len() as u32 + 1);
        }
        out.extend_from_slice(topic);
        put_unsigned_varint(out, chunk.len() as u32 + 1);
        for from in chunk {
            out.extend_from_slice(&from.partition.to_be_bytes());
            // The current leader epoch is not known,
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&from.offset.to_be_bytes());
            // and neither the last fetched one nor a log start offset: those are for replicas.
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&(-1_i64).to_be_bytes());
            out.extend_from_slice(&workload.fetch_partition_max_bytes.to_be_bytes());
            out.push(0);
        }
        out.push(0);
    }
    // No forgotten topics, an empty rack id, no tagged fields.
    out.extend_from_slice(&[1, 1, 0]);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::{FetchRequest, RequestHeader};
    use kafka_protocol::protocol::{Decodable, HeaderVersion};

    use super::*;

    #[test]
    fn every_version_is_read_by_the_library_as_meant() {
        let text = "name = 'w'\npartitions = 3\nrecord_size = 500\nduration_seconds = 1\nfetch_max_wait_ms = 11\n\
                    fetch_min_bytes = 12\nfetch_max_bytes = 13\nfetch_partition_max_bytes = 14";
        let workload = Workload::parse("w", text, &[]).unwrap();
        let topics = ["one", "other"].map(|name| TopicKey { name: name.to_owned(), id: [name.len() as u8; 16] });
        let from = |topic, partition, offset| FetchFrom { topic, partition, offset };
        let partitions = [from(0, 0, 5), from(0, 2, 6), from(1, 1, 1 << 40)];
        for version in FETCH_VERSIONS {
            let mut frame = b"before".to_vec();
            write(&mut frame, version, 3, &workload, &topics, Session { id: 21, epoch: 22 }, &partitions);
            let frame = frame.split_off(6);
            assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
            let mut body = Bytes::from(frame).split_off(4);
            let header = RequestHeader::decode(&mut body, FetchRequest::header_version(version)).unwrap();
            assert_eq!((header.request_api_version, header.correlation_id), (version, 3));
            let request = FetchRequest::decode(&mut body, version).unwrap();
            assert!(body.is_empty(), "version {version}");
            assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (11, 12, 13));
            assert_eq!((request.replica_id.0, request.isolation_level), (-1, 0));
            assert_eq!((request.session_id, request.session_epoch), (21, 22));
            let mut found = Vec::new();
            for topic in &request.topics {
                let number = topics
                    .iter()
                    .position(|key| key.name == *topic.topic.0 || key.id == *topic.topic_id.as_bytes())
                    .unwrap();
                for partition in &topic.partitions {
                    assert_eq!((partition.current_leader_epoch, partition.partition_max_bytes), (-1, 14));
                    found.push(from(number, partition.partition, partition.fetch_offset));
                }
            }
            assert_eq!(found, partitions);
        }
    }

    #[test]
    fn sessions_count_their_epochs() {
        assert_eq!(Session::NONE.after_answer(5), Session::NONE);
        assert_eq!(Session::NEW.after_answer(5), Session { id: 5, epoch: 1 });
        assert_eq!(Session::NEW.after_answer(0), Session::NEW);
        assert_eq!(Session { id: 5, epoch: 7 }.after_answer(5), Session { id: 5, epoch: 8 });
        assert_eq!(Session { id: 5, epoch: i32::MAX }.after_answer(5), Session { id: 5, epoch: 1 });
        assert!(!Session::NEW.is_incremental() && !Session::NONE.is_incremental());
    }
}
