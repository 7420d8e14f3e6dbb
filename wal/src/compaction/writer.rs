//! Writing a compacted segment, under a name that is none of a segment's.

use std::path::{Path, PathBuf};

use protocol::Offset;
use protocol::record_batch::BatchHeader;

use crate::file::{BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil};
use crate::frame::{self, FrameInfo, FrameSeed, Incarnation};
use crate::log::LogIdentity;
use crate::segment::{Compacted, FIRST_FRAME_POSITION, SegmentHeader, SegmentSummary};
use crate::segment_index::SegmentIndex;
use crate::sidecar::STAGED_SUFFIX;

/// Bytes of a write.
const WRITE_BYTES: usize = 512 << 10;
/// Steps in which the file gets its space.
const ALLOCATE_BYTES: u64 = 16 << 20;

/// The file's name without [`STAGED_SUFFIX`]; there is one such file at a time in a log's directory.
const STAGED_NAME: &str = "compacted";

/// A segment that is being written.
pub(super) struct SegmentWriter<S: Storage> {
    storage: S,
    file: S::File,
    path: PathBuf,
    identity: LogIdentity,
    base: Offset,
    seed: FrameSeed,
    summary: SegmentSummary,
    index: SegmentIndex,
    frames: u64,
    allocated: u64,
    /// Frames that are not written yet, and where they begin: at a block.
    pending: Vec<u8>,
    pending_position: u64,
}

/// A segment that was written and synced, and has no name yet.
pub(super) struct WrittenSegment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) summary: SegmentSummary,
    pub(super) index: SegmentIndex,
}

impl<S: Storage> SegmentWriter<S> {
    /// For a segment of this log that begins at `base`.
    pub(super) async fn create(
        storage: &S,
        dir: &Path,
        identity: LogIdentity,
        base: Offset,
        index_interval_bytes: u64,
    ) -> Result<SegmentWriter<S>, IoError> {
        let path = dir.join(format!("{STAGED_NAME}{STAGED_SUFFIX}"));
        let file = storage.create(&path).await?;
        Ok(SegmentWriter {
            storage: storage.clone(),
            file,
            path,
            identity,
            base,
            seed: FrameSeed::new(identity.topic_id, identity.partition, base),
            summary: SegmentSummary::empty(base),
            index: SegmentIndex::new(index_interval_bytes),
            frames: 0,
            allocated: 0,
            pending: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES),
            pending_position: FIRST_FRAME_POSITION,
        })
    }

    /// Adds a batch that lay in the frame `source`. Its frame stands for everything behind the one before.
    pub(super) async fn append(
        &mut self,
        source: &FrameInfo,
        batch: &[u8],
        header: &BatchHeader,
    ) -> Result<(), IoError> {
        let base_offset = self.summary.next_offset;
        let info = FrameInfo {
            payload_bytes: batch.len() as u32,
            base_offset,
            // More than that was synced when the segment was written; no frame may claim more than its own begin.
            synced_before: source.synced_before.min(base_offset),
            ..*source
        };
        let position = self.pending_position + self.pending.len() as u64;
        let crc = frame::payload_crc(self.seed, &[batch]);
        self.pending.extend_from_slice(&frame::encode_header(&info, crc));
        self.pending.extend_from_slice(batch);
        let end = position + info.frame_bytes();
        self.pending.resize((end - self.pending_position) as usize, 0);
        self.index.note(base_offset, position, self.summary.max_timestamp);
        // When records were appended is known of the segments that this one is made of.
        self.summary.note(header, end, 0);
        self.frames += 1;
        while self.pending.len() >= WRITE_BYTES {
            self.write(WRITE_BYTES).await?;
        }
        Ok(())
    }

    /// Writes the first bytes that wait, whole blocks.
    async fn write(&mut self, bytes: usize) -> Result<(), IoError> {
        let end = self.pending_position + bytes as u64;
        if end > self.allocated {
            // What was appended so far stays: only the file being written may find no space.
            self.allocated = end + ALLOCATE_BYTES;
            self.file.allocate(self.allocated).await?;
        }
        let mut buffer = self.storage.allocate_buffer(bytes);
        buffer.as_mut().copy_from_slice(&self.pending[..bytes]);
        self.file.write_at(buffer, self.pending_position).await?;
        self.pending.drain(..bytes);
        self.pending_position = end;
        Ok(())
    }

    /// Bytes of frames so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.summary.size_bytes()
    }

    /// Writes what is left and the header, and syncs all of it. Where that fails, nothing stays.
    ///
    /// # Panics
    /// If nothing was appended.
    pub(super) async fn finish(mut self, incarnation: Incarnation) -> Result<WrittenSegment, IoError> {
        let header = match self.seal(incarnation).await {
            Ok(header) => header,
            Err(error) => {
                self.discard().await;
                return Err(error);
            }
        };
        let SegmentWriter { storage, file, path, summary, index, .. } = self;
        let written = WrittenSegment { path, header, summary, index };
        match file.close().await {
            Ok(()) => Ok(written),
            Err(error) => {
                written.discard(&storage).await;
                Err(error)
            }
        }
    }

    async fn seal(&mut self, incarnation: Incarnation) -> Result<SegmentHeader, IoError> {
        assert!(self.frames > 0, "a compacted segment keeps its last batch");
        let padded = self.pending.len().next_multiple_of(BLOCK_BYTES);
        self.pending.resize(padded, 0);
        if padded > 0 {
            self.write(padded).await?;
        }
        let SegmentSummary { next_offset: end_offset, end_position, .. } = self.summary;
        let compacted = Some(Compacted { end_offset, end_position, frames: self.frames });
        let header = SegmentHeader { identity: self.identity, base_offset: self.base, incarnation, compacted };
        let mut block = self.storage.allocate_buffer(BLOCK_BYTES);
        block.as_mut().copy_from_slice(&header.encode());
        self.file.write_at(block, 0).await?;
        self.file.shrink(block_ceil(end_position)).await?;
        self.file.sync_data().await?;
        Ok(header)
    }

    /// Removes what was written: the disk may be full, and nothing else would before the next open.
    pub(super) async fn discard(self) {
        if let Err(error) = self.file.close().await {
            tracing::warn!(%error, "what a compaction has written could not be closed");
        }
        remove(&self.storage, &self.path).await;
    }
}

impl WrittenSegment {
    /// Removes it, as long as it has no name.
    pub(super) async fn discard<S: Storage>(&self, storage: &S) {
        remove(storage, &self.path).await;
    }
}

async fn remove<S: Storage>(storage: &S, path: &Path) {
    if let Err(error) = storage.remove(path).await {
        tracing::warn!(%error, "what a compaction has written stays until the next start");
    }
}
