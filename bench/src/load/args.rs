//! What the subcommands `produce`, `consume` and `e2e` take.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::load::RunOptions;
use crate::load::workload::{Workload, WorkloadError};

/// What every load takes.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The broker's address; of a cluster, any one's
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", value_parser = parse_address)]
    pub broker: SocketAddr,
    /// Replace a field of the workload; an empty value removes it. Comes again for more fields
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Replicas of each partition of new topics, all of which must be in sync before and after [default: the workload's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..=100))]
    pub replication_factor: Option<i16>,
    /// Topic to use, or the beginning of their names if the workload has several [default: a new one]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Leave new topics in place
    #[arg(long)]
    pub keep_topic: bool,
    /// What is checked of everything read: each batch (checksum, place, order, number of records), or every record too
    #[arg(long, value_enum, default_value_t = Verify::Batches)]
    pub verify: Verify,
    /// Client threads for producers, and as many for consumers [default: half the cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
    /// Pin each client thread to a core of its own
    #[arg(long)]
    pub pin: bool,
    /// Write histograms, interval logs, plots and result.json here
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
}

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verify {
    Batches,
    Full,
}

impl LoadArgs {
    #[must_use]
    pub fn options(&self) -> RunOptions {
        RunOptions {
            pin: self.pin,
            threads: self.threads,
            topic: self.topic.clone(),
            keep_topic: self.keep_topic,
            verify_full: self.verify == Verify::Full,
        }
    }

    /// The workload with what the subcommand makes of it, and then the command line's settings.
    fn workload(&self, name: &str, settings: &[&str]) -> Result<Workload, WorkloadError> {
        let settings = settings.iter().map(|setting| (*setting).to_owned());
        let factor = self.replication_factor.map(|factor| format!("replication_factor={factor}"));
        let settings = settings.chain(factor).chain(self.settings.iter().cloned());
        Workload::load(name, &settings.collect::<Vec<_>>())
    }
}

#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// A workload that comes with this program, or a TOML file; its consumers are left out
    #[arg(long, value_name = "NAME|FILE", default_value = "1-topic-16-partitions-1kb")]
    pub workload: String,
    #[command(flatten)]
    pub load: LoadArgs,
}

impl ProduceArgs {
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        let settings = ["consumer_groups=0", "groups_from_start=0", "drain=false", "reread=false"];
        self.load.workload(&self.workload, &settings)
    }
}

#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// A workload that comes with this program, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "backlog-drain")]
    pub workload: String,
    /// Write nothing, and read what an earlier run of the same workload has left in --topic
    #[arg(long, requires = "topic")]
    pub existing: bool,
    #[command(flatten)]
    pub load: LoadArgs,
}

impl ConsumeArgs {
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        let mut settings = vec!["drain=true", "consumer_groups=0", "rate=", "records="];
        let plain = Workload::load(&self.workload, &[])?;
        if plain.groups_from_start == 0 {
            settings.push("groups_from_start=1");
        }
        if !plain.reread {
            settings.extend(["warmup_seconds=0", "duration_seconds="]);
        }
        if self.existing {
            settings.extend(["producers=0", "backlog_bytes=", "backlog_records="]);
        }
        self.load.workload(&self.workload, &settings)
    }
}

#[derive(Debug, Args)]
pub struct EndToEndArgs {
    /// A workload that comes with this program, or a TOML file; without a consumer group at the tail it gets one
    #[arg(long, value_name = "NAME|FILE", default_value = "end-to-end")]
    pub workload: String,
    #[command(flatten)]
    pub load: LoadArgs,
}

impl EndToEndArgs {
    pub fn workload(&self) -> Result<Workload, WorkloadError> {
        let plain = Workload::load(&self.workload, &[])?;
        let settings: &[&str] = if plain.consumer_groups == 0 { &["consumer_groups=1"] } else { &[] };
        self.load.workload(&self.workload, settings)
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("must be a number within 1 and 1024".to_owned()),
    }
}
