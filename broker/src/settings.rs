//! What the process was started with, as shards and handlers need it, and what all of them share. Fixed for its life, but for
//! Kafka's static settings, which a reload replaces.
//!
//! Kafka's own settings are not here: they can change while the broker runs, so each shard resolves them from the
//! metadata image ([`crate::shard::Shard::broker_config`]).

use std::sync::{Arc, PoisonError, RwLock};

use metadata::config::StaticConfig;
use protocol::BrokerId;
use wal::file::BLOCK_BYTES;
use wal::journal::JournalConfig;
use wal::shard::ShardWalConfig;

use crate::config::{MemoryLimits, ServeConfig};
use crate::replicator::throttle::Throttles;

pub struct Settings {
    pub broker: BrokerId,
    /// The cluster's id in Kafka's form: 22 characters of base64.
    pub cluster_id: String,
    /// The data directory, as DescribeLogDirs shows it.
    pub data_dir: String,
    /// Internal addresses that were given to join the cluster at.
    pub seeds: Arc<[String]>,
    pub quorum_voters_max: usize,
    static_config: RwLock<StaticConfig>,
    memory: MemoryLimits,
    throttles: Throttles,
}

impl Settings {
    pub fn new(config: &ServeConfig, cluster_id: String, data_dir: String) -> Settings {
        Settings {
            broker: config.node_id,
            cluster_id,
            data_dir,
            seeds: config.join.iter().map(ToString::to_string).collect(),
            quorum_voters_max: config.quorum_voters_max,
            static_config: RwLock::new(config.static_config.clone()),
            memory: config.memory,
            throttles: Throttles::default(),
        }
    }

    #[cfg(test)]
    pub fn of_test(broker: BrokerId, data_dir: String, memory: MemoryLimits) -> Settings {
        let (seeds, static_config) = (Arc::new([]), RwLock::default());
        let cluster_id = "cluster".to_owned();
        let throttles = Throttles::default();
        Settings { broker, cluster_id, data_dir, seeds, quorum_voters_max: 3, static_config, memory, throttles }
    }

    /// Kafka's settings that were given at the start, or at the last reload. Cheap; not for the data path.
    pub fn static_config(&self) -> StaticConfig {
        self.static_config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a reload. Whoever has resolved them is to be told, see [`crate::metadata_core::Publishing`].
    pub fn set_static_config(&self, static_config: StaticConfig) {
        *self.static_config.write().unwrap_or_else(PoisonError::into_inner) = static_config;
    }

    /// What of the rates for replicas that catch up is used, by all shards together.
    pub fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    pub fn memory(&self) -> &MemoryLimits {
        &self.memory
    }

    pub fn wal_config(&self) -> ShardWalConfig {
        ShardWalConfig {
            tail_cache_bytes: usize::try_from(self.memory.shard_tail_cache_bytes_max).unwrap_or(usize::MAX),
            read_cache_bytes: usize::try_from(self.memory.shard_read_ahead_bytes_max).unwrap_or(usize::MAX),
            ..ShardWalConfig::default()
        }
    }

    /// Of each shard's journal; `None` if there are to be none.
    pub fn journal_config(&self) -> Option<JournalConfig> {
        let config = JournalConfig::default();
        let region_bytes = self.memory.shard_journal_bytes_max / config.regions as u64;
        let region_bytes = region_bytes - region_bytes % BLOCK_BYTES as u64;
        (region_bytes > 0).then_some(JournalConfig { region_bytes, ..config })
    }
}
