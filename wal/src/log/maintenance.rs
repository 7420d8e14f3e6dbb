//! Structural changes of an open log: extending and rolling, the log start, close, delete.
//!
//! Each runs as a job, one at a time per log (the structure lock), and keeps appends away where the active segment
//! changes. Order on disk is what makes each atomic: the file that decides (checkpoint, new segment's name) becomes
//! durable after what it relies on and before what it makes superfluous.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::Offset;

use crate::checkpoint::{Checkpoint, LogPosition};
use crate::compaction::CompactionError;
use crate::file::{BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil, block_floor, remove_if_there};
use crate::jobs::LogClosed;
use crate::log::{LogInner, ReserveError, RestartError, Shortage, Structure, TruncateError, ZEROING_NONE};
use crate::retention::{RetentionError, SPARE_FILE};
use crate::segment::{FIRST_FRAME_POSITION, NameKind, Segment, SegmentHeader, SegmentSummary, file_name};
use crate::segment_index::SegmentIndex;
use crate::shard::FatalIo;
use crate::sidecar::{self, Kind, STAGED_SUFFIX};
use crate::state_snapshot;

/// Steps in which the active segment gets space when an append asks for it: as much as it has, within these bounds. An
/// idle partition takes next to nothing, a busy one is extended in the background before it asks.
const EXTEND_BYTES_MIN: u64 = 32 << 10;
const EXTEND_BYTES_MAX: u64 = 16 << 20;
/// Ending of the directory of a deleted partition.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// Longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Why the log start offset could not be raised.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceStartError {
    /// Kafka: `OFFSET_OUT_OF_RANGE`.
    #[error("log start offset {to} lies beyond the log end offset {log_end}")]
    OutOfRange { to: Offset, log_end: Offset },
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// Why the log could not be closed in order; it is recovered by a scan then.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// Why the directory could not be removed; [`remove_deleted`] tries again at the next start, if it was renamed already.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// What can go wrong in any structural change.
#[derive(Debug)]
pub(crate) enum ChangeError {
    Io(IoError),
    Fatal(FatalIo),
    Closed,
}

macro_rules! from_change_error {
    ($($error:ident),*) => {$(
        impl From<ChangeError> for $error {
            fn from(error: ChangeError) -> $error {
                match error {
                    ChangeError::Io(error) => $error::Io(error),
                    ChangeError::Fatal(fatal) => $error::Fatal(fatal),
                    ChangeError::Closed => $error::Closed(LogClosed),
                }
            }
        }
    )*};
}
from_change_error!(
    AdvanceStartError,
    TruncateError,
    RestartError,
    CloseError,
    DeleteError,
    RetentionError,
    CompactionError
);

impl From<ChangeError> for ReserveError {
    fn from(error: ChangeError) -> ReserveError {
        match error {
            ChangeError::Io(error) if error.is_no_space() => ReserveError::NoSpace(error),
            ChangeError::Io(error) => ReserveError::Io(error),
            ChangeError::Fatal(fatal) => ReserveError::Fatal(fatal),
            ChangeError::Closed => ReserveError::Closed(LogClosed),
        }
    }
}

/// Keeps appends away while it lives.
pub(super) struct AppendBlock<S: Storage>(Rc<LogInner<S>>);

impl<S: Storage> Drop for AppendBlock<S> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().blocked -= 1;
        self.0.progress.notify_all();
    }
}

impl<S: Storage> LogInner<S> {
    /// Gives an error its weight: after a fatal one the shard ends.
    pub(crate) fn change_error(&self, error: IoError) -> ChangeError {
        if !error.is_fatal() {
            return ChangeError::Io(error);
        }
        self.shard.fail(error);
        match self.shard.check_fatal() {
            Err(fatal) => ChangeError::Fatal(fatal),
            Ok(()) => ChangeError::Closed,
        }
    }

    pub(super) fn block_appends(self: &Rc<Self>) -> AppendBlock<S> {
        self.state.borrow_mut().blocked += 1;
        AppendBlock(self.clone())
    }

    /// With appends blocked: waits until everything appended is durable in the segments and no write to the active one is
    /// under way.
    pub(super) async fn settle(self: &Rc<Self>) -> Result<(), ChangeError> {
        self.want_write_back();
        self.progress
            .wait_for(|| {
                if let Err(fatal) = self.shard.check_fatal() {
                    return Some(Err(ChangeError::Fatal(fatal)));
                }
                let state = self.state.borrow();
                (state.is_quiet() && state.durable_end() == state.log_end).then_some(Ok(()))
            })
            .await
    }

    pub(crate) fn check_open(&self) -> Result<(), ChangeError> {
        self.shard.check_fatal().map_err(ChangeError::Fatal)?;
        if self.state.borrow().closed { Err(ChangeError::Closed) } else { Ok(()) }
    }

    pub(crate) async fn make_room(self: &Rc<Self>, frame_bytes: u64, now_ms: i64) -> Result<(), ChangeError> {
        let mut structure = self.structure.lock().await;
        self.check_open()?;
        // Another caller may have made room meanwhile.
        let shortage = self.shortage(&self.state.borrow(), frame_bytes, &self.config.get(), now_ms);
        match shortage {
            Some(Shortage::Roll) => self.roll(&mut structure).await,
            Some(Shortage::Space) => self.extend(frame_bytes).await,
            None | Some(Shortage::Blocked | Shortage::Gathered) => Ok(()),
        }
    }

    async fn extend(&self, frame_bytes: u64) -> Result<(), ChangeError> {
        let (file, needed, wanted) = {
            let state = self.state.borrow();
            let needed = block_ceil(state.end_position + frame_bytes);
            let step = state.end_position.clamp(EXTEND_BYTES_MIN, EXTEND_BYTES_MAX);
            let limit = block_ceil(self.config.get().segment_bytes).max(needed);
            (state.active_file.clone(), needed, block_ceil(state.allocated + step).clamp(needed, limit))
        };
        let allocated = match file.allocate(wanted).await {
            Ok(()) => wanted,
            Err(error) if error.is_no_space() && needed < wanted => {
                file.allocate(needed).await.map_err(|error| self.change_error(error))?;
                needed
            }
            Err(error) => return Err(self.change_error(error)),
        };
        let mut state = self.state.borrow_mut();
        state.allocated = state.allocated.max(allocated);
        state.prewrite_paused = false;
        Ok(())
    }

    /// Seals the active segment and begins another at the log end. Nothing has changed if it fails.
    pub(crate) async fn roll(self: &Rc<Self>, structure: &mut Structure) -> Result<(), ChangeError> {
        let block = self.block_appends();
        self.settle().await?;
        if self.state.borrow().active().summary.get().is_empty() {
            return Ok(());
        }
        self.write_sidecars().await?;
        let (base, incarnation) = {
            let state = self.state.borrow();
            (state.log_end, state.incarnation)
        };
        let header = SegmentHeader { identity: self.identity, base_offset: base, incarnation, compacted: None };
        let created = self.create_segment(&header, structure.spare_written.take()).await?;
        let (sealed, sealed_file) = {
            let mut state = self.state.borrow_mut();
            let sealed = state.active().clone();
            let sealed_file = std::mem::replace(&mut state.active_file, created.file.clone());
            let index = SegmentIndex::new(self.config.get().index_interval_bytes);
            let segment = Segment::new(
                self.shard.next_segment_uid(),
                &header,
                SegmentSummary::empty(base),
                Some(created.file),
                Some(index),
            );
            state.segments.push_back(Rc::new(segment));
            state.tail.clear();
            state.end_position = FIRST_FRAME_POSITION;
            state.written_position = FIRST_FRAME_POSITION;
            state.allocated = created.allocated;
            state.clean_until = created.clean_until;
            state.ahead = ZEROING_NONE;
            state.prewrite_paused = false;
            (sealed, sealed_file)
        };
        drop(block);
        self.shard.note_open_sealed(&sealed);
        self.shard.note_loaded_index(&sealed);
        // Space that was prewritten and not used. Not worth failing for.
        if let Err(error) = sealed_file.shrink(block_ceil(sealed.summary.get().end_position)).await {
            if error.is_fatal() {
                return Err(self.change_error(error));
            }
            tracing::warn!(%error, "space behind a sealed segment stays allocated");
        }
        Ok(())
    }

    /// With the log settled: the active segment's summary and index, producer state and epochs at the log end.
    async fn write_sidecars(&self) -> Result<(), ChangeError> {
        let storage = &self.shard.storage;
        let (base, log_end, index) = {
            let state = self.state.borrow();
            let active = state.active();
            let summary = active.summary.get();
            let index =
                active.with_index(|index| summary.encode(index)).expect("an active segment's index is in memory");
            (active.base, state.log_end, index)
        };
        let producers = self.producers.borrow().snapshot();
        let epochs = self.epochs.borrow().encode();
        let name = file_name(base, NameKind::Index);
        let result = async {
            sidecar::write(storage, &self.dir, &name, Kind::Index, &index).await?;
            state_snapshot::write(storage, &self.dir, log_end, &producers, &epochs).await?;
            storage.sync_dir(&self.dir).await
        };
        result.await.map_err(|error| self.change_error(error))
    }

    async fn create_segment(
        &self,
        header: &SegmentHeader,
        spare_written: Option<u64>,
    ) -> Result<CreatedSegment<S>, ChangeError> {
        let result = create_segment(&self.shard.storage, &self.dir, header, spare_written).await;
        result.map_err(|error| self.change_error(error))
    }

    pub(super) async fn advance_log_start(self: Rc<Self>, to: Offset) -> Result<(), AdvanceStartError> {
        let log = self.clone();
        let work = async move {
            let mut structure = log.structure.lock().await;
            log.check_open()?;
            let log_end = log.state.borrow().log_end;
            if to > log_end {
                return Err(AdvanceStartError::OutOfRange { to, log_end });
            }
            // A log must not begin behind what survives a power cut.
            let durable = log.progress.wait_for(|| {
                if log.state.borrow().durable_end() >= to {
                    return Some(Ok(()));
                }
                log.check_open().err().map(Err)
            });
            durable.await?;
            Ok(log.raise_log_start(&mut structure, to).await?)
        };
        self.shard.jobs.run(work).await?
    }

    /// Durable when it returns.
    pub(crate) async fn raise_log_start(&self, structure: &mut Structure, to: Offset) -> Result<(), ChangeError> {
        if to <= self.state.borrow().log_start {
            return Ok(());
        }
        let checkpoint = Checkpoint { log_start: to, ..structure.checkpoint };
        self.store_checkpoint(structure, checkpoint).await?;
        self.state.borrow_mut().log_start = to;
        self.epochs.borrow_mut().truncate_from_start(to);
        self.producers.borrow_mut().advance_start(to);
        Ok(())
    }

    pub(super) async fn store_checkpoint(
        &self,
        structure: &mut Structure,
        checkpoint: Checkpoint,
    ) -> Result<(), ChangeError> {
        let stored = structure.checkpoint_file.store(&self.shard.storage, &checkpoint).await;
        stored.map_err(|error| self.change_error(error))?;
        structure.checkpoint = checkpoint;
        Ok(())
    }

    /// Removes a file of the log's directory, if it is there.
    pub(crate) async fn remove_file(&self, name: &str) -> Result<(), ChangeError> {
        let removed = remove_if_there(&self.shard.storage, &self.dir.join(name)).await;
        removed.map_err(|error| self.change_error(error))
    }

    pub(super) async fn close(self: Rc<Self>) -> Result<(), CloseError> {
        let log = self.clone();
        let work = async move {
            let mut structure = log.structure.lock().await;
            log.check_open()?;
            let block = log.block_appends();
            log.settle().await?;
            log.write_sidecars().await?;
            let (end, log_start) = {
                let state = log.state.borrow();
                let position = state.end_position;
                let end = LogPosition { segment_base: state.active().base, position, offset: state.log_end };
                (end, state.log_start)
            };
            let checkpoint = Checkpoint { settled: end, clean_end: Some(end), log_start, ..structure.checkpoint };
            log.store_checkpoint(&mut structure, checkpoint).await?;
            log.end();
            drop(block);
            Ok(())
        };
        self.shard.jobs.run(work).await?
    }

    /// Nothing is appended, committed or read any more.
    fn end(&self) {
        let dropped = {
            let mut state = self.state.borrow_mut();
            state.closed = true;
            state.generation += 1;
            for segment in &state.segments {
                segment.forget_file();
            }
            state.appender.take()
        };
        drop(dropped);
        self.shard.tail_cache.borrow_mut().unregister(self.slot);
        *self.listener.borrow_mut() = None;
        self.progress.notify_all();
        self.shard.room.wake_all();
    }

    pub(super) async fn delete(self: Rc<Self>) -> Result<(), DeleteError> {
        let log = self.clone();
        let work = async move {
            let structure = log.structure.lock().await;
            log.check_open()?;
            let _block = log.block_appends();
            log.shard.note_deleted(structure.checkpoint.incarnation);
            // What waits for a commit is dropped; what is being written must come to its end first.
            log.end();
            log.progress.wait_for(|| (log.state.borrow().is_quiet() || log.check_fatal().is_err()).then_some(())).await;
            log.check_fatal().map_err(ChangeError::Fatal)?;
            let storage = &log.shard.storage;
            let deleted = deleted_name(&log.dir, log.identity.topic_id);
            let changing = log.names.changing().await;
            storage.rename(&log.dir, &deleted).await.map_err(|error| log.change_error(error))?;
            drop(changing);
            storage.sync_dir(&log.shard.root).await.map_err(|error| log.change_error(error))?;
            remove_dir_with_files(storage, &deleted).await.map_err(|error| log.change_error(error))?;
            Ok(())
        };
        self.shard.jobs.run(work).await?
    }

    fn check_fatal(&self) -> Result<(), FatalIo> {
        self.shard.check_fatal()
    }
}

/// A segment's file, ready for appends.
pub(crate) struct CreatedSegment<S: Storage> {
    pub(crate) file: Rc<S::File>,
    pub(crate) allocated: u64,
    /// As far as it was written and synced before.
    pub(crate) clean_until: u64,
}

/// A new segment's file that does not have its name yet.
pub(crate) struct StagedSegment<S: Storage> {
    pub(crate) path: PathBuf,
    pub(crate) segment: CreatedSegment<S>,
}

/// Writes and syncs the file of a new segment. A spare is overwritten in place.
pub(crate) async fn stage_segment<S: Storage>(
    storage: &S,
    dir: &Path,
    header: &SegmentHeader,
    spare_written: Option<u64>,
) -> Result<StagedSegment<S>, IoError> {
    let (path, file, written) = match spare_written {
        Some(written) => {
            let spare = dir.join(SPARE_FILE);
            let file = storage.open(&spare, crate::file::Access::ReadWrite).await?;
            (spare, file, written)
        }
        None => {
            let name = file_name(header.base_offset, NameKind::Log);
            let staged = dir.join(format!("{name}{STAGED_SUFFIX}"));
            let file = storage.create(&staged).await?;
            file.allocate(FIRST_FRAME_POSITION).await?;
            (staged, file, FIRST_FRAME_POSITION)
        }
    };
    let mut block = storage.allocate_buffer(BLOCK_BYTES);
    block.as_mut().copy_from_slice(&header.encode());
    file.write_at(block, 0).await?;
    file.sync_data().await?;
    let allocated = block_floor(file.size().await?);
    let clean_until = block_floor(written).min(allocated);
    Ok(StagedSegment { path, segment: CreatedSegment { file: Rc::new(file), allocated, clean_until } })
}

/// Gives a staged segment that begins at `base` its name, durably when this returns.
pub(crate) async fn place_segment<S: Storage>(
    storage: &S,
    dir: &Path,
    base: Offset,
    staged: &Path,
) -> Result<(), IoError> {
    storage.rename(staged, &dir.join(file_name(base, NameKind::Log))).await?;
    storage.sync_dir(dir).await
}

/// Creates the file of a new segment; it and its name are durable when this returns. A spare is overwritten in place.
pub(crate) async fn create_segment<S: Storage>(
    storage: &S,
    dir: &Path,
    header: &SegmentHeader,
    spare_written: Option<u64>,
) -> Result<CreatedSegment<S>, IoError> {
    let StagedSegment { path, segment } = stage_segment(storage, dir, header, spare_written).await?;
    place_segment(storage, dir, header.base_offset, &path).await?;
    Ok(segment)
}

/// The bytes of the block that contains `position`, up to it.
pub(crate) async fn read_tail<F: StorageFile>(file: &F, position: u64) -> Result<Vec<u8>, IoError> {
    let start = block_floor(position);
    if start == position {
        return Ok(Vec::new());
    }
    let block = file.read_at(start, BLOCK_BYTES).await?;
    Ok(block[..(position - start) as usize].to_vec())
}

fn deleted_name(dir: &Path, topic_id: protocol::TopicId) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // A topic of the same name may be deleted again before this directory is gone.
    let ending = format!(".{}{DELETED_SUFFIX}", topic_id.0.simple());
    // A topic's name alone may be nearly as long as a file's. The end tells its partitions apart.
    let from = name.len().saturating_sub(NAME_BYTES_MAX - ending.len());
    let kept = &name[name.ceil_char_boundary(from)..];
    dir.with_file_name(format!("{kept}{ending}"))
}

/// What somebody else has removed meanwhile is no error: at a start, every shard removes what is its own.
async fn remove_dir_with_files<S: Storage>(storage: &S, dir: &Path) -> Result<(), IoError> {
    let names = match storage.list_dir(dir).await {
        Err(error) if error.is_not_found() => return Ok(()),
        names => names?,
    };
    for name in names {
        remove_if_there(storage, &dir.join(name)).await?;
    }
    match storage.remove_dir(dir).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

/// Removes what deletions that a crash interrupted have left below the data directory. Says how many directories.
///
/// To be called at start, by one shard, before topics are created.
pub async fn remove_deleted<S: Storage>(storage: &S, root: &Path) -> Result<usize, IoError> {
    let mut removed = 0;
    for name in storage.list_dir(root).await? {
        if name.ends_with(DELETED_SUFFIX) {
            remove_dir_with_files(storage, &root.join(name)).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::TopicId;
    use uuid::Uuid;

    #[test]
    fn a_deleted_log_has_a_name_that_a_file_may_have() {
        let id = TopicId(Uuid::from_u128(7));
        let short = deleted_name(Path::new("/data/t-0"), id);
        assert_eq!(short, Path::new("/data/t-0.00000000000000000000000000000007.deleted"));
        let longest = |partition: i32| {
            let name = format!("{}-{partition}", "x".repeat(249));
            deleted_name(&Path::new("/data").join(name), id)
        };
        let name = longest(100_000).file_name().unwrap().to_owned();
        assert!(
            name.len() <= 255 && name.to_str().unwrap().ends_with("x-100000.00000000000000000000000000000007.deleted")
        );
        assert_ne!(longest(0), longest(1));
    }
}
