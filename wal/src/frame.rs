//! One record batch as it lies in a segment: a fixed header, the batch exactly as consumers get it, zeros up to the next
//! multiple of 8.
//!
//! A frame *stands for* a range of offsets, which are dense along a log: each begins where the one before ends, so that a
//! lost frame shows. The batch ends where its frame does and usually begins there as well; where compaction has dropped what
//! lay before the batch, here or at the leader, the frame begins earlier.
//!
//! Contract: [`decode`] accepts only bytes that [`encode_header`] described for the same segment. The CRC-32 is seeded
//! with the segment's identity (topic id, partition, base offset), so a frame of another segment in recycled space never
//! passes; frames of the same segment that a truncation left behind carry a lower incarnation, which recovery checks.
//!
//! The CRC runs over payload and padding first and over the header last: the header is completed only when its commit
//! begins, since it says what was synced before, and the payload is not to be read twice for that.
//!
//! Deliberately absent: what a finding means (`recovery`), and the batch's own CRC-32C (`protocol`).

use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use zerocopy::little_endian::{I32, I64, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First bytes of every frame.
pub const FRAME_MAGIC: [u8; 4] = *b"RLF1";
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
/// Frames begin at multiples of this.
pub const FRAME_ALIGN_BYTES: usize = 8;

const _: () = assert!(FRAME_HEADER_BYTES == 48);
const _: () = assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));
const _: () = assert!(crate::file::BLOCK_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));

/// How often a log was opened, truncated or restarted when a frame was written; never falls along the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u32);

impl std::fmt::Display for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame's header as it lies on disk, little endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FrameHeader {
    magic: [u8; 4],
    /// CRC-32 of payload, padding, and this header from `payload_bytes` on.
    crc: U32,
    payload_bytes: U32,
    leader_epoch: I32,
    base_offset: I64,
    last_offset: I64,
    /// Log end offset that was synced when this frame's commit began.
    synced_before: I64,
    incarnation: U32,
    version: U16,
    reserved: U16,
}

const VERSION: u16 = 1;
const CRC_COVERS_FROM: usize = 8;

/// What a frame says about its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    pub payload_bytes: u32,
    pub leader_epoch: LeaderEpoch,
    /// First offset that the frame stands for, at most the batch's.
    pub base_offset: Offset,
    /// The batch's.
    pub last_offset: Offset,
    /// Log end offset that was synced when this frame's commit began.
    pub synced_before: Offset,
    pub incarnation: Incarnation,
}

impl FrameInfo {
    /// Bytes from this frame's begin to the next one's.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize)
    }

    /// Offset after the batch's last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset.0.saturating_add(1))
    }
}

/// Bytes that a payload takes in a segment, header and padding included.
#[must_use]
pub fn frame_bytes(payload_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES as u64 + payload_bytes as u64).next_multiple_of(FRAME_ALIGN_BYTES as u64)
}

/// What seeds the CRCs of a segment's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSeed(u32);

impl FrameSeed {
    /// The seed of one segment of one partition.
    #[must_use]
    pub fn new(topic_id: TopicId, partition: PartitionId, segment_base: Offset) -> FrameSeed {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(topic_id.0.as_bytes());
        hasher.update(&partition.0.to_le_bytes());
        hasher.update(&segment_base.0.to_le_bytes());
        FrameSeed(hasher.finalize())
    }
}

/// The CRC of a payload and its padding, to be completed by the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadCrc(u32);

/// First half of a frame's CRC, of a payload that comes in parts.
#[must_use]
pub fn payload_crc(seed: FrameSeed, payload: &[&[u8]]) -> PayloadCrc {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed.0);
    payload.iter().for_each(|part| hasher.update(part));
    let bytes = payload.iter().map(|part| part.len()).sum();
    let padding = frame_bytes(bytes) as usize - FRAME_HEADER_BYTES - bytes;
    hasher.update(&[0; FRAME_ALIGN_BYTES][..padding]);
    PayloadCrc(hasher.finalize())
}

/// The header of a frame whose payload has the given CRC.
#[must_use]
pub fn encode_header(info: &FrameInfo, payload: PayloadCrc) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = FrameHeader {
        magic: FRAME_MAGIC,
        crc: U32::ZERO,
        payload_bytes: U32::new(info.payload_bytes),
        leader_epoch: I32::new(info.leader_epoch.0),
        base_offset: I64::new(info.base_offset.0),
        last_offset: I64::new(info.last_offset.0),
        synced_before: I64::new(info.synced_before.0),
        incarnation: U32::new(info.incarnation.0),
        version: U16::new(VERSION),
        reserved: U16::ZERO,
    };
    header.crc = U32::new(complete_crc(payload, &header));
    let mut bytes = [0; FRAME_HEADER_BYTES];
    bytes.copy_from_slice(header.as_bytes());
    bytes
}

fn complete_crc(payload: PayloadCrc, header: &FrameHeader) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(payload.0);
    hasher.update(&header.as_bytes()[CRC_COVERS_FROM..]);
    hasher.finalize()
}

/// Why bytes are not a frame of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameDamage {
    #[error("only zeros, as never written")]
    Unwritten,
    #[error("the file ends within it ({have} of {need} bytes)")]
    CutShort { need: u64, have: u64 },
    #[error("magic bytes {found:02x?} instead of {FRAME_MAGIC:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("frame version {found} instead of {VERSION}")]
    UnknownVersion { found: u16 },
    #[error("payload length {found}, at most {max} fit the segment")]
    PayloadLength { found: u32, max: u64 },
    #[error("last offset {last} below base offset {base}")]
    OffsetOrder { base: Offset, last: Offset },
    #[error("CRC-32 {found:#010x}, its content gives {expected:#010x}")]
    Crc { expected: u32, found: u32 },
}

/// Reads what the header says without trusting it: how many bytes the whole frame would take, if it is one.
///
/// `available` is the number of bytes from the frame's begin to the end of the file.
pub fn peek(header: &[u8; FRAME_HEADER_BYTES], available: u64) -> Result<FrameInfo, FrameDamage> {
    let raw = FrameHeader::ref_from_bytes(header).expect("the array has the header's size");
    if raw.magic != FRAME_MAGIC {
        if header.iter().all(|byte| *byte == 0) {
            return Err(FrameDamage::Unwritten);
        }
        return Err(FrameDamage::BadMagic { found: raw.magic });
    }
    if raw.version.get() != VERSION {
        return Err(FrameDamage::UnknownVersion { found: raw.version.get() });
    }
    let info = FrameInfo {
        payload_bytes: raw.payload_bytes.get(),
        leader_epoch: LeaderEpoch(raw.leader_epoch.get()),
        base_offset: Offset(raw.base_offset.get()),
        last_offset: Offset(raw.last_offset.get()),
        synced_before: Offset(raw.synced_before.get()),
        incarnation: Incarnation(raw.incarnation.get()),
    };
    if info.frame_bytes() > available {
        let max = available.saturating_sub(FRAME_HEADER_BYTES as u64);
        return Err(FrameDamage::PayloadLength { found: info.payload_bytes, max });
    }
    if info.base_offset.0 < 0 || info.last_offset < info.base_offset {
        return Err(FrameDamage::OffsetOrder { base: info.base_offset, last: info.last_offset });
    }
    Ok(info)
}

/// Reads the frame at `bytes[0]` and checks its CRC. Gives what it says and its payload.
pub fn decode(seed: FrameSeed, bytes: &[u8]) -> Result<(FrameInfo, &[u8]), FrameDamage> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(FrameDamage::CutShort { need: FRAME_HEADER_BYTES as u64, have: bytes.len() as u64 });
    };
    let info = peek(header, bytes.len() as u64)?;
    let body = &bytes[FRAME_HEADER_BYTES..info.frame_bytes() as usize];
    let mut hasher = crc32fast::Hasher::new_with_initial(seed.0);
    hasher.update(body);
    let raw = FrameHeader::ref_from_bytes(header).expect("the array has the header's size");
    let expected = complete_crc(PayloadCrc(hasher.finalize()), raw);
    if expected != raw.crc.get() {
        return Err(FrameDamage::Crc { expected, found: raw.crc.get() });
    }
    Ok((info, &body[..info.payload_bytes as usize]))
}

/// The CRC-32 in the header of a frame that [`decode`] accepted.
pub(crate) fn stored_crc(frame: &[u8]) -> u32 {
    FrameHeader::ref_from_prefix(frame).map_or(0, |(header, _)| header.crc.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seed() -> FrameSeed {
        FrameSeed::new(TopicId(uuid::Uuid::from_u128(7)), PartitionId(3), Offset(100))
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let info = FrameInfo {
            payload_bytes: payload.len() as u32,
            leader_epoch: LeaderEpoch(4),
            base_offset: Offset(120),
            last_offset: Offset(129),
            synced_before: Offset(110),
            incarnation: Incarnation(2),
        };
        let mut bytes = encode_header(&info, payload_crc(seed(), &[payload])).to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(info.frame_bytes() as usize, 0);
        bytes
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for len in [0, 1, 7, 8, 9, 61, 4096] {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let bytes = frame(&payload);
            assert!(bytes.len().is_multiple_of(FRAME_ALIGN_BYTES));
            let (info, found) = decode(seed(), &bytes).expect("a good frame");
            assert_eq!(found, payload);
            assert_eq!(
                (info.base_offset, info.next_offset(), info.synced_before),
                (Offset(120), Offset(130), Offset(110))
            );
        }
    }

    #[test]
    fn a_frame_of_another_segment_is_refused() {
        let bytes = frame(b"payload");
        for other in [
            FrameSeed::new(TopicId(uuid::Uuid::from_u128(8)), PartitionId(3), Offset(100)),
            FrameSeed::new(TopicId(uuid::Uuid::from_u128(7)), PartitionId(4), Offset(100)),
            FrameSeed::new(TopicId(uuid::Uuid::from_u128(7)), PartitionId(3), Offset(101)),
        ] {
            assert!(matches!(decode(other, &bytes), Err(FrameDamage::Crc { .. })));
        }
    }

    #[test]
    fn zeros_are_told_apart_from_garbage() {
        assert_eq!(decode(seed(), &[0; 64]), Err(FrameDamage::Unwritten));
        assert!(matches!(decode(seed(), &[1; 64]), Err(FrameDamage::BadMagic { .. })));
    }

    proptest! {
        #[test]
        fn every_flipped_bit_is_noticed(len in 0usize..200, at in any::<prop::sample::Index>()) {
            let mut bytes = frame(&vec![0xa5; len]);
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(seed(), &bytes).is_err());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), with_magic in any::<bool>()) {
            let mut bytes = bytes;
            if with_magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&FRAME_MAGIC);
            }
            let _ = decode(seed(), &bytes);
        }
    }
}
