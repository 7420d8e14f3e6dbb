//! A rate for replicas that catch up (`leader.replication.throttled.rate` and its follower twin, KIP-73).
//!
//! What is taken is paid for afterwards: whoever takes more than there is makes all wait until the rate has made up for it. So
//! a batch larger than a second's worth passes too, and the rate holds over time.

/// Pause for which a rate that was not used may be made up: 100 ms.
const BURST_NS: u64 = 100_000_000;

/// The state of a throttle: when all that was taken is paid for, in nanoseconds of a clock that never goes back. A plain
/// number, so that several threads can share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PaidAt(pub u64);

impl PaidAt {
    /// How long to wait before something may be taken, in nanoseconds; 0 if it may be now.
    #[must_use]
    pub fn wait_ns(self, now_ns: u64) -> u64 {
        self.0.saturating_sub(now_ns)
    }

    /// After taking `bytes` at `bytes_per_second`.
    #[must_use]
    pub fn taken(self, bytes: u64, bytes_per_second: u64, now_ns: u64) -> PaidAt {
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
        let from = self.0.max(now_ns.saturating_sub(BURST_NS));
        PaidAt(from.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_over_time_whatever_the_pieces() {
        for piece in [1_000, 70_000, 5_000_000] {
            let (mut paid, mut now_ns, mut bytes) = (PaidAt::default(), 0, 0);
            while now_ns < 100_000_000_000 {
                now_ns += paid.wait_ns(now_ns).max(1);
                paid = paid.taken(piece, 1_000_000, now_ns);
                bytes += piece;
            }
            let expected = 100_000_000;
            assert!((expected..=expected + 2 * piece.max(100_000)).contains(&bytes), "{piece}: {bytes}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_a_moment_only() {
        let paid = PaidAt::default().taken(1, 1_000_000, 10_000_000_000);
        assert_eq!(paid.wait_ns(10_000_000_000), 0);
        let paid = paid.taken(1_000_000, 1_000_000, 20_000_000_000);
        assert_eq!(paid.wait_ns(20_000_000_000), 900_000_000);
        assert_eq!(paid.taken(u64::MAX, 0, 0).wait_ns(0), u64::MAX);
    }
}
