//! Keeping what a pass reads and writes to a rate. Pure.

use std::time::Duration;

/// So much time in which nothing was read or written is made up for at most: a rate is there so that others find the disk free.
const CREDIT: Duration = Duration::from_secs(1);

pub struct Throttle {
    /// Bytes that were read and written and whose time has yet to pass; below 0 where time passed without any.
    owed_bytes: f64,
    looked_at: Duration,
}

impl Throttle {
    /// Times are those of any clock that never goes back.
    pub fn new(now: Duration) -> Throttle {
        Throttle { owed_bytes: 0.0, looked_at: now }
    }

    /// So many bytes were read or written.
    pub fn took(&mut self, bytes: u64) {
        self.owed_bytes += bytes as f64;
    }

    /// How long to wait at so many bytes per second. What was waited for is over: a rate that has changed since holds for what
    /// is still owed, and for nothing before it.
    pub fn left(&mut self, bytes_per_second: f64, now: Duration) -> Duration {
        let rate = bytes_per_second.max(1.0);
        let passed = now.saturating_sub(self.looked_at);
        self.looked_at = now;
        self.owed_bytes = (self.owed_bytes - rate * passed.as_secs_f64()).max(-rate * CREDIT.as_secs_f64());
        if self.owed_bytes <= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(self.owed_bytes / rate).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn bytes_take_the_time_that_the_rate_gives_them() {
        let mut throttle = Throttle::new(ms(7_000));
        throttle.took(500);
        assert_eq!(throttle.left(1_000.0, ms(7_000)), ms(500));
        assert_eq!(throttle.left(1_000.0, ms(7_200)), ms(300));
        throttle.took(250);
        assert_eq!(throttle.left(1_000.0, ms(7_500)), ms(250));
        assert_eq!(throttle.left(1_000.0, ms(7_750)), ms(0));
    }

    #[test]
    fn a_rate_that_is_changed_does_not_hold_for_what_was_before() {
        let mut throttle = Throttle::new(ms(0));
        for second in 0..1_000 {
            throttle.took(1_000_000);
            assert_eq!(throttle.left(1_000_000.0, ms(second * 1_000)), ms(1_000));
        }
        assert_eq!(throttle.left(1_000_000.0, ms(1_000_000)), ms(0));
        throttle.took(2_000);
        assert_eq!(throttle.left(1_000.0, ms(1_000_000)), ms(2_000), "lowered in the middle of a pass");
        assert_eq!(throttle.left(1_000_000.0, ms(1_000_000)), ms(2), "and raised while it is waited for");
    }

    #[test]
    fn time_without_reads_and_writes_counts_for_a_second_at_most() {
        let mut throttle = Throttle::new(ms(0));
        throttle.took(3_000);
        assert_eq!(throttle.left(1_000.0, ms(3_600_000)), ms(0), "a slow disk");
        throttle.took(1_000);
        assert_eq!(throttle.left(1_000.0, ms(3_600_000)), ms(0));
        throttle.took(500);
        assert_eq!(throttle.left(1_000.0, ms(3_600_000)), ms(500));
    }

    #[test]
    fn without_a_bound_nothing_is_waited_for_and_nothing_saved_up() {
        let mut throttle = Throttle::new(ms(0));
        for now_ms in [0, 1, 1, 5_000, 10_000] {
            throttle.took(u64::MAX);
            assert_eq!(throttle.left(f64::MAX, ms(now_ms)), ms(0));
        }
        assert_eq!(throttle.left(1_000.0, ms(10_000)), ms(0));
        throttle.took(3_000);
        assert_eq!(
            throttle.left(1_000.0, ms(10_000)),
            ms(2_000),
            "a second of the new rate is all that is made up for"
        );
        assert_eq!(throttle.left(0.0, ms(10_000)), Duration::from_secs(2_000), "a byte per second at least");
    }
}
