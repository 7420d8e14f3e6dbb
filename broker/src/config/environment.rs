//! The `RINGLOG_*` variables.
//!
//! An empty variable counts as not given, as composing tools pass one on for "unset". An unknown one is no error:
//! Kubernetes makes up `RINGLOG_SERVICE_HOST` and the like for a service of that name. It is reported instead.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::ConfigError;
use super::kafka;
use super::nearest::nearest;
use super::origin::{Given, Layer, Origin};
use super::setting::{CONFIG_VARIABLE, SET_VARIABLE, SETTINGS, VARIABLE_PREFIX};

/// A `RINGLOG_*` variable that is no setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredVariable {
    pub name: String,
    /// The variable that it may have been meant to be.
    pub suggestion: Option<String>,
}

/// What the environment gives.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) config: Option<PathBuf>,
    pub(super) layer: Layer,
    pub(super) ignored: Vec<IgnoredVariable>,
}

/// Sorts out `variables`, of which those without our prefix are none of our business, and those with errors are left out.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    errors: &mut Vec<ConfigError>,
) -> Environment {
    let mut environment = Environment::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else {
            continue;
        };
        if value.is_empty() {
            continue;
        }
        if name == CONFIG_VARIABLE {
            environment.config = Some(PathBuf::from(value));
            continue;
        }
        let origin = Origin::Variable(name.to_owned());
        let setting = SETTINGS.iter().find(|setting| setting.variable() == name);
        if setting.is_none() && name != SET_VARIABLE {
            environment.ignored.push(IgnoredVariable { name: name.to_owned(), suggestion: suggest(name) });
            continue;
        }
        let Ok(value) = value.into_string() else {
            errors.push(ConfigError::NotUtf8 { origin });
            continue;
        };
        match setting {
            Some(setting) => {
                environment.layer.settings.insert(setting.key, Given { value, origin });
            }
            None => match kafka::parse_variable(&value, &origin) {
                Ok(given) => environment.layer.kafka = given,
                Err(error) => errors.push(error),
            },
        }
    }
    environment
}

fn suggest(name: &str) -> Option<String> {
    // Without the prefix, which is alike in all of them and would make everything look near.
    let bare = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
    let candidates = SETTINGS.iter().map(|setting| setting.name).chain(["config", "set"]);
    nearest(bare, candidates).map(|name| format!("{VARIABLE_PREFIX}{}", name.to_ascii_uppercase().replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Key;
    use std::os::unix::ffi::OsStringExt;

    fn read_pairs(pairs: &[(&str, &str)]) -> Environment {
        let mut errors = Vec::new();
        let variables = pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = read(variables, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        environment
    }

    #[test]
    fn known_variables_are_taken_and_strangers_are_left_alone() {
        let found = read_pairs(&[
            ("HOME", "/root"),
            ("RINGLOG_SHARDS", "3"),
            ("RINGLOG_NODE_ID", ""),
            ("RINGLOG_CONFIG", "/etc/r.toml"),
            ("RINGLOG_SET", "num.partitions=4"),
            ("RINGLOG_SHARD", "3"),
            ("RINGLOG_SERVICE_HOST", "10.0.0.1"),
        ]);
        let shards = Given { value: "3".to_owned(), origin: Origin::Variable("RINGLOG_SHARDS".to_owned()) };
        assert_eq!(found.layer.settings.into_iter().collect::<Vec<_>>(), [(Key::Shards, shards)]);
        assert_eq!(found.config, Some(PathBuf::from("/etc/r.toml")));
        assert_eq!(found.layer.kafka["num.partitions"].value, "4");
        assert_eq!(
            found.ignored,
            [
                IgnoredVariable { name: "RINGLOG_SHARD".to_owned(), suggestion: Some("RINGLOG_SHARDS".to_owned()) },
                IgnoredVariable { name: "RINGLOG_SERVICE_HOST".to_owned(), suggestion: None },
            ]
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        let mut errors = Vec::new();
        let variables = [("RINGLOG_DATA_DIR", vec![0xff]), ("RINGLOG_SHARDS", vec![b'2'])];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from_vec(value)));
        let environment = read(variables, &mut errors);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["RINGLOG_DATA_DIR: the value is not UTF-8 text"]);
        assert!(environment.layer.settings.contains_key(&Key::Shards), "the others are read");
    }
}
