//! Raft's log and vote: in memory to be read, on disk before they are acknowledged.
//!
//! The log since the last snapshot is small (its length is bounded by when snapshots are made), so all of it is in memory,
//! and reading it for members that lag never waits for the disk.

use super::database::{Loaded, Write};
use super::stored::{encode_entry, encode_log_id, encode_vote};
use super::writer::{Done, Writer};
use super::{Entry, LogId, MetadataRaft, StorageError, Vote, WriterFailed};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, EntryPayload, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard};

/// Records in the entries of one message to a member, as long as it is more than one entry.
const MESSAGE_RECORDS_MAX: usize = 10_000;

/// See the module's documentation. Clones are of one log.
#[derive(Clone)]
pub struct LogStore {
    cached: Arc<Mutex<Cached>>,
    writer: Writer,
}

/// What is on disk, or on its way there.
struct Cached {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, Entry>,
}

impl LogStore {
    pub(super) fn new(loaded: Loaded, writer: Writer) -> LogStore {
        let Loaded { vote, committed, purged, entries, snapshot: _ } = loaded;
        LogStore { cached: Arc::new(Mutex::new(Cached { vote, committed, purged, entries })), writer }
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().expect("nobody panics with the lock")
    }

    async fn write(&self, write: Write, subject: ErrorSubject<u64>, verb: ErrorVerb) -> Result<(), StorageError> {
        self.writer.write(write).await.map_err(|error| storage_error(subject, verb, &error))
    }
}

pub(super) fn storage_error(subject: ErrorSubject<u64>, verb: ErrorVerb, error: &WriterFailed) -> StorageError {
    StorageIOError::new(subject, verb, AnyError::new(error)).into()
}

impl RaftLogReader<MetadataRaft> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.cached().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let mut records = 0;
        let cached = self.cached();
        let taken = cached.entries.range(start..end).take_while(|(index, entry)| {
            records += match &entry.payload {
                EntryPayload::Normal(command) => command.records.len(),
                EntryPayload::Blank | EntryPayload::Membership(_) => 1,
            };
            **index == start || records <= MESSAGE_RECORDS_MAX
        });
        Ok(taken.map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<MetadataRaft> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<MetadataRaft>, StorageError> {
        let cached = self.cached();
        let last = cached.entries.last_key_value().map(|(_, entry)| entry.log_id);
        Ok(LogState { last_purged_log_id: cached.purged, last_log_id: last.or(cached.purged) })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.write(Write::Vote(encode_vote(vote)), ErrorSubject::Vote, ErrorVerb::Write).await?;
        self.cached().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.cached().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        if let Some(log_id) = committed {
            self.writer.send(Write::Committed(encode_log_id(log_id)), Done::Nobody);
        }
        self.cached().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.cached().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<MetadataRaft>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        {
            let mut cached = self.cached();
            for entry in entries {
                encoded.push((entry.log_id.index, encode_entry(&entry)));
                cached.entries.insert(entry.log_id.index, entry);
            }
        }
        self.writer.send(Write::Append(encoded), Done::Flushed(callback));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.cached().entries.split_off(&log_id.index);
        self.write(Write::Truncate(log_id.index), ErrorSubject::Log(log_id), ErrorVerb::Delete).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut cached = self.cached();
            cached.entries = cached.entries.split_off(&(log_id.index + 1));
            cached.purged = Some(log_id);
        }
        let write = Write::Purge(log_id.index, encode_log_id(log_id));
        self.write(write, ErrorSubject::Log(log_id), ErrorVerb::Delete).await
    }
}
