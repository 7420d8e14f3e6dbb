//! One partition replica on the shard that owns it: its log, its leadership, and who waits for it.
//!
//! Nothing here is shared or locked. Appends are synchronous up to the point where the log has taken the batch, so the
//! order in which a connection's requests arrive is the order in the log; what takes time (a full segment, the disk) is
//! waited for elsewhere.

mod append;
mod validate;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use metadata::config::TopicConfig;
use metadata::image::PartitionImage;
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use replication::high_watermark::LeaderState;

pub use append::{AppendAck, AppendQueue, Appending};
pub use validate::{Refused, walk_budget};

use crate::purgatory::{OffsetWaiters, Watchers};
use crate::storage::PartitionLog;

/// What a producer wants to be true before its batch is acknowledged (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: no answer at all.
    None,
    /// 1: durable on the leader.
    Leader,
    /// -1: durable on every in-sync replica.
    All,
}

impl Acks {
    /// From the wire; `None` for a value that Kafka refuses with INVALID_REQUIRED_ACKS.
    pub fn from_wire(acks: i16) -> Option<Acks> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// Names a partition within a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    pub topic_id: TopicId,
    pub partition: PartitionId,
}

pub struct Partition {
    pub key: PartitionKey,
    pub topic: Rc<str>,
    pub log: PartitionLog,
    leadership: RefCell<LeaderState>,
    leader_epoch: Cell<LeaderEpoch>,
    high_watermark: Cell<Offset>,
    config: RefCell<Rc<TopicConfig>>,
    /// Fetches that wait for the high watermark to rise.
    watchers: RefCell<Watchers>,
    /// Produces with acks=1 that wait for this broker's disk.
    durable: RefCell<OffsetWaiters>,
    /// Produces with acks=all that wait for the high watermark.
    committed: RefCell<OffsetWaiters>,
    append_queue: AppendQueue,
    deleted: Cell<bool>,
}

impl Partition {
    /// A partition that this broker leads.
    pub fn lead(
        key: PartitionKey,
        topic: Rc<str>,
        log: PartitionLog,
        config: Rc<TopicConfig>,
        broker: BrokerId,
        assignment: &PartitionImage,
    ) -> Rc<Partition> {
        let leader_epoch = assignment.leader_epoch;
        log.assign_epoch(leader_epoch);
        // What recovery found is committed where there is no other replica to ask; else followers tell.
        let alone = assignment.replicas.iter().all(|replica| *replica == broker);
        let high_watermark = if alone { log.ackable_end_offset() } else { log.log_start_offset() };
        let mut leadership =
            LeaderState::new(broker, &assignment.replicas, &assignment.isr, config.min_insync_replicas, high_watermark);
        leadership.on_durable(broker, log.ackable_end_offset());
        let partition = Rc::new(Partition {
            high_watermark: Cell::new(leadership.high_watermark()),
            leadership: RefCell::new(leadership),
            key,
            topic,
            log,
            leader_epoch: Cell::new(leader_epoch),
            config: RefCell::new(config),
            watchers: RefCell::default(),
            durable: RefCell::default(),
            committed: RefCell::default(),
            append_queue: AppendQueue::default(),
            deleted: Cell::new(false),
        });
        let weak = Rc::downgrade(&partition);
        partition.log.set_durable_listener(Rc::new(move |end| {
            if let Some(partition) = weak.upgrade() {
                partition.on_durable(broker, end);
            }
        }));
        partition
    }

    fn on_durable(&self, replica: BrokerId, end: Offset) {
        self.durable.borrow_mut().reached(end);
        let risen = self.leadership.borrow_mut().on_durable(replica, end);
        self.on_committed(risen);
    }

    fn on_committed(&self, risen: Option<Offset>) {
        let Some(high_watermark) = risen else { return };
        // The promise of the whole broker, checked always: nothing is called committed that this disk does not hold.
        assert!(
            high_watermark <= self.log.ackable_end_offset(),
            "high watermark {high_watermark} of {}-{} passes the durable end {}",
            self.topic,
            self.key.partition,
            self.log.ackable_end_offset()
        );
        self.high_watermark.set(high_watermark);
        self.committed.borrow_mut().reached(high_watermark);
        self.watchers.borrow_mut().fire_all();
    }

    /// Exclusive end of what consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark.get()
    }

    /// Compares the epoch that a client believes in with ours (KIP-320); -1 is not checked.
    pub fn check_leader_epoch(&self, believed: LeaderEpoch) -> Result<(), ResponseError> {
        let ours = self.leader_epoch();
        match believed {
            LeaderEpoch::UNKNOWN => Ok(()),
            older if older < ours => Err(ResponseError::FencedLeaderEpoch),
            newer if newer > ours => Err(ResponseError::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    pub fn config(&self) -> Rc<TopicConfig> {
        self.config.borrow().clone()
    }

    /// Takes a changed topic configuration; it holds from the next request on.
    pub fn set_config(&self, config: Rc<TopicConfig>) {
        self.log.set_config(crate::storage::log_config(&config));
        let risen = self.leadership.borrow_mut().on_min_insync_replicas(config.min_insync_replicas);
        *self.config.borrow_mut() = config;
        self.on_committed(risen);
        if self.is_under_min_isr() {
            // The high watermark stands still from now on: who waits for it is told, rather than left waiting.
            self.committed.borrow_mut().cancel_all();
        }
    }

    pub fn watchers(&self) -> &RefCell<Watchers> {
        &self.watchers
    }

    /// Registers a wait until everything below `end` is as durable as `acks` asks; `None` when it already is.
    pub fn wait_for(&self, acks: Acks, end: Offset) -> Option<oneshot::Receiver<()>> {
        let (reached, waiters) = match acks {
            Acks::None => return None,
            Acks::Leader => (self.log.ackable_end_offset(), &self.durable),
            Acks::All => (self.high_watermark(), &self.committed),
        };
        if reached >= end {
            return None;
        }
        if self.is_deleted() {
            // Nobody will move this partition any more: a wait that is over at once, unreached.
            return Some(oneshot::channel().1);
        }
        Some(waiters.borrow_mut().wait_for(end))
    }

    /// The check before every acknowledgement, always on: what is promised is on this disk (or was promised to be kept
    /// in memory only, by `ringlog.durability=async`).
    pub fn assert_may_acknowledge(&self, end: Offset) {
        let durable = self.log.ackable_end_offset();
        assert!(
            end <= durable,
            "about to acknowledge {}-{} up to {end}, but only {durable} is durable",
            self.topic,
            self.key.partition
        );
    }

    /// Number of replicas in sync is below `min.insync.replicas`: acks=all must be refused.
    pub fn is_under_min_isr(&self) -> bool {
        !self.leadership.borrow().has_min_insync_replicas()
    }

    /// Answers all who wait, so that nobody waits for a partition that is gone.
    pub fn mark_deleted(&self) {
        self.deleted.set(true);
        self.durable.borrow_mut().cancel_all();
        self.committed.borrow_mut().cancel_all();
        self.watchers.borrow_mut().fire_all();
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.get()
    }
}
