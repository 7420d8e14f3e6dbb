//! The broker's configuration: from flags, variables and a file to one typed, validated [`ServeConfig`].
//!
//! Precedence is flag over variable over file over default, setting by setting, Kafka's own settings included. Every
//! complaint says which of the places gave the value, and all complaints are made at once.
//!
//! [`load`] reads the configuration file and nothing else: environment and machine are passed in. It can be loaded again while
//! the broker runs, and [`changes`] says what of it is another then and what that takes. Deliberately absent: acting on that,
//! and Kafka's dynamic configs, which live in the `metadata` crate.

pub mod changes;
mod environment;
mod error;
mod file;
mod host_port;
mod kafka;
mod limits;
mod machine;
mod nearest;
mod origin;
#[cfg(test)]
mod reference;
mod resolve;
#[cfg(test)]
mod sample;
mod setting;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use metadata::config::{BrokerConfig, ConfigLayers, StaticConfig};
use origin::Layers;
use protocol::newtypes::BrokerId;

pub use environment::IgnoredVariable;
pub use error::{ConfigError, ConfigErrors};
pub use host_port::{Endpoint, Host, HostPort};
pub use limits::MemoryLimits;
pub use machine::Machine;
pub use nearest::nearest;
pub use origin::Origin;
pub use setting::{CONFIG_VARIABLE, Key, SET_VARIABLE, SETTINGS, Section, Setting};
pub use value::size_bytes;

use crate::group_lag::LagConfig;
use crate::metrics::SeriesLimits;

/// Everything `ringlog serve` is told, checked as far as that goes without touching disk or network.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    pub node_id: BrokerId,
    /// As given: relative paths are relative to the working directory.
    pub data_dir: PathBuf,
    /// As given, or below the data directory.
    pub journal_dir: PathBuf,
    /// The listener for Kafka clients.
    pub kafka: Endpoint,
    /// The listener for other brokers.
    pub internal: Endpoint,
    /// The listener for operators.
    pub http: Endpoint,
    /// What the console shows at the HTTP address.
    pub console: ConsoleMode,
    /// Internal addresses of members of the cluster; empty where none is to be joined.
    pub join: Vec<HostPort>,
    /// Odd.
    pub quorum_voters_max: usize,
    /// How many event loops to run, at least 1; may exceed the CPUs, and then they cannot be pinned.
    pub shards: usize,
    /// The CPUs that threads may be pinned to, ascending.
    pub cpus: Vec<usize>,
    pub memory: MemoryLimits,
    pub group_lag: LagConfig,
    pub series: SeriesLimits,
    /// Kafka's broker settings, with those that our flags stand for (`node.id`, `listeners`, …) as they are described.
    pub static_config: StaticConfig,
    pub logging: LogConfig,
    /// Variables that look like settings and are none: worth a warning.
    pub ignored_variables: Vec<IgnoredVariable>,
    /// Every setting of ours that has a value of its own, given or by default.
    pub values: BTreeMap<Key, Value>,
    /// What it was loaded with.
    flags: Flags,
    machine: Machine,
}

/// A setting's value, for comparisons and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As it was written.
    pub text: String,
    /// The same for all texts that mean the same.
    pub meaning: String,
}

impl ServeConfig {
    /// What the broker may hold at most under load, in bytes: what its limits add up to, and for each shard what goes beyond
    /// them once, which is the largest request on its way, the largest at work, and the largest answer. Its own structures
    /// (partitions, groups) come on top.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        let config = BrokerConfig::resolve(&ConfigLayers::of_static(&self.static_config));
        let [request, answer] =
            [config.socket_request_max_bytes, config.fetch_max_bytes].map(|bytes| u64::try_from(bytes).unwrap_or(0));
        let beyond = (2 * request + answer).saturating_mul(self.shards as u64);
        self.memory.total_bytes_max(self.shards).saturating_add(beyond)
    }

    /// Reads file and environment again, with the flags that there were.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load_again(
        &self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<ServeConfig, ConfigErrors> {
        load(self.flags.clone(), variables, self.machine.clone())
    }
}

impl ServeConfig {
    /// The CPU of each shard, if there is one for each and one left for the metadata core. On one or two CPUs threads share
    /// them, and the scheduler knows better than we do.
    #[must_use]
    pub fn shard_cpus(&self) -> Option<Vec<usize>> {
        (self.cpus.len() > 2 && self.shards < self.cpus.len()).then(|| self.cpus[1..=self.shards].to_vec())
    }
}

/// What the console shows to whoever reaches the HTTP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleMode {
    /// There is none.
    Off,
    /// Everything but records.
    Metadata,
    Records,
}

impl ConsoleMode {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ConsoleMode::Off => "off",
            ConsoleMode::Metadata => "metadata",
            ConsoleMode::Records => "records",
        }
    }
}

/// How the process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// In the syntax of `tracing_subscriber::EnvFilter`, known to parse.
    pub filter: String,
    pub format: LogFormat,
}

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What the command line gives, unread.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// One entry per flag given.
    pub settings: Vec<(Key, String)>,
    /// The values of `--set`, in order.
    pub set: Vec<String>,
}

/// Merges the places and checks the outcome.
///
/// # Errors
/// Everything found wrong, in all places at once; see [`ConfigError`]. Where the file cannot be read or is not TOML, nothing is
/// said of what it may have to do with.
pub fn load(
    flags: Flags,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    machine: Machine,
) -> Result<ServeConfig, ConfigErrors> {
    let mut errors = Vec::new();
    let environment = environment::read(variables, &mut errors);
    let loaded_with = (flags.clone(), machine.clone());
    let mut layers = Layers { environment: environment.layer, ..Layers::default() };
    for (key, value) in flags.settings {
        layers.flags.insert_flag(key, value);
    }
    layers.flags.kafka = kafka::parse_flags(&flags.set, &mut errors);
    let config = match (flags.config, environment.config) {
        (Some(path), _) => Some((path, Origin::Flag("--config".to_owned()))),
        (None, Some(path)) => Some((path, Origin::Variable(CONFIG_VARIABLE.to_owned()))),
        (None, None) => None,
    };
    if let Some((path, origin)) = config {
        let read = std::fs::read_to_string(&path);
        let read = read.map_err(|source| errors.push(ConfigError::ReadFile { path: path.clone(), origin, source }));
        match read.ok().and_then(|text| file::parse(&path, &text, &mut errors)) {
            Some(layer) => layers.file = layer,
            None => return Err(ConfigErrors(errors)),
        }
    }
    let mut config = match resolve::resolve(&layers, machine) {
        Ok(config) if errors.is_empty() => config,
        Ok(_) => return Err(ConfigErrors(errors)),
        Err(ConfigErrors(more)) => {
            errors.extend(more);
            return Err(ConfigErrors(errors));
        }
    };
    config.ignored_variables = environment.ignored;
    (config.flags, config.machine) = loaded_with;
    Ok(config)
}
