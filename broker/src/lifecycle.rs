//! How far the broker and each of its shards have come, for whoever tells it to others: health checks over HTTP, and the
//! service manager.
//!
//! Nothing here decides anything. Shards write to a [`ShardProgress`] each, with plain atomic stores; `serve.rs` moves the
//! [`Phase`] on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use instruments::Counter;
use tokio::sync::watch;

use crate::clock;

/// A shard whose event loop has not turned for so long makes no progress: a thousand of its heartbeats. Nothing that a shard
/// does in one go takes nearly as long, recoveries included, unless a disk hangs; and a busy machine is not taken for a stuck one.
pub const STALE_AFTER: Duration = Duration::from_secs(10);

/// What the broker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The cluster is looked for, or its controller is yet to register this broker.
    Joining,
    ReplayingJournal,
    RecoveringLogs,
    /// The controller is yet to let this broker in.
    WaitingForController,
    /// The Kafka port listens.
    Serving,
    Stopping,
}

/// The process. `Clone` is cheap.
#[derive(Clone)]
pub struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
    shards: Arc<[Arc<ShardProgress>]>,
    replay_steps: Arc<Counter>,
    reload_errors: Arc<AtomicUsize>,
}

impl Lifecycle {
    pub fn new(shards: usize) -> Lifecycle {
        let shards = (0..shards).map(|_| Arc::default()).collect();
        let phase = Arc::new(watch::Sender::new(Phase::Joining));
        Lifecycle { phase, shards, replay_steps: Arc::default(), reload_errors: Arc::default() }
    }

    /// Rises as the replay of the journal gets on, and the removal of leftovers before it; written by whoever does it.
    pub fn replay_steps(&self) -> &Arc<Counter> {
        &self.replay_steps
    }

    /// The configuration was read again, with so many errors: with any, what was there before holds.
    pub fn reloaded(&self, errors: usize) {
        self.reload_errors.store(errors, Ordering::Relaxed);
    }

    /// Of the last time that the configuration was read again.
    pub fn reload_errors(&self) -> usize {
        self.reload_errors.load(Ordering::Relaxed)
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// By number.
    pub fn shards(&self) -> &[Arc<ShardProgress>] {
        &self.shards
    }

    /// The sums over all shards, as of now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in &*self.shards {
            counts.add(shard);
        }
        counts
    }

    /// The shards that make no progress, with for how long.
    pub fn stale(&self) -> Vec<(usize, Duration)> {
        let now_ms = clock::boot_ms();
        let silent = self.shards.iter().enumerate().map(|(shard, progress)| (shard, progress.silent(now_ms)));
        silent.filter_map(|(shard, silent)| silent.filter(|silent| *silent > STALE_AFTER).map(|s| (shard, s))).collect()
    }
}

/// What shards are at, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Partitions whose logs are to be recovered, and those that have been, or could not be.
    pub partitions: usize,
    pub recovered: usize,
    /// Of these, could not be opened.
    pub offline: usize,
    /// Client connections.
    pub connections: usize,
    /// Logs that a stopping broker is yet to close.
    pub closing: usize,
}

impl Counts {
    fn add(&mut self, shard: &ShardProgress) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        self.partitions += read(&shard.partitions);
        self.recovered += read(&shard.recovered);
        self.offline += read(&shard.offline);
        self.connections += read(&shard.connections);
        self.closing += read(&shard.closing);
    }
}

/// Before its thread runs.
const NOT_STARTED: u64 = 0;
const ENDED: u64 = u64::MAX;

/// One shard.
#[derive(Debug, Default)]
pub struct ShardProgress {
    /// When its event loop turned last, on the clock of [`clock::boot_ms`]; or one of the two constants.
    turned_ms: AtomicU64,
    partitions: AtomicUsize,
    recovered: AtomicUsize,
    offline: AtomicUsize,
    connections: AtomicUsize,
    closing: AtomicUsize,
}

impl ShardProgress {
    /// Its event loop turns.
    pub fn turned(&self) {
        self.turned_ms.store(clock::boot_ms(), Ordering::Relaxed);
    }

    /// It has ended in order, and nobody expects it to turn any more.
    pub fn ended(&self) {
        self.turned_ms.store(ENDED, Ordering::Relaxed);
    }

    /// How long its event loop has not turned; `None` of a shard that does not run.
    pub fn silent(&self, now_ms: u64) -> Option<Duration> {
        match self.turned_ms.load(Ordering::Relaxed) {
            NOT_STARTED | ENDED => None,
            turned_ms => Some(Duration::from_millis(now_ms.saturating_sub(turned_ms))),
        }
    }

    /// So many logs are to be recovered.
    pub fn begins_recovery(&self, partitions: usize) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// One more log has been recovered, or could not be.
    pub fn recovered_one(&self, opened: bool) {
        self.recovered.fetch_add(1, Ordering::Relaxed);
        self.offline.fetch_add(usize::from(!opened), Ordering::Relaxed);
    }

    pub fn connections(&self, open: usize) {
        self.connections.store(open, Ordering::Relaxed);
    }

    /// So many logs are yet to be closed.
    pub fn closing(&self, partitions: usize) {
        self.closing.store(partitions, Ordering::Relaxed);
    }

    pub fn closed_one(&self) {
        self.closing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shard_that_runs_can_be_silent() {
        let progress = ShardProgress::default();
        assert_eq!(progress.silent(1_000_000), None, "its thread is yet to run");
        progress.turned_ms.store(1000, Ordering::Relaxed);
        assert_eq!(progress.silent(1500), Some(Duration::from_millis(500)));
        assert_eq!(progress.silent(900), Some(Duration::ZERO), "it turned while the clock was read");
        progress.ended();
        assert_eq!(progress.silent(1_000_000), None);
    }

    #[test]
    fn a_shard_is_stale_when_it_has_been_silent_for_too_long() {
        let lifecycle = Lifecycle::new(2);
        lifecycle.shards()[1].turned();
        assert_eq!(lifecycle.stale(), []);
        let long_ago = clock::boot_ms().saturating_sub(STALE_AFTER.as_millis() as u64 + 1000).max(1);
        lifecycle.shards()[1].turned_ms.store(long_ago, Ordering::Relaxed);
        assert_eq!(lifecycle.stale().into_iter().map(|(shard, _)| shard).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn counts_are_sums() {
        let lifecycle = Lifecycle::new(2);
        for shard in lifecycle.shards() {
            shard.begins_recovery(3);
            shard.recovered_one(true);
            shard.recovered_one(false);
            shard.connections(4);
            shard.closing(2);
            shard.closed_one();
        }
        let expected = Counts { partitions: 6, recovered: 4, offline: 2, connections: 8, closing: 2 };
        assert_eq!(lifecycle.counts(), expected);
    }
}
