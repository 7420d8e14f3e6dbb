//! O_DIRECT files on io_uring, through glommio.
//!
//! The only file of this crate that names glommio. To be used on the executor that it was created on.
//!
//! Three properties of glommio 0.9 shape it: the first file of a device that is opened must be readable and not empty
//! (it is probed for IOPOLL, and a failed probe marks the whole device), so a probe file comes first; an open panics if
//! the path disappears meanwhile, so callers never rename or remove during one; and `Directory::sync` is an fdatasync,
//! which need not cover a directory's entries, so directories are synced with fsync on the blocking thread.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions, ReadResult};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::{Access, BLOCK_BYTES, FlushScope, IoError, IoOp, Storage, StorageFile, WriteBuffer, mount};

/// Name of the file in the data directory that glommio probes the device with.
const PROBE_FILE: &str = ".io-probe";
/// The largest single write of zeros.
const ZEROS_BYTES: usize = 512 << 10;

/// O_DIRECT files below one directory. Cheap to clone.
#[derive(Clone)]
pub struct GlommioStorage {
    inner: Rc<Inner>,
}

struct Inner {
    /// Kept open to allocate buffers from.
    probe: DmaFile,
    flush_scope: FlushScope,
    /// What zeros are written from, of [`ZEROS_BYTES`].
    zeros: OnceCell<Rc<DmaBuffer>>,
}

/// What the file system under the data directory offers.
#[derive(Debug, thiserror::Error)]
pub enum GlommioStorageError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(
        "{} needs O_DIRECT accesses aligned to {alignment} bytes, at most {BLOCK_BYTES} are supported: \
         put the data directory on another device",
        path.display()
    )]
    Alignment { path: PathBuf, alignment: u64 },
}

impl GlommioStorage {
    /// Prepares the use of files below `root`, an existing directory. Must run on a glommio executor.
    pub async fn new(root: &Path) -> Result<GlommioStorage, GlommioStorageError> {
        let path = root.join(PROBE_FILE);
        create_probe(&path).map_err(|source| IoError::new(IoOp::Create, &path, source))?;
        let st_dev = fs::metadata(root).map_err(|source| IoError::new(IoOp::Open, root, source))?.dev();
        let probe = DmaFile::open(&path).await.map_err(|error| IoError::new(IoOp::Open, &path, io_error(error)))?;
        if probe.alignment() > BLOCK_BYTES as u64 {
            return Err(GlommioStorageError::Alignment { path: root.to_owned(), alignment: probe.alignment() });
        }
        let flush_scope = match fs::read_to_string("/proc/self/mountinfo") {
            Ok(mountinfo) => mount::flush_scope(&mountinfo, st_dev),
            Err(_) => FlushScope::File,
        };
        Ok(GlommioStorage { inner: Rc::new(Inner { probe, flush_scope, zeros: OnceCell::new() }) })
    }
}

impl GlommioStorage {
    /// A directory linked or mounted from elsewhere would be left out of the flush that covers the data directory's
    /// device, and acknowledged all the same.
    fn on_this_device(&self, file: DmaFile, op: IoOp, path: &Path) -> Result<GlommioFile, IoError> {
        let probe = &self.inner.probe;
        if (file.dev_major(), file.dev_minor()) == (probe.dev_major(), probe.dev_minor()) {
            return Ok(GlommioFile { file, path: path.to_owned(), storage: self.inner.clone() });
        }
        let found = format!(
            "it lies on device {}:{}, the data directory on {}:{}; logs must share the data directory's device",
            file.dev_major(),
            file.dev_minor(),
            probe.dev_major(),
            probe.dev_minor()
        );
        Err(IoError::new(op, path, io::Error::new(io::ErrorKind::CrossesDevices, found)))
    }
}

/// Several shards may come here at once: none may see the file missing or empty, so it appears by a rename.
fn create_probe(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == BLOCK_BYTES as u64) {
        return Ok(());
    }
    let staged = path.with_extension(format!("{:?}", std::thread::current().id()));
    fs::write(&staged, [0u8; BLOCK_BYTES])?;
    fs::rename(&staged, path)
}

/// Keeps the error number, which decides what an error means.
fn io_error(error: GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => error.into(),
    }
}

async fn blocking<T: Send + 'static>(
    op: IoOp,
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, IoError> {
    let owned = path.to_owned();
    let result = ::glommio::executor().spawn_blocking(move || work(&owned)).await;
    result.map_err(|source| IoError::new(op, path, source))
}

impl WriteBuffer for DmaBuffer {
    fn truncate(&mut self, len: usize) {
        self.trim_to_size(len);
    }
}

impl Storage for GlommioStorage {
    type File = GlommioFile;
    type WriteBuffer = DmaBuffer;

    fn allocate_buffer(&self, len: usize) -> DmaBuffer {
        assert!(len > 0 && len.is_multiple_of(BLOCK_BYTES), "{len} bytes are not whole blocks");
        self.inner.probe.alloc_dma_buffer(len)
    }

    fn flush_scope(&self) -> FlushScope {
        self.inner.flush_scope
    }

    async fn open(&self, path: &Path, access: Access) -> Result<GlommioFile, IoError> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        match options.dma_open(path).await {
            Ok(file) => self.on_this_device(file, IoOp::Open, path),
            Err(error) => Err(IoError::new(IoOp::Open, path, io_error(error))),
        }
    }

    async fn create(&self, path: &Path) -> Result<GlommioFile, IoError> {
        match OpenOptions::new().read(true).write(true).create(true).truncate(true).dma_open(path).await {
            Ok(file) => self.on_this_device(file, IoOp::Create, path),
            Err(error) => Err(IoError::new(IoOp::Create, path, io_error(error))),
        }
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let to = to.to_owned();
        blocking(IoOp::Rename, from, move |from| fs::rename(from, to)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        blocking(IoOp::Remove, path, |path| fs::remove_file(path)).await
    }

    async fn create_dir(&self, path: &Path) -> Result<(), IoError> {
        blocking(IoOp::CreateDir, path, |path| match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        })
        .await
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        blocking(IoOp::RemoveDir, path, |path| fs::remove_dir(path)).await
    }

    async fn list_dir(&self, path: &Path) -> Result<Vec<String>, IoError> {
        blocking(IoOp::ListDir, path, |path| {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                // A name that is not UTF-8 is none of ours.
                names.extend(entry?.file_name().into_string());
            }
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        // Not being able to open it is no failed sync.
        let dir = blocking(IoOp::Open, path, |path| fs::File::open(path)).await?;
        blocking(IoOp::SyncDir, path, move |_| dir.sync_all()).await
    }
}

/// An open O_DIRECT file.
pub struct GlommioFile {
    file: DmaFile,
    /// As it was when opened; for messages only.
    path: PathBuf,
    storage: Rc<Inner>,
}

impl GlommioFile {
    fn error(&self, op: IoOp, error: GlommioError<()>) -> IoError {
        IoError::new(op, &self.path, io_error(error))
    }
}

impl StorageFile for GlommioFile {
    type WriteBuffer = DmaBuffer;
    type ReadBuffer = ReadResult;

    async fn read_at(&self, position: u64, len: usize) -> Result<ReadResult, IoError> {
        self.file.read_at_aligned(position, len).await.map_err(|error| self.error(IoOp::Read, error))
    }

    async fn write_at(&self, buffer: DmaBuffer, position: u64) -> Result<(), IoError> {
        self.write_shared(Rc::new(buffer), position).await
    }

    async fn write_zeros(&self, range: Range<u64>) -> Result<(), IoError> {
        let mut position = range.start;
        while position < range.end {
            let len = (range.end - position).min(ZEROS_BYTES as u64);
            let zeros = if len == ZEROS_BYTES as u64 {
                self.storage.zeros.get_or_init(|| self.zeros(ZEROS_BYTES)).clone()
            } else {
                self.zeros(len as usize)
            };
            self.write_shared(zeros, position).await?;
            position += len;
        }
        Ok(())
    }

    async fn write_durably_at(&self, buffer: DmaBuffer, position: u64) -> Result<(), IoError> {
        let written = loop {
            let slices = [io::IoSlice::new(buffer.as_bytes())];
            match pwritev2(self.descriptor(), &slices, position, ReadWriteFlags::DSYNC) {
                Ok(written) => break written,
                Err(Errno::INTR) => {}
                // It says which of both failed no more than that: neither can be relied on.
                Err(errno) => return Err(IoError::new(IoOp::Sync, &self.path, errno.into())),
            }
        };
        if written == buffer.len() {
            return Ok(());
        }
        // Rare: a signal, or space running out. What was written is written once more.
        self.write_at(buffer, position).await?;
        self.sync_data().await
    }

    async fn sync_data(&self) -> Result<(), IoError> {
        self.file.fdatasync().await.map_err(|error| self.error(IoOp::Sync, error))
    }

    async fn allocate(&self, len: u64) -> Result<(), IoError> {
        self.file.pre_allocate(len, false).await.map_err(|error| self.error(IoOp::Allocate, error))
    }

    async fn shrink(&self, len: u64) -> Result<(), IoError> {
        self.file.truncate(len).await.map_err(|error| self.error(IoOp::Shrink, error))
    }

    async fn size(&self) -> Result<u64, IoError> {
        // glommio asks by the path of the open, which a rename since has made wrong; this asks by the descriptor.
        match rustix::fs::fstat(self.descriptor()) {
            Ok(status) => Ok(u64::try_from(status.st_size).unwrap_or(0)),
            Err(source) => Err(IoError::new(IoOp::Size, &self.path, source.into())),
        }
    }

    async fn close(self) -> Result<(), IoError> {
        let path = self.path;
        self.file.close().await.map_err(|error| IoError::new(IoOp::Close, &path, io_error(error)))
    }
}

impl GlommioFile {
    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the file owns the descriptor and closes it only when it is closed or dropped, which the borrow rules out.
        unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) }
    }

    fn zeros(&self, len: usize) -> Rc<DmaBuffer> {
        let mut zeros = self.file.alloc_dma_buffer(len);
        zeros.as_bytes_mut().fill(0);
        Rc::new(zeros)
    }

    async fn write_shared(&self, buffer: Rc<DmaBuffer>, position: u64) -> Result<(), IoError> {
        let mut written = self.write_once(buffer.clone(), position).await?;
        // A short write is rare (a signal, or space running out); its rest is written from a copy, so that a second
        // failure shows as an error.
        while written < buffer.len() {
            if written == 0 || !written.is_multiple_of(BLOCK_BYTES) {
                return Err(IoError::new(IoOp::Write, &self.path, io::ErrorKind::WriteZero.into()));
            }
            let mut rest = self.file.alloc_dma_buffer(buffer.len() - written);
            rest.as_bytes_mut().copy_from_slice(&buffer.as_bytes()[written..]);
            match self.write_once(Rc::new(rest), position + written as u64).await? {
                0 => return Err(IoError::new(IoOp::Write, &self.path, io::ErrorKind::WriteZero.into())),
                more => written += more,
            }
        }
        Ok(())
    }

    async fn write_once(&self, buffer: Rc<DmaBuffer>, position: u64) -> Result<usize, IoError> {
        self.file.write_rc_at(buffer, position).await.map_err(|error| self.error(IoOp::Write, error))
    }
}
