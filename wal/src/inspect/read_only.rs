//! Plain files, read without O_DIRECT and without a runtime, behind the same seam as the real ones, so that inspection
//! judges frames with the very code that recovery uses. Whatever would change something is refused. What belongs into a
//! file and is still elsewhere can be laid over it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::ops::Range;
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
    overlay: Overlay,
}

impl ReadOnlyFile {
    /// Reads show `overlay` over the file from now on.
    pub(super) fn with_overlay(self, overlay: Overlay) -> ReadOnlyFile {
        ReadOnlyFile { overlay, ..self }
    }

    /// Whether the file itself lacks bytes that reads of this range show.
    pub(super) fn is_overlaid(&self, range: Range<u64>) -> Result<bool, IoError> {
        if !self.overlay.touches(&range) {
            return Ok(false);
        }
        let mut bytes = self.read_file(range.start, (range.end - range.start) as usize)?;
        bytes.resize((range.end - range.start) as usize, 0);
        let mut shown = bytes.clone();
        self.overlay.apply(range.start, &mut shown);
        Ok(shown != bytes)
    }

    fn read_file(&self, position: u64, len: usize) -> Result<Vec<u8>, IoError> {
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
        Ok(bytes)
    }
}

/// Pieces that belong into a file, wherever they lie now.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    /// By position; a later piece at the same position has replaced an earlier one.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub(super) fn add(&mut self, position: u64, bytes: &[u8]) {
        self.pieces.insert(position, bytes.to_vec());
    }

    /// Where the last piece ends.
    fn end(&self) -> u64 {
        self.pieces.last_key_value().map_or(0, |(position, bytes)| position + bytes.len() as u64)
    }

    fn touches(&self, range: &Range<u64>) -> bool {
        self.touching(range).next().is_some()
    }

    /// Pieces of a log never overlap, so only the one before the range can reach into it.
    fn touching(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &[u8])> {
        let before = self.pieces.range(..range.start).next_back();
        let before = before.filter(|(position, bytes)| *position + bytes.len() as u64 > range.start);
        before.into_iter().chain(self.pieces.range(range.clone())).map(|(position, bytes)| (*position, &bytes[..]))
    }

    /// Puts what belongs there over `bytes`, which were read at `start`.
    fn apply(&self, start: u64, bytes: &mut [u8]) {
        for (position, piece) in self.touching(&(start..start + bytes.len() as u64)) {
            let skipped = start.saturating_sub(position) as usize;
            let at = position.saturating_sub(start) as usize;
            let len = (piece.len() - skipped).min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&piece[skipped..skipped + len]);
        }
    }
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
            Ok(file) => Ok(ReadOnlyFile { file, path: path.to_owned(), overlay: Overlay::default() }),
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
        let mut bytes = self.read_file(position, len)?;
        let overlaid = self.overlay.end().saturating_sub(position).min(len as u64) as usize;
        bytes.resize(bytes.len().max(overlaid), 0);
        self.overlay.apply(position, &mut bytes);
        Ok(bytes.into())
    }

    async fn write_at(&self, _buffer: NoBuffer, _position: u64) -> Result<(), IoError> {
        refused(IoOp::Write, &self.path)
    }

    async fn write_zeros(&self, _range: Range<u64>) -> Result<(), IoError> {
        refused(IoOp::Write, &self.path)
    }

    async fn write_durably_at(&self, _buffer: NoBuffer, _position: u64) -> Result<(), IoError> {
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
            Ok(metadata) => Ok(metadata.len().max(self.overlay.end())),
            Err(source) => Err(IoError::new(IoOp::Size, &self.path, source)),
        }
    }

    async fn close(self) -> Result<(), IoError> {
        Ok(())
    }
}
