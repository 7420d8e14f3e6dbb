//! What this machine itself can do, measured in the same run and on the same disk as a broker: the ground of every figure.
//!
//! [`measure`] takes a few seconds: durable writes (with O_DIRECT to a file written before, each followed by fdatasync, as
//! a log's commits are), reads with O_DIRECT, and TCP over the loopback device. A broker that reaches such a limit has
//! nothing left to gain here; a result close to a limit says something about the machine, not about the broker.
//!
//! Deliberately absent: limits of more than this process needs to tell (queue depths, block sizes, NUMA): for those there
//! is fio. One run of one second each is no benchmark of a disk either, which may have a cache or a budget of its own.

mod aligned;
mod disk;
mod loopback;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::interrupt::{Interrupt, Interrupted};
use crate::report::{Table, number};

/// Why the machine's limits are not known.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    #[error("{path}: {action} failed: {source}")]
    Disk { path: PathBuf, action: &'static str, source: io::Error },
    #[error("TCP over the loopback device: {action} failed: {source}")]
    Loopback { action: &'static str, source: io::Error },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of the file that is written and read, a multiple of 1 MiB.
    pub file_bytes: u64,
    /// Of each measurement.
    pub time: Duration,
}

impl Budget {
    /// Enough for figures that repeat within a few percent; about eleven seconds in all.
    pub const USUAL: Budget = Budget { file_bytes: 512 << 20, time: Duration::from_secs(1) };
}

/// What the machine did. A megabyte is 10^6 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// One write of 4 KiB and its fdatasync, one after the other.
    pub durable_write_4kib_p50_ms: f64,
    pub durable_write_4kib_p99_ms: f64,
    pub durable_writes_4kib_per_second: f64,
    /// The same, 2,000 a second by a thread that sleeps in between, from the time that each was due.
    pub paced_durable_write_4kib_p50_ms: f64,
    pub paced_durable_write_4kib_p99_ms: f64,
    #[serde(rename = "paced_durable_write_4kib_p99_9_ms")]
    pub paced_durable_write_4kib_p999_ms: f64,
    /// Successive writes of 1 MiB, an fdatasync after each.
    pub durable_write_1mib_mb_per_second: f64,
    /// The same with several in flight.
    pub durable_write_1mib_pipelined_mb_per_second: f64,
    /// Successive reads of 1 MiB past the page cache, several in flight.
    pub direct_read_1mib_mb_per_second: f64,
    /// One connection, large writes.
    pub loopback_mb_per_second: f64,
    /// 100 bytes there and back on one connection, one after the other.
    pub loopback_round_trips_per_second: f64,
}

/// Measures the limits of the disk under `dir`, where a file is made and removed again, and of the loopback device.
pub fn measure(dir: &Path, budget: Budget, interrupt: &Interrupt) -> Result<Limits, LimitsError> {
    let disk = disk::measure(dir, budget, interrupt)?;
    let (loopback_mb_per_second, loopback_round_trips_per_second) = loopback::measure(budget.time, interrupt)?;
    Ok(Limits {
        durable_write_4kib_p50_ms: disk.small_write_p50_ms,
        durable_write_4kib_p99_ms: disk.small_write_p99_ms,
        durable_writes_4kib_per_second: disk.small_writes_per_second,
        paced_durable_write_4kib_p50_ms: disk.paced_write_p50_ms,
        paced_durable_write_4kib_p99_ms: disk.paced_write_p99_ms,
        paced_durable_write_4kib_p999_ms: disk.paced_write_p99_9_ms,
        durable_write_1mib_mb_per_second: disk.write_mb_per_second,
        durable_write_1mib_pipelined_mb_per_second: disk.pipelined_write_mb_per_second,
        direct_read_1mib_mb_per_second: disk.read_mb_per_second,
        loopback_mb_per_second,
        loopback_round_trips_per_second,
    })
}

impl Limits {
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut table = Table::new(["limit of this machine, measured now", "value"]);
        let small = format!(
            "p50 {} ms, p99 {} ms, {}/s",
            number(self.durable_write_4kib_p50_ms),
            number(self.durable_write_4kib_p99_ms),
            number(self.durable_writes_4kib_per_second),
        );
        let paced = format!(
            "p50 {} ms, p99 {} ms, p99.9 {} ms",
            number(self.paced_durable_write_4kib_p50_ms),
            number(self.paced_durable_write_4kib_p99_ms),
            number(self.paced_durable_write_4kib_p999_ms),
        );
        let per_second = disk::PACED_INTERVAL.as_secs_f64().recip();
        let megabytes = |rate: f64| format!("{} MB/s", number(rate));
        table
            .row(["durable write of 4 KiB (O_DIRECT, fdatasync)".to_owned(), small])
            .row([format!("the same {} times a second, from when each was due", number(per_second)), paced])
            .row([
                "durable writes of 1 MiB, fdatasync after each".into(),
                megabytes(self.durable_write_1mib_mb_per_second),
            ])
            .row([
                format!("the same, {} in flight", disk::IN_FLIGHT),
                megabytes(self.durable_write_1mib_pipelined_mb_per_second),
            ])
            .row([
                format!("reads of 1 MiB past the page cache, {} in flight", disk::IN_FLIGHT),
                megabytes(self.direct_read_1mib_mb_per_second),
            ])
            .row(["TCP over loopback, one connection".into(), megabytes(self.loopback_mb_per_second)])
            .row([
                "TCP over loopback, 100 bytes there and back".into(),
                format!("{}/s", number(self.loopback_round_trips_per_second)),
            ]);
        table.to_markdown()
    }

    /// A rate of durably written bytes in words: as a share of what the disk and the loopback device do.
    #[must_use]
    pub fn write_share(&self, mb_per_second: f64) -> String {
        format!(
            "{} of the disk's durable writes, {} of loopback",
            percent(mb_per_second, self.durable_write_1mib_pipelined_mb_per_second),
            percent(mb_per_second, self.loopback_mb_per_second),
        )
    }

    /// A rate of read bytes in words: as a share of what the disk and the loopback device do.
    #[must_use]
    pub fn read_share(&self, mb_per_second: f64) -> String {
        format!(
            "{} of the disk's reads, {} of loopback",
            percent(mb_per_second, self.direct_read_1mib_mb_per_second),
            percent(mb_per_second, self.loopback_mb_per_second),
        )
    }

    /// A rate of durably written batches in words: how many share one durable write, if the disk does nothing else.
    #[must_use]
    pub fn batches_per_sync(&self, batches_per_second: f64) -> String {
        let batches = batches_per_second / self.durable_writes_4kib_per_second;
        if batches.is_finite() { format!("{batches:.1} batches per durable write") } else { "-".to_owned() }
    }

    /// A latency in words: as a multiple of one durable write.
    #[must_use]
    pub fn sync_multiple(&self, ms: f64) -> String {
        let multiple = ms / self.durable_write_4kib_p50_ms;
        if multiple.is_finite() { format!("{multiple:.1} durable writes") } else { "-".to_owned() }
    }
}

/// As a share of a limit, such as "42 %".
fn percent(value: f64, limit: f64) -> String {
    let percent = value / limit * 100.0;
    match percent {
        percent if !percent.is_finite() || limit <= 0.0 => "-".to_owned(),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// A number of bytes over a time, in megabytes per second.
fn mb_per_second(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / 1e6 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const SMALL: Budget = Budget { file_bytes: 4 << 20, time: Duration::from_millis(20) };

    #[test]
    fn every_limit_is_measured_and_nothing_stays_behind() {
        // On the disk of the sources; the system's own directory for temporary files may well be a tmpfs.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let limits = measure(dir.path(), SMALL, &Interrupt::default()).unwrap();
        let json = serde_json::to_value(limits).unwrap();
        for (name, value) in json.as_object().unwrap() {
            assert!(value.as_f64().is_some_and(|value| value > 0.0), "{name} is {value}");
            assert!(name.ends_with("_ms") || name.ends_with("_per_second"), "{name} has no unit");
        }
        assert!(limits.durable_write_4kib_p50_ms > 0.001, "no disk is that fast: {limits:?}");
        assert!(limits.durable_write_4kib_p50_ms <= limits.durable_write_4kib_p99_ms, "{limits:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_interrupt_ends_it() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let interrupt = Interrupt::default();
        interrupt.request();
        let day = Budget { time: Duration::from_secs(86_400), ..SMALL };
        let error = measure(dir.path(), day, &interrupt).unwrap_err();
        assert!(matches!(error, LimitsError::Interrupted(_)), "{error}");
        let error = loopback::measure(day.time, &interrupt).unwrap_err();
        assert!(matches!(error, LimitsError::Interrupted(_)), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn shares_are_percent_of_the_limit() {
        let limits = Limits {
            durable_write_4kib_p50_ms: 0.5,
            durable_write_4kib_p99_ms: 1.0,
            durable_writes_4kib_per_second: 2000.0,
            paced_durable_write_4kib_p50_ms: 0.7,
            paced_durable_write_4kib_p99_ms: 2.0,
            paced_durable_write_4kib_p999_ms: 5.0,
            durable_write_1mib_mb_per_second: 200.0,
            durable_write_1mib_pipelined_mb_per_second: 400.0,
            direct_read_1mib_mb_per_second: 800.0,
            loopback_mb_per_second: 4000.0,
            loopback_round_trips_per_second: 30_000.0,
        };
        assert_eq!(limits.write_share(300.0), "75 % of the disk's durable writes, 7.5 % of loopback");
        assert_eq!(limits.read_share(400.0), "50 % of the disk's reads, 10 % of loopback");
        assert_eq!(limits.sync_multiple(1.0), "2.0 durable writes");
        assert_eq!(limits.batches_per_sync(9000.0), "4.5 batches per durable write");
        assert_eq!(percent(1.0, 0.0), "-");
        assert_eq!(mb_per_second(2_000_000, Duration::from_secs(2)), 1.0);
        let text = limits.markdown();
        assert!(text.contains("p50 0.500 ms, p99 1.00 ms, 2,000/s") && text.contains("30,000/s"), "{text}");
        assert!(text.contains("2,000 times a second") && text.contains("p99.9 5.00 ms"), "{text}");
    }
}
