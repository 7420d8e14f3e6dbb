//! What is left of a load run: files for tools and eyes, a table for the terminal, and a bar while it goes on.
//!
//! [`publish`] writes into one directory, for each role:
//!
//! - `<role>.hgrm`: the percentile distribution in milliseconds, in the text format of HdrHistogram's tools and plotters;
//! - `<role>.hlog`: one histogram a second, in nanoseconds, in HdrHistogram's interval log format (V2, compressed);
//!
//! and for the run as a whole `result.json` (every count and figure, units in the names, and the workload that was run) and
//! three plots, `latency-percentiles.svg`, `throughput.svg` and `p99.svg`. All figures are of the measured time.
//!
//! Deliberately absent: comparisons (see `compare`), and any judgement of the figures.

mod histogram_text;
mod interval_log;
mod plots;
mod progress;
mod result;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::load::outcome::{Outcome, Role};
use plots::PlotError;

pub use progress::Bar;
pub use result::{LatencyMs, Rates, RunResult, summary};

/// Why the results of a run could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("{path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("the interval log {path} cannot be written: {source}")]
    IntervalLog { path: PathBuf, source: interval_log::LogWriterError },
    #[error("the plot {path} cannot be drawn: {source}")]
    Plot { path: PathBuf, source: PlotError },
    #[error("{path}: the result cannot be written as JSON: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
}

/// Writes everything about a run into `dir`, which is created if need be; files of an earlier run are replaced.
pub fn publish(outcome: &Outcome, workload: &impl Serialize, dir: &Path) -> Result<(), OutputError> {
    fs::create_dir_all(dir).map_err(|source| OutputError::Io { path: dir.to_owned(), action: "creating", source })?;
    for role in &outcome.roles {
        let slug = slug(&role.role);
        write(&dir.join(format!("{slug}.hgrm")), histogram_text::distribution(&role.total.latency).as_bytes())?;
        let path = dir.join(format!("{slug}.hlog"));
        let log = interval_log::encode(role, outcome.began_ms)
            .map_err(|source| OutputError::IntervalLog { path: path.clone(), source })?;
        write(&path, &log)?;
    }
    let path = dir.join("result.json");
    let json = serde_json::to_vec_pretty(&RunResult::new(outcome, workload));
    write(&path, &json.map_err(|source| OutputError::Json { path: path.clone(), source })?)?;
    for (name, draw) in plots::ALL {
        let path = dir.join(name);
        let svg = draw(outcome).map_err(|source| OutputError::Plot { path: path.clone(), source })?;
        write(&path, svg.as_bytes())?;
    }
    Ok(())
}

/// What a role is called in tables and legends.
#[must_use]
pub fn title(role: &Role) -> String {
    match role {
        Role::Produce => "produce".to_owned(),
        Role::Fetch { group } => format!("fetch, {group}"),
        Role::EndToEnd { group } => format!("end to end, {group}"),
    }
}

/// What a role's files are called. Groups are told apart by name; what a file name should not hold becomes '-'.
fn slug(role: &Role) -> String {
    let name = match role {
        Role::Produce => "produce".to_owned(),
        Role::Fetch { group } => format!("fetch-{group}"),
        Role::EndToEnd { group } => format!("end-to-end-{group}"),
    };
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), OutputError> {
    fs::write(path, bytes).map_err(|source| OutputError::Io { path: path.to_owned(), action: "writing", source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use crate::load::outcome::{Interval, Measure, RoleOutcome, Verified};

    use super::*;

    /// One second's measure: `count` requests of one batch of 10 records of 100 bytes, `first_ms`, `first_ms + 1`, …
    fn second(count: u64, first_ms: u64) -> Measure {
        let mut measure = Measure::new();
        for number in 0..count {
            measure.latency.record((first_ms + number) * 1_000_000).unwrap();
        }
        (measure.requests, measure.batches, measure.records, measure.bytes) =
            (count, count, count * 10, count * 10 * 100);
        measure
    }

    /// Two roles over two seconds: 1..=100 ms, then 101..=200 ms.
    pub(crate) fn sample() -> Outcome {
        let of_role = |role| {
            let intervals: Vec<Interval> = (0..2)
                .map(|number| Interval {
                    start: Duration::from_secs(number),
                    length: Duration::from_secs(1),
                    measure: second(100, 1 + 100 * number),
                })
                .collect();
            let mut total = Measure::new();
            intervals.iter().for_each(|interval| total.add(&interval.measure));
            RoleOutcome { role, elapsed: Duration::from_secs(2), total, intervals }
        };
        Outcome {
            workload: "sample".to_owned(),
            began_ms: 1_700_000_000_123,
            roles: vec![of_role(Role::Produce), of_role(Role::EndToEnd { group: "g/1".to_owned() })],
            verified: Verified { acknowledged_records: 2000, read_records: 2000, consumer_groups: 1 },
            client_cpu: Duration::from_millis(500),
            late_sends: Some(0.25),
            given_up: Some(0.0),
            leading_brokers: 1,
        }
    }

    #[test]
    fn every_file_of_a_run_is_written_and_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("deep/run");
        publish(&sample(), &serde_json::json!({"partitions": 16}), &run).unwrap();
        let mut names: Vec<_> = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap()).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        assert!(names.iter().all(|entry| entry.metadata().unwrap().len() > 200), "{names:?}");
        let names: Vec<_> = names.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
        let expected = [
            "end-to-end-g-1.hgrm",
            "end-to-end-g-1.hlog",
            "latency-percentiles.svg",
            "p99.svg",
            "produce.hgrm",
            "produce.hlog",
            "result.json",
            "throughput.svg",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = publish(&sample(), &(), &file.join("run")).unwrap_err().to_string();
        assert!(error.contains("file/run: creating failed"), "{error}");
    }
}
