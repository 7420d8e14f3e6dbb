//! The report of a comparison: medians side by side, what they were to reach, and how much of the machine they are.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::broker::Side;
use crate::compare::bound::Bound;
use crate::compare::cases::{Case, Line};
use crate::compare::metric::Metric;
use crate::compare::{CaseRun, ComparePlan};
use crate::limits::Limits;
use crate::report::{Table, head, number, ratio, spread};
use crate::setting::Setting;
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
    /// `None` where there is no goal.
    pub holds: Option<bool>,
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
            sides: plan.sides_in_use(),
        }
    }

    /// What is below its floor, in words; empty if nothing is.
    #[must_use]
    pub fn floor_breaches(&self) -> String {
        let broken = self.floors.iter().filter(|floor| floor.holds == Some(false));
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
        if self.setting.has_clusters() {
            text.push_str(&self.clusters());
        } else {
            text.push_str("### What was to be reached\n\n");
            text.push_str(&self.reach_table(|_| true).to_markdown());
        }
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

    /// What there is to say of clusters, and what replication costs.
    fn clusters(&self) -> String {
        let cores = self.setting.machine.cores;
        let is_of_single = |against| against == Against::Side(Side::RinglogSingle);
        format!(
            "All brokers of a cluster run on this machine: they and the client share its {cores} cores and one disk. Its rates \
             are therefore below what its brokers would reach on machines of their own, and its latencies above. CPU time, \
             memory and disk writes are sums over a cluster's processes; what went over the loopback device is that of the \
             whole machine, the client's share included. A run counts only if every replica was in sync when it began and \
             when it ended.\n\n### Against Kafka's cluster\n\n{}\n### What replication costs\n\nThe cluster against one \
             broker that has no replicas, under the same load. The leader's CPU is that of one process, which leads all \
             partitions: where the cores are full it has less to gather in each commit and each send than a broker that has \
             them for itself; at a fixed rate both have the same to do.\n\n{}",
            self.reach_table(|against| !is_of_single(against)).to_markdown(),
            self.reach_table(is_of_single).to_markdown(),
        )
    }

    fn reach_table(&self, is_wanted: impl Fn(Against) -> bool) -> Table {
        let mut table = Table::new(["case", "figure", "Ringlog", "against", "its figure", "ratio", "reach", ""]);
        for judged in self.reaches.iter().filter(|judged| is_wanted(judged.against)) {
            let Judged { case, metric, against, bound, ratio: found, holds } = judged;
            let value = |side| spread(self.find(case, *metric, side).map(|summary| summary.value));
            let theirs = match against {
                Against::Side(side) => value(*side),
                Against::DiskReads => number(self.limits.direct_read_1mib_mb_per_second),
            };
            let verdict = match holds {
                Some(true) => "reached",
                Some(false) => "**not reached**",
                None => "",
            };
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
    for side in [Side::RinglogSingle, Side::Kafka, Side::KafkaFlush].into_iter().filter(|side| ran(*side)) {
        let theirs = find(summary, case.name, metric, side);
        let judged = |bound: Bound| {
            let verdict = match (ours, theirs) {
                (Some(ours), Some(theirs)) => bound.judge(&ours.value, &theirs.value, limits),
                _ => bound.without_figures(),
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
        let holds = Some(found.is_some_and(|found| found >= share));
        let (against, bound) = (Against::DiskReads, Bound::AtLeast(share).describe(limits));
        reaches.push(Judged { case: case.name, metric, against, bound, ratio: found, holds });
    }
}

#[cfg(test)]
mod tests;
