//! What the logs of one shard share: storage, commit and background loops, caches, and the verdict that ends it all.
//!
//! Contract: [`ShardWal::run_commits`] and [`ShardWal::run_background`] must both be running whenever a log is written,
//! read or closed; opening needs neither. If `run_commits` fails, nothing of this shard is acknowledged any more, and the
//! process must end: what is on disk is unknown until recovery has read it.
//!
//! Deliberately absent: the logs by name (`broker` knows those), clocks, and task queues.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::file::{IoError, IoOp, Storage};
use crate::frame::Incarnation;
use crate::gather::GatherRoom;
use crate::inline_commit::InlineCommits;
use crate::jobs::JobQueue;
use crate::journal::{Journal, JournalPlace};
use crate::log::LogInner;
use crate::metrics::WalMetrics;
use crate::read_cache::ReadCache;
use crate::segment::Segment;
use crate::sync::Notify;
use crate::tail_cache::TailCache;
use crate::write_back::WriteBacks;

/// Bounds of what one shard's logs use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardWalConfig {
    /// Memory for the newest batches.
    pub tail_cache_bytes: usize,
    /// Memory for chunks read from disk, and for read-ahead.
    pub read_cache_bytes: usize,
    /// Bytes that are accepted while a commit is in flight; beyond it appends wait. A single larger batch still passes.
    pub max_commit_bytes: usize,
    /// Largest commit that may block the shard's thread while it is written, on a disk that is fast; 0: none may.
    pub inline_commit_bytes: usize,
    /// Files of sealed segments kept open for readers.
    pub max_open_sealed_segments: usize,
    /// Memory for indexes of sealed segments.
    pub sealed_index_bytes: usize,
}

impl Default for ShardWalConfig {
    fn default() -> ShardWalConfig {
        ShardWalConfig {
            tail_cache_bytes: 64 << 20,
            read_cache_bytes: 32 << 20,
            max_commit_bytes: 16 << 20,
            inline_commit_bytes: 8 << 10,
            max_open_sealed_segments: 256,
            sealed_index_bytes: 8 << 20,
        }
    }
}

/// A write or sync failed, or the file system did something that leaves the state of the disk unknown.
///
/// Never retried: after a failed sync the kernel may have dropped the data and report success the next time. The process
/// ends, and recovery finds out what is on disk.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{source}: nothing more can be acknowledged, the process must end; recovery at the next start reads what the disk has"
)]
pub struct FatalIo {
    source: Arc<IoError>,
}

impl FatalIo {
    pub(crate) fn new(error: IoError) -> FatalIo {
        FatalIo { source: Arc::new(error) }
    }

    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    #[must_use]
    pub fn op(&self) -> IoOp {
        self.source.op
    }

    /// The operating system's error number, if the error came from there.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.source.errno()
    }
}

/// Everything that the logs of one shard share. Cheap to clone.
pub struct ShardWal<S: Storage> {
    pub(crate) inner: Rc<ShardInner<S>>,
}

impl<S: Storage> Clone for ShardWal<S> {
    fn clone(&self) -> ShardWal<S> {
        ShardWal { inner: self.inner.clone() }
    }
}

pub(crate) struct ShardInner<S: Storage> {
    pub(crate) storage: S,
    /// The data directory: parent of the partitions' directories.
    pub(crate) root: PathBuf,
    pub(crate) config: ShardWalConfig,
    pub(crate) tail_cache: RefCell<TailCache>,
    pub(crate) read_cache: ReadCache<S>,
    /// Logs with appended batches that no commit has taken yet.
    pub(crate) dirty: RefCell<Vec<Rc<LogInner<S>>>>,
    /// How much their write buffers may hold.
    pub(crate) room: GatherRoom,
    /// A log became dirty, or the loop is to look at its end.
    pub(crate) commit_wanted: Notify,
    /// Rolls, truncations and the like, run beside the commit loop.
    pub(crate) jobs: JobQueue,
    /// Prewriting and read-ahead.
    pub(crate) background: JobQueue,
    pub(crate) inline_commits: RefCell<InlineCommits>,
    pub(crate) journal: Option<Journal<S>>,
    pub(crate) metrics: Arc<WalMetrics>,
    pub(crate) write_backs: WriteBacks<S>,
    pub(crate) fatal: RefCell<Option<FatalIo>>,
    stopping: Cell<bool>,
    logs: RefCell<Vec<Weak<LogInner<S>>>>,
    next_segment_uid: Cell<u64>,
    /// The highest of the logs deleted so far.
    deleted_incarnation: Cell<Incarnation>,
    open_sealed: RefCell<VecDeque<Weak<Segment<S>>>>,
    loaded_indexes: RefCell<VecDeque<(Weak<Segment<S>>, usize)>>,
    loaded_indexes_bytes: Cell<usize>,
}

impl<S: Storage> ShardWal<S> {
    /// A shard whose partitions lie in directories below `root`, which must exist.
    pub fn new(storage: S, root: PathBuf, config: ShardWalConfig) -> ShardWal<S> {
        ShardWal::with_journal(storage, root, config, None)
    }

    /// As [`ShardWal::new`], with a journal for commits of many logs. All journals that may be left from before have been
    /// replayed ([`crate::journal::replay`]).
    pub fn with_journal(
        storage: S,
        root: PathBuf,
        config: ShardWalConfig,
        journal: Option<JournalPlace<S>>,
    ) -> ShardWal<S> {
        ShardWal::counting(storage, root, config, journal, Arc::default())
    }

    /// As [`ShardWal::with_journal`]; what it does is counted in `metrics`.
    pub fn counting(
        storage: S,
        root: PathBuf,
        config: ShardWalConfig,
        journal: Option<JournalPlace<S>>,
        metrics: Arc<WalMetrics>,
    ) -> ShardWal<S> {
        ShardWal {
            inner: Rc::new(ShardInner {
                storage,
                root,
                config,
                tail_cache: RefCell::new(TailCache::new(config.tail_cache_bytes)),
                read_cache: ReadCache::new(config.read_cache_bytes, metrics.clone()),
                dirty: RefCell::default(),
                room: GatherRoom::new(config.max_commit_bytes),
                commit_wanted: Notify::default(),
                jobs: JobQueue::default(),
                background: JobQueue::default(),
                inline_commits: RefCell::new(InlineCommits::new(config.inline_commit_bytes as u64)),
                journal: journal.map(Journal::new),
                metrics,
                write_backs: WriteBacks::default(),
                fatal: RefCell::default(),
                stopping: Cell::new(false),
                logs: RefCell::default(),
                next_segment_uid: Cell::new(0),
                deleted_incarnation: Cell::new(Incarnation(0)),
                open_sealed: RefCell::default(),
                loaded_indexes: RefCell::default(),
                loaded_indexes_bytes: Cell::new(0),
            }),
        }
    }

    /// The data directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Memory in use for the newest batches.
    #[must_use]
    pub fn tail_cache_bytes(&self) -> usize {
        self.inner.tail_cache.borrow().used_bytes()
    }

    /// Bytes of the journal's files that hold what is not known to be in the segments, and the size of all of them together.
    #[must_use]
    pub fn journal_bytes(&self) -> (u64, u64) {
        self.inner.journal.as_ref().map_or((0, 0), |journal| (journal.used_bytes(), journal.size_bytes()))
    }

    /// Group commit, and the work that logs need to go on. Ends with `Ok` after [`ShardWal::stop`], when everything that
    /// was appended has been committed.
    ///
    /// # Errors
    /// A failed write or sync: the process must end.
    pub async fn run_commits(&self) -> Result<(), FatalIo> {
        let result = self.inner.run_commits().await;
        self.inner.jobs.abandon();
        self.inner.background.abandon();
        self.inner.wake_all_waiters();
        result
    }

    /// Writes zeros ahead of busy partitions and reads ahead for sequential readers; both may be slow, neither is waited
    /// for by a produce. Belongs into a background queue. Ends after [`ShardWal::stop`].
    ///
    /// # Errors
    /// A failed write or sync: the process must end.
    pub async fn run_background(&self) -> Result<(), FatalIo> {
        self.inner.background.work(|| self.inner.commit_wanted.notify_all()).await;
        self.inner.check_fatal()
    }

    /// Writes what only the journal has of any log to the segments, without waiting for it. For times without load: it
    /// gives memory back and leaves less to replay.
    pub fn write_back(&self) {
        for log in self.inner.logs() {
            log.want_write_back();
        }
    }

    /// Removes the journal's files after the loops have ended, so that the next start has nothing to replay. Does nothing
    /// if a log was not closed in order; says whether it was done.
    pub async fn remove_journal(&self) -> Result<bool, IoError> {
        match &self.inner.journal {
            Some(journal) if self.inner.fatal.borrow().is_none() => journal.remove().await,
            _ => Ok(false),
        }
    }

    /// Both loops end after everything that was appended has been committed and the work that was asked for is done.
    /// Close the logs first for a clean shutdown.
    pub fn stop(&self) {
        self.inner.stopping.set(true);
        self.inner.background.stop();
        self.inner.commit_wanted.notify_all();
    }
}

impl<S: Storage> ShardInner<S> {
    pub(crate) fn next_segment_uid(&self) -> u64 {
        self.next_segment_uid.set(self.next_segment_uid.get() + 1);
        self.next_segment_uid.get()
    }

    /// What a log that begins anew must stay above: the journal may still have frames of one that was deleted and had the
    /// same identity, and they must not pass for the new one's.
    pub(crate) fn deleted_incarnation(&self) -> Incarnation {
        self.deleted_incarnation.get()
    }

    pub(crate) fn note_deleted(&self, incarnation: Incarnation) {
        self.deleted_incarnation.set(self.deleted_incarnation.get().max(incarnation));
    }

    /// Notes an error after which nothing may be acknowledged; the commit loop ends with the first.
    pub(crate) fn fail(&self, error: IoError) {
        self.fatal.borrow_mut().get_or_insert_with(|| FatalIo::new(error));
        self.commit_wanted.notify_all();
    }

    pub(crate) fn check_fatal(&self) -> Result<(), FatalIo> {
        match &*self.fatal.borrow() {
            Some(fatal) => Err(fatal.clone()),
            None => Ok(()),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(crate) fn register(&self, log: &Rc<LogInner<S>>) {
        let mut logs = self.logs.borrow_mut();
        logs.retain(|log| log.strong_count() > 0);
        logs.push(Rc::downgrade(log));
    }

    /// For those who wait on something that will not happen any more; they look at `fatal` and at the log's state.
    pub(crate) fn wake_all_waiters(&self) {
        self.room.wake_all();
        for log in self.logs() {
            log.progress.notify_all();
        }
    }

    fn logs(&self) -> Vec<Rc<LogInner<S>>> {
        self.logs.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// Bounds the open files of sealed segments: the one opened longest ago is let go.
    pub(crate) fn note_open_sealed(&self, segment: &Rc<Segment<S>>) {
        let mut open = self.open_sealed.borrow_mut();
        open.push_back(Rc::downgrade(segment));
        while open.len() > self.config.max_open_sealed_segments {
            if let Some(segment) = open.pop_front().and_then(|segment| segment.upgrade()) {
                segment.forget_file();
            }
        }
    }

    /// Bounds the indexes of sealed segments in memory: the one loaded longest ago is let go.
    pub(crate) fn note_loaded_index(&self, segment: &Rc<Segment<S>>) {
        let Some(bytes) = segment.with_index(|index| index.memory_bytes()) else { return };
        let mut loaded = self.loaded_indexes.borrow_mut();
        loaded.push_back((Rc::downgrade(segment), bytes));
        let mut used = self.loaded_indexes_bytes.get() + bytes;
        while used > self.config.sealed_index_bytes && loaded.len() > 1 {
            let (segment, bytes) = loaded.pop_front().expect("there is more than one");
            used -= bytes;
            if let Some(segment) = segment.upgrade() {
                segment.forget_index();
            }
        }
        self.loaded_indexes_bytes.set(used);
    }
}
