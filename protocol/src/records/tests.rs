use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as library;
use proptest::prelude::*;

use super::*;
use crate::newtypes::{LeaderEpoch, ProducerId};
use crate::record_batch::{Compression, stamp_log_append_time};
use crate::testing::Random;

const ALL_CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const LIMIT: u64 = 64 * 1024 * 1024;

/// A record that owns its content.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn owned() -> impl Strategy<Value = Owned> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
    // The library keeps headers in a map, so their names have to differ.
    let headers = prop::collection::btree_map("[a-z]{1,8}", bytes(), 0..4)
        .prop_map(|all| all.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect());
    (1_000_000..2_000_000i64, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Owned {
        timestamp,
        key,
        value,
        headers,
    })
}

fn build(compression: Compression, base_offset: i64, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(compression).base_offset(Offset(base_offset));
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        builder.append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    assert_eq!(builder.len(), records.len());
    builder.build()
}

/// Records with their offsets.
fn read_all(batch: &[u8]) -> Result<Vec<(i64, Owned)>, RecordsError> {
    let mut reader = RecordReader::open(batch, LIMIT)?;
    let mut out = Vec::new();
    while let Some(record) = reader.next_record()? {
        let headers =
            record.headers.iter().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
        out.push((record.offset.0, Owned { timestamp: record.timestamp, key, value, headers }));
    }
    Ok(out)
}

fn library_codec(compression: Compression) -> library::Compression {
    match compression {
        Compression::None => library::Compression::None,
        Compression::Gzip => library::Compression::Gzip,
        Compression::Snappy => library::Compression::Snappy,
        Compression::Lz4 => library::Compression::Lz4,
        Compression::Zstd => library::Compression::Zstd,
    }
}

fn to_library(at: usize, record: &Owned) -> library::Record {
    let headers: IndexMap<_, _> = record
        .headers
        .iter()
        .map(|(name, value)| {
            let name = StrBytes::from_string(String::from_utf8(name.clone()).unwrap());
            (name, value.clone().map(Bytes::from))
        })
        .collect();
    library::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: library::TimestampType::Creation,
        offset: at as i64,
        sequence: at as i32 - 1,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers,
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(
        records in prop::collection::vec(owned(), 1..20), base_offset in 0..1_000_000i64,
    ) {
        for compression in ALL_CODECS {
            let batch = build(compression, base_offset, &records);
            let header = BatchHeader::parse(&batch).unwrap();
            prop_assert_eq!(header.verify(&batch), Ok(()));
            prop_assert_eq!(header.size_bytes, batch.len());
            prop_assert_eq!(header.max_timestamp, records.iter().map(|record| record.timestamp).max().unwrap());
            let expected: Vec<_> = (base_offset..).zip(records.iter().cloned()).collect();
            prop_assert_eq!(read_all(&batch).unwrap(), expected, "{:?}", compression);
        }
    }

    #[test]
    fn the_library_reads_what_is_built_and_is_read_itself(records in prop::collection::vec(owned(), 1..20)) {
        let theirs: Vec<_> = records.iter().enumerate().map(|(at, record)| to_library(at, record)).collect();
        for compression in ALL_CODECS {
            let mut ours = Bytes::from(build(compression, 0, &records));
            let read = library::RecordBatchDecoder::decode(&mut ours).unwrap();
            let without_sequence = |records: &[library::Record]| -> Vec<_> {
                records.iter().map(|record| library::Record { sequence: 0, ..record.clone() }).collect()
            };
            prop_assert_eq!(without_sequence(&read.records), without_sequence(&theirs), "{:?}", compression);

            let mut batch = BytesMut::new();
            let options = library::RecordEncodeOptions { version: 2, compression: library_codec(compression) };
            library::RecordBatchEncoder::encode(&mut batch, &theirs, &options).unwrap();
            let expected: Vec<_> = (0..).zip(records.iter().cloned()).collect();
            prop_assert_eq!(read_all(&batch).unwrap(), expected, "{:?}", compression);
        }
    }

    #[test]
    fn scan_agrees_with_reading_everything(
        records in prop::collection::vec(owned(), 1..20), wanted in 900_000..2_100_000i64,
    ) {
        for compression in ALL_CODECS {
            let batch = build(compression, 500, &records);
            let found = first_at_or_after(&batch, wanted, LIMIT).unwrap();
            let expected = records.iter().position(|record| record.timestamp >= wanted);
            prop_assert_eq!(found, expected.map(|at| (Offset(500 + at as i64), records[at].timestamp)));

            let summary = summarize(&batch, LIMIT).unwrap().unwrap();
            prop_assert_eq!(summary.records as usize, records.len());
            prop_assert_eq!(summary.null_keys as usize, records.iter().filter(|record| record.key.is_none()).count());
            prop_assert!(summary.is_dense);
            let latest = records.iter().map(|record| record.timestamp).max().unwrap();
            let at = records.iter().position(|record| record.timestamp == latest).unwrap();
            let found = (summary.max_timestamp.timestamp, summary.max_timestamp.offset);
            prop_assert_eq!(found, (latest, Offset(500 + at as i64)));
        }
    }

    /// Whatever a producer puts under a good checksum: an answer, bounded, and no panic.
    #[test]
    fn damaged_records_are_an_answer_and_no_panic(
        records in prop::collection::vec(owned(), 1..6), seed: u64, damages in 1..5usize,
    ) {
        let mut random = Random::new(seed);
        for compression in ALL_CODECS {
            let mut batch = build(compression, 0, &records);
            for _ in 0..damages {
                let at = HEADER_BYTES + random.below(batch.len() - HEADER_BYTES);
                batch[at] = if random.once_in(2) { random.next() as u8 } else { 0xff };
            }
            let read = read_all(&batch);
            let walked = scan(&batch, LIMIT, |_| ControlFlow::<()>::Continue(()));
            if read.is_ok() {
                prop_assert!(walked.is_ok(), "{:?}: {:?}", compression, walked);
            }
        }
    }

    #[test]
    fn random_bytes_after_a_header_are_an_answer_and_no_panic(seed: u64, length in 0..300usize, count in -1..5i32) {
        let mut random = Random::new(seed);
        for compression in ALL_CODECS {
            let mut batch = BatchBuilder::new().compression(compression).build()[..HEADER_BYTES].to_vec();
            batch.extend(random.bytes(length));
            batch[8..12].copy_from_slice(&((HEADER_BYTES - 12 + length) as i32).to_be_bytes());
            batch[57..61].copy_from_slice(&count.to_be_bytes());
            let _ = read_all(&batch);
            let _ = summarize(&batch, LIMIT);
        }
    }
}

/// Batches as Kafka 4.3's own client builds them, in hexadecimal: two records, the second without key and value.
#[rustfmt::skip]
const FROM_KAFKA: [(Compression, &str); 4] = [
    (Compression::Gzip, "\
        00000000000000000000005dffffffff0282d420ab0001000000010000018bcfe568000000018bcfe56805ffffffffff\
        ffffffffffffffffff000000021f8b08000000000000ffcb62606060cb4ead0c4824123031653055f030703131323200\
        005ca3516e3d000000"),
    (Compression::Snappy, "\
        000000000000000000000061ffffffff0248505e810002000000010000018bcfe568000000018bcfe56805ffffffffff\
        ffffffffffffffffff0000000282534e415050590000000001000000010000001c3d246a000000066b657950619a0100\
        2c02026802780c000a02010100"),
    (Compression::Lz4, "\
        00000000000000000000005bffffffff020d6ac6360003000000010000018bcfe568000000018bcfe56805ffffffffff\
        ffffffffffffffffff0000000204224d186040821b000000af6a000000066b65795061010014c002026802780c000a02\
        01010000000000"),
    (Compression::Zstd, "\
        000000000000000000000059ffffffff02444443f90004000000010000018bcfe568000000018bcfe56805ffffffffff\
        ffffffffffffffffff0000000228b52ffd0058e40000b06a000000066b6579506102026802780c000a0201010001004a\
        8004010000"),
];

#[test]
fn batches_of_kafkas_own_client_are_read() {
    for (compression, hex) in FROM_KAFKA {
        let batch: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.verify(&batch), header.compression()), (Ok(()), Ok(compression)));
        let first = Owned {
            timestamp: 1_700_000_000_000,
            key: Some(b"key".to_vec()),
            value: Some(vec![b'a'; 40]),
            headers: vec![(b"h".to_vec(), Some(b"x".to_vec()))],
        };
        let second = Owned { timestamp: 1_700_000_000_005, key: None, value: None, headers: Vec::new() };
        assert_eq!(read_all(&batch).unwrap(), [(0, first), (1, second)], "{compression:?}");
        assert_eq!(summarize(&batch, LIMIT).unwrap().unwrap().null_keys, 1);
    }
}

/// A batch of `count` records of these very bytes.
fn raw_batch(compression: Compression, count: i32, compressed: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new().compression(compression).build()[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(compressed);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    batch
}

/// A record with null key and value and no headers: length 6, attributes, deltas 0, two nulls, no headers.
const PLAIN_RECORD: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];

#[test]
fn a_bare_snappy_block_is_read_as_well_as_a_framed_one() {
    let block = snap::raw::Encoder::new().compress_vec(&PLAIN_RECORD).unwrap();
    let bare = raw_batch(Compression::Snappy, 1, &block);
    assert_eq!(summarize(&bare, LIMIT).unwrap().unwrap().records, 1);

    // Framed, in two blocks, with the header said again between them.
    let halves = [&PLAIN_RECORD[..3], &PLAIN_RECORD[3..]].map(|half| {
        let block = snap::raw::Encoder::new().compress_vec(half).unwrap();
        [&b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"[..], &(block.len() as u32).to_be_bytes(), &block].concat()
    });
    let framed = raw_batch(Compression::Snappy, 1, &halves.concat());
    assert_eq!(summarize(&framed, LIMIT).unwrap().unwrap().records, 1);
}

#[test]
fn a_snappy_block_beyond_the_limit_is_too_large_and_nothing_else() {
    let records = PLAIN_RECORD.repeat(2000);
    let block = snap::raw::Encoder::new().compress_vec(&records).unwrap();
    let bare = raw_batch(Compression::Snappy, 2000, &block);
    let limit = records.len() as u64 - 1;
    let walked = summarize(&bare, limit);
    assert!(matches!(walked, Err(RecordsError::TooLarge { limit: found }) if found == limit), "{walked:?}");
    assert_eq!(summarize(&bare, limit + 1).unwrap().unwrap().records, 2000);
}

#[test]
fn snappy_blocks_that_lie_about_their_size_allocate_nothing() {
    // The preamble says four gigabytes less one, in five bytes; there is nothing else.
    let lie = raw_batch(Compression::Snappy, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(summarize(&lie, u64::MAX), Err(RecordsError::Decompress(_))));
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let zeros = vec![0; 40 * 1024 * 1024];
    let limit = 1024 * 1024;
    for compression in ALL_CODECS {
        let mut builder = BatchBuilder::new().compression(compression);
        builder.append(0, None, Some(&zeros), &[]);
        let bomb = builder.build();
        if compression != Compression::None {
            assert!(bomb.len() < zeros.len() / 10, "{compression:?} gave {} bytes", bomb.len());
        }
        let read = RecordReader::open(&bomb, limit).unwrap().next_record().map(|_| ());
        assert!(
            matches!(read, Err(RecordsError::TooLarge { limit: found }) if found == limit),
            "{compression:?} {read:?}"
        );
        // The key comes first and is all that a scan needs, but for the proof that the end is right.
        let walked = summarize(&bomb, limit);
        assert!(matches!(walked, Err(RecordsError::TooLarge { .. })), "{compression:?} {walked:?}");
        assert_eq!(first_at_or_after(&bomb, 0, limit).unwrap(), Some((Offset(0), 0)), "{compression:?}");
        assert_eq!(summarize(&bomb, 2 * zeros.len() as u64).unwrap().unwrap().records, 1, "{compression:?}");
    }
}

#[test]
fn wrong_counts_and_lengths_are_told_apart() {
    let two = [PLAIN_RECORD, PLAIN_RECORD].concat();
    let of = |count, bytes: &[u8]| {
        let batch = raw_batch(Compression::None, count, bytes);
        let walked = summarize(&batch, LIMIT).map(|_| ()).unwrap_err();
        let read = read_all(&batch).map(|_| ()).unwrap_err();
        (walked, read)
    };
    let fewer = of(1, &two);
    assert!(matches!(fewer, (RecordsError::LeftOver { count: 1 }, RecordsError::LeftOver { count: 1 })), "{fewer:?}");
    let more = of(3, &two);
    assert!(matches!(more.0, RecordsError::CutShort { record: 2, count: 3 }), "{more:?}");
    let negative_length = of(1, &[1, 0, 0, 0, 1, 1, 0]);
    assert!(
        matches!(negative_length.0, RecordsError::BadField { field: "length", found: -1, .. }),
        "{negative_length:?}"
    );
    let key_past_record = of(1, &[12, 0, 0, 0, 20, 1, 0]);
    assert!(
        matches!(key_past_record.0, RecordsError::BadField { field: "key length", found: 10, .. }),
        "{key_past_record:?}"
    );
    let length_short_of_deltas = of(1, &[2, 0, 0, 0, 1, 1, 0]);
    assert!(
        matches!(length_short_of_deltas.0, RecordsError::BadField { field: "length", found: 1, .. }),
        "{length_short_of_deltas:?}"
    );
    let overlong_varint = of(1, &[0xff; 11]);
    assert!(matches!(overlong_varint.0, RecordsError::BadField { field: "length", .. }), "{overlong_varint:?}");

    // Only a reader of whole records sees these.
    let headers = raw_batch(Compression::None, 1, &[12, 0, 0, 0, 1, 1, 80]);
    let read = read_all(&headers).unwrap_err();
    assert!(matches!(read, RecordsError::BadField { field: "header count", found: 40, .. }), "{read:?}");
    let slack = raw_batch(Compression::None, 1, &[14, 0, 0, 0, 1, 1, 0, 9]);
    let read = read_all(&slack).unwrap_err();
    assert!(matches!(read, RecordsError::Length { record: 0, expected: 4, found: 3 }), "{read:?}");
    assert!(summarize(&slack, LIMIT).is_ok());
}

#[test]
fn offsets_that_do_not_rise_by_one_are_noticed() {
    // Offset deltas 0 and 2, as after compaction.
    let gap = [PLAIN_RECORD, [12, 0, 0, 4, 1, 1, 0]].concat();
    let summary = summarize(&raw_batch(Compression::None, 2, &gap), LIMIT).unwrap().unwrap();
    assert!(!summary.is_dense);
    assert_eq!(summary.null_keys, 2);
}

#[test]
fn a_batch_of_no_records_is_empty() {
    let empty = BatchBuilder::new().build();
    assert!(read_all(&empty).unwrap().is_empty());
    assert_eq!(summarize(&empty, LIMIT).unwrap(), None);
}

#[test]
fn log_append_time_replaces_every_timestamp() {
    let mut builder = BatchBuilder::new();
    builder.append(5, None, None, &[]).append(9, None, None, &[]);
    let mut batch = builder.build();
    stamp_log_append_time(&mut batch, 1_234);
    let timestamps: Vec<_> = read_all(&batch).unwrap().iter().map(|(_, record)| record.timestamp).collect();
    assert_eq!(timestamps, [1_234, 1_234]);
    assert_eq!(first_at_or_after(&batch, 1_000, LIMIT).unwrap(), Some((Offset(0), 1_234)));
    assert_eq!(BatchHeader::parse(&batch).unwrap().verify(&batch), Ok(()));
}

#[test]
fn the_builder_says_what_it_was_told() {
    let mut builder = BatchBuilder::new()
        .compression(Compression::Zstd)
        .base_offset(Offset(77))
        .leader_epoch(LeaderEpoch(3))
        .producer(ProducerId(9), 2, 100)
        .attributes(0x10 | 0x03);
    builder.append(50, Some(b"k"), None, &[]).append(40, Some(b"k"), Some(b"v"), &[]);
    let header = BatchHeader::parse(&builder.build()).unwrap();
    assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (Offset(77), Offset(78), Offset(79)));
    assert_eq!(header.leader_epoch, LeaderEpoch(3));
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(9), 2));
    assert_eq!((header.base_sequence, header.last_sequence()), (100, 101));
    assert_eq!(header.compression(), Ok(Compression::Zstd), "the codec is not to be set by attributes");
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!((header.base_timestamp, header.max_timestamp), (50, 50));
}
