//! The brokers of one side: one, or a cluster of several on this machine, started and measured together.
//!
//! Contract: a cluster that has started has all its brokers in the metadata of each of them. Whatever happens to one of its
//! processes is an error with the end of that one's log. Dropping it kills all.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::broker::{Broker, BrokerError, Home, Programs, READY_TIME_MAX, Side};
use crate::client::{ClientError, Connection};
use crate::interrupt::Interrupt;
use crate::member::{Member, Shape};

/// How often brokers are asked who is there.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// The directories of a side's brokers.
#[derive(Debug)]
pub struct ClusterHome {
    homes: Vec<Home>,
}

impl ClusterHome {
    /// Makes `dir`, which is fresh, ready for brokers of `side`. A broker that is alone has all of it.
    pub fn prepare(
        side: Side,
        shape: Shape,
        programs: &Programs,
        dir: &Path,
        interrupt: &Interrupt,
    ) -> Result<ClusterHome, BrokerError> {
        let of_side = side.shape(shape);
        if shape == Shape::ALONE {
            return Ok(ClusterHome { homes: vec![Home::prepare(side, programs, dir, interrupt)?] });
        }
        let mut homes = Vec::new();
        for member in Member::all(of_side).map_err(BrokerError::Ports)? {
            let dir = dir.join(format!("broker-{}", member.id()));
            fs::create_dir(&dir).map_err(|source| BrokerError::Directory { path: dir.clone(), source })?;
            homes.push(Home::prepare_member(side, programs, &dir, Some(member), interrupt)?);
        }
        Ok(ClusterHome { homes })
    }

    /// Starts the brokers and waits until each answers and knows all.
    pub fn start(&self, programs: &Programs, interrupt: &Interrupt) -> Result<Cluster, BrokerError> {
        let (first, others) = self.homes.split_first().expect("a side has a broker");
        let mut brokers = Vec::new();
        // The first of Ringlog's forms the cluster that the others join; Kafka's elect a controller among themselves.
        let first = first.spawn(programs)?;
        let mut starting = Vec::new();
        if self.homes[0].joins_others() {
            starting.push(first);
        } else {
            brokers.push(first.wait(interrupt)?);
        }
        for home in others {
            starting.push(home.spawn(programs)?);
        }
        for one in starting {
            brokers.push(one.wait(interrupt)?);
        }
        let mut cluster = Cluster { brokers };
        if cluster.brokers.len() > 1 {
            cluster.wait_until_whole(interrupt)?;
        }
        Ok(cluster)
    }
}

/// Running brokers of one side; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The first is the one that clients are told of.
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Where clients begin.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.first().address()
    }

    /// Of all brokers; the first is the one at [`Cluster::address`].
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.brokers.iter().map(Broker::pid).collect()
    }

    /// The one that clients are told of.
    #[must_use]
    pub fn first(&self) -> &Broker {
        &self.brokers[0]
    }

    /// An error if a broker has ended or does so within `wait`.
    pub fn check_running(&mut self, wait: Duration, interrupt: &Interrupt) -> Result<(), BrokerError> {
        let deadline = Instant::now() + wait;
        for broker in &mut self.brokers {
            broker.check_running(deadline.saturating_duration_since(Instant::now()), interrupt)?;
        }
        // The first ones were looked at while there was time left.
        self.brokers.iter_mut().try_for_each(|broker| broker.check_running(Duration::ZERO, interrupt))
    }

    /// Ends it: a broker that is alone in order, which is checked. Of a cluster nothing is read again, and the last of its
    /// brokers could wait long for a majority before it ends in order: those are killed.
    pub fn stop(mut self, interrupt: &Interrupt) -> Result<(), BrokerError> {
        if self.brokers.len() == 1 {
            let broker = self.brokers.pop().expect("there is one");
            return broker.stop(interrupt).map(|_| ());
        }
        // One that had ended before is an error, and the others are killed all the same.
        let killed: Vec<_> = self.brokers.into_iter().map(Broker::kill).collect();
        killed.into_iter().collect()
    }

    /// Waits until every broker's metadata has all of them.
    fn wait_until_whole(&mut self, interrupt: &Interrupt) -> Result<(), BrokerError> {
        let deadline = Instant::now() + READY_TIME_MAX;
        let expected = self.brokers.len();
        for place in 0..expected {
            let address = self.brokers[place].address();
            loop {
                self.check_running(Duration::ZERO, interrupt)?;
                let known = Connection::open(address, interrupt)
                    .and_then(|mut connection| connection.brokers_known(READY_TIME_MAX));
                let found = match known {
                    Ok(found) => found,
                    Err(ClientError::Io { .. } | ClientError::Closed { .. }) => 0,
                    Err(error) => return Err(error.into()),
                };
                if found == expected {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(BrokerError::NotWhole { address, expected, found, limit: READY_TIME_MAX });
                }
                interrupt.sleep(ASK_INTERVAL)?;
            }
        }
        Ok(())
    }
}
