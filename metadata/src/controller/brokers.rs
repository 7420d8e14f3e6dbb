//! What a cluster begins with, and what it means that a broker's process has started.

use crate::cluster_id::ClusterId;
use crate::image::MetadataImage;
use crate::record::{BrokerRegistration, ConfigResource, MetadataRecord};
use protocol::newtypes::LeaderEpoch;

pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

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

/// Takes a broker's new process into the cluster: its addresses, and a new leader epoch for every partition it leads.
///
/// A process never leads at an epoch at which another incarnation of it led: what that one had handed out and lost with
/// its memory would otherwise come back under the same epoch with other records.
#[must_use]
pub fn register_broker(image: &MetadataImage, registration: BrokerRegistration) -> Vec<MetadataRecord> {
    let broker = registration.broker;
    let is_new_process = image.broker(broker).is_none_or(|known| known.incarnation != registration.incarnation);
    let mut records = vec![MetadataRecord::BrokerRegistered(registration)];
    if !is_new_process {
        return records;
    }
    for topic in image.topics() {
        for (partition, state) in topic.partitions().filter(|(_, state)| state.leader == Some(broker)) {
            let mut record = state.to_record(topic.id, partition);
            record.leader_epoch = LeaderEpoch(record.leader_epoch.0.saturating_add(1));
            record.partition_epoch = record.partition_epoch.saturating_add(1);
            records.push(MetadataRecord::PartitionChanged(record));
        }
    }
    records
}
