//! The database's file, with blocks of the disk reserved behind its end.
//!
//! Whoever fills the disk leaves the database what it has reserved: votes, registrations and the deletion of topics can still
//! be written when nothing else can. What the file has is allocated too, so that writing into it needs no blocks.
//!
//! Contract: as [`FileBackend`]'s. A file system that cannot reserve, or has no room to, is no error: the file is as it would
//! be without. When there is room again, the reserve is filled up within [`RETRY_INTERVAL`] of the next change.

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reserved behind the end of the file, in bytes: as much as the file has, since that is what it grows by, within these.
const RESERVE_BYTES_MIN: u64 = 8 << 20;
const RESERVE_BYTES_MAX: u64 = 64 << 20;
/// Pause before a full disk is asked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Of [`MetadataExt::blocks`], whatever the file system's are.
const STAT_BLOCK_BYTES: u64 = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct ReservedFile {
    inner: FileBackend,
    /// The same one.
    file: File,
    /// When the disk was too full to reserve all.
    short_since: Mutex<Option<Instant>>,
}

/// How many bytes a database's file has reserved; those that are missing within it count against them.
pub(super) fn reserved_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |stat| stat.blocks().saturating_mul(STAT_BLOCK_BYTES).saturating_sub(stat.size()))
}

impl ReservedFile {
    pub fn new(file: File) -> Result<ReservedFile, DatabaseError> {
        let inner = FileBackend::new(file.try_clone()?)?;
        let reserved = ReservedFile { inner, file, short_since: Mutex::new(None) };
        reserved.reserve()?;
        Ok(reserved)
    }

    fn reserve(&self) -> io::Result<()> {
        let len = self.inner.len()?;
        let until = len.saturating_add(len.clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX));
        let short = match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, until) {
            Err(Errno::NOSPC | Errno::DQUOT) => Some(Instant::now()),
            Err(error) => {
                tracing::debug!(%error, "no space can be reserved for metadata on this file system");
                None
            }
            Ok(()) => None,
        };
        *self.short_since.lock().unwrap_or_else(PoisonError::into_inner) = short;
        Ok(())
    }

    fn is_retry_due(&self) -> bool {
        let since = *self.short_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= RETRY_INTERVAL)
    }
}

impl StorageBackend for ReservedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.reserve()
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_retry_due() {
            self.reserve()?;
        }
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    fn file(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    #[test]
    fn blocks_are_reserved_behind_the_end_whatever_length_the_file_has() {
        let directory = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
        let path = directory.path().join("file");
        let backend = ReservedFile::new(file(&path)).unwrap();
        if reserved_bytes(&path) == 0 {
            // Of a file system that cannot.
            return;
        }
        for len in [1 << 20, 3 << 20, 12 << 20, 1 << 20] {
            backend.set_len(len).unwrap();
            assert_eq!(backend.len().unwrap(), len);
            let expected = len.max(RESERVE_BYTES_MIN);
            assert!(
                (expected..expected + (1 << 20)).contains(&reserved_bytes(&path)),
                "{len}: {}",
                reserved_bytes(&path)
            );
            let mut byte = [1];
            backend.read(len - 1, &mut byte).unwrap();
            assert_eq!(byte, [0], "what was reserved reads as what was never written");
        }
        drop(backend);
        // Opened anew, as after a restart.
        std::fs::copy(&path, directory.path().join("copy")).unwrap();
        let copy = directory.path().join("copy");
        ReservedFile::new(file(&copy)).unwrap();
        assert!(reserved_bytes(&copy) >= RESERVE_BYTES_MIN);
    }
}
