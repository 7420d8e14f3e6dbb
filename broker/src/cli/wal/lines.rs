//! What one frame, batch, log or finding looks like: `key=value` pairs for people and text tools, objects for programs.
//!
//! Both have the same names, Kafka's where it has one.

use std::fmt;
use std::path::Path;

use protocol::record_batch::{BatchHeader, Compression, TimestampType};
use serde::Serialize;
use wal::inspect::{Finding, InspectedFrame, Inspection};

/// A record batch, without anything about where it lies: the same on every replica.
#[derive(Debug, Serialize)]
pub(super) struct BatchLine<'a> {
    /// The partition's directory name, where several logs are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a str>,
    base_offset: i64,
    last_offset: i64,
    leader_epoch: i32,
    records: i32,
    bytes: usize,
    /// CRC-32C, in hexadecimal digits.
    crc: String,
    compression: &'static str,
    timestamp_type: &'static str,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    control: bool,
}

impl<'a> BatchLine<'a> {
    pub(super) fn new(batch: &BatchHeader, log: Option<&'a str>) -> BatchLine<'a> {
        BatchLine {
            log,
            base_offset: batch.base_offset.0,
            last_offset: batch.last_offset().0,
            leader_epoch: batch.leader_epoch.0,
            records: batch.record_count,
            bytes: batch.size_bytes,
            crc: hex(batch.crc),
            compression: match batch.compression() {
                Ok(Compression::None) => "none",
                Ok(Compression::Gzip) => "gzip",
                Ok(Compression::Snappy) => "snappy",
                Ok(Compression::Lz4) => "lz4",
                Ok(Compression::Zstd) => "zstd",
                Err(_) => "unknown",
            },
            timestamp_type: match batch.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp: batch.base_timestamp,
            max_timestamp: batch.max_timestamp,
            producer_id: batch.producer_id.0,
            producer_epoch: batch.producer_epoch,
            base_sequence: batch.base_sequence,
            transactional: batch.is_transactional(),
            control: batch.is_control(),
        }
    }
}

impl fmt::Display for BatchLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(log) = self.log {
            write!(f, "log={log} ")?;
        }
        write!(
            f,
            "base_offset={} last_offset={} leader_epoch={} records={} bytes={} crc={} compression={}",
            self.base_offset, self.last_offset, self.leader_epoch, self.records, self.bytes, self.crc, self.compression,
        )?;
        write!(
            f,
            " timestamp_type={} base_timestamp={} max_timestamp={}",
            self.timestamp_type, self.base_timestamp, self.max_timestamp,
        )?;
        write!(
            f,
            " producer_id={} producer_epoch={} base_sequence={} transactional={} control={}",
            self.producer_id, self.producer_epoch, self.base_sequence, self.transactional, self.control,
        )
    }
}

/// A frame with its place.
#[derive(Debug, Serialize)]
pub(super) struct FrameLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Bytes from the begin of the segment.
    position: u64,
    frame_bytes: u64,
    base_offset: i64,
    last_offset: i64,
    /// Offsets from there to where the batch begins: compaction dropped what was there.
    gap_offsets: u64,
    leader_epoch: i32,
    incarnation: u32,
    /// Log end offset that was synced when the frame was written.
    synced_before: i64,
    /// CRC-32 of the frame, in hexadecimal digits.
    frame_crc: String,
    records: i32,
    batch_bytes: usize,
    /// CRC-32C of the batch, in hexadecimal digits.
    batch_crc: String,
    /// The segment's file does not have it yet.
    only_in_journal: bool,
}

impl FrameLine {
    pub(super) fn new(inspected: &InspectedFrame<'_>) -> FrameLine {
        let InspectedFrame { frame, batch, .. } = inspected;
        FrameLine {
            kind: "frame",
            position: inspected.position,
            frame_bytes: inspected.frame_bytes,
            base_offset: frame.base_offset.0,
            last_offset: frame.last_offset.0,
            gap_offsets: inspected.gap_offsets(),
            leader_epoch: frame.leader_epoch.0,
            incarnation: frame.incarnation.0,
            synced_before: frame.synced_before.0,
            frame_crc: hex(inspected.frame_crc),
            records: batch.record_count,
            batch_bytes: batch.size_bytes,
            batch_crc: hex(batch.crc),
            only_in_journal: inspected.only_in_journal,
        }
    }
}

impl fmt::Display for FrameLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  frame position={} frame_bytes={} base_offset={} last_offset={} leader_epoch={} incarnation={}",
            self.position, self.frame_bytes, self.base_offset, self.last_offset, self.leader_epoch, self.incarnation,
        )?;
        write!(
            f,
            " synced_before={} frame_crc={} records={} batch_bytes={} batch_crc={}",
            self.synced_before, self.frame_crc, self.records, self.batch_bytes, self.batch_crc,
        )?;
        if self.gap_offsets > 0 {
            write!(f, " gap_offsets={}", self.gap_offsets)?;
        }
        if self.only_in_journal { f.write_str(" only_in_journal=true") } else { Ok(()) }
    }
}

/// The begin of a segment.
#[derive(Debug, Serialize)]
pub(super) struct SegmentLine {
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    /// Where it ends, if compaction wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    compacted_up_to: Option<i64>,
}

impl SegmentLine {
    /// Of the segment that has the frame.
    pub(super) fn new(first: &InspectedFrame<'_>) -> SegmentLine {
        let compacted_up_to = first.compacted_up_to.map(|end| end.0);
        SegmentLine { kind: "segment", path: first.path.display().to_string(), compacted_up_to }
    }
}

impl fmt::Display for SegmentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.path)?;
        self.compacted_up_to.map_or(Ok(()), |end| write!(f, " compacted_up_to={end}"))
    }
}

/// Something that is not as it should be. What does not apply to its kind is left out.
#[derive(Debug, Serialize)]
pub(super) struct FindingLine {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Something acknowledged may be lost; otherwise the next start of the broker deals with it.
    damage: bool,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    message: String,
}

impl FindingLine {
    pub(super) fn new(finding: &Finding) -> FindingLine {
        let at = |path: &Path| FindingLine {
            kind: "finding",
            damage: finding.is_damage(),
            path: path.display().to_string(),
            position: None,
            offset: None,
            expected: None,
            found: None,
            message: finding.to_string(),
        };
        let differs = |path: &Path, expected: String, found: String| FindingLine {
            expected: Some(expected),
            found: Some(found),
            ..at(path)
        };
        match finding {
            Finding::Frame(corruption) => FindingLine {
                position: Some(corruption.position),
                offset: Some(corruption.offset.0),
                ..differs(
                    &corruption.path,
                    format!("a frame that begins at offset {}", corruption.offset),
                    corruption.found.to_string(),
                )
            },
            Finding::Tail(tail) => FindingLine {
                position: Some(tail.position),
                offset: Some(tail.offset.0),
                ..differs(&tail.path, "the end of the log".to_owned(), tail.found.to_string())
            },
            Finding::Header { path, found } => {
                FindingLine { position: Some(0), ..differs(path, "a segment header".to_owned(), found.to_string()) }
            }
            Finding::Identity { path, expected, found } => {
                let shown = |identity: &wal::LogIdentity| {
                    format!("topic {} partition {}", identity.topic_id, identity.partition)
                };
                differs(path, shown(expected), shown(found))
            }
            Finding::BaseOffset { path, expected, found } => differs(path, expected.to_string(), found.to_string()),
            Finding::IndexMismatch { path, expected, found } => differs(path, expected.to_string(), found.to_string()),
            Finding::SegmentMissing { dir, offset } => FindingLine { offset: Some(offset.0), ..at(dir) },
            Finding::Checkpoint { dir } | Finding::Unplaced { dir, .. } => at(dir),
            Finding::RegionHeader { path, found } => {
                FindingLine { position: Some(0), ..differs(path, "a region's header".to_owned(), found.to_string()) }
            }
            Finding::Journal(damage) => match &damage.found {
                Some((path, position)) => FindingLine { position: Some(*position), ..at(path) },
                None => at(&damage.dir),
            },
            Finding::JournalRecord { path, .. } | Finding::JournalFrames { path, .. } => at(path),
            Finding::IndexUnreadable { path } | Finding::CutOff { path } | Finding::Superseded { path } => at(path),
        }
    }
}

impl fmt::Display for FindingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {} {}", if self.damage { "damage:" } else { "note:" }, self.message)
    }
}

/// What a whole log came to.
#[derive(Debug, Serialize)]
pub(super) struct LogLine {
    #[serde(rename = "type")]
    kind: &'static str,
    path: String,
    damaged: bool,
    segments: usize,
    /// Those of the segments that compaction wrote.
    compacted_segments: usize,
    batches: u64,
    records: u64,
    /// Batches before which others are gone, by compaction, and the offsets of those.
    gaps: u64,
    gap_offsets: u64,
    /// Of frames.
    bytes: u64,
    /// How many of the batches only the journal has; left out where no journal was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_batches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_start_offset: Option<i64>,
    log_end_offset: i64,
}

impl LogLine {
    pub(super) fn new(path: &Path, inspection: &Inspection, with_journal: bool) -> LogLine {
        let checkpoint = inspection.checkpoint.as_ref();
        LogLine {
            kind: "log",
            path: path.display().to_string(),
            damaged: !inspection.is_good(),
            segments: inspection.segments,
            compacted_segments: inspection.compacted_segments,
            batches: inspection.frames,
            records: inspection.records,
            gaps: inspection.gaps,
            gap_offsets: inspection.gap_offsets,
            bytes: inspection.bytes,
            journal_batches: with_journal.then_some(inspection.journal_frames),
            topic_id: checkpoint.map(|checkpoint| checkpoint.identity.topic_id.to_string()),
            partition: checkpoint.map(|checkpoint| checkpoint.identity.partition.0),
            log_start_offset: checkpoint.map(|checkpoint| checkpoint.log_start.0),
            log_end_offset: inspection.log_end.0,
        }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.damaged { "DAMAGED" } else { "OK" };
        write!(
            f,
            "{verdict:<7} {} segments={} batches={} records={} bytes={}",
            self.path, self.segments, self.batches, self.records, self.bytes
        )?;
        if self.compacted_segments > 0 || self.gaps > 0 {
            let LogLine { compacted_segments, gaps, gap_offsets, .. } = self;
            write!(f, " compacted_segments={compacted_segments} gaps={gaps} gap_offsets={gap_offsets}")?;
        }
        if let Some(journal_batches) = self.journal_batches {
            write!(f, " journal_batches={journal_batches}")?;
        }
        if let (Some(topic_id), Some(partition)) = (&self.topic_id, self.partition) {
            write!(f, " topic_id={topic_id} partition={partition}")?;
        }
        if let Some(log_start) = self.log_start_offset {
            write!(f, " log_start_offset={log_start}")?;
        }
        write!(f, " log_end_offset={}", self.log_end_offset)
    }
}

fn hex(crc: u32) -> String {
    format!("{crc:#010x}")
}
