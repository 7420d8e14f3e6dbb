//! The directory of the shards' journals: found at start, replayed, tied to the data directory, let go after a clean stop.
//!
//! Until a stop in order, acknowledged records may be in a journal and nowhere else, and the journal may be on a disk of
//! its own. So that a start never goes on without it, or with another's, both directories have a [marker](marker::Marker)
//! with the same id as long as a journal may be in use.
//!
//! Order: [`JournalDir::open`] decides; [`JournalDir::replay`] before any log is opened; [`JournalDir::begin`] before the
//! first append; after a clean stop [`JournalDir::end`]. The markers are made in the journal's directory first and removed
//! there last, so that a crash in between leaves a journal's marker of ours without regions, which the next start takes
//! over.
//!
//! Where the disk has no room for the markers, a broker that needs no journal does without one ([`Decision::NoRoom`]): it
//! starts, so that room can be made.
//!
//! Deliberately absent: what is in a journal ([`wal::journal`]).

mod decision;
pub mod marker;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use glommio::{LocalExecutorBuilder, Placement};
use instruments::Counter;
use tokio::sync::oneshot;
use uuid::Uuid;
use wal::file::IoError;
use wal::file::glommio::GlommioStorageError;
use wal::journal::{ReplayError, ReplayReport};

use crate::disk_space::DiskSpace;
use crate::storage;
pub use decision::Refusal;
use decision::{Decision, FREE_BYTES_MIN, Found, decide};
use marker::{Marker, MarkerError, sync_directory};

/// What the directory is called, in the data directory, where it is not put elsewhere.
pub const NAME_DEFAULT: &str = "journal";

/// Why the broker cannot start with this journal directory.
#[derive(Debug, thiserror::Error)]
pub enum JournalDirError {
    #[error("--journal-dir {}: {source}", dir.display())]
    Io { dir: PathBuf, source: io::Error },
    #[error("--journal-dir {} is the data directory itself: give a directory in it, or elsewhere", dir.display())]
    IsDataDir { dir: PathBuf },
    #[error("--journal-dir {} is in use by another process: each broker needs its own", dir.display())]
    InUse { dir: PathBuf },
    #[error(transparent)]
    Marker(#[from] MarkerError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("cannot start a thread to replay the journal: {0}")]
    Thread(io::Error),
    #[error(transparent)]
    Storage(#[from] GlommioStorageError),
    #[error("cannot remove leftovers of deleted topics before the journal is replayed: {0}")]
    Leftovers(IoError),
    #[error("the journal cannot be replayed: {0}")]
    Replay(#[from] ReplayError),
    #[error("the thread that replays the journal ended without a word")]
    ReplayEnded,
}

/// See the module.
#[derive(Debug)]
pub struct JournalDir {
    data_dir: PathBuf,
    dir: PathBuf,
    decision: Decision,
    wanted: bool,
    has_files: bool,
    /// Ends with this value or with the process; `None` where there is no directory.
    _lock: Option<File>,
}

impl JournalDir {
    /// Looks at `journal_dir`, and makes it if it is to be used for the first time. `wanted`: shards are to have journals.
    pub fn open(data_dir: &Path, journal_dir: &Path, wanted: bool) -> Result<JournalDir, JournalDirError> {
        let io_error = |source| JournalDirError::Io { dir: journal_dir.to_owned(), source };
        let data_marker = Marker::read(data_dir)?;
        if wanted && data_marker.is_none() {
            create(journal_dir).map_err(io_error)?;
        }
        let dir = match journal_dir.canonicalize() {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::path::absolute(journal_dir).map_err(io_error)?
            }
            Err(error) => return Err(io_error(error)),
        };
        if dir == data_dir {
            return Err(JournalDirError::IsDataDir { dir });
        }
        let lock = lock(&dir)?;
        let names = names(&dir).map_err(io_error)?;
        let found = Found {
            data_marker,
            journal_marker: Marker::read(&dir)?,
            has_regions: names.iter().any(|name| name.ends_with(wal::journal::REGION_SUFFIX)),
            free_bytes: free_bytes(data_dir).min(free_bytes(&dir)),
        };
        let decision = decide(&found, data_dir, &dir, wanted)?;
        if let Decision::NoRoom { free_bytes } = decision {
            tracing::warn!(
                data_dir = %data_dir.display(), journal_dir = %dir.display(), free_bytes, needed_bytes = FREE_BYTES_MIN,
                "the disk is too full to begin a journal: this broker does without one until it is started with room again"
            );
        }
        let has_files = names.iter().any(|name| wal::journal::is_file_of_journal(name));
        Ok(JournalDir { data_dir: data_dir.to_owned(), dir, decision, wanted, has_files, _lock: lock })
    }

    /// Where the shards' journals are to be; `None` if there are to be none.
    pub fn of_shards(&self) -> Option<&Path> {
        let has_room = !matches!(self.decision, Decision::NoRoom { .. });
        (self.wanted && has_room).then_some(&*self.dir)
    }

    /// Whether [`JournalDir::replay`] has something to do.
    pub fn needs_replay(&self) -> bool {
        self.has_files && matches!(self.decision, Decision::Continue { .. })
    }

    /// Replays what journals hold into the logs, on a thread of its own, and removes them. `steps` rises as it gets on.
    pub async fn replay(&self, steps: Arc<Counter>) -> Result<ReplayReport, JournalDirError> {
        let (done, replayed) = oneshot::channel();
        let (data_dir, journal_dir) = (self.data_dir.clone(), self.dir.clone());
        let thread = LocalExecutorBuilder::new(Placement::Unbound)
            .name("journal-replay")
            .spawn(move || async move {
                // Nobody listens any more if the broker was told to stop meanwhile.
                let _ = done.send(replay(&journal_dir, &data_dir, &steps).await);
            })
            .map_err(|error| JournalDirError::Thread(io::Error::other(error.to_string())))?;
        let report = replayed.await.map_err(|_| JournalDirError::ReplayEnded)?;
        // It has nothing left to do.
        let _ = thread.join();
        report
    }

    /// Ties the two directories together, durably. To be finished before anything is appended to a log.
    pub fn begin(&self) -> Result<(), JournalDirError> {
        let id = match self.decision {
            // What was there was replayed and is gone.
            _ if !self.wanted => return self.end(),
            Decision::Begin => Uuid::new_v4(),
            Decision::Continue { moved: true } => match Marker::read(&self.data_dir)? {
                Some(marker) => marker.id,
                None => Uuid::new_v4(),
            },
            Decision::Continue { moved: false } | Decision::Nothing | Decision::NoRoom { .. } => return Ok(()),
        };
        let marker = Marker { id, data_dir: self.data_dir.clone(), journal_dir: self.dir.clone() };
        match marker.write(&self.dir).and_then(|()| marker.write(&self.data_dir)) {
            // The id is there, and it alone decides.
            Err(error) if error.is_no_space() && self.decision != Decision::Begin => {
                tracing::warn!(%error, "that the journal has moved is not noted, for want of space");
                Ok(())
            }
            written => Ok(written?),
        }
    }

    /// Unties them again: no journal holds anything that is needed.
    pub fn end(&self) -> Result<(), JournalDirError> {
        Marker::remove(&self.data_dir)?;
        match self.decision {
            // Never ours.
            Decision::Nothing | Decision::NoRoom { .. } => Ok(()),
            Decision::Begin | Decision::Continue { .. } => Ok(Marker::remove(&self.dir)?),
        }
    }
}

/// Of the directory's file system; as much as there can be where it does not tell, so that a write finds out.
fn free_bytes(dir: &Path) -> u64 {
    DiskSpace::of(dir).map_or(u64::MAX, |space| space.free_bytes)
}

/// Makes the directory, durably, if it is not there.
fn create(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Keeps other brokers away: markers cannot tell two that run with copies of the same data directory.
fn lock(dir: &Path) -> Result<Option<File>, JournalDirError> {
    let io_error = |source| JournalDirError::Io { dir: dir.to_owned(), source };
    let file = match File::open(dir) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(JournalDirError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Names of the entries; none if there is no such directory.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A name that is not UTF-8 is none of ours.
    entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default())).collect()
}

async fn replay(journal_dir: &Path, data_dir: &Path, steps: &Counter) -> Result<ReplayReport, JournalDirError> {
    let (journal_storage, storage) = (storage::open(journal_dir).await?, storage::open(data_dir).await?);
    // What is being deleted needs no records back.
    wal::remove_deleted(&storage, data_dir).await.map_err(JournalDirError::Leftovers)?;
    Ok(wal::journal::replay(&journal_storage, journal_dir, &storage, data_dir, steps).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_come_and_go_with_the_journal() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().canonicalize().unwrap();
        let journal = data_dir.join("journal");
        let markers = || (Marker::read(&data_dir).unwrap(), Marker::read(&journal).unwrap());
        let open = |journal: &Path, wanted| JournalDir::open(&data_dir, journal, wanted);

        let off = open(&journal, false).unwrap();
        assert_eq!((off.of_shards(), journal.exists()), (None, false));
        let first = open(&journal, true).unwrap();
        assert_eq!(first.of_shards(), Some(&*journal));
        first.begin().unwrap();
        let (of_data, of_journal) = markers();
        assert!(of_data.is_some() && of_data == of_journal, "{of_data:?} {of_journal:?}");
        assert!(matches!(open(&journal, true), Err(JournalDirError::InUse { .. })));
        drop(first);

        assert!(matches!(open(&data_dir.join("other"), true), Err(JournalDirError::Refused(_))));
        assert!(!data_dir.join("other").exists());
        assert!(matches!(open(&data_dir, true), Err(JournalDirError::IsDataDir { .. })));
        fs::write(journal.join("shard-0000-00.journal"), b"").unwrap();
        let again = open(&journal, true).unwrap();
        assert!(again.needs_replay());
        again.begin().unwrap();
        assert_eq!(markers(), (of_data.clone(), of_journal));
        again.end().unwrap();
        assert_eq!(markers(), (None, None));
        drop(again);
        assert!(matches!(open(&journal, true), Err(JournalDirError::Refused(Refusal::Unclaimed { .. }))));
    }

    #[test]
    fn a_journal_that_is_not_wanted_any_more_is_let_go_after_its_replay() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().canonicalize().unwrap();
        let journal = data_dir.join("journal");
        JournalDir::open(&data_dir, &journal, true).unwrap().begin().unwrap();
        let off = JournalDir::open(&data_dir, &journal, false).unwrap();
        assert_eq!(off.of_shards(), None);
        off.begin().unwrap();
        assert_eq!((Marker::read(&data_dir).unwrap(), Marker::read(&journal).unwrap()), (None, None));
    }

    #[test]
    fn a_journal_that_moved_is_known_by_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().canonicalize().unwrap();
        JournalDir::open(&data_dir, &data_dir.join("a"), true).unwrap().begin().unwrap();
        let id = Marker::read(&data_dir).unwrap().unwrap().id;
        fs::rename(data_dir.join("a"), data_dir.join("b")).unwrap();
        JournalDir::open(&data_dir, &data_dir.join("b"), true).unwrap().begin().unwrap();
        let expected = Marker { id, data_dir: data_dir.clone(), journal_dir: data_dir.join("b") };
        assert_eq!(Marker::read(&data_dir).unwrap(), Some(expected.clone()));
        assert_eq!(Marker::read(&data_dir.join("b")).unwrap(), Some(expected));
    }
}
