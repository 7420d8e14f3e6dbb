//! Raises the process's soft limits as far as it may.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lifts the soft limits of open files and locked memory to the hard ones. The soft limit of open files is kept low by
/// distributions only for the sake of programs that use select(2).
pub(super) fn raise() {
    for (resource, name) in [(Resource::Nofile, "open files"), (Resource::Memlock, "locked memory")] {
        let limit = getrlimit(resource);
        if limit.current == limit.maximum {
            continue;
        }
        let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(resource, wanted) {
            Ok(()) => tracing::debug!(from = ?limit.current, to = ?limit.maximum, "raised the limit of {name}"),
            Err(error) => tracing::warn!(%error, "cannot raise the limit of {name}"),
        }
    }
}
