//! The four codecs of record batches as byte streams.
//!
//! gzip, LZ4 frames and zstd frames are read by their crates' streaming decoders. Snappy has no stream of its own: the
//! Java client wraps blocks in the framing of xerial's snappy-java, librdkafka sends one bare block; both are read
//! here.

use std::io::{self, Read};

use crate::record_batch::Compression;

/// Magic of xerial's framing, and the bytes of its header (two version numbers follow the magic).
pub(super) const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// No snappy element makes more of its bytes than 64 of 3, so a block that claims more than this lies.
const SNAPPY_EXPANSION_MAX: usize = 22;
/// The largest window that zstd's own default, and with it Kafka, allows: 128 MiB. The decoder reserves it as address
/// space and touches only what it fills, so memory still follows the bytes that were let through.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What `compressed` decompresses to. `limit` only keeps snappy's blocks small, of which a larger one is an error of the kind
/// `FileTooLarge`; the caller enforces it.
pub(super) fn reader<'a>(compression: Compression, compressed: &'a [u8], limit: u64) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(compressed),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(compressed)),
        Compression::Snappy => Box::new(SnappyReader::new(compressed, limit)),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(compressed)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Reads xerial's framing, or one bare block.
struct SnappyReader<'a> {
    compressed: &'a [u8],
    framed: bool,
    limit: u64,
    /// The current block, decompressed, and how much of it was read.
    block: Vec<u8>,
    read: usize,
}

impl SnappyReader<'_> {
    fn new(compressed: &[u8], limit: u64) -> SnappyReader<'_> {
        let framed = compressed.starts_with(&XERIAL_MAGIC);
        SnappyReader { compressed, framed, limit, block: Vec::new(), read: 0 }
    }

    /// Decompresses the next block; false after the last one.
    fn next_block(&mut self) -> io::Result<bool> {
        // A header may come again where streams were put together.
        while self.framed && self.compressed.starts_with(&XERIAL_MAGIC) {
            self.compressed =
                self.compressed.get(XERIAL_HEADER_BYTES..).ok_or_else(|| invalid("snappy framing header cut short"))?;
        }
        if self.compressed.is_empty() {
            return Ok(false);
        }
        let block = if self.framed {
            let (length, rest) =
                self.compressed.split_first_chunk().ok_or_else(|| invalid("snappy block length cut short"))?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, rest) =
                rest.split_at_checked(length).ok_or_else(|| invalid("snappy block runs past the end"))?;
            self.compressed = rest;
            block
        } else {
            std::mem::take(&mut self.compressed)
        };
        let size = snap::raw::decompress_len(block).map_err(invalid)?;
        if size > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
            return Err(invalid("snappy block claims a size that it cannot have"));
        }
        // A block is only had as a whole.
        if size as u64 > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.block.resize(size, 0);
        snap::raw::Decoder::new().decompress(block, &mut self.block).map_err(invalid)?;
        self.read = 0;
        Ok(true)
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.read == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let unread = &self.block[self.read..];
        let size = unread.len().min(out.len());
        out[..size].copy_from_slice(&unread[..size]);
        self.read += size;
        Ok(size)
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
