//! Writing to the segments what only the journal has.
//!
//! A commit hands over what is due; it is written in batches beside the commits, which do not wait for it. Within a batch
//! all writes come first, then the syncs, as in a commit.
//!
//! Contract: of one log only one piece is being written back at a time, and a commit that goes to its segment waits for
//! it. A failed write or sync ends the shard, as in a commit.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::file::{IoError, Storage};
use crate::group_commit::{CommitShare, flush, write};
use crate::shard::ShardInner;

/// Pieces written together.
const BATCH_LOGS: usize = 64;

/// Pieces that wait for their turn.
pub(crate) struct WriteBacks<S: Storage> {
    waiting: RefCell<VecDeque<CommitShare<S>>>,
    running: Cell<bool>,
}

impl<S: Storage> Default for WriteBacks<S> {
    fn default() -> WriteBacks<S> {
        WriteBacks { waiting: RefCell::default(), running: Cell::new(false) }
    }
}

impl<S: Storage> WriteBacks<S> {
    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }
}

impl<S: Storage> ShardInner<S> {
    /// Writes `shares` to their segments, beside the commits.
    pub(crate) fn queue_write_backs(self: &Rc<Self>, shares: Vec<CommitShare<S>>) {
        if shares.is_empty() {
            return;
        }
        self.write_backs.waiting.borrow_mut().extend(shares);
        if self.write_backs.running.replace(true) {
            return;
        }
        let shard = self.clone();
        let queued = self.jobs.submit(async move {
            if let Err(error) = shard.write_all_back().await {
                shard.fail(error);
                // A commit may wait for what was not written.
                shard.wake_all_waiters();
            }
            shard.write_backs.running.set(false);
            shard.commit_wanted.notify_all();
        });
        // The jobs end after the last commit only, and whoever closes a log waits for this.
        queued.expect("jobs are taken as long as there are commits");
    }

    async fn write_all_back(&self) -> Result<(), IoError> {
        loop {
            let shares: Vec<CommitShare<S>> = {
                let mut waiting = self.write_backs.waiting.borrow_mut();
                let some = waiting.len().min(BATCH_LOGS);
                waiting.drain(..some).collect()
            };
            // After a failure elsewhere nothing more is written.
            if shares.is_empty() || self.fatal.borrow().is_some() {
                return Ok(());
            }
            let written = write(shares).await?;
            self.metrics.write_backs.add(written.len() as u64);
            self.metrics.write_back_bytes.add(written.iter().map(|share| share.writes.end - share.writes.start).sum());
            for share in &written {
                share.log.note_written(share);
            }
            let proof = flush(self.storage.flush_scope(), &written, None).await?;
            for share in &written {
                share.log.note_written_back(share, &proof);
            }
        }
    }
}
