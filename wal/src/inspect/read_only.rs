//! Plain files, read without O_DIRECT and without a runtime, behind the same seam as the real ones, so that inspection
//! judges frames with the very code that recovery uses. Whatever would change something is refused.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::file::{Access, FlushScope, IoError, IoOp, Storage, StorageFile, WriteBuffer};

/// Runs work on a [`ReadOnlyStorage`], whose operations end at their first poll.
pub(super) fn run<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("plain reads do not wait"),
    }
}

#[derive(Clone)]
pub(super) struct ReadOnlyStorage;

pub(super) struct ReadOnlyFile {
    file: File,
    path: PathBuf,
}

/// Never written.
pub(super) struct NoBuffer(Vec<u8>);

impl AsRef<[u8]> for NoBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for NoBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl WriteBuffer for NoBuffer {
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

fn refused<T>(op: IoOp, path: &Path) -> Result<T, IoError> {
    Err(IoError::new(op, path, io::ErrorKind::ReadOnlyFilesystem.into()))
}

impl Storage for ReadOnlyStorage {
    type File = ReadOnlyFile;
    type WriteBuffer = NoBuffer;

    fn allocate_buffer(&self, len: usize) -> NoBuffer {
        NoBuffer(vec![0; len])
    }

    fn flush_scope(&self) -> FlushScope {
        FlushScope::File
    }

    async fn open(&self, path: &Path, _access: Access) -> Result<ReadOnlyFile, IoError> {
        match File::open(path) {
            Ok(file) => Ok(ReadOnlyFile { file, path: path.to_owned() }),
            Err(source) => Err(IoError::new(IoOp::Open, path, source)),
        }
    }

    async fn create(&self, path: &Path) -> Result<ReadOnlyFile, IoError> {
        refused(IoOp::Create, path)
    }

    async fn rename(&self, from: &Path, _to: &Path) -> Result<(), IoError> {
        refused(IoOp::Rename, from)
    }

    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        refused(IoOp::Remove, path)
    }

    async fn create_dir(&self, path: &Path) -> Result<(), IoError> {
        refused(IoOp::CreateDir, path)
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        refused(IoOp::RemoveDir, path)
    }

    async fn list_dir(&self, path: &Path) -> Result<Vec<String>, IoError> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|source| IoError::new(IoOp::ListDir, path, source))
    }

    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        refused(IoOp::SyncDir, path)
    }
}

impl StorageFile for ReadOnlyFile {
    type WriteBuffer = NoBuffer;
    type ReadBuffer = Bytes;

    async fn read_at(&self, position: u64, len: usize) -> Result<Bytes, IoError> {
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            match self.file.read_at(&mut bytes[read..], position + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(IoError::new(IoOp::Read, &self.path, source)),
            }
        }
        bytes.truncate(read);
        Ok(bytes.into())
    }

    async fn write_at(&self, _buffer: NoBuffer, _position: u64) -> Result<(), IoError> {
        refused(IoOp::Write, &self.path)
    }

    async fn sync_data(&self) -> Result<(), IoError> {
        refused(IoOp::Sync, &self.path)
    }

    async fn allocate(&self, _len: u64) -> Result<(), IoError> {
        refused(IoOp::Allocate, &self.path)
    }

    async fn shrink(&self, _len: u64) -> Result<(), IoError> {
        refused(IoOp::Shrink, &self.path)
    }

    async fn size(&self) -> Result<u64, IoError> {
        match self.file.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(IoError::new(IoOp::Size, &self.path, source)),
        }
    }

    async fn close(self) -> Result<(), IoError> {
        Ok(())
    }
}
