//! Appending a batch: one that this log gives its place, or one that comes from the leader's log with its place.
//!
//! Both are the same but for that; neither waits, and neither changes anything if it fails.

use bytes::Bytes;
use protocol::record_batch::{self, BatchHeader};
use protocol::{LeaderEpoch, Offset};

use crate::file::Storage;
use crate::frame::{FrameInfo, frame_bytes};
use crate::jobs::LogClosed;
use crate::log::Log;
use crate::tail_cache::CachedBytes;

/// Offsets that an appended batch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    pub last_offset: Offset,
}

/// Why a batch was not appended; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No reserved space is left, the segment must roll, or too much waits for its commit: call [`Log::reserve`], then
    /// append again.
    #[error("no space is reserved for another batch")]
    NeedsSpace,
    /// Kafka: `RECORD_LIST_TOO_LARGE`.
    #[error("batch of {batch_bytes} bytes, the topic's segment.bytes is {segment_bytes}")]
    TooLarge { batch_bytes: usize, segment_bytes: u64 },
    #[error("{records} records do not fit behind offset {log_end}")]
    OffsetsExhausted { log_end: Offset, records: i64 },
    #[error("leader epoch {found} is older than {current}, which has written already")]
    StaleEpoch { current: LeaderEpoch, found: LeaderEpoch },
    /// Of [`Log::append_replicated`] alone: the batch lies before that in its leader's log.
    #[error("batch begins at offset {found}, expected one that begins at the log end offset {expected} or behind it")]
    NotNext { expected: Offset, found: Offset },
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// Who says which offset and leader epoch a batch gets.
#[derive(Clone, Copy)]
enum Place {
    /// This log, at its end: it is the leader's.
    Assigned(LeaderEpoch),
    /// The batch itself: it comes from the leader's log.
    OfBatch,
}

impl<S: Storage> Log<S> {
    /// Appends a batch that was checked before: `header` was parsed from it and verified.
    ///
    /// Copies it, with base offset and leader epoch stamped in, and hands it to the next commit. `now_ms` is the wall clock in
    /// milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// If `header` does not belong to `batch`, or `leader_epoch` is negative.
    pub fn append(
        &self,
        batch: &[u8],
        header: &BatchHeader,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_batch(batch, None, header, Place::Assigned(leader_epoch), now_ms)
    }

    /// As [`Log::append`], and keeps `batch` itself for readers at the tail instead of a copy. The memory that it is a
    /// slice of should be little larger, since it is kept as a whole.
    pub fn append_shared(
        &self,
        batch: &Bytes,
        header: &BatchHeader,
        leader_epoch: LeaderEpoch,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_batch(batch, Some(batch), header, Place::Assigned(leader_epoch), now_ms)
    }

    /// Appends a batch exactly as it lies in its leader's log: base offset and leader epoch are the batch's own. `header`
    /// was parsed from it and verified; `now_ms` is as for [`Log::append`].
    ///
    /// A batch that begins behind the log end is taken as its leader's next one: compaction has dropped what lay between.
    /// Whether that is so is the caller's to know.
    ///
    /// A batch larger than `segment.bytes` is taken, into a segment of its own: its leader took it when the setting was
    /// another.
    ///
    /// # Errors
    /// [`AppendError::NotNext`] if the batch begins before the log end offset, [`AppendError::StaleEpoch`] if its epoch is
    /// negative or below the newest here.
    ///
    /// # Panics
    /// If `header` does not belong to `batch`, or its last offset delta is negative.
    pub fn append_replicated(&self, batch: &[u8], header: &BatchHeader, now_ms: i64) -> Result<Appended, AppendError> {
        self.append_batch(batch, None, header, Place::OfBatch, now_ms)
    }

    /// As [`Log::append_replicated`], and keeps `batch` itself for readers at the tail, as [`Log::append_shared`] does.
    pub fn append_replicated_shared(
        &self,
        batch: &Bytes,
        header: &BatchHeader,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_batch(batch, Some(batch), header, Place::OfBatch, now_ms)
    }

    fn append_batch(
        &self,
        batch: &[u8],
        shared: Option<&Bytes>,
        header: &BatchHeader,
        place: Place,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        assert_eq!(batch.len(), header.size_bytes, "the header is of another batch");
        assert!(header.last_offset_delta >= 0, "last offset delta {}", header.last_offset_delta);
        let inner = &self.inner;
        let shard = &inner.shard;
        let config = inner.config.get();
        let mut state = inner.state.borrow_mut();
        if state.closed || shard.is_stopping() || shard.fatal.borrow().is_some() {
            return Err(LogClosed.into());
        }
        let log_end = state.log_end;
        let (base_offset, leader_epoch) = match place {
            Place::Assigned(leader_epoch) => {
                assert!(leader_epoch.0 >= 0, "leader epoch {leader_epoch}");
                if batch.len() as u64 > config.segment_bytes {
                    let segment_bytes = config.segment_bytes;
                    return Err(AppendError::TooLarge { batch_bytes: batch.len(), segment_bytes });
                }
                (log_end, leader_epoch)
            }
            Place::OfBatch => {
                if header.base_offset < log_end {
                    return Err(AppendError::NotNext { expected: log_end, found: header.base_offset });
                }
                (header.base_offset, header.leader_epoch)
            }
        };
        // The newest epoch is never negative, so this finds a negative one, too.
        if leader_epoch < state.last_epoch {
            return Err(AppendError::StaleEpoch { current: state.last_epoch, found: leader_epoch });
        }
        let records = i64::from(header.last_offset_delta) + 1;
        let Some(next_offset) = base_offset.0.checked_add(records).filter(|next| *next < i64::MAX) else {
            return Err(AppendError::OffsetsExhausted { log_end, records });
        };
        let frame = frame_bytes(batch.len());
        if inner.shortage(&state, frame, &config, now_ms).is_some() {
            return Err(AppendError::NeedsSpace);
        }

        let stamped_head = record_batch::stamped_head(batch, base_offset, leader_epoch);
        let head = match place {
            Place::Assigned(_) => &stamped_head[..],
            Place::OfBatch => {
                // A frame that says anything else than its batch would be damage to every later open.
                assert_eq!(stamped_head, batch[..stamped_head.len()], "the header is of another batch");
                &[]
            }
        };
        let parts = [head, &batch[head.len()..]];
        let stamped = BatchHeader { base_offset, leader_epoch, ..*header };
        let last_offset = Offset(next_offset - 1);
        let info = FrameInfo {
            payload_bytes: batch.len() as u32,
            leader_epoch,
            base_offset: log_end,
            last_offset,
            synced_before: Offset::ZERO, // known when the commit begins
            incarnation: state.incarnation,
        };
        let small_bytes_max = shard.journal.as_ref().map_or(0, |journal| journal.config().entry_bytes_max);
        state.append(&shard.storage, info, &parts, &stamped, now_ms, small_bytes_max);
        inner.producers.borrow_mut().update(&stamped);
        inner.epochs.borrow_mut().assign(leader_epoch, base_offset).expect("neither is negative");
        let cached = CachedBytes::new(head, batch, shared);
        shard.tail_cache.borrow_mut().push(inner.slot, log_end, last_offset, base_offset != log_end, cached);
        shard.room.add(frame, std::mem::take(&mut state.pass_bytes));
        inner.note_dirty(&mut state);
        Ok(Appended { base_offset, last_offset })
    }
}
