//! Medians and ranges of a few repeated measurements.

use serde::Serialize;

/// What several runs of one measurement came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// Number of runs.
    pub runs: usize,
}

impl Spread {
    /// `None` of no values. Values that are not numbers count as the largest.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Spread { median, min, max, runs: values.len() })
    }

    /// How many times `other`'s median this one's is; `None` where that has no meaning.
    #[must_use]
    pub fn ratio_to(&self, other: &Spread) -> Option<f64> {
        let ratio = self.median / other.median;
        (ratio.is_finite() && other.median > 0.0).then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers_of_runs() {
        assert_eq!(Spread::of([3.0, 1.0, 20.0]), Some(Spread { median: 3.0, min: 1.0, max: 20.0, runs: 3 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_of_medians_and_absent_where_meaningless() {
        let spread = |median| Spread { median, min: 0.0, max: 9.0, runs: 1 };
        assert_eq!(spread(6.0).ratio_to(&spread(2.0)), Some(3.0));
        assert_eq!(spread(6.0).ratio_to(&spread(0.0)), None);
        assert_eq!(spread(f64::NAN).ratio_to(&spread(1.0)), None);
    }
}
