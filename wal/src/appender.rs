//! The write buffer of one log: what was appended since its last commit began, laid out as it goes to disk.
//!
//! Contract: a buffer begins at a block boundary, with the earlier bytes of a partly filled block unchanged, and goes out
//! as whole blocks. Each batch is copied once. Frame headers are written last, when the commit begins: only then is it
//! known what was synced before it. A commit that goes to the journal takes a copy of its frames, and they stay here
//! until they are written back.
//!
//! Memory grows by chunks, so nothing is copied to make room; each chunk is one write, and a usual commit is one chunk.
//!
//! Deliberately absent: where the frames belong (`log`), and the writes (`group_commit`).

use std::ops::Range;

use protocol::Offset;

use crate::file::{BLOCK_BYTES, Storage, WriteBuffer, block_ceil, block_floor};
use crate::frame::{FRAME_HEADER_BYTES, FrameInfo, FrameSeed, PayloadCrc, encode_header, payload_crc};

/// Smallest and largest chunk that is allocated without need; a single large batch gets a chunk of its size.
const CHUNK_BYTES_MIN: usize = BLOCK_BYTES;
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// A frame whose header is yet to be written.
struct PendingFrame {
    position: u64,
    info: FrameInfo,
    crc: PayloadCrc,
}

/// See the module's contract. Positions are those of the segment's file.
pub(crate) struct Appender<S: Storage> {
    /// Block boundary where the first chunk begins.
    start: u64,
    /// Where the next frame begins.
    end: u64,
    /// Consecutive, each of whole blocks, each with the position where it begins.
    chunks: Vec<(u64, S::WriteBuffer)>,
    capacity_end: u64,
    frames: Vec<PendingFrame>,
    /// Where frames begin that no commit has taken yet.
    committed: u64,
    chunk_bytes: usize,
}

/// A commit's share of one log, ready to be written.
pub(crate) struct Writes<S: Storage> {
    pub(crate) buffers: Vec<(u64, S::WriteBuffer)>,
    /// Whole blocks that the writes cover.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl<S: Storage> Appender<S> {
    /// A buffer whose first frame begins at `position`; `tail` has the bytes of its block that are written already.
    /// `expected_bytes` says how much is likely to come, for the first chunk.
    pub(crate) fn new(storage: &S, position: u64, tail: &[u8], expected_bytes: usize) -> Appender<S> {
        assert_eq!(block_floor(position) + tail.len() as u64, position, "the tail ends where the next frame begins");
        let chunk_bytes = expected_bytes.next_power_of_two().clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let start = block_floor(position);
        let mut appender = Appender {
            start,
            end: start,
            chunks: Vec::new(),
            capacity_end: start,
            frames: Vec::new(),
            committed: position,
            chunk_bytes,
        };
        appender.append_bytes(storage, tail);
        appender
    }

    /// Where the next frame begins.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of frames that are held here.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Bytes of frames that no commit has taken yet.
    pub(crate) fn uncommitted_bytes(&self) -> u64 {
        self.end - self.committed
    }

    /// Appends a frame; its header follows in [`Appender::seal`].
    pub(crate) fn append(&mut self, storage: &S, seed: FrameSeed, info: FrameInfo, payload: &[&[u8]]) {
        assert_eq!(info.payload_bytes as usize, payload.iter().map(|part| part.len()).sum::<usize>());
        let position = self.end;
        let end = position + info.frame_bytes();
        self.append_bytes(storage, &[0; FRAME_HEADER_BYTES]);
        payload.iter().for_each(|part| self.append_bytes(storage, part));
        let padding = (end - self.end) as usize;
        self.append_bytes(storage, &[0; crate::frame::FRAME_ALIGN_BYTES][..padding]);
        assert_eq!(self.end, end);
        self.frames.push(PendingFrame { position, info, crc: payload_crc(seed, payload) });
    }

    /// Completes the headers of the frames that a commit takes now, and gives where these lie. They stay here.
    pub(crate) fn seal(&mut self, synced_before: Offset) -> Range<u64> {
        for frame in std::mem::take(&mut self.frames) {
            // A frame that says its own offset was synced before would be proof of damage in itself.
            assert!(synced_before <= frame.info.base_offset, "{synced_before} > {}", frame.info.base_offset);
            let header = encode_header(&FrameInfo { synced_before, ..frame.info }, frame.crc);
            self.overwrite(frame.position, &header);
        }
        std::mem::replace(&mut self.committed, self.end)..self.end
    }

    /// Copies what lies at `position` to `out`.
    pub(crate) fn copy_to(&self, mut position: u64, mut out: &mut [u8]) {
        let first = self.chunks.partition_point(|(start, _)| *start <= position) - 1;
        for (start, chunk) in &self.chunks[first..] {
            let bytes = &chunk.as_ref()[(position - start) as usize..];
            let fits = bytes.len().min(out.len());
            out[..fits].copy_from_slice(&bytes[..fits]);
            out = &mut out[fits..];
            position += fits as u64;
        }
        assert!(out.is_empty(), "only what was appended can be copied");
    }

    /// Hands out the blocks, with all headers complete. The bytes of the last block up to its end are left in `tail`, for
    /// the buffer that comes next.
    pub(crate) fn finish(mut self, synced_before: Offset, tail: &mut Vec<u8>) -> Writes<S> {
        self.seal(synced_before);
        let end = block_ceil(self.end);
        let last_block = block_floor(self.end);
        tail.clear();
        if let Some((chunk_start, last)) = self.chunks.last_mut()
            && end > *chunk_start
        {
            last.truncate((end - *chunk_start) as usize);
            let used = (self.end - *chunk_start) as usize;
            last.as_mut()[used..].fill(0);
            if last_block < self.end {
                tail.extend_from_slice(&last.as_ref()[(last_block - *chunk_start) as usize..used]);
            }
        }
        Writes { buffers: self.chunks, start: self.start, end }
    }

    fn append_bytes(&mut self, storage: &S, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.end == self.capacity_end {
                let len = bytes.len().next_multiple_of(BLOCK_BYTES).max(self.chunk_bytes);
                self.chunk_bytes = (2 * self.chunk_bytes).min(CHUNK_BYTES_MAX);
                self.chunks.push((self.capacity_end, storage.allocate_buffer(len)));
                self.capacity_end += len as u64;
            }
            let (chunk_start, chunk) = self.chunks.last_mut().expect("one was pushed if there was none");
            let at = (self.end - *chunk_start) as usize;
            let room = &mut chunk.as_mut()[at..];
            let fits = bytes.len().min(room.len());
            room[..fits].copy_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
            self.end += fits as u64;
        }
    }

    fn overwrite(&mut self, mut position: u64, mut bytes: &[u8]) {
        let mut chunk_at = self.chunks.partition_point(|(start, _)| *start <= position) - 1;
        while !bytes.is_empty() {
            let (chunk_start, chunk) = &mut self.chunks[chunk_at];
            let room = &mut chunk.as_mut()[(position - *chunk_start) as usize..];
            let fits = bytes.len().min(room.len());
            room[..fits].copy_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
            position += fits as u64;
            chunk_at += 1;
        }
    }
}
