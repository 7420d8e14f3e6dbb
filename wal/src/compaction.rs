//! Compaction: of the records with one key, the last one stays (`cleanup.policy=compact`; Kafka's log cleaner).
//!
//! A *pass* reads the dirty part of a log, what no pass has read before, and notes the last offset of every key there
//! ([`OffsetMap`]). Then it writes the sealed segments up to there anew, without the records that a later one supersedes, and
//! lets each of the new ones take the place of those that it was made of. If the keys of the dirty part do not fit the map,
//! the pass reaches as far as they do, and another finishes the rest.
//!
//! Contract:
//! - What remains keeps its offset and its order. Of every key that was written in the dirty part the last value there stays,
//!   and what lies behind it. Batches that lose nothing are copied byte for byte.
//! - A tombstone stays until `delete.retention.ms` after the first pass that met it; the batch says until when (KIP-534).
//! - The last batch of each producer that is still known, and that of each new segment, stays at least as an empty batch: a
//!   restart and a follower learn the sequence, and the offsets up to the segment's end.
//! - The active segment is never touched, nor anything at or above the limit that the caller gives (the high watermark).
//! - Memory: the map's budget, a batch and what it decompresses to, and a few read and write buffers. One read is in flight at
//!   a time, and takes its turn among the shard's ([`crate::read_limit`]); after each piece of work others run ([`Pace`]).
//! - A new segment is written and synced under another name. Its rename is what replaces the old ones, and it says in its
//!   header which those are ([`crate::segment::Compacted`]), so that a crash leaves the one or the others.
//! - Readers of what was replaced go on in the old file, or look again.
//!
//! Transactions are not served, so there are no markers to go by: control batches and those of transactions stay as they are.
//!
//! [`plan`] and [`retention`] decide and do no I/O; [`pass`], [`writer`] and [`install`] execute.

mod install;
mod offset_map;
mod pass;
mod plan;
mod progress;
mod retention;
mod writer;

use protocol::Offset;
use protocol::records::RecordsError;

use crate::file::IoError;
use crate::jobs::LogClosed;
use crate::recovery::Corruption;
use crate::shard::FatalIo;

pub use offset_map::{KeyHashers, OffsetMap};
pub use plan::{Cleanable, CompactionRules};
pub(crate) use progress::{forget as forget_progress, read as read_progress};

/// What a pass is to do.
#[derive(Clone, Debug)]
pub struct CompactionTask {
    pub rules: CompactionRules,
    /// Nothing at or above it is touched.
    pub limit: Offset,
    /// Wall clock, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Memory for the map of keys, in bytes.
    pub map_bytes: usize,
    /// Never the same in two processes, so that nobody can choose keys that are taken for one another.
    pub hashers: KeyHashers,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CompactionReport {
    /// Bytes read from segments, those read twice counted twice, and written to new ones.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Bytes of the segments that were rewritten, before and after.
    pub bytes_before: u64,
    pub bytes_after: u64,
    pub segments_before: usize,
    pub segments_after: usize,
    /// Records looked at, and those that stayed.
    pub records_before: u64,
    pub records_after: u64,
    /// Keys in the map.
    pub keys: usize,
    /// From here on the log is dirty.
    pub first_dirty: Offset,
    /// The map had no room for all dirty keys: another pass finds work at once.
    pub is_partial: bool,
}

/// Lets others go on between two pieces of a pass.
#[allow(async_fn_in_trait, reason = "a log belongs to one thread: no Send bounds are wanted")]
pub trait Pace {
    /// So many bytes were read or written since the last call, 0 after work that took its time; to be waited for as long as a
    /// rate asks for, and until others have gone on. `false`: the pass
    /// is to end, and has changed nothing but what it has installed.
    async fn took(&self, io_bytes: u64) -> bool;
}

/// Why a pass did not come to its end. What it had installed stays; what was dirty is still.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// A truncation, retention or a restart changed what it was at: to be tried again.
    #[error("the log was changed meanwhile")]
    Changed,
    /// [`Pace`] said so.
    #[error("compaction was told to end")]
    Stopped,
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
    #[error("the batch at offset {offset}: {source}")]
    Records { offset: Offset, source: RecordsError },
    #[error(transparent)]
    Io(IoError),
    /// The process must end.
    #[error(transparent)]
    Fatal(#[from] FatalIo),
    #[error(transparent)]
    Closed(#[from] LogClosed),
}
