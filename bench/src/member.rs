//! How many brokers a side has, and where each of them is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::ports::free_addresses;

/// Brokers of a cluster, and replicas of each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    pub brokers: usize,
    pub replication_factor: i16,
}

impl Shape {
    /// One broker, and so one replica.
    pub const ALONE: Shape = Shape { brokers: 1, replication_factor: 1 };

    #[must_use]
    pub fn is_cluster(self) -> bool {
        self.brokers > 1
    }
}

/// Where a broker listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// For clients; Kafka's brokers replicate over it too.
    pub clients: SocketAddr,
    /// Ringlog: for the other brokers. Kafka: for controllers.
    pub internal: SocketAddr,
    /// Ringlog's HTTP.
    pub http: SocketAddr,
}

/// One broker of a cluster, which knows where the others are.
#[derive(Clone, Debug)]
pub struct Member {
    /// From 0 on.
    number: usize,
    places: Arc<[Place]>,
    pub replication_factor: i16,
}

impl Member {
    /// All members of a cluster, at addresses that are free now.
    pub fn all(shape: Shape) -> io::Result<Vec<Member>> {
        let addresses = free_addresses(3 * shape.brokers)?;
        let place = |three: &[SocketAddr]| Place { clients: three[0], internal: three[1], http: three[2] };
        let places: Arc<[Place]> = addresses.chunks(3).map(place).collect();
        let replication_factor = shape.replication_factor;
        let member = |number| Member { number, places: places.clone(), replication_factor };
        Ok((0..shape.brokers).map(member).collect())
    }

    /// Its node id; the first has 1.
    #[must_use]
    pub fn id(&self) -> usize {
        self.number + 1
    }

    #[must_use]
    pub fn place(&self) -> Place {
        self.places[self.number]
    }

    /// The members before it, by their ids.
    pub fn earlier(&self) -> impl Iterator<Item = Place> {
        self.places[..self.number].iter().copied()
    }

    /// All members with their ids.
    pub fn everyone(&self) -> impl Iterator<Item = (usize, Place)> {
        (1..).zip(self.places.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_know_each_other() {
        let members = Member::all(Shape { brokers: 3, replication_factor: 2 }).unwrap();
        assert_eq!(members.iter().map(Member::id).collect::<Vec<_>>(), [1, 2, 3]);
        let places: Vec<_> = members.iter().map(Member::place).collect();
        assert!(members[2].earlier().eq(places[..2].iter().copied()));
        assert!(members[0].earlier().eq([]));
        for member in &members {
            assert!(member.everyone().eq([(1, places[0]), (2, places[1]), (3, places[2])]));
        }
        assert_ne!(places[0], places[1]);
    }
}
