//! `ringlog check`: is this machine fit for the broker?
//!
//! Three steps that know little of each other: [`probe`] looks, [`verdict`] judges (pure), [`report`] shows. The two
//! checks without which no shard starts are also made before serving, see [`refuse_start`], because the runtime's own
//! way of finding out is a panic.

mod facts;
mod mount;
mod probe;
mod report;
mod verdict;

pub(super) use verdict::system;

use std::path::Path;
use std::process::ExitCode;

use rustix::process::Resource;

use crate::cli::system::Pinned;
use crate::config::{self, Flags, Machine};
use facts::Facts;
use verdict::{Line, Verdict, Wanted};

/// Runs all checks for the configuration that `flags` and environment give, and prints the outcome. `/sys` and `/proc`
/// are looked for below `root`.
pub(super) fn run(flags: Flags, json: bool, root: &Path) -> ExitCode {
    let machine = Machine::detect();
    let config = match config::load(flags, std::env::vars_os(), machine.clone()) {
        Ok(config) => config,
        Err(errors) => return super::refuse(&errors),
    };
    let journal_dir = (config.memory.shard_journal_bytes_max > 0).then_some(&*config.journal_dir);
    let facts: Facts = probe::facts(root, &config.data_dir, journal_dir, &machine);
    let pinned = Pinned::new(&config.cpus, config.shard_cpus());
    let (shards, memory, memory_bytes_max) = (config.shards, config.memory, config.memory_bytes_max());
    let lines = verdict::judge(&facts, &Wanted { shards, memory, memory_bytes_max, pinned });
    let shown = if json { report::json(&lines).map(|text| text + "\n") } else { Ok(report::text(&lines)) };
    match shown {
        Ok(text) => super::print(&text),
        Err(error) => {
            eprintln!("cannot write the report: {error}");
            return ExitCode::FAILURE;
        }
    }
    if report::overall(&lines) == Verdict::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The devices that data and journal directory are on, if they can be used.
pub(super) fn devices(data_dir: &Path, journal_dir: Option<&Path>) -> Vec<(u32, u32)> {
    probe::devices(data_dir, journal_dir)
}

/// What to do about limits of this process that are too low, where a broker is started as it was: no file of the kernel's
/// changes those.
pub(super) fn low_limits(config: &config::ServeConfig) -> Vec<String> {
    let limits = [Resource::Memlock, Resource::Nofile, Resource::Nproc].map(probe::limit);
    let lines = verdict::judge_limits(limits, config.shards, config.memory.connections_max);
    let low = lines.iter().filter(|line| line.verdict != Verdict::Ok);
    low.map(|line| format!("{}: {}: {}", line.check, line.found, line.advice)).collect()
}

/// Why no shard can start on this machine, one line each with what to do; empty if nothing stands in the way.
pub(super) fn refuse_start() -> Vec<String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let lines =
        verdict::judge_start(&probe::io_uring(), probe::disks_hidden(), probe::limit(Resource::Memlock), &release);
    let failed = |line: &Line| line.verdict == Verdict::Fail;
    lines
        .iter()
        .filter(|line| failed(line))
        .map(|line| format!("{}: {}; {}", line.check, line.found, line.advice))
        .collect()
}
