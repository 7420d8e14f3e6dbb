//! Connections between brokers' processes: messages arrive in order or not at all, and a connection from which one was lost
//! carries nothing more that way. Each end learns for itself, and late, that a connection is gone.

use super::random::Random;
use std::collections::{BTreeMap, BTreeSet};

pub type ConnectionId = u64;

/// A broker by its index, and which of its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub broker: usize,
    pub number: u64,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Leader = 0,
    Follower = 1,
}

impl End {
    pub fn other(self) -> End {
        match self {
            End::Leader => End::Follower,
            End::Follower => End::Leader,
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    ends: [Life; 2],
    /// By the end that sends: when what it sent last arrives.
    last_arrival_us: [u64; 2],
    stalled_until_us: [u64; 2],
    /// By the end that sends: nothing more arrives.
    dead: [bool; 2],
    /// The ends that know of it.
    open: [bool; 2],
    /// Both ends will learn that it is gone.
    doomed: bool,
    next_stream: u32,
}

/// How well messages travel between brokers, and between them and the controller.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub delay_us_max: u64,
    /// Of requests to the controller, and of its answers.
    pub lost_percent: u64,
    /// Of requests to the controller.
    pub repeated_percent: u64,
    pub controller_delay_us_max: u64,
}

pub const CALM: Weather =
    Weather { delay_us_max: 2_000, lost_percent: 0, repeated_percent: 0, controller_delay_us_max: 5_000 };

#[derive(Debug)]
pub struct Network {
    pub weather: Weather,
    /// From the first broker to the second nothing arrives.
    pub cut: BTreeSet<(usize, usize)>,
    /// From the broker to the controller (true) or back (false) nothing arrives.
    pub cut_off: BTreeSet<(usize, bool)>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: ConnectionId,
}

/// What became of something that was sent.
pub enum Sent {
    Arrives {
        at_us: u64,
    },
    /// It never does, and both ends are to learn that the connection is gone.
    Dooms,
    Lost,
}

impl Network {
    pub fn new() -> Network {
        Network { weather: CALM, cut: BTreeSet::new(), cut_off: BTreeSet::new(), connections: BTreeMap::new(), next: 1 }
    }

    pub fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.contains(&(one, other)) || self.cut.contains(&(other, one))
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.cut_off.clear();
        self.weather = CALM;
        self.connections.values_mut().for_each(|connection| connection.stalled_until_us = [0, 0]);
    }

    pub fn connect(&mut self, leader: Life, follower: Life) -> ConnectionId {
        let id = self.next;
        self.next += 1;
        self.connections.insert(
            id,
            Connection {
                ends: [leader, follower],
                last_arrival_us: [0, 0],
                stalled_until_us: [0, 0],
                dead: [false, false],
                open: [true, true],
                doomed: false,
                next_stream: 1,
            },
        );
        id
    }

    /// A stream's number that was not used before.
    pub fn next_stream(&mut self, id: ConnectionId) -> Option<u32> {
        let connection = self.connections.get_mut(&id)?;
        connection.next_stream += 1;
        Some(connection.next_stream - 1)
    }

    pub fn send(&mut self, id: ConnectionId, from: End, now_us: u64, random: &mut Random) -> Sent {
        let Some(connection) = self.connections.get_mut(&id) else { return Sent::Lost };
        let (sender, receiver) = (connection.ends[from as usize], connection.ends[from.other() as usize]);
        if !connection.open[from as usize] || connection.dead[from as usize] {
            return Sent::Lost;
        }
        if self.cut.contains(&(sender.broker, receiver.broker)) {
            connection.dead[from as usize] = true;
            return if std::mem::replace(&mut connection.doomed, true) { Sent::Lost } else { Sent::Dooms };
        }
        let travels = now_us + random.between(50, self.weather.delay_us_max);
        let at_us = travels.max(connection.stalled_until_us[from as usize]);
        let at_us = at_us.max(connection.last_arrival_us[from as usize] + 1);
        connection.last_arrival_us[from as usize] = at_us;
        Sent::Arrives { at_us }
    }

    /// Who receives what was sent, if anybody still listens.
    pub fn receiver(&self, id: ConnectionId, from: End) -> Option<Life> {
        let connection = self.connections.get(&id)?;
        let listens = connection.open[from.other() as usize] && !connection.dead[from as usize];
        listens.then_some(connection.ends[from.other() as usize])
    }

    pub fn ends(&self, id: ConnectionId) -> Option<[Life; 2]> {
        self.connections.get(&id).map(|connection| connection.ends)
    }

    /// One end knows that the connection is gone.
    pub fn closed(&mut self, id: ConnectionId, end: End) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.open[end as usize] = false;
        if connection.open == [false, false] {
            self.connections.remove(&id);
        }
    }

    /// Breaks connections; those that break now are given.
    pub fn break_where(&mut self, mut breaks: impl FnMut(&[Life; 2]) -> bool) -> Vec<ConnectionId> {
        let mut broken = Vec::new();
        for (id, connection) in &mut self.connections {
            if breaks(&connection.ends) {
                connection.dead = [true, true];
                if !std::mem::replace(&mut connection.doomed, true) {
                    broken.push(*id);
                }
            }
        }
        broken
    }

    /// What is sent from now on by one end of each of these connections arrives late.
    pub fn stall_where(&mut self, until_us: u64, end: End, mut stalls: impl FnMut(&[Life; 2]) -> bool) {
        for connection in self.connections.values_mut().filter(|connection| stalls(&connection.ends)) {
            connection.stalled_until_us[end as usize] = until_us;
        }
    }
}
