//! What Kafka's rule keeps of a log, and what may have become of the rest.

use protocol::Offset;
use protocol::record_batch::BatchHeader;
use wal::producer_state::SequenceCheck;
use wal::{Log, Storage};

use super::{DELETE_RETENTION_MS, PRODUCERS, header, producer_batch, read_records};

#[derive(Clone, PartialEq, Eq)]
pub(super) struct ModelRecord {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl std::fmt::Debug for ModelRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ModelRecord { offset, timestamp, key, value } = self;
        let value = value.as_ref().map(Vec::len);
        write!(f, "record {offset} at {timestamp}, key {key:?}, value of {value:?} bytes")
    }
}

/// A pass that was begun: it may have done anything up to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct BegunPass {
    pub(super) now_ms: i64,
    pub(super) end: i64,
    /// It reached its end, with nothing left.
    pub(super) is_whole: bool,
}

/// What was appended and not cut, and what may have become of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) records: Vec<ModelRecord>,
    pub(super) end: i64,
    pub(super) acknowledged: i64,
    pub(super) log_start: i64,
    pub(super) cutting: Option<i64>,
    pub(super) passes: Vec<BegunPass>,
    /// Offsets of records that a pass may have dropped for one that was cut since.
    pub(super) orphaned: Vec<i64>,
    pub(super) next_sequence: [i32; PRODUCERS],
    /// Producers whose last batch was not cut: others may be remembered as they were, or not.
    pub(super) known: [bool; PRODUCERS],
}

impl Model {
    /// Whether some pass may have dropped it.
    fn may_be_gone(&self, record: &ModelRecord) -> bool {
        let reached = self.passes.iter().map(|pass| pass.end).max().unwrap_or(0);
        let is_superseded = self
            .records
            .iter()
            .any(|other| other.key == record.key && other.offset > record.offset && other.offset < reached);
        let may_have_expired = || {
            let first = self.passes.iter().map(|pass| pass.now_ms).min();
            let last = self.passes.iter().map(|pass| pass.now_ms).max();
            // Any pass may have been the first to touch it.
            matches!((first, last), (Some(first), Some(last)) if first + DELETE_RETENTION_MS <= last)
        };
        let is_orphaned = self.orphaned.contains(&record.offset);
        is_superseded || is_orphaned || (record.value.is_none() && record.offset < reached && may_have_expired())
    }

    /// Whether the whole pass `last`, the newest, must have dropped it.
    fn must_be_gone(&self, record: &ModelRecord, last: &BegunPass) -> bool {
        let later = |other: &&ModelRecord| other.key == record.key && other.offset > record.offset;
        let is_superseded = self.records.iter().filter(later).any(|other| other.offset < last.end);
        let met = self.passes.iter().find(|pass| pass.is_whole && record.offset < pass.end);
        let has_expired = met.is_some_and(|met| met.now_ms + DELETE_RETENTION_MS <= last.now_ms);
        record.offset < last.end && (is_superseded || (record.value.is_none() && has_expired))
    }

    pub(super) fn cut(&mut self, end: i64) {
        let reached = self.passes.iter().map(|pass| pass.end).max().unwrap_or(0);
        let cut = self.records.iter().filter(|record| (end..reached).contains(&record.offset));
        let keys: Vec<_> = cut.map(|record| record.key.clone()).collect();
        let older = self.records.iter().filter(|record| keys.contains(&record.key) && record.offset < end);
        self.orphaned.extend(older.map(|record| record.offset));
        self.passes.iter_mut().for_each(|pass| pass.end = pass.end.min(end));
        self.records.retain(|record| record.offset < end);
        self.end = end;
        self.acknowledged = self.acknowledged.min(end);
        // What a producer had before may be gone with what a pass dropped.
        self.known = [false; PRODUCERS];
    }

    pub(super) async fn check<S: Storage>(&mut self, log: &Log<S>) {
        let end = log.log_end_offset().0;
        let promised = self.acknowledged.min(self.cutting.unwrap_or(self.acknowledged));
        assert!(promised <= end && end <= self.end, "{promised} <= {end} <= {}", self.end);
        if end < self.end {
            self.cut(end);
        }
        self.cutting = None;
        self.acknowledged = end;
        assert!(log.log_start_offset().0 >= self.log_start);
        self.log_start = log.log_start_offset().0;
        self.check_content(log).await;
    }

    pub(super) async fn check_content<S: Storage>(&self, log: &Log<S>) {
        let found = read_records(log, log.log_start_offset()).await;
        self.check_records(&found);
        // From any offset on, the same.
        for from in [self.log_start, (self.log_start + self.end) / 2, self.end - 1] {
            let from = from.clamp(self.log_start, self.end);
            let expected: Vec<_> = found.iter().filter(|record| record.offset >= from).cloned().collect();
            let mut suffix = read_records(log, Offset(from)).await;
            suffix.retain(|record| record.offset >= from);
            assert_eq!(suffix, expected, "from {from}");
        }
        if let Some(last) = log.last_batch().await.unwrap() {
            assert_eq!(last.next_offset(), log.log_end_offset(), "the last batch's offsets stay");
        }
        for producer in 0..PRODUCERS {
            if self.known[producer] && self.next_sequence[producer] > 0 {
                let next = header(&producer_batch(producer, self.next_sequence[producer]).build());
                assert_eq!(log.producer_state().check(&next), Ok(SequenceCheck::Accept), "{producer}");
                let gap = BatchHeader { base_sequence: next.base_sequence + 1, ..next };
                assert!(log.producer_state().check(&gap).is_err(), "producer {producer} is forgotten");
            }
        }
    }

    pub(super) fn check_records(&self, found: &[ModelRecord]) {
        let readable = || self.records.iter().filter(|record| record.offset >= self.log_start);
        let mut found = found.iter().filter(|record| record.offset >= self.log_start).peekable();
        for record in readable() {
            match found.next_if(|next| next.offset <= record.offset) {
                Some(next) => assert_eq!(next, record),
                None => assert!(self.may_be_gone(record), "{record:?} is gone; {:?}", self.passes),
            }
        }
        assert_eq!(found.next(), None, "nothing is made up");
    }

    pub(super) fn check_pass(&self, found: &[ModelRecord], last: &BegunPass) {
        for record in found.iter().filter(|record| record.offset >= self.log_start) {
            assert!(!self.must_be_gone(record, last), "{record:?} is still there; {:?}", self.passes);
        }
    }
}
