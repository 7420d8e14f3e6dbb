//! From a replayed journal to shards that have recovered their logs.

use std::time::Instant;

use metadata::controller::ImpairedReplica;
use tokio::sync::mpsc;
use wal::journal::ReplayReport;

use super::ServeError;
use crate::shard::run::ShardEvent;

/// What shards found in their logs.
#[derive(Debug, Default)]
pub struct Recovered {
    pub partitions_offline: usize,
    pub impaired: Vec<ImpairedReplica>,
}

/// Resolves when all of so many shards have recovered.
///
/// # Errors
/// The first shard's that cannot go on.
pub async fn recovered(
    shards: usize,
    events: &mut mpsc::UnboundedReceiver<ShardEvent>,
) -> Result<Recovered, ServeError> {
    let mut recovered = Recovered::default();
    for _ in 0..shards {
        match events.recv().await {
            Some(ShardEvent::Ready { shard, partitions, offline, impaired }) => {
                tracing::debug!(shard, partitions, "shard ready");
                recovered.partitions_offline += offline;
                recovered.impaired.extend(impaired);
            }
            Some(ShardEvent::Fatal { shard, error }) => return Err(ServeError::Shard { shard, error }),
            Some(ShardEvent::Drained { .. } | ShardEvent::Closed { .. }) => {
                unreachable!("nobody was told to drain yet")
            }
            None => return Err(ServeError::Shard { shard: 0, error: "all shards ended during recovery".into() }),
        }
    }
    Ok(recovered)
}

/// Says what a replay did.
pub fn log_replay(report: &ReplayReport, started: Instant) {
    let ReplayReport { journals, records, bytes, segments, stale_entries, unplaced_entries, ref kept, .. } = *report;
    if journals > 0 {
        let took = started.elapsed();
        tracing::info!(journals, records, bytes, segments, stale_entries, ?took, "journal replayed into the logs");
    }
    if unplaced_entries > 0 {
        tracing::error!(
            unplaced_entries,
            ?kept,
            "acknowledged records in the journal have no place in the logs, because partitions' files are damaged or \
             missing; the journal's files were kept under these names and are not read again"
        );
    }
}
