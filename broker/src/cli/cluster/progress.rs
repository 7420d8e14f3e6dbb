//! How far a plan is: a bar where somebody looks at a terminal, else a line now and then.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::cli::progress::Bar;
use crate::cli::size::size;

/// Pause between two lines for a terminal, and for anything else.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
const LINES_INTERVAL: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub done: usize,
    pub moving: usize,
    pub not_begun: usize,
    /// Of those that move: nobody leads them, so that nothing can be sent.
    pub leaderless: usize,
    /// That replicas on their way in still lack, as far as leaders say.
    pub bytes_left: Option<u64>,
}

/// The line; with how fast bytes became fewer since an earlier one.
pub(super) fn line(progress: &Progress, bytes_per_second: Option<u64>) -> String {
    let Progress { done, moving, not_begun, leaderless, bytes_left } = progress;
    let mut line = format!("{done} of {} partition(s) done, {moving} moving", done + moving + not_begun);
    if let Some(left) = bytes_left {
        line.push_str(&format!(", {} left", size(*left)));
    }
    if let Some(rate) = bytes_per_second {
        line.push_str(&format!(", {}/s", size(rate)));
    }
    if *leaderless > 0 {
        line.push_str(&format!("; {leaderless} have no leader and wait for one"));
    }
    line
}

/// Writes to standard error.
pub(super) struct Reporter {
    is_terminal: bool,
    /// While something moves, on a terminal.
    bar: Option<Bar>,
    last: Option<(Instant, Option<u64>)>,
}

impl Reporter {
    pub fn new() -> Reporter {
        Reporter { is_terminal: std::io::stderr().is_terminal(), bar: None, last: None }
    }

    /// Whether it is time for a line.
    pub fn is_due(&self, now: Instant) -> bool {
        let interval = if self.is_terminal { TERMINAL_INTERVAL } else { LINES_INTERVAL };
        self.last.is_none_or(|(at, _)| now.saturating_duration_since(at) >= interval)
    }

    pub fn report(&mut self, progress: &Progress, now: Instant) {
        let rate = match (self.last, progress.bytes_left) {
            (Some((at, Some(before))), Some(left)) => {
                let ms = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
                (before.saturating_sub(left).saturating_mul(1000)).checked_div(ms)
            }
            _ => None,
        };
        self.last = Some((now, progress.bytes_left));
        let line = line(progress, rate);
        if self.is_terminal {
            let bar = self.bar.get_or_insert_with(Bar::of_items);
            bar.at(progress.done, progress.done + progress.moving + progress.not_begun, line);
        } else {
            eprintln!("{line}");
        }
    }

    /// Something that happened: a line that stays.
    pub fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.note(text),
            None => eprintln!("{text}"),
        }
    }

    /// Nothing more is rewritten.
    pub fn end(&mut self) {
        self.bar = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_done_and_what_is_left() {
        let mut progress = Progress { done: 3, moving: 5, not_begun: 4, leaderless: 0, bytes_left: None };
        assert_eq!(line(&progress, None), "3 of 12 partition(s) done, 5 moving");
        progress.bytes_left = Some(3 << 19);
        progress.leaderless = 1;
        assert_eq!(
            line(&progress, Some(1 << 20)),
            "3 of 12 partition(s) done, 5 moving, 1.5 MiB left, 1 MiB/s; 1 have no leader and wait for one"
        );
    }
}
