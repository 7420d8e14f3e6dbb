//! The command line of `ringlog topic`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::from::From;
use crate::cli::completing;
use crate::cli::kafka::KafkaArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct TopicArgs {
    #[command(flatten)]
    pub(in crate::cli) kafka: KafkaArgs,
    #[command(subcommand)]
    pub(in crate::cli) command: TopicCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TopicCommand {
    /// Print the topics.
    List {
        /// Also those that the brokers keep for themselves, as __consumer_offsets.
        #[arg(long)]
        internal: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Create a topic.
    Create(CreateArgs),
    /// Print topics' partitions with their leaders and replicas, and the configs that are not default.
    Describe(DescribeArgs),
    /// Delete topics, with all that is in them.
    Delete {
        #[arg(required = true, value_name = "TOPIC", add = completing::topics())]
        topics: Vec<String>,
        /// Do not ask before.
        #[arg(long, short)]
        yes: bool,
        /// Topics that do not exist are no error.
        #[arg(long)]
        if_exists: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Delete the oldest records of a topic's partitions, up to an offset, and print where each log starts then.
    ///
    /// What is deleted cannot be read any more at once; its space is free when a whole segment is. Done when every replica in
    /// sync has done it. Of a compacted topic nothing is deleted, unless its cleanup.policy has 'delete' too.
    DeleteRecords(DeleteRecordsArgs),
    /// Give a topic more partitions. Records with keys that come then may go to other partitions than before.
    AddPartitions {
        #[arg(add = completing::topics())]
        topic: String,
        /// How many it is to have then.
        #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..))]
        total: i32,
        /// Only ask whether it could be done.
        #[arg(long)]
        dry_run: bool,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print a topic's records, without a group.
    ///
    /// Ends where the topic ended when the command began, or goes on with --follow. Records of one partition are in their order.
    #[command(alias = "consume")]
    Read(ReadArgs),
    /// Write lines of standard input as records; each is on disk in every in-sync replica when this ends.
    ///
    /// Records with keys go to the partitions that Kafka's clients put them into. What was sent and not acknowledged is sent
    /// again, and never there twice.
    #[command(alias = "produce")]
    Write(WriteArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    #[arg(value_name = "TOPIC")]
    pub(in crate::cli) name: String,
    /// How many [default: what the brokers have as num.partitions].
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pub(in crate::cli) partitions: Option<i32>,
    /// Replicas of each partition [default: what the brokers have as default.replication.factor].
    #[arg(long, value_name = "REPLICAS", value_parser = clap::value_parser!(i16).range(1..))]
    pub(in crate::cli) replication_factor: Option<i16>,
    /// The brokers of each partition, as in 1:2,2:3 for two partitions: the preferred leader first.
    #[arg(
        long,
        value_name = "BROKER:…,…",
        value_delimiter = ',',
        conflicts_with_all = ["partitions", "replication_factor"]
    )]
    pub(in crate::cli) replica_assignment: Vec<Replicas>,
    /// A config of the topic, as in retention.ms=3600000; repeatable.
    #[arg(long, value_name = "KEY=VALUE", add = completing::config_settings())]
    pub(in crate::cli) config: Vec<KeyValue>,
    /// A topic of this name is no error, and is left as it is.
    #[arg(long)]
    pub(in crate::cli) if_not_exists: bool,
    /// Only ask whether it could be done.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DescribeArgs {
    /// All topics if none is named.
    #[arg(value_name = "TOPIC", add = completing::topics())]
    pub(in crate::cli) topics: Vec<String>,
    /// Only partitions of which a replica is not in sync.
    #[arg(long)]
    pub(in crate::cli) under_replicated: bool,
    /// Only partitions that have no leader.
    #[arg(long)]
    pub(in crate::cli) unavailable: bool,
    /// Only partitions that have fewer replicas in sync than min.insync.replicas: acks=all is refused.
    #[arg(long)]
    pub(in crate::cli) under_min_isr: bool,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl DescribeArgs {
    pub fn has_filter(&self) -> bool {
        self.under_replicated || self.unavailable || self.under_min_isr
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteRecordsArgs {
    #[arg(add = completing::topics())]
    pub(in crate::cli) topic: String,
    /// Only of this partition; repeatable.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) partition: Vec<i32>,
    /// The first offset that stays; or latest, for nothing that is there now.
    #[arg(long, value_name = "OFFSET|latest")]
    pub(in crate::cli) before_offset: Before,
    /// Do not ask before.
    #[arg(long, short)]
    pub(in crate::cli) yes: bool,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Up to where records are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Before {
    Offset(i64),
    /// All that is committed.
    Latest,
}

impl Before {
    /// `None` for the high watermark.
    pub fn offset(self) -> Option<i64> {
        match self {
            Before::Offset(offset) => Some(offset),
            Before::Latest => None,
        }
    }
}

impl FromStr for Before {
    type Err = String;

    fn from_str(text: &str) -> Result<Before, String> {
        match text.trim() {
            "latest" | "end" => Ok(Before::Latest),
            text => match text.parse() {
                Ok(offset) if offset >= 0 => Ok(Before::Offset(offset)),
                _ => Err(format!("'{text}' is neither an offset, from 0 on, nor latest")),
            },
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReadArgs {
    #[arg(add = completing::topics())]
    pub(in crate::cli) topic: String,
    /// Only this partition; repeatable.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) partition: Vec<i32>,
    /// Where to begin: earliest, latest, an offset, -N for N offsets before the end, a time as 2026-03-01 or 2026-03-01T12:00:00
    /// (UTC, or with an offset behind it, as +01:00), or how long ago, as 2h, 30m, 1d or PT1H.
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    pub(in crate::cli) from: From,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    pub(in crate::cli) max: Option<u64>,
    /// Go on with what is written from now on, until Ctrl-C.
    #[arg(long, short)]
    pub(in crate::cli) follow: bool,
    /// How a record is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(in crate::cli) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// Partition, offset, time, key, value and headers, with tabs between them.
    Text,
    /// One JSON object per line.
    Json,
    /// As text, with key and value in hexadecimal.
    Hex,
    /// Only the value, as it is.
    Value,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WriteArgs {
    #[arg(add = completing::topics())]
    pub(in crate::cli) topic: String,
    /// All to this partition.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) partition: Option<i32>,
    /// What stands between key and value in every line.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(in crate::cli) key_separator: Option<String>,
    /// A value of just this text is null: in a compacted topic it deletes the key.
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) null_marker: Option<String>,
    /// A header of every record; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(in crate::cli) header: Vec<KeyValue>,
    /// One JSON object with what was written where.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `KEY=VALUE`; the value may hold further equals signs, and be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct KeyValue {
    pub key: String,
    pub value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyValue, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(KeyValue { key: key.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("'{text}' is not KEY=VALUE")),
        }
    }
}

/// `1:2:3`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Replicas(pub Vec<i32>);

impl FromStr for Replicas {
    type Err = String;

    fn from_str(text: &str) -> Result<Replicas, String> {
        let ids = text.split(':').map(|id| id.trim().parse::<i32>().ok().filter(|id| *id >= 0));
        let ids: Option<Vec<i32>> = ids.collect();
        ids.map(Replicas).ok_or_else(|| format!("'{text}' are no broker ids with colons between them, as 1:2:3"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Subcommands};

    fn parsed(line: &str) -> Result<TopicCommand, clap::Error> {
        let line = format!("ringlog topic {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Some(Subcommands::Topic(args)) => Ok(args.command),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_can_be_asked_for_and_what_cannot() {
        for line in [
            "list --internal --bootstrap-server a:1,b:2",
            "create t",
            "create t --partitions 3 --replication-factor 2 --config a=b=c --config d= --if-not-exists",
            "create t --replica-assignment 1:2,2:3",
            "describe",
            "describe a b --under-replicated --json",
            "delete a b -y",
            "add-partitions t --total 4 --dry-run",
            "delete-records t --partition 0 --partition 1 --before-offset 7 --json",
            "delete-records t --before-offset latest -y",
            "read t --partition 0 --partition 2 --from -5 --max 3 -f --format json",
            "read t --from 2026-03-01T12:00:00",
            "read t --from PT1H",
            "read t --from 2h",
            "consume t --from 2026-03-01",
            "produce t",
            "write t --key-separator : --header a=b --null-marker NULL",
        ] {
            assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line));
        }
        for line in [
            "create",
            "create t --partitions 0",
            "create t --partitions 1 --replica-assignment 1:2",
            "create t --config a",
            "create t --config =b",
            "create t --replica-assignment 1:x",
            "delete",
            "delete-records t",
            "delete-records t --before-offset x",
            "delete-records t --before-offset=-1",
            "add-partitions t",
            "read",
            "read t --from yesterday",
            "read t --format xml",
            "write t --key-separator=",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_value_may_hold_what_separates_it() {
        let one = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
        assert_eq!("a=b=c".parse(), Ok(one("a", "b=c")));
        assert_eq!(" a =".parse(), Ok(one("a", "")));
        assert_eq!("1: 2:3".parse(), Ok(Replicas(vec![1, 2, 3])));
    }
}
