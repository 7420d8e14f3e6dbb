//! Looking at a log's files from outside: `ringlog wal dump` and `ringlog wal verify`.
//!
//! What only a journal has is shown where it belongs in the log, if a [`JournalView`] is given; the journal itself is shown
//! by [`inspect_journal`].
//!
//! Contract: changes nothing, needs no runtime and no O_DIRECT, and works while a broker writes. Frames are judged by the
//! code that recovery uses, and unlike recovery every segment is read, sealed ones included.
//!
//! While a broker writes, its last commit may be half on disk: that shows as a tail, not as damage. What looks like damage
//! in the last segment is looked at again before it is reported, since the page cache may have been behind. Where a
//! compaction replaces segments meanwhile, the directory is listed anew, and the inspection goes on behind what it has shown.
//!
//! Deliberately absent: repair. What is damaged comes back from a replica or a backup.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::Offset;
use protocol::record_batch::BatchHeader;

use crate::checkpoint::{CHECKPOINT_FILE, Checkpoint, CheckpointFile};
use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile};
use crate::frame::{FrameDamage, FrameInfo, Incarnation};
use crate::journal::{JournalDamage, Malformed, RegionDamage, Sequence};
use crate::log::LogIdentity;
use crate::recovery::{Corruption, IncarnationRule, ScanError, ScanTask, TailCut, scan_segment};
use crate::segment::{HeaderDamage, NameKind, SegmentHeader, SegmentSummary, file_name, parse_file_name};
use crate::sidecar::{self, Content, Kind};

mod journal;
mod read_only;
#[cfg(test)]
mod tests;

pub use journal::{JournalInspection, JournalItem, JournalView, inspect_journal, is_journal};
use read_only::{Overlay, ReadOnlyFile, ReadOnlyStorage, run};

/// How often something in the last segment, or in a journal, is looked at before it counts as damaged.
const LOOKS: usize = 3;

/// One frame of a segment, whose checksums are both good.
#[derive(Clone, Copy, Debug)]
pub struct InspectedFrame<'a> {
    pub path: &'a Path,
    /// Bytes from the begin of the file.
    pub position: u64,
    /// Header and padding included.
    pub frame_bytes: u64,
    /// The frame's CRC-32; the batch has its own CRC-32C.
    pub frame_crc: u32,
    pub frame: FrameInfo,
    pub batch: BatchHeader,
    /// The segment's file does not have it yet.
    pub only_in_journal: bool,
    /// Where its segment ends, if compaction wrote that.
    pub compacted_up_to: Option<Offset>,
    /// Of a whole log: every record lies below the log start offset. Nobody reads it any more, and when it goes is up to
    /// each replica.
    pub below_log_start: bool,
}

impl InspectedFrame<'_> {
    /// Offsets that the frame stands for before its batch begins: compaction dropped what was there.
    #[must_use]
    pub fn gap_offsets(&self) -> u64 {
        (self.batch.base_offset.0 - self.frame.base_offset.0).unsigned_abs()
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error(transparent)]
    Frame(Box<Corruption>),
    #[error("{}: {found}", path.display())]
    Header { path: PathBuf, found: HeaderDamage },
    #[error("{} belongs to another log ({found:?}) than its checkpoint says ({expected:?})", path.display())]
    Identity { path: PathBuf, expected: LogIdentity, found: LogIdentity },
    #[error("{} begins at offset {found}, its name says {expected}", path.display())]
    BaseOffset { path: PathBuf, expected: Offset, found: Offset },
    #[error("{} has no readable checkpoint", dir.display())]
    Checkpoint { dir: PathBuf },
    #[error("{} lacks the segment with offset {offset}", dir.display())]
    SegmentMissing { dir: PathBuf, offset: Offset },
    #[error("{} does not describe its segment: it ends at offset {found}, the segment at {expected}", path.display())]
    IndexMismatch { path: PathBuf, expected: Offset, found: Offset },
    /// The next open builds it anew.
    #[error("{} is missing or unreadable; the next start builds it anew", path.display())]
    IndexUnreadable { path: PathBuf },
    /// Of a cut or a restart that a crash interrupted; the next open removes it.
    #[error("{} was cut off; the next start removes it", path.display())]
    CutOff { path: PathBuf },
    /// Of a compaction that a crash interrupted; the next open removes it.
    #[error("{} was superseded by the compacted segment before it; the next start removes it", path.display())]
    Superseded { path: PathBuf },
    #[error("{} is no region of a journal: {found}", path.display())]
    RegionHeader { path: PathBuf, found: RegionDamage },
    #[error(transparent)]
    Journal(Box<JournalDamage>),
    #[error("{}, record {sequence}: {found}", path.display())]
    JournalRecord { path: PathBuf, sequence: Sequence, found: Malformed },
    #[error(
        "{}, record {sequence}: the frames for {} partition {} do not fit their checksums: {found}",
        path.display(), identity.topic_id, identity.partition
    )]
    JournalFrames { path: PathBuf, sequence: Sequence, identity: LogIdentity, found: FrameDamage },
    #[error("{entries} entries of the journal should have a place in {} and have none", dir.display())]
    Unplaced { dir: PathBuf, entries: usize },
    /// Never acknowledged; the next open cuts it.
    #[error(
        "{} ends at byte {}, offset {}: behind it stands a tail that was never acknowledged ({}), the next start cuts it",
        .0.path.display(), .0.position, .0.offset, .0.found
    )]
    Tail(TailCut),
}

impl Finding {
    /// Whether something acknowledged may be lost; else the next start of the broker deals with it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        !matches!(
            self,
            Finding::IndexUnreadable { .. } | Finding::CutOff { .. } | Finding::Superseded { .. } | Finding::Tail(_)
        )
    }
}

/// What an inspection saw.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Inspection {
    pub checkpoint: Option<Checkpoint>,
    pub segments: usize,
    /// Those of the segments that compaction wrote.
    pub compacted_segments: usize,
    pub frames: u64,
    pub records: u64,
    /// Frames that begin before their batch, and the offsets between: whole batches that compaction dropped there. Records that
    /// it took out of a batch are not among them.
    pub gaps: u64,
    pub gap_offsets: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Those of the frames that only the journal has.
    pub journal_frames: u64,
    /// Offset after the last good frame.
    pub log_end: Offset,
    /// In the order of the log.
    pub findings: Vec<Finding>,
}

impl Inspection {
    /// No finding is damage.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(Finding::is_damage)
    }
}

/// Why nothing could be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("{} is neither a segment (<offset>.log) nor the directory of a partition", path.display())]
    NotALog { path: PathBuf },
}

/// Directories of partitions at or below `path`: itself, or those in it (a data directory).
pub fn find_logs(path: &Path) -> Result<Vec<PathBuf>, InspectError> {
    if is_partition(path) {
        return Ok(vec![path.to_owned()]);
    }
    let names = run(ReadOnlyStorage.list_dir(path))?;
    Ok(names.into_iter().map(|name| path.join(name)).filter(|path| is_partition(path)).collect())
}

fn is_partition(dir: &Path) -> bool {
    let has_segments = || {
        let names = run(ReadOnlyStorage.list_dir(dir)).unwrap_or_default();
        names.iter().any(|name| matches!(parse_file_name(name), Some((_, NameKind::Log))))
    };
    dir.join(CHECKPOINT_FILE).exists() || has_segments()
}

/// Reads everything in a partition's directory, or one segment, and says what is wrong. `journal` was read before.
pub fn verify(path: &Path, journal: Option<&JournalView>) -> Result<Inspection, InspectError> {
    inspect(path, journal, |_| {})
}

/// As [`verify`], and shows every good frame, in the order of the log.
pub fn inspect(
    path: &Path,
    journal: Option<&JournalView>,
    mut on_frame: impl FnMut(&InspectedFrame<'_>),
) -> Result<Inspection, InspectError> {
    let mut inspection = Inspection::default();
    let overlays = |dir: &Path| journal.map_or_else(Default::default, |journal| journal.overlays(dir));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some((base, NameKind::Log)) = parse_file_name(name) {
        let (mut overlays, _): (HashMap<Offset, Overlay>, usize) =
            path.parent().map_or_else(Default::default, overlays);
        let overlay = overlays.remove(&base).unwrap_or_default();
        let view =
            SegmentView { path, base, shown: base, checkpoint: None, sealed_end: None, is_as_listed: true, overlay };
        return match view.inspect(&mut inspection, &mut on_frame) {
            Ok(()) => Ok(inspection),
            Err(Interruption::Failed(error)) => Err(error),
            Err(Interruption::Replaced) => unreachable!("it is as it is"),
        };
    }
    if !path.is_dir() || !is_partition(path) {
        return Err(InspectError::NotALog { path: path.to_owned() });
    }
    inspection.checkpoint = match run(CheckpointFile::load(&ReadOnlyStorage, path))? {
        Some(Ok((_, checkpoint))) => Some(checkpoint),
        Some(Err(_)) | None => {
            inspection.findings.push(Finding::Checkpoint { dir: path.to_owned() });
            None
        }
    };
    let mut bases = segments(path)?;
    if let Some(checkpoint) = inspection.checkpoint {
        let log_start = checkpoint.log_start;
        bases = without_leftovers(path, bases, &checkpoint, &mut inspection.findings);
        let restarting = checkpoint.is_restarted() && checkpoint.is_beginning() && bases.is_empty();
        if bases.first().is_none_or(|first| *first > log_start) && !restarting {
            inspection.findings.push(Finding::SegmentMissing { dir: path.to_owned(), offset: log_start });
        }
        // Until a frame says more.
        inspection.log_end = log_start;
    }
    let (overlays, entries) = overlays(path);
    if entries > 0 {
        inspection.findings.push(Finding::Unplaced { dir: path.to_owned(), entries });
    }
    let mut at = 0;
    // Up to here everything was shown.
    let mut shown = Offset(i64::MIN);
    let mut is_as_listed = false;
    while let Some(&base) = bases.get(at) {
        let segment = path.join(file_name(base, NameKind::Log));
        let view = SegmentView {
            path: &segment,
            base,
            shown: shown.max(base),
            checkpoint: inspection.checkpoint,
            sealed_end: bases.get(at + 1).copied(),
            is_as_listed,
            overlay: overlays.get(&base).cloned().unwrap_or_default(),
        };
        match view.inspect(&mut inspection, &mut on_frame) {
            Ok(()) => {
                shown = inspection.log_end.max(shown);
                at += 1;
                is_as_listed = false;
            }
            // A compaction or retention was here meanwhile, if the directory says so.
            Err(Interruption::Replaced) => {
                let listed = listed_anew(path, inspection.checkpoint.as_ref())?;
                is_as_listed = listed == bases;
                at = resume(&listed, shown);
                bases = listed;
            }
            Err(Interruption::Failed(error)) => return Err(error),
        }
    }
    Ok(inspection)
}

/// Base offsets of the segments in a directory, in order.
fn segments(dir: &Path) -> Result<Vec<Offset>, IoError> {
    let names = run(ReadOnlyStorage.list_dir(dir))?;
    let mut bases: Vec<Offset> = Vec::new();
    for name in names {
        if let Some((base, NameKind::Log)) = parse_file_name(&name) {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// The segments as they are now.
fn listed_anew(dir: &Path, checkpoint: Option<&Checkpoint>) -> Result<Vec<Offset>, IoError> {
    let bases = segments(dir)?;
    // What is left over was told of before, or is about to go.
    Ok(match checkpoint {
        Some(checkpoint) => without_leftovers(dir, bases, checkpoint, &mut Vec::new()),
        None => bases,
    })
}

/// The place of the segment that has what follows on `shown`.
fn resume(bases: &[Offset], shown: Offset) -> usize {
    bases.partition_point(|base| *base <= shown).saturating_sub(1)
}

/// Without the segments that a truncation, a restart or a compaction has made a thing of the past.
fn without_leftovers(
    dir: &Path,
    bases: Vec<Offset>,
    checkpoint: &Checkpoint,
    findings: &mut Vec<Finding>,
) -> Vec<Offset> {
    let mut kept = Vec::new();
    let mut superseded_below = Offset(i64::MIN);
    for base in bases {
        let path = dir.join(file_name(base, NameKind::Log));
        let header = read_header(&path);
        if header.is_some_and(|header| checkpoint.is_gone(base, header.incarnation)) {
            findings.push(Finding::CutOff { path });
        } else if base < superseded_below {
            findings.push(Finding::Superseded { path });
        } else {
            let compacted = header.and_then(|header| header.compacted);
            superseded_below = compacted.map_or(superseded_below, |compacted| compacted.end_offset);
            kept.push(base);
        }
    }
    kept
}

fn read_header(path: &Path) -> Option<SegmentHeader> {
    run(async {
        let file = ReadOnlyStorage.open(path, Access::Read).await.ok()?;
        SegmentHeader::decode(&file.read_at(0, BLOCK_BYTES).await.ok()?).ok()
    })
}

/// One segment, with what is known of it from outside.
struct SegmentView<'a> {
    path: &'a Path,
    base: Offset,
    /// Frames up to here were shown before.
    shown: Offset,
    checkpoint: Option<Checkpoint>,
    /// Where the next segment begins.
    sealed_end: Option<Offset>,
    /// The directory was looked at again, and is what `sealed_end` says.
    is_as_listed: bool,
    /// What only the journal has of it, or had when the journal was read.
    overlay: Overlay,
}

/// Why a segment was not inspected.
enum Interruption {
    /// It is not there, or not what it was when the directory was listed.
    Replaced,
    Failed(InspectError),
}

impl From<IoError> for Interruption {
    fn from(error: IoError) -> Interruption {
        Interruption::Failed(error.into())
    }
}

impl SegmentView<'_> {
    fn inspect(
        &self,
        inspection: &mut Inspection,
        on_frame: &mut impl FnMut(&InspectedFrame<'_>),
    ) -> Result<(), Interruption> {
        let file = match run(ReadOnlyStorage.open(self.path, Access::Read)) {
            Err(error) if error.is_not_found() && !self.is_as_listed => return Err(Interruption::Replaced),
            opened => opened?,
        };
        let header = match SegmentHeader::decode(&run(file.read_at(0, BLOCK_BYTES))?) {
            Ok(header) => header,
            Err(found) => {
                inspection.findings.push(Finding::Header { path: self.path.to_owned(), found });
                return Ok(());
            }
        };
        if header.base_offset != self.base {
            let (path, expected, found) = (self.path.to_owned(), self.base, header.base_offset);
            inspection.findings.push(Finding::BaseOffset { path, expected, found });
            return Ok(());
        }
        if let Some(expected) = self.checkpoint.map(|checkpoint| checkpoint.identity)
            && expected != header.identity
        {
            let (path, found) = (self.path.to_owned(), header.identity);
            inspection.findings.push(Finding::Identity { path, expected, found });
            return Ok(());
        }
        // What a journal still has of a segment that was compacted belongs into the one that this was made of.
        let overlay = if header.compacted.is_some() { Overlay::default() } else { self.overlay.clone() };
        let file = Rc::new(file.with_overlay(overlay));
        let cut = self.checkpoint.filter(|checkpoint| checkpoint.cuts_into(&header));
        let compacted = header.compacted.filter(|_| cut.is_none());
        if let Some(compacted) = compacted
            && self.checkpoint.is_some()
            && self.sealed_end != Some(compacted.end_offset)
        {
            if !self.is_as_listed {
                return Err(Interruption::Replaced);
            }
            let dir = self.path.parent().unwrap_or(Path::new("")).to_owned();
            inspection.findings.push(Finding::SegmentMissing { dir, offset: compacted.end_offset });
        }
        inspection.segments += 1;
        inspection.compacted_segments += usize::from(compacted.is_some());
        let log_start = self.checkpoint.map_or(Offset::ZERO, |checkpoint| checkpoint.log_start);
        let looks = if self.sealed_end.is_some() { 1 } else { LOOKS };
        let mut shown = self.shown;
        let mut unread = None;
        for look in 1..=looks {
            let scan = run(scan_segment(self.task(&header, file.clone()), |frame| {
                if frame.info.next_offset() <= shown {
                    return;
                }
                shown = frame.info.next_offset();
                inspection.frames += 1;
                inspection.records += u64::from(frame.batch.record_count.unsigned_abs());
                inspection.bytes += frame.info.frame_bytes();
                inspection.log_end = shown;
                let only_in_journal = file.is_overlaid(frame.position..frame.end_position).unwrap_or_else(|error| {
                    unread.get_or_insert(error);
                    false
                });
                inspection.journal_frames += u64::from(only_in_journal);
                let inspected = InspectedFrame {
                    path: self.path,
                    position: frame.position,
                    frame_bytes: frame.info.frame_bytes(),
                    frame_crc: frame.crc,
                    frame: frame.info,
                    batch: frame.batch,
                    only_in_journal,
                    compacted_up_to: compacted.map(|compacted| compacted.end_offset),
                    below_log_start: frame.info.last_offset < log_start,
                };
                inspection.gaps += u64::from(inspected.gap_offsets() > 0);
                inspection.gap_offsets += inspected.gap_offsets();
                on_frame(&inspected);
            }));
            if let Some(error) = unread.take() {
                return Err(error.into());
            }
            match scan {
                Ok(scan) => {
                    inspection.findings.extend(scan.cut.map(Finding::Tail));
                    inspection.findings.extend(self.check_index(&header, &scan.summary)?);
                    break;
                }
                Err(ScanError::Corrupt(_)) if look < looks => {}
                Err(ScanError::Corrupt(corruption)) => inspection.findings.push(Finding::Frame(corruption)),
                Err(ScanError::Io(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn task(&self, header: &SegmentHeader, file: Rc<ReadOnlyFile>) -> ScanTask<ReadOnlyStorage> {
        let anything = IncarnationRule { current: Incarnation(u32::MAX), settled_position: u64::MAX };
        ScanTask {
            path: self.path.to_owned(),
            file,
            base: self.base,
            seed: header.seed(),
            rule: self.checkpoint.map_or(anything, |checkpoint| IncarnationRule::of(&checkpoint, header)),
            whole: header.compacted,
            synced: self.checkpoint.map_or(Offset::ZERO, |checkpoint| checkpoint.settled.offset),
            sealed_end: header.compacted.map_or(self.sealed_end, |compacted| Some(compacted.end_offset)),
            stop_at: self.checkpoint.filter(|checkpoint| checkpoint.cuts_into(header)).map(|cut| cut.settled.offset),
            interval_bytes: u64::MAX,
            now_ms: i64::MAX,
        }
    }

    fn check_index(&self, header: &SegmentHeader, scanned: &SegmentSummary) -> Result<Option<Finding>, IoError> {
        let (Some(_), Some(dir)) = (self.sealed_end, self.path.parent()) else { return Ok(None) };
        let name = file_name(self.base, NameKind::Index);
        let path = dir.join(&name);
        let found = match run(sidecar::read(&ReadOnlyStorage, dir, &name, Kind::Index))? {
            Content::Payload(payload) => SegmentSummary::decode(&payload),
            Content::Missing | Content::Damaged => None,
        };
        let finding = match found {
            None => Some(Finding::IndexUnreadable { path }),
            Some((found, _))
                if (found.next_offset, found.end_position) != (scanned.next_offset, scanned.end_position) =>
            {
                let (expected, found) = (scanned.next_offset, found.next_offset);
                Some(Finding::IndexMismatch { path, expected, found })
            }
            Some(_) => None,
        };
        // The index goes with its segment when another takes that one's place, and that brings its own.
        Ok(finding.filter(|_| read_header(self.path).is_some_and(|found| found == *header)))
    }
}
