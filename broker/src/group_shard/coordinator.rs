//! The coordinator of one `__consumer_offsets` partition: loading, requests, effects, deadlines.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use metadata::image::{MetadataImage, TopicImage};
use protocol::records::BatchBuilder;
use protocol::{Offset, PartitionId, TopicId};
use uuid::Uuid;

use super::load::load;
use super::settings;
use crate::clock::now_ms;
use crate::group_lag::CommittedOffsets;
use crate::groups::routing::partition_for_group;
use crate::groups::{
    Environment, GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, GroupSettings, GroupSizes,
    RequestContext, RequestToken, StoreFailure, StoreId, StoreOutcome, StoredRecord, Topic,
};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::logging::limit;
use crate::partition::{AppendAck, Appending, Partition, Refused, Term, walk_budget};
use crate::shard::Shard;
use crate::shard::assignment::TopicChanges;
use crate::shard::event::LocalEvent;

/// Produce version that our own appends are checked as.
const PRODUCE_VERSION: i16 = 13;
/// Records of one store are split into batches of about this size.
const STORE_BATCH_BYTES: usize = 256 * 1024;
/// Committed offsets that are looked at for metrics before the shard's other work has its turn.
const OFFSETS_PER_TURN: usize = 1000;

/// How far a coordinator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Other replicas have yet to get what the log has: nothing may be answered from what is not committed.
    AwaitsCommit,
    Loads,
    Serves,
    /// Its partition could not be read.
    Failed,
    Ended,
}

/// The coordinator of one partition, for one term of its leadership.
pub(super) struct Coordinator {
    partition: Rc<Partition>,
    term: Term,
    phase: Cell<Phase>,
    /// Topics that were deleted before the offsets committed for them were loaded.
    deleted_topics: RefCell<Vec<(String, TopicId)>>,
    state: RefCell<GroupCoordinator>,
    waiting: RefCell<HashMap<RequestToken, oneshot::Sender<GroupReply>>>,
    next_token: Cell<u64>,
    /// The coordinator's clock never goes back, whatever the system's does.
    last_now_ms: Cell<i64>,
    /// Stores whose clients wait, in order, and until when they do.
    awaited: RefCell<VecDeque<(StoreId, i64)>>,
    /// `offsets.commit.timeout.ms`
    store_timeout_ms: i64,
    /// Set when deadlines may have changed.
    rescheduled: LocalEvent,
    /// Stores that have not been reported, in order.
    running: RefCell<VecDeque<RunningStore>>,
    /// Stores before this one that have not been appended fail, because one before them has.
    void_before: Cell<StoreId>,
    /// One message for each of `running`.
    stores: async_channel::Sender<()>,
    store_queue: async_channel::Receiver<()>,
}

/// A store on its way to being committed.
struct RunningStore {
    id: StoreId,
    progress: Progress,
}

/// A store is appended at once only if all before it have been, so that none gets to the log that rests on one which does
/// not.
enum Progress {
    Held(Vec<StoredRecord>),
    /// Batches; the last one may have been refused, or be in the partition's queue.
    Begun(Vec<Appending>),
    Appended(Vec<AppendAck>),
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

    fn topic(&self, name: &str) -> Option<Topic> {
        self.image.topic(name).map(|topic| subscribable(topic))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<Topic> {
        self.image.topic_by_id(id).map(|topic| subscribable(topic))
    }

    fn each_topic(&self, show: &mut dyn FnMut(&str)) {
        self.image.topics().for_each(|topic| show(&topic.name));
    }

    fn topics_version(&self) -> i64 {
        topics_version(&self.image)
    }
}

fn subscribable(topic: &TopicImage) -> Topic {
    let name = StrBytes::from_string(topic.name.to_string());
    Topic { id: topic.id, name, partitions: topic.partition_count() }
}

fn topics_version(image: &MetadataImage) -> i64 {
    i64::try_from(image.metadata_offset()).unwrap_or(i64::MAX)
}

impl Coordinator {
    /// A coordinator that does nothing yet.
    pub(super) fn new(
        partition: Rc<Partition>,
        term: Term,
        config: GroupConfig,
        store_timeout_ms: i64,
    ) -> Rc<Coordinator> {
        let (stores, store_queue) = async_channel::unbounded();
        Rc::new(Coordinator {
            partition,
            term,
            phase: Cell::new(Phase::Loads),
            deleted_topics: RefCell::default(),
            state: RefCell::new(GroupCoordinator::new(config)),
            waiting: RefCell::default(),
            next_token: Cell::new(0),
            last_now_ms: Cell::new(0),
            awaited: RefCell::default(),
            store_timeout_ms,
            rescheduled: LocalEvent::default(),
            running: RefCell::default(),
            void_before: Cell::new(StoreId(0)),
            stores,
            store_queue,
        })
    }

    /// Loads what the log has now, then serves. What is appended from now on is this coordinator's own.
    pub(super) fn start(self: Rc<Self>, shard: &Rc<Shard>) {
        let end = self.partition.log.log_end_offset();
        if self.partition.log.log_start_offset() == end {
            return self.serve(shard);
        }
        if self.partition.high_watermark() < end {
            self.phase.set(Phase::AwaitsCommit);
        }
        let shard_too = shard.clone();
        shard.queues().spawn_control(async move { self.load_and_serve(&shard_too, end).await });
    }

    /// Adds what its groups have committed, as long as it serves: whole groups, of `room` partitions in all. Lets the shard's
    /// other work run meanwhile.
    pub(super) async fn add_committed_offsets(&self, all: &mut CommittedOffsets, room: &mut usize) {
        let groups = self.state.borrow().groups_with_offsets();
        let mut before_turn = OFFSETS_PER_TURN;
        for group in groups {
            if self.phase.get() != Phase::Serves || self.may_be_replaced() {
                return;
            }
            let told = self.state.borrow().committed_offsets(&group, *room);
            let looked_at = match told {
                Ok(told) => {
                    let partitions = told.offsets.len();
                    *room -= partitions;
                    all.groups.push(told);
                    partitions
                }
                Err(partitions) => {
                    all.omitted_groups += 1;
                    all.omitted_partitions += partitions;
                    1
                }
            };
            before_turn = before_turn.saturating_sub(looked_at.max(1));
            if before_turn == 0 {
                glommio::executor().yield_if_needed().await;
                before_turn = OFFSETS_PER_TURN;
            }
        }
    }

    pub(super) fn sizes(&self) -> GroupSizes {
        self.state.borrow().sizes()
    }

    pub(super) fn partition(&self) -> &Rc<Partition> {
        &self.partition
    }

    pub(super) fn term(&self) -> Term {
        self.term
    }

    /// Whether another broker may coordinate by now, because this one has not heard of the controller for too long.
    pub(super) fn may_be_replaced(&self) -> bool {
        self.partition.serving_term().is_none()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Replays the log up to `end` once that is committed.
    async fn load_and_serve(self: Rc<Self>, shard: &Rc<Shard>, end: Offset) {
        while let Some(wait) = self.partition.wait_committed(end, self.term) {
            // A wait that was cancelled is begun anew as long as this is the leader.
            let _ = wait.await;
            if self.phase.get() == Phase::Ended || self.partition.term() != Some(self.term) {
                return;
            }
        }
        self.phase.set(Phase::Loads);
        let mut state = GroupCoordinator::new(shard.groups().config.clone());
        let loaded = load(&self.partition, end, &mut state).await;
        if self.phase.get() == Phase::Ended {
            return;
        }
        match loaded {
            Ok(()) => {
                *self.state.borrow_mut() = state;
                self.clone().serve(shard);
            }
            Err(error) => {
                tracing::error!(partition = %self.partition.key.partition, %error,
                    "group coordinator not started: its partition cannot be read");
                self.phase.set(Phase::Failed);
            }
        }
        shard.groups().loaded.notify();
    }

    fn serve(self: Rc<Self>, shard: &Rc<Shard>) {
        self.phase.set(Phase::Serves);
        self.take_group_settings(shard);
        let effects = self.state.borrow_mut().activate(self.now_ms(), topics_version(&shard.image()));
        self.carry_out(effects);
        for (topic, topic_id) in self.deleted_topics.take() {
            self.topic_deleted(&topic, topic_id);
        }
        shard.queues().spawn_control(self.clone().report_stores(self.store_queue.clone()));
        let shard_too = shard.clone();
        shard.queues().spawn_control(async move { self.keep_deadlines(&shard_too).await });
    }

    /// Settings of the groups that belong here and have some of their own.
    fn take_group_settings(&self, shard: &Rc<Shard>) {
        let (image, broker) = (shard.image(), shard.broker_config());
        let Some(topic) = image.topic(OFFSETS_TOPIC) else { return };
        let partitions = topic.partition_count();
        let is_here = |group| PartitionId(partition_for_group(group, partitions)) == self.partition.key.partition;
        let mut state = self.state.borrow_mut();
        for (group, own) in image.group_overrides().filter(|(group, _)| is_here(group)) {
            state.set_group_settings(group, settings(own, &broker));
        }
    }

    /// One that has yet to load takes all settings when it has.
    pub(super) fn set_group_settings(&self, group: &str, settings: Option<GroupSettings>) {
        if self.phase.get() == Phase::Serves {
            self.state.borrow_mut().set_group_settings(group, settings);
        }
    }

    /// Topics are new, gone, or have more partitions. One that has yet to load will look at them all.
    pub(super) fn topics_changed(&self, changed: &TopicChanges, image: &MetadataImage) {
        if self.phase.get() == Phase::Serves {
            let names = changed.names.iter().map(|name| &**name);
            self.state.borrow_mut().topics_changed(names, changed.has_new, topics_version(image));
        }
    }

    pub(super) fn topic_deleted(&self, topic: &str, topic_id: TopicId) {
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

    pub(super) fn handle(
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
                    let deadline_ms = self.now_ms().saturating_add(self.store_timeout_ms);
                    self.awaited.borrow_mut().push_back((store, deadline_ms));
                    self.running.borrow_mut().push_back(RunningStore { id: store, progress: Progress::Held(records) });
                    self.append_held();
                    // Fails only once the coordinator has ended, and then nobody waits.
                    let _ = self.stores.try_send(());
                }
            }
        }
        self.rescheduled.notify();
    }

    /// Appends the stores that were held back, up to the first whose records are not all in the log at once.
    fn append_held(&self) {
        let mut running = self.running.borrow_mut();
        let is_appended = |store: &RunningStore| matches!(store.progress, Progress::Appended(_));
        let first = running.iter().rposition(is_appended).map_or(0, |last| last + 1);
        for store in running.iter_mut().skip(first) {
            if let Progress::Held(records) = &store.progress {
                if store.id < self.void_before.get() {
                    return;
                }
                store.progress = self.append(records);
            }
            if !is_appended(store) {
                return;
            }
        }
    }

    fn append(&self, records: &[StoredRecord]) -> Progress {
        if self.partition.is_under_min_isr() {
            let message = "fewer replicas are in sync than min.insync.replicas";
            let refused = Refused::new(ResponseError::NotEnoughReplicas, message);
            return Progress::Begun(vec![Appending::Done(Err(refused))]);
        }
        let now_ms = self.now_ms();
        let mut builder = BatchBuilder::new();
        let mut batches = Vec::new();
        for (at, record) in records.iter().enumerate() {
            builder.append(now_ms, Some(&record.key), record.value.as_deref(), &[]);
            if builder.size_bytes() < STORE_BATCH_BYTES && at + 1 < records.len() {
                continue;
            }
            let batch = Bytes::from(std::mem::take(&mut builder).build());
            let mut budget = walk_budget(batch.len());
            let appending = self.partition.append(batch, false, PRODUCE_VERSION, now_ms, &mut budget);
            let is_refused = matches!(appending, Appending::Done(Err(_)));
            batches.push(appending);
            if is_refused {
                break;
            }
        }
        let ack = |appending: &Appending| match appending {
            Appending::Done(Ok(ack)) => Some(*ack),
            Appending::Done(Err(_)) | Appending::Queued(_) => None,
        };
        let acks: Option<Vec<AppendAck>> = batches.iter().map(ack).collect();
        acks.map_or(Progress::Begun(batches), Progress::Appended)
    }

    /// Reports stores as they end, in order.
    async fn report_stores(self: Rc<Self>, queue: async_channel::Receiver<()>) {
        let mut failure = StoreFailure::Unavailable;
        while let Ok(()) = queue.recv().await {
            let Some(id) = self.running.borrow().front().map(|store| store.id) else { break };
            let outcome = if id < self.void_before.get() {
                StoreOutcome::Failed(failure)
            } else {
                match self.committed().await {
                    Ok(()) => StoreOutcome::Durable,
                    Err(error) => {
                        failure = error;
                        let last = self.running.borrow().back().map_or(id, |store| store.id);
                        self.void_before.set(StoreId(last.0 + 1));
                        StoreOutcome::Failed(error)
                    }
                }
            };
            if outcome == StoreOutcome::Durable && self.may_be_replaced() {
                // Nothing is acknowledged without a lease.
                let effects = self.state.borrow_mut().late(self.now_ms(), id);
                self.carry_out(effects);
            }
            self.running.borrow_mut().pop_front();
            self.awaited.borrow_mut().pop_front_if(|(awaited, _)| *awaited == id);
            let effects = self.state.borrow_mut().stored(self.now_ms(), id, outcome);
            self.carry_out(effects);
            self.append_held();
        }
    }

    /// Tells the coordinator of stores that take too long, in order.
    fn report_late_stores(&self) {
        let now_ms = self.now_ms();
        loop {
            let late = self.awaited.borrow_mut().pop_front_if(|(_, deadline_ms)| *deadline_ms <= now_ms);
            let Some((id, _)) = late else { return };
            tracing::warn!(partition = %self.partition.key.partition, timeout_ms = self.store_timeout_ms,
                "group records are not committed in time: clients are told to ask again");
            let effects = self.state.borrow_mut().late(now_ms, id);
            self.carry_out(effects);
        }
    }

    /// Waits until the first store is in the log, and committed. Once it is in the log, it fails only with the term: with too
    /// few replicas in sync, or without a lease, it may be committed later, and then has to be known here too.
    async fn committed(&self) -> Result<(), StoreFailure> {
        for ack in self.appended().await? {
            while let Some(wait) = self.partition.wait_committed(ack.end, ack.term) {
                if wait.await.is_err() && self.partition.term() != Some(ack.term) {
                    return Err(StoreFailure::NotLeader);
                }
            }
            self.partition.assert_may_acknowledge(ack.end);
        }
        Ok(())
    }

    /// Waits until the first store is in the log; those that waited for it follow.
    async fn appended(&self) -> Result<Vec<AppendAck>, StoreFailure> {
        let taken = Progress::Begun(Vec::new());
        let progress = self.running.borrow_mut().front_mut().map(|first| std::mem::replace(&mut first.progress, taken));
        let batches = match progress {
            Some(Progress::Appended(acks)) => return Ok(acks),
            Some(Progress::Begun(batches)) => batches,
            // Not reached: the first one is never held.
            Some(Progress::Held(_)) | None => return Err(StoreFailure::Unavailable),
        };
        let mut acks = Vec::with_capacity(batches.len());
        let mut outcome = Ok(());
        for batch in batches {
            let appended = match batch {
                Appending::Done(appended) => appended,
                Appending::Queued(receiver) => match receiver.await {
                    Ok(appended) => appended,
                    Err(oneshot::Canceled) => return Err(StoreFailure::Unavailable),
                },
            };
            match appended {
                Ok(ack) => acks.push(ack),
                Err(refused) => {
                    if limit::REQUEST_FAILED.admit() {
                        tracing::warn!(error = %refused.message, "group records were not stored");
                    }
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
        outcome?;
        if let Some(first) = self.running.borrow_mut().front_mut() {
            first.progress = Progress::Appended(Vec::new());
        }
        self.append_held();
        Ok(acks)
    }

    /// Ticks the coordinator when something is due.
    async fn keep_deadlines(self: Rc<Self>, shard: &Rc<Shard>) {
        while self.phase.get() != Phase::Ended {
            let late = self.awaited.borrow().front().map(|(_, deadline_ms)| *deadline_ms);
            let deadline = self.state.borrow().next_deadline_ms().into_iter().chain(late).min();
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
                            self.report_late_stores();
                            let world = World { image: shard.image() };
                            let effects = self.state.borrow_mut().tick(self.now_ms(), &world);
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

    pub(super) fn end(&self) {
        self.phase.set(Phase::Ended);
        let effects = self.state.borrow_mut().resign();
        self.carry_out(effects);
        self.stores.close();
    }
}
