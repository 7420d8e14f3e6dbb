//! What a shard tells when it is asked: what nobody counts, since it can be looked up.
//!
//! Collected as a task among the shard's others, a few hundred partitions at a time.

use std::rc::Rc;

use protocol::{BrokerId, Offset};

use super::topics::Totals;
use crate::groups::GroupSizes;
use crate::partition::{Partition, PartitionKey};
use crate::shard::Shard;
use crate::shard::budget::ByteBudget;

/// Partitions looked at before the shard's other tasks have their turn.
const PARTITIONS_PER_TURN: usize = 256;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct ShardSnapshot {
    pub partitions: Vec<PartitionSnapshot>,
    pub followers: Vec<FollowerSnapshot>,
    pub topics: Vec<(protocol::TopicId, Totals)>,
    pub logs_offline: usize,
    pub segments: usize,
    pub log_bytes: u64,
    pub budgets: [Budget; 3],
    pub waiting_fetches: usize,
    pub waiting_produces: usize,
    pub fetch_sessions: usize,
    pub producer_ids: usize,
    pub groups: GroupSizes,
    pub tail_cache_bytes: usize,
    pub journal_used_bytes: u64,
    pub journal_size_bytes: u64,
}

/// Names of [`ShardSnapshot::budgets`].
pub const BUDGETS: [&str; 3] = ["requests", "arriving", "responses"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    pub used_bytes: usize,
    pub limit_bytes: usize,
}

/// One open replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionSnapshot {
    pub key: PartitionKey,
    pub log_start: Offset,
    pub log_end: Offset,
    pub high_watermark: Offset,
    pub size_bytes: u64,
    /// Replicas in sync, where this broker leads.
    pub in_sync: Option<usize>,
}

/// A follower of a partition that this broker leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerSnapshot {
    pub key: PartitionKey,
    pub follower: BrokerId,
    /// Records that it has not made durable; of one that has yet to agree with the leader, all.
    pub lag: u64,
}

/// Collects it.
pub async fn collect(shard: &Rc<Shard>) -> ShardSnapshot {
    let (journal_used_bytes, journal_size_bytes) = shard.wal().journal_bytes();
    let budget = |budget: &ByteBudget| Budget { used_bytes: budget.used_bytes(), limit_bytes: budget.limit_bytes() };
    let mut snapshot = ShardSnapshot {
        topics: shard.told_topics(),
        logs_offline: shard.logs_offline(),
        budgets: [shard.request_budget(), shard.arriving_budget(), shard.response_budget()].map(|one| budget(one)),
        waiting_fetches: shard.parked_fetches().waiting(),
        fetch_sessions: shard.fetch_sessions().len(),
        groups: shard.groups().sizes(),
        tail_cache_bytes: shard.wal().tail_cache_bytes(),
        journal_used_bytes,
        journal_size_bytes,
        ..ShardSnapshot::default()
    };
    for partitions in shard.partitions().chunks(PARTITIONS_PER_TURN) {
        partitions.iter().for_each(|partition| snapshot.add(partition));
        glommio::executor().yield_if_needed().await;
    }
    snapshot
}

impl ShardSnapshot {
    fn add(&mut self, partition: &Partition) {
        if partition.is_removed() {
            return;
        }
        let log = &partition.log;
        let (log_start, log_end) = (log.log_start_offset(), log.log_end_offset());
        let replicas = partition.replica_status();
        let size_bytes = log.size_bytes();
        self.segments += log.segment_count();
        self.log_bytes += size_bytes;
        self.producer_ids += log.producer_state().len();
        self.waiting_produces += partition.waiting_produces();
        self.partitions.push(PartitionSnapshot {
            key: partition.key,
            log_start,
            log_end,
            high_watermark: partition.high_watermark(),
            size_bytes,
            in_sync: replicas.as_ref().map(|replicas| replicas.iter().filter(|replica| replica.in_sync).count()),
        });
        let leader = partition.leader_id();
        for replica in replicas.into_iter().flatten().filter(|replica| Some(replica.id) != leader) {
            let has = replica.durable_end.unwrap_or(log_start).max(log_start);
            let lag = u64::try_from(log_end.0 - has.0).unwrap_or(0);
            self.followers.push(FollowerSnapshot { key: partition.key, follower: replica.id, lag });
        }
    }
}
