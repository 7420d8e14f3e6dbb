//! The I/O seam: everything that touches a disk goes through [`Storage`] and [`StorageFile`].
//!
//! Two implementations: `GlommioStorage` (O_DIRECT files on io_uring) and [`SimStorage`](sim::SimStorage) (in memory,
//! deterministic, with power cuts and injected errors). Futures are not `Send`: a storage belongs to one shard.
//!
//! Contract of a file: reads and writes are aligned to [`BLOCK_BYTES`] in position, length and memory. A completed write
//! is visible to reads at once and durable only after a sync that *started* after it completed. A future that writes or
//! syncs must be polled to its end: dropped, it may or may not have happened.
//!
//! Deliberately absent: buffered I/O, locks, partial reads in the middle of a file (a short read means its end).

use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

#[cfg(feature = "glommio")]
pub mod glommio;
#[cfg(feature = "glommio")]
mod mount;
pub mod sim;

#[cfg(feature = "glommio")]
pub use mount::one_flush_covers_device;

/// Unit of alignment of every read and write, and the largest physical block of a device that is supported: two writes
/// in flight never share one.
pub const BLOCK_BYTES: usize = 4096;

const _: () = assert!(BLOCK_BYTES.is_power_of_two());

/// `position` rounded down to a block boundary.
#[must_use]
pub fn block_floor(position: u64) -> u64 {
    position & !(BLOCK_BYTES as u64 - 1)
}

/// `position` rounded up to a block boundary.
#[must_use]
pub fn block_ceil(position: u64) -> u64 {
    block_floor(position + BLOCK_BYTES as u64 - 1)
}

/// What was asked of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoOp {
    Open,
    Create,
    Read,
    Write,
    Sync,
    Allocate,
    Shrink,
    Size,
    Close,
    Rename,
    Remove,
    CreateDir,
    RemoveDir,
    ListDir,
    SyncDir,
}

impl std::fmt::Display for IoOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IoOp::Open => "open",
            IoOp::Create => "create",
            IoOp::Read => "read",
            IoOp::Write => "write",
            IoOp::Sync => "sync",
            IoOp::Allocate => "allocate space in",
            IoOp::Shrink => "shrink",
            IoOp::Size => "take the size of",
            IoOp::Close => "close",
            IoOp::Rename => "rename",
            IoOp::Remove => "remove",
            IoOp::CreateDir => "create directory",
            IoOp::RemoveDir => "remove directory",
            IoOp::ListDir => "list directory",
            IoOp::SyncDir => "sync directory",
        })
    }
}

/// A failed operation on a file or directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} {}: {source}", path.display())]
pub struct IoError {
    pub op: IoOp,
    pub path: PathBuf,
    pub source: io::Error,
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

impl IoError {
    pub fn new(op: IoOp, path: &Path, source: io::Error) -> IoError {
        IoError { op, path: path.to_owned(), source }
    }

    /// The operating system's error number, where the error came from there.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// No space or no quota left: the one failure that passes without harm when it hits before data is accepted.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.errno(), Some(ENOSPC | EDQUOT))
    }

    /// After this nothing that the storage says can be trusted: a failed write or sync, or EIO on anything that changes
    /// the file system. A failed read, or a file that cannot be opened, harms only who wanted it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        match self.op {
            IoOp::Sync | IoOp::SyncDir => true,
            IoOp::Write => !self.is_no_space(),
            IoOp::Open | IoOp::Read | IoOp::Size | IoOp::Close | IoOp::ListDir => false,
            IoOp::Create
            | IoOp::Allocate
            | IoOp::Shrink
            | IoOp::Rename
            | IoOp::Remove
            | IoOp::CreateDir
            | IoOp::RemoveDir => self.errno() == Some(EIO),
        }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// How far one file's sync reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope {
    /// `sync_data` of any file flushes the device's write cache, so it also makes durable what completed before on every
    /// other file, as far as that lies on blocks that were written before and synced through their own file since.
    Device,
    /// `sync_data` promises something for its own file only.
    File,
}

/// Memory for a write, aligned to [`BLOCK_BYTES`]. Its length can shrink but not grow.
pub trait WriteBuffer: AsRef<[u8]> + AsMut<[u8]> + 'static {
    /// Shortens the buffer to `len` bytes, at most what it has.
    fn truncate(&mut self, len: usize);
}

/// How to open an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// A shard's access to its file system. Clones are handles to the same thing.
#[allow(async_fn_in_trait, reason = "a storage belongs to one thread: no Send bounds are wanted")]
pub trait Storage: Clone + 'static {
    type File: StorageFile<WriteBuffer = Self::WriteBuffer>;
    type WriteBuffer: WriteBuffer;

    /// Aligned memory of `len` bytes, a multiple of [`BLOCK_BYTES`], with unspecified content.
    fn allocate_buffer(&self, len: usize) -> Self::WriteBuffer;

    /// How far a sync reaches among the files of this storage.
    fn flush_scope(&self) -> FlushScope;

    async fn open(&self, path: &Path, access: Access) -> Result<Self::File, IoError>;
    /// Creates a file for reading and writing; one that exists already is emptied.
    async fn create(&self, path: &Path) -> Result<Self::File, IoError>;
    /// Replaces `to` if it exists. Durable after `sync_dir` of the directory. Not during an `open` of either path.
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;
    async fn remove(&self, path: &Path) -> Result<(), IoError>;
    /// Creates one directory; it is no error if it exists.
    async fn create_dir(&self, path: &Path) -> Result<(), IoError>;
    /// Removes an empty directory.
    async fn remove_dir(&self, path: &Path) -> Result<(), IoError>;
    /// Names of the entries, sorted.
    async fn list_dir(&self, path: &Path) -> Result<Vec<String>, IoError>;
    /// Makes creations, renames and removals in the directory durable.
    async fn sync_dir(&self, path: &Path) -> Result<(), IoError>;
}

/// An open file.
#[allow(async_fn_in_trait, reason = "a file belongs to one thread: no Send bounds are wanted")]
pub trait StorageFile: 'static {
    type WriteBuffer: WriteBuffer;
    /// What a read gives: shorter than asked for only where the file ends.
    type ReadBuffer: Deref<Target = [u8]> + Clone + 'static;

    async fn read_at(&self, position: u64, len: usize) -> Result<Self::ReadBuffer, IoError>;
    /// Writes the whole buffer.
    async fn write_at(&self, buffer: Self::WriteBuffer, position: u64) -> Result<(), IoError>;
    /// Writes zeros over `range`, whole blocks, as writes of any size in order.
    async fn write_zeros(&self, range: Range<u64>) -> Result<(), IoError>;
    /// Writes the whole buffer and makes it durable, with the metadata needed to read it, by one operation that may block
    /// the thread: for small writes, where the device is known to be fast. Its flush covers what a `sync_data` that began
    /// after the write would cover.
    async fn write_durably_at(&self, buffer: Self::WriteBuffer, position: u64) -> Result<(), IoError>;
    /// Makes completed writes durable, with the metadata needed to read them (fdatasync).
    async fn sync_data(&self) -> Result<(), IoError>;
    /// Makes sure that the first `len` bytes can be written without running out of space, and that the file has at
    /// least that size; what was never written reads as zeros.
    async fn allocate(&self, len: u64) -> Result<(), IoError>;
    /// Gives space beyond the first `len` bytes back to the file system.
    async fn shrink(&self, len: u64) -> Result<(), IoError>;
    async fn size(&self) -> Result<u64, IoError>;
    async fn close(self) -> Result<(), IoError>;
}

/// Removes a file, if it is there.
pub(crate) async fn remove_if_there<S: Storage>(storage: &S, path: &Path) -> Result<(), IoError> {
    match storage.remove(path).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
