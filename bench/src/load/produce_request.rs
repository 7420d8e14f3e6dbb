//! Produce requests, version 8: prepared once for each topic, completed for each request.
//!
//! Version 8 is the newest without tagged fields, and tells which record was refused and why.

use protocol::ApiKey;

use crate::load::batch::BatchTemplate;
use crate::load::outbox::Outbox;
use crate::load::wire::put_string;
use crate::load::workload::Workload;

pub(super) const PRODUCE_VERSION: i16 = 8;
pub(super) const CLIENT_ID: &str = "ringlog-bench";
/// How long the broker may take (`timeout_ms`): longer than we wait.
const TIMEOUT_MS: i32 = 120_000;
const LENGTH_BYTES: usize = 4;
/// Where a request has its correlation id: behind length, API key and version.
const CORRELATION_ID_AT: usize = 8;
/// Bytes of a partition's number and of its records' size.
const PARTITION_BYTES: usize = 8;

/// The requests of a workload for one topic.
#[derive(Clone, Debug)]
pub(super) struct ProduceRequests {
    /// From the length to the number of partitions.
    front: Vec<u8>,
}

impl ProduceRequests {
    pub(super) fn new(topic: &str, workload: &Workload, template: &BatchTemplate) -> ProduceRequests {
        let mut front = vec![0; LENGTH_BYTES];
        front.extend_from_slice(&(ApiKey::Produce as i16).to_be_bytes());
        front.extend_from_slice(&PRODUCE_VERSION.to_be_bytes());
        front.extend_from_slice(&0_i32.to_be_bytes());
        put_string(&mut front, CLIENT_ID);
        // No transactional id.
        front.extend_from_slice(&(-1_i16).to_be_bytes());
        front.extend_from_slice(&workload.acks.code().to_be_bytes());
        front.extend_from_slice(&TIMEOUT_MS.to_be_bytes());
        front.extend_from_slice(&1_i32.to_be_bytes());
        put_string(&mut front, topic);
        front.extend_from_slice(&(workload.partitions_per_request as i32).to_be_bytes());
        let partitions = workload.partitions_per_request * (PARTITION_BYTES + template.size_bytes());
        let length = u32::try_from(front.len() - LENGTH_BYTES + partitions).expect("a request is far below 4 GiB");
        front[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        ProduceRequests { front }
    }

    /// Begins a request; as many [`put_partition`] as the workload has partitions in one must follow.
    pub(super) fn begin(&self, outbox: &mut Outbox, correlation_id: i32) {
        outbox.push(|out| {
            let start = out.len() + CORRELATION_ID_AT;
            out.extend_from_slice(&self.front);
            out[start..start + 4].copy_from_slice(&correlation_id.to_be_bytes());
        });
    }
}

/// A partition's part of a request. `write_head` appends the batch's head.
pub(super) fn put_partition(
    outbox: &mut Outbox,
    partition: i32,
    template: &BatchTemplate,
    write_head: impl FnOnce(&mut Vec<u8>),
) {
    outbox.push(|out| {
        out.extend_from_slice(&partition.to_be_bytes());
        out.extend_from_slice(&(template.size_bytes() as i32).to_be_bytes());
        write_head(out);
    });
    outbox.push_tail();
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use bytes::Bytes;
    use kafka_protocol::messages::{ProduceRequest, RequestHeader};
    use kafka_protocol::protocol::{Decodable, HeaderVersion};

    use super::*;
    use crate::load::batch::Marker;

    #[test]
    fn requests_are_read_by_the_library_as_meant() {
        let text = "name = 'w'\npartitions = 3\nrecord_size = 500\nrecords_per_batch = 5\npartitions_per_request = 2\n\
                    duration_seconds = 1\nacks = '1'";
        let workload = Workload::parse("w", text, &[]).unwrap();
        let template = BatchTemplate::new(&workload);
        let mut outbox = Outbox::new(template.tail().clone());
        ProduceRequests::new("the-topic", &workload, &template).begin(&mut outbox, 77);
        for partition in [2, 0] {
            let marker = Marker { run: 1, producer: 2, sequence: 3, sent_ns: 4 };
            put_partition(&mut outbox, partition, &template, |out| template.write_head(out, &marker, 5));
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(outbox.flush(&stream).unwrap());
        drop(stream);
        let mut frame = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut frame).unwrap();
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let mut body = Bytes::from(frame.split_off(4));
        let header = RequestHeader::decode(&mut body, ProduceRequest::header_version(PRODUCE_VERSION)).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (0, 8, 77));
        let request = ProduceRequest::decode(&mut body, PRODUCE_VERSION).unwrap();
        assert!(body.is_empty());
        assert_eq!((request.acks, request.topic_data.len()), (1, 1));
        let topic = &request.topic_data[0];
        assert_eq!(topic.name.0.as_str(), "the-topic");
        assert_eq!(topic.partition_data.iter().map(|data| data.index).collect::<Vec<_>>(), [2, 0]);
        for data in &topic.partition_data {
            let batch = data.records.as_ref().unwrap();
            let header = protocol::record_batch::BatchHeader::parse(batch).unwrap();
            header.verify(batch).unwrap();
            assert_eq!(header.size_bytes, batch.len());
        }
    }
}
