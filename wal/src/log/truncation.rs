//! Cutting an open log at an offset.
//!
//! A cut is a fact with the checkpoint that says so: its incarnation is above that of every frame behind the cut, so
//! nothing there is data any more, whatever becomes of the files.
//!
//! **Epochs that wrote nothing.** A leader's epoch begins at the log end even before it writes ([`crate::Log::assign_epoch`]).
//! If another broker leads next, the two logs disagree on that epoch though no record differs, so every truncation forgets
//! epochs that begin at the log end, also one that cuts no record (as Kafka's does). That is done in memory alone. A
//! snapshot that was written while the epoch was known still has it, and an open that finds no batch behind the snapshot
//! brings it back. That is the state before the truncation, not a wrong one: whoever follows begins by comparing epochs
//! with its leader, and so truncates again. An open that does find a batch behind the snapshot drops what the snapshot knows
//! to begin there: the batch says which epoch wrote it.

use std::rc::Rc;

use protocol::{LeaderEpoch, Offset};

use crate::checkpoint::{Checkpoint, LogPosition};
use crate::file::{Access, IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::Incarnation;
use crate::jobs::LogClosed;
use crate::log::{LogInner, ZEROING_NONE, read_tail};
use crate::producer_state::Truncation;
use crate::recovery::{self, ScanError};
use crate::segment::{NameKind, Segment, file_name, parse_file_name};
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
        let path = self.dir.join(file_name(segment.base, NameKind::Log));
        let opening = self.names.opening().await;
        let file = storage.open(&path, Access::ReadWrite).await;
        drop(opening);
        let file = Rc::new(file.map_err(|error| self.change_error(error))?);
        let tail = read_tail(&*file, position).await.map_err(|error| self.change_error(error))?;
        let allocated = block_floor(file.size().await.map_err(|error| self.change_error(error))?);

        // From here on the cut is a fact, whatever becomes of the files behind it.
        let incarnation = Incarnation(structure.checkpoint.incarnation.0 + 1);
        let settled = LogPosition { segment_base: segment.base, position, offset: new_end };
        let checkpoint = Checkpoint { incarnation, settled, ..structure.checkpoint };
        self.store_checkpoint(&mut structure, checkpoint).await?;

        let doomed: Vec<Rc<Segment<S>>> = {
            let mut state = self.state.borrow_mut();
            let at = state.segment_at(end);
            let doomed = state.segments.drain(at + 1..).collect();
            let active = Segment::new(
                self.shard.next_segment_uid(),
                segment.base,
                segment.seed,
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
