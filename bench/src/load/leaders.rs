//! Who leads which partition, and so which connections carry what.
//!
//! A connection that produces belongs to one broker and produces to the partitions that it leads: so much in flight on a
//! connection means the same with one broker and with several. A consumer has a connection to each broker that leads some of
//! its partitions, as Kafka's own have.
//!
//! Leaders are those of the run's beginning. One that moves later ends the run, as any other error does.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::load::context::Slot;
use crate::load::error::LoadError;
use crate::load::workload::Workload;

/// The leaders of all partitions.
#[derive(Clone, Debug)]
pub(super) struct Leaders {
    /// Those that lead something.
    brokers: Vec<SocketAddr>,
    /// By slot: the number of its leader.
    leader_of: Vec<usize>,
    /// By number of the leader.
    led: Vec<Arc<Led>>,
}

/// What one broker leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Led {
    /// Topics of which it leads something, in order.
    pub(super) topics: Vec<LedTopic>,
}

/// What one broker leads of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LedTopic {
    pub(super) topic: usize,
    /// In order.
    pub(super) partitions: Vec<i32>,
}

impl Led {
    /// How many partitions of all topics.
    pub(super) fn partitions_total(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }
}

impl Leaders {
    /// `of_slots` has each slot's leader; a topic has so many `partitions`. Brokers are numbered as they come.
    pub(super) fn new(of_slots: &[SocketAddr], partitions: i32) -> Leaders {
        let (mut brokers, mut leader_of) = (Vec::new(), Vec::with_capacity(of_slots.len()));
        let mut led: Vec<Led> = Vec::new();
        for (slot, address) in of_slots.iter().enumerate() {
            let known = brokers.iter().position(|known| known == address);
            let number = known.unwrap_or_else(|| {
                brokers.push(*address);
                led.push(Led::default());
                brokers.len() - 1
            });
            leader_of.push(number);
            let (topic, partition) = (slot / partitions as usize, (slot % partitions as usize) as i32);
            let topics = &mut led[number].topics;
            match topics.last_mut().filter(|last| last.topic == topic) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(LedTopic { topic, partitions: vec![partition] }),
            }
        }
        Leaders { brokers, leader_of, led: led.into_iter().map(Arc::new).collect() }
    }

    /// How many brokers lead something.
    pub(super) fn count(&self) -> usize {
        self.brokers.len()
    }

    pub(super) fn address(&self, leader: usize) -> SocketAddr {
        self.brokers[leader]
    }

    pub(super) fn of(&self, slot: Slot) -> usize {
        self.leader_of[slot]
    }

    pub(super) fn led(&self, leader: usize) -> &Arc<Led> {
        &self.led[leader]
    }

    /// Checks that the workload's producers reach all partitions: each has one connection, and each of its requests goes to
    /// partitions of one topic and one broker.
    pub(super) fn check(&self, workload: &Workload) -> Result<(), LoadError> {
        let (leaders, producers) = (self.count(), workload.producers);
        if (1..leaders).contains(&producers) {
            return Err(LoadError::TooFewProducers { leaders, producers });
        }
        let wanted = workload.partitions_per_request;
        let topics =
            self.led.iter().enumerate().flat_map(|(leader, led)| led.topics.iter().map(move |one| (leader, one)));
        match topics.min_by_key(|(_, one)| one.partitions.len()) {
            Some((leader, one)) if producers > 0 && one.partitions.len() < wanted => {
                Err(LoadError::TooFewLed { broker: self.brokers[leader], found: one.partitions.len(), wanted })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn each_broker_has_what_it_leads_of_each_topic() {
        // Two topics of three partitions.
        let leaders = Leaders::new(&[7, 8, 7, 8, 8, 8].map(address), 3);
        assert_eq!((leaders.count(), leaders.address(0), leaders.address(1)), (2, address(7), address(8)));
        let led = |topic, partitions: &[i32]| LedTopic { topic, partitions: partitions.to_vec() };
        assert_eq!(leaders.led(0).topics, [led(0, &[0, 2])]);
        assert_eq!(leaders.led(1).topics, [led(0, &[1]), led(1, &[0, 1, 2])]);
        assert_eq!(leaders.led(1).partitions_total(), 4);
        assert_eq!((0..6).map(|slot| leaders.of(slot)).collect::<Vec<_>>(), [0, 1, 0, 1, 1, 1]);
    }

    #[test]
    fn a_workload_that_does_not_reach_all_partitions_is_refused() {
        let check = |more: &str| {
            let text = format!("name = 'w'\nrecord_size = 24\npartitions = 3\nduration_seconds = 1\n{more}");
            let workload = Workload::parse("w", &text, &[]).unwrap();
            Leaders::new(&[7, 8, 7].map(address), 3).check(&workload).map_err(|error| error.to_string())
        };
        assert_eq!(check("producers = 2"), Ok(()));
        let error = check("producers = 1").unwrap_err();
        assert!(error.contains("2 brokers") && error.contains("1 producer(s)"), "{error}");
        let error = check("producers = 2\npartitions_per_request = 2").unwrap_err();
        assert!(error.contains("127.0.0.1:8 leads 1 partition(s)"), "{error}");
        // Nothing is produced: nothing has to be reached.
        let reads = "producers = 0\ngroups_from_start = 1\ndrain = true\nreread = true";
        assert_eq!(check(reads), Ok(()));
    }
}
