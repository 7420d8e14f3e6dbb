//! Answers to Fetch requests of versions 12 to 17, read in place.

use std::ops::Range;

use crate::load::fetch_request::FETCH_VERSION_WITH_IDS;
use crate::load::wire::{Malformed, Reader};

/// What an answer says as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AnswerHead {
    pub(super) error_code: i16,
    pub(super) session_id: i32,
}

/// What an answer says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartitionAnswer<'a> {
    /// Its id or name, by version.
    pub(super) topic: &'a [u8],
    pub(super) partition: i32,
    pub(super) error_code: i16,
    /// Where in the frame its record batches are; the last may be cut short.
    pub(super) records: Range<usize>,
}

/// Calls `visit` for each partition in the answer, until it fails.
pub(super) fn read<'a, E: From<Malformed>>(
    frame: &'a [u8],
    version: i16,
    mut visit: impl FnMut(PartitionAnswer<'a>) -> Result<(), E>,
) -> Result<AnswerHead, E> {
    let mut reader = Reader::new(frame);
    reader.i32("correlation id")?;
    reader.tagged_fields()?;
    reader.i32("throttle time")?;
    let error_code = reader.i16("error code")?;
    let session_id = reader.i32("session id")?;
    for _ in 0..reader.compact_count("number of topics")? {
        let topic = if version >= FETCH_VERSION_WITH_IDS {
            reader.bytes(16, "topic id")?
        } else {
            reader.compact_bytes("topic name")?
        };
        for _ in 0..reader.compact_count("number of partitions")? {
            let partition = reader.i32("partition")?;
            let error_code = reader.i16("error code")?;
            reader.i64("high watermark")?;
            reader.i64("last stable offset")?;
            reader.i64("log start offset")?;
            for _ in 0..reader.compact_count("number of aborted transactions")? {
                reader.i64("producer id")?;
                reader.i64("first offset")?;
                reader.tagged_fields()?;
            }
            reader.i32("preferred read replica")?;
            let size = reader.compact_count("size of records")?;
            let start = reader.position();
            reader.bytes(size, "records")?;
            reader.tagged_fields()?;
            visit(PartitionAnswer { topic, partition, error_code, records: start..start + size })?;
        }
        reader.tagged_fields()?;
    }
    reader.tagged_fields()?;
    Ok(AnswerHead { error_code, session_id })
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::{FetchResponse, ResponseHeader};
    use kafka_protocol::protocol::{Encodable, HeaderVersion};
    use proptest::prelude::*;

    use super::*;
    use crate::client::topic_name;
    use crate::load::fetch_request::FETCH_VERSIONS;

    fn answer(version: i16) -> Vec<u8> {
        let partition = |index, code, records: Option<&'static [u8]>| {
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(code)
                .with_high_watermark(77)
                .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
                .with_records(records.map(Bytes::from_static))
        };
        let mut topics = vec![
            FetchableTopicResponse::default()
                .with_partitions(vec![partition(4, 0, Some(b"batches")), partition(5, 6, None)]),
            FetchableTopicResponse::default().with_partitions(vec![partition(0, 0, Some(b""))]),
        ];
        for (number, topic) in topics.iter_mut().enumerate() {
            if version >= FETCH_VERSION_WITH_IDS {
                topic.topic_id = uuid::Uuid::from_bytes([number as u8; 16]);
            } else {
                topic.topic = topic_name(&format!("topic-{number}"));
            }
        }
        let mut frame = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(9);
        header.encode(&mut frame, FetchResponse::header_version(version)).unwrap();
        let response = FetchResponse::default().with_error_code(71).with_session_id(123).with_responses(topics);
        response.encode(&mut frame, version).unwrap();
        frame.to_vec()
    }

    type Found = Vec<(Vec<u8>, i32, i16, Vec<u8>)>;

    fn collect(frame: &[u8], version: i16) -> Result<(AnswerHead, Found), Malformed> {
        let mut all = Vec::new();
        let head = read(frame, version, |answer| {
            let records = frame[answer.records].to_vec();
            all.push((answer.topic.to_vec(), answer.partition, answer.error_code, records));
            Ok::<_, Malformed>(())
        })?;
        Ok((head, all))
    }

    #[test]
    fn every_version_is_read_as_the_library_wrote_it() {
        for version in FETCH_VERSIONS {
            let frame = answer(version);
            let (head, found) = collect(&frame, version).unwrap();
            assert_eq!(head, AnswerHead { error_code: 71, session_id: 123 });
            let topic = |number: u8| {
                if version >= 13 { vec![number; 16] } else { format!("topic-{number}").into_bytes() }
            };
            let expected =
                [(topic(0), 4, 0, b"batches".to_vec()), (topic(0), 5, 6, Vec::new()), (topic(1), 0, 0, Vec::new())];
            assert_eq!(found, expected, "version {version}");
            for cut in 0..frame.len() {
                assert!(collect(&frame[..cut], version).is_err(), "version {version}, cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in FETCH_VERSIONS, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = collect(&bytes, version);
        }

        #[test]
        fn no_damage_panics(version in FETCH_VERSIONS, at in 0..400_usize, byte: u8) {
            let mut frame = answer(version);
            let at = at % frame.len();
            frame[at] = byte;
            let _ = collect(&frame, version);
        }
    }
}
