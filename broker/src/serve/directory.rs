//! Opening the data directory, and finding the cluster that a new one is to belong to.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use metadata::cluster_id::ClusterId;
use metadata::config::{BrokerConfig, ConfigLayers};
use metadata::controller::bootstrap_records;
use metadata::raft::{Opened, Published};
use metadata::store::{Beginning, DataDirectory};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ServeError;
use super::join_advice::{self, Said};
use crate::config::ServeConfig;
use crate::internal::links;

/// Pause before members of the cluster to join are asked again.
const JOIN_RETRY: Duration = Duration::from_secs(1);

/// What to do where the data directory cannot be made or found, as the end of the sentence.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "; something that is no directory is in the way: --data-dir gives another path"
        }
        ErrorKind::PermissionDenied => {
            "; make it for the user that runs the broker, or mount its disk; --data-dir gives another path"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "; under systemd ReadWritePaths= has to name it if it is not below /var/lib/ringlog; --data-dir gives another path"
        }
        _ => "; --data-dir gives another path",
    }
}

/// Opens the data directory. An empty one becomes a cluster's first, or, where there is a cluster to join, one of a node of
/// that: then some member must say which cluster it is.
pub async fn open(
    config: &ServeConfig,
    data_dir: &Path,
    internal_address: &str,
    publish: mpsc::UnboundedSender<Published>,
) -> Result<(DataDirectory, Opened), ServeError> {
    let open = |beginning| DataDirectory::open(data_dir, config.node_id, internal_address, beginning, publish);
    let is_new = DataDirectory::is_new(data_dir)?;
    if config.join.is_empty() || !is_new {
        let layers = ConfigLayers::of_static(&config.static_config);
        let min_insync_replicas = BrokerConfig::resolve(&layers).topic_defaults.min_insync_replicas;
        let records = bootstrap_records(ClusterId(uuid::Uuid::new_v4()), min_insync_replicas);
        let opened = open(Beginning::Form(&records))?;
        if is_new {
            // An information alone would not be seen by whoever has forgotten --join, and finds two clusters later.
            tracing::warn!(
                cluster = %opened.0.identity().cluster_id, data_dir = %data_dir.display(),
                "a new cluster was formed, for the data directory was empty and --join was not given: right for the first \
                 node of a cluster; a node that was to join another is to be stopped, its data directory emptied, and \
                 started with --join and the address of a member's internal port"
            );
        }
        return Ok(opened);
    }
    let mut said: Vec<Said> = config.join.iter().map(|_| Said::default()).collect();
    loop {
        for (address, said) in config.join.iter().map(ToString::to_string).zip(&mut said) {
            match links::welcome(&address, None).await {
                Ok(welcome) => {
                    let cluster_id = ClusterId(welcome.cluster_id);
                    tracing::info!(address, cluster = %cluster_id, member = %welcome.node, "cluster found");
                    return Ok(open(Beginning::Join(cluster_id))?);
                }
                Err(error) => {
                    let advice = join_advice::advice(&error, address == internal_address);
                    if let Some(attempts) = said.admit(&advice, Instant::now().into_std()) {
                        tracing::warn!(address, %error, attempts, "no member of a cluster could be asked here: {advice}");
                    }
                }
            }
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
}
