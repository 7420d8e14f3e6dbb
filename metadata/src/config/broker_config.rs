//! A broker's configs, resolved and typed: what the parts that act on them read.
//!
//! Holds the configs that act here ([`super::Effect::Acts`]); everything else is in the description alone. Rebuilt as a
//! whole when a dynamic config changes, which is rare.

use super::error::ConfigError;
use super::layers::ConfigLayers;
use super::replica_selector::ReplicaSelector;
use super::topic_config::TopicConfig;
use super::validator::counts_per_host;
use super::value::ConfigValue;
use super::{Scope, definition};

/// Everything about one broker that is configured by Kafka's names and acted on.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// What topics have that say nothing themselves.
    pub topic_defaults: TopicConfig,

    pub auto_create_topics_enable: bool,
    pub auto_leader_rebalance_enable: bool,
    pub leader_imbalance_check_interval_seconds: i64,
    pub delete_topic_enable: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub rack: Option<String>,
    pub replica_lag_time_max_ms: i64,
    pub replica_selector: ReplicaSelector,
    /// Bytes per second; `None` is no limit.
    pub leader_replication_throttled_rate: Option<u64>,
    /// Bytes per second; `None` is no limit.
    pub follower_replication_throttled_rate: Option<u64>,

    pub broker_heartbeat_interval_ms: i32,
    pub broker_session_timeout_ms: i32,
    pub connections_max_idle_ms: i64,
    pub max_connections: i32,
    pub max_connections_per_ip: i32,
    /// Hosts with a limit of their own.
    pub max_connections_per_ip_overrides: Vec<(String, i32)>,
    pub socket_request_max_bytes: i32,
    pub queued_max_requests: i32,
    /// `None` leaves the bound to the broker.
    pub queued_max_request_bytes: Option<i64>,
    pub request_timeout_ms: i32,

    pub fetch_max_bytes: i32,
    pub max_incremental_fetch_session_cache_slots: i32,
    pub max_request_partition_size_limit: i32,

    pub group_consumer_assignment_interval_ms: i32,
    /// Not empty, the default first.
    pub group_consumer_assignors: Vec<String>,
    pub group_consumer_heartbeat_interval_ms: i32,
    pub group_consumer_max_assignment_interval_ms: i32,
    pub group_consumer_max_heartbeat_interval_ms: i32,
    pub group_consumer_max_session_timeout_ms: i32,
    pub group_consumer_max_size: i32,
    /// In lower case.
    pub group_consumer_migration_policy: String,
    pub group_consumer_min_assignment_interval_ms: i32,
    pub group_consumer_min_heartbeat_interval_ms: i32,
    pub group_consumer_min_session_timeout_ms: i32,
    pub group_consumer_regex_refresh_interval_ms: i32,
    pub group_consumer_session_timeout_ms: i32,
    pub group_initial_rebalance_delay_ms: i32,
    pub group_max_session_timeout_ms: i32,
    pub group_min_session_timeout_ms: i32,
    pub group_max_size: i32,

    pub offset_metadata_max_bytes: i32,
    pub offsets_commit_timeout_ms: i32,
    pub offsets_retention_check_interval_ms: i64,
    pub offsets_retention_minutes: i32,
    pub offsets_topic_num_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub offsets_topic_segment_bytes: i32,

    pub log_cleaner_enable: bool,
    pub log_cleaner_backoff_ms: i64,
    /// Of the whole broker.
    pub log_cleaner_dedupe_buffer_size: i64,
    /// Of the whole broker.
    pub log_cleaner_io_max_bytes_per_second: f64,
    pub log_retention_check_interval_ms: i64,
    pub producer_id_expiration_ms: i32,
    pub transaction_max_timeout_ms: i32,
}

impl BrokerConfig {
    /// What the layers come to.
    #[must_use]
    pub fn resolve(layers: &ConfigLayers) -> BrokerConfig {
        let read = Reader { layers };
        BrokerConfig {
            topic_defaults: TopicConfig::defaults(layers),
            auto_create_topics_enable: read.boolean("auto.create.topics.enable"),
            auto_leader_rebalance_enable: read.boolean("auto.leader.rebalance.enable"),
            leader_imbalance_check_interval_seconds: read.long("leader.imbalance.check.interval.seconds"),
            delete_topic_enable: read.boolean("delete.topic.enable"),
            num_partitions: read.int("num.partitions"),
            default_replication_factor: read.short("default.replication.factor"),
            rack: read.text("broker.rack"),
            replica_lag_time_max_ms: read.long("replica.lag.time.max.ms"),
            replica_selector: read
                .text("replica.selector.class")
                .and_then(|name| ReplicaSelector::named(&name))
                .unwrap_or_default(),
            leader_replication_throttled_rate: read.rate("leader.replication.throttled.rate"),
            follower_replication_throttled_rate: read.rate("follower.replication.throttled.rate"),
            broker_heartbeat_interval_ms: read.int("broker.heartbeat.interval.ms"),
            broker_session_timeout_ms: read.int("broker.session.timeout.ms"),
            connections_max_idle_ms: read.long("connections.max.idle.ms"),
            max_connections: read.int("max.connections"),
            max_connections_per_ip: read.int("max.connections.per.ip"),
            max_connections_per_ip_overrides: read
                .text("max.connections.per.ip.overrides")
                .and_then(|text| counts_per_host(&text))
                .unwrap_or_default(),
            socket_request_max_bytes: read.int("socket.request.max.bytes"),
            queued_max_requests: read.int("queued.max.requests"),
            queued_max_request_bytes: Some(read.long("queued.max.request.bytes")).filter(|bytes| *bytes >= 0),
            request_timeout_ms: read.int("request.timeout.ms"),
            fetch_max_bytes: read.int("fetch.max.bytes"),
            max_incremental_fetch_session_cache_slots: read.int("max.incremental.fetch.session.cache.slots"),
            max_request_partition_size_limit: read.int("max.request.partition.size.limit"),
            group_consumer_assignment_interval_ms: read.int("group.consumer.assignment.interval.ms"),
            group_consumer_assignors: read.list("group.consumer.assignors"),
            group_consumer_heartbeat_interval_ms: read.int("group.consumer.heartbeat.interval.ms"),
            group_consumer_max_assignment_interval_ms: read.int("group.consumer.max.assignment.interval.ms"),
            group_consumer_max_heartbeat_interval_ms: read.int("group.consumer.max.heartbeat.interval.ms"),
            group_consumer_max_session_timeout_ms: read.int("group.consumer.max.session.timeout.ms"),
            group_consumer_max_size: read.int("group.consumer.max.size"),
            group_consumer_migration_policy: read
                .text("group.consumer.migration.policy")
                .unwrap_or_default()
                .to_lowercase(),
            group_consumer_min_assignment_interval_ms: read.int("group.consumer.min.assignment.interval.ms"),
            group_consumer_min_heartbeat_interval_ms: read.int("group.consumer.min.heartbeat.interval.ms"),
            group_consumer_min_session_timeout_ms: read.int("group.consumer.min.session.timeout.ms"),
            group_consumer_regex_refresh_interval_ms: read.int("group.consumer.regex.refresh.interval.ms"),
            group_consumer_session_timeout_ms: read.int("group.consumer.session.timeout.ms"),
            group_initial_rebalance_delay_ms: read.int("group.initial.rebalance.delay.ms"),
            group_max_session_timeout_ms: read.int("group.max.session.timeout.ms"),
            group_min_session_timeout_ms: read.int("group.min.session.timeout.ms"),
            group_max_size: read.int("group.max.size"),
            offset_metadata_max_bytes: read.int("offset.metadata.max.bytes"),
            offsets_commit_timeout_ms: read.int("offsets.commit.timeout.ms"),
            offsets_retention_check_interval_ms: read.long("offsets.retention.check.interval.ms"),
            offsets_retention_minutes: read.int("offsets.retention.minutes"),
            offsets_topic_num_partitions: read.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: read.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: read.int("offsets.topic.segment.bytes"),
            log_cleaner_enable: read.boolean("log.cleaner.enable"),
            log_cleaner_backoff_ms: read.long("log.cleaner.backoff.ms"),
            log_cleaner_dedupe_buffer_size: read.long("log.cleaner.dedupe.buffer.size"),
            log_cleaner_io_max_bytes_per_second: read.number("log.cleaner.io.max.bytes.per.second"),
            log_retention_check_interval_ms: read.long("log.retention.check.interval.ms"),
            producer_id_expiration_ms: read.int("producer.id.expiration.ms"),
            transaction_max_timeout_ms: read.int("transaction.max.timeout.ms"),
        }
    }

    /// Checks values against each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (min_ms, max_ms) = (self.group_min_session_timeout_ms, self.group_max_session_timeout_ms);
        if min_ms > max_ms {
            return Err(ConfigError::SessionTimeoutConflict { min_ms, max_ms });
        }
        within(
            "assignment.interval.ms",
            self.group_consumer_assignment_interval_ms,
            self.group_consumer_min_assignment_interval_ms,
            self.group_consumer_max_assignment_interval_ms,
        )?;
        within(
            "heartbeat.interval.ms",
            self.group_consumer_heartbeat_interval_ms,
            self.group_consumer_min_heartbeat_interval_ms,
            self.group_consumer_max_heartbeat_interval_ms,
        )?;
        within(
            "session.timeout.ms",
            self.group_consumer_session_timeout_ms,
            self.group_consumer_min_session_timeout_ms,
            self.group_consumer_max_session_timeout_ms,
        )?;
        let (heartbeat_ms, session_ms) =
            (self.group_consumer_heartbeat_interval_ms, self.group_consumer_session_timeout_ms);
        if heartbeat_ms >= session_ms {
            return Err(ConfigError::HeartbeatTooRare { heartbeat_ms, session_ms });
        }
        if self.group_consumer_assignors.is_empty() {
            return Err(ConfigError::NoAssignor);
        }
        self.topic_defaults.check()
    }
}

/// Checks a setting of consumer groups against its bounds.
fn within(name: &'static str, value: i32, min: i32, max: i32) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::OutsideBounds { name, value, min, max }) }
}

/// Reads values by names that the table has; a name or type that it has not is a mistake of this file.
struct Reader<'a> {
    layers: &'a ConfigLayers,
}

impl Reader<'_> {
    fn value(&self, name: &str) -> Option<ConfigValue> {
        self.layers.own_value(definition(Scope::Broker, name).expect("a broker config of the table"))
    }

    fn integer(&self, name: &str) -> i64 {
        self.value(name).expect("a config with a default").as_integer()
    }

    fn boolean(&self, name: &str) -> bool {
        self.value(name).expect("a config with a default").as_bool()
    }

    fn number(&self, name: &str) -> f64 {
        self.value(name).expect("a config with a default").as_number()
    }

    fn long(&self, name: &str) -> i64 {
        self.integer(name)
    }

    fn int(&self, name: &str) -> i32 {
        i32::try_from(self.integer(name)).expect("a config of type INT")
    }

    fn short(&self, name: &str) -> i16 {
        i16::try_from(self.integer(name)).expect("a config checked to fit 16 bits")
    }

    /// Of a config without a default; `None` where nothing is set.
    fn rate(&self, name: &str) -> Option<u64> {
        self.value(name).map(|value| u64::try_from(value.as_integer()).unwrap_or(0))
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.value(name).expect("a config with a default").as_list().to_vec()
    }

    /// `None` where nothing is set or the text is empty.
    fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.as_str().to_owned()).filter(|text| !text.is_empty())
    }
}
