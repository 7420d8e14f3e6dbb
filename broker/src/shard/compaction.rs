//! Compacting the shard's logs, one at a time, the dirtiest first (Kafka's log cleaner thread).
//!
//! It looks every `log.cleaner.backoff.ms`, when configs change, and at once after a log that was compacted or could not be. One
//! that could not be is left alone ([`failures`]) and its partition uncleanable: for a time that grows, if there may be space or a
//! file handle later; until the next start, if the reason stays, such as damage. The log is served on as it is. One that is opened,
//! cut or begun anew is another log, of which nothing is known.
//!
//! Deliberately absent: what is compacted (`wal::compaction`), and retention, which runs by itself.

mod failures;
mod throttle;

use std::cell::RefCell;
use std::hash::RandomState;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::select;
use glommio::timer::Timer;
use wal::compaction::{CompactionError, CompactionRules, CompactionTask, KeyHashers, OffsetMap, Pace};
use wal::frame::Incarnation;

use self::failures::Failures;
use self::throttle::Throttle;
use super::Shard;
use super::dedupe_memory::Taken;
use super::run::ShardEvent;
use crate::partition::Partition;

/// Lets the kernel and other tasks go on between two pieces of work.
const BREATH: Duration = Duration::from_micros(5);
/// The longest that a rate is waited for at a time: it may change, and the shard may stop.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// A look is never sooner than that, so that neither a backoff of 0 nor many changes of configs busy the shard.
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Holds a pass to the shard's part of `log.cleaner.io.max.bytes.per.second`.
struct ShardPace<'a> {
    shard: &'a Shard,
    partition: &'a Partition,
    throttle: RefCell<Throttle>,
}

impl Pace for ShardPace<'_> {
    async fn took(&self, io_bytes: u64) -> bool {
        self.throttle.borrow_mut().took(io_bytes);
        glommio::timer::sleep(BREATH).await;
        loop {
            if self.shard.is_stopping() || self.partition.is_removed() {
                return false;
            }
            let config = self.shard.broker_config();
            let rate = config.log_cleaner_io_max_bytes_per_second / self.shard.shards() as f64;
            let left = self.throttle.borrow_mut().left(rate, now());
            if left.is_zero() {
                return true;
            }
            Timer::new(left.min(WAIT_MAX)).await;
        }
    }
}

/// A log as it was when a pass began. Where it is opened, cut or begun anew, what was in the way may be gone.
struct SeenLog {
    partition: Weak<Partition>,
    incarnation: Incarnation,
}

impl SeenLog {
    fn of(partition: &Rc<Partition>) -> SeenLog {
        SeenLog { partition: Rc::downgrade(partition), incarnation: partition.log.incarnation() }
    }

    fn is_of(&self, partition: &Rc<Partition>) -> bool {
        std::ptr::eq(self.partition.as_ptr(), Rc::as_ptr(partition)) && self.incarnation == partition.log.incarnation()
    }
}

impl Shard {
    /// Runs until the shard stops.
    pub(super) async fn run_compaction(self: Rc<Self>) {
        let hashers = KeyHashers::new(RandomState::new(), RandomState::new());
        let mut failures = Failures::new();
        while !self.is_stopping() {
            let changed = self.configs_changed.listen();
            let more = match self.dirtiest(&mut failures) {
                Some(partition) => self.compact(&partition, &hashers, &mut failures).await,
                None => false,
            };
            if !more {
                let backoff_ms = self.broker_config().log_cleaner_backoff_ms.max(0) as u64;
                Timer::new(BACKOFF_MIN).await;
                let left = Duration::from_millis(backoff_ms).saturating_sub(BACKOFF_MIN);
                select(pin!(changed), Timer::new(left)).await;
            }
        }
    }

    /// The log with the largest part dirty of those that a pass is due for and that are not left alone.
    fn dirtiest(&self, failures: &mut Failures<SeenLog>) -> Option<Rc<Partition>> {
        // One that is not to be compacted any more is none that compaction fails for.
        failures.keep(|key, log| {
            let open = self.open_partition_of(key);
            open.is_some_and(|partition| log.is_of(&partition) && rules(&partition).is_some())
        });
        self.metrics.uncleanable(failures.count());
        if !self.broker_config().log_cleaner_enable {
            self.metrics.dirty(0.0);
            return None;
        }
        let (now, now_ms) = (now(), crate::clock::now_ms());
        let mut ratio_max: f64 = 0.0;
        let mut dirtiest: Option<(f64, Rc<Partition>)> = None;
        for partition in self.partitions() {
            if partition.is_removed() || failures.is_for_good(partition.key) {
                continue;
            }
            let Some(rules) = rules(&partition) else { continue };
            let cleanable = partition.log.cleanable(&rules, partition.high_watermark(), now_ms);
            let ratio = cleanable.ratio();
            ratio_max = ratio_max.max(ratio);
            let may_be_it = cleanable.is_due(&rules) && !failures.leaves_alone(partition.key, now);
            if may_be_it && dirtiest.as_ref().is_none_or(|(most, _)| ratio > *most) {
                dirtiest = Some((ratio, partition));
            }
        }
        self.metrics.dirty(ratio_max);
        dirtiest.map(|(_, partition)| partition)
    }

    /// Memory for the keys that a pass may find, when there is some; `None` if the pass is not to be any more.
    async fn dedupe_memory(&self, partition: &Partition, rules: &CompactionRules) -> Option<Taken> {
        let mut waiting = None;
        while !self.is_stopping() && !partition.is_removed() {
            let cleanable = partition.log.cleanable(rules, partition.high_watermark(), crate::clock::now_ms());
            let wanted = OffsetMap::bytes_for((cleanable.end.0 - cleanable.first_dirty.0).unsigned_abs());
            let total = usize::try_from(self.broker_config().log_cleaner_dedupe_buffer_size).unwrap_or(0);
            if let Some(taken) = self.dedupe_memory.take(wanted, total, self.shards(), waiting.as_ref()) {
                return Some(taken);
            }
            waiting.get_or_insert_with(|| self.dedupe_memory.wait());
            Timer::new(BACKOFF_MIN).await;
        }
        None
    }

    /// One pass; says whether there may be more to do at once, for this log or another.
    async fn compact(&self, partition: &Rc<Partition>, hashers: &KeyHashers, failures: &mut Failures<SeenLog>) -> bool {
        let Some(rules) = rules(partition) else { return false };
        let Some(memory) = self.dedupe_memory(partition, &rules).await else { return false };
        let task = CompactionTask {
            rules,
            limit: partition.high_watermark(),
            now_ms: crate::clock::now_ms(),
            map_bytes: memory.bytes,
            hashers: hashers.clone(),
        };
        let (log, began) = (SeenLog::of(partition), Instant::now());
        let pace = ShardPace { shard: self, partition, throttle: RefCell::new(Throttle::new(now())) };
        let (topic, number) = (&partition.topic, partition.key.partition);
        match partition.log.compact(&task, &pace).await {
            Ok(report) => {
                let took = began.elapsed();
                failures.succeeded(partition.key);
                self.metrics.compacted(report.read_bytes, report.written_bytes, took);
                tracing::info!(%topic, partition = %number, ?took, ?report, "log compacted");
                true
            }
            Err(CompactionError::Stopped | CompactionError::Changed | CompactionError::Closed(_)) => false,
            Err(CompactionError::Fatal(error)) => {
                let _ = self.events.send(ShardEvent::Fatal { shard: self.index, error: error.to_string() });
                false
            }
            Err(error @ CompactionError::Io(_)) => {
                let again_in = failures.failed(partition.key, log, now());
                tracing::error!(%topic, partition = %number, %error, ?again_in, "compaction failed");
                true
            }
            Err(error @ (CompactionError::Corrupt(_) | CompactionError::Records { .. })) => {
                tracing::error!(%topic, partition = %number, %error, "compaction failed: the log is not compacted until the next start");
                failures.failed_for_good(partition.key, log);
                true
            }
        }
    }

    fn shards(&self) -> usize {
        self.inboxes.len().max(1)
    }
}

/// By a clock that never goes back.
fn now() -> Duration {
    Duration::from_nanos(crate::clock::monotonic_ns())
}

/// What the topic asks for; `None` if it is not compacted.
fn rules(partition: &Partition) -> Option<CompactionRules> {
    let config = partition.config();
    config.cleanup_policy.compact.then(|| CompactionRules {
        min_cleanable_ratio: config.min_cleanable_dirty_ratio,
        min_compaction_lag_ms: config.min_compaction_lag_ms,
        max_compaction_lag_ms: config.max_compaction_lag_ms,
        delete_retention_ms: config.delete_retention_ms,
        segment_bytes: u64::try_from(config.segment_bytes).unwrap_or(0),
    })
}
