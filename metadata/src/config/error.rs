//! What can be wrong with a config that somebody gave, worded as Kafka words it where a client sees it.

use super::definition::{ConfigKind, Scope};
use super::validator::Violation;
use super::value::{self, ConfigValue};
use crate::shown::shown;

/// A config was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// No topic config has this name.
    #[error("Unknown topic config name: {name}")]
    UnknownTopicConfig { name: String, nearest: Option<&'static str> },
    /// No broker setting has this name, neither here nor in Kafka.
    #[error("unknown setting '{name}'{}", nearest.map_or(String::new(), |n| format!(": did you mean '{n}'?")))]
    UnknownBrokerConfig { name: String, nearest: Option<&'static str> },
    /// No group config has this name.
    #[error("Unknown group config name: {name}")]
    UnknownGroupConfig { name: String, nearest: Option<&'static str> },
    /// It is for groups of a kind that this broker does not have.
    #[error("Group config {name} is for {kind} groups, which this broker does not have")]
    OfOtherGroups { name: String, kind: &'static str },
    /// Kafka has a setting of this name, this broker has nothing that it could act on.
    #[error("setting '{name}' is one of Kafka's that has no meaning in this broker: remove it")]
    NotInThisBroker { name: String },
    /// The command line flag is the only way to set it.
    #[error("setting '{name}' is given by {flag}, not as a setting")]
    GivenByFlag { name: &'static str, flag: &'static str },
    /// The text is no value of the config's type.
    #[error("Invalid value {} for configuration {name}: {}", shown(value), expectation(*kind))]
    WrongType { name: &'static str, value: String, kind: ConfigKind },
    /// The value has the right type and breaks the config's rule.
    #[error("{}", refusal(name, value, violation))]
    Refused { name: &'static str, value: ConfigValue, violation: Violation },
    /// No config needs that much.
    #[error("Invalid value for configuration {name}: {bytes} bytes are more than {}", value::VALUE_BYTES_MAX)]
    TooLong { name: String, bytes: usize },
    /// Two values that are fine alone exclude each other.
    #[error("conflict topic config setting min.compaction.lag.ms ({min_ms}) > max.compaction.lag.ms ({max_ms})")]
    CompactionLagConflict { min_ms: i64, max_ms: i64 },
    /// No client could ever join a group.
    #[error("group.min.session.timeout.ms ({min_ms}) is greater than group.max.session.timeout.ms ({max_ms})")]
    SessionTimeoutConflict { min_ms: i32, max_ms: i32 },
    /// A value has bounds that are configs too.
    #[error(
        "group.consumer.{name} ({value}) is not between group.consumer.min.{name} ({min}) and group.consumer.max.{name} \
         ({max})"
    )]
    OutsideBounds { name: &'static str, value: i32, min: i32, max: i32 },
    /// Every member would be out of its group before it was due.
    #[error(
        "group.consumer.heartbeat.interval.ms ({heartbeat_ms}) is not less than group.consumer.session.timeout.ms \
         ({session_ms})"
    )]
    HeartbeatTooRare { heartbeat_ms: i32, session_ms: i32 },
    /// A group's own value is below what brokers allow.
    #[error("{name} must be greater than or equal to {minimum}")]
    GroupBelowMinimum { name: &'static str, minimum: &'static str },
    /// A group's own value is above what brokers allow.
    #[error("{name} must be less than or equal to {maximum}")]
    GroupAboveMaximum { name: &'static str, maximum: &'static str },
    /// The group's members would be out of it before they were due.
    #[error("consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms")]
    GroupSessionTooShort,
    /// No consumer group could be assigned anything.
    #[error("group.consumer.assignors is empty: name at least one of uniform and range")]
    NoAssignor,
}

impl ConfigError {
    pub(super) fn unknown(scope: Scope, name: &str) -> ConfigError {
        let nearest = super::nearest(scope, name);
        match scope {
            Scope::Topic => ConfigError::UnknownTopicConfig { name: shown(name), nearest },
            Scope::Group => match super::group_table::other_kind(name) {
                Some(kind) => ConfigError::OfOtherGroups { name: shown(name), kind },
                None => ConfigError::UnknownGroupConfig { name: shown(name), nearest },
            },
            Scope::Broker if super::kafka_only::contains(name) => {
                ConfigError::NotInThisBroker { name: name.to_owned() }
            }
            Scope::Broker => ConfigError::UnknownBrokerConfig { name: shown(name), nearest },
        }
    }
}

fn expectation(kind: ConfigKind) -> String {
    match kind {
        ConfigKind::Boolean => "Expected value to be either true or false".to_owned(),
        numeric => format!("Not a number of type {}", numeric.name()),
    }
}

/// Kafka builds these sentences in several places, each in its own way.
fn refusal(name: &str, value: &ConfigValue, violation: &Violation) -> String {
    let value = match violation {
        Violation::MustBeOff { .. } => return violation.to_string(),
        Violation::NotPositive | Violation::NotPositiveOrUnlimited => {
            return format!("requirement failed: {name} {violation}");
        }
        Violation::EmptyElement => return format!("Configuration '{name}' {violation}"),
        Violation::NotReplicaList => {
            let list = shown(&value.as_list().join(", "));
            return format!("Invalid value [{list}] for configuration {name}: {name} {violation}");
        }
        Violation::NotOneOf { found, .. } => shown(found),
        _ => shown(&value.to_string()),
    };
    format!("Invalid value {value} for configuration {name}: {violation}")
}
