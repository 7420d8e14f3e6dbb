//! Replacing an open log by an empty one that begins at some offset.
//!
//! Needed where nothing of a replica is of use any more: it ends below where its leader begins.
//!
//! The checkpoint decides, as for a truncation: from the moment that it is durable, segments of earlier incarnations are
//! not of this log ([`Checkpoint::first_incarnation`]), so the new log need not come before the old one has gone. Order:
//!
//! 1. the new segment's file is written and synced under another name, since that may fail for want of space;
//! 2. the checkpoint is stored;
//! 3. every file of the old log is removed, its snapshots too: one at `offset` would pass for the new log's;
//! 4. the new segment gets its name.
//!
//! An open that finds the checkpoint of 2. removes what is left of the old log. If it finds no segment, 3. may not have
//! come to its end, and the sidecars are removed as well; a segment is there only after 3. was durable. Since nothing is
//! appended before 4. is durable, an error from 3. on ends the shard, whatever it is: the old log is gone, and the next
//! open makes the new one.

use std::path::Path;
use std::rc::Rc;

use protocol::Offset;

use crate::checkpoint::{Checkpoint, LogPosition};
use crate::compaction::forget_progress;
use crate::file::{IoError, Storage};
use crate::frame::Incarnation;
use crate::jobs::LogClosed;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::log::maintenance::{CreatedSegment, StagedSegment, place_segment, stage_segment};
use crate::log::{ActiveSegment, LogInner};
use crate::producer_state::ProducerStateTable;
use crate::retention::SPARE_FILE;
use crate::segment::{FIRST_FRAME_POSITION, Segment, SegmentHeader, SegmentSummary, parse_file_name};
use crate::segment_index::SegmentIndex;
use crate::shard::FatalIo;

/// Why the log did not begin anew.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    #[error("a log cannot begin at offset {offset}, expected one from 0 up")]
    Negative { offset: Offset },
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

impl<S: Storage> LogInner<S> {
    pub(super) async fn restart_at(self: Rc<Self>, offset: Offset) -> Result<(), RestartError> {
        let log = self.clone();
        self.shard.jobs.run(async move { log.restart(offset).await }).await?
    }

    async fn restart(self: &Rc<Self>, offset: Offset) -> Result<(), RestartError> {
        if offset < Offset::ZERO {
            return Err(RestartError::Negative { offset });
        }
        let mut structure = self.structure.lock().await;
        self.check_open()?;
        let _block = self.block_appends();
        self.settle().await?;
        let storage = &self.shard.storage;
        let incarnation = Incarnation(structure.checkpoint.incarnation.0 + 1);
        let header = SegmentHeader { identity: self.identity, base_offset: offset, incarnation, compacted: None };
        let staged = stage_segment(storage, &self.dir, &header, None).await;
        let StagedSegment { path, segment } = staged.map_err(|error| self.change_error(error))?;

        forget_progress(storage, &self.dir).await.map_err(|error| self.change_error(error))?;
        self.first_dirty.set(Offset::ZERO);

        // From here on the old log is gone, whatever becomes of its files.
        let settled = LogPosition { segment_base: offset, position: FIRST_FRAME_POSITION, offset };
        let checkpoint = Checkpoint {
            incarnation,
            first_incarnation: incarnation,
            log_start: offset,
            settled,
            clean_end: None,
            ..structure.checkpoint
        };
        self.store_checkpoint(&mut structure, checkpoint).await?;
        structure.spare_written = None;
        self.begin_at(&header, segment);
        if let Err(error) = self.replace_files(offset, &path).await {
            self.shard.fail(error);
            self.shard.check_fatal()?;
        }
        Ok(())
    }

    /// In memory.
    fn begin_at(&self, header: &SegmentHeader, created: CreatedSegment<S>) {
        let offset = header.base_offset;
        let CreatedSegment { file, allocated, clean_until } = created;
        let index = SegmentIndex::new(self.config.get().index_interval_bytes);
        let segment = Segment::new(
            self.shard.next_segment_uid(),
            header,
            SegmentSummary::empty(offset),
            Some(file.clone()),
            Some(index),
        );
        let active = ActiveSegment { file, tail: Vec::new(), allocated, clean_until };
        self.state.borrow_mut().restart(segment, active, header.incarnation);
        self.shard.tail_cache.borrow_mut().truncate(self.slot, Offset::ZERO);
        *self.epochs.borrow_mut() = LeaderEpochCache::new();
        *self.producers.borrow_mut() = ProducerStateTable::new(offset);
    }

    /// Removes every file of the old log and gives the staged segment its name.
    async fn replace_files(&self, offset: Offset, staged: &Path) -> Result<(), IoError> {
        let storage = &self.shard.storage;
        let _changing = self.names.changing().await;
        for name in storage.list_dir(&self.dir).await? {
            if parse_file_name(&name).is_some() || name == SPARE_FILE {
                storage.remove(&self.dir.join(name)).await?;
            }
        }
        storage.sync_dir(&self.dir).await?;
        place_segment(storage, &self.dir, offset, staged).await
    }
}
