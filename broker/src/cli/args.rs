//! The command line: subcommands by clap's derive, the flags of `serve` from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueHint};

use super::group::args::GroupArgs;
use crate::config::{self, CONFIG_VARIABLE, Flags, HostPort, Key, SET_VARIABLE, SETTINGS, Section};

const CONFIG: &str = "config";
const SET: &str = "set";

/// A Kafka-compatible streaming broker: every acknowledged record is on disk.
///
/// Without a subcommand the broker is started, as by `ringlog serve`.
#[derive(Debug, Parser)]
#[command(name = "ringlog", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Subcommands>,
    #[command(flatten)]
    pub(super) serve: SettingArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subcommands {
    /// Start the broker (what happens without a subcommand too).
    ///
    /// Every flag can also be given as the variable that its help names, or in the TOML file under its name without
    /// the dashes. A flag counts more than a variable, a variable more than the file.
    Serve(SettingArgs),
    /// Look at the cluster and its metadata quorum, move replicas off nodes or evenly over them, take nodes out.
    Cluster(ClusterArgs),
    /// Look at partitions and their replicas.
    Partition(PartitionArgs),
    /// Look at consumer groups and set their offsets, through the Kafka port of any broker, of real Kafka too.
    Group(GroupArgs),
    /// Look into logs on disk, reading only; works while the broker runs.
    #[command(subcommand)]
    Wal(WalCommand),
    /// Check that this machine is fit for the broker and say what to do where it is not.
    ///
    /// Takes the settings of `serve`, from all the same places, so that what is checked is what would be run. Exits
    /// with status 1 if any check fails.
    Check(CheckArgs),
}

/// Whom subcommands ask.
#[derive(Debug, Args)]
pub(super) struct BrokerArgs {
    /// The internal address of any broker of the cluster.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:9093",
        env = "RINGLOG_INTERNAL_ADDR",
        global = true
    )]
    pub(super) internal_addr: HostPort,
    /// How long to wait for an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, global = true)]
    pub(super) timeout: u16,
}

#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    #[command(flatten)]
    pub(super) broker: BrokerArgs,
    #[command(subcommand)]
    pub(super) command: ClusterCommand,
}

#[derive(Debug, Args)]
pub(super) struct PartitionArgs {
    #[command(flatten)]
    pub(super) broker: BrokerArgs,
    #[command(subcommand)]
    pub(super) command: PartitionCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum PartitionCommand {
    /// Print partitions with their leaders and replicas: in sync, or eligible as leaders though they are not.
    List {
        /// Of this topic only.
        topic: Option<String>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what a partition's leader knows of its log and of each replica: in sync or not, and how far behind.
    Show {
        topic: String,
        /// Its number.
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        partition: i32,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Print the cluster's nodes: addresses, broker epochs, who is fenced, who votes, how far each is.
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Forget a node that is stopped for good, or whose disk was lost; another directory may have its id then.
    Remove {
        /// Its node id.
        node: i32,
    },
    /// Print who votes on metadata, and who leads.
    Voters,
    /// Move all replicas off a node, and with them the leadership of partitions; it may be dead.
    ///
    /// Replicas go to the brokers that are furthest below their share, which is in proportion to their shards, and never to
    /// fewer racks than need be. Ends when the node has none left. Can be stopped at any time (Ctrl-C): what is moving goes
    /// on to move, and the same command goes on where that stands. As in Kafka, a node that is drained and still runs may
    /// get replicas of new topics: stop it, then remove it by `ringlog cluster remove`.
    Drain {
        /// Its node id.
        node: i32,
        #[command(flatten)]
        moving: MovingArgs,
    },
    /// Even out replicas, and who leads partitions, over all brokers that are alive.
    ///
    /// A broker's share is in proportion to its shards. As few replicas move as that takes, none to fewer racks, and where
    /// another order of preferred leaders is enough, only that changes. What is on brokers that are down stays there: `ringlog
    /// cluster drain` moves it. Can be stopped at any time (Ctrl-C): what is moving goes on to move, and the same command
    /// goes on where that stands.
    Rebalance {
        #[command(flatten)]
        moving: MovingArgs,
    },
}

/// How replicas are moved.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct MovingArgs {
    /// Print what would be moved, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Instead, take back what is moving: reassignments in progress that take replicas off the node (`drain`), or all
    /// of them (`rebalance`); removes replication throttles of topics and brokers too.
    #[arg(long, conflicts_with_all = ["dry_run", "concurrency", "throttle"])]
    pub(super) cancel: bool,
    /// Partitions that are moved at the same time, at most.
    #[arg(long, value_name = "PARTITIONS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(super) concurrency: u16,
    /// Bytes per second that each broker sends, and takes in, for the replicas that are moved (KIP-73): a whole number,
    /// with KiB, MiB or GiB after it if you like.
    ///
    /// Sets the replication throttles of brokers and topics, in place of any that are set, and removes all of them at the
    /// end, also when it is stopped by Ctrl-C. If it is killed they stay, until the same command ends, or `--cancel`.
    /// Without this flag throttles that are set hold, and stay.
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = bytes_per_second)]
    pub(super) throttle: Option<u64>,
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    // The configs are signed numbers.
    let range = 1..=i64::MAX.unsigned_abs();
    config::size_bytes(text, range).map_err(|error| format!("it {error}"))
}

#[derive(Debug, Subcommand)]
pub(super) enum WalCommand {
    /// Print what a log holds, and what only the journal has of it.
    Dump(DumpArgs),
    /// Verify the checksums and order of a log and its journal; exits with status 1 if it is damaged.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct DumpArgs {
    /// A segment file, a partition's directory or a data directory; or a journal's directory or region file.
    pub(super) path: PathBuf,
    /// Where the journal of the logs lies, if not where the data directory's journal-id says.
    #[arg(long, value_name = "DIR")]
    pub(super) journal_dir: Option<PathBuf>,
    /// One line per record batch from the log start offset on, with offsets, leader epoch, number of records, size and CRC,
    /// and nothing about files: two replicas that hold the same batches print the same.
    #[arg(long)]
    pub(super) batches: bool,
    /// One JSON object per line.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// A segment file, a partition's directory or a data directory; or a journal's directory or region file.
    pub(super) path: PathBuf,
    /// Where the journal of the logs lies, if not where the data directory's journal-id says.
    #[arg(long, value_name = "DIR")]
    pub(super) journal_dir: Option<PathBuf>,
    /// One JSON object per line.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// One JSON object instead of lines for people.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

/// A flag per row of [`SETTINGS`], and `--config` and `--set`. Values are taken as text: they are read where those of
/// variables and file are.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingArgs {
    pub(super) flags: Flags,
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help_heading(Section::Node.heading())
            .help(format!("Read settings from this TOML file [env: {CONFIG_VARIABLE}]"));
        let set = Arg::new(SET)
            .long(SET)
            .value_name("KEY=VALUE")
            .action(ArgAction::Append)
            .help_heading("Kafka")
            .help(format!("A broker setting of Kafka by its name, as in num.partitions=3; repeatable [env: {SET_VARIABLE}]"))
            .long_help(format!(
                "A broker setting of Kafka by its name, as in num.partitions=3; repeatable\n\nThe file's place for these \
                 is the table [kafka]. In the variable they are separated by commas or newlines; a piece without '=' \
                 belongs to the value before it.\n\n[env: {SET_VARIABLE}]",
            ));
        let command = command.arg(config);
        let ordered = Section::ALL.iter().flat_map(|section| SETTINGS.iter().filter(|row| row.section == *section));
        ordered.fold(command, |command, row| command.arg(setting_arg(row))).arg(set)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn setting_arg(row: &'static crate::config::Setting) -> Arg {
    let (variable, default) = (row.variable(), row.default.description());
    let sources = format!("[env: {variable}] [default: {default}]");
    let mut long = row.summary.to_owned();
    if !row.detail.is_empty() {
        long.push_str("\n\n");
        long.push_str(row.detail);
    }
    if !row.unit.is_empty() {
        long.push_str(&format!("\n\nCounted in {}.", row.unit));
    }
    Arg::new(row.name)
        .long(row.name)
        .value_name(row.value_name)
        .help_heading(row.section.heading())
        .help(format!("{} {sources}", row.summary))
        .long_help(format!("{long}\n\n{sources}"))
        // A node id of -1 is then refused as out of range, and not taken for a flag.
        .allow_negative_numbers(true)
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<SettingArgs, clap::Error> {
        let given = |row: &crate::config::Setting| -> Option<(Key, String)> {
            matches.get_one::<String>(row.name).map(|value| (row.key, value.clone()))
        };
        Ok(SettingArgs {
            flags: Flags {
                config: matches.get_one::<PathBuf>(CONFIG).cloned(),
                settings: SETTINGS.iter().filter_map(given).collect(),
                set: matches.get_many::<String>(SET).into_iter().flatten().cloned().collect(),
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = SettingArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Cli {
        Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn flags(line: &str) -> Flags {
        match parsed(line) {
            Cli { command: None, serve } => serve.flags,
            Cli { command: Some(Subcommands::Serve(serve)), .. } => serve.flags,
            Cli { command: Some(Subcommands::Check(check)), .. } => check.settings.flags,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_is_a_flag_with_and_without_serve_and_of_check() {
        for row in SETTINGS {
            for start in ["ringlog", "ringlog serve", "ringlog check"] {
                let found = flags(&format!("{start} {} -1", row.flag()));
                assert_eq!(found.settings, [(row.key, "-1".to_owned())], "{start} {}", row.name);
            }
        }
    }

    #[test]
    fn set_is_repeatable_and_config_a_path() {
        let found = flags("ringlog --set a=1,b --set c=2 --config /etc/r.toml");
        assert_eq!(found.set, ["a=1,b", "c=2"]);
        assert_eq!(found.config, Some(PathBuf::from("/etc/r.toml")));
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "ringlog --shards 1 serve",
            "ringlog --shards 1 --shards 2",
            "ringlog serv",
            "ringlog --shard-count 1",
            "ringlog wal",
            "ringlog wal dump",
            "ringlog wal verify --batches x",
            "ringlog check extra",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }

    #[test]
    fn help_names_variable_and_default_of_every_setting() {
        let mut command = Cli::command();
        let texts = [command.render_help(), command.render_long_help()].map(|text| text.to_string());
        for text in texts {
            let unwrapped = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for row in SETTINGS {
                let sources = format!("[env: {}] [default: {}]", row.variable(), row.default.description());
                assert!(unwrapped.contains(&sources), "{} in {text}", row.name);
            }
        }
    }
}
