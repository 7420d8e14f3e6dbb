//! Whole comparisons against the real `ringlog`, without Kafka: what is left of them, and how they fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

mod common;

use common::ringlog;

/// Runs a comparison of Ringlog alone unless `more` has other sides, with directories below `dir`.
fn compare(ringlog: &Path, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
    command.args(["compare", "--rounds", "1", "--seconds", "2", "--warm-up-seconds", "0.1"]);
    command.arg("--ringlog").arg(ringlog).arg("--dir").arg(dir.join("data")).arg("--out").arg(dir.join("out"));
    if !more.contains(&"--sides") {
        command.args(["--sides", "ringlog"]);
    }
    command.args(more).output().unwrap()
}

/// A broker in `dir` that tells its version and then does `what`, where `$RINGLOG` is the real one.
fn script(dir: &Path, what: &str) -> PathBuf {
    let path = dir.join("ringlog");
    let head = "#!/bin/sh\nif [ \"$1\" = --version ]; then exec \"$RINGLOG\" --version; fi\n";
    let real = format!("RINGLOG='{}'\n", ringlog().display());
    fs::write(&path, head.replacen('\n', &format!("\n{real}"), 1) + what).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_comparison_leaves_a_report_and_what_each_run_left() {
    // On the disk of the sources: the system's own directory for temporary files may be a tmpfs.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let output = compare(&ringlog(), dir.path(), &["--cases", "start,one-in-flight"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let out = dir.path().join("out");
    let report: Value = serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    let figures = |run: usize| &report["runs"][run]["figures"];
    assert_eq!((&report["runs"][0]["case"], &report["runs"][1]["case"]), (&"start".into(), &"one-in-flight".into()));
    for (run, name) in [
        (0, "idle_memory_mib"),
        (0, "start_to_first_record_ms"),
        (1, "produce_batches_per_second"),
        (1, "produce_p99_ms"),
        (1, "broker_cpu_seconds_per_million_batches"),
        (1, "peak_memory_mib"),
    ] {
        assert!(figures(run)[name].as_f64().is_some_and(|figure| figure > 0.0), "{name} is missing: {report:#}");
    }
    let first_answer = figures(0)["start_to_first_answer_ms"].as_f64();
    assert!(figures(0)["start_to_first_record_ms"].as_f64() > first_answer, "{report:#}");
    assert!(report["limits"]["durable_writes_4kib_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["reaches"], Value::Array(Vec::new()), "there is nobody to be held against");
    let text = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(text.contains("4 connections, one request in flight each (`one-in-flight`)"), "{text}");
    let run = out.join("runs/one-in-flight-1-ringlog");
    for file in ["produce.hgrm", "produce.hlog", "result.json", "throughput.svg"] {
        assert!(run.join(file).exists(), "{file} is missing");
    }
    assert_eq!(fs::read_dir(dir.path().join("data")).unwrap().count(), 0, "data is removed");
}

#[test]
fn a_cluster_is_compared_with_one_broker_and_its_load_goes_to_the_leaders() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let cluster = ["--brokers", "3", "--replication-factor", "1", "--sides", "ringlog,ringlog-single"];
    let cases = ["--cases", "one-in-flight,leader-single-records"];
    let output = compare(&ringlog(), dir.path(), &[&cluster[..], &cases].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let out = dir.path().join("out");
    let json = |path: &Path| -> Value { serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap() };
    let report = json(&out.join("report.json"));
    let told = &report["setting"]["sides"];
    assert_eq!((&told[0]["brokers"], &told[1]["brokers"]), (&3.into(), &1.into()), "{report:#}");
    let cost = report["reaches"].as_array().unwrap().iter().find(|reach| {
        reach["metric"] == "leader_cpu_seconds_per_million_records" && reach["against"]["side"] == "ringlog-single"
    });
    assert!(cost.is_some_and(|cost| cost["ratio"].as_f64().is_some_and(|ratio| ratio > 0.0)), "{report:#}");
    // What all brokers use is more than what the one that leads does, or as much but for rounding.
    let leader = report["runs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|run| run["side"] == "ringlog" && run["case"] != "one-in-flight");
    let figure = |name: &str| leader.unwrap()["figures"][name].as_f64().unwrap();
    let (leading, all) =
        (figure("leader_cpu_seconds_per_million_records"), figure("broker_cpu_seconds_per_million_records"));
    assert!(leading > 0.0 && leading <= all * (1.0 + 1e-9), "{leading} {all}");
    for (run, brokers) in [
        ("one-in-flight-1-ringlog", 3),
        ("leader-single-records-1-ringlog", 1),
        ("leader-single-records-1-ringlog-single", 1),
    ] {
        let result = json(&out.join("runs").join(run).join("result.json"));
        assert_eq!(result["leading_brokers"], brokers, "{run}");
    }
    let text = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        text.contains("### What replication costs") && text.contains("3 broker(s); replication factor 1"),
        "{text}"
    );
    assert_eq!(fs::read_dir(dir.path().join("data")).unwrap().count(), 0, "data is removed");
}

#[test]
fn more_replicas_than_brokers_are_refused_before_anything_is_started() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let output = compare(Path::new("/nonexistent"), dir.path(), &["--brokers", "2", "--replication-factor", "3"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("3 replicas need as many brokers, and there are 2"), "{said}");
}

#[test]
fn a_member_of_a_cluster_that_dies_is_told_with_its_last_words() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    // The third member ends before it has joined; the others are the real broker.
    let dying = script(
        dir.path(),
        "case \"$*\" in *'--node-id 3'*) echo the third gives up; exit 7 ;; esac\n\
         exec \"$RINGLOG\" \"$@\"\n",
    );
    let cluster = ["--brokers", "3", "--replication-factor", "1", "--cases", "one-in-flight"];
    let output = compare(&dying, dir.path(), &cluster);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("broker-3") && said.contains("the third gives up"), "{said}");
}

#[test]
fn a_broker_that_dies_is_told_with_its_place_and_its_last_words() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    // The real broker, killed as soon as it has written something for the load.
    let dying = script(
        dir.path(),
        "\"$RINGLOG\" \"$@\" & broker=$!\n\
         until ls \"$3\" | grep -q '^load'; do sleep 0.05; done\n\
         echo last words; kill -9 $broker\n",
    );
    let output = compare(&dying, dir.path(), &["--cases", "one-in-flight"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("one-in-flight, round 1, Ringlog:") && said.contains("last words"), "{said}");
    assert!(!dir.path().join("out/report.md").exists(), "a comparison that failed has no report");
}

#[test]
fn an_unknown_case_is_refused_before_anything_is_started() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let output = compare(Path::new("/nonexistent"), dir.path(), &["--cases", "one-in-fligth"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no case \"one-in-fligth\"; there are: batches-64kb-1,"), "{said}");
}
