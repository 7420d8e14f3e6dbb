//! Where values come from, and which wins.

use super::definition::{ConfigDef, Dynamic, Scope};
use super::describe::{ConfigSource, ConfigSynonym};
use super::error::ConfigError;
use super::value::{self, ConfigValue};
use super::{BrokerConfig, definition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The values that were set on one resource (a topic, a broker, the cluster's default), by name. Cheap to clone.
///
/// Holds what was given, in wire form; values were checked before they came here, but by the version of this program
/// that accepted them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigOverrides(Arc<BTreeMap<String, String>>);

impl ConfigOverrides {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same with values set, or taken away by `None`.
    #[must_use]
    pub fn with<'a>(&self, changes: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> ConfigOverrides {
        let mut changed = self.clone();
        let values = Arc::make_mut(&mut changed.0);
        for (name, value) in changes {
            match value {
                Some(value) => values.insert(name.to_owned(), value.to_owned()),
                None => values.remove(name),
            };
        }
        changed
    }
}

impl FromIterator<(String, String)> for ConfigOverrides {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(values: I) -> ConfigOverrides {
        ConfigOverrides(Arc::new(values.into_iter().collect()))
    }
}

/// The settings this broker was started with, each known and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfig {
    overrides: ConfigOverrides,
}

impl StaticConfig {
    /// Checks settings by Kafka's names, as `--set`, environment and file give them; of a name given twice the last wins.
    ///
    /// # Errors
    /// The first setting that is unknown, belongs to a flag, or has an unacceptable value; or two that exclude each other.
    pub fn parse<N: AsRef<str>, V: Into<String>>(
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Result<StaticConfig, ConfigError> {
        let mut values = BTreeMap::new();
        for (name, value) in settings {
            let name = name.as_ref();
            let def = definition(Scope::Broker, name).ok_or_else(|| ConfigError::unknown(Scope::Broker, name))?;
            if let Some(flag) = def.flag {
                return Err(ConfigError::GivenByFlag { name: def.name, flag });
            }
            let value = value.into();
            value::parse(def, &value)?;
            values.insert(def.name.to_owned(), value);
        }
        let parsed = StaticConfig { overrides: ConfigOverrides(Arc::new(values)) };
        BrokerConfig::resolve(&ConfigLayers::of_static(&parsed)).check()?;
        Ok(parsed)
    }

    /// Adds what a command line flag says, for descriptions: `node.id`, `listeners` and the like.
    ///
    /// # Errors
    /// As for a setting; the flag's own parser should have refused it before.
    pub fn with_flag(self, name: &str, value: &str) -> Result<StaticConfig, ConfigError> {
        super::parse(Scope::Broker, name, value)?;
        Ok(StaticConfig { overrides: self.overrides.with([(name, Some(value))]) })
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.overrides.get(name)
    }

    /// What was given, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.overrides.iter()
    }

    /// These settings with those of `new` that may change while a broker runs ([`Dynamic`]); the others stay.
    ///
    /// # Errors
    /// If what changes and what stays exclude each other.
    pub fn reloaded(&self, new: &StaticConfig) -> Result<StaticConfig, ConfigError> {
        let defs = super::broker_configs().iter().filter(|def| def.dynamic != Dynamic::ReadOnly && def.flag.is_none());
        let overrides = self.overrides.with(defs.map(|def| (def.name, new.get(def.name))));
        let reloaded = StaticConfig { overrides };
        BrokerConfig::resolve(&ConfigLayers::of_static(&reloaded)).check()?;
        Ok(reloaded)
    }

    fn overrides(&self) -> &ConfigOverrides {
        &self.overrides
    }
}

/// The places a broker's view of its configs is made of, below the topic.
#[derive(Clone, Debug, Default)]
pub struct ConfigLayers {
    /// Set on this broker while it runs.
    pub broker: ConfigOverrides,
    /// Set for all brokers of the cluster while they run.
    pub cluster_default: ConfigOverrides,
    pub static_config: StaticConfig,
}

impl ConfigLayers {
    #[must_use]
    pub fn of_static(static_config: &StaticConfig) -> ConfigLayers {
        ConfigLayers { static_config: static_config.clone(), ..ConfigLayers::default() }
    }

    fn in_order(&self) -> [(ConfigSource, &ConfigOverrides); 3] {
        [
            (ConfigSource::DynamicBroker, &self.broker),
            (ConfigSource::DynamicDefaultBroker, &self.cluster_default),
            (ConfigSource::StaticBroker, self.static_config.overrides()),
        ]
    }

    /// The value of a broker config under its own name alone; `None` is Kafka's `null`.
    ///
    /// A stored value that this version does not accept counts as not set.
    pub(super) fn own_value(&self, def: &'static ConfigDef) -> Option<ConfigValue> {
        self.in_order()
            .iter()
            .filter_map(|(_, overrides)| overrides.get(def.name))
            .find_map(|text| value::parse(def, text).ok())
            .or_else(|| default_value(def))
    }

    /// The value that a config with fallbacks has on this broker: of the first synonym that has one.
    pub(super) fn fallback_value(&self, def: &'static ConfigDef) -> Option<ConfigValue> {
        def.synonyms.iter().find_map(|synonym| {
            let broker_def = definition(Scope::Broker, synonym.name)?;
            let value = self.own_value(broker_def)?;
            Some(if synonym.factor == 1 { value } else { scaled(&value, synonym.factor) })
        })
    }

    /// Where a config's value could come from besides the topic, first the one that counts.
    ///
    /// As Kafka does, what comes before the first entry under the config's main name is left out: a `retention.ms` that
    /// only `log.retention.hours` decides has no synonyms at all.
    pub(super) fn synonyms(&self, names: &[&'static str], main_name: &str) -> Vec<ConfigSynonym> {
        let mut found = Vec::new();
        for (source, overrides) in self.in_order() {
            for name in names.iter().copied() {
                if let Some(text) = overrides.get(name) {
                    found.push(ConfigSynonym { name, value: Some(text.to_owned()), source });
                }
            }
        }
        for name in names.iter().copied() {
            if let Some(default) = definition(Scope::Broker, name).and_then(|def| def.default) {
                found.push(ConfigSynonym { name, value: Some(default.to_owned()), source: ConfigSource::Default });
            }
        }
        found.into_iter().skip_while(|synonym| synonym.name != main_name).collect()
    }
}

/// The default of a config, typed; `None` where Kafka's is `null`.
pub(super) fn default_value(def: &'static ConfigDef) -> Option<ConfigValue> {
    def.default.map(|text| value::parse(def, text).expect("the table's defaults pass their own checks"))
}

/// Minutes or hours in milliseconds; a negative number means "no limit" in any unit.
fn scaled(value: &ConfigValue, factor: i64) -> ConfigValue {
    let number = value.as_integer();
    ConfigValue::Long(if number < 0 { -1 } else { number.saturating_mul(factor) })
}
