//! Log lines on standard error: how they look, and how much is logged, both changeable while the process runs.
//!
//! - [`lines`]: what a line looks like, for people, for the journal, or as JSON.
//! - [`levels`]: which levels are in force: those of the configuration, and over them those that Kafka's admin API has set
//!   on single loggers.
//! - [`limit`]: for what others can cause as often as they like.
//!
//! As `tracing` itself, this is one per process.

pub mod levels;
pub mod limit;
mod lines;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogConfig, LogFormat};
use levels::{AlterError, Change, Levels};
use lines::{FormatSwitch, Lines};

static OUTPUT: OnceLock<Output> = OnceLock::new();

/// The process's log output.
pub struct Output {
    filter: reload::Handle<EnvFilter, Registry>,
    format: Arc<FormatSwitch>,
    levels: Mutex<Levels>,
}

/// Installs the process's log output. `RUST_LOG` is deliberately not looked at: the filter is a setting like others.
///
/// # Errors
/// If the process has a log output already.
pub fn init(config: &LogConfig) -> Result<(), TryInitError> {
    let levels = Levels::new(config.filter.clone());
    let (filter, handle) = reload::Layer::new(filter(&levels));
    let format = Arc::new(FormatSwitch::new(config.format));
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let journal = lines::stderr_is_journal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(crate::terminal::stderr)
        .with_ansi(ansi)
        .event_format(Lines::new(format.clone(), ansi, journal));
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    // Nobody else has installed one, or the line above had failed.
    let _ = OUTPUT.set(Output { filter: handle, format, levels: Mutex::new(levels) });
    Ok(())
}

/// The output that was installed; `None` in a process that has none, or a tool's or a test's.
pub fn output() -> Option<&'static Output> {
    OUTPUT.get()
}

impl Output {
    /// Another configuration. Levels of single loggers that were set over the admin API end if the configured ones change.
    pub fn configure(&self, config: &LogConfig) {
        self.format.set(config.format);
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.configured() != config.filter {
            *levels = Levels::new(config.filter.clone());
            self.apply(&levels);
        }
    }

    /// Every logger with its level, by Kafka's names of levels.
    pub fn loggers(&self) -> Vec<(&'static str, String)> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).loggers()
    }

    /// Sets and takes away levels of single loggers: all of it, or nothing.
    ///
    /// # Errors
    /// The first change that cannot be made.
    pub fn alter(&self, changes: &[Change<'_>], validate_only: bool) -> Result<(), AlterError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let altered = levels.altered(changes)?;
        if !validate_only {
            self.apply(&altered);
            *levels = altered;
        }
        Ok(())
    }

    fn apply(&self, levels: &Levels) {
        // The subscriber lives as long as the process.
        let _ = self.filter.reload(filter(levels));
    }
}

fn filter(levels: &Levels) -> EnvFilter {
    // Each part was checked when it was given, so nothing is lost here.
    EnvFilter::builder().parse_lossy(levels.directives())
}

impl LogFormat {
    fn is_json(self) -> bool {
        self == LogFormat::Json
    }
}
