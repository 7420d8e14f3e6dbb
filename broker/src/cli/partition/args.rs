//! The command line of `ringlog partition`.

use std::str::FromStr;

use clap::{Args, Subcommand};

use crate::cli::completing;
use crate::cli::internal_port::BrokerArgs;
use crate::cli::kafka::KafkaArgs;

#[derive(Debug, Args)]
pub(in crate::cli) struct PartitionArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: PartitionCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PartitionCommand {
    /// Print partitions with their leaders and replicas: in sync, or eligible as leaders though they are not.
    List {
        /// Of this topic only.
        #[arg(add = completing::topics())]
        topic: Option<String>,
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print what a partition's leader knows of its log and of each replica: in sync or not, and how far behind.
    Show {
        #[arg(add = completing::topics())]
        topic: String,
        /// Its number.
        #[arg(value_parser = clap::value_parser!(i32).range(0..))]
        partition: i32,
        #[command(flatten)]
        broker: BrokerArgs,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make the preferred replica, which is the first, leader of partitions again. Through the Kafka port.
    ElectLeader(ElectArgs),
    /// Move a partition to other brokers, or change how many replicas it has. Through the Kafka port.
    ///
    /// Returns when the move is complete; if it is stopped before (Ctrl-C), the move goes on. `ringlog cluster drain` and
    /// `rebalance` plan such moves for all partitions.
    Reassign(ReassignArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ElectArgs {
    #[arg(required_unless_present = "all", conflicts_with = "all", add = completing::topics())]
    pub(in crate::cli) topic: Option<String>,
    /// Its number; without it, all partitions of the topic.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) partition: Option<i32>,
    /// All partitions of the cluster.
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Elect any replica that is alive where no other may lead. What only the others have is LOST.
    #[arg(long)]
    pub(in crate::cli) unclean: bool,
    #[command(flatten)]
    pub(in crate::cli) kafka: KafkaArgs,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReassignArgs {
    #[arg(required_unless_present_any = ["list", "cancel"], requires = "partition", add = completing::topics())]
    pub(in crate::cli) topic: Option<String>,
    /// Its number.
    #[arg(value_parser = clap::value_parser!(i32).range(0..))]
    pub(in crate::cli) partition: Option<i32>,
    /// The brokers that are to have it, the preferred leader first.
    #[arg(
        long,
        value_name = "BROKER,…",
        value_delimiter = ',',
        required_unless_present_any = ["list", "cancel"],
        requires = "topic",
        conflicts_with_all = ["list", "cancel"]
    )]
    pub(in crate::cli) to: Vec<BrokerNumber>,
    /// Return as soon as the move is begun.
    #[arg(long, conflicts_with_all = ["list", "cancel"])]
    pub(in crate::cli) no_wait: bool,
    /// Print what is moving.
    #[arg(long, conflicts_with_all = ["cancel", "topic"])]
    pub(in crate::cli) list: bool,
    /// Take back what is moving: of the partition, or of all.
    #[arg(long)]
    pub(in crate::cli) cancel: bool,
    #[command(flatten)]
    pub(in crate::cli) kafka: KafkaArgs,
    /// One JSON object.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// A broker's id as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct BrokerNumber(pub i32);

impl FromStr for BrokerNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<BrokerNumber, String> {
        match text.trim().parse() {
            Ok(id) if id >= 0 => Ok(BrokerNumber(id)),
            _ => Err(format!("'{text}' is no broker id; write 1,2,3")),
        }
    }
}
