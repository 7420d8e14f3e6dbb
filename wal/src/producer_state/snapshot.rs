//! Snapshots of the producer table: retention removes the batches that could rebuild it, so they are kept beside the log.
//!
//! Layout, all numbers big endian: magic `RLPS`, version u16, reserved u16, offset the snapshot is valid at i64, number
//! of producers u32; per producer its id i64, epoch i16, number of batches u16, last timestamp i64, first offset i64, and
//! per batch last offset i64, max timestamp i64, last sequence i32, offset delta i32; at the end the CRC-32 (IEEE) of
//! all before it.

use std::collections::HashMap;

use protocol::{Offset, ProducerId};

use super::{BATCHES_RETAINED, BatchEntry, PRODUCERS_MAX, ProducerEntry, ProducerStateTable};

const MAGIC: &[u8; 4] = b"RLPS";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 20;
const PRODUCER_BYTES: usize = 28;
const BATCH_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

/// Why bytes are not a snapshot of a producer table. The snapshot is of no use then: take an older one, or rebuild from
/// the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("producer snapshot cut short: {have} bytes where at least {need} are needed")]
    Truncated { need: usize, have: usize },
    #[error("producer snapshot begins with {found:02x?}, expected the magic bytes {MAGIC:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("producer snapshot has version {found}, expected {VERSION}")]
    UnknownVersion { found: u16 },
    #[error("producer snapshot CRC-32 is {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { expected: u32, found: u32 },
    #[error("producer snapshot has {found} bytes left over after its {producers} producers")]
    TrailingBytes { producers: usize, found: usize },
    #[error("producer snapshot lists {field} {found} for producer {producer_id}, which cannot be")]
    BadField { producer_id: ProducerId, field: &'static str, found: i64 },
    #[error("producer snapshot is valid at offset {found}, which cannot be")]
    BadEndOffset { found: Offset },
}

impl ProducerStateTable {
    /// The table as bytes that [`ProducerStateTable::restore`] reads; equal tables give equal bytes.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let batches: usize = self.producers.values().map(|entry| entry.batches().len()).sum();
        let mut out = Vec::with_capacity(
            HEADER_BYTES + self.producers.len() * PRODUCER_BYTES + batches * BATCH_BYTES + CRC_BYTES,
        );
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&self.end_offset.0.to_be_bytes());
        out.extend_from_slice(&(self.producers.len() as u32).to_be_bytes());
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(id, _)| **id);
        for (id, entry) in producers {
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&entry.epoch.to_be_bytes());
            out.extend_from_slice(&u16::from(entry.batch_count).to_be_bytes());
            out.extend_from_slice(&entry.last_timestamp.to_be_bytes());
            out.extend_from_slice(&entry.created_at.to_be_bytes());
            for batch in entry.batches() {
                out.extend_from_slice(&batch.last_offset.to_be_bytes());
                out.extend_from_slice(&batch.max_timestamp.to_be_bytes());
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.offset_delta.to_be_bytes());
            }
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a snapshot. Any damage is an error; memory follows the size of `bytes`.
    pub fn restore(bytes: &[u8]) -> Result<ProducerStateTable, SnapshotError> {
        let need = HEADER_BYTES + CRC_BYTES;
        if bytes.len() < need {
            return Err(SnapshotError::Truncated { need, have: bytes.len() });
        }
        // Magic and version come before the checksum: a newer version may well be checksummed otherwise.
        let found: [u8; 4] = bytes[..4].try_into().expect("four bytes");
        if &found != MAGIC {
            return Err(SnapshotError::BadMagic { found });
        }
        let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        let mut reader = Reader { bytes: &content[4..] };
        let version = u16::from_be_bytes(reader.take()?);
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion { found: version });
        }
        let expected = crc32fast::hash(content);
        let found = u32::from_be_bytes(crc.try_into().expect("four bytes"));
        if expected != found {
            return Err(SnapshotError::CrcMismatch { expected, found });
        }
        let _reserved: [u8; 2] = reader.take()?;
        let end_offset = Offset(i64::from_be_bytes(reader.take()?));
        if end_offset < Offset::ZERO {
            return Err(SnapshotError::BadEndOffset { found: end_offset });
        }
        let count = u32::from_be_bytes(reader.take()?) as usize;
        let need = count.saturating_mul(PRODUCER_BYTES);
        if reader.bytes.len() < need {
            return Err(SnapshotError::Truncated { need, have: reader.bytes.len() });
        }
        let mut producers = HashMap::with_capacity(count);
        for _ in 0..count {
            let (id, entry) = read_producer(&mut reader, end_offset)?;
            producers.insert(id, entry);
        }
        if !reader.bytes.is_empty() {
            return Err(SnapshotError::TrailingBytes { producers: count, found: reader.bytes.len() });
        }
        Ok(ProducerStateTable { producers, producers_max: PRODUCERS_MAX, end_offset })
    }
}

fn read_producer(reader: &mut Reader<'_>, end_offset: Offset) -> Result<(ProducerId, ProducerEntry), SnapshotError> {
    let producer_id = ProducerId(i64::from_be_bytes(reader.take()?));
    let bad = |field, found| SnapshotError::BadField { producer_id, field, found };
    let epoch = i16::from_be_bytes(reader.take()?);
    let batch_count = u16::from_be_bytes(reader.take()?);
    if usize::from(batch_count) > BATCHES_RETAINED {
        return Err(bad("batch count", i64::from(batch_count)));
    }
    let last_timestamp = i64::from_be_bytes(reader.take()?);
    let created_at = i64::from_be_bytes(reader.take()?);
    let mut entry = ProducerEntry { last_timestamp, epoch, ..ProducerEntry::new(Offset(created_at)) };
    let mut previous_last_offset = -1;
    for _ in 0..batch_count {
        let batch = BatchEntry {
            last_offset: i64::from_be_bytes(reader.take()?),
            max_timestamp: i64::from_be_bytes(reader.take()?),
            last_sequence: i32::from_be_bytes(reader.take()?),
            offset_delta: i32::from_be_bytes(reader.take()?),
        };
        // What `check` computes with must not overflow, whoever wrote the file.
        if batch.last_offset <= previous_last_offset || batch.last_offset >= end_offset.0 {
            return Err(bad("last offset", batch.last_offset));
        }
        if batch.offset_delta < 0 || i64::from(batch.offset_delta) > batch.last_offset {
            return Err(bad("offset delta", i64::from(batch.offset_delta)));
        }
        if batch.last_sequence < 0 {
            return Err(bad("last sequence", i64::from(batch.last_sequence)));
        }
        previous_last_offset = batch.last_offset;
        entry.push(batch);
    }
    Ok((producer_id, entry))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) =
            self.bytes.split_first_chunk::<N>().ok_or(SnapshotError::Truncated { need: N, have: self.bytes.len() })?;
        self.bytes = rest;
        Ok(*head)
    }
}
