//! What a produced batch must satisfy before it is appended, and which Kafka error says so.
//!
//! Pure: bytes, topic configuration and the time in; a verdict out. What concerns bytes alone is
//! [`protocol::produce_records`]; here come the checks that need the topic's configuration, in Kafka's order, with one
//! deliberate difference: records are not decompressed to be counted one by one, the CRC-32C and the header's counts must
//! do. Only what a topic asks for costs a walk through the records (compacted: every record's key; a lower bound on
//! timestamps: every record's timestamp).

use std::ops::ControlFlow;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use metadata::config::TopicConfig;
use protocol::produce_records::{ProduceBatch, ProduceRecordsError, check_produce_records};
use protocol::record_batch::{BatchHeader, TimestampType};
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, RecordMeta, RecordsError, scan};

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
/// `now_ms` is the broker's clock in milliseconds since the Unix epoch.
pub fn validate(records: &Bytes, version: i16, config: &TopicConfig, now_ms: i64) -> Result<ProduceBatch, Refused> {
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
        check_timestamps(header, &batch.bytes, config, now_ms)?;
    }
    if config.cleanup_policy.compact {
        check_keys(&batch.bytes)?;
    }
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

fn check_timestamps(header: &BatchHeader, batch: &[u8], config: &TopicConfig, now_ms: i64) -> Result<(), Refused> {
    let latest = now_ms.saturating_add(config.timestamp_after_max_ms);
    let earliest = now_ms.saturating_sub(config.timestamp_before_max_ms);
    let refuse = |timestamp: i64, record: Option<i32>| Refused {
        error: ResponseError::InvalidTimestamp,
        message: format!(
            "Timestamp {timestamp} of message is out of range. The timestamp should be within [{earliest}, {latest}]"
        ),
        record,
    };
    if header.max_timestamp > latest {
        return Err(refuse(header.max_timestamp, None));
    }
    // The header holds the largest timestamp only; the smallest costs a walk, so take it only where the topic asks.
    if earliest > 0
        && let Some((index, record)) =
            first_record(batch, |record| record.timestamp != -1 && record.timestamp < earliest)?
    {
        return Err(refuse(record.timestamp, Some(index)));
    }
    Ok(())
}

fn check_keys(batch: &[u8]) -> Result<(), Refused> {
    match first_record(batch, |record| !record.has_key)? {
        None => Ok(()),
        Some((index, _)) => Err(Refused {
            error: ResponseError::InvalidRecord,
            message: "Compacted topic cannot accept message without key".into(),
            record: Some(index),
        }),
    }
}

/// The first record that `wanted` says yes to, and its index.
fn first_record(batch: &[u8], wanted: impl Fn(&RecordMeta) -> bool) -> Result<Option<(i32, RecordMeta)>, Refused> {
    let mut index = 0;
    let found = scan(batch, DECOMPRESSED_BYTES_MAX_DEFAULT, |record| {
        if wanted(&record) {
            return ControlFlow::Break((index, record));
        }
        index += 1;
        ControlFlow::Continue(())
    });
    found.map_err(|error: RecordsError| Refused::new(ResponseError::CorruptMessage, error.to_string()))
}
