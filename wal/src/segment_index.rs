//! From an offset or a timestamp to a place in one segment.
//!
//! Purpose: the offset index and the time index in one table. An entry says where a frame begins, its offset, and the
//! largest timestamp of all batches before it; so the last entry whose timestamp is below the one that is looked for is
//! where the first batch at or after that timestamp can begin.
//!
//! Contract: entries rise in offset and position and never fall in timestamp. There are at most [`ENTRIES_MAX`]: when
//! they are used up, every other one goes and the distance doubles, so a segment's index takes at most 64 KiB whatever
//! its size. Reads are of 256 KiB chunks anyway, and at 1 GiB per segment an entry still comes every 256-512 KiB.
//!
//! Deliberately absent: files (`sidecar`), and batches' content.

use protocol::Offset;

use crate::segment::FIRST_FRAME_POSITION;

/// Most entries of one segment.
pub(crate) const ENTRIES_MAX: usize = 4096;
const ENTRY_BYTES: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: Offset,
    position: u64,
    /// Milliseconds since the Unix epoch; the largest of the batches before this entry, -1 if none has any.
    max_timestamp_before: i64,
}

/// See the module's contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    interval_bytes: u64,
    entries: Vec<Entry>,
}

impl SegmentIndex {
    /// An index whose entries are at least `interval_bytes` apart (`index.interval.bytes`).
    pub(crate) fn new(interval_bytes: u64) -> SegmentIndex {
        SegmentIndex { interval_bytes: interval_bytes.max(1), entries: Vec::new() }
    }

    /// Notes a frame, if it is far enough behind the last one noted. To be called for every frame in order.
    pub(crate) fn note(&mut self, offset: Offset, position: u64, max_timestamp_before: i64) {
        let last = self.entries.last().map_or(FIRST_FRAME_POSITION, |entry| entry.position);
        if position < last.saturating_add(self.interval_bytes) {
            return;
        }
        if self.entries.len() == ENTRIES_MAX {
            let mut odd = false;
            self.entries.retain(|_| {
                odd = !odd;
                !odd
            });
            self.interval_bytes = self.interval_bytes.saturating_mul(2);
        }
        self.entries.push(Entry { offset, position, max_timestamp_before });
    }

    /// Begin of a frame at or before the one that contains `offset`.
    pub(crate) fn floor(&self, offset: Offset) -> u64 {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(FIRST_FRAME_POSITION, |at| self.entries[at].position)
    }

    /// Begin of a frame at or before the first batch whose largest timestamp is at least `timestamp`.
    pub(crate) fn floor_by_timestamp(&self, timestamp: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before < timestamp);
        after.checked_sub(1).map_or(FIRST_FRAME_POSITION, |at| self.entries[at].position)
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<SegmentIndex>() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Interval u64, then per entry offset i64, position u64, timestamp i64, little endian; for a sidecar, which adds a
    /// checksum.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.interval_bytes.to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.offset.0.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
            out.extend_from_slice(&entry.max_timestamp_before.to_le_bytes());
        }
    }

    /// Reads what [`SegmentIndex::encode`] wrote; `None` if it is not an index.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SegmentIndex> {
        let (interval, rest) = bytes.split_first_chunk::<8>()?;
        let (chunks, remainder) = rest.as_chunks::<ENTRY_BYTES>();
        if !remainder.is_empty() || chunks.len() > ENTRIES_MAX {
            return None;
        }
        let field = |chunk: &[u8; ENTRY_BYTES], at: usize| {
            u64::from_le_bytes(chunk[at..at + 8].try_into().expect("eight bytes"))
        };
        let entries: Vec<Entry> = chunks
            .iter()
            .map(|chunk| Entry {
                offset: Offset(field(chunk, 0) as i64),
                position: field(chunk, 8),
                max_timestamp_before: field(chunk, 16) as i64,
            })
            .collect();
        let ordered = entries.is_sorted_by(|a, b| {
            a.offset < b.offset && a.position < b.position && a.max_timestamp_before <= b.max_timestamp_before
        });
        ordered.then_some(SegmentIndex { interval_bytes: u64::from_le_bytes(*interval).max(1), entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames of 100 bytes, ten records each, with the given timestamps.
    fn filled(interval_bytes: u64, timestamps: impl Iterator<Item = i64>) -> (SegmentIndex, Vec<(Offset, u64, i64)>) {
        let mut index = SegmentIndex::new(interval_bytes);
        let mut frames = Vec::new();
        let mut max_timestamp = -1;
        for (at, timestamp) in timestamps.enumerate() {
            let (offset, position) = (Offset(at as i64 * 10), FIRST_FRAME_POSITION + at as u64 * 100);
            index.note(offset, position, max_timestamp);
            frames.push((offset, position, timestamp));
            max_timestamp = max_timestamp.max(timestamp);
        }
        (index, frames)
    }

    #[test]
    fn memory_stays_bounded_and_entries_stay_right() {
        let (index, frames) = filled(100, 0..50_000);
        assert!(index.entries.len() <= ENTRIES_MAX && index.entries.len() >= ENTRIES_MAX / 2);
        for (offset, position, _) in frames {
            let floor = index.floor(Offset(offset.0 + 5));
            assert!(floor <= position && position - floor <= index.interval_bytes * 2, "{offset}: {floor} {position}");
        }
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        assert_eq!(SegmentIndex::decode(&bytes), Some(index));
    }

    proptest! {
        #[test]
        fn a_timestamp_is_never_overshot(timestamps in prop::collection::vec(-1i64..50, 1..200), wanted in 0i64..50) {
            let (index, frames) = filled(250, timestamps.into_iter());
            let floor = index.floor_by_timestamp(wanted);
            if let Some((_, position, _)) = frames.iter().find(|(_, _, timestamp)| *timestamp >= wanted) {
                prop_assert!(floor <= *position);
            }
            prop_assert!(frames.iter().any(|(_, position, _)| *position == floor));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SegmentIndex::decode(&bytes);
        }
    }
}
