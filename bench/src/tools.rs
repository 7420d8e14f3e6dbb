//! `ringlog-bench tools`: Kafka's own performance tools against each side in turn.
//!
//! One broker process per side and pair, on a fresh directory; the sides alternate (A B C A B C …) so that a machine that
//! changes over time is unfair to none. On each broker first an unmeasured warm-up on a topic of its own, then every case:
//! a new topic, one producer run, one consumer run from its start. Before each measured step what is dirty is written
//! back, so that no step pays for the one before it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::broker::{Broker, BrokerError, Home, Programs, Side};
use crate::interrupt::{Interrupt, Interrupted};
use crate::perf_tools::{
    CONSUMER_CLASS, ConsumerSummary, OutputError, PRODUCER_CLASS, ProducerOutput, consumer_args, parse_consumer,
    parse_producer, producer_args,
};
use crate::process::run_tool;
use crate::procfs::{ProcfsError, cpu_seconds, peak_rss_bytes};
use crate::work_dir::{WorkDir, WorkDirError};

/// How long one run of a tool may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(60 * 60);
/// How long the creation of a topic may take.
const TOPIC_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of record values in a case, unless its number of records is given.
const CASE_BYTES: u64 = 512 << 20;
const CASE_RECORDS_MAX: u64 = 2_000_000;
/// The warm-up of a broker: long enough for a JVM to compile what it will run.
const BROKER_WARMUP_RECORDS: u64 = 200_000;
const BROKER_WARMUP_RECORD_BYTES: usize = 100;

/// What to run.
#[derive(Clone, Debug)]
pub struct ToolsPlan {
    pub sides: Vec<Side>,
    pub pairs: u32,
    pub cases: Vec<Case>,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    pub record_bytes: usize,
    pub partitions: i32,
    pub records: u64,
    /// How many of the records come before the producer's steady state.
    pub warmup_records: u64,
}

impl Case {
    /// The product of sizes and partitions. `warmup_percent` of the records are the producer's warm-up.
    #[must_use]
    pub fn all(record_sizes: &[usize], partitions: &[i32], records: Option<u64>, warmup_percent: u64) -> Vec<Case> {
        let mut cases = Vec::new();
        for &record_bytes in record_sizes {
            for &partitions in partitions {
                let default = (CASE_BYTES / record_bytes.max(1) as u64).clamp(1, CASE_RECORDS_MAX);
                let records = records.unwrap_or(default);
                let warmup_records = records * warmup_percent / 100;
                cases.push(Case { record_bytes, partitions, records, warmup_records });
            }
        }
        cases
    }

    /// Bytes on disk that one run of all `cases` may take on one broker, generously.
    #[must_use]
    pub fn disk_bytes(cases: &[Case]) -> u64 {
        // Around a record's value come a few bytes of its own, its batch's header, and indexes.
        let of_case = |case: &Case| case.records * (case.record_bytes as u64 + 40);
        cases.iter().map(of_case).sum::<u64>() + (1 << 30)
    }

    #[must_use]
    pub fn title(&self) -> String {
        let Case { record_bytes, partitions, records, .. } = self;
        let plural = if *partitions == 1 { "" } else { "s" };
        format!("{record_bytes} B records, {partitions} partition{plural}, {records} records")
    }
}

/// One broker's life: one side of one pair.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerRun {
    pub side: Side,
    pub pair: u32,
    pub start_ms: f64,
    /// Of the broker's process over the whole run, in bytes.
    pub peak_rss_bytes: u64,
    /// In the order of the plan.
    pub cases: Vec<CaseRun>,
}

/// One case on one broker.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CaseRun {
    pub case: Case,
    pub producer: ProducerOutput,
    pub consumer: ConsumerSummary,
    /// CPU seconds that the broker used while the producer ran, its start and warm-up included.
    pub produce_cpu_s: f64,
    /// CPU seconds that the broker used while the consumer ran.
    pub consume_cpu_s: f64,
}

impl CaseRun {
    #[must_use]
    pub fn produce_cpu_s_per_million(&self) -> f64 {
        self.produce_cpu_s * 1e6 / self.producer.whole.records as f64
    }

    #[must_use]
    pub fn consume_cpu_s_per_million(&self) -> f64 {
        self.consume_cpu_s * 1e6 / self.consumer.records as f64
    }
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    #[error("{side}: {source}")]
    Broker { side: &'static str, source: BrokerError },
    #[error("{side}, {case}: {source}")]
    Output { side: &'static str, case: String, source: OutputError },
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Runs the plan, and tells its progress on standard error.
pub fn run(
    plan: &ToolsPlan,
    programs: &Programs,
    work: &WorkDir,
    interrupt: &Interrupt,
) -> Result<Vec<BrokerRun>, ToolsError> {
    let mut runs = Vec::new();
    for pair in 1..=plan.pairs {
        for &side in &plan.sides {
            let dir = work.fresh(&format!("{}-{pair}", side.slug()))?;
            let run = Run { plan, side, programs, work, dir: dir.clone(), interrupt };
            runs.push(run.broker(pair)?);
            work.discard(&dir)?;
        }
    }
    Ok(runs)
}

struct Run<'a> {
    plan: &'a ToolsPlan,
    side: Side,
    programs: &'a Programs,
    work: &'a WorkDir,
    dir: PathBuf,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn broker(&self, pair: u32) -> Result<BrokerRun, ToolsError> {
        let Run { side, programs, interrupt, .. } = *self;
        self.work.settle()?;
        let home = Home::prepare(side, programs, &self.dir, interrupt).map_err(self.failed())?;
        let broker = home.start(programs, interrupt).map_err(self.failed())?;
        let (start_ms, title) = (broker.start_time().as_secs_f64() * 1e3, side.title());
        eprintln!("pair {pair} of {}, {title}: answers after {start_ms:.0} ms; warming up", self.plan.pairs);
        let warmup = Case {
            record_bytes: BROKER_WARMUP_RECORD_BYTES,
            partitions: 4,
            records: BROKER_WARMUP_RECORDS,
            warmup_records: 0,
        };
        self.case(&broker, "warm-up", warmup)?;
        let mut cases = Vec::new();
        for (number, case) in self.plan.cases.iter().enumerate() {
            let run = self.case(&broker, &format!("case-{number}"), *case)?;
            let producer = run.producer.measured();
            eprintln!(
                "pair {pair} of {}, {title}, {}: produced at {:.1} MiB/s (p99 {:.0} ms), consumed at {:.1} MiB/s",
                self.plan.pairs,
                case.title(),
                producer.mib_per_s,
                producer.latency_p99_ms,
                run.consumer.fetch_mib_per_s,
            );
            cases.push(run);
        }
        let peak_rss_bytes = peak_rss_bytes(broker.pid())?;
        broker.stop(interrupt).map_err(self.failed())?;
        Ok(BrokerRun { side, pair, start_ms, peak_rss_bytes, cases })
    }

    fn case(&self, broker: &Broker, topic: &str, case: Case) -> Result<CaseRun, ToolsError> {
        let mut connection = broker.connect(self.interrupt).map_err(self.failed())?;
        let created = connection.create_topic(topic, case.partitions, TOPIC_TIME_MAX);
        created.map_err(BrokerError::from).map_err(self.failed())?;
        let Case { records, warmup_records, record_bytes, .. } = case;
        let wrong = |source| ToolsError::Output { side: self.side.title(), case: case.title(), source };

        let args = producer_args(broker.address(), topic, records, warmup_records, record_bytes);
        let (output, produce_cpu_s) = self.tool(broker, PRODUCER_CLASS, &args)?;
        let producer = parse_producer(&output, records, warmup_records).map_err(wrong)?;

        let args = consumer_args(broker.address(), topic, records);
        let (output, consume_cpu_s) = self.tool(broker, CONSUMER_CLASS, &args)?;
        let consumer = parse_consumer(&output, records).map_err(wrong)?;
        Ok(CaseRun { case, producer, consumer, produce_cpu_s, consume_cpu_s })
    }

    /// Runs a tool to its end; returns its output, and the CPU seconds that the broker used meanwhile.
    fn tool(&self, broker: &Broker, class: &str, args: &[String]) -> Result<(String, f64), ToolsError> {
        self.work.settle()?;
        let mut command = self.programs.kafka_tool(self.work.path(), class).map_err(self.failed())?;
        command.args(args);
        let log = self.log_of(class);
        let before = cpu_seconds(broker.pid())?;
        let output = run_tool(class, command, &log, TOOL_TIME_MAX, self.interrupt)
            .map_err(BrokerError::from)
            .map_err(self.failed())?;
        Ok((output, cpu_seconds(broker.pid())? - before))
    }

    fn log_of(&self, class: &str) -> PathBuf {
        let name = class.rsplit('.').next().unwrap_or(class);
        Path::new(&self.dir).join(format!("{name}.log"))
    }

    fn failed(&self) -> impl Fn(BrokerError) -> ToolsError + use<> {
        let side = self.side.title();
        move |source| ToolsError::Broker { side, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_the_product_and_of_a_bounded_size() {
        let cases = Case::all(&[100, 1024], &[1, 16], None, 20);
        let all: Vec<_> = cases.iter().map(|case| (case.record_bytes, case.partitions, case.records)).collect();
        assert_eq!(all, [(100, 1, 2_000_000), (100, 16, 2_000_000), (1024, 1, 524_288), (1024, 16, 524_288)]);
        assert_eq!(cases[0].warmup_records, 400_000);
        let given = Case::all(&[100], &[1], Some(10), 0);
        assert_eq!(given, [Case { record_bytes: 100, partitions: 1, records: 10, warmup_records: 0 }]);
        assert!(Case::disk_bytes(&cases) > 2 * 2_000_000 * 100 + 2 * 524_288 * 1024);
    }
}
