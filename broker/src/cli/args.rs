//! The command line: subcommands by clap's derive, the flags of `serve` from the table of settings.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueHint};

use super::cluster::args::ClusterArgs;
use super::config_command::args::ConfigArgs;
use super::documents::{CompletionArgs, ManArgs};
use super::group::args::GroupArgs;
use super::partition::args::PartitionArgs;
use super::topic::args::TopicArgs;
use crate::config::{CONFIG_VARIABLE, Flags, Key, SET_VARIABLE, SETTINGS, Section};

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
    /// Create topics, look at them and delete them, read and write their records, through the Kafka port of any broker, of real
    /// Kafka too.
    Topic(TopicArgs),
    /// Look at consumer groups and set their offsets, through the Kafka port of any broker, of real Kafka too.
    Group(GroupArgs),
    /// Look at settings of topics, brokers and groups and change them, through the Kafka port of any broker, of real Kafka too.
    Config(ConfigArgs),
    /// Look at the cluster and its metadata quorum, move replicas off nodes or evenly over them, take nodes out.
    Cluster(ClusterArgs),
    /// Look at partitions and their replicas, move them, and elect their leaders.
    Partition(PartitionArgs),
    /// Look into logs on disk, reading only; works while the broker runs.
    #[command(subcommand)]
    Wal(WalCommand),
    /// Check that this machine is fit for the broker and say what to do where it is not.
    ///
    /// Takes the settings of `serve`, from all the same places, so that what is checked is what would be run. Exits
    /// with status 1 if any check fails.
    Check(CheckArgs),
    /// Show what of the machine's settings should be otherwise for the broker, and set it.
    ///
    /// Changes I/O schedulers, huge pages, swappiness, frequency governors, backlogs, socket buffers and which cores take
    /// network cards' interrupts, where `ringlog check` warns of them. Takes the settings of `serve`, since disks and shards
    /// are told by them. Says of each change how to undo it. Exits with status 1 if a change could not be made.
    Tune(TuneArgs),
    /// Print what completes this program's command lines in a shell.
    Completion(CompletionArgs),
    /// Write the manual pages.
    Man(ManArgs),
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
    pub(super) system: SystemArgs,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Only show what would be changed (what happens without --apply too).
    #[arg(long, conflicts_with = "apply")]
    pub(super) dry_run: bool,
    /// Make the changes; takes root.
    #[arg(long)]
    pub(super) apply: bool,
    /// Have the next boots make them too, by files in /etc: sysctl.d, tmpfiles.d and udev/rules.d.
    #[arg(long)]
    pub(super) persist: bool,
    /// Write a shell script there that takes back what was changed; there must be no such file.
    #[arg(long, value_name = "FILE", requires = "apply", value_hint = ValueHint::FilePath)]
    pub(super) undo: Option<PathBuf>,
    /// One JSON object instead of lines for people.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) system: SystemArgs,
    #[command(flatten)]
    pub(super) settings: SettingArgs,
}

/// Where the machine's settings are.
#[derive(Debug, Args)]
pub(super) struct SystemArgs {
    /// Look for /sys and /proc below this directory.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub(super) system_root: PathBuf,
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
