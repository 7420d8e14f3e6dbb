//! One run: one case on one side, on fresh directories and fresh processes, warmed up first.
//!
//! Before what is measured comes a run of the same load that is not: it is there for the JVM, which is slow until it has
//! compiled what it does, and every side gets it.

use std::path::Path;
use std::time::Duration;

use crate::broker::{BrokerError, Programs, Side};
use crate::client::ClientError;
use crate::cluster::{Cluster, ClusterHome};
use crate::compare::cases::{Case, Kind};
use crate::compare::figures::{Figures, of_outcome};
use crate::compare::metric::Metric;
use crate::compare::watch::Watch;
use crate::fill::{FillError, FillPlan, fill};
use crate::interrupt::{Interrupt, Interrupted};
use crate::load::outcome::{Live, Outcome};
use crate::load::{self, LoadError, RunOptions, Workload, WorkloadError};
use crate::member::Shape;
use crate::output::{self, Bar, OutputError};
use crate::perf_tools::{OutputError as ToolOutputError, PRODUCER_CLASS, parse_producer, producer_args};
use crate::process::run_tool;
use crate::procfs::{ProcfsError, cpu_seconds, peak_rss_bytes, rss_bytes};
use crate::work_dir::{WorkDir, WorkDirError};

/// How long the creation of a topic may take.
const TOPIC_TIME_MAX: Duration = Duration::from_secs(60);
/// How long one run of Kafka's producer tool may take.
const TOOL_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// Bytes of backlog in a warm-up, at most.
const WARM_UP_BACKLOG_BYTES: u64 = 256 << 20;
/// What warms a restarted broker up for reading.
const FETCH_WARM_UP_WORKLOAD: &str = "tail-fetch";
const BACKLOG_TOPIC: &str = "backlog";
/// How long after a load that failed it is found out whether the broker is why.
const END_TIME: Duration = Duration::from_millis(500);
/// How long a started broker rests before its memory is looked at.
const REST: Duration = Duration::from_secs(3);
/// Records that Kafka's producer tool sends, by their size: a few seconds' worth.
const JAVA_BYTES: u64 = 300 << 20;
const JAVA_RECORDS_MAX: u64 = 1_500_000;
const JAVA_WARM_UP_RECORDS: u64 = 200_000;
/// Of the tool's records, those before its own steady state, in percent.
const JAVA_TOOL_WARM_UP_PERCENT: u64 = 20;

/// How long runs are.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// What is measured.
    pub seconds: f64,
    /// The run before that is not counted.
    pub warm_up_seconds: f64,
    /// The beginning of what is measured that is not counted either.
    pub ramp_up_seconds: f64,
}

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error(transparent)]
    Tool(#[from] ToolOutputError),
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("{found} brokers lead partitions, expected {expected}: the load is not where it is to be")]
    Leaders { expected: usize, found: usize },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What a run needs.
#[derive(Clone, Copy)]
pub struct SingleRun<'a> {
    pub case: &'static Case,
    pub side: Side,
    /// Of sides that are clusters.
    pub shape: Shape,
    /// What the run is called in progress.
    pub title: &'a str,
    pub times: Times,
    pub programs: &'a Programs,
    pub work: &'a WorkDir,
    /// Where the load generator's results go; none: they are not written.
    pub out: Option<&'a Path>,
    pub interrupt: &'a Interrupt,
}

impl SingleRun<'_> {
    /// Runs the case in a fresh directory called `name`, which is removed again.
    pub fn run(&self, name: &str) -> Result<Figures, RunError> {
        self.work.settle()?;
        let dir = self.work.fresh(name)?;
        let figures = match self.case.kind {
            Kind::Load { workload } => self.load(workload, false, &dir)?,
            Kind::LeaderLoad { workload } => self.load(workload, true, &dir)?,
            Kind::BacklogFromDisk { workload } => self.backlog(workload, &dir)?,
            Kind::JavaProducer { record_bytes, partitions } => self.java_producer(record_bytes, partitions, &dir)?,
            Kind::Start => self.start(&dir)?,
        };
        self.work.discard(&dir)?;
        Ok(figures)
    }

    fn load(&self, name: &str, one_leader: bool, dir: &Path) -> Result<Figures, RunError> {
        let mut broker = self.started(dir)?;
        let factor = self.side.shape(self.shape).replication_factor;
        let settings = [format!("replication_factor={factor}"), format!("one_leader={one_leader}")];
        let workload = measured(Workload::load(name, &settings)?, self.times)?;
        self.drive(&mut broker, "warm-up", &warm_up(workload.clone(), self.times)?, &RunOptions::default())?;
        let mut figures = self.measure(&mut broker, &workload, &RunOptions::default())?;
        self.stop(broker, &mut figures)?;
        Ok(figures)
    }

    fn backlog(&self, name: &str, dir: &Path) -> Result<Figures, RunError> {
        let home = ClusterHome::prepare(self.side, self.shape, self.programs, dir, self.interrupt)?;
        let mut broker = home.start(self.programs, self.interrupt)?;
        let (writing, reading) = halves(Workload::load(name, &[])?)?;
        let options = RunOptions { topic: Some(BACKLOG_TOPIC.to_owned()), keep_topic: true, ..RunOptions::default() };
        self.drive(&mut broker, "writing the backlog", &writing, &options)?;
        broker.stop(self.interrupt)?;
        self.work.evict_from_page_cache(dir)?;
        let mut broker = home.start(self.programs, self.interrupt)?;
        let warming = warm_up(Workload::load(FETCH_WARM_UP_WORKLOAD, &[])?, self.times)?;
        self.drive(&mut broker, "warm-up", &warming, &RunOptions::default())?;
        let mut figures = self.measure(&mut broker, &reading, &options)?;
        self.stop(broker, &mut figures)?;
        Ok(figures)
    }

    fn java_producer(&self, record_bytes: usize, partitions: i32, dir: &Path) -> Result<Figures, RunError> {
        let broker = self.started(dir)?;
        let records = (JAVA_BYTES / record_bytes as u64).min(JAVA_RECORDS_MAX);
        let mut figures = Figures::new();
        for (topic, records) in [("warm-up", JAVA_WARM_UP_RECORDS), ("measured", records)] {
            broker.first().connect(self.interrupt)?.create_topic(topic, partitions, TOPIC_TIME_MAX)?;
            self.work.settle()?;
            let tool_warm_up = records * JAVA_TOOL_WARM_UP_PERCENT / 100;
            let mut command = self.programs.kafka_tool(dir, PRODUCER_CLASS)?;
            command.args(producer_args(broker.address(), topic, records, tool_warm_up, record_bytes));
            let before = cpu_seconds(broker.first().pid())?;
            let log = dir.join("ProducerPerformance.log");
            let output =
                run_tool(PRODUCER_CLASS, command, &log, TOOL_TIME_MAX, self.interrupt).map_err(BrokerError::from)?;
            let cpu = cpu_seconds(broker.first().pid())? - before;
            let summary = parse_producer(&output, records, tool_warm_up)?;
            let steady = summary.measured();
            figures.insert(Metric::ProduceRecordsPerSecond, steady.records_per_s);
            figures.insert(Metric::ProduceMegabytesPerSecond, steady.mib_per_s * f64::from(1 << 20) / 1e6);
            figures.insert(Metric::ProduceP50Ms, steady.latency_p50_ms);
            figures.insert(Metric::ProduceP99Ms, steady.latency_p99_ms);
            figures.insert(Metric::ProduceP999Ms, steady.latency_p999_ms);
            figures.insert(Metric::BrokerCpuSecondsPerMillionRecords, cpu * 1e6 / summary.whole.records as f64);
        }
        self.stop(broker, &mut figures)?;
        Ok(figures)
    }

    fn start(&self, dir: &Path) -> Result<Figures, RunError> {
        const TOPIC: &str = "first";
        let broker = self.started(dir)?;
        let mut figures = Figures::new();
        figures.insert(Metric::StartToFirstAnswerMs, broker.first().start_time().as_secs_f64() * 1e3);
        broker.first().connect(self.interrupt)?.create_topic(TOPIC, 1, TOPIC_TIME_MAX)?;
        let one = FillPlan { topic: TOPIC.to_owned(), partitions: 1, bytes: 1, record_bytes: 100, batch_bytes: 1 };
        fill(broker.address(), &one, &[0], self.interrupt)?;
        figures.insert(Metric::StartToFirstRecordMs, broker.first().age().as_secs_f64() * 1e3);
        self.interrupt.sleep(REST)?;
        figures.insert(Metric::IdleMemoryMib, mib(rss_bytes(broker.first().pid())?));
        broker.stop(self.interrupt)?;
        Ok(figures)
    }

    fn started(&self, dir: &Path) -> Result<Cluster, RunError> {
        let home = ClusterHome::prepare(self.side, self.shape, self.programs, dir, self.interrupt)?;
        Ok(home.start(self.programs, self.interrupt)?)
    }

    /// Load that is not counted.
    fn drive(
        &self,
        broker: &mut Cluster,
        what: &str,
        workload: &Workload,
        options: &RunOptions,
    ) -> Result<(), RunError> {
        let mut bar = Bar::new(&format!("{}, {what}", self.title));
        self.run_load(broker, workload, options, &mut |live| bar.show(live))?;
        bar.finish();
        Ok(())
    }

    /// Load that is.
    fn measure(&self, broker: &mut Cluster, workload: &Workload, options: &RunOptions) -> Result<Figures, RunError> {
        self.work.settle()?;
        let mut bar = Bar::new(self.title);
        let mut watch = Watch::new(broker.pids());
        let mut observe = |live: &Live| {
            watch.observe(live);
            bar.show(live);
        };
        let outcome = self.run_load(broker, workload, options, &mut observe)?;
        bar.finish();
        if let Some(out) = self.out {
            output::publish(&outcome, workload, out)?;
        }
        self.check_leaders(workload, &outcome)?;
        Ok(of_outcome(&outcome, watch.usage()?, workload.one_leader))
    }

    /// What is compared is a cluster with the leaders spread over it, or one whose first broker leads everything.
    fn check_leaders(&self, workload: &Workload, outcome: &Outcome) -> Result<(), RunError> {
        let brokers = self.side.shape(self.shape).brokers;
        let expected = if workload.one_leader { 1 } else { brokers.min(workload.partitions_total()) };
        let found = outcome.leading_brokers;
        if found == expected { Ok(()) } else { Err(RunError::Leaders { expected, found }) }
    }

    /// A load that fails because the broker has ended is told as that, with the end of the broker's log.
    fn run_load(
        &self,
        broker: &mut Cluster,
        workload: &Workload,
        options: &RunOptions,
        observe: &mut dyn FnMut(&Live),
    ) -> Result<Outcome, RunError> {
        match load::run(broker.address(), workload, options, observe, self.interrupt) {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                broker.check_running(END_TIME, self.interrupt)?;
                Err(error.into())
            }
        }
    }

    fn stop(&self, broker: Cluster, figures: &mut Figures) -> Result<(), RunError> {
        let peaks: Result<Vec<u64>, _> = broker.pids().into_iter().map(peak_rss_bytes).collect();
        figures.insert(Metric::PeakMemoryMib, mib(peaks?.iter().sum()));
        broker.stop(self.interrupt)?;
        Ok(())
    }
}

/// The workload for as long as is asked for; one that ends when all is read keeps its own end.
fn measured(mut workload: Workload, times: Times) -> Result<Workload, WorkloadError> {
    if workload.duration_seconds.is_some() {
        workload.duration_seconds = Some(times.seconds);
        workload.warmup_seconds = times.ramp_up_seconds;
    }
    workload.checked()
}

/// The same load, shorter and with less of a backlog.
fn warm_up(mut workload: Workload, times: Times) -> Result<Workload, WorkloadError> {
    if workload.duration_seconds.is_some() {
        workload.duration_seconds = Some(times.warm_up_seconds);
        workload.warmup_seconds = 0.0;
    }
    workload.backlog_bytes = workload.backlog_bytes.map(|bytes| bytes.min(WARM_UP_BACKLOG_BYTES));
    workload.checked()
}

/// A workload that drains a backlog in two: one that writes it, and one that reads it in a later life of the broker.
fn halves(workload: Workload) -> Result<(Workload, Workload), WorkloadError> {
    let mut writing = workload.clone();
    let record_bytes = workload.record_size as u64;
    writing.records = workload.backlog_records.or(workload.backlog_bytes.map(|bytes| bytes / record_bytes));
    (writing.backlog_bytes, writing.backlog_records, writing.duration_seconds) = (None, None, None);
    (writing.groups_from_start, writing.drain, writing.warmup_seconds) = (0, false, 0.0);
    let mut reading = workload;
    (reading.backlog_bytes, reading.backlog_records, reading.producers) = (None, None, 0);
    Ok((writing.checked()?, reading.checked()?))
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { seconds: 7.0, warm_up_seconds: 3.0, ramp_up_seconds: 1.0 };

    #[test]
    fn the_warm_up_is_the_same_load_but_short() {
        let workload = measured(Workload::load("mixed", &[]).unwrap(), TIMES).unwrap();
        assert_eq!((workload.duration_seconds, workload.warmup_seconds), (Some(7.0), 1.0));
        let warming = warm_up(workload.clone(), TIMES).unwrap();
        assert_eq!((warming.duration_seconds, warming.warmup_seconds), (Some(3.0), 0.0));
        assert_eq!(warming.backlog_bytes, Some(WARM_UP_BACKLOG_BYTES));
        let same = Workload {
            duration_seconds: workload.duration_seconds,
            warmup_seconds: workload.warmup_seconds,
            backlog_bytes: workload.backlog_bytes,
            ..warming
        };
        assert_eq!(same, workload);
    }

    #[test]
    fn a_backlog_is_written_whole_and_then_only_read() {
        let whole = Workload::load("backlog-drain", &[]).unwrap();
        let (writing, reading) = halves(whole.clone()).unwrap();
        assert_eq!(writing.records, Some(whole.backlog_bytes.unwrap() / whole.record_size as u64));
        assert!(!writing.drain && !writing.has_consumers(), "{writing:?}");
        assert_eq!((reading.producers, reading.backlog_bytes), (0, None));
        assert!(reading.drain && reading.has_consumers(), "{reading:?}");
        assert_eq!((reading.partitions, writing.partitions), (whole.partitions, whole.partitions));
    }
}
