//! How often a number lay within which bounds. Each bound is twice the one before, so that the place of a number follows from
//! its leading zeros.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::counter::nanos;

/// `N` buckets, the last for all that is beyond the bounds `FIRST`, `2 * FIRST`, `4 * FIRST`, ...; `FIRST` is a power of two.
/// Has one writer.
#[derive(Debug)]
pub struct Histogram<const FIRST: u64, const N: usize> {
    buckets: [AtomicU64; N],
    sum: AtomicU64,
}

/// Sizes from 512 bytes to 16 MiB.
pub type ByteSizes = Histogram<512, 17>;
/// Numbers of things from 1 to 1,024.
pub type Counts = Histogram<1, 12>;

/// Buckets of [`Durations`], with the one of those beyond all bounds.
pub const DURATION_BUCKETS: usize = 21;

/// Durations from 16 us to 8.4 s; their sum is exact to the nanosecond. Has one writer.
#[derive(Debug, Default)]
pub struct Durations {
    micros: Histogram<16, DURATION_BUCKETS>,
}

impl<const FIRST: u64, const N: usize> Default for Histogram<FIRST, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const FIRST: u64, const N: usize> Histogram<FIRST, N> {
    const FITS: () = assert!(FIRST.is_power_of_two() && N >= 2 && FIRST.trailing_zeros() as usize + N <= 64);

    #[must_use]
    pub const fn new() -> Self {
        let () = Self::FITS;
        Histogram { buckets: [const { AtomicU64::new(0) }; N], sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, n: u64) {
        self.record(n, n);
    }

    fn record(&self, n: u64, sum: u64) {
        let add = |counter: &AtomicU64, n: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        };
        add(&self.buckets[Self::bucket(n)], 1);
        add(&self.sum, sum);
    }

    /// The first whose bound is not below `n`.
    fn bucket(n: u64) -> usize {
        // Exponent of the smallest power of two that is not below it.
        let exponent = u64::BITS - n.saturating_sub(1).leading_zeros();
        (exponent.saturating_sub(FIRST.trailing_zeros()) as usize).min(N - 1)
    }

    fn read_in(&self, bounds_divisor: f64, sum_divisor: f64) -> Reading {
        Reading {
            first: FIRST,
            bounds_divisor,
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed) as f64 / sum_divisor,
        }
    }

    #[must_use]
    pub fn read(&self) -> Reading {
        self.read_in(1.0, 1.0)
    }
}

impl Durations {
    #[must_use]
    pub const fn new() -> Durations {
        Durations { micros: Histogram::new() }
    }

    pub fn observe(&self, time: Duration) {
        let nanos = nanos(time);
        self.micros.record(nanos.div_ceil(1000), nanos);
    }

    /// In seconds.
    #[must_use]
    pub fn read(&self) -> Reading {
        self.micros.read_in(1e6, 1e9)
    }
}

/// A histogram as it was read, or several of a kind together.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    first: u64,
    bounds_divisor: f64,
    /// Of each bucket by itself.
    counts: Vec<u64>,
    sum: f64,
}

impl Reading {
    /// All of a kind together; none makes nothing.
    #[must_use]
    pub fn sum_of(readings: impl IntoIterator<Item = Reading>) -> Option<Reading> {
        readings.into_iter().reduce(|mut all, one| {
            debug_assert_eq!((all.first, all.counts.len()), (one.first, one.counts.len()));
            all.counts.iter_mut().zip(one.counts).for_each(|(all, one)| *all += one);
            all.sum += one.sum;
            all
        })
    }

    /// Upper bounds, without the one that is infinite.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = f64> + '_ {
        (0..self.counts.len() - 1).map(|at| (self.first << at) as f64 / self.bounds_divisor)
    }

    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_counted_below_the_first_bound_that_is_not_below_it() {
        let bucket = Histogram::<16, 5>::bucket;
        for (n, expected) in [(0, 0), (1, 0), (16, 0), (17, 1), (32, 1), (33, 2), (128, 3), (129, 4), (u64::MAX, 4)] {
            assert_eq!(bucket(n), expected, "{n}");
        }
        assert_eq!([0, 1, 2, 3, 1024, 1025].map(Histogram::<1, 12>::bucket), [0, 0, 1, 2, 10, 11]);
    }

    #[test]
    fn bounds_are_those_that_numbers_are_counted_by() {
        let reading = Histogram::<512, 4>::new().read();
        assert_eq!(reading.bounds().collect::<Vec<_>>(), [512.0, 1024.0, 2048.0]);
        let durations = Durations::new().read();
        let bounds: Vec<_> = durations.bounds().collect();
        assert_eq!((bounds[0], bounds[6], *bounds.last().unwrap()), (0.000_016, 0.001_024, 8.388_608));
    }

    #[test]
    fn durations_keep_their_sum_and_are_rounded_up_to_find_their_bucket() {
        let durations = Durations::new();
        durations.observe(Duration::from_nanos(16_001));
        durations.observe(Duration::from_nanos(16_000));
        durations.observe(Duration::from_secs(60));
        let reading = durations.read();
        assert_eq!((reading.counts[0], reading.counts[1], reading.counts[DURATION_BUCKETS - 1]), (1, 1, 1));
        assert_eq!((reading.count(), reading.sum()), (3, 60.000_032_001));
    }

    #[test]
    fn readings_of_a_kind_add_up() {
        let [one, other] = [Counts::new(), Counts::new()];
        one.observe(1);
        other.observe(1);
        other.observe(500);
        let all = Reading::sum_of([one.read(), other.read()]).unwrap();
        assert_eq!((all.count(), all.sum(), all.counts[0]), (3, 502.0, 2));
        assert_eq!(Reading::sum_of([]), None);
    }
}
