//! What a person sees while a run goes on, on standard error.
//!
//! On a terminal it is a bar with the live rate and 99th percentile. Elsewhere it is plain lines, at most one every
//! [`LINE_INTERVAL`], so that the log of a long run stays short.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::load::outcome::{Live, Phase};
use crate::report::number;

/// The least time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Steps of a bar: what a person may tell apart.
const BAR_STEPS: u64 = 1000;
const TEMPLATE: &str = "{prefix} [{bar:30}] {msg}";

/// Shows how a run goes on; give `&mut |live| bar.show(live)` to it as the observer.
#[derive(Debug)]
pub struct Bar {
    title: String,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Drawn(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Bar {
    /// A bar for the run called `title`.
    #[must_use]
    pub fn new(title: &str) -> Bar {
        let shape = if stderr().is_terminal() {
            let style = ProgressStyle::with_template(TEMPLATE).expect("a constant that is a template");
            let bar = ProgressBar::with_draw_target(Some(BAR_STEPS), ProgressDrawTarget::stderr());
            Shape::Drawn(bar.with_style(style).with_prefix(title.to_owned()))
        } else {
            Shape::Lines { last: None }
        };
        Bar { title: title.to_owned(), shape }
    }

    /// Shows the latest state, if it is time to.
    pub fn show(&mut self, live: &Live) {
        match &mut self.shape {
            Shape::Drawn(bar) => {
                bar.set_position((live.done.clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
                bar.set_message(describe(live));
            }
            Shape::Lines { last } => {
                if is_due(last, Instant::now()) {
                    eprintln!("{}: {}", self.title, describe(live));
                }
            }
        }
    }

    /// Takes the bar off the terminal; lines stay.
    pub fn finish(self) {
        if let Shape::Drawn(bar) = self.shape {
            bar.finish_and_clear();
        }
    }
}

/// Whether a line may be printed at `now`, which then is the last time that one was.
fn is_due(last: &mut Option<Instant>, now: Instant) -> bool {
    if last.is_some_and(|last| now.saturating_duration_since(last) < LINE_INTERVAL) {
        return false;
    }
    *last = Some(now);
    true
}

/// Such as `measuring 40 %, 12,345 records/s, 12.3 MB/s, p99 1.23 ms`.
fn describe(live: &Live) -> String {
    let phase = match live.phase {
        Phase::Preparing => "preparing",
        Phase::WarmUp => "warming up",
        Phase::Measuring => "measuring",
        Phase::Verifying => "verifying",
    };
    let (records, megabytes) = (number(live.records_per_second), number(live.bytes_per_second / 1e6));
    let p99 = live.p99.map(|p99| format!(", p99 {} ms", number(p99.as_secs_f64() * 1e3))).unwrap_or_default();
    format!("{phase} {:.0} %, {records} records/s, {megabytes} MB/s{p99}", live.done.clamp(0.0, 1.0) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_keep_their_distance() {
        let (mut last, start) = (None, Instant::now());
        let printed: Vec<_> =
            (0..100).filter(|quarters| is_due(&mut last, start + Duration::from_millis(250 * quarters))).collect();
        assert_eq!(printed, [0, 40, 80]);
    }

    #[test]
    fn a_state_is_described_with_units_and_without_a_percentile_that_is_not_there() {
        let mut live = Live {
            phase: Phase::Measuring,
            done: 0.404,
            records_per_second: 12_345.0,
            bytes_per_second: 12_345_000.0,
            p99: Some(Duration::from_micros(1234)),
        };
        assert_eq!(describe(&live), "measuring 40 %, 12,345 records/s, 12.3 MB/s, p99 1.23 ms");
        live.p99 = None;
        live.done = 7.0;
        assert_eq!(describe(&live), "measuring 100 %, 12,345 records/s, 12.3 MB/s");
    }
}
