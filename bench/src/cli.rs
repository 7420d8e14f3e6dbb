//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueHint};

use crate::broker::{ProgramPaths, Side};
use crate::load::{ConsumeArgs, EndToEndArgs, ProduceArgs};

/// Measures Ringlog and real Kafka on this machine, in turn and on the same disk.
///
/// Kafka's jars come from Maven Central: they are fetched once, by `mvn`, at the versions in tests/clients/kafka/pom.xml,
/// into .cache/clients/kafka-libs of this checkout, where the client tests look for them too; --kafka-libs takes a
/// folder of jars from elsewhere. Java 17 or newer is needed wherever Kafka or its tools run.
///
/// Every process that is started is stopped again, also on an error and on Ctrl-C; only after `kill -9` of this program
/// look for what is left. Progress goes to standard error, the report to standard output.
#[derive(Debug, Parser)]
#[command(name = "ringlog-bench", version, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run Kafka's own performance tools against each side, alternating.
    ///
    /// For each pair and side a broker is started on a fresh directory, warmed up, and for each record size and number of
    /// partitions org.apache.kafka.tools.ProducerPerformance (acks=all, default client settings) and ConsumerPerformance
    /// run against it. The report has medians side by side, and the first side's as ratios to the others'.
    Tools(ToolsArgs),
    /// Watch brokers that have nothing to do: CPU, memory and start time.
    Idle(IdleArgs),
    /// Fill a log, and time how long a new process takes to serve it after kill -9 and after a clean stop.
    ///
    /// Every log's end is compared with what was acknowledged.
    Recovery(RecoveryArgs),
    /// Run the same loads against each side in turn, and hold the medians against what is to be reached.
    ///
    /// Each run is on a fresh process and directory; the side that begins moves on from round to round. The report has the
    /// medians side by side and as ratios, whether each case reached what it is to, and shares of this machine's own
    /// limits. A lost, repeated or damaged record fails the comparison, and so does a ratio below its floor.
    ///
    /// With --brokers each side is a cluster on this machine, whose brokers and the client share its cores; use of CPU,
    /// memory and disk is that of all its brokers together. One Ringlog broker without replicas is a side too: what
    /// replication costs is read off the process of a broker that leads all partitions, and off a lone request.
    Compare(CompareArgs),
    /// Produce to a running broker, at a fixed rate or as fast as it goes, and measure how long acknowledgements take.
    ///
    /// Every acknowledged offset is checked, and at the end the length of every log.
    Produce(ProduceArgs),
    /// Write a backlog to a running broker, or find one, and measure reading it.
    ///
    /// Every batch read is checked: checksum, place, and each producer's order without gap or repeat.
    Consume(ConsumeArgs),
    /// Produce to a running broker and consume at the same time, and measure how long batches take to each group.
    ///
    /// Every batch read is checked, and that every group has read all that was acknowledged.
    E2e(EndToEndArgs),
    /// Measure this machine's own limits: durable writes and reads of the disk, and TCP over loopback.
    Limits(LimitsArgs),
}

/// What all measurements take.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The ringlog binary [default: the one beside this program]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub ringlog: Option<PathBuf>,
    /// Where brokers get their fresh directories: on a disk, never a tmpfs [default: .cache/bench in this checkout]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// A folder with Kafka's jars [default: fetched into .cache/clients/kafka-libs in this checkout]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub kafka_libs: Option<PathBuf>,
    /// Leave the brokers' directories and logs in place
    #[arg(long)]
    pub keep: bool,
    /// Write everything measured to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub json: Option<PathBuf>,
    /// Write the report to this file too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub markdown: Option<PathBuf>,
}

impl CommonArgs {
    /// Where data goes.
    #[must_use]
    pub fn work_parent(&self) -> PathBuf {
        work_parent(self.dir.as_deref())
    }

    #[must_use]
    pub fn program_paths(&self) -> ProgramPaths {
        ProgramPaths {
            ringlog: self.ringlog.clone(),
            kafka_libs: self.kafka_libs.clone(),
            cache: checkout().join(".cache/clients"),
        }
    }
}

/// Where data goes, unless `dir` says otherwise.
#[must_use]
pub fn work_parent(dir: Option<&Path>) -> PathBuf {
    dir.map_or_else(|| checkout().join(".cache/bench"), Path::to_owned)
}

/// The checkout that this program was built in, or else the current directory.
fn checkout() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    built_in.filter(|dir| dir.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

#[derive(Debug, Args)]
pub struct ToolsArgs {
    /// Sides in the order of their turns; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "ringlog,kafka,kafka-flush")]
    pub sides: Vec<Side>,
    /// How many times each side has its turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pairs: u32,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "100,1024",
        value_parser = parse_record_size)]
    pub record_sizes: Vec<usize>,
    /// Partitions of the topic
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16",
        value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: Vec<i32>,
    /// Records per case [default: 512 MiB of them, at most 2,000,000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub records: Option<u64>,
    /// How many percent of the records come before the producer's steady state, which is what is reported; 0 reports
    /// all, the JVM's first seconds included
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=90))]
    pub warmup: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct IdleArgs {
    /// Sides to watch
    #[arg(long, value_delimiter = ',', default_value = "ringlog")]
    pub sides: Vec<Side>,
    /// How long to watch
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// How long to wait before, so that work left over from starting is done
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub settle_seconds: u64,
    /// How many idle partitions the second watching has
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    pub partitions: i32,
    /// How many starts on an empty directory to time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub starts: u32,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct RecoveryArgs {
    /// Sides to measure
    #[arg(long, value_delimiter = ',', default_value = "ringlog")]
    pub sides: Vec<Side>,
    /// GiB of record batches to fill the log with
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = parse_gib)]
    pub gib: f64,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub partitions: i32,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = parse_record_size)]
    pub record_size: usize,
    /// Bytes of a record batch at most
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub batch_bytes: u32,
    /// How often to kill, start, stop and start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Cases by name [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Sides in the order of their turns; ringlog-single has one where there are clusters
    #[arg(long, value_delimiter = ',', default_value = "ringlog,ringlog-single,kafka,kafka-flush")]
    pub sides: Vec<Side>,
    /// Brokers of each side, all on this machine: with more than one, the cases for clusters
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = parse_brokers)]
    pub brokers: usize,
    /// Replicas of each partition [default: as many as brokers, but 3 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..=9))]
    pub replication_factor: Option<i16>,
    /// How many times each side has its turn in a case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// How long a load is measured; backlogs are read to their end
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = parse_seconds)]
    pub seconds: f64,
    /// How long the same load runs before, on the same process, without being counted
    #[arg(long, value_name = "N", default_value_t = 8.0, value_parser = parse_seconds)]
    pub warm_up_seconds: f64,
    /// Two short rounds of a few cases: under five minutes, with clusters under seven
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "warm_up_seconds"])]
    pub quick: bool,
    /// Write report.md and report.json here, and what each run of the load generator left, below runs/
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// The directory whose disk to measure: never a tmpfs [default: .cache/bench in this checkout]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Write the figures to this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub json: Option<PathBuf>,
}

/// Below Kafka's default of `message.max.bytes`.
fn parse_record_size(text: &str) -> Result<usize, String> {
    const RECORD_BYTES: std::ops::RangeInclusive<usize> = 1..=1_000_000;
    let size = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if RECORD_BYTES.contains(&size) { Ok(size) } else { Err(format!("must be within {RECORD_BYTES:?}")) }
}

fn parse_brokers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(brokers @ 1..=9) => Ok(brokers),
        _ => Err("must be a number within 1 and 9".to_owned()),
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("must be within 0.1 and 86400".to_owned()) }
}

fn parse_gib(text: &str) -> Result<f64, String> {
    let gib = text.parse().map_err(|_| "not a number of GiB".to_owned())?;
    if (0.01..=10_000.0).contains(&gib) { Ok(gib) } else { Err("must be within 0.01 and 10000".to_owned()) }
}

/// The sides in the order given, each once.
#[must_use]
pub fn distinct(sides: &[Side]) -> Vec<Side> {
    let mut distinct = Vec::new();
    for side in sides {
        if !distinct.contains(side) {
            distinct.push(*side);
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_and_defaults() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let Ok(Command::Tools(tools)) = parse("ringlog-bench tools --record-sizes 10,20 --partitions 3 --records 7")
        else {
            panic!("not parsed");
        };
        assert_eq!((tools.record_sizes.as_slice(), tools.partitions.as_slice()), ([10, 20].as_slice(), [3].as_slice()));
        assert_eq!((tools.pairs, tools.records), (5, Some(7)));
        assert_eq!(tools.sides, [Side::Ringlog, Side::Kafka, Side::KafkaFlush]);
        let Ok(Command::Recovery(recovery)) = parse("ringlog-bench recovery --gib 0.5 --sides kafka,ringlog,kafka")
        else {
            panic!("not parsed");
        };
        assert_eq!((recovery.gib, distinct(&recovery.sides)), (0.5, vec![Side::Kafka, Side::Ringlog]));
        for wrong in [
            "tools --record-sizes 0",
            "tools --pairs 0",
            "recovery --gib NaN",
            "idle --sides redis",
            "tools --warmup 100",
            "compare --seconds 0",
            "compare --quick --rounds 3",
            "compare --brokers 0",
            "compare --replication-factor 0",
        ] {
            assert!(parse(&format!("ringlog-bench {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_help_says_where_jars_come_from() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Maven Central") && help.contains("kafka-libs"), "{help}");
    }
}
