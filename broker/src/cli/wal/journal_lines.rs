//! What regions, records and entries of a journal look like; see [`super::lines`].

use std::fmt;
use std::path::Path;

use serde::Serialize;
use wal::frame::FrameInfo;
use wal::inspect::JournalInspection;
use wal::journal::{EntryPlace, Record, RegionHeader};

/// The begin of a region.
#[derive(Debug, Serialize)]
pub(super) struct RegionLine {
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    shard: u32,
    region: u32,
    /// The journal's id.
    journal: String,
    region_bytes: u64,
    done_before: u64,
}

impl RegionLine {
    pub(super) fn new(path: &Path, header: &RegionHeader) -> RegionLine {
        RegionLine {
            kind: "region",
            path: path.display().to_string(),
            shard: header.shard,
            region: header.region,
            journal: header.journal.to_string(),
            region_bytes: header.region_bytes,
            done_before: header.done_before.0,
        }
    }
}

impl fmt::Display for RegionLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "region {} shard={} region={} journal={} region_bytes={} done_before={}",
            self.path, self.shard, self.region, self.journal, self.region_bytes, self.done_before,
        )
    }
}

/// A record: what one commit wrote.
#[derive(Debug, Serialize)]
pub(super) struct RecordLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Bytes from the begin of the region.
    position: u64,
    /// Up to the next record.
    bytes: u64,
    sequence: u64,
    settled_before: u64,
    entries: u32,
    /// A start would replay it.
    needed: bool,
}

impl RecordLine {
    pub(super) fn new(position: u64, record: &Record<'_>, needed: bool) -> RecordLine {
        RecordLine {
            kind: "record",
            position,
            bytes: record.bytes,
            sequence: record.sequence.0,
            settled_before: record.settled_before.0,
            entries: record.entries,
            needed,
        }
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  record position={} bytes={} sequence={} settled_before={} entries={} needed={}",
            self.position, self.bytes, self.sequence, self.settled_before, self.entries, self.needed,
        )
    }
}

/// One log's part of a record.
#[derive(Debug, Serialize)]
pub(super) struct EntryLine {
    #[serde(rename = "type")]
    kind: &'static str,
    topic_id: String,
    partition: i32,
    segment_base: i64,
    /// Bytes from the begin of the segment.
    position: u64,
    bytes: u64,
    /// Of the first frame; left out if that is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<u32>,
    /// First and last offset of each.
    frames: Vec<(i64, i64)>,
}

impl EntryLine {
    pub(super) fn new(place: &EntryPlace, bytes: u64, frames: &[FrameInfo]) -> EntryLine {
        EntryLine {
            kind: "entry",
            topic_id: place.identity.topic_id.to_string(),
            partition: place.identity.partition.0,
            segment_base: place.segment_base.0,
            position: place.position,
            bytes,
            incarnation: frames.first().map(|frame| frame.incarnation.0),
            frames: frames.iter().map(|frame| (frame.base_offset.0, frame.last_offset.0)).collect(),
        }
    }
}

impl fmt::Display for EntryLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "    entry topic_id={} partition={} segment_base={} position={} bytes={}",
            self.topic_id, self.partition, self.segment_base, self.position, self.bytes,
        )?;
        if let Some(incarnation) = self.incarnation {
            write!(f, " incarnation={incarnation}")?;
        }
        let frames: Vec<String> = self.frames.iter().map(|(first, last)| format!("{first}..{last}")).collect();
        write!(f, " frames={}", frames.join(","))
    }
}

/// What the journals at a path came to.
#[derive(Debug, Serialize)]
pub(super) struct JournalLine {
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    damaged: bool,
    journals: usize,
    regions: usize,
    records: usize,
    /// Those that a start would replay, and what is in them.
    needed_records: usize,
    needed_entries: usize,
    /// Of frames.
    needed_bytes: u64,
}

impl JournalLine {
    pub(super) fn new(path: &Path, inspection: &JournalInspection) -> JournalLine {
        JournalLine {
            kind: "journal",
            path: path.display().to_string(),
            damaged: !inspection.is_good(),
            journals: inspection.journals,
            regions: inspection.regions,
            records: inspection.records,
            needed_records: inspection.needed_records,
            needed_entries: inspection.needed_entries,
            needed_bytes: inspection.needed_bytes,
        }
    }
}

impl fmt::Display for JournalLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<7} {} journals={} regions={} records={} needed_records={} needed_entries={} needed_bytes={}",
            if self.damaged { "DAMAGED" } else { "OK" },
            self.path,
            self.journals,
            self.regions,
            self.records,
            self.needed_records,
            self.needed_entries,
            self.needed_bytes,
        )
    }
}
