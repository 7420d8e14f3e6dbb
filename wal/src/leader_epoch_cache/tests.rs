use proptest::prelude::*;

use super::*;

fn cache(entries: &[(i32, i64)]) -> LeaderEpochCache {
    let mut cache = LeaderEpochCache::new();
    for &(epoch, start) in entries {
        assert_eq!(cache.assign(LeaderEpoch(epoch), Offset(start)), Ok(true));
    }
    cache
}

fn entries(cache: &LeaderEpochCache) -> Vec<(i32, i64)> {
    cache.entries().iter().map(|entry| (entry.epoch.0, entry.start_offset.0)).collect()
}

#[test]
fn assigning_the_latest_epoch_again_is_no_news() {
    let mut cache = cache(&[(2, 10)]);
    assert_eq!(cache.assign(LeaderEpoch(2), Offset(10)), Ok(false));
    assert_eq!(cache.assign(LeaderEpoch(2), Offset(11)), Ok(false));
    assert_eq!(entries(&cache), [(2, 10)]);
}

#[test]
fn an_earlier_start_of_the_latest_epoch_replaces_it() {
    let mut cache = cache(&[(1, 0), (2, 10)]);
    assert_eq!(cache.assign(LeaderEpoch(2), Offset(8)), Ok(true));
    assert_eq!(entries(&cache), [(1, 0), (2, 8)]);
}

#[test]
fn entries_that_contradict_a_new_one_are_dropped() {
    let mut by_offset = cache(&[(1, 0), (2, 10), (4, 20)]);
    assert_eq!(by_offset.assign(LeaderEpoch(5), Offset(10)), Ok(true));
    assert_eq!(entries(&by_offset), [(1, 0), (5, 10)]);
    let mut by_epoch = cache(&[(1, 0), (2, 10), (4, 20)]);
    assert_eq!(by_epoch.assign(LeaderEpoch(3), Offset(30)), Ok(true));
    assert_eq!(entries(&by_epoch), [(1, 0), (2, 10), (3, 30)]);
    let mut older_again = cache(&[(1, 0), (2, 10), (4, 20)]);
    assert_eq!(older_again.assign(LeaderEpoch(2), Offset(15)), Ok(true));
    assert_eq!(entries(&older_again), [(1, 0), (2, 15)]);
}

#[test]
fn negative_epochs_and_offsets_are_refused() {
    let mut cache = LeaderEpochCache::new();
    assert!(cache.assign(LeaderEpoch(-1), Offset(0)).is_err());
    assert!(cache.assign(LeaderEpoch(0), Offset(-1)).is_err());
    assert_eq!(cache.latest(), None);
}

#[test]
fn end_offsets_follow_kip_101_and_279() {
    let cache = cache(&[(2, 10), (4, 20), (7, 35)]);
    let end = |epoch| {
        let (epoch, offset) = cache.end_offset_for(LeaderEpoch(epoch), Offset(50));
        (epoch.0, offset.0)
    };
    assert_eq!(end(-1), (-1, -1), "unknown");
    assert_eq!(end(0), (0, 10), "below the first: its data has been removed");
    assert_eq!(end(2), (2, 20));
    assert_eq!(end(3), (2, 20), "between two: the lower");
    assert_eq!(end(4), (4, 35));
    assert_eq!(end(6), (4, 35));
    assert_eq!(end(7), (7, 50), "the latest ends at the log's end");
    assert_eq!(end(8), (-1, -1), "above the latest");
    let empty = LeaderEpochCache::new();
    assert_eq!(empty.end_offset_for(LeaderEpoch(0), Offset(5)), (LeaderEpoch::UNKNOWN, UNKNOWN_END_OFFSET));
}

#[test]
fn truncation_at_either_end_keeps_what_the_log_keeps() {
    let full = cache(&[(2, 10), (4, 20), (7, 35)]);
    let mut cut = full.clone();
    assert!(!cut.truncate_from_end(Offset(36)));
    assert!(cut.truncate_from_end(Offset(35)));
    assert_eq!(entries(&cut), [(2, 10), (4, 20)]);
    assert!(cut.truncate_from_end(Offset(0)));
    assert_eq!(entries(&cut), []);

    let mut cut = full.clone();
    assert!(!cut.truncate_from_start(Offset(9)));
    assert!(!cut.truncate_from_start(Offset(10)));
    assert!(cut.truncate_from_start(Offset(15)));
    assert_eq!(entries(&cut), [(2, 15), (4, 20), (7, 35)]);
    assert!(cut.truncate_from_start(Offset(20)));
    assert_eq!(entries(&cut), [(4, 20), (7, 35)]);
    assert!(cut.truncate_from_start(Offset(100)));
    assert_eq!(entries(&cut), [(7, 100)], "the latest epoch outlives its records");
}

#[test]
fn damage_is_told_apart() {
    let good = cache(&[(2, 10), (4, 20)]).encode();
    assert!(matches!(LeaderEpochCache::decode(&good[..5]), Err(DecodeError::Length { .. })));
    assert!(matches!(LeaderEpochCache::decode(&good[..good.len() - 1]), Err(DecodeError::Length { .. })));
    let altered = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        LeaderEpochCache::decode(&bytes)
    };
    assert!(matches!(altered(0, b'X'), Err(DecodeError::BadMagic { .. })));
    assert!(matches!(altered(5, 9), Err(DecodeError::UnknownVersion { found: 9 })));
    assert!(matches!(altered(8, 0xff), Err(DecodeError::Length { .. })), "a huge count allocates nothing");
    assert!(matches!(altered(20, 1), Err(DecodeError::CrcMismatch { .. })));

    // Well checksummed, yet impossible.
    let mut content = good[..good.len() - CRC_BYTES].to_vec();
    content[HEADER_BYTES + ENTRY_BYTES + 3] = 2;
    content.extend_from_slice(&crc32fast::hash(&content).to_be_bytes());
    assert!(matches!(LeaderEpochCache::decode(&content), Err(DecodeError::NotMonotonic { at: 1, .. })));
}

/// The plain model: the epoch of every offset of the log, so a log is just a list of epochs.
#[derive(Clone, Debug)]
struct ModelLog {
    start: i64,
    epochs: Vec<i32>,
}

impl ModelLog {
    fn end(&self) -> i64 {
        self.start + self.epochs.len() as i64
    }

    fn end_offset_for(&self, requested: i32) -> (i32, i64) {
        let Some(&latest) = self.epochs.last() else { return (-1, -1) };
        if requested == latest {
            return (latest, self.end());
        }
        let Some(next) = self.epochs.iter().position(|&epoch| epoch > requested) else { return (-1, -1) };
        let floor = next.checked_sub(1).map_or(requested, |before| self.epochs[before]);
        (floor, self.start + next as i64)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append { epoch_rise: i32, records: i64 },
    CutEnd { part: f64 },
    CutStart { part: f64 },
    Persist,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3, 1..5i64).prop_map(|(epoch_rise, records)| Op::Append { epoch_rise, records }),
        1 => (0.0..1.0f64).prop_map(|part| Op::CutEnd { part }),
        1 => (0.0..1.0f64).prop_map(|part| Op::CutStart { part }),
        1 => Just(Op::Persist),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_list_of_epochs(ops in prop::collection::vec(op(), 1..60)) {
        let mut cache = LeaderEpochCache::new();
        let mut log = ModelLog { start: 0, epochs: Vec::new() };
        let mut epoch = 0;
        for op in ops {
            match op {
                Op::Append { epoch_rise, records } => {
                    epoch += epoch_rise;
                    cache.assign(LeaderEpoch(epoch), Offset(log.end())).unwrap();
                    log.epochs.extend(std::iter::repeat_n(epoch, records as usize));
                }
                Op::CutEnd { part } => {
                    let keep = (log.epochs.len() as f64 * part) as usize;
                    log.epochs.truncate(keep);
                    cache.truncate_from_end(Offset(log.end()));
                    // An agreement follows a cut, and with it a new epoch.
                    epoch += 1;
                }
                Op::CutStart { part } => {
                    // Retention never empties a log of its last record here: the model would forget the latest epoch.
                    let cut = (log.epochs.len().saturating_sub(1) as f64 * part) as usize;
                    log.epochs.drain(..cut);
                    log.start += cut as i64;
                    cache.truncate_from_start(Offset(log.start));
                }
                Op::Persist => cache = LeaderEpochCache::decode(&cache.encode()).unwrap(),
            }
            for requested in -1..=epoch + 1 {
                let (found, end) = cache.end_offset_for(LeaderEpoch(requested), Offset(log.end()));
                let expected = if requested < 0 { (-1, -1) } else { log.end_offset_for(requested) };
                prop_assert_eq!((found.0, end.0), expected, "epoch {} of {:?}", requested, log);
            }
            for (at, &expected) in log.epochs.iter().enumerate() {
                let found = cache.epoch_for_offset(Offset(log.start + at as i64));
                prop_assert_eq!(found, Some(LeaderEpoch(expected)));
            }
            prop_assert_eq!(cache.epoch_for_offset(Offset(log.start - 1)), None);
        }
    }

    #[test]
    fn altered_bytes_never_pass_as_another_cache(
        starts in prop::collection::btree_map(0..1000i32, 1..1000i64, 0..8), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let mut original = LeaderEpochCache::new();
        let mut start = 0;
        for (epoch, step) in starts {
            start += step;
            original.assign(LeaderEpoch(epoch), Offset(start)).unwrap();
        }
        let mut bytes = original.encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(LeaderEpochCache::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_an_answer_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = LeaderEpochCache::decode(&bytes);
    }
}
