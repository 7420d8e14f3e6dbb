//! The log's side of group commit, and reserving space for appends.

use std::rc::Rc;

use protocol::Offset;

use crate::file::Storage;
use crate::group_commit::{CommitShare, FlushProof};
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

    /// Takes the write buffer for a commit; what is appended from now on belongs to the next one.
    pub(crate) fn begin_commit(self: &Rc<Self>) -> Option<CommitShare<S>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.dirty = false;
        let appender = state.appender.take()?;
        assert!(!state.in_commit, "two commits of one log would share a block");
        let synced_before = state.durable_end();
        let writes = appender.finish(synced_before, &mut state.tail);
        state.in_commit = true;
        state.expected_commit_bytes = (writes.end - writes.start) as usize;
        Some(CommitShare {
            log: self.clone(),
            file: state.active_file.clone(),
            needs_own_sync: !state.is_clean(&(writes.start..writes.end)),
            end_offset: state.log_end,
            end_position: state.end_position,
            writes,
        })
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

    /// Two writes never share a block, zeros included.
    pub(crate) async fn wait_until_not_zeroing(&self, start: u64, end: u64) {
        let apart = || {
            let state = self.state.borrow();
            (state.zeroing.is_empty() || end <= state.zeroing.start || state.zeroing.end <= start).then_some(())
        };
        self.progress.wait_for(apart).await;
    }
}
