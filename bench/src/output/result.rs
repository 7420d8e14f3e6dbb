//! The figures of a run: as JSON with every unit in its name, and as a table for the terminal.
//!
//! A megabyte is 10^6 bytes; bytes are those of record batches as they are on the wire. Latencies are milliseconds, and
//! absent where nothing was measured. Client CPU is that of the load generator, which shares the machine with the broker.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::outcome::{Interval, Measure, Outcome, Role, RoleOutcome};
use crate::output::title;
use crate::report::{Table, number};

/// Nanoseconds in the unit of what is told.
const NS_PER_MS: f64 = 1e6;

/// Everything about a run, for JSON.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult<W> {
    pub name: String,
    /// What was run, as it was after all overrides.
    pub workload: W,
    /// Wall clock when the measured time began.
    pub began_unix_ms: u64,
    pub client_cpu_seconds: f64,
    /// Of the intended sends, those that the client itself made more than 1 ms late; only at a fixed rate.
    pub late_sends_share: Option<f64>,
    /// Of the intended sends, those that were given up because the broker was too far behind; only at a fixed rate.
    pub given_up_share: Option<f64>,
    /// Brokers that led some of the partitions.
    pub leading_brokers: usize,
    pub verified: VerifiedResult,
    pub roles: Vec<RoleResult>,
}

/// What was checked; a run that lost or repeated a record has no result at all.
#[derive(Clone, Debug, Serialize)]
pub struct VerifiedResult {
    pub acknowledged_records: u64,
    pub read_records: u64,
    pub consumer_groups: usize,
}

/// One role over the measured time.
#[derive(Clone, Debug, Serialize)]
pub struct RoleResult {
    /// "produce", "fetch" or "end-to-end".
    pub role: &'static str,
    pub group: Option<String>,
    pub elapsed_seconds: f64,
    pub counts: Counts,
    pub rates: Rates,
    pub latency: Option<LatencyMs>,
    pub intervals: Vec<IntervalResult>,
}

/// One second or so of a role.
#[derive(Clone, Debug, Serialize)]
pub struct IntervalResult {
    pub start_seconds: f64,
    pub length_seconds: f64,
    pub counts: Counts,
    pub rates: Rates,
    pub latency: Option<LatencyMs>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub requests: u64,
    pub batches: u64,
    pub records: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rates {
    pub requests_per_second: f64,
    pub batches_per_second: f64,
    pub records_per_second: f64,
    /// Of 10^6 bytes.
    pub megabytes_per_second: f64,
}

impl Rates {
    /// Of what was counted in `elapsed`; 0 of no time.
    #[must_use]
    pub fn of(measure: &Measure, elapsed: Duration) -> Rates {
        let seconds = elapsed.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Rates {
            requests_per_second: rate(measure.requests),
            batches_per_second: rate(measure.batches),
            records_per_second: rate(measure.records),
            megabytes_per_second: rate(measure.bytes) / 1e6,
        }
    }
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LatencyMs {
    pub samples: u64,
    pub mean_ms: f64,
    pub min_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub p99_99_ms: f64,
    pub max_ms: f64,
}

impl LatencyMs {
    /// `None` without samples.
    #[must_use]
    pub fn of(latency: &Histogram<u64>) -> Option<LatencyMs> {
        if latency.is_empty() {
            return None;
        }
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / NS_PER_MS;
        Some(LatencyMs {
            samples: latency.len(),
            mean_ms: latency.mean() / NS_PER_MS,
            min_ms: latency.min() as f64 / NS_PER_MS,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            p99_99_ms: at(0.9999),
            max_ms: latency.max() as f64 / NS_PER_MS,
        })
    }
}

impl<W: Serialize> RunResult<W> {
    #[must_use]
    pub fn new(outcome: &Outcome, workload: W) -> RunResult<W> {
        RunResult {
            name: outcome.workload.clone(),
            workload,
            began_unix_ms: outcome.began_ms,
            client_cpu_seconds: outcome.client_cpu.as_secs_f64(),
            late_sends_share: outcome.late_sends,
            given_up_share: outcome.given_up,
            leading_brokers: outcome.leading_brokers,
            verified: VerifiedResult {
                acknowledged_records: outcome.verified.acknowledged_records,
                read_records: outcome.verified.read_records,
                consumer_groups: outcome.verified.consumer_groups,
            },
            roles: outcome.roles.iter().map(RoleResult::new).collect(),
        }
    }
}

impl RoleResult {
    #[must_use]
    pub fn new(outcome: &RoleOutcome) -> RoleResult {
        let (role, group) = match &outcome.role {
            Role::Produce => ("produce", None),
            Role::Fetch { group } => ("fetch", Some(group.clone())),
            Role::EndToEnd { group } => ("end-to-end", Some(group.clone())),
        };
        RoleResult {
            role,
            group,
            elapsed_seconds: outcome.elapsed.as_secs_f64(),
            counts: Counts::of(&outcome.total),
            rates: Rates::of(&outcome.total, outcome.elapsed),
            latency: LatencyMs::of(&outcome.total.latency),
            intervals: outcome.intervals.iter().map(IntervalResult::new).collect(),
        }
    }
}

impl IntervalResult {
    fn new(interval: &Interval) -> IntervalResult {
        IntervalResult {
            start_seconds: interval.start.as_secs_f64(),
            length_seconds: interval.length.as_secs_f64(),
            counts: Counts::of(&interval.measure),
            rates: Rates::of(&interval.measure, interval.length),
            latency: LatencyMs::of(&interval.measure.latency),
        }
    }
}

impl Counts {
    fn of(measure: &Measure) -> Counts {
        let Measure { requests, batches, records, bytes, .. } = *measure;
        Counts { requests, batches, records, bytes }
    }
}

/// The run in Markdown: a row of latencies and rates for each role, and what else is worth knowing of it.
#[must_use]
pub fn summary(outcome: &Outcome) -> String {
    let header =
        ["", "p50, ms", "p90, ms", "p99, ms", "p99.9, ms", "p99.99, ms", "max, ms", "records/s", "batches/s", "MB/s"];
    let mut table = Table::new(header);
    for role in &outcome.roles {
        let rates = Rates::of(&role.total, role.elapsed);
        let latency = LatencyMs::of(&role.total.latency);
        let latencies = match latency {
            Some(ms) => [ms.p50_ms, ms.p90_ms, ms.p99_ms, ms.p99_9_ms, ms.p99_99_ms, ms.max_ms],
            None => [f64::NAN; 6],
        };
        let rates = [rates.records_per_second, rates.batches_per_second, rates.megabytes_per_second];
        let numbers = latencies.iter().chain(&rates).map(|value| number(*value));
        table.row(std::iter::once(title(&role.role)).chain(numbers));
    }
    let elapsed = outcome.roles.iter().map(|role| role.elapsed).max().unwrap_or_default();
    let mut text =
        format!("{}: {} s measured\n\n{}\n", outcome.workload, number(elapsed.as_secs_f64()), table.to_markdown());
    text.push_str(&client_line(outcome, elapsed));
    let verified = &outcome.verified;
    text.push_str(&match verified.consumer_groups {
        0 => format!("Verified: {} records acknowledged; none were read.\n", verified.acknowledged_records),
        groups => format!(
            "Verified: {} records acknowledged, {} read and checked by {groups} group(s); none lost, repeated or out of order.\n",
            verified.acknowledged_records, verified.read_records,
        ),
    });
    text
}

fn client_line(outcome: &Outcome, elapsed: Duration) -> String {
    let (cpu, elapsed) = (outcome.client_cpu.as_secs_f64(), elapsed.as_secs_f64());
    let mut text = format!("Client CPU: {} s", number(cpu));
    if elapsed > 0.0 {
        text.push_str(&format!(", {:.0} % of a core", cpu / elapsed * 100.0));
    }
    if let Some(late) = outcome.late_sends {
        text.push_str(&format!(
            "; {} % of the sends were more than 1 ms late by the client's fault",
            number(late * 100.0)
        ));
    }
    text.push_str(".\n");
    if let Some(given_up) = outcome.given_up.filter(|share| *share > 0.0) {
        text.push_str(&format!(
            "The broker did not keep up: {} % of the sends were given up, and count with the latency that they had by then.\n",
            number(given_up * 100.0)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::sample;

    /// Of a latency with three digits.
    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= expected / 1000.0
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let ms = LatencyMs::of(&sample().roles[0].total.latency).unwrap();
        assert!(close(ms.p50_ms, 100.0) && close(ms.p90_ms, 180.0) && close(ms.p99_ms, 198.0), "{ms:?}");
        assert!(close(ms.p99_9_ms, 200.0) && close(ms.max_ms, 200.0) && close(ms.min_ms, 1.0), "{ms:?}");
        assert!(close(ms.mean_ms, 100.5) && ms.samples == 200, "{ms:?}");
        assert_eq!(LatencyMs::of(&crate::load::outcome::latency_histogram()), None);
    }

    #[test]
    fn rates_are_over_the_elapsed_time() {
        let role = &sample().roles[0];
        let rates = Rates::of(&role.total, role.elapsed);
        let expected = Rates {
            requests_per_second: 100.0,
            batches_per_second: 100.0,
            records_per_second: 1000.0,
            megabytes_per_second: 0.1,
        };
        assert_eq!(rates, expected);
        assert_eq!(Rates::of(&role.total, Duration::ZERO).records_per_second, 0.0);
    }

    #[test]
    fn json_has_the_workload_and_every_number_has_its_unit() {
        let json = serde_json::to_value(RunResult::new(&sample(), serde_json::json!({"partitions": 16}))).unwrap();
        assert_eq!(json["workload"]["partitions"], 16);
        assert_eq!(json["roles"][1]["role"], "end-to-end");
        assert_eq!(json["roles"][1]["group"], "g/1");
        assert_eq!(json["roles"][0]["rates"]["records_per_second"], 1000.0);
        assert_eq!(json["roles"][0]["intervals"][1]["start_seconds"], 1.0);
        assert_eq!(json["verified"]["read_records"], 2000);
        let mut without_unit = Vec::new();
        check_units(&json, &mut without_unit);
        assert_eq!(without_unit, ["partitions"], "the workload is told in its own words");
    }

    /// Collects the names of numbers that tell no unit.
    fn check_units(value: &serde_json::Value, without_unit: &mut Vec<String>) {
        const UNITS: [&str; 12] = [
            "_ms",
            "_seconds",
            "_per_second",
            "_share",
            "_records",
            "_groups",
            "_brokers",
            "requests",
            "batches",
            "records",
            "bytes",
            "samples",
        ];
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    if value.is_number() && !UNITS.iter().any(|unit| name.ends_with(unit)) {
                        without_unit.push(name.clone());
                    }
                    check_units(value, without_unit);
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| check_units(value, without_unit)),
            _ => {}
        }
    }

    #[test]
    fn the_summary_has_a_row_for_each_role_and_the_clients_share() {
        let mut outcome = sample();
        let text = summary(&outcome);
        let row = text.lines().find(|line| line.starts_with("| produce")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..11], ["100", "180", "198", "200", "200", "200", "1,000", "100", "0.100"], "{row}");
        assert!(text.contains("| end to end, g/1 |"), "{text}");
        assert!(text.contains("Client CPU: 0.500 s, 25 % of a core; 25.0 % of the sends"), "{text}");
        assert!(text.contains("2000 records acknowledged, 2000 read and checked by 1 group(s)"), "{text}");
        outcome.roles[0].total = Measure::new();
        let text = summary(&outcome);
        let row = text.lines().find(|line| line.starts_with("| produce")).unwrap();
        assert_eq!(row.split('|').nth(2).unwrap().trim(), "-", "no samples, no latency: {row}");
    }
}
