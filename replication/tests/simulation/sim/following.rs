//! What a broker does as a follower.

use super::bug::Bug;
use super::checks::rules;
use super::events::Event;
use super::log::decode;
use super::network::ConnectionId;
use super::shell::Role;
use super::world::World;
use metadata::image::PartitionImage;
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset};
use replication::divergence::{Cut, LogTail};
use replication::message::{Reason, ToFollower, ToLeader};
use replication::receiver::{Action, Receiver};

/// A follower of one leader epoch, whether its leader has found it yet or not.
pub struct Following {
    epoch: LeaderEpoch,
    /// By the metadata, and another leads.
    pub in_sync: bool,
    incoming: Option<Incoming>,
    /// Of an epoch that the metadata does not tell of yet, or that waits for a cut.
    parked: Option<Parked>,
}

struct Incoming {
    connection: ConnectionId,
    stream: u32,
    /// From when its position was told first.
    receiver: Option<Receiver>,
    /// Its position is to be told, once all of the log is on disk.
    positions: bool,
}

#[derive(Clone, Copy)]
struct Parked {
    connection: ConnectionId,
    stream: u32,
    epoch: LeaderEpoch,
}

impl Following {
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }
}

impl World {
    fn following(&mut self, broker: usize, partition: usize) -> Option<&mut Following> {
        match &mut self.part_mut(broker, partition).role {
            Role::Follower(following) => Some(following),
            _ => None,
        }
    }

    pub fn apply_following(&mut self, broker: usize, partition: usize, state: &PartitionImage) {
        let (epoch, mut parked) = (state.leader_epoch, None);
        let in_sync = state.leader.is_some() && state.isr.contains(&BrokerId(broker as i32));
        if let Some(following) = self.following(broker, partition) {
            following.in_sync = in_sync;
            if following.epoch == epoch {
                return;
            }
            parked = following.parked.take();
        }
        self.leave(broker, partition);
        self.part_mut(broker, partition).role =
            Role::Follower(Following { epoch, in_sync, incoming: None, parked: None });
        self.sync(broker, partition);
        if let Some(Parked { connection, stream, epoch }) = parked {
            self.on_open(broker, connection, stream, partition, epoch);
        }
    }

    /// The role is given up: its leader is told.
    pub fn stop_following(&mut self, following: Following) {
        let incoming = following.incoming.map(|incoming| (incoming.connection, incoming.stream));
        let parked = following.parked.map(|parked| (parked.connection, parked.stream));
        for (connection, stream) in incoming.into_iter().chain(parked) {
            self.say_to_leader(connection, stream, &ToLeader::Close(Reason::Over));
        }
    }

    pub fn on_leader_lost(&mut self, broker: usize, connection: ConnectionId) {
        for partition in 0..self.partitions {
            let Some(following) = self.following(broker, partition) else { continue };
            if following.incoming.as_ref().is_some_and(|incoming| incoming.connection == connection) {
                following.incoming = None;
            }
            if following.parked.is_some_and(|parked| parked.connection == connection) {
                following.parked = None;
            }
        }
    }

    fn on_open(&mut self, broker: usize, connection: ConnectionId, stream: u32, partition: usize, epoch: LeaderEpoch) {
        let known = match self.led_epoch(broker, partition) {
            Some(led) => led,
            None => match self.following(broker, partition) {
                Some(following) => following.epoch,
                None => return self.say_to_leader(connection, stream, &ToLeader::Close(Reason::NoReplica)),
            },
        };
        if epoch < known && !self.has(Bug::TakeOldStreams) {
            return self.say_to_leader(connection, stream, &ToLeader::Close(Reason::OldEpoch { known }));
        }
        let cutting = self.part(broker, partition).cutting;
        let Some(following) = self.following(broker, partition) else {
            // It leads, and another does at a later epoch: that is for the metadata to say first.
            return self.say_to_leader(connection, stream, &ToLeader::Close(Reason::OldEpoch { known }));
        };
        if epoch > known || cutting {
            let before = following.parked.replace(Parked { connection, stream, epoch });
            if let Some(Parked { connection, stream, .. }) = before {
                self.say_to_leader(connection, stream, &ToLeader::Close(Reason::Superseded));
            }
            return;
        }
        let incoming = Incoming { connection, stream, receiver: None, positions: true };
        if let Some(Incoming { connection, stream, .. }) = following.incoming.replace(incoming) {
            self.say_to_leader(connection, stream, &ToLeader::Close(Reason::Superseded));
        }
        if self.has(Bug::TruncateByHighWatermark) {
            let to = Offset(self.part(broker, partition).high_watermark);
            let log = &mut self.brokers[broker].disk[partition];
            if to.0 < log.end {
                log.cut(Cut::TruncateTo(to));
            }
        }
        self.position(broker, partition);
    }

    /// Tells the leader how the log ends, if that is due and all of it is on disk.
    fn position(&mut self, broker: usize, partition: usize) {
        let early = self.has(Bug::PositionBeforeSync);
        let silent = self.has(Bug::NoTruncation);
        let window_bytes = self.mood.window_bytes;
        let at = &mut self.brokers[broker];
        let log = &at.disk[partition];
        let process = at.process.as_mut().expect("it lives");
        let broker_epoch = process.epoch().expect("whoever has started is registered");
        let Role::Follower(Following { epoch, incoming: Some(incoming), .. }) = &mut process.parts[partition].role
        else {
            return;
        };
        if !incoming.positions {
            return;
        }
        if !log.is_synced() && !early {
            return self.sync(broker, partition);
        }
        incoming.positions = false;
        let mut tail = log.tail();
        match &mut incoming.receiver {
            Some(receiver) => receiver.on_cut(tail.log_end),
            None => incoming.receiver = Some(Receiver::new(*epoch, tail.log_end)),
        }
        let (connection, stream) = (incoming.connection, incoming.stream);
        let epoch = *epoch;
        if silent {
            tail = LogTail { latest_epoch: LeaderEpoch::UNKNOWN, last_batch: None, ..tail };
        }
        self.checks[partition].counted.on_position(broker, epoch.0, tail.log_end.0);
        self.say_to_leader(connection, stream, &ToLeader::Position { tail, broker_epoch, window_bytes });
    }

    pub fn on_leader_says(&mut self, broker: usize, connection: ConnectionId, stream: u32, message: ToFollower) {
        if let ToFollower::Open { partition, leader_epoch, .. } = message {
            return self.on_open(broker, connection, stream, partition.0 as usize, leader_epoch);
        }
        let is_it = |incoming: &Incoming| (incoming.connection, incoming.stream) == (connection, stream);
        for partition in 0..self.partitions {
            let Some(following) = self.following(broker, partition) else { continue };
            if following.parked.is_some_and(|parked| (parked.connection, parked.stream) == (connection, stream)) {
                // Nothing but its end can come before its position was told.
                following.parked = None;
            }
            if following.incoming.as_ref().is_some_and(is_it) {
                return self.on_message(broker, partition, message);
            }
        }
    }

    fn on_message(&mut self, broker: usize, partition: usize, message: ToFollower) {
        let at = &mut self.brokers[broker];
        let Role::Follower(following) = &mut at.process.as_mut().expect("it lives").parts[partition].role else {
            return;
        };
        let log = &mut at.disk[partition];
        let Some(Incoming { receiver: Some(receiver), .. }) = &mut following.incoming else {
            // It ends before its position was told.
            following.incoming = None;
            return;
        };
        match receiver.on_message(message, log) {
            Ok(Action::Cut(cut)) => self.begin_cut(broker, partition, cut),
            Ok(Action::Follow | Action::Note) => self.learn(broker, partition),
            Ok(Action::Append(run)) => {
                for batch in decode(run.batches) {
                    if let Err(reason) = receiver.check(&batch.header(), run.has_gaps) {
                        return self.refuse(broker, partition, reason);
                    }
                    log.append(batch);
                }
                self.sync(broker, partition);
                self.learn(broker, partition);
                if self.has(Bug::AcknowledgeBeforeSync) {
                    self.acknowledge(broker, partition);
                }
            }
            Ok(Action::Closed(reason)) => {
                following.incoming = None;
                let checked = rules::on_close(broker, &reason);
                self.check(checked);
            }
            Err(reason) => self.refuse(broker, partition, reason),
        }
    }

    fn refuse(&mut self, broker: usize, partition: usize, reason: Reason) {
        let checked = rules::on_close(broker, &reason);
        self.check(checked);
        let following = self.following(broker, partition).expect("it follows");
        if let Some(Incoming { connection, stream, .. }) = following.incoming.take() {
            self.say_to_leader(connection, stream, &ToLeader::Close(reason));
        }
    }

    fn begin_cut(&mut self, broker: usize, partition: usize, cut: Cut) {
        if self.has(Bug::NoTruncation) {
            let following = self.following(broker, partition).expect("it follows");
            following.incoming.as_mut().expect("it was told to cut").positions = true;
            return self.position(broker, partition);
        }
        self.part_mut(broker, partition).cutting = true;
        // On disk before the cut.
        let (Cut::TruncateTo(to) | Cut::RestartAt(to)) = cut;
        let checkpoint = &mut self.brokers[broker].checkpoints[partition];
        *checkpoint = to.0.min(*checkpoint);
        let life = self.life(broker);
        let (_, slow) = self.brokers[broker].sync_us;
        self.within(100, 2_000 + slow, Event::CutDone { life, partition, cut });
    }

    pub fn on_cut_done(&mut self, broker: usize, partition: usize, cut: Cut) {
        let log = &mut self.brokers[broker].disk[partition];
        let before = log.end;
        log.cut(cut);
        let (start, end) = (log.start, log.end);
        self.note(|| format!("broker {broker} has cut partition {partition} from {before}: {cut:?}"));
        self.count_cut();
        let part = self.part_mut(broker, partition);
        part.cutting = false;
        // What lies before the log's begin was committed once.
        part.high_watermark = part.high_watermark.max(start);
        let high_watermark = part.high_watermark;
        // Only an unclean election takes back what was committed.
        part.high_watermark = high_watermark.min(end);
        if high_watermark > end && self.checks[partition].losses == 0 {
            let text = format!("broker {broker} cuts its log to {end}, and {high_watermark} is committed");
            self.check(Err((super::checks::Checker::Equal, text)));
        }
        if let Some(incoming) = self.following(broker, partition).and_then(|following| following.incoming.as_mut()) {
            incoming.positions = true;
        }
        self.apply(broker, partition);
        self.position(broker, partition);
        let parked = self.following(broker, partition).and_then(|following| following.parked.take());
        if let Some(Parked { connection, stream, epoch }) = parked {
            self.on_open(broker, connection, stream, partition, epoch);
        }
    }

    pub fn on_follower_synced(&mut self, broker: usize, partition: usize) {
        self.acknowledge(broker, partition);
        self.learn(broker, partition);
        self.position(broker, partition);
    }

    fn acknowledge(&mut self, broker: usize, partition: usize) {
        let early = self.has(Bug::AcknowledgeBeforeSync);
        let log = &self.brokers[broker].disk[partition];
        let (durable, log_start) = (Offset(if early { log.end } else { log.durable }), Offset(log.start));
        let Some(following) = self.following(broker, partition) else { return };
        let Some(Incoming { connection, stream, receiver: Some(receiver), .. }) = &mut following.incoming else {
            return;
        };
        let Some(end) = receiver.on_durable(durable) else { return };
        let (connection, stream, epoch) = (*connection, *stream, receiver.leader_epoch());
        self.checks[partition].counted.on_said(broker, epoch.0, end.0);
        self.say_to_leader(connection, stream, &ToLeader::Durable { end, log_start });
    }

    /// Takes over how far the leader is, as far as the log here reaches.
    fn learn(&mut self, broker: usize, partition: usize) {
        let log = &self.brokers[broker].disk[partition];
        let durable = Offset(log.durable);
        let beyond = self.has(Bug::HighWatermarkBeyondLog);
        let Some(following) = self.following(broker, partition) else { return };
        let Some(Incoming { receiver: Some(receiver), .. }) = &following.incoming else { return };
        let epoch = receiver.leader_epoch().0;
        let Some(progress) = receiver.progress() else { return };
        let Some(mut to) = receiver.high_watermark(durable) else { return };
        if beyond {
            to = progress.high_watermark;
        }
        let from = self.part(broker, partition).high_watermark;
        if to.0 > from {
            let log = &self.brokers[broker].disk[partition];
            let checked = self.checks[partition].on_follower_advance(broker, epoch, log, from, to.0);
            self.check(checked);
            self.part_mut(broker, partition).high_watermark = to.0;
        }
        let high_watermark = self.part(broker, partition).high_watermark;
        self.brokers[broker].disk[partition].raise_start(progress.log_start.0.min(high_watermark));
    }
}
