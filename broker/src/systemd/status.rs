//! The line that `systemctl status` shows.

use crate::lifecycle::{Counts, Phase};

/// Bytes of a status at most: what comes from errors may be long.
const STATUS_BYTES_MAX: usize = 512;

/// What the metadata says of this broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Partitions that have a replica here.
    pub partitions: usize,
    /// Of these, it leads.
    pub leaders: usize,
    /// Clients are sent elsewhere.
    pub fenced: bool,
}

/// What the broker is at, in one line.
pub fn line(phase: Phase, counts: &Counts, share: &Share, stale: &[usize]) -> String {
    let Counts { partitions, recovered, offline, connections, closing } = *counts;
    let told = match phase {
        Phase::Joining => "joining: waiting for the controller".to_owned(),
        Phase::ReplayingJournal => "replaying the journal".to_owned(),
        // Shards are yet to count them.
        Phase::RecoveringLogs if partitions == 0 => "recovering logs".to_owned(),
        Phase::RecoveringLogs => format!("recovering logs: {recovered} of {partitions} partitions"),
        Phase::WaitingForController => "waiting for the controller to let this broker in".to_owned(),
        Phase::Serving => {
            let fenced = if share.fenced { ", fenced by the controller" } else { "" };
            format!(
                "serving: {} partitions, {} leaders, {connections} connections{fenced}",
                share.partitions, share.leaders
            )
        }
        Phase::Stopping if connections > 0 => format!("stopping: {connections} connections left"),
        Phase::Stopping if closing > 0 => format!("stopping: {closing} logs to close"),
        Phase::Stopping => "stopping".to_owned(),
    };
    let offline = match (phase, offline) {
        (Phase::RecoveringLogs | Phase::WaitingForController | Phase::Serving, 1..) => {
            format!(", {offline} could not be opened at the start")
        }
        _ => String::new(),
    };
    let stale = match stale {
        [] => String::new(),
        shards => format!("; NO PROGRESS of shards {shards:?}"),
    };
    format!("{told}{offline}{stale}")
}

/// A text as a status: a line break would begin another assignment.
pub fn one_line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.truncate(line.floor_char_boundary(STATUS_BYTES_MAX));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_words() {
        let counts = Counts { partitions: 9, recovered: 4, offline: 0, connections: 3, closing: 2 };
        let share = Share { partitions: 9, leaders: 5, fenced: false };
        for (phase, expected) in [
            (Phase::Joining, "joining: waiting for the controller"),
            (Phase::ReplayingJournal, "replaying the journal"),
            (Phase::RecoveringLogs, "recovering logs: 4 of 9 partitions"),
            (Phase::WaitingForController, "waiting for the controller to let this broker in"),
            (Phase::Serving, "serving: 9 partitions, 5 leaders, 3 connections"),
            (Phase::Stopping, "stopping: 3 connections left"),
        ] {
            assert_eq!(line(phase, &counts, &share, &[]), expected);
        }
        assert_eq!(line(Phase::RecoveringLogs, &Counts::default(), &share, &[]), "recovering logs");
        let counts = Counts { connections: 0, offline: 1, ..counts };
        assert_eq!(line(Phase::Stopping, &counts, &share, &[]), "stopping: 2 logs to close");
        let share = Share { fenced: true, ..share };
        let expected = "serving: 9 partitions, 5 leaders, 0 connections, fenced by the controller, \
                        1 could not be opened at the start; NO PROGRESS of shards [1]";
        assert_eq!(line(Phase::Serving, &counts, &share, &[1]), expected);
    }

    #[test]
    fn a_status_is_one_line_and_not_too_long() {
        assert_eq!(one_line("a\nREADY=1"), "a READY=1");
        assert!(one_line(&"é".repeat(1000)).len() <= STATUS_BYTES_MAX);
    }
}
