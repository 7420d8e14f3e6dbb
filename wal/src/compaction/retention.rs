//! Which records of a batch stay. Pure; by the rules of Kafka's `Cleaner` (`shouldRetainRecord`, `checkBatchRetention`).

use std::collections::HashMap;

use protocol::record_batch::BatchHeader;
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, OpenBatch, RecordsError, Retained, empty_batch};
use protocol::{Offset, ProducerId};

use super::OffsetMap;

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, byte for byte.
    Copy,
    Replace(Vec<u8>),
    Drop,
}

/// A batch's fate, and how much of it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) fate: Fate,
    pub(crate) records_before: u64,
    pub(crate) records_after: u64,
    /// Bytes of its records, decompressed.
    pub(crate) records_bytes: usize,
}

impl Judged {
    /// Of a batch that stays as it is, without a look at its records.
    pub(crate) fn copied(batch: &BatchHeader) -> Judged {
        let records = u64::from(batch.record_count.unsigned_abs());
        Judged { fate: Fate::Copy, records_before: records, records_after: records, records_bytes: batch.size_bytes }
    }
}

/// What a pass knows when it judges batches.
pub(crate) struct Retention<'a> {
    pub(crate) map: &'a OffsetMap,
    /// The map knows all keys below.
    pub(crate) map_end: Offset,
    /// Offset of the last record of each producer that is still known.
    pub(crate) last_of_producers: &'a HashMap<ProducerId, Offset>,
    pub(crate) now_ms: i64,
    pub(crate) delete_retention_ms: i64,
}

/// Notes the keys of a batch in `map`. Gives the offset up to which that was done: the batch's end, if there was room.
pub(crate) fn note_keys(map: &mut OffsetMap, batch: &[u8], from: Offset) -> Result<(Offset, usize), RecordsError> {
    let header = BatchHeader::parse(batch)?;
    if stays_as_it_is(&header) {
        return Ok((header.next_offset(), 0));
    }
    let open = OpenBatch::open(batch, DECOMPRESSED_BYTES_MAX_DEFAULT)?;
    for record in open.records() {
        let record = record?;
        if let Some(key) = record.key
            && record.offset >= from
            && !map.put(key, record.offset)
        {
            return Ok((record.offset, open.records_bytes()));
        }
    }
    Ok((header.next_offset(), open.records_bytes()))
}

fn stays_as_it_is(header: &BatchHeader) -> bool {
    header.is_control() || header.is_transactional()
}

impl Retention<'_> {
    /// Judges the batch that `batch` is. `must_stay`: its offsets are to stay, if need be without a record.
    pub(crate) fn judge(&self, batch: &[u8], must_stay: bool) -> Result<Judged, RecordsError> {
        let header = BatchHeader::parse(batch)?;
        let records_before = u64::from(header.record_count.unsigned_abs());
        if stays_as_it_is(&header) {
            return Ok(Judged::copied(&header));
        }
        let open = OpenBatch::open(batch, DECOMPRESSED_BYTES_MAX_DEFAULT)?;
        let horizon_ms = header.delete_horizon_ms();
        let tombstones_stay = horizon_ms.is_none_or(|horizon_ms| self.now_ms < horizon_ms);
        let stays = |offset: Offset, key: Option<&[u8]>, has_value: bool| {
            if offset >= self.map_end {
                return true;
            }
            let Some(key) = key else { return false };
            self.map.get(key).is_none_or(|last| offset >= last) && (has_value || tombstones_stay)
        };
        let (mut kept, mut has_tombstones) = (0, false);
        let mut verdicts = Vec::with_capacity(records_before as usize);
        for record in open.records() {
            let record = record?;
            let stays = stays(record.offset, record.key, record.has_value);
            kept += u64::from(stays);
            has_tombstones |= stays && !record.has_value;
            verdicts.push(stays);
        }
        let is_last_of_producer = self.last_of_producers.get(&header.producer_id) == Some(&header.last_offset());
        let fate = if kept == 0 {
            match must_stay || is_last_of_producer {
                true if records_before == 0 => Fate::Copy,
                true => Fate::Replace(empty_batch(&header)),
                false => Fate::Drop,
            }
        } else if kept == records_before && (!has_tombstones || horizon_ms.is_some()) {
            Fate::Copy
        } else {
            let new_horizon = has_tombstones.then(|| self.now_ms.saturating_add(self.delete_retention_ms));
            let mut retained = Retained::new(&header, new_horizon);
            for (record, stays) in open.records().zip(verdicts) {
                let record = record?;
                if stays {
                    retained.push(&record);
                }
            }
            Fate::Replace(retained.build()?)
        };
        Ok(Judged { fate, records_before, records_after: kept, records_bytes: open.records_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use protocol::LeaderEpoch;
    use protocol::records::BatchBuilder;

    use super::*;
    use crate::compaction::KeyHashers;

    const NOW_MS: i64 = 100_000;

    fn map(keys: &[(&[u8], i64)]) -> OffsetMap {
        let mut map = OffsetMap::new(1 << 20, 100, KeyHashers::new(RandomState::new(), RandomState::new()));
        for (key, offset) in keys {
            assert!(map.put(key, Offset(*offset)));
        }
        map
    }

    /// A batch at offset 10; `None` is a tombstone.
    fn batch(records: &[(&[u8], Option<&[u8]>)]) -> BatchBuilder {
        let mut builder = BatchBuilder::new().base_offset(Offset(10)).leader_epoch(LeaderEpoch(1));
        for (key, value) in records {
            builder.append(50, Some(key), *value, &[]);
        }
        builder
    }

    fn judge(map: &OffsetMap, batch: &[u8], must_stay: bool, now_ms: i64) -> Judged {
        let last_of_producers = HashMap::from([(ProducerId(7), Offset(11))]);
        let retention = Retention {
            map,
            map_end: Offset(1_000),
            last_of_producers: &last_of_producers,
            now_ms,
            delete_retention_ms: 500,
        };
        retention.judge(batch, must_stay).unwrap()
    }

    fn offsets(fate: &Fate) -> Vec<i64> {
        let Fate::Replace(batch) = fate else { panic!("{fate:?}") };
        OpenBatch::open(batch, 1 << 20).unwrap().records().map(|record| record.unwrap().offset.0).collect()
    }

    #[test]
    fn the_last_value_of_a_key_stays() {
        let bytes = batch(&[(b"a", Some(b"1")), (b"b", Some(b"1")), (b"a", Some(b"2"))]).build();
        let found = judge(&map(&[(b"a", 12), (b"b", 11)]), &bytes, false, NOW_MS);
        assert_eq!((offsets(&found.fate), found.records_before, found.records_after), (vec![11, 12], 3, 2));
        assert_eq!(judge(&map(&[(b"a", 99), (b"b", 98)]), &bytes, false, NOW_MS).fate, Fate::Drop);
        assert_eq!(judge(&map(&[]), &bytes, false, NOW_MS).fate, Fate::Copy, "nothing is known of its keys");
    }

    #[test]
    fn what_the_map_does_not_reach_stays() {
        let bytes = batch(&[(b"a", Some(b"1")), (b"a", Some(b"2"))]).build();
        let map = map(&[(b"a", 11)]);
        let (map_end, last_of_producers) = (Offset(10), HashMap::new());
        let retention =
            Retention { map: &map, map_end, last_of_producers: &last_of_producers, now_ms: 0, delete_retention_ms: 0 };
        assert_eq!(retention.judge(&bytes, false).unwrap().fate, Fate::Copy);
    }

    #[test]
    fn a_tombstone_stays_until_its_horizon() {
        let bytes = batch(&[(b"a", Some(b"1")), (b"b", None)]).build();
        let map = map(&[(b"a", 10), (b"b", 11)]);
        let Fate::Replace(marked) = judge(&map, &bytes, false, NOW_MS).fate else { panic!("it gets a horizon") };
        assert_eq!(BatchHeader::parse(&marked).unwrap().delete_horizon_ms(), Some(NOW_MS + 500));
        assert_eq!(judge(&map, &marked, false, NOW_MS + 499).fate, Fate::Copy);
        assert_eq!(offsets(&judge(&map, &marked, false, NOW_MS + 500).fate), [10]);
    }

    #[test]
    fn a_producers_last_batch_and_one_that_must_stay_become_empty() {
        let map = map(&[(b"a", 99)]);
        let records: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"a", Some(b"2"))];
        let of_producer = |id| batch(&records).producer(ProducerId(id), 0, 5).build();
        for (bytes, must_stay) in [(of_producer(7), false), (batch(&records).build(), true)] {
            let Fate::Replace(empty) = judge(&map, &bytes, must_stay, NOW_MS).fate else { panic!("it stays") };
            let (old, new) = (BatchHeader::parse(&bytes).unwrap(), BatchHeader::parse(&empty).unwrap());
            assert_eq!((new.record_count, new.last_offset()), (0, old.last_offset()));
            assert_eq!(new.last_sequence(), old.last_sequence());
            assert_eq!(judge(&map, &empty, must_stay, NOW_MS).fate, Fate::Copy);
            assert_eq!(
                judge(
                    &OffsetMap::new(0, 0, KeyHashers::new(RandomState::new(), RandomState::new())),
                    &empty,
                    must_stay,
                    NOW_MS
                )
                .fate,
                Fate::Copy
            );
        }
        assert_eq!(judge(&map, &of_producer(8), false, NOW_MS).fate, Fate::Drop);
    }

    #[test]
    fn records_without_a_key_go_and_transactions_stay() {
        let mut builder = BatchBuilder::new();
        builder.append(1, None, Some(b"v"), &[]);
        assert_eq!(judge(&map(&[]), &builder.build(), false, NOW_MS).fate, Fate::Drop);
        for bits in [0x10, 0x20] {
            let bytes = builder.clone().attributes(bits).build();
            assert_eq!(judge(&map(&[]), &bytes, false, NOW_MS).fate, Fate::Copy);
            let mut map = map(&[]);
            assert_eq!(note_keys(&mut map, &bytes, Offset(0)).unwrap().0, Offset(1));
            assert!(map.is_empty());
        }
    }

    #[test]
    fn a_full_map_says_how_far_it_reaches() {
        let bytes = batch(&[(b"a", None), (b"b", None), (b"a", None), (b"c", None)]).build();
        let hashers = KeyHashers::new(RandomState::new(), RandomState::new());
        let mut map = OffsetMap::new(3 * 24, u64::MAX, hashers);
        assert_eq!(note_keys(&mut map, &bytes, Offset(0)).unwrap().0, Offset(13));
        assert_eq!((map.get(b"a"), map.get(b"b"), map.get(b"c")), (Some(Offset(12)), Some(Offset(11)), None));
        let mut map = super::tests::map(&[]);
        assert_eq!(note_keys(&mut map, &bytes, Offset(12)).unwrap().0, Offset(14));
        assert_eq!((map.get(b"a"), map.get(b"b")), (Some(Offset(12)), None), "what lies before is not looked at");
    }
}
