//! Whom commands ask that speak the Kafka protocol.

use clap::Args;

use crate::config::HostPort;

pub(in crate::cli) const BOOTSTRAP_VARIABLE: &str = "RINGLOG_BOOTSTRAP_SERVER";
pub(in crate::cli) const DEFAULT_BOOTSTRAP: &str = "127.0.0.1:9092";

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct KafkaArgs {
    /// The Kafka addresses of some brokers of the cluster; the first that answers is asked for the others.
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = DEFAULT_BOOTSTRAP,
        env = BOOTSTRAP_VARIABLE,
        value_delimiter = ',',
        global = true
    )]
    pub(in crate::cli) bootstrap_server: Vec<HostPort>,
    /// How long the brokers may take to answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, global = true)]
    pub(in crate::cli) timeout: u16,
}
