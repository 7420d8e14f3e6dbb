//! What a run comes to: figures by metric, and the broker's CPU time while it was measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::compare::metric::Metric;
use crate::load::outcome::{Live, Measure, Outcome, Phase, Role};
use crate::output::{LatencyMs, Rates};
use crate::procfs::{ProcfsError, cpu_seconds};

/// The figures of one run.
pub type Figures = BTreeMap<Metric, f64>;

/// Watches a broker's CPU time, and looks at it only while a run is measured.
///
/// The first and the last look are as far apart as the observer is called in that phase, a fraction of a second short of
/// the measured time: so what is told is CPU time per time, not CPU time.
#[derive(Debug)]
pub struct CpuWatch {
    pid: u32,
    first: Option<Reading>,
    last: Option<Reading>,
    error: Option<ProcfsError>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    cpu_seconds: f64,
}

impl CpuWatch {
    #[must_use]
    pub fn new(pid: u32) -> CpuWatch {
        CpuWatch { pid, first: None, last: None, error: None }
    }

    pub fn observe(&mut self, live: &Live) {
        if live.phase == Phase::Measuring && self.error.is_none() {
            match cpu_seconds(self.pid) {
                Ok(cpu_seconds) => self.add(Reading { at: Instant::now(), cpu_seconds }),
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn add(&mut self, reading: Reading) {
        self.first.get_or_insert(reading);
        self.last = Some(reading);
    }

    /// Cores that the broker kept busy on average; `None` if the phase was too short to tell.
    pub fn cores(self) -> Result<Option<f64>, ProcfsError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let (Some(first), Some(last)) = (self.first, self.last) else { return Ok(None) };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        Ok((seconds > 0.0).then(|| (last.cpu_seconds - first.cpu_seconds) / seconds))
    }
}

/// The figures of a load run whose broker kept `broker_cores` cores busy.
///
/// Broker CPU is per byte, batch and record that was moved in either direction.
#[must_use]
pub fn of_outcome(outcome: &Outcome, broker_cores: Option<f64>) -> Figures {
    let mut figures = Figures::new();
    let produce = total(outcome, |role| *role == Role::Produce);
    if let Some((measure, elapsed)) = produce.as_ref().filter(|(measure, _)| measure.requests > 0) {
        let rates = Rates::of(measure, *elapsed);
        figures.insert(Metric::ProduceMegabytesPerSecond, rates.megabytes_per_second);
        figures.insert(Metric::ProduceBatchesPerSecond, rates.batches_per_second);
        figures.insert(Metric::ProduceRecordsPerSecond, rates.records_per_second);
        if let Some(latency) = LatencyMs::of(&measure.latency) {
            figures.insert(Metric::ProduceP50Ms, latency.p50_ms);
            figures.insert(Metric::ProduceP99Ms, latency.p99_ms);
            figures.insert(Metric::ProduceP999Ms, latency.p99_9_ms);
        }
    }
    let fetch = total(outcome, |role| matches!(role, Role::Fetch { .. }));
    if let Some((measure, elapsed)) = fetch.as_ref().filter(|(measure, _)| measure.requests > 0) {
        figures.insert(Metric::FetchMegabytesPerSecond, Rates::of(measure, *elapsed).megabytes_per_second);
        if let Some(latency) = LatencyMs::of(&measure.latency) {
            figures.insert(Metric::FetchP99Ms, latency.p99_ms);
        }
    }
    let mut moved = Measure::new();
    let mut elapsed = Duration::ZERO;
    for (measure, time) in produce.iter().chain(&fetch) {
        moved.add(measure);
        elapsed = elapsed.max(*time);
    }
    if let Some(cores) = broker_cores {
        let cpu_seconds = cores * elapsed.as_secs_f64();
        let mut per = |metric, count: f64| {
            if count > 0.0 {
                figures.insert(metric, cpu_seconds / count);
            }
        };
        per(Metric::BrokerCpuSecondsPerGigabyte, moved.bytes as f64 / 1e9);
        per(Metric::BrokerCpuSecondsPerMillionBatches, moved.batches as f64 / 1e6);
        per(Metric::BrokerCpuSecondsPerMillionRecords, moved.records as f64 / 1e6);
    }
    if !elapsed.is_zero() {
        figures.insert(Metric::ClientCpuCores, outcome.client_cpu.as_secs_f64() / elapsed.as_secs_f64());
    }
    if let Some(late) = outcome.late_sends {
        figures.insert(Metric::LateSendsPercent, late * 100.0);
    }
    if let Some(given_up) = outcome.given_up {
        figures.insert(Metric::GivenUpPercent, given_up * 100.0);
    }
    figures
}

/// The sum over roles, and the longest time of one.
fn total(outcome: &Outcome, wanted: impl Fn(&Role) -> bool) -> Option<(Measure, Duration)> {
    let mut sum: Option<(Measure, Duration)> = None;
    for role in outcome.roles.iter().filter(|role| wanted(&role.role)) {
        let (measure, elapsed) = sum.get_or_insert_with(|| (Measure::new(), Duration::ZERO));
        measure.add(&role.total);
        *elapsed = role.elapsed.max(*elapsed);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::RoleOutcome;
    use crate::output::tests::sample;

    #[test]
    fn produce_and_cpu_are_per_what_was_moved() {
        let outcome = sample();
        let figures = of_outcome(&outcome, Some(0.5));
        // 2,000 records of 100 bytes in 200 batches over 2 s; what end-to-end counts is the same records once more.
        let expected = [
            (Metric::ProduceMegabytesPerSecond, 0.1),
            (Metric::ProduceBatchesPerSecond, 100.0),
            (Metric::ProduceRecordsPerSecond, 1000.0),
            (Metric::BrokerCpuSecondsPerGigabyte, 1.0 / 0.0002),
            (Metric::BrokerCpuSecondsPerMillionBatches, 1.0 / 0.0002),
            (Metric::BrokerCpuSecondsPerMillionRecords, 1.0 / 0.002),
            (Metric::ClientCpuCores, 0.25),
            (Metric::LateSendsPercent, 25.0),
        ];
        for (metric, value) in expected {
            assert!((figures[&metric] - value).abs() < 1e-9 * value.max(1.0), "{metric:?}: {}", figures[&metric]);
        }
        assert!((figures[&Metric::ProduceP99Ms] - 198.0).abs() < 0.2);
        assert!(!figures.contains_key(&Metric::FetchMegabytesPerSecond));
        assert!(!of_outcome(&outcome, None).contains_key(&Metric::BrokerCpuSecondsPerGigabyte));
    }

    #[test]
    fn groups_add_up_and_what_was_not_done_has_no_figure() {
        let mut outcome = sample();
        let fetch = |group: &str, of: &RoleOutcome| {
            let mut role = of.clone();
            role.role = Role::Fetch { group: group.to_owned() };
            role
        };
        let roles = vec![fetch("a", &outcome.roles[0]), fetch("b", &outcome.roles[0])];
        outcome.roles = roles;
        let figures = of_outcome(&outcome, Some(0.5));
        assert_eq!(figures[&Metric::FetchMegabytesPerSecond], 0.2);
        assert!((figures[&Metric::BrokerCpuSecondsPerGigabyte] - 1.0 / 0.0004).abs() < 1e-6, "{figures:?}");
        assert!(!figures.contains_key(&Metric::ProduceMegabytesPerSecond));
        assert!((figures[&Metric::FetchP99Ms] - 198.0).abs() < 0.2);
    }

    #[test]
    fn cpu_is_watched_in_the_measured_phase_alone() {
        let start = Instant::now();
        let reading = |ms, cpu_seconds| Reading { at: start + Duration::from_millis(ms), cpu_seconds };
        let mut watch = CpuWatch::new(std::process::id());
        watch.add(reading(0, 10.0));
        watch.add(reading(1000, 10.7));
        watch.add(reading(2000, 11.0));
        assert_eq!(watch.cores().unwrap(), Some(0.5));

        let live = |phase| Live { phase, done: 0.0, records_per_second: 0.0, bytes_per_second: 0.0, p99: None };
        let mut watch = CpuWatch::new(std::process::id());
        watch.observe(&live(Phase::WarmUp));
        watch.observe(&live(Phase::Verifying));
        assert!(watch.first.is_none());
        watch.observe(&live(Phase::Measuring));
        assert!(watch.first.is_some());

        let mut gone = CpuWatch::new(u32::MAX);
        gone.observe(&live(Phase::Measuring));
        assert!(gone.cores().unwrap_err().to_string().contains("/proc/4294967295/stat"));
    }
}
