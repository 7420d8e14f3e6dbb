//! The shell around the group coordinators of one shard.
//!
//! A shard runs the coordinator of every `__consumer_offsets` partition that it owns and that this broker leads. It begins
//! with the leadership, by loading what the log has, and ends with it. The coordinators decide and are pure
//! ([`crate::groups`]); here their effects are carried out: answers sent, records appended to the partition and reported
//! back once they are committed, deadlines kept.

mod load;

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
use kafka_protocol::messages::ListGroupsResponse;
use metadata::config::BrokerConfig;
use metadata::image::MetadataImage;
use protocol::records::BatchBuilder;
use protocol::{BrokerId, Offset, PartitionId, TopicId};
use uuid::Uuid;

use crate::clock::now_ms;
use crate::groups::{
    Environment, GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, RequestContext, RequestToken,
    StoreFailure, StoreId, StoreOutcome, StoredRecord,
};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::partition::{Acks, AppendAck, Appending, Partition, Refused, Term, walk_budget};
use crate::shard::Shard;
use crate::shard::event::LocalEvent;

/// Produce version that our own appends are checked as.
const PRODUCE_VERSION: i16 = 13;
/// Records of one store are split into batches of about this size.
const STORE_BATCH_BYTES: usize = 256 * 1024;

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
    /// A coordinator has loaded, or failed to.
    loaded: LocalEvent,
}

/// How far a coordinator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Other replicas have yet to get what the log has: nothing may be answered from what is not committed.
    AwaitsCommit,
    Loads,
    Serves,
    /// Its partition could not be read.
    Failed,
    Ended,
}

struct Coordinator {
    partition: Rc<Partition>,
    /// Of the partition's leadership that it serves for.
    term: Term,
    phase: Cell<Phase>,
    /// Topics that were deleted before the offsets committed for them were loaded.
    deleted_topics: RefCell<Vec<(String, TopicId)>>,
    state: RefCell<GroupCoordinator>,
    waiting: RefCell<HashMap<RequestToken, oneshot::Sender<GroupReply>>>,
    next_token: Cell<u64>,
    /// The coordinator's clock never goes back, whatever the system's does.
    last_now_ms: Cell<i64>,
    /// Set when deadlines may have changed.
    rescheduled: LocalEvent,
    stores: async_channel::Sender<RunningStore>,
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
        GroupShard { config, coordinators: RefCell::default(), loaded: LocalEvent::default() }
    }

    /// Starts the coordinator of a `__consumer_offsets` partition that this broker leads now, and ends that of one which it
    /// does not lead any more.
    pub fn follow_leadership(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let term = partition.term();
        let running = self.coordinators.borrow().get(&partition.key.partition).cloned();
        if let Some(running) = running {
            let is_of_this_log = Rc::ptr_eq(&running.partition, partition);
            if is_of_this_log && term == Some(running.term) || !is_of_this_log && term.is_none() {
                return;
            }
            self.coordinators.borrow_mut().remove(&partition.key.partition);
            running.end();
        }
        if let Some(term) = term
            && !shard.is_stopping()
        {
            self.start(shard, partition.clone(), term);
        }
    }

    fn start(&self, shard: &Rc<Shard>, partition: Rc<Partition>, term: Term) {
        // What is appended from now on is the new coordinator's own.
        let end = partition.log.log_end_offset();
        let is_empty = partition.log.log_start_offset() == end;
        let phase = if partition.high_watermark() < end { Phase::AwaitsCommit } else { Phase::Loads };
        let (stores, store_queue) = async_channel::unbounded();
        let key = partition.key.partition;
        let coordinator = Rc::new(Coordinator {
            partition,
            term,
            phase: Cell::new(phase),
            deleted_topics: RefCell::default(),
            state: RefCell::new(GroupCoordinator::new(self.config.clone())),
            waiting: RefCell::default(),
            next_token: Cell::new(0),
            last_now_ms: Cell::new(0),
            rescheduled: LocalEvent::default(),
            stores,
        });
        self.coordinators.borrow_mut().insert(key, coordinator.clone());
        if is_empty {
            coordinator.serve(shard, store_queue);
        } else {
            let shard_too = shard.clone();
            shard.queues().spawn_control(async move { coordinator.load(&shard_too, end, store_queue).await });
        }
    }

    /// Resolves when every coordinator serves that has its records committed.
    pub async fn loaded(&self) {
        while self.coordinators.borrow().values().any(|coordinator| coordinator.phase.get() == Phase::Loads) {
            self.loaded.listen().await;
        }
    }

    /// Hands a request to its coordinator; the answer may take as long as a rebalance.
    pub fn serve_forward(&self, shard: &Rc<Shard>, forward: GroupForward) {
        let GroupForward { partition, request, context, answer } = forward;
        let coordinator = self.coordinators.borrow().get(&partition).cloned();
        let refusal = match &coordinator {
            None => not_coordinating(&shard.image(), shard.broker_id(), partition),
            Some(coordinator) => match coordinator.phase.get() {
                Phase::Serves => return coordinator.handle(shard, request, &context, answer),
                Phase::AwaitsCommit | Phase::Loads => ResponseError::CoordinatorLoadInProgress,
                Phase::Failed => ResponseError::CoordinatorNotAvailable,
                Phase::Ended => ResponseError::NotCoordinator,
            },
        };
        let reply = match &request {
            // Groups that another broker coordinates are that one's to list.
            GroupRequest::ListGroups(_) if refusal == ResponseError::NotCoordinator => {
                GroupReply::ListGroups(ListGroupsResponse::default())
            }
            request => request.error_reply(context.api_version, refusal),
        };
        let _ = answer.send(reply);
    }

    /// Forgets the offsets committed for a deleted topic. The coordinators of `__consumer_offsets` end with its partitions.
    pub fn topic_deleted(&self, topic: &str, topic_id: TopicId) {
        for coordinator in self.coordinators.borrow().values() {
            coordinator.topic_deleted(topic, topic_id);
        }
    }

    /// Answers all who wait, at shutdown.
    pub fn stop(&self) {
        for (_, coordinator) in self.coordinators.borrow_mut().drain() {
            coordinator.end();
        }
    }
}

/// Why no coordinator runs here for a partition of `__consumer_offsets`.
fn not_coordinating(image: &MetadataImage, broker: BrokerId, partition: PartitionId) -> ResponseError {
    match image.partition(OFFSETS_TOPIC, partition).and_then(|state| state.leader) {
        // It should: the partition is offline, or this broker is stopping.
        Some(leader) if leader == broker => ResponseError::CoordinatorNotAvailable,
        _ => ResponseError::NotCoordinator,
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
    /// Replays the log up to `end`, then serves.
    async fn load(self: Rc<Self>, shard: &Rc<Shard>, end: Offset, store_queue: async_channel::Receiver<RunningStore>) {
        while let Some(wait) = self.partition.wait_committed(end, self.term) {
            // A wait that was cancelled is begun anew as long as this is the leader.
            let _ = wait.await;
            if self.phase.get() == Phase::Ended {
                return;
            }
        }
        self.phase.set(Phase::Loads);
        let mut state = GroupCoordinator::new(shard.groups().config.clone());
        let loaded = load::load(&self.partition, end, &mut state).await;
        if self.phase.get() == Phase::Ended {
            return;
        }
        match loaded {
            Ok(()) => {
                *self.state.borrow_mut() = state;
                self.serve(shard, store_queue);
            }
            Err(error) => {
                tracing::error!(partition = %self.partition.key.partition, %error,
                    "group coordinator not started: its partition cannot be read");
                self.phase.set(Phase::Failed);
            }
        }
        shard.groups().loaded.notify();
    }

    fn serve(self: Rc<Self>, shard: &Rc<Shard>, store_queue: async_channel::Receiver<RunningStore>) {
        self.phase.set(Phase::Serves);
        let effects = self.state.borrow_mut().activate(self.now_ms());
        self.carry_out(effects);
        for (topic, topic_id) in self.deleted_topics.take() {
            self.topic_deleted(&topic, topic_id);
        }
        shard.queues().spawn_control(self.clone().report_stores(store_queue));
        shard.queues().spawn_control(self.keep_deadlines());
    }

    fn topic_deleted(&self, topic: &str, topic_id: TopicId) {
        match self.phase.get() {
            Phase::Serves => {
                let effects = self.state.borrow_mut().topic_deleted(topic, topic_id);
                self.carry_out(effects);
            }
            Phase::AwaitsCommit | Phase::Loads => {
                self.deleted_topics.borrow_mut().push((topic.to_owned(), topic_id));
            }
            Phase::Failed | Phase::Ended => {}
        }
    }

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
                    while let Some(wait) = self.partition.wait_for(Acks::All, &ack) {
                        if wait.await.is_err() {
                            return Err(self.abandoned(&ack));
                        }
                    }
                    self.partition.assert_may_acknowledge(ack.end);
                }
                Err(refused) => {
                    tracing::warn!(error = %refused.message, "group records were not stored");
                    outcome = Err(match refused.error {
                        ResponseError::MessageTooLarge => StoreFailure::TooLarge,
                        ResponseError::KafkaStorageError | ResponseError::NotLeaderOrFollower => {
                            StoreFailure::NotLeader
                        }
                        _ => StoreFailure::Unavailable,
                    });
                }
            }
        }
        outcome
    }

    /// Why a wait ended before its batch was committed.
    fn abandoned(&self, ack: &AppendAck) -> StoreFailure {
        if self.partition.term() == Some(ack.term) { StoreFailure::Unavailable } else { StoreFailure::NotLeader }
    }

    /// Ticks the coordinator when something is due.
    async fn keep_deadlines(self: Rc<Self>) {
        while self.phase.get() != Phase::Ended {
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
        self.phase.set(Phase::Ended);
        let effects = self.state.borrow_mut().resign();
        self.carry_out(effects);
        self.stores.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{TOPIC_ID, created};

    #[test]
    fn who_does_not_lead_the_partition_says_so() {
        let partitions: [(&[i32], Option<i32>, i32); 3] =
            [(&[1, 2], Some(1), 0), (&[1, 2], Some(2), 0), (&[1], None, 0)];
        let records = created(TOPIC_ID, OFFSETS_TOPIC, &partitions);
        let image = MetadataImage::default().apply_batch(&records).unwrap().0;
        let here = BrokerId(1);
        let errors: Vec<_> = (0..4).map(|at| not_coordinating(&image, here, PartitionId(at))).collect();
        let not = ResponseError::NotCoordinator;
        assert_eq!(errors, [ResponseError::CoordinatorNotAvailable, not, not, not]);
    }
}
