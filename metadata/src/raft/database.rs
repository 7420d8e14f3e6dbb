//! Raft's tables in the embedded database, and what they hold when a node starts.
//!
//! Tables: `raft.log` holds entries by index; `raft.state` the vote, the newest entry known to be committed, and the last
//! that was purged; `raft.snapshot` a snapshot in pieces. Every change is one transaction, committed in two phases and synced
//! before it returns.

use super::snapshot::{SnapshotBytes, SnapshotError, State};
use super::stored::{decode_entry, decode_log_id, decode_vote};
use super::{Entry, LogId, Vote};
use crate::checked::CodecError;
use crate::store::DatabaseError;
use crate::store::database::{change, failed};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("raft.log");
const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("raft.state");
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("raft.snapshot");

const VOTE_KEY: &str = "vote";
const COMMITTED_KEY: &str = "committed";
const PURGED_KEY: &str = "purged";

/// Of a snapshot, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What Raft kept cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("metadata {} is damaged at '{key}': {source}", path.display())]
    BadState { path: PathBuf, key: &'static str, source: CodecError },
    #[error("metadata {} is damaged at raft index {index}: {source}", path.display())]
    BadEntry { path: PathBuf, index: u64, source: CodecError },
    #[error("metadata {} is damaged: at raft index {index} is the entry of index {found}", path.display())]
    MisplacedEntry { path: PathBuf, index: u64, found: u64 },
    #[error("metadata {} is damaged: raft index {expected} is missing, the next one there is {found}", path.display())]
    Gap { path: PathBuf, expected: u64, found: u64 },
    #[error("{}: {source}", path.display())]
    BadSnapshot { path: PathBuf, source: SnapshotError },
    #[error("metadata {} is damaged: piece {expected} of its snapshot is missing", path.display())]
    SnapshotGap { path: PathBuf, expected: u64 },
}

/// What a node starts from.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    pub entries: BTreeMap<u64, Entry>,
    pub snapshot: Option<(State, SnapshotBytes)>,
}

/// One change of what is stored.
#[derive(Debug)]
pub(super) enum Write {
    Vote(Vec<u8>),
    Committed(Vec<u8>),
    /// Entries by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// The entry of this index and all behind it go.
    Truncate(u64),
    /// The entry of this index and all before it go; the bytes are its log id's.
    Purge(u64, Vec<u8>),
    Snapshot(SnapshotBytes),
}

/// Makes the tables where they are missing.
pub(crate) fn create_tables(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(LOG)?;
    transaction.open_table(STATE)?;
    transaction.open_table(SNAPSHOT)?;
    Ok(())
}

/// Replaces the snapshot.
pub(crate) fn put_snapshot(transaction: &WriteTransaction, bytes: &[u8]) -> Result<(), redb::Error> {
    let mut pieces = transaction.open_table(SNAPSHOT)?;
    pieces.retain(|_, _| false)?;
    for (at, piece) in (0_u64..).zip(bytes.chunks(PIECE_BYTES)) {
        pieces.insert(at, piece)?;
    }
    Ok(())
}

/// The open tables.
#[derive(Debug)]
pub(crate) struct RaftDatabase {
    database: Database,
    path: PathBuf,
}

impl RaftDatabase {
    /// Makes the tables where they are missing, and loads what is in them.
    pub fn open(database: Database, path: &Path) -> Result<(RaftDatabase, Loaded), LoadError> {
        let opened = RaftDatabase { database, path: path.to_owned() };
        opened.change(create_tables)?;
        let loaded = opened.load()?;
        Ok((opened, loaded))
    }

    /// Makes changes durable, in order, all or none.
    pub fn apply<'a>(&self, writes: impl Iterator<Item = &'a Write>) -> Result<(), DatabaseError> {
        self.change(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            let mut state = transaction.open_table(STATE)?;
            for write in writes {
                match write {
                    Write::Vote(vote) => drop(state.insert(VOTE_KEY, vote.as_slice())?),
                    Write::Committed(log_id) => drop(state.insert(COMMITTED_KEY, log_id.as_slice())?),
                    Write::Append(entries) => {
                        for (index, entry) in entries {
                            log.insert(index, entry.as_slice())?;
                        }
                    }
                    Write::Truncate(from) => log.retain_in(*from.., |_, _| false)?,
                    Write::Purge(up_to, log_id) => {
                        log.retain_in(..=*up_to, |_, _| false)?;
                        state.insert(PURGED_KEY, log_id.as_slice())?;
                    }
                    Write::Snapshot(bytes) => put_snapshot(transaction, bytes)?,
                }
            }
            Ok(())
        })
    }

    fn change(&self, work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), DatabaseError> {
        change(&self.database, &self.path, work)
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        let path = || self.path.clone();
        let transaction = self.database.begin_read().map_err(failed(&self.path))?;
        let state = transaction.open_table(STATE).map_err(failed(&self.path))?;
        let stored = |key: &'static str| -> Result<Option<Vec<u8>>, LoadError> {
            let value = state.get(key).map_err(failed(&self.path))?;
            Ok(value.map(|value| value.value().to_vec()))
        };
        let bad_state = |key| move |source| LoadError::BadState { path: path(), key, source };
        let log_id = |key| stored(key)?.map(|bytes| decode_log_id(&bytes).map_err(bad_state(key))).transpose();
        let vote = stored(VOTE_KEY)?.map(|bytes| decode_vote(&bytes).map_err(bad_state(VOTE_KEY))).transpose()?;
        let (committed, purged) = (log_id(COMMITTED_KEY)?, log_id(PURGED_KEY)?);

        let mut entries = BTreeMap::new();
        let log = transaction.open_table(LOG).map_err(failed(&self.path))?;
        let mut expected = purged.map(|purged| purged.index + 1);
        for entry in log.iter().map_err(failed(&self.path))? {
            let (index, bytes) = entry.map_err(failed(&self.path))?;
            let index = index.value();
            if let Some(expected) = expected
                && expected != index
            {
                return Err(LoadError::Gap { path: path(), expected, found: index });
            }
            let entry =
                decode_entry(bytes.value()).map_err(|source| LoadError::BadEntry { path: path(), index, source })?;
            if entry.log_id.index != index {
                return Err(LoadError::MisplacedEntry { path: path(), index, found: entry.log_id.index });
            }
            expected = Some(index + 1);
            entries.insert(index, entry);
        }

        let mut bytes = Vec::new();
        let pieces = transaction.open_table(SNAPSHOT).map_err(failed(&self.path))?;
        for (piece, expected) in pieces.iter().map_err(failed(&self.path))?.zip(0_u64..) {
            let (at, piece) = piece.map_err(failed(&self.path))?;
            if at.value() != expected {
                return Err(LoadError::SnapshotGap { path: path(), expected });
            }
            bytes.extend_from_slice(piece.value());
        }
        let snapshot = match bytes.is_empty() {
            true => None,
            false => {
                let state = State::decode(&bytes).map_err(|source| LoadError::BadSnapshot { path: path(), source })?;
                Some((state, bytes.into()))
            }
        };
        Ok(Loaded { vote, committed, purged, entries, snapshot })
    }
}
