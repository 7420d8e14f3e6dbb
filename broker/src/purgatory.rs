//! Requests that wait for a partition to move: long-polling fetches and produces with acks=all.
//!
//! A fetch may wait on partitions of several shards, so its [`Watch`] can be fired from any of them; a produce waits on
//! the shard that owns the partition. Nobody polls and nobody holds a thread: the append or the commit that makes
//! progress wakes whoever waits for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use futures_channel::oneshot;
use futures_util::task::AtomicWaker;
use protocol::Offset;

/// One waiting fetch, as seen by the partitions that it waits on.
#[derive(Default)]
pub struct Watch {
    fired: AtomicBool,
    waker: AtomicWaker,
}

impl Watch {
    pub fn new() -> Arc<Watch> {
        Arc::new(Watch::default())
    }

    /// Wakes the fetch. Further calls do nothing until it has looked again.
    pub fn fire(&self) {
        if !self.fired.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Waits until fired, and arms the watch anew.
    pub async fn fired(&self) {
        poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.fired.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await
    }
}

/// The fetches that wait on one partition.
///
/// Only the fetch owns its [`Watch`]: several lists may name it, and none keeps it.
#[derive(Default)]
pub struct Watchers {
    watches: Vec<Weak<Watch>>,
    prune_at: usize,
}

impl Watchers {
    /// Below this many nothing is pruned.
    const PRUNE_MIN: usize = 16;

    /// Adds `watch` until the next [`Watchers::fire_all`]. Watches whose fetch has ended are pruned whenever their number
    /// may have doubled, so a partition that is polled but never written to holds at most twice its live waiters.
    pub fn add(&mut self, watch: &Arc<Watch>) {
        if self.watches.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.watches.retain(|w| w.strong_count() > 0);
            // A fetch that woke for another partition's sake adds itself again.
            self.watches.sort_unstable_by_key(Weak::as_ptr);
            self.watches.dedup_by_key(|w| w.as_ptr());
            self.prune_at = self.watches.len() * 2;
        }
        self.watches.push(Arc::downgrade(watch));
    }

    pub fn fire_all(&mut self) {
        for watch in self.watches.drain(..).filter_map(|watch| watch.upgrade()) {
            watch.fire();
        }
    }

    /// Fetches among them that live.
    pub fn waiting(&self) -> usize {
        let mut live: Vec<_> = self.watches.iter().filter(|w| w.strong_count() > 0).map(Weak::as_ptr).collect();
        live.sort_unstable();
        live.dedup();
        live.len()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.watches.len()
    }
}

/// The produces that wait for an offset of one partition to be reached, in offset order.
#[derive(Default)]
pub struct OffsetWaiters {
    waiting: VecDeque<(Offset, oneshot::Sender<()>)>,
    prune_at: usize,
}

impl OffsetWaiters {
    /// Below this many nothing is pruned.
    const PRUNE_MIN: usize = 64;

    /// Resolves once [`OffsetWaiters::reached`] was called with at least `end`; is cancelled when the partition goes.
    ///
    /// Waits that were given up are pruned whenever their number may have doubled.
    pub fn wait_for(&mut self, end: Offset) -> oneshot::Receiver<()> {
        if self.waiting.len() >= self.prune_at.max(Self::PRUNE_MIN) {
            self.waiting.retain(|(_, sender)| !sender.is_canceled());
            self.prune_at = self.waiting.len() * 2;
        }
        let (sender, receiver) = oneshot::channel();
        // Appends come in rising order; only a repeated batch, whose original came before, goes further forward.
        let at = match self.waiting.back() {
            Some((last, _)) if *last > end => self.waiting.partition_point(|(wanted, _)| *wanted <= end),
            _ => self.waiting.len(),
        };
        self.waiting.insert(at, (end, sender));
        receiver
    }

    pub fn reached(&mut self, end: Offset) {
        while let Some((wanted, _)) = self.waiting.front() {
            if *wanted > end {
                break;
            }
            let (_, sender) = self.waiting.pop_front().expect("front was there");
            // A produce whose connection closed no longer listens.
            let _ = sender.send(());
        }
    }

    /// Those that wait, and those that gave up and are not pruned yet.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Resolves all waits, for who waits to look again.
    pub fn wake_all(&mut self) {
        self.reached(Offset(i64::MAX));
    }

    /// Cancels all waits.
    pub fn cancel_all(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn watch_fired_before_the_wait_is_seen_once() {
        let watch = Watch::new();
        watch.fire();
        assert!(watch.fired().now_or_never().is_some());
        assert!(watch.fired().now_or_never().is_none());
    }

    #[test]
    fn ended_fetches_do_not_pile_up_on_an_idle_partition() {
        let mut watchers = Watchers::default();
        for _ in 0..10_000 {
            watchers.add(&Watch::new());
        }
        assert!(watchers.len() <= 2 * Watchers::PRUNE_MIN, "{}", watchers.len());
    }

    #[test]
    fn fetches_that_waited_on_several_partitions_are_kept_by_none() {
        let (mut one, mut other) = (Watchers::default(), Watchers::default());
        let lasting = Watch::new();
        for _ in 0..10_000 {
            let watch = Watch::new();
            one.add(&watch);
            other.add(&watch);
            one.add(&lasting);
        }
        assert!(one.len() <= 2 * Watchers::PRUNE_MIN, "{}", one.len());
        assert!(other.len() <= 2 * Watchers::PRUNE_MIN, "{}", other.len());
        one.fire_all();
        assert!(lasting.fired().now_or_never().is_some());
    }

    #[test]
    fn live_fetches_are_all_fired() {
        let mut watchers = Watchers::default();
        let live: Vec<_> = (0..100).map(|_| Watch::new()).collect();
        live.iter().for_each(|w| watchers.add(w));
        watchers.fire_all();
        assert!(live.iter().all(|w| w.fired().now_or_never().is_some()));
    }

    #[test]
    fn only_reached_offsets_are_answered() {
        let mut waiters = OffsetWaiters::default();
        let low = waiters.wait_for(Offset(5));
        let high = waiters.wait_for(Offset(9));
        waiters.reached(Offset(8));
        assert_eq!(low.now_or_never(), Some(Ok(())));
        assert_eq!(high.now_or_never(), None);
    }

    #[test]
    fn a_repeated_batch_waits_for_its_original_only() {
        let mut waiters = OffsetWaiters::default();
        let later = waiters.wait_for(Offset(9));
        let repeated = waiters.wait_for(Offset(5));
        waiters.reached(Offset(5));
        assert_eq!(repeated.now_or_never(), Some(Ok(())));
        assert_eq!(later.now_or_never(), None);
    }

    #[test]
    fn waits_that_were_given_up_do_not_pile_up() {
        let mut waiters = OffsetWaiters::default();
        let kept = waiters.wait_for(Offset(5));
        for _ in 0..10_000 {
            drop(waiters.wait_for(Offset(9)));
        }
        assert!(waiters.waiting.len() <= 2 * OffsetWaiters::PRUNE_MIN, "{}", waiters.waiting.len());
        waiters.reached(Offset(5));
        assert_eq!(kept.now_or_never(), Some(Ok(())));
    }

    #[test]
    fn a_removed_partition_cancels_its_waits() {
        let mut waiters = OffsetWaiters::default();
        let wait = waiters.wait_for(Offset(5));
        waiters.cancel_all();
        assert_eq!(wait.now_or_never(), Some(Err(oneshot::Canceled)));
    }
}
