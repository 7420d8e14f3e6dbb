//! A histogram as the text that HdrHistogram's `outputPercentileDistribution` prints and its plotters read.
//!
//! Values are milliseconds. The lines get denser towards 100 %: five for each halving of what is left.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Nanoseconds in the unit that is written.
const NS_PER_MS: f64 = 1e6;
/// Lines for each halving of the distance to 100 %; what the Java tools have by default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The percentile distribution of latencies in nanoseconds.
#[must_use]
pub fn distribution(latency: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for step in latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / NS_PER_MS, step.quantile_iterated_to());
        write!(text, "{value:12.3} {quantile:2.12} {count:10}").expect(TO_STRING);
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - quantile)).expect(TO_STRING);
        }
        text.push('\n');
    }
    let (mean, deviation) = (latency.mean() / NS_PER_MS, latency.stdev() / NS_PER_MS);
    let (max, total) = (latency.max() as f64 / NS_PER_MS, latency.len());
    let (buckets, sub_buckets) = (latency.buckets(), sub_buckets(latency.sigfig()));
    write!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n\
         #[Max     = {max:12.3}, Total count    = {total:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n"
    )
    .expect(TO_STRING);
    text
}

const TO_STRING: &str = "writing to a string does not fail";

/// As HdrHistogram chooses it: room to tell units apart up to twice the power of ten.
fn sub_buckets(significant_digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(significant_digits))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::latency_histogram;

    #[test]
    fn read_back_it_gives_the_percentiles_of_the_histogram() {
        let mut latency = latency_histogram();
        for ms in 1..=10_000 {
            latency.record(ms * 1_000_000).unwrap();
        }
        let text = distribution(&latency);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(rows.len() > 40, "{text}");
        for row in &rows[..rows.len() - 1] {
            let [value, quantile, count, inverse] = row[..] else { panic!("{row:?}") };
            // Of the values 1, 2, …, 10,000 as many are up to a value as it says.
            assert!((value - quantile * 10_000.0).abs() <= 1.0 + value / 1000.0, "{row:?}");
            assert!((count - value).abs() <= 1.0 + value / 1000.0, "{row:?}");
            assert!((inverse - 1.0 / (1.0 - quantile)).abs() <= 0.01 + inverse / 1000.0, "{row:?}");
        }
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 10_000.0), "the last line has no 1/(1-p): {last:?}");
        assert!(rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{text}");
        assert!(text.contains("Total count    =        10000]") && text.contains("SubBuckets     =         2048]"));
    }

    #[test]
    fn columns_are_where_the_java_tools_print_them() {
        let mut latency = latency_histogram();
        latency.record(2_000_000).unwrap();
        let text = distribution(&latency);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        // A value is told as the greatest that is counted with it.
        assert_eq!(lines[2], "       2.001 0.000000000000          1           1.00");
    }

    #[test]
    fn an_empty_histogram_has_no_lines_but_its_frame() {
        let text = distribution(&latency_histogram());
        assert!(text.contains("Total count    =            0]"), "{text}");
    }
}
