//! Whom commands ask that speak Ringlog's own protocol, and what to do where nobody speaks it.

use clap::Args;

use super::kafka::{Spoken, what_is_spoken};
use crate::config::HostPort;

pub(super) const INTERNAL_VARIABLE: &str = "RINGLOG_INTERNAL_ADDR";

#[derive(Clone, Debug, Args)]
pub(super) struct BrokerArgs {
    /// The internal address of any broker of the cluster.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9093", env = INTERNAL_VARIABLE)]
    pub(super) internal_addr: HostPort,
    /// How long to wait for an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub(super) timeout: u16,
}

/// Why no broker can answer at an address, and what to do; `None` if one may.
pub(super) async fn obstacle(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let meant = format!("the internal port is given by --internal-addr or {INTERNAL_VARIABLE}, and is 9093 by default");
    match what_is_spoken(host, port.parse().ok()?).await {
        Spoken::Internal | Spoken::Unknown => None,
        Spoken::Nothing => Some(format!(
            "{address}: cannot connect: nothing listens there; is the broker running? --internal-addr or \
             {INTERNAL_VARIABLE} name another"
        )),
        Spoken::Kafka => Some(format!("{address} is a port for Kafka clients, not the one for brokers; {meant}")),
        Spoken::Http => Some(format!("{address} is a port that speaks HTTP, not the one for brokers; {meant}")),
    }
}
