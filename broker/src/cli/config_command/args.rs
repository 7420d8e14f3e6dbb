//! The command line of `ringlog config`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::resource::Resource;
use crate::cli::completing;
use crate::cli::kafka::KafkaArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct ConfigArgs {
    #[command(flatten)]
    pub(in crate::cli) kafka: KafkaArgs,
    #[command(subcommand)]
    pub(in crate::cli) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Print configs with where their values come from: those that are not default, those that are named, or all.
    Describe {
        #[command(flatten)]
        of: ResourceArgs,
        /// Only these.
        #[arg(value_name = "NAME", add = completing::configs())]
        names: Vec<String>,
        /// Also those that have their default.
        #[arg(long)]
        all: bool,
        /// Also what they mean.
        #[arg(long)]
        doc: bool,
        /// One JSON object with all of this.
        #[arg(long)]
        json: bool,
    },
    /// Set configs; at once, on all brokers that they concern, and for good.
    Set {
        #[command(flatten)]
        of: ResourceArgs,
        /// KEY=VALUE; KEY+=VALUE adds to a list, KEY-=VALUE takes out of it.
        #[arg(value_name = "KEY=VALUE", required = true, add = completing::config_settings())]
        changes: Vec<Change>,
        /// Only ask whether it could be done.
        #[arg(long)]
        dry_run: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Take configs back that were set, so that they have again what stands behind.
    Delete {
        #[command(flatten)]
        of: ResourceArgs,
        #[arg(value_name = "NAME", required = true, add = completing::configs())]
        names: Vec<String>,
        /// Only ask whether it could be done.
        #[arg(long)]
        dry_run: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Whose configs.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct ResourceArgs {
    /// Of this topic.
    #[arg(long, add = completing::topics())]
    pub(in crate::cli) topic: Option<String>,
    /// Of the broker with this id, or `default` for what all brokers have that have nothing of their own.
    #[arg(long, value_name = "ID|default")]
    pub(in crate::cli) broker: Option<BrokerOrDefault>,
    /// Levels of logging of the broker with this id, by logger; they last until it ends.
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) broker_logger: Option<i32>,
    /// Of this consumer group.
    #[arg(long, add = completing::groups())]
    pub(in crate::cli) group: Option<String>,
}

impl ResourceArgs {
    pub fn resource(&self) -> Resource {
        match self {
            ResourceArgs { topic: Some(topic), .. } => Resource::topic(topic),
            ResourceArgs { group: Some(group), .. } => Resource::group(group),
            ResourceArgs { broker_logger: Some(id), .. } => Resource::broker_logger(*id),
            ResourceArgs { broker, .. } => Resource::broker(broker.and_then(|broker| broker.0)),
        }
    }
}

/// `None` for what all brokers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct BrokerOrDefault(pub Option<i32>);

impl FromStr for BrokerOrDefault {
    type Err = String;

    fn from_str(text: &str) -> Result<BrokerOrDefault, String> {
        match text.parse::<i32>() {
            _ if text == "default" => Ok(BrokerOrDefault(None)),
            Ok(id) if id >= 0 => Ok(BrokerOrDefault(Some(id))),
            _ => Err(format!("'{text}' is neither a broker's id nor 'default'")),
        }
    }
}

/// What is done with a config: codes of IncrementalAlterConfigs (KIP-339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Op {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Change {
    pub name: String,
    pub op: Op,
    pub value: Option<String>,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Change, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not KEY=VALUE"))?;
        let (key, op) = match key {
            key if key.ends_with('+') => (key.trim_end_matches('+'), Op::Append),
            key if key.ends_with('-') => (key.trim_end_matches('-'), Op::Subtract),
            key => (key, Op::Set),
        };
        if key.trim().is_empty() {
            return Err(format!("'{text}' is not KEY=VALUE: the key is missing"));
        }
        Ok(Change { name: key.trim().to_owned(), op, value: Some(value.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn configs_are_of_one_resource() {
        let parses = |line: &str| Cli::try_parse_from(format!("ringlog config {line}").split_whitespace()).is_ok();
        for line in [
            "describe --topic t",
            "describe --broker 1 --all --doc",
            "describe --broker default log.retention.ms --json",
            "describe --group g",
            "set --broker-logger 1 ringlog.shard=DEBUG",
            "set --topic t a=b c+=d e-=f --dry-run",
            "delete --broker default a b",
        ] {
            assert!(parses(line), "{line}");
        }
        for line in [
            "describe",
            "describe --topic t --broker 1",
            "describe --broker x",
            "describe --broker -1",
            "set --topic t",
            "set --topic t a",
            "set --topic t =b",
            "delete --topic t",
        ] {
            assert!(!parses(line), "{line}");
        }
    }

    #[test]
    fn lists_are_added_to_and_taken_out_of() {
        let change =
            |name: &str, op, value: &str| Ok(Change { name: name.to_owned(), op, value: Some(value.to_owned()) });
        assert_eq!("a=b=c".parse(), change("a", Op::Set, "b=c"));
        assert_eq!("a=".parse(), change("a", Op::Set, ""));
        assert_eq!("a+=b".parse(), change("a", Op::Append, "b"));
        assert_eq!("a-=b".parse(), change("a", Op::Subtract, "b"));
    }
}
