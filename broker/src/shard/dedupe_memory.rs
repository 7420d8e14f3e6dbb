//! Memory for the keys of logs that are compacted, shared by the broker's shards (`log.cleaner.dedupe.buffer.size`).
//!
//! A pass takes as much as it can use of what is free, if need be all: fewer passes over a log with many keys, which is what one
//! cleaner thread of Kafka's has. While a shard waits for memory, the others' passes take an even share at most when they
//! begin, so that it waits for one pass of another shard at the longest.
//!
//! Deliberately absent: how one waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
pub struct DedupeMemory {
    taken_bytes: AtomicUsize,
    waiting: AtomicUsize,
}

/// Taken until it is dropped.
pub struct Taken {
    memory: Arc<DedupeMemory>,
    pub bytes: usize,
}

/// Somebody waits until it is dropped.
pub struct Waiting(Arc<DedupeMemory>);

impl DedupeMemory {
    /// Up to `wanted_bytes` of the `total_bytes` that `shards` shards have together; `None` if there is too little for now.
    /// `waiting` is the caller's, if it waits.
    pub fn take(
        self: &Arc<Self>,
        wanted_bytes: usize,
        total_bytes: usize,
        shards: usize,
        waiting: Option<&Waiting>,
    ) -> Option<Taken> {
        let others_wait = self.waiting.load(Ordering::Relaxed) > usize::from(waiting.is_some());
        let mut bytes = 0;
        let taken = self.taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            let free = total_bytes.saturating_sub(taken);
            bytes = offer(wanted_bytes, free, total_bytes / shards, others_wait)?;
            Some(taken + bytes)
        });
        taken.ok().map(|_| Taken { memory: self.clone(), bytes })
    }

    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }
}

fn offer(wanted: usize, free: usize, even_share: usize, others_wait: bool) -> Option<usize> {
    let most = if others_wait { free.min(even_share) } else { free };
    // With less than its share a pass would rather wait.
    (most >= wanted.min(even_share)).then_some(wanted.min(most))
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.taken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 1_000;

    #[test]
    fn alone_a_pass_takes_all_and_beside_others_what_is_left() {
        let memory = Arc::new(DedupeMemory::default());
        let take = |wanted| memory.take(wanted, TOTAL, 2, None);
        let small = take(300).expect("there is room");
        let large = take(5_000).expect("more than a share is left");
        assert_eq!((small.bytes, large.bytes), (300, 700));
        assert!(take(5_000).is_none() && take(1).is_none());
        drop(small);
        assert!(take(5_000).is_none(), "less than its share, and others are at work");
        assert_eq!(take(200).map(|taken| taken.bytes), Some(200));
        drop(large);
        assert_eq!(take(5_000).map(|taken| taken.bytes), Some(TOTAL), "what was taken came back");
    }

    #[test]
    fn who_waits_gets_a_share_when_the_pass_ends() {
        let memory = Arc::new(DedupeMemory::default());
        let take = || memory.take(5_000, TOTAL, 2, None);
        let all = take().expect("it is free");
        let waiting = memory.wait();
        let take_waited = || memory.take(5_000, TOTAL, 2, Some(&waiting));
        assert!(take_waited().is_none());
        drop(all);
        // The other shard is quicker to begin its next pass.
        let next = take().expect("it is free");
        let waited = take_waited().expect("a share is left");
        assert_eq!((next.bytes, waited.bytes), (500, 500));
        drop((waited, next));
        drop(waiting);
        assert_eq!(take().map(|taken| taken.bytes), Some(TOTAL));
    }

    #[test]
    fn a_total_that_shrinks_or_is_nothing_is_kept_to() {
        let memory = Arc::new(DedupeMemory::default());
        let _much = memory.take(900, TOTAL, 2, None).expect("it is free");
        assert!(memory.take(10, 500, 2, None).is_none());
        assert_eq!(
            memory.take(10, 0, 2, None).map(|taken| taken.bytes),
            Some(0),
            "a pass goes on with a key at a time"
        );
    }
}
