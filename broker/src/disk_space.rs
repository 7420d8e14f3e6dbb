//! How much space there is on the file system of a path.

use std::path::Path;

/// Of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// For whom is not root.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl DiskSpace {
    /// `None` if the system does not tell. A directory that is yet to be made lies where the one above does.
    pub fn of(path: &Path) -> Option<DiskSpace> {
        let found = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskSpace { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }
}
