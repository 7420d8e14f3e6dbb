//! The rates for replicas that catch up (KIP-73), which all shards of this broker share.
//!
//! A throttle holds for a replica that is listed ([`metadata::config::ThrottledReplicas`]) and not in sync: producers wait for
//! those that are. Its bytes alone count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replication::throttle::PaidAt;

/// Longest wait before it is looked again whether the throttle still holds: settings may have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Both directions of this broker.
#[derive(Debug, Default)]
pub struct Throttles {
    /// To followers that catch up: `leader.replication.throttled.rate`.
    pub leader: Throttle,
    /// From leaders, to replicas here that catch up: `follower.replication.throttled.rate`.
    pub follower: Throttle,
}

/// The use of one rate. Shards that look at the same moment may all take something: that is paid for afterwards.
#[derive(Debug, Default)]
pub struct Throttle {
    /// [`PaidAt`], in nanoseconds of the monotonic clock.
    paid_at: AtomicU64,
    /// What `paid_at` was reckoned by.
    bytes_per_second: AtomicU64,
}

impl Throttle {
    /// How long to wait before asking again; `None` if something may be taken now.
    pub fn wait(&self, bytes_per_second: u64, now_ns: u64) -> Option<Duration> {
        if self.bytes_per_second.swap(bytes_per_second, Ordering::Relaxed) != bytes_per_second {
            // What was taken at another rate is not paid for at this one, which may be slower by far.
            self.paid_at.fetch_min(now_ns, Ordering::Relaxed);
        }
        let wait = Duration::from_nanos(PaidAt(self.paid_at.load(Ordering::Relaxed)).wait_ns(now_ns));
        (!wait.is_zero()).then(|| wait.min(LOOK_EVERY))
    }

    /// Notes what was taken.
    pub fn took(&self, bytes: usize, bytes_per_second: u64, now_ns: u64) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let after = |paid_at| Some(PaidAt(paid_at).taken(bytes, bytes_per_second, now_ns).0);
        // It always gives a number.
        let _ = self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn shards_share_a_rate() {
        let throttle = Throttle::default();
        let now = 100 * SECOND;
        assert_eq!(throttle.wait(1_000_000, now), None);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| (0..1000).for_each(|_| throttle.took(250, 1_000_000, now)));
            }
        });
        // A second's worth together, of which the moment before it is free.
        assert_eq!(throttle.wait(1_000_000, now).map(|wait| wait.as_millis()), Some(900));
        assert_eq!(throttle.wait(1_000_000, now + SECOND * 9 / 10), None);
    }

    #[test]
    fn a_changed_rate_starts_anew_and_waits_are_looked_at_again() {
        let throttle = Throttle::default();
        let now = 100 * SECOND;
        assert_eq!(throttle.wait(1, now), None);
        throttle.took(1_000_000, 1, now);
        assert_eq!(throttle.wait(1, now), Some(LOOK_EVERY), "11 days, and the setting may change");
        assert_eq!(throttle.wait(1_000_000, now), None);
        throttle.took(1_000_000, 1_000_000, now);
        assert!(throttle.wait(1_000_000, now + SECOND / 2).is_some());
    }
}
