//! The cluster's metadata at one point of its log: immutable, shared between threads, cheap to derive the next from.
//!
//! Built on persistent maps, so a clone is a few reference counts and a change copies the path to what changed, however
//! many topics there are. An image is exactly the fold of the records applied to it; nothing else goes in.
//!
//! Deliberately absent: anything a broker knows about itself alone (log ends, high watermarks, static settings).

mod apply;
#[cfg(test)]
mod tests;

pub use apply::ApplyError;

use crate::cluster_id::ClusterId;
use crate::config::{
    BrokerConfig, ConfigEntry, ConfigLayers, ConfigOverrides, Described, MIN_INSYNC_REPLICAS, Scope, StaticConfig,
    TopicConfig,
};
use crate::record::{BrokerRegistration, BrokerState, ConfigResource, MetadataRecord, NodeBinding, PartitionRecord};
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId};
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync, VectorSync};
use std::sync::Arc;

/// The cluster's metadata. `Clone` is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetadataImage {
    /// Records applied so far: the offset in the metadata log of the next one.
    metadata_offset: u64,
    cluster_id: Option<ClusterId>,
    nodes: RedBlackTreeMapSync<BrokerId, Arc<NodeBinding>>,
    brokers: RedBlackTreeMapSync<BrokerId, Arc<BrokerState>>,
    topics: RedBlackTreeMapSync<TopicId, Arc<TopicImage>>,
    topic_ids: RedBlackTreeMapSync<Arc<str>, TopicId>,
    /// By name with `.` as `_`: two topics whose names differ in that alone cannot be told apart in metrics.
    topic_ids_by_metric_name: RedBlackTreeMapSync<String, TopicId>,
    configs: RedBlackTreeMapSync<ConfigResource, ConfigOverrides>,
    next_producer_id: ProducerId,
    partition_count: usize,
}

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: Arc<str>,
    /// By partition id.
    partitions: VectorSync<PartitionImage>,
    /// Partitions whose number of replicas is an operator's choice.
    replica_counts_chosen: RedBlackTreeSetSync<PartitionId>,
}

/// One partition, as the controller decided it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// In order of preference for leadership.
    pub replicas: Arc<[BrokerId]>,
    /// Empty while nobody leads who has all that is committed; those who could are in `elr` then.
    pub isr: Arc<[BrokerId]>,
    /// Eligible leader replicas (KIP-966): they are not in sync and have all that is committed, since nothing is committed
    /// while the ISR is below `min.insync.replicas`, as it has been since they left it.
    pub elr: Arc<[BrokerId]>,
    /// Whoever led last, while the ISR is empty; named so, and told to clients, as in Kafka, which has only that here.
    pub last_known_elr: Arc<[BrokerId]>,
    /// `None` while no replica may lead. A leader is in the ISR.
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    /// Where its replicas are on their way to; `None` when they stay.
    pub reassignment: Option<Arc<Reassignment>>,
}

impl PartitionImage {
    /// Replicas are out of sync other than those that have yet to arrive (as Kafka's `UnderReplicatedPartitions`).
    #[must_use]
    pub fn is_under_replicated(&self) -> bool {
        let arriving = self.reassignment.as_ref().map_or(0, |reassignment| reassignment.adding.len());
        self.isr.len() < self.replicas.len().saturating_sub(arriving)
    }

    /// `acks=all` is refused: fewer replicas are in sync than are asked for, or than there are if those are fewer.
    #[must_use]
    pub fn is_under_min_isr(&self, min_insync_replicas: i32) -> bool {
        let wanted = usize::try_from(min_insync_replicas).unwrap_or(0).min(self.replicas.len());
        self.isr.len() < wanted
    }
}

/// Replicas that are being moved (KIP-455). Both lists are of the partition's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    pub adding: Vec<BrokerId>,
    pub removing: Vec<BrokerId>,
}

impl MetadataImage {
    /// Records applied so far.
    #[must_use]
    pub fn metadata_offset(&self) -> u64 {
        self.metadata_offset
    }

    /// `None` before the cluster's first record.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// Nodes that belong to the cluster, in order of id. Those that have joined and not started since are no brokers yet.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<NodeBinding>> {
        self.nodes.values()
    }

    #[must_use]
    pub fn node(&self, id: BrokerId) -> Option<&Arc<NodeBinding>> {
        self.nodes.get(&id)
    }

    /// Registered brokers, fenced ones too, in order of id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerState>> {
        self.brokers.values()
    }

    /// Brokers that clients may be sent to, in order of id.
    pub fn unfenced_brokers(&self) -> impl Iterator<Item = &Arc<BrokerState>> {
        self.brokers().filter(|broker| !broker.is_fenced())
    }

    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerState>> {
        self.brokers.get(&id)
    }

    /// Whether this broker is registered and not fenced.
    #[must_use]
    pub fn is_unfenced(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.is_fenced())
    }

    /// In order of name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topic_ids.values().filter_map(|id| self.topics.get(id))
    }

    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// The topic that one called `name` could not be told apart from in metrics, or that has this very name.
    #[must_use]
    pub fn topic_colliding_with(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_ids_by_metric_name.get(&metric_name(name))?)
    }

    #[must_use]
    pub fn partition(&self, topic: &str, partition: PartitionId) -> Option<&PartitionImage> {
        self.topic(topic)?.partition(partition)
    }

    /// What was set on a resource; empty if nothing was.
    #[must_use]
    pub fn overrides(&self, resource: &ConfigResource) -> ConfigOverrides {
        self.configs.get(resource).cloned().unwrap_or_default()
    }

    /// `min.insync.replicas` of a topic, as every broker of the cluster resolves it: of brokers, it can be set on all of them
    /// alone, and is from the start ([`crate::controller::bootstrap_records`]). A value that this version does not accept
    /// counts as not set.
    #[must_use]
    pub fn min_insync_replicas(&self, topic: &str) -> i32 {
        let set_on = |resource: &ConfigResource, scope| {
            crate::config::parse(scope, MIN_INSYNC_REPLICAS, self.configs.get(resource)?.get(MIN_INSYNC_REPLICAS)?).ok()
        };
        let value = set_on(&ConfigResource::Topic(topic.to_owned()), Scope::Topic)
            .or_else(|| set_on(&ConfigResource::BrokerDefault, Scope::Broker));
        value.map_or(1, |value| i32::try_from(value.as_integer()).unwrap_or(i32::MAX))
    }

    /// What is set on brokers, on all of them, and on groups, without what is set on topics.
    pub(crate) fn lasting_config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys().filter(|resource| !matches!(resource, ConfigResource::Topic(_)))
    }

    /// Groups that have configs of their own, by id, with these. The groups need not exist.
    pub fn group_overrides(&self) -> impl Iterator<Item = (&str, &ConfigOverrides)> {
        let first = ConfigResource::Group(String::new());
        self.configs.range(first..).filter_map(|(resource, overrides)| match resource {
            ConfigResource::Group(group) => Some((group.as_str(), overrides)),
            _ => None,
        })
    }

    /// First producer id that nobody was given.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// The dynamic configs of a broker and of the cluster over the settings it was started with.
    #[must_use]
    pub fn config_layers(&self, broker: BrokerId, static_config: &StaticConfig) -> ConfigLayers {
        ConfigLayers {
            broker: self.overrides(&ConfigResource::Broker(broker)),
            cluster_default: self.overrides(&ConfigResource::BrokerDefault),
            static_config: static_config.clone(),
        }
    }

    /// A broker's configs. Resolve them once and again when a `BrokerConfigChanged` delta says so, not per request.
    #[must_use]
    pub fn broker_config(&self, broker: BrokerId, static_config: &StaticConfig) -> BrokerConfig {
        BrokerConfig::resolve(&self.config_layers(broker, static_config))
    }

    /// A topic's configs on a broker with these configs. Resolve once per topic and config delta, not per request.
    #[must_use]
    pub fn topic_config(&self, topic: &str, broker: &BrokerConfig) -> TopicConfig {
        broker.topic_defaults.with(&self.overrides(&ConfigResource::Topic(topic.to_owned())))
    }

    /// What DescribeConfigs answers on `broker` about `resource`, for all configs or those named. The resource must exist;
    /// another broker's configs are that broker's to describe.
    #[must_use]
    pub fn describe_configs(
        &self,
        resource: &ConfigResource,
        broker: BrokerId,
        static_config: &StaticConfig,
        names: Option<&[String]>,
    ) -> Vec<ConfigEntry> {
        let layers = self.config_layers(broker, static_config);
        let overrides = self.overrides(resource);
        let described = match resource {
            ConfigResource::Topic(_) => Described::Topic(&overrides),
            ConfigResource::Group(_) => Described::Group(&overrides),
            ConfigResource::Broker(_) => Described::Broker,
            ConfigResource::BrokerDefault => Described::BrokerDefault,
        };
        crate::config::describe(described, &layers, names)
    }

    /// Records whose fold from nothing is this image, except for its metadata offset. In an order that applies.
    pub fn to_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let cluster = self.cluster_id.map(|cluster_id| MetadataRecord::ClusterCreated { cluster_id });
        let nodes = self.nodes.values().map(|node| MetadataRecord::NodeBound(node.as_ref().clone()));
        let brokers = self.brokers.values().map(|broker| match self.nodes.contains_key(&broker.broker) {
            true => MetadataRecord::BrokerChanged(broker.as_ref().clone()),
            // From a cluster that could have one broker only, before that one has started anew.
            false => MetadataRecord::BrokerRegistered(BrokerRegistration::from(broker.as_ref())),
        });
        let topics = self.topics.values().flat_map(|topic| topic.to_records());
        let configs = self.configs.iter().flat_map(|(resource, overrides)| {
            overrides.iter().map(|(name, value)| MetadataRecord::ConfigChanged {
                resource: resource.clone(),
                name: name.to_owned(),
                value: Some(value.to_owned()),
            })
        });
        let producer_ids = (self.next_producer_id != ProducerId::default())
            .then_some(MetadataRecord::ProducerIdsAllocated { next: self.next_producer_id });
        cluster.into_iter().chain(nodes).chain(brokers).chain(topics).chain(configs).chain(producer_ids)
    }
}

impl TopicImage {
    #[must_use]
    pub fn partition(&self, partition: PartitionId) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(partition.0).ok()?)
    }

    /// In order of id.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &PartitionImage)> {
        (0..).map(PartitionId).zip(self.partitions.iter())
    }

    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("partition ids are i32")
    }

    fn to_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let created = MetadataRecord::TopicCreated { topic_id: self.id, name: self.name.to_string() };
        let partitions = self.partitions().map(|(partition, state)| state.to_record(self.id, partition));
        let chosen = self.replica_counts_chosen.iter();
        let chosen =
            chosen.map(|partition| MetadataRecord::ReplicaCountChosen { topic_id: self.id, partition: *partition });
        std::iter::once(created).chain(partitions).chain(chosen)
    }

    /// Whether an operator has said how many replicas the partition is to have.
    #[must_use]
    pub fn is_replica_count_chosen(&self, partition: PartitionId) -> bool {
        self.replica_counts_chosen.contains(&partition)
    }
}

impl PartitionImage {
    /// The state that a record says, and which partition it is of; `None` for a record of something else.
    pub(crate) fn of_record(record: &MetadataRecord) -> Option<(TopicId, PartitionId, PartitionImage)> {
        let moving = |adding: &[BrokerId], removing: &[BrokerId]| {
            let moves = !adding.is_empty() || !removing.is_empty();
            moves.then(|| Arc::new(Reassignment { adding: adding.to_vec(), removing: removing.to_vec() }))
        };
        let (partition, state) = match record {
            MetadataRecord::PartitionChanged(partition) => (partition, PartitionImage::from(partition)),
            MetadataRecord::PartitionReassigning { partition, adding, removing } => {
                let reassignment = moving(adding, removing);
                (partition, PartitionImage { reassignment, ..PartitionImage::from(partition) })
            }
            MetadataRecord::PartitionUnderMinIsr { partition, adding, removing, elr, last_known_elr } => {
                let (elr, last_known_elr) = (shared(elr), shared(last_known_elr));
                let reassignment = moving(adding, removing);
                let state = PartitionImage { reassignment, elr, last_known_elr, ..PartitionImage::from(partition) };
                (partition, state)
            }
            _ => return None,
        };
        Some((partition.topic_id, partition.partition, state))
    }

    /// The record that says all of this.
    #[must_use]
    pub fn to_record(&self, topic_id: TopicId, partition: PartitionId) -> MetadataRecord {
        let partition = PartitionRecord {
            topic_id,
            partition,
            replicas: self.replicas.to_vec(),
            isr: self.isr.to_vec(),
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
        };
        let moving = self.reassignment.as_ref();
        let (adding, removing) = moving.map(|m| (m.adding.clone(), m.removing.clone())).unwrap_or_default();
        if !self.elr.is_empty() || !self.last_known_elr.is_empty() {
            let (elr, last_known_elr) = (self.elr.to_vec(), self.last_known_elr.to_vec());
            return MetadataRecord::PartitionUnderMinIsr { partition, adding, removing, elr, last_known_elr };
        }
        match moving {
            None => MetadataRecord::PartitionChanged(partition),
            Some(_) => MetadataRecord::PartitionReassigning { partition, adding, removing },
        }
    }

    /// The state after a change, with the partition epoch that a change gets.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut PartitionImage)) -> PartitionImage {
        let mut changed = self.clone();
        change(&mut changed);
        changed.partition_epoch = self.partition_epoch.saturating_add(1);
        changed
    }

    /// Makes another replica the leader, or none, at a new leader epoch.
    pub fn elect(&mut self, leader: Option<BrokerId>) {
        self.leader = leader;
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
    }
}

impl From<&PartitionRecord> for PartitionImage {
    fn from(record: &PartitionRecord) -> PartitionImage {
        let replicas: Arc<[BrokerId]> = record.replicas.as_slice().into();
        // Mostly every replica is in sync: the two lists then share their memory.
        let isr = if record.isr == record.replicas { Arc::clone(&replicas) } else { shared(&record.isr) };
        PartitionImage {
            replicas,
            isr,
            elr: Arc::default(),
            last_known_elr: Arc::default(),
            leader: record.leader,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            reassignment: None,
        }
    }
}

/// Mostly there is none, and then there is nothing to allocate.
pub(crate) fn shared(brokers: &[BrokerId]) -> Arc<[BrokerId]> {
    if brokers.is_empty() { Arc::default() } else { brokers.into() }
}

/// A topic's name as metrics show it, where `.` and `_` are the same.
fn metric_name(topic: &str) -> String {
    topic.replace('.', "_")
}
