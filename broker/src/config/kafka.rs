//! Kafka's own broker settings: `--set KEY=VALUE`, the variable `RINGLOG_SET` and the TOML table `[kafka]`.
//!
//! This module takes the texts apart; names and values are checked against the `metadata` crate's table of settings.

use std::collections::BTreeMap;

use metadata::config::{self as kafka_config, Scope, StaticConfig};

use super::error::ConfigError;
use super::origin::{Given, Origin};

/// Reads the values of repeated `--set` flags; of a name given more than once the last counts, as usual with flags.
pub(super) fn parse_flags(texts: &[String], errors: &mut Vec<ConfigError>) -> BTreeMap<String, Given> {
    let origin = Origin::Flag("--set".to_owned());
    let read = |text: &String| key_value(text, &origin).map_err(|error| errors.push(error)).ok();
    texts.iter().filter_map(read).collect()
}

/// Reads `RINGLOG_SET`: settings separated by commas or newlines.
///
/// A piece without `=` belongs to the value before it, so that `log.cleanup.policy=compact,delete,num.partitions=3` is
/// what it looks like.
pub(super) fn parse_variable(text: &str, origin: &Origin) -> Result<BTreeMap<String, Given>, ConfigError> {
    let mut pieces: Vec<String> = Vec::new();
    for line in text.lines() {
        // A value does not reach beyond its line.
        let mut open = false;
        for piece in line.split(',').filter(|piece| !piece.trim().is_empty()) {
            match pieces.last_mut() {
                Some(last) if open && !piece.contains('=') => {
                    last.push(',');
                    last.push_str(piece.trim());
                }
                _ => pieces.push(piece.to_owned()),
            }
            open = true;
        }
    }
    pieces.iter().map(|piece| key_value(piece, origin)).collect()
}

/// Checks names and values, first each alone, so that a complaint can say where it comes from, and then together.
pub(super) fn check(settings: &BTreeMap<String, Given>) -> Result<StaticConfig, Vec<ConfigError>> {
    let errors: Vec<ConfigError> = settings
        .iter()
        .filter_map(|(name, given)| {
            let source = check_one(name, &given.value).err()?;
            Some(ConfigError::Kafka { origin: given.origin.clone(), source })
        })
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let values = settings.iter().map(|(name, given)| (name, given.value.as_str()));
    StaticConfig::parse(values).map_err(|error| vec![ConfigError::KafkaConflict(error)])
}

fn check_one(name: &str, value: &str) -> Result<(), kafka_config::ConfigError> {
    if let Some(definition) = kafka_config::definition(Scope::Broker, name)
        && let Some(flag) = definition.flag
    {
        return Err(kafka_config::ConfigError::GivenByFlag { name: definition.name, flag });
    }
    kafka_config::parse(Scope::Broker, name, value).map(|_| ())
}

fn key_value(text: &str, origin: &Origin) -> Result<(String, Given), ConfigError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            let given = Given { value: value.trim().to_owned(), origin: origin.clone() };
            Ok((name.trim().to_owned(), given))
        }
        _ => Err(ConfigError::NotKeyValue { text: text.to_owned(), origin: origin.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: Result<BTreeMap<String, Given>, ConfigError>) -> Result<Vec<(String, String)>, String> {
        found
            .map(|given| given.into_iter().map(|(name, given)| (name, given.value)).collect())
            .map_err(|error| error.to_string())
    }

    fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_variable_is_split_at_commas_and_newlines_but_not_within_values() {
        let origin = Origin::Variable("RINGLOG_SET".to_owned());
        for (text, expected) in [
            ("", Ok(vec![])),
            ("a=1", Ok(own(&[("a", "1")]))),
            ("a=1,b=2", Ok(own(&[("a", "1"), ("b", "2")]))),
            ("a=1\nb = 2\n\n", Ok(own(&[("a", "1"), ("b", "2")]))),
            ("a=x,y,b=2,", Ok(own(&[("a", "x,y"), ("b", "2")]))),
            ("a=x=y", Ok(own(&[("a", "x=y")]))),
            ("a=", Ok(own(&[("a", "")]))),
            ("a", Err("RINGLOG_SET: \"a\" is not KEY=VALUE, as in num.partitions=3".to_owned())),
            ("=1", Err("RINGLOG_SET: \"=1\" is not KEY=VALUE, as in num.partitions=3".to_owned())),
            ("a=1\nb", Err("RINGLOG_SET: \"b\" is not KEY=VALUE, as in num.partitions=3".to_owned())),
        ] {
            assert_eq!(pairs(parse_variable(text, &origin)), expected, "{text:?}");
        }
    }

    #[test]
    fn a_flag_is_one_setting_commas_and_all() {
        let texts = ["a=1,b=2".to_owned(), "c=3".to_owned(), "c=4".to_owned()];
        let mut errors = Vec::new();
        assert_eq!(pairs(Ok(parse_flags(&texts, &mut errors))), Ok(own(&[("a", "1,b=2"), ("c", "4")])));
        assert!(errors.is_empty(), "{errors:?}");
        let texts = ["a", "b=1", "=2"].map(str::to_owned);
        assert_eq!(pairs(Ok(parse_flags(&texts, &mut errors))), Ok(own(&[("b", "1")])));
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "--set: \"a\" is not KEY=VALUE, as in num.partitions=3",
                "--set: \"=2\" is not KEY=VALUE, as in num.partitions=3"
            ]
        );
    }
}
