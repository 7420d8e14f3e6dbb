//! What a Produce request of version 3 and up may carry for a partition: exactly one record batch of format 2.
//!
//! Follows what Kafka 4.3 checks before an append (`ProduceRequest.validateRecords`, then the log's own checks), in its
//! order; each variant of [`ProduceRecordsError`] names the error Kafka answers with. Records themselves are not looked
//! at: see [`crate::records`].

use bytes::Bytes;

use crate::record_batch::{BatchError, BatchHeader, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC_V2};

#[cfg(test)]
mod tests;

/// First Produce version in which a producer may use zstd (KIP-110).
const FIRST_VERSION_WITH_ZSTD: i16 = 7;
/// The least that the length field of a batch or message of any format can say: the rest of a format 0 message.
const LENGTH_MIN: i32 = 14;
/// Bytes up to and with the magic byte, which lies at the same place in every format.
const BYTES_TO_MAGIC: usize = 17;

/// A batch fit to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceBatch {
    pub header: BatchHeader,
    /// The batch alone, a slice of the request.
    pub bytes: Bytes,
}

/// Why the records of a partition are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceRecordsError {
    /// Kafka: `INVALID_RECORD`.
    #[error("no whole record batch in {bytes} bytes of records, exactly one is expected")]
    NoBatch { bytes: usize },
    /// Kafka: `INVALID_RECORD`.
    #[error("more than one record batch: the first ends at byte {first_ends} of {bytes}, exactly one is expected")]
    MoreThanOneBatch { first_ends: usize, bytes: usize },
    /// The message sets of format 0 and 1, from producers before Kafka 0.11. Kafka: `INVALID_RECORD`.
    #[error("message format {magic} is no longer accepted, only format 2 is (KIP-724)")]
    OldFormat { magic: i8 },
    /// Kafka: `CORRUPT_MESSAGE`.
    #[error("message format {magic} does not exist")]
    UnknownFormat { magic: i8 },
    /// Kafka: `CORRUPT_MESSAGE`.
    #[error("batch length {length} is below the {minimum} that any batch has")]
    LengthTooSmall { length: i32, minimum: i32 },
    /// Kafka: `UNSUPPORTED_COMPRESSION_TYPE`.
    #[error("zstd in Produce version {version}: it is allowed from version 7")]
    ZstdTooEarly { version: i16 },
    /// Kafka: `INVALID_RECORD`.
    #[error("base offset is {found}, a producer has to send 0")]
    BaseOffset { found: i64 },
    /// Kafka: `MESSAGE_TOO_LARGE`.
    #[error("record batch of {bytes} bytes is larger than the {limit} that max.message.bytes allows")]
    TooLarge { bytes: usize, limit: usize },
    /// Kafka: `CORRUPT_MESSAGE`.
    #[error("batch CRC-32C is {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { expected: u32, found: u32 },
    /// Kafka: `INVALID_RECORD`.
    #[error("record count {count} does not fit last offset delta {last_offset_delta}")]
    CountMismatch { count: i32, last_offset_delta: i32 },
    /// Kafka: `INVALID_RECORD`.
    #[error("clients must not write control batches")]
    ControlBatch,
    /// Kafka: `INVALID_RECORD`.
    #[error("sequence {found} in a batch with a producer id; sequences start at 0")]
    NegativeSequence { found: i32 },
    /// Kafka: `UNKNOWN_SERVER_ERROR`, for want of a check.
    #[error("unknown compression codec {codec}")]
    UnknownCompression { codec: i16 },
}

/// Checks the records of one partition in a Produce request of `version` and cuts out their batch.
///
/// `batch_bytes_max` is the topic's `max.message.bytes`. An incomplete batch after the first is dropped in silence, as
/// Kafka does.
pub fn check_produce_records(
    version: i16,
    records: &Bytes,
    batch_bytes_max: usize,
) -> Result<ProduceBatch, ProduceRecordsError> {
    let bytes = records.len();
    let (size, magic) = next_batch(records)?.ok_or(ProduceRecordsError::NoBatch { bytes })?;
    if magic != MAGIC_V2 {
        return Err(ProduceRecordsError::OldFormat { magic });
    }
    let header = BatchHeader::parse(records).map_err(from_parse)?;
    let compression = header.compression();
    if version < FIRST_VERSION_WITH_ZSTD && compression == Ok(Compression::Zstd) {
        return Err(ProduceRecordsError::ZstdTooEarly { version });
    }
    if next_batch(&records[size..])?.is_some() {
        return Err(ProduceRecordsError::MoreThanOneBatch { first_ends: size, bytes });
    }
    if header.base_offset.0 != 0 {
        return Err(ProduceRecordsError::BaseOffset { found: header.base_offset.0 });
    }
    if size > batch_bytes_max {
        return Err(ProduceRecordsError::TooLarge { bytes: size, limit: batch_bytes_max });
    }
    header.verify(records).map_err(from_parse)?;
    if header.is_control() {
        return Err(ProduceRecordsError::ControlBatch);
    }
    if header.is_idempotent() && header.base_sequence < 0 {
        return Err(ProduceRecordsError::NegativeSequence { found: header.base_sequence });
    }
    Ok(ProduceBatch { header, bytes: records.slice(..size) })
}

/// Size and format of the batch or message at the front, `None` if it is not wholly there.
fn next_batch(bytes: &[u8]) -> Result<Option<(usize, i8)>, ProduceRecordsError> {
    let Some(prefix) = bytes.first_chunk::<LOG_OVERHEAD_BYTES>() else { return Ok(None) };
    let [.., l0, l1, l2, l3] = *prefix;
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    if length < LENGTH_MIN {
        return Err(ProduceRecordsError::LengthTooSmall { length, minimum: LENGTH_MIN });
    }
    let Some(&[.., magic]) = bytes.first_chunk::<BYTES_TO_MAGIC>() else { return Ok(None) };
    let magic = magic as i8;
    if !(0..=MAGIC_V2).contains(&magic) {
        return Err(ProduceRecordsError::UnknownFormat { magic });
    }
    let size = LOG_OVERHEAD_BYTES + length as usize;
    Ok((size <= bytes.len()).then_some((size, magic)))
}

fn from_parse(error: BatchError) -> ProduceRecordsError {
    match error {
        BatchError::Truncated { have, .. } => ProduceRecordsError::NoBatch { bytes: have },
        BatchError::UnsupportedMagic { magic } => ProduceRecordsError::UnknownFormat { magic },
        BatchError::LengthTooSmall { length, .. } => {
            ProduceRecordsError::LengthTooSmall { length, minimum: (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 }
        }
        BatchError::CrcMismatch { expected, found } => ProduceRecordsError::CrcMismatch { expected, found },
        BatchError::CountMismatch { count, last_offset_delta } => {
            ProduceRecordsError::CountMismatch { count, last_offset_delta }
        }
        BatchError::UnknownCompression { codec } => ProduceRecordsError::UnknownCompression { codec },
    }
}
