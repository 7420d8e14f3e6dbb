//! The life of a broker as the controller sees it: it joins, starts, reports, falls silent, leaves.
//!
//! A node joins once: its id is bound to its data directory. Each process then registers, fenced, and gets a broker epoch;
//! it is let in when it says that it serves and has applied what the controller knew when it was fenced (KIP-631).

use super::leadership;
use super::log_ends::LogEnds;
use crate::cluster_id::ClusterId;
use crate::config::MIN_INSYNC_REPLICAS;
use crate::image::MetadataImage;
use crate::record::{BrokerState, ConfigResource, MetadataRecord, NodeBinding};
use protocol::newtypes::BrokerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The first records of a new cluster.
///
/// `min.insync.replicas` becomes a config of the whole cluster from the start, as in Kafka with eligible leader replicas
/// (KIP-966): were it each broker's own, its value would depend on who leads.
#[must_use]
pub fn bootstrap_records(cluster_id: ClusterId, min_insync_replicas: i32) -> Vec<MetadataRecord> {
    vec![
        MetadataRecord::ClusterCreated { cluster_id },
        MetadataRecord::ConfigChanged {
            resource: ConfigResource::BrokerDefault,
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some(min_insync_replicas.to_string()),
        },
    ]
}

/// A process of a broker that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStart {
    pub node: NodeBinding,
    /// Drawn anew at every start.
    #[serde(with = "crate::record::newtype_serde::uuid")]
    pub incarnation: Uuid,
    /// Host that clients are told, a name or an address.
    pub host: String,
    pub port: u16,
    pub rack: Option<String>,
    pub shards: u32,
}

/// What a broker wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// It is starting, or stopping: nothing is to be led by it.
    Fenced,
    /// It serves.
    Unfenced,
}

/// What a broker says every `broker.heartbeat.interval.ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    #[serde(with = "crate::record::newtype_serde::broker_id")]
    pub broker: BrokerId,
    pub epoch: u64,
    /// Metadata offset of the image that all its shards have applied.
    pub applied: u64,
    pub wish: Wish,
}

/// Why a node cannot have the id that it wants, or is refused under the one it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefused {
    #[error(
        "node id {node} belongs to the data directory {bound}, and this one is {found}: choose another --node-id; if the disk \
         of node {node} was lost, 'ringlog cluster remove {node}' frees the id"
    )]
    OtherDirectory { node: BrokerId, bound: Uuid, found: Uuid },
    #[error("node {node} does not belong to the cluster: it was removed")]
    Removed { node: BrokerId },
    #[error("node ids are 0 or more, and this is {node}")]
    NegativeId { node: BrokerId },
}

/// Why a node cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// BROKER_ID_NOT_REGISTERED
    #[error("Broker ID {node} is not currently registered")]
    Unknown { node: BrokerId },
    /// INVALID_REQUEST
    #[error("broker {node} is alive: stop it before it is removed")]
    Alive { node: BrokerId },
    /// INVALID_REQUEST
    #[error(
        "node {node} is the last in-sync or eligible replica of {partitions} partition(s) that have others, such as {example}: \
         start it again, or have another replica elected there (`ringlog partition elect-leader --unclean`), which may \
         lose records"
    )]
    LastInSync { node: BrokerId, partitions: usize, example: String },
}

/// What a process says was said by another process of this broker since, or the broker was removed: STALE_BROKER_EPOCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker {broker} with epoch {epoch} is registered no more: the current epoch is {current:?}")]
pub struct StaleBroker {
    pub broker: BrokerId,
    pub epoch: u64,
    pub current: Option<u64>,
}

/// Makes a node part of the cluster. Asked again, it changes nothing but the address.
pub fn join(image: &MetadataImage, node: &NodeBinding) -> Result<Vec<MetadataRecord>, NodeRefused> {
    if node.node.0 < 0 {
        return Err(NodeRefused::NegativeId { node: node.node });
    }
    match image.node(node.node) {
        Some(known) if known.directory_id != node.directory_id => {
            let (bound, found) = (known.directory_id, node.directory_id);
            Err(NodeRefused::OtherDirectory { node: node.node, bound, found })
        }
        Some(known) if **known == *node => Ok(Vec::new()),
        _ => Ok(vec![MetadataRecord::NodeBound(node.clone())]),
    }
}

/// Takes a broker's new process into the cluster, fenced: records, and its broker epoch.
///
/// Whatever an earlier process of it led is led by others now, or by nobody until it is let in. So a process never leads at
/// an epoch at which another incarnation of it led: what that one had handed out and lost with its memory would otherwise
/// come back under the same epoch with other records. `ends` is what the others have told of their logs.
pub fn register_broker(
    image: &MetadataImage,
    start: &BrokerStart,
    ends: &LogEnds,
) -> Result<(Vec<MetadataRecord>, u64), NodeRefused> {
    let broker = start.node.node;
    let mut records = match image.node(broker) {
        // A cluster of the time when there was one broker only.
        None if image.nodes().next().is_none() => join(image, &start.node)?,
        None => return Err(NodeRefused::Removed { node: broker }),
        Some(_) => join(image, &start.node)?,
    };
    if let Some(known) = image.broker(broker)
        && known.incarnation == start.incarnation
    {
        return Ok((records, known.epoch));
    }
    let epoch = image.metadata_offset() + records.len() as u64;
    records.push(MetadataRecord::BrokerChanged(BrokerState {
        broker,
        incarnation: start.incarnation,
        epoch,
        host: start.host.clone(),
        port: start.port,
        rack: start.rack.clone(),
        shards: start.shards,
        fenced_at: Some(epoch),
    }));
    records.extend(leadership::without(image, broker, ends));
    Ok((records, epoch))
}

/// Decides on a heartbeat: records, and whether the broker is fenced then. `ends` is what the others have told of their logs,
/// for whoever is to lead what it leads.
pub fn heartbeat(
    image: &MetadataImage,
    beat: &Heartbeat,
    ends: &LogEnds,
) -> Result<(Vec<MetadataRecord>, bool), StaleBroker> {
    let Heartbeat { broker, epoch, applied, wish } = *beat;
    let known = image.broker(broker).filter(|known| known.epoch == epoch);
    let Some(known) = known else {
        return Err(StaleBroker { broker, epoch, current: image.broker(broker).map(|known| known.epoch) });
    };
    Ok(match (wish, known.fenced_at) {
        (Wish::Unfenced, Some(fenced_at)) if applied > fenced_at => (unfence(image, known), false),
        (Wish::Fenced, None) => (fence(image, broker, ends), true),
        (Wish::Unfenced | Wish::Fenced, fenced_at) => (Vec::new(), fenced_at.is_some()),
    })
}

/// Fences a broker: it leads nothing, and clients are not sent to it. Nothing where it is fenced or gone. `ends` is what the
/// others have told of their logs.
#[must_use]
pub fn fence(image: &MetadataImage, broker: BrokerId, ends: &LogEnds) -> Vec<MetadataRecord> {
    let Some(known) = image.broker(broker).filter(|known| !known.is_fenced()) else { return Vec::new() };
    let state = BrokerState { fenced_at: Some(image.metadata_offset()), ..known.as_ref().clone() };
    let mut records = vec![MetadataRecord::BrokerChanged(state)];
    records.extend(leadership::without(image, broker, ends));
    records
}

fn unfence(image: &MetadataImage, known: &BrokerState) -> Vec<MetadataRecord> {
    let mut records = vec![MetadataRecord::BrokerChanged(BrokerState { fenced_at: None, ..known.clone() })];
    records.extend(leadership::with(image, known.broker));
    records
}

/// Takes a node out of the cluster for good (`ringlog cluster remove`, UnregisterBroker): its id may be taken by another data
/// directory then. Its replicas stay assigned, for a node of that id that may come.
///
/// That one may have nothing, and would lead what this one was the last to have in sync. Where there are other replicas it
/// must be said first that one of them is to lead.
pub fn remove_node(image: &MetadataImage, node: BrokerId) -> Result<Vec<MetadataRecord>, RemoveError> {
    if image.node(node).is_none() {
        return Err(RemoveError::Unknown { node });
    }
    if image.is_unfenced(node) {
        return Err(RemoveError::Alive { node });
    }
    let mut last_in_sync = leadership::only_in_sync(image, node);
    if let Some(example) = last_in_sync.next() {
        return Err(RemoveError::LastInSync { node, partitions: 1 + last_in_sync.count(), example });
    }
    let mut records = vec![MetadataRecord::NodeRemoved { node }];
    records.extend(leadership::without_for_good(image, node));
    Ok(records)
}
