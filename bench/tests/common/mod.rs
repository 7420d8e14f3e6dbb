//! What the tests against the real broker share: where it is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The `ringlog` binary: `RINGLOG_BIN`, or the one beside ours, which is built if it is not there.
pub fn ringlog() -> PathBuf {
    if let Some(path) = std::env::var_os("RINGLOG_BIN") {
        return path.into();
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_ringlog-bench")).with_file_name("ringlog");
    if !beside.exists() {
        let target = beside.parent().and_then(Path::parent).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", "ringlog-broker", "--bin", "ringlog", "--target-dir"]).arg(target);
        assert!(build.status().unwrap().success(), "there is no ringlog binary, and it cannot be built");
    }
    beside
}
