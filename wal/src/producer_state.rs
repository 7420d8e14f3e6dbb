//! What a partition remembers of its idempotent producers: enough to refuse a gap and to recognise a repeat (KIP-98).
//!
//! Purpose: for each producer id the epoch and the last five batches, as Kafka's `ProducerStateManager` keeps them.
//! [`ProducerStateTable::check`] judges a batch before it is appended, [`ProducerStateTable::update`] records one that
//! was; recovery and followers call `update` alone, since the leader has judged already.
//!
//! Contract: the table describes the log up to [`ProducerStateTable::end_offset`], durable or not. A duplicate is
//! reported with the original's offsets, and it is the caller's duty not to answer it before those are durable.
//!
//! Memory is bounded: an entry has a fixed size and there are at most [`PRODUCERS_MAX`] of them, a few tens of MB for
//! one partition at the very worst. Beyond that, and in this alone unlike Kafka, which has no bound, the producers that
//! have been silent the longest are forgotten as if they had expired: their next batch is accepted at any sequence.
//!
//! Deliberately absent: transactions (no ongoing or aborted ones are tracked), files, and the clock.

use std::collections::HashMap;

use protocol::record_batch::{BatchHeader, advance_sequence};
use protocol::{Offset, ProducerId};

mod snapshot;
#[cfg(test)]
mod tests;

pub use snapshot::SnapshotError;

/// Batches remembered per producer; a client keeps at most as many in flight (`max.in.flight.requests.per.connection`).
pub const BATCHES_RETAINED: usize = 5;
/// Producers remembered per partition.
pub const PRODUCERS_MAX: usize = 65_536;
/// Producer epoch before any batch, as on the wire.
const NO_EPOCH: i16 = -1;
/// Sequence before any batch, as on the wire.
const NO_SEQUENCE: i32 = -1;

const _: () = assert!(size_of::<ProducerEntry>() <= 152, "the memory bound above counts on small entries");

/// What [`ProducerStateTable::check`] finds about a batch that may be appended or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceCheck {
    /// The batch carries no producer id; nothing is tracked.
    NotIdempotent,
    /// The batch is the producer's next one.
    Accept,
    /// The batch is in the log already. Answer as the original was answered, once `last_offset` is as durable as that
    /// answer had to be.
    Duplicate {
        base_offset: Offset,
        last_offset: Offset,
        /// Largest timestamp of the original batch, in milliseconds since the Unix epoch.
        timestamp: i64,
    },
}

/// Why a batch of an idempotent producer must not be appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Kafka: `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error(
        "producer {producer_id} at epoch {producer_epoch} sent sequence {found} where {expected} comes next: \
         batches in between are missing or were sent out of order"
    )]
    OutOfOrder { producer_id: ProducerId, producer_epoch: i16, expected: i32, found: i32 },
    /// Kafka: `INVALID_PRODUCER_EPOCH`.
    #[error("producer {producer_id} sent epoch {found}, but epoch {current} has written since: it has been fenced")]
    StaleEpoch { producer_id: ProducerId, current: i16, found: i16 },
    /// Kafka: `INVALID_RECORD`.
    #[error("producer {producer_id} sent sequence {found}; a batch with a producer id needs a sequence from 0 up")]
    NegativeSequence { producer_id: ProducerId, found: i32 },
}

/// Whether a truncation left the table exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Truncation {
    /// The table describes the log up to its new end.
    Exact,
    /// What some producers had before the cut is no longer in memory, and they are forgotten: rebuild from the newest
    /// snapshot at or below the new end, and the log after it.
    RebuildNeeded,
}

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct BatchEntry {
    last_offset: i64,
    /// Milliseconds since the Unix epoch.
    max_timestamp: i64,
    last_sequence: i32,
    /// Last offset minus base offset; by the format also last minus first sequence.
    offset_delta: i32,
}

impl BatchEntry {
    fn first_sequence(&self) -> i32 {
        advance_sequence(self.last_sequence, self.offset_delta.wrapping_neg())
    }
}

/// One producer.
///
/// Invariants: `batches[..batch_count]` is in offset order, all of it written at `epoch`; `created_at` is not above any.
#[derive(Clone, Copy, Debug)]
struct ProducerEntry {
    batches: [BatchEntry; BATCHES_RETAINED],
    /// Timestamp of the last batch, control batches included.
    last_timestamp: i64,
    /// Base offset of the first batch since the producer became known: below it the producer was unknown.
    created_at: i64,
    epoch: i16,
    batch_count: u8,
}

/// By what is remembered; slots past `batch_count` hold left-overs.
impl PartialEq for ProducerEntry {
    fn eq(&self, other: &ProducerEntry) -> bool {
        (self.batches(), self.last_timestamp, self.created_at, self.epoch)
            == (other.batches(), other.last_timestamp, other.created_at, other.epoch)
    }
}

impl Eq for ProducerEntry {}

impl ProducerEntry {
    fn new(created_at: Offset) -> ProducerEntry {
        ProducerEntry {
            batches: [BatchEntry::default(); BATCHES_RETAINED],
            last_timestamp: -1,
            created_at: created_at.0,
            epoch: NO_EPOCH,
            batch_count: 0,
        }
    }

    fn batches(&self) -> &[BatchEntry] {
        &self.batches[..usize::from(self.batch_count)]
    }

    fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn last_offset(&self) -> i64 {
        self.batches().last().map_or(self.created_at, |batch| batch.last_offset)
    }

    fn bump_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    fn push(&mut self, batch: BatchEntry) {
        if usize::from(self.batch_count) == BATCHES_RETAINED {
            self.batches.copy_within(1.., 0);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
    }
}

/// The producers of one partition. See the module's contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerStateTable {
    producers: HashMap<ProducerId, ProducerEntry>,
    producers_max: usize,
    end_offset: Offset,
}

impl ProducerStateTable {
    /// A table that knows no producer, valid at `start` (the log start offset of a log that is read from there).
    #[must_use]
    pub fn new(start: Offset) -> ProducerStateTable {
        ProducerStateTable::with_limit(start, PRODUCERS_MAX)
    }

    /// As [`ProducerStateTable::new`], remembering at most `producers_max` producers (at least one).
    #[must_use]
    pub fn with_limit(start: Offset, producers_max: usize) -> ProducerStateTable {
        ProducerStateTable { producers: HashMap::new(), producers_max: producers_max.max(1), end_offset: start }
    }

    /// The offset up to which (exclusively) the table describes the log.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// Number of producers remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Judges a batch from a client before it is appended; its offsets are not looked at.
    ///
    /// As in Kafka, a producer that is not known, or no longer, may start at any sequence; one that is known must go on
    /// where it was, or raise its epoch and start from 0.
    pub fn check(&self, batch: &BatchHeader) -> Result<SequenceCheck, SequenceError> {
        if !batch.is_idempotent() {
            return Ok(SequenceCheck::NotIdempotent);
        }
        let producer_id = batch.producer_id;
        if batch.base_sequence < 0 {
            return Err(SequenceError::NegativeSequence { producer_id, found: batch.base_sequence });
        }
        let Some(entry) = self.producers.get(&producer_id) else { return Ok(SequenceCheck::Accept) };
        if batch.producer_epoch < entry.epoch {
            return Err(SequenceError::StaleEpoch { producer_id, current: entry.epoch, found: batch.producer_epoch });
        }
        let expected = if batch.producer_epoch == entry.epoch {
            let repeated = entry.batches().iter().find(|known| {
                known.first_sequence() == batch.base_sequence && known.last_sequence == batch.last_sequence()
            });
            if let Some(known) = repeated {
                return Ok(SequenceCheck::Duplicate {
                    base_offset: Offset(known.last_offset - i64::from(known.offset_delta)),
                    last_offset: Offset(known.last_offset),
                    timestamp: known.max_timestamp,
                });
            }
            advance_sequence(entry.last_sequence(), 1)
        } else {
            0
        };
        // A producer id without an epoch is no producer of ours; Kafka lets it pass, and so do we.
        if batch.base_sequence != expected && entry.epoch != NO_EPOCH {
            return Err(SequenceError::OutOfOrder {
                producer_id,
                producer_epoch: batch.producer_epoch,
                expected,
                found: batch.base_sequence,
            });
        }
        Ok(SequenceCheck::Accept)
    }

    /// Records a batch that has been appended, with the offsets it got; idempotent or not, the table is then valid at
    /// the batch's end. Judges nothing.
    pub fn update(&mut self, stamped: &BatchHeader) {
        self.end_offset = stamped.next_offset();
        if !stamped.is_idempotent() {
            return;
        }
        if self.producers.len() >= self.producers_max && !self.producers.contains_key(&stamped.producer_id) {
            self.forget_longest_silent();
        }
        let entry =
            self.producers.entry(stamped.producer_id).or_insert_with(|| ProducerEntry::new(stamped.base_offset));
        entry.bump_epoch(stamped.producer_epoch);
        entry.last_timestamp = stamped.max_timestamp;
        // A transaction marker has no sequence: it fences older epochs and nothing more.
        if !stamped.is_control() {
            entry.push(BatchEntry {
                last_offset: stamped.last_offset().0,
                max_timestamp: stamped.max_timestamp,
                last_sequence: stamped.last_sequence(),
                offset_delta: stamped.last_offset_delta,
            });
        }
    }

    /// Offset of the last record of each producer that has written records in its epoch.
    #[must_use]
    pub fn last_offsets(&self) -> HashMap<ProducerId, Offset> {
        let last = |(id, entry): (&ProducerId, &ProducerEntry)| {
            entry.batches().last().map(|batch| (*id, Offset(batch.last_offset)))
        };
        self.producers.iter().filter_map(last).collect()
    }

    /// Forgets producers that have not written for `expiration_ms` (`producer.id.expiration.ms`) by the timestamp of
    /// their last batch, and says how many. Also to be called on a table just restored.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, entry| now_ms.saturating_sub(entry.last_timestamp) < expiration_ms);
        before - self.producers.len()
    }

    /// Takes back every batch at or after `end`, a batch boundary, as the log's truncation does.
    ///
    /// Of a producer that keeps a batch, epoch and next sequence stay exact; fewer than five may then be remembered,
    /// which costs nothing but the recognition of a very late repeat.
    pub fn truncate_to(&mut self, end: Offset) -> Truncation {
        if end >= self.end_offset {
            return Truncation::Exact;
        }
        self.end_offset = end;
        let mut outcome = Truncation::Exact;
        self.producers.retain(|_, entry| {
            if entry.created_at >= end.0 {
                return false;
            }
            let kept = entry.batches().iter().filter(|batch| batch.last_offset < end.0).count();
            if kept == 0 {
                outcome = Truncation::RebuildNeeded;
                return false;
            }
            if kept < usize::from(entry.batch_count) {
                entry.batch_count = kept as u8;
                entry.last_timestamp = entry.batches[kept - 1].max_timestamp;
            }
            true
        });
        outcome
    }

    /// Follows the log start offset, after retention or DeleteRecords. Producers stay known though their batches are
    /// gone, as in Kafka: only time makes them expire.
    pub fn advance_start(&mut self, log_start: Offset) {
        self.end_offset = self.end_offset.max(log_start);
    }

    /// An eighth at a time, so that the scan is paid for by the appends that made it necessary.
    fn forget_longest_silent(&mut self) {
        let mut last_offsets: Vec<i64> = self.producers.values().map(ProducerEntry::last_offset).collect();
        let forget = (last_offsets.len() / 8).max(1);
        let (_, newest_forgotten, _) = last_offsets.select_nth_unstable(forget - 1);
        let newest_forgotten = *newest_forgotten;
        self.producers.retain(|_, entry| entry.last_offset() > newest_forgotten);
    }
}
