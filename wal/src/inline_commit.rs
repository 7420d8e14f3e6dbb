//! When a commit blocks its shard's thread. Pure.
//!
//! Handing a write and a flush to the kernel and sleeping until each is done costs several times what a fast disk needs
//! for both. So while commits are small and were fast lately, the thread makes the one system call that writes durably and
//! waits in it: about a tenth of a millisecond, in which the next commit gathers. The first slow one ends that until
//! enough were fast again, and on a slow disk it never begins: nothing else on the shard waits for a disk that takes its
//! time.

use std::time::Duration;

/// A commit that took longer is slow. A flush of a local NVMe or virtual disk takes 0.03 to 0.2 ms.
const FAST_MAX: Duration = Duration::from_micros(600);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct InlineCommits {
    bytes_max: u64,
    fast_commits_before: u32,
    /// In a row, so far.
    fast_commits: u32,
}

impl InlineCommits {
    /// `bytes_max`: of a commit that may block; 0: none may. `fast_commits_before`: in a row, before one does.
    pub(crate) fn new(bytes_max: u64, fast_commits_before: u32) -> InlineCommits {
        InlineCommits { bytes_max, fast_commits_before, fast_commits: 0 }
    }

    /// Whether a commit of `bytes` may block.
    pub(crate) fn may_block(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max && self.fast_commits >= self.fast_commits_before
    }

    /// A commit, of either kind, took `elapsed`.
    pub(crate) fn note(&mut self, elapsed: Duration) {
        self.fast_commits = if elapsed <= FAST_MAX { self.fast_commits.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_commits_block_after_enough_fast_ones_until_one_is_slow() {
        let mut inline = InlineCommits::new(4096, 3);
        for _ in 0..3 {
            assert!(!inline.may_block(1));
            inline.note(FAST_MAX);
        }
        assert!(inline.may_block(4096) && !inline.may_block(4097));
        inline.note(FAST_MAX + Duration::from_nanos(1));
        assert!(!inline.may_block(1));
        for _ in 0..3 {
            inline.note(Duration::ZERO);
        }
        assert!(inline.may_block(1));
        assert!(!InlineCommits::new(0, 0).may_block(1));
    }
}
