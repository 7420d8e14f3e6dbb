//! The real binary on SIGINT in the middle of a measurement: the broker it started is stopped, its directory is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

mod common;

/// A broker that tells its version, and then never answers, whatever signal but SIGKILL it gets.
const DEAF_BROKER: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo deaf 1; exit; }
trap '' INT TERM HUP
echo $$ > "$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"
while :; do sleep 0.05; done
"#;

#[test]
fn an_interrupted_measurement_leaves_nothing_behind() {
    // On the disk of the sources: the system's own directory for temporary files may be a tmpfs, which is refused.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (broker, pid_file, data) = (dir.path().join("deaf"), dir.path().join("pid"), dir.path().join("data"));
    fs::write(&broker, DEAF_BROKER).unwrap();
    fs::set_permissions(&broker, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"))
        .args(["recovery", "--gib", "0.01", "--ringlog"])
        .arg(&broker)
        .arg("--dir")
        .arg(&data)
        .env("PID_FILE", &pid_file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(&mut bench, || pid_file.exists());
    let broker_pid = fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    assert!(is_alive(&broker_pid));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);

    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!is_alive(&broker_pid), "the broker outlived the benchmark");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "data was left behind");
}

/// A first member of a cluster that is the real broker, and others that never answer.
const DEAF_FOLLOWERS: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo deaf 1; exit; }
echo $$ >> "$PID_FILE"
case "$*" in *--join*) ;; *) exec "$RINGLOG" "$@" ;; esac
trap '' INT TERM HUP
while :; do sleep 0.05; done
"#;

#[test]
fn an_interrupted_start_of_a_cluster_leaves_no_broker_behind() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let (broker, pid_file, data) = (dir.path().join("deaf"), dir.path().join("pids"), dir.path().join("data"));
    fs::write(&broker, DEAF_FOLLOWERS).unwrap();
    fs::set_permissions(&broker, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"))
        .args([
            "compare",
            "--brokers",
            "3",
            "--sides",
            "ringlog",
            "--cases",
            "lone-request",
            "--seconds",
            "1",
            "--ringlog",
        ])
        .arg(&broker)
        .arg("--dir")
        .arg(&data)
        .env("PID_FILE", &pid_file)
        .env("RINGLOG", common::ringlog())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pids = || -> Vec<String> {
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| line.trim().to_owned()).collect()
    };
    wait_until(&mut bench, || pids().len() == 3);
    assert!(pids().iter().all(|pid| is_alive(pid)));

    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!pids().iter().any(|pid| is_alive(pid)), "a broker outlived the benchmark");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "data was left behind");
}

fn wait_until(bench: &mut Child, condition: impl Fn() -> bool) {
    while !condition() {
        assert_eq!(bench.try_wait().unwrap(), None, "ringlog-bench ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie still has its folder, but no command line.
    fs::read(Path::new("/proc").join(pid).join("cmdline")).is_ok_and(|line| !line.is_empty())
}
