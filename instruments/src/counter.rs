//! Numbers that one thread writes.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only rises, since the process began. Has one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[must_use]
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds without a locked instruction, as there is no other writer.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes over a number that is counted elsewhere.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Of a counter of nanoseconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.get() as f64 / 1e9
    }

    /// To a counter of nanoseconds.
    pub fn add_time(&self, time: Duration) {
        self.add(nanos(time));
    }
}

/// A number as it is now. Has one writer.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    #[must_use]
    pub const fn new() -> Gauge {
        Gauge(AtomicI64::new(0))
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn set_size(&self, n: usize) {
        self.set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// In nanoseconds.
    pub fn set_time(&self, time: Duration) {
        self.set(i64::try_from(nanos(time)).unwrap_or(i64::MAX));
    }

    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Of a gauge of nanoseconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.get() as f64 / 1e9
    }
}

/// 584 years at most.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
