//! Ringlog: the real binary, alone with ports of its own choosing that its log tells, or as a member of a cluster.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::interrupt::Interrupt;
use crate::member::{Member, Place};
use crate::process::{ProcessError, run_tool};

const ANY_PORT: &str = "127.0.0.1:0";
const VERSION_TIME_MAX: Duration = Duration::from_secs(60);
/// What the log says when the broker listens to clients; the address follows as the field `addr`.
const BOUND: &str = "kafka listener bound";

/// Why there is no binary to run.
#[derive(Debug, thiserror::Error)]
pub enum RinglogError {
    #[error(
        "no ringlog binary at {path}: {source}; build it (cargo build --release --workspace) or give --ringlog PATH"
    )]
    NoBinary { path: PathBuf, source: io::Error },
    #[error("the ringlog binary does not tell its version: {0}")]
    Version(ProcessError),
}

/// The binary under test.
#[derive(Clone, Debug)]
pub struct Ringlog {
    path: PathBuf,
    /// As `--version` tells it.
    version: String,
}

impl Ringlog {
    /// The binary at `path`, or else the one beside this very program. `dir` takes what it prints.
    pub fn find(path: Option<&Path>, dir: &Path, interrupt: &Interrupt) -> Result<Ringlog, RinglogError> {
        let path = path.map_or_else(beside_us, Path::to_owned);
        let path = path.canonicalize().map_err(|source| RinglogError::NoBinary { path, source })?;
        let mut command = Command::new(&path);
        command.arg("--version");
        let version = run_tool("ringlog --version", command, &dir.join("version.log"), VERSION_TIME_MAX, interrupt)
            .map_err(RinglogError::Version)?;
        Ok(Ringlog { path, version: version.trim().to_owned() })
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The command that runs a broker with its data in `data_dir`. All settings are the defaults but for ports and a
    /// group's first wait; the environment sets none. A member of a cluster has one shard: several brokers share the cores.
    #[must_use]
    pub fn command(&self, data_dir: &Path, member: Option<&Member>) -> Command {
        let mut command = Command::new(&self.path);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("RINGLOG_")) {
                command.env_remove(name);
            }
        }
        command.arg("serve").arg("--data-dir").arg(data_dir);
        let addresses = member.map_or([ANY_PORT.to_owned(), ANY_PORT.to_owned(), ANY_PORT.to_owned()], |member| {
            let Place { clients, internal, http } = member.place();
            [clients, internal, http].map(|address| address.to_string())
        });
        for (flag, address) in ["--kafka-addr", "--internal-addr", "--http-addr"].into_iter().zip(addresses) {
            command.arg(flag).arg(address);
        }
        if let Some(member) = member {
            command.arg("--node-id").arg(member.id().to_string()).args(["--shards", "1"]);
            let earlier: Vec<_> = member.earlier().map(|place| place.internal.to_string()).collect();
            if !earlier.is_empty() {
                command.arg("--join").arg(earlier.join(","));
            }
        }
        // As Kafka here: a group's first rebalance does not wait for more members.
        command.args(["--set", "group.initial.rebalance.delay.ms=0"]);
        command.env("NO_COLOR", "1");
        command
    }
}

fn beside_us() -> PathBuf {
    std::env::current_exe().map_or_else(|_| PathBuf::from("ringlog"), |program| program.with_file_name("ringlog"))
}

/// The address that clients connect to, once the log tells it.
#[must_use]
pub fn bound_address(log: &str) -> Option<SocketAddr> {
    let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.find_map(|line| {
        let (_, fields) = line.split_once(BOUND)?;
        fields.split_whitespace().find_map(|field| field.strip_prefix("addr=")?.trim_matches('"').parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Shape;

    #[test]
    fn the_address_is_read_from_a_whole_line() {
        let log = "2026-01-01T00:00:00Z  INFO ringlog::serve: http listener bound addr=127.0.0.1:1\n\
                   2026-01-01T00:00:00Z  INFO ringlog::serve: kafka listener bound addr=127.0.0.1:45321 \
                   advertised=127.0.0.1:45321 took=12ms\n";
        assert_eq!(bound_address(log), Some("127.0.0.1:45321".parse().unwrap()));
        assert_eq!(bound_address(&log.replace("addr=127.0.0.1:45321", "addr=\"127.0.0.1:45321\"")), bound_address(log));
        // The last line is still being written: its port may be cut short.
        assert_eq!(bound_address("INFO kafka listener bound addr=127.0.0.1:453"), None);
        assert_eq!(bound_address("INFO http listener bound addr=127.0.0.1:1\n"), None);
    }

    #[test]
    fn a_missing_binary_is_an_error_that_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("ringlog");
        let error = Ringlog::find(Some(&missing), dir.path(), &Interrupt::default()).unwrap_err().to_string();
        assert!(error.contains("cargo build --release") && error.contains("--ringlog"), "{error}");
    }

    #[test]
    fn every_port_is_the_systems_choice() {
        let ringlog = Ringlog { path: "/bin/ringlog".into(), version: String::new() };
        let command = ringlog.command(Path::new("/disk/d"), None);
        let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(args[..3], ["serve", "--data-dir", "/disk/d"]);
        assert_eq!(args.iter().filter(|arg| **arg == "127.0.0.1:0").count(), 3);
    }

    #[test]
    fn the_first_member_forms_the_cluster_and_the_others_join_it() {
        let ringlog = Ringlog { path: "/bin/ringlog".into(), version: String::new() };
        let members = Member::all(Shape { brokers: 3, replication_factor: 3 }).unwrap();
        let line = |number: usize| {
            let command = ringlog.command(Path::new("/disk/d"), Some(&members[number]));
            command.get_args().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        let (first, last) = (line(0), line(2));
        assert!(first.contains("--node-id 1 --shards 1") && !first.contains("--join"), "{first}");
        let [one, two] = [0, 1].map(|number| members[number].place().internal);
        assert!(last.contains(&format!("--node-id 3 --shards 1 --join {one},{two}")), "{last}");
        assert!(last.contains(&format!("--kafka-addr {}", members[2].place().clients)), "{last}");
    }
}
