//! Looks at the machine. Judges nothing: see [`super::verdict`].
//!
//! Leaves nothing behind but, on file systems that cannot create a file without a name, a temporary file for a moment.

mod directory;
mod io_uring;
mod memory;

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::facts::{Facts, Limit};
use crate::cli::system::System;
use crate::config::Machine;

pub(super) use io_uring::io_uring;

/// Gathers everything, for a broker that would keep its data in `data_dir` and its journals in `journal_dir`.
///
/// The machine's own settings are read below `root`.
pub(super) fn facts(root: &Path, data_dir: &Path, journal_dir: Option<&Path>, machine: &Machine) -> Facts {
    let directory = directory::probe(data_dir);
    let journal = journal_dir.map(directory::probe);
    let devices: Vec<_> =
        [Some(&directory), journal.as_ref()].into_iter().flatten().filter_map(|d| d.device()).collect();
    Facts {
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        io_uring: io_uring(),
        disks_hidden: disks_hidden(),
        memlock: limit(Resource::Memlock),
        nofile: limit(Resource::Nofile),
        nproc: limit(Resource::Nproc),
        core: limit(Resource::Core),
        cores: machine.cores,
        memory_bytes: memory::limit_bytes(),
        system: System::look(root, &devices),
        directory,
        journal,
    }
}

/// The devices of the two directories, where they can be used.
pub(super) fn devices(data_dir: &Path, journal_dir: Option<&Path>) -> Vec<(u32, u32)> {
    [Some(data_dir), journal_dir].into_iter().flatten().filter_map(|path| directory::probe(path).device()).collect()
}

/// glommio looks up there what kind of disk a file is on, and panics where it may not.
pub(super) fn disks_hidden() -> bool {
    let looked = std::fs::metadata("/sys/dev/block/.");
    looked.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

pub(super) fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}
