//! `ringlog`: the broker and its tools in one binary.
//!
//! See ARCHITECTURE.md for a walk through a produce and a fetch, file by file.

mod acceptor;
mod cli;
mod clock;
mod config;
mod connection;
mod disk_space;
mod exit_status;
mod fetch_session;
mod group_lag;
mod group_shard;
mod groups;
mod handlers;
mod high_watermarks;
mod http;
mod internal;
mod journal_dir;
mod lease;
mod lifecycle;
mod live;
mod logging;
mod metadata_core;
mod metrics;
mod orphans;
mod partition;
mod partition_op;
mod purgatory;
mod replicator;
mod serve;
mod settings;
mod shard;
mod storage;
mod suspects;
mod systemd;
mod terminal;

use std::process::ExitCode;

/// Each shard allocates and frees small things for every request, and keeps many small batches for long: with glibc's
/// allocator that was a third of the time of produces of single records (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        cli::Command::Serve(config) => serve::run(*config),
        cli::Command::Done(status) => status,
    }
}
