//! The disk: durable writes small and large, and reads past the page cache.
//!
//! Writes go to a file that was written before, so that no block has to be allocated: what a log with recycled segments
//! does. O_DIRECT is required; a file system without it is an error, since its figures would be those of memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::OFlags;

use crate::interrupt::Interrupt;
use crate::limits::aligned::AlignedBuffer;
use crate::limits::{Budget, LimitsError, mb_per_second};
use crate::load::outcome::latency_histogram;

const SMALL_BYTES: u64 = 4 << 10;
const LARGE_BYTES: u64 = 1 << 20;
/// At which writes of a fixed rate are due: 2,000 a second.
pub const PACED_INTERVAL: Duration = Duration::from_micros(500);
/// Times the time of another measurement, for a p99.9 that repeats.
const PACED_TIMES: u32 = 4;
/// How many large transfers are under way at once, each by a thread of its own.
pub const IN_FLIGHT: usize = 4;
const FILL: u8 = 0x5a;

/// What the disk did. A megabyte is 10^6 bytes.
pub struct DiskLimits {
    pub small_write_p50_ms: f64,
    pub small_write_p99_ms: f64,
    pub small_writes_per_second: f64,
    /// Of writes at a fixed rate, from the time that each was due.
    pub paced_write_p50_ms: f64,
    pub paced_write_p99_ms: f64,
    pub paced_write_p99_9_ms: f64,
    pub write_mb_per_second: f64,
    pub pipelined_write_mb_per_second: f64,
    pub read_mb_per_second: f64,
}

/// Measures on a file in `dir`, which is removed again.
pub fn measure(dir: &Path, budget: Budget, interrupt: &Interrupt) -> Result<DiskLimits, LimitsError> {
    assert!(budget.file_bytes >= LARGE_BYTES && budget.file_bytes.is_multiple_of(LARGE_BYTES), "{budget:?}");
    let scratch = Scratch::create(dir.join("limits.tmp"))?;
    let run = Run { scratch: &scratch, budget, interrupt };
    run.fill()?;
    let (latency, small_writes_per_second) = run.small_writes()?;
    let paced = run.paced_writes()?;
    let at = |latency: &Histogram<u64>, quantile| latency.value_at_quantile(quantile) as f64 / 1e6;
    Ok(DiskLimits {
        small_write_p50_ms: at(&latency, 0.5),
        small_write_p99_ms: at(&latency, 0.99),
        small_writes_per_second,
        paced_write_p50_ms: at(&paced, 0.5),
        paced_write_p99_ms: at(&paced, 0.99),
        paced_write_p99_9_ms: at(&paced, 0.999),
        write_mb_per_second: run.large("writing durably", 1, write_durably)?,
        pipelined_write_mb_per_second: run.large("writing durably", IN_FLIGHT, write_durably)?,
        read_mb_per_second: run.large("reading", IN_FLIGHT, read)?,
    })
}

/// The file, gone when dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(path: PathBuf) -> Result<Scratch, LimitsError> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).custom_flags(flags).open(&path);
        match opened {
            Ok(file) => Ok(Scratch { path, file }),
            Err(source) => Err(LimitsError::Disk { path, action: "opening with O_DIRECT", source }),
        }
    }

    fn error(&self, action: &'static str) -> impl Fn(io::Error) -> LimitsError {
        move |source| LimitsError::Disk { path: self.path.clone(), action, source }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

struct Run<'a> {
    scratch: &'a Scratch,
    budget: Budget,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn fill(&self) -> Result<(), LimitsError> {
        let failed = self.scratch.error("writing it for the first time");
        let buffer = AlignedBuffer::filled(LARGE_BYTES as usize, FILL);
        for piece in 0..self.budget.file_bytes / LARGE_BYTES {
            self.interrupt.check()?;
            self.scratch.file.write_all_at(buffer.as_slice(), piece * LARGE_BYTES).map_err(&failed)?;
        }
        self.scratch.file.sync_all().map_err(&failed)
    }

    /// One small write and its sync after the other, through the file: latencies in nanoseconds, and how many a second.
    fn small_writes(&self) -> Result<(Histogram<u64>, f64), LimitsError> {
        let mut write = self.small_write();
        let mut latency = latency_histogram();
        let began = Instant::now();
        while began.elapsed() < self.budget.time {
            let start = Instant::now();
            write()?;
            latency.saturating_record(nanoseconds(start.elapsed()));
        }
        let per_second = latency.len() as f64 / began.elapsed().as_secs_f64();
        Ok((latency, per_second))
    }

    /// The same at a fixed rate by a thread that sleeps in between; latencies are from the time that a write was due. They
    /// are what the disk takes, and the delays with which the machine wakes a thread.
    fn paced_writes(&self) -> Result<Histogram<u64>, LimitsError> {
        let mut write = self.small_write();
        let mut latency = latency_histogram();
        let began = Instant::now();
        let mut due = began;
        // On a disk that cannot do so many, all are late, the longer the later.
        while began.elapsed() < self.budget.time * PACED_TIMES {
            due += PACED_INTERVAL;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            write()?;
            latency.saturating_record(nanoseconds(due.elapsed()));
        }
        Ok(latency)
    }

    /// Writes the file's blocks durably, one with each call.
    fn small_write(&self) -> impl FnMut() -> Result<(), LimitsError> {
        let failed = self.scratch.error("writing durably");
        let buffer = AlignedBuffer::filled(SMALL_BYTES as usize, FILL);
        let mut offset = 0;
        move || {
            self.interrupt.check()?;
            self.scratch.file.write_all_at(buffer.as_slice(), offset).map_err(&failed)?;
            offset = (offset + SMALL_BYTES) % self.budget.file_bytes;
            self.scratch.file.sync_data().map_err(&failed)
        }
    }

    /// Successive large transfers by `threads` threads, each taking the next piece of the file; MB/s.
    fn large(&self, action: &'static str, threads: usize, transfer: Transfer) -> Result<f64, LimitsError> {
        let failed = &self.scratch.error(action);
        let next = AtomicU64::new(0);
        let began = Instant::now();
        let work = || -> Result<u64, LimitsError> {
            let mut buffer = AlignedBuffer::filled(LARGE_BYTES as usize, FILL);
            let mut bytes = 0;
            // At least one each, also where the time is up before a thread has begun.
            loop {
                self.interrupt.check()?;
                let offset = next.fetch_add(1, Ordering::Relaxed) * LARGE_BYTES % self.budget.file_bytes;
                transfer(&self.scratch.file, buffer.as_mut_slice(), offset).map_err(failed)?;
                bytes += LARGE_BYTES;
                if began.elapsed() >= self.budget.time {
                    return Ok(bytes);
                }
            }
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            started.into_iter().map(|thread| thread.join().expect("no thread of a measurement panics")).collect()
        });
        let elapsed: Duration = began.elapsed();
        let bytes = results.into_iter().sum::<Result<u64, _>>()?;
        Ok(mb_per_second(bytes, elapsed))
    }
}

/// Moves a buffer to or from an offset of the file.
type Transfer = fn(&File, &mut [u8], u64) -> io::Result<()>;

fn write_durably(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.write_all_at(buffer, offset)?;
    file.sync_data()
}

fn read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = Scratch::create("/nonexistent/limits.tmp".into()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/limits.tmp: opening with O_DIRECT failed"), "{error}");
    }
}
