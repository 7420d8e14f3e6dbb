//! Zeros ahead of busy logs' tails, and chunks ahead of sequential readers: work that nobody waits for.
//!
//! A commit into blocks that were written and synced before needs no metadata from the file system, so one flush of the
//! device covers all logs in it, and it is several times cheaper (measured in ARCHITECTURE.md). How far ahead follows the
//! log's rate: about a second's worth, nothing for an idle log, nor for one whose commits are large.
//!
//! Contract: zeros are only written behind everything appended, one chunk claimed at a time; a commit that catches up
//! with a claimed chunk waits for it. Running out of space ends prewriting until a reservation succeeds.

use std::ops::Range;
use std::rc::Rc;

use crate::file::{BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil};
use crate::log::{LogInner, LogState, ZEROING_NONE};

/// One write of zeros.
const CHUNK_BYTES: u64 = 512 << 10;
/// Prewritten at most beyond the tail.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// Below this rate a log pays for its own syncs.
const RATE_MIN_BYTES_PER_SECOND: u64 = 64 << 10;
/// A log whose commits are usually this large pays for its own syncs too: what these cost more is less than what it costs to
/// write everything twice.
const LARGE_COMMIT_BYTES: u64 = 512 << 10;
/// Least distance between the tail and a claimed chunk, so that commits do not run into it.
const MARGIN_BYTES_MIN: u64 = 64 << 10;
const MARGIN_BYTES_MAX: u64 = 4 << 20;

const _: () = assert!(CHUNK_BYTES.is_multiple_of(BLOCK_BYTES as u64));

fn ahead_bytes(rate: u64) -> u64 {
    if rate < RATE_MIN_BYTES_PER_SECOND { 0 } else { rate.next_multiple_of(CHUNK_BYTES).min(AHEAD_BYTES_MAX) }
}

/// A twentieth of a second's worth.
fn margin_bytes(rate: u64) -> u64 {
    block_ceil((rate / 20).clamp(MARGIN_BYTES_MIN, MARGIN_BYTES_MAX))
}

/// End of what is prewritten without a gap from the tail, or further ahead.
fn prewritten_end<S: Storage>(state: &LogState<S>) -> u64 {
    state.clean_until.max(state.ahead.end)
}

impl<S: Storage> LogInner<S> {
    /// Asks for zeros if less than half of what the rate suggests is left.
    pub(crate) fn queue_prewrite(self: &Rc<Self>) {
        let segment_end = block_ceil(self.config.get().segment_bytes);
        let mut state = self.state.borrow_mut();
        let wanted = ahead_bytes(state.rate.bytes_per_second());
        let end = prewritten_end(&state);
        let left = end.saturating_sub(state.end_position);
        if wanted == 0 || left >= wanted / 2 || end >= segment_end || state.usual_commit_bytes >= LARGE_COMMIT_BYTES {
            return;
        }
        if state.prewrite_queued || state.prewrite_paused || state.closed {
            return;
        }
        let log = self.clone();
        let queued = self.shard.background.submit(async move {
            if let Err(error) = log.prewrite().await {
                log.note_prewrite_error(error);
            }
            log.state.borrow_mut().prewrite_queued = false;
        });
        state.prewrite_queued = queued.is_ok();
    }

    fn note_prewrite_error(&self, error: IoError) {
        if error.is_fatal() {
            self.shard.fail(error);
        } else {
            tracing::debug!(%error, "prewriting paused");
            self.state.borrow_mut().prewrite_paused = true;
        }
    }

    async fn prewrite(self: &Rc<Self>) -> Result<(), IoError> {
        let (file, segment_uid, mut range) = {
            let state = self.state.borrow();
            let rate = state.rate.bytes_per_second();
            let start = prewritten_end(&state).max(state.first_free_block() + margin_bytes(rate));
            let segment_end = block_ceil(self.config.get().segment_bytes);
            let end = block_ceil(state.end_position + ahead_bytes(rate)).min(segment_end);
            (state.active_file.clone(), state.active().uid, start..end)
        };
        if range.start >= range.end {
            return Ok(());
        }
        file.allocate(range.end).await?;
        {
            let mut state = self.state.borrow_mut();
            if state.active().uid == segment_uid {
                state.allocated = state.allocated.max(range.end);
            }
        }
        let mut position = range.start;
        while position < range.end {
            let Some(claimed) = self.claim(segment_uid, position..range.end) else { break };
            if claimed.start > position {
                // The tail came closer; what lies before the new begin is of no use any more.
                range.start = claimed.start;
            }
            let result = file.write_zeros(claimed.clone()).await;
            self.state.borrow_mut().zeroing = ZEROING_NONE;
            self.progress.notify_all();
            result?;
            position = claimed.end;
        }
        if position == range.start {
            return Ok(());
        }
        file.sync_data().await?;
        let mut state = self.state.borrow_mut();
        if state.active().uid == segment_uid {
            state.note_prewritten(range.start..position);
        }
        Ok(())
    }

    /// The next chunk of `range` to be zeroed; `None` if there is none or the log is about to change.
    fn claim(&self, segment_uid: u64, range: Range<u64>) -> Option<Range<u64>> {
        let mut state = self.state.borrow_mut();
        if state.active().uid != segment_uid || state.blocked > 0 || state.closed {
            return None;
        }
        let start = range.start.max(state.first_free_block() + MARGIN_BYTES_MIN / 2);
        let claimed = start..(start + CHUNK_BYTES).min(range.end);
        if claimed.is_empty() {
            return None;
        }
        assert!(claimed.start >= state.first_free_block(), "zeros over appended data");
        state.zeroing = claimed.clone();
        Some(claimed)
    }
}
