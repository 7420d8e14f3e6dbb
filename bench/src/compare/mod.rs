//! `ringlog-bench compare`: Ringlog and real Kafka under the same load, in turn, and how the figures are to each other.
//!
//! Each case ([`cases`]) runs several rounds. In a round every side has its turn with the very same load from the very same
//! client, on a fresh process and a fresh directory of the same disk; the side that begins moves on by one from round to
//! round, so that a machine that changes over time is unfair to none. What is compared are medians over the rounds.
//!
//! Contract: a comparison that returns has a figure of every side in every round, each from a run in which nothing was
//! lost. A ratio below its floor is told by [`CompareReport::floor_breaches`]; that a reach is missed is a result.
//!
//! Of clusters ([`cluster_cases`]) all brokers are on this machine, and one Ringlog broker without replicas is a side too: what
//! replication costs is told by the process that leads.
//!
//! Deliberately absent: networks, and loads that one machine cannot make.

mod bound;
mod cases;
mod cluster_cases;
mod figures;
mod metric;
mod report;
mod single_run;
mod watch;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::broker::{Programs, Side};
use crate::compare::cases::{CASES, Case, Kind, Line};
use crate::compare::cluster_cases::CLUSTER_CASES;
use crate::compare::figures::Figures;
use crate::compare::single_run::{RunError, SingleRun};
use crate::interrupt::{Interrupt, Interrupted};
use crate::member::Shape;
use crate::report::number;
use crate::work_dir::WorkDir;

pub use report::CompareReport;
pub use single_run::Times;

/// More than a broker on one disk takes, and what disk space is reckoned with.
const DISK_BYTES_PER_SECOND_MAX: f64 = 1e9;
/// The largest backlog, with its copy for the warm-up, and something for everything else.
const DISK_BYTES_BESIDES: u64 = 8 << 30;

const QUICK_ROUNDS: u32 = 2;
const QUICK_TIMES: Times = Times { seconds: 3.0, warm_up_seconds: 2.0, ramp_up_seconds: 1.0 };

/// Why a comparison has no result.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error("no case {name:?}; there are: {known}")]
    UnknownCase { name: String, known: String },
    #[error("{factor} replicas need as many brokers, and there are {brokers} (--brokers)")]
    TooFewBrokers { factor: i16, brokers: usize },
    #[error("{case}, round {round}, {side}: {source}")]
    Run { case: &'static str, round: u32, side: &'static str, source: Box<RunError> },
    #[error("below the floor: {0}")]
    BelowFloor(String),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// What to compare.
#[derive(Clone, Debug)]
pub struct ComparePlan {
    pub cases: Vec<&'static Case>,
    /// In the order of their turns in the first round.
    pub sides: Vec<Side>,
    /// Of those sides that are clusters if any is.
    pub shape: Shape,
    pub rounds: u32,
    pub times: Times,
    /// Only the sides that each case compares quickly.
    quick: bool,
}

impl ComparePlan {
    /// The cases of these names that there are for the shape, or all of them.
    pub fn new(
        names: &[String],
        sides: Vec<Side>,
        shape: Shape,
        rounds: u32,
        times: Times,
    ) -> Result<ComparePlan, CompareError> {
        Ok(ComparePlan { cases: chosen(names, shape, |_| true)?, sides, shape, rounds, times, quick: false })
    }

    /// A few short cases, of these names or all that are quick: under five minutes.
    pub fn quick(names: &[String], sides: Vec<Side>, shape: Shape) -> Result<ComparePlan, CompareError> {
        let cases = chosen(names, shape, |case| !case.quick_sides.is_empty())?;
        Ok(ComparePlan { cases, sides, shape, rounds: QUICK_ROUNDS, times: QUICK_TIMES, quick: true })
    }

    /// The sides of a case that are compared: Ringlog, and those that it is held against.
    fn sides_of<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = Side> + 'a {
        let is_compared = |side: &Side| match (self.quick, side) {
            (true, side) => case.quick_sides.contains(side),
            (false, Side::Ringlog) => true,
            (false, side) => case.lines.iter().any(|line| line.reach_against(*side).is_some()),
        };
        self.sides.iter().copied().filter(is_compared)
    }

    /// The sides that any case compares.
    #[must_use]
    pub fn sides_in_use(&self) -> Vec<Side> {
        let used = |side: &Side| self.cases.iter().any(|case| self.sides_of(case).any(|other| other == *side));
        self.sides.iter().copied().filter(used).collect()
    }

    /// Whether Kafka's own tools are needed.
    #[must_use]
    pub fn needs_kafka_tools(&self) -> bool {
        self.cases.iter().any(|case| matches!(case.kind, Kind::JavaProducer { .. }))
    }

    /// Bytes that one side may write, generously; each is removed before the next starts.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let Times { seconds, warm_up_seconds, ramp_up_seconds } = self.times;
        let loaded = (seconds + warm_up_seconds + ramp_up_seconds) * DISK_BYTES_PER_SECOND_MAX;
        // Replicas share the disk, and so its speed.
        loaded as u64 + DISK_BYTES_BESIDES * self.shape.replication_factor.unsigned_abs() as u64
    }
}

/// How many brokers, and how many replicas: by default as many as brokers, but three at most.
pub fn shape(brokers: usize, replication_factor: Option<i16>) -> Result<Shape, CompareError> {
    let factor = replication_factor.unwrap_or(brokers.min(3) as i16);
    if factor as usize > brokers {
        return Err(CompareError::TooFewBrokers { factor, brokers });
    }
    Ok(Shape { brokers, replication_factor: factor })
}

fn chosen(
    names: &[String],
    shape: Shape,
    is_default: impl Fn(&Case) -> bool,
) -> Result<Vec<&'static Case>, CompareError> {
    let all = if shape.is_cluster() { CLUSTER_CASES } else { CASES };
    if names.is_empty() {
        return Ok(all.iter().filter(|case| is_default(case)).collect());
    }
    let by_name = |name: &String| {
        all.iter().find(|case| case.name == name).ok_or_else(|| {
            let known = all.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
            CompareError::UnknownCase { name: name.clone(), known }
        })
    };
    names.iter().map(by_name).collect()
}

/// The figures of one side in one round of one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseRun {
    pub case: &'static str,
    pub round: u32,
    pub side: Side,
    pub figures: Figures,
}

/// Runs the plan round by round, so that a case's rounds are well apart, and tells its progress on standard error. `out`
/// takes the load generator's results, if given. What was run before an error is in `runs`.
pub fn run(
    plan: &ComparePlan,
    programs: &Programs,
    work: &WorkDir,
    out: Option<&Path>,
    runs: &mut Vec<CaseRun>,
    interrupt: &Interrupt,
) -> Result<(), CompareError> {
    for round in 1..=plan.rounds {
        for case in &plan.cases {
            let sides: Vec<Side> = plan.sides_of(case).collect();
            for side in turns(&sides, round) {
                interrupt.check()?;
                let name = format!("{}-{round}-{}", case.name, side.slug());
                let title = format!("{}, round {round} of {}, {}", case.name, plan.rounds, side.title());
                let out: Option<PathBuf> = out.map(|out| out.join("runs").join(&name));
                let out = out.as_deref();
                let (shape, times) = (plan.shape, plan.times);
                let single = SingleRun { case, side, shape, title: &title, times, programs, work, out, interrupt };
                let figures = single.run(&name).map_err(|source| {
                    let (case, side, source) = (case.name, side.title(), Box::new(source));
                    CompareError::Run { case, round, side, source }
                })?;
                eprintln!("{title}: {}", in_words(case, &figures));
                runs.push(CaseRun { case: case.name, round, side, figures });
            }
        }
    }
    Ok(())
}

/// The figures that a case is compared by.
fn in_words(case: &Case, figures: &Figures) -> String {
    let figure = |line: &Line| Some(format!("{} {}", line.metric.title(), number(*figures.get(&line.metric)?)));
    case.lines.iter().filter_map(figure).collect::<Vec<_>>().join("; ")
}

/// The order of the sides in a round: the one that begins moves on by one.
fn turns(sides: &[Side], round: u32) -> Vec<Side> {
    let mut turns = sides.to_vec();
    if !turns.is_empty() {
        turns.rotate_left((round as usize - 1) % sides.len());
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::metric::Metric;

    const SIDES: [Side; 3] = [Side::Ringlog, Side::Kafka, Side::KafkaFlush];
    const THREE: Shape = Shape { brokers: 3, replication_factor: 3 };

    #[test]
    fn progress_tells_what_the_case_is_compared_by() {
        let case = cases::by_name("tail-fetch").unwrap();
        let figures = [(Metric::FetchMegabytesPerSecond, 1234.0), (Metric::PeakMemoryMib, 5.0)].into();
        assert_eq!(in_words(case, &figures), "fetch, MB/s 1,234");
    }

    #[test]
    fn every_side_begins_in_its_turn() {
        assert_eq!(turns(&SIDES, 1), SIDES);
        assert_eq!(turns(&SIDES, 2), [Side::Kafka, Side::KafkaFlush, Side::Ringlog]);
        assert_eq!(turns(&SIDES, 4), SIDES);
        assert_eq!(turns(&[], 3), []);
    }

    #[test]
    fn cases_are_all_or_those_named() {
        let times = QUICK_TIMES;
        let all = ComparePlan::new(&[], SIDES.to_vec(), Shape::ALONE, 5, times).unwrap();
        assert_eq!(all.cases.len(), CASES.len());
        assert!(all.needs_kafka_tools());
        let some = ComparePlan::new(&["start".into(), "mixed".into()], SIDES.to_vec(), Shape::ALONE, 5, times).unwrap();
        assert_eq!(some.cases.iter().map(|case| case.name).collect::<Vec<_>>(), ["start", "mixed"]);
        assert!(!some.needs_kafka_tools());
        let error =
            ComparePlan::new(&["redis".into()], SIDES.to_vec(), Shape::ALONE, 5, times).unwrap_err().to_string();
        assert!(error.contains("\"redis\"") && error.contains("one-in-flight"), "{error}");
    }

    #[test]
    fn a_side_that_nothing_is_held_against_has_no_turn() {
        let plan =
            |name: &str| ComparePlan::new(&[name.to_owned()], SIDES.to_vec(), Shape::ALONE, 5, QUICK_TIMES).unwrap();
        assert_eq!(plan("backlog").sides_in_use(), [Side::Ringlog, Side::Kafka]);
        assert_eq!(plan("mixed").sides_in_use(), SIDES);
    }

    #[test]
    fn quick_is_a_few_cases_that_are_done_in_five_minutes() {
        let plan = ComparePlan::quick(&[], SIDES.to_vec(), Shape::ALONE).unwrap();
        let runs: usize = plan.cases.iter().map(|case| plan.sides_of(case).count()).sum();
        // A run takes what it takes under load, and some seconds for formatting, starts, warm JVMs and verification.
        let load = plan.times.seconds + plan.times.warm_up_seconds + plan.times.ramp_up_seconds;
        let seconds = runs as f64 * f64::from(plan.rounds) * (load + 5.0);
        assert!((60.0..300.0).contains(&seconds), "{seconds} s");
        assert!(plan.sides_in_use().contains(&Side::KafkaFlush), "flush where it is cheap");
        let two = ComparePlan::quick(&["start".into()], SIDES.to_vec(), Shape::ALONE).unwrap();
        assert_eq!(two.sides_in_use(), [Side::Ringlog, Side::Kafka]);
    }

    #[test]
    fn a_cluster_has_cases_of_its_own_and_is_held_against_one_broker() {
        let sides = [&[Side::Ringlog, Side::RinglogSingle], &SIDES[1..]].concat();
        let plan = ComparePlan::new(&[], sides.clone(), THREE, 5, QUICK_TIMES).unwrap();
        assert_eq!(plan.cases.len(), CLUSTER_CASES.len());
        assert_eq!(plan.sides_in_use(), sides);
        let leader = ComparePlan::new(&["leader-batches-64kb".into()], sides.clone(), THREE, 5, QUICK_TIMES).unwrap();
        assert_eq!(leader.sides_in_use(), [Side::Ringlog, Side::RinglogSingle]);
        // Without a cluster there is nothing that one broker could be held against.
        let alone = ComparePlan::new(&[], sides, Shape::ALONE, 5, QUICK_TIMES).unwrap();
        assert_eq!(alone.sides_in_use(), SIDES);
        let error = ComparePlan::new(&["start".into()], SIDES.to_vec(), THREE, 5, QUICK_TIMES).unwrap_err().to_string();
        assert!(error.contains("\"start\"") && error.contains("leader-batches-64kb"), "{error}");
    }

    #[test]
    fn quick_is_quick_with_clusters_too() {
        let sides = [&[Side::RinglogSingle], &SIDES[..]].concat();
        let plan = ComparePlan::quick(&[], sides, THREE).unwrap();
        let runs: usize = plan.cases.iter().map(|case| plan.sides_of(case).count()).sum();
        let load = plan.times.seconds + plan.times.warm_up_seconds + plan.times.ramp_up_seconds;
        // Three JVMs take some seconds more to start.
        let seconds = runs as f64 * f64::from(plan.rounds) * (load + 10.0);
        assert!((60.0..400.0).contains(&seconds), "{seconds} s");
    }

    #[test]
    fn replicas_are_three_at_most_unless_said_and_never_more_than_brokers() {
        let shape_of = |brokers, factor| shape(brokers, factor).map_err(|error| error.to_string());
        assert_eq!(shape_of(1, None), Ok(Shape::ALONE));
        assert_eq!(shape_of(2, None), Ok(Shape { brokers: 2, replication_factor: 2 }));
        assert_eq!(shape_of(5, None), Ok(Shape { brokers: 5, replication_factor: 3 }));
        assert_eq!(shape_of(3, Some(1)), Ok(Shape { brokers: 3, replication_factor: 1 }));
        let error = shape_of(2, Some(3)).unwrap_err();
        assert!(error.contains("3 replicas") && error.contains("there are 2"), "{error}");
    }

    #[test]
    fn disk_space_grows_with_the_time() {
        let times = |seconds| Times { seconds, ..QUICK_TIMES };
        let bytes =
            |seconds| ComparePlan::new(&[], SIDES.to_vec(), Shape::ALONE, 5, times(seconds)).unwrap().disk_bytes();
        assert_eq!(bytes(30.0) - bytes(10.0), 20_000_000_000);
    }
}
