//! One partition's log: append, durable end, read, and what operators and leaders ask of it.
//!
//! Contract:
//! - [`Log::append`] is synchronous and never waits: it takes space that was reserved before, so that running out of
//!   space is noticed before a batch is accepted. What it accepted will be written and synced by the next commit, or
//!   nothing is ever acknowledged again.
//! - `log start <= durable end <= log end`. Offsets are dense until compaction takes records out
//!   ([`crate::compaction`]). The durable end advances only by a completed
//!   flush ([`crate::group_commit::FlushProof`]), in every build.
//! - Work that changes files runs as a job of the shard's loops: dropping a caller's future stops no write.
//!
//! Deliberately absent: high watermark, ISR, who may write (`replication`, `broker`), sequence checks before an append
//! ([`ProducerStateTable::check`], by the caller).

use std::cell::{Cell, RefCell, RefMut};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::lock::Mutex;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::file::{IoError, Storage};
use crate::frame::{Incarnation, frame_bytes};
use crate::jobs::LogClosed;
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::names::NameLock;
use crate::producer_state::ProducerStateTable;
use crate::reader::ReadError;
use crate::recovery::{OpenError, RecoveryReport};
use crate::retention::{RetentionError, RetentionReport};
use crate::shard::{FatalIo, ShardInner, ShardWal};
use crate::sync::Notify;
use crate::tail_cache::TailSlot;

mod append;
mod commit;
mod maintenance;
mod restart;
mod state;
mod truncation;

pub use append::{AppendError, Appended};
pub use maintenance::{AdvanceStartError, CloseError, DeleteError, remove_deleted};
pub(crate) use maintenance::{ChangeError, DELETED_SUFFIX, create_segment, read_tail};
pub use restart::RestartError;
pub(crate) use state::{ActiveSegment, LogState, Shortage, ZEROING_NONE, is_old};
pub use truncation::TruncateError;
pub(crate) use truncation::copy_prefix;

/// Whose log it is. Seeds every checksum, so that bytes of another partition never pass for this one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogIdentity {
    pub topic_id: TopicId,
    pub partition: PartitionId,
}

/// When a batch may be acknowledged (topic config `ringlog.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// After a sync that covers it.
    #[default]
    Sync,
    /// At once. It is written and synced with the next commit all the same, but a power cut before that loses it.
    Async,
}

/// A topic's settings that its logs follow; all can change at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Size at which the active segment is rolled (`segment.bytes`).
    pub segment_bytes: u64,
    /// Age of its oldest batch at which the active segment is rolled, in milliseconds (`segment.ms`).
    pub segment_ms: i64,
    /// Size that retention cuts the log down to; -1: no limit (`retention.bytes`).
    pub retention_bytes: i64,
    /// Age beyond which segments are deleted, in milliseconds; -1: no limit (`retention.ms`).
    pub retention_ms: i64,
    /// `cleanup.policy` includes `delete`. Without it only what lies below the log start offset is deleted.
    pub delete_policy: bool,
    /// Distance of index entries (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    pub durability: Durability,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            retention_bytes: -1,
            retention_ms: 7 * 24 * 3600 * 1000,
            delete_policy: true,
            index_interval_bytes: 4096,
            durability: Durability::Sync,
        }
    }
}

/// Why no space could be reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// Produces are to be refused; reads go on. A later call succeeds when there is space again.
    #[error("no space left: {0}")]
    NoSpace(#[source] IoError),
    /// The log goes on, but could not be extended (too many open files, for example).
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}

/// Whole batches, exactly as they lie in the log.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReadBatches {
    /// The batches' bytes one behind the other, cut anywhere.
    pub pieces: Vec<Bytes>,
    pub bytes: usize,
    /// Records of all batches, as their headers have it.
    pub records: u64,
    /// Where to read on: after the last batch, or where the read began if there is none.
    pub next_offset: Offset,
    /// Compaction has dropped what lay before one of the batches, here or at the leader: they do not follow one another.
    pub has_gaps: bool,
    /// The size of the first batch, where nothing was read because it is larger than allowed; else 0.
    pub too_large_bytes: usize,
}

impl ReadBatches {
    /// All batches in one piece.
    #[must_use]
    pub fn contiguous(&self) -> Bytes {
        match self.pieces.as_slice() {
            [only] => only.clone(),
            pieces => Bytes::from(pieces.concat()),
        }
    }
}

/// Called with the ackable end offset after each commit.
pub type DurableListener = Rc<dyn Fn(Offset)>;

/// What only one structural change at a time may touch.
pub(crate) struct Structure {
    pub(crate) checkpoint_file: CheckpointFile,
    pub(crate) checkpoint: Checkpoint,
    /// A deleted segment's file, kept to become a new one: how far it has been written and synced.
    pub(crate) spare_written: Option<u64>,
}

pub(crate) struct LogInner<S: Storage> {
    pub(crate) shard: Rc<ShardInner<S>>,
    pub(crate) dir: PathBuf,
    pub(crate) identity: LogIdentity,
    pub(crate) slot: TailSlot,
    pub(crate) config: Cell<LogConfig>,
    pub(crate) state: RefCell<LogState<S>>,
    pub(crate) producers: RefCell<ProducerStateTable>,
    pub(crate) epochs: RefCell<LeaderEpochCache>,
    pub(crate) structure: Mutex<Structure>,
    /// Everything below was compacted, as far as it was sealed and below the high watermark then.
    pub(crate) first_dirty: Cell<Offset>,
    /// Ends advanced, a block was lifted, zeroing ended, or the log closed.
    pub(crate) progress: Notify,
    /// Opens and renames of this log's files keep out of each other's way.
    pub(crate) names: NameLock,
    listener: RefCell<Option<DurableListener>>,
}

/// One partition's log. Cheap to clone; see the module's contract.
pub struct Log<S: Storage> {
    pub(crate) inner: Rc<LogInner<S>>,
}

impl<S: Storage> Clone for Log<S> {
    fn clone(&self) -> Log<S> {
        Log { inner: self.inner.clone() }
    }
}

impl<S: Storage> Log<S> {
    /// Opens the log in `dir`, a directory below the shard's root, and recovers it; creates it if it does not exist.
    /// Needs no loop to run, but must itself be polled to its end, and a directory must not be open twice.
    ///
    /// # Errors
    /// Damage below what was once synced is an error with its place ([`OpenError::Corrupt`]); nothing is changed then.
    pub async fn open(
        shard: &ShardWal<S>,
        dir: &Path,
        identity: LogIdentity,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<(Log<S>, RecoveryReport), OpenError> {
        crate::recovery::open(shard.inner.clone(), dir, identity, config, now_ms).await
    }

    pub(crate) fn from_parts(
        shard: Rc<ShardInner<S>>,
        dir: PathBuf,
        config: LogConfig,
        state: LogState<S>,
        producers: ProducerStateTable,
        epochs: LeaderEpochCache,
        structure: Structure,
    ) -> Log<S> {
        let slot = shard.tail_cache.borrow_mut().register();
        let inner = Rc::new(LogInner {
            identity: structure.checkpoint.identity,
            dir,
            slot,
            config: Cell::new(config),
            state: RefCell::new(state),
            producers: RefCell::new(producers),
            epochs: RefCell::new(epochs),
            structure: Mutex::new(structure),
            first_dirty: Cell::new(Offset::ZERO),
            progress: Notify::default(),
            names: NameLock::default(),
            listener: RefCell::new(None),
            shard: shard.clone(),
        });
        shard.register(&inner);
        Log { inner }
    }

    #[must_use]
    pub fn identity(&self) -> LogIdentity {
        self.inner.identity
    }

    /// The partition's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// First offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.inner.state.borrow().log_start
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.inner.state.borrow().log_end
    }

    /// Everything below is synced here.
    #[must_use]
    pub fn durable_end_offset(&self) -> Offset {
        self.inner.state.borrow().durable_end()
    }

    /// Everything below may be acknowledged by this replica: the durable end, or the log end for
    /// [`Durability::Async`].
    #[must_use]
    pub fn ackable_end_offset(&self) -> Offset {
        self.inner.ackable_end()
    }

    /// How often the log was opened, truncated or restarted.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.inner.state.borrow().incarnation
    }

    /// Bytes of all batches and their frames.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.inner.state.borrow().size_bytes()
    }

    /// Segments, the active one included.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.inner.state.borrow().segments.len()
    }

    #[must_use]
    pub fn config(&self) -> LogConfig {
        self.inner.config.get()
    }

    pub fn set_config(&self, config: LogConfig) {
        self.inner.config.set(config);
        // Sync to async makes more ackable at once.
        self.inner.progress.notify_all();
    }

    /// Makes room for a batch of `bytes`, so that a following [`Log::append`] of it succeeds unless another came between.
    /// Waits while too much is waiting for its commit. Dropping the future stops nothing that was begun.
    pub async fn reserve(&self, bytes: usize, now_ms: i64) -> Result<(), ReserveError> {
        self.inner.reserve(frame_bytes(bytes), now_ms).await
    }

    /// Resolves when everything below `end` may be acknowledged.
    pub async fn wait_ackable(&self, end: Offset) -> Result<(), LogClosed> {
        let inner = &self.inner;
        inner
            .progress
            .wait_for(|| {
                if inner.ackable_end() >= end {
                    return Some(Ok(()));
                }
                inner.is_ended().then_some(Err(LogClosed))
            })
            .await
    }

    /// `listener` is called after each commit with the new ackable end. It replaces the one before.
    pub fn set_durable_listener(&self, listener: DurableListener) {
        *self.inner.listener.borrow_mut() = Some(listener);
    }

    /// The newest leader epoch that wrote something, or was assigned by [`Log::assign_epoch`].
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.inner.epochs.borrow().latest().map(|entry| entry.epoch)
    }

    /// A new leader begins: its epoch starts at the log end, even if it never writes (as Kafka does on becoming leader).
    /// Lasts beyond the process from the next batch, roll or clean close on. [`Log::truncate_to`] takes it back as long as
    /// it has written nothing.
    pub fn assign_epoch(&self, epoch: LeaderEpoch) {
        let log_end = self.log_end_offset();
        if epoch.0 >= 0 && self.latest_epoch().is_none_or(|latest| latest < epoch) {
            self.inner.epochs.borrow_mut().assign(epoch, log_end).expect("neither is negative");
            self.inner.state.borrow_mut().last_epoch = epoch;
        }
    }

    /// Largest epoch not above `requested` and where it ended here (KIP-101, KIP-279; OffsetForLeaderEpoch).
    #[must_use]
    pub fn epoch_end_offset(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset) {
        self.inner.epochs.borrow().end_offset_for(requested, self.log_end_offset())
    }

    /// The epoch that wrote `offset`.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.inner.epochs.borrow().epoch_for_offset(offset)
    }

    /// The idempotent producers. [`Log::append`] updates them; not to be held across an await or an append.
    #[must_use]
    pub fn producer_state(&self) -> RefMut<'_, ProducerStateTable> {
        self.inner.producers.borrow_mut()
    }

    /// Batches from memory: those from the one that contains `from`, or the next one where compaction has dropped that, that
    /// end at or before `up_to`, up to `max_bytes` together, or one larger one of up to `first_max` bytes. `None` if the first is
    /// not in memory; [`Log::read`] then.
    #[must_use]
    pub fn read_cached(&self, from: Offset, up_to: Offset, max_bytes: usize, first_max: usize) -> Option<ReadBatches> {
        self.inner.read_cached(from, up_to, max_bytes, first_max)
    }

    /// Batches from memory or disk, as [`Log::read_cached`]. A read may stop earlier, at a segment's end for example; it
    /// gives at least one batch if there is one and its limits allow it.
    pub async fn read(
        &self,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
        first_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        self.inner.read(from, up_to, max_bytes, first_max).await
    }

    /// The header of the batch at the log end, durable or not; none if the log holds no batch at or above its start.
    ///
    /// From memory if the batch is there. From disk it is read as a whole and checked; if no commit has written it yet,
    /// this waits for one.
    pub async fn last_batch(&self) -> Result<Option<BatchHeader>, ReadError> {
        self.inner.last_batch().await
    }

    /// The header of the batch that contains the offset before `end`, as [`Log::last_batch`] gives it for the log end; none
    /// if that offset lies below the log start, or compaction has dropped its batch.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] if `end` lies above the log end.
    pub async fn batch_before(&self, end: Offset) -> Result<Option<BatchHeader>, ReadError> {
        self.inner.batch_before(end).await
    }

    /// Roughly how many bytes a read of this range has; not 0 if there is a batch.
    #[must_use]
    pub fn bytes_between(&self, from: Offset, up_to: Offset) -> u64 {
        self.inner.bytes_between(from, up_to)
    }

    /// The first batch that ends at or before `up_to` and whose largest timestamp is at least `timestamp`.
    pub async fn first_batch_at_or_after_timestamp(
        &self,
        timestamp: i64,
        up_to: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        self.inner.first_batch_at_or_after_timestamp(timestamp, up_to).await
    }

    /// The first batch with the largest timestamp of all that end at or before `up_to`; none if no record has one.
    pub async fn batch_with_max_timestamp(&self, up_to: Offset) -> Result<Option<Bytes>, ReadError> {
        self.inner.batch_with_max_timestamp(up_to).await
    }

    /// Raises the log start offset (DeleteRecords); durable when it returns. Segments below go with the next retention.
    pub async fn advance_log_start(&self, to: Offset) -> Result<(), AdvanceStartError> {
        self.inner.clone().advance_log_start(to).await
    }

    /// Deletes segments by age, size and log start offset, and rolls the active one by age. Nothing at or above
    /// `high_watermark` goes.
    pub async fn enforce_retention(
        &self,
        now_ms: i64,
        high_watermark: Offset,
    ) -> Result<RetentionReport, RetentionError> {
        self.inner.clone().enforce_retention(now_ms, high_watermark).await
    }

    /// Cuts the log at `end`, durably when it returns: what was there never comes back. A batch that contains `end` goes
    /// as a whole; the new log end is returned.
    ///
    /// Epochs that begin at or after the new log end are forgotten, also if `end` is at or above the log end and so
    /// nothing else is to be done: this log may have been its leader's without writing anything. That costs nothing and
    /// waits for no commit; until the next batch, roll or clean close, a restart may know such an epoch again.
    pub async fn truncate_to(&self, end: Offset) -> Result<Offset, TruncateError> {
        self.inner.clone().truncate_to(end).await
    }

    /// Drops everything and begins anew, empty, with `offset` as log start and log end: Kafka's `truncateFullyAndStartAt`.
    /// `offset` may lie anywhere, also above the log end or below the log start.
    ///
    /// Durable when it returns. A crash before leaves the log as it was or the new one, never anything between. What was
    /// appended is committed first, so that who waits for it learns of it; the durable listener is not called for the new
    /// ends. Producers and epochs are forgotten, and whoever reads on gets [`ReadError::OutOfRange`].
    ///
    /// # Errors
    /// [`RestartError::Io`]: the log is as it was. [`RestartError::Fatal`]: which of the two is known after the next open.
    pub async fn restart_at(&self, offset: Offset) -> Result<(), RestartError> {
        self.inner.clone().restart_at(offset).await
    }

    /// Commits what was appended and marks the log as closed in order, so that the next open need not scan it.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.inner.clone().close().await
    }

    /// Closes the log, without committing what was appended, and removes its directory.
    pub async fn delete(&self) -> Result<(), DeleteError> {
        self.inner.clone().delete().await
    }
}

impl<S: Storage> LogInner<S> {
    pub(crate) fn ackable_end(&self) -> Offset {
        let state = self.state.borrow();
        match self.config.get().durability {
            Durability::Sync => state.durable_end(),
            Durability::Async => state.log_end,
        }
    }

    /// Nothing will be committed any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.borrow().closed || self.shard.fatal.borrow().is_some()
    }
}
