//! Tries the file system of the data or journal directory: the mount, `O_DIRECT` with its alignment, free space.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::super::facts::{DirectIo, Directory, DirectoryState, ToldBy, Volume};
use super::super::mount;

/// The largest alignment that is tried, and of the memory that is written from.
const ALIGN_MAX: usize = 4096;
/// The smallest sector of any disk.
const ALIGN_MIN: usize = 512;

pub(super) fn probe(path: &Path) -> Directory {
    let probed = nearest_existing(path);
    let state = state(&probed);
    Directory { path: path.to_owned(), probed, state }
}

/// `path`, or the closest directory above it that exists: the broker creates what is missing.
fn nearest_existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = absolute.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    existing.unwrap_or(Path::new("/")).to_owned()
}

fn state(directory: &Path) -> DirectoryState {
    match directory.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return DirectoryState::NotADirectory,
        Err(error) => return DirectoryState::Unreadable { error: error.to_string() },
    }
    if let Err(error) = temporary_file(directory, OFlags::empty()) {
        return DirectoryState::NotWritable { error: describe(error) };
    }
    match volume(directory) {
        Ok(volume) => DirectoryState::Usable(volume),
        Err(error) => DirectoryState::Unreadable { error: describe(error) },
    }
}

fn volume(directory: &Path) -> Result<Volume, Errno> {
    let space = fs::statvfs(directory)?;
    let status = fs::statx(fs::CWD, directory, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(Volume {
        mount: mount::find(&mountinfo, status.stx_dev_major, status.stx_dev_minor),
        device: (status.stx_dev_major, status.stx_dev_minor),
        direct_io: direct_io(directory),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        free_files: space.f_favail,
        total_files: space.f_files,
    })
}

fn direct_io(directory: &Path) -> DirectIo {
    let file = match temporary_file(directory, OFlags::DIRECT) {
        Ok(file) => file,
        Err(error) => return DirectIo::Refused { error: describe(error) },
    };
    let smallest = match smallest_write(&file) {
        Ok(smallest) => smallest,
        Err(error) => return DirectIo::WriteFailed { error: describe(error) },
    };
    match alignment_told(&file) {
        Some((memory_align, offset_align)) => DirectIo::Works { memory_align, offset_align, told_by: ToldBy::Kernel },
        None => DirectIo::Works { memory_align: smallest, offset_align: smallest, told_by: ToldBy::Trial },
    }
}

/// Memory and offset alignment by `STATX_DIOALIGN`; zeros there mean that direct I/O falls back to the page cache.
fn alignment_told(file: &OwnedFd) -> Option<(u32, u32)> {
    let status = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let told = status.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    (told && status.stx_dio_offset_align > 0).then_some((status.stx_dio_mem_align, status.stx_dio_offset_align))
}

/// The smallest power of two from 512 to 4096 that a write can start at and be long, the last one synced.
fn smallest_write(file: &OwnedFd) -> Result<u32, Errno> {
    let memory = vec![0u8; 2 * ALIGN_MAX];
    let start = memory.as_ptr().align_offset(ALIGN_MAX);
    let mut outcome = Err(Errno::INVAL);
    let mut length = ALIGN_MIN;
    while length <= ALIGN_MAX && outcome.is_err() {
        outcome = rustix::io::pwrite(file, &memory[start..start + length], length as u64).map(|_| length as u32);
        length *= 2;
    }
    let smallest = outcome?;
    fs::fdatasync(file)?;
    Ok(smallest)
}

/// A file without a name, or where that cannot be had one whose name is gone at once.
fn temporary_file(directory: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match fs::open(directory, flags | OFlags::TMPFILE, mode) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
        outcome => return outcome,
    }
    let path = directory.join(format!(".ringlog-check-{}", std::process::id()));
    // Some file systems create the file before they refuse O_DIRECT: it is removed either way.
    let outcome = fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode);
    if !matches!(outcome, Err(Errno::EXIST)) {
        let _ = fs::unlink(&path);
    }
    outcome
}

fn describe(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_on_disk_is_usable_and_left_empty() {
        // Next to this very program: a temporary directory is often in memory.
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let found = probe(&directory.path().join("not/yet/there"));
        assert_eq!(found.probed, directory.path());
        let DirectoryState::Usable(volume) = found.state else { panic!("{found:?}") };
        assert!(volume.total_bytes >= volume.free_bytes && volume.total_bytes > 0, "{volume:?}");
        assert!(matches!(volume.direct_io, DirectIo::Works { .. }), "{volume:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_seen() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let found = probe(&file.path().join("data"));
        assert!(matches!(found.state, DirectoryState::NotADirectory), "{found:?}");
    }

    #[test]
    fn a_file_system_without_files_of_ones_own_is_not_writable() {
        let found = probe(Path::new("/proc/ringlog"));
        assert!(matches!(found.state, DirectoryState::NotWritable { .. }), "{found:?}");
    }
}
