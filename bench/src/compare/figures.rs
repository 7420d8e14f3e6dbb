//! What a run comes to: figures by metric.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::compare::metric::Metric;
use crate::compare::watch::Usage;
use crate::load::outcome::{Measure, Outcome, Role};
use crate::output::{LatencyMs, Rates};

/// The figures of one run.
pub type Figures = BTreeMap<Metric, f64>;

/// The figures of a load run whose brokers had this use of the machine. With `one_leader` the first of them led everything.
///
/// Use is per byte, batch and record that was moved between client and brokers in either direction.
#[must_use]
pub fn of_outcome(outcome: &Outcome, usage: Option<Usage>, one_leader: bool) -> Figures {
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
    if let Some(usage) = usage {
        let mut per = |metric, per_second: f64, count: f64| {
            if count > 0.0 {
                figures.insert(metric, per_second * elapsed.as_secs_f64() / count);
            }
        };
        let (gigabytes, megarecords) = (moved.bytes as f64 / 1e9, moved.records as f64 / 1e6);
        per(Metric::BrokerCpuSecondsPerGigabyte, usage.cores, gigabytes);
        per(Metric::BrokerCpuSecondsPerMillionBatches, usage.cores, moved.batches as f64 / 1e6);
        per(Metric::BrokerCpuSecondsPerMillionRecords, usage.cores, megarecords);
        if one_leader {
            per(Metric::LeaderCpuSecondsPerGigabyte, usage.first_cores, gigabytes);
            per(Metric::LeaderCpuSecondsPerMillionRecords, usage.first_cores, megarecords);
        }
        per(Metric::DiskBytesPerByte, usage.disk_bytes, moved.bytes as f64);
        per(Metric::LoopbackBytesPerByte, usage.loopback_bytes, moved.bytes as f64);
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

    const USAGE: Usage = Usage { cores: 0.5, first_cores: 0.1, disk_bytes: 3e5, loopback_bytes: 2e5 };

    #[test]
    fn produce_and_cpu_are_per_what_was_moved() {
        let outcome = sample();
        let figures = of_outcome(&outcome, Some(USAGE), true);
        // 2,000 records of 100 bytes in 200 batches over 2 s; what end-to-end counts is the same records once more.
        let expected = [
            (Metric::ProduceMegabytesPerSecond, 0.1),
            (Metric::ProduceBatchesPerSecond, 100.0),
            (Metric::ProduceRecordsPerSecond, 1000.0),
            (Metric::BrokerCpuSecondsPerGigabyte, 1.0 / 0.0002),
            (Metric::BrokerCpuSecondsPerMillionBatches, 1.0 / 0.0002),
            (Metric::BrokerCpuSecondsPerMillionRecords, 1.0 / 0.002),
            (Metric::LeaderCpuSecondsPerGigabyte, 0.2 / 0.0002),
            (Metric::LeaderCpuSecondsPerMillionRecords, 0.2 / 0.002),
            (Metric::DiskBytesPerByte, 3.0),
            (Metric::LoopbackBytesPerByte, 2.0),
            (Metric::ClientCpuCores, 0.25),
            (Metric::LateSendsPercent, 25.0),
        ];
        for (metric, value) in expected {
            assert!((figures[&metric] - value).abs() < 1e-9 * value.max(1.0), "{metric:?}: {}", figures[&metric]);
        }
        assert!((figures[&Metric::ProduceP99Ms] - 198.0).abs() < 0.2);
        assert!(!figures.contains_key(&Metric::FetchMegabytesPerSecond));
        assert!(!of_outcome(&outcome, None, true).contains_key(&Metric::BrokerCpuSecondsPerGigabyte));
        let spread = of_outcome(&outcome, Some(USAGE), false);
        assert!(!spread.contains_key(&Metric::LeaderCpuSecondsPerGigabyte), "nobody led everything");
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
        let figures = of_outcome(&outcome, Some(USAGE), false);
        assert_eq!(figures[&Metric::FetchMegabytesPerSecond], 0.2);
        assert!((figures[&Metric::BrokerCpuSecondsPerGigabyte] - 1.0 / 0.0004).abs() < 1e-6, "{figures:?}");
        assert!(!figures.contains_key(&Metric::ProduceMegabytesPerSecond));
        assert!((figures[&Metric::FetchP99Ms] - 198.0).abs() < 0.2);
    }
}
