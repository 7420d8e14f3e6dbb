//! A segment: one file of a log, named by the offset of its first record.
//!
//! `<base offset %020>.log` begins with a header block (identity and incarnation under a CRC-32), frames follow from
//! [`FIRST_FRAME_POSITION`]. A sealed segment, one that another follows, is synced to its end before its successor
//! exists; its summary and index lie in `<base offset %020>.index`.
//!
//! A *compacted* segment takes the place of one or more sealed ones ([`crate::compaction`]). It was written whole and synced
//! before it got its name, and its header says how far it reaches, so that recovery can check it to the last byte, and knows
//! that segments which begin within it are superseded.
//!
//! Deliberately absent: writing frames (`appender`, `group_commit`) and judging them (`recovery`).

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use protocol::record_batch::BatchHeader;
use protocol::{Offset, PartitionId, TopicId};
use uuid::Uuid;

use crate::file::{Access, BLOCK_BYTES, IoError, Storage};
use crate::frame::{FrameSeed, Incarnation};
use crate::log::LogIdentity;
use crate::segment_index::SegmentIndex;

/// Where a segment's first frame begins.
pub const FIRST_FRAME_POSITION: u64 = BLOCK_BYTES as u64;

const MAGIC: [u8; 4] = *b"RLSG";
const VERSION: u32 = 1;
/// Of a compacted segment. Others keep the version before, which older releases read.
const VERSION_COMPACTED: u32 = 2;
/// Digits of an offset in a file name, as in Kafka.
const NAME_DIGITS: usize = 20;

/// Kinds of files that are named by an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A segment's frames.
    Log,
    /// A sealed segment's summary and index.
    Index,
    /// Producer state and leader epochs at that offset.
    State,
}

impl NameKind {
    fn suffix(self) -> &'static str {
        match self {
            NameKind::Log => ".log",
            NameKind::Index => ".index",
            NameKind::State => ".snapshot",
        }
    }
}

/// The file name for an offset.
pub(crate) fn file_name(offset: Offset, kind: NameKind) -> String {
    format!("{:0NAME_DIGITS$}{}", offset.0, kind.suffix())
}

/// What a file name says, if it is one of ours.
pub(crate) fn parse_file_name(name: &str) -> Option<(Offset, NameKind)> {
    let (digits, suffix) = name.split_at_checked(NAME_DIGITS)?;
    let kind = [NameKind::Log, NameKind::Index, NameKind::State].into_iter().find(|kind| kind.suffix() == suffix)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(|offset| (Offset(offset), kind))
}

/// What a segment's header block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub identity: LogIdentity,
    pub base_offset: Offset,
    /// The log's incarnation when the segment was created.
    pub incarnation: Incarnation,
    /// What a compacted segment is, as a whole; none of one that was appended to.
    pub compacted: Option<Compacted>,
}

/// What a compacted segment holds. It stands for all offsets from its base on to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Where the next segment begins.
    pub end_offset: Offset,
    /// Bytes from the begin of the file to the end of the last frame.
    pub end_position: u64,
    pub frames: u64,
}

/// Why a block is not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderDamage {
    #[error("the file ends within the segment header ({have} of {BLOCK_BYTES} bytes)")]
    CutShort { have: usize },
    #[error("segment magic bytes {found:02x?} instead of {MAGIC:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("segment header CRC-32 {found:#010x}, its content gives {expected:#010x}")]
    Crc { expected: u32, found: u32 },
    #[error("segment version {found} instead of {VERSION} or {VERSION_COMPACTED}")]
    UnknownVersion { found: u32 },
    #[error("a compacted segment from offset {base} to {} with {} frames up to byte {}", .found.end_offset, .found.frames, .found.end_position)]
    Compacted { base: Offset, found: Compacted },
}

impl SegmentHeader {
    /// The header block: magic, CRC-32 of the rest of the block, version u32, incarnation u32, topic id 16 bytes, base
    /// offset i64, partition i32, of a compacted segment end offset i64, end position u64 and frames u64, zeros; little endian.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(BLOCK_BYTES);
        let version = if self.compacted.is_some() { VERSION_COMPACTED } else { VERSION };
        rest.extend_from_slice(&version.to_le_bytes());
        rest.extend_from_slice(&self.incarnation.0.to_le_bytes());
        rest.extend_from_slice(self.identity.topic_id.0.as_bytes());
        rest.extend_from_slice(&self.base_offset.0.to_le_bytes());
        rest.extend_from_slice(&self.identity.partition.0.to_le_bytes());
        if let Some(Compacted { end_offset, end_position, frames }) = self.compacted {
            rest.extend_from_slice(&end_offset.0.to_le_bytes());
            rest.extend_from_slice(&end_position.to_le_bytes());
            rest.extend_from_slice(&frames.to_le_bytes());
        }
        rest.resize(BLOCK_BYTES - 8, 0);
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&MAGIC);
        block.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
        block.extend_from_slice(&rest);
        block
    }

    /// Reads a header block, at least [`BLOCK_BYTES`] long.
    pub fn decode(block: &[u8]) -> Result<SegmentHeader, HeaderDamage> {
        let Some(block) = block.first_chunk::<BLOCK_BYTES>() else {
            return Err(HeaderDamage::CutShort { have: block.len() });
        };
        let (head, rest) = block.split_at(8);
        if head[..4] != MAGIC {
            return Err(HeaderDamage::BadMagic { found: head[..4].try_into().expect("four bytes") });
        }
        let found = u32::from_le_bytes(head[4..].try_into().expect("four bytes"));
        let expected = crc32fast::hash(rest);
        if found != expected {
            return Err(HeaderDamage::Crc { expected, found });
        }
        let version = u32::from_le_bytes(rest[..4].try_into().expect("four bytes"));
        let base_offset = Offset(i64::from_le_bytes(rest[24..32].try_into().expect("eight bytes")));
        let compacted = match version {
            VERSION => None,
            VERSION_COMPACTED => {
                let field = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().expect("eight bytes"));
                let found =
                    Compacted { end_offset: Offset(field(36) as i64), end_position: field(44), frames: field(52) };
                if found.end_offset <= base_offset || found.end_position <= FIRST_FRAME_POSITION || found.frames == 0 {
                    return Err(HeaderDamage::Compacted { base: base_offset, found });
                }
                Some(found)
            }
            found => return Err(HeaderDamage::UnknownVersion { found }),
        };
        Ok(SegmentHeader {
            incarnation: Incarnation(u32::from_le_bytes(rest[4..8].try_into().expect("four bytes"))),
            identity: LogIdentity {
                topic_id: TopicId(Uuid::from_bytes(rest[8..24].try_into().expect("sixteen bytes"))),
                partition: PartitionId(i32::from_le_bytes(rest[32..36].try_into().expect("four bytes"))),
            },
            base_offset,
            compacted,
        })
    }

    /// What seeds the CRCs of this segment's frames.
    #[must_use]
    pub fn seed(&self) -> FrameSeed {
        FrameSeed::new(self.identity.topic_id, self.identity.partition, self.base_offset)
    }
}

/// What is known of a segment without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSummary {
    /// Offset after the last batch; the base offset if there is none.
    pub next_offset: Offset,
    /// Where the last frame ends.
    pub end_position: u64,
    /// Milliseconds since the Unix epoch; -1 if no batch has a timestamp.
    pub max_timestamp: i64,
    /// Base offset of the first batch that has it.
    pub max_timestamp_offset: Offset,
    /// Wall clock when the first and the last batch were appended, in milliseconds since the Unix epoch; after a
    /// recovery by scan, when that was.
    pub first_append_ms: i64,
    pub last_append_ms: i64,
    /// Largest timestamp of the first batch: what Kafka measures `max.compaction.lag.ms` by. -1 if it has none.
    pub first_batch_timestamp: i64,
}

const SUMMARY_BYTES: usize = 56;

impl SegmentSummary {
    pub(crate) fn empty(base: Offset) -> SegmentSummary {
        SegmentSummary {
            next_offset: base,
            end_position: FIRST_FRAME_POSITION,
            max_timestamp: -1,
            max_timestamp_offset: base,
            first_append_ms: -1,
            last_append_ms: -1,
            first_batch_timestamp: -1,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end_position == FIRST_FRAME_POSITION
    }

    /// Bytes of frames.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.end_position - FIRST_FRAME_POSITION
    }

    /// Takes a batch with stamped offsets in that ends at `end_position`.
    pub(crate) fn note(&mut self, batch: &BatchHeader, end_position: u64, now_ms: i64) {
        if self.is_empty() {
            self.first_append_ms = now_ms;
            self.first_batch_timestamp = batch.max_timestamp;
        }
        self.last_append_ms = now_ms;
        self.next_offset = batch.next_offset();
        self.end_position = end_position;
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.max_timestamp_offset = batch.base_offset;
        }
    }

    /// The timestamp that `retention.ms` looks at: of the newest record, or of the append where records have none.
    pub(crate) fn retention_timestamp(&self) -> i64 {
        if self.max_timestamp >= 0 { self.max_timestamp } else { self.last_append_ms }
    }

    /// Summary and index, for a sidecar.
    pub(crate) fn encode(&self, index: &SegmentIndex) -> Vec<u8> {
        let mut out = Vec::new();
        for field in [self.next_offset.0, self.end_position as i64, self.max_timestamp, self.max_timestamp_offset.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        for field in [self.first_append_ms, self.last_append_ms, self.first_batch_timestamp] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        index.encode(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(SegmentSummary, SegmentIndex)> {
        let (fields, rest) = bytes.split_first_chunk::<SUMMARY_BYTES>()?;
        let field = |at: usize| i64::from_le_bytes(fields[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
        let summary = SegmentSummary {
            next_offset: Offset(field(0)),
            end_position: field(1) as u64,
            max_timestamp: field(2),
            max_timestamp_offset: Offset(field(3)),
            first_append_ms: field(4),
            last_append_ms: field(5),
            first_batch_timestamp: field(6),
        };
        Some((summary, SegmentIndex::decode(rest)?))
    }
}

/// One segment of an open log, shared by the log and those who read it.
pub(crate) struct Segment<S: Storage> {
    /// Identity within the shard for caches: what is cached under it never changes.
    pub(crate) uid: u64,
    pub(crate) base: Offset,
    pub(crate) seed: FrameSeed,
    pub(crate) compacted: Option<Compacted>,
    /// Of the active segment: as of the last append.
    pub(crate) summary: Cell<SegmentSummary>,
    /// The active segment's file stays open; a sealed one's is opened when it is read.
    file: RefCell<Option<Rc<S::File>>>,
    /// `None` until a sealed segment's index is needed.
    index: RefCell<Option<SegmentIndex>>,
}

impl<S: Storage> Segment<S> {
    pub(crate) fn new(
        uid: u64,
        header: &SegmentHeader,
        summary: SegmentSummary,
        file: Option<Rc<S::File>>,
        index: Option<SegmentIndex>,
    ) -> Segment<S> {
        Segment {
            uid,
            base: header.base_offset,
            seed: header.seed(),
            compacted: header.compacted,
            summary: Cell::new(summary),
            file: RefCell::new(file),
            index: RefCell::new(index),
        }
    }

    pub(crate) fn opened(&self) -> Option<Rc<S::File>> {
        self.file.borrow().clone()
    }

    /// The file, opened for reading if it is not open.
    pub(crate) async fn file(&self, storage: &S, dir: &Path) -> Result<Rc<S::File>, IoError> {
        if let Some(file) = self.opened() {
            return Ok(file);
        }
        let file = Rc::new(storage.open(&dir.join(file_name(self.base, NameKind::Log)), Access::Read).await?);
        // Another reader may have been quicker; one handle is enough.
        Ok(self.file.borrow_mut().get_or_insert(file).clone())
    }

    /// Lets go of the file; readers that hold it keep it open.
    pub(crate) fn forget_file(&self) -> Option<Rc<S::File>> {
        self.file.borrow_mut().take()
    }

    pub(crate) fn forget_index(&self) {
        self.index.borrow_mut().take();
    }

    /// Works on the index, if it is in memory.
    pub(crate) fn with_index<T>(&self, work: impl FnOnce(&mut SegmentIndex) -> T) -> Option<T> {
        self.index.borrow_mut().as_mut().map(work)
    }

    pub(crate) fn set_index(&self, index: SegmentIndex) {
        *self.index.borrow_mut() = Some(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            identity: LogIdentity { topic_id: TopicId(Uuid::from_u128(5)), partition: PartitionId(1) },
            base_offset: Offset(1234),
            incarnation: Incarnation(7),
            compacted: None,
        }
    }

    #[test]
    fn the_header_survives_the_round_trip_and_no_flipped_bit() {
        let compacted = Compacted { end_offset: Offset(9_000), end_position: 5_000, frames: 3 };
        for header in [header(), SegmentHeader { compacted: Some(compacted), ..header() }] {
            let block = header.encode();
            assert_eq!(SegmentHeader::decode(&block), Ok(header));
            for bit in 0..BLOCK_BYTES * 8 {
                let mut damaged = block.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_compacted_segment_that_cannot_be_is_refused() {
        let good = Compacted { end_offset: Offset(1_235), end_position: FIRST_FRAME_POSITION + 8, frames: 1 };
        for found in [
            Compacted { end_offset: Offset(1_234), ..good },
            Compacted { end_position: FIRST_FRAME_POSITION, ..good },
            Compacted { frames: 0, ..good },
        ] {
            let block = SegmentHeader { compacted: Some(found), ..header() }.encode();
            let refused = HeaderDamage::Compacted { base: Offset(1_234), found };
            assert_eq!(SegmentHeader::decode(&block), Err(refused));
        }
    }

    #[test]
    fn names_are_kafkas() {
        assert_eq!(file_name(Offset(42), NameKind::Log), "00000000000000000042.log");
        for kind in [NameKind::Log, NameKind::Index, NameKind::State] {
            assert_eq!(parse_file_name(&file_name(Offset(i64::MAX), kind)), Some((Offset(i64::MAX), kind)));
        }
        for strange in [
            "",
            "checkpoint",
            "42.log",
            "0000000000000000004x.log",
            "99999999999999999999.log",
            "ä0000000000000000000.log",
        ] {
            assert_eq!(parse_file_name(strange), None, "{strange}");
        }
    }

    #[test]
    fn summary_and_index_survive_the_round_trip() {
        let mut summary = SegmentSummary::empty(Offset(5));
        summary.next_offset = Offset(100);
        summary.end_position = 9000;
        summary.max_timestamp = 77;
        let mut index = SegmentIndex::new(100);
        index.note(Offset(50), 8000, 70);
        assert_eq!(SegmentSummary::decode(&summary.encode(&index)), Some((summary, index)));
        assert_eq!(SegmentSummary::decode(&[0; 20]), None);
    }
}
