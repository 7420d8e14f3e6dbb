use proptest::prelude::*;

use super::*;
use crate::records::BatchBuilder;

fn batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.append(1_000, Some(b"key"), Some(b"value"), &[]).append(1_001, None, Some(b"value"), &[]);
    builder.build()
}

/// A batch as Kafka 4.3's own client builds it: one record, key `k`, value `v`, at 1700000000000.
const FROM_KAFKA: [u8; 70] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 58, 0xff, 0xff, 0xff, 0xff, 2, 0xe9, 0x9b, 0x8d, 0xd8, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 16, 0, 0, 0, 2, b'k', 2, b'v', 0,
];

#[test]
fn a_batch_of_kafkas_own_client_is_read() {
    let header = BatchHeader::parse(&FROM_KAFKA).unwrap();
    assert_eq!(header.verify(&FROM_KAFKA), Ok(()));
    assert_eq!((header.size_bytes, header.record_count, header.max_timestamp), (70, 1, 1_700_000_000_000));
    assert!(!header.is_idempotent());
    let mut builder = BatchBuilder::new();
    builder.append(1_700_000_000_000, Some(b"k"), Some(b"v"), &[]);
    assert_eq!(builder.build(), FROM_KAFKA, "and written the same");
}

#[test]
fn a_batch_may_be_followed_by_others_but_not_cut() {
    let batch = batch();
    let two = [&batch[..], &batch].concat();
    assert_eq!(BatchHeader::parse(&two).unwrap().size_bytes, batch.len());
    assert_eq!(BatchHeader::parse(&two).unwrap().verify(&two), Ok(()));
    let (need, have) = (batch.len(), batch.len() - 1);
    assert_eq!(BatchHeader::parse(&batch[..have]), Err(BatchError::Truncated { need, have }));
    assert_eq!(BatchHeader::parse(&batch[..10]), Err(BatchError::Truncated { need: HEADER_BYTES, have: 10 }));
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!(header.verify(&batch[..have]), Err(BatchError::Truncated { need, have }));
}

#[test]
fn lengths_and_formats_that_cannot_be_are_told_apart() {
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = batch();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        BatchHeader::parse(&batch)
    };
    assert_eq!(with(16, &[1]), Err(BatchError::UnsupportedMagic { magic: 1 }));
    assert_eq!(with(8, &48i32.to_be_bytes()), Err(BatchError::LengthTooSmall { length: 48, minimum: 49 }));
    assert_eq!(with(8, &i32::MIN.to_be_bytes()), Err(BatchError::LengthTooSmall { length: i32::MIN, minimum: 49 }));
    let need = 12 + i32::MAX as usize;
    assert_eq!(with(8, &i32::MAX.to_be_bytes()), Err(BatchError::Truncated { need, have: batch().len() }));
}

#[test]
fn stamping_leaves_the_producers_checksum_alone() {
    let mut stamped = batch();
    stamp(&mut stamped, Offset(1_000), LeaderEpoch(7));
    let (before, after) = (BatchHeader::parse(&batch()).unwrap(), BatchHeader::parse(&stamped).unwrap());
    assert_eq!((after.base_offset, after.leader_epoch, after.crc), (Offset(1_000), LeaderEpoch(7), before.crc));
    assert_eq!((after.last_offset(), after.next_offset()), (Offset(1_001), Offset(1_002)));
    assert_eq!(after.verify(&stamped), Ok(()));
}

#[test]
fn log_append_time_is_under_the_checksum() {
    let mut stamped = batch();
    stamp_log_append_time(&mut stamped, 5_000);
    let header = BatchHeader::parse(&stamped).unwrap();
    assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::LogAppendTime, 5_000));
    assert_eq!(header.base_timestamp, 1_000, "record deltas refer to it");
    assert_eq!(header.verify(&stamped), Ok(()));
    assert_ne!(header.crc, BatchHeader::parse(&batch()).unwrap().crc);
}

#[test]
fn unknown_codecs_are_errors_under_a_good_checksum() {
    for codec in 5..8 {
        let mut batch = batch();
        batch[22] |= codec;
        renew_crc(&mut batch);
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!(header.verify(&batch), Err(BatchError::UnknownCompression { codec: i16::from(codec) }));
        assert_eq!(header.verify_crc(&batch), Ok(()));
    }
    let codecs: Vec<_> = (0..5)
        .map(|codec| BatchHeader { attributes: codec, ..BatchHeader::parse(&batch()).unwrap() }.compression().unwrap())
        .collect();
    assert_eq!(codecs.iter().map(|codec| codec.code()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(advance_sequence(i32::MAX, 1), 0);
    assert_eq!(advance_sequence(i32::MAX - 1, 5), 3);
    assert_eq!(advance_sequence(3, -5), i32::MAX - 1);
    assert_eq!(advance_sequence(10, 5), 15);
}

#[test]
fn absurd_offsets_of_a_client_saturate() {
    let mut batch = batch();
    stamp(&mut batch, Offset(i64::MAX), LeaderEpoch(0));
    let header = BatchHeader::parse(&batch).unwrap();
    assert_eq!((header.last_offset(), header.next_offset()), (Offset(i64::MAX), Offset(i64::MAX)));
}

proptest! {
    #[test]
    fn any_flip_under_the_checksum_is_found(at in OFFSET_CRC..100usize, flip in 1..=255u8) {
        let mut batch = batch();
        let at = at.min(batch.len() - 1);
        batch[at] ^= flip;
        let header = BatchHeader::parse(&batch).unwrap();
        let mismatch = matches!(header.verify(&batch), Err(BatchError::CrcMismatch { .. }));
        prop_assert!(mismatch);
    }

    #[test]
    fn any_bytes_are_an_answer_and_no_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200), sane in any::<bool>(),
    ) {
        if sane && bytes.len() >= HEADER_BYTES {
            bytes[16] = 2;
            let length = (bytes.len() - LOG_OVERHEAD_BYTES) as i32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
        }
        if let Ok(header) = BatchHeader::parse(&bytes) {
            let _ = header.verify(&bytes);
            let _ = (header.last_offset(), header.next_offset(), header.last_sequence());
        }
    }
}

#[test]
fn batches_are_walked_one_by_one_up_to_the_first_that_is_none() {
    let one = batch();
    let mut bytes = [one.clone(), FROM_KAFKA.to_vec(), one.clone()].concat();
    let found: Vec<&[u8]> = batches(&bytes).map(|batch| batch.unwrap().1).collect();
    assert_eq!(found, [&one[..], &FROM_KAFKA[..], &one[..]]);
    bytes.pop();
    let found: Vec<bool> = batches(&bytes).map(|batch| batch.is_ok()).collect();
    assert_eq!(found, [true, true, false], "the last is cut short, and that is the end");
    assert_eq!(batches(&[]).count(), 0);
}
