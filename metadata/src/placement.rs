//! Where the replicas of existing partitions should rather be: emptying a broker, evening out over all of them, and having
//! more of them.
//!
//! Pure, as the controller's decisions are: a [`Placement`] goes in, an ordered list of [`Move`]s comes out, the same for the
//! same input. Nobody carries moves out here. What an operator wants is planned by `ringlog cluster drain` and `rebalance`,
//! which ask the controller for reassignments, a few at a time; the controller itself only has [`widen`] plan, for
//! `__consumer_offsets`.
//!
//! - **A share** of replicas, or of leaders, is in proportion to a broker's shards: a node with twice the cores gets twice as
//!   many. Whole numbers come of it as by Sainte-Laguë: one more goes to whoever has the smallest `(2 * held + 1) / shards`.
//!   With equal nodes, counts differ by one at most, as far as the other rules allow.
//! - **Racks**: no move takes a partition's replicas to fewer racks than they are on. A broker without a rack is a rack of its
//!   own.
//! - A partition that is being reassigned counts as if it were where it is on its way to. So a plan that was carried out in
//!   part goes on where it stands.
//!
//! Deliberately absent: where new partitions go, which is [`crate::controller`]'s. It knows of no broker that is to stay empty:
//! as in Kafka, a drained broker that still runs may get replicas of new topics.

mod drain;
mod loads;
mod rebalance;
#[cfg(test)]
mod tests;
mod widen;

pub use drain::{DrainError, drain};
pub use rebalance::rebalance;
pub use widen::widen;

use crate::controller::PartitionName;
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::BrokerState;
use protocol::newtypes::{BrokerId, PartitionId, TopicId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Brokers and the partitions on them, as far as plans are made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// In order of id.
    pub brokers: Vec<BrokerPlace>,
    /// In order of name.
    pub topics: Vec<TopicPlace>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerPlace {
    pub broker: BrokerId,
    pub rack: Option<String>,
    pub fenced: bool,
    pub shards: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPlace {
    pub name: String,
    pub id: TopicId,
    /// In order of id.
    pub partitions: Vec<PartitionPlace>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPlace {
    pub partition: PartitionId,
    /// While it is reassigned: those of the target, and behind them those that are to go.
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub leader: Option<BrokerId>,
    /// Of `replicas`, those on their way in.
    pub adding: Vec<BrokerId>,
    /// Of `replicas`, those that go once the others are in sync.
    pub removing: Vec<BrokerId>,
    /// Of its log at the leader; `None` where nobody was asked or has answered.
    pub bytes: Option<u64>,
}

/// A partition gets other replicas, or the same in another order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub name: PartitionName,
    /// What it has, or is on its way to.
    pub from: Vec<BrokerId>,
    pub to: Vec<BrokerId>,
    /// Of its log.
    pub bytes: Option<u64>,
}

impl Move {
    /// Brokers that have to be sent the log.
    pub fn adding(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.to.iter().copied().filter(|broker| !self.from.contains(broker))
    }

    /// Whether replicas change, and not their order alone.
    #[must_use]
    pub fn moves_data(&self) -> bool {
        self.adding().next().is_some()
    }
}

impl Placement {
    /// Of all topics, or of those named.
    #[must_use]
    pub fn of(image: &MetadataImage, topics: Option<&[String]>) -> Placement {
        let topics = match topics {
            None => image.topics().map(topic_place).collect(),
            Some(names) => {
                let mut found: Vec<_> = names.iter().filter_map(|name| image.topic(name)).map(topic_place).collect();
                found.sort_by(|a, b| a.name.cmp(&b.name));
                found.dedup_by(|a, b| a.name == b.name);
                found
            }
        };
        Placement { brokers: image.brokers().map(broker_place).collect(), topics }
    }

    /// In order of name.
    pub fn partitions(&self) -> impl Iterator<Item = (&TopicPlace, &PartitionPlace)> {
        self.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
    }

    #[must_use]
    pub fn partition(&self, topic: &str, partition: PartitionId) -> Option<&PartitionPlace> {
        self.partition_of_topic(topic, partition).map(|(_, partition)| partition)
    }

    #[must_use]
    pub fn partition_of_topic(&self, topic: &str, partition: PartitionId) -> Option<(&TopicPlace, &PartitionPlace)> {
        let topic = &self.topics[self.topics.binary_search_by(|known| known.name.as_str().cmp(topic)).ok()?];
        Some((topic, topic.partitions.get(usize::try_from(partition.0).ok()?)?))
    }

    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&BrokerPlace> {
        self.brokers.binary_search_by_key(&id, |known| known.broker).ok().map(|at| &self.brokers[at])
    }

    #[must_use]
    pub fn is_unfenced(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }
}

impl PartitionPlace {
    /// The replicas that it will have, or has if they stay.
    #[must_use]
    pub fn target(&self) -> Vec<BrokerId> {
        self.replicas.iter().copied().filter(|replica| !self.removing.contains(replica)).collect()
    }

    #[must_use]
    pub fn is_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Whether a replica can be waited for in vain: it is on its way to a broker that is gone.
    fn awaits_in_vain(&self, replica: BrokerId, placement: &Placement) -> bool {
        self.adding.contains(&replica) && !self.isr.contains(&replica) && !placement.is_unfenced(replica)
    }
}

fn broker_place(state: &Arc<BrokerState>) -> BrokerPlace {
    BrokerPlace { broker: state.broker, rack: state.rack.clone(), fenced: state.is_fenced(), shards: state.shards }
}

fn topic_place(topic: &Arc<TopicImage>) -> TopicPlace {
    let partitions = topic.partitions().map(|(partition, state)| partition_place(partition, state)).collect();
    TopicPlace { name: topic.name.to_string(), id: topic.id, partitions }
}

fn partition_place(partition: PartitionId, state: &PartitionImage) -> PartitionPlace {
    let moving = state.reassignment.as_ref();
    let (adding, removing) = moving.map(|m| (m.adding.clone(), m.removing.clone())).unwrap_or_default();
    PartitionPlace {
        partition,
        replicas: state.replicas.to_vec(),
        isr: state.isr.to_vec(),
        leader: state.leader,
        adding,
        removing,
        bytes: None,
    }
}
