//! Which replica a consumer should rather read from than from the leader (KIP-392). Pure.
//!
//! Only the leader judges, of followers in sync that have what is asked for: what it sends away finds its offset there. With
//! [`ReplicaSelector::Spread`] each consumer is drawn to one replica of each partition by its client id and address, without
//! anybody remembering it: it comes to the same one after any reconnection and at any leader, and only those consumers move
//! whose replica leaves the ISR, or whose replica is back. Its port counts for nothing, since it has one for each broker.

use std::cmp::Reverse;
use std::net::IpAddr;

use metadata::config::ReplicaSelector;
use protocol::{BrokerId, Offset};

use crate::partition::PartitionKey;

/// Who reads, as far as the choice depends on it.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// `client.rack`; empty where it has none.
    pub rack: String,
    pub client_id: String,
    pub address: IpAddr,
}

impl Consumer {
    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Consumer>() + self.rack.len() + self.client_id.len()
    }
}

/// A replica in sync.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub id: BrokerId,
    pub rack: Option<&'a str>,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Since when it lacks something that the leader has; 0 if it lacks nothing.
    pub behind_for_ms: u64,
}

impl Candidate<'_> {
    fn has(&self, offset: Offset) -> bool {
        (self.log_start..=self.log_end).contains(&offset)
    }
}

/// The follower to read from; `None` for the leader.
pub fn choose(
    selector: ReplicaSelector,
    consumer: &Consumer,
    key: PartitionKey,
    fetch_offset: Offset,
    leader: Candidate<'_>,
    followers: &[Candidate<'_>],
) -> Option<BrokerId> {
    let followers = followers.iter().filter(|follower| follower.has(fetch_offset));
    let chosen = match selector {
        ReplicaSelector::Leader => None,
        ReplicaSelector::Rack => {
            let is_near = |replica: &Candidate<'_>| !consumer.rack.is_empty() && replica.rack == Some(&consumer.rack);
            if is_near(&leader) {
                return None;
            }
            // As in Kafka: of several the most caught-up.
            followers
                .filter(|follower| is_near(follower))
                .max_by_key(|follower| (follower.log_end, Reverse(follower.behind_for_ms), follower.id))
        }
        ReplicaSelector::Spread => {
            followers.chain([&leader]).max_by_key(|replica| (draw(consumer, key, replica.id), replica.id))
        }
    };
    chosen.map(|replica| replica.id).filter(|id| *id != leader.id)
}

/// How strongly a consumer is drawn to a replica, alike in every process (rendezvous hashing by FNV-1a).
fn draw(consumer: &Consumer, key: PartitionKey, replica: BrokerId) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    match consumer.address.to_canonical() {
        IpAddr::V4(address) => add(&address.octets()),
        IpAddr::V6(address) => add(&address.octets()),
    }
    add(consumer.client_id.as_bytes());
    add(key.topic_id.0.as_bytes());
    add(&key.partition.0.to_le_bytes());
    add(&replica.0.to_le_bytes());
    // FNV's upper bits hardly see the last bytes, which are all that differs between replicas.
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{PartitionId, TopicId};
    use uuid::Uuid;

    const LEADER: BrokerId = BrokerId(1);

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionId(partition) }
    }

    fn consumer(rack: &str, client_id: &str) -> Consumer {
        Consumer { rack: rack.to_owned(), client_id: client_id.to_owned(), address: [10, 0, 0, 1].into() }
    }

    fn replica(id: i32, rack: Option<&str>, log_start: i64, log_end: i64) -> Candidate<'_> {
        let (log_start, log_end) = (Offset(log_start), Offset(log_end));
        Candidate { id: BrokerId(id), rack, log_start, log_end, behind_for_ms: 0 }
    }

    fn of_rack(rack: &str, offset: i64, leader_rack: Option<&str>, followers: &[Candidate<'_>]) -> Option<i32> {
        let leader = replica(1, leader_rack, 0, 100);
        choose(ReplicaSelector::Rack, &consumer(rack, "c"), key(0), Offset(offset), leader, followers).map(|id| id.0)
    }

    #[test]
    fn a_consumer_is_sent_to_its_rack_if_the_leader_is_not_there() {
        let followers = [replica(2, Some("b"), 0, 100), replica(3, Some("c"), 0, 100)];
        assert_eq!(of_rack("b", 5, Some("a"), &followers), Some(2));
        assert_eq!(of_rack("c", 5, None, &followers), Some(3));
        assert_eq!(of_rack("b", 5, Some("b"), &followers), None, "the leader is as near");
        assert_eq!(of_rack("d", 5, Some("a"), &followers), None);
        assert_eq!(of_rack("", 5, Some("a"), &[replica(2, Some(""), 0, 100), replica(3, None, 0, 100)]), None);
    }

    #[test]
    fn only_replicas_that_have_the_offset_are_named_and_of_those_the_most_caught_up() {
        let followers = [replica(2, Some("b"), 10, 50), replica(3, Some("b"), 0, 40)];
        let chosen = |offset| of_rack("b", offset, Some("a"), &followers);
        assert_eq!([5, 10, 40, 50, 51].map(chosen), [Some(3), Some(2), Some(2), Some(2), None]);
        let late = Candidate { behind_for_ms: 9, ..replica(3, Some("b"), 0, 50) };
        assert_eq!(of_rack("b", 20, Some("a"), &[late, followers[0]]), Some(2), "as far, and not for as long behind");
        assert_eq!(of_rack("b", 20, Some("a"), &[followers[0], replica(4, Some("b"), 0, 50)]), Some(4));
    }

    fn spread(consumer: &Consumer, partition: i32, offset: i64, followers: &[Candidate<'_>]) -> i32 {
        let leader = replica(1, Some("a"), 0, 100);
        choose(ReplicaSelector::Spread, consumer, key(partition), Offset(offset), leader, followers).unwrap_or(LEADER).0
    }

    #[test]
    fn consumers_are_spread_evenly_over_all_in_sync_and_stay_where_they_are() {
        let all = [replica(2, None, 0, 100), replica(3, None, 0, 100)];
        let without_3 = [all[0]];
        let mut counts = [0; 4];
        for at in 0..3000 {
            // One consumer of many partitions, and many of one.
            let (consumer, partition) =
                if at % 2 == 0 { (consumer("", "same"), at) } else { (consumer("", &format!("consumer-{at}")), 0) };
            let chosen = spread(&consumer, partition, 5, &all);
            counts[usize::try_from(chosen).unwrap()] += 1;
            assert_eq!(spread(&consumer, partition, 5, &all), chosen);
            let left = spread(&consumer, partition, 5, &without_3);
            assert!(if chosen == 3 { left != 3 } else { left == chosen }, "moved without need");
            let mapped = Consumer { address: "::ffff:10.0.0.1".parse().unwrap(), ..consumer };
            assert_eq!(spread(&mapped, partition, 5, &all), chosen, "the same address in another form");
        }
        assert!(counts[1..].iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_leader_alone_sends_nobody_away() {
        let followers = [replica(2, Some("b"), 0, 100)];
        for selector in [ReplicaSelector::Leader, ReplicaSelector::Rack, ReplicaSelector::Spread] {
            let leader = replica(1, Some("a"), 0, 100);
            let alone = choose(selector, &consumer("b", "c"), key(0), Offset(5), leader, &[]);
            assert_eq!(alone, None, "{selector:?}");
        }
        let leader = replica(1, Some("a"), 0, 100);
        assert_eq!(choose(ReplicaSelector::Leader, &consumer("b", "c"), key(0), Offset(5), leader, &followers), None);
    }
}
