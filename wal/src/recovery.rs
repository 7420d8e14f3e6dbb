//! Opening a log: what is on disk becomes a log again, or is refused with its place.
//!
//! What is read: the checkpoint; the header block of each segment; the index of each sealed segment, which was written
//! and synced before its successor existed and is trusted (a sealed segment is scanned only if its index is missing or
//! damaged); and all of the last segment, every frame with both checksums, unless the log was closed in order. So
//! recovery reads at most one segment per log, and `segment.bytes` bounds its time. Damage inside sealed segments shows
//! when they are read (every frame's checksum is checked on the way to a consumer) or by `ringlog wal verify`.
//!
//! What is written, in this order: the last segment is synced, so that what was found is what stays; then the checkpoint
//! with a new incarnation and the end as settled, from which moment on nothing behind the end is data. A refused log is
//! left as it is.
//!
//! The decisions are in [`decision`]; this module executes them.

use std::path::PathBuf;

use protocol::Offset;

use crate::file::IoError;
use crate::log::LogIdentity;
use crate::segment::HeaderDamage;

pub mod decision;
mod open;
mod scan;
mod scanner;

pub use decision::{CutRule, Refusal};
pub(crate) use open::open;
pub(crate) use scan::{ScanTask, rebuild_state, scan_segment, scan_up_to};
pub use scanner::{BatchDamage, Damage};
pub(crate) use scanner::{IncarnationRule, ScanPlace, ScannedFrame, Scanner};

/// A frame that was promised to be there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at byte {position}: expected a frame that begins at offset {offset}, found {found} ({}). \
     Restore the partition from a replica or a backup; `ringlog wal verify` shows what is left",
    path.display(), explain(refusal, synced)
)]
pub struct Corruption {
    pub path: PathBuf,
    /// Bytes from the begin of the file.
    pub position: u64,
    /// Offset that the frame should begin with.
    pub offset: Offset,
    pub found: Damage,
    pub refusal: Refusal,
    /// Everything below this offset is known to have been synced.
    pub synced: Offset,
    /// Valid frames behind the damage, as far as was looked.
    pub valid_frames_beyond: usize,
}

fn explain(refusal: &Refusal, synced: &Offset) -> String {
    match refusal {
        Refusal::SealedDamaged => "the segment was synced to its end before the next one began".to_owned(),
        Refusal::SyncedDamaged => format!("everything below offset {synced} was synced, so this is no torn tail"),
        Refusal::Impossible => "its checksum fits, so no torn write explains it".to_owned(),
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
    #[error("{}: {found}. Restore the partition from a replica or a backup", path.display())]
    Header { path: PathBuf, found: HeaderDamage },
    #[error(
        "{} belongs to topic {} partition {}, expected topic {} partition {}",
        path.display(), found.topic_id, found.partition, expected.topic_id, expected.partition
    )]
    Identity { path: PathBuf, expected: LogIdentity, found: LogIdentity },
    #[error("{} begins at offset {found}, its name says {expected}", path.display())]
    BaseOffset { path: PathBuf, expected: Offset, found: Offset },
    #[error("neither slot of {} is readable: log start offset and incarnation are unknown", path.display())]
    CheckpointDamaged { path: PathBuf },
    #[error("{} has segments but no checkpoint: log start offset and incarnation are unknown", dir.display())]
    CheckpointMissing { dir: PathBuf },
    #[error("{} lacks the segment with offset {offset}; the next one there is {}", dir.display(), display(found))]
    SegmentMissing { dir: PathBuf, offset: Offset, found: Option<Offset> },
}

fn display(offset: &Option<Offset>) -> String {
    offset.map_or("none".to_owned(), |offset| offset.to_string())
}

/// A tail that was never promised and is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    pub path: PathBuf,
    /// Bytes from the begin of the file: here the log ends now.
    pub position: u64,
    /// The log end offset.
    pub offset: Offset,
    pub found: Damage,
    pub rule: CutRule,
    /// Valid frames behind the cut that went with it.
    pub valid_frames_beyond: usize,
}

/// What an open found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The log did not exist.
    pub created: bool,
    /// It was closed in order: nothing was scanned.
    pub clean: bool,
    pub segments: usize,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Frames and bytes that were read and checked.
    pub scanned_frames: u64,
    pub scanned_bytes: u64,
    /// Indexes of sealed segments that were missing or damaged and were built anew.
    pub rebuilt_indexes: usize,
    pub cut: Option<TailCut>,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> OpenError {
        match error {
            ScanError::Io(error) => OpenError::Io(error),
            ScanError::Corrupt(corruption) => OpenError::Corrupt(corruption),
        }
    }
}
