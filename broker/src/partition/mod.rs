//! One partition replica on the shard that owns it: its log, its role, and who waits for it.
//!
//! The role follows the metadata ([`Partition::apply_assignment`]) while the log stays open. How its batches come from its
//! leader, or go to its followers, is [`crate::replicator`]'s; here is what that does to whoever waits.
//!
//! Nothing here is shared or locked. Appends are synchronous up to the point where the log has taken the batch, so the
//! order in which a connection's requests arrive is the order in the log; what takes time (a full segment, the disk) is
//! waited for elsewhere.

mod append;
mod replica;
mod role;
#[cfg(test)]
pub(crate) mod tests;
mod validate;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use metadata::config::{Durability, TopicConfig};
use metadata::image::PartitionImage;
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use replication::leader::Settings;

pub use append::{AppendAck, AppendQueue, Appending};
pub use replica::{Extent, PartitionView, ReplicaView};
pub use role::Term;
use role::{LogEnds, Role, RoleChange};
pub use validate::{Refused, walk_budget};

use crate::lease::Lease;
use crate::metrics::topics::TopicTraffic;
use crate::purgatory::{OffsetWaiters, Watchers};
use crate::replicator::Streams;
use crate::shard::event::LocalEvent;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    pub topic_id: TopicId,
    pub partition: PartitionId,
}

pub struct Partition {
    pub key: PartitionKey,
    pub topic: Rc<str>,
    pub log: PartitionLog,
    /// What producers and consumers bring and take, of all partitions of the topic that this shard has.
    pub traffic: Rc<TopicTraffic>,
    role: RefCell<Role>,
    lease: Arc<Lease>,
    config: RefCell<Rc<TopicConfig>>,
    /// Fetches that wait for the high watermark to rise.
    watchers: RefCell<Watchers>,
    /// Produces with acks=1 that wait for this broker's disk.
    durable: RefCell<OffsetWaiters>,
    /// Produces with acks=all that wait for the high watermark.
    committed: RefCell<OffsetWaiters>,
    append_queue: AppendQueue,
    /// To followers while this broker leads, from the leader while it does not.
    pub streams: Streams,
    /// The log is being cut to what the leader has; roles do not change meanwhile.
    cutting: Cell<bool>,
    cut_ended: LocalEvent,
    /// The log start offset is being raised to the leader's.
    raising_start: Cell<bool>,
    wanted_start: Cell<Offset>,
    /// What is told to those who come too late: the replica is no longer here.
    removed: Cell<Option<ResponseError>>,
    /// What was promised to be kept in memory only, until `ringlog.durability` was made stricter.
    promised_unsynced: Cell<Offset>,
}

/// What a partition is opened with, besides its log.
pub struct Opening<'a> {
    pub key: PartitionKey,
    pub topic: Rc<str>,
    pub config: Rc<TopicConfig>,
    pub broker: BrokerId,
    pub assignment: &'a PartitionImage,
    /// As it was last noted on disk, if it was.
    pub high_watermark: Option<Offset>,
    /// The broker's `replica.lag.time.max.ms`.
    pub lag_time_max_ms: u64,
    /// The broker's.
    pub lease: Arc<Lease>,
    /// The topic's.
    pub traffic: Rc<TopicTraffic>,
}

impl Partition {
    /// A replica whose log was opened, in the role that the metadata gives it.
    pub fn new(log: PartitionLog, opening: Opening<'_>) -> Rc<Partition> {
        let Opening { key, topic, config, broker, assignment, high_watermark, lag_time_max_ms, lease, traffic } =
            opening;
        // What recovery found is committed where there is no other replica to ask; else followers tell.
        let alone = assignment.replicas.iter().all(|replica| *replica == broker);
        let (log_start, durable_end) = (log.log_start_offset(), log.ackable_end_offset());
        let noted = high_watermark.map_or(log_start, |noted| noted.clamp(log_start, durable_end));
        let settings = settings(&config, lag_time_max_ms);
        let partition = Rc::new(Partition {
            role: RefCell::new(Role::new(broker, settings, if alone { durable_end } else { noted })),
            lease,
            key,
            topic,
            log,
            traffic,
            config: RefCell::new(config),
            watchers: RefCell::default(),
            durable: RefCell::default(),
            committed: RefCell::default(),
            append_queue: AppendQueue::default(),
            streams: Streams::default(),
            cutting: Cell::new(false),
            cut_ended: LocalEvent::default(),
            raising_start: Cell::new(false),
            wanted_start: Cell::new(Offset::ZERO),
            removed: Cell::new(None),
            promised_unsynced: Cell::new(Offset::ZERO),
        });
        let weak = Rc::downgrade(&partition);
        partition.log.set_durable_listener(Rc::new(move |end| {
            if let Some(partition) = weak.upgrade() {
                partition.on_durable(end);
            }
        }));
        partition.apply_assignment(assignment);
        partition
    }

    /// Makes this replica what the metadata says, unless it has been told so or something newer before. Whoever waits for
    /// what this broker can no longer give is answered.
    pub fn apply_assignment(&self, assignment: &PartitionImage) {
        let ends = LogEnds {
            log_end: self.log.log_end_offset(),
            durable_end: self.log.ackable_end_offset(),
            now_ms: crate::clock::monotonic_ms(),
        };
        let change = self.role.borrow_mut().apply(assignment, ends);
        match change {
            RoleChange::Unchanged => return,
            RoleChange::Leads { risen, needs_others } => {
                self.log.assign_epoch(assignment.leader_epoch);
                self.on_committed(risen);
                if self.is_under_min_isr() {
                    self.committed.borrow_mut().cancel_all();
                } else if needs_others {
                    // What waited for this disk alone waits for others from now on, and not without end.
                    self.committed.borrow_mut().wake_all();
                }
            }
            RoleChange::Follows => self.cancel_writes(),
        }
        // Fetches look again: at a leader that is another, or at an epoch that theirs is behind of.
        self.watchers.borrow_mut().fire_all();
        tracing::debug!(topic = %self.topic, partition = %self.key.partition, ?assignment, "assignment applied");
    }

    /// Nothing that was appended so far is going to be acknowledged by this broker.
    fn cancel_writes(&self) {
        self.durable.borrow_mut().cancel_all();
        self.committed.borrow_mut().cancel_all();
        self.append_queue.refuse_all(&self.not_leading());
    }

    /// Everything before `end` is on this broker's disk.
    fn on_durable(self: &Rc<Self>, end: Offset) {
        self.durable.borrow_mut().reached(end);
        let risen = self.role.borrow_mut().on_own_durable(end);
        self.on_committed(risen);
        self.streams.on_durable(self, end);
    }

    fn on_committed(&self, risen: Option<Offset>) {
        let Some(high_watermark) = risen else { return };
        // The promise of the whole broker, checked always: nothing is called committed that this disk does not hold.
        let durable = self.promised_end();
        assert!(
            high_watermark <= durable,
            "high watermark {high_watermark} of {}-{} passes the durable end {durable}",
            self.topic,
            self.key.partition,
        );
        self.committed.borrow_mut().reached(high_watermark);
        self.watchers.borrow_mut().fire_all();
        self.streams.progressed();
    }

    /// Exclusive end of what consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.role.borrow().high_watermark()
    }

    /// Whether this replica may answer as leader. Compares the epoch that a client believes in with ours (KIP-320); -1 is
    /// not checked.
    pub fn check_leader(&self, believed: LeaderEpoch) -> Result<(), ResponseError> {
        if let Some(error) = self.removed.get() {
            return Err(error);
        }
        let ours = self.leader_epoch();
        match believed {
            LeaderEpoch::UNKNOWN => {}
            older if older < ours => return Err(ResponseError::FencedLeaderEpoch),
            newer if newer > ours => return Err(ResponseError::UnknownLeaderEpoch),
            _ => {}
        }
        if self.serving_term().is_some() { Ok(()) } else { Err(ResponseError::NotLeaderOrFollower) }
    }

    /// As [`Partition::check_leader`], of a replica that consumers read: `from_follower` says whether one that follows in sync
    /// will do as well.
    pub fn check_reader(&self, believed: LeaderEpoch, from_follower: bool) -> Result<(), ResponseError> {
        match self.check_leader(believed) {
            Err(ResponseError::NotLeaderOrFollower)
                if from_follower && !self.is_removed() && self.follows_in_sync() && self.has_lease() =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    /// Whether others may count on this broker for what it is here, leader or follower: it has been heard of, or has the only
    /// replica.
    fn has_lease(&self) -> bool {
        !self.is_replicated() || self.lease.holds(crate::clock::boot_ms())
    }

    /// As [`Partition::term`], while this broker may act on it: what it appends is acknowledged, and read here, in this alone.
    pub fn serving_term(&self) -> Option<Term> {
        self.term().filter(|_| self.has_lease())
    }

    /// The broker's lease has ended, and others may lead: whoever waits is sent to look for them.
    pub fn lease_ended(&self) {
        if self.is_replicated() {
            self.cancel_writes();
            self.watchers.borrow_mut().fire_all();
            self.streams.low_watermark_moved();
        }
    }

    /// The term in which this broker leads by the metadata; `None` while it does not.
    pub fn term(&self) -> Option<Term> {
        if self.removed.get().is_some() { None } else { self.role.borrow().term() }
    }

    /// Why what needs the leader is refused while this replica is none.
    pub fn not_leading(&self) -> Refused {
        let (topic, partition) = (&self.topic, self.key.partition);
        match self.removed.get() {
            Some(error) => Refused::new(error, format!("{topic}-{partition} was taken away from this broker")),
            None => {
                let message = format!("this broker does not lead {topic}-{partition}");
                Refused::new(ResponseError::NotLeaderOrFollower, message)
            }
        }
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.role.borrow().leader_epoch()
    }

    /// Others have replicas too.
    pub fn is_replicated(&self) -> bool {
        self.role.borrow().is_replicated()
    }

    /// Who leads, as far as is known here.
    pub fn leader_id(&self) -> Option<BrokerId> {
        self.role.borrow().leader_id()
    }

    pub fn config(&self) -> Rc<TopicConfig> {
        self.config.borrow().clone()
    }

    /// Takes a changed topic configuration; it holds from the next request on.
    pub fn set_config(&self, config: Rc<TopicConfig>, lag_time_max_ms: u64) {
        if self.config.borrow().durability == Durability::Async {
            self.promised_unsynced.set(self.log.log_end_offset());
        }
        self.log.set_config(crate::storage::log_config(&config));
        let risen = self.role.borrow_mut().on_settings(settings(&config, lag_time_max_ms));
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

    /// Produces that wait.
    pub fn waiting_produces(&self) -> usize {
        self.durable.borrow().len() + self.committed.borrow().len()
    }

    /// Registers a wait until an append is as durable as `acks` asks; `None` when it already is. A wait is cancelled when
    /// this broker cannot acknowledge the append any more.
    pub fn wait_for(&self, acks: Acks, ack: &AppendAck) -> Option<oneshot::Receiver<()>> {
        match acks {
            Acks::None => None,
            // Other records may stand there now, or will: a wait that is over at once, unreached.
            Acks::Leader | Acks::All if self.serving_term() != Some(ack.term) => Some(oneshot::channel().1),
            Acks::Leader => {
                let is_reached = self.log.ackable_end_offset() >= ack.end;
                (!is_reached).then(|| self.durable.borrow_mut().wait_for(ack.end))
            }
            Acks::All => self.wait_committed(ack.end, ack.term),
        }
    }

    /// Registers a wait until all before `end` is committed in this term; `None` when it already is. Nothing is acknowledged by
    /// that, so it needs no lease.
    pub fn wait_committed(&self, end: Offset, term: Term) -> Option<oneshot::Receiver<()>> {
        if self.term() != Some(term) {
            return Some(oneshot::channel().1);
        }
        (self.high_watermark() < end).then(|| self.committed.borrow_mut().wait_for(end))
    }

    /// What may be acknowledged here: what is on disk, or was promised to be kept in memory only.
    fn promised_end(&self) -> Offset {
        self.log.ackable_end_offset().max(self.promised_unsynced.get())
    }

    /// The check before every acknowledgement, always on: what is promised is on this disk (or was promised to be kept
    /// in memory only, by `ringlog.durability=async`).
    pub fn assert_may_acknowledge(&self, end: Offset) {
        let durable = self.promised_end();
        assert!(
            end <= durable,
            "about to acknowledge {}-{} up to {end}, but only {durable} is durable",
            self.topic,
            self.key.partition
        );
    }

    /// Number of replicas in sync is below `min.insync.replicas`: acks=all must be refused.
    pub fn is_under_min_isr(&self) -> bool {
        self.role.borrow().is_under_min_isr()
    }

    /// acks=all waits for other brokers, not for this one's disk alone.
    pub fn needs_others(&self) -> bool {
        self.role.borrow().needs_others()
    }

    /// The replica is no longer here: answers all who wait, with `error` whoever wrote.
    pub fn mark_removed(&self, error: ResponseError) {
        self.removed.set(Some(error));
        self.streams.end();
        self.cancel_writes();
        self.watchers.borrow_mut().fire_all();
    }

    pub fn is_removed(&self) -> bool {
        self.removed.get().is_some()
    }
}

fn settings(config: &TopicConfig, lag_time_max_ms: u64) -> Settings {
    Settings { min_insync_replicas: config.min_insync_replicas, lag_time_max_ms }
}
