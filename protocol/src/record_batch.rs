//! Zero-copy view of a record batch of message format v2, the only one the log stores (Kafka protocol guide, "Record
//! Batch"; KIP-98).
//!
//! The broker never decodes records to store or serve them: it reads the 61-byte header, verifies the CRC-32C, and
//! stamps what the leader assigns. The stamped fields of a plain append (base offset, leader epoch) lie outside the
//! checksum, so the producer's checksum travels untouched from producer to consumer.

use crate::newtypes::{LeaderEpoch, Offset, ProducerId};

/// Bytes of a v2 batch header, up to and including the record count.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch_length` counts (base offset and the length itself).
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// The current and only accepted message format.
pub const MAGIC_V2: i8 = 2;

const OFFSET_LENGTH: usize = 8;
const OFFSET_LEADER_EPOCH: usize = 12;
const OFFSET_MAGIC: usize = 16;
const OFFSET_CRC: usize = 17;
const OFFSET_ATTRIBUTES: usize = 21;
const OFFSET_LAST_DELTA: usize = 23;
const OFFSET_BASE_TIMESTAMP: usize = 27;
const OFFSET_MAX_TIMESTAMP: usize = 35;
const OFFSET_PRODUCER_ID: usize = 43;
const OFFSET_PRODUCER_EPOCH: usize = 51;
const OFFSET_BASE_SEQUENCE: usize = 53;
/// Where a batch says how many records it has, as an INT32.
pub const OFFSET_RECORD_COUNT: usize = 57;
const _: () = assert!(OFFSET_RECORD_COUNT + 4 == HEADER_BYTES);

/// Attribute of a batch that compaction has given a delete horizon (KIP-534).
pub(crate) const DELETE_HORIZON_BIT: i16 = 0x40;

/// How the records of a batch are compressed (attribute bits 0-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// The codec's number in the attributes.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }
}

/// Whose clock a batch's timestamps are of (attribute bit 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// Why bytes are not an acceptable record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("record batch cut short: {have} bytes where {need} are needed")]
    Truncated { need: usize, have: usize },
    #[error("message format {magic} is not supported: only format 2 is")]
    UnsupportedMagic { magic: i8 },
    #[error("batch length {length} is below the {minimum} bytes of a header")]
    LengthTooSmall { length: i32, minimum: usize },
    #[error("batch CRC-32C is {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { expected: u32, found: u32 },
    #[error("record count {count} does not fit last offset delta {last_offset_delta}")]
    CountMismatch { count: i32, last_offset_delta: i32 },
    #[error("unknown compression codec {codec}")]
    UnknownCompression { codec: i16 },
}

/// The header of a v2 record batch, decoded. Offsets are as found in the bytes: relative to nothing the broker assigned
/// until [`stamp`] has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes of the whole batch, the 12 bytes before its length field included.
    pub size_bytes: usize,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Milliseconds since the Unix epoch; -1 when there is none.
    pub base_timestamp: i64,
    /// Milliseconds since the Unix epoch; -1 when there is none.
    pub max_timestamp: i64,
    pub producer_id: ProducerId,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that starts at `bytes[0]`; the batch must lie wholly within `bytes`.
    ///
    /// Checks sizes and the magic byte only; see [`BatchHeader::verify`].
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        if bytes.len() < OFFSET_CRC {
            return Err(BatchError::Truncated { need: HEADER_BYTES, have: bytes.len() });
        }
        // The magic byte lies at the same place in every format, so an old one is told apart from garbage lengths.
        let magic = bytes[OFFSET_MAGIC] as i8;
        if magic != MAGIC_V2 {
            return Err(BatchError::UnsupportedMagic { magic });
        }
        let length = i32_at(bytes, OFFSET_LENGTH);
        let minimum = HEADER_BYTES - LOG_OVERHEAD_BYTES;
        if length < minimum as i32 {
            return Err(BatchError::LengthTooSmall { length, minimum });
        }
        let size_bytes = LOG_OVERHEAD_BYTES + length as usize;
        if bytes.len() < size_bytes {
            return Err(BatchError::Truncated { need: size_bytes, have: bytes.len() });
        }
        Ok(BatchHeader {
            base_offset: Offset(i64_at(bytes, 0)),
            size_bytes,
            leader_epoch: LeaderEpoch(i32_at(bytes, OFFSET_LEADER_EPOCH)),
            magic,
            crc: i32_at(bytes, OFFSET_CRC) as u32,
            attributes: i16_at(bytes, OFFSET_ATTRIBUTES),
            last_offset_delta: i32_at(bytes, OFFSET_LAST_DELTA),
            base_timestamp: i64_at(bytes, OFFSET_BASE_TIMESTAMP),
            max_timestamp: i64_at(bytes, OFFSET_MAX_TIMESTAMP),
            producer_id: ProducerId(i64_at(bytes, OFFSET_PRODUCER_ID)),
            producer_epoch: i16_at(bytes, OFFSET_PRODUCER_EPOCH),
            base_sequence: i32_at(bytes, OFFSET_BASE_SEQUENCE),
            record_count: i32_at(bytes, OFFSET_RECORD_COUNT),
        })
    }

    /// Verifies the CRC-32C alone. `bytes` starts at this batch.
    pub fn verify_crc(&self, bytes: &[u8]) -> Result<(), BatchError> {
        let need = self.size_bytes;
        let covered = bytes.get(OFFSET_ATTRIBUTES..need).ok_or(BatchError::Truncated { need, have: bytes.len() })?;
        let expected = crc32c::crc32c(covered);
        if expected != self.crc {
            return Err(BatchError::CrcMismatch { expected, found: self.crc });
        }
        Ok(())
    }

    /// Verifies the CRC-32C and the consistency of counts and codec, as for a batch fresh from a producer
    /// (see [`BatchHeader::verify_stored`] for others). `bytes` starts at this batch.
    pub fn verify(&self, bytes: &[u8]) -> Result<(), BatchError> {
        self.verify_crc(bytes)?;
        if self.record_count <= 0 || self.record_count.checked_sub(1) != Some(self.last_offset_delta) {
            return Err(BatchError::CountMismatch {
                count: self.record_count,
                last_offset_delta: self.last_offset_delta,
            });
        }
        self.compression().map(|_| ())
    }

    /// As [`BatchHeader::verify`], for a batch that may have been compacted: it can have fewer records than offsets, or none.
    pub fn verify_stored(&self, bytes: &[u8]) -> Result<(), BatchError> {
        self.verify_crc(bytes)?;
        let (count, last_offset_delta) = (self.record_count, self.last_offset_delta);
        if last_offset_delta < 0 || count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
            return Err(BatchError::CountMismatch { count, last_offset_delta });
        }
        self.compression().map(|_| ())
    }

    /// Whether the batch is what its producer sent: compaction has taken nothing out of it and put nothing in. Two replicas
    /// have the same bytes of such a batch alone.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.record_count.checked_sub(1) == Some(self.last_offset_delta) && self.delete_horizon_ms().is_none()
    }

    /// From when on compaction may drop the batch's tombstones, in milliseconds since the Unix epoch (KIP-534). It stands
    /// where the base timestamp would be; timestamp deltas count from it all the same.
    #[must_use]
    pub fn delete_horizon_ms(&self) -> Option<i64> {
        (self.attributes & DELETE_HORIZON_BIT != 0).then_some(self.base_timestamp)
    }

    /// Offset of the batch's last record. Saturates: before stamping, the base offset is whatever a client sent.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// Offset after the batch's last record. Saturates like [`BatchHeader::last_offset`].
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    pub fn compression(&self) -> Result<Compression, BatchError> {
        match self.attributes & 0x07 {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            codec => Err(BatchError::UnknownCompression { codec }),
        }
    }

    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & 0x08 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Control batches (transaction markers) are written by brokers only, never by clients.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.producer_id != ProducerId::NONE
    }

    /// Sequence number of the batch's last record; sequences wrap from `i32::MAX` to 0 (KIP-98).
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        advance_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// What [`write_header`] puts into a header; lengths and checksum follow from the batch itself.
pub(crate) struct BatchParts {
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: ProducerId,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) record_count: i32,
}

/// Writes the header of `batch`, whose records are in place after [`HEADER_BYTES`], with its length and CRC-32C.
pub(crate) fn write_header(batch: &mut [u8], parts: &BatchParts) {
    let length = (batch.len() - LOG_OVERHEAD_BYTES) as i32;
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &parts.base_offset.0.to_be_bytes());
    put(OFFSET_LENGTH, &length.to_be_bytes());
    put(OFFSET_LEADER_EPOCH, &parts.leader_epoch.0.to_be_bytes());
    put(OFFSET_MAGIC, &MAGIC_V2.to_be_bytes());
    put(OFFSET_ATTRIBUTES, &parts.attributes.to_be_bytes());
    put(OFFSET_LAST_DELTA, &parts.last_offset_delta.to_be_bytes());
    put(OFFSET_BASE_TIMESTAMP, &parts.base_timestamp.to_be_bytes());
    put(OFFSET_MAX_TIMESTAMP, &parts.max_timestamp.to_be_bytes());
    put(OFFSET_PRODUCER_ID, &parts.producer_id.0.to_be_bytes());
    put(OFFSET_PRODUCER_EPOCH, &parts.producer_epoch.to_be_bytes());
    put(OFFSET_BASE_SEQUENCE, &parts.base_sequence.to_be_bytes());
    put(OFFSET_RECORD_COUNT, &parts.record_count.to_be_bytes());
    renew_crc(batch);
}

fn renew_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[OFFSET_ATTRIBUTES..]);
    batch[OFFSET_CRC..OFFSET_CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The batches that lie one behind the other in `bytes`, each with its header; ends after the first error. Headers are
/// parsed, not verified.
pub fn batches(bytes: &[u8]) -> impl Iterator<Item = Result<(BatchHeader, &[u8]), BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = BatchHeader::parse(rest);
        let (batch, behind) = rest.split_at(parsed.as_ref().map_or(rest.len(), |header| header.size_bytes));
        rest = behind;
        Some(parsed.map(|header| (header, batch)))
    })
}

/// `sequence + delta`, wrapping from `i32::MAX` to 0 as producers do.
#[must_use]
pub fn advance_sequence(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}

/// Writes the leader's base offset and epoch into the batch. Neither is under the CRC.
///
/// # Panics
/// If `batch` is shorter than a header; call only on a batch that [`BatchHeader::parse`] accepted.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[OFFSET_LEADER_EPOCH..OFFSET_LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Bytes at a batch's begin that [`stamp`] writes to; what follows goes to consumers as the producer sent it.
pub const STAMPED_BYTES: usize = OFFSET_MAGIC;

/// The first bytes of `batch` as [`stamp`] would leave them, for a batch that is not to be changed or copied.
///
/// # Panics
/// As [`stamp`].
#[must_use]
pub fn stamped_head(batch: &[u8], base_offset: Offset, leader_epoch: LeaderEpoch) -> [u8; STAMPED_BYTES] {
    let mut head = [0; STAMPED_BYTES];
    head.copy_from_slice(&batch[..STAMPED_BYTES]);
    stamp(&mut head, base_offset, leader_epoch);
    head
}

/// Turns the batch into one of `LogAppendTime` at `now_ms` and renews its CRC-32C, as a topic with
/// `message.timestamp.type=LogAppendTime` wants.
///
/// # Panics
/// If `batch` is not exactly one batch that [`BatchHeader::parse`] accepted.
pub fn stamp_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16_at(batch, OFFSET_ATTRIBUTES) | 0x08;
    batch[OFFSET_ATTRIBUTES..OFFSET_ATTRIBUTES + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[OFFSET_MAX_TIMESTAMP..OFFSET_MAX_TIMESTAMP + 8].copy_from_slice(&now_ms.to_be_bytes());
    renew_crc(batch);
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests;
