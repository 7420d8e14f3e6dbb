//! Group commit: one flush for what all logs of a shard have waiting.
//!
//! A commit takes the write buffers of all dirty logs, writes them concurrently, and when the last write has completed
//! starts the flush: one, where a flush covers the whole device and every written range was written and synced before
//! ([`FlushScope::Device`]), else one per file that needs its own. Only then durable ends advance. While a commit is in
//! flight the next gathers; when idle, a commit starts at once. Where many logs have little each, the commit goes to the
//! [journal](crate::journal) instead, as one write, and the logs keep their write buffers until these are written back.
//!
//! Contract: no write and no sync is dropped, timed out or retried. Any failure ends the loop, and with it every hope of
//! an acknowledgement. There is one commit in flight, so two writes never share a block.
//!
//! Deliberately absent: which bytes go where (`appender`, `log`); rolls and truncations, which wait for commits but run
//! beside this loop as jobs.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use protocol::Offset;

use crate::appender::Writes;
use crate::file::{FlushScope, IoError, Storage, StorageFile};
use crate::journal::{EntryPlace, JournalPlace, RecordRoom, RecordWriter, Room, record_bytes};
use crate::log::LogInner;
use crate::metrics::CommitSize;
use crate::shard::{FatalIo, ShardInner};
use crate::sync::yield_now;

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
    /// End of the writes, zeros behind the data included.
    pub(crate) clean_end: u64,
    /// It is durable in the journal already.
    pub(crate) is_write_back: bool,
}

/// One log's part of a commit that goes to the journal.
pub(crate) struct JournalShare<S: Storage> {
    pub(crate) log: Rc<LogInner<S>>,
    pub(crate) segment_base: Offset,
    /// Where its frames belong in the segment.
    pub(crate) range: Range<u64>,
    /// Log end offset that they reach.
    pub(crate) end_offset: Offset,
}

/// A record of the journal, and whose frames it holds.
struct Journaled<S: Storage> {
    room: RecordRoom<S>,
    shares: Vec<JournalShare<S>>,
}

/// What a commit does.
struct Gathered<S: Storage> {
    segments: Vec<CommitShare<S>>,
    record: Option<(Journaled<S>, S::WriteBuffer)>,
    write_backs: Vec<CommitShare<S>>,
}

/// Says that a flush which started after the commit's last write has completed. Only [`flush`] and [`write_durably`] make
/// one, and a durable end cannot advance without it.
pub(crate) struct FlushProof(());

impl<S: Storage> ShardInner<S> {
    /// The commit loop and the jobs beside it.
    pub(crate) async fn run_commits(self: &Rc<Self>) -> Result<(), FatalIo> {
        let commits = async {
            let result = self.commit_loop().await;
            self.jobs.stop();
            result
        };
        let jobs = self.jobs.work(|| self.commit_wanted.notify_all());
        // A fatal error must not wait for jobs, which may wait for a commit that never comes.
        match futures_util::future::select(Box::pin(commits), Box::pin(jobs)).await {
            futures_util::future::Either::Left((Err(fatal), jobs)) => {
                // But no write is dropped.
                let written_back = self.commit_wanted.wait_for(|| (!self.write_backs.is_running()).then_some(()));
                futures_util::future::select(jobs, Box::pin(written_back)).await;
                Err(fatal)
            }
            futures_util::future::Either::Left((Ok(()), jobs)) => {
                jobs.await;
                self.check_fatal()
            }
            futures_util::future::Either::Right(((), commits)) => commits.await,
        }
    }

    async fn commit_loop(self: &Rc<Self>) -> Result<(), FatalIo> {
        loop {
            let go_on = self.commit_wanted.wait_for(|| self.next_step()).await?;
            if !go_on {
                return Ok(());
            }
            // A commit may block the thread. What was woken by the same appends, such as sending them to replicas, goes first.
            yield_now().await;
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

    async fn commit(self: &Rc<Self>) -> Result<(), IoError> {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        let Gathered { segments, record, write_backs } = self.gather(dirty);
        self.room.take();
        self.queue_write_backs(write_backs);
        let size = commit_size(&segments, record.as_ref());
        let began = Instant::now();
        self.read_cache.limit.begin_commit();
        let is_inline = self.may_block(&segments, record.as_ref(), began);
        let (segments, journaled, proof) = if is_inline {
            let written = write_durably(segments, record).await?;
            let now = Instant::now();
            self.inline_commits.borrow_mut().note(now - began, now);
            written
        } else {
            let (segments, journaled) = futures_util::future::join(write(segments), write_record(record)).await;
            let (segments, journaled) = (segments?, journaled?);
            for share in &segments {
                share.log.note_written(share);
            }
            let all_written = Instant::now();
            let record_file = journaled.as_ref().map(|record| &*record.room.file);
            let proof = flush(self.storage.flush_scope(), &segments, record_file).await?;
            self.metrics.write_time.observe(all_written - began);
            self.metrics.sync_time.observe(all_written.elapsed());
            (segments, journaled, proof)
        };
        let now = Instant::now();
        self.metrics.committed(size, is_inline, now - began);
        self.read_cache.limit.end_commit(now);
        for share in &segments {
            share.log.note_synced(share, &proof);
        }
        let journaled = journaled.map_or(Vec::new(), |Journaled { room, shares }| {
            self.journal.as_ref().expect("it gave the room").note_durable(&room, &proof);
            shares
        });
        for share in &journaled {
            share.log.note_journaled(share, &proof);
        }
        // Listeners may append, read or look at other logs, so every log is up to date before the first is called.
        segments.iter().for_each(|share| share.log.announce());
        journaled.iter().for_each(|share| share.log.announce());
        Ok(())
    }

    /// Whether the commit is one small write that nothing holds up, and the disk is fast.
    fn may_block(
        &self,
        segments: &[CommitShare<S>],
        record: Option<&(Journaled<S>, S::WriteBuffer)>,
        now: Instant,
    ) -> bool {
        let bytes = match (segments, record) {
            ([], Some((_, buffer))) => buffer.as_ref().len() as u64,
            ([share], None) => match share.writes.buffers.as_slice() {
                [_] if share.log.may_write(share.writes.start..share.writes.end) => {
                    share.writes.end - share.writes.start
                }
                _ => return false,
            },
            _ => return false,
        };
        self.inline_commits.borrow().may_block(bytes, now)
    }

    /// Takes what `dirty` logs have for a commit: to their segments, or into a record of the journal where many have little.
    fn gather(self: &Rc<Self>, dirty: Vec<Rc<LogInner<S>>>) -> Gathered<S> {
        let mut gathered = Gathered { segments: Vec::new(), record: None, write_backs: Vec::new() };
        let (mut small, mut small_bytes) = (Vec::new(), 0);
        let limits = self.journal.as_ref().map(|journal| *journal.config());
        for log in dirty {
            log.state.borrow_mut().dirty = false;
            let bytes = log.uncommitted_bytes();
            match limits {
                Some(limits) if bytes == 0 => {
                    gathered.write_backs.extend(log.begin_write_back(limits.write_back_bytes))
                }
                Some(limits) if bytes <= limits.entry_bytes_max => {
                    small_bytes += bytes;
                    small.push(log);
                }
                _ => gathered.segments.extend(log.begin_commit()),
            }
        }
        let (Some(journal), Some(limits)) = (&self.journal, limits) else { return gathered };
        let room = if small.len() < limits.logs_min {
            Room::None
        } else {
            journal.take_room(self, record_bytes(small.len(), small_bytes))
        };
        match room {
            Room::Record(room) => {
                let shares: Vec<_> = small.iter().map(LogInner::begin_journaled_commit).collect();
                gathered.record = Some(self.make_record(room, shares, small_bytes));
                gathered
                    .write_backs
                    .extend(small.iter().filter_map(|log| log.begin_write_back(limits.write_back_bytes)));
            }
            Room::Settle(room) => {
                gathered.record = Some(self.make_record(room, Vec::new(), 0));
                gathered.segments.extend(small.iter().filter_map(LogInner::begin_commit));
            }
            Room::None => gathered.segments.extend(small.iter().filter_map(LogInner::begin_commit)),
        }
        gathered
    }

    /// Copies the frames of `shares`, `frames_bytes` together, into a record.
    fn make_record(
        &self,
        room: RecordRoom<S>,
        shares: Vec<JournalShare<S>>,
        frames_bytes: u64,
    ) -> (Journaled<S>, S::WriteBuffer) {
        let journal = self.journal.as_ref().expect("it gave the room");
        let JournalPlace { storage, id, .. } = &journal.place;
        let mut buffer = storage.allocate_buffer(record_bytes(shares.len(), frames_bytes) as usize);
        let mut writer = RecordWriter::new(buffer.as_mut());
        for JournalShare { log, segment_base, range, .. } in &shares {
            let mut state = log.state.borrow_mut();
            if state.buffer_lap.is_none() {
                state.buffer_lap = Some(room.lap);
                journal.note_holder(room.lap, log);
            }
            let place = EntryPlace { identity: log.identity, segment_base: *segment_base, position: range.start };
            let out = writer.entry(&place, (range.end - range.start) as usize);
            state.appender.as_ref().expect("it was just sealed").copy_to(range.start, out);
        }
        writer.finish(*id, room.sequence, room.settled_before);
        (Journaled { room, shares }, buffer)
    }
}

/// What a commit is going to write.
fn commit_size<S: Storage>(segments: &[CommitShare<S>], record: Option<&(Journaled<S>, S::WriteBuffer)>) -> CommitSize {
    CommitSize {
        logs: segments.len() + record.map_or(0, |(journaled, _)| journaled.shares.len()),
        segment_bytes: segments.iter().map(|share| share.writes.end - share.writes.start).sum(),
        journal_bytes: record.map_or(0, |(_, buffer)| buffer.as_ref().len() as u64),
    }
}

/// Writes each share to its segment, when whatever keeps it away has ended.
pub(crate) async fn write<S: Storage>(shares: Vec<CommitShare<S>>) -> Result<Vec<CommitShare<S>>, IoError> {
    let mut written = Vec::with_capacity(shares.len());
    let mut writes = Vec::with_capacity(shares.len());
    for share in shares {
        let CommitShare { log, file, writes: Writes { buffers, start, end }, .. } = share;
        let is_commit = !share.is_write_back;
        for (position, buffer) in buffers {
            let (log, file) = (log.clone(), file.clone());
            writes.push(async move {
                if is_commit {
                    log.wait_until_written_back().await?;
                }
                log.wait_until_not_zeroing(position, position + buffer.as_ref().len() as u64).await;
                file.write_at(buffer, position).await
            });
        }
        let writes = Writes { buffers: Vec::new(), start, end };
        written.push(CommitShare { log, file, writes, ..share });
    }
    first_error(join_all(writes).await)?;
    Ok(written)
}

/// Writes the only write of a commit durably, by one operation.
async fn write_durably<S: Storage>(
    mut segments: Vec<CommitShare<S>>,
    record: Option<(Journaled<S>, S::WriteBuffer)>,
) -> Result<(Vec<CommitShare<S>>, Option<Journaled<S>>, FlushProof), IoError> {
    for share in &mut segments {
        for (position, buffer) in std::mem::take(&mut share.writes.buffers) {
            share.file.write_durably_at(buffer, position).await?;
        }
        share.log.note_written(share);
    }
    let Some((journaled, buffer)) = record else { return Ok((segments, None, FlushProof(()))) };
    journaled.room.file.write_durably_at(buffer, journaled.room.position).await?;
    Ok((segments, Some(journaled), FlushProof(())))
}

async fn write_record<S: Storage>(
    record: Option<(Journaled<S>, S::WriteBuffer)>,
) -> Result<Option<Journaled<S>>, IoError> {
    let Some((journaled, buffer)) = record else { return Ok(None) };
    journaled.room.file.write_at(buffer, journaled.room.position).await?;
    Ok(Some(journaled))
}

/// Makes writes, all completed, durable: those of `shares`, and the journal's if there is one.
pub(crate) async fn flush<S: Storage>(
    scope: FlushScope,
    shares: &[CommitShare<S>],
    journal: Option<&S::File>,
) -> Result<FlushProof, IoError> {
    let own = |share: &&CommitShare<S>| scope == FlushScope::File || share.needs_own_sync;
    let mut syncs: Vec<_> = shares.iter().filter(own).map(|share| share.file.sync_data()).collect();
    if syncs.is_empty()
        && let Some(any) = shares.first()
    {
        syncs.push(any.file.sync_data());
    }
    // Even where its device is the logs' one: it may not be.
    syncs.extend(journal.map(StorageFile::sync_data));
    first_error(join_all(syncs).await)?;
    Ok(FlushProof(()))
}

fn first_error(results: Vec<Result<(), IoError>>) -> Result<(), IoError> {
    results.into_iter().collect()
}
