//! The frames of one segment in order, read in chunks through the read cache.

use std::rc::Rc;
use std::time::Instant;

use futures_util::future::join_all;
use protocol::Offset;

use super::{LOAD_BYTES_MAX, ReadError};
use crate::file::{IoError, Storage, StorageFile, block_ceil};
use crate::frame::{self, FRAME_HEADER_BYTES, FrameDamage, FrameInfo};
use crate::log::LogInner;
use crate::read_cache::{CHUNK_BYTES, ReadBuffer};
use crate::read_limit::ReadKind;
use crate::recovery::Damage;
use crate::segment::{NameKind, Segment, file_name};

/// Frames of one segment, read in order.
pub(super) struct FrameCursor<'a, S: Storage> {
    log: &'a LogInner<S>,
    segment: Rc<Segment<S>>,
    pub(super) file: Rc<S::File>,
    pub(super) position: u64,
    /// Frames end here.
    pub(super) limit: u64,
    /// Offset that the next frame must begin with, once it is known.
    pub(super) next_offset: Option<Offset>,
    /// Consecutive chunks, the first beginning at `view_start`.
    view: Vec<ReadBuffer<S>>,
    view_start: u64,
    scratch: Vec<u8>,
}

impl<'a, S: Storage> FrameCursor<'a, S> {
    pub(super) fn new(
        log: &'a LogInner<S>,
        segment: Rc<Segment<S>>,
        file: Rc<S::File>,
        position: u64,
    ) -> FrameCursor<'a, S> {
        let limit = log.state.borrow().readable_end(&segment);
        let (view, view_start, scratch) = (Vec::new(), position, Vec::new());
        FrameCursor { log, segment, file, position, limit, next_offset: None, view, view_start, scratch }
    }

    fn view_end(&self) -> u64 {
        match self.view.split_last() {
            None => self.view_start,
            Some((last, before)) => self.view_start + (before.len() * CHUNK_BYTES + last.len()) as u64,
        }
    }

    /// Makes sure that the view covers from the current position to `end`, as far as the segment goes.
    pub(super) async fn load(&mut self, end: u64) -> Result<(), IoError> {
        let end = end.min(self.limit);
        let chunk_bytes = CHUNK_BYTES as u64;
        if self.view.is_empty() {
            self.view_start = self.position / chunk_bytes * chunk_bytes;
        }
        let drop_chunks = ((self.position - self.view_start) / chunk_bytes).min(self.view.len() as u64);
        self.view.drain(..drop_chunks as usize);
        self.view_start += drop_chunks * chunk_bytes;
        while self.view_end() < end {
            let (cache, segment, limit) = (&self.log.shard.read_cache, &self.segment, self.limit);
            let file = &self.file;
            let first = self.view_end() / chunk_bytes;
            let last = (end - 1).min(self.view_end() + LOAD_BYTES_MAX) / chunk_bytes;
            let loads = (first..=last).map(|chunk| async move {
                if (chunk + 1) * chunk_bytes <= limit {
                    cache.chunk(segment.uid, file, chunk).await
                } else {
                    // It still grows: read what is there, and do not keep it.
                    let start = chunk * chunk_bytes;
                    let _turn = cache.limit.turn(ReadKind::Demanded).await;
                    let began = Instant::now();
                    let read = file.read_at(start, (block_ceil(limit) - start) as usize).await?;
                    cache.note_read(ReadKind::Demanded, read.len(), began);
                    Ok(read)
                }
            });
            let mut grew = false;
            for chunk in join_all(loads).await {
                let chunk = chunk?;
                grew |= !chunk.is_empty();
                self.view.push(chunk);
            }
            if !grew {
                return Ok(());
            }
        }
        Ok(())
    }

    /// `len` bytes at the current position, joined if they lie in two chunks; fewer where the view ends.
    fn bytes(&mut self, len: usize) -> &[u8] {
        let at = (self.position - self.view_start) as usize;
        let (mut chunk, mut offset) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
        if self.view.get(chunk).is_some_and(|bytes| offset + len <= bytes.len()) {
            return &self.view[chunk][offset..offset + len];
        }
        self.scratch.clear();
        while self.scratch.len() < len
            && let Some(bytes) = self.view.get(chunk).filter(|bytes| offset < bytes.len())
        {
            let take = (len - self.scratch.len()).min(bytes.len() - offset);
            self.scratch.extend_from_slice(&bytes[offset..offset + take]);
            (chunk, offset) = (chunk + 1, 0);
        }
        &self.scratch
    }

    pub(super) fn corrupt(&self, found: impl Into<Damage>) -> ReadError {
        let path = self.log.dir.join(file_name(self.segment.base, NameKind::Log));
        let offset = self.next_offset.unwrap_or(self.segment.base);
        ReadError::Corrupt { path, position: self.position, offset, found: found.into() }
    }

    /// What the frame at the current position says, with no checksum checked; `None` at the end.
    pub(super) async fn peek(&mut self) -> Result<Option<FrameInfo>, ReadError> {
        if self.position >= self.limit {
            return Ok(None);
        }
        self.load(self.position + FRAME_HEADER_BYTES as u64).await?;
        let available = self.limit - self.position;
        let header = self.bytes(FRAME_HEADER_BYTES);
        let Some(header) = header.first_chunk::<FRAME_HEADER_BYTES>() else {
            let damage = FrameDamage::CutShort { need: FRAME_HEADER_BYTES as u64, have: header.len() as u64 };
            return Err(self.corrupt(damage));
        };
        let info = frame::peek(header, available).map_err(|damage| self.corrupt(damage))?;
        if self.next_offset.is_some_and(|expected| info.base_offset != expected) {
            return Err(self.corrupt(Damage::OffsetGap { found: info.base_offset }));
        }
        Ok(Some(info))
    }

    /// Goes past the frame that was peeked at.
    pub(super) fn skip(&mut self, info: &FrameInfo) {
        self.position += info.frame_bytes();
        self.next_offset = Some(info.next_offset());
    }

    /// The batch of the frame that was peeked at, checked.
    pub(super) async fn batch(&mut self, info: &FrameInfo) -> Result<&[u8], ReadError> {
        self.load(self.position + info.frame_bytes()).await?;
        let seed = self.segment.seed;
        let len = info.frame_bytes() as usize;
        if let Err(damage) = frame::decode(seed, self.bytes(len)) {
            return Err(self.corrupt(damage));
        }
        Ok(self.payload(info))
    }

    /// The batch of the frame at the current position, which was checked before.
    pub(super) fn payload(&mut self, info: &FrameInfo) -> &[u8] {
        let len = info.frame_bytes() as usize;
        &self.bytes(len)[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + info.payload_bytes as usize]
    }
}
