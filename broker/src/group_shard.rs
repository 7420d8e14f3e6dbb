//! The shell around the group coordinators of one shard.
//!
//! A shard runs the coordinator of every `__consumer_offsets` partition that it owns. The coordinators decide and are
//! pure ([`crate::groups`]); here their effects are carried out: answers sent, records appended to the partition and
//! reported back once they are committed, deadlines kept.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use metadata::config::BrokerConfig;
use metadata::image::MetadataImage;
use protocol::record_batch::batches;
use protocol::records::{BatchBuilder, DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};
use protocol::{Offset, PartitionId, TopicId};
use uuid::Uuid;

use crate::clock::now_ms;
use crate::groups::{
    Environment, GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, Loaded, RequestContext,
    RequestToken, StoreFailure, StoreId, StoreOutcome, StoredRecord,
};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::partition::{Acks, Appending, Partition, Refused, walk_budget};
use crate::shard::Shard;
use crate::shard::event::LocalEvent;

/// Produce version that our own appends are checked as.
const PRODUCE_VERSION: i16 = 13;
/// Records of one store are split into batches of about this size.
const STORE_BATCH_BYTES: usize = 256 * 1024;
/// Bytes read at once when a coordinator loads.
const LOAD_READ_BYTES: usize = 1 << 20;

/// A request for the coordinator of one `__consumer_offsets` partition.
pub struct GroupForward {
    pub partition: PartitionId,
    pub request: GroupRequest,
    pub context: RequestContext,
    pub answer: oneshot::Sender<GroupReply>,
}

/// The coordinators of a shard.
pub struct GroupShard {
    config: GroupConfig,
    coordinators: RefCell<HashMap<PartitionId, Rc<Coordinator>>>,
}

struct Coordinator {
    partition: Rc<Partition>,
    state: RefCell<GroupCoordinator>,
    waiting: RefCell<HashMap<RequestToken, oneshot::Sender<GroupReply>>>,
    next_token: Cell<u64>,
    /// The coordinator's clock never goes back, whatever the system's does.
    last_now_ms: Cell<i64>,
    /// Set when deadlines may have changed.
    rescheduled: LocalEvent,
    stores: async_channel::Sender<RunningStore>,
    ended: Cell<bool>,
}

/// A store on its way to being committed.
struct RunningStore {
    id: StoreId,
    batches: Vec<Appending>,
}

impl GroupShard {
    pub fn new(config: &BrokerConfig) -> GroupShard {
        let config = GroupConfig {
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            max_size: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
            offset_metadata_max_units: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
            offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
            offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
            ..GroupConfig::default()
        };
        GroupShard { config, coordinators: RefCell::default() }
    }

    /// Starts the coordinator of an opened `__consumer_offsets` partition: replays its log, then serves.
    pub async fn start(&self, shard: &Rc<Shard>, partition: Rc<Partition>) {
        let mut state = GroupCoordinator::new(self.config.clone());
        if let Err(error) = load(&partition, &mut state).await {
            tracing::error!(partition = %partition.key.partition, %error,
                "group coordinator not started: its partition cannot be read");
            return;
        }
        let (stores, store_queue) = async_channel::unbounded();
        let coordinator = Rc::new(Coordinator {
            partition: partition.clone(),
            state: RefCell::new(state),
            waiting: RefCell::default(),
            next_token: Cell::new(0),
            last_now_ms: Cell::new(0),
            rescheduled: LocalEvent::default(),
            stores,
            ended: Cell::new(false),
        });
        let effects = coordinator.state.borrow_mut().activate(coordinator.now_ms());
        coordinator.carry_out(effects);
        self.coordinators.borrow_mut().insert(partition.key.partition, coordinator.clone());
        shard.queues().spawn_control(coordinator.clone().report_stores(store_queue));
        shard.queues().spawn_control(coordinator.keep_deadlines());
    }

    /// Hands a request to its coordinator; the answer may take as long as a rebalance.
    pub fn serve_forward(&self, shard: &Rc<Shard>, forward: GroupForward) {
        let GroupForward { partition, request, context, answer } = forward;
        let coordinator = self.coordinators.borrow().get(&partition).cloned();
        match coordinator {
            Some(coordinator) => coordinator.handle(shard, request, &context, answer),
            None => {
                let error = ResponseError::CoordinatorNotAvailable;
                let _ = answer.send(request.error_reply(context.api_version, error));
            }
        }
    }

    /// Forgets the offsets committed for a deleted topic; the coordinators of `__consumer_offsets` go with it.
    pub fn topic_deleted(&self, topic: &str, topic_id: TopicId) {
        if topic == OFFSETS_TOPIC {
            for (_, coordinator) in self.coordinators.borrow_mut().drain() {
                coordinator.end();
            }
            return;
        }
        for coordinator in self.coordinators.borrow().values() {
            let effects = coordinator.state.borrow_mut().topic_deleted(topic, topic_id);
            coordinator.carry_out(effects);
        }
    }

    /// Answers all who wait, at shutdown.
    pub fn stop(&self) {
        for (_, coordinator) in self.coordinators.borrow_mut().drain() {
            coordinator.end();
        }
    }
}

/// What the coordinator may ask of the world.
struct World {
    image: MetadataImage,
}

impl Environment for World {
    fn member_uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn topic_id(&self, topic: &str, partition: i32) -> Option<TopicId> {
        let topic = self.image.topic(topic)?;
        topic.partition(PartitionId(partition)).map(|_| topic.id)
    }
}

impl Coordinator {
    fn now_ms(&self) -> i64 {
        let now = now_ms().max(self.last_now_ms.get());
        self.last_now_ms.set(now);
        now
    }

    fn handle(
        &self,
        shard: &Rc<Shard>,
        request: GroupRequest,
        context: &RequestContext,
        answer: oneshot::Sender<GroupReply>,
    ) {
        let token = RequestToken(self.next_token.get());
        self.next_token.set(token.0 + 1);
        self.waiting.borrow_mut().insert(token, answer);
        let mut world = World { image: shard.image() };
        let effects = self.state.borrow_mut().handle(self.now_ms(), token, context, request, &mut world);
        self.carry_out(effects);
    }

    fn carry_out(&self, effects: Vec<GroupEffect>) {
        for effect in effects {
            match effect {
                GroupEffect::Reply { token, reply } => {
                    if let Some(answer) = self.waiting.borrow_mut().remove(&token) {
                        // The client may have gone.
                        let _ = answer.send(reply);
                    }
                }
                GroupEffect::Store { store, records } => {
                    let running = self.append(store, &records);
                    // Fails only once the coordinator has ended, and then nobody waits.
                    let _ = self.stores.try_send(running);
                }
            }
        }
        self.rescheduled.notify();
    }

    /// Appends the records at once, so that stores reach the log in the order they were issued.
    fn append(&self, id: StoreId, records: &[StoredRecord]) -> RunningStore {
        let now_ms = self.now_ms();
        let mut running = RunningStore { id, batches: Vec::new() };
        if self.partition.is_under_min_isr() {
            let message = "fewer replicas are in sync than min.insync.replicas";
            let refused = Refused::new(ResponseError::NotEnoughReplicas, message);
            running.batches.push(Appending::Done(Err(refused)));
            return running;
        }
        let mut builder = BatchBuilder::new();
        for (at, record) in records.iter().enumerate() {
            builder.append(now_ms, Some(&record.key), record.value.as_deref(), &[]);
            if builder.size_bytes() < STORE_BATCH_BYTES && at + 1 < records.len() {
                continue;
            }
            let batch = Bytes::from(std::mem::take(&mut builder).build());
            let mut budget = walk_budget(batch.len());
            running.batches.push(self.partition.append(batch, false, PRODUCE_VERSION, now_ms, &mut budget));
        }
        running
    }

    /// Reports stores as they end, in order.
    async fn report_stores(self: Rc<Self>, queue: async_channel::Receiver<RunningStore>) {
        while let Ok(store) = queue.recv().await {
            let id = store.id;
            let outcome = match self.committed(store).await {
                Ok(()) => StoreOutcome::Durable,
                Err(failure) => StoreOutcome::Failed(failure),
            };
            let effects = self.state.borrow_mut().stored(self.now_ms(), id, outcome);
            self.carry_out(effects);
        }
    }

    async fn committed(&self, store: RunningStore) -> Result<(), StoreFailure> {
        let mut outcome = Ok(());
        for batch in store.batches {
            let appended = match batch {
                Appending::Done(appended) => appended,
                Appending::Queued(receiver) => match receiver.await {
                    Ok(appended) => appended,
                    Err(oneshot::Canceled) => return Err(StoreFailure::Unavailable),
                },
            };
            match appended {
                Ok(ack) => {
                    if let Some(wait) = self.partition.wait_for(Acks::All, ack.end)
                        && wait.await.is_err()
                    {
                        return Err(StoreFailure::Unavailable);
                    }
                    self.partition.assert_may_acknowledge(ack.end);
                }
                Err(refused) => {
                    tracing::warn!(error = %refused.message, "group records were not stored");
                    outcome = Err(match refused.error {
                        ResponseError::MessageTooLarge => StoreFailure::TooLarge,
                        ResponseError::KafkaStorageError => StoreFailure::NotLeader,
                        _ => StoreFailure::Unavailable,
                    });
                }
            }
        }
        outcome
    }

    /// Ticks the coordinator when something is due.
    async fn keep_deadlines(self: Rc<Self>) {
        while !self.ended.get() {
            let deadline = self.state.borrow().next_deadline_ms();
            let changed = self.rescheduled.listen();
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    let wait = u64::try_from(deadline - self.now_ms()).unwrap_or(0);
                    let timer = Timer::new(Duration::from_millis(wait));
                    match select(pin!(changed), timer).await {
                        Either::Left(_) => {}
                        Either::Right(_) => {
                            self.forget_gone_clients();
                            let effects = self.state.borrow_mut().tick(self.now_ms());
                            self.carry_out(effects);
                        }
                    }
                }
            }
        }
    }

    /// Tells the coordinator of requests whose connection has closed while they waited.
    fn forget_gone_clients(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let gone: Vec<RequestToken> =
            waiting.iter().filter(|(_, answer)| answer.is_canceled()).map(|(token, _)| *token).collect();
        for token in gone {
            waiting.remove(&token);
            self.state.borrow_mut().disconnected(token);
        }
    }

    fn end(&self) {
        self.ended.set(true);
        let effects = self.state.borrow_mut().resign();
        self.carry_out(effects);
        self.stores.close();
    }
}

/// Why a coordinator could not load.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("the log cannot be read at offset {offset}: {source}")]
    Read { offset: Offset, source: wal::reader::ReadError },
    #[error("the batch at offset {offset} cannot be decoded: {reason}")]
    Batch { offset: Offset, reason: String },
}

async fn load(partition: &Partition, state: &mut GroupCoordinator) -> Result<(), LoadError> {
    let mut offset = partition.log.log_start_offset();
    let end = partition.high_watermark();
    while offset < end {
        let read = partition
            .log
            .read(offset, end, LOAD_READ_BYTES, true)
            .await
            .map_err(|source| LoadError::Read { offset, source })?;
        let undecodable = |reason: String| LoadError::Batch { offset, reason };
        for batch in batches(&read.contiguous()) {
            let (_, batch) = batch.map_err(|e| undecodable(e.to_string()))?;
            load_batch(batch, state).map_err(undecodable)?;
        }
        if read.next_offset <= offset {
            break;
        }
        offset = read.next_offset;
    }
    Ok(())
}

fn load_batch(batch: &[u8], state: &mut GroupCoordinator) -> Result<(), String> {
    let mut reader = RecordReader::open(batch, DECOMPRESSED_BYTES_MAX_DEFAULT).map_err(|e| e.to_string())?;
    while let Some(record) = reader.next_record().map_err(|e| e.to_string())? {
        let Some(key) = record.key else { continue };
        // A record of a kind that is not known here (another version's) says nothing about the others.
        match state.load(key, record.value) {
            Ok(Loaded::Applied) => {}
            Ok(Loaded::UnknownType { key_type }) => {
                tracing::warn!(offset = %record.offset, key_type, "group record of an unknown type skipped");
            }
            Err(error) => {
                tracing::error!(offset = %record.offset, %error, "group record skipped: it cannot be decoded");
            }
        }
    }
    Ok(())
}
