//! The command line of `ringlog`.
//!
//! [`run`] does everything but serve: it parses, loads the configuration, sets up logging, and carries out the
//! subcommands that end by themselves. Exit statuses are 0 for success; 1 if anything that was asked for is missing, was
//! refused or failed, a log is damaged, or the machine cannot run the broker; and 2 for a command line, configuration or path
//! that is wrong ([`crate::exit_status`]).
//!
//! - [`topic`], [`config_command`], [`group`]: ask the Kafka port, by the client in [`kafka`]; so do parts of [`partition`] and
//!   [`cluster`], which else ask the internal port ([`internal_port`]).
//! - [`wal`], [`check`]: look at files and the machine.
//! - [`told`], [`table`], [`progress`], [`confirming`]: what all commands say and ask, and how.
//! - [`documents`], [`completing`]: manual pages, and what shells complete; [`habits`]: what people write who know Kafka's tools.

mod args;
mod check;
mod cluster;
mod completing;
mod config_command;
mod confirming;
#[cfg(test)]
mod documented;
mod documents;
pub mod group;
mod habits;
mod internal_port;
mod kafka;
mod limits;
mod partition;
mod progress;
mod settings_page;
mod size;
mod system;
mod table;
mod told;
mod topic;
mod tune;
mod wal;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use terminal_size::terminal_size_of;

use crate::config::{self, ConfigErrors, Machine, ServeConfig};
use crate::exit_status::{self, Failure};
use crate::logging;
use args::{Cli, Subcommands, WalCommand};

/// What is left to do once the command line is dealt with.
#[derive(Debug)]
pub enum Command {
    /// Run the broker. Logging is set up, limits are raised, and io_uring is there.
    Serve(Box<ServeConfig>),
    /// Nothing: leave with this status.
    Done(ExitCode),
}

/// The status for a command line or configuration that is wrong, as clap has it.
const EXIT_USAGE: u8 = Failure::Stays.status();

/// Reads the process's command line and environment; see the module's documentation.
#[must_use]
pub fn run() -> Command {
    // Ends the process if a shell wants to know.
    CompleteEnv::with_factory(Cli::command).var(completing::COMPLETE_VARIABLE).complete();
    let line = habits::without_flags_before_names(std::env::args_os());
    let cli = match Cli::try_parse_from(&line) {
        Ok(cli) => cli,
        // Also help and version, which go to standard output. A closed pipe there is nobody's loss.
        Err(outcome) => {
            let outcome = habits::advise(outcome, &line);
            let _ = outcome.print();
            return Command::Done(ExitCode::from(u8::try_from(outcome.exit_code()).unwrap_or(EXIT_USAGE)));
        }
    };
    let stdout = std::io::stdout();
    if stdout.is_terminal() {
        let columns = terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        table::style_for(std::env::var_os("NO_COLOR").is_none(), columns);
    }
    match cli.command {
        None => serve(cli.serve.flags),
        Some(Subcommands::Serve(serve_args)) => serve(serve_args.flags),
        Some(Subcommands::Topic(topic_args)) => Command::Done(topic::run(&topic_args)),
        Some(Subcommands::Config(config_args)) => Command::Done(config_command::run(&config_args)),
        Some(Subcommands::Cluster(cluster_args)) => Command::Done(cluster::run(&cluster_args)),
        Some(Subcommands::Partition(partition_args)) => Command::Done(partition::run(&partition_args)),
        Some(Subcommands::Group(group_args)) => Command::Done(group::run(&group_args)),
        Some(Subcommands::Check(check_args)) => {
            let root = &check_args.system.system_root;
            Command::Done(check::run(check_args.settings.flags, check_args.json, root))
        }
        Some(Subcommands::Tune(tune_args)) => Command::Done(tune::run(tune_args)),
        Some(Subcommands::Completion(completion)) => Command::Done(documents::completion(&completion)),
        Some(Subcommands::Man(man)) => Command::Done(documents::man(&man)),
        Some(Subcommands::Wal(WalCommand::Dump(dump))) => Command::Done(wal::dump(&dump)),
        Some(Subcommands::Wal(WalCommand::Verify(verify))) => Command::Done(wal::verify(&verify)),
    }
}

/// Says what is wrong with the configuration, one line each.
fn refuse(errors: &ConfigErrors) -> ExitCode {
    for error in &errors.0 {
        eprintln!("error: {error}");
    }
    exit_status::of_config(errors).into()
}

/// Says why a subcommand did not do what was asked. What peers said may be part of that.
fn failed(reason: &str) -> ExitCode {
    eprintln!("error: {}", table::shown(reason));
    ExitCode::FAILURE
}

/// The same of a path that was given and could not be used.
fn failed_at(reason: &str, error: &std::io::Error) -> ExitCode {
    failed(reason);
    exit_status::of_path(error).into()
}

/// Writes to standard output. A reader that went away (`| head`) is nobody's loss.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn serve(flags: config::Flags) -> Command {
    let config = match config::load(flags, std::env::vars_os(), Machine::detect()) {
        Ok(config) => config,
        Err(errors) => return Command::Done(refuse(&errors)),
    };
    if let Err(error) = logging::init(&config.logging) {
        eprintln!("cannot set up logging: {error}");
        return Command::Done(ExitCode::FAILURE);
    }
    for variable in &config.ignored_variables {
        match &variable.suggestion {
            Some(suggestion) => {
                tracing::warn!(variable = variable.name, "not a setting, ignored; did you mean {suggestion}?");
            }
            None => tracing::debug!(variable = variable.name, "not a setting, ignored"),
        }
    }
    limits::raise();
    let obstacles = check::refuse_start();
    for obstacle in &obstacles {
        tracing::error!("cannot start: {obstacle}");
    }
    if obstacles.is_empty() { Command::Serve(Box::new(config)) } else { Command::Done(ExitCode::FAILURE) }
}
