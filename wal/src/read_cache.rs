//! Chunks of segments that were read from disk, for the readers that follow and for read-ahead.
//!
//! Contract: a chunk is [`CHUNK_BYTES`] at a multiple of that in a segment, wholly written, so its content never changes
//! under its segment's uid. Memory is bounded over all logs of the shard. Of the chunks that somebody had, the one used
//! longest ago goes first; what was read ahead stays until it is used, within [`ReadCache::ahead_max`], or stale. Two readers that
//! want the same chunk share one read.
//!
//! That what was used goes before what was not is what keeps readers of many logs from reading everything twice: used
//! longest ago alone would throw away what was read ahead first, which is what is wanted next.
//!
//! Deliberately absent: the tail, which still grows, and checksums (`reader` checks each frame it hands out).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::file::{IoError, Storage, StorageFile};
use crate::metrics::WalMetrics;
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
        /// Or when it came.
        last_use: u64,
        /// Nobody had it yet, or not all of it.
        is_ahead: bool,
    },
}

/// See the module's contract.
pub(crate) struct ReadCache<S: Storage> {
    chunks_max: usize,
    slots: RefCell<HashMap<ChunkKey, Slot<S>>>,
    uses: Cell<u64>,
    loaded: Notify,
    pub(crate) limit: ReadLimit,
    /// At most [`ReadCache::ahead_max`], like all that is ahead.
    queued: RefCell<VecDeque<QueuedChunk<S>>>,
    ahead_readers: Rc<Cell<usize>>,
    metrics: Arc<WalMetrics>,
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
    pub(crate) fn new(limit_bytes: usize, metrics: Arc<WalMetrics>) -> ReadCache<S> {
        ReadCache {
            chunks_max: (limit_bytes / CHUNK_BYTES).max(1),
            slots: RefCell::default(),
            uses: Cell::new(0),
            loaded: Notify::default(),
            limit: ReadLimit::default(),
            queued: RefCell::default(),
            ahead_readers: Rc::default(),
            metrics,
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
        let buffer = self.load(key, file, ReadKind::Demanded).await?;
        drop((turn, mark));
        Ok(buffer)
    }

    async fn load(&self, key: ChunkKey, file: &Rc<S::File>, kind: ReadKind) -> Result<ReadBuffer<S>, IoError> {
        let began = Instant::now();
        let buffer = file.read_at(key.chunk * CHUNK_BYTES as u64, CHUNK_BYTES).await?;
        self.note_read(kind, buffer.len(), began);
        self.put(key, buffer.clone(), kind);
        Ok(buffer)
    }

    /// A read from disk that began then has ended.
    pub(crate) fn note_read(&self, kind: ReadKind, bytes: usize, began: Instant) {
        self.metrics.read_bytes.add(bytes as u64);
        match kind {
            ReadKind::Demanded => {
                self.metrics.demanded_reads.increment();
                self.metrics.read_time.observe(began.elapsed());
            }
            ReadKind::Ahead => self.metrics.ahead_reads.increment(),
        }
    }

    /// Whether the chunk is in memory or on its way.
    pub(crate) fn has(&self, segment_uid: u64, chunk: u64) -> bool {
        self.slots.borrow().contains_key(&ChunkKey { segment_uid, chunk })
    }

    /// A reader stopped within this chunk and is likely to go on there: it counts as ahead again.
    pub(crate) fn keep(&self, segment_uid: u64, chunk: u64) {
        if let Some(Slot::Ready { is_ahead, .. }) = self.slots.borrow_mut().get_mut(&ChunkKey { segment_uid, chunk }) {
            *is_ahead = true;
        }
    }

    /// Chunks that are ahead of their readers at most, on their way or here. The rest of the memory is for those in use.
    fn ahead_max(&self) -> usize {
        (self.chunks_max * 3 / 4).max(1)
    }

    /// Queues chunks, none of which is here, to be read ahead, the first ones as far as there is room. Gives the readers that
    /// are to run for what is queued.
    pub(crate) fn queue(&self, segment_uid: u64, chunks: &[u64], file: &Rc<S::File>) -> Vec<AheadReader> {
        let room = self.ahead_max().saturating_sub(self.count_ahead());
        let mut queued = self.queued.borrow_mut();
        for &chunk in chunks.iter().take(room) {
            let key = ChunkKey { segment_uid, chunk };
            self.slots.borrow_mut().insert(key, Slot::Queued);
            queued.push_back(QueuedChunk { key, file: file.clone() });
        }
        let wanted = queued.len().min(IN_FLIGHT_MAX - 1);
        let readers = self.ahead_readers.get()..wanted;
        readers.map(|_| AheadReader::new(&self.ahead_readers)).collect()
    }

    /// How many chunks nobody had yet. Those whose reader has not come while the memory's content was used twice over are
    /// forgotten: it went elsewhere, or is too slow to be read ahead for.
    fn count_ahead(&self) -> usize {
        let stale_before = self.uses.get().saturating_sub(2 * self.chunks_max as u64);
        let mut slots = self.slots.borrow_mut();
        let mut ahead = 0;
        slots.retain(|_, slot| match slot {
            Slot::Ready { is_ahead: true, last_use, .. } if *last_use < stale_before => false,
            Slot::Ready { is_ahead, .. } => {
                ahead += usize::from(*is_ahead);
                true
            }
            Slot::Queued | Slot::Loading => {
                ahead += 1;
                true
            }
        });
        ahead
    }

    /// Reads what is queued, as long as there is something.
    pub(crate) async fn read_ahead(&self, _reader: AheadReader) {
        while !self.queued.borrow().is_empty() {
            let _turn = self.limit.turn(ReadKind::Ahead).await;
            let Some(QueuedChunk { key, file }) = self.next_queued() else { return };
            let _mark = LoadingMark { cache: self, key };
            // An error shows again when the chunk is read in earnest.
            let _ = self.load(key, &file, ReadKind::Ahead).await;
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
            Some(Slot::Ready { buffer, last_use, is_ahead }) => {
                self.metrics.chunk_hits.increment();
                self.metrics.chunk_ahead_hits.add((*is_ahead).into());
                (*last_use, *is_ahead) = (self.next_use(), false);
                Some(Some(buffer.clone()))
            }
        }
    }

    fn put(&self, key: ChunkKey, buffer: ReadBuffer<S>, kind: ReadKind) {
        let mut slots = self.slots.borrow_mut();
        slots.insert(key, Slot::Ready { buffer, last_use: self.next_use(), is_ahead: kind == ReadKind::Ahead });
        let goes_by = |(key, slot): (&ChunkKey, &Slot<S>)| match slot {
            Slot::Queued | Slot::Loading => None,
            Slot::Ready { last_use, is_ahead, .. } => Some((*is_ahead, *last_use, *key)),
        };
        // One was added, so one at most is too many.
        if slots.values().filter(|slot| matches!(slot, Slot::Ready { .. })).count() > self.chunks_max
            && let Some((.., first)) = slots.iter().filter_map(goes_by).min()
        {
            slots.remove(&first);
        }
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }
}

#[cfg(test)]
mod tests;
