//! Reading a segment's frames from begin to end, each with both of its checksums.
//!
//! Used where nothing is trusted: recovery, truncation, rebuilding of indexes and producer state.

use std::cmp::Ordering;
use std::rc::Rc;

use futures_util::future::join_all;
use protocol::record_batch::{BatchError, BatchHeader};
use protocol::{LeaderEpoch, Offset};

use super::decision::Finding;
use crate::checkpoint::Checkpoint;
use crate::file::{IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::{
    self, FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameDamage, FrameInfo, FrameSeed, Incarnation,
};
use crate::read_limit::ReadKind;
use crate::segment::{Compacted, SegmentHeader};
use crate::shard::ShardInner;

/// Reads in flight together, and their size: what reaches the bandwidth of a disk.
const READS_IN_FLIGHT: u64 = 4;
const READ_BYTES: u64 = 1 << 20;
/// Bytes of a read that takes its turn.
const TURN_BYTES: u64 = 512 << 10;
/// How far beyond a finding valid frames are looked for: more than any commit writes. A hole larger than this right
/// before synced frames would pass for the log's end.
const BEYOND_BYTES: u64 = 64 << 20;

/// What was found instead of the frame that continues the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error(transparent)]
    Frame(#[from] FrameDamage),
    #[error("a frame of incarnation {found}, cut or replaced since; {expected} is current here")]
    Stale { expected: Incarnation, found: Incarnation },
    #[error("a frame of incarnation {found}, which has never been: {newest} is the newest")]
    FutureIncarnation { newest: Incarnation, found: Incarnation },
    #[error("a frame that begins at offset {found}")]
    OffsetGap { found: Offset },
    #[error("a frame of leader epoch {found} after one of {before}")]
    EpochFell { before: LeaderEpoch, found: LeaderEpoch },
    #[error("a frame that claims offset {claimed} was synced before offset {offset} was written")]
    SyncedAhead { offset: Offset, claimed: Offset },
    #[error("a frame whose batch is damaged: {0:?}")]
    Batch(BatchDamage),
    #[error(
        "the end of a compacted segment after {frames} frames; its header says {} frames up to byte {}",
        .expected.frames, .expected.end_position
    )]
    NotWhole { expected: Compacted, frames: u64 },
}

/// What is wrong with the batch in a good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchDamage {
    /// Not a batch, or its CRC-32C does not fit.
    Invalid,
    /// Its last offset, epoch or size are not the frame's, or it begins before the frame does.
    Mismatch,
}

impl Damage {
    /// How the decision table sees it.
    pub(crate) fn finding(&self) -> Finding {
        match self {
            Damage::Frame(FrameDamage::Unwritten | FrameDamage::CutShort { .. }) => Finding::Absent,
            Damage::Frame(_) => Finding::Damaged,
            Damage::Stale { .. } => Finding::Stale,
            Damage::FutureIncarnation { .. }
            | Damage::OffsetGap { .. }
            | Damage::EpochFell { .. }
            | Damage::SyncedAhead { .. }
            | Damage::NotWhole { .. }
            | Damage::Batch(_) => Finding::Contradiction,
        }
    }
}

/// Which incarnations frames of a segment may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IncarnationRule {
    pub(crate) current: Incarnation,
    /// From this position on only the current one; before it any up to that, never falling.
    pub(crate) settled_position: u64,
}

impl IncarnationRule {
    /// For the segment with this header.
    pub(crate) fn of(checkpoint: &Checkpoint, header: &SegmentHeader) -> IncarnationRule {
        let settled = checkpoint.settled;
        let settled_position = match header.base_offset.cmp(&settled.segment_base) {
            // Nothing was cut from it since it was written as a whole, and its positions are others than they were.
            _ if header.compacted.is_some() => u64::MAX,
            Ordering::Less => u64::MAX,
            Ordering::Equal => settled.position,
            Ordering::Greater => 0,
        };
        IncarnationRule { current: checkpoint.incarnation, settled_position }
    }
}

/// Where a scan stands: what the next frame must continue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanPlace {
    pub(crate) position: u64,
    pub(crate) offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) incarnation: Incarnation,
}

impl ScanPlace {
    /// Goes behind a frame.
    pub(crate) fn follow(&mut self, frame: &ScannedFrame) {
        let FrameInfo { leader_epoch: epoch, incarnation, .. } = frame.info;
        let (position, offset) = (frame.end_position, frame.info.next_offset());
        *self = ScanPlace { position, offset, epoch, incarnation };
    }
}

/// A frame that continues the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScannedFrame {
    pub(crate) info: FrameInfo,
    pub(crate) batch: BatchHeader,
    pub(crate) position: u64,
    pub(crate) end_position: u64,
    /// The frame's CRC-32.
    pub(crate) crc: u32,
}

/// What later frames tell about a finding.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beyond {
    pub(crate) valid_frames: usize,
    /// Largest offset that one of them says was synced before it.
    pub(crate) synced: Option<Offset>,
}

/// Sequential access to one file, reading ahead.
pub(crate) struct Scanner<S: Storage> {
    file: Rc<S::File>,
    seed: FrameSeed,
    rule: IncarnationRule,
    file_bytes: u64,
    window_start: u64,
    window: Vec<u8>,
    /// Reads take their turns among this shard's, one at a time.
    turns: Option<Rc<ShardInner<S>>>,
    /// Bytes read from the file.
    pub(crate) read_bytes: u64,
}

impl<S: Storage> Scanner<S> {
    pub(crate) async fn new(file: Rc<S::File>, seed: FrameSeed, rule: IncarnationRule) -> Result<Scanner<S>, IoError> {
        let file_bytes = file.size().await?;
        Ok(Scanner { file, seed, rule, file_bytes, window_start: 0, window: Vec::new(), turns: None, read_bytes: 0 })
    }

    /// For a scan that nobody waits for, while the shard serves others.
    pub(crate) fn in_turns(self, shard: Rc<ShardInner<S>>) -> Scanner<S> {
        Scanner { turns: Some(shard), ..self }
    }

    /// Up to `len` bytes from `position` on; fewer only where the file ends.
    async fn bytes(&mut self, position: u64, len: u64) -> Result<&[u8], IoError> {
        let end = position.saturating_add(len).min(self.file_bytes);
        if position >= end {
            return Ok(&[]);
        }
        if position < self.window_start || end > self.window_start + self.window.len() as u64 {
            self.fill(position, end).await?;
        }
        let at = (position - self.window_start) as usize;
        let have = self.window.len().saturating_sub(at);
        Ok(&self.window[at.min(self.window.len())..][..have.min((end - position) as usize)])
    }

    async fn fill(&mut self, position: u64, end: u64) -> Result<(), IoError> {
        let start = block_floor(position);
        let window_end = self.window_start + self.window.len() as u64;
        if start < self.window_start || start >= window_end {
            self.window.clear();
            self.window_start = start;
        } else {
            self.window.drain(..(start - self.window_start) as usize);
            self.window_start = start;
        }
        let from = self.window_start + self.window.len() as u64;
        let (in_flight, read_bytes) =
            if self.turns.is_some() { (1, TURN_BYTES) } else { (READS_IN_FLIGHT, READ_BYTES) };
        let to = block_ceil(end).max(from + in_flight * read_bytes).min(block_ceil(self.file_bytes));
        let mut at = from;
        while at < to {
            let _turn = match &self.turns {
                Some(shard) => Some(shard.read_cache.limit.turn(ReadKind::Ahead).await),
                None => None,
            };
            let mut reads = Vec::new();
            while at < to && (reads.len() as u64) < in_flight {
                let len = read_bytes.min(to - at);
                reads.push(self.file.read_at(at, len as usize));
                at += len;
            }
            for chunk in join_all(reads).await {
                let chunk = chunk?;
                self.read_bytes += chunk.len() as u64;
                self.window.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    /// The frame that continues the log at `place`, or what stands there instead.
    pub(crate) async fn next(&mut self, place: &ScanPlace) -> Result<Result<ScannedFrame, Damage>, IoError> {
        let (seed, rule, available) = (self.seed, self.rule, self.file_bytes.saturating_sub(place.position));
        let header = self.bytes(place.position, FRAME_HEADER_BYTES as u64).await?;
        let Some(header) = header.first_chunk::<FRAME_HEADER_BYTES>() else {
            let damage = FrameDamage::CutShort { need: FRAME_HEADER_BYTES as u64, have: header.len() as u64 };
            return Ok(Err(damage.into()));
        };
        let info = match frame::peek(header, available) {
            Ok(info) => info,
            Err(damage) => return Ok(Err(damage.into())),
        };
        let bytes = self.bytes(place.position, info.frame_bytes()).await?;
        Ok(check(seed, rule, place, bytes))
    }

    /// The batch of a frame that [`Scanner::next`] has just given.
    pub(crate) async fn payload(&mut self, frame: &ScannedFrame) -> Result<&[u8], IoError> {
        self.bytes(frame.position + FRAME_HEADER_BYTES as u64, u64::from(frame.info.payload_bytes)).await
    }

    /// Valid frames behind `place`, where something else was found.
    pub(crate) async fn beyond(&mut self, place: &ScanPlace) -> Result<Beyond, IoError> {
        let mut found = Beyond::default();
        let limit = place.position.saturating_add(BEYOND_BYTES).min(self.file_bytes);
        let mut position = place.position + FRAME_ALIGN_BYTES as u64;
        while position + FRAME_HEADER_BYTES as u64 <= limit {
            let window = self.bytes(position, READ_BYTES).await?;
            let Some(at) = find_magic(window) else {
                let searched = window.len().saturating_sub(FRAME_HEADER_BYTES) as u64;
                position += (searched & !(FRAME_ALIGN_BYTES as u64 - 1)).max(FRAME_ALIGN_BYTES as u64);
                continue;
            };
            position += at as u64;
            position += match self.candidate(position, place).await? {
                Some(info) => {
                    found.valid_frames += 1;
                    found.synced = found.synced.max(Some(info.synced_before));
                    info.frame_bytes()
                }
                None => FRAME_ALIGN_BYTES as u64,
            };
        }
        Ok(found)
    }

    /// A frame at `position` that can belong to the log behind `place`.
    async fn candidate(&mut self, position: u64, place: &ScanPlace) -> Result<Option<FrameInfo>, IoError> {
        let (seed, rule, available) = (self.seed, self.rule, self.file_bytes - position);
        let header = self.bytes(position, FRAME_HEADER_BYTES as u64).await?;
        let Some(header) = header.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let Ok(info) = frame::peek(header, available) else { return Ok(None) };
        // Most of what recycled space holds is sorted out here, without its checksum.
        if info.base_offset < place.offset || judge_incarnation(rule, position, place, info.incarnation).is_some() {
            return Ok(None);
        }
        let bytes = self.bytes(position, info.frame_bytes()).await?;
        Ok(frame::decode(seed, bytes).ok().map(|(info, _)| info))
    }
}

fn find_magic(bytes: &[u8]) -> Option<usize> {
    bytes.chunks_exact(FRAME_ALIGN_BYTES).position(|word| word[..4] == FRAME_MAGIC).map(|at| at * FRAME_ALIGN_BYTES)
}

fn judge_incarnation(rule: IncarnationRule, position: u64, place: &ScanPlace, found: Incarnation) -> Option<Damage> {
    let least = if position >= rule.settled_position { rule.current } else { place.incarnation };
    if found > rule.current {
        Some(Damage::FutureIncarnation { newest: rule.current, found })
    } else if found < least {
        Some(Damage::Stale { expected: least, found })
    } else {
        None
    }
}

/// Pure: whether `bytes` hold the frame that continues the log at `place`.
fn check(seed: FrameSeed, rule: IncarnationRule, place: &ScanPlace, bytes: &[u8]) -> Result<ScannedFrame, Damage> {
    let (info, payload) = frame::decode(seed, bytes)?;
    if let Some(damage) = judge_incarnation(rule, place.position, place, info.incarnation) {
        return Err(damage);
    }
    if info.base_offset != place.offset {
        return Err(Damage::OffsetGap { found: info.base_offset });
    }
    if info.leader_epoch < place.epoch {
        return Err(Damage::EpochFell { before: place.epoch, found: info.leader_epoch });
    }
    if info.synced_before > info.base_offset {
        return Err(Damage::SyncedAhead { offset: info.base_offset, claimed: info.synced_before });
    }
    let batch = check_batch(&info, payload).map_err(Damage::Batch)?;
    let (position, end_position) = (place.position, place.position + info.frame_bytes());
    Ok(ScannedFrame { info, batch, position, end_position, crc: frame::stored_crc(bytes) })
}

/// Pure: whether a frame's payload is the batch that the frame describes, with a good CRC-32C.
pub(crate) fn check_batch(info: &FrameInfo, payload: &[u8]) -> Result<BatchHeader, BatchDamage> {
    let invalid = |_: BatchError| BatchDamage::Invalid;
    let batch = BatchHeader::parse(payload).map_err(invalid)?;
    batch.verify_stored(payload).map_err(invalid)?;
    let same = batch.size_bytes == payload.len()
        && batch.base_offset >= info.base_offset
        && batch.last_offset() == info.last_offset
        && batch.leader_epoch == info.leader_epoch;
    if same { Ok(batch) } else { Err(BatchDamage::Mismatch) }
}
