//! Chunks of segments that were read from disk, for the readers that follow and for read-ahead.
//!
//! Contract: a chunk is [`CHUNK_BYTES`] at a multiple of that in a segment, wholly written, so its content never changes
//! under its segment's uid. Memory is bounded over all logs of the shard; the chunk used longest ago goes first. Two
//! readers that want the same chunk share one read.
//!
//! Deliberately absent: the tail, which still grows, and checksums (`reader` checks each frame it hands out).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::file::{IoError, Storage, StorageFile};
use crate::read_limit::{IN_FLIGHT_MAX, ReadKind, ReadLimit};
use crate::sync::Notify;

/// Unit of reading: large enough that a disk's bandwidth is reached with a few in flight, small enough that a lookup of
/// one batch does not cost a millisecond.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

pub(crate) type ReadBuffer<S> = <<S as Storage>::File as StorageFile>::ReadBuffer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ChunkKey {
    segment_uid: u64,
    chunk: u64,
}

enum Slot<S: Storage> {
    /// To be read ahead when it is its turn, unless somebody wants it before.
    Queued,
    Loading,
    Ready {
        buffer: ReadBuffer<S>,
        last_use: u64,
    },
}

/// See the module's contract.
pub(crate) struct ReadCache<S: Storage> {
    chunks_max: usize,
    slots: RefCell<HashMap<ChunkKey, Slot<S>>>,
    uses: Cell<u64>,
    loaded: Notify,
    pub(crate) limit: ReadLimit,
    /// Half of the memory's worth at most.
    queued: RefCell<VecDeque<QueuedChunk<S>>>,
    ahead_readers: Rc<Cell<usize>>,
}

/// Takes the mark of a read in flight away, whether it succeeded, failed or was dropped.
struct LoadingMark<'a, S: Storage> {
    cache: &'a ReadCache<S>,
    key: ChunkKey,
}

impl<S: Storage> Drop for LoadingMark<'_, S> {
    fn drop(&mut self) {
        self.cache.remove_if(self.key, |slot| matches!(slot, Slot::Loading));
        self.cache.loaded.notify_all();
    }
}

/// A chunk that is to be read ahead.
struct QueuedChunk<S: Storage> {
    key: ChunkKey,
    file: Rc<S::File>,
}

/// One of those who read ahead what is queued: to be handed to [`ReadCache::read_ahead`].
pub(crate) struct AheadReader(Rc<Cell<usize>>);

impl AheadReader {
    fn new(readers: &Rc<Cell<usize>>) -> AheadReader {
        readers.set(readers.get() + 1);
        AheadReader(readers.clone())
    }
}

impl Drop for AheadReader {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl<S: Storage> ReadCache<S> {
    pub(crate) fn new(limit_bytes: usize) -> ReadCache<S> {
        ReadCache {
            chunks_max: (limit_bytes / CHUNK_BYTES).max(1),
            slots: RefCell::default(),
            uses: Cell::new(0),
            loaded: Notify::default(),
            limit: ReadLimit::default(),
            queued: RefCell::default(),
            ahead_readers: Rc::default(),
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
        let turn = self.limit.turn(ReadKind::Demanded).await;
        let buffer = self.load(key, file).await?;
        drop((turn, mark));
        Ok(buffer)
    }

    async fn load(&self, key: ChunkKey, file: &Rc<S::File>) -> Result<ReadBuffer<S>, IoError> {
        let buffer = file.read_at(key.chunk * CHUNK_BYTES as u64, CHUNK_BYTES).await?;
        self.put(key, buffer.clone());
        Ok(buffer)
    }

    /// Whether the chunk is in memory or on its way.
    pub(crate) fn has(&self, segment_uid: u64, chunk: u64) -> bool {
        self.slots.borrow().contains_key(&ChunkKey { segment_uid, chunk })
    }

    /// Queues chunks, none of which is here, to be read ahead. Gives the readers that are to run for it. Where more is queued
    /// than may be, what was queued first is given up: whoever needs it reads it.
    pub(crate) fn queue(&self, segment_uid: u64, chunks: &[u64], file: &Rc<S::File>) -> Vec<AheadReader> {
        let mut queued = self.queued.borrow_mut();
        for &chunk in chunks {
            let key = ChunkKey { segment_uid, chunk };
            self.slots.borrow_mut().insert(key, Slot::Queued);
            queued.push_back(QueuedChunk { key, file: file.clone() });
        }
        while queued.len() > (self.chunks_max / 2).max(1)
            && let Some(QueuedChunk { key, .. }) = queued.pop_front()
        {
            self.remove_if(key, |slot| matches!(slot, Slot::Queued));
        }
        let wanted = queued.len().min(IN_FLIGHT_MAX - 1);
        let readers = self.ahead_readers.get()..wanted;
        readers.map(|_| AheadReader::new(&self.ahead_readers)).collect()
    }

    /// Reads what is queued, as long as there is something.
    pub(crate) async fn read_ahead(&self, _reader: AheadReader) {
        while !self.queued.borrow().is_empty() {
            let _turn = self.limit.turn(ReadKind::Ahead).await;
            let Some(QueuedChunk { key, file }) = self.next_queued() else { return };
            let _mark = LoadingMark { cache: self, key };
            // An error shows again when the chunk is read in earnest.
            let _ = self.load(key, &file).await;
        }
    }

    /// Takes the next chunk that nobody wanted meanwhile, and marks it as being read.
    fn next_queued(&self) -> Option<QueuedChunk<S>> {
        let mut queued = self.queued.borrow_mut();
        while let Some(next) = queued.pop_front() {
            match self.slots.borrow_mut().get_mut(&next.key) {
                Some(slot @ Slot::Queued) => *slot = Slot::Loading,
                Some(Slot::Loading | Slot::Ready { .. }) | None => continue,
            }
            return Some(next);
        }
        None
    }

    fn remove_if(&self, key: ChunkKey, condition: impl Fn(&Slot<S>) -> bool) {
        let mut slots = self.slots.borrow_mut();
        if slots.get(&key).is_some_and(condition) {
            slots.remove(&key);
        }
    }

    /// `None`: another reader is loading it. `Some(None)`: the caller is to load it.
    fn begin(&self, key: ChunkKey) -> Option<Option<ReadBuffer<S>>> {
        let mut slots = self.slots.borrow_mut();
        match slots.get_mut(&key) {
            None | Some(Slot::Queued) => {
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
        let ready = |(key, slot): (&ChunkKey, &Slot<S>)| match slot {
            Slot::Queued | Slot::Loading => None,
            Slot::Ready { last_use, .. } => Some((*last_use, *key)),
        };
        // One was added, so one at most is too many.
        if slots.iter().filter_map(ready).count() > self.chunks_max
            && let Some((_, oldest)) = slots.iter().filter_map(ready).min()
        {
            slots.remove(&oldest);
        }
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }
}

#[cfg(test)]
mod tests;
