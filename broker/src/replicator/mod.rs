//! Carrying partitions' batches from their leaders to their followers, as the crate [`replication`] decides.
//!
//! - [`outbound`]: what this shard leads goes to the shards that follow it; [`inbound`]: what it follows comes in.
//! - [`wire`]: one connection, whichever end it is.
//! - [`proposals`]: changed ISRs on their way to the controller; [`throttle`]: rates for replicas that catch up.
//!
//! A partition knows its [`Streams`] and tells them of appends and of what is on disk; streams tell the partition what that
//! means for whoever waits ([`Partition::lead`], [`Partition::on_told`]). Nothing here knows of requests or of Raft.

pub mod inbound;
pub mod outbound;
mod proposals;
#[cfg(test)]
mod tests;
pub mod throttle;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use foldhash::fast::RandomState;
use metadata::record::BrokerState;
use protocol::{BrokerId, Offset};
use replication::leader::Proposal;
use replication::message::Reason;

use crate::partition::{Partition, PartitionKey};
use crate::shard::Shard;
use crate::shard::event::LocalEvent;
use crate::shard::placement;
use inbound::Parked;
use inbound::session::Session;
use inbound::stream::InStream;
use outbound::catch_up::CatchUp;
use outbound::link::{Link, LinkKey};
use outbound::stream::OutStream;
use proposals::Proposals;

/// How often leaders look at who has fallen behind, at least.
const TICK_MAX: Duration = Duration::from_millis(500);

/// One shard's part in replication.
#[derive(Default)]
pub struct Replicator {
    links: RefCell<HashMap<LinkKey, Rc<Link>, RandomState>>,
    sessions: RefCell<Vec<Weak<Session>>>,
    /// Partitions that this shard leads and that have followers.
    led: RefCell<HashMap<PartitionKey, Rc<Partition>, RandomState>>,
    pub parked: Parked,
    proposals: Proposals,
    pub catch_up: CatchUp,
}

/// The streams of one partition: to its followers, or from its leader.
#[derive(Default)]
pub struct Streams {
    outbound: RefCell<Vec<Rc<OutStream>>>,
    inbound: RefCell<Option<Rc<InStream>>>,
    low_watermark_moved: LocalEvent,
}

impl Streams {
    /// The leader's log has grown.
    pub fn appended(&self) {
        self.outbound.borrow().iter().for_each(|stream| stream.ready());
    }

    /// The high watermark or the log start offset of the leader has moved.
    pub fn progressed(&self) {
        self.outbound.borrow().iter().for_each(|stream| stream.progressed());
    }

    /// Everything before `end` is on this broker's disk.
    pub fn on_durable(&self, partition: &Rc<Partition>, end: Offset) {
        let inbound = self.inbound.borrow().clone();
        if let Some(stream) = inbound {
            stream.on_durable(partition, end);
        }
    }

    /// The log start offset of this replica has moved.
    pub fn log_start_moved(&self) {
        let inbound = self.inbound.borrow().clone();
        if let Some(stream) = inbound {
            stream.log_start_moved();
        }
        self.progressed();
        self.low_watermark_moved();
    }

    /// A follower's log start offset has moved, or a follower is gone.
    pub fn low_watermark_moved(&self) {
        self.low_watermark_moved.notify();
    }

    /// The smallest log start offset of the replicas that replicate, of which the leader's is `own` (Kafka's low watermark).
    pub fn low_watermark(&self, own: Offset) -> Offset {
        let outbound = self.outbound.borrow();
        let connected = outbound.iter().filter(|stream| stream.id() != 0);
        connected.map(|stream| stream.log_start()).min().map_or(own, |theirs| theirs.min(own))
    }

    /// A follower's log start offset, if it replicates and has told.
    pub fn log_start_of(&self, follower: BrokerId) -> Option<Offset> {
        let outbound = self.outbound.borrow();
        let stream = outbound.iter().find(|stream| stream.follower == follower && stream.id() != 0)?;
        Some(stream.log_start()).filter(|log_start| *log_start >= Offset::ZERO)
    }

    /// Resolves when the low watermark may be another.
    pub async fn low_watermark_changed(&self) {
        self.low_watermark_moved.listen().await;
    }

    /// From now on this stream from the leader is followed; gives the one before.
    pub fn follow(&self, stream: Rc<InStream>) -> Option<Rc<InStream>> {
        self.inbound.borrow_mut().replace(stream)
    }

    /// A stream from the leader has ended.
    pub fn unfollow(&self, stream: &InStream) {
        let mut inbound = self.inbound.borrow_mut();
        if inbound.as_ref().is_some_and(|followed| std::ptr::eq(&**followed, stream)) {
            *inbound = None;
        }
    }

    /// The replica is no longer here.
    pub fn end(&self) {
        self.end_outbound();
        let inbound = self.inbound.borrow().clone();
        if let Some(stream) = inbound {
            stream.close(Reason::NoReplica);
        }
    }

    fn end_outbound(&self) {
        let ended = self.outbound.take();
        ended.iter().for_each(|stream| stream.end());
        self.low_watermark_moved();
    }
}

impl Replicator {
    /// Adds the session of a connection that a leader's shard has made.
    pub fn add_session(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
    }

    /// A partition's role is what the metadata says: its streams are to be what that asks for.
    pub fn follow_role(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let followers = partition.followers();
        if partition.term().is_some() {
            let inbound = partition.streams.inbound.borrow().clone();
            if let Some(stream) = inbound {
                stream.close(Reason::OldEpoch { known: partition.leader_epoch() });
            }
            self.send_to(shard, partition, &followers);
        } else {
            partition.streams.end_outbound();
            let inbound = partition.streams.inbound.borrow().clone();
            match inbound {
                Some(stream) if stream.leader_epoch() != partition.leader_epoch() => {
                    stream.close(Reason::OldEpoch { known: partition.leader_epoch() });
                }
                // It may be in sync now.
                Some(stream) => stream.look_at_throttle(),
                None => {}
            }
        }
        if followers.is_empty() {
            self.led.borrow_mut().remove(&partition.key);
        } else {
            self.led.borrow_mut().insert(partition.key, partition.clone());
        }
        // Those that still know more than this shard are parked again.
        self.parked.take(partition.key).iter().for_each(|stream| stream.begin());
    }

    /// The partition is no longer here.
    pub fn forget(&self, key: PartitionKey) {
        self.led.borrow_mut().remove(&key);
    }

    /// Streams to these followers and to no others, all of the present leader epoch.
    fn send_to(&self, shard: &Rc<Shard>, partition: &Rc<Partition>, followers: &[BrokerId]) {
        let wanted: Vec<(BrokerId, LinkKey)> = followers
            .iter()
            .filter_map(|follower| Some((*follower, link_key(&*shard.broker_state(*follower)?, partition.key))))
            .collect();
        let epoch = partition.leader_epoch();
        let before = partition.streams.outbound.take();
        let (kept, ended): (Vec<_>, Vec<_>) = before.into_iter().partition(|stream| {
            let is_wanted = wanted.contains(&(stream.follower, stream.link().key()));
            is_wanted && stream.leader_epoch() == epoch && !stream.link().is_over()
        });
        ended.iter().for_each(|stream| stream.end());
        // Their followers may be in sync now.
        kept.iter().for_each(|stream| stream.look_at_throttle());
        let mut streams = kept;
        for (follower, key) in wanted {
            if streams.iter().any(|stream| stream.follower == follower) {
                continue;
            }
            let link = self.links.borrow_mut().entry(key).or_insert_with(|| Link::start(shard, key)).clone();
            let stream = OutStream::new(shard, partition, follower, &link);
            link.open(&stream);
            streams.push(stream);
        }
        *partition.streams.outbound.borrow_mut() = streams;
        partition.streams.low_watermark_moved();
    }

    /// A broker has started anew, was let in or fenced, or is gone: streams go to where it is by now.
    pub fn broker_changed(&self, shard: &Rc<Shard>, broker: BrokerId) {
        let state = shard.broker_state(broker);
        let gone: Vec<Rc<Link>> = {
            let links = self.links.borrow();
            let of_another = |link: &&Rc<Link>| {
                link.key().broker == broker && state.as_ref().is_none_or(|state| state.epoch != link.key().broker_epoch)
            };
            links.values().filter(of_another).cloned().collect()
        };
        let led: Vec<Rc<Partition>> = self.led.borrow().values().cloned().collect();
        for partition in led {
            let followers = partition.followers();
            if followers.contains(&broker) {
                self.send_to(shard, &partition, &followers);
            }
        }
        for link in gone {
            self.links.borrow_mut().remove(&link.key());
            link.end("another process of the broker has registered");
        }
        // It may listen now, whatever came of the last attempt.
        self.links.borrow().values().filter(|link| link.key().broker == broker).for_each(|link| link.kick());
    }

    /// Sends a changed ISR to the controller, if there is one to send.
    pub fn propose(&self, shard: &Rc<Shard>, partition: &Rc<Partition>, proposal: Option<Proposal>) {
        if let Some(proposal) = proposal {
            self.proposals.add(shard, partition.clone(), proposal);
        }
    }

    /// Ends all connections: the shard is stopping.
    pub fn stop(&self) {
        self.links.take().values().for_each(|link| link.end("the broker is stopping"));
        self.sessions.take().iter().filter_map(Weak::upgrade).for_each(|session| session.end("the broker is stopping"));
    }

    /// Has leaders look at who has fallen behind, until the shard stops.
    pub async fn run_ticks(&self, shard: &Rc<Shard>) {
        while !shard.is_stopping() {
            let quarter = Duration::from_millis(shard.lag_time_max_ms() / 4);
            glommio::timer::sleep(quarter.clamp(Duration::from_millis(10), TICK_MAX)).await;
            let led: Vec<Rc<Partition>> = self.led.borrow().values().cloned().collect();
            for partition in led {
                let proposal = partition.lead(shard, |leader, now| leader.on_tick(now));
                self.propose(shard, &partition, proposal);
            }
            self.catch_up.admit();
            let unused: Vec<LinkKey> =
                self.links.borrow().values().filter(|link| link.is_unused()).map(|link| link.key()).collect();
            for key in unused {
                if let Some(link) = self.links.borrow_mut().remove(&key) {
                    link.end("no partition needs it");
                }
            }
        }
    }
}

fn link_key(state: &BrokerState, key: PartitionKey) -> LinkKey {
    let shards = usize::try_from(state.shards).unwrap_or(1).max(1);
    let shard = u32::try_from(placement::owner_of(key, shards)).expect("one of u32 shards");
    LinkKey { broker: state.broker, broker_epoch: state.epoch, shard }
}
