use proptest::prelude::*;

use super::*;
use crate::newtypes::{Offset, ProducerId};
use crate::records::BatchBuilder;
use crate::testing::Random;

const NO_LIMIT: usize = usize::MAX;

fn builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    builder.append(1, Some(b"k"), Some(b"v"), &[]).append(2, None, Some(b"w"), &[]);
    builder
}

fn check(version: i16, bytes: &[u8]) -> Result<ProduceBatch, ProduceRecordsError> {
    check_produce_records(version, &Bytes::copy_from_slice(bytes), NO_LIMIT)
}

#[test]
fn one_good_batch_is_accepted_and_what_is_cut_off_after_it_dropped() {
    let batch = builder().build();
    let found = check(3, &batch).unwrap();
    assert_eq!(found.header.record_count, 2);
    assert_eq!(found.bytes, batch);
    let followed = [&batch[..], &batch[..batch.len() - 1]].concat();
    assert_eq!(check(3, &followed).unwrap().bytes, batch);
}

#[test]
fn none_and_two_are_refused() {
    let batch = builder().build();
    assert_eq!(check(9, &[]), Err(ProduceRecordsError::NoBatch { bytes: 0 }));
    let cut = &batch[..batch.len() - 1];
    assert_eq!(check(9, cut), Err(ProduceRecordsError::NoBatch { bytes: cut.len() }));
    let bytes = 2 * batch.len();
    assert_eq!(
        check(9, &[&batch[..], &batch].concat()),
        Err(ProduceRecordsError::MoreThanOneBatch { first_ends: batch.len(), bytes })
    );
}

#[test]
fn message_sets_of_old_formats_are_told_from_garbage() {
    // Offset, size, CRC, magic, attributes, (timestamp,) key, value: as producers before 0.11 send them.
    let message = |magic: u8| {
        let mut rest = vec![0, 0, 0, 0, magic, 0];
        if magic == 1 {
            rest.extend([0; 8]);
        }
        rest.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, b'v']);
        [&[0; 8][..], &(rest.len() as i32).to_be_bytes(), &rest].concat()
    };
    assert_eq!(check(3, &message(0)), Err(ProduceRecordsError::OldFormat { magic: 0 }));
    assert_eq!(check(3, &message(1)), Err(ProduceRecordsError::OldFormat { magic: 1 }));
    assert_eq!(check(3, &message(3)), Err(ProduceRecordsError::UnknownFormat { magic: 3 }));
    assert_eq!(check(3, &message(0xff)), Err(ProduceRecordsError::UnknownFormat { magic: -1 }));
}

#[test]
fn lengths_too_small_are_corruption() {
    let with_length = |length: i32| {
        let mut batch = builder().build();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        check(3, &batch)
    };
    assert_eq!(with_length(-1), Err(ProduceRecordsError::LengthTooSmall { length: -1, minimum: 14 }));
    assert_eq!(with_length(13), Err(ProduceRecordsError::LengthTooSmall { length: 13, minimum: 14 }));
    assert_eq!(with_length(48), Err(ProduceRecordsError::LengthTooSmall { length: 48, minimum: 49 }));
}

#[test]
fn zstd_needs_version_7() {
    let batch = builder().compression(Compression::Zstd).build();
    assert_eq!(check(6, &batch), Err(ProduceRecordsError::ZstdTooEarly { version: 6 }));
    assert!(check(7, &batch).is_ok());
    assert!(check(3, &builder().compression(Compression::Lz4).build()).is_ok());
}

#[test]
fn what_only_a_broker_may_write_is_refused() {
    let based = builder().base_offset(Offset(5)).build();
    assert_eq!(check(9, &based), Err(ProduceRecordsError::BaseOffset { found: 5 }));
    let control = builder().attributes(0x20).build();
    assert_eq!(check(9, &control), Err(ProduceRecordsError::ControlBatch));
}

#[test]
fn a_producer_id_needs_a_sequence() {
    let batch = builder().producer(ProducerId(4), 0, -1).build();
    assert_eq!(check(9, &batch), Err(ProduceRecordsError::NegativeSequence { found: -1 }));
    assert!(check(9, &builder().producer(ProducerId(4), 0, 0).build()).is_ok());
}

#[test]
fn the_limit_comes_before_the_checksum() {
    let mut batch = builder().build();
    *batch.last_mut().unwrap() ^= 1;
    let (bytes, limit) = (batch.len(), batch.len() - 1);
    let batch = Bytes::from(batch);
    assert_eq!(check_produce_records(9, &batch, limit), Err(ProduceRecordsError::TooLarge { bytes, limit }));
    assert!(matches!(check_produce_records(9, &batch, bytes), Err(ProduceRecordsError::CrcMismatch { .. })));
}

#[test]
fn counts_have_to_fit_under_a_good_checksum() {
    let forged = |at: usize, value: i32| {
        let mut batch = builder().build();
        batch[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        check(9, &batch)
    };
    assert_eq!(forged(57, 3), Err(ProduceRecordsError::CountMismatch { count: 3, last_offset_delta: 1 }));
    assert_eq!(forged(57, 0), Err(ProduceRecordsError::CountMismatch { count: 0, last_offset_delta: 1 }));
    assert_eq!(forged(23, i32::MAX), Err(ProduceRecordsError::CountMismatch { count: 2, last_offset_delta: i32::MAX }));
    assert!(forged(57, 2).is_ok());
}

proptest! {
    #[test]
    fn any_change_to_a_batch_is_noticed_or_harmless(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let good = builder().build();
        let mut batch = good.clone();
        let at = at.index(batch.len());
        batch[at] ^= flip;
        // The leader epoch is the broker's to set, and the only part without protection.
        let harmless = (12..16).contains(&at);
        prop_assert_eq!(check(9, &batch).is_ok(), harmless, "byte {}", at);
    }

    #[test]
    fn random_bytes_are_an_answer_and_no_panic(seed: u64, length in 0..200usize, magic in -1..4i8) {
        let mut bytes = Random::new(seed).bytes(length);
        if length > 16 {
            bytes[8..12].copy_from_slice(&(length as i32 - 12).to_be_bytes());
            bytes[16] = magic as u8;
        }
        let _ = check(9, &bytes);
    }
}
