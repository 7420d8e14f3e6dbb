//! The newest batches of a shard's logs, in memory, for consumers that keep up.
//!
//! Contract: what is cached of a log is a gapless run up to its log end. Memory is bounded over all logs of the shard;
//! the oldest batch of all goes first, whatever its log. Whether a batch is durable or may be seen is not known here: the
//! caller bounds every read.
//!
//! Deliberately absent: what comes from disk (`read_cache`).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use protocol::Offset;
use protocol::record_batch::OFFSET_RECORD_COUNT;

use crate::log::ReadBatches;

/// What an entry costs besides its batch.
const ENTRY_OVERHEAD_BYTES: usize = 128;
/// Batches of a read are handed out one by one from this average size on; below it they are copied together, since a
/// handle each would cost more than the copy.
const COALESCE_BELOW_BYTES: usize = 4 << 10;

const ORDER_SLACK: usize = 1024;

/// A log's place in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailSlot(usize);

struct CachedBatch {
    /// Of all batches ever cached in this shard.
    sequence: u64,
    /// The range that its frame stands for; the batch begins later where it follows a gap.
    base_offset: Offset,
    last_offset: Offset,
    follows_gap: bool,
    records: u64,
    /// Bytes of all batches of this log that were cached before this one.
    bytes_before: u64,
    batch: CachedBytes,
}

/// A batch as it is stored: its stamped head, and the rest either copied or as a request or a leader brought it.
pub(crate) struct CachedBytes {
    /// Empty where `rest` begins with it.
    head: Bytes,
    rest: Bytes,
}

impl CachedBytes {
    /// `head` replaces the batch's first bytes; `shared` is `batch` if it may be kept.
    pub(crate) fn new(head: &[u8], batch: &[u8], shared: Option<&Bytes>) -> CachedBytes {
        if let Some(shared) = shared {
            return CachedBytes { head: Bytes::copy_from_slice(head), rest: shared.slice(head.len()..) };
        }
        let mut copy = Vec::with_capacity(batch.len());
        copy.extend_from_slice(head);
        copy.extend_from_slice(&batch[head.len()..]);
        CachedBytes { head: Bytes::new(), rest: Bytes::from(copy) }
    }

    fn records(&self) -> u64 {
        let (piece, at) = match OFFSET_RECORD_COUNT.checked_sub(self.head.len()) {
            Some(at) => (&self.rest, at),
            None => (&self.head, OFFSET_RECORD_COUNT),
        };
        record_count(piece.get(at..).unwrap_or_default())
    }

    fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        [&self.head, &self.rest].into_iter().filter(|piece| !piece.is_empty())
    }
}

/// The number at the beginning of `bytes`, if it is one of records.
pub(crate) fn record_count(bytes: &[u8]) -> u64 {
    let count = bytes.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
    u64::try_from(count).unwrap_or(0)
}

/// See the module's contract.
pub(crate) struct TailCache {
    limit_bytes: usize,
    used_bytes: usize,
    next_sequence: u64,
    /// Batches cached.
    count: usize,
    /// Oldest first. An entry whose batch is gone already is skipped; such entries are at most as many as the others, and
    /// [`ORDER_SLACK`].
    order: VecDeque<(TailSlot, u64)>,
    logs: Vec<VecDeque<CachedBatch>>,
    free_slots: Vec<TailSlot>,
}

impl TailCache {
    pub(crate) fn new(limit_bytes: usize) -> TailCache {
        TailCache {
            limit_bytes,
            used_bytes: 0,
            count: 0,
            next_sequence: 0,
            order: VecDeque::new(),
            logs: Vec::new(),
            free_slots: Vec::new(),
        }
    }

    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub(crate) fn register(&mut self) -> TailSlot {
        self.free_slots.pop().unwrap_or_else(|| {
            self.logs.push(VecDeque::new());
            TailSlot(self.logs.len() - 1)
        })
    }

    pub(crate) fn unregister(&mut self, slot: TailSlot) {
        self.truncate(slot, Offset::ZERO);
        self.free_slots.push(slot);
    }

    /// Adds the batch that was just appended to the log, and whose frame stands for the offsets from `base_offset` to
    /// `last_offset`. `follows_gap`: the batch itself begins later.
    pub(crate) fn push(
        &mut self,
        slot: TailSlot,
        base_offset: Offset,
        last_offset: Offset,
        follows_gap: bool,
        batch: CachedBytes,
    ) {
        let cost = batch.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.limit_bytes {
            // The run up to the log end would have a gap.
            self.truncate(slot, Offset::ZERO);
            return;
        }
        while self.used_bytes + cost > self.limit_bytes {
            self.evict_oldest();
        }
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let log = &mut self.logs[slot.0];
        let records = batch.records();
        let bytes_before = log.back().map_or(0, |last| last.bytes_before + last.batch.len() as u64);
        debug_assert!(log.back().is_none_or(|last| last.last_offset.advance(1) == base_offset));
        log.push_back(CachedBatch { sequence, base_offset, last_offset, follows_gap, records, bytes_before, batch });
        self.order.push_back((slot, sequence));
        self.used_bytes += cost;
        self.count += 1;
        if self.order.len() > 2 * self.count + ORDER_SLACK {
            let logs = &self.logs;
            self.order
                .retain(|(slot, sequence)| logs[slot.0].binary_search_by_key(sequence, |batch| batch.sequence).is_ok());
        }
    }

    /// Forgets a log's batches that end at or after `end`.
    pub(crate) fn truncate(&mut self, slot: TailSlot, end: Offset) {
        while let Some(batch) = self.logs[slot.0].pop_back_if(|batch| batch.last_offset >= end) {
            self.count -= 1;
            self.used_bytes -= batch.batch.len() + ENTRY_OVERHEAD_BYTES;
        }
        if self.logs[slot.0].is_empty() {
            self.logs[slot.0] = VecDeque::new();
        }
    }

    /// Forgets a log's batches that end before `end`.
    pub(crate) fn forget_before(&mut self, slot: TailSlot, end: Offset) {
        while let Some(batch) = self.logs[slot.0].pop_front_if(|batch| batch.last_offset < end) {
            self.count -= 1;
            self.used_bytes -= batch.batch.len() + ENTRY_OVERHEAD_BYTES;
        }
        if self.logs[slot.0].is_empty() {
            self.logs[slot.0] = VecDeque::new();
        }
    }

    fn evict_oldest(&mut self) {
        let (slot, sequence) = self.order.pop_front().expect("bytes are in use, so there is a batch");
        let log = &mut self.logs[slot.0];
        if let Some(batch) = log.pop_front_if(|batch| batch.sequence == sequence) {
            self.count -= 1;
            self.used_bytes -= batch.batch.len() + ENTRY_OVERHEAD_BYTES;
        }
        if log.is_empty() {
            *log = VecDeque::new();
        }
    }

    /// Batches from the one that contains `from`, up to `up_to`; `None` if that one is not cached.
    pub(crate) fn read(
        &self,
        slot: TailSlot,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        first_max: usize,
    ) -> Option<ReadBatches> {
        let log = &self.logs[slot.0];
        let first = log.partition_point(|batch| batch.last_offset < from);
        if log.get(first)?.base_offset > from {
            return None;
        }
        let mut found = ReadBatches { next_offset: from, ..ReadBatches::default() };
        let mut count = 0;
        for batch in log.range(first..) {
            let bytes = batch.batch.len();
            if batch.last_offset >= up_to {
                break;
            }
            let fits = found.bytes + bytes <= max_bytes;
            if !fits && (count > 0 || bytes > first_max) {
                found.too_large_bytes = if count == 0 { bytes } else { 0 };
                break;
            }
            found.bytes += bytes;
            found.next_offset = batch.last_offset.advance(1);
            found.has_gaps |= batch.follows_gap;
            found.records += batch.records;
            count += 1;
        }
        let selected = log.range(first..first + count).map(|batch| &batch.batch);
        if count > 1 && found.bytes / count < COALESCE_BELOW_BYTES {
            let mut together = BytesMut::with_capacity(found.bytes);
            selected.flat_map(CachedBytes::pieces).for_each(|piece| together.extend_from_slice(piece));
            found.pieces.push(together.freeze());
        } else {
            found.pieces.extend(selected.flat_map(CachedBytes::pieces).cloned());
        }
        Some(found)
    }

    /// Bytes of the batches from `from` up to `up_to`; `None` if the first is not cached.
    pub(crate) fn bytes_between(&self, slot: TailSlot, from: Offset, up_to: Offset) -> Option<u64> {
        let log = &self.logs[slot.0];
        let first = log.partition_point(|batch| batch.last_offset < from);
        let first_batch = log.get(first)?;
        if first_batch.base_offset > from {
            return None;
        }
        let after = log.partition_point(|batch| batch.last_offset < up_to);
        let Some(last) = after.checked_sub(1).filter(|last| *last >= first) else { return Some(0) };
        Some(log[last].bytes_before + log[last].batch.len() as u64 - first_batch.bytes_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cached(bytes: usize) -> CachedBytes {
        CachedBytes::new(&[], &vec![7; bytes], None)
    }

    #[test]
    fn a_shared_batch_is_read_as_it_is_stored() {
        let batch = Bytes::from_static(b"0123456789");
        for shared in [None, Some(&batch)] {
            let mut cache = TailCache::new(1 << 20);
            let slot = cache.register();
            cache.push(slot, Offset(0), Offset(0), false, CachedBytes::new(b"ab", &batch, shared));
            let found = cache.read(slot, Offset(0), Offset(1), 100, usize::MAX).expect("cached");
            assert_eq!((&found.contiguous()[..], found.bytes), (&b"ab23456789"[..], 10));
            let is_same_memory = found.pieces.last().expect("one").as_ptr() == batch[2..].as_ptr();
            assert_eq!(is_same_memory, shared.is_some());
        }
    }

    #[test]
    fn the_oldest_batch_of_all_logs_goes_first() {
        let mut cache = TailCache::new(3 * (100 + ENTRY_OVERHEAD_BYTES));
        let (a, b) = (cache.register(), cache.register());
        cache.push(a, Offset(0), Offset(9), false, cached(100));
        cache.push(b, Offset(0), Offset(4), false, cached(100));
        cache.push(a, Offset(10), Offset(19), false, cached(100));
        assert!(cache.read(a, Offset(5), Offset(20), 1000, usize::MAX).is_some());
        cache.push(b, Offset(5), Offset(9), false, cached(100));
        assert!(cache.read(a, Offset(5), Offset(20), 1000, usize::MAX).is_none());
        let found = cache.read(a, Offset(12), Offset(20), 1000, usize::MAX).expect("still there");
        assert_eq!((found.bytes, found.next_offset), (100, Offset(20)));
        let found = cache.read(b, Offset(0), Offset(10), 1000, usize::MAX).expect("still there");
        assert_eq!((found.bytes, found.next_offset), (200, Offset(10)));
        assert!(cache.used_bytes <= cache.limit_bytes);
    }

    #[test]
    fn bounds_are_kept() {
        let mut cache = TailCache::new(1 << 20);
        let slot = cache.register();
        for at in 0..10 {
            cache.push(slot, Offset(at * 10), Offset(at * 10 + 9), false, cached(100));
        }
        let read = |from, up_to, max_bytes, first_max| {
            let found = cache.read(slot, Offset(from), Offset(up_to), max_bytes, first_max).expect("cached");
            assert_eq!(found.too_large_bytes, if found.bytes == 0 { 100 } else { 0 });
            (found.bytes, found.next_offset.0)
        };
        assert_eq!(read(0, 100, 1000, 0), (1000, 100));
        assert_eq!(read(0, 99, 1000, 0), (900, 90));
        assert_eq!(read(15, 100, 250, 0), (200, 30));
        assert_eq!(read(15, 100, 50, 100), (100, 20));
        assert_eq!(read(15, 100, 50, 99), (0, 15));
        assert_eq!(cache.bytes_between(slot, Offset(15), Offset(40)), Some(300));
        assert_eq!(cache.bytes_between(slot, Offset(15), Offset(16)), Some(0));
    }

    #[test]
    fn a_read_says_whether_it_has_gaps() {
        let mut cache = TailCache::new(1 << 20);
        let slot = cache.register();
        for (at, follows_gap) in [false, true, false].into_iter().enumerate() {
            let base = at as i64 * 10;
            cache.push(slot, Offset(base), Offset(base + 9), follows_gap, cached(100));
        }
        let has_gaps = |from, up_to| cache.read(slot, Offset(from), Offset(up_to), 1000, usize::MAX).unwrap().has_gaps;
        assert_eq!((has_gaps(0, 10), has_gaps(0, 20), has_gaps(15, 30), has_gaps(20, 30)), (false, true, true, false));
    }

    #[test]
    fn truncation_gives_the_memory_back() {
        let mut cache = TailCache::new(1 << 20);
        let slot = cache.register();
        for at in 0..10 {
            cache.push(slot, Offset(at * 10), Offset(at * 10 + 9), false, cached(100));
        }
        cache.truncate(slot, Offset(50));
        assert!(cache.read(slot, Offset(50), Offset(60), 1000, usize::MAX).is_none());
        cache.push(slot, Offset(50), Offset(59), false, cached(200));
        assert_eq!(cache.read(slot, Offset(40), Offset(60), 1000, usize::MAX).map(|found| found.bytes), Some(300));
        cache.unregister(slot);
        assert_eq!(cache.used_bytes, 0);
        // Batches larger than the cache leave it consistent.
        let slot = cache.register();
        cache.push(slot, Offset(0), Offset(0), false, cached(10));
        cache.push(slot, Offset(1), Offset(1), false, cached(2 << 20));
        assert!(cache.read(slot, Offset(0), Offset(2), 100, usize::MAX).is_none());
    }
}
