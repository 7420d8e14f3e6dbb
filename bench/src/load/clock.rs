//! One clock for a run: nanoseconds since it began, the same for producers and consumers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since a run's beginning, and what they are on the wall clock. Copies agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
    origin_unix_ms: u64,
}

impl Clock {
    pub(super) fn start() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { origin: Instant::now(), origin_unix_ms: since_epoch.as_millis() as u64 }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Milliseconds since the Unix epoch at `at_ns`.
    pub(super) fn unix_ms(&self, at_ns: u64) -> u64 {
        self.origin_unix_ms + at_ns / 1_000_000
    }
}

/// A duration in the unit of the clock.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
