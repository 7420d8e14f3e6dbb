//! The table of configs and everything that is derived from it: parsing, checking, resolving, describing.
//!
//! A value can be given in five places; the first that has it wins: topic or group, dynamic broker, dynamic cluster default,
//! static broker (file, environment, flags), default. [`layers::ConfigLayers`] is that order, [`TopicConfig`],
//! [`GroupConfig`] and [`BrokerConfig`] are its typed outcome, [`describe()`] is what DescribeConfigs answers.
//!
//! Deliberately absent: configs of client metrics and loggers, and whatever a secret would be needed for.

mod broker_config;
mod broker_table;
mod definition;
mod describe;
mod error;
mod group_config;
mod group_table;
mod kafka_only;
mod layers;
mod replica_selector;
#[cfg(test)]
mod tests;
mod topic_config;
mod topic_table;
mod validator;
mod value;

pub use broker_config::BrokerConfig;
pub use definition::{ConfigDef, ConfigKind, Dynamic, Effect, Scope, Synonym};
pub use describe::{ConfigEntry, ConfigSource, ConfigSynonym, Described, describe};
pub use error::ConfigError;
pub use group_config::GroupConfig;
pub use layers::{ConfigLayers, ConfigOverrides, StaticConfig};
pub use replica_selector::ReplicaSelector;
pub use topic_config::{CleanupPolicy, Durability, ThrottledReplicas, TopicConfig};
pub use validator::{Validator, Violation};
pub use value::{ConfigValue, check_length, parse as parse_value, split_list};

/// How many replicas must be in sync for anything to be committed: of topics, and of brokers for topics that do not say.
pub(crate) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Bytes per second that a broker sends, and takes in, for replicas that catch up (KIP-73).
pub const THROTTLED_RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
/// Which replicas of a topic those rates hold for.
pub const THROTTLED_REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Names farther than this from every known one get no suggestion (`strsim`'s Jaro-Winkler similarity, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;

/// Every topic config, in order of name.
#[must_use]
pub fn topic_configs() -> &'static [ConfigDef] {
    topic_table::TOPIC_CONFIGS
}

/// Every broker config that means something here, in order of name.
#[must_use]
pub fn broker_configs() -> &'static [ConfigDef] {
    broker_table::BROKER_CONFIGS
}

/// Every group config, in order of name.
#[must_use]
pub fn group_configs() -> &'static [ConfigDef] {
    group_table::GROUP_CONFIGS
}

/// The definition of a config by its exact name.
#[must_use]
pub fn definition(scope: Scope, name: &str) -> Option<&'static ConfigDef> {
    let table = table(scope);
    table.binary_search_by(|def| def.name.cmp(name)).ok().map(|at| &table[at])
}

/// Reads and checks one config by name.
///
/// # Errors
/// [`ConfigError`] when the name is unknown in this scope or the value is not acceptable.
pub fn parse(scope: Scope, name: &str, value: &str) -> Result<ConfigValue, ConfigError> {
    match definition(scope, name) {
        Some(def) => value::parse(def, value),
        None => Err(ConfigError::unknown(scope, name)),
    }
}

/// Whether a dynamic change of this broker config is refused whatever the value, as Kafka refuses it. Names that nobody
/// knows are not: plug-ins have configs of their own, and Kafka keeps them.
#[must_use]
pub fn is_read_only_broker_config(name: &str) -> bool {
    match definition(Scope::Broker, name) {
        Some(def) => def.dynamic == Dynamic::ReadOnly,
        None => kafka_only::is_read_only(name),
    }
}

/// The known config whose name is most like `name`, if any is like it.
#[must_use]
pub fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    table(scope)
        .iter()
        .map(|def| (strsim::jaro_winkler(def.name, name), def.name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, nearest)| nearest)
}

fn table(scope: Scope) -> &'static [ConfigDef] {
    match scope {
        Scope::Topic => topic_table::TOPIC_CONFIGS,
        Scope::Broker => broker_table::BROKER_CONFIGS,
        Scope::Group => group_table::GROUP_CONFIGS,
    }
}
