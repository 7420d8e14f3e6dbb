//! The load generator against the real `ringlog`: what it reports is what it did, and everything is verified.
//!
//! The broker is the binary beside ours; it is built if it is not there, and `RINGLOG_BIN` takes another.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

mod common;

use common::ringlog;

/// A broker with its data in a directory of its own; stopped at the end of the test.
struct Broker {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Broker {
    fn start() -> Broker {
        // On the disk of the sources: the system's own directory for temporary files may be a tmpfs.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let log_path = dir.path().join("log");
        let log = fs::File::create(&log_path).unwrap();
        let mut command = Command::new(ringlog());
        command.args(["serve", "--data-dir"]).arg(dir.path().join("data"));
        for flag in ["--kafka-addr", "--internal-addr", "--http-addr"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().unwrap();
        let address = loop {
            let log = fs::read_to_string(&log_path).unwrap();
            if let Some(address) = bound_address(&log) {
                break address;
            }
            assert_eq!(process.try_wait().unwrap(), None, "the broker ended: {log}");
            std::thread::sleep(Duration::from_millis(5));
        };
        Broker { process, address, dir }
    }

    /// Runs the load generator with small loads.
    fn load(&self, subcommand: &str, settings: &[&str], more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"));
        let workload = self.dir.path().join("small.toml");
        fs::write(&workload, "name = 'small'\npartitions = 3\nrecord_size = 200\nproducers = 2\nrecords = 3000\n")
            .unwrap();
        command.args([subcommand, "--broker", &self.address.to_string(), "--workload"]).arg(workload);
        command.args(settings.iter().flat_map(|setting| ["--set", setting])).args(more);
        command.arg("--out").arg(self.out());
        command.output().unwrap()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// As [`Broker::load`] where it must succeed; gives `result.json`.
    fn measure(&self, subcommand: &str, settings: &[&str], more: &[&str]) -> Value {
        let output = self.load(subcommand, settings, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{subcommand} {settings:?}: {said}");
        serde_json::from_str(&fs::read_to_string(self.out().join("result.json")).unwrap()).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::KILL);
        let _ = self.process.wait();
    }
}

fn bound_address(log: &str) -> Option<SocketAddr> {
    let line = log.split_inclusive('\n').find(|line| line.contains("kafka listener bound") && line.ends_with('\n'))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("addr=")?.trim_matches('"').parse().ok())
}

fn verified<'a>(result: &'a Value, name: &str) -> &'a Value {
    &result["verified"][name]
}

#[test]
fn produced_records_are_counted_and_end_where_they_should() {
    let broker = Broker::start();
    for settings in [
        &["records_per_batch=1"][..],
        &["batch_bytes=4096", "partitions_per_request=3", "acks=1", "topics=2"],
        &["records_per_batch=7", "acks=0"],
        &["key_distribution=zipf", "compression=lz4", "batch_bytes=8192", "in_flight=1"],
        &["rate=20000", "records_per_batch=2"],
    ] {
        let result = broker.measure("produce", settings, &[]);
        let acknowledged = verified(&result, "acknowledged_records").as_u64().unwrap();
        // Whole requests over both producers.
        assert!((3000..3600).contains(&acknowledged), "{settings:?}: {result}");
        assert_eq!(verified(&result, "read_records"), 0);
    }
}

#[test]
fn every_group_reads_everything_whatever_the_compression() {
    let broker = Broker::start();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let compression = format!("compression={compression}");
        let groups = ["consumer_groups=2", "groups_from_start=1", "consumers_per_group=2", "backlog_records=500"];
        let settings = [&compression, "batch_bytes=2048", "rate=30000"];
        let result = broker.measure("e2e", &[&settings[..], &groups].concat(), &["--verify", "full"]);
        let number = |name| verified(&result, name).as_u64().unwrap();
        let acknowledged = number("acknowledged_records");
        let backlog = 3 * acknowledged - number("read_records");
        // Two groups leave out the backlog, of whole batches.
        assert!(acknowledged >= 3500 && (1000..1100).contains(&backlog), "{result}");
        assert_eq!(number("consumer_groups"), 3);
    }
}

#[test]
fn a_backlog_is_read_to_its_end_now_and_by_a_later_run() {
    let broker = Broker::start();
    let drain = ["records=", "backlog_bytes=300000", "batch_bytes=4096", "fetch_max_bytes=20000"];
    let topic = ["--topic", "kept", "--keep-topic"];
    let written = broker.measure("consume", &drain, &topic);
    let acknowledged = verified(&written, "acknowledged_records").as_u64().unwrap();
    assert!(acknowledged >= 1400, "{written}");
    assert_eq!(verified(&written, "read_records"), acknowledged);
    for sessions in ["fetch_sessions=true", "fetch_sessions=false"] {
        let settings = ["groups_from_start=2", "batch_bytes=4096", sessions];
        let read = broker.measure("consume", &settings, &["--existing", "--topic", "kept"]);
        assert_eq!(verified(&read, "read_records"), 2 * acknowledged);
    }
    // Somebody who expects other batches is told where they differ.
    let output = broker.load("consume", &["batch_bytes=4000"], &["--existing", "--topic", "kept"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("kept partition 0 at offset 0"), "{said}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let broker = Broker::start();
    for (settings, more, said) in [
        (&["partitions=0"][..], &[][..], "partitions is 0"),
        (&["replication_factor=3"], &[], "CreateTopics"),
        (&["one_leader=true"], &["--replication-factor", "3"], "CreateTopics"),
        (&[], &["--existing", "--topic", "nothing"], "nothing is not there"),
    ] {
        let subcommand = if more.contains(&"--existing") { "consume" } else { "produce" };
        let output = broker.load(subcommand, settings, more);
        let found = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && found.contains(said), "{settings:?}: {found}");
    }
}

#[test]
fn an_interrupted_load_ends_and_removes_its_topic() {
    let mut broker = Broker::start();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ringlog-bench"))
        .args(["e2e", "--broker", &broker.address.to_string(), "--set", "duration_seconds=3600", "--topic", "brief"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let data = broker.dir.path().join("data");
    let has_partition = || fs::read_dir(&data).unwrap().any(|entry| entry.unwrap().path().ends_with("brief-0"));
    while !has_partition() {
        assert_eq!(bench.try_wait().unwrap(), None, "ringlog-bench ended by itself");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert_eq!(broker.process.try_wait().unwrap(), None);
    let output = broker.load("consume", &[], &["--existing", "--topic", "brief"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("brief is not there"), "{said}");
}
