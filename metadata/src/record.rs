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
    /// A process of this broker has started, or its addresses have changed.
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
}

/// Who a broker is and where it is reached.
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
}
