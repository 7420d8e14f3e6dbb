//! The front of a batch's records in a part that its codec leaves as it is, and the rest compressed.
//!
//! Every codec of the protocol has a way to carry bytes uncompressed, and a way to go on behind them: gzip members (RFC 1952)
//! and zstd frames (RFC 8878) may follow one another, LZ4 frames and xerial's snappy framing consist of blocks. Decoders see
//! one stream.

use std::io::Write;

use crate::load::workload::Compression;

/// Bytes before the front in a gzip member: its header, and that of a stored deflate block.
const GZIP_FRONT_AT: usize = 10 + 5;
/// CRC-32 and size.
const GZIP_TRAILER_BYTES: usize = 8;
/// Bytes of an LZ4 frame's header without content size and dictionary.
const LZ4_HEADER_BYTES: usize = 7;
/// The bit of an LZ4 block's size that says "not compressed".
const LZ4_STORED: u32 = 1 << 31;
/// Bytes of records in a snappy block, as the Java client has it.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
/// Magic and two versions of xerial's snappy framing.
const SNAPPY_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];

/// The part that holds the front as it is.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    /// Where the front begins in `bytes`.
    pub(super) front_at: usize,
}

/// `front` stored and `rest` compressed: one after the other they decompress to both.
pub(super) fn parts(compression: Compression, front: &[u8], rest: &[u8]) -> (Stored, Vec<u8>) {
    const INFALLIBLE: &str = "writing to memory does not fail";
    match compression {
        Compression::None => (Stored { bytes: front.to_vec(), front_at: 0 }, rest.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(rest).expect(INFALLIBLE);
            (gzip_stored(front), encoder.finish().expect(INFALLIBLE))
        }
        Compression::Snappy => {
            let mut compressed = Vec::new();
            for block in rest.chunks(SNAPPY_BLOCK_BYTES) {
                let block = snap::raw::Encoder::new().compress_vec(block).expect("a block is small");
                compressed.extend_from_slice(&(block.len() as u32).to_be_bytes());
                compressed.extend_from_slice(&block);
            }
            (snappy_stored(front), compressed)
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(rest).expect(INFALLIBLE);
            let frame = encoder.finish().expect("writing to memory does not fail");
            let (header, blocks) = frame.split_at(LZ4_HEADER_BYTES);
            let mut bytes = header.to_vec();
            bytes.extend_from_slice(&(front.len() as u32 | LZ4_STORED).to_le_bytes());
            (with_front(bytes, front), blocks.to_vec())
        }
        Compression::Zstd => {
            let rest = zstd::stream::encode_all(rest, zstd::DEFAULT_COMPRESSION_LEVEL).expect(INFALLIBLE);
            (zstd_stored(front), rest)
        }
    }
}

fn with_front(mut bytes: Vec<u8>, front: &[u8]) -> Stored {
    let front_at = bytes.len();
    bytes.extend_from_slice(front);
    Stored { bytes, front_at }
}

fn gzip_stored(front: &[u8]) -> Stored {
    let size = u16::try_from(front.len()).expect("a key is short, and so is a front");
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&(!size).to_le_bytes());
    let mut stored = with_front(bytes, front);
    stored.bytes.extend_from_slice(&[0; GZIP_TRAILER_BYTES]);
    renew_gzip_trailer(&mut stored.bytes);
    stored
}

/// Writes the checksum of a stored gzip member whose front has been changed.
pub(super) fn renew_gzip_trailer(member: &mut [u8]) {
    let trailer_at = member.len() - GZIP_TRAILER_BYTES;
    let mut crc = flate2::Crc::new();
    crc.update(&member[GZIP_FRONT_AT..trailer_at]);
    member[trailer_at..trailer_at + 4].copy_from_slice(&crc.sum().to_le_bytes());
    member[trailer_at + 4..].copy_from_slice(&crc.amount().to_le_bytes());
}

/// A snappy block of one literal.
fn snappy_stored(front: &[u8]) -> Stored {
    let mut block = Vec::new();
    crate::load::wire::put_unsigned_varint(&mut block, front.len() as u32);
    // Tag 00 with 61 in its upper bits: two bytes of length minus one follow.
    block.push(61 << 2);
    block.extend_from_slice(&((front.len() - 1) as u16).to_le_bytes());
    let mut bytes = SNAPPY_HEADER.to_vec();
    bytes.extend_from_slice(&((block.len() + front.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(&block);
    with_front(bytes, front)
}

/// A frame of one raw block, in a single segment whose size is told.
fn zstd_stored(front: &[u8]) -> Stored {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd];
    match u8::try_from(front.len()) {
        Ok(size) => bytes.extend_from_slice(&[0x20, size]),
        // Sizes of two bytes count from 256.
        Err(_) => {
            bytes.push(0x60);
            bytes.extend_from_slice(&((front.len() - 256) as u16).to_le_bytes());
        }
    }
    // Last block, raw.
    let block = (front.len() as u32) << 3 | 1;
    bytes.extend_from_slice(&block.to_le_bytes()[..3]);
    with_front(bytes, front)
}
