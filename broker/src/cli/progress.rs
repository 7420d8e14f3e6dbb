//! How far something is, for whoever sits at a terminal: on standard error, and only once it has taken a second.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What ends before needs none.
const SILENT_TIME: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// What somebody at a terminal waits for where it does not matter who is asked what.
pub(super) const BROKERS_ASKED: &str = "asking the brokers";

/// Waits for what says nothing of how far it is.
pub(super) async fn waiting<T>(what: &str, done: impl Future<Output = T>) -> T {
    let mut done = std::pin::pin!(done);
    tokio::select! {
        outcome = &mut done => return outcome,
        () = tokio::time::sleep(SILENT_TIME) => {}
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})").expect("it is a template"));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    let outcome = done.await;
    bar.finish_and_clear();
    outcome
}

/// A count that goes up to a total. Gone when it is dropped.
pub(super) struct Bar {
    began: Instant,
    bar: ProgressBar,
    is_shown: bool,
}

impl Bar {
    /// Of bytes.
    pub fn of_bytes() -> Bar {
        Bar::new("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left: {wide_msg}")
    }

    /// Of whatever the message says.
    pub fn of_items() -> Bar {
        Bar::new("{bar:30} {msg}")
    }

    fn new(template: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::with_template(template).expect("it is a template"));
        Bar { began: Instant::now(), bar, is_shown: false }
    }

    /// So much of the total is done.
    pub fn at(&mut self, done: impl TryInto<u64>, total: impl TryInto<u64>, message: impl Into<Cow<'static, str>>) {
        self.bar.set_length(total.try_into().unwrap_or(u64::MAX));
        self.bar.set_message(message);
        if !self.is_shown && self.began.elapsed() >= SILENT_TIME {
            self.is_shown = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        self.bar.set_position(done.try_into().unwrap_or(u64::MAX));
    }

    /// A line that stays, above the bar.
    pub fn note(&self, line: &str) {
        self.above(|| eprintln!("{line}"));
    }

    /// Writes something that stays, above the bar.
    pub fn above(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
