use proptest::prelude::*;
use protocol::LeaderEpoch;

use super::*;

/// A stamped batch of `count` records.
fn batch(producer: i64, epoch: i16, base_sequence: i32, count: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base_offset),
        size_bytes: 100,
        leader_epoch: LeaderEpoch(0),
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 1_000 + base_offset,
        max_timestamp: 1_000 + base_offset,
        producer_id: ProducerId(producer),
        producer_epoch: epoch,
        base_sequence,
        record_count: count,
    }
}

fn table_of(batches: &[BatchHeader]) -> ProducerStateTable {
    let mut table = ProducerStateTable::new(Offset::ZERO);
    for batch in batches {
        assert_eq!(table.check(batch), Ok(SequenceCheck::Accept));
        table.update(batch);
    }
    table
}

#[test]
fn batches_without_a_producer_id_are_not_tracked() {
    let mut table = ProducerStateTable::new(Offset::ZERO);
    let plain = batch(-1, -1, -1, 3, 0);
    assert_eq!(table.check(&plain), Ok(SequenceCheck::NotIdempotent));
    table.update(&plain);
    assert!(table.is_empty());
    assert_eq!(table.end_offset(), Offset(3), "the table is valid past them all the same");
}

#[test]
fn a_repeat_gets_the_offsets_of_the_original() {
    let table = table_of(&[batch(7, 0, 0, 10, 100), batch(7, 0, 10, 5, 110)]);
    assert_eq!(
        table.check(&batch(7, 0, 0, 10, 0)),
        Ok(SequenceCheck::Duplicate { base_offset: Offset(100), last_offset: Offset(109), timestamp: 1_100 })
    );
    let other_range = table.check(&batch(7, 0, 0, 9, 0));
    assert!(matches!(other_range, Err(SequenceError::OutOfOrder { expected: 15, found: 0, .. })), "{other_range:?}");
}

#[test]
fn a_gap_is_refused() {
    let table = table_of(&[batch(7, 3, 0, 10, 0)]);
    assert_eq!(
        table.check(&batch(7, 3, 11, 1, 0)),
        Err(SequenceError::OutOfOrder { producer_id: ProducerId(7), producer_epoch: 3, expected: 10, found: 11 })
    );
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    let table = ProducerStateTable::new(Offset::ZERO);
    assert_eq!(table.check(&batch(7, 2, 1234, 1, 0)), Ok(SequenceCheck::Accept));
}

#[test]
fn a_negative_sequence_is_refused() {
    let table = ProducerStateTable::new(Offset::ZERO);
    assert_eq!(
        table.check(&batch(7, 0, -1, 1, 0)),
        Err(SequenceError::NegativeSequence { producer_id: ProducerId(7), found: -1 })
    );
}

#[test]
fn a_raised_epoch_fences_the_older_and_starts_from_zero() {
    let mut table = table_of(&[batch(7, 0, 0, 10, 0)]);
    assert!(matches!(table.check(&batch(7, 1, 10, 1, 0)), Err(SequenceError::OutOfOrder { expected: 0, .. })));
    let first = batch(7, 1, 0, 1, 10);
    assert_eq!(table.check(&first), Ok(SequenceCheck::Accept));
    table.update(&first);
    assert_eq!(
        table.check(&batch(7, 0, 0, 10, 0)),
        Err(SequenceError::StaleEpoch { producer_id: ProducerId(7), current: 1, found: 0 })
    );
}

#[test]
fn a_marker_fences_without_a_sequence() {
    let mut table = table_of(&[batch(7, 0, 0, 10, 0)]);
    table.update(&BatchHeader { attributes: 0x30, ..batch(7, 1, -1, 1, 10) });
    assert!(matches!(table.check(&batch(7, 0, 10, 1, 0)), Err(SequenceError::StaleEpoch { .. })));
    assert_eq!(table.check(&batch(7, 1, 0, 1, 0)), Ok(SequenceCheck::Accept));
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let mut table = table_of(&[batch(7, 0, i32::MAX - 1, 2, 0)]);
    let next = batch(7, 0, 0, 3, 2);
    assert_eq!(table.check(&next), Ok(SequenceCheck::Accept));
    table.update(&next);
    // A batch that itself goes over the edge.
    let mut table = table_of(&[batch(8, 0, i32::MAX - 1, 5, 0)]);
    assert!(matches!(table.check(&batch(8, 0, i32::MAX - 1, 5, 0)), Ok(SequenceCheck::Duplicate { .. })));
    assert_eq!(table.check(&batch(8, 0, 3, 1, 0)), Ok(SequenceCheck::Accept));
    table.update(&batch(8, 0, 3, 1, 5));
    assert!(matches!(
        table.check(&batch(8, 0, i32::MAX - 1, 5, 0)),
        Ok(SequenceCheck::Duplicate { base_offset: Offset(0), last_offset: Offset(4), .. })
    ));
}

#[test]
fn the_sixth_batch_makes_the_first_forgotten() {
    let batches: Vec<_> = (0..6).map(|n| batch(7, 0, n, 1, i64::from(n))).collect();
    let table = table_of(&batches);
    assert!(matches!(table.check(&batches[0]), Err(SequenceError::OutOfOrder { expected: 6, .. })));
    for known in &batches[1..] {
        assert!(matches!(table.check(known), Ok(SequenceCheck::Duplicate { .. })));
    }
}

#[test]
fn silent_producers_expire_by_their_last_timestamp() {
    let mut table = table_of(&[batch(1, 0, 0, 1, 0), batch(2, 0, 0, 1, 500)]);
    assert_eq!(table.expire(1_999, 1_000), 0);
    assert_eq!(table.expire(2_000, 1_000), 1);
    assert!(matches!(table.check(&batch(2, 0, 0, 1, 0)), Ok(SequenceCheck::Duplicate { .. })));
    assert_eq!(table.check(&batch(1, 0, 77, 1, 0)), Ok(SequenceCheck::Accept));
    // Timestamps are the clients' own.
    table.update(&BatchHeader { max_timestamp: i64::MIN, ..batch(3, 0, 0, 1, 501) });
    table.update(&BatchHeader { max_timestamp: i64::MAX, ..batch(4, 0, 0, 1, 502) });
    assert_eq!(table.expire(i64::MAX, 1_000), 2, "all but the one from the far future");
}

#[test]
fn a_full_table_forgets_the_longest_silent() {
    let mut table = ProducerStateTable::with_limit(Offset::ZERO, 16);
    for n in 0..16 {
        table.update(&batch(n, 0, 0, 1, n));
    }
    table.update(&batch(0, 0, 1, 1, 16));
    assert_eq!(table.len(), 16);
    table.update(&batch(16, 0, 0, 1, 17));
    assert_eq!(table.len(), 15, "an eighth went, one came");
    for forgotten in [1, 2] {
        assert_eq!(table.check(&batch(forgotten, 0, 99, 1, 0)), Ok(SequenceCheck::Accept));
    }
    for known in [0, 3, 15, 16] {
        assert!(matches!(table.check(&batch(known, 0, 99, 1, 0)), Err(SequenceError::OutOfOrder { .. })));
    }
}

#[test]
fn a_cut_within_memory_is_exact_and_beyond_it_says_so() {
    let batches: Vec<_> = (0..7).map(|n| batch(7, 0, n, 1, i64::from(n))).collect();
    let full = table_of(&batches);
    let mut cut = full.clone();
    assert_eq!(cut.truncate_to(Offset(7)), Truncation::Exact);
    assert_eq!(cut, full);
    assert_eq!(cut.truncate_to(Offset(3)), Truncation::Exact);
    assert_eq!(cut.check(&batches[3]), Ok(SequenceCheck::Accept));
    assert!(matches!(cut.check(&batches[2]), Ok(SequenceCheck::Duplicate { .. })));
    assert_eq!(cut.end_offset(), Offset(3));

    let mut cut = full.clone();
    assert_eq!(cut.truncate_to(Offset(2)), Truncation::RebuildNeeded, "batches 0 and 1 are no longer remembered");
    let mut cut = full;
    assert_eq!(cut.truncate_to(Offset(0)), Truncation::Exact, "before 0 there was nothing to remember");
    assert!(cut.is_empty());
}

#[test]
fn a_cut_below_an_epoch_bump_needs_the_log() {
    let mut table = table_of(&[batch(7, 0, 0, 1, 0), batch(7, 1, 0, 1, 1)]);
    assert_eq!(table.truncate_to(Offset(1)), Truncation::RebuildNeeded);
}

#[test]
fn the_log_start_makes_nobody_forgotten() {
    let mut table = table_of(&[batch(7, 0, 0, 10, 0)]);
    table.advance_start(Offset(50));
    assert_eq!(table.end_offset(), Offset(50));
    assert_eq!(table.check(&batch(7, 0, 10, 1, 0)), Ok(SequenceCheck::Accept));
    assert!(matches!(table.check(&batch(7, 0, 0, 10, 0)), Ok(SequenceCheck::Duplicate { .. })));
}

#[test]
fn damage_to_a_snapshot_is_told_apart() {
    let good = table_of(&[batch(1, 0, 0, 1, 0), batch(2, 5, 0, 3, 1)]).snapshot();
    let altered = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        ProducerStateTable::restore(&bytes)
    };
    assert!(matches!(ProducerStateTable::restore(&good[..10]), Err(SnapshotError::Truncated { .. })));
    assert!(matches!(ProducerStateTable::restore(&good[..good.len() - 1]), Err(SnapshotError::CrcMismatch { .. })));
    assert!(matches!(altered(1, 0), Err(SnapshotError::BadMagic { .. })));
    assert!(matches!(altered(5, 9), Err(SnapshotError::UnknownVersion { found: 9 })));
    assert!(matches!(altered(30, 0xee), Err(SnapshotError::CrcMismatch { .. })));

    // Well checksummed, yet impossible.
    let forged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = good[..good.len() - 4].to_vec();
        change(&mut content);
        content.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
        ProducerStateTable::restore(&content)
    };
    let huge_count = forged(&|content| content[16..20].copy_from_slice(&u32::MAX.to_be_bytes()));
    assert!(matches!(huge_count, Err(SnapshotError::Truncated { .. })), "{huge_count:?}");
    let six_batches = forged(&|content| content[30..32].copy_from_slice(&6u16.to_be_bytes()));
    assert!(matches!(six_batches, Err(SnapshotError::BadField { field: "batch count", .. })), "{six_batches:?}");
    let beyond_end = forged(&|content| content[48..56].copy_from_slice(&4i64.to_be_bytes()));
    assert!(matches!(beyond_end, Err(SnapshotError::BadField { field: "last offset", .. })), "{beyond_end:?}");
    let negative_delta = forged(&|content| content[68..72].copy_from_slice(&i32::MIN.to_be_bytes()));
    assert!(matches!(negative_delta, Err(SnapshotError::BadField { field: "offset delta", .. })), "{negative_delta:?}");
    let left_over = forged(&|content| content.push(0));
    assert!(matches!(left_over, Err(SnapshotError::TrailingBytes { found: 1, .. })), "{left_over:?}");
}

/// The plain model: every batch ever appended, judged by looking through all of them.
#[derive(Clone, Debug, Default)]
struct ModelLog {
    batches: Vec<BatchHeader>,
}

impl ModelLog {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, |last| last.next_offset().0)
    }

    fn check(&self, batch: &BatchHeader) -> Result<SequenceCheck, SequenceError> {
        let (producer_id, found) = (batch.producer_id, batch.base_sequence);
        let of_producer: Vec<_> = self.batches.iter().filter(|known| known.producer_id == producer_id).collect();
        let Some(last) = of_producer.last() else { return Ok(SequenceCheck::Accept) };
        if batch.producer_epoch < last.producer_epoch {
            let current = last.producer_epoch;
            return Err(SequenceError::StaleEpoch { producer_id, current, found: batch.producer_epoch });
        }
        let of_epoch: Vec<_> =
            of_producer.iter().filter(|known| known.producer_epoch == batch.producer_epoch).collect();
        for known in of_epoch.iter().rev().take(BATCHES_RETAINED) {
            if known.base_sequence == found && known.last_offset_delta == batch.last_offset_delta {
                return Ok(SequenceCheck::Duplicate {
                    base_offset: known.base_offset,
                    last_offset: known.last_offset(),
                    timestamp: known.max_timestamp,
                });
            }
        }
        let expected = of_epoch.last().map_or(0, |last| (i64::from(last.last_sequence()) + 1) % (1 << 31)) as i32;
        let producer_epoch = batch.producer_epoch;
        if found == expected {
            Ok(SequenceCheck::Accept)
        } else {
            Err(SequenceError::OutOfOrder { producer_id, producer_epoch, expected, found })
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// What the producer sends next, or something near it.
    Send {
        producer: i64,
        epoch_step: i16,
        sequence_step: i32,
        count: i32,
    },
    Repeat {
        back: usize,
    },
    Cut {
        back: usize,
    },
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3i64, prop_oneof![9 => Just(0i16), 1 => -1..2i16], prop_oneof![9 => Just(0), 1 => -2..3], 1..4i32)
            .prop_map(|(producer, epoch_step, sequence_step, count)| Op::Send { producer, epoch_step, sequence_step, count }),
        2 => (0..12usize).prop_map(|back| Op::Repeat { back }),
        1 => (0..6usize).prop_map(|back| Op::Cut { back }),
        1 => Just(Op::Restart),
    ]
}

fn submit(table: &mut ProducerStateTable, log: &mut ModelLog, mut batch: BatchHeader) -> Result<(), TestCaseError> {
    let found = table.check(&batch);
    prop_assert_eq!(&found, &log.check(&batch), "{:?}", batch);
    if found == Ok(SequenceCheck::Accept) {
        batch.base_offset = Offset(log.end());
        batch.max_timestamp = 1_000 + batch.base_offset.0;
        table.update(&batch);
        log.batches.push(batch);
    }
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_looking_through_the_whole_log(
        first_sequence in prop_oneof![Just(0), Just(i32::MAX - 5)], ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut table = ProducerStateTable::new(Offset::ZERO);
        let mut log = ModelLog::default();
        for op in ops {
            match op {
                Op::Send { producer, epoch_step, sequence_step, count } => {
                    let last = log.batches.iter().rev().find(|known| known.producer_id.0 == producer);
                    let (epoch, sequence) = last.map_or((1, first_sequence), |last| {
                        let next = if epoch_step == 0 { advance_sequence(last.last_sequence(), 1) } else { 0 };
                        (last.producer_epoch + epoch_step, next)
                    });
                    let sequence = advance_sequence(sequence, sequence_step);
                    submit(&mut table, &mut log, batch(producer, epoch, sequence, count, 0))?;
                }
                Op::Repeat { back } => {
                    if let Some(known) = log.batches.iter().rev().nth(back).copied() {
                        submit(&mut table, &mut log, known)?;
                    }
                }
                Op::Cut { back } => {
                    log.batches.truncate(log.batches.len().saturating_sub(back));
                    if table.truncate_to(Offset(log.end())) == Truncation::RebuildNeeded {
                        table = ProducerStateTable::new(Offset::ZERO);
                    }
                    // What a cut leaves may remember fewer repeats than the model does: rebuild for what follows, but
                    // first the part that was promised to be exact.
                    let mut rebuilt = ProducerStateTable::new(Offset::ZERO);
                    log.batches.iter().for_each(|known| rebuilt.update(known));
                    if !table.is_empty() {
                        for producer in 0..3 {
                            let last_of = |table: &ProducerStateTable| {
                                table.producers.get(&ProducerId(producer)).map(|entry| (entry.epoch, entry.last_sequence(), entry.last_timestamp))
                            };
                            prop_assert_eq!(last_of(&table), last_of(&rebuilt));
                        }
                    }
                    table = rebuilt;
                }
                Op::Restart => {
                    let restored = ProducerStateTable::restore(&table.snapshot()).unwrap();
                    prop_assert_eq!(&restored, &table);
                    table = restored;
                }
            }
            prop_assert_eq!(table.end_offset().0, log.end());
        }
    }

    #[test]
    fn altered_snapshots_never_pass(at in any::<prop::sample::Index>(), flip in 1..=255u8, producers in 0..5i64) {
        let batches: Vec<_> = (0..producers).map(|n| batch(n, 0, 0, 1, n)).collect();
        let mut bytes = table_of(&batches).snapshot();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(ProducerStateTable::restore(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_an_answer_and_no_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300), begin_well in any::<bool>(), probe in any::<i32>(),
    ) {
        if begin_well && bytes.len() >= 24 {
            bytes[..8].copy_from_slice(b"RLPS\x00\x01\x00\x00");
            bytes[16..20].copy_from_slice(&[0, 0, 0, 2]);
            let end = bytes.len() - 4;
            let crc = crc32fast::hash(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_be_bytes());
        }
        if let Ok(table) = ProducerStateTable::restore(&bytes) {
            for id in table.producers.keys().copied().collect::<Vec<_>>() {
                let _ = table.check(&batch(id.0, 0, probe & i32::MAX, 1, 0));
            }
        }
    }
}
