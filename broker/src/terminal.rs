//! Standard error of a broker that somebody has started at a terminal: log lines, and below them how far the start is, once it
//! has taken a second. Elsewhere there are log lines alone; whoever watches from outside has `/health` and `systemctl status`.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::lifecycle::{Counts, Lifecycle, Phase};

/// What ends before is not shown.
const SILENT_TIME: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(100);

/// What stands below the log lines.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Where log lines go.
pub struct Stderr;

/// Makes a writer for log output.
pub fn stderr() -> Stderr {
    Stderr
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows how far the start is until the broker serves, or stops.
pub async fn show_start(lifecycle: Lifecycle) {
    if !io::stderr().is_terminal() {
        return;
    }
    let mut phases = lifecycle.phases();
    let done = phases.wait_for(|phase| matches!(phase, Phase::Serving | Phase::Stopping));
    let showing = async {
        tokio::time::sleep(SILENT_TIME).await;
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("it is a template"));
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        loop {
            if let Some(message) = message(lifecycle.phase(), &lifecycle.counts()) {
                bar.set_message(message);
                bar.tick();
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        // It serves, or all that could tell has ended.
        _ = done => {}
        () = showing => {}
    }
    if let Some(bar) = BAR.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}

fn message(phase: Phase, counts: &Counts) -> Option<String> {
    Some(match phase {
        Phase::Joining => "joining: waiting for the controller".to_owned(),
        Phase::ReplayingJournal => "replaying the journal".to_owned(),
        Phase::RecoveringLogs => {
            let Counts { recovered, partitions, .. } = *counts;
            format!("{} recovering logs: {recovered} of {partitions} partitions", bar(recovered, partitions))
        }
        Phase::WaitingForController => "waiting for the controller to let this broker in".to_owned(),
        Phase::Serving | Phase::Stopping => return None,
    })
}

/// Steps of a bar.
const STEPS: usize = 30;

fn bar(done: usize, total: usize) -> String {
    let full = (done * STEPS).checked_div(total).unwrap_or(0).min(STEPS);
    format!("{}{}", "█".repeat(full), "░".repeat(STEPS - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_shown_until_the_broker_serves() {
        let counts = Counts { partitions: 60, recovered: 20, ..Counts::default() };
        let shown = message(Phase::RecoveringLogs, &counts).unwrap();
        assert_eq!(shown, "██████████░░░░░░░░░░░░░░░░░░░░ recovering logs: 20 of 60 partitions");
        assert!(message(Phase::Joining, &counts).unwrap().contains("waiting for the controller"));
        assert_eq!(message(Phase::Serving, &counts), None);
        assert_eq!(bar(0, 0), "░".repeat(STEPS));
        assert_eq!(bar(3, 3), "█".repeat(STEPS));
    }
}
