//! The directory on a real disk in which brokers get their fresh directories, and which is gone afterwards.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statfs, statvfs, syncfs};

/// File systems that are memory (linux/magic.h): a sync there is free, so figures from them say nothing.
const TMPFS_MAGIC: u64 = 0x0102_1994;
const RAMFS_MAGIC: u64 = 0x8584_58f6;
/// Space that stays free besides what a run is expected to write.
const SPARE_BYTES: u64 = 2 << 30;

/// Why there is no place for data.
#[derive(Debug, thiserror::Error)]
pub enum WorkDirError {
    #[error("{path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("{path} lies on a file system in memory ({kind}), where syncs cost nothing: choose a disk with --dir")]
    InMemory { path: PathBuf, kind: &'static str },
    #[error(
        "{path} has {free_gib:.1} GiB free where this run needs {needed_gib:.1} GiB: choose another --dir, or less data"
    )]
    NoSpace { path: PathBuf, free_gib: f64, needed_gib: f64 },
}

/// A directory of this run alone, removed with all it holds when dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    keep: bool,
}

impl WorkDir {
    /// Makes a directory below `parent`, which is created if need be. Refuses file systems in memory, and those with
    /// less than `needed_bytes` (and something to spare) free.
    pub fn create(parent: &Path, needed_bytes: u64, keep: bool) -> Result<WorkDir, WorkDirError> {
        let io_error = |action| move |source| WorkDirError::Io { path: parent.to_owned(), action, source };
        fs::create_dir_all(parent).map_err(io_error("creating the directory"))?;
        let parent = &parent.canonicalize().map_err(io_error("resolving the path"))?;
        let file_system = statfs(parent).map_err(|errno| io_error("statfs")(errno.into()))?;
        let in_memory = |kind| Err(WorkDirError::InMemory { path: parent.clone(), kind });
        match file_system.f_type as u64 {
            TMPFS_MAGIC => return in_memory("tmpfs"),
            RAMFS_MAGIC => return in_memory("ramfs"),
            _ => {}
        }
        let space = statvfs(parent).map_err(|errno| io_error("statvfs")(errno.into()))?;
        let free = space.f_bavail * space.f_frsize;
        let needed = needed_bytes + SPARE_BYTES;
        if free < needed {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            return Err(WorkDirError::NoSpace { path: parent.clone(), free_gib: gib(free), needed_gib: gib(needed) });
        }
        let path = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir(&path).map_err(|source| WorkDirError::Io { path: path.clone(), action: "creating", source })?;
        Ok(WorkDir { path, keep })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A fresh, empty directory below this one.
    pub fn fresh(&self, name: &str) -> Result<PathBuf, WorkDirError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(|source| WorkDirError::Io { path: path.clone(), action: "creating", source })?;
        Ok(path)
    }

    /// Removes what [`WorkDir::fresh`] made, unless everything is to be kept.
    pub fn discard(&self, path: &Path) -> Result<(), WorkDirError> {
        assert!(path.starts_with(&self.path), "{} is not below {}", path.display(), self.path.display());
        if self.keep {
            return Ok(());
        }
        let removed = fs::remove_dir_all(path);
        removed.map_err(|source| WorkDirError::Io { path: path.to_owned(), action: "removing", source })
    }

    /// Writes back whatever is dirty on the file system, so that a measurement does not pay for what came before it.
    pub fn settle(&self) -> Result<(), WorkDirError> {
        let sync = || syncfs(File::open(&self.path)?).map_err(io::Error::from);
        sync().map_err(|source| WorkDirError::Io { path: self.path.clone(), action: "syncfs", source })
    }

    /// Takes the files below `path` out of the page cache, as they would be after the machine was off. Needs no
    /// privilege, and leaves other files alone. Pages that a live process maps stay.
    pub fn evict_from_page_cache(&self, path: &Path) -> Result<(), WorkDirError> {
        self.settle()?;
        for_each_file(path, &mut |file| fadvise(File::open(file)?, 0, None, Advice::DontNeed).map_err(io::Error::from))
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Bytes of disk that the files below `path` take.
pub fn disk_bytes(path: &Path) -> Result<u64, WorkDirError> {
    let mut bytes = 0;
    for_each_file(path, &mut |file| {
        bytes += fs::metadata(file)?.blocks() * 512;
        Ok(())
    })?;
    Ok(bytes)
}

/// Calls `visit` with each plain file below `path`; files that vanish meanwhile are passed over.
fn for_each_file(path: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> Result<(), WorkDirError> {
    let io_error = |action| move |source| WorkDirError::Io { path: path.to_owned(), action, source };
    for entry in fs::read_dir(path).map_err(io_error("listing"))? {
        let entry = entry.map_err(io_error("listing"))?;
        let kind = entry.file_type().map_err(io_error("listing"))?;
        if kind.is_dir() {
            for_each_file(&entry.path(), visit)?;
        } else if kind.is_file() {
            match visit(&entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("reading a file")(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the disk of the sources; the system's own directory for temporary files may well be a tmpfs.
    fn on_disk() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
    }

    #[test]
    fn it_is_gone_when_dropped_and_kept_on_request() {
        let parent = on_disk();
        let dir = WorkDir::create(&parent.path().join("a/b"), 1, false).unwrap();
        let (path, fresh) = (dir.path().to_owned(), dir.fresh("broker").unwrap());
        fs::write(fresh.join("log"), "x").unwrap();
        assert!(matches!(dir.fresh("broker"), Err(WorkDirError::Io { .. })), "a used directory is not fresh");
        dir.discard(&fresh).unwrap();
        assert!(!fresh.exists());
        dir.fresh("broker").unwrap();
        drop(dir);
        assert!(!path.exists());

        let kept = WorkDir::create(parent.path(), 1, true).unwrap();
        let path = kept.path().to_owned();
        drop(kept);
        assert!(path.exists());
    }

    #[test]
    fn memory_is_refused() {
        let shm = Path::new("/dev/shm");
        let error = WorkDir::create(shm, 1, false).unwrap_err();
        assert!(matches!(error, WorkDirError::InMemory { kind: "tmpfs", .. }), "{error}");
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused() {
        let parent = on_disk();
        let error = WorkDir::create(parent.path(), 1 << 60, false).unwrap_err();
        assert!(error.to_string().contains("GiB free"), "{error}");
    }

    #[test]
    fn disk_use_counts_files_in_folders_and_not_their_holes() {
        let parent = on_disk();
        fs::create_dir(parent.path().join("p-0")).unwrap();
        fs::write(parent.path().join("p-0/log"), vec![1; 64 * 1024]).unwrap();
        File::create(parent.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let dir = WorkDir::create(parent.path(), 1, false).unwrap();
        dir.evict_from_page_cache(parent.path()).unwrap();
        let bytes = disk_bytes(parent.path()).unwrap();
        assert!((64 * 1024..1 << 20).contains(&bytes), "{bytes}");
    }
}
