//! When a commit blocks its shard's thread. Pure.
//!
//! Handing a write and a flush to the kernel and sleeping until each is done costs several times what a fast disk needs
//! for both. So while commits are small and the disk is fast, the thread makes the one system call that writes durably and
//! waits in it: about a tenth of a millisecond, in which the next commit gathers.
//!
//! A slow one is followed by a pause of several times what it took, which doubles with each that follows while the pauses
//! pass, and shrinks again with the fast ones: a single stall of a fast disk is soon forgotten, and a disk that often takes
//! its time is rarely waited for.

use std::time::{Duration, Instant};

/// A commit that took longer is slow. A flush of a local NVMe or virtual disk takes 0.03 to 0.2 ms.
const FAST_MAX: Duration = Duration::from_micros(600);

/// The first pause, in times of what the slow commit took.
const PAUSE_FACTOR: u32 = 8;

/// The longest pause, but for what a very slow commit calls for.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Beyond, a clock could not go.
const HOUR: Duration = Duration::from_secs(3600);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct InlineCommits {
    bytes_max: u64,
    /// Commits that blocked and were slow, less those that were fast since.
    slow: u32,
    /// None may block before.
    resume_at: Option<Instant>,
}

impl InlineCommits {
    /// `bytes_max`: of a commit that may block; 0: none may.
    pub(crate) fn new(bytes_max: u64) -> InlineCommits {
        InlineCommits { bytes_max, slow: 0, resume_at: None }
    }

    /// Whether a commit of `bytes` may block now.
    pub(crate) fn may_block(&self, bytes: u64, now: Instant) -> bool {
        bytes <= self.bytes_max && self.resume_at.is_none_or(|resume_at| now >= resume_at)
    }

    /// A commit that blocked took `elapsed` until `now`.
    pub(crate) fn note(&mut self, elapsed: Duration, now: Instant) {
        if elapsed <= FAST_MAX {
            (self.slow, self.resume_at) = (self.slow.saturating_sub(1), None);
            return;
        }
        let factor = PAUSE_FACTOR.saturating_mul(1 << self.slow.min(16));
        self.slow = self.slow.saturating_add(1);
        let longest = PAUSE_MAX.max(elapsed.saturating_mul(PAUSE_FACTOR));
        self.resume_at = Some(now + elapsed.saturating_mul(factor).min(longest).min(HOUR));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(2);

    #[test]
    fn only_small_commits_block() {
        let now = Instant::now();
        let inline = InlineCommits::new(4096);
        assert!(inline.may_block(4096, now) && !inline.may_block(4097, now));
        assert!(!InlineCommits::new(0).may_block(1, now));
    }

    #[test]
    fn a_slow_one_is_followed_by_a_pause_that_doubles_until_one_is_fast() {
        let mut now = Instant::now();
        let mut inline = InlineCommits::new(4096);
        inline.note(FAST_MAX, now);
        assert!(inline.may_block(1, now));
        for factor in [8, 16, 32] {
            inline.note(SLOW, now);
            let pause = SLOW * factor;
            assert!(!inline.may_block(1, now + pause - Duration::from_nanos(1)));
            now += pause;
            assert!(inline.may_block(1, now));
        }
        // Each fast one takes one slow one back.
        for _ in 0..2 {
            inline.note(FAST_MAX, now);
            assert!(inline.may_block(1, now));
        }
        inline.note(SLOW, now);
        assert!(!inline.may_block(1, now + SLOW * 16 - Duration::from_nanos(1)));
        assert!(inline.may_block(1, now + SLOW * 16));
    }

    #[test]
    fn a_disk_that_is_always_slow_blocks_for_a_thousandth_of_the_time() {
        let mut now = Instant::now();
        let mut inline = InlineCommits::new(4096);
        for _ in 0..100 {
            inline.note(SLOW, now);
            now += PAUSE_MAX;
            assert!(inline.may_block(1, now));
        }
        inline.note(SLOW, now);
        assert!(!inline.may_block(1, now + SLOW * 1000));
    }

    #[test]
    fn a_stall_of_seconds_is_followed_by_a_pause_that_is_longer() {
        let now = Instant::now();
        let mut inline = InlineCommits::new(4096);
        inline.note(Duration::from_secs(5), now);
        assert!(!inline.may_block(1, now + Duration::from_secs(39)));
        assert!(inline.may_block(1, now + Duration::from_secs(40)));
        inline.note(Duration::MAX, now);
        assert!(inline.may_block(1, now + HOUR));
    }
}
