//! The log's side of group commit, and reserving space for appends.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use protocol::Offset;

use crate::appender::Appender;
use crate::file::{IoError, IoOp, Storage};
use crate::group_commit::{CommitShare, FlushProof, JournalShare};
use crate::jobs::LogClosed;
use crate::log::{LogConfig, LogInner, LogState, ReserveError, Shortage};

impl<S: Storage> LogInner<S> {
    /// What keeps a frame of `frame_bytes` from being appended now.
    pub(crate) fn shortage(
        &self,
        state: &LogState<S>,
        frame_bytes: u64,
        config: &LogConfig,
        now_ms: i64,
    ) -> Option<Shortage> {
        if state.blocked > 0 {
            Some(Shortage::Blocked)
        } else if state.must_roll(frame_bytes, config, now_ms) {
            Some(Shortage::Roll)
        } else if state.end_position + frame_bytes > state.allocated {
            Some(Shortage::Space)
        } else if state.pass_bytes < frame_bytes && !self.shard.room.admits(frame_bytes) {
            Some(Shortage::Gathered)
        } else {
            None
        }
    }

    pub(super) async fn reserve(self: &Rc<Self>, frame_bytes: u64, now_ms: i64) -> Result<(), ReserveError> {
        loop {
            self.shard.check_fatal()?;
            if self.is_ended() || self.shard.is_stopping() {
                return Err(LogClosed.into());
            }
            let shortage = self.shortage(&self.state.borrow(), frame_bytes, &self.config.get(), now_ms);
            match shortage {
                None => return Ok(()),
                Some(Shortage::Blocked) => {
                    let lifted = || (self.state.borrow().blocked == 0 || self.is_ended()).then_some(());
                    self.progress.wait_for(lifted).await;
                }
                Some(Shortage::Gathered) => {
                    if self.shard.room.wait(frame_bytes, || self.is_ended()).await {
                        self.state.borrow_mut().pass_bytes = frame_bytes;
                        // It looks whether the pass was used.
                        self.shard.commit_wanted.notify_all();
                    }
                }
                Some(Shortage::Roll | Shortage::Space) => {
                    let log = self.clone();
                    self.shard.jobs.run(async move { log.make_room(frame_bytes, now_ms).await }).await??;
                }
            }
        }
    }

    /// Takes the write buffer for a commit, what the journal has of it included; what is appended from now on belongs to
    /// the next one.
    pub(crate) fn begin_commit(self: &Rc<Self>) -> Option<CommitShare<S>> {
        let share = self.take_buffer(false)?;
        let mut state = self.state.borrow_mut();
        assert!(!state.in_commit, "two commits of one log would share a block");
        state.in_commit = true;
        Some(share)
    }

    /// Takes what the journal has for writing it back, if that is due: it is wanted, or it is much. To be called when a
    /// commit has just taken everything appended.
    pub(crate) fn begin_write_back(self: &Rc<Self>, due_bytes: u64) -> Option<CommitShare<S>> {
        {
            let mut state = self.state.borrow_mut();
            let Some(held) = state.appender.as_ref().map(Appender::held_bytes) else {
                state.write_back_wanted = false;
                return None;
            };
            if state.writing_back || !(state.write_back_wanted || held >= due_bytes) {
                return None;
            }
            state.writing_back = true;
            state.writing_back_lap = state.buffer_lap.take();
        }
        Some(self.take_buffer(true).expect("there is a write buffer"))
    }

    fn take_buffer(self: &Rc<Self>, is_write_back: bool) -> Option<CommitShare<S>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.write_back_wanted = false;
        let appender = state.appender.take()?;
        let synced_before = state.durable_end();
        let mut writes = appender.finish(synced_before, &mut state.tail);
        let bytes = writes.end - writes.start;
        state.expected_commit_bytes = bytes as usize;
        if !is_write_back {
            state.usual_commit_bytes = (state.usual_commit_bytes * 3 + bytes) / 4;
        }
        let needs_own_sync = !state.is_clean(&(writes.start..writes.end));
        let mut clean_end = writes.end;
        if is_write_back && needs_own_sync {
            clean_end = state.claim_zeros_behind(writes.end, self.config.get().segment_bytes);
            if clean_end > writes.end {
                let mut zeros = self.shard.storage.allocate_buffer((clean_end - writes.end) as usize);
                zeros.as_mut().fill(0);
                writes.buffers.push((writes.end, zeros));
            }
        }
        Some(CommitShare {
            log: self.clone(),
            file: state.active_file.clone(),
            needs_own_sync,
            clean_end,
            end_offset: state.log_end,
            end_position: state.end_position,
            is_write_back,
            writes,
        })
    }

    /// Completes the frames that a commit takes now and leaves them where they are; gives where they lie.
    pub(crate) fn begin_journaled_commit(self: &Rc<Self>) -> JournalShare<S> {
        let mut state = self.state.borrow_mut();
        assert!(!state.in_commit, "a commit at a time");
        state.in_commit = true;
        let (synced_before, segment_base, end_offset) = (state.durable_end(), state.active().base, state.log_end);
        let range = state.appender.as_mut().expect("a log of a commit has a write buffer").seal(synced_before);
        JournalShare { log: self.clone(), segment_base, range, end_offset }
    }

    /// What a commit would take of this log.
    pub(crate) fn uncommitted_bytes(&self) -> u64 {
        self.state.borrow().appender.as_ref().map_or(0, Appender::uncommitted_bytes)
    }

    /// Asks for everything that only the journal has to be written to the segment soon.
    pub(crate) fn want_write_back(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.appender.is_none() && !state.writing_back {
            return;
        }
        state.write_back_wanted = true;
        self.note_dirty(&mut state);
    }

    /// The next commit looks at this log.
    pub(crate) fn note_dirty(self: &Rc<Self>, state: &mut LogState<S>) {
        if !std::mem::replace(&mut state.dirty, true) {
            self.shard.dirty.borrow_mut().push(self.clone());
            self.shard.commit_wanted.notify_all();
        }
    }

    /// The record with this log's share is durable.
    pub(crate) fn note_journaled(&self, share: &JournalShare<S>, proof: &FlushProof) {
        let mut state = self.state.borrow_mut();
        state.in_commit = false;
        state.note_journaled(share.end_offset, proof);
    }

    /// What the journal had is durable in the segment.
    pub(crate) fn note_written_back(self: &Rc<Self>, share: &CommitShare<S>, _proof: &FlushProof) {
        {
            let mut state = self.state.borrow_mut();
            state.writing_back = false;
            state.writing_back_lap = None;
            state.note_clean(&(share.writes.start..share.clean_end));
            if share.clean_end > share.writes.end {
                state.prewrite_queued = false;
            }
            if state.write_back_wanted {
                self.note_dirty(&mut state);
            }
        }
        self.progress.notify_all();
        self.queue_prewrite();
    }

    /// Writes of one log go to its segment in order, and never two into one block. After a failure elsewhere nothing more
    /// is written.
    pub(crate) async fn wait_until_written_back(&self) -> Result<(), IoError> {
        let failed = || IoError::new(IoOp::Write, &self.dir, io::Error::other("not tried after an earlier failure"));
        self.progress
            .wait_for(|| {
                if self.shard.fatal.borrow().is_some() {
                    return Some(Err(failed()));
                }
                (!self.state.borrow().writing_back).then_some(Ok(()))
            })
            .await
    }

    /// The commit's writes have completed: reads may see them.
    pub(crate) fn note_written(&self, share: &CommitShare<S>) {
        let mut state = self.state.borrow_mut();
        state.written_end = share.end_offset;
        state.written_position = share.end_position;
    }

    /// The commit is durable.
    pub(crate) fn note_synced(self: &Rc<Self>, share: &CommitShare<S>, proof: &FlushProof) {
        let mut state = self.state.borrow_mut();
        state.in_commit = false;
        state.buffer_lap = None;
        state.note_clean(&(share.writes.start..share.writes.end));
        state.advance_durable(share.end_offset, proof);
        drop(state);
        self.queue_prewrite();
    }

    /// Tells those who wait for the durable end.
    pub(crate) fn announce(&self) {
        self.progress.notify_all();
        let listener = self.listener.borrow().clone();
        if let Some(listener) = listener {
            let ackable_end: Offset = self.ackable_end();
            listener(ackable_end);
        }
    }

    /// Whether a write of these blocks would wait for nothing.
    pub(crate) fn may_write(&self, blocks: Range<u64>) -> bool {
        let state = self.state.borrow();
        !state.writing_back && (state.zeroing.end <= blocks.start || blocks.end <= state.zeroing.start)
    }

    /// Two writes never share a block, zeros included.
    pub(crate) async fn wait_until_not_zeroing(&self, start: u64, end: u64) {
        let apart = || {
            let state = self.state.borrow();
            (state.zeroing.is_empty() || end <= state.zeroing.start || state.zeroing.end <= start).then_some(())
        };
        self.progress.wait_for(apart).await;
    }
}
