//! The records that the cluster's metadata is the fold of, in the order they were committed.
//!
//! A record says what is, never how it was decided: replaying needs no clock, no randomness and no checks beyond
//! consistency. One commit is a batch of records, applied together or not at all; [`codec`] turns batches into bytes.
//!
//! New kinds of records are added at the end of [`MetadataRecord`]; the meaning of the existing ones never changes.

pub mod codec;
pub(crate) mod newtype_serde;
#[cfg(test)]
mod tests;

use crate::cluster_id::ClusterId;
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// The first record of every cluster.
    ClusterCreated {
        #[serde(with = "newtype_serde::cluster_id")]
        cluster_id: ClusterId,
    },
    /// A process of the only broker has started. Of clusters that could have one broker only; now [`Self::BrokerChanged`].
    BrokerRegistered(BrokerRegistration),
    TopicCreated {
        #[serde(with = "newtype_serde::topic_id")]
        topic_id: TopicId,
        name: String,
    },
    /// A partition is new, or its state has changed. New partitions come in order, from 0.
    PartitionChanged(PartitionRecord),
    /// Takes the topic's partitions and configs with it.
    TopicDeleted {
        #[serde(with = "newtype_serde::topic_id")]
        topic_id: TopicId,
    },
    /// A config was set, or taken away (`None`).
    ConfigChanged { resource: ConfigResource, name: String, value: Option<String> },
    /// Producer ids below `next` are given away (KIP-730).
    ProducerIdsAllocated {
        #[serde(with = "newtype_serde::producer_id")]
        next: ProducerId,
    },
    /// A node id belongs to one data directory, and the node is reached at this internal address.
    NodeBound(NodeBinding),
    /// A node id belongs to no directory any more. Takes the broker's registration with it.
    NodeRemoved {
        #[serde(with = "newtype_serde::broker_id")]
        node: BrokerId,
    },
    /// A process of this broker has started, or it was fenced or let in.
    BrokerChanged(BrokerState),
    /// As [`Self::PartitionChanged`], while replicas are being moved (KIP-455).
    PartitionReassigning {
        partition: PartitionRecord,
        /// Of `partition.replicas`, those that are on their way in.
        #[serde(with = "newtype_serde::broker_ids")]
        adding: Vec<BrokerId>,
        /// Of `partition.replicas`, those that go once the others are in sync.
        #[serde(with = "newtype_serde::broker_ids")]
        removing: Vec<BrokerId>,
    },
    /// As [`Self::PartitionChanged`], while fewer replicas are in sync than `min.insync.replicas` wants and others may lead
    /// nevertheless (KIP-966). Replicas may be being moved meanwhile.
    PartitionUnderMinIsr {
        partition: PartitionRecord,
        #[serde(with = "newtype_serde::broker_ids")]
        adding: Vec<BrokerId>,
        #[serde(with = "newtype_serde::broker_ids")]
        removing: Vec<BrokerId>,
        /// Of `partition.replicas`, those that are not in sync and have all that is committed.
        #[serde(with = "newtype_serde::broker_ids")]
        elr: Vec<BrokerId>,
        /// Whoever led last, while nobody is in sync.
        #[serde(with = "newtype_serde::broker_ids")]
        last_known_elr: Vec<BrokerId>,
    },
    /// An operator has said how many replicas this partition is to have: the controller does not add to them.
    ReplicaCountChosen {
        #[serde(with = "newtype_serde::topic_id")]
        topic_id: TopicId,
        #[serde(with = "newtype_serde::partition_id")]
        partition: PartitionId,
    },
}

/// Which data directory a node is, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBinding {
    #[serde(with = "newtype_serde::broker_id")]
    pub node: BrokerId,
    /// Drawn when the directory was made. Another directory with this node id may have forgotten a vote.
    #[serde(with = "newtype_serde::uuid")]
    pub directory_id: Uuid,
    /// Host and port that other brokers reach it at.
    pub address: String,
}

/// The whole state of one broker after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerState {
    #[serde(with = "newtype_serde::broker_id")]
    pub broker: BrokerId,
    /// Of the process: drawn anew at every start.
    #[serde(with = "newtype_serde::uuid")]
    pub incarnation: Uuid,
    /// Metadata offset of the record that registered this process. What an earlier process says has an older one.
    pub epoch: u64,
    /// Host that clients are told, a name or an address.
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
    /// Shards that its partitions are spread over.
    pub shards: u32,
    /// Metadata offset of the record that fenced it, which it must have applied to be let in; `None` when it is not fenced.
    pub fenced_at: Option<u64>,
}

impl BrokerState {
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.fenced_at.is_some()
    }
}

impl From<&BrokerState> for BrokerRegistration {
    fn from(state: &BrokerState) -> BrokerRegistration {
        let BrokerState { broker, incarnation, host, port, rack, .. } = state.clone();
        BrokerRegistration { broker, incarnation, host, port, rack }
    }
}

impl From<&BrokerRegistration> for BrokerState {
    /// As clusters with one broker were: never fenced.
    fn from(registration: &BrokerRegistration) -> BrokerState {
        let BrokerRegistration { broker, incarnation, host, port, rack } = registration.clone();
        BrokerState { broker, incarnation, epoch: 0, host, port, rack, shards: 0, fenced_at: None }
    }
}

/// Who a broker is and where clients reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    #[serde(with = "newtype_serde::broker_id")]
    pub broker: BrokerId,
    /// Of the process: drawn anew at every start.
    #[serde(with = "newtype_serde::uuid")]
    pub incarnation: Uuid,
    /// Host that clients are told, a name or an address.
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
}

/// The whole state of one partition after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRecord {
    #[serde(with = "newtype_serde::topic_id")]
    pub topic_id: TopicId,
    #[serde(with = "newtype_serde::partition_id")]
    pub partition: PartitionId,
    /// In order of preference for leadership.
    #[serde(with = "newtype_serde::broker_ids")]
    pub replicas: Vec<BrokerId>,
    #[serde(with = "newtype_serde::broker_ids")]
    pub isr: Vec<BrokerId>,
    /// `None` while no replica may lead.
    #[serde(with = "newtype_serde::optional_broker_id")]
    pub leader: Option<BrokerId>,
    /// Rises with every election.
    #[serde(with = "newtype_serde::leader_epoch")]
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change of the partition (KIP-497).
    pub partition_epoch: i32,
}

/// What a dynamic config is set on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    Broker(#[serde(with = "newtype_serde::broker_id")] BrokerId),
    /// All brokers of the cluster.
    BrokerDefault,
    /// A group, by id (KIP-848). It need not exist.
    Group(String),
}
