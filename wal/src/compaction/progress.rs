//! Up to where a log was compacted, across restarts: the file `cleaner-offset` (Kafka's `cleaner-offset-checkpoint`).
//!
//! It may be behind: then a part of the log is looked at once more. It must never be ahead: before a truncation goes below it,
//! it is lowered.

use std::path::Path;

use protocol::Offset;

use crate::file::{IoError, Storage, remove_if_there};
use crate::log::{ChangeError, LogInner};
use crate::sidecar::{self, Content, Kind};

const FILE: &str = "cleaner-offset";

/// What the file says; the beginning of every log where it says nothing.
pub(crate) async fn read<S: Storage>(storage: &S, dir: &Path) -> Result<Offset, IoError> {
    let content = sidecar::read(storage, dir, FILE, Kind::Cleaner).await?;
    let Content::Payload(payload) = content else { return Ok(Offset::ZERO) };
    Ok(payload.first_chunk().map_or(Offset::ZERO, |bytes| Offset(i64::from_le_bytes(*bytes))))
}

/// Removes the file, for a log that begins anew. The caller syncs the directory.
pub(crate) async fn forget<S: Storage>(storage: &S, dir: &Path) -> Result<(), IoError> {
    remove_if_there(storage, &dir.join(FILE)).await
}

impl<S: Storage> LogInner<S> {
    /// Notes that everything below `first_dirty` was compacted; durable when it returns.
    pub(super) async fn store_progress(&self, first_dirty: Offset) -> Result<(), ChangeError> {
        let storage = &self.shard.storage;
        let stored = async {
            sidecar::write(storage, &self.dir, FILE, Kind::Cleaner, &first_dirty.0.to_le_bytes()).await?;
            storage.sync_dir(&self.dir).await
        };
        stored.await.map_err(|error| self.change_error(error))?;
        self.first_dirty.set(first_dirty);
        Ok(())
    }

    /// The log is about to be cut at `end`.
    pub(crate) async fn lower_progress(&self, end: Offset) -> Result<(), ChangeError> {
        if self.first_dirty.get() > end { self.store_progress(end).await } else { Ok(()) }
    }
}
