//! Reading: from the tail cache where possible, else from segments in large chunks, each frame checked on the way.
//!
//! Contract: what is handed out is whole batches, byte for byte as they were appended, of offsets below the written end.
//! A frame whose checksum does not fit, or that does not continue the one before, is [`ReadError::Corrupt`]; the batches
//! before it are still served by a read that ends there.
//!
//! A read that begins where a recent one ended is taken for a sequential reader's, and the chunks behind it are fetched
//! in the background.
//!
//! Deliberately absent: batches' content; which record of a batch has a timestamp is the caller's to find.

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use protocol::Offset;
use protocol::record_batch::OFFSET_RECORD_COUNT;

use crate::compaction::CompactionError;
use crate::file::{BLOCK_BYTES, IoError, IoOp, Storage};
use crate::frame::{FrameDamage, FrameInfo};
use crate::jobs::LogClosed;
use crate::log::{LogInner, ReadBatches};
use crate::read_cache::CHUNK_BYTES;
use crate::recovery::Damage;
use crate::segment::{NameKind, Segment, SegmentSummary, file_name};
use crate::segment_index::SegmentIndex;
use crate::sidecar::{self, Content, Kind};
use crate::tail_cache::record_count;

mod by_timestamp;
mod cursor;
mod last_batch;

use self::cursor::FrameCursor;

/// Fetched in the background behind a sequential read.
const READ_AHEAD_CHUNKS: u64 = 8;
/// Loaded at once for a read, whatever its `max_bytes`; it goes on in steps of this.
const LOAD_BYTES_MAX: u64 = 4 << 20;

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Kafka: `OFFSET_OUT_OF_RANGE`.
    #[error("offset {offset} is not between log start offset {start} and log end offset {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error(
        "{} is damaged at byte {position}: expected the frame with offset {offset}, found {found}. \
         Restore the partition from a replica or a backup; `ringlog wal verify` shows what is left",
        path.display()
    )]
    Corrupt { path: PathBuf, position: u64, offset: Offset, found: Damage },
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// What a read asks for.
struct Bounds {
    from: Offset,
    up_to: Offset,
    max_bytes: usize,
    first_max: usize,
}

/// What was read of a segment.
#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    records: u64,
    /// See [`ReadBatches::has_gaps`].
    has_gaps: bool,
    /// See [`ReadBatches::too_large_bytes`].
    too_large_bytes: usize,
}

impl Collected {
    fn push(&mut self, info: &FrameInfo, batch: &[u8]) {
        let base_offset = batch.first_chunk().map(|bytes| Offset(i64::from_be_bytes(*bytes)));
        self.has_gaps |= base_offset != Some(info.base_offset);
        self.records += record_count(batch.get(OFFSET_RECORD_COUNT..).unwrap_or_default());
        self.bytes.extend_from_slice(batch);
    }
}

/// Appends the wanted batches of the cursor's segment to `out`; says where to read on.
async fn collect<S: Storage>(
    cursor: &mut FrameCursor<'_, S>,
    bounds: &Bounds,
    out: &mut Collected,
) -> Result<Offset, ReadError> {
    let mut next_offset = bounds.from;
    // One load for what is likely to be read, not one per chunk.
    let expected_end = cursor.position + (bounds.max_bytes as u64).min(LOAD_BYTES_MAX) + BLOCK_BYTES as u64;
    while let Some(info) = cursor.peek().await? {
        if info.last_offset < bounds.from {
            cursor.skip(&info);
            continue;
        }
        let first = out.bytes.is_empty();
        let bytes = info.payload_bytes as usize;
        if first && bytes > bounds.max_bytes.max(bounds.first_max) && info.next_offset() <= bounds.up_to {
            // Not even loaded: whoever sets the limits has no memory for it.
            out.too_large_bytes = bytes;
            return Ok(next_offset);
        }
        if first {
            cursor.load(cursor.position.max(expected_end)).await?;
            // Whatever is concluded from this frame, nothing to read included, is concluded from a good one.
            cursor.batch(&info).await?;
            if info.base_offset > bounds.from {
                return Err(cursor.corrupt(Damage::OffsetGap { found: info.base_offset }));
            }
        }
        let fits = first || out.bytes.len() + bytes <= bounds.max_bytes;
        if info.next_offset() > bounds.up_to || !fits {
            return Ok(next_offset);
        }
        if first {
            let left = (cursor.limit - cursor.position).min(LOAD_BYTES_MAX) as usize;
            out.bytes.reserve(bounds.max_bytes.min(left).max(bytes));
            out.push(&info, cursor.payload(&info));
        } else {
            out.push(&info, cursor.batch(&info).await?);
        }
        next_offset = info.next_offset();
        cursor.skip(&info);
    }
    // A read begins below what is written, in the segment that has it.
    if out.bytes.is_empty() { Err(cursor.corrupt(FrameDamage::Unwritten)) } else { Ok(next_offset) }
}

impl<S: Storage> LogInner<S> {
    pub(crate) fn read_cached(
        &self,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        first_max: usize,
    ) -> Option<ReadBatches> {
        let state = self.state.borrow();
        if state.closed || from < state.log_start || from > state.log_end {
            return None;
        }
        if from >= up_to.min(state.log_end) {
            return Some(ReadBatches { next_offset: from, ..ReadBatches::default() });
        }
        let found = self.shard.tail_cache.borrow().read(self.slot, from, up_to, max_bytes, first_max);
        self.shard.metrics.tail_hits.add(found.is_some().into());
        found
    }

    pub(crate) async fn read(
        self: &Rc<Self>,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        first_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        loop {
            self.check_range(from)?;
            if let Some(found) = self.read_cached(from, up_to, max_bytes, first_max) {
                return Ok(found);
            }
            // Appended, not written yet and not cached any more: the commit that writes it is under way, or it is in the
            // journal only.
            self.wait_written(Offset(from.0 + 1).min(up_to)).await?;
            let generation = self.state.borrow().generation;
            self.shard.metrics.tail_misses.increment();
            let result = self.read_segments(from, up_to, max_bytes, first_max).await;
            let changed = self.state.borrow().generation != generation;
            match result {
                // The segment was truncated or deleted meanwhile: what was read says nothing.
                Err(_) if changed => continue,
                result => return result,
            }
        }
    }

    fn check_range(&self, from: Offset) -> Result<(), ReadError> {
        let state = self.state.borrow();
        if state.closed {
            return Err(LogClosed.into());
        }
        if from < state.log_start || from > state.log_end {
            return Err(ReadError::OutOfRange { offset: from, start: state.log_start, end: state.log_end });
        }
        Ok(())
    }

    async fn wait_written(self: &Rc<Self>, end: Offset) -> Result<(), LogClosed> {
        if self.state.borrow().written_end < end {
            self.want_write_back();
        }
        self.progress
            .wait_for(|| {
                let state = self.state.borrow();
                if state.written_end >= end.min(state.log_end) {
                    return Some(Ok(()));
                }
                drop(state);
                self.is_ended().then_some(Err(LogClosed))
            })
            .await
    }

    async fn read_segments(
        self: &Rc<Self>,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        first_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        let (segment, up_to) = {
            let state = self.state.borrow();
            (state.segments[state.segment_at(from)].clone(), up_to.min(state.written_end))
        };
        let start = self.floor(&segment, |index| index.floor(from)).await?;
        let mut cursor = self.cursor(segment.clone(), start).await?;
        let mut out = Collected::default();
        let bounds = Bounds { from, up_to, max_bytes, first_max };
        let result = collect(&mut cursor, &bounds, &mut out).await;
        let next_offset = match result {
            Ok(next_offset) => next_offset,
            // What comes before the damage is served; the next read reports it.
            Err(ReadError::Corrupt { .. }) if !out.bytes.is_empty() => cursor.next_offset.unwrap_or(from),
            Err(error) => return Err(self.locate(error, segment, start).await),
        };
        self.read_ahead(&segment, start, cursor.position, &cursor.file);
        let Collected { bytes: out, records, has_gaps, too_large_bytes } = out;
        let bytes = out.len();
        let pieces = if out.is_empty() { Vec::new() } else { vec![Bytes::from(out)] };
        Ok(ReadBatches { pieces, bytes, records, next_offset, has_gaps, too_large_bytes })
    }

    /// Frames before the wanted one are passed by what their headers say. If that led astray, this says which one it was.
    async fn locate(&self, error: ReadError, segment: Rc<Segment<S>>, start: u64) -> ReadError {
        if !matches!(error, ReadError::Corrupt { .. }) {
            return error;
        }
        let check_all = async {
            let mut cursor = self.cursor(segment, start).await?;
            while let Some(info) = cursor.peek().await? {
                cursor.batch(&info).await?;
                cursor.skip(&info);
            }
            Ok(())
        };
        let result: Result<(), ReadError> = check_all.await;
        result.err().unwrap_or(error)
    }

    async fn cursor(&self, segment: Rc<Segment<S>>, position: u64) -> Result<FrameCursor<'_, S>, ReadError> {
        let was_open = segment.opened().is_some();
        let file = self.segment_file(&segment).await?;
        if !was_open && !self.state.borrow().segments.iter().any(|here| here.uid == segment.uid) {
            // What has the name now may be another: the caller looks for the segment again.
            let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(IoError::new(IoOp::Open, &self.dir.join(file_name(segment.base, NameKind::Log)), gone).into());
        }
        Ok(FrameCursor::new(self, segment, file, position))
    }

    /// The file of a sealed segment, for a reader that is none of a client's.
    pub(crate) async fn sealed_file(&self, segment: &Rc<Segment<S>>) -> Result<Rc<S::File>, CompactionError> {
        let file = self.segment_file(segment).await;
        // It may have been deleted before its file was opened.
        let is_here = self.state.borrow().segments.iter().any(|here| here.uid == segment.uid);
        if is_here { file.map_err(CompactionError::Io) } else { Err(CompactionError::Changed) }
    }

    async fn segment_file(&self, segment: &Rc<Segment<S>>) -> Result<Rc<S::File>, IoError> {
        if let Some(file) = segment.opened() {
            return Ok(file);
        }
        let _opening = self.names.opening().await;
        let file = segment.file(&self.shard.storage, &self.dir).await?;
        self.shard.note_open_sealed(segment);
        Ok(file)
    }

    /// A place from the segment's index, which is loaded if need be. Without an index, the segment's begin.
    async fn floor(
        &self,
        segment: &Rc<Segment<S>>,
        place: impl Fn(&mut SegmentIndex) -> u64,
    ) -> Result<u64, ReadError> {
        if let Some(position) = segment.with_index(&place) {
            return Ok(position);
        }
        let opening = self.names.opening().await;
        let name = file_name(segment.base, NameKind::Index);
        let content = sidecar::read(&self.shard.storage, &self.dir, &name, Kind::Index).await?;
        drop(opening);
        let loaded = match content {
            Content::Payload(payload) => SegmentSummary::decode(&payload),
            Content::Missing | Content::Damaged => None,
        };
        let usable = loaded.filter(|(summary, _)| summary.next_offset == segment.summary.get().next_offset);
        // Slow without, but right; the next open builds it anew.
        let index = usable.map_or_else(|| SegmentIndex::new(u64::MAX), |(_, index)| index);
        if segment.with_index(|_| ()).is_none() {
            segment.set_index(index);
            self.shard.note_loaded_index(segment);
        }
        Ok(segment.with_index(&place).unwrap_or(crate::segment::FIRST_FRAME_POSITION))
    }

    /// If the read that ended at `end` began where an earlier one ended, fetches what comes next.
    fn read_ahead(self: &Rc<Self>, segment: &Rc<Segment<S>>, start: u64, end: u64, file: &Rc<S::File>) {
        let chunk_bytes = CHUNK_BYTES as u64;
        let limit = {
            let mut state = self.state.borrow_mut();
            // The index leads to a frame at or before the one wanted, so the begin is near the earlier end, not at it.
            let near = |(uid, earlier): &(u64, u64)| {
                *uid == segment.uid && start <= *earlier && *earlier <= end && *earlier - start <= 2 * chunk_bytes
            };
            let known = state.recent_read_ends.iter().position(near);
            let at = known.unwrap_or(state.recent_read_at);
            state.recent_read_ends[at] = (segment.uid, end);
            if known.is_none() {
                state.recent_read_at = (at + 1) % state.recent_read_ends.len();
                return;
            }
            state.readable_end(segment)
        };
        let cache = &self.shard.read_cache;
        let first = end / chunk_bytes;
        cache.keep(segment.uid, first);
        let wanted: Vec<u64> = (first..first + READ_AHEAD_CHUNKS)
            .filter(|chunk| (chunk + 1) * chunk_bytes <= limit && !cache.has(segment.uid, *chunk))
            .collect();
        // Half the window is fetched at a time, so that reads stay large and the queue short.
        if (wanted.len() as u64) < READ_AHEAD_CHUNKS / 2 {
            return;
        }
        for reader in cache.queue(segment.uid, &wanted, file) {
            let shard = self.shard.clone();
            let _ = self.shard.background.submit(async move { shard.read_cache.read_ahead(reader).await });
        }
    }

    pub(crate) fn bytes_between(&self, from: Offset, up_to: Offset) -> u64 {
        let state = self.state.borrow();
        let (from, up_to) = (from.max(state.log_start), up_to.min(state.log_end));
        if state.closed || from >= up_to {
            return 0;
        }
        if let Some(bytes) = self.shard.tail_cache.borrow().bytes_between(self.slot, from, up_to) {
            return bytes;
        }
        let place = |offset: Offset| {
            let at = state.segment_at(offset);
            let segment = &state.segments[at];
            let summary = segment.summary.get();
            let position = if offset >= summary.next_offset {
                summary.end_position
            } else {
                // An index that is not in memory is not worth a read here: batches are taken for equally large.
                segment.with_index(|index| index.floor(offset)).unwrap_or_else(|| {
                    let records = (summary.next_offset.0 - segment.base.0).max(1) as u128;
                    let before = (offset.0 - segment.base.0).max(0) as u128;
                    crate::segment::FIRST_FRAME_POSITION + (u128::from(summary.size_bytes()) * before / records) as u64
                })
            };
            (at, position)
        };
        let ((first, from_position), (last, to_position)) = (place(from), place(up_to));
        let whole: u64 = state.segments.range(first..last).map(|segment| segment.summary.get().size_bytes()).sum();
        (whole + to_position).saturating_sub(from_position).max(1)
    }
}
