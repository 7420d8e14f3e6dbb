//! The command line of `ringlog group`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::moment;
use super::scope::TopicScope;
use crate::cli::completing;
use crate::cli::kafka::KafkaArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct GroupArgs {
    #[command(flatten)]
    pub(in crate::cli) kafka: KafkaArgs,
    #[command(subcommand)]
    pub(in crate::cli) command: GroupCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GroupCommand {
    /// Print the groups that all brokers coordinate.
    List {
        /// Only those in one of these states, as in Stable,Empty.
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
        /// Only those of this type.
        #[arg(long, value_enum)]
        r#type: Option<GroupType>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print how far groups are and what they lack, or who their members are.
    Describe(DescribeArgs),
    /// Set the committed offsets of a group that has no members; prints what would be set, and does so with --execute.
    ResetOffsets(Box<ResetArgs>),
    /// Delete groups without members, and the offsets that they have committed.
    Delete {
        #[arg(required = true, value_name = "GROUP", add = completing::groups())]
        groups: Vec<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Delete the offsets that a group has committed for topics which it is not subscribed to now.
    DeleteOffsets {
        #[arg(add = completing::groups())]
        group: String,
        /// A topic, or some of its partitions; repeatable.
        #[arg(long, value_name = "TOPIC[:PARTITION,…]", required = true, add = completing::topics())]
        topic: Vec<TopicScope>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum GroupType {
    /// JoinGroup and SyncGroup; also groups that only commit offsets.
    Classic,
    /// KIP-848 (`group.protocol=consumer`).
    Consumer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DescribeArgs {
    #[arg(
        value_name = "GROUP",
        required_unless_present = "all",
        conflicts_with = "all",
        add = completing::groups()
    )]
    pub(in crate::cli) groups: Vec<String>,
    /// All groups.
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// The members instead of the offsets.
    #[arg(long, conflicts_with = "state")]
    pub(in crate::cli) members: bool,
    /// The state of the groups instead of their offsets.
    #[arg(long)]
    pub(in crate::cli) state: bool,
    /// Also epochs, and which partitions each member has and is to have.
    #[arg(long)]
    pub(in crate::cli) verbose: bool,
    /// One JSON object with all of this.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResetArgs {
    /// It may be new: it comes to be by what is set.
    #[arg(add = completing::groups())]
    pub(in crate::cli) group: String,
    /// A topic, or some of its partitions; repeatable.
    #[arg(
        long,
        value_name = "TOPIC[:PARTITION,…]",
        add = completing::topics(),
        required_unless_present_any = ["all_topics", "from_file"],
        conflicts_with_all = ["all_topics", "from_file"]
    )]
    pub(in crate::cli) topic: Vec<TopicScope>,
    /// All partitions that the group has committed offsets for.
    #[arg(long, conflicts_with = "from_file")]
    pub(in crate::cli) all_topics: bool,
    #[command(flatten)]
    pub(in crate::cli) to: ResetTo,
    /// Print only what would be set: so it is without --execute too.
    #[arg(long, conflicts_with = "execute")]
    pub(in crate::cli) dry_run: bool,
    /// Set the offsets.
    #[arg(long)]
    pub(in crate::cli) execute: bool,
    /// Lines of topic,partition,offset, as --from-file reads them.
    #[arg(long, conflicts_with = "json")]
    pub(in crate::cli) csv: bool,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// Where to.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct ResetTo {
    /// To the log start offset.
    #[arg(long)]
    pub(in crate::cli) to_earliest: bool,
    /// To the end of the log.
    #[arg(long)]
    pub(in crate::cli) to_latest: bool,
    /// To what is committed now, and to the end of the log where nothing is.
    #[arg(long)]
    pub(in crate::cli) to_current: bool,
    /// To this offset, or the log's nearest.
    #[arg(long, value_name = "OFFSET", allow_negative_numbers = true)]
    pub(in crate::cli) to_offset: Option<i64>,
    /// By so many records from what is committed now, back if negative, and not out of the log.
    #[arg(long, value_name = "RECORDS", allow_negative_numbers = true)]
    pub(in crate::cli) shift_by: Option<i64>,
    /// To the first record of this time or later, as in 2026-03-01T12:00:00 (UTC) or with an offset, as +01:00, behind it;
    /// to the end of the log where there is none.
    #[arg(long, value_name = "DATETIME", value_parser = moment::datetime_ms)]
    pub(in crate::cli) to_datetime: Option<i64>,
    /// To the first record that is no older than this, as in PT1H30M or P7D; to the end of the log where there is none.
    #[arg(long, value_name = "DURATION", value_parser = moment::duration_ms)]
    pub(in crate::cli) by_duration: Option<i64>,
    /// To the offsets in this file, with lines of topic,partition,offset; or the nearest of the logs.
    #[arg(long, value_name = "CSV")]
    pub(in crate::cli) from_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Subcommands};

    fn parsed(line: &str) -> Result<GroupArgs, clap::Error> {
        let line = format!("ringlog group {line}");
        match Cli::try_parse_from(line.split_whitespace())?.command {
            Some(Subcommands::Group(args)) => Ok(args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_reset_has_one_place_to_go_to_and_names_what_goes_there() {
        for line in [
            "--topic t --to-earliest",
            "--topic t:0,1 --topic u --to-latest --dry-run",
            "--all-topics --to-current --csv",
            "--topic t --to-offset -5 --execute",
            "--all-topics --shift-by -3 --json",
            "--all-topics --to-datetime 2026-03-01T00:00:00",
            "--all-topics --by-duration PT1H",
            "--from-file plan.csv",
        ] {
            assert!(parsed(&format!("reset-offsets g {line}")).is_ok(), "{line}");
        }
        for line in [
            "--to-earliest",
            "--topic t",
            "--topic t --to-earliest --to-latest",
            "--topic t --all-topics --to-latest",
            "--topic t --from-file plan.csv",
            "--all-topics --from-file plan.csv",
            "--from-file plan.csv --to-latest",
            "--topic t --to-latest --dry-run --execute",
            "--topic t --to-latest --csv --json",
            "--topic t --to-offset x",
            "--topic t --to-datetime today",
            "--topic t --by-duration 1h",
            "--topic t:x --to-latest",
        ] {
            assert!(parsed(&format!("reset-offsets g {line}")).is_err(), "{line}");
        }
        assert!(parsed("reset-offsets --topic t --to-latest").is_err(), "no group");
    }

    #[test]
    fn groups_are_named_or_all_of_them() {
        assert!(parsed("describe a b --members --verbose").is_ok());
        assert!(parsed("describe --all --state").is_ok());
        for line in ["describe", "describe a --all", "describe a --members --state", "delete", "delete-offsets g"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn brokers_are_given_one_after_the_other() {
        let args = parsed("list --bootstrap-server a:1,[::1]:2 --state Stable,Empty").unwrap();
        let shown: Vec<String> = args.kafka.bootstrap_server.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:1", "[::1]:2"]);
        let GroupCommand::List { state, .. } = args.command else { panic!("{:?}", args.command) };
        assert_eq!(state, ["Stable", "Empty"]);
        assert!(parsed("list --bootstrap-server a").is_err());
    }
}
