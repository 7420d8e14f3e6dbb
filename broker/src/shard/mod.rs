//! A shard: one core's event loop and what it owns — connections, partitions, their logs, fetch sessions, groups.
//!
//! Everything here is used by one thread alone. Other threads reach a shard through its inbox only
//! ([`message::ShardMessage`]). What lives where is decided by [`placement::owner_of`], which every shard computes alike.

pub mod assignment;
pub mod budget;
mod compaction;
pub mod dedupe_memory;
pub mod event;
mod inbox;
pub mod message;
pub mod placement;
mod pulse;
pub mod queues;
mod reconcile;
pub mod run;
#[cfg(test)]
mod tests;
mod topics;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use foldhash::fast::RandomState;
use futures_channel::oneshot;
use futures_util::future::{Either, join_all, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use metadata::config::BrokerConfig;
use metadata::controller::ImpairedReplica;
use metadata::image::MetadataImage;
use metadata::record::BrokerState;
use protocol::{BrokerId, Offset, TopicId};

use crate::fetch_session::SessionCache;
use crate::group_shard::GroupShard;
use crate::handlers::init_producer_id::ProducerIds;
use crate::high_watermarks::{HighWatermarks, Note};
use crate::lease::Lease;
use crate::lifecycle::ShardProgress;
use crate::metadata_core::MetadataClient;
use crate::metrics::ShardMetrics;
use crate::metrics::topics::{ShardTopics, TopicTraffic, Totals};
use crate::partition::{Partition, PartitionKey};
use crate::partition_op::{self, PartitionOp, PartitionOpResult};
use crate::purgatory::Watchers;
use crate::replicator::Replicator;
use crate::settings::Settings;
use crate::storage::Wal;
use crate::suspects::Suspects;
use budget::ByteBudget;
use dedupe_memory::DedupeMemory;
use message::ShardMessage;
use queues::TaskQueues;
use reconcile::Offline;
use run::ShardEvent;
use tokio::sync::mpsc;

/// One core's state. Cheap to hand around inside the shard (`Rc`), never sent out of it.
pub struct Shard {
    index: usize,
    broker: BrokerId,
    settings: Arc<Settings>,
    inboxes: Vec<Sender<ShardMessage>>,
    metadata: MetadataClient,
    events: mpsc::UnboundedSender<ShardEvent>,
    wal: Wal,
    queues: TaskQueues,
    image: RefCell<MetadataImage>,
    /// Kafka's settings for this broker as the image has them.
    broker_config: RefCell<Rc<BrokerConfig>>,
    partitions: RefCell<HashMap<PartitionKey, Rc<Partition>, RandomState>>,
    /// Partitions that should be here and whose log could not be opened.
    offline: RefCell<HashMap<PartitionKey, Offline>>,
    /// All that was assigned here at the start has been opened, or could not be.
    has_started: Cell<bool>,
    /// Replicas that the controller is to be told of.
    impaired: RefCell<Vec<ImpairedReplica>>,
    fetch_sessions: RefCell<SessionCache>,
    /// Fetches that sleep; fired at shutdown.
    parked_fetches: RefCell<Watchers>,
    groups: GroupShard,
    replicator: Replicator,
    /// Of this process.
    broker_epoch: u64,
    lease: Arc<Lease>,
    suspects: Arc<Suspects>,
    image_changed: event::LocalEvent,
    /// Configs of topics or of the broker: some log may be due for compaction.
    configs_changed: event::LocalEvent,
    dedupe_memory: Arc<DedupeMemory>,
    /// As they were on disk at the start.
    noted_high_watermarks: Arc<HighWatermarks>,
    notes: mpsc::UnboundedSender<Note>,
    request_budget: Rc<ByteBudget>,
    arriving_budget: Rc<ByteBudget>,
    response_budget: Rc<ByteBudget>,
    metrics: Arc<ShardMetrics>,
    progress: Arc<ShardProgress>,
    topics: RefCell<ShardTopics>,
    producer_ids: ProducerIds,
    random: Cell<u64>,
    stopping: Cell<bool>,
    stop_event: event::LocalEvent,
    /// What all connections read into; see [`crate::connection`].
    read_scratch: RefCell<Vec<u8>>,
    connections: Cell<usize>,
    connection_closed: event::LocalEvent,
}

impl Shard {
    pub fn index(&self) -> usize {
        self.index
    }

    /// Number of shards of this broker.
    pub fn count(&self) -> usize {
        self.inboxes.len()
    }

    pub fn broker_id(&self) -> BrokerId {
        self.broker
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn metadata(&self) -> &MetadataClient {
        &self.metadata
    }

    pub fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    pub fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Where a topic's traffic is counted.
    pub fn topic_traffic(&self, topic: TopicId) -> Rc<TopicTraffic> {
        self.topics.borrow_mut().of(topic)
    }

    /// What was counted of each topic.
    pub fn told_topics(&self) -> Vec<(TopicId, Totals)> {
        self.topics.borrow().told()
    }

    /// Replicas whose log could not be opened.
    pub fn logs_offline(&self) -> usize {
        self.offline.borrow().len()
    }

    pub fn queues(&self) -> &TaskQueues {
        &self.queues
    }

    /// Memory for one read at a time.
    pub fn read_scratch(&self) -> &RefCell<Vec<u8>> {
        &self.read_scratch
    }

    pub fn groups(&self) -> &GroupShard {
        &self.groups
    }

    pub fn replicator(&self) -> &Replicator {
        &self.replicator
    }

    /// Of this broker's process.
    pub fn broker_epoch(&self) -> u64 {
        self.broker_epoch
    }

    /// This broker, where it has no lease: what it knows of the cluster may be over.
    pub fn cut_off(&self) -> Option<BrokerId> {
        (!self.lease.holds(crate::clock::boot_ms())).then_some(self.broker)
    }

    /// A connection of another broker's has broken.
    pub fn suspect(&self, broker: BrokerId) {
        if !self.is_stopping() {
            self.suspects.note(broker, crate::clock::monotonic_ms());
        }
    }

    /// The image, as soon as nobody leads in it `where_led` who is a suspect ([`crate::suspects`]).
    pub async fn image_without_suspects(&self, where_led: impl Fn(&MetadataImage, BrokerId) -> bool) -> MetadataImage {
        loop {
            let changed = self.image_changed.listen();
            let image = self.image();
            let suspects = self.suspects.now(crate::clock::monotonic_ms());
            let leading = suspects.into_iter().filter(|(broker, _)| where_led(&image, *broker));
            let Some(left_ms) = leading.map(|(_, left_ms)| left_ms).max() else { return image };
            let timer = Timer::new(Duration::from_millis(left_ms));
            if let Either::Right(_) = select(pin!(changed), timer).await {
                return self.image();
            }
        }
    }

    /// Has it on disk that no more of a partition is committed than what lies before `to`, where more was noted: a log that is cut
    /// there, and grows again before the next note, would otherwise seem to be committed that far after a restart.
    pub async fn lower_noted_high_watermark(&self, partition: &Partition, to: Offset) {
        let noted_at_start = self.noted_high_watermarks.get(&partition.key).copied();
        if noted_at_start.max(Some(partition.high_watermark())) <= Some(to) {
            return;
        }
        let (stored, is_stored) = oneshot::channel();
        let _ = self.notes.send(Note::Lowered { key: partition.key, to, stored });
        // Nobody notes any more when the process ends.
        let _ = is_stored.await;
    }

    /// The epoch of a broker's process, if it is not fenced.
    pub fn unfenced_epoch(&self, broker: BrokerId) -> Option<u64> {
        let image = self.image.borrow();
        image.broker(broker).filter(|state| !state.is_fenced()).map(|state| state.epoch)
    }

    /// A broker of the cluster, fenced or not.
    pub fn broker_state(&self, broker: BrokerId) -> Option<Arc<BrokerState>> {
        self.image.borrow().broker(broker).cloned()
    }

    /// `replica.lag.time.max.ms`.
    pub fn lag_time_max_ms(&self) -> u64 {
        u64::try_from(self.broker_config.borrow().replica_lag_time_max_ms).unwrap_or(0)
    }

    pub fn request_budget(&self) -> &Rc<ByteBudget> {
        &self.request_budget
    }

    /// Bytes of large requests that have begun to arrive.
    pub fn arriving_budget(&self) -> &Rc<ByteBudget> {
        &self.arriving_budget
    }

    pub fn response_budget(&self) -> &Rc<ByteBudget> {
        &self.response_budget
    }

    /// The cluster as this shard has applied it.
    pub fn image(&self) -> MetadataImage {
        self.image.borrow().clone()
    }

    pub fn broker_config(&self) -> Rc<BrokerConfig> {
        self.broker_config.borrow().clone()
    }

    pub fn fetch_sessions(&self) -> RefMut<'_, SessionCache> {
        self.fetch_sessions.borrow_mut()
    }

    pub fn parked_fetches(&self) -> RefMut<'_, Watchers> {
        self.parked_fetches.borrow_mut()
    }

    pub fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    /// The shard of this broker that owns the partition.
    pub fn owner_of(&self, key: PartitionKey) -> usize {
        placement::owner_of(key, self.count())
    }

    /// A partition of this shard, or the error that a client gets who asks for it.
    pub fn partition(&self, key: PartitionKey) -> Result<Rc<Partition>, ResponseError> {
        let partition = self.partitions.borrow().get(&key).cloned();
        partition.ok_or_else(|| assignment::not_open(&self.image.borrow(), self.broker, key))
    }

    /// A partition of this shard that is open.
    pub fn open_partition_of(&self, key: PartitionKey) -> Option<Rc<Partition>> {
        self.partitions.borrow().get(&key).cloned()
    }

    /// Why a partition that should be here is not open; `None` if it is, or is none of this shard's as far as is known.
    pub fn offline_reason(&self, key: PartitionKey) -> Option<&'static str> {
        self.offline.borrow().get(&key).map(|why| match why {
            Offline::MayPass => "its log cannot be opened at the moment",
            Offline::Refused => "its log is damaged",
        })
    }

    /// All partitions of this shard.
    pub fn partitions(&self) -> Vec<Rc<Partition>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// Puts a message into another shard's inbox. The inbox is unbounded as a queue and bounded by what feeds it: each
    /// message belongs to a request in flight, and those are limited per connection.
    pub fn send(&self, shard: usize, message: ShardMessage) {
        if self.inboxes[shard].try_send(message).is_err() {
            // Only at shutdown. Whoever waits for the answer finds its channel cancelled.
            tracing::debug!(shard, "message to a shard that has ended");
        }
    }

    /// Runs each operation on the shard that owns its partition; results in the order of `ops`.
    pub async fn run_ops(self: &Rc<Self>, ops: Vec<PartitionOp>) -> Vec<PartitionOpResult> {
        let hand_over = |owner, ops, answer| match owner == self.index {
            true => self.spawn_ops(ops, answer),
            false => self.send(owner, ShardMessage::Partitions { ops, answer }),
        };
        partition_op::scatter(ops, self.count(), hand_over).await
    }

    /// Runs operations on partitions of this shard. Detached: a change to a log is never abandoned half-way because the
    /// client that asked for it has gone.
    fn spawn_ops(self: &Rc<Self>, ops: Vec<PartitionOp>, answer: oneshot::Sender<Vec<PartitionOpResult>>) {
        let shard = self.clone();
        self.queues.spawn_control(async move {
            let results = if ops.iter().all(|op| op.kind.waits_for_others()) {
                // All begin at once: the slowest follower is waited for, not one after the other.
                join_all(ops.into_iter().map(|op| partition_op::run(&shard, op))).await
            } else {
                let mut results = Vec::with_capacity(ops.len());
                for op in ops {
                    results.push(partition_op::run(&shard, op).await);
                }
                results
            };
            let _ = answer.send(results);
        });
    }

    /// Spawns the second stage of a forwarded produce.
    pub fn spawn_produce(&self, future: impl Future<Output = ()> + 'static) {
        self.queues.spawn_produce(future);
    }

    /// A number nobody depends on being unpredictable (xorshift, seeded by the system).
    pub fn random_u32(&self) -> u32 {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        (x >> 32) as u32
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Resolves when the shard begins to stop.
    pub async fn stopped(&self) {
        while !self.stopping.get() {
            self.stop_event.listen().await;
        }
    }

    fn begin_stop(&self) {
        self.stopping.set(true);
        self.stop_event.notify();
        self.parked_fetches.borrow_mut().fire_all();
        self.groups.stop();
        self.replicator.stop();
    }
}
