//! Answers to Produce requests of version 8, read in place.

use crate::load::wire::{Malformed, Reader};

/// What a Produce answer says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionAnswer<'a> {
    pub(super) topic: &'a [u8],
    pub(super) partition: i32,
    pub(super) error_code: i16,
    /// Why, if the broker says; UTF-8 by the protocol.
    pub(super) error_message: &'a [u8],
    pub(super) base_offset: i64,
}

/// The correlation id at the front of a frame.
pub(super) fn correlation_id(frame: &[u8]) -> Result<i32, Malformed> {
    Reader::new(frame).i32("correlation id")
}

/// Calls `visit` for each partition in the answer, until it fails.
pub(super) fn read<'a, E: From<Malformed>>(
    frame: &'a [u8],
    mut visit: impl FnMut(PartitionAnswer<'a>) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(frame);
    reader.i32("correlation id")?;
    for _ in 0..reader.count("number of topics")? {
        let topic = reader.string("topic name")?;
        for _ in 0..reader.count("number of partitions")? {
            let partition = reader.i32("partition")?;
            let error_code = reader.i16("error code")?;
            let base_offset = reader.i64("base offset")?;
            reader.i64("log append time")?;
            reader.i64("log start offset")?;
            let mut error_message: &[u8] = b"";
            for _ in 0..reader.count("number of record errors")? {
                reader.i32("batch index")?;
                error_message = reader.string("batch index error message")?;
            }
            let message = reader.string("error message")?;
            if !message.is_empty() {
                error_message = message;
            }
            visit(PartitionAnswer { topic, partition, error_code, error_message, base_offset })?;
        }
    }
    reader.i32("throttle time")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::ProduceResponse;
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;
    use crate::client::topic_name;
    use crate::load::produce_request::PRODUCE_VERSION;

    fn answer() -> Vec<u8> {
        let partition = |index, code, offset| {
            PartitionProduceResponse::default().with_index(index).with_error_code(code).with_base_offset(offset)
        };
        let wrong = BatchIndexAndErrorMessage::default()
            .with_batch_index(1)
            .with_batch_index_error_message(Some(StrBytes::from_static_str("odd record")));
        let topics = vec![
            TopicProduceResponse::default().with_name(topic_name("a")).with_partition_responses(vec![
                partition(3, 0, 1 << 40),
                partition(0, 87, -1).with_record_errors(vec![wrong]),
            ]),
            TopicProduceResponse::default().with_name(topic_name("bc")).with_partition_responses(vec![
                partition(1, 2, -1).with_error_message(Some(StrBytes::from_static_str("no"))),
            ]),
        ];
        let mut body = BytesMut::new();
        ProduceResponse::default().with_responses(topics).encode(&mut body, PRODUCE_VERSION).unwrap();
        let mut frame = 9_i32.to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        frame
    }

    fn collect(frame: &[u8]) -> Result<Vec<PartitionAnswer<'_>>, Malformed> {
        let mut all = Vec::new();
        read(frame, |answer| {
            all.push(answer);
            Ok::<_, Malformed>(())
        })?;
        Ok(all)
    }

    #[test]
    fn every_partition_is_read_as_it_was_written() {
        let frame = answer();
        assert_eq!(correlation_id(&frame), Ok(9));
        let of = |topic, partition, error_code, error_message, base_offset| PartitionAnswer {
            topic,
            partition,
            error_code,
            error_message,
            base_offset,
        };
        let expected = [of(b"a", 3, 0, b"", 1 << 40), of(b"a", 0, 87, b"odd record", -1), of(b"bc", 1, 2, b"no", -1)];
        assert_eq!(collect(&frame).unwrap(), expected);
        for cut in 0..frame.len() {
            assert!(collect(&frame[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = collect(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0..120_usize, byte: u8) {
            let mut frame = answer();
            let at = at % frame.len();
            frame[at] = byte;
            let _ = collect(&frame);
        }
    }
}
