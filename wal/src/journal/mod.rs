//! The shard's journal: where small commits of many logs become durable together, by one write.
//!
//! A commit that touches many logs costs one write each if it goes to their segments, however small. Beyond a few logs it
//! goes to the journal instead, as one record that holds every log's new frames, and the segments are written later, in
//! larger pieces ([`crate::write_back`]). The journal is a *physical redo log*: an entry says which bytes belong where in
//! which segment, so replaying it is writing them there, and what follows is the ordinary recovery of each log.
//!
//! Contract:
//! - The journal is a ring of regions, files of one size that were written and synced before their first use. A region is
//!   used again only when every log whose frames it holds has them in its own file, durably. Until then they also stay in
//!   memory, so the journal's size bounds that memory, and a full journal makes commits go to the segments: slower.
//! - An entry counts only if its frames carry the incarnation that their log's checkpoint has. Opening and truncating a
//!   log raise that, after everything durable is in the segments; so no entry ever undoes a truncation, comes back for a
//!   topic that was deleted and created again, or needs to be removed for either. The same holds for a log that is deleted
//!   and begins anew under its old identity: it begins above every incarnation that was deleted.
//! - Within an incarnation a log is only appended to, so an entry that was written back already is replayed to the same
//!   bytes: replaying twice, or more than needed, changes nothing.
//! - [`replay`] is to be finished for all journals, whatever shards they are of, before any log is opened.
//!
//! Deliberately absent: which commits come here (`group_commit`), and judging frames in segments (`recovery`).

mod record;
mod regions;
pub(crate) mod replay;
pub(crate) mod scan;

use std::path::PathBuf;

use uuid::Uuid;

use crate::file::Storage;
use crate::sidecar::STAGED_SUFFIX;

pub use record::{
    ENTRY_HEADER_BYTES, Entry, EntryPlace, FIRST_RECORD_POSITION, Malformed, RECORD_HEADER_BYTES, Record, RegionDamage,
    RegionHeader, Sequence,
};
pub(crate) use record::{RecordWriter, record_bytes};
pub(crate) use regions::{Journal, RecordRoom, Room};
pub use replay::{ReplayError, ReplayReport, replay};
pub use scan::{JournalDamage, RegionBytes, Scanned, scan_regions};

/// Ending of a region's file name.
pub const REGION_SUFFIX: &str = ".journal";
/// Ending that a region's file gets if something in it could not be replayed: it is kept for people, and never read.
pub const KEPT_SUFFIX: &str = ".kept";

/// Whether a file of this name is a journal's: a region, or one that was being made.
#[must_use]
pub fn is_file_of_journal(name: &str) -> bool {
    name.strip_suffix(STAGED_SUFFIX).unwrap_or(name).ends_with(REGION_SUFFIX)
}

/// The file name of a region.
fn region_name(shard: u32, region: usize) -> String {
    format!("shard-{shard:04}-{region:02}{REGION_SUFFIX}")
}

/// Bounds of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Size of a region's file, in whole blocks.
    pub region_bytes: u64,
    /// At least 2.
    pub regions: usize,
    /// A commit of fewer logs goes to their segments.
    pub logs_min: usize,
    /// A log's part of a commit goes to its segment if it is larger.
    pub entry_bytes_max: u64,
    /// A log that has as many bytes in the journal only is written back.
    pub write_back_bytes: u64,
    /// The journal's files are made after so many commits that would have used it.
    pub commits_before_use: u32,
}

impl Default for JournalConfig {
    fn default() -> JournalConfig {
        JournalConfig {
            region_bytes: 16 << 20,
            regions: 4,
            logs_min: 2,
            entry_bytes_max: 16 << 10,
            write_back_bytes: 64 << 10,
            commits_before_use: 16,
        }
    }
}

/// Where a shard's journal lies.
#[derive(Clone, Debug)]
pub struct JournalPlace<S: Storage> {
    /// May be of another device than the logs'.
    pub storage: S,
    /// An existing directory.
    pub dir: PathBuf,
    /// Number of the shard, for the files' names.
    pub shard: u32,
    /// Never used before: tells this journal's records from those of any other.
    pub id: Uuid,
    pub config: JournalConfig,
}
