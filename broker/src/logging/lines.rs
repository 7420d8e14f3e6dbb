//! What a log line looks like.
//!
//! As text for people, with colours on a terminal; as text for systemd's journal, which keeps the time itself and takes the
//! level from a prefix `<N>` (sd-daemon(3)); or as JSON, which is the same wherever it goes.

use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// systemd sets it to device and inode of the journal's socket.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Which format is in force.
pub struct FormatSwitch(AtomicBool);

impl FormatSwitch {
    pub fn new(format: LogFormat) -> FormatSwitch {
        FormatSwitch(AtomicBool::new(format.is_json()))
    }

    pub fn set(&self, format: LogFormat) {
        self.0.store(format.is_json(), Ordering::Relaxed);
    }
}

/// Writes events in the format in force.
pub struct Lines {
    switch: Arc<FormatSwitch>,
    text: Format<Full>,
    journal_text: Format<Full, ()>,
    json: Format<Json>,
    to_journal: bool,
}

impl Lines {
    pub fn new(switch: Arc<FormatSwitch>, ansi: bool, to_journal: bool) -> Lines {
        Lines {
            switch,
            text: Format::default().with_ansi(ansi),
            journal_text: Format::default().without_time().with_level(false).with_ansi(false),
            json: Format::default().json().flatten_event(true),
            to_journal,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.switch.0.load(Ordering::Relaxed) {
            self.json.format_event(context, writer, event)
        } else if self.to_journal {
            write!(writer, "<{}>", priority(event.metadata().level()))?;
            self.journal_text.format_event(context, writer, event)
        } else {
            self.text.format_event(context, writer, event)
        }
    }
}

/// syslog(3)'s number of a level.
fn priority(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Whether standard error goes to systemd's journal.
pub fn stderr_is_journal() -> bool {
    let Some(named) = std::env::var_os(JOURNAL_VARIABLE) else { return false };
    // The variable alone says nothing: standard error may have been redirected since.
    match rustix::fs::fstat(std::io::stderr().as_fd()) {
        Ok(stat) => named.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::Mutex;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Sink;

        fn make_writer(&'a self) -> Sink {
            self.clone()
        }
    }

    /// What is written of a warning and, after a switch to JSON, of an error.
    fn written(to_journal: bool) -> Vec<String> {
        let sink = Sink::default();
        let switch = Arc::new(FormatSwitch::new(LogFormat::Text));
        let lines = Lines::new(switch.clone(), false, to_journal);
        let layer = tracing_subscriber::fmt::layer().with_writer(sink.clone()).with_ansi(false).event_format(lines);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(shard = 1, "slow");
            switch.set(LogFormat::Json);
            tracing::error!("broken");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        let lines = written(true);
        assert_eq!(lines[0], format!("<4>{}: slow shard=1", module_path!()));
        assert!(
            lines[1].starts_with("{\"timestamp\":\"2") && lines[1].contains("\"message\":\"broken\""),
            "{}",
            lines[1]
        );
    }

    #[test]
    fn others_get_time_and_level() {
        let lines = written(false);
        assert!(lines[0].starts_with('2') && lines[0].contains(" WARN "), "{}", lines[0]);
        assert!(lines[0].ends_with("slow shard=1"), "{}", lines[0]);
    }
}
