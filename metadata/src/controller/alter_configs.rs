//! IncrementalAlterConfigs (KIP-339) and its predecessor AlterConfigs, for topics, groups, brokers and the cluster's default.
//!
//! The two differ in what a request means only: the first changes what it names, the second replaces everything.

use super::{Decision, leadership, repeated};
use crate::config::{
    self, BrokerConfig, ConfigError, ConfigKind, ConfigLayers, ConfigOverrides, GroupConfig, MIN_INSYNC_REPLICAS,
    Scope, StaticConfig, split_list,
};
use crate::image::MetadataImage;
use crate::record::{ConfigResource, MetadataRecord};
use crate::shown::shown;
use protocol::newtypes::BrokerId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Configs that one resource may have: far more than there are, for names that are kept though nobody knows them.
const CONFIGS_PER_RESOURCE_MAX: usize = 1000;
/// Names that a message lists.
const SHOWN_NAMES_MAX: usize = 20;

/// What to do with one config; the numbers are IncrementalAlterConfigs' `ConfigOperation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(i8)]
pub enum AlterOp {
    Set = 0,
    Delete = 1,
    /// Adds to a list what it does not hold yet.
    Append = 2,
    /// Takes from a list what it holds.
    Subtract = 3,
}

impl AlterOp {
    /// The operation of this number on the wire.
    ///
    /// # Errors
    /// INVALID_REQUEST for a number that means none.
    pub fn from_wire(id: i8) -> Result<AlterOp, AlterConfigsError> {
        match id {
            0 => Ok(AlterOp::Set),
            1 => Ok(AlterOp::Delete),
            2 => Ok(AlterOp::Append),
            3 => Ok(AlterOp::Subtract),
            _ => Err(AlterConfigsError::UnknownOperation { id }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            AlterOp::Set => "SET",
            AlterOp::Delete => "DELETE",
            AlterOp::Append => "APPEND",
            AlterOp::Subtract => "SUBTRACT",
        }
    }
}

/// One config of an IncrementalAlterConfigs request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    pub name: String,
    pub op: AlterOp,
    pub value: Option<String>,
}

/// One resource of an IncrementalAlterConfigs request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAlteration {
    pub resource: ConfigResource,
    pub changes: Vec<ConfigChange>,
}

/// One resource of an AlterConfigs request: all the configs it shall have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReplacement {
    pub resource: ConfigResource,
    pub configs: Vec<(String, Option<String>)>,
}

/// Why a resource's configs stay as they are. Each variant names the Kafka error it stands for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AlterConfigsError {
    /// UNKNOWN_TOPIC_OR_PARTITION
    #[error("The topic '{topic}' does not exist.")]
    UnknownTopic { topic: String },
    /// INVALID_REQUEST
    #[error("Default topic resources are not allowed.")]
    TopicWithoutName,
    /// INVALID_REQUEST
    #[error("Default group resources are not allowed.")]
    GroupWithoutName,
    /// INVALID_REQUEST
    #[error("Unexpected broker id, no broker {broker} is registered")]
    UnknownBroker { broker: BrokerId },
    /// INVALID_REQUEST
    #[error("Each resource must appear at most once.")]
    DuplicateResource,
    /// INVALID_REQUEST
    #[error("Error due to duplicate config keys")]
    DuplicateConfig,
    /// INVALID_REQUEST
    #[error("Null value not supported for : {}", names.join(","))]
    NullValue { names: Vec<String> },
    /// POLICY_VIOLATION
    #[error("{count} configs on one resource are more than {CONFIGS_PER_RESOURCE_MAX}")]
    TooManyConfigs { count: usize },
    /// INVALID_REQUEST
    #[error("Unknown operations type {id}")]
    UnknownOperation { id: i8 },
    /// INVALID_REQUEST
    #[error("Cannot update these configs dynamically: [{}]", names.join(", "))]
    ReadOnly { names: Vec<String> },
    /// INVALID_CONFIG
    #[error("Can't {} to key {name} because its type is not LIST.", op.name())]
    NotAList { name: String, op: AlterOp },
    /// INVALID_CONFIG
    #[error(transparent)]
    InvalidTopicConfig(ConfigError),
    /// INVALID_CONFIG
    #[error(transparent)]
    InvalidGroupConfig(ConfigError),
    /// INVALID_REQUEST: the same mistake in a broker's config has this code in Kafka.
    #[error(transparent)]
    InvalidBrokerConfig(ConfigError),
    /// INVALID_CONFIG
    #[error("Cluster-level {MIN_INSYNC_REPLICAS} cannot be removed while ELR is enabled.")]
    ClusterMinInsyncReplicasRemoved,
    /// INVALID_CONFIG
    #[error("Broker-level {MIN_INSYNC_REPLICAS} cannot be altered while ELR is enabled.")]
    BrokerMinInsyncReplicas,
}

/// Decides on an IncrementalAlterConfigs request: a resource's changes are all made or none.
pub fn incremental_alter_configs(
    image: &MetadataImage,
    static_config: &StaticConfig,
    alterations: &[ConfigAlteration],
) -> Decision<ConfigResource, (), AlterConfigsError> {
    decide(
        image,
        static_config,
        alterations,
        |alteration| &alteration.resource,
        |alteration, current| {
            check_keys(
                alteration
                    .changes
                    .iter()
                    .map(|change| (change.name.as_str(), change.op == AlterOp::Delete || change.value.is_some())),
            )?;
            alteration.changes.iter().map(|change| change.outcome(scope(&alteration.resource), current)).collect()
        },
    )
}

/// Decides on an AlterConfigs request: what it does not name is taken away.
pub fn alter_configs(
    image: &MetadataImage,
    static_config: &StaticConfig,
    replacements: &[ConfigReplacement],
) -> Decision<ConfigResource, (), AlterConfigsError> {
    decide(
        image,
        static_config,
        replacements,
        |replacement| &replacement.resource,
        |replacement, current| {
            check_keys(replacement.configs.iter().map(|(name, value)| (name.as_str(), value.is_some())))?;
            let removed = current.iter().map(|(name, _)| (name.to_owned(), None));
            let given = replacement.configs.iter().cloned();
            Ok(removed.chain(given).collect::<BTreeMap<_, _>>().into_iter().collect())
        },
    )
}

/// A config's value after a request; `None` takes it away.
type Outcome = (String, Option<String>);

fn decide<R>(
    image: &MetadataImage,
    static_config: &StaticConfig,
    requests: &[R],
    resource_of: impl Fn(&R) -> &ConfigResource,
    outcomes_of: impl Fn(&R, &ConfigOverrides) -> Result<Vec<Outcome>, AlterConfigsError>,
) -> Decision<ConfigResource, (), AlterConfigsError> {
    let repeated = repeated(requests.iter().map(&resource_of));
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for request in requests {
        let resource = resource_of(request);
        let current = image.overrides(resource);
        let answer = if repeated.contains(resource) {
            Err(AlterConfigsError::DuplicateResource)
        } else {
            check_named(resource).and_then(|()| outcomes_of(request, &current)).and_then(|outcomes| {
                check_outcomes(image, static_config, resource, &current, &outcomes)?;
                records.extend(changes(resource, &current, outcomes));
                Ok(())
            })
        };
        answers.push((resource.clone(), answer));
    }
    records.extend(leadership::with_configs(image, &records));
    (records, answers)
}

/// A record for every config that is really different afterwards.
fn changes<'a>(
    resource: &'a ConfigResource,
    current: &'a ConfigOverrides,
    outcomes: Vec<Outcome>,
) -> impl Iterator<Item = MetadataRecord> + 'a {
    outcomes
        .into_iter()
        .filter(|(name, value)| current.get(name) != value.as_deref())
        .map(|(name, value)| MetadataRecord::ConfigChanged { resource: resource.clone(), name, value })
}

fn check_named(resource: &ConfigResource) -> Result<(), AlterConfigsError> {
    match resource {
        ConfigResource::Topic(topic) if topic.is_empty() => Err(AlterConfigsError::TopicWithoutName),
        ConfigResource::Group(group) if group.is_empty() => Err(AlterConfigsError::GroupWithoutName),
        _ => Ok(()),
    }
}

/// Every name once, and a value with every name that needs one.
fn check_keys<'a>(keys: impl Iterator<Item = (&'a str, bool)>) -> Result<(), AlterConfigsError> {
    let mut seen = BTreeSet::new();
    let mut without_value = Vec::new();
    for (name, is_complete) in keys {
        if !seen.insert(name) {
            return Err(AlterConfigsError::DuplicateConfig);
        }
        if !is_complete {
            without_value.push(shown(name));
        }
    }
    without_value.truncate(SHOWN_NAMES_MAX);
    if without_value.is_empty() { Ok(()) } else { Err(AlterConfigsError::NullValue { names: without_value }) }
}

impl ConfigChange {
    fn outcome(&self, scope: Scope, current: &ConfigOverrides) -> Result<Outcome, AlterConfigsError> {
        let given = self.value.as_deref().unwrap_or_default();
        let value = match self.op {
            AlterOp::Set => Some(given.to_owned()),
            AlterOp::Delete => None,
            AlterOp::Append | AlterOp::Subtract => {
                let def = config::definition(scope, &self.name);
                if def.is_none_or(|def| def.kind != ConfigKind::List) {
                    return Err(AlterConfigsError::NotAList { name: shown(&self.name), op: self.op });
                }
                // Kafka starts from the table's default where the resource itself has no value, whatever else is set.
                let default = def.and_then(|def| def.default).unwrap_or_default();
                let before = current.get(&self.name).unwrap_or(default);
                Some(self.op.on_list(split_list(before), &split_list(given)))
            }
        };
        Ok((self.name.clone(), value))
    }
}

impl AlterOp {
    fn on_list(self, mut elements: Vec<String>, given: &[String]) -> String {
        if self == AlterOp::Subtract {
            elements.retain(|element| !given.contains(element));
        } else {
            for element in given {
                if !elements.contains(element) {
                    elements.push(element.clone());
                }
            }
        }
        elements.join(",")
    }
}

fn scope(resource: &ConfigResource) -> Scope {
    match resource {
        ConfigResource::Topic(_) => Scope::Topic,
        ConfigResource::Group(_) => Scope::Group,
        ConfigResource::Broker(_) | ConfigResource::BrokerDefault => Scope::Broker,
    }
}

fn check_outcomes(
    image: &MetadataImage,
    static_config: &StaticConfig,
    resource: &ConfigResource,
    current: &ConfigOverrides,
    outcomes: &[Outcome],
) -> Result<(), AlterConfigsError> {
    let after = current.with(outcomes.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    if after.len() > CONFIGS_PER_RESOURCE_MAX {
        return Err(AlterConfigsError::TooManyConfigs { count: after.len() });
    }
    match resource {
        ConfigResource::Topic(topic) => check_topic(image, static_config, topic, &after, outcomes),
        ConfigResource::Group(_) => {
            // Of no broker in particular, as for topics.
            let broker = BrokerConfig::resolve(&cluster_layers(image, static_config));
            GroupConfig::check(&after, &broker).map_err(AlterConfigsError::InvalidGroupConfig)
        }
        ConfigResource::Broker(broker) => {
            if image.broker(*broker).is_none() {
                return Err(AlterConfigsError::UnknownBroker { broker: *broker });
            }
            check_broker_values(outcomes)?;
            if outcomes.iter().any(|(name, _)| name == MIN_INSYNC_REPLICAS) {
                return Err(AlterConfigsError::BrokerMinInsyncReplicas);
            }
            let mut layers = image.config_layers(*broker, static_config);
            layers.broker = after;
            check_broker(&layers)
        }
        ConfigResource::BrokerDefault => {
            check_broker_values(outcomes)?;
            if outcomes.iter().any(|(name, value)| name == MIN_INSYNC_REPLICAS && value.is_none()) {
                return Err(AlterConfigsError::ClusterMinInsyncReplicasRemoved);
            }
            let static_config = static_config.clone();
            check_broker(&ConfigLayers { broker: ConfigOverrides::default(), cluster_default: after, static_config })
        }
    }
}

/// The configs of the cluster: which broker is asked must not matter.
fn cluster_layers(image: &MetadataImage, static_config: &StaticConfig) -> ConfigLayers {
    ConfigLayers {
        broker: ConfigOverrides::default(),
        cluster_default: image.overrides(&ConfigResource::BrokerDefault),
        static_config: static_config.clone(),
    }
}

fn check_topic(
    image: &MetadataImage,
    static_config: &StaticConfig,
    topic: &str,
    after: &ConfigOverrides,
    outcomes: &[Outcome],
) -> Result<(), AlterConfigsError> {
    for (name, value) in outcomes {
        // What is taken away need not be known, so that what an older version accepted can be.
        if let Some(value) = value {
            config::parse(Scope::Topic, name, value).map_err(AlterConfigsError::InvalidTopicConfig)?;
        }
    }
    // The topic's other configs may conflict with the cluster's.
    let resolved = BrokerConfig::resolve(&cluster_layers(image, static_config)).topic_defaults.with(after);
    resolved.check().map_err(AlterConfigsError::InvalidTopicConfig)?;
    match image.topic(topic) {
        Some(_) => Ok(()),
        None => Err(AlterConfigsError::UnknownTopic { topic: shown(topic) }),
    }
}

fn check_broker_values(outcomes: &[Outcome]) -> Result<(), AlterConfigsError> {
    let names: Vec<String> = outcomes
        .iter()
        .map(|(name, _)| name)
        .filter(|name| config::is_read_only_broker_config(name))
        .cloned()
        .collect();
    if !names.is_empty() {
        return Err(AlterConfigsError::ReadOnly { names });
    }
    for (name, value) in outcomes {
        let Some(value) = value else { continue };
        match config::definition(Scope::Broker, name) {
            Some(def) => config::parse_value(def, value).map(|_| ()),
            // Names that are not ours are kept as they are: Kafka does so for the configs of plug-ins.
            None => config::check_length(name, name).and_then(|()| config::check_length(name, value)),
        }
        .map_err(AlterConfigsError::InvalidBrokerConfig)?;
    }
    Ok(())
}

fn check_broker(layers: &ConfigLayers) -> Result<(), AlterConfigsError> {
    BrokerConfig::resolve(layers).check().map_err(AlterConfigsError::InvalidBrokerConfig)
}
