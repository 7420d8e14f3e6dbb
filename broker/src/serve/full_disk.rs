//! What whoever starts a broker on a full disk is told: which directory, how much is free, how much is needed, what to do.

use std::error::Error;
use std::io;
use std::path::Path;

use crate::disk_space::DiskSpace;
use crate::journal_dir::marker::is_no_space;

/// What the first start of a data directory needs, in bytes. Later ones need nothing as a rule: what they write has its place.
const FREE_BYTES_WANTED: u64 = 16 << 20;

/// Where an error comes of a full disk: what to do. Of `dirs`, the one with the least space is named.
pub fn advice(error: &(dyn Error + 'static), dirs: &[&Path]) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    if !causes.any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_no_space)) {
        return None;
    }
    let free = dirs.iter().filter_map(|dir| Some((DiskSpace::of(dir)?.free_bytes, *dir)));
    let (free_bytes, dir) = free.min_by_key(|(free_bytes, _)| *free_bytes)?;
    Some(format!(
        "the disk with {} is full: {free_bytes} bytes are free, and a start wants {FREE_BYTES_WANTED}; make room with what is \
         not the broker's, or enlarge the disk, and start again; then lower retention or delete topics or records",
        dir.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal_dir::JournalDirError;
    use crate::serve::ServeError;

    #[test]
    fn a_full_disk_is_named_with_what_it_has_and_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("later");
        let failed = |kind: io::ErrorKind| {
            ServeError::Journal(JournalDirError::Io { dir: later.clone(), source: io::Error::from(kind) })
        };
        let advice = |kind| super::advice(&failed(kind), &[&later]);
        let full = advice(io::ErrorKind::StorageFull).unwrap();
        for part in [&later.display().to_string(), "bytes are free", "16777216", "make room"] {
            assert!(full.contains(part), "{part} is not in {full}");
        }
        assert_eq!(advice(io::ErrorKind::PermissionDenied), None);
    }
}
