//! A topic's configs, resolved and typed: what the parts that act on a partition read.
//!
//! Holds only configs that act here ([`super::Effect::Acts`]) or that a check across configs needs; everything else is in
//! the description alone.

#[cfg(test)]
use super::definition::ConfigDef;
use super::error::ConfigError;
use super::layers::{ConfigLayers, ConfigOverrides, default_value};
use super::value::{self, ConfigValue};
use super::{Scope, definition, topic_configs};
use protocol::record_batch::TimestampType;
use protocol::{BrokerId, PartitionId};
use std::sync::Arc;

/// What happens to a log's old segments. Neither means that the log grows for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// What an acknowledgement promises about the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The record is on disk.
    Sync,
    /// The record is in this process's memory; a crash loses it.
    Async,
}

/// Replicas of a topic that a replication throttle holds for (KIP-73).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    All,
    /// In order.
    Listed(Arc<[(PartitionId, BrokerId)]>),
}

impl ThrottledReplicas {
    fn parse(elements: &[String]) -> ThrottledReplicas {
        if elements == ["*"] {
            return ThrottledReplicas::All;
        }
        // Numbers that no partition or broker can have name none.
        let replica = |element: &String| {
            let (partition, broker) = element.split_once(':')?;
            Some((PartitionId(partition.parse().ok()?), BrokerId(broker.parse().ok()?)))
        };
        let mut listed: Vec<_> = elements.iter().filter_map(replica).collect();
        listed.sort_unstable();
        ThrottledReplicas::Listed(listed.into())
    }

    #[must_use]
    pub fn contain(&self, partition: PartitionId, broker: BrokerId) -> bool {
        match self {
            ThrottledReplicas::All => true,
            ThrottledReplicas::Listed(listed) => listed.binary_search(&(partition, broker)).is_ok(),
        }
    }
}

impl Default for ThrottledReplicas {
    fn default() -> ThrottledReplicas {
        ThrottledReplicas::Listed(Arc::new([]))
    }
}

/// Everything about one topic that the broker acts on.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    pub durability: Durability,
    /// Largest batch accepted, in bytes.
    pub max_message_bytes: i32,
    /// Milliseconds after which a segment is compacted whatever the dirty ratio is; `i64::MAX` is never.
    pub max_compaction_lag_ms: i64,
    /// Milliseconds that a record stays as it is.
    pub min_compaction_lag_ms: i64,
    /// Share of the log that must be dirty, 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// Milliseconds that compaction keeps a tombstone that it has met.
    pub delete_retention_ms: i64,
    /// Milliseconds a producer's timestamp may lie ahead; `i64::MAX` is no limit.
    pub timestamp_after_max_ms: i64,
    /// Milliseconds a producer's timestamp may lie behind; `i64::MAX` is no limit.
    pub timestamp_before_max_ms: i64,
    pub timestamp_type: TimestampType,
    pub min_insync_replicas: i32,
    /// Replicas that `leader.replication.throttled.rate` of their brokers holds for.
    pub leader_throttled: ThrottledReplicas,
    /// Replicas that `follower.replication.throttled.rate` of their brokers holds for.
    pub follower_throttled: ThrottledReplicas,
    /// Bytes to keep; `None` is no limit.
    pub retention_bytes: Option<i64>,
    /// Milliseconds to keep; `None` is no limit.
    pub retention_ms: Option<i64>,
    /// Bytes after which a segment is rolled.
    pub segment_bytes: i32,
    /// Milliseconds after which a segment is rolled.
    pub segment_ms: i64,
    /// Most milliseconds to take off [`TopicConfig::segment_ms`] at random.
    pub segment_jitter_ms: i64,
    /// A replica that may lack acknowledged records leads when nothing better is left.
    pub unclean_leader_election_enable: bool,
}

impl TopicConfig {
    /// What a topic without configs of its own has on a broker with these layers.
    #[must_use]
    pub fn defaults(layers: &ConfigLayers) -> TopicConfig {
        let mut config = TopicConfig::unset();
        for def in topic_configs() {
            if let Some(value) = layers.fallback_value(def).or_else(|| default_value(def)) {
                config.set(def.name, &value);
            }
        }
        config
    }

    /// This, with a topic's own configs on top. A stored value that this version does not accept counts as not set.
    #[must_use]
    pub fn with(&self, overrides: &ConfigOverrides) -> TopicConfig {
        let mut config = self.clone();
        // Applied in order of name, and segment.bytes sorts after internal.segment.bytes, which must win.
        for (name, text) in overrides.iter().filter(|(name, _)| *name != INTERNAL_SEGMENT_BYTES) {
            config.set_text(name, text);
        }
        if let Some(text) = overrides.get(INTERNAL_SEGMENT_BYTES) {
            config.set_text(INTERNAL_SEGMENT_BYTES, text);
        }
        config
    }

    /// Checks values against each other, as Kafka's `LogConfig.validate` does.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            let (min_ms, max_ms) = (self.min_compaction_lag_ms, self.max_compaction_lag_ms);
            return Err(ConfigError::CompactionLagConflict { min_ms, max_ms });
        }
        Ok(())
    }

    fn set_text(&mut self, name: &str, text: &str) {
        if let Some(value) = definition(Scope::Topic, name).and_then(|def| value::parse(def, text).ok()) {
            self.set(name, &value);
        }
    }

    /// Takes over one value; says whether the name is one that is held here.
    fn set(&mut self, name: &str, value: &ConfigValue) -> bool {
        let as_i32 = || i32::try_from(value.as_integer()).unwrap_or(i32::MAX);
        match name {
            "cleanup.policy" => {
                let has = |policy: &str| value.as_list().iter().any(|element| element == policy);
                self.cleanup_policy = CleanupPolicy { delete: has("delete"), compact: has("compact") };
            }
            "ringlog.durability" => {
                self.durability = if value.as_str() == "async" { Durability::Async } else { Durability::Sync };
            }
            "max.message.bytes" => self.max_message_bytes = as_i32(),
            "max.compaction.lag.ms" => self.max_compaction_lag_ms = value.as_integer(),
            "min.compaction.lag.ms" => self.min_compaction_lag_ms = value.as_integer(),
            "min.cleanable.dirty.ratio" => self.min_cleanable_dirty_ratio = value.as_number(),
            "delete.retention.ms" => self.delete_retention_ms = value.as_integer(),
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = value.as_integer(),
            "message.timestamp.before.max.ms" => self.timestamp_before_max_ms = value.as_integer(),
            "message.timestamp.type" => {
                self.timestamp_type = match value.as_str() {
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => TimestampType::CreateTime,
                };
            }
            "leader.replication.throttled.replicas" => {
                self.leader_throttled = ThrottledReplicas::parse(value.as_list());
            }
            "follower.replication.throttled.replicas" => {
                self.follower_throttled = ThrottledReplicas::parse(value.as_list());
            }
            "min.insync.replicas" => self.min_insync_replicas = as_i32(),
            "retention.bytes" => self.retention_bytes = limit(value),
            "retention.ms" => self.retention_ms = limit(value),
            "segment.bytes" | INTERNAL_SEGMENT_BYTES => self.segment_bytes = as_i32(),
            "segment.ms" => self.segment_ms = value.as_integer(),
            "segment.jitter.ms" => self.segment_jitter_ms = value.as_integer(),
            "unclean.leader.election.enable" => self.unclean_leader_election_enable = value.as_bool(),
            _ => return false,
        }
        true
    }

    /// A start for [`TopicConfig::defaults`], which sets every field from the table.
    fn unset() -> TopicConfig {
        TopicConfig {
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            durability: Durability::Sync,
            max_message_bytes: 0,
            max_compaction_lag_ms: i64::MAX,
            min_compaction_lag_ms: 0,
            min_cleanable_dirty_ratio: 0.5,
            delete_retention_ms: 0,
            timestamp_after_max_ms: 0,
            timestamp_before_max_ms: 0,
            timestamp_type: TimestampType::CreateTime,
            min_insync_replicas: 1,
            leader_throttled: ThrottledReplicas::default(),
            follower_throttled: ThrottledReplicas::default(),
            retention_bytes: None,
            retention_ms: None,
            segment_bytes: 0,
            segment_ms: 0,
            segment_jitter_ms: 0,
            unclean_leader_election_enable: false,
        }
    }
}

const INTERNAL_SEGMENT_BYTES: &str = "internal.segment.bytes";

/// A limit of which any negative number means that there is none.
fn limit(value: &ConfigValue) -> Option<i64> {
    Some(value.as_integer()).filter(|number| *number >= 0)
}

/// Whether a config that acts is really held by [`TopicConfig`].
#[cfg(test)]
pub(super) fn is_held(def: &'static ConfigDef) -> bool {
    let sample = default_value(def).unwrap_or(ConfigValue::Int(1));
    TopicConfig::unset().set(def.name, &sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_replicas_are_all_listed_or_none() {
        let contain = |text: &str, partition, broker| {
            let replicas = ThrottledReplicas::parse(&value::split_list(text));
            replicas.contain(PartitionId(partition), BrokerId(broker))
        };
        assert!(contain("*", 7, 9));
        assert!(!contain("", 0, 1));
        let listed = "3:1, 0:2,0:1";
        assert!(contain(listed, 3, 1) && contain(listed, 0, 1) && contain(listed, 0, 2));
        assert!(!contain(listed, 3, 2) && !contain(listed, 1, 1));
        assert!(contain("99999999999:1,1:1", 1, 1), "what no partition can be is passed over");
    }
}
