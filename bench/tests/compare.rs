//! Whole comparisons against the real `ringlog`, without Kafka: what is left of them, and how they fail.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

mod common;

use common::ringlog;

/// Runs a comparison of Ringlog alone, with directories below `dir`.
fn compare(ringlog: &Path, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
    command.args(["compare", "--sides", "ringlog", "--rounds", "1", "--seconds", "0.5", "--warm-up-seconds", "0.1"]);
    command.arg("--ringlog").arg(ringlog).arg("--dir").arg(dir.join("data")).arg("--out").arg(dir.join("out"));
    command.args(more).output().unwrap()
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
fn a_broker_that_dies_is_told_with_its_place_and_its_last_words() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    // The real broker, killed as soon as it has written something for the load.
    let dying = dir.path().join("ringlog");
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$1\" = --version ]; then exec '{0}' --version; fi\n\
         '{0}' \"$@\" & broker=$!\n\
         until ls \"$3\" | grep -q '^load'; do sleep 0.05; done\n\
         echo last words; kill -9 $broker\n",
        ringlog().display()
    );
    fs::write(&dying, script).unwrap();
    let mut permissions = fs::metadata(&dying).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&dying, permissions).unwrap();
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
