//! Work on single partitions that is neither produce nor fetch: one closed enum, run on the shard that owns the
//! partition, scattered and gathered by [`crate::shard::Shard::run_ops`].

use std::ops::ControlFlow;
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, join_all, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use metadata::controller::LogEnd;
use protocol::record_batch::{BatchHeader, TimestampType, batches};
use protocol::records;
use protocol::{LeaderEpoch, Offset};
use wal::reader::ReadError;

use crate::logging::limit;
use crate::partition::{Partition, PartitionKey, PartitionView};
use crate::shard::{Shard, placement};

/// `timestamp` values of ListOffsets with a meaning of their own.
pub const TIMESTAMP_LATEST: i64 = -1;
pub const TIMESTAMP_EARLIEST: i64 = -2;
pub const TIMESTAMP_MAX: i64 = -3;
pub const TIMESTAMP_EARLIEST_LOCAL: i64 = -4;
pub const TIMESTAMP_LATEST_TIERED: i64 = -5;

/// Bytes read at once while records are looked for.
const SCAN_READ_BYTES: usize = 1 << 20;

/// What to do, and with which partition.
pub struct PartitionOp {
    pub key: PartitionKey,
    pub kind: PartitionOpKind,
}

#[derive(Clone, Copy, Debug)]
pub enum PartitionOpKind {
    /// ListOffsets: where `timestamp` (or one of the special values) lies.
    OffsetForTimestamp { timestamp: i64, current_leader_epoch: LeaderEpoch },
    /// OffsetForLeaderEpoch: the end of an epoch.
    EpochEnd { epoch: LeaderEpoch, current_leader_epoch: LeaderEpoch },
    /// DeleteRecords: move the log start, on all replicas until `deadline`; `-1` is the high watermark.
    DeleteRecordsBefore { offset: Offset, deadline: Instant },
    /// `ringlog partition show`: what the leader knows of the replicas.
    View,
    /// DescribeLogDirs: bytes on disk; of followers too.
    SizeBytes,
    /// How the log ends, for an election; of followers.
    LogEnd,
    /// For the console: whole batches from the one with `offset` on, or from the log start if that is later, as far as they
    /// are committed and fit into `bytes_max`.
    ReadBatches { offset: Offset, bytes_max: usize },
}

impl PartitionOpKind {
    /// Whether it may wait for other brokers.
    pub fn waits_for_others(&self) -> bool {
        matches!(self, PartitionOpKind::DeleteRecordsBefore { .. })
    }
}

/// What [`PartitionOpKind`] answers, variant by variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionOpOutput {
    /// Timestamp and offset of the record found, -1 and -1 if there is none.
    Offset {
        timestamp: i64,
        offset: Offset,
        leader_epoch: LeaderEpoch,
    },
    EpochEnd {
        epoch: LeaderEpoch,
        end_offset: Offset,
    },
    LowWatermark {
        offset: Offset,
    },
    View(PartitionView),
    SizeBytes {
        bytes: u64,
    },
    LogEnd(LogEnd),
    Batches(CommittedBatches),
}

/// What [`PartitionOpKind::ReadBatches`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBatches {
    pub log_start: Offset,
    pub high_watermark: Offset,
    /// One behind the other; empty at the high watermark, or if not even the first one fits.
    pub batches: Bytes,
    /// Where to read on.
    pub next_offset: Offset,
}

pub type PartitionOpResult = Result<PartitionOpOutput, ResponseError>;

/// The operations that one request asks for, with the errors that are known before anything runs.
#[derive(Default)]
pub struct PartitionOps {
    ops: Vec<PartitionOp>,
    /// Per answer: the operation that gives it, or the error.
    answers: Vec<Result<usize, ResponseError>>,
}

impl PartitionOps {
    pub fn push(&mut self, op: Result<PartitionOp, ResponseError>) {
        self.answers.push(op.map(|op| {
            self.ops.push(op);
            self.ops.len() - 1
        }));
    }

    /// Runs all, each on the shard that owns its partition; one result per [`PartitionOps::push`], in order.
    pub async fn run(self, shard: &Rc<Shard>) -> impl Iterator<Item = PartitionOpResult> + use<> {
        let results = shard.run_ops(self.ops).await;
        self.answers.into_iter().map(move |answer| answer.and_then(|op| results[op].clone()))
    }
}

/// Hands each operation to the shard, of so many, that owns its partition, to all of them before the first answers; results in
/// the order of `ops`. What a shard does not answer, since it has ended, is KAFKA_STORAGE_ERROR.
pub async fn scatter(
    ops: Vec<PartitionOp>,
    shards: usize,
    mut hand_over: impl FnMut(usize, Vec<PartitionOp>, oneshot::Sender<Vec<PartitionOpResult>>),
) -> Vec<PartitionOpResult> {
    let mut results: Vec<PartitionOpResult> = vec![Err(ResponseError::KafkaStorageError); ops.len()];
    let mut by_shard: Vec<(Vec<usize>, Vec<PartitionOp>)> = (0..shards).map(|_| Default::default()).collect();
    for (slot, op) in ops.into_iter().enumerate() {
        let (slots, ops) = &mut by_shard[placement::owner_of(op.key, shards)];
        slots.push(slot);
        ops.push(op);
    }
    let mut parts = Vec::new();
    for (owner, (slots, ops)) in by_shard.into_iter().enumerate().filter(|(_, (slots, _))| !slots.is_empty()) {
        let (answer, receiver) = oneshot::channel();
        hand_over(owner, ops, answer);
        parts.push(async move { (slots, receiver.await.unwrap_or_default()) });
    }
    for (slots, answers) in join_all(parts).await {
        for (slot, answer) in slots.into_iter().zip(answers) {
            results[slot] = answer;
        }
    }
    results
}

/// Runs `op` on the shard that owns its partition.
pub async fn run(shard: &Rc<Shard>, op: PartitionOp) -> PartitionOpResult {
    let partition = shard.partition(op.key)?;
    match op.kind {
        PartitionOpKind::OffsetForTimestamp { timestamp, current_leader_epoch } => {
            partition.check_leader(current_leader_epoch)?;
            offset_for_timestamp(&partition, timestamp).await
        }
        PartitionOpKind::EpochEnd { epoch, current_leader_epoch } => {
            partition.check_leader(current_leader_epoch)?;
            let (epoch, end_offset) = partition.log.epoch_end_offset(epoch);
            Ok(PartitionOpOutput::EpochEnd { epoch, end_offset })
        }
        PartitionOpKind::DeleteRecordsBefore { offset, deadline } => {
            partition.check_leader(LeaderEpoch::UNKNOWN)?;
            delete_records(&partition, offset, deadline).await
        }
        PartitionOpKind::View => {
            partition.view().map(PartitionOpOutput::View).ok_or(ResponseError::NotLeaderOrFollower)
        }
        PartitionOpKind::SizeBytes => Ok(PartitionOpOutput::SizeBytes { bytes: partition.log.size_bytes() }),
        PartitionOpKind::LogEnd => {
            let epoch = partition.log.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN);
            Ok(PartitionOpOutput::LogEnd(LogEnd { epoch, end: partition.log.log_end_offset() }))
        }
        PartitionOpKind::ReadBatches { offset, bytes_max } => {
            partition.check_leader(LeaderEpoch::UNKNOWN)?;
            read_batches(&partition, offset, bytes_max).await
        }
    }
}

async fn offset_for_timestamp(partition: &Partition, timestamp: i64) -> PartitionOpResult {
    let log = &partition.log;
    let high_watermark = partition.high_watermark();
    let at = |offset: Offset| PartitionOpOutput::Offset {
        timestamp: -1,
        offset,
        leader_epoch: log.epoch_for_offset(offset).or(log.latest_epoch()).unwrap_or(partition.leader_epoch()),
    };
    let none = PartitionOpOutput::Offset { timestamp: -1, offset: Offset(-1), leader_epoch: LeaderEpoch::UNKNOWN };
    match timestamp {
        TIMESTAMP_EARLIEST | TIMESTAMP_EARLIEST_LOCAL => Ok(at(log.log_start_offset())),
        // What an earlier leader has called committed may lie beyond, and must not seem to be gone (KIP-207).
        TIMESTAMP_LATEST if !partition.knows_what_is_committed() => Err(ResponseError::OffsetNotAvailable),
        TIMESTAMP_LATEST => Ok(PartitionOpOutput::Offset {
            timestamp: -1,
            offset: high_watermark,
            leader_epoch: partition.leader_epoch(),
        }),
        // There is no tiered storage here.
        TIMESTAMP_LATEST_TIERED => Ok(none),
        TIMESTAMP_MAX => {
            let batch = log.batch_with_max_timestamp(high_watermark).await.map_err(|e| read_failed(partition, &e))?;
            let Some(batch) = batch else { return Ok(none) };
            let header = BatchHeader::parse(&batch).map_err(|e| read_failed(partition, &e))?;
            let found = record_in(partition, &batch, header.max_timestamp)?;
            Ok(found.unwrap_or(none))
        }
        timestamp if timestamp < 0 => Err(ResponseError::InvalidRequest),
        timestamp => match first_at_or_after(partition, timestamp, high_watermark).await? {
            Some(found) => Ok(found),
            None if !partition.knows_what_is_committed() => Err(ResponseError::OffsetNotAvailable),
            None => Ok(none),
        },
    }
}

/// The first record from the log start on whose timestamp is at least `timestamp`.
async fn first_at_or_after(
    partition: &Partition,
    timestamp: i64,
    up_to: Offset,
) -> Result<Option<PartitionOpOutput>, ResponseError> {
    let log = &partition.log;
    let first =
        log.first_batch_at_or_after_timestamp(timestamp, up_to).await.map_err(|e| read_failed(partition, &e))?;
    let Some(first) = first else { return Ok(None) };
    if let Some(found) = record_in(partition, &first, timestamp)? {
        return Ok(Some(found));
    }
    // The batch's matching records lie below a log start in its middle (DeleteRecords), or were compacted: go on behind it.
    let mut offset = BatchHeader::parse(&first).map_err(|e| read_failed(partition, &e))?.next_offset();
    while offset < up_to {
        let read =
            log.read(offset, up_to, SCAN_READ_BYTES, usize::MAX).await.map_err(|e| read_failed(partition, &e))?;
        for batch in batches(&read.contiguous()) {
            let (header, batch) = batch.map_err(|e| read_failed(partition, &e))?;
            if header.max_timestamp >= timestamp
                && let Some(found) = record_in(partition, batch, timestamp)?
            {
                return Ok(Some(found));
            }
        }
        if read.next_offset <= offset {
            break;
        }
        offset = read.next_offset;
    }
    Ok(None)
}

/// The first record of `batch`, at or after the log start, whose timestamp is at least `timestamp`.
fn record_in(partition: &Partition, batch: &[u8], timestamp: i64) -> Result<Option<PartitionOpOutput>, ResponseError> {
    let start = partition.log.log_start_offset();
    let header = BatchHeader::parse(batch).map_err(|e| read_failed(partition, &e))?;
    let leader_epoch = header.leader_epoch;
    if header.timestamp_type() == TimestampType::LogAppendTime && header.is_intact() {
        // All records of such a batch have the broker's time.
        let offset = header.base_offset.max(start);
        return Ok(Some(PartitionOpOutput::Offset { timestamp: header.max_timestamp, offset, leader_epoch }));
    }
    let found = records::scan(batch, records::DECOMPRESSED_BYTES_MAX_DEFAULT, |record| {
        if record.timestamp >= timestamp && record.offset >= start {
            let (timestamp, offset) = (record.timestamp, record.offset);
            return ControlFlow::Break(PartitionOpOutput::Offset { timestamp, offset, leader_epoch });
        }
        ControlFlow::Continue(())
    });
    found.map_err(|e| read_failed(partition, &e))
}

async fn read_batches(partition: &Partition, offset: Offset, bytes_max: usize) -> PartitionOpResult {
    let log = &partition.log;
    let (log_start, high_watermark) = (log.log_start_offset(), partition.high_watermark());
    let from = offset.max(log_start);
    let (batches, next_offset) = if from < high_watermark {
        match log.read(from, high_watermark, bytes_max, 0).await {
            Ok(read) => (read.contiguous(), read.next_offset),
            // Retention may have moved the start while the disk was read.
            Err(ReadError::OutOfRange { .. }) => return Err(ResponseError::OffsetOutOfRange),
            Err(error) => return Err(read_failed(partition, &error)),
        }
    } else {
        (Bytes::new(), from)
    };
    Ok(PartitionOpOutput::Batches(CommittedBatches { log_start, high_watermark, batches, next_offset }))
}

fn read_failed(partition: &Partition, error: &dyn std::fmt::Display) -> ResponseError {
    if limit::REQUEST_FAILED.admit() {
        tracing::error!(topic = %partition.topic, partition = %partition.key.partition, %error, "a read of records failed");
    }
    ResponseError::KafkaStorageError
}

async fn delete_records(partition: &Rc<Partition>, offset: Offset, deadline: Instant) -> PartitionOpResult {
    if !partition.config().cleanup_policy.delete {
        return Err(ResponseError::PolicyViolation);
    }
    let high_watermark = partition.high_watermark();
    let to = if offset == Offset(-1) { high_watermark } else { offset };
    if to < Offset::ZERO || to > high_watermark {
        return Err(ResponseError::OffsetOutOfRange);
    }
    if to > partition.log.log_start_offset() {
        partition.log.advance_log_start(to).await.map_err(|error| {
            if limit::REQUEST_FAILED.admit() {
                tracing::error!(topic = %partition.topic, partition = %partition.key.partition, %error, "delete records failed");
            }
            ResponseError::KafkaStorageError
        })?;
        partition.streams.log_start_moved();
    }
    // It is done when followers have done the same: whoever leads next has deleted it too.
    loop {
        let low_watermark = partition.streams.low_watermark(partition.log.log_start_offset());
        if low_watermark >= to {
            return Ok(PartitionOpOutput::LowWatermark { offset: low_watermark });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let changed = pin!(partition.streams.low_watermark_changed());
        if let Either::Right(_) = select(changed, Timer::new(left)).await {
            return Err(ResponseError::RequestTimedOut);
        }
        partition.check_leader(LeaderEpoch::UNKNOWN)?;
    }
}
