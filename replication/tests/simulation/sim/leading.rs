//! What a broker does as the leader of a partition.

use super::bug::Bug;
use super::checks::rules;
use super::controller::TOPIC;
use super::events::Event;
use super::log::{Batch, Log, encode};
use super::network::ConnectionId;
use super::shell::Role;
use super::world::World;
use metadata::image::PartitionImage;
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId};
use replication::leader::{Assignment, Leader, Settings};
use replication::message::{Progress, Reason, Run, ToFollower, ToLeader};
use replication::sender::{Sender, Step};
use std::collections::BTreeMap;

pub struct Leading {
    pub leader: Leader,
    pub waiting: Vec<Waiting>,
    pub outgoing: BTreeMap<usize, Outgoing>,
    /// Before which no stream is opened, by follower.
    pause_until_us: BTreeMap<usize, u64>,
    /// Number of the request that is on its way, and the partition epoch that it is based on.
    pub asked: Option<(u64, i32)>,
}

impl Leading {
    pub fn in_sync(&self) -> usize {
        self.leader.status(0, Offset::ZERO).filter(|replica| replica.in_sync).count()
    }
}

/// A produce that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub batch: Batch,
    pub acks_all: bool,
}

pub struct Outgoing {
    connection: ConnectionId,
    stream: u32,
    sender: Sender,
    pub broker_epoch: u64,
    rounds: u32,
}

pub fn assignment(state: &PartitionImage) -> Assignment<'_> {
    Assignment {
        replicas: &state.replicas,
        isr: &state.isr,
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
    }
}

impl World {
    pub fn apply_leading(&mut self, broker: usize, partition: usize, state: &PartitionImage) {
        match self.leading(broker, partition) {
            Some(leading) if leading.leader.leader_epoch() == state.leader_epoch => {
                let rose = self.decide(broker, partition, |leader, _| leader.on_assignment(assignment(state)));
                self.rose(broker, partition, rose.flatten());
                self.close_streams_to_strangers(broker, partition);
                self.open_streams(broker, partition);
            }
            _ => self.lead(broker, partition, state),
        }
    }

    pub fn settings(&self) -> Settings {
        let min_insync_replicas = if self.has(Bug::AdvanceBelowMinInsync) { 1 } else { self.mood.min_insync };
        Settings { min_insync_replicas, lag_time_max_ms: self.mood.lag_time_max_ms }
    }

    fn lead(&mut self, broker: usize, partition: usize, state: &PartitionImage) {
        self.leave(broker, partition);
        let epoch = state.leader_epoch.0;
        let high_watermark = self.part(broker, partition).high_watermark;
        let log = &mut self.brokers[broker].disk[partition];
        log.begin(epoch);
        self.checks[partition].on_maybe_lost(epoch, log, high_watermark);
        let checked = self.checks[partition].on_leader(broker, epoch, log, high_watermark);
        let (end, durable) = (log.end, log.durable);
        checked.into_iter().for_each(|checked| self.check(checked));
        self.note(|| {
            format!("broker {broker} leads partition {partition} at {epoch} from {end}, {high_watermark} committed")
        });
        let known = if self.has(Bug::ForgetHighWatermark) { 0 } else { high_watermark };
        let begin = if self.has(Bug::JoinWithoutEpochStart) { high_watermark } else { end };
        let (id, settings) = (BrokerId(broker as i32), self.settings());
        let leader = self.decide_new(broker, begin, |now| {
            Leader::new(id, assignment(state), settings, Offset(known), Offset(durable), now)
        });
        let rose = leader.high_watermark();
        let (waiting, outgoing, pause_until_us) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let leading = Leading { leader, waiting, outgoing, pause_until_us, asked: None };
        self.part_mut(broker, partition).role = Role::Leader(Box::new(leading));
        self.rose(broker, partition, Some(rose).filter(|rose| rose.0 != high_watermark));
        for (follower, broker_epoch, end) in std::mem::take(&mut self.part_mut(broker, partition).remembered) {
            let effects =
                self.decide(broker, partition, |leader, now| leader.on_agreed(follower, broker_epoch, end, now));
            self.take(broker, partition, effects.unwrap_or_default());
        }
        self.sync(broker, partition);
        self.open_streams(broker, partition);
    }

    /// Gives up the role that a partition has here, with its streams. Whoever waits learns that this broker leads no more.
    pub fn leave(&mut self, broker: usize, partition: usize) {
        match std::mem::take(&mut self.part_mut(broker, partition).role) {
            Role::None => {}
            Role::Leader(leading) => {
                for outgoing in leading.outgoing.values() {
                    self.say_to_follower(outgoing.connection, outgoing.stream, &ToFollower::Close(Reason::Over));
                }
                if self.has(Bug::OldAcknowledgements) {
                    let told = leading.leader.status(0, Offset::ZERO).filter_map(|replica| {
                        let stream = leading.outgoing.get(&(replica.id.0 as usize))?;
                        Some((replica.id, stream.broker_epoch, replica.durable_end?))
                    });
                    self.part_mut(broker, partition).remembered = told.collect();
                }
            }
            Role::Follower(following) => self.stop_following(following),
        }
    }

    /// Ends the streams to brokers that have no replica any more.
    fn close_streams_to_strangers(&mut self, broker: usize, partition: usize) {
        let Some(leading) = self.leading(broker, partition) else { return };
        let followers: Vec<usize> = leading.leader.followers().map(|id| id.0 as usize).collect();
        let streams: Vec<usize> = leading.outgoing.keys().copied().filter(|id| !followers.contains(id)).collect();
        for stranger in streams {
            self.close_stream(broker, partition, stranger, Reason::Over);
        }
    }

    /// Opens the streams that are missing, and connections for them.
    pub fn open_streams(&mut self, broker: usize, partition: usize) {
        let Some(leading) = self.leading(broker, partition) else { return };
        let epoch = leading.leader.leader_epoch();
        let missing: Vec<usize> = leading
            .leader
            .followers()
            .map(|id| id.0 as usize)
            .filter(|id| !leading.outgoing.contains_key(id))
            .filter(|id| leading.pause_until_us.get(id).is_none_or(|until| *until <= self.now_us))
            .collect();
        for follower in missing {
            let Some(connection) = self.connection(broker, follower) else { continue };
            let Some(stream) = self.network.next_stream(connection) else { continue };
            let outgoing = Outgoing { connection, stream, sender: Sender::new(epoch), broker_epoch: 0, rounds: 0 };
            self.leading_mut(broker, partition).expect("it leads").outgoing.insert(follower, outgoing);
            let partition = PartitionId(partition as i32);
            self.say_to_follower(
                connection,
                stream,
                &ToFollower::Open { topic_id: TOPIC, partition, leader_epoch: epoch },
            );
        }
    }

    fn connection(&mut self, broker: usize, follower: usize) -> Option<ConnectionId> {
        if let Some(connection) = self.brokers[broker].process.as_ref()?.links.get(&follower) {
            return Some(*connection);
        }
        let listens = self.brokers[follower].process.as_ref().is_some_and(|process| process.started);
        if !listens || self.network.is_cut(broker, follower) {
            return None;
        }
        let connection = self.network.connect(self.life(broker), self.life(follower));
        self.process(broker).links.insert(follower, connection);
        Some(connection)
    }

    pub fn on_follower_lost(&mut self, broker: usize, follower: usize, connection: ConnectionId) {
        let links = &mut self.process(broker).links;
        if links.get(&follower) == Some(&connection) {
            links.remove(&follower);
        }
        for partition in 0..self.partitions {
            let Some(leading) = self.leading(broker, partition) else { continue };
            if leading.outgoing.get(&follower).is_some_and(|outgoing| outgoing.connection == connection) {
                self.drop_stream(broker, partition, follower);
            }
        }
    }

    /// A stream is over, and another is opened after a pause.
    fn drop_stream(&mut self, broker: usize, partition: usize, follower: usize) {
        let until_us = self.now_us + self.random.between(10_000, 150_000);
        let leading = self.leading_mut(broker, partition).expect("it leads");
        leading.outgoing.remove(&follower);
        leading.pause_until_us.insert(follower, until_us);
        let life = self.life(broker);
        self.at(until_us, Event::Open { life, partition });
        let rose = self.decide(broker, partition, |leader, _| leader.on_lost(BrokerId(follower as i32)));
        self.rose(broker, partition, rose.flatten());
    }

    fn close_stream(&mut self, broker: usize, partition: usize, follower: usize, reason: Reason) {
        let checked = rules::on_close(broker, &reason);
        self.check(checked);
        let Some(outgoing) = self.leading(broker, partition).and_then(|leading| leading.outgoing.get(&follower)) else {
            return;
        };
        let (connection, stream) = (outgoing.connection, outgoing.stream);
        self.say_to_follower(connection, stream, &ToFollower::Close(reason));
        self.drop_stream(broker, partition, follower);
    }

    pub fn on_follower_says(&mut self, broker: usize, connection: ConnectionId, stream: u32, message: ToLeader) {
        let of_stream = |outgoing: &Outgoing| (outgoing.connection, outgoing.stream) == (connection, stream);
        let found = (0..self.partitions).find_map(|partition| {
            let mut outgoing = self.leading(broker, partition)?.outgoing.iter();
            outgoing.find(|(_, outgoing)| of_stream(outgoing)).map(|(follower, _)| (partition, *follower))
        });
        // Of a stream that was closed here.
        let Some((partition, follower)) = found else { return };
        match message {
            ToLeader::Position { tail, broker_epoch, window_bytes } => {
                let (outgoing, log) = self.outgoing(broker, partition, follower);
                outgoing.broker_epoch = broker_epoch;
                outgoing.rounds += 1;
                let rounds = outgoing.rounds;
                let step = outgoing.sender.on_position(tail, window_bytes as usize, log);
                let checked = rules::on_round(broker, rounds);
                self.check(checked);
                self.step(broker, partition, follower, step);
            }
            ToLeader::Durable { end, .. } => {
                let (outgoing, _) = self.outgoing(broker, partition, follower);
                if let Err(reason) = outgoing.sender.on_durable(end) {
                    return self.close_stream(broker, partition, follower, reason);
                }
                let id = BrokerId(follower as i32);
                let effects = self.decide(broker, partition, |leader, now| leader.on_durable(id, end, now));
                self.take(broker, partition, effects.unwrap_or_default());
                self.push(broker, partition, follower);
            }
            ToLeader::Close(reason) => {
                let checked = rules::on_close(follower, &reason);
                self.check(checked);
                self.drop_stream(broker, partition, follower);
            }
            ToLeader::Beat => {}
        }
    }

    fn outgoing(&mut self, broker: usize, partition: usize, follower: usize) -> (&mut Outgoing, &Log) {
        let at = &mut self.brokers[broker];
        let Role::Leader(leading) = &mut at.process.as_mut().expect("it lives").parts[partition].role else {
            panic!("it leads");
        };
        (leading.outgoing.get_mut(&follower).expect("the stream is there"), &at.disk[partition])
    }

    fn progress(&self, broker: usize, partition: usize) -> Progress {
        let high_watermark = Offset(self.part(broker, partition).high_watermark);
        Progress { high_watermark, log_start: Offset(self.brokers[broker].disk[partition].start) }
    }

    fn step(&mut self, broker: usize, partition: usize, follower: usize, step: Step) {
        match step {
            Step::Send(message) => {
                let (outgoing, _) = self.outgoing(broker, partition, follower);
                let (connection, stream) = (outgoing.connection, outgoing.stream);
                self.say_to_follower(connection, stream, &message);
            }
            Step::LookUp { before, after } => {
                let progress = self.progress(broker, partition);
                let (outgoing, log) = self.outgoing(broker, partition, follower);
                let (before, after) =
                    (before.and_then(|offset| log.containing(offset)), after.and_then(|offset| log.containing(offset)));
                let step = outgoing.sender.on_met(before, after, progress);
                self.step(broker, partition, follower, step);
            }
            Step::Agreed { end } => {
                let progress = self.progress(broker, partition);
                let (outgoing, _) = self.outgoing(broker, partition, follower);
                let (connection, stream, broker_epoch) = (outgoing.connection, outgoing.stream, outgoing.broker_epoch);
                self.note(|| format!("broker {broker} agrees with {follower} up to {end}"));
                self.say_to_follower(connection, stream, &ToFollower::Agreed(progress));
                let id = BrokerId(follower as i32);
                let end = if self.has(Bug::JoinWithoutHighWatermark) { end.max(progress.high_watermark) } else { end };
                let agreed = self.decide(broker, partition, |leader, now| leader.on_agreed(id, broker_epoch, end, now));
                self.take(broker, partition, agreed.unwrap_or_default());
                self.push(broker, partition, follower);
            }
            Step::Close(reason) => self.close_stream(broker, partition, follower, reason),
        }
    }

    /// Sends what the follower's window has room for.
    fn push(&mut self, broker: usize, partition: usize, follower: usize) {
        loop {
            let progress = self.progress(broker, partition);
            if self.leading(broker, partition).is_none_or(|leading| !leading.outgoing.contains_key(&follower)) {
                return;
            }
            let (outgoing, log) = self.outgoing(broker, partition, follower);
            let Some(window) = outgoing.sender.window().filter(|window| window.from.0 < log.end) else { return };
            if window.from.0 < log.first() {
                // What comes next was deleted.
                return self.close_stream(broker, partition, follower, Reason::Over);
            }
            let (mut batches, mut bytes) = (Vec::new(), 0);
            for batch in log.from(window.from.0).take(5) {
                let first = batches.is_empty() && window.at_least_one;
                if !first && bytes + batch.bytes() > window.bytes {
                    break;
                }
                bytes += batch.bytes();
                batches.push(*batch);
            }
            let Some(last) = batches.last() else { return };
            outgoing.sender.on_sent(Offset(last.next()), bytes, progress);
            let (connection, stream) = (outgoing.connection, outgoing.stream);
            self.say_to_follower(
                connection,
                stream,
                &ToFollower::Batches { progress, run: Run { has_gaps: false, batches: encode(&batches) } },
            );
        }
    }

    /// The leader's log has grown.
    pub fn on_appended(&mut self, broker: usize, partition: usize) {
        if self.has(Bug::OwnDiskNotCounted) {
            let end = Offset(self.brokers[broker].disk[partition].end);
            let rose = self.decide(broker, partition, |leader, _| leader.on_own_durable(end));
            self.rose(broker, partition, rose.flatten());
        }
        self.sync(broker, partition);
        for follower in self.followers(broker, partition) {
            self.push(broker, partition, follower);
        }
    }

    fn followers(&self, broker: usize, partition: usize) -> Vec<usize> {
        self.leading(broker, partition).map_or(Vec::new(), |leading| leading.outgoing.keys().copied().collect())
    }

    pub fn tell_followers(&mut self, broker: usize, partition: usize) {
        let progress = self.progress(broker, partition);
        for follower in self.followers(broker, partition) {
            let (outgoing, _) = self.outgoing(broker, partition, follower);
            if outgoing.sender.tell(progress) {
                let (connection, stream) = (outgoing.connection, outgoing.stream);
                self.say_to_follower(connection, stream, &ToFollower::Progress(progress));
            }
        }
    }

    /// The leader says that the high watermark rose.
    pub fn rose(&mut self, broker: usize, partition: usize, to: Option<Offset>) {
        let Some(Offset(to)) = to else { return };
        let from = self.part(broker, partition).high_watermark;
        let leader = &self.leading(broker, partition).expect("it leads").leader;
        let (epoch, me) = (leader.leader_epoch(), BrokerId(broker as i32));
        let in_sync = leader.status(0, Offset::ZERO).filter(|replica| replica.in_sync && replica.id != me);
        let members: Vec<usize> = in_sync.map(|replica| replica.id.0 as usize).collect();
        let checked = self.checks[partition].counted.on_advance(broker, epoch.0, to, members.into_iter());
        self.check(checked);
        let log = &self.brokers[broker].disk[partition];
        let checked = self.checks[partition].on_leader_advance(broker, epoch.0, log, from, to);
        self.check(checked);
        self.part_mut(broker, partition).high_watermark = to;
        let checked = self.check_isr(partition, self.controller.partition(partition), false);
        self.check(checked);
        self.answer_produces(broker, partition);
        // At once, or with what is sent next.
        if self.random.happens(50) {
            self.tell_followers(broker, partition);
        }
    }

    /// The leader epoch in which this broker leads a partition.
    pub fn led_epoch(&self, broker: usize, partition: usize) -> Option<LeaderEpoch> {
        self.leading(broker, partition).map(|leading| leading.leader.leader_epoch())
    }
}
