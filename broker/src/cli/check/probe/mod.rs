//! Looks at the machine. Judges nothing: see [`super::verdict`].
//!
//! Leaves nothing behind but, on file systems that cannot create a file without a name, a temporary file for a moment.

mod directory;
mod io_uring;
mod memory;

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::facts::{Facts, Limit};
use crate::config::Machine;

pub(super) use io_uring::io_uring;

/// Gathers everything, for a broker that would keep its data in `data_dir` and its journals in `journal_dir`.
pub(super) fn facts(data_dir: &Path, journal_dir: Option<&Path>, machine: &Machine) -> Facts {
    Facts {
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        io_uring: io_uring(),
        memlock: limit(Resource::Memlock),
        nofile: limit(Resource::Nofile),
        cores: machine.cores,
        memory_bytes: memory::limit_bytes(),
        directory: directory::probe(data_dir),
        journal: journal_dir.map(directory::probe),
    }
}

pub(super) fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}
