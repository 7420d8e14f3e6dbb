//! The steps of an open: find the files, scan what must be scanned, settle the end.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::{LeaderEpoch, Offset};

use super::scan::{ScanTask, load_state, replay, scan_segment};
use super::scanner::{IncarnationRule, ScannedFrame};
use super::{OpenError, RecoveryReport};
use crate::checkpoint::{CHECKPOINT_FILE, Checkpoint, CheckpointFile, LogPosition};
use crate::compaction::{forget_progress, read_progress};
use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::Incarnation;
use crate::log::{
    ActiveSegment, Log, LogConfig, LogIdentity, LogState, Structure, copy_prefix, create_segment, read_tail,
};
use crate::segment::{
    FIRST_FRAME_POSITION, NameKind, Segment, SegmentHeader, SegmentSummary, file_name, parse_file_name,
};
use crate::segment_index::SegmentIndex;
use crate::shard::ShardInner;
use crate::sidecar::{self, Content, Kind};
use crate::state_snapshot::DerivedState;

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
            let (file, checkpoint) = begin_log(storage, dir, identity, shard.deleted_incarnation()).await?;
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
    let first_dirty = read_progress(&shard.storage, &opening.dir).await?;
    let log = Log::from_parts(shard, opening.dir, config, state, derived.producers, derived.epochs, structure);
    log.inner.first_dirty.set(first_dirty);
    Ok((log, report))
}

/// A new log: the checkpoint comes first, so that segments without one are never taken for a log that was not finished.
async fn begin_log<S: Storage>(
    storage: &S,
    dir: &Path,
    identity: LogIdentity,
    incarnation: Incarnation,
) -> Result<(CheckpointFile, Checkpoint), OpenError> {
    let names = storage.list_dir(dir).await?;
    if names.iter().any(|name| matches!(parse_file_name(name), Some((_, NameKind::Log)))) {
        return Err(OpenError::CheckpointMissing { dir: dir.to_owned() });
    }
    let settled = LogPosition { segment_base: Offset::ZERO, position: FIRST_FRAME_POSITION, offset: Offset::ZERO };
    let first_incarnation = Incarnation::default();
    let checkpoint =
        Checkpoint { identity, incarnation, first_incarnation, log_start: Offset::ZERO, settled, clean_end: None };
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

    /// The segments in offset order, at least one, without those that a truncation has cut away, a restart replaced or a
    /// compaction superseded.
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
        // Where the last compacted segment ends: what begins before that is superseded by it.
        let mut superseded_below = Offset(i64::MIN);
        for base in bases {
            let header = self.read_header(base).await?;
            if self.checkpoint.is_gone(base, header.incarnation) || base < superseded_below {
                self.storage().remove(&self.path(base, NameKind::Log)).await?;
                removed = true;
            } else {
                superseded_below = header.compacted.map_or(superseded_below, |compacted| compacted.end_offset);
                found.push(FoundSegment { base, header });
            }
        }
        if removed {
            // Before the settled position moves on: then nothing would tell such a segment from a good one.
            self.storage().sync_dir(&self.dir).await?;
        }
        if found.is_empty() {
            // Only a log whose creation or restart was interrupted has nothing and misses nothing.
            if !self.checkpoint.is_beginning() {
                return Err(self.missing(settled.segment_base, None));
            }
            // What the log before knew of producers and epochs must not be found by the new one.
            self.remove_sidecars().await?;
            if let Some(parent) = self.dir.parent() {
                self.storage().sync_dir(parent).await?;
            }
            let base = settled.segment_base;
            let header = self.plain_header(base);
            create_segment(self.storage(), &self.dir, &header, None).await?;
            found.push(FoundSegment { base, header });
        }
        if let Some(cut) = found.iter_mut().find(|segment| self.checkpoint.cuts_into(&segment.header)) {
            let header = self.plain_header(cut.base);
            let count = |bytes| self.shard.metrics.recovered_bytes.add(bytes);
            copy_prefix(self.storage(), &self.dir, &header, settled.position, count).await?;
            cut.header = header;
        }
        // Deletions that a power cut interrupted, in whatever order they became durable.
        let deleted = found.iter().skip(1).take_while(|segment| segment.base <= self.checkpoint.log_start).count();
        found.drain(..deleted);
        if found[0].base > self.checkpoint.log_start {
            return Err(self.missing(self.checkpoint.log_start, Some(found[0].base)));
        }
        let last = found[found.len() - 1].base;
        if last < settled.segment_base {
            return Err(self.missing(settled.segment_base, None));
        }
        for (at, segment) in found.iter().enumerate() {
            let next = found.get(at + 1).map(|next| next.base);
            if let Some(compacted) = segment.header.compacted.filter(|compacted| next != Some(compacted.end_offset)) {
                return Err(self.missing(compacted.end_offset, next));
            }
        }
        Ok(found)
    }

    /// Of a segment that is to be appended to.
    fn plain_header(&self, base: Offset) -> SegmentHeader {
        let incarnation = self.checkpoint.incarnation;
        SegmentHeader { identity: self.identity, base_offset: base, incarnation, compacted: None }
    }

    async fn remove_sidecars(&self) -> Result<(), IoError> {
        forget_progress(self.storage(), &self.dir).await?;
        let mut removed = false;
        for name in self.storage().list_dir(&self.dir).await? {
            if let Some((_, NameKind::Index | NameKind::State)) = parse_file_name(&name) {
                self.storage().remove(&self.dir.join(&name)).await?;
                removed = true;
            }
        }
        if removed { self.storage().sync_dir(&self.dir).await } else { Ok(()) }
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

    fn task(&self, segment: &FoundSegment, file: Rc<S::File>, sealed_end: Option<Offset>) -> ScanTask<S> {
        ScanTask {
            path: self.path(segment.base, NameKind::Log),
            file,
            base: segment.base,
            seed: segment.header.seed(),
            rule: IncarnationRule::of(&self.checkpoint, &segment.header),
            whole: segment.header.compacted,
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
        // A long scan is seen to get on.
        let count = |frame: &ScannedFrame| self.shard.metrics.recovered_bytes.add(frame.info.frame_bytes());
        let (mut derived, replay_from) = load_state(self.storage(), &self.dir, newest, found[0].base).await?;

        for (at, segment) in sealed.iter().enumerate() {
            let end = found[at + 1].base;
            let compacted = segment.header.compacted;
            let fits = |summary: &SegmentSummary| {
                summary.next_offset == end
                    && compacted.is_none_or(|compacted| summary.end_position == compacted.end_position)
            };
            let known = self.read_index(segment.base).await?.filter(|(summary, _)| fits(summary));
            let summary = match known {
                Some((summary, _)) if replay_from >= end => summary,
                known => {
                    let file =
                        Rc::new(self.storage().open(&self.path(segment.base, NameKind::Log), Access::Read).await?);
                    let replay = |frame: &ScannedFrame| {
                        count(frame);
                        replay(&mut derived, frame, replay_from);
                    };
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
            segments.push_back(Rc::new(Segment::new(uid, &segment.header, summary, None, None)));
        }

        let path = self.path(last.base, NameKind::Log);
        let file = Rc::new(self.storage().open(&path, Access::ReadWrite).await?);
        let file_bytes = file.size().await?;
        // A file that has lost its end is for the scan to judge.
        let usable = clean.filter(|end| replay_from >= newest && end.summary.end_position <= file_bytes);
        report.clean = usable.is_some();
        let (summary, index) = match usable {
            Some(end) => (end.summary, end.index),
            None => {
                let replay = |frame: &ScannedFrame| {
                    count(frame);
                    replay(&mut derived, frame, replay_from);
                };
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
        let segment = Segment::new(uid, &last.header, summary, Some(file), Some(index));
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

    /// Removes what crashes and truncations left: segments below the log start, unfinished files, spares, sidecars that
    /// belong to nothing.
    async fn remove_leftovers(&self, segments: &VecDeque<Rc<Segment<S>>>) -> Result<(), IoError> {
        let is_segment = |offset: Offset| segments.iter().any(|segment| segment.base == offset);
        let log_end = segments.back().map_or(Offset::ZERO, |segment| segment.summary.get().next_offset);
        let mut removed = false;
        for name in self.storage().list_dir(&self.dir).await? {
            let superfluous = match parse_file_name(&name) {
                Some((offset, NameKind::Log | NameKind::Index)) => !is_segment(offset),
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
