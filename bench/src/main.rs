//! `ringlog-bench`: Ringlog and real Kafka measured on the same machine and disk, in turn.
//!
//! [`tools`] runs Kafka's own performance tools, [`idle`] watches brokers that do nothing, [`recovery`] times restarts,
//! [`load`] is a load generator of our own that measures latencies and verifies what it reads, [`output`] what is left of its
//! runs, [`limits`] what the machine can do, and [`compare`] puts all of it together: the same loads against each side.
//! All stand on [`broker`] (either broker behind one face), [`cluster`] (several of them), [`process`] (nothing that is started outlives us), [`procfs`]
//! (what the kernel counts), [`work_dir`] (a real disk) and [`client`] with [`fill`] (the little of the protocol that is
//! needed). Deliberately absent: machines other than this one.

mod broker;
mod cli;
mod client;
mod cluster;
mod compare;
mod fill;
mod idle;
mod interrupt;
mod jars;
mod kafka;
mod limits;
mod load;
mod machine;
mod member;
mod output;
mod perf_tools;
mod ports;
mod process;
mod procfs;
mod recovery;
mod report;
mod ringlog;
mod setting;
mod stats;
mod tools;
mod tools_report;
mod work_dir;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde::Serialize;

use crate::broker::{BrokerError, Programs, Side};
use crate::cli::{Cli, Command, CommonArgs, CompareArgs, IdleArgs, LimitsArgs, RecoveryArgs, ToolsArgs, distinct};
use crate::compare::{CompareError, ComparePlan, CompareReport, Times};
use crate::idle::{IdlePlan, IdleReport};
use crate::interrupt::Interrupt;
use crate::limits::Budget;
use crate::load::{LoadArgs, Workload};
use crate::machine::Machine;
use crate::member::Shape;
use crate::output::Bar;
use crate::recovery::{RecoveryPlan, RecoveryReport};
use crate::setting::Setting;
use crate::tools::{Case, ToolsPlan};
use crate::tools_report::ToolsReport;
use crate::work_dir::WorkDir;

/// The exit status of a program that SIGINT ended, by the shells' convention.
const EXIT_INTERRUPTED: u8 = 130;
/// Disk space that brokers without load need, generously.
const IDLE_DISK_BYTES: u64 = 8 << 30;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("cannot take over signals: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    WorkDir(#[from] work_dir::WorkDirError),
    #[error(transparent)]
    Programs(#[from] BrokerError),
    #[error(transparent)]
    Tools(#[from] tools::ToolsError),
    #[error(transparent)]
    Idle(#[from] idle::IdleError),
    #[error(transparent)]
    Recovery(#[from] recovery::RecoveryError),
    #[error(transparent)]
    Compare(#[from] compare::CompareError),
    #[error(transparent)]
    Limits(#[from] limits::LimitsError),
    #[error(transparent)]
    Workload(#[from] load::WorkloadError),
    #[error(transparent)]
    Load(#[from] load::LoadError),
    #[error(transparent)]
    LoadOutput(#[from] output::OutputError),
    #[error("cannot write {path}: {source}")]
    Output { path: PathBuf, source: io::Error },
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => return failed(&BenchError::Signals(error)),
    };
    let outcome = match &cli.command {
        Command::Tools(args) => run_tools(args, &interrupt),
        Command::Idle(args) => run_idle(args, &interrupt),
        Command::Recovery(args) => run_recovery(args, &interrupt),
        Command::Compare(args) => run_compare(args, &interrupt),
        Command::Produce(args) => {
            args.workload().map_err(BenchError::from).and_then(|w| run_load(&args.load, &w, &interrupt))
        }
        Command::Consume(args) => {
            args.workload().map_err(BenchError::from).and_then(|w| run_load(&args.load, &w, &interrupt))
        }
        Command::E2e(args) => {
            args.workload().map_err(BenchError::from).and_then(|w| run_load(&args.load, &w, &interrupt))
        }
        Command::Limits(args) => run_limits(args, &interrupt),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whatever failed, it did so because of the signal.
        Err(_) if interrupt.check().is_err() => {
            eprintln!("ringlog-bench: interrupted; what was started is stopped");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &BenchError) -> ExitCode {
    eprintln!("ringlog-bench: {error}");
    ExitCode::FAILURE
}

fn run_tools(args: &ToolsArgs, interrupt: &Interrupt) -> Result<(), BenchError> {
    let cases = Case::all(&args.record_sizes, &args.partitions, args.records, args.warmup);
    let plan = ToolsPlan { sides: distinct(&args.sides), pairs: args.pairs, cases };
    let ground =
        Ground::prepare(&args.common, &plan.sides, Shape::ALONE, true, Case::disk_bytes(&plan.cases), interrupt)?;
    let runs = tools::run(&plan, &ground.programs, &ground.work, interrupt)?;
    let report = ToolsReport::new(&ground.setting, &plan, &runs);
    publish(&args.common, &report, &report.to_markdown(&plan))
}

fn run_idle(args: &IdleArgs, interrupt: &Interrupt) -> Result<(), BenchError> {
    let plan = IdlePlan {
        sides: distinct(&args.sides),
        starts: args.starts,
        settle: Duration::from_secs(args.settle_seconds),
        watch: Duration::from_secs(args.seconds),
        partitions: args.partitions,
    };
    let ground = Ground::prepare(&args.common, &plan.sides, Shape::ALONE, false, IDLE_DISK_BYTES, interrupt)?;
    let runs = idle::run(&plan, &ground.programs, &ground.work, interrupt)?;
    let report = IdleReport { setting: &ground.setting, runs: &runs };
    publish(&args.common, &report, &report.to_markdown())
}

fn run_recovery(args: &RecoveryArgs, interrupt: &Interrupt) -> Result<(), BenchError> {
    let bytes = (args.gib * f64::from(1 << 30)) as u64;
    let batch_bytes = args.batch_bytes as usize;
    let sides = distinct(&args.sides);
    let plan = RecoveryPlan::new(sides, args.rounds, bytes, args.partitions, args.record_size, batch_bytes);
    let ground = Ground::prepare(&args.common, &plan.sides, Shape::ALONE, false, plan.disk_bytes(), interrupt)?;
    let runs = recovery::run(&plan, &ground.programs, &ground.work, interrupt)?;
    let report = RecoveryReport {
        setting: &ground.setting,
        partitions: args.partitions,
        record_bytes: args.record_size,
        batch_bytes,
        runs: &runs,
    };
    publish(&args.common, &report, &report.to_markdown())
}

fn run_compare(args: &CompareArgs, interrupt: &Interrupt) -> Result<(), BenchError> {
    const RAMP_UP_SECONDS: f64 = 2.0;
    let sides = distinct(&args.sides);
    let shape = compare::shape(args.brokers, args.replication_factor)?;
    let plan = if args.quick {
        ComparePlan::quick(&args.cases, sides, shape)?
    } else {
        let CompareArgs { seconds, warm_up_seconds, .. } = *args;
        let times = Times { seconds, warm_up_seconds, ramp_up_seconds: RAMP_UP_SECONDS };
        ComparePlan::new(&args.cases, sides, shape, args.rounds, times)?
    };
    if let Some(out) = &args.out {
        fs::create_dir_all(out).map_err(|source| BenchError::Output { path: out.clone(), source })?;
    }
    let in_use = plan.sides_in_use();
    let (with_tools, disk_bytes) = (plan.needs_kafka_tools(), plan.disk_bytes());
    let ground = Ground::prepare(&args.common, &in_use, shape, with_tools, disk_bytes, interrupt)?;
    let limits = limits::measure(ground.work.path(), Budget::USUAL, interrupt)?;
    let mut runs = Vec::new();
    let ran = compare::run(&plan, &ground.programs, &ground.work, args.out.as_deref(), &mut runs, interrupt);
    if runs.is_empty() {
        return ran.map_err(Into::into);
    }
    let kafka_source = match &args.common.kafka_libs {
        Some(libs) => format!("Kafka: the jars in {}.", libs.display()),
        None => "Kafka: jars from Maven Central, at the versions in tests/clients/kafka/pom.xml.".to_owned(),
    };
    let stopped_by = ran.as_ref().err().map(ToString::to_string);
    let report = CompareReport::new(&ground.setting, limits, kafka_source, &plan, &runs, stopped_by);
    // Hours of measuring are not lost with their last minute.
    let published = publish_compare(args, &report);
    ran?;
    published?;
    match report.floor_breaches() {
        breaches if breaches.is_empty() => Ok(()),
        breaches => Err(CompareError::BelowFloor(breaches).into()),
    }
}

fn publish_compare(args: &CompareArgs, report: &CompareReport<'_>) -> Result<(), BenchError> {
    publish(&args.common, report, &report.to_markdown())?;
    if let Some(out) = &args.out {
        write(&out.join("report.md"), &report.to_markdown())?;
        write(&out.join("report.json"), &serde_json::to_string_pretty(report)?)?;
    }
    Ok(())
}

fn run_limits(args: &LimitsArgs, interrupt: &Interrupt) -> Result<(), BenchError> {
    let work = WorkDir::create(&cli::work_parent(args.dir.as_deref()), Budget::USUAL.file_bytes, false)?;
    let setting = Setting { machine: Machine::describe(work.path()), sides: Vec::new() };
    let limits = limits::measure(work.path(), Budget::USUAL, interrupt)?;
    println!("{}{}", report::head("Limits of this machine", &setting), limits.markdown());
    if let Some(path) = &args.json {
        write(path, &serde_json::to_string_pretty(&limits)?)?;
    }
    Ok(())
}

fn run_load(args: &LoadArgs, workload: &Workload, interrupt: &Interrupt) -> Result<(), BenchError> {
    let mut bar = Bar::new(&workload.name);
    let outcome = load::run(args.broker, workload, &args.options(), &mut |live| bar.show(live), interrupt);
    bar.finish();
    let outcome = outcome?;
    println!("{}", output::summary(&outcome));
    if let Some(dir) = &args.out {
        output::publish(&outcome, workload, dir)?;
    }
    Ok(())
}

/// What every measurement stands on.
struct Ground {
    programs: Programs,
    setting: Setting,
    work: WorkDir,
}

impl Ground {
    fn prepare(
        common: &CommonArgs,
        sides: &[Side],
        shape: Shape,
        with_tools: bool,
        disk_bytes: u64,
        interrupt: &Interrupt,
    ) -> Result<Ground, BenchError> {
        // A report that cannot be written is known before hours of measuring.
        for path in [&common.json, &common.markdown].into_iter().flatten() {
            write(path, "")?;
        }
        let work = WorkDir::create(&common.work_parent(), disk_bytes, common.keep)?;
        let programs = Programs::find(sides, with_tools, &common.program_paths(), work.path(), interrupt)?;
        let setting = Setting::describe(sides, shape, &programs, work.path());
        Ok(Ground { programs, setting, work })
    }
}

fn publish(common: &CommonArgs, report: &impl Serialize, markdown: &str) -> Result<(), BenchError> {
    println!("{markdown}");
    if let Some(path) = &common.markdown {
        write(path, markdown)?;
    }
    if let Some(path) = &common.json {
        write(path, &serde_json::to_string_pretty(report)?)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(|source| BenchError::Output { path: path.to_owned(), source })
}
