//! The report of a comparison: medians side by side, what they were to reach, and how much of the machine they are.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::broker::{Setting, Side};
use crate::compare::bound::{Bound, Verdict};
use crate::compare::cases::{Case, Line};
use crate::compare::metric::Metric;
use crate::compare::{CaseRun, ComparePlan};
use crate::limits::Limits;
use crate::report::{Table, head, number, ratio, spread};
use crate::stats::Spread;

/// Everything, for JSON.
#[derive(Debug, Serialize)]
pub struct CompareReport<'a> {
    pub setting: &'a Setting,
    pub limits: Limits,
    /// Where Kafka's jars came from.
    pub kafka_source: String,
    pub rounds: u32,
    /// Why not all rounds were run.
    pub stopped_by: Option<String>,
    pub seconds: f64,
    pub warm_up_seconds: f64,
    pub ramp_up_seconds: f64,
    pub summary: Vec<Summary>,
    pub reaches: Vec<Judged>,
    pub floors: Vec<Judged>,
    pub runs: &'a [CaseRun],
    #[serde(skip)]
    cases: Vec<&'static Case>,
    #[serde(skip)]
    sides: Vec<Side>,
}

/// One figure of one side over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub case: &'static str,
    pub metric: Metric,
    pub side: Side,
    pub value: Spread,
    /// Ringlog's median over this one.
    pub ringlog_ratio: Option<f64>,
}

/// A bound, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub case: &'static str,
    pub metric: Metric,
    pub against: Against,
    /// In words.
    pub bound: String,
    pub ratio: Option<f64>,
    pub holds: bool,
}

/// What Ringlog is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    Side(Side),
    /// What the disk of this machine reads past the page cache.
    DiskReads,
}

impl Against {
    fn title(self) -> &'static str {
        match self {
            Against::Side(side) => side.title(),
            Against::DiskReads => "the disk's own reads",
        }
    }
}

impl<'a> CompareReport<'a> {
    #[must_use]
    pub fn new(
        setting: &'a Setting,
        limits: Limits,
        kafka_source: String,
        plan: &ComparePlan,
        runs: &'a [CaseRun],
        stopped_by: Option<String>,
    ) -> CompareReport<'a> {
        let summary = summarize(plan, runs);
        let (mut reaches, mut floors) = (Vec::new(), Vec::new());
        for case in &plan.cases {
            for line in case.lines {
                judge_line(case, line, &summary, &limits, &mut reaches, &mut floors);
            }
        }
        CompareReport {
            setting,
            limits,
            kafka_source,
            rounds: plan.rounds,
            stopped_by,
            seconds: plan.times.seconds,
            warm_up_seconds: plan.times.warm_up_seconds,
            ramp_up_seconds: plan.times.ramp_up_seconds,
            summary,
            reaches,
            floors,
            runs,
            cases: plan.cases.clone(),
            sides: plan.sides.clone(),
        }
    }

    /// What is below its floor, in words; empty if nothing is.
    #[must_use]
    pub fn floor_breaches(&self) -> String {
        let broken = self.floors.iter().filter(|floor| !floor.holds);
        let texts = broken.map(|floor| {
            let title = floor.metric.title();
            let (against, bound, found) = (floor.against.title(), &floor.bound, ratio(floor.ratio));
            format!("{}: {title} against {against} must be {bound}, found {found}", floor.case)
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = head("Ringlog and Kafka under the same load", self.setting);
        text.push_str(&self.limits.markdown());
        if let Some(cause) = &self.stopped_by {
            let runs = self.runs.len();
            text.push_str(&format!("\n**Not finished:** after {runs} runs it ended with: {cause}.\n"));
        }
        text.push_str(&format!(
            "\n{}\n\n{} round(s) of each case; in a round every side has its turn with the same load from the same \
             client, on a fresh process and a fresh directory of the same disk, and the side that begins moves on by one \
             from round to round. Before what is measured ({} s of a load; backlogs to their end) comes the same load for {} s that is \
             not counted, so that the JVM is warm, and then {} s of the measured run's own beginning. Figures are medians \
             over the rounds (least–most), ratios are Ringlog's median over the other's. Broker CPU is user and system \
             time of its process while the load was measured, per byte, batch and record that was moved; what the kernel \
             does by itself (write-back of Kafka's dirty pages) is in nobody's figure. Every record that was read was \
             checked.\n\n",
            self.kafka_source,
            self.rounds,
            number(self.seconds),
            number(self.warm_up_seconds),
            number(self.ramp_up_seconds),
        ));
        text.push_str("### What was to be reached\n\n");
        text.push_str(&self.reach_table().to_markdown());
        text.push_str(&match self.floor_breaches() {
            broken if !broken.is_empty() => format!("\n**Below the floor: {broken}.**\n"),
            _ if self.floors.is_empty() => String::new(),
            _ => format!("\nAll {} floors hold.\n", self.floors.len()),
        });
        for case in &self.cases {
            text.push_str(&format!("\n### {} (`{}`)\n\n", case.title, case.name));
            text.push_str(&self.case_table(case).to_markdown());
            text.push_str(&self.shares(case));
        }
        text
    }

    fn find(&self, case: &str, metric: Metric, side: Side) -> Option<&Summary> {
        find(&self.summary, case, metric, side)
    }

    fn reach_table(&self) -> Table {
        let mut table = Table::new(["case", "figure", "Ringlog", "against", "its figure", "ratio", "reach", ""]);
        for judged in &self.reaches {
            let Judged { case, metric, against, bound, ratio: found, holds } = judged;
            let value = |side| spread(self.find(case, *metric, side).map(|summary| summary.value));
            let theirs = match against {
                Against::Side(side) => value(*side),
                Against::DiskReads => number(self.limits.direct_read_1mib_mb_per_second),
            };
            let verdict = if *holds { "reached" } else { "**not reached**" };
            table.row([
                (*case).to_owned(),
                metric.title().to_owned(),
                value(Side::Ringlog),
                against.title().to_owned(),
                theirs,
                ratio(*found),
                bound.clone(),
                verdict.to_owned(),
            ]);
        }
        table
    }

    /// All figures of a case that any side has.
    fn case_table(&self, case: &Case) -> Table {
        let others = || self.sides.iter().filter(|side| **side != Side::Ringlog);
        let titles = self.sides.iter().map(|side| side.title().to_owned());
        let ratios = others().map(|side| format!("to {}", side.title()));
        let mut table = Table::new(std::iter::once(String::new()).chain(titles).chain(ratios));
        for metric in Metric::ALL {
            let find = |side: &Side| self.find(case.name, metric, *side);
            let is_shown = |value: Spread| metric != Metric::GivenUpPercent || value.max > 0.0;
            if !self.sides.iter().any(|side| find(side).is_some_and(|summary| is_shown(summary.value))) {
                continue;
            }
            let values = self.sides.iter().map(|side| spread(find(side).map(|summary| summary.value)));
            let ratios = others().map(|side| ratio(find(side).and_then(|summary| summary.ringlog_ratio)));
            table.row(std::iter::once(metric.title().to_owned()).chain(values).chain(ratios));
        }
        table
    }

    /// What each side's medians are of the machine's limits.
    fn shares(&self, case: &Case) -> String {
        let mut text = String::new();
        for side in &self.sides {
            let median = |metric| self.find(case.name, metric, *side).map(|summary| summary.value.median);
            let parts = [
                median(Metric::ProduceMegabytesPerSecond)
                    .map(|rate| format!("produce {}", self.limits.write_share(rate))),
                median(Metric::ProduceBatchesPerSecond).map(|rate| self.limits.batches_per_sync(rate)),
                median(Metric::FetchMegabytesPerSecond).map(|rate| format!("fetch {}", self.limits.read_share(rate))),
                median(Metric::ProduceP50Ms).map(|ms| format!("p50 {}", self.limits.sync_multiple(ms))),
            ];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            if !parts.is_empty() {
                text.push_str(&format!("- {}, as a share of the limit: {}\n", side.title(), parts.join("; ")));
            }
        }
        if text.is_empty() { text } else { format!("\n{text}") }
    }
}

fn find<'s>(summary: &'s [Summary], case: &str, metric: Metric, side: Side) -> Option<&'s Summary> {
    summary.iter().find(|found| found.case == case && found.metric == metric && found.side == side)
}

fn summarize(plan: &ComparePlan, runs: &[CaseRun]) -> Vec<Summary> {
    let mut summary = Vec::new();
    for case in &plan.cases {
        let mut values: BTreeMap<(Metric, Side), Vec<f64>> = BTreeMap::new();
        for run in runs.iter().filter(|run| run.case == case.name) {
            for (metric, value) in &run.figures {
                values.entry((*metric, run.side)).or_default().push(*value);
            }
        }
        let spreads: BTreeMap<(Metric, Side), Spread> =
            values.into_iter().filter_map(|(key, values)| Some((key, Spread::of(values)?))).collect();
        for (&(metric, side), value) in &spreads {
            let ours = spreads.get(&(metric, Side::Ringlog)).filter(|_| side != Side::Ringlog);
            let ringlog_ratio = ours.and_then(|ours| ours.ratio_to(value));
            summary.push(Summary { case: case.name, metric, side, value: *value, ringlog_ratio });
        }
    }
    summary
}

/// Judges a line against every side that has its figure. A side that was not run is not judged; one that was run and has no
/// such figure, or against which ours is missing, holds nothing.
fn judge_line(
    case: &Case,
    line: &Line,
    summary: &[Summary],
    limits: &Limits,
    reaches: &mut Vec<Judged>,
    floors: &mut Vec<Judged>,
) {
    let metric = line.metric;
    let ran = |side| summary.iter().any(|found| found.case == case.name && found.side == side);
    if !ran(Side::Ringlog) {
        return;
    }
    let ours = find(summary, case.name, metric, Side::Ringlog);
    for side in [Side::Kafka, Side::KafkaFlush].into_iter().filter(|side| ran(*side)) {
        let theirs = find(summary, case.name, metric, side);
        let judged = |bound: Bound| {
            let verdict = match (ours, theirs) {
                (Some(ours), Some(theirs)) => bound.judge(&ours.value, &theirs.value, limits),
                _ => Verdict { ratio: None, holds: false },
            };
            let (ratio, holds) = (verdict.ratio, verdict.holds);
            Judged {
                case: case.name,
                metric,
                against: Against::Side(side),
                bound: bound.describe(limits),
                ratio,
                holds,
            }
        };
        reaches.extend(line.reach_against(side).map(judged));
        floors.extend(line.floor_against(side).map(judged));
    }
    if let Some(share) = line.share_of_disk_reads {
        let found = ours.map(|ours| ours.value.median / limits.direct_read_1mib_mb_per_second);
        let holds = found.is_some_and(|found| found >= share);
        let (against, bound) = (Against::DiskReads, Bound::AtLeast(share).describe(limits));
        reaches.push(Judged { case: case.name, metric, against, bound, ratio: found, holds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::testing::setting;
    use crate::compare::Times;
    use crate::compare::bound::tests::LIMITS;

    fn plan(case: &str) -> ComparePlan {
        let times = Times { seconds: 10.0, warm_up_seconds: 5.0, ramp_up_seconds: 1.0 };
        let sides = vec![Side::Ringlog, Side::Kafka, Side::KafkaFlush];
        ComparePlan::new(&[case.to_owned()], sides, 3, times).unwrap()
    }

    /// Three rounds of one figure of each side.
    fn runs(case: &'static str, metric: Metric, values: &[(Side, [f64; 3])]) -> Vec<CaseRun> {
        let run = |side, round, value| CaseRun { case, round, side, figures: [(metric, value)].into() };
        values
            .iter()
            .flat_map(|(side, three)| (1..).zip(three).map(|(round, value)| run(*side, round, *value)))
            .collect()
    }

    fn with_report<T>(case: &'static str, runs: &[CaseRun], check: impl Fn(&CompareReport) -> T) -> T {
        let setting = setting();
        check(&CompareReport::new(&setting, LIMITS, "Kafka's jars: somewhere".to_owned(), &plan(case), runs, None))
    }

    #[test]
    fn what_was_measured_before_an_error_is_reported_as_such() {
        let values = [(Side::Ringlog, [900.0, 300.0, 600.0]), (Side::Kafka, [200.0, 1.0, 999.0])];
        let runs = runs("batches-64kb-16", Metric::ProduceMegabytesPerSecond, &values);
        let setting = setting();
        let report = |cause: Option<&str>| {
            let cause = cause.map(ToOwned::to_owned);
            CompareReport::new(&setting, LIMITS, String::new(), &plan("batches-64kb-16"), &runs[..4], cause)
                .to_markdown()
        };
        let text = report(Some("Kafka did not start"));
        assert!(text.contains("after 4 runs it ended with: Kafka did not start.") && text.contains("600"), "{text}");
        assert!(!report(None).contains("Not finished"));
    }

    #[test]
    fn medians_are_held_against_the_reach_of_each_side() {
        let values =
            [(Side::Ringlog, [900.0, 300.0, 600.0]), (Side::Kafka, [200.0, 1.0, 999.0]), (Side::KafkaFlush, [61.0; 3])];
        let runs = runs("batches-64kb-16", Metric::ProduceMegabytesPerSecond, &values);
        with_report("batches-64kb-16", &runs, |report| {
            let judged = |side| {
                let found = report.reaches.iter().find(|reach| {
                    reach.metric == Metric::ProduceMegabytesPerSecond && reach.against == Against::Side(side)
                });
                found.map(|reach| (reach.ratio.unwrap(), reach.holds)).unwrap()
            };
            assert_eq!(judged(Side::Kafka), (3.0, true));
            assert!(judged(Side::KafkaFlush).0 < 10.0 && !judged(Side::KafkaFlush).1, "{report:?}");
            let text = report.to_markdown();
            let row = text.lines().find(|line| line.starts_with("| batches-64kb-16 ")).unwrap();
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let expected =
                ["produce, MB/s", "600 (300–900)", "Kafka as shipped", "200 (1.00–999)", "3.0x", ">= 3x", "reached"];
            assert_eq!(cells[2..9], expected, "{row}");
            for expected in [
                "**not reached**",
                "JVM is warm",
                "Kafka's jars: somewhere",
                "produce 150 % of the disk's durable writes, 15 % of loopback",
                "2 cores",
                "replication factor 1",
            ] {
                assert!(text.contains(expected), "{expected} is missing in:\n{text}");
            }
        });
    }

    #[test]
    fn a_breached_floor_names_case_floor_and_what_was_found() {
        let metric = Metric::ProduceBatchesPerSecond;
        let ours = |rate| {
            runs(
                "one-in-flight",
                metric,
                &[(Side::Ringlog, [rate; 3]), (Side::Kafka, [100.0; 3]), (Side::KafkaFlush, [100.0; 3])],
            )
        };
        with_report("one-in-flight", &ours(500.0), |report| assert_eq!(report.floor_breaches(), ""));
        with_report("one-in-flight", &ours(110.0), |report| {
            let expected =
                "one-in-flight: produce, batches/s against Kafka, flush.messages=1 must be >= 1.2x, found 1.1x";
            assert_eq!(report.floor_breaches(), expected);
            assert!(report.to_markdown().contains(&format!("**Below the floor: {expected}.**")));
        });
    }

    #[test]
    fn a_missing_figure_holds_nothing_and_a_missing_side_is_not_judged() {
        let sides = [(Side::Ringlog, [1.0; 3]), (Side::Kafka, [1.0; 3])];
        let runs = runs("start", Metric::StartToFirstAnswerMs, &sides);
        with_report("start", &runs, |report| {
            assert_eq!(report.reaches.len(), 2, "{:?}", report.reaches);
            assert!(report.reaches.iter().all(|reach| !reach.holds && reach.ratio.is_none()));
            assert!(report.floor_breaches().contains("found -"), "{}", report.floor_breaches());
            let text = report.to_markdown();
            assert!(text.lines().any(|line| line.starts_with("| start to first answer, ms")), "{text}");
        });
    }

    #[test]
    fn a_backlog_is_held_against_the_disk_too() {
        let judged = |rate| {
            let runs = runs("backlog", Metric::FetchMegabytesPerSecond, &[(Side::Ringlog, [rate; 3])]);
            with_report("backlog", &runs, |report| (report.reaches[0].ratio, report.reaches[0].holds))
        };
        assert_eq!(judged(800.0), (Some(0.8), true));
        assert_eq!(judged(790.0), (Some(0.79), false));
    }

    #[test]
    fn json_has_runs_and_verdicts_with_units_in_the_names() {
        let metric = Metric::ProduceMegabytesPerSecond;
        let runs = runs("batches-64kb-1", metric, &[(Side::Ringlog, [3.0; 3]), (Side::Kafka, [1.0; 3])]);
        let json = with_report("batches-64kb-1", &runs, |report| serde_json::to_value(report).unwrap());
        assert_eq!(json["runs"][0]["figures"]["produce_megabytes_per_second"], 3.0);
        assert_eq!(json["reaches"][0]["against"]["side"], "kafka");
        assert_eq!(json["reaches"][0]["holds"], true);
        assert_eq!(json["limits"]["durable_write_4kib_p50_ms"], 2.0);
        assert_eq!(json["summary"].as_array().unwrap().len(), 2);
    }
}
