//! Reading what a fetch asks for of the partitions that live on this shard, as leader or as a follower in sync (KIP-392).

use std::rc::Rc;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use metadata::config::ReplicaSelector;
use metadata::record::BrokerState;
use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::leader::ReplicaStatus;
use wal::reader::ReadError;

use super::preferred_replica::{Candidate, Consumer, choose};
use super::{FetchForward, FetchedPartition, Outcome, PartitionRead, ReadMode};
use crate::fetch_session::PartitionFetch;
use crate::logging::limit;
use crate::partition::Partition;
use crate::shard::Shard;
use crate::shard::queues::breathe_after;

/// Serves the partitions that live on this shard.
pub async fn read_here(shard: &Rc<Shard>, forward: FetchForward) -> Vec<FetchedPartition> {
    let mut fetched = Vec::with_capacity(forward.reads.len());
    let mut total = 0;
    for read in &forward.reads {
        let outcome = read_one(shard, read, &forward, total).await;
        total += outcome.bytes;
        breathe_after(outcome.bytes).await;
        fetched.push(FetchedPartition { slot: read.slot, outcome });
    }
    fetched
}

async fn read_one(shard: &Rc<Shard>, read: &PartitionRead, forward: &FetchForward, total: usize) -> Outcome {
    let partition = match shard.partition(read.key) {
        Ok(partition) => partition,
        Err(error) => return Outcome::failed(error),
    };
    let PartitionFetch { fetch_offset, max_bytes, current_leader_epoch, last_fetched_epoch } = read.fetch;
    let consumer = forward.consumer.as_deref();
    if let Err(error) = partition.check_reader(current_leader_epoch, consumer.is_some()) {
        return Outcome::failed(error);
    }
    let leads = partition.term().is_some();
    let log = &partition.log;
    let high_watermark = partition.high_watermark();
    let mut outcome = Outcome {
        topic_id: read.key.topic_id,
        error: None,
        high_watermark,
        log_start_offset: log.log_start_offset(),
        diverging: None,
        current_leader: None,
        preferred_read_replica: None,
        records: Vec::new(),
        bytes: 0,
        record_count: 0,
        has_more: false,
        too_large_bytes: 0,
    };
    if let Some(consumer) = consumer.filter(|_| leads) {
        outcome.preferred_read_replica = preferred(shard, &partition, consumer, fetch_offset);
        if outcome.preferred_read_replica.is_some() {
            return outcome;
        }
    }
    // A follower may lack the end of the newest epoch that it knows, and all later ones.
    let can_tell_divergence = leads || log.latest_epoch() > Some(last_fetched_epoch);
    if last_fetched_epoch != LeaderEpoch::UNKNOWN && can_tell_divergence {
        let (epoch, end) = log.epoch_end_offset(last_fetched_epoch);
        if epoch == LeaderEpoch::UNKNOWN || end == Offset(-1) {
            return Outcome::failed(ResponseError::OffsetOutOfRange);
        }
        if epoch < last_fetched_epoch || end < fetch_offset {
            outcome.diverging = Some((epoch, end));
            return outcome;
        }
    }
    if fetch_offset < log.log_start_offset() || fetch_offset > log.log_end_offset() {
        return Outcome { error: Some(ResponseError::OffsetOutOfRange), ..outcome };
    }
    if fetch_offset >= high_watermark || forward.mode == ReadMode::Estimate {
        // Nothing was awaited since the high watermark was read, so no rise of it can be missed.
        partition.watchers().borrow_mut().add(&forward.watch);
    }
    if fetch_offset >= high_watermark {
        return outcome;
    }
    let partition_limit = max_bytes.max(0) as usize;
    if forward.mode == ReadMode::Estimate {
        let available = log.bytes_between(fetch_offset, high_watermark).max(1);
        outcome.bytes = usize::try_from(available).unwrap_or(usize::MAX).min(partition_limit.max(1));
        return outcome;
    }
    let limit = partition_limit.min(forward.max_bytes.saturating_sub(total));
    let first_max = if total == 0 { forward.first_max } else { 0 };
    outcome.has_more = true;
    if limit == 0 && first_max == 0 {
        return outcome;
    }
    let batches = match log.read_cached(fetch_offset, high_watermark, limit, first_max) {
        Some(batches) => Ok(batches),
        None => log.read(fetch_offset, high_watermark, limit, first_max).await,
    };
    match batches {
        Ok(batches) => {
            outcome.bytes = batches.bytes;
            outcome.record_count = batches.records;
            outcome.records = batches.pieces;
            outcome.too_large_bytes = batches.too_large_bytes;
            outcome
        }
        // Retention may have moved the start while the disk was read.
        Err(ReadError::OutOfRange { .. }) => {
            Outcome { error: Some(ResponseError::OffsetOutOfRange), has_more: false, ..outcome }
        }
        Err(error) => {
            if limit::REQUEST_FAILED.admit() {
                tracing::error!(topic = %partition.topic, partition = %read.key.partition, %error, "fetch failed");
            }
            Outcome { error: Some(ResponseError::KafkaStorageError), has_more: false, ..outcome }
        }
    }
}

/// The replica that a consumer should rather read from than from this one, which leads.
fn preferred(shard: &Shard, partition: &Partition, consumer: &Consumer, fetch_offset: Offset) -> Option<BrokerId> {
    let selector = shard.broker_config().replica_selector;
    if selector == ReplicaSelector::Leader {
        return None;
    }
    let me = shard.broker_id();
    // Of those that clients are told of: they would not find another.
    let known: Vec<(ReplicaStatus, Arc<BrokerState>)> = partition
        .replica_status()?
        .into_iter()
        .filter(|replica| replica.in_sync)
        .filter_map(|replica| Some((replica, shard.broker_state(replica.id).filter(|state| !state.is_fenced())?)))
        .collect();
    let followers = known.iter().filter(|(replica, _)| replica.id != me).filter_map(|(replica, state)| {
        Some(Candidate {
            id: replica.id,
            rack: state.rack.as_deref(),
            log_start: partition.streams.log_start_of(replica.id)?,
            log_end: replica.durable_end?,
            behind_for_ms: replica.behind_for_ms.unwrap_or(0),
        })
    });
    let followers: Vec<Candidate<'_>> = followers.collect();
    let leader = Candidate {
        id: me,
        rack: known.iter().find(|(replica, _)| replica.id == me).and_then(|(_, state)| state.rack.as_deref()),
        log_start: partition.log.log_start_offset(),
        log_end: partition.log.log_end_offset(),
        behind_for_ms: 0,
    };
    choose(selector, consumer, partition.key, fetch_offset, leader, &followers)
}
