//! Opening a log: what is on disk becomes a log again, or is refused with its place.
//!
//! What is read: the checkpoint; the header block of each segment; the index of each sealed segment, which was written
//! and synced before its successor existed and is trusted (a sealed segment is scanned only if its index is missing or
//! damaged); and all of the last segment, every frame with both checksums, unless the log was closed in order. So
//! recovery reads at most one segment per log, and `segment.bytes` bounds its time. Damage inside sealed segments shows
//! when they are read (every frame's checksum is checked on the way to a consumer) or by `ringlog wal verify`.
//!
//! What is written, in this order: the last segment is synced, so that what was found is what stays; then the checkpoint
//! with a new incarnation and the end as settled, from which moment on nothing behind the end is data. A refused log is
//! left as it is.
//!
//! The decisions are in [`decision`]; this module executes them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::{LeaderEpoch, Offset};

use crate::checkpoint::{CHECKPOINT_FILE, Checkpoint, CheckpointFile, LogPosition};
use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::{FrameSeed, Incarnation};
use crate::log::{
    ActiveSegment, Log, LogConfig, LogIdentity, LogInner, LogState, Structure, create_segment, read_tail,
};
use crate::segment::{
    FIRST_FRAME_POSITION, HeaderDamage, NameKind, Segment, SegmentHeader, SegmentSummary, file_name, parse_file_name,
};
use crate::segment_index::SegmentIndex;
use crate::shard::ShardInner;
use crate::sidecar::{self, Content, Kind};
use crate::state_snapshot::{self, DerivedState};

pub mod decision;
mod scan;

pub use decision::{CutRule, Refusal};
pub use scan::{BatchDamage, Damage};

use decision::{Circumstances, Verdict, decide};
use scan::{IncarnationRule, ScanPlace, ScannedFrame, Scanner};

/// A frame that was promised to be there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged at byte {position}: expected a frame that begins at offset {offset}, found {found} ({}). \
     Restore the partition from a replica or a backup; `ringlog wal verify` shows what is left",
    path.display(), explain(refusal, synced)
)]
pub struct Corruption {
    pub path: PathBuf,
    /// Bytes from the begin of the file.
    pub position: u64,
    /// Offset that the frame should begin with.
    pub offset: Offset,
    pub found: Damage,
    pub refusal: Refusal,
    /// Everything below this offset is known to have been synced.
    pub synced: Offset,
}

fn explain(refusal: &Refusal, synced: &Offset) -> String {
    match refusal {
        Refusal::SealedDamaged => "the segment was synced to its end before the next one began".to_owned(),
        Refusal::SyncedDamaged => format!("everything below offset {synced} was synced, so this is no torn tail"),
        Refusal::Impossible => "its checksum fits, so no torn write explains it".to_owned(),
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
    #[error("{}: {found}. Restore the partition from a replica or a backup", path.display())]
    Header { path: PathBuf, found: HeaderDamage },
    #[error(
        "{} belongs to topic {} partition {}, expected topic {} partition {}",
        path.display(), found.topic_id, found.partition, expected.topic_id, expected.partition
    )]
    Identity { path: PathBuf, expected: LogIdentity, found: LogIdentity },
    #[error("{} begins at offset {found}, its name says {expected}", path.display())]
    BaseOffset { path: PathBuf, expected: Offset, found: Offset },
    #[error("neither slot of {} is readable: log start offset and incarnation are unknown", path.display())]
    CheckpointDamaged { path: PathBuf },
    #[error("{} has segments but no checkpoint: log start offset and incarnation are unknown", dir.display())]
    CheckpointMissing { dir: PathBuf },
    #[error("{} lacks the segment with offset {offset}; the next one there is {}", dir.display(), display(found))]
    SegmentMissing { dir: PathBuf, offset: Offset, found: Option<Offset> },
}

fn display(offset: &Option<Offset>) -> String {
    offset.map_or("none".to_owned(), |offset| offset.to_string())
}

/// A tail that was never promised and is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailCut {
    pub path: PathBuf,
    /// Bytes from the begin of the file: here the log ends now.
    pub position: u64,
    /// The log end offset.
    pub offset: Offset,
    pub found: Damage,
    pub rule: CutRule,
    /// Valid frames behind the cut that went with it.
    pub valid_frames_beyond: usize,
}

/// What an open found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The log did not exist.
    pub created: bool,
    /// It was closed in order: nothing was scanned.
    pub clean: bool,
    pub segments: usize,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Frames and bytes that were read and checked.
    pub scanned_frames: u64,
    pub scanned_bytes: u64,
    /// Indexes of sealed segments that were missing or damaged and were built anew.
    pub rebuilt_indexes: usize,
    pub cut: Option<TailCut>,
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Corrupt(#[from] Box<Corruption>),
}

impl From<ScanError> for OpenError {
    fn from(error: ScanError) -> OpenError {
        match error {
            ScanError::Io(error) => OpenError::Io(error),
            ScanError::Corrupt(corruption) => OpenError::Corrupt(corruption),
        }
    }
}

/// What a scan of a segment found up to its end.
pub(crate) struct SegmentScan {
    pub(crate) summary: SegmentSummary,
    pub(crate) index: SegmentIndex,
    last_epoch: LeaderEpoch,
    frames: u64,
    read_bytes: u64,
    cut: Option<TailCut>,
}

/// A segment to be scanned.
struct ScanTask<S: Storage> {
    path: PathBuf,
    file: Rc<S::File>,
    base: Offset,
    seed: FrameSeed,
    rule: IncarnationRule,
    /// Everything below is known to have been synced.
    synced: Offset,
    /// `Some`: the segment is sealed and reaches up to this offset.
    sealed_end: Option<Offset>,
    /// Stop before the batch that contains this offset.
    stop_at: Option<Offset>,
    interval_bytes: u64,
    now_ms: i64,
}

/// Reads a segment from its begin; `on_frame` sees every frame.
async fn scan_segment<S: Storage>(
    task: ScanTask<S>,
    mut on_frame: impl FnMut(&ScannedFrame),
) -> Result<SegmentScan, ScanError> {
    let mut scanner: Scanner<S> = Scanner::new(task.file, task.seed, task.rule).await?;
    let mut scan = SegmentScan {
        summary: SegmentSummary::empty(task.base),
        index: SegmentIndex::new(task.interval_bytes),
        last_epoch: LeaderEpoch(0),
        frames: 0,
        read_bytes: 0,
        cut: None,
    };
    let mut place = ScanPlace {
        position: FIRST_FRAME_POSITION,
        offset: task.base,
        epoch: LeaderEpoch(0),
        incarnation: Incarnation(0),
    };
    while task.sealed_end != Some(place.offset) {
        let found = match scanner.next(&place).await? {
            Ok(frame) => {
                if task.stop_at.is_some_and(|stop_at| frame.info.last_offset >= stop_at) {
                    break;
                }
                on_frame(&frame);
                scan.index.note(frame.info.base_offset, frame.position, scan.summary.max_timestamp);
                // The clock of the append is not in the log: the batch's own, unless it is none or ahead.
                let appended_ms = if frame.batch.max_timestamp < 0 { task.now_ms } else { frame.batch.max_timestamp };
                scan.summary.note(&frame.batch, frame.end_position, appended_ms.min(task.now_ms));
                scan.frames += 1;
                place = ScanPlace {
                    position: frame.end_position,
                    offset: frame.info.next_offset(),
                    epoch: frame.info.leader_epoch,
                    incarnation: frame.info.incarnation,
                };
                continue;
            }
            Err(damage) => damage,
        };
        let beyond = scanner.beyond(&place).await?;
        let synced = task.synced.max(beyond.synced.unwrap_or(Offset::ZERO));
        let verdict = decide(Circumstances {
            finding: found.finding(),
            sealed: task.sealed_end.is_some(),
            synced: synced > place.offset,
            valid_beyond: beyond.valid_frames > 0,
        });
        let (path, position, offset) = (task.path, place.position, place.offset);
        match verdict {
            Verdict::Refuse(refusal) => {
                return Err(Box::new(Corruption { path, position, offset, found, refusal, synced }).into());
            }
            Verdict::Cut(rule) => {
                let valid_frames_beyond = beyond.valid_frames;
                scan.cut = Some(TailCut { path, position, offset, found, rule, valid_frames_beyond });
            }
            Verdict::End => {}
        }
        break;
    }
    scan.last_epoch = place.epoch;
    scan.read_bytes = scanner.read_bytes;
    Ok(scan)
}

/// Everything that an open carries along.
struct Opening<S: Storage> {
    shard: Rc<ShardInner<S>>,
    dir: PathBuf,
    identity: LogIdentity,
    config: LogConfig,
    now_ms: i64,
    checkpoint: Checkpoint,
}

struct FoundSegment {
    base: Offset,
    header: SegmentHeader,
}

pub(crate) async fn open<S: Storage>(
    shard: Rc<ShardInner<S>>,
    dir: &Path,
    identity: LogIdentity,
    config: LogConfig,
    now_ms: i64,
) -> Result<(Log<S>, RecoveryReport), OpenError> {
    let storage = &shard.storage;
    storage.create_dir(dir).await?;
    let (mut checkpoint_file, checkpoint, created) = match CheckpointFile::load(storage, dir).await? {
        Some(Ok((file, checkpoint))) => (file, checkpoint, false),
        Some(Err(path)) => return Err(OpenError::CheckpointDamaged { path }),
        None => {
            let (file, checkpoint) = begin_log(storage, dir, identity).await?;
            (file, checkpoint, true)
        }
    };
    if checkpoint.identity != identity {
        let path = dir.join(CHECKPOINT_FILE);
        return Err(OpenError::Identity { path, expected: identity, found: checkpoint.identity });
    }
    let opening = Opening { shard: shard.clone(), dir: dir.to_owned(), identity, config, now_ms, checkpoint };
    let found = opening.find_segments().await?;
    let (log_parts, report) = opening.recover(found, created).await?;
    let RecoveredParts { segments, active, derived, last_epoch, end } = log_parts;

    let incarnation = Incarnation(checkpoint.incarnation.0 + 1);
    let checkpoint = Checkpoint { incarnation, settled: end, clean_end: None, ..checkpoint };
    checkpoint_file.store(storage, &checkpoint).await?;
    opening.remove_leftovers(&segments).await?;
    let state = LogState::new(segments, active, checkpoint.log_start, last_epoch, incarnation);
    let structure = Structure { checkpoint_file, checkpoint, spare_written: None };
    let log = Log::from_parts(shard, opening.dir, config, state, derived.producers, derived.epochs, structure);
    Ok((log, report))
}

/// A new log: the checkpoint comes first, so that segments without one are never taken for a log that was not finished.
async fn begin_log<S: Storage>(
    storage: &S,
    dir: &Path,
    identity: LogIdentity,
) -> Result<(CheckpointFile, Checkpoint), OpenError> {
    let names = storage.list_dir(dir).await?;
    if names.iter().any(|name| matches!(parse_file_name(name), Some((_, NameKind::Log)))) {
        return Err(OpenError::CheckpointMissing { dir: dir.to_owned() });
    }
    let settled = LogPosition { segment_base: Offset::ZERO, position: FIRST_FRAME_POSITION, offset: Offset::ZERO };
    let checkpoint =
        Checkpoint { identity, incarnation: Incarnation(0), log_start: Offset::ZERO, settled, clean_end: None };
    let file = CheckpointFile::create(storage, dir, &checkpoint).await?;
    storage.sync_dir(dir).await?;
    Ok((file, checkpoint))
}

struct RecoveredParts<S: Storage> {
    segments: VecDeque<Rc<Segment<S>>>,
    active: ActiveSegment<S>,
    derived: DerivedState,
    last_epoch: LeaderEpoch,
    end: LogPosition,
}

impl<S: Storage> Opening<S> {
    fn storage(&self) -> &S {
        &self.shard.storage
    }

    fn path(&self, base: Offset, kind: NameKind) -> PathBuf {
        self.dir.join(file_name(base, kind))
    }

    /// The segments in offset order, at least one, without those that a truncation has cut away.
    async fn find_segments(&self) -> Result<Vec<FoundSegment>, OpenError> {
        let mut bases: Vec<Offset> = Vec::new();
        for name in self.storage().list_dir(&self.dir).await? {
            if let Some((base, NameKind::Log)) = parse_file_name(&name) {
                bases.push(base);
            }
        }
        bases.sort_unstable();
        let mut found: Vec<FoundSegment> = Vec::new();
        let mut removed = false;
        let settled = self.checkpoint.settled;
        for base in bases {
            let header = self.read_header(base).await?;
            if base > settled.segment_base && header.incarnation < self.checkpoint.incarnation {
                self.storage().remove(&self.path(base, NameKind::Log)).await?;
                removed = true;
            } else {
                found.push(FoundSegment { base, header });
            }
        }
        if removed {
            // Before the settled position moves on: then nothing would tell such a segment from a good one.
            self.storage().sync_dir(&self.dir).await?;
        }
        if found.is_empty() {
            // Only a log whose creation was interrupted has nothing and misses nothing.
            let untouched = settled.offset == settled.segment_base && self.checkpoint.log_start == settled.offset;
            if !untouched || settled.position != FIRST_FRAME_POSITION {
                return Err(self.missing(settled.segment_base, None));
            }
            if let Some(parent) = self.dir.parent() {
                self.storage().sync_dir(parent).await?;
            }
            let base = settled.segment_base;
            let header =
                SegmentHeader { identity: self.identity, base_offset: base, incarnation: self.checkpoint.incarnation };
            create_segment(self.storage(), &self.dir, &header, None).await?;
            found.push(FoundSegment { base, header });
        }
        if found[0].base > self.checkpoint.log_start {
            return Err(self.missing(self.checkpoint.log_start, Some(found[0].base)));
        }
        let last = found[found.len() - 1].base;
        if last < settled.segment_base {
            return Err(self.missing(settled.segment_base, None));
        }
        Ok(found)
    }

    fn missing(&self, offset: Offset, found: Option<Offset>) -> OpenError {
        OpenError::SegmentMissing { dir: self.dir.clone(), offset, found }
    }

    async fn read_header(&self, base: Offset) -> Result<SegmentHeader, OpenError> {
        let path = self.path(base, NameKind::Log);
        let file = self.storage().open(&path, Access::Read).await?;
        let header = SegmentHeader::decode(&file.read_at(0, BLOCK_BYTES).await?);
        file.close().await?;
        let header = header.map_err(|found| OpenError::Header { path: path.clone(), found })?;
        if header.identity != self.identity {
            return Err(OpenError::Identity { path, expected: self.identity, found: header.identity });
        }
        if header.base_offset != base {
            return Err(OpenError::BaseOffset { path, expected: base, found: header.base_offset });
        }
        Ok(header)
    }

    /// What the sidecar of a segment says, if it is good.
    async fn read_index(&self, base: Offset) -> Result<Option<(SegmentSummary, SegmentIndex)>, IoError> {
        let name = file_name(base, NameKind::Index);
        match sidecar::read(self.storage(), &self.dir, &name, Kind::Index).await? {
            Content::Payload(payload) => Ok(SegmentSummary::decode(&payload)),
            Content::Missing | Content::Damaged => Ok(None),
        }
    }

    fn rule(&self, base: Offset) -> IncarnationRule {
        let settled = self.checkpoint.settled;
        let settled_position = match base.cmp(&settled.segment_base) {
            std::cmp::Ordering::Less => u64::MAX,
            std::cmp::Ordering::Equal => settled.position,
            std::cmp::Ordering::Greater => 0,
        };
        IncarnationRule { current: self.checkpoint.incarnation, settled_position }
    }

    fn task(&self, segment: &FoundSegment, file: Rc<S::File>, sealed_end: Option<Offset>) -> ScanTask<S> {
        ScanTask {
            path: self.path(segment.base, NameKind::Log),
            file,
            base: segment.base,
            seed: segment.header.seed(),
            rule: self.rule(segment.base),
            synced: self.checkpoint.settled.offset,
            sealed_end,
            stop_at: None,
            interval_bytes: self.config.index_interval_bytes,
            now_ms: self.now_ms,
        }
    }

    async fn recover(
        &self,
        found: Vec<FoundSegment>,
        created: bool,
    ) -> Result<(RecoveredParts<S>, RecoveryReport), OpenError> {
        let mut report = RecoveryReport {
            created,
            clean: false,
            segments: found.len(),
            log_start: self.checkpoint.log_start,
            log_end: Offset::ZERO,
            scanned_frames: 0,
            scanned_bytes: 0,
            rebuilt_indexes: 0,
            cut: None,
        };
        let (last, sealed) = found.split_last().expect("find_segments gives at least one");
        let mut segments = VecDeque::with_capacity(found.len());

        let clean = self.clean_end(last.base).await?;
        // Snapshots above this would be of a tail that was cut.
        let newest =
            clean.as_ref().map_or(self.checkpoint.settled.offset.max(last.base), |end| end.summary.next_offset);
        let (mut derived, replay_from) = load_state(self.storage(), &self.dir, newest, found[0].base).await?;

        for (at, segment) in sealed.iter().enumerate() {
            let end = found[at + 1].base;
            let known = self.read_index(segment.base).await?.filter(|(summary, _)| summary.next_offset == end);
            let summary = match known {
                Some((summary, _)) if replay_from >= end => summary,
                known => {
                    let file =
                        Rc::new(self.storage().open(&self.path(segment.base, NameKind::Log), Access::Read).await?);
                    let replay = |frame: &ScannedFrame| replay(&mut derived, frame, replay_from);
                    let scan = scan_segment(self.task(segment, file, Some(end)), replay).await?;
                    report.scanned_frames += scan.frames;
                    report.scanned_bytes += scan.read_bytes;
                    if known.is_none() {
                        report.rebuilt_indexes += 1;
                        let payload = scan.summary.encode(&scan.index);
                        let name = file_name(segment.base, NameKind::Index);
                        sidecar::write(self.storage(), &self.dir, &name, Kind::Index, &payload).await?;
                    }
                    scan.summary
                }
            };
            let uid = self.shard.next_segment_uid();
            segments.push_back(Rc::new(Segment::new(uid, segment.base, segment.header.seed(), summary, None, None)));
        }

        let path = self.path(last.base, NameKind::Log);
        let file = Rc::new(self.storage().open(&path, Access::ReadWrite).await?);
        let usable = clean.filter(|_| replay_from >= newest);
        report.clean = usable.is_some();
        let (summary, index) = match usable {
            Some(end) => (end.summary, end.index),
            None => {
                let replay = |frame: &ScannedFrame| replay(&mut derived, frame, replay_from);
                let scan = scan_segment(self.task(last, file.clone(), None), replay).await?;
                report.scanned_frames += scan.frames;
                report.scanned_bytes += scan.read_bytes;
                report.cut = scan.cut;
                // What was read may still be in the device's cache only; from here on it counts as durable.
                file.sync_data().await?;
                (scan.summary, scan.index)
            }
        };
        let end = LogPosition { segment_base: last.base, position: summary.end_position, offset: summary.next_offset };
        report.log_end = end.offset;
        if self.checkpoint.log_start > end.offset {
            return Err(self.missing(self.checkpoint.log_start, None));
        }
        derived.epochs.truncate_from_start(self.checkpoint.log_start);
        derived.producers.advance_start(end.offset);
        let last_epoch = derived.epochs.latest().map_or(LeaderEpoch(0), |entry| entry.epoch);
        let active = ActiveSegment {
            tail: read_tail(&*file, end.position).await?,
            allocated: block_floor(file.size().await?),
            clean_until: block_ceil(end.position),
            file: file.clone(),
        };
        let uid = self.shard.next_segment_uid();
        let segment = Segment::new(uid, last.base, last.header.seed(), summary, Some(file), Some(index));
        segments.push_back(Rc::new(segment));
        Ok((RecoveredParts { segments, active, derived, last_epoch, end }, report))
    }

    /// The end of a log that was closed in order, if everything that such a close writes is there.
    async fn clean_end(&self, last_base: Offset) -> Result<Option<CleanEnd>, IoError> {
        let Some(end) = self.checkpoint.clean_end.filter(|end| end.segment_base == last_base) else { return Ok(None) };
        let index = self.read_index(last_base).await?;
        Ok(index
            .filter(|(summary, _)| summary.next_offset == end.offset && summary.end_position == end.position)
            .map(|(summary, index)| CleanEnd { summary, index }))
    }

    /// Removes what crashes and truncations left: unfinished files, spares, sidecars that belong to nothing.
    async fn remove_leftovers(&self, segments: &VecDeque<Rc<Segment<S>>>) -> Result<(), IoError> {
        let is_segment = |offset: Offset| segments.iter().any(|segment| segment.base == offset);
        let log_end = segments.back().map_or(Offset::ZERO, |segment| segment.summary.get().next_offset);
        let mut removed = false;
        for name in self.storage().list_dir(&self.dir).await? {
            let superfluous = match parse_file_name(&name) {
                Some((_, NameKind::Log)) => false,
                Some((offset, NameKind::Index)) => !is_segment(offset),
                Some((offset, NameKind::State)) => !is_segment(offset) && offset != log_end,
                None => name.ends_with(sidecar::STAGED_SUFFIX) || name == crate::retention::SPARE_FILE,
            };
            if superfluous {
                self.storage().remove(&self.dir.join(&name)).await?;
                removed = true;
            }
        }
        if removed { self.storage().sync_dir(&self.dir).await } else { Ok(()) }
    }
}

struct CleanEnd {
    summary: SegmentSummary,
    index: SegmentIndex,
}

/// The newest good snapshot at or below `newest`, or an empty state from `start`; and the offset that it stands at.
async fn load_state<S: Storage>(
    storage: &S,
    dir: &Path,
    newest: Offset,
    start: Offset,
) -> Result<(DerivedState, Offset), IoError> {
    let names = storage.list_dir(dir).await?;
    let mut offsets: Vec<Offset> = names
        .iter()
        .filter_map(|name| match parse_file_name(name) {
            Some((offset, NameKind::State)) if offset <= newest && offset >= start => Some(offset),
            _ => None,
        })
        .collect();
    offsets.sort_unstable();
    while let Some(offset) = offsets.pop() {
        if let Some(state) = state_snapshot::read(storage, dir, offset).await? {
            return Ok((state, offset));
        }
    }
    Ok((DerivedState::new(start), start))
}

fn replay(derived: &mut DerivedState, frame: &ScannedFrame, from: Offset) {
    if frame.info.base_offset < from {
        return;
    }
    derived.producers.update(&frame.batch);
    // A good frame's epoch is at least 0: the scan begins with epoch 0 and lets none fall.
    let _ = derived.epochs.assign(frame.info.leader_epoch, frame.info.base_offset);
}

/// Scans a segment of an open, settled log up to the batch that contains `end`.
pub(crate) async fn scan_up_to<S: Storage>(
    log: &LogInner<S>,
    segment: &Segment<S>,
    end: Offset,
) -> Result<SegmentScan, ScanError> {
    scan_open_segment(log, segment, end, |_| {}).await
}

/// Producer state and epochs of an open, settled log at `end`, from the newest snapshot and the log after it.
pub(crate) async fn rebuild_state<S: Storage>(log: &LogInner<S>, end: Offset) -> Result<DerivedState, ScanError> {
    let segments: Vec<_> = log.state.borrow().segments.iter().cloned().collect();
    let (mut derived, from) = load_state(&log.shard.storage, &log.dir, end, segments[0].base).await?;
    for segment in segments {
        if segment.summary.get().next_offset > from && segment.base < end {
            scan_open_segment(log, &segment, end, |frame| replay(&mut derived, frame, from)).await?;
        }
    }
    Ok(derived)
}

async fn scan_open_segment<S: Storage>(
    log: &LogInner<S>,
    segment: &Segment<S>,
    end: Offset,
    on_frame: impl FnMut(&ScannedFrame),
) -> Result<SegmentScan, ScanError> {
    let opening = log.names.opening().await;
    let file = segment.file(&log.shard.storage, &log.dir).await?;
    drop(opening);
    let summary = segment.summary.get();
    let task: ScanTask<S> = ScanTask {
        path: log.dir.join(file_name(segment.base, NameKind::Log)),
        file,
        base: segment.base,
        seed: segment.seed,
        rule: IncarnationRule { current: log.state.borrow().incarnation, settled_position: u64::MAX },
        synced: summary.next_offset,
        sealed_end: Some(summary.next_offset),
        stop_at: Some(end),
        interval_bytes: log.config.get().index_interval_bytes,
        now_ms: summary.last_append_ms.max(0),
    };
    scan_segment(task, on_frame).await
}
