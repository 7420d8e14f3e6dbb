//! A shard's life: thread, executor, recovery, service, end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use glommio::timer::Timer;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use metadata::controller::ImpairedReplica;
use metadata::image::MetadataImage;
use protocol::BrokerId;
use tokio::sync::mpsc;
use uuid::Uuid;
use wal::journal::JournalPlace;
use wal::shard::ShardWal;

use super::Shard;
use super::assignment::{Wanted, wanted};
use super::budget::{ByteBudget, SMALL_BEYOND_SHARE};
use super::dedupe_memory::DedupeMemory;
use super::event::LocalEvent;
use super::message::{ShardCommand, ShardMessage};
use super::placement;
use super::pulse;
use super::queues::TaskQueues;
use super::reconcile::OPEN_CONCURRENCY;
use crate::connection::reader::READ_SCRATCH_BYTES;
use crate::fetch_session::SessionCache;
use crate::group_shard::GroupShard;
use crate::high_watermarks::{HighWatermarks, NOTE_INTERVAL, Note};
use crate::lease::Lease;
use crate::lifecycle::ShardProgress;
use crate::metadata_core::MetadataClient;
use crate::metrics::ShardMetrics;
use crate::metrics::topics::ShardTopics;
use crate::orphans;
use crate::replicator::Replicator;
use crate::settings::Settings;
use crate::storage;
use crate::suspects::Suspects;

/// glommio 0.9 can put an executor to sleep although a task is runnable, when it was preempted at the wrong moment. It is
/// rare; this timer bounds how long it can last, and tells others that the shard is not stuck. Measured idle: under 0.5 % of a core.
const HEARTBEAT: Duration = Duration::from_millis(10);
/// How long a stopping shard waits for its connections to take their last answers.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A shard that took no records for as long writes what only its journal has to the logs.
const WRITE_BACK_AFTER: Duration = Duration::from_secs(5);
/// How often a lease that has ended is looked at, and the longest time between two looks at one that holds.
const LEASE_LOOKS: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_secs(1);
/// Memory that glommio registers with io_uring per shard, for buffers of O_DIRECT I/O.
const IO_MEMORY_BYTES: usize = 10 << 20;

/// Entries of each io_uring of a shard. glommio cancels a timer whenever its executor goes to sleep, and for that the kernel
/// looks through the hash of all that is polled, one entry for each connection, whose size follows from this one: at glommio's
/// 128 it has 8 lists, at this depth 256, the most. With 9,946 connections the search was 28 % of a shard's time.
const RING_DEPTH: usize = 4096;

/// Everything a shard is started with.
pub struct ShardSpec {
    pub index: usize,
    /// The CPU to pin the thread to, if any.
    pub cpu: Option<usize>,
    pub broker: BrokerId,
    /// Of this process.
    pub broker_epoch: u64,
    /// The broker's.
    pub lease: Arc<Lease>,
    pub suspects: Arc<Suspects>,
    pub settings: Arc<Settings>,
    pub data_dir: PathBuf,
    /// Of the shards' journals, if there are to be any. May be on another device.
    pub journal_dir: Option<PathBuf>,
    pub inbox: Receiver<ShardMessage>,
    pub inboxes: Vec<Sender<ShardMessage>>,
    pub commands: Receiver<ShardCommand>,
    pub metadata: MetadataClient,
    pub image: MetadataImage,
    pub metrics: Arc<ShardMetrics>,
    /// Where it says how far it is.
    pub progress: Arc<ShardProgress>,
    /// All shards'.
    pub dedupe_memory: Arc<DedupeMemory>,
    /// As they were noted on disk before the start.
    pub high_watermarks: Arc<HighWatermarks>,
    /// Where they are noted from now on.
    pub notes: mpsc::UnboundedSender<Note>,
    /// Where the shard reports.
    pub events: mpsc::UnboundedSender<ShardEvent>,
}

/// What a shard tells the process.
#[derive(Debug)]
pub enum ShardEvent {
    /// Recovered and serving. Partitions whose log could not be opened are offline; those, and others that lack what they
    /// had acknowledged, are impaired.
    Ready { shard: usize, partitions: usize, offline: usize, impaired: Vec<ImpairedReplica> },
    /// Told to stop, and all its connections are closed.
    Drained { shard: usize },
    /// Everything is closed. The journal's files stay where some log was not closed in order.
    Closed { shard: usize, journal_removed: bool },
    /// Cannot go on; the process must end, so that recovery decides what is on disk.
    Fatal { shard: usize, error: String },
}

/// Starts the shard's thread.
pub fn spawn(spec: ShardSpec) -> io::Result<ExecutorJoinHandle<()>> {
    let placement = spec.cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(&format!("shard-{}", spec.index))
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .spawn(move || run(spec))
        .map_err(|error| io::Error::other(format!("cannot start a shard's executor: {error}")))
}

async fn run(spec: ShardSpec) {
    let index = spec.index;
    let events = spec.events.clone();
    let progress = spec.progress.clone();
    let ended = serve(spec).await;
    progress.ended();
    if let Err(error) = ended {
        // The process may be on its way out already, and nobody listens then.
        let _ = events.send(ShardEvent::Fatal { shard: index, error });
    }
}

async fn serve(spec: ShardSpec) -> Result<(), String> {
    let queues = TaskQueues::create();
    queues.spawn_control(pulse::beat(HEARTBEAT, queues, spec.metrics.clone(), spec.progress.clone()));
    let memory = *spec.settings.memory();
    let storage = storage::open(&spec.data_dir).await.map_err(|e| e.to_string())?;
    if spec.index == 0 {
        let removed = wal::remove_deleted(&storage, &spec.data_dir).await.map_err(|e| e.to_string())?;
        if removed > 0 {
            tracing::info!(removed, "finished deletions that were interrupted");
        }
    }
    let journal = match (spec.journal_dir, spec.settings.journal_config()) {
        (Some(dir), Some(config)) => {
            let storage = storage::open(&dir).await.map_err(|e| e.to_string())?;
            let shard = u32::try_from(spec.index).map_err(|e| e.to_string())?;
            Some(JournalPlace { storage, dir, shard, id: Uuid::new_v4(), config })
        }
        _ => None,
    };
    let has_journal = journal.is_some();
    let wal = ShardWal::counting(
        storage,
        spec.data_dir.clone(),
        spec.settings.wal_config(),
        journal,
        spec.metrics.wal.clone(),
    );
    let shards = spec.inboxes.len();
    let config = spec.image.broker_config(spec.broker, &spec.settings.static_config());
    let slots = usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0).div_ceil(shards);
    let topics = RefCell::new(ShardTopics::new(spec.metrics.records.clone()));
    let shard = Rc::new(Shard {
        index: spec.index,
        broker: spec.broker,
        metadata: spec.metadata,
        wal: wal.clone(),
        queues,
        image: RefCell::new(spec.image),
        partitions: RefCell::new(HashMap::default()),
        offline: RefCell::default(),
        has_started: Cell::new(false),
        impaired: RefCell::default(),
        fetch_sessions: RefCell::new(SessionCache::new(slots, spec.index, shards)),
        parked_fetches: RefCell::default(),
        groups: GroupShard::new(&config),
        replicator: Replicator::default(),
        broker_epoch: spec.broker_epoch,
        lease: spec.lease,
        suspects: spec.suspects,
        image_changed: LocalEvent::default(),
        noted_high_watermarks: spec.high_watermarks,
        notes: spec.notes,
        broker_config: RefCell::new(Rc::new(config)),
        request_budget: ByteBudget::new(but_for_small(memory.shard_request_bytes_max / 2)),
        arriving_budget: ByteBudget::new(but_for_small(memory.shard_request_bytes_max / 2)),
        response_budget: ByteBudget::new(but_for_small(memory.shard_response_bytes_max)),
        metrics: spec.metrics,
        progress: spec.progress,
        topics,
        configs_changed: LocalEvent::default(),
        dedupe_memory: spec.dedupe_memory,
        producer_ids: Default::default(),
        random: Cell::new(Uuid::new_v4().as_u64_pair().0 | 1),
        stopping: Cell::new(false),
        stop_event: LocalEvent::default(),
        read_scratch: RefCell::new(vec![0; READ_SCRATCH_BYTES]),
        connections: Cell::new(0),
        connection_closed: LocalEvent::default(),
        settings: spec.settings,
        events: spec.events.clone(),
        inboxes: spec.inboxes,
    });

    let commits = {
        let (wal, events, index) = (wal.clone(), spec.events.clone(), spec.index);
        let (done, ended) = futures_channel::oneshot::channel::<()>();
        shard.queues.spawn_produce(async move {
            if let Err(error) = wal.run_commits().await {
                let _ = events.send(ShardEvent::Fatal { shard: index, error: error.to_string() });
                // Nothing after a failed write or sync may be acknowledged: never resolve.
                std::future::pending::<()>().await;
            }
            let _ = done.send(());
        });
        ended
    };
    {
        let (wal, events, index) = (wal.clone(), spec.events.clone(), spec.index);
        shard.queues.spawn_background(async move {
            if let Err(error) = wal.run_background().await {
                let _ = events.send(ShardEvent::Fatal { shard: index, error: error.to_string() });
            }
        });
    }
    shard.remove_unassigned(&spec.data_dir).await.map_err(|e| e.to_string())?;
    let recovery = Instant::now();
    let offline = shard.open_all_partitions().await;
    let partitions = shard.partitions.borrow().len();
    shard.metrics.recovery_time.set_time(recovery.elapsed());
    tracing::info!(shard = shard.index, partitions, offline, took = ?recovery.elapsed(), "shard recovered");
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_control(async move { shard.serve_commands(spec.commands).await });
    }
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_background(async move { shard.run_retention().await });
    }
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_background(async move { shard.run_compaction().await });
    }
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_control(async move { shard.replicator.run_ticks(&shard).await });
    }
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_control(async move { shard.watch_lease().await });
    }
    {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_background(async move { shard.note_high_watermarks().await });
    }
    if has_journal {
        let shard = shard.clone();
        let queues = shard.queues;
        queues.spawn_background(async move { shard.write_back_when_idle().await });
    }
    let _ = spec.events.send(ShardEvent::Ready {
        shard: shard.index,
        partitions,
        offline,
        impaired: shard.impaired.take(),
    });

    shard.serve_inbox(spec.inbox).await;
    let partitions = shard.partitions();
    let progress = &shard.progress;
    progress.closing(partitions.len());
    let closing = stream::iter(partitions).for_each_concurrent(OPEN_CONCURRENCY, |partition| async move {
        if let Err(error) = partition.log.close().await {
            tracing::warn!(topic = %partition.topic, partition = %partition.key.partition, %error,
                "log not closed cleanly; the next start scans its tail");
        }
        progress.closed_one();
    });
    closing.await;
    shard.send_high_watermarks();
    wal.stop();
    // Whatever was appended has been committed when this resolves.
    let _ = commits.await;
    let journal_removed = !has_journal || wal.remove_journal().await.map_err(|e| e.to_string())?;
    let _ = spec.events.send(ShardEvent::Closed { shard: spec.index, journal_removed });
    Ok(())
}

fn budget_bytes(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// What is left of the limit for a budget that what is small may exceed.
fn but_for_small(limit: u64) -> usize {
    let limit = budget_bytes(limit);
    limit - limit / (SMALL_BEYOND_SHARE + 1)
}

impl Shard {
    /// Removes what a crash left of partitions that are no longer assigned to this broker and would be this shard's. It is out of
    /// the way when this resolves.
    async fn remove_unassigned(&self, data_dir: &Path) -> io::Result<()> {
        let (image, data_dir) = (self.image(), data_dir.to_owned());
        let (broker, index, shards) = (self.broker, self.index, self.count());
        let aside = orphans::blocking(move || {
            orphans::set_unassigned_aside(&data_dir, &image, |key| {
                placement::owner_of(key, shards) == index && wanted(&image, broker, key) == Wanted::Elsewhere
            })
        });
        aside.await?.into_iter().for_each(|aside| self.remove_aside(aside));
        Ok(())
    }

    /// Has whoever waits look for another leader as soon as this broker's lease has ended.
    async fn watch_lease(self: &Rc<Self>) {
        let mut held = false;
        while !self.is_stopping() {
            let left = Duration::from_millis(self.lease.until_ms().saturating_sub(crate::clock::boot_ms()));
            if left.is_zero() && held {
                tracing::warn!(
                    shard = self.index,
                    "the controller has not been heard of for its session timeout: replicated partitions are not served"
                );
                self.partitions().iter().for_each(|partition| partition.lease_ended());
                self.groups.lease_ended();
            }
            if !left.is_zero() && !held {
                // What it leads still, it coordinates again.
                self.partitions().iter().for_each(|partition| self.follow_leadership(partition));
            }
            held = !left.is_zero();
            Timer::new(left.clamp(LEASE_LOOKS.start, LEASE_LOOKS.end)).await;
        }
    }

    /// Lets what is under way finish, and reports when all connections are closed.
    pub(super) async fn drain(self: Rc<Self>) {
        self.begin_stop();
        let idle = std::pin::pin!(self.no_connections());
        if let Either::Right(_) = select(idle, Timer::new(DRAIN_MAX)).await {
            tracing::warn!(
                shard = self.index,
                connections = self.connections.get(),
                "connections still open at shutdown are cut off"
            );
        }
        let _ = self.events.send(ShardEvent::Drained { shard: self.index });
    }

    async fn no_connections(&self) {
        while self.connections.get() > 0 {
            self.connection_closed.listen().await;
        }
    }

    /// Counts a connection until the result is dropped.
    pub fn count_connection(self: &Rc<Self>) -> ConnectionCount {
        self.connections.set(self.connections.get() + 1);
        self.metrics.connections_open.set_size(self.connections.get());
        self.progress.connections(self.connections.get());
        ConnectionCount { shard: self.clone() }
    }

    /// What nobody adds to does not stay in the journal and in memory for ever.
    async fn write_back_when_idle(self: Rc<Self>) {
        let (mut seen, mut written_back) = (0, 0);
        loop {
            Timer::new(WRITE_BACK_AFTER).await;
            let partitions = self.partitions();
            let ends = partitions.iter().map(|partition| partition.log.log_end_offset().0);
            let appended = ends.fold(0, i64::wrapping_add);
            if appended == seen && appended != written_back {
                self.wal.write_back();
                written_back = appended;
            }
            seen = appended;
        }
    }

    /// Notes high watermarks on disk as they change.
    async fn note_high_watermarks(self: Rc<Self>) {
        // What is on disk may be of partitions that are not here any more.
        let mut noted = HighWatermarks::default();
        while !self.is_stopping() {
            Timer::new(NOTE_INTERVAL).await;
            let now = self.high_watermarks();
            if now != noted {
                noted = now;
                self.send_high_watermarks();
            }
        }
    }

    /// Those of partitions with replicas elsewhere: of others, all that is on disk is committed.
    fn high_watermarks(&self) -> HighWatermarks {
        let partitions = self.partitions.borrow();
        let replicated = partitions.values().filter(|partition| partition.is_replicated());
        replicated.map(|partition| (partition.key, partition.high_watermark())).collect()
    }

    fn send_high_watermarks(&self) {
        // Nobody notes them when the process ends at once.
        let _ = self.notes.send(Note::OfShard { shard: self.index, high_watermarks: self.high_watermarks() });
    }

    async fn run_retention(self: Rc<Self>) {
        loop {
            let interval_ms = self.broker_config().log_retention_check_interval_ms;
            Timer::new(Duration::from_millis(interval_ms.max(1) as u64)).await;
            for partition in self.partitions() {
                if self.is_stopping() || partition.is_removed() {
                    continue;
                }
                let now_ms = crate::clock::now_ms();
                let expiration_ms = i64::from(self.broker_config().producer_id_expiration_ms);
                partition.log.producer_state().expire(now_ms, expiration_ms);
                let log_start = partition.log.log_start_offset();
                if let Err(error) = partition.log.enforce_retention(now_ms, partition.high_watermark()).await {
                    tracing::error!(topic = %partition.topic, partition = %partition.key.partition, %error, "retention failed");
                }
                if partition.log.log_start_offset() != log_start {
                    partition.streams.log_start_moved();
                }
            }
        }
    }
}

/// See [`Shard::count_connection`].
pub struct ConnectionCount {
    shard: Rc<Shard>,
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        let open = self.shard.connections.get() - 1;
        self.shard.connections.set(open);
        self.shard.metrics.connections_open.set_size(open);
        self.shard.progress.connections(open);
        self.shard.connection_closed.notify();
    }
}
