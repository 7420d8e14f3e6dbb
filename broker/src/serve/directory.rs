//! Opening the data directory, and finding the cluster that a new one is to belong to.

use std::path::Path;
use std::time::Duration;

use metadata::cluster_id::ClusterId;
use metadata::config::{BrokerConfig, ConfigLayers};
use metadata::controller::bootstrap_records;
use metadata::raft::{Opened, Published};
use metadata::store::{Beginning, DataDirectory};
use tokio::sync::mpsc;

use super::ServeError;
use crate::config::ServeConfig;
use crate::internal::links;

/// Pause before members of the cluster to join are asked again.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// Opens the data directory. An empty one becomes a cluster's first, or, where there is a cluster to join, one of a node of
/// that: then some member must say which cluster it is.
pub async fn open(
    config: &ServeConfig,
    data_dir: &Path,
    internal_address: &str,
    publish: mpsc::UnboundedSender<Published>,
) -> Result<(DataDirectory, Opened), ServeError> {
    let open = |beginning| DataDirectory::open(data_dir, config.node_id, internal_address, beginning, publish);
    if config.join.is_empty() || !DataDirectory::is_new(data_dir)? {
        let layers = ConfigLayers::of_static(&config.static_config);
        let min_insync_replicas = BrokerConfig::resolve(&layers).topic_defaults.min_insync_replicas;
        let records = bootstrap_records(ClusterId(uuid::Uuid::new_v4()), min_insync_replicas);
        return Ok(open(Beginning::Form(&records))?);
    }
    loop {
        for address in &config.join {
            match links::welcome(&address.to_string(), None).await {
                Ok(welcome) => {
                    let cluster_id = ClusterId(welcome.cluster_id);
                    tracing::info!(%address, cluster = %cluster_id, member = %welcome.node, "cluster found");
                    return Ok(open(Beginning::Join(cluster_id))?);
                }
                Err(error) => tracing::warn!(%address, %error, "no member of a cluster could be asked here"),
            }
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
}
