//! Waiting for the rate that this broker sends by to followers that catch up (KIP-73).

use std::rc::Rc;
use std::time::Duration;

use glommio::timer::Timer;
use replication::turns::Class;

use super::OutStream;

impl OutStream {
    /// `leader.replication.throttled.rate`, where it holds for this stream.
    pub(super) fn throttled_rate(&self) -> Option<u64> {
        let rate = self.shard.broker_config().leader_replication_throttled_rate?;
        let (partition, leader) = (self.partition.key.partition, self.shard.broker_id());
        let is_listed = self.partition.config().leader_throttled.contain(partition, leader);
        (is_listed && self.class() == Class::CatchUp).then_some(rate)
    }

    /// Waits for the rate, and comes back for its turn then.
    pub(super) fn wait_for_rate(self: &Rc<Self>, wait: Duration) {
        self.throttled.set(true);
        let (stream, id) = (self.clone(), self.id.get());
        self.shard.queues().spawn_background(async move {
            Timer::new(wait).await;
            // Opened anew meanwhile, it waits for nothing.
            if stream.id.get() == id {
                stream.look_at_throttle();
            }
        });
    }

    /// The throttle may not hold any more.
    pub fn look_at_throttle(&self) {
        if self.throttled.replace(false) {
            self.ready();
        }
    }
}
