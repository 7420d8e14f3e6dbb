//! Settings of the coordinator, by Kafka's names and with Kafka 4.3's defaults, and our own bounds.

use super::assignor::Assignor;

/// `group.consumer.migration.policy`: whether groups go from one protocol to the other while their members work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    Disabled,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    Bidirectional,
}

/// Settings of a [`GroupCoordinator`](super::GroupCoordinator). Fixed for its lifetime, as in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members; extended
    /// as they come, up to the group's rebalance timeout.
    pub initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`: a shorter session timeout is INVALID_SESSION_TIMEOUT.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: a longer session timeout is INVALID_SESSION_TIMEOUT.
    pub max_session_timeout_ms: i32,
    /// `group.max.size`: members of one group; more are GROUP_MAX_SIZE_REACHED.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`: length of one offset's metadata, in UTF-16 code units as in Kafka.
    pub offset_metadata_max_units: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// `group.consumer.session.timeout.ms`: a member of the consumer protocol has to be heard of this often.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: how often members of the consumer protocol are told to send heartbeats.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.max.size`: members of one consumer group; more are GROUP_MAX_SIZE_REACHED.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: those that members may ask for, the default first. Not empty.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub consumer_migration_policy: MigrationPolicy,
    /// `group.consumer.assignment.interval.ms`: a target assignment stays at least this long before the next.
    pub consumer_assignment_interval_ms: i32,
    /// `group.consumer.regex.refresh.interval.ms`: regular expressions are resolved anew after this time.
    pub consumer_regex_refresh_interval_ms: i64,
    /// Ours: regular expressions that members of one group may subscribe to. One more is INVALID_REGULAR_EXPRESSION.
    pub regexes_max: usize,
    /// Ours: member ids handed out in one group (KIP-394) whose owner has not joined yet. More are
    /// COORDINATOR_NOT_AVAILABLE, which clients retry. Kafka has no bound.
    pub pending_members_max: usize,
    /// Ours: groups in one coordinator. A request that would create one more is COORDINATOR_NOT_AVAILABLE.
    pub groups_max: usize,
}

/// Settings of one group that has some of its own (ConfigResource GROUP). They may change at any time, and hold from the next
/// heartbeat on, as in Kafka. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `consumer.session.timeout.ms`
    pub consumer_session_timeout_ms: i32,
    /// `consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`
    pub consumer_assignment_interval_ms: i32,
}

impl From<&GroupConfig> for GroupSettings {
    /// What a group without own settings has.
    fn from(config: &GroupConfig) -> GroupSettings {
        GroupSettings {
            consumer_session_timeout_ms: config.consumer_session_timeout_ms,
            consumer_heartbeat_interval_ms: config.consumer_heartbeat_interval_ms,
            consumer_assignment_interval_ms: config.consumer_assignment_interval_ms,
        }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            initial_rebalance_delay_ms: 3_000,
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            max_size: i32::MAX as usize,
            offset_metadata_max_units: 4_096,
            offsets_retention_ms: 10_080 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            consumer_max_size: i32::MAX as usize,
            consumer_assignors: Assignor::ALL.to_vec(),
            consumer_migration_policy: MigrationPolicy::Bidirectional,
            consumer_assignment_interval_ms: 1_000,
            consumer_regex_refresh_interval_ms: 600_000,
            regexes_max: 1_000,
            pending_members_max: 10_000,
            groups_max: 100_000,
        }
    }
}
