//! The leader's end of one stream: it reads the log and feeds its link, as [`replication::sender`] decides.
//!
//! At the tail, batches come from memory and are sent in the turn that finds them; a follower that is further behind has them
//! read from disk in the background, one read at a time, and gets its turn when that is done. Where a throttle holds for it
//! (KIP-73) it waits for the rate between its turns.

mod throttled;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use glommio::timer::Timer;
use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::backoff::Backoff;
use replication::divergence::BatchMark;
use replication::message::{Reason, StreamId, ToFollower, ToLeader, batches_head};
use replication::sender::{Sender, Step, Window};
use replication::turns::{Class, TURN_BYTES};
use wal::ReadError;
use wal::log::ReadBatches;

use super::catch_up::PIECE_BYTES;
use super::link::Link;
use crate::connection::gathered::Gathered;
use crate::partition::{Extent, Partition};
use crate::shard::Shard;

/// Read from disk at once for a follower that catches up, in bytes.
const CATCH_UP_READ_BYTES: usize = 1 << 20;
/// Pauses before a stream that a follower refused is opened again, in milliseconds.
const RETRY_FIRST_MS: u64 = 50;
const RETRY_LONGEST_MS: u64 = 5_000;
/// The same for one whose logs differ: somebody has to look at it.
const DIVERGED_RETRY_MS: u64 = 60_000;

/// See the module's documentation.
pub struct OutStream {
    pub partition: Rc<Partition>,
    pub follower: BrokerId,
    shard: Rc<Shard>,
    link: Rc<Link>,
    /// On the link's present connection; 0 while it is not opened there.
    id: Cell<StreamId>,
    sender: RefCell<Sender>,
    /// Waits for its turn, or has it.
    queued: Cell<bool>,
    /// The disk is read for it.
    reading: Cell<bool>,
    /// Waits for the rate of its throttle.
    throttled: Cell<bool>,
    /// What was read from disk.
    read: RefCell<Option<ReadBatches>>,
    /// Among those that catch up at the moment, and what was read for it since.
    catches_up: Cell<bool>,
    caught_up_bytes: Cell<u64>,
    /// Waits to be among those.
    waits_to_catch_up: Cell<bool>,
    /// Where the two logs agreed.
    agreed_end: Cell<Offset>,
    /// Among those that its link opens when it is connected.
    pub waits: Cell<bool>,
    /// Waits to tell the follower how far the leader is.
    pub untold: Cell<bool>,
    /// Of the follower, as it last said.
    log_start: Cell<Offset>,
    backoff: RefCell<Backoff>,
    /// It was taken off its partition.
    over: Cell<bool>,
}

impl OutStream {
    /// Of a partition that this broker leads; opened when the link is connected.
    pub fn new(shard: &Rc<Shard>, partition: &Rc<Partition>, follower: BrokerId, link: &Rc<Link>) -> Rc<OutStream> {
        link.attached();
        Rc::new(OutStream {
            sender: RefCell::new(Sender::new(partition.leader_epoch())),
            partition: partition.clone(),
            follower,
            shard: shard.clone(),
            link: link.clone(),
            id: Cell::new(0),
            queued: Cell::new(false),
            reading: Cell::new(false),
            throttled: Cell::new(false),
            read: RefCell::default(),
            catches_up: Cell::new(false),
            caught_up_bytes: Cell::new(0),
            waits_to_catch_up: Cell::new(false),
            agreed_end: Cell::new(Offset(-1)),
            waits: Cell::new(false),
            untold: Cell::new(false),
            log_start: Cell::new(Offset(-1)),
            backoff: RefCell::new(Backoff::new(RETRY_FIRST_MS, RETRY_LONGEST_MS)),
            over: Cell::new(false),
        })
    }

    pub fn link(&self) -> &Rc<Link> {
        &self.link
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.sender.borrow().leader_epoch()
    }

    pub fn id(&self) -> StreamId {
        self.id.get()
    }

    /// The follower's log start offset; -1 while it has not said.
    pub fn log_start(&self) -> Offset {
        self.log_start.get()
    }

    /// Begins on the link's connection under this number.
    pub fn open(&self, id: StreamId) {
        self.reset(id);
        let leader_epoch = self.sender.borrow().leader_epoch();
        let key = self.partition.key;
        self.say(&ToFollower::Open { topic_id: key.topic_id, partition: key.partition, leader_epoch });
    }

    fn reset(&self, id: StreamId) {
        self.id.set(id);
        let leader_epoch = self.leader_epoch();
        *self.sender.borrow_mut() = Sender::new(leader_epoch);
        self.queued.set(false);
        self.throttled.set(false);
        *self.read.borrow_mut() = None;
        self.untold.set(false);
    }

    /// The link's connection is gone, or the follower has closed the stream.
    pub fn lost(&self) {
        self.id.set(0);
        self.sender.borrow_mut().on_closed();
        *self.read.borrow_mut() = None;
        self.stop_catching_up();
        if !self.over.get() {
            self.partition.on_follower_lost(self.follower);
        }
    }

    /// The partition has no use for it any more.
    pub fn end(&self) {
        if !self.over.replace(true) {
            self.link.detach(self);
        }
    }

    /// Its turn among those that catch up has come.
    pub fn admitted(&self) {
        self.waits_to_catch_up.set(false);
        self.ready();
    }

    fn stop_catching_up(&self) {
        if self.catches_up.replace(false) {
            self.shard.replicator().catch_up.leave();
        }
    }

    /// Whether the disk may be read for it now; if not, it is made ready when it may.
    fn may_read(self: &Rc<Self>) -> bool {
        let catch_up = &self.shard.replicator().catch_up;
        if self.catches_up.get() {
            // It goes on behind the others when what it has sent is on the follower's disk.
            let had_its_piece = self.caught_up_bytes.get() >= PIECE_BYTES && catch_up.others_wait();
            return !(had_its_piece && self.sender.borrow().has_in_flight());
        }
        if self.waits_to_catch_up.get() {
            return false;
        }
        let entered = catch_up.enter(self);
        self.catches_up.set(entered);
        self.waits_to_catch_up.set(!entered);
        self.caught_up_bytes.set(0);
        entered
    }

    fn say(&self, message: &ToFollower) {
        let id = self.id.get();
        if id != 0 {
            self.link.wire_say(|out| message.encode(id, out));
        }
    }

    fn class(&self) -> Class {
        if self.partition.is_in_sync(self.follower) { Class::Tail } else { Class::CatchUp }
    }

    /// There may be something to send.
    pub fn ready(&self) {
        if self.queued.get() || self.reading.get() || self.throttled.get() || self.id.get() == 0 {
            return;
        }
        if self.sender.borrow().may_send(self.partition.log.log_end_offset()) {
            self.queued.set(true);
            self.link.ready(self.id.get(), self.class());
        }
    }

    /// The high watermark or the log start offset has moved: the follower is told soon, with batches if there are any.
    pub fn progressed(self: &Rc<Self>) {
        if self.id.get() != 0
            && self.sender.borrow().is_to_be_told(self.partition.progress())
            && !self.untold.replace(true)
        {
            self.link.tell_soon(self.clone());
        }
    }

    /// Tells the follower how far the leader is, unless it has been told.
    pub fn tell(&self) {
        self.untold.set(false);
        let progress = self.partition.progress();
        if self.sender.borrow_mut().tell(progress) {
            self.say(&ToFollower::Progress(progress));
        }
    }

    /// Its turn: adds batches to what is sent. Gives their bytes, and in which class it has more to send at once.
    pub fn take_turn(self: &Rc<Self>, out: &mut Gathered) -> (usize, Option<Class>) {
        self.queued.set(false);
        let Some(window) = self.sender.borrow().window() else { return (0, None) };
        let (class, throttle) = (self.class(), &self.shard.settings().throttles().leader);
        let throttled_rate = self.throttled_rate();
        if let Some(rate) = throttled_rate
            && let Some(wait) = throttle.wait(rate, crate::clock::monotonic_ns())
        {
            self.wait_for_rate(wait);
            return (0, None);
        }
        let Some(batches) = self.batches(window) else { return (0, None) };
        if batches.bytes > window.bytes && !window.at_least_one {
            // It waits until the follower has taken in what is on its way.
            *self.read.borrow_mut() = Some(batches);
            return (0, None);
        }
        let (bytes, progress) = (batches.bytes, self.partition.progress());
        out.add_copy(&batches_head(self.id.get(), progress, batches.has_gaps, bytes));
        batches.pieces.into_iter().for_each(|piece| out.add(piece));
        if let Some(rate) = throttled_rate {
            throttle.took(bytes, rate, crate::clock::monotonic_ns());
        }
        let mut sender = self.sender.borrow_mut();
        sender.on_sent(batches.next_offset, bytes, progress);
        let again = sender.may_send(self.partition.log.log_end_offset());
        self.queued.set(again);
        (bytes, again.then_some(class))
    }

    /// What comes next; `None` if it has to be read from disk first, or there is nothing.
    fn batches(self: &Rc<Self>, window: Window) -> Option<ReadBatches> {
        let read = self.read.borrow_mut().take();
        if read.is_some() {
            return read;
        }
        let log = &self.partition.log;
        let log_end = log.log_end_offset();
        if window.from >= log_end {
            return None;
        }
        let bytes = window.bytes.min(TURN_BYTES);
        // A log start within a batch: that batch begins before what may be read.
        let from = window.from.max(log.log_start_offset());
        match log.read_cached(from, log_end, bytes, usize::MAX) {
            Some(batches) if batches.bytes == 0 => None,
            Some(batches) => self.continuing(window, from, batches),
            None => {
                self.read_from_disk(window);
                None
            }
        }
    }

    /// Batches that continue what was sent, read at `from`. Where the log start was raised meanwhile they may not: then it
    /// begins anew.
    fn continuing(self: &Rc<Self>, window: Window, from: Offset, batches: ReadBatches) -> Option<ReadBatches> {
        let first = batches.pieces.first().and_then(|piece| piece.first_chunk());
        let base_offset = first.map(|bytes| Offset(i64::from_be_bytes(*bytes)));
        // What lies between is what compaction has dropped, if it is not what was deleted.
        let has_gap_alone = from == window.from && batches.has_gaps;
        if base_offset.is_some_and(|base| base == window.from || has_gap_alone && base > window.from) {
            return Some(batches);
        }
        self.close(Reason::Over, true);
        None
    }

    fn read_from_disk(self: &Rc<Self>, window: Window) {
        if !self.may_read() {
            return;
        }
        self.reading.set(true);
        let (stream, id) = (self.clone(), self.id.get());
        self.shard.queues().spawn_fetch(async move {
            let log = &stream.partition.log;
            // Small pieces where there is a rate to be kept, and others to share it with.
            let most = if stream.throttled_rate().is_some() { TURN_BYTES } else { CATCH_UP_READ_BYTES };
            let bytes = window.bytes.clamp(1, most);
            let from = window.from.max(log.log_start_offset());
            let read = log.read(from, log.log_end_offset(), bytes, usize::MAX).await;
            stream.reading.set(false);
            if stream.id.get() != id {
                // Opened anew meanwhile, perhaps further on.
                stream.ready();
                return;
            }
            match read {
                Ok(batches) if batches.bytes > 0 => {
                    if let Some(batches) = stream.continuing(window, from, batches) {
                        let bytes = batches.bytes as u64;
                        stream.caught_up_bytes.set(stream.caught_up_bytes.get() + bytes);
                        *stream.read.borrow_mut() = Some(batches);
                        stream.ready();
                    }
                }
                Ok(_) => {}
                // Retention has overtaken the follower: it begins anew.
                Err(ReadError::OutOfRange { .. }) => stream.close(Reason::Over, true),
                Err(error) => stream.close(Reason::Offline(format!("the leader cannot read its log: {error}")), true),
            }
        });
    }

    /// The follower says something on this stream.
    pub fn take(self: &Rc<Self>, message: ToLeader) {
        match message {
            ToLeader::Position { tail, broker_epoch, window_bytes } => {
                let window_bytes = usize::try_from(window_bytes).unwrap_or(usize::MAX);
                let log = Extent(&self.partition.log);
                let step = self.sender.borrow_mut().on_position(tail, window_bytes, &log);
                self.step(step, broker_epoch);
            }
            ToLeader::Durable { end, log_start } => {
                let counted = self.sender.borrow_mut().on_durable(end);
                if let Err(reason) = counted {
                    return self.close(reason, true);
                }
                if end > self.agreed_end.get() {
                    self.backoff.borrow_mut().succeeded();
                }
                let is_through =
                    !self.reading.get() && self.read.borrow().is_none() && !self.sender.borrow().has_in_flight();
                if is_through {
                    self.stop_catching_up();
                }
                if self.log_start.replace(log_start) != log_start {
                    self.partition.streams.low_watermark_moved();
                }
                let proposal =
                    self.partition.lead(&self.shard, |leader, now| leader.on_durable(self.follower, end, now));
                self.shard.replicator().propose(&self.shard, &self.partition, proposal);
                self.ready();
            }
            ToLeader::Close(reason) => self.closed(&reason),
            ToLeader::Beat => {}
        }
    }

    fn step(self: &Rc<Self>, step: Step, broker_epoch: u64) {
        match step {
            Step::Send(message) => self.say(&message),
            Step::Close(reason) => self.close(reason, true),
            Step::LookUp { before, after } => {
                let (stream, id) = (self.clone(), self.id.get());
                self.shard.queues().spawn_fetch(async move {
                    let found = async { Ok((stream.mark(before).await?, stream.mark(after).await?)) };
                    let found: Result<_, ReadError> = found.await;
                    if stream.id.get() != id {
                        return;
                    }
                    match found {
                        Ok((before, after)) => {
                            let progress = stream.partition.progress();
                            let step = stream.sender.borrow_mut().on_met(before, after, progress);
                            stream.step(step, broker_epoch);
                        }
                        Err(error) => {
                            let reason = Reason::Offline(format!("the leader cannot read its log: {error}"));
                            stream.close(reason, true);
                        }
                    }
                });
            }
            Step::Agreed { end } => {
                self.agreed_end.set(end);
                self.say(&ToFollower::Agreed(self.partition.progress()));
                tracing::debug!(topic = %self.partition.topic, partition = %self.partition.key.partition,
                    follower = %self.follower, %end, "the follower's log is a begin of the leader's");
                let proposal = self
                    .partition
                    .lead(&self.shard, |leader, now| leader.on_agreed(self.follower, broker_epoch, end, now));
                self.shard.replicator().propose(&self.shard, &self.partition, proposal);
                self.ready();
            }
        }
    }

    /// The batch that contains an offset.
    async fn mark(&self, offset: Option<Offset>) -> Result<Option<BatchMark>, ReadError> {
        let Some(offset) = offset else { return Ok(None) };
        match self.partition.log.batch_before(offset.advance(1)).await {
            Ok(header) => Ok(header.as_ref().and_then(BatchMark::of)),
            Err(ReadError::OutOfRange { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends the stream on this side, and opens it again later if `again`.
    fn close(self: &Rc<Self>, reason: Reason, again: bool) {
        let (topic, partition) = (&self.partition.topic, self.partition.key.partition);
        match &reason {
            Reason::Diverged(what) => tracing::error!(%topic, %partition, follower = %self.follower, what,
                "replication to this follower has stopped: the logs differ where they must be equal; \
                 `ringlog wal dump --batches` of both shows where, and removing the wrong replica's directory while its \
                 broker is stopped has it copied anew"),
            reason => {
                tracing::warn!(%topic, %partition, follower = %self.follower, %reason, "a replication stream was closed")
            }
        }
        self.say(&ToFollower::Close(reason.clone()));
        self.link.forget(self.id.get());
        self.lost();
        if again {
            self.open_later(&reason);
        }
    }

    /// The follower has closed the stream.
    fn closed(self: &Rc<Self>, reason: &Reason) {
        let (topic, partition) = (&self.partition.topic, self.partition.key.partition);
        match reason {
            Reason::Offline(_) | Reason::Diverged(_) | Reason::Violation(_) => {
                tracing::warn!(%topic, %partition, follower = %self.follower, %reason, "the follower has closed its replication stream");
            }
            // The metadata says the rest.
            reason => {
                tracing::debug!(%topic, %partition, follower = %self.follower, %reason, "replication stream closed")
            }
        }
        self.link.forget(self.id.get());
        self.lost();
        self.open_later(reason);
    }

    fn open_later(self: &Rc<Self>, reason: &Reason) {
        let pause_ms = match reason {
            Reason::Diverged(_) => DIVERGED_RETRY_MS,
            _ => self.backoff.borrow_mut().failed(self.shard.random_u32()),
        };
        let stream = self.clone();
        self.shard.queues().spawn_background(async move {
            Timer::new(Duration::from_millis(pause_ms)).await;
            if !stream.over.get() && stream.id.get() == 0 {
                stream.link.open(&stream);
            }
        });
    }
}

impl std::fmt::Debug for OutStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "stream {} of {}-{} to {}",
            self.id.get(),
            self.partition.topic,
            self.partition.key.partition,
            self.follower
        )
    }
}
