//! What a ratio has to be, and whether it is.

use serde::Serialize;

use crate::limits::Limits;
use crate::report::number;
use crate::stats::Spread;

/// What Ringlog's median has to be against another side's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This many times the other's at least: for rates.
    AtLeast(f64),
    /// This many times the other's at most: for latencies and costs.
    AtMost(f64),
    /// The other's and the time of one durable write of 4 KiB at most, in milliseconds: a promise to be on disk costs a
    /// sync, and nothing more.
    OneSyncMore,
    /// There is no goal: the ratio is told, and whoever reads it judges.
    Told,
}

/// How two medians are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Ringlog's median over the other's; absent where that has no meaning.
    pub ratio: Option<f64>,
    /// `None` where there is no goal.
    pub holds: Option<bool>,
}

impl Bound {
    /// Compares medians. A ratio that does not exist holds no bound.
    #[must_use]
    pub fn judge(self, ours: &Spread, theirs: &Spread, limits: &Limits) -> Verdict {
        let ratio = ours.ratio_to(theirs);
        let holds = match self {
            Bound::AtLeast(least) => Some(ratio.is_some_and(|ratio| ratio >= least)),
            Bound::AtMost(most) => Some(ratio.is_some_and(|ratio| ratio <= most)),
            Bound::OneSyncMore => Some(ours.median <= theirs.median + limits.durable_write_4kib_p50_ms),
            Bound::Told => None,
        };
        Verdict { ratio, holds }
    }

    /// What is to be said where a figure is missing.
    #[must_use]
    pub fn without_figures(self) -> Verdict {
        Verdict { ratio: None, holds: (self != Bound::Told).then_some(false) }
    }

    #[must_use]
    pub fn describe(self, limits: &Limits) -> String {
        match self {
            Bound::AtLeast(least) => format!(">= {}x", exact(least)),
            Bound::AtMost(most) => format!("<= {}x", exact(most)),
            Bound::Told => "none set".to_owned(),
            Bound::OneSyncMore => {
                format!("<= its own + one sync ({} ms)", number(limits.durable_write_4kib_p50_ms))
            }
        }
    }

    /// The same in the direction of this bound: whether a value that holds `self` holds `other` too.
    #[cfg(test)]
    pub fn implies(self, other: Bound) -> bool {
        match (self, other) {
            (Bound::AtLeast(ours), Bound::AtLeast(theirs)) => ours >= theirs,
            (Bound::AtMost(ours), Bound::AtMost(theirs)) => ours <= theirs,
            (Bound::OneSyncMore, Bound::AtMost(_)) => true,
            _ => false,
        }
    }
}

/// A bound as it was stated: up to three decimals, and none that say nothing.
fn exact(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine whose durable write takes 2 ms.
    pub(crate) const LIMITS: Limits = Limits {
        durable_write_4kib_p50_ms: 2.0,
        durable_write_4kib_p99_ms: 3.0,
        durable_writes_4kib_per_second: 500.0,
        paced_durable_write_4kib_p50_ms: 2.1,
        paced_durable_write_4kib_p99_ms: 4.0,
        paced_durable_write_4kib_p999_ms: 8.0,
        durable_write_1mib_mb_per_second: 200.0,
        durable_write_1mib_pipelined_mb_per_second: 400.0,
        direct_read_1mib_mb_per_second: 1000.0,
        loopback_mb_per_second: 4000.0,
        loopback_round_trips_per_second: 30_000.0,
    };

    fn spread(median: f64) -> Spread {
        Spread { median, min: median, max: median, runs: 5 }
    }

    #[test]
    fn a_rate_is_at_least_and_a_cost_at_most_the_stated_multiple() {
        let judge = |bound: Bound, ours, theirs| bound.judge(&spread(ours), &spread(theirs), &LIMITS);
        assert_eq!(judge(Bound::AtLeast(3.0), 300.0, 100.0), Verdict { ratio: Some(3.0), holds: Some(true) });
        assert_eq!(judge(Bound::AtLeast(3.0), 299.0, 100.0), Verdict { ratio: Some(2.99), holds: Some(false) });
        assert_eq!(judge(Bound::AtMost(0.125), 1.0, 8.0), Verdict { ratio: Some(0.125), holds: Some(true) });
        assert_eq!(judge(Bound::Told, 1.0, 8.0), Verdict { ratio: Some(0.125), holds: None });
        assert_eq!(judge(Bound::AtMost(0.125), 1.1, 8.0), Verdict { ratio: Some(1.1 / 8.0), holds: Some(false) });
    }

    #[test]
    fn a_sync_more_is_counted_in_milliseconds() {
        let judge =
            |ours, theirs| Bound::OneSyncMore.judge(&spread(ours), &spread(theirs), &LIMITS).holds == Some(true);
        assert!(judge(2.5, 0.5) && judge(0.1, 0.5));
        assert!(!judge(2.6, 0.5));
    }

    #[test]
    fn what_cannot_be_divided_holds_nothing() {
        for bound in [Bound::AtLeast(0.0), Bound::AtMost(1e9)] {
            let verdict = bound.judge(&spread(1.0), &spread(0.0), &LIMITS);
            assert_eq!(verdict, Verdict { ratio: None, holds: Some(false) });
        }
    }

    #[test]
    fn bounds_in_words() {
        assert_eq!(Bound::AtLeast(3.0).describe(&LIMITS), ">= 3x");
        assert_eq!(Bound::AtLeast(10.0).describe(&LIMITS), ">= 10x");
        assert_eq!(Bound::AtMost(0.125).describe(&LIMITS), "<= 0.125x");
        assert_eq!(Bound::OneSyncMore.describe(&LIMITS), "<= its own + one sync (2.00 ms)");
    }
}
