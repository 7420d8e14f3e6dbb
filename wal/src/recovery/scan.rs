//! Scanning a whole segment: every frame judged, what does not continue the log decided; and the state that is replayed
//! from the frames.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use protocol::{LeaderEpoch, Offset};

use super::decision::{Circumstances, Refusal, Verdict, decide};
use super::scanner::{Damage, IncarnationRule, ScanPlace, ScannedFrame, Scanner};
use super::{Corruption, ScanError, TailCut};
use crate::file::{IoError, Storage};
use crate::frame::{FrameSeed, Incarnation};
use crate::log::LogInner;
use crate::segment::{Compacted, FIRST_FRAME_POSITION, NameKind, Segment, SegmentSummary, file_name, parse_file_name};
use crate::segment_index::SegmentIndex;
use crate::state_snapshot::{self, DerivedState};

/// What a scan of a segment found up to its end.
pub(crate) struct SegmentScan {
    pub(crate) summary: SegmentSummary,
    pub(crate) index: SegmentIndex,
    pub(crate) last_epoch: LeaderEpoch,
    pub(crate) frames: u64,
    pub(crate) read_bytes: u64,
    pub(crate) cut: Option<TailCut>,
}

/// A segment to be scanned.
pub(crate) struct ScanTask<S: Storage> {
    pub(crate) path: PathBuf,
    pub(crate) file: Rc<S::File>,
    pub(crate) base: Offset,
    pub(crate) seed: FrameSeed,
    pub(crate) rule: IncarnationRule,
    /// What the segment's header says of all of it, if it is compacted.
    pub(crate) whole: Option<Compacted>,
    /// Everything below is known to have been synced.
    pub(crate) synced: Offset,
    /// `Some`: the segment is sealed and reaches up to this offset.
    pub(crate) sealed_end: Option<Offset>,
    /// Stop before the batch that contains this offset.
    pub(crate) stop_at: Option<Offset>,
    pub(crate) interval_bytes: u64,
    pub(crate) now_ms: i64,
}

/// Reads a segment from its begin; `on_frame` sees every frame.
pub(crate) async fn scan_segment<S: Storage>(
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
                place.follow(&frame);
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
        let (path, position, offset) = (task.path.clone(), place.position, place.offset);
        let valid_frames_beyond = beyond.valid_frames;
        match verdict {
            Verdict::Refuse(refusal) => {
                return Err(Box::new(Corruption {
                    path,
                    position,
                    offset,
                    found,
                    refusal,
                    synced,
                    valid_frames_beyond,
                })
                .into());
            }
            Verdict::Cut(rule) => {
                scan.cut = Some(TailCut { path, position, offset, found, rule, valid_frames_beyond });
            }
            Verdict::End => {}
        }
        break;
    }
    let is_at_end = task.sealed_end == Some(place.offset);
    if let Some(expected) = task.whole.filter(|_| is_at_end)
        && (expected.frames, expected.end_position) != (scan.frames, place.position)
    {
        let (path, position, offset, synced) = (task.path, place.position, place.offset, task.synced);
        let found = Damage::NotWhole { expected, frames: scan.frames };
        let refusal = Refusal::SealedDamaged;
        let corruption = Corruption { path, position, offset, found, refusal, synced, valid_frames_beyond: 0 };
        return Err(Box::new(corruption).into());
    }
    scan.last_epoch = place.epoch;
    scan.read_bytes = scanner.read_bytes;
    Ok(scan)
}

/// The newest good snapshot at or below `newest`, or an empty state from `start`; and the offset that it stands at.
pub(super) async fn load_state<S: Storage>(
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

pub(super) fn replay(derived: &mut DerivedState, frame: &ScannedFrame, from: Offset) {
    if frame.info.base_offset < from {
        return;
    }
    derived.producers.update(&frame.batch);
    // A snapshot may know an epoch that began here, wrote nothing and was taken back. It goes by itself: for `assign` it
    // would contradict the frame's own epoch, where that is the one before, and take its begin along.
    derived.epochs.truncate_from_end(frame.info.base_offset);
    // A good frame's epoch is at least 0: the scan begins with epoch 0 and lets none fall. What compaction dropped before the
    // batch may have been of an earlier epoch.
    let _ = derived.epochs.assign(frame.info.leader_epoch, frame.batch.base_offset);
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
        whole: segment.compacted,
        synced: summary.next_offset,
        sealed_end: Some(summary.next_offset),
        stop_at: Some(end),
        interval_bytes: log.config.get().index_interval_bytes,
        now_ms: summary.last_append_ms.max(0),
    };
    scan_segment(task, on_frame).await
}
