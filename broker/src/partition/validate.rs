//! What a produced batch must satisfy before it is appended, and which Kafka error says so.
//!
//! Pure: bytes, topic configuration and the time in; a verdict out. What concerns the batch's header is
//! [`protocol::produce_records`]; here come the checks that need the records or the topic's configuration, in Kafka's
//! order. One walk over the records, decompressed as a stream and never kept, proves that there are as many as the header
//! says and finds missing keys and timestamps out of range; keys, values and headers are passed over.

use std::ops::ControlFlow;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use metadata::config::TopicConfig;
use protocol::produce_records::{ProduceBatch, ProduceRecordsError, check_produce_records};
use protocol::record_batch::{BatchHeader, TimestampType};
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, RecordMeta, RecordsError, scan_within};

/// What the walks over one request's records may go over: its own bytes, and what compression made small.
pub fn walk_budget(request_bytes: usize) -> u64 {
    DECOMPRESSED_BYTES_MAX_DEFAULT + request_bytes as u64
}

/// A refused batch: the protocol's error and a sentence for the client's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub error: ResponseError,
    pub message: String,
    /// Index of the record within the batch that is to blame, when a single one is (`record_errors`, KIP-467).
    pub record: Option<i32>,
}

impl Refused {
    pub fn new(error: ResponseError, message: impl Into<String>) -> Refused {
        Refused { error, message: message.into(), record: None }
    }
}

/// Checks one partition's `records` field of a Produce request of `version` and cuts out its single batch.
///
/// `now_ms` is the broker's clock in milliseconds since the Unix epoch. `walk_budget` is how many bytes of records the
/// walks of the whole request may still go over, decompressed: a shard does nothing else meanwhile.
pub fn validate(
    records: &Bytes,
    version: i16,
    config: &TopicConfig,
    now_ms: i64,
    walk_budget: &mut u64,
) -> Result<ProduceBatch, Refused> {
    let batch_bytes_max = usize::try_from(config.max_message_bytes).unwrap_or(0);
    let batch = check_produce_records(version, records, batch_bytes_max)
        .map_err(|error| Refused::new(error_code(&error), error.to_string()))?;
    let header = &batch.header;
    if header.is_transactional() {
        // No transaction can be open here: InitProducerId refuses transactional ids.
        return Err(Refused::new(
            ResponseError::InvalidTxnState,
            format!("producer {} wrote a transactional batch, but no transaction is open", header.producer_id),
        ));
    }
    if config.timestamp_type == TimestampType::CreateTime {
        let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
        if header.max_timestamp > latest {
            return Err(out_of_range(header.max_timestamp, config, now_ms, None));
        }
    }
    check_records(header, &batch.bytes, config, now_ms, walk_budget)?;
    Ok(batch)
}

fn error_code(error: &ProduceRecordsError) -> ResponseError {
    match error {
        ProduceRecordsError::NoBatch { .. }
        | ProduceRecordsError::MoreThanOneBatch { .. }
        | ProduceRecordsError::OldFormat { .. }
        | ProduceRecordsError::BaseOffset { .. }
        | ProduceRecordsError::CountMismatch { .. }
        | ProduceRecordsError::ControlBatch
        | ProduceRecordsError::NegativeSequence { .. } => ResponseError::InvalidRecord,
        ProduceRecordsError::UnknownFormat { .. }
        | ProduceRecordsError::LengthTooSmall { .. }
        | ProduceRecordsError::CrcMismatch { .. } => ResponseError::CorruptMessage,
        ProduceRecordsError::ZstdTooEarly { .. } => ResponseError::UnsupportedCompressionType,
        ProduceRecordsError::TooLarge { .. } => ResponseError::MessageTooLarge,
        ProduceRecordsError::UnknownCompression { .. } => ResponseError::UnknownServerError,
    }
}

fn out_of_range(timestamp: i64, config: &TopicConfig, now_ms: i64, record: Option<i32>) -> Refused {
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    Refused {
        error: ResponseError::InvalidTimestamp,
        message: format!(
            "Timestamp {timestamp} of message is out of range. The timestamp should be within [{earliest}, {latest}]"
        ),
        record,
    }
}

/// The walk over all records.
fn check_records(
    header: &BatchHeader,
    batch: &[u8],
    config: &TopicConfig,
    now_ms: i64,
    walk_budget: &mut u64,
) -> Result<(), Refused> {
    let keys_needed = config.cleanup_policy.compact;
    let earliest = match config.timestamp_type {
        TimestampType::CreateTime => now_ms.saturating_sub(config.timestamp_before_max_ms),
        TimestampType::LogAppendTime => i64::MIN,
    };
    let mut index = 0;
    let found = scan_within(batch, walk_budget, |record: RecordMeta| {
        if record.offset.0 - header.base_offset.0 != i64::from(index) {
            return ControlFlow::Break(Refused {
                error: ResponseError::InvalidRecord,
                message: format!("record {index} has offset {}, its place in the batch says {index}", record.offset),
                record: Some(index),
            });
        }
        if record.timestamp != -1 && record.timestamp < earliest {
            return ControlFlow::Break(out_of_range(record.timestamp, config, now_ms, Some(index)));
        }
        if keys_needed && !record.has_key {
            return ControlFlow::Break(Refused {
                error: ResponseError::InvalidRecord,
                message: "Compacted topic cannot accept message without key".into(),
                record: Some(index),
            });
        }
        index += 1;
        ControlFlow::Continue(())
    });
    match found {
        Ok(None) => Ok(()),
        Ok(Some(refused)) => Err(refused),
        Err(error) => {
            let code = match error {
                RecordsError::Batch(_) | RecordsError::Decompress(_) => ResponseError::CorruptMessage,
                RecordsError::CutShort { .. }
                | RecordsError::TooLarge { .. }
                | RecordsError::BadField { .. }
                | RecordsError::Length { .. }
                | RecordsError::LeftOver { .. } => ResponseError::InvalidRecord,
            };
            Err(Refused::new(code, crate::handlers::describe(&error)))
        }
    }
}

#[cfg(test)]
mod tests;
