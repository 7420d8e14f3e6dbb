//! What is another in a configuration that was loaded again, and what a running broker takes of it.

use metadata::config::{self as kafka_config, Dynamic, Scope};

use super::setting::{Key, SETTINGS, Setting};
use super::{ConfigError, ServeConfig};

/// One setting whose value is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Ours by its TOML key, Kafka's by its own name.
    pub name: &'static str,
    /// As it was written, or in words where it was not.
    pub old: String,
    pub new: String,
    /// The running broker takes it; otherwise the next start does.
    pub at_once: bool,
}

/// All settings that differ: ours in the order of the table, then Kafka's.
pub fn changes(old: &ServeConfig, new: &ServeConfig) -> Vec<Change> {
    let ours = SETTINGS.iter().filter_map(|setting| {
        let (before, after) = (old.values.get(&setting.key), new.values.get(&setting.key));
        if before.map(|value| &value.meaning) == after.map(|value| &value.meaning) {
            return None;
        }
        let text = |config: &ServeConfig| match config.values.get(&setting.key) {
            Some(value) => value.text.clone(),
            None => setting.default.description().to_owned(),
        };
        Some(Change { name: setting.name, old: text(old), new: text(new), at_once: setting.key.is_reloadable() })
    });
    let kafka = kafka_config::broker_configs().iter().filter(|def| def.flag.is_none()).filter_map(|def| {
        let meaning = |config: &ServeConfig| {
            let text = config.static_config.get(def.name).or(def.default)?;
            // What was accepted can be read.
            kafka_config::parse(Scope::Broker, def.name, text).ok()
        };
        if meaning(old) == meaning(new) {
            return None;
        }
        let text = |config: &ServeConfig| match config.static_config.get(def.name).or(def.default) {
            _ if def.is_sensitive() => "(hidden)".to_owned(),
            Some(text) => text.to_owned(),
            None => "(not set)".to_owned(),
        };
        Some(Change { name: def.name, old: text(old), new: text(new), at_once: def.dynamic != Dynamic::ReadOnly })
    });
    ours.chain(kafka).collect()
}

impl ServeConfig {
    /// This configuration with what a running broker takes of `new`.
    ///
    /// # Errors
    /// If Kafka's settings that change and those that stay exclude each other.
    pub fn reloaded(&self, new: &ServeConfig) -> Result<ServeConfig, ConfigError> {
        let mut reloaded = self.clone();
        reloaded.static_config = self.static_config.reloaded(&new.static_config).map_err(ConfigError::KafkaConflict)?;
        for key in SETTINGS.iter().map(|setting| setting.key).filter(|key| key.is_reloadable()) {
            reloaded.take(key, new);
        }
        Ok(reloaded)
    }

    fn take(&mut self, key: Key, new: &ServeConfig) {
        match key {
            Key::ConnectionsMax => self.memory.connections_max = new.memory.connections_max,
            Key::GroupLagIntervalMs => self.group_lag.interval = new.group_lag.interval,
            Key::GroupLagSeriesMax => self.group_lag.series_max = new.group_lag.series_max,
            Key::LogLevel => self.logging.filter.clone_from(&new.logging.filter),
            Key::LogFormat => self.logging.format = new.logging.format,
            other => unreachable!("{} is not reloadable", Setting::of(other).name),
        }
        match new.values.get(&key) {
            Some(value) => self.values.insert(key, value.clone()),
            None => self.values.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Machine, load};

    fn config(file: &str) -> ServeConfig {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ringlog.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        load(flags, [], Machine { cpus: vec![0, 1], cores: 2 }).unwrap()
    }

    fn change(name: &'static str, old: &str, new: &str, at_once: bool) -> Change {
        Change { name, old: old.into(), new: new.into(), at_once }
    }

    #[test]
    fn what_is_another_is_told_with_what_it_takes() {
        let old = config("shard-tail-cache-bytes-max = '64MiB'\nlog-level = 'info'\n[kafka]\nnum.partitions = 1");
        let new = config(
            "shard-tail-cache-bytes-max = 67108864\nlog-level = 'debug'\nnode-id = 2\njoin = 'a:1'\n\
             [kafka]\nlog.retention.ms = 1000\nbroker.rack = 'r'",
        );
        let expected = [
            change("node-id", "1", "2", false),
            change("join", "none: an empty data directory becomes a cluster of its own", "a:1", false),
            change("log-level", "info", "debug", true),
            change("broker.rack", "(not set)", "r", false),
            change("log.retention.ms", "(not set)", "1000", true),
        ];
        assert_eq!(changes(&old, &new), expected);
        assert_eq!(changes(&old, &old), []);
    }

    #[test]
    fn a_running_broker_takes_what_it_can_and_the_rest_stays_due() {
        let old = config("");
        let new = config(
            "node-id = 2\nconnections-max = 7\nlog-level = 'warn'\nlog-format = 'json'\ngroup-lag-interval-ms = 500\n\
             group-lag-series-max = 3\n[kafka]\nlog.retention.ms = 1000\nbroker.rack = 'r'",
        );
        let running = old.reloaded(&new).unwrap();
        assert_eq!((running.memory.connections_max, running.group_lag), (7, new.group_lag));
        assert_eq!(running.logging, new.logging);
        assert_eq!(running.static_config.get("log.retention.ms"), Some("1000"));
        assert_eq!((running.node_id, running.static_config.get("broker.rack")), (old.node_id, None));
        let left: Vec<&str> = changes(&running, &new).iter().map(|change| change.name).collect();
        assert_eq!(left, ["node-id", "broker.rack"]);
        let back = running.reloaded(&old).unwrap();
        assert_eq!(changes(&back, &old), []);
        assert_eq!(back.static_config.get("log.retention.ms"), None);
    }

    #[test]
    fn every_reloadable_setting_can_be_taken() {
        let old = config("");
        assert_eq!(changes(&old, &old.reloaded(&config("")).unwrap()), []);
    }
}
