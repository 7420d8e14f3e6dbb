//! Chunks of segments that were read from disk, for the readers that follow and for read-ahead.
//!
//! Contract: a chunk is [`CHUNK_BYTES`] at a multiple of that in a segment, wholly written, so its content never changes
//! under its segment's uid. Memory is bounded over all logs of the shard; the chunk used longest ago goes first. Two
//! readers that want the same chunk share one read.
//!
//! Deliberately absent: the tail, which still grows, and checksums (`reader` checks each frame it hands out).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::file::{IoError, Storage, StorageFile};
use crate::sync::Notify;

/// Unit of reading: large enough that a disk's bandwidth is reached with a few in flight, small enough that a lookup of
/// one batch does not cost a millisecond.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

pub(crate) type ReadBuffer<S> = <<S as Storage>::File as StorageFile>::ReadBuffer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ChunkKey {
    segment_uid: u64,
    chunk: u64,
}

enum Slot<S: Storage> {
    Loading,
    Ready { buffer: ReadBuffer<S>, last_use: u64 },
}

/// See the module's contract.
pub(crate) struct ReadCache<S: Storage> {
    chunks_max: usize,
    slots: RefCell<HashMap<ChunkKey, Slot<S>>>,
    uses: Cell<u64>,
    loaded: Notify,
}

/// Takes the mark of a read in flight away, whether it succeeded, failed or was dropped.
struct LoadingMark<'a, S: Storage> {
    cache: &'a ReadCache<S>,
    key: ChunkKey,
}

impl<S: Storage> Drop for LoadingMark<'_, S> {
    fn drop(&mut self) {
        let mut slots = self.cache.slots.borrow_mut();
        if matches!(slots.get(&self.key), Some(Slot::Loading)) {
            slots.remove(&self.key);
        }
        drop(slots);
        self.cache.loaded.notify_all();
    }
}

impl<S: Storage> ReadCache<S> {
    pub(crate) fn new(limit_bytes: usize) -> ReadCache<S> {
        ReadCache {
            chunks_max: (limit_bytes / CHUNK_BYTES).max(1),
            slots: RefCell::default(),
            uses: Cell::new(0),
            loaded: Notify::default(),
        }
    }

    /// The chunk that begins at `chunk * CHUNK_BYTES`, from memory or from the file.
    pub(crate) async fn chunk(
        &self,
        segment_uid: u64,
        file: &Rc<S::File>,
        chunk: u64,
    ) -> Result<ReadBuffer<S>, IoError> {
        let key = ChunkKey { segment_uid, chunk };
        let cached = self.loaded.wait_for(|| self.begin(key)).await;
        if let Some(buffer) = cached {
            return Ok(buffer);
        }
        let mark = LoadingMark { cache: self, key };
        let buffer = file.read_at(chunk * CHUNK_BYTES as u64, CHUNK_BYTES).await?;
        self.put(key, buffer.clone());
        drop(mark);
        Ok(buffer)
    }

    /// Whether the chunk is in memory or on its way.
    pub(crate) fn has(&self, segment_uid: u64, chunk: u64) -> bool {
        self.slots.borrow().contains_key(&ChunkKey { segment_uid, chunk })
    }

    /// `None`: another reader is loading it. `Some(None)`: the caller is to load it.
    fn begin(&self, key: ChunkKey) -> Option<Option<ReadBuffer<S>>> {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(&key) {
            None => {
                slots.insert(key, Slot::Loading);
                Some(None)
            }
            Some(Slot::Loading) => None,
            Some(Slot::Ready { buffer, last_use }) => {
                *last_use = self.next_use();
                Some(Some(buffer.clone()))
            }
        }
    }

    fn put(&self, key: ChunkKey, buffer: ReadBuffer<S>) {
        let mut slots = self.slots.borrow_mut();
        slots.insert(key, Slot::Ready { buffer, last_use: self.next_use() });
        while slots.len() > self.chunks_max {
            let oldest = slots
                .iter()
                .filter_map(|(key, slot)| match slot {
                    Slot::Loading => None,
                    Slot::Ready { last_use, .. } => Some((*last_use, *key)),
                })
                .min_by_key(|(last_use, _)| *last_use);
            let Some((_, oldest)) = oldest else { break };
            slots.remove(&oldest);
        }
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }
}
