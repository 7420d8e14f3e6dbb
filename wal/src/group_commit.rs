//! Group commit: one flush for what all logs of a shard have waiting.
//!
//! A commit takes the write buffers of all dirty logs, writes them concurrently, and when the last write has completed
//! starts the flush: one, where a flush covers the whole device and every written range was written and synced before
//! ([`FlushScope::Device`]), else one per file that needs its own. Only then durable ends advance. While a commit is in
//! flight the next gathers; when idle, a commit starts at once.
//!
//! Contract: no write and no sync is dropped, timed out or retried. Any failure ends the loop, and with it every hope of
//! an acknowledgement. There is one commit in flight, so two writes never share a block.
//!
//! Deliberately absent: which bytes go where (`appender`, `log`); rolls and truncations, which wait for commits but run
//! beside this loop as jobs.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::appender::Writes;
use crate::file::{FlushScope, IoError, Storage, StorageFile};
use crate::log::LogInner;
use crate::shard::{FatalIo, ShardInner};
use protocol::Offset;

/// One log's part of a commit.
pub(crate) struct CommitShare<S: Storage> {
    pub(crate) log: Rc<LogInner<S>>,
    pub(crate) file: Rc<S::File>,
    pub(crate) writes: Writes<S>,
    /// Log end offset that the writes reach.
    pub(crate) end_offset: Offset,
    /// Where in the file they end.
    pub(crate) end_position: u64,
    /// The range was not written and synced before, so only the file's own sync makes it durable.
    pub(crate) needs_own_sync: bool,
}

/// Says that a flush which started after the commit's last write has completed. Only [`flush`] makes one, and a durable
/// end cannot advance without it.
pub(crate) struct FlushProof(());

impl<S: Storage> ShardInner<S> {
    /// The commit loop and the jobs beside it.
    pub(crate) async fn run_commits(&self) -> Result<(), FatalIo> {
        let commits = async {
            let result = self.commit_loop().await;
            self.jobs.stop();
            result
        };
        let jobs = self.jobs.work(|| self.commit_wanted.notify_all());
        // A fatal error must not wait for jobs, which may wait for a commit that never comes.
        match futures_util::future::select(Box::pin(commits), Box::pin(jobs)).await {
            futures_util::future::Either::Left((Err(fatal), _)) => Err(fatal),
            futures_util::future::Either::Left((Ok(()), jobs)) => {
                jobs.await;
                self.check_fatal()
            }
            futures_util::future::Either::Right(((), commits)) => commits.await,
        }
    }

    async fn commit_loop(&self) -> Result<(), FatalIo> {
        loop {
            let go_on = self.commit_wanted.wait_for(|| self.next_step()).await?;
            if !go_on {
                return Ok(());
            }
            self.commit().await.map_err(|error| {
                self.fail(error);
                self.check_fatal().expect_err("it was just set")
            })?;
        }
    }

    /// Whether to commit (true) or to end (false); `None` while there is nothing to do.
    fn next_step(&self) -> Option<Result<bool, FatalIo>> {
        if let Err(fatal) = self.check_fatal() {
            return Some(Err(fatal));
        }
        if !self.dirty.borrow().is_empty() {
            return Some(Ok(true));
        }
        self.room.lapse();
        (self.is_stopping() && self.jobs.is_idle() && self.background.is_idle()).then_some(Ok(false))
    }

    async fn commit(&self) -> Result<(), IoError> {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let shares: Vec<CommitShare<S>> = dirty.into_iter().filter_map(|log| log.begin_commit()).collect();
        self.room.take();
        let mut committed = Vec::with_capacity(shares.len());
        let mut writes = Vec::with_capacity(shares.len());
        for share in shares {
            let CommitShare { log, file, writes: Writes { buffers, start, end }, .. } = share;
            for (position, buffer) in buffers {
                let (log, file) = (log.clone(), file.clone());
                writes.push(async move {
                    log.wait_until_not_zeroing(position, position + buffer.as_ref().len() as u64).await;
                    file.write_at(buffer, position).await
                });
            }
            let writes = Writes { buffers: Vec::new(), start, end };
            committed.push(CommitShare { log, file, writes, ..share });
        }
        first_error(join_all(writes).await)?;
        for share in &committed {
            share.log.note_written(share);
        }
        let proof = flush(self.storage.flush_scope(), &committed).await?;
        for share in &committed {
            share.log.note_synced(share, &proof);
        }
        // Listeners may append, read or look at other logs, so every log is up to date before the first is called.
        for share in &committed {
            share.log.announce();
        }
        Ok(())
    }
}

/// Makes the commit's writes, all completed, durable.
async fn flush<S: Storage>(scope: FlushScope, shares: &[CommitShare<S>]) -> Result<FlushProof, IoError> {
    let own = |share: &&CommitShare<S>| scope == FlushScope::File || share.needs_own_sync;
    let mut syncs: Vec<_> = shares.iter().filter(own).map(|share| share.file.sync_data()).collect();
    if syncs.is_empty()
        && let Some(any) = shares.first()
    {
        syncs.push(any.file.sync_data());
    }
    first_error(join_all(syncs).await)?;
    Ok(FlushProof(()))
}

fn first_error(results: Vec<Result<(), IoError>>) -> Result<(), IoError> {
    results.into_iter().collect()
}
