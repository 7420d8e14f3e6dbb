//! What one shard's logs count. Written by the shard's thread, read by any.
//!
//! Deliberately absent: names and texts, which are the broker's.

use std::time::Duration;

use instruments::{ByteSizes, Counter, Counts, Durations};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct WalMetrics {
    /// Commits by the way that they took.
    pub commits: CommitPaths,
    /// From taking what was waiting until it was durable.
    pub commit_time: Durations,
    /// All writes of a commit, until the last has completed. Not of inline commits.
    pub write_time: Durations,
    /// All syncs of a commit. Not of inline commits.
    pub sync_time: Durations,
    /// The one operation of an inline commit, in which the thread waits.
    pub inline_time: Durations,
    /// Bytes of a commit, as they are written: with headers and padding.
    pub commit_bytes: ByteSizes,
    /// Logs of a commit.
    pub commit_logs: Counts,
    /// Bytes that commits have written to segments, and to the journal.
    pub segment_bytes: Counter,
    pub journal_bytes: Counter,
    /// Pieces, and bytes, that were written to segments out of what only the journal had.
    pub write_backs: Counter,
    pub write_back_bytes: Counter,
    /// Reads that found their first batch in the tail cache, and that did not.
    pub tail_hits: Counter,
    pub tail_misses: Counter,
    /// Chunks that a reader found in memory, and those among them that were read ahead for it.
    pub chunk_hits: Counter,
    pub chunk_ahead_hits: Counter,
    /// Chunks read from disk because a reader waited for them, and ahead of readers; bytes of both.
    pub demanded_reads: Counter,
    pub ahead_reads: Counter,
    pub read_bytes: Counter,
    /// Reads from disk that somebody waited for.
    pub read_time: Durations,
    /// Bytes of frames that were checked, or copied, when logs were opened.
    pub recovered_bytes: Counter,
    /// Segments, and their bytes, that retention has deleted.
    pub deleted_segments: Counter,
    pub deleted_bytes: Counter,
}

/// Commits by the way that they took.
#[derive(Debug, Default)]
pub struct CommitPaths {
    /// One small write, made by a system call in which the thread waited.
    pub inline: Counter,
    /// Each log's part to its segment.
    pub segments: Counter,
    /// All parts together to the journal.
    pub journal: Counter,
    /// Small parts to the journal, large ones to segments.
    pub mixed: Counter,
}

/// What one commit is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitSize {
    pub(crate) logs: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) journal_bytes: u64,
}

impl WalMetrics {
    /// A commit took `elapsed`; `is_inline`: in one operation.
    pub(crate) fn committed(&self, size: CommitSize, is_inline: bool, elapsed: Duration) {
        let CommitSize { logs, segment_bytes, journal_bytes } = size;
        if segment_bytes + journal_bytes == 0 {
            return;
        }
        let path = match (is_inline, segment_bytes > 0, journal_bytes > 0) {
            (true, ..) => &self.commits.inline,
            (false, true, true) => &self.commits.mixed,
            (false, _, true) => &self.commits.journal,
            (false, _, false) => &self.commits.segments,
        };
        path.increment();
        self.commit_time.observe(elapsed);
        if is_inline {
            self.inline_time.observe(elapsed);
        }
        self.commit_bytes.observe(segment_bytes + journal_bytes);
        self.commit_logs.observe(logs as u64);
        self.segment_bytes.add(segment_bytes);
        self.journal_bytes.add(journal_bytes);
    }
}
