//! The seconds of a run as an HdrHistogram interval log: V2 histograms, compressed, that `HistogramLogProcessor` reads.
//!
//! Values are nanoseconds; the column of the greatest value alone is in milliseconds, as in the Java writer. Each interval
//! tells its time since the measured time began, which is the log's start and base time.

use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};
use hdrhistogram::serialization::{V2DeflateSerializeError, V2DeflateSerializer};

use crate::load::outcome::RoleOutcome;
use crate::output::title;

/// Nanoseconds in the unit of the greatest value's column.
const NS_PER_MS: f64 = 1e6;

pub type LogWriterError = IntervalLogWriterError<V2DeflateSerializeError>;

/// The log of one role. `began_ms` is when the measured time began, in milliseconds since the Unix epoch.
pub fn encode(role: &RoleOutcome, began_ms: u64) -> Result<Vec<u8>, LogWriterError> {
    let began = UNIX_EPOCH + Duration::from_millis(began_ms);
    let (mut log, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment(&format!("[ringlog-bench: {}; values in nanoseconds]", title(&role.role)));
    builder.with_start_time(began).with_base_time(began).with_max_value_divisor(NS_PER_MS);
    let mut writer = builder.begin_log_with(&mut log, &mut serializer)?;
    for interval in &role.intervals {
        writer.write_histogram(&interval.measure.latency, interval.start, interval.length, None)?;
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::output::tests::sample;

    #[test]
    fn read_back_it_gives_the_very_histograms_and_their_times() {
        let outcome = sample();
        let role = &outcome.roles[0];
        let log = encode(role, outcome.began_ms).unwrap();
        let mut starts = Vec::new();
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            match entry.unwrap() {
                LogEntry::StartTime(time) | LogEntry::BaseTime(time) => starts.push(time.as_millis()),
                LogEntry::Interval(interval) => {
                    let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
                    let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                    read.push((interval.start_timestamp(), interval.duration(), interval.max(), histogram));
                }
            }
        }
        assert_eq!(starts, [u128::from(outcome.began_ms); 2]);
        assert_eq!(read.len(), 2);
        for ((start, duration, max, histogram), interval) in read.into_iter().zip(&role.intervals) {
            assert_eq!((start, duration), (interval.start, interval.length));
            assert_eq!(histogram, interval.measure.latency);
            assert!((max - interval.measure.latency.max() as f64 / 1e6).abs() < 0.001, "{max} ms");
        }
    }
}
