//! `/health/ready`: whether clients may be sent here. Joined, logs recovered, let in by the controller, and listening.

use super::{Check, Health, Report};
use crate::clock;
use crate::lifecycle::{Counts, Phase};

/// What the report is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub phase: Phase,
    pub counts: Counts,
    /// The controller lets clients come here, as far as this broker knows.
    pub unfenced: bool,
    /// The controller has been heard of within its session timeout.
    pub lease_holds: bool,
}

impl Seen {
    pub fn of(health: &Health) -> Seen {
        let serving = health.serving.get();
        Seen {
            phase: health.lifecycle.phase(),
            counts: health.lifecycle.counts(),
            unfenced: serving.is_some_and(|serving| serving.observer.is_unfenced()),
            lease_holds: serving.is_some_and(|serving| serving.lease.holds(clock::boot_ms())),
        }
    }
}

pub(super) fn report(seen: &Seen) -> Report {
    let checks = vec![cluster(seen), logs(seen), controller(seen), listener(seen)];
    let failed = checks.iter().find(|check| !check.is_ok());
    // Those after it follow from it.
    let reason = failed.map(|check| check.reason.clone());
    let report = Report::of(checks, "ready");
    Report { reason: reason.unwrap_or(report.reason), ..report }
}

fn cluster(seen: &Seen) -> Check {
    match seen.phase {
        Phase::Joining => Check::new("cluster", false, "waiting for the controller"),
        _ => Check::new("cluster", true, "joined"),
    }
}

fn logs(seen: &Seen) -> Check {
    let Counts { partitions, recovered, offline, .. } = seen.counts;
    let check = match seen.phase {
        Phase::Joining => Check::new("logs", false, "not looked at yet"),
        Phase::ReplayingJournal => Check::new("logs", false, "the journal is being replayed"),
        Phase::RecoveringLogs => {
            Check::new("logs", false, format!("logs are being recovered: {recovered} of {partitions}"))
        }
        // Others serve what cannot be served here, or nobody can: this broker serves the rest.
        _ if offline > 0 => {
            Check::new("logs", true, format!("recovered, {offline} of {partitions} could not be opened"))
        }
        _ => Check::new("logs", true, "recovered"),
    };
    check.with("partitions", partitions).with("recovered", recovered).with("offline", offline)
}

fn controller(seen: &Seen) -> Check {
    let refused = |reason: &str| Check::new("controller", false, reason);
    match seen.phase {
        Phase::Joining | Phase::ReplayingJournal | Phase::RecoveringLogs => {
            refused("not asked yet to let this broker in")
        }
        Phase::WaitingForController => refused("waiting for the controller to let this broker in"),
        _ if !seen.unfenced => refused("fenced by the controller"),
        _ if !seen.lease_holds => refused("the controller has not been heard of within its session timeout"),
        _ => Check::new("controller", true, "lets this broker serve"),
    }
}

fn listener(seen: &Seen) -> Check {
    match seen.phase {
        Phase::Serving => Check::new("listener", true, "open"),
        Phase::Stopping => Check::new("listener", false, "stopping"),
        _ => Check::new("listener", false, "not open yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::health::Status;

    const COUNTS: Counts = Counts { partitions: 9, recovered: 4, offline: 1, connections: 0, closing: 0 };

    fn told(phase: Phase, unfenced: bool, lease_holds: bool) -> (Status, String) {
        let report = report(&Seen { phase, counts: COUNTS, unfenced, lease_holds });
        (report.status, report.reason)
    }

    #[test]
    fn ready_only_when_all_of_it_is() {
        for (phase, unfenced, lease_holds, expected) in [
            (Phase::Joining, false, false, "waiting for the controller"),
            (Phase::ReplayingJournal, false, false, "the journal is being replayed"),
            (Phase::RecoveringLogs, false, true, "logs are being recovered: 4 of 9"),
            (Phase::WaitingForController, false, true, "waiting for the controller to let this broker in"),
            (Phase::Serving, false, true, "fenced by the controller"),
            (Phase::Serving, true, false, "the controller has not been heard of within its session timeout"),
            (Phase::Stopping, false, true, "fenced by the controller"),
            (Phase::Stopping, true, true, "stopping"),
        ] {
            let expected = (Status::Unavailable, expected.to_owned());
            assert_eq!(told(phase, unfenced, lease_holds), expected, "{phase:?} {unfenced} {lease_holds}");
        }
        assert_eq!(told(Phase::Serving, true, true), (Status::Ok, "ready".to_owned()));
    }

    #[test]
    fn every_component_is_told_of() {
        let report = report(&Seen { phase: Phase::Serving, counts: COUNTS, unfenced: true, lease_holds: true });
        let names: Vec<&str> = report.checks.iter().map(|check| &*check.name).collect();
        assert_eq!(names, ["cluster", "logs", "controller", "listener"]);
        assert_eq!(report.checks[1].reason, "recovered, 1 of 9 could not be opened");
        assert_eq!(report.checks[1].more["recovered"], 4);
    }
}
