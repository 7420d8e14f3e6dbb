//! Waiting for the rate that this broker's replicas catch up by (KIP-73).

use std::pin::pin;
use std::time::Duration;

use futures_util::future::select;
use glommio::timer::Timer;
use replication::receiver::Receiver;

use super::InStream;
use crate::partition::Partition;
use crate::shard::Shard;

impl InStream {
    /// `follower.replication.throttled.rate`, where it holds for this replica.
    fn throttled_rate(&self, shard: &Shard, partition: &Partition) -> Option<u64> {
        let rate = shard.broker_config().follower_replication_throttled_rate?;
        let is_listed = partition.config().follower_throttled.contain(self.key.partition, shard.broker_id());
        (is_listed && !self.is_in_sync(partition)).then_some(rate)
    }

    /// Whether this replica is in sync, for all that it can know. What the metadata says may be old news, as after a pause; but
    /// nothing is committed that a member of the ISR lacks.
    fn is_in_sync(&self, partition: &Partition) -> bool {
        let progress = self.receiver.borrow().as_ref().and_then(Receiver::progress);
        let lacks_committed = progress.is_some_and(|told| partition.log.log_end_offset() < told.high_watermark);
        partition.follows_in_sync() && !lacks_committed
    }

    /// How long the next batches wait before it is looked again; `None` if they may be appended.
    pub(super) fn throttle_wait(&self, partition: &Partition) -> Option<Duration> {
        let session = self.session.upgrade()?;
        let rate = self.throttled_rate(&session.shard, partition)?;
        session.shard.settings().throttles().follower.wait(rate, crate::clock::monotonic_ns())
    }

    pub(super) fn count_throttled(&self, partition: &Partition, bytes: usize) {
        let Some(session) = self.session.upgrade() else { return };
        if let Some(rate) = self.throttled_rate(&session.shard, partition) {
            session.shard.settings().throttles().follower.took(bytes, rate, crate::clock::monotonic_ns());
        }
    }

    /// The throttle may not hold any more.
    pub fn look_at_throttle(&self) {
        self.throttle_changed.notify();
    }

    /// Waits until the next batches may be appended, or the stream has ended.
    pub(super) async fn rate_allows(&self, partition: &Partition) {
        while !self.closed.get()
            && let Some(wait) = self.throttle_wait(partition)
        {
            select(Timer::new(wait), pin!(self.throttle_changed.listen())).await;
        }
    }
}
