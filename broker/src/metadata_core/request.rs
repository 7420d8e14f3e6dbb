//! What the controller is asked: by shards for clients, by other brokers, by `ringlog cluster`.
//!
//! Each request is a type that says what it is answered ([`Ask`]), and how it is decided ([`Decide`]) where it changes
//! anything. [`Request`] is any of them, on its way between threads and brokers.

use metadata::config::{BrokerConfig, StaticConfig};
use metadata::controller::{
    self, BrokerStart, ConfigAlteration, ConfigReplacement, CreatedTopic, DeletedTopic, ElectionType, Heartbeat,
    ImpairedReplica, IsrChange, LogEnds, NewPartitions, NewTopic, PartitionKey, PartitionName, ProducerIdBlock,
    TopicToDelete, WantedReassignment,
};
use metadata::image::MetadataImage;
use metadata::placement::Placement;
use metadata::raft::QuorumStatus;
use metadata::record::{ConfigResource, MetadataRecord, NodeBinding};
use protocol::{BrokerId, TopicId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::Refusal;

/// What each part of a request is answered.
pub type Answers<K, T> = Vec<(K, Result<T, Refusal>)>;

/// A request to the controller.
pub trait Ask: Into<Request> {
    type Answer: Serialize + DeserializeOwned;
}

/// What a decision is made on.
#[derive(Clone, Copy)]
pub struct Deciding<'a> {
    pub image: &'a MetadataImage,
    /// Of the broker that the controller is.
    pub config: &'a BrokerConfig,
    pub static_config: &'a StaticConfig,
    /// What brokers have told of their logs, where somebody may be elected.
    pub ends: &'a LogEnds,
}

/// A request that changes metadata.
pub trait Decide: Ask {
    /// Whether it is carried out on a full disk too, so that brokers with one still start and serve reads. Of the others, what
    /// frees space is ([`controller::frees_space`]).
    const ON_FULL_DISK: bool = false;

    /// Records to be agreed on, and the answer once they are.
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer);
}

macro_rules! requests {
    ($($name:ident => $answer:ty),* $(,)?) => {
        /// Any request.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub enum Request { $($name($name)),* }
        $(
            impl From<$name> for Request {
                fn from(request: $name) -> Request { Request::$name(request) }
            }
            impl Ask for $name { type Answer = $answer; }
        )*
    };
}
requests!(
    CreateTopics => Answers<String, CreatedTopic>,
    CreatePartitions => Answers<String, i32>,
    DeleteTopics => Answers<TopicToDelete, DeletedTopic>,
    IncrementalAlterConfigs => Answers<ConfigResource, ()>,
    AlterConfigs => Answers<ConfigResource, ()>,
    AllocateProducerIds => Result<ProducerIdBlock, Refusal>,
    Join => Result<(), String>,
    Register => Result<u64, String>,
    Beat => Result<Beaten, String>,
    RemoveNode => Result<(), Refusal>,
    DescribeQuorum => QuorumStatus,
    DescribeBrokers => Vec<BrokerLine>,
    AlterPartitionReassignments => Answers<PartitionName, ()>,
    ElectLeaders => Answers<PartitionName, ()>,
    AlterPartition => Result<Answers<PartitionKey, i32>, Refusal>,
    ReportImpaired => Result<(), Refusal>,
    DescribePlacement => PlacementSeen,
);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateTopics {
    pub topics: Vec<NewTopic>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreatePartitions {
    pub topics: Vec<NewPartitions>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeleteTopics {
    pub topics: Vec<TopicToDelete>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncrementalAlterConfigs {
    pub alterations: Vec<ConfigAlteration>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlterConfigs {
    pub replacements: Vec<ConfigReplacement>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlterPartitionReassignments {
    pub wanted: Vec<WantedReassignment>,
    pub may_change_replication_factor: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ElectLeaders {
    pub election: ElectionType,
    /// `None` for all partitions.
    pub partitions: Option<Vec<PartitionName>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AllocateProducerIds;

/// A node wants to belong to the cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Join(pub NodeBinding);

/// A broker's process has started. Answered with its broker epoch, or why it cannot take part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Register(pub BrokerStart);

/// A broker's heartbeat. Answered by a controller that is certain to lead, or it says why the broker must stop.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Beat(pub Heartbeat);

/// How a broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beaten {
    pub fenced: bool,
    /// So long after the heartbeat was sent no controller fences the broker, unless its process has ended or asks for it.
    pub lease_ms: u64,
}

/// A broker's process tells of replicas that are not what the metadata takes them for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportImpaired {
    pub broker: BrokerId,
    pub broker_epoch: u64,
    /// At most [`controller::RECORDS_PER_REQUEST_MAX`].
    pub replicas: Vec<ImpairedReplica>,
}

/// A broker's process says who is in sync, of partitions that it leads. Answered with each partition's new epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlterPartition {
    pub broker: BrokerId,
    pub broker_epoch: u64,
    /// At most [`controller::RECORDS_PER_REQUEST_MAX`] are made.
    pub changes: Vec<IsrChange>,
}

/// A node is to be forgotten.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RemoveNode(pub BrokerId);

/// The quorum as its leader sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DescribeQuorum;

/// The cluster's brokers as the controller sees them, for `ringlog cluster status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DescribeBrokers;

/// Where replicas are, for `ringlog cluster drain` and `rebalance`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DescribePlacement {
    /// Of these topics; `None` for all.
    pub topics: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementSeen {
    pub placement: Placement,
    pub nodes: Vec<NodeBinding>,
    /// Topics and brokers that have replication throttles of their own.
    pub throttled: Vec<ConfigResource>,
}

/// A node of the cluster, and its broker if one has registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerLine {
    pub node: NodeBinding,
    /// Address for clients, broker epoch, and whether it is fenced.
    pub broker: Option<(String, u64, bool)>,
}

/// Records that are only looked at count for nothing.
fn unless(validate_only: bool, records: Vec<MetadataRecord>) -> Vec<MetadataRecord> {
    if validate_only { Vec::new() } else { records }
}

/// The answers of a decision, with errors as clients are told them.
fn told<K, T, E: Into<Refusal>>(answers: Vec<(K, Result<T, E>)>) -> Answers<K, T> {
    answers.into_iter().map(|(key, answer)| (key, answer.map_err(Into::into))).collect()
}

impl Decide for CreateTopics {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let next_id = || TopicId(Uuid::new_v4());
        let (records, answers) = controller::create_topics(on.image, on.config, &self.topics, next_id);
        (unless(self.validate_only, records), told(answers))
    }
}

impl Decide for CreatePartitions {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) = controller::create_partitions(on.image, &self.topics);
        (unless(self.validate_only, records), told(answers))
    }
}

impl Decide for DeleteTopics {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) = controller::delete_topics(on.image, on.config.delete_topic_enable, &self.topics);
        (records, told(answers))
    }
}

impl Decide for IncrementalAlterConfigs {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) = controller::incremental_alter_configs(on.image, on.static_config, &self.alterations);
        (unless(self.validate_only, records), told(answers))
    }
}

impl Decide for AlterConfigs {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) = controller::alter_configs(on.image, on.static_config, &self.replacements);
        (unless(self.validate_only, records), told(answers))
    }
}

impl Decide for AlterPartitionReassignments {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) =
            controller::alter_partition_reassignments(on.image, self.may_change_replication_factor, &self.wanted);
        (records, told(answers))
    }
}

impl Decide for ElectLeaders {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        let (records, answers) =
            controller::elect_leaders(on.image, self.election, self.partitions.as_deref(), on.ends);
        (records, told(answers))
    }
}

impl Decide for AllocateProducerIds {
    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::allocate_producer_ids(on.image) {
            Ok((record, block)) => (vec![record], Ok(block)),
            Err(error) => (Vec::new(), Err(Refusal::new(kafka_protocol::ResponseError::UnknownServerError, &error))),
        }
    }
}

impl Decide for Join {
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::join(on.image, &self.0) {
            Ok(records) => (records, Ok(())),
            Err(refused) => (Vec::new(), Err(refused.to_string())),
        }
    }
}

impl Decide for Register {
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::register_broker(on.image, &self.0, on.ends) {
            Ok((records, epoch)) => (records, Ok(epoch)),
            Err(refused) => (Vec::new(), Err(refused.to_string())),
        }
    }
}

impl Decide for Beat {
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::heartbeat(on.image, &self.0, on.ends) {
            Ok((records, fenced)) => {
                let timeout_ms = u64::try_from(on.config.broker_session_timeout_ms).unwrap_or(0);
                (records, Ok(Beaten { fenced, lease_ms: controller::lease_ms(timeout_ms) }))
            }
            Err(stale) => (Vec::new(), Err(stale.to_string())),
        }
    }
}

impl Decide for AlterPartition {
    /// A follower without space leaves the ISR, which lets producers go on.
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::alter_partition(on.image, self.broker, self.broker_epoch, &self.changes) {
            Ok((records, answers)) => (records, Ok(told(answers))),
            Err(stale) => (Vec::new(), Err(stale.into())),
        }
    }
}

impl Decide for ReportImpaired {
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::report_impaired(on.image, self.broker, self.broker_epoch, &self.replicas) {
            Ok(records) => (records, Ok(())),
            Err(stale) => (Vec::new(), Err(stale.into())),
        }
    }
}

impl Decide for RemoveNode {
    const ON_FULL_DISK: bool = true;

    fn decide(&self, on: Deciding<'_>) -> (Vec<MetadataRecord>, Self::Answer) {
        match controller::remove_node(on.image, self.0) {
            Ok(records) => (records, Ok(())),
            Err(error) => (Vec::new(), Err(error.into())),
        }
    }
}
