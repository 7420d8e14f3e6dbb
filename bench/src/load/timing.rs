//! When a run's warm-up and measured time are, and what that makes of what was recorded.

use std::time::Duration;

use crate::load::clock::Clock;
use crate::load::outcome::{Phase, Role, RoleOutcome};
use crate::load::producer::{Pace, ProducePlan};
use crate::load::recorder::{Attribution, Recorder, Window};
use crate::load::schedule::Schedule;
use crate::load::workload::Workload;

/// From the moment when all is prepared to the first request at a fixed rate: for threads to start.
const HEAD_START_NS: u64 = 20_000_000;
const SECOND_NS: f64 = 1e9;

/// The times of a run on its clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) start_ns: u64,
    pub(super) window: Window,
    /// Requests to produce, or records to read, where that ends the measured time.
    goal_records: Option<u64>,
}

impl Timing {
    /// A run that begins now. `left_records` is what there is to read where only reading is measured.
    pub(super) fn new(workload: &Workload, clock: &Clock, left_records: u64) -> Timing {
        let head_start_ns = if workload.rate.is_some() { HEAD_START_NS } else { 0 };
        let start_ns = clock.now_ns() + head_start_ns;
        let window_start_ns = start_ns + (workload.warmup_seconds * SECOND_NS) as u64;
        let end_ns = |seconds: f64| window_start_ns + (seconds * SECOND_NS) as u64;
        let end_ns = workload.duration_seconds.map_or(u64::MAX, end_ns);
        let goal_records = match workload.drain {
            true => (!workload.reread).then_some(left_records),
            false => workload.records,
        };
        Timing { start_ns, window: Window { start_ns: window_start_ns, end_ns }, goal_records }
    }

    pub(super) fn produce_plan(&self, workload: &Workload) -> ProducePlan {
        let pace = workload.rate.map_or(Pace::Greatest, |rate| {
            Pace::Fixed(Schedule::new(self.start_ns, rate, workload.request_records(), workload.producers))
        });
        let requests_max = workload.records.map(|records| records.div_ceil(workload.request_records()));
        let end_ns = self.window.end_ns;
        // By then all that was asked for is due, whichever of the two ends it.
        let last_due_ns = match (workload.rate, workload.records) {
            (Some(rate), Some(records)) => {
                end_ns.min(self.window.start_ns.saturating_add((records as f64 / rate * SECOND_NS) as u64))
            }
            _ => end_ns,
        };
        let give_up_ns = last_due_ns.saturating_add((workload.give_up_seconds * SECOND_NS) as u64);
        ProducePlan { pace, end_ns, give_up_ns, requests_max, window: self.window }
    }

    pub(super) fn phase(&self, now_ns: u64) -> Phase {
        match now_ns {
            now_ns if now_ns < self.window.start_ns => Phase::WarmUp,
            now_ns if now_ns < self.window.end_ns => Phase::Measuring,
            _ => Phase::Verifying,
        }
    }

    /// How much of the phase is done; `seen_records` were in the measured time.
    pub(super) fn done(&self, now_ns: u64, seen_records: u64) -> f64 {
        let share = |from: u64, to: u64| {
            if to > from { now_ns.saturating_sub(from) as f64 / (to - from) as f64 } else { 1.0 }
        };
        let done = match (self.phase(now_ns), self.goal_records) {
            (Phase::WarmUp, _) => share(self.start_ns, self.window.start_ns),
            (Phase::Measuring, Some(goal)) => {
                let by_time =
                    if self.window.end_ns == u64::MAX { 0.0 } else { share(self.window.start_ns, self.window.end_ns) };
                by_time.max(seen_records as f64 / goal.max(1) as f64)
            }
            (Phase::Measuring, None) => share(self.window.start_ns, self.window.end_ns),
            (Phase::Preparing | Phase::Verifying, _) => 0.0,
        };
        done.clamp(0.0, 1.0)
    }

    /// What the recorders of a role come to.
    pub(super) fn role_outcome(&self, role: Role, attribution: Attribution, recorders: Vec<Recorder>) -> RoleOutcome {
        let recorded = Recorder::merge(recorders);
        let Window { start_ns, end_ns } = self.window;
        let last_ns = recorded.last_end_ns.max(start_ns);
        let end_ns = match attribution {
            // Rates are over the time that it took to the last sample where nothing else ended it,
            _ if end_ns == u64::MAX || self.goal_records.is_some() => last_ns,
            // and where samples may end after the measured time.
            Attribution::Begin => end_ns.max(last_ns),
            Attribution::End => end_ns,
        };
        let elapsed = Duration::from_nanos(end_ns - start_ns);
        RoleOutcome { role, elapsed, total: recorded.total, intervals: recorded.intervals }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::load::recorder::{LiveCounts, Sample};

    fn workload(more: &str) -> Workload {
        let text = format!("name = 'w'\npartitions = 1\nrecord_size = 24\nwarmup_seconds = 2\n{more}");
        Workload::parse("w", &text, &[]).unwrap()
    }

    fn timing(more: &str) -> Timing {
        let timing = Timing::new(&workload(more), &Clock::start(), 0);
        let shift = timing.start_ns;
        let end_ns = timing.window.end_ns;
        let end_ns = if end_ns == u64::MAX { end_ns } else { end_ns - shift };
        let window = Window { start_ns: timing.window.start_ns - shift, end_ns };
        Timing { start_ns: 0, window, ..timing }
    }

    fn elapsed_seconds(timing: &Timing, attribution: Attribution, end_seconds: u64) -> u64 {
        let live = Arc::new(Mutex::new(LiveCounts::new()));
        let mut recorder = Recorder::new(timing.window, attribution, live);
        let (begin_ns, end_ns) = (3_000_000_000, end_seconds * 1_000_000_000);
        recorder.record(&Sample { begin_ns, end_ns, requests: 1, batches: 1, records: 1, bytes: 1, timed: true });
        timing.role_outcome(Role::Produce, attribution, vec![recorder]).elapsed.as_secs()
    }

    #[test]
    fn phases_follow_the_clock() {
        let timing = timing("duration_seconds = 10");
        let at = |seconds: f64| {
            let now_ns = (seconds * SECOND_NS) as u64;
            (timing.phase(now_ns), timing.done(now_ns, 0))
        };
        assert_eq!(at(1.0), (Phase::WarmUp, 0.5));
        assert_eq!(at(7.0), (Phase::Measuring, 0.5));
        assert_eq!(at(12.0), (Phase::Verifying, 0.0));
    }

    #[test]
    fn what_is_late_is_given_up_whatever_ends_the_run() {
        let give_up_seconds = |more: &str| timing(more).produce_plan(&workload(more)).give_up_ns / 1_000_000_000;
        assert_eq!(give_up_seconds("duration_seconds = 10\nrate = 100"), 2 + 10 + 10);
        assert_eq!(give_up_seconds("records = 3000\nrate = 100\ngive_up_seconds = 5"), 2 + 30 + 5);
        assert_eq!(give_up_seconds("records = 3000\nrate = 100\nduration_seconds = 10"), 2 + 10 + 10);
        assert!(give_up_seconds("records = 3000") > 1_000_000, "without a rate nothing is late");
    }

    #[test]
    fn rates_are_over_the_time_that_they_belong_to() {
        let by_time = timing("duration_seconds = 10");
        assert_eq!(elapsed_seconds(&by_time, Attribution::End, 5), 10);
        assert_eq!(elapsed_seconds(&by_time, Attribution::Begin, 5), 10);
        // At a fixed rate the broker may need longer than there was.
        assert_eq!(elapsed_seconds(&by_time, Attribution::Begin, 22), 20);
        let by_count = timing("records = 1000");
        assert_eq!(elapsed_seconds(&by_count, Attribution::End, 7), 5);
        assert_eq!((by_count.done(5_000_000_000, 250), by_count.phase(1 << 62)), (0.25, Phase::Measuring));
    }
}
