//! The report of `ringlog-bench tools`: medians side by side, and the first side's as ratios to each other's.

use serde::Serialize;

use crate::broker::Side;
use crate::report::{Table, head, ratio, spread};
use crate::setting::Setting;
use crate::stats::Spread;
use crate::tools::{BrokerRun, Case, CaseRun, ToolsPlan};

/// A figure of a case, and how it is had from a run.
struct Metric {
    name: &'static str,
    /// For JSON.
    key: &'static str,
    of: fn(&CaseRun) -> f64,
}

const METRICS: [Metric; 9] = [
    Metric {
        name: "producer, records/s",
        key: "producer_records_per_s",
        of: |run| run.producer.measured().records_per_s,
    },
    Metric { name: "producer, MiB/s", key: "producer_mib_per_s", of: |run| run.producer.measured().mib_per_s },
    Metric {
        name: "producer latency p50, ms",
        key: "producer_p50_ms",
        of: |run| run.producer.measured().latency_p50_ms,
    },
    Metric {
        name: "producer latency p99, ms",
        key: "producer_p99_ms",
        of: |run| run.producer.measured().latency_p99_ms,
    },
    Metric {
        name: "producer latency p99.9, ms",
        key: "producer_p999_ms",
        of: |run| run.producer.measured().latency_p999_ms,
    },
    Metric { name: "consumer, MiB/s", key: "consumer_mib_per_s", of: |run| run.consumer.fetch_mib_per_s },
    Metric { name: "consumer, records/s", key: "consumer_records_per_s", of: |run| run.consumer.fetch_records_per_s },
    Metric {
        name: "broker CPU, produce, s per million records",
        key: "produce_cpu_s_per_million_records",
        of: CaseRun::produce_cpu_s_per_million,
    },
    Metric {
        name: "broker CPU, consume, s per million records",
        key: "consume_cpu_s_per_million_records",
        of: CaseRun::consume_cpu_s_per_million,
    },
];

/// Everything, for JSON.
#[derive(Serialize)]
pub struct ToolsReport<'a> {
    pub setting: &'a Setting,
    pub pairs: u32,
    pub summary: Vec<Summary>,
    pub runs: &'a [BrokerRun],
}

/// One figure of one side over all pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub side: Side,
    /// Absent for figures of the broker as a whole.
    pub case: Option<Case>,
    pub metric: &'static str,
    pub value: Spread,
    /// The first side's median over this side's.
    pub first_side_ratio: Option<f64>,
}

impl<'a> ToolsReport<'a> {
    #[must_use]
    pub fn new(setting: &'a Setting, plan: &ToolsPlan, runs: &'a [BrokerRun]) -> ToolsReport<'a> {
        let mut summary = Vec::new();
        for (place, case) in plan.cases.iter().enumerate() {
            for metric in &METRICS {
                let values = |side| of_side(runs, side, |run| run.cases.get(place).map(metric.of));
                summarize(&mut summary, &plan.sides, Some(*case), metric.key, values);
            }
        }
        let values = |side| of_side(runs, side, |run| Some(run.start_ms));
        summarize(&mut summary, &plan.sides, None, "start_ms", values);
        let values = |side| of_side(runs, side, |run| Some(run.peak_rss_bytes as f64 / f64::from(1 << 20)));
        summarize(&mut summary, &plan.sides, None, "peak_rss_mib", values);
        ToolsReport { setting, pairs: plan.pairs, summary, runs }
    }

    #[must_use]
    pub fn to_markdown(&self, plan: &ToolsPlan) -> String {
        let mut text = head("Kafka's performance tools", self.setting);
        text.push_str(&format!(
            "{} alternating pair(s), fresh directories, medians (least–most). ProducerPerformance with acks=all, throughput -1 \
             and default client settings; its figures are those after its warm-up, if it had one. Consumer: \
             ConsumerPerformance from the topic's start, without the joining of its group. CPU: user and system time of \
             the broker's process; what the kernel does by itself (write-back of Kafka's dirty pages) is in nobody's \
             figure. Ratios are {} to the other.\n\n",
            self.pairs,
            plan.sides[0].title(),
        ));
        for case in &plan.cases {
            text.push_str(&format!("### {}\n\n", case.title()));
            let mut table = self.table(plan);
            for metric in &METRICS {
                self.add_row(&mut table, plan, Some(*case), metric.name, metric.key);
            }
            text.push_str(&table.to_markdown());
            text.push('\n');
        }
        text.push_str("### Broker, over all cases\n\n");
        let mut table = self.table(plan);
        self.add_row(&mut table, plan, None, "start to first answer (empty directory), ms", "start_ms");
        self.add_row(&mut table, plan, None, "peak resident memory, MiB (page cache not included)", "peak_rss_mib");
        text.push_str(&table.to_markdown());
        text
    }

    fn table(&self, plan: &ToolsPlan) -> Table {
        let titles = plan.sides.iter().map(|side| side.title().to_owned());
        let ratios = plan.sides[1..].iter().map(|side| format!("to {}", side.title()));
        Table::new(std::iter::once(String::new()).chain(titles).chain(ratios))
    }

    fn add_row(&self, table: &mut Table, plan: &ToolsPlan, case: Option<Case>, name: &str, key: &str) {
        let find = |side: &Side| self.summary.iter().find(|s| s.side == *side && s.case == case && s.metric == key);
        let values = plan.sides.iter().map(|side| spread(find(side).map(|summary| summary.value)));
        let ratios = plan.sides[1..].iter().map(|side| ratio(find(side).and_then(|summary| summary.first_side_ratio)));
        table.row(std::iter::once(name.to_owned()).chain(values).chain(ratios));
    }
}

fn of_side(runs: &[BrokerRun], side: Side, value: impl Fn(&BrokerRun) -> Option<f64>) -> Option<Spread> {
    Spread::of(runs.iter().filter(|run| run.side == side).filter_map(value))
}

fn summarize(
    summary: &mut Vec<Summary>,
    sides: &[Side],
    case: Option<Case>,
    metric: &'static str,
    values: impl Fn(Side) -> Option<Spread>,
) {
    let first = values(sides[0]);
    for &side in sides {
        let Some(value) = values(side) else { continue };
        let first_side_ratio = first.and_then(|first| first.ratio_to(&value));
        summary.push(Summary { side, case, metric, value, first_side_ratio });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perf_tools::{ConsumerSummary, ProducerOutput, ProducerSummary};
    use crate::setting::testing::setting;

    const CASE: Case = Case { record_bytes: 100, partitions: 1, records: 1_000_000, warmup_records: 0 };

    fn run(side: Side, pair: u32, rate: f64) -> BrokerRun {
        let whole = ProducerSummary {
            records: CASE.records,
            records_per_s: rate,
            mib_per_s: rate / 10_000.0,
            latency_avg_ms: 1.0,
            latency_max_ms: 9.0,
            latency_p50_ms: 2.0,
            latency_p95_ms: 3.0,
            latency_p99_ms: 4.0,
            latency_p999_ms: 0.0,
        };
        let consumer = ConsumerSummary {
            records: 2_000_000,
            mib: 100.0,
            mib_per_s: 10.0,
            rebalance_ms: 5.0,
            fetch_mib_per_s: 20.0,
            fetch_records_per_s: 200_000.0,
        };
        let producer = ProducerOutput { whole, steady: None };
        let case = CaseRun { case: CASE, producer, consumer, produce_cpu_s: 3.0, consume_cpu_s: 4.0 };
        BrokerRun { side, pair, start_ms: 10.0, peak_rss_bytes: 5 << 20, cases: vec![case] }
    }

    #[test]
    fn medians_and_ratios_are_per_case_and_side() {
        let plan = ToolsPlan { sides: vec![Side::Ringlog, Side::Kafka], pairs: 3, cases: vec![CASE] };
        let rates = [(Side::Ringlog, [300.0, 100.0, 200.0]), (Side::Kafka, [10.0, 50.0, 1000.0])];
        let runs: Vec<_> = rates
            .iter()
            .flat_map(|(side, rates)| (1_u32..).zip(rates).map(|(pair, rate)| run(*side, pair, *rate)))
            .collect();
        let setting = setting();
        let report = ToolsReport::new(&setting, &plan, &runs);
        let find = |side, metric| report.summary.iter().find(|s| s.side == side && s.metric == metric).unwrap();
        let kafka = find(Side::Kafka, "producer_records_per_s");
        assert_eq!((kafka.value.median, kafka.value.min, kafka.value.max), (50.0, 10.0, 1000.0));
        assert_eq!(kafka.first_side_ratio, Some(4.0));
        assert_eq!(find(Side::Ringlog, "produce_cpu_s_per_million_records").value.median, 3.0);
        assert_eq!(find(Side::Ringlog, "consume_cpu_s_per_million_records").value.median, 2.0);
        assert_eq!(find(Side::Kafka, "producer_p999_ms").first_side_ratio, None, "nothing is a multiple of zero");
        assert_eq!(find(Side::Kafka, "peak_rss_mib").value.median, 5.0);

        let text = report.to_markdown(&plan);
        for expected in ["2 cores", "ext4", "share these cores", "fresh directories", "acknowledged from page cache"] {
            assert!(text.contains(expected), "{expected} is missing in:\n{text}");
        }
        let row = text.lines().find(|line| line.starts_with("| producer, records/s")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..5], ["200 (100–300)", "50.0 (10.0–1,000)", "4.0x"], "{row}");
        serde_json::to_string(&report).unwrap();
    }
}
