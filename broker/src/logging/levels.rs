//! Which levels are in force: decided from the configured filter and from what was set on single loggers.
//!
//! Loggers are Kafka's word for what `tracing` calls targets: the modules that log. Their names have dots, `ringlog.shard` for
//! `ringlog::shard`, since Kafka's tools take no colons. As in Kafka there is one named `root`, which all inherit from, levels have
//! log4j's names, and what is set lasts until the process ends.

use std::collections::BTreeMap;

/// Kafka's name of what all loggers inherit from.
pub const ROOT: &str = "root";
/// Levels that can be set (`LogLevelConfig.VALID_LOG_LEVELS`), and what they are here: nothing is worse than an error.
const LEVELS: [(&str, &str); 6] = [
    ("DEBUG", "debug"),
    ("ERROR", "error"),
    ("FATAL", "error"),
    ("INFO", "info"),
    ("TRACE", "trace"),
    ("WARN", "warn"),
];
/// What log lines of the crates in this process begin with, and of the broker's own modules. In order of name.
const LOGGERS: &[&str] = &[
    "metadata",
    "openraft",
    "protocol",
    "replication",
    "ringlog",
    "ringlog.acceptor",
    "ringlog.connection",
    "ringlog.group_lag",
    "ringlog.group_shard",
    "ringlog.groups",
    "ringlog.handlers",
    "ringlog.high_watermarks",
    "ringlog.http",
    "ringlog.internal",
    "ringlog.journal_dir",
    "ringlog.logging",
    "ringlog.metadata_core",
    "ringlog.orphans",
    "ringlog.partition",
    "ringlog.partition_op",
    "ringlog.replicator",
    "ringlog.serve",
    "ringlog.shard",
    "ringlog.storage",
    "ringlog.systemd",
    ROOT,
    "wal",
];
/// It tells every step of every vote at the level that we tell a start at, and every attempt to reach a member that is away as
/// an error: only whoever names it wants to read that. What ends it we tell ourselves.
const QUIET: &str = "openraft";

/// What is to be changed of a logger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    Set {
        logger: &'a str,
        level: &'a str,
    },
    /// Back to the configured level.
    Unset {
        logger: &'a str,
    },
}

/// Why a change cannot be made. Messages are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// Kafka: `INVALID_CONFIG`.
    #[error("Logger {logger} does not exist!")]
    NoSuchLogger { logger: String },
    /// Kafka: `INVALID_CONFIG`.
    #[error(
        "Cannot set the log level of {logger} to {level} as it is not a supported log level. \
         Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    NoSuchLevel { logger: String, level: String },
    /// Kafka: `INVALID_REQUEST`.
    #[error("Removing the log level of the root logger is not allowed")]
    RootStays,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// A filter of the configuration, known to parse.
    configured: String,
    /// By logger, in log4j's names.
    set: BTreeMap<&'static str, &'static str>,
}

impl Levels {
    pub fn new(configured: String) -> Levels {
        Levels { configured, set: BTreeMap::new() }
    }

    pub fn configured(&self) -> &str {
        &self.configured
    }

    /// All of it in the syntax of `tracing_subscriber::EnvFilter`, of whose directives the last of a target counts.
    pub fn directives(&self) -> String {
        let mut directives = self.configured.clone();
        if !directives.contains(QUIET) {
            directives.push_str(&format!(",{QUIET}=off"));
        }
        for (logger, level) in &self.set {
            let level = LEVELS.iter().find(|(name, _)| name == level).map_or("info", |(_, ours)| ours);
            match *logger {
                ROOT => directives.push_str(&format!(",{level}")),
                logger => directives.push_str(&format!(",{}={level}", target(logger))),
            }
        }
        directives
    }

    /// These levels with changes.
    ///
    /// # Errors
    /// The first change that cannot be made.
    pub fn altered(&self, changes: &[Change<'_>]) -> Result<Levels, AlterError> {
        let mut altered = self.clone();
        for change in changes {
            match *change {
                Change::Set { logger, level } => {
                    let known = known(logger)?;
                    let Some((name, _)) = LEVELS.iter().find(|(name, _)| *name == level) else {
                        return Err(AlterError::NoSuchLevel { logger: shown(logger), level: shown(level) });
                    };
                    altered.set.insert(known, name);
                }
                Change::Unset { logger } => {
                    let known = known(logger)?;
                    if known == ROOT {
                        return Err(AlterError::RootStays);
                    }
                    altered.set.remove(known);
                }
            }
        }
        Ok(altered)
    }

    /// Every logger with the level in force for it.
    pub fn loggers(&self) -> Vec<(&'static str, String)> {
        LOGGERS.iter().map(|logger| (*logger, self.level_of(logger))).collect()
    }

    /// By the directive that names most of the logger, as the filter does it.
    fn level_of(&self, logger: &str) -> String {
        if let Some(level) = self.set.get(logger) {
            return (*level).to_owned();
        }
        let (directives, name) = (self.directives(), target(logger));
        let mut found = ("", "ERROR".to_owned());
        for directive in directives.split(',').map(str::trim).filter(|directive| !directive.contains('[')) {
            let (target, level) = directive.split_once('=').unwrap_or(("", directive));
            if (target.is_empty() || name.starts_with(target)) && target.len() >= found.0.len() {
                found = (target, level.to_ascii_uppercase());
            }
        }
        found.1
    }
}

/// What the lines of a logger begin with.
fn target(logger: &str) -> String {
    logger.replace('.', "::")
}

fn known(logger: &str) -> Result<&'static str, AlterError> {
    let found = LOGGERS.iter().find(|known| **known == logger);
    found.copied().ok_or_else(|| AlterError::NoSuchLogger { logger: shown(logger) })
}

/// Of a client's text, what an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::EnvFilter;

    fn level(levels: &Levels, logger: &str) -> String {
        levels.loggers().into_iter().find(|(name, _)| *name == logger).unwrap().1
    }

    fn set<'a>(logger: &'a str, level: &'a str) -> Change<'a> {
        Change::Set { logger, level }
    }

    #[test]
    fn loggers_inherit_what_is_not_set_on_them() {
        let levels = Levels::new("info,ringlog::shard=debug,wal=off".into());
        assert_eq!(level(&levels, "root"), "INFO");
        assert_eq!(level(&levels, "ringlog.shard"), "DEBUG");
        assert_eq!(level(&levels, "wal"), "OFF");
        assert_eq!(level(&levels, "openraft"), "OFF");
        let levels = levels.altered(&[set("ringlog", "TRACE"), set("root", "WARN")]).unwrap();
        assert_eq!(level(&levels, "root"), "WARN");
        assert_eq!(level(&levels, "metadata"), "WARN");
        assert_eq!(level(&levels, "ringlog.groups"), "TRACE");
        assert_eq!(level(&levels, "ringlog.shard"), "DEBUG", "the configuration names it itself");
        let quiet = levels.altered(&[set("ringlog.shard", "ERROR")]).unwrap();
        assert!(quiet.directives().contains(",ringlog::shard=error,"), "{}", quiet.directives());
        let levels = levels.altered(&[Change::Unset { logger: "ringlog" }]).unwrap();
        assert_eq!(level(&levels, "ringlog.groups"), "WARN");
    }

    #[test]
    fn directives_are_a_filter_in_which_what_was_set_counts() {
        let levels = Levels::new("info,wal=off".into());
        let levels = levels.altered(&[set("wal", "FATAL"), set("root", "DEBUG"), set("openraft", "INFO")]).unwrap();
        let directives = levels.directives();
        assert_eq!(directives, "info,wal=off,openraft=off,openraft=info,debug,wal=error");
        let filter = EnvFilter::builder().parse(&directives).unwrap().to_string();
        for part in ["wal=error", "openraft=info", "debug"] {
            assert!(filter.split(',').any(|directive| directive == part), "{part} in {filter}");
        }
    }

    #[test]
    fn what_cannot_be_set_changes_nothing() {
        let levels = Levels::new("info".into());
        for (changes, expected) in [
            (&[set("wal", "DEBUG"), set("nobody", "INFO")][..], "Logger nobody does not exist!"),
            (&[Change::Unset { logger: "kafka" }], "Logger kafka does not exist!"),
            (
                &[set("wal", "loud")],
                "Cannot set the log level of wal to loud as it is not a supported log level. \
                 Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
            ),
            (&[Change::Unset { logger: ROOT }], "Removing the log level of the root logger is not allowed"),
        ] {
            assert_eq!(levels.altered(changes).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn loggers_are_the_modules_that_there_are() {
        let main = include_str!("../main.rs");
        for logger in LOGGERS.iter().filter_map(|logger| logger.strip_prefix("ringlog.")) {
            assert!(main.contains(&format!("\nmod {logger};\n")), "{logger} is no module");
        }
        assert!(LOGGERS.is_sorted());
    }
}
