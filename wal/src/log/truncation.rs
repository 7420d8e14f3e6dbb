//! Cutting an open log at an offset.
//!
//! A cut is a fact with the checkpoint that says so: its incarnation is above that of every frame behind the cut, so
//! nothing there is data any more, whatever becomes of the files.
//!
//! **A compacted segment** cannot be appended to: its header says how far it reaches. One that is cut into is replaced by a copy
//! of what stays. The copy is made before the checkpoint is stored, and gets the segment's name after; an open that finds the
//! checkpoint and not the copy makes it again.
//!
//! **Epochs that wrote nothing.** A leader's epoch begins at the log end even before it writes ([`crate::Log::assign_epoch`]).
//! If another broker leads next, the two logs disagree on that epoch though no record differs, so every truncation forgets
//! epochs that begin at the log end, also one that cuts no record (as Kafka's does). That is done in memory alone. A
//! snapshot that was written while the epoch was known still has it, and an open that finds no batch behind the snapshot
//! brings it back. That is the state before the truncation, not a wrong one: whoever follows begins by comparing epochs
//! with its leader, and so truncates again. An open that does find a batch behind the snapshot drops what the snapshot knows
//! to begin there: the batch says which epoch wrote it.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::{LeaderEpoch, Offset};

use crate::checkpoint::{Checkpoint, LogPosition};
use crate::file::{Access, IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::Incarnation;
use crate::jobs::LogClosed;
use crate::log::maintenance::{StagedSegment, place_segment, stage_segment};
use crate::log::{LogInner, ZEROING_NONE, read_tail};
use crate::producer_state::Truncation;
use crate::recovery::{self, ScanError};
use crate::segment::{FIRST_FRAME_POSITION, NameKind, Segment, SegmentHeader, file_name, parse_file_name};
use crate::shard::FatalIo;

/// Why the log could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    #[error("a cut at {end} would take away what lies below the log start offset {log_start}")]
    BelowStart { end: Offset, log_start: Offset },
    /// The log was found damaged while its end was looked for; nothing was cut.
    #[error(transparent)]
    Damaged(#[from] Box<recovery::Corruption>),
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

impl<S: Storage> LogInner<S> {
    pub(super) async fn truncate_to(self: Rc<Self>, end: Offset) -> Result<Offset, TruncateError> {
        let log = self.clone();
        self.shard.jobs.run(async move { log.truncate(end).await }).await?
    }

    async fn truncate(self: &Rc<Self>, end: Offset) -> Result<Offset, TruncateError> {
        let mut structure = self.structure.lock().await;
        self.check_open()?;
        let (log_start, log_end) = (self.state.borrow().log_start, self.state.borrow().log_end);
        if end >= log_end {
            self.cut_epochs(log_end);
            return Ok(log_end);
        }
        let _block = self.block_appends();
        self.settle().await?;
        if end < log_start {
            return Err(TruncateError::BelowStart { end, log_start });
        }
        let storage = &self.shard.storage;
        let segment = {
            let state = self.state.borrow();
            state.segments[state.segment_at(end)].clone()
        };
        let scan = recovery::scan_up_to(self, &segment, end).await.map_err(|error| match error {
            ScanError::Io(error) => self.change_error(error).into(),
            ScanError::Corrupt(corruption) => TruncateError::Damaged(corruption),
        })?;
        let position = scan.summary.end_position;
        let new_end = scan.summary.next_offset;
        if new_end < log_start {
            return Err(TruncateError::BelowStart { end: new_end, log_start });
        }
        let incarnation = Incarnation(structure.checkpoint.incarnation.0 + 1);
        let header = SegmentHeader { identity: self.identity, base_offset: segment.base, incarnation, compacted: None };
        let path = self.dir.join(file_name(segment.base, NameKind::Log));
        let (staged, file) = if segment.compacted.is_some() {
            let copy = stage_prefix(storage, &self.dir, &header, position, |_| {}).await;
            let (staged, file) = copy.map_err(|error| self.change_error(error))?;
            (Some(staged), file)
        } else {
            let _opening = self.names.opening().await;
            (None, storage.open(&path, Access::ReadWrite).await.map_err(|error| self.change_error(error))?)
        };
        let file = Rc::new(file);
        let tail = read_tail(&*file, position).await.map_err(|error| self.change_error(error))?;
        let allocated = block_floor(file.size().await.map_err(|error| self.change_error(error))?);

        self.lower_progress(new_end).await?;

        // From here on the cut is a fact, whatever becomes of the files behind it.
        let settled = LogPosition { segment_base: segment.base, position, offset: new_end };
        let checkpoint = Checkpoint { incarnation, settled, ..structure.checkpoint };
        self.store_checkpoint(&mut structure, checkpoint).await?;
        if let Some(staged) = staged {
            let changing = self.names.changing().await;
            if let Err(error) = place_segment(storage, &self.dir, segment.base, &staged).await {
                // What is cut is cut, and what stays has no file that could be appended to before the next open.
                self.shard.fail(error);
                self.shard.check_fatal()?;
            }
            drop(changing);
        }

        let doomed: Vec<Rc<Segment<S>>> = {
            let mut state = self.state.borrow_mut();
            let at = state.segment_at(end);
            let doomed = state.segments.drain(at + 1..).collect();
            let active = Segment::new(
                self.shard.next_segment_uid(),
                &header,
                scan.summary,
                Some(file.clone()),
                Some(scan.index),
            );
            *state.segments.back_mut().expect("the segment at the cut stays") = Rc::new(active);
            state.active_file = file;
            state.tail = tail;
            state.end_position = position;
            state.written_position = position;
            state.allocated = allocated;
            state.clean_until = block_ceil(position);
            state.ahead = ZEROING_NONE;
            state.incarnation = incarnation;
            state.generation += 1;
            state.cut_ends(new_end);
            doomed
        };
        self.shard.tail_cache.borrow_mut().truncate(self.slot, new_end);
        self.cut_epochs(new_end);
        if self.producers.borrow_mut().truncate_to(new_end) == Truncation::RebuildNeeded {
            let rebuilt = recovery::rebuild_state(self, new_end).await.map_err(|error| match error {
                ScanError::Io(error) => self.change_error(error).into(),
                ScanError::Corrupt(corruption) => TruncateError::Damaged(corruption),
            })?;
            *self.producers.borrow_mut() = rebuilt.producers;
        }
        let changing = self.names.changing().await;
        for gone in doomed {
            self.remove_file(&file_name(gone.base, NameKind::Log)).await?;
            self.remove_file(&file_name(gone.base, NameKind::Index)).await?;
        }
        self.remove_file(&file_name(segment.base, NameKind::Index)).await?;
        let names = storage.list_dir(&self.dir).await.map_err(|error| self.change_error(error))?;
        for (offset, kind) in names.iter().filter_map(|name| parse_file_name(name)) {
            if kind == NameKind::State && offset > new_end {
                self.remove_file(&file_name(offset, kind)).await?;
            }
        }
        drop(changing);
        storage.sync_dir(&self.dir).await.map_err(|error| self.change_error(error))?;
        Ok(new_end)
    }

    /// Forgets the epochs that begin at or after `end`.
    fn cut_epochs(&self, end: Offset) {
        let mut epochs = self.epochs.borrow_mut();
        epochs.truncate_from_end(end);
        self.state.borrow_mut().last_epoch = epochs.latest().map_or(LeaderEpoch(0), |entry| entry.epoch);
    }
}

/// Bytes that are copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Replaces the segment that begins where `header` does by a copy of its frames before `end`, with that header. Durable when
/// it returns.
pub(crate) async fn copy_prefix<S: Storage>(
    storage: &S,
    dir: &Path,
    header: &SegmentHeader,
    end: u64,
    on_bytes: impl Fn(u64),
) -> Result<(), IoError> {
    let (staged, file) = stage_prefix(storage, dir, header, end, on_bytes).await?;
    file.close().await?;
    place_segment(storage, dir, header.base_offset, &staged).await
}

/// The copy, written and synced under another name.
async fn stage_prefix<S: Storage>(
    storage: &S,
    dir: &Path,
    header: &SegmentHeader,
    end: u64,
    on_bytes: impl Fn(u64),
) -> Result<(PathBuf, S::File), IoError> {
    let source = storage.open(&dir.join(file_name(header.base_offset, NameKind::Log)), Access::Read).await?;
    let StagedSegment { path, segment } = stage_segment(storage, dir, header, None).await?;
    let copy = Rc::into_inner(segment.file).expect("nobody else has it yet");
    copy.allocate(block_ceil(end)).await?;
    let mut position = FIRST_FRAME_POSITION;
    while position < end {
        let len = COPY_BYTES.min(block_ceil(end) - position) as usize;
        let bytes = source.read_at(position, len).await?;
        let mut buffer = storage.allocate_buffer(len);
        buffer.as_mut().fill(0);
        let kept = ((end - position) as usize).min(bytes.len());
        buffer.as_mut()[..kept].copy_from_slice(&bytes[..kept]);
        copy.write_at(buffer, position).await?;
        position += len as u64;
        on_bytes(len as u64);
    }
    copy.sync_data().await?;
    source.close().await?;
    Ok((path, copy))
}
