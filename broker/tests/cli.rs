//! The command line of the real binary: what it prints, what it refuses, and with which status it ends.
//!
//! Nothing here serves: every command ends by itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

/// `io_uring_setup`, the same number on every architecture (it is from after they were unified).
const SYS_IO_URING_SETUP: i64 = 425;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The binary, with no `RINGLOG_*` variables but those given.
fn ringlog(args: &[&str], variables: &[(&str, &str)]) -> Command {
    without_settings(Command::new(env!("CARGO_BIN_EXE_ringlog")), args, variables)
}

fn without_settings(mut command: Command, args: &[&str], variables: &[(&str, &str)]) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGLOG_")) {
        command.env_remove(name);
    }
    command.args(args).envs(variables.iter().copied());
    command
}

/// How a command ended.
struct Ended {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(mut command: Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ended { status: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs a command whose `io_uring_setup` fails with `errno`, as in a container whose profile forbids it.
///
/// The filter holds for the calling thread and what it starts, so the thread is a fresh one.
fn run_without_io_uring(command: Command, errno: u32) -> Ended {
    let rules = BTreeMap::from([(SYS_IO_URING_SETUP, Vec::new())]);
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("the filter compiles");
    let filtered = std::thread::spawn(move || {
        seccompiler::apply_filter(&program).expect("seccomp is available");
        run(command)
    });
    filtered.join().expect("the filtered thread ends")
}

/// Runs a command under resource limits set by the shell: `-l 64`.
fn run_limited(ulimit: &str, args: &[&str]) -> Ended {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit {ulimit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_ringlog")]);
    run(without_settings(shell, args, &[]))
}

/// A directory on the disk that the target directory is on: `/tmp` is memory on many machines.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

fn path_of(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (args, expected) in [
        (&["--help"][..], "--advertised-kafka-addr <HOST:PORT>"),
        (&["-h"], "[env: RINGLOG_DATA_DIR] [default: ./ringlog-data]"),
        (&["serve", "--help"], "--set <KEY=VALUE>"),
        (&["check", "--help"], "--json"),
        (&["wal", "--help"], "verify"),
        (&["wal", "dump", "--help"], "--batches"),
        (&["help", "wal"], "dump"),
        (&["--version"], concat!("ringlog ", env!("CARGO_PKG_VERSION"))),
    ] {
        let ended = run(ringlog(args, &[]));
        let unwrapped = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(expected), "{args:?}: {}", ended.stdout);
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_wrong_command_line_or_configuration_ends_with_status_2_and_says_why() {
    let directory = directory();
    let file = directory.path().join("r.toml");
    std::fs::write(&file, "# settings\nshards = 2\nkafka-adr = 'localhost:1'\n").expect("writing the file");
    let file = path_of(&file);
    let in_file = format!("{file}:3: unknown setting \"kafka-adr\"; did you mean \"kafka-addr\"?");
    for (args, variables, expected) in [
        (&["--shard", "1"][..], &[][..], "--shards"),
        (&["srve"], &[], "unrecognized subcommand 'srve'"),
        (&["--shards", "0"], &[], "--shards: \"0\" for shards is out of range: from 1 to 1024"),
        (&["serve", "--kafka-addr", "::1:9092"], &[], "--kafka-addr: \"::1:9092\" for kafka-addr looks like an IPv6"),
        (&[], &[("RINGLOG_NODE_ID", "x")], "RINGLOG_NODE_ID: \"x\" for node-id is not a whole number"),
        (&["--config", file], &[], &in_file),
        (&["check"], &[("RINGLOG_CONFIG", file)], &in_file),
        (&["--config", "/nonexistent"], &[], "--config: cannot read the configuration file /nonexistent: No such file"),
        (&["--set", "num.partition=3"], &[], "--set: unknown setting 'num.partition': did you mean 'num.partitions'?"),
        (&[], &[("RINGLOG_SET", "num.partitions=0")], "RINGLOG_SET: Invalid value 0 for configuration num.partitions"),
        (&["--log-level", "inof"], &[], "did you mean \"info\"?"),
    ] {
        let ended = run(ringlog(args, variables));
        assert!(ended.stderr.contains(expected), "{args:?} {variables:?}: {}", ended.stderr);
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn a_wrong_path_ends_with_status_2_and_says_what_is_in_the_way() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").expect("writing the file");
    let below = file.join("data");
    let man = ["man", "--out", path_of(&below)];
    for (args, expected) in [
        (&["--data-dir", path_of(&file)][..], "something that is no directory is in the way"),
        (&["--data-dir", path_of(&below)], "something that is no directory is in the way"),
        (&["--data-dir", "/proc/nope"], "--data-dir gives another path"),
        (&["--config", path_of(directory.path())], "cannot read the configuration file"),
        (&man, "cannot write manual pages"),
        (&["wal", "verify", "/nonexistent"], "/nonexistent"),
    ] {
        let ended = run(ringlog(args, &[]));
        assert!(
            ended.stderr.contains(expected) && ended.status == Some(2),
            "{args:?} {:?}: {}",
            ended.status,
            ended.stderr
        );
    }
}

/// Runs `ringlog check --json`, and checks that status and overall verdict agree.
fn check_json(ended: &Ended) -> Vec<Value> {
    let report: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", ended.stdout, ended.stderr));
    let expected = if report["verdict"] == "FAIL" { 1 } else { 0 };
    assert_eq!(ended.status, Some(expected), "{report:#}");
    report["checks"].as_array().expect("a list of checks").clone()
}

#[track_caller]
fn assert_check(ended: &Ended, check: &str, verdict: &str, found: &str, advice: &str) {
    let checks = check_json(ended);
    let line = checks.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("no {check} in {checks:#?}"));
    let part_of = |key: &str, part: &str| line[key].as_str().unwrap_or("").contains(part);
    assert!(line["verdict"] == verdict && part_of("found", found) && part_of("advice", advice), "{line:#}");
}

#[test]
fn check_looks_at_everything_and_leaves_no_trace() {
    let directory = directory();
    let data_dir = directory.path().join("data");
    let ended = run(ringlog(&["check", "--json", "--data-dir", path_of(&data_dir)], &[]));
    let names: Vec<Value> = check_json(&ended).into_iter().map(|line| line["check"].clone()).collect();
    let expected = [
        "kernel",
        "io_uring",
        "sysfs",
        "memlock",
        "nofile",
        "nproc",
        "core-dumps",
        "cores",
        "memory",
        "data-dir",
        "file-system",
        "atime",
        "direct-io",
        "group-commit",
        "disk",
        "journal-dir",
        "interrupts",
        "huge-pages",
        "swap",
        "governor",
        "clock",
        "numa",
        "backlog",
        "socket-buffers",
        "time-sync",
    ];
    // Those of the disks, which need not be block devices.
    let names: Vec<&Value> = names.iter().filter(|name| *name != "io-scheduler" && *name != "write-cache").collect();
    assert_eq!(names, expected);
    let document = include_str!("../../docs/deployment.md");
    for name in expected.iter().chain(&["io-scheduler", "write-cache"]).filter(|name| **name != "journal-dir") {
        assert!(document.contains(&format!("\n| `{name}` | ")), "{name} in docs/deployment.md");
    }
    assert_check(&ended, "data-dir", "OK", "will be created in", "");
    assert_eq!(std::fs::read_dir(directory.path()).expect("listing").count(), 0);

    let lines = run(ringlog(&["check"], &[("RINGLOG_DATA_DIR", path_of(&data_dir))])).stdout;
    for name in expected {
        assert!(lines.lines().any(|line| line.split_whitespace().nth(1) == Some(name)), "{name} in {lines}");
    }
}

#[test]
fn check_tells_io_uring_forbidden_from_absent() {
    let check = || ringlog(&["check", "--json"], &[]);
    let forbidden = run_without_io_uring(check(), EPERM);
    assert_check(&forbidden, "io_uring", "FAIL", "forbidden (EPERM)", "io_uring_setup");
    let absent = run_without_io_uring(check(), ENOSYS);
    assert_check(&absent, "io_uring", "FAIL", "not present (ENOSYS)", "CONFIG_IO_URING");
    assert_eq!(forbidden.status, Some(1));
}

#[test]
fn check_sees_limits_that_are_too_low() {
    let check = ["check", "--json"];
    assert_check(&run_limited("-l 64", &check), "memlock", "FAIL", "64 KiB", "LimitMEMLOCK");
    assert_check(&run_limited("-n 256", &check), "nofile", "FAIL", "256 open files", "LimitNOFILE");
    assert_check(&run_limited("-n 2000", &check), "nofile", "WARN", "10000 connections", "connections-max");
}

#[test]
fn check_sees_a_file_in_the_way_of_the_data_directory() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").expect("writing the file");
    let ended = run(ringlog(&["check", "--json", "--data-dir", path_of(&file.join("data"))], &[]));
    assert_check(&ended, "data-dir", "FAIL", "is not a directory", "--data-dir");
}

#[test]
fn check_warns_of_more_shards_than_cores() {
    let ended = run(ringlog(&["check", "--json", "--shards", "1024"], &[]));
    assert_check(&ended, "cores", "WARN", "1024 shards on", "--shards");
}

#[test]
fn serve_refuses_to_start_where_no_shard_could() {
    let directory = directory();
    let data_dir = directory.path().join("data");
    let args = ["--data-dir", path_of(&data_dir)];
    let ended = run_without_io_uring(ringlog(&args, &[]), EPERM);
    assert!(ended.stderr.contains("cannot start: io_uring: forbidden (EPERM)"), "{}", ended.stderr);
    assert_eq!(ended.status, Some(1));

    let ended = run_limited("-l 64", &args);
    assert!(ended.stderr.contains("cannot start: memlock: up to 64 KiB"), "{}", ended.stderr);
    assert_eq!(ended.status, Some(1));
    assert!(!data_dir.exists());
}

#[test]
fn log_lines_are_json_on_request_and_never_coloured_in_a_pipe() {
    let variables = [("RINGLOG_LOG_FORMAT", "json"), ("RINGLOG_SHARD", "2")];
    let ended = run_without_io_uring(ringlog(&[], &variables), ENOSYS);
    let lines: Vec<Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of_level = |level: &str| lines.iter().find(|line| line["level"] == level).map(|line| line.to_string());
    let warning = of_level("WARN").expect("a warning of the unknown variable");
    assert!(warning.contains("RINGLOG_SHARD") && warning.contains("did you mean RINGLOG_SHARDS?"), "{warning}");
    assert!(of_level("ERROR").is_some_and(|error| error.contains("ENOSYS")), "{lines:?}");

    let text = run_without_io_uring(ringlog(&[], &[]), ENOSYS).stderr;
    assert!(text.contains("ERROR") && !text.contains('\u{1b}'), "{text:?}");
    let quiet = run_without_io_uring(ringlog(&["--log-level", "off"], &[]), ENOSYS);
    assert_eq!((quiet.status, quiet.stderr.as_str()), (Some(1), ""));
}
