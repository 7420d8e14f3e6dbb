//! Kafka's own performance tools: how they are called, and what they print.
//!
//! Both are run as `kafka-producer-perf-test.sh` and `kafka-consumer-perf-test.sh` run them, with default client
//! settings but for `acks=all` (which is the default, yet is worth saying) and, on request, a warm-up of the producer.
//! A tool that did fewer records than asked for has failed, whatever its exit status says: both exit with 0 then.

use std::net::SocketAddr;

use serde::Serialize;

/// The tools' classes, from Kafka's `kafka-tools` jar.
pub const PRODUCER_CLASS: &str = "org.apache.kafka.tools.ProducerPerformance";
pub const CONSUMER_CLASS: &str = "org.apache.kafka.tools.ConsumerPerformance";

/// Milliseconds after which the consumer gives up on the next record.
const CONSUMER_TIMEOUT_MS: u64 = 60_000;
/// Milliseconds between lines of progress: so long that there is none.
const REPORTING_INTERVAL_MS: u64 = 86_400_000;

/// What ProducerPerformance says at its end. Latencies are in milliseconds, from send() to the acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProducerSummary {
    pub records: u64,
    pub records_per_s: f64,
    /// Of 2^20 bytes, record values only.
    pub mib_per_s: f64,
    pub latency_avg_ms: f64,
    pub latency_max_ms: f64,
    pub latency_p50_ms: f64,
    pub latency_p95_ms: f64,
    pub latency_p99_ms: f64,
    pub latency_p999_ms: f64,
}

/// What a run of ProducerPerformance came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProducerOutput {
    pub whole: ProducerSummary,
    /// Without the warm-up, if there was one.
    pub steady: Option<ProducerSummary>,
}

impl ProducerOutput {
    /// The figures to compare: after the warm-up, if there was one.
    #[must_use]
    pub fn measured(&self) -> &ProducerSummary {
        self.steady.as_ref().unwrap_or(&self.whole)
    }
}

/// What ConsumerPerformance says at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConsumerSummary {
    pub records: u64,
    /// Of 2^20 bytes, keys and values.
    pub mib: f64,
    /// From the consumer's creation to its last record, the joining of the group included.
    pub mib_per_s: f64,
    /// Milliseconds from the start to the assignment of partitions.
    pub rebalance_ms: f64,
    /// Without the joining of the group.
    pub fetch_mib_per_s: f64,
    pub fetch_records_per_s: f64,
}

/// Why a tool's output is no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OutputError {
    #[error("{class} printed no summary ({what}); its output:\n{output}")]
    NoSummary { class: &'static str, what: &'static str, output: String },
    #[error("{class} did {found} records where {expected} were asked for; its output:\n{output}")]
    RecordsMissing { class: &'static str, expected: u64, found: u64, output: String },
}

/// Arguments of ProducerPerformance for `records` records of `record_bytes` bytes each.
#[must_use]
pub fn producer_args(
    broker: SocketAddr,
    topic: &str,
    records: u64,
    warmup_records: u64,
    record_bytes: usize,
) -> Vec<String> {
    let mut args = vec![
        "--bootstrap-server".to_owned(),
        broker.to_string(),
        "--topic".to_owned(),
        topic.to_owned(),
        "--num-records".to_owned(),
        records.to_string(),
        "--record-size".to_owned(),
        record_bytes.to_string(),
        "--throughput".to_owned(),
        "-1".to_owned(),
        "--reporting-interval".to_owned(),
        REPORTING_INTERVAL_MS.to_string(),
    ];
    if warmup_records > 0 {
        args.extend(["--warmup-records".to_owned(), warmup_records.to_string()]);
    }
    args.extend(["--command-property".to_owned(), "acks=all".to_owned()]);
    args
}

/// Arguments of ConsumerPerformance for `records` records from the start of the topic, in a group of its own.
#[must_use]
pub fn consumer_args(broker: SocketAddr, topic: &str, records: u64) -> Vec<String> {
    [
        "--bootstrap-server",
        &broker.to_string(),
        "--topic",
        topic,
        "--group",
        &format!("{topic}-readers"),
        "--num-records",
        &records.to_string(),
        "--timeout",
        &CONSUMER_TIMEOUT_MS.to_string(),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Reads ProducerPerformance's output. Without a warm-up there is one summary, with one there are two.
pub fn parse_producer(output: &str, records: u64, warmup_records: u64) -> Result<ProducerOutput, OutputError> {
    let class = PRODUCER_CLASS;
    let no_summary = |what| OutputError::NoSummary { class, what, output: output.to_owned() };
    let summaries = || output.lines().filter(|line| line.contains(" 99.9th"));
    let whole = summaries()
        .filter(|line| !line.contains("steady state"))
        .find_map(parse_producer_line)
        .ok_or_else(|| no_summary("the line with percentiles"))?;
    if whole.records != records {
        let (expected, found) = (records, whole.records);
        return Err(OutputError::RecordsMissing { class, expected, found, output: output.to_owned() });
    }
    let mut steady = None;
    if warmup_records > 0 {
        let line = summaries().filter(|line| line.contains("steady state")).find_map(parse_producer_line);
        steady = Some(line.ok_or_else(|| no_summary("the steady state after the warm-up"))?);
    }
    Ok(ProducerOutput { whole, steady })
}

fn parse_producer_line(line: &str) -> Option<ProducerSummary> {
    let mut parts = line.trim_end().trim_end_matches('.').split(", ");
    let records = parts.next()?.split(' ').next()?.parse().ok()?;
    let rate = parts.next()?.strip_suffix(" MB/sec)")?;
    let (records_per_s, mib_per_s) = rate.split_once(" records/sec (")?;
    let mut milliseconds = |what: &str| -> Option<f64> { parts.next()?.strip_suffix(what)?.parse().ok() };
    Some(ProducerSummary {
        records,
        records_per_s: records_per_s.parse().ok()?,
        mib_per_s: mib_per_s.parse().ok()?,
        latency_avg_ms: milliseconds(" ms avg latency")?,
        latency_max_ms: milliseconds(" ms max latency")?,
        latency_p50_ms: milliseconds(" ms 50th")?,
        latency_p95_ms: milliseconds(" ms 95th")?,
        latency_p99_ms: milliseconds(" ms 99th")?,
        latency_p999_ms: milliseconds(" ms 99.9th")?,
    })
}

/// Reads ConsumerPerformance's output: columns named by its first line. It may read some records more than asked for,
/// as it stops between two polls.
pub fn parse_consumer(output: &str, records: u64) -> Result<ConsumerSummary, OutputError> {
    let class = CONSUMER_CLASS;
    let no_summary = |what| OutputError::NoSummary { class, what, output: output.to_owned() };
    let mut lines = output.lines().skip_while(|line| !line.starts_with("start.time"));
    let header: Vec<&str> = lines.next().ok_or_else(|| no_summary("the header"))?.split(',').map(str::trim).collect();
    let row: Vec<&str> = lines
        .map(|line| line.split(',').map(str::trim).collect::<Vec<_>>())
        .find(|row| row.len() == header.len())
        .ok_or_else(|| no_summary("the line of figures"))?;
    let column = |name: &'static str| -> Result<f64, OutputError> {
        let place = header.iter().position(|column| *column == name);
        place.and_then(|place| row[place].parse().ok()).ok_or_else(|| no_summary(name))
    };
    let found = column("data.consumed.in.nMsg")? as u64;
    if found < records {
        return Err(OutputError::RecordsMissing { class, expected: records, found, output: output.to_owned() });
    }
    Ok(ConsumerSummary {
        records: found,
        mib: column("data.consumed.in.MB")?,
        mib_per_s: column("MB.sec")?,
        rebalance_ms: column("rebalance.time.ms")?,
        fetch_mib_per_s: column("fetch.MB.sec")?,
        fetch_records_per_s: column("fetch.nMsg.sec")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by Kafka 4.3.0's tools against Kafka 4.3.0.
    const PRODUCER: &str = include_str!("../testdata/producer-performance.txt");
    const PRODUCER_WARMUP: &str = include_str!("../testdata/producer-performance-warmup.txt");
    const CONSUMER: &str = include_str!("../testdata/consumer-performance.txt");
    const CONSUMER_SHORT: &str = include_str!("../testdata/consumer-performance-short.txt");

    #[test]
    fn the_producers_summary_is_not_mistaken_for_a_line_of_progress() {
        let output = parse_producer(PRODUCER, 300_000, 0).unwrap();
        let expected = ProducerSummary {
            records: 300_000,
            records_per_s: 57121.096725,
            mib_per_s: 5.45,
            latency_avg_ms: 2118.52,
            latency_max_ms: 2598.0,
            latency_p50_ms: 2389.0,
            latency_p95_ms: 2556.0,
            latency_p99_ms: 2592.0,
            latency_p999_ms: 2596.0,
        };
        assert_eq!(output, ProducerOutput { whole: expected, steady: None });
        assert_eq!(output.measured(), &expected);
    }

    #[test]
    fn after_a_warm_up_the_steady_state_is_what_counts() {
        let output = parse_producer(PRODUCER_WARMUP, 300_000, 50_000).unwrap();
        assert_eq!(output.whole.records_per_s, 72184.793070);
        assert_eq!((output.measured().records, output.measured().latency_p99_ms), (250_000, 655.0));
        let missing = parse_producer(PRODUCER, 300_000, 50_000).unwrap_err();
        assert!(matches!(missing, OutputError::NoSummary { .. }), "{missing}");
    }

    #[test]
    fn records_that_failed_make_the_producers_run_a_failure() {
        let error = parse_producer(PRODUCER, 300_001, 0).unwrap_err();
        assert!(matches!(error, OutputError::RecordsMissing { expected: 300_001, found: 300_000, .. }), "{error}");
        let error = parse_producer("org.apache.kafka.common.errors.TimeoutException: no\n", 5, 0).unwrap_err();
        assert!(error.to_string().contains("TimeoutException"), "{error}");
    }

    #[test]
    fn the_consumers_columns_are_found_by_name() {
        let expected = ConsumerSummary {
            records: 500_479,
            mib: 47.7294,
            mib_per_s: 13.1631,
            rebalance_ms: 1575.0,
            fetch_mib_per_s: 23.2713,
            fetch_records_per_s: 244017.0648,
        };
        assert_eq!(parse_consumer(CONSUMER, 500_000), Ok(expected));
        assert_eq!(parse_consumer(&format!("some warning\n{CONSUMER}"), 500_000), Ok(expected));
    }

    #[test]
    fn a_consumer_that_gave_up_is_a_failure() {
        let error = parse_consumer(CONSUMER_SHORT, 900_000).unwrap_err();
        assert!(matches!(error, OutputError::RecordsMissing { expected: 900_000, found: 600_000, .. }), "{error}");
        assert!(error.to_string().contains("timeout (3000 ms) exceeded"), "{error}");
        let header_only = CONSUMER.lines().next().unwrap();
        assert!(matches!(parse_consumer(header_only, 1), Err(OutputError::NoSummary { .. })));
        assert!(matches!(parse_consumer("", 1), Err(OutputError::NoSummary { .. })));
    }

    #[test]
    fn the_tools_are_called_with_default_client_settings_and_acks_all() {
        let broker = "127.0.0.1:9092".parse().unwrap();
        let line = producer_args(broker, "t", 10, 0, 100).join(" ");
        assert!(line.ends_with("--throughput -1 --reporting-interval 86400000 --command-property acks=all"), "{line}");
        assert!(!line.contains("warmup"), "{line}");
        assert!(producer_args(broker, "t", 10, 3, 100).join(" ").contains("--warmup-records 3"));
        let line = consumer_args(broker, "t", 10).join(" ");
        assert!(
            line.contains("--bootstrap-server 127.0.0.1:9092 --topic t --group t-readers --num-records 10"),
            "{line}"
        );
    }
}
