//! A partition as one of several replicas: what acknowledgements of followers and the word of the leader do to it.

use std::rc::Rc;

use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::divergence::{Cut, LogView};
use replication::leader::{Effects, Leader, Now, Outcome, Proposal, ReplicaStatus};
use replication::message::Progress;
use serde::{Deserialize, Serialize};
use wal::log::{RestartError, TruncateError};

use super::Partition;
use crate::shard::Shard;
use crate::storage::PartitionLog;

/// Why a log could not be cut to what its leader has.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Restart(#[from] RestartError),
}

/// A cut that is under way: roles do not change before it is dropped.
pub struct Cutting<'a>(&'a Partition);

impl Drop for Cutting<'_> {
    fn drop(&mut self) {
        self.0.cutting.set(false);
        self.0.cut_ended.notify();
    }
}

/// A partition as its leader sees it, for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionView {
    pub leader: BrokerId,
    pub leader_epoch: LeaderEpoch,
    pub log_start: i64,
    pub log_end: i64,
    pub high_watermark: i64,
    /// The leader's own replica first.
    pub replicas: Vec<ReplicaView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaView {
    pub broker: BrokerId,
    pub in_sync: bool,
    /// End of what is on its disk; `None` while it has not agreed with the leader in this epoch.
    pub durable_end: Option<i64>,
    /// Bytes of the leader's log from there on, roughly.
    pub behind_bytes: Option<u64>,
    /// Since when it lacks something; 0 if it lacks nothing.
    pub behind_ms: u64,
}

/// A partition's log as both ends of a stream look at it.
pub struct Extent<'a>(pub &'a PartitionLog);

impl LogView for Extent<'_> {
    fn log_start(&self) -> Offset {
        self.0.log_start_offset()
    }

    fn log_end(&self) -> Offset {
        self.0.log_end_offset()
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.latest_epoch()
    }

    fn epoch_end(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.0.epoch_end_offset(requested)
    }
}

impl Partition {
    /// Has the leader's decisions look at something, if this broker leads, and does what follows for those who wait here. Gives
    /// a changed ISR that is to be proposed.
    pub fn lead(&self, shard: &Shard, event: impl FnOnce(&mut Leader, Now<'_>) -> Effects) -> Option<Proposal> {
        let brokers = |id: BrokerId| shard.unfenced_epoch(id);
        let now = Now { ms: crate::clock::monotonic_ms(), log_end: self.log.log_end_offset(), brokers: &brokers };
        let effects = self.role.borrow_mut().lead(|leader| event(leader, now))?;
        self.on_committed(effects.high_watermark);
        effects.proposal
    }

    /// The stream to a follower has ended.
    pub fn on_follower_lost(&self, follower: BrokerId) {
        let risen = self.role.borrow_mut().lead(|leader| leader.on_lost(follower)).flatten();
        self.on_committed(risen);
    }

    /// What became of a proposal for the given leader and partition epoch.
    pub fn on_proposal_outcome(&self, leader_epoch: LeaderEpoch, partition_epoch: i32, outcome: Outcome) {
        let now_ms = crate::clock::monotonic_ms();
        let risen = self.role.borrow_mut().lead(|leader| {
            // In another leader epoch it is another leader's.
            let is_its = leader.leader_epoch() == leader_epoch;
            is_its.then(|| leader.on_outcome(partition_epoch, outcome, now_ms)).flatten()
        });
        self.on_committed(risen.flatten());
    }

    /// Whether a follower is in sync, as the leader sees it.
    pub fn is_in_sync(&self, follower: BrokerId) -> bool {
        self.role.borrow().leader().is_some_and(|leader| leader.is_in_sync(follower))
    }

    /// What the leader tells its followers with every message.
    pub fn progress(&self) -> Progress {
        Progress { high_watermark: self.high_watermark(), log_start: self.log.log_start_offset() }
    }

    /// Followers that this leader is to replicate to, by the metadata; none where it does not lead.
    pub fn followers(&self) -> Vec<BrokerId> {
        self.role.borrow().leader().map(|leader| leader.followers().collect()).unwrap_or_default()
    }

    /// What the leader knows of its replicas; `None` where this broker does not lead.
    pub fn replica_status(&self) -> Option<Vec<ReplicaStatus>> {
        let (now_ms, log_end) = (crate::clock::monotonic_ms(), self.log.log_end_offset());
        self.role.borrow().leader().map(|leader| leader.status(now_ms, log_end).collect())
    }

    /// What operators are shown; `None` where this broker does not lead.
    pub fn view(&self) -> Option<PartitionView> {
        let (log_start, log_end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let leader = self.leader_id()?;
        let mut replicas = self.replica_status()?;
        replicas.sort_by_key(|replica| (replica.id != leader, replica.id));
        let replica = |status: &ReplicaStatus| ReplicaView {
            broker: status.id,
            in_sync: status.in_sync,
            durable_end: status.durable_end.map(|end| end.0),
            behind_bytes: status.durable_end.map(|end| self.log.bytes_between(end.max(log_start), log_end)),
            behind_ms: status.behind_for_ms.unwrap_or(0),
        };
        Some(PartitionView {
            leader,
            leader_epoch: self.leader_epoch(),
            log_start: log_start.0,
            log_end: log_end.0,
            high_watermark: self.high_watermark().0,
            replicas: replicas.iter().map(replica).collect(),
        })
    }

    /// The leader has told that what lies before `high_watermark`, which is on this disk, is committed.
    pub fn on_told(&self, high_watermark: Offset) {
        if self.role.borrow_mut().on_told(high_watermark) {
            self.watchers.borrow_mut().fire_all();
        }
    }

    /// Raises the log start offset to the leader's, as far as the log is on this disk.
    pub fn follow_log_start(self: &Rc<Self>, log_start: Offset) {
        self.wanted_start.set(log_start);
        let to = |partition: &Partition| {
            let to = partition.wanted_start.get().min(partition.log.durable_end_offset());
            (to > partition.log.log_start_offset()).then_some(to)
        };
        if to(self).is_none() || self.raising_start.replace(true) {
            return;
        }
        let partition = self.clone();
        glommio::spawn_local(async move {
            // The leader may have told of a higher one meanwhile.
            while let Some(to) = to(&partition) {
                if let Err(error) = partition.log.advance_log_start(to).await {
                    if !partition.is_removed() {
                        tracing::warn!(topic = %partition.topic, partition = %partition.key.partition, %error,
                            "the log start offset could not follow the leader's");
                    }
                    break;
                }
            }
            partition.raising_start.set(false);
            partition.streams.log_start_moved();
        })
        .detach();
    }

    /// Cuts a follower's log to what its leader has. Gives the log end offset, before which all is on disk.
    pub async fn cut(&self, cut: Cut) -> Result<Offset, CutError> {
        self.cutting.set(true);
        let _cutting = Cutting(self);
        let end = match cut {
            Cut::TruncateTo(end) => match self.log.truncate_to(end).await {
                // The log begins within a batch that has to go: nothing is left.
                Err(TruncateError::BelowStart { end, .. }) => self.restart_at(end).await?,
                cut => cut?,
            },
            Cut::RestartAt(at) => self.restart_at(at).await?,
        };
        if let Some(high_watermark) = self.role.borrow_mut().on_cut(end) {
            tracing::error!(topic = %self.topic, partition = %self.key.partition, %end, %high_watermark,
                "the leader lacks records that were committed: they are gone from here too, as after an unclean election");
        }
        Ok(end)
    }

    async fn restart_at(&self, offset: Offset) -> Result<Offset, RestartError> {
        self.log.restart_at(offset).await.map(|()| offset)
    }

    /// Waits for a cut that is under way.
    pub async fn cut_ended(&self) {
        while self.cutting.get() {
            self.cut_ended.listen().await;
        }
    }

    /// Whether this leader knows of all that earlier leaders have called committed: its epoch's begin is committed.
    pub fn knows_what_is_committed(&self) -> bool {
        self.role.borrow().leader().is_none_or(|leader| leader.high_watermark() >= leader.epoch_start())
    }

    /// Whether consumers may read from this replica although it does not lead (KIP-392).
    pub fn follows_in_sync(&self) -> bool {
        self.role.borrow().follows_in_sync()
    }
}
