//! The follower's end of one stream: it cuts and appends to the log as [`replication::receiver`] decides, and acknowledges what
//! is on disk.
//!
//! Appends are synchronous, like a leader's. Only where the log has no room at the moment, or a throttle holds for the replica
//! (KIP-73), do batches wait, in order and as many as the leader's window allows; the connection's other streams go on.

mod throttled;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use glommio::timer::Timer;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use replication::divergence::{BatchMark, Cut, LogTail};
use replication::message::{Progress, Reason, Run, StreamId, ToFollower, ToLeader};
use replication::receiver::{Action, Receiver};
use wal::log::{AppendError, ReserveError};

use super::session::Session;
use crate::connection::reader::READ_SCRATCH_BYTES;
use crate::partition::{Extent, Partition, PartitionKey};
use crate::shard::event::LocalEvent;

/// Bytes of one stream that may be on their way to this broker's disk; one batch may be more.
const WINDOW_BYTES: u32 = 2 << 20;
/// What may wait for room in the log: the window, and what was sent before it was known.
const WAITING_BYTES_MAX: usize = 2 * WINDOW_BYTES as usize;
/// Pause before a log that has no room is tried again.
const NO_SPACE_RETRY: Duration = Duration::from_millis(500);

/// See the module's documentation.
pub struct InStream {
    id: StreamId,
    pub key: PartitionKey,
    leader_epoch: LeaderEpoch,
    session: Weak<Session>,
    this: Weak<InStream>,
    partition: RefCell<Option<Rc<Partition>>>,
    /// `None` until the log's end is known and on disk.
    receiver: RefCell<Option<Receiver>>,
    waiting: RefCell<VecDeque<Run>>,
    waiting_bytes: Cell<usize>,
    draining: Cell<bool>,
    throttle_changed: LocalEvent,
    /// What is to be acknowledged.
    acknowledged: Cell<Offset>,
    /// Among those that the session acknowledges next.
    queued: Cell<bool>,
    closed: Cell<bool>,
}

/// A batch that was checked and has no room yet, and what comes behind it.
struct Stuck {
    batch: Bytes,
    header: BatchHeader,
    rest: Run,
}

impl InStream {
    pub fn new(session: Weak<Session>, id: StreamId, key: PartitionKey, leader_epoch: LeaderEpoch) -> Rc<InStream> {
        Rc::new_cyclic(|this| InStream {
            id,
            key,
            leader_epoch,
            session,
            this: this.clone(),
            partition: RefCell::default(),
            receiver: RefCell::default(),
            waiting: RefCell::default(),
            waiting_bytes: Cell::new(0),
            draining: Cell::new(false),
            throttle_changed: LocalEvent::default(),
            acknowledged: Cell::new(Offset::ZERO),
            queued: Cell::new(false),
            closed: Cell::new(false),
        })
    }

    fn me(&self) -> Rc<InStream> {
        self.this.upgrade().expect("whoever calls holds it")
    }

    /// Begins if this shard's metadata says the same of the partition as the leader's does; waits for it where it does not yet.
    pub fn begin(&self) {
        let Some(session) = self.session.upgrade() else { return };
        if self.closed.get() {
            return;
        }
        let shard = &session.shard;
        let Some(partition) = shard.open_partition_of(self.key) else {
            match shard.offline_reason(self.key) {
                Some(reason) => self.close(Reason::Offline(reason.to_owned())),
                None => shard.replicator().parked.add(self.me()),
            }
            return;
        };
        let known = partition.leader_epoch();
        if known < self.leader_epoch {
            return shard.replicator().parked.add(self.me());
        }
        if known > self.leader_epoch {
            return self.close(Reason::OldEpoch { known });
        }
        if partition.leader_id() != Some(session.from) {
            return self.close(Reason::Violation(format!("broker {} does not lead in {known}", session.from)));
        }
        *self.partition.borrow_mut() = Some(partition.clone());
        if let Some(before) = partition.streams.follow(self.me()) {
            before.close(Reason::Superseded);
        }
        let stream = self.me();
        shard.queues().spawn_produce(async move { stream.position(partition).await });
    }

    /// Tells the leader how the log ends, once all of it is on disk.
    async fn position(self: Rc<Self>, partition: Rc<Partition>) {
        let log = &partition.log;
        // A cut that an earlier stream has begun.
        partition.cut_ended().await;
        let tail = async {
            let log_end = log.log_end_offset();
            log.wait_ackable(log_end).await.map_err(|error| error.to_string())?;
            let last = log.batch_before(log_end).await.map_err(|error| error.to_string())?;
            let latest_epoch = log.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN);
            Ok(LogTail { log_end, latest_epoch, last_batch: last.as_ref().and_then(BatchMark::of) })
        };
        let tail: Result<LogTail, String> = tail.await;
        if self.closed.get() {
            return;
        }
        let tail = match tail {
            // Whatever else wrote meanwhile has ended by now.
            Ok(tail) if tail.log_end != log.log_end_offset() => return self.close(Reason::Superseded),
            Ok(tail) => tail,
            Err(error) => return self.close(Reason::Offline(error)),
        };
        self.acknowledged.set(tail.log_end);
        match &mut *self.receiver.borrow_mut() {
            Some(receiver) => receiver.on_cut(tail.log_end),
            none => *none = Some(Receiver::new(self.leader_epoch, tail.log_end)),
        }
        let Some(session) = self.session.upgrade() else { return };
        let broker_epoch = session.shard.broker_epoch();
        session.say(self.id, &ToLeader::Position { tail, broker_epoch, window_bytes: WINDOW_BYTES });
    }

    /// The leader says something on this stream.
    pub fn take(&self, message: ToFollower) {
        let partition = self.partition.borrow().clone();
        let action = match (&mut *self.receiver.borrow_mut(), &partition) {
            (Some(receiver), Some(partition)) => receiver.on_message(message, &Extent(&partition.log)),
            // It cannot know how the log ends.
            _ => match message {
                ToFollower::Close(reason) => Ok(Action::Closed(reason)),
                _ => Err(Reason::Violation("a message before the follower's position was told".to_owned())),
            },
        };
        let Some(partition) = partition else {
            match action {
                Ok(_) => self.ended(),
                Err(reason) => self.close(reason),
            }
            return;
        };
        match action {
            Ok(Action::Cut(cut)) => self.cut(partition, cut),
            Ok(Action::Follow) => {
                self.noted(&partition);
                // It tells the leader where this log begins.
                self.queue();
            }
            Ok(Action::Append(run)) => {
                self.append(&partition, run);
                self.noted(&partition);
            }
            Ok(Action::Note) => self.noted(&partition),
            Ok(Action::Closed(reason)) => {
                tracing::debug!(topic = %partition.topic, partition = %self.key.partition, %reason, "the leader has closed its stream");
                self.ended();
            }
            Err(reason) => self.close(reason),
        }
    }

    fn cut(&self, partition: Rc<Partition>, cut: Cut) {
        let (topic, number) = (&partition.topic, self.key.partition);
        tracing::info!(%topic, partition = %number, leader_epoch = %self.leader_epoch, ?cut,
            log_end = %partition.log.log_end_offset(), "the log is cut to what the leader has");
        let Some(session) = self.session.upgrade() else { return };
        let stream = self.me();
        let (shard, queues) = (session.shard.clone(), *session.shard.queues());
        let to = match cut {
            Cut::TruncateTo(to) | Cut::RestartAt(to) => to,
        };
        queues.spawn_produce(async move {
            shard.lower_noted_high_watermark(&partition, to).await;
            // Another broker may lead by now, or this one.
            if stream.closed.get() {
                return;
            }
            match partition.cut(cut).await {
                Ok(_) if stream.closed.get() => {}
                Ok(_) => stream.position(partition).await,
                Err(error) => stream.close(Reason::Offline(format!("the log could not be cut: {error}"))),
            }
        });
    }

    /// The leader has told how far it is.
    fn noted(&self, partition: &Rc<Partition>) {
        let (high_watermark, progress) = {
            let receiver = self.receiver.borrow();
            let Some(receiver) = &*receiver else { return };
            (receiver.high_watermark(partition.log.ackable_end_offset()), receiver.progress())
        };
        if let Some(high_watermark) = high_watermark {
            partition.on_told(high_watermark);
        }
        if let Some(Progress { log_start, .. }) = progress {
            partition.follow_log_start(log_start);
        }
    }

    fn append(&self, partition: &Rc<Partition>, run: Run) {
        if let Some(session) = self.session.upgrade() {
            session.shard.metrics().replicated_in_bytes.add(run.batches.len() as u64);
        }
        if !self.draining.get() && self.throttle_wait(partition).is_some() {
            self.drain(partition, None);
        }
        if self.draining.get() {
            let bytes = self.waiting_bytes.get() + run.batches.len();
            let is_first = self.waiting.borrow().is_empty();
            if bytes > WAITING_BYTES_MAX && !is_first {
                return self.close(Reason::Violation(format!("{bytes} bytes sent beyond the window")));
            }
            self.waiting_bytes.set(bytes);
            self.waiting.borrow_mut().push_back(run);
            return;
        }
        self.count_throttled(partition, run.batches.len());
        match self.append_now(partition, run) {
            Ok(None) => {}
            Ok(Some(stuck)) => self.drain(partition, Some(stuck)),
            Err(reason) => self.close(reason),
        }
    }

    /// Appends batches up to one that has no room.
    fn append_now(&self, partition: &Partition, run: Run) -> Result<Option<Stuck>, Reason> {
        let Run { has_gaps, mut batches } = run;
        let frame_bytes = batches.len();
        while !batches.is_empty() {
            let header = BatchHeader::parse(&batches).map_err(violation)?;
            header.verify_crc(&batches).map_err(violation)?;
            let batch = batches.split_to(header.size_bytes);
            self.receiver.borrow_mut().as_mut().expect("batches come after the agreement").check(&header, has_gaps)?;
            match append_one(partition, &batch, &header, frame_bytes) {
                Ok(()) => {}
                Err(AppendError::NeedsSpace) => {
                    return Ok(Some(Stuck { batch, header, rest: Run { has_gaps, batches } }));
                }
                Err(error) => return Err(Reason::Offline(error.to_string())),
            }
        }
        Ok(None)
    }

    /// Makes room for a batch that needs it and goes on, until nothing waits.
    fn drain(&self, partition: &Rc<Partition>, stuck: Option<Stuck>) {
        let Some(session) = self.session.upgrade() else { return };
        self.draining.set(true);
        let (stream, partition) = (self.me(), partition.clone());
        session.shard.queues().spawn_produce(async move {
            if let Err(reason) = stream.drain_all(&partition, stuck).await {
                stream.close(reason);
            }
            stream.draining.set(false);
        });
    }

    async fn drain_all(&self, partition: &Rc<Partition>, mut stuck: Option<Stuck>) -> Result<(), Reason> {
        loop {
            if let Some(Stuck { batch, header, rest }) = stuck.take() {
                self.append_stuck(partition, &batch, &header).await?;
                if self.closed.get() {
                    return Ok(());
                }
                stuck = self.append_now(partition, rest)?;
                continue;
            }
            self.rate_allows(partition).await;
            let Some(waiting) = self.waiting.borrow_mut().pop_front() else { return Ok(()) };
            self.waiting_bytes.set(self.waiting_bytes.get() - waiting.batches.len());
            self.count_throttled(partition, waiting.batches.len());
            stuck = self.append_now(partition, waiting)?;
        }
    }

    /// Appends a batch that there was no room for, unless the stream is closed first.
    async fn append_stuck(&self, partition: &Partition, batch: &Bytes, header: &BatchHeader) -> Result<(), Reason> {
        loop {
            // Also when the stream is closed meanwhile: a reservation that was begun is seen to its end.
            match partition.log.reserve(header.size_bytes, crate::clock::now_ms()).await {
                Ok(()) => {}
                // The leader goes on, and this replica with it as soon as there is space.
                Err(error @ ReserveError::NoSpace(_)) if !self.closed.get() => {
                    tracing::warn!(topic = %partition.topic, partition = %self.key.partition, %error,
                        "the follower has no room for the leader's batches");
                    Timer::new(NO_SPACE_RETRY).await;
                    continue;
                }
                Err(error) => return Err(Reason::Offline(error.to_string())),
            }
            if self.closed.get() {
                return Ok(());
            }
            match append_one(partition, batch, header, 0) {
                Ok(()) => return Ok(()),
                Err(AppendError::NeedsSpace) => {}
                Err(error) => return Err(Reason::Offline(error.to_string())),
            }
        }
    }

    /// Everything before `end` is on this broker's disk.
    pub fn on_durable(&self, partition: &Rc<Partition>, end: Offset) {
        let acknowledged = match &mut *self.receiver.borrow_mut() {
            Some(receiver) => receiver.on_durable(end),
            None => None,
        };
        if let Some(acknowledged) = acknowledged {
            self.acknowledged.set(acknowledged);
            self.queue();
            self.noted(partition);
        }
    }

    /// The log start offset is another: the leader is told with an acknowledgement.
    pub fn log_start_moved(&self) {
        let follows = self.receiver.borrow().as_ref().is_some_and(Receiver::is_following);
        if follows {
            self.queue();
        }
    }

    fn queue(&self) {
        if !self.closed.get()
            && !self.queued.replace(true)
            && let Some(session) = self.session.upgrade()
        {
            session.acknowledge(self.me());
        }
    }

    /// Adds the acknowledgement to what is sent.
    pub fn acknowledgement(&self, out: &mut BytesMut) {
        self.queued.set(false);
        if self.closed.get() {
            return;
        }
        let partition = self.partition.borrow();
        let Some(partition) = &*partition else { return };
        let (end, log_start) = (self.acknowledged.get(), partition.log.log_start_offset());
        partition.assert_may_acknowledge(end);
        ToLeader::Durable { end, log_start }.encode(self.id, out);
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Closes the stream from this end.
    pub fn close(&self, reason: Reason) {
        if self.closed.get() {
            return;
        }
        if let (Some(partition), Reason::Offline(_) | Reason::Diverged(_) | Reason::Violation(_)) =
            (&*self.partition.borrow(), &reason)
        {
            tracing::error!(topic = %partition.topic, partition = %self.key.partition, leader_epoch = %self.leader_epoch, %reason,
                "following the leader has stopped");
        }
        self.ended();
        if let Some(session) = self.session.upgrade() {
            session.close(self.id, reason);
        }
    }

    /// The connection is gone.
    pub fn lost(&self) {
        self.ended();
    }

    fn ended(&self) {
        if self.closed.replace(true) {
            return;
        }
        // Nothing that is under way appends any more.
        self.waiting.borrow_mut().clear();
        self.throttle_changed.notify();
        if let Some(partition) = self.partition.borrow_mut().take() {
            partition.streams.unfollow(self);
        } else if let Some(session) = self.session.upgrade() {
            session.shard.replicator().parked.remove(self);
        }
    }
}

fn append_one(
    partition: &Partition,
    batch: &Bytes,
    header: &BatchHeader,
    frame_bytes: usize,
) -> Result<(), AppendError> {
    // What is most of the memory that it is a slice of is kept as it is.
    let may_be_kept = batch.len() >= READ_SCRATCH_BYTES && 2 * batch.len() >= frame_bytes;
    let now_ms = crate::clock::now_ms();
    let appended = match may_be_kept {
        true => partition.log.append_replicated_shared(batch, header, now_ms),
        false => partition.log.append_replicated(batch, header, now_ms),
    };
    appended.map(drop)
}

fn violation(error: impl std::fmt::Display) -> Reason {
    Reason::Violation(format!("what the leader sent is no batch: {error}"))
}
