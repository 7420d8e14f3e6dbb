//! What lies in a region of the journal: a header block, then records, one per commit, each of whole blocks.
//!
//! A record holds, for each log of the commit, the range of the log's segment that the commit appended: whole frames,
//! byte for byte as they go into the segment. Pure.
//!
//! Contract: [`Record::decode`] accepts only bytes that [`RecordWriter`] made for the same journal; the CRC-32 is seeded
//! with the journal's id, so records of a journal before in recycled space never pass. Sequences rise by one from record
//! to record, over all regions; a record begins only when the one before it is durable.
//!
//! Layout, little endian. Region header: magic `RLJH`, CRC-32 of the rest of the block u32, version u32, shard u32, region
//! u32, zeros u32, journal id 16 bytes, region bytes u64, done before u64, zeros. Record: magic `RLJ1`, CRC-32 of
//! everything behind it u32, bytes u32, entries u32, sequence u64, settled before u64, version u32, zeros u32, then the
//! entries, zeros up to the block's end. Entry: topic id 16 bytes, partition i32, bytes u32, segment base i64, position
//! u64, then the frames.

use protocol::{Offset, PartitionId, TopicId};
use uuid::Uuid;
use zerocopy::little_endian::{I32, I64, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::file::{BLOCK_BYTES, block_ceil};
use crate::log::LogIdentity;

const REGION_MAGIC: [u8; 4] = *b"RLJH";
const RECORD_MAGIC: [u8; 4] = *b"RLJ1";
const VERSION: u32 = 1;
/// Where a region's first record begins.
pub const FIRST_RECORD_POSITION: u64 = BLOCK_BYTES as u64;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = size_of::<RecordHeader>();
/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = size_of::<EntryHeader>();
/// What a CRC covers begins here, in regions' headers and in records.
const CRC_COVERS_FROM: usize = 8;

const _: () = assert!(RECORD_HEADER_BYTES == 40 && ENTRY_HEADER_BYTES == 40);

/// Number of a record; rises by one from record to record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The record after this one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a region's header block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionHeader {
    /// Of one shard in one life of the process.
    pub journal: Uuid,
    pub shard: u32,
    pub region: u32,
    /// Size of the file.
    pub region_bytes: u64,
    /// Every record below is in the logs' own files, durably; [`Sequence`] 0 while the journal is in use.
    pub done_before: Sequence,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRegionHeader {
    magic: [u8; 4],
    crc: U32,
    version: U32,
    shard: U32,
    region: U32,
    reserved: U32,
    journal: [u8; 16],
    region_bytes: U64,
    done_before: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RecordHeader {
    magic: [u8; 4],
    crc: U32,
    /// Header and entries, without the padding.
    bytes: U32,
    entries: U32,
    sequence: U64,
    settled_before: U64,
    version: U32,
    reserved: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct EntryHeader {
    topic_id: [u8; 16],
    partition: I32,
    bytes: U32,
    segment_base: I64,
    position: U64,
}

/// Why a block is not a region's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionDamage {
    #[error("the file ends within the header ({have} of {BLOCK_BYTES} bytes)")]
    CutShort { have: usize },
    #[error("magic bytes {found:02x?} instead of {REGION_MAGIC:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("header CRC-32 {found:#010x}, its content gives {expected:#010x}")]
    Crc { expected: u32, found: u32 },
    #[error("journal version {found} instead of {VERSION}")]
    UnknownVersion { found: u32 },
}

impl RegionHeader {
    /// The header block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut raw = RawRegionHeader {
            magic: REGION_MAGIC,
            crc: U32::ZERO,
            version: U32::new(VERSION),
            shard: U32::new(self.shard),
            region: U32::new(self.region),
            reserved: U32::ZERO,
            journal: *self.journal.as_bytes(),
            region_bytes: U64::new(self.region_bytes),
            done_before: U64::new(self.done_before.0),
        };
        let mut block = raw.as_bytes().to_vec();
        block.resize(BLOCK_BYTES, 0);
        raw.crc = U32::new(crc32fast::hash(&block[CRC_COVERS_FROM..]));
        block[..size_of::<RawRegionHeader>()].copy_from_slice(raw.as_bytes());
        block
    }

    /// Reads a header block, at least [`BLOCK_BYTES`] long.
    pub fn decode(block: &[u8]) -> Result<RegionHeader, RegionDamage> {
        let Some(block) = block.first_chunk::<BLOCK_BYTES>() else {
            return Err(RegionDamage::CutShort { have: block.len() });
        };
        let (raw, _) = RawRegionHeader::ref_from_prefix(block).expect("a block is larger");
        if raw.magic != REGION_MAGIC {
            return Err(RegionDamage::BadMagic { found: raw.magic });
        }
        let expected = crc32fast::hash(&block[CRC_COVERS_FROM..]);
        if raw.crc.get() != expected {
            return Err(RegionDamage::Crc { expected, found: raw.crc.get() });
        }
        if raw.version.get() != VERSION {
            return Err(RegionDamage::UnknownVersion { found: raw.version.get() });
        }
        Ok(RegionHeader {
            journal: Uuid::from_bytes(raw.journal),
            shard: raw.shard.get(),
            region: raw.region.get(),
            region_bytes: raw.region_bytes.get(),
            done_before: Sequence(raw.done_before.get()),
        })
    }
}

/// A range of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPlace {
    pub identity: LogIdentity,
    pub segment_base: Offset,
    /// Bytes from the begin of the segment's file.
    pub position: u64,
}

/// Fills the memory of one record, entry by entry.
pub(crate) struct RecordWriter<'a> {
    bytes: &'a mut [u8],
    used: usize,
    entries: u32,
}

/// Bytes of a record with `entries` entries of `frames_bytes` together, whole blocks.
pub(crate) fn record_bytes(entries: usize, frames_bytes: u64) -> u64 {
    block_ceil((RECORD_HEADER_BYTES + entries * ENTRY_HEADER_BYTES) as u64 + frames_bytes)
}

impl<'a> RecordWriter<'a> {
    /// `bytes` has the size that [`record_bytes`] gave.
    pub(crate) fn new(bytes: &'a mut [u8]) -> RecordWriter<'a> {
        RecordWriter { bytes, used: RECORD_HEADER_BYTES, entries: 0 }
    }

    /// Where the frames of an entry of `len` bytes are to be copied to.
    pub(crate) fn entry(&mut self, place: &EntryPlace, len: usize) -> &mut [u8] {
        let header = EntryHeader {
            topic_id: *place.identity.topic_id.0.as_bytes(),
            partition: I32::new(place.identity.partition.0),
            bytes: U32::new(u32::try_from(len).expect("a record is smaller than 4 GiB")),
            segment_base: I64::new(place.segment_base.0),
            position: U64::new(place.position),
        };
        self.bytes[self.used..][..ENTRY_HEADER_BYTES].copy_from_slice(header.as_bytes());
        let start = self.used + ENTRY_HEADER_BYTES;
        self.used = start + len;
        self.entries += 1;
        &mut self.bytes[start..start + len]
    }

    /// Completes the record.
    pub(crate) fn finish(self, journal: Uuid, sequence: Sequence, settled_before: Sequence) {
        let RecordWriter { bytes, used, entries } = self;
        bytes[used..].fill(0);
        let mut header = RecordHeader {
            magic: RECORD_MAGIC,
            crc: U32::ZERO,
            bytes: U32::new(u32::try_from(used).expect("a record is smaller than 4 GiB")),
            entries: U32::new(entries),
            sequence: U64::new(sequence.0),
            settled_before: U64::new(settled_before.0),
            version: U32::new(VERSION),
            reserved: U32::ZERO,
        };
        bytes[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
        header.crc = U32::new(crc(journal, &bytes[CRC_COVERS_FROM..used]));
        bytes[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
    }
}

fn crc(journal: Uuid, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc32fast::hash(journal.as_bytes()));
    hasher.update(bytes);
    hasher.finalize()
}

/// A record whose checksum is good.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub sequence: Sequence,
    /// Every record below was in the logs' own files, durably, when this one was written.
    pub settled_before: Sequence,
    pub entries: u32,
    /// Bytes from this record's begin to the next one's.
    pub bytes: u64,
    content: &'a [u8],
}

/// One log's part of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub place: EntryPlace,
    /// Whole frames.
    pub frames: &'a [u8],
}

/// A record with a good checksum that no writer made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record with a good checksum holds {found} of {expected} entries")]
pub struct Malformed {
    pub expected: u32,
    pub found: u32,
}

impl<'a> Record<'a> {
    /// The record that begins at `bytes[0]`; `None` if there is none of this journal. Looks at the checksum last.
    #[must_use]
    pub fn decode(journal: Uuid, bytes: &'a [u8]) -> Option<Record<'a>> {
        let (header, _) = RecordHeader::ref_from_prefix(bytes).ok()?;
        let used = header.bytes.get() as usize;
        let plausible = header.magic == RECORD_MAGIC
            && header.version.get() == VERSION
            && (RECORD_HEADER_BYTES..=bytes.len()).contains(&used);
        if !plausible || crc(journal, &bytes[CRC_COVERS_FROM..used]) != header.crc.get() {
            return None;
        }
        Some(Record {
            sequence: Sequence(header.sequence.get()),
            settled_before: Sequence(header.settled_before.get()),
            entries: header.entries.get(),
            bytes: block_ceil(used as u64),
            content: &bytes[RECORD_HEADER_BYTES..used],
        })
    }

    /// Its entries, in the order in which they were written.
    pub fn entries(&self) -> Result<Vec<Entry<'a>>, Malformed> {
        let mut rest = self.content;
        let mut entries = Vec::new();
        while let Ok((header, behind)) = EntryHeader::ref_from_prefix(rest) {
            let Some((frames, behind)) = behind.split_at_checked(header.bytes.get() as usize) else { break };
            let identity = LogIdentity {
                topic_id: TopicId(Uuid::from_bytes(header.topic_id)),
                partition: PartitionId(header.partition.get()),
            };
            let segment_base = Offset(header.segment_base.get());
            let place = EntryPlace { identity, segment_base, position: header.position.get() };
            entries.push(Entry { place, frames });
            rest = behind;
        }
        if rest.is_empty() && entries.len() == self.entries as usize {
            return Ok(entries);
        }
        Err(Malformed { expected: self.entries, found: entries.len() as u32 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(17);

    fn place(number: u64) -> EntryPlace {
        let identity = LogIdentity {
            topic_id: TopicId(Uuid::from_u128(u128::from(number))),
            partition: PartitionId(number as i32),
        };
        EntryPlace { identity, segment_base: Offset(number as i64 * 10), position: 4096 + number }
    }

    fn record(frames: &[Vec<u8>], sequence: Sequence) -> Vec<u8> {
        let bytes = frames.iter().map(|frames| frames.len() as u64).sum();
        let mut memory = vec![0xee; record_bytes(frames.len(), bytes) as usize];
        let mut writer = RecordWriter::new(&mut memory);
        for (at, frames) in frames.iter().enumerate() {
            writer.entry(&place(at as u64), frames.len()).copy_from_slice(frames);
        }
        writer.finish(JOURNAL, sequence, Sequence(sequence.0 / 2));
        memory
    }

    #[test]
    fn a_region_header_survives_the_round_trip_and_no_flipped_bit() {
        let header =
            RegionHeader { journal: JOURNAL, shard: 3, region: 1, region_bytes: 1 << 20, done_before: Sequence(9) };
        let block = header.encode();
        assert_eq!((block.len(), RegionHeader::decode(&block)), (BLOCK_BYTES, Ok(header)));
        for bit in 0..BLOCK_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(RegionHeader::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_of_another_journal_is_none() {
        let bytes = record(&[vec![1; 100]], Sequence(1));
        assert!(Record::decode(JOURNAL, &bytes).is_some());
        assert!(Record::decode(Uuid::from_u128(18), &bytes).is_none());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let bytes = record(&frames, Sequence(8));
            let found = Record::decode(JOURNAL, &bytes).expect("a good record");
            prop_assert_eq!((found.sequence, found.settled_before), (Sequence(8), Sequence(4)));
            prop_assert_eq!(found.bytes, bytes.len() as u64);
            let entries = found.entries().expect("well-formed");
            prop_assert_eq!(entries.len(), frames.len());
            for (at, (entry, frames)) in entries.iter().zip(&frames).enumerate() {
                prop_assert_eq!(*entry, Entry { place: place(at as u64), frames: &frames[..] });
            }
        }

        #[test]
        fn every_flipped_bit_is_noticed(len in 0usize..200, at in any::<prop::sample::Index>()) {
            let mut bytes = record(&[vec![0xa5; len], vec![7; 9]], Sequence(3));
            let used = RECORD_HEADER_BYTES + 2 * ENTRY_HEADER_BYTES + len + 9;
            let bit = at.index(used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Record::decode(JOURNAL, &bytes).is_none());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), entries in any::<u32>()) {
            let _ = Record::decode(JOURNAL, &bytes);
            let _ = RegionHeader::decode(&bytes);
            let record = Record {
                sequence: Sequence(0), settled_before: Sequence(0), entries, bytes: 0, content: &bytes,
            };
            let _ = record.entries();
        }
    }
}
