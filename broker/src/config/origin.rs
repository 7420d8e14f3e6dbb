//! Where a value came from, and the values of each place before they are merged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::setting::{Key, Setting};

/// The place that gave a value, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag, dashes included.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file, counted from 1.
    File { path: PathBuf, line: usize },
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(variable) => f.write_str(variable),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// A value as text, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub value: String,
    pub origin: Origin,
}

/// All that one place gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    pub settings: BTreeMap<Key, Given>,
    /// Kafka's broker settings by name.
    pub kafka: BTreeMap<String, Given>,
}

/// The three places, strongest first: flags, environment, file.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    pub flags: Layer,
    pub environment: Layer,
    pub file: Layer,
}

impl Layers {
    fn strongest_first(&self) -> [&Layer; 3] {
        [&self.flags, &self.environment, &self.file]
    }

    /// The value that counts, if any place gives one.
    #[must_use]
    pub fn given(&self, key: Key) -> Option<&Given> {
        self.strongest_first().into_iter().find_map(|layer| layer.settings.get(&key))
    }

    /// The place of the value that counts.
    #[must_use]
    pub fn origin(&self, key: Key) -> Origin {
        self.given(key).map_or(Origin::Default, |given| given.origin.clone())
    }

    /// Kafka's settings of all places, each with the value that counts.
    #[must_use]
    pub fn kafka(&self) -> BTreeMap<String, Given> {
        let mut merged = BTreeMap::new();
        for layer in self.strongest_first() {
            for (name, given) in &layer.kafka {
                merged.entry(name.clone()).or_insert_with(|| given.clone());
            }
        }
        merged
    }
}

impl Layer {
    /// A setting given by its flag.
    pub fn insert_flag(&mut self, key: Key, value: String) {
        let origin = Origin::Flag(Setting::of(key).flag());
        self.settings.insert(key, Given { value, origin });
    }
}
