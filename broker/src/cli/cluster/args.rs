//! The command line of `ringlog cluster`.

use clap::{Args, Subcommand};

use crate::cli::internal_port::BrokerArgs;
use crate::cli::kafka::KafkaArgs;
use crate::config;

#[derive(Debug, Args)]
pub(in crate::cli) struct ClusterArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: ClusterCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum ClusterCommand {
    /// Print the cluster's nodes: addresses, broker epochs, who is fenced, who votes, how far each is.
    Status {
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Forget a node that is stopped for good, or whose disk was lost; another directory may have its id then.
    Remove {
        /// Its node id.
        node: i32,
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print who votes on metadata, and who leads.
    Voters {
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print the brokers that clients know: addresses, racks, how much of the partitions each has and leads, and its disk.
    ///
    /// Asks the Kafka port of any broker, of real Kafka too.
    Brokers {
        #[command(flatten)]
        kafka: KafkaArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
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
        broker: BrokerArgs,
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
        broker: BrokerArgs,
        #[command(flatten)]
        moving: MovingArgs,
    },
}

/// How replicas are moved.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct MovingArgs {
    /// Print what would be moved, and change nothing.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Instead, take back what is moving: reassignments in progress that take replicas off the node (`drain`), or all
    /// of them (`rebalance`); removes replication throttles of topics and brokers too.
    #[arg(long, conflicts_with_all = ["dry_run", "concurrency", "throttle"])]
    pub(in crate::cli) cancel: bool,
    /// Partitions that are moved at the same time, at most.
    #[arg(long, value_name = "PARTITIONS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(in crate::cli) concurrency: u16,
    /// Bytes per second that each broker sends, and takes in, for the replicas that are moved (KIP-73): a whole number,
    /// with KiB, MiB or GiB after it if you like.
    ///
    /// Sets the replication throttles of brokers and topics, in place of any that are set, and removes all of them at the
    /// end, also when it is stopped by Ctrl-C. If it is killed they stay, until the same command ends, or `--cancel`.
    /// Without this flag throttles that are set hold, and stay.
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = bytes_per_second)]
    pub(in crate::cli) throttle: Option<u64>,
    /// One JSON object at the end.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    // The configs are signed numbers.
    let range = 1..=i64::MAX.unsigned_abs();
    config::size_bytes(text, range).map_err(|error| format!("it {error}"))
}
