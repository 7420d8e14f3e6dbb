//! The one place where the log's storage is chosen and topic configuration becomes log configuration.

use std::path::Path;

use metadata::config::{Durability as TopicDurability, TopicConfig};
use protocol::PartitionId;
use wal::file::glommio::{GlommioStorage, GlommioStorageError};
use wal::log::{Durability, Log, LogConfig};
use wal::recovery::RecoveryReport;
use wal::shard::ShardWal;

pub type PartitionLog = Log<GlommioStorage>;
pub type Wal = ShardWal<GlommioStorage>;

/// Prepares a shard's access to the data directory; must run on the shard's executor.
pub async fn open(data_dir: &Path) -> Result<GlommioStorage, GlommioStorageError> {
    GlommioStorage::new(data_dir).await
}

/// What a topic's configuration means for the logs of its partitions.
pub fn log_config(config: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: u64::try_from(config.segment_bytes).unwrap_or(0),
        // What must be compacted by then must not be in the active segment.
        segment_ms: if config.cleanup_policy.compact {
            config.segment_ms.min(config.max_compaction_lag_ms)
        } else {
            config.segment_ms
        },
        retention_bytes: config.retention_bytes.unwrap_or(-1),
        retention_ms: config.retention_ms.unwrap_or(-1),
        delete_policy: config.cleanup_policy.delete,
        durability: match config.durability {
            TopicDurability::Sync => Durability::Sync,
            TopicDurability::Async => Durability::Async,
        },
        ..LogConfig::default()
    }
}

/// Says in the log what recovery found, loudly where something was cut.
pub fn log_recovery(topic: &str, partition: PartitionId, report: &RecoveryReport) {
    tracing::debug!(topic, %partition, ?report, "log recovered");
}
