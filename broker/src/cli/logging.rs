//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// Installs the process's log output. `RUST_LOG` is deliberately not looked at: the filter is a setting like others.
///
/// # Errors
/// If the process has a log output already.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    // The filter was checked when the configuration was read, so nothing is lost here.
    let mut filter = EnvFilter::builder().parse_lossy(&config.filter);
    // It tells every step of every vote at the level that we tell a start at, and every attempt to reach a member that is away
    // as an error: only whoever names it wants to read that. What ends it we tell ourselves.
    if !config.filter.contains("openraft") {
        filter = filter.add_directive("openraft=off".parse().expect("it is one"));
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match config.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
}
