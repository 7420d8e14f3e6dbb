//! What DescribeConfigs answers about a topic, a group, a broker or the cluster's default (KIP-133, KIP-226, KIP-569, KIP-848).

use super::definition::{ConfigDef, ConfigKind, Dynamic, Scope};
use super::layers::{ConfigLayers, ConfigOverrides, default_value};
use super::value;
use super::{definition, table};

/// Where a value comes from; the numbers are DescribeConfigs' `ConfigSource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicGroup = 8,
}

impl ConfigSource {
    /// The number DescribeConfigs v1+ carries.
    #[must_use]
    pub fn wire_id(self) -> i8 {
        self as i8
    }
}

/// One place that a value could come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub name: &'static str,
    /// `None` for a secret.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One config of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: &'static str,
    /// `None` for a secret, and where Kafka says `null`.
    pub value: Option<String>,
    pub read_only: bool,
    pub source: ConfigSource,
    pub sensitive: bool,
    /// All places, the one that counts first.
    pub synonyms: Vec<ConfigSynonym>,
    pub kind: ConfigKind,
    pub documentation: &'static str,
}

impl ConfigEntry {
    /// DescribeConfigs v0 knows no sources, only whether anybody set the value.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }
}

/// What to describe.
#[derive(Clone, Copy, Debug)]
pub enum Described<'a> {
    /// A topic with these overrides.
    Topic(&'a ConfigOverrides),
    /// A group with these overrides. It need not exist.
    Group(&'a ConfigOverrides),
    /// The broker whose layers are given.
    Broker,
    /// What is set for all brokers; only configs that are set there are listed.
    BrokerDefault,
}

/// Describes every config of a resource in order of name, or those of `names`; unknown names are left out, as Kafka does.
#[must_use]
pub fn describe(described: Described<'_>, layers: &ConfigLayers, names: Option<&[String]>) -> Vec<ConfigEntry> {
    let scope = match described {
        Described::Topic(_) => Scope::Topic,
        Described::Group(_) => Scope::Group,
        Described::Broker | Described::BrokerDefault => Scope::Broker,
    };
    let describe_one = |def: &'static ConfigDef| match described {
        Described::Topic(overrides) => overridden_entry(def, overrides, ConfigSource::DynamicTopic, layers),
        Described::Group(overrides) => overridden_entry(def, overrides, ConfigSource::DynamicGroup, layers),
        Described::Broker => broker_entry(def, layers),
        Described::BrokerDefault => default_entry(def, layers),
    };
    match names {
        None => table(scope).iter().filter_map(describe_one).collect(),
        Some(names) => names.iter().filter_map(|name| definition(scope, name)).filter_map(describe_one).collect(),
    }
}

/// Of a topic or group, whose own values come before those of the broker.
fn overridden_entry(
    def: &'static ConfigDef,
    overrides: &ConfigOverrides,
    source: ConfigSource,
    layers: &ConfigLayers,
) -> Option<ConfigEntry> {
    let names: Vec<&'static str> = def.synonyms.iter().map(|synonym| synonym.name).collect();
    let mut synonyms = match names.first() {
        Some(main_name) => layers.synonyms(&names, main_name),
        None => Vec::new(),
    };
    let own = overrides.get(def.name).and_then(|text| value::parse(def, text).ok());
    if let Some(own) = &own {
        synonyms.insert(0, ConfigSynonym { name: def.name, value: Some(own.to_string()), source });
    } else if def.internal {
        return None;
    }
    let value = own.or_else(|| layers.fallback_value(def)).or_else(|| default_value(def));
    Some(entry(def, value.map(|value| value.to_string()), synonyms))
}

fn broker_entry(def: &'static ConfigDef, layers: &ConfigLayers) -> Option<ConfigEntry> {
    let names: Vec<&'static str> = match def.synonyms {
        [] => vec![def.name],
        fallbacks => fallbacks.iter().map(|synonym| synonym.name).collect(),
    };
    let synonyms = layers.synonyms(&names, def.name);
    if def.internal && synonyms.is_empty() {
        return None;
    }
    Some(entry(def, layers.own_value(def).map(|value| value.to_string()), synonyms))
}

fn default_entry(def: &'static ConfigDef, layers: &ConfigLayers) -> Option<ConfigEntry> {
    let text = layers.cluster_default.get(def.name)?;
    let source = ConfigSource::DynamicDefaultBroker;
    let synonyms = vec![ConfigSynonym { name: def.name, value: Some(text.to_owned()), source }];
    Some(entry(def, Some(text.to_owned()), synonyms))
}

fn entry(def: &'static ConfigDef, value: Option<String>, mut synonyms: Vec<ConfigSynonym>) -> ConfigEntry {
    let sensitive = def.is_sensitive();
    if sensitive {
        synonyms.iter_mut().for_each(|synonym| synonym.value = None);
    }
    ConfigEntry {
        name: def.name,
        value: value.filter(|_| !sensitive),
        read_only: def.dynamic == Dynamic::ReadOnly,
        source: synonyms.first().map_or(ConfigSource::Default, |first| first.source),
        sensitive,
        synonyms,
        kind: def.kind,
        documentation: def.doc,
    }
}
