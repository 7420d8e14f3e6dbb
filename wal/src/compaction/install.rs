//! Letting a compacted segment take the place of those that it was made of.
//!
//! Order on disk, each step durable before the next:
//!
//! 1. the indexes of the old segments go: the one at the new segment's base would describe the old one's positions. An open
//!    that finds a sealed segment without an index builds it;
//! 2. the new segment gets the name of the first old one. From here on it is the log's, and the others are superseded: an open
//!    removes them by what its header says;
//! 3. its index is written, and the other old segments go, with or without it: what they take is given back on a full disk too.
//!    Then the index is tried once more.
//!
//! The log's structure is locked meanwhile, so that none of them is cut, deleted or replaced; appends go on.

use std::rc::Rc;

use super::CompactionError;
use super::writer::WrittenSegment;
use crate::file::{IoError, Storage, remove_if_there};
use crate::log::LogInner;
use crate::segment::{NameKind, Segment, file_name};
use crate::sidecar::{self, Kind};

impl<S: Storage> LogInner<S> {
    /// Replaces `old`, consecutive segments of this log, unless it was changed since they were read.
    pub(super) async fn install_compacted(
        self: &Rc<Self>,
        old: Vec<Rc<Segment<S>>>,
        new: WrittenSegment,
    ) -> Result<(), CompactionError> {
        let log = self.clone();
        let work = async move { log.replace_segments(&old, new).await };
        self.shard.jobs.run(work).await?
    }

    async fn replace_segments(&self, old: &[Rc<Segment<S>>], new: WrittenSegment) -> Result<(), CompactionError> {
        let structure = self.structure.lock().await;
        self.check_open()?;
        let first = self.state.borrow().segments.iter().position(|segment| segment.uid == old[0].uid);
        let unchanged = first.filter(|first| {
            let state = self.state.borrow();
            let found = state.segments.range(*first..).map(|segment| segment.uid);
            // The active one is never among them.
            first + old.len() < state.segments.len() && found.take(old.len()).eq(old.iter().map(|segment| segment.uid))
        });
        let (Some(first), true) = (unchanged, new.header.incarnation == structure.checkpoint.incarnation) else {
            self.shard.storage.remove(&new.path).await.map_err(|error| self.change_error(error))?;
            return Err(CompactionError::Changed);
        };
        let result = self.replace_segment_files(first, old, new).await;
        result.map_err(|error| self.change_error(error).into())
    }

    async fn replace_segment_files(
        &self,
        first: usize,
        old: &[Rc<Segment<S>>],
        new: WrittenSegment,
    ) -> Result<(), IoError> {
        let storage = &self.shard.storage;
        let changing = self.names.changing().await;
        if let Err(error) = self.name_segment(old, &new).await {
            new.discard(storage).await;
            return Err(error);
        }
        let WrittenSegment { header, summary, index, .. } = new;
        // Whoever opens a segment from here on finds the new one.
        let segment = Rc::new(Segment::new(self.shard.next_segment_uid(), &header, summary, None, None));
        {
            let mut state = self.state.borrow_mut();
            state.segments.drain(first + 1..first + old.len());
            state.segments[first] = segment;
            state.generation += 1;
        }
        for segment in old {
            segment.forget_file();
        }
        self.shard.tail_cache.borrow_mut().forget_before(self.slot, summary.next_offset);
        drop(changing);
        storage.sync_dir(&self.dir).await?;

        let name = file_name(header.base_offset, NameKind::Index);
        let encoded = summary.encode(&index);
        let indexed = sidecar::write(storage, &self.dir, &name, Kind::Index, &encoded).await;
        if indexed.as_ref().is_err_and(|error| error.is_fatal()) {
            return indexed;
        }
        let changing = self.names.changing().await;
        for segment in &old[1..] {
            for kind in [NameKind::Log, NameKind::State] {
                remove_if_there(storage, &self.dir.join(file_name(segment.base, kind))).await?;
            }
        }
        storage.sync_dir(&self.dir).await?;
        drop(changing);
        match indexed {
            Ok(()) => Ok(()),
            // There may be room now. Without an index every read of the segment would look for its place from the begin on.
            Err(_) => sidecar::write(storage, &self.dir, &name, Kind::Index, &encoded).await,
        }
    }

    /// Lets the new file have the name of the first old one. Where that fails, it has none, and the old ones are as they were but
    /// for their indexes.
    async fn name_segment(&self, old: &[Rc<Segment<S>>], new: &WrittenSegment) -> Result<(), IoError> {
        let storage = &self.shard.storage;
        for segment in old {
            remove_if_there(storage, &self.dir.join(file_name(segment.base, NameKind::Index))).await?;
        }
        storage.sync_dir(&self.dir).await?;
        storage.rename(&new.path, &self.dir.join(file_name(new.header.base_offset, NameKind::Log))).await
    }
}
