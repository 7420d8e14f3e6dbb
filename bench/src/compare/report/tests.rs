//! What reports say, and what they hold against whom.

use super::*;
use crate::compare::Times;
use crate::compare::bound::tests::LIMITS;
use crate::member::Shape;
use crate::setting::testing::setting;

fn plan(case: &str) -> ComparePlan {
    let times = Times { seconds: 10.0, warm_up_seconds: 5.0, ramp_up_seconds: 1.0 };
    let sides = vec![Side::Ringlog, Side::Kafka, Side::KafkaFlush];
    ComparePlan::new(&[case.to_owned()], sides, Shape::ALONE, 3, times).unwrap()
}

/// Three rounds of one figure of each side.
fn runs(case: &'static str, metric: Metric, values: &[(Side, [f64; 3])]) -> Vec<CaseRun> {
    let run = |side, round, value| CaseRun { case, round, side, figures: [(metric, value)].into() };
    values.iter().flat_map(|(side, three)| (1..).zip(three).map(|(round, value)| run(*side, round, *value))).collect()
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
        CompareReport::new(&setting, LIMITS, String::new(), &plan("batches-64kb-16"), &runs[..4], cause).to_markdown()
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
            found.map(|reach| (reach.ratio.unwrap(), reach.holds.unwrap())).unwrap()
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
        let expected = "one-in-flight: produce, batches/s against Kafka, flush.messages=1 must be >= 1.2x, found 1.1x";
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
        assert!(report.reaches.iter().all(|reach| reach.holds == Some(false) && reach.ratio.is_none()));
        assert!(report.floor_breaches().contains("found -"), "{}", report.floor_breaches());
        let text = report.to_markdown();
        assert!(text.lines().any(|line| line.starts_with("| start to first answer, ms")), "{text}");
    });
}

#[test]
fn a_backlog_is_held_against_the_disk_too() {
    let judged = |rate| {
        let runs = runs("backlog", Metric::FetchMegabytesPerSecond, &[(Side::Ringlog, [rate; 3])]);
        with_report("backlog", &runs, |report| (report.reaches[0].ratio, report.reaches[0].holds.unwrap()))
    };
    assert_eq!(judged(800.0), (Some(0.8), true));
    assert_eq!(judged(790.0), (Some(0.79), false));
}

#[test]
fn of_clusters_it_tells_what_replication_costs_and_that_cores_are_shared() {
    let shape = Shape { brokers: 3, replication_factor: 3 };
    let times = Times { seconds: 10.0, warm_up_seconds: 5.0, ramp_up_seconds: 1.0 };
    let sides = vec![Side::Ringlog, Side::RinglogSingle, Side::Kafka];
    let plan = ComparePlan::new(&["lone-request".to_owned()], sides, shape, 3, times).unwrap();
    let values = [(Side::Ringlog, [0.6; 3]), (Side::RinglogSingle, [0.2; 3]), (Side::Kafka, [1.2; 3])];
    let runs = runs("lone-request", Metric::ProduceP50Ms, &values);
    let mut setting = setting();
    setting.sides.iter_mut().for_each(|side| side.shape = side.side.shape(shape));
    let report = CompareReport::new(&setting, LIMITS, String::new(), &plan, &runs, None);
    let text = report.to_markdown();
    let (kafka, cost) = text.split_once("### What replication costs").unwrap();
    let row = |text: &str| {
        let row = text.lines().find(|line| line.starts_with("| lone-request ") && line.contains(" produce p50, ms "));
        row.unwrap_or_default().split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        row(kafka)[3..9],
        ["0.600 (0.600–0.600)", "Kafka as shipped", "1.20 (1.20–1.20)", "0.50x", "none set", ""]
    );
    assert_eq!(row(cost)[4..7], ["Ringlog, one broker", "0.200 (0.200–0.200)", "3.0x"]);
    assert!(kafka.contains("share its 2 cores") && kafka.contains("3 broker(s); replication factor 3"), "{kafka}");
    assert_eq!(report.floor_breaches(), "");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["reaches"][0]["holds"], serde_json::Value::Null);
    assert_eq!(json["setting"]["sides"][0]["replication_factor"], 3);
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
