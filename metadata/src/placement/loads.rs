//! What brokers hold, while a plan changes it.

use super::{Move, Placement};
use protocol::newtypes::BrokerId;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A broker, by its place in [`Loads::brokers`].
pub(super) type BrokerAt = usize;
/// A partition, by its place in [`Loads::partitions`].
pub(super) type PartitionAt = usize;

pub(super) struct Loads<'a> {
    placement: &'a Placement,
    /// In order of id: those that are registered, and those that are not and have replicas.
    pub brokers: Vec<Load>,
    pub partitions: Vec<Planned>,
    /// Replicas and preferred leaders of a topic on a broker.
    of_topic: HashMap<(usize, BrokerAt), Held>,
    /// Partitions in the order in which they were first changed.
    changed: Vec<PartitionAt>,
}

pub(super) struct Load {
    pub broker: BrokerId,
    /// Numbered, so that they are quick to compare.
    rack: usize,
    /// Registered and not fenced: replicas may go there.
    pub usable: bool,
    shards: u64,
    held: Held,
    /// Known ones.
    bytes: u64,
    /// Partitions with a replica here, or on its way here, by topic.
    partitions: BTreeMap<usize, BTreeSet<PartitionAt>>,
}

/// What a share is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Replicas,
    PreferredLeaders,
}

#[derive(Clone, Copy, Default)]
struct Held {
    replicas: u64,
    leaders: u64,
}

impl Held {
    fn of(&self, counted: Counted) -> u64 {
        match counted {
            Counted::Replicas => self.replicas,
            Counted::PreferredLeaders => self.leaders,
        }
    }
}

pub(super) struct Planned {
    topic: usize,
    /// Its place in the topic.
    at: usize,
    pub target: Vec<BrokerAt>,
    pub bytes: Option<u64>,
    is_changed: bool,
}

impl<'a> Loads<'a> {
    pub fn new(placement: &'a Placement) -> Loads<'a> {
        let mut racks = BTreeMap::new();
        let mut brokers: BTreeMap<BrokerId, Load> = BTreeMap::new();
        let mut load = |broker: BrokerId, rack: Option<&'a str>, usable: bool, shards: u32| {
            let number = racks.len();
            // Those without a rack are told apart by their ids.
            let rack = *racks.entry(rack.ok_or(broker)).or_insert(number);
            // Registrations of old say 0.
            let shards = u64::from(shards.max(1));
            Load { broker, rack, usable, shards, held: Held::default(), bytes: 0, partitions: BTreeMap::new() }
        };
        for known in &placement.brokers {
            brokers.insert(known.broker, load(known.broker, known.rack.as_deref(), !known.fenced, known.shards));
        }
        for broker in placement.partitions().flat_map(|(_, partition)| &partition.replicas) {
            brokers.entry(*broker).or_insert_with(|| load(*broker, None, false, 1));
        }
        let brokers: Vec<Load> = brokers.into_values().collect();
        let mut loads =
            Loads { placement, brokers, partitions: Vec::new(), of_topic: HashMap::new(), changed: Vec::new() };
        for (topic, of) in placement.topics.iter().enumerate() {
            for (at, partition) in of.partitions.iter().enumerate() {
                let target: Vec<BrokerAt> =
                    partition.target().into_iter().filter_map(|id| loads.broker_at(id)).collect();
                let bytes = partition.bytes;
                loads.partitions.push(Planned { topic, at, target, bytes, is_changed: false });
                loads.count(loads.partitions.len() - 1, true);
            }
        }
        loads
    }

    pub fn broker_at(&self, broker: BrokerId) -> Option<BrokerAt> {
        self.brokers.binary_search_by_key(&broker, |load| load.broker).ok()
    }

    pub fn place(&self, partition: PartitionAt) -> &'a super::PartitionPlace {
        let planned = &self.partitions[partition];
        &self.placement.topics[planned.topic].partitions[planned.at]
    }

    pub fn topic_name(&self, partition: PartitionAt) -> &'a str {
        &self.placement.topics[self.partitions[partition].topic].name
    }

    pub fn usable(&self) -> impl Iterator<Item = BrokerAt> + '_ {
        (0..self.brokers.len()).filter(|at| self.brokers[*at].usable)
    }

    /// What is on a broker, topic by topic, in order of name.
    pub fn topics_on(&self, broker: BrokerAt) -> impl Iterator<Item = (usize, &BTreeSet<PartitionAt>)> {
        self.brokers[broker].partitions.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    pub fn is_changed(&self, partition: PartitionAt) -> bool {
        self.partitions[partition].is_changed
    }

    fn count(&mut self, partition: PartitionAt, adds: bool) {
        let planned = &self.partitions[partition];
        for (position, broker) in planned.target.iter().enumerate() {
            let load = &mut self.brokers[*broker];
            let topic = self.of_topic.entry((planned.topic, *broker)).or_default();
            let leads = u64::from(position == 0);
            let bytes = planned.bytes.unwrap_or(0);
            if adds {
                load.held.replicas += 1;
                load.held.leaders += leads;
                topic.replicas += 1;
                topic.leaders += leads;
                load.bytes = load.bytes.saturating_add(bytes);
                load.partitions.entry(planned.topic).or_default().insert(partition);
            } else {
                load.held.replicas -= 1;
                load.held.leaders -= leads;
                topic.replicas -= 1;
                topic.leaders -= leads;
                load.bytes = load.bytes.saturating_sub(bytes);
                if let Some(of_topic) = load.partitions.get_mut(&planned.topic) {
                    of_topic.remove(&partition);
                    if of_topic.is_empty() {
                        load.partitions.remove(&planned.topic);
                    }
                }
            }
        }
    }

    pub fn set_target(&mut self, partition: PartitionAt, target: Vec<BrokerAt>) {
        self.count(partition, false);
        self.partitions[partition].target = target;
        self.count(partition, true);
        if !std::mem::replace(&mut self.partitions[partition].is_changed, true) {
            self.changed.push(partition);
        }
    }

    /// The partition's target with one broker in another's place.
    pub fn replaced(&self, partition: PartitionAt, old: BrokerAt, new: BrokerAt) -> Vec<BrokerAt> {
        let target = &self.partitions[partition].target;
        target.iter().map(|broker| if *broker == old { new } else { *broker }).collect()
    }

    /// Racks that these are on.
    pub fn racks(&self, target: &[BrokerAt]) -> usize {
        target.iter().map(|broker| self.brokers[*broker].rack).collect::<BTreeSet<_>>().len()
    }

    pub fn shares_rack(&self, target: &[BrokerAt], broker: BrokerAt) -> bool {
        target.iter().any(|other| *other != broker && self.brokers[*other].rack == self.brokers[broker].rack)
    }

    /// How full a broker would be with one more, against another.
    pub fn compare_with_one_more(&self, counted: Counted, a: BrokerAt, b: BrokerAt) -> Ordering {
        let with_more = |broker: BrokerAt| 2 * self.brokers[broker].held.of(counted) + 1;
        self.per_shard((with_more(a), a), (with_more(b), b))
    }

    /// As [`Loads::compare_with_one_more`], by what they hold of one partition's topic.
    pub fn compare_in_topic(&self, counted: Counted, partition: PartitionAt, a: BrokerAt, b: BrokerAt) -> Ordering {
        let topic = self.partitions[partition].topic;
        let with_more = |broker: BrokerAt| 2 * self.held_of_topic(counted, topic, broker) + 1;
        self.per_shard((with_more(a), a), (with_more(b), b))
    }

    pub fn held_of_topic(&self, counted: Counted, topic: usize, broker: BrokerAt) -> u64 {
        self.of_topic.get(&(topic, broker)).map_or(0, |held| held.of(counted))
    }

    fn compare_bytes(&self, a: BrokerAt, b: BrokerAt) -> Ordering {
        self.per_shard((self.brokers[a].bytes, a), (self.brokers[b].bytes, b))
    }

    /// Which of two brokers had rather have a replica of the partition: the lesser one.
    pub fn prefer(&self, partition: PartitionAt, a: BrokerAt, b: BrokerAt) -> Ordering {
        self.compare_with_one_more(Counted::Replicas, a, b)
            .then_with(|| self.compare_in_topic(Counted::Replicas, partition, a, b))
            .then_with(|| self.compare_bytes(a, b))
            .then(a.cmp(&b))
    }

    /// Whether counts are nearer to everybody's share when one goes from `source` to `sink`. Such a step makes the sum of
    /// `held * held / shards` smaller, so there is an end to them.
    pub fn evens(&self, counted: Counted, source: BrokerAt, sink: BrokerAt) -> bool {
        let (held, more) = (self.brokers[source].held.of(counted), self.brokers[sink].held.of(counted));
        held > 0 && self.per_shard((2 * held - 1, source), (2 * more + 1, sink)) == Ordering::Greater
    }

    fn per_shard(&self, (a, of_a): (u64, BrokerAt), (b, of_b): (u64, BrokerAt)) -> Ordering {
        let scaled = |amount: u64, other: BrokerAt| u128::from(amount) * u128::from(self.brokers[other].shards);
        scaled(a, of_b).cmp(&scaled(b, of_a))
    }

    /// What has to be done for the targets to come true, in the order in which they were decided on; first what moves data.
    pub fn into_moves(self) -> Vec<Move> {
        let ids = |target: &[BrokerAt]| target.iter().map(|at| self.brokers[*at].broker).collect::<Vec<_>>();
        let changed = self.changed.iter().filter_map(|at| {
            let (place, planned) = (self.place(*at), &self.partitions[*at]);
            let (from, to) = (place.target(), ids(&planned.target));
            let name = (self.topic_name(*at).to_owned(), place.partition);
            (from != to).then_some(Move { name, from, to, bytes: planned.bytes })
        });
        let (data, order): (Vec<Move>, Vec<Move>) = changed.partition(Move::moves_data);
        [data, order].concat()
    }
}
