//! When a connection that failed is tried again.

/// Pauses that double from failure to failure, each cut by up to a half so that many do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first_ms: u64,
    longest_ms: u64,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub const fn new(first_ms: u64, longest_ms: u64) -> Backoff {
        Backoff { first_ms, longest_ms, failures: 0 }
    }

    /// The pause after one more failure, in milliseconds; `random` may be any number.
    pub fn failed(&mut self, random: u32) -> u64 {
        let doubled = self.first_ms.saturating_mul(1_u64.checked_shl(self.failures).unwrap_or(u64::MAX));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(self.longest_ms);
        pause - u64::from(random) % (pause / 2 + 1)
    }

    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(50, 1000);
        let longest: Vec<u64> = (0..7).map(|_| backoff.failed(0)).collect();
        assert_eq!(longest, [50, 100, 200, 400, 800, 1000, 1000]);
        for _ in 0..100 {
            assert_eq!(backoff.failed(500), 500, "half of it at least");
        }
        backoff.succeeded();
        assert!((25..=50).contains(&backoff.failed(u32::MAX)));
    }
}
