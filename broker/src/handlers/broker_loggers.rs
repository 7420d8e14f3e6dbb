//! Levels of this broker's loggers, by DescribeConfigs and IncrementalAlterConfigs (KIP-412), as `kafka-configs --entity-type
//! broker-loggers` asks.
//!
//! Every broker answers for itself alone, and keeps nothing: its next start has the configured levels.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;
use protocol::BrokerId;

use crate::logging::levels::{AlterError, Change};
use crate::logging::{self, Output};

/// `ConfigSource` of a logger's level.
const SOURCE_DYNAMIC_BROKER_LOGGER: i8 = 6;
/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Refused = (ResponseError, String);

/// Every logger, or those that are named, with its level.
pub fn describe(
    me: BrokerId,
    name: &str,
    keys: Option<&[StrBytes]>,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    if name.is_empty() {
        return Err((ResponseError::InvalidRequest, "Broker id must not be empty".to_owned()));
    }
    let named = id("Broker", name)?;
    if named != me {
        let message = format!("Unexpected broker id, expected {me} but received {name}");
        return Err((ResponseError::InvalidRequest, message));
    }
    let wanted = |logger: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == logger));
    let loggers = output()?.loggers().into_iter().filter(|(logger, _)| wanted(logger));
    let result = |(logger, level): (&'static str, String)| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(logger))
            .with_value(Some(level.into()))
            .with_config_source(SOURCE_DYNAMIC_BROKER_LOGGER)
    };
    Ok(loggers.map(result).collect())
}

/// Changes levels, or looks whether they could be changed.
pub fn alter(me: BrokerId, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refused> {
    let name = &resource.resource_name;
    if id("Node", name)? != me {
        let message = format!("Unexpected node id. Expected {me}, but received {name}");
        return Err((ResponseError::InvalidRequest, message));
    }
    let changes = changes(&resource.configs)?;
    let altered = output()?.alter(&changes, validate_only);
    altered.map_err(|error| {
        let code = match error {
            AlterError::NoSuchLogger { .. } | AlterError::NoSuchLevel { .. } => ResponseError::InvalidConfig,
            AlterError::RootStays => ResponseError::InvalidRequest,
        };
        (code, error.to_string())
    })?;
    if !validate_only {
        tracing::warn!(?changes, "levels of loggers were changed");
    }
    Ok(())
}

fn changes(configs: &[AlterableConfig]) -> Result<Vec<Change<'_>>, Refused> {
    let mut names = HashSet::with_capacity(configs.len());
    if !configs.iter().all(|config| names.insert(config.name.as_str())) {
        return refused("Error due to duplicate config keys".to_owned());
    }
    let check = |config: &AlterableConfig| match (config.config_operation, &config.value) {
        (DELETE, _) | (SET, Some(_)) => Ok(()),
        (SET, None) => refused(format!("Null value not supported for : {}", shown(&config.name))),
        (APPEND, _) => refused("APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned()),
        (SUBTRACT, _) => refused("SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned()),
        (other, _) => refused(format!("Unknown operation type {other} is not allowed for the BROKER_LOGGER resource")),
    };
    configs.iter().try_for_each(check)?;
    Ok(configs
        .iter()
        .map(|config| match &config.value {
            Some(level) if config.config_operation == SET => Change::Set { logger: &config.name, level },
            _ => Change::Unset { logger: &config.name },
        })
        .collect())
}

fn refused<T>(message: String) -> Result<T, Refused> {
    Err((ResponseError::InvalidRequest, message))
}

fn id(what: &str, name: &str) -> Result<BrokerId, Refused> {
    match name.parse() {
        Ok(id) => Ok(BrokerId(id)),
        Err(_) => refused(format!("{what} id must be an integer, but it is: {}", shown(name))),
    }
}

fn output() -> Result<&'static Output, Refused> {
    logging::output().ok_or_else(|| (ResponseError::UnknownServerError, "this process has no log".to_owned()))
}

/// Of a client's text, what an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: BrokerId = BrokerId(1);

    fn config(name: &str, operation: i8, value: Option<&str>) -> AlterableConfig {
        AlterableConfig::default()
            .with_name(StrBytes::from(name.to_owned()))
            .with_config_operation(operation)
            .with_value(value.map(|value| StrBytes::from(value.to_owned())))
    }

    fn altered(node: &str, configs: Vec<AlterableConfig>) -> Refused {
        let resource =
            AlterConfigsResource::default().with_resource_name(StrBytes::from(node.to_owned())).with_configs(configs);
        alter(ME, &resource, true).unwrap_err()
    }

    #[test]
    fn other_brokers_answer_for_themselves() {
        assert_eq!(describe(ME, "", None).unwrap_err().1, "Broker id must not be empty");
        assert_eq!(describe(ME, "x", None).unwrap_err().1, "Broker id must be an integer, but it is: x");
        assert_eq!(describe(ME, "2", None).unwrap_err().1, "Unexpected broker id, expected 1 but received 2");
        assert_eq!(altered("2", vec![]).1, "Unexpected node id. Expected 1, but received 2");
        assert_eq!(altered("x", vec![]).1, "Node id must be an integer, but it is: x");
    }

    #[test]
    fn operations_on_lists_and_nulls_are_refused() {
        for (configs, expected) in [
            (
                vec![config("wal", APPEND, Some("INFO"))],
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ),
            (vec![config("wal", 3, Some("INFO"))], "SUBTRACT operation is not allowed for the BROKER_LOGGER resource"),
            (
                vec![config("wal", 9, Some("INFO"))],
                "Unknown operation type 9 is not allowed for the BROKER_LOGGER resource",
            ),
            (vec![config("wal", SET, None)], "Null value not supported for : wal"),
            (vec![config("wal", SET, Some("INFO")), config("wal", DELETE, None)], "Error due to duplicate config keys"),
        ] {
            assert_eq!(altered("1", configs), (ResponseError::InvalidRequest, expected.to_owned()));
        }
    }

    #[test]
    fn what_is_well_formed_is_understood() {
        let configs = [config("wal", SET, Some("DEBUG")), config("root", DELETE, None)];
        let expected = [Change::Set { logger: "wal", level: "DEBUG" }, Change::Unset { logger: "root" }];
        assert_eq!(changes(&configs), Ok(expected.to_vec()));
    }
}
