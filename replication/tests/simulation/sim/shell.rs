//! A broker around the decisions: its processes, disks, clock, and what it hears of the metadata.

use super::controller::partition_of;
use super::events::Event;
use super::following::Following;
use super::leading::Leading;
use super::lease::Lease;
use super::log::Log;
use super::network::{ConnectionId, End, Life, Sent};
use super::random::Random;
use super::world::World;
use bytes::{Bytes, BytesMut};
use metadata::image::{MetadataImage, PartitionImage};
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset};
use replication::leader::{Leader, Now};
use replication::message::{ToFollower, ToLeader};
use std::collections::BTreeMap;

pub struct Broker {
    /// By partition; those of others stay empty.
    pub disk: Vec<Log>,
    /// The high watermarks that are on disk.
    pub checkpoints: Vec<i64>,
    pub process: Option<Process>,
    pub lives: u64,
    clock_begin_us: u64,
    /// Of a thousand.
    clock_rate: u64,
    /// How long a sync takes.
    pub sync_us: (u64, u64),
    sync_us_usual: (u64, u64),
    /// It hears nothing new of the metadata.
    pub metadata_stands: bool,
    /// By partition, what was on disk and is not, until the controller knows: since the end of this life.
    pub lost: Vec<Option<u64>>,
    /// Its disk is gone, and it cannot start.
    pub is_wiped: bool,
    /// Number of its disk.
    pub directory: u64,
}

impl Broker {
    pub fn new(partitions: usize, random: &mut Random) -> Broker {
        let sync_us = (200, random.between(400, 6_000));
        Broker {
            disk: vec![Log::default(); partitions],
            checkpoints: vec![0; partitions],
            process: None,
            lives: 0,
            clock_begin_us: random.below(1 << 40),
            // None is slower than the controller's, or leases would not be over in time.
            clock_rate: random.between(1000, 1200),
            sync_us,
            sync_us_usual: sync_us,
            metadata_stands: false,
            lost: vec![None; partitions],
            is_wiped: false,
            directory: 0,
        }
    }

    pub fn mend_disk(&mut self) {
        self.sync_us = self.sync_us_usual;
    }

    pub fn clock_us(&self, now_us: u64) -> u64 {
        self.clock_begin_us + now_us * self.clock_rate / 1000
    }

    fn now_ms(&self, now_us: u64) -> u64 {
        self.clock_us(now_us) / 1000
    }
}

/// One life of a broker.
pub struct Process {
    pub number: u64,
    /// Since it is registered.
    pub epoch: Option<u64>,
    pub version: usize,
    pub image: MetadataImage,
    /// It knows its own registration: before, it would take up what an earlier process led.
    pub started: bool,
    /// It is to end, and asks to be fenced.
    pub stopping: bool,
    pub lease: Lease,
    pub parts: Vec<Part>,
    /// Connections to the followers.
    pub links: BTreeMap<usize, ConnectionId>,
}

/// One partition in a process.
#[derive(Default)]
pub struct Part {
    pub role: Role,
    pub high_watermark: i64,
    pub syncing: bool,
    /// The log is being cut; its role stays what it is until that is done.
    pub cutting: bool,
    /// What followers acknowledged when it led last, and as which processes: for mistakes only.
    pub remembered: Vec<(BrokerId, u64, Offset)>,
}

#[derive(Default)]
pub enum Role {
    #[default]
    None,
    Leader(Box<Leading>),
    Follower(Following),
}

impl Role {
    /// The leader epoch that it is of.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        match self {
            Role::None => None,
            Role::Leader(leading) => Some(leading.leader.leader_epoch()),
            Role::Follower(following) => Some(following.epoch()),
        }
    }
}

impl Process {
    /// Since it is registered.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    pub fn partition(&self, partition: usize) -> &PartitionImage {
        partition_of(&self.image, partition)
    }
}

impl World {
    pub fn process(&mut self, broker: usize) -> &mut Process {
        self.brokers[broker].process.as_mut().expect("events come to processes that live")
    }

    pub fn life(&self, broker: usize) -> Life {
        Life { broker, number: self.brokers[broker].lives }
    }

    pub fn part(&self, broker: usize, partition: usize) -> &Part {
        &self.brokers[broker].process.as_ref().expect("it lives").parts[partition]
    }

    pub fn part_mut(&mut self, broker: usize, partition: usize) -> &mut Part {
        &mut self.process(broker).parts[partition]
    }

    pub fn leading(&self, broker: usize, partition: usize) -> Option<&Leading> {
        match &self.brokers[broker].process.as_ref()?.parts[partition].role {
            Role::Leader(leading) => Some(leading),
            _ => None,
        }
    }

    pub fn leading_mut(&mut self, broker: usize, partition: usize) -> Option<&mut Leading> {
        match &mut self.brokers[broker].process.as_mut()?.parts[partition].role {
            Role::Leader(leading) => Some(leading),
            _ => None,
        }
    }

    /// Asks a leader, with the moment as its broker sees it. `None` if the broker does not lead.
    pub fn decide<T>(
        &mut self,
        broker: usize,
        partition: usize,
        decide: impl FnOnce(&mut Leader, Now<'_>) -> T,
    ) -> Option<T> {
        let now_us = self.now_us;
        let at = &mut self.brokers[broker];
        let ms = at.now_ms(now_us);
        let process = at.process.as_mut()?;
        let image = &process.image;
        let brokers = |id: BrokerId| image.broker(id).filter(|known| !known.is_fenced()).map(|known| known.epoch);
        let Role::Leader(leading) = &mut process.parts[partition].role else { return None };
        let now = Now { ms, log_end: Offset(at.disk[partition].end), brokers: &brokers };
        Some(decide(&mut leading.leader, now))
    }

    /// The moment as a broker sees it, for a leader that is yet to be made.
    pub fn decide_new<T>(&mut self, broker: usize, log_end: i64, decide: impl FnOnce(Now<'_>) -> T) -> T {
        let at = &self.brokers[broker];
        let image = &at.process.as_ref().expect("it lives").image;
        let brokers = |id: BrokerId| image.broker(id).filter(|known| !known.is_fenced()).map(|known| known.epoch);
        decide(Now { ms: at.now_ms(self.now_us), log_end: Offset(log_end), brokers: &brokers })
    }

    pub fn on_poll(&mut self, life: Life) {
        let most = self.mood.poll_us_max;
        self.within(1_000, most, Event::Poll { life });
        let newest = self.controller.version();
        let at = &self.brokers[life.broker];
        let current = at.process.as_ref().expect("it lives").version;
        if at.metadata_stands || self.network.cut_off.contains(&(life.broker, false)) || current == newest {
            return;
        }
        // Mostly all there is; now and then some of it, as the log arrives.
        let upto = if self.random.happens(80) { newest } else { current + 1 + self.random.index(newest - current) };
        let image = self.controller.at(upto).clone();
        let process = self.process(life.broker);
        process.version = upto;
        process.image = image;
        self.apply_all(life.broker);
    }

    /// Takes up what the metadata says, if this process is in it.
    pub fn apply_all(&mut self, broker: usize) {
        let process = self.process(broker);
        let own = process.image.broker(BrokerId(broker as i32)).map(|known| known.epoch);
        process.started |= process.epoch.is_some() && own == process.epoch;
        if process.started {
            for partition in 0..self.partitions {
                self.apply(broker, partition);
            }
        }
    }

    /// Takes the role that the metadata says, once the log is at rest.
    pub fn apply(&mut self, broker: usize, partition: usize) {
        if self.part(broker, partition).cutting {
            return;
        }
        let process = self.process(broker);
        let state = process.partition(partition).clone();
        if !state.replicas.contains(&BrokerId(broker as i32)) {
            self.let_go(broker, partition);
        } else if state.leader == Some(BrokerId(broker as i32)) {
            self.apply_leading(broker, partition, &state);
        } else {
            self.apply_following(broker, partition, &state);
        }
    }

    pub fn on_tick(&mut self, life: Life) {
        let tick_us = self.mood.tick_us;
        self.after(tick_us, Event::Tick { life });
        for partition in 0..self.partitions {
            if let Some(effects) = self.decide(life.broker, partition, |leader, now| leader.on_tick(now)) {
                self.take(life.broker, partition, effects);
                self.open_streams(life.broker, partition);
                self.tell_followers(life.broker, partition);
            }
            if self.random.happens(40) {
                let high_watermark = self.part(life.broker, partition).high_watermark;
                self.brokers[life.broker].checkpoints[partition] = high_watermark;
            }
        }
    }

    /// Has the log synced, unless that is under way.
    pub fn sync(&mut self, broker: usize, partition: usize) {
        let log = &self.brokers[broker].disk[partition];
        if self.part(broker, partition).syncing || log.is_synced() {
            return;
        }
        let (cuts, end, (least, most)) = (log.cuts, log.end, self.brokers[broker].sync_us);
        self.part_mut(broker, partition).syncing = true;
        let life = self.life(broker);
        self.within(least, most, Event::Synced { life, partition, cuts, end });
    }

    pub fn on_synced(&mut self, broker: usize, partition: usize, cuts: u64, end: i64) {
        self.part_mut(broker, partition).syncing = false;
        let log = &mut self.brokers[broker].disk[partition];
        log.synced(cuts, end);
        let durable = log.durable;
        self.sync(broker, partition);
        match self.part(broker, partition).role {
            Role::None => {}
            Role::Leader(_) => {
                let rose = self.decide(broker, partition, |leader, _| leader.on_own_durable(Offset(durable)));
                self.rose(broker, partition, rose.flatten());
                self.answer_produces(broker, partition);
            }
            Role::Follower(_) => self.on_follower_synced(broker, partition),
        }
    }

    pub fn say_to_follower(&mut self, connection: ConnectionId, stream: u32, message: &ToFollower) {
        let mut bytes = BytesMut::new();
        message.encode(stream, &mut bytes);
        self.send(connection, End::Leader, bytes);
    }

    pub fn say_to_leader(&mut self, connection: ConnectionId, stream: u32, message: &ToLeader) {
        let mut bytes = BytesMut::new();
        message.encode(stream, &mut bytes);
        self.send(connection, End::Follower, bytes);
    }

    fn send(&mut self, connection: ConnectionId, from: End, bytes: BytesMut) {
        match self.network.send(connection, from, self.now_us, &mut self.random) {
            // The length is the stream's matter.
            Sent::Arrives { at_us } => {
                self.at(at_us, Event::Deliver { connection, from, frame: bytes.freeze().slice(4..) });
            }
            Sent::Dooms => {
                for end in [End::Leader, End::Follower] {
                    self.within(100_000, 1_000_000, Event::Lost { connection, end });
                }
            }
            Sent::Lost => {}
        }
    }

    pub fn deliver(&mut self, connection: ConnectionId, from: End, frame: Bytes) {
        let Some(life) = self.network.receiver(connection, from).filter(|life| self.is_alive(*life)) else { return };
        match from {
            End::Leader => {
                let (stream, message) = ToFollower::decode(frame).expect("messages arrive as they were sent");
                self.on_leader_says(life.broker, connection, stream, message);
            }
            End::Follower => {
                let (stream, message) = ToLeader::decode(frame).expect("messages arrive as they were sent");
                self.on_follower_says(life.broker, connection, stream, message);
            }
        }
    }

    pub fn on_lost(&mut self, connection: ConnectionId, end: End) {
        let Some(ends) = self.network.ends(connection) else { return };
        let life = ends[end as usize];
        self.network.closed(connection, end);
        if !self.is_alive(life) {
            return;
        }
        match end {
            End::Leader => self.on_follower_lost(life.broker, ends[1].broker, connection),
            End::Follower => self.on_leader_lost(life.broker, connection),
        }
    }
}
