//! What a log remembers outside its segments: incarnation, how far its past is settled, log start offset, clean shutdown.
//!
//! Contract: [`CheckpointFile::store`] is atomic across a power cut: two slots of one block are written in turn, each
//! with its own CRC and a rising sequence, in place, so that it also works on a full disk. A slot that is damaged leaves
//! the one before it.
//!
//! The *settled* position is the heart of recovery: everything below it was synced when the checkpoint was written, and
//! every frame at or after it that belongs to the log carries exactly the checkpoint's incarnation. So a tail that was
//! cut, at an open or by a truncation, cannot come back.
//!
//! The *first incarnation* makes a whole log a thing of the past: the segments of an earlier one are of a log that was
//! here before [`crate::Log::restart_at`], whatever offsets they have.
//!
//! Layout of a slot, little endian: magic `RLCK`, CRC-32 of the rest of the block u32, version u32, incarnation u32,
//! sequence u64, topic id 16 bytes, partition i32, clean u32, log start i64, settled and clean end (segment base i64,
//! position u64, offset i64 each), first incarnation u32 (0 where it was written before there was one), zeros.

use std::path::{Path, PathBuf};

use protocol::{Offset, PartitionId, TopicId};
use uuid::Uuid;

use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile};
use crate::frame::Incarnation;
use crate::log::LogIdentity;
use crate::segment::{FIRST_FRAME_POSITION, SegmentHeader};
use crate::sidecar::STAGED_SUFFIX;

/// Name of the file in a partition's directory.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

const MAGIC: [u8; 4] = *b"RLCK";
const VERSION: u32 = 1;
const SLOTS: usize = 2;
const USED_BYTES: usize = 108;
const _: () = assert!(USED_BYTES <= BLOCK_BYTES);

/// A place in a log: the offset of the frame that begins, or would begin, at `position` of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub segment_base: Offset,
    /// Bytes from the begin of the segment's file.
    pub position: u64,
    pub offset: Offset,
}

/// See the module's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub identity: LogIdentity,
    pub incarnation: Incarnation,
    /// What segments say of an earlier one is not of this log any more.
    pub first_incarnation: Incarnation,
    pub log_start: Offset,
    /// Below it everything is synced; at and after it only frames of `incarnation` are data.
    pub settled: LogPosition,
    /// The log's end, where it was closed in order and has not been opened since.
    pub clean_end: Option<LogPosition>,
}

impl Checkpoint {
    /// Whether a segment that begins at `base` and was created in `created` belongs to what was cut or replaced.
    pub(crate) fn is_gone(&self, base: Offset, created: Incarnation) -> bool {
        created < self.first_incarnation || (base > self.settled.segment_base && created < self.incarnation)
    }

    /// A truncation has cut into this compacted segment, and it has not become one that can be appended to yet. Where the log
    /// was settled in it before it was compacted, its incarnation is the checkpoint's: each open and each truncation raises
    /// that, and moves the settled position.
    pub(crate) fn cuts_into(&self, header: &SegmentHeader) -> bool {
        header.compacted.is_some()
            && header.base_offset == self.settled.segment_base
            && header.incarnation < self.incarnation
    }

    /// The log was replaced by an empty one, and no open has completed since.
    pub(crate) fn is_restarted(&self) -> bool {
        self.first_incarnation == self.incarnation && self.incarnation > Incarnation::default()
    }

    /// The log was about to begin, or to begin anew, and may not have a segment yet.
    pub(crate) fn is_beginning(&self) -> bool {
        let LogPosition { segment_base, position, offset } = self.settled;
        offset == segment_base && position == FIRST_FRAME_POSITION && self.log_start == offset
    }
}

/// The checkpoint's file: knows which slot comes next.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    path: PathBuf,
    sequence: u64,
}

impl CheckpointFile {
    /// Writes a first checkpoint. The directory is yet to be synced.
    pub(crate) async fn create<S: Storage>(
        storage: &S,
        dir: &Path,
        checkpoint: &Checkpoint,
    ) -> Result<CheckpointFile, IoError> {
        let path = dir.join(CHECKPOINT_FILE);
        let staged = dir.join(format!("{CHECKPOINT_FILE}{STAGED_SUFFIX}"));
        let file = storage.create(&staged).await?;
        let mut buffer = storage.allocate_buffer(SLOTS * BLOCK_BYTES);
        buffer.as_mut().fill(0);
        buffer.as_mut()[slot_at(0)..][..BLOCK_BYTES].copy_from_slice(&encode(checkpoint, 0));
        file.write_at(buffer, 0).await?;
        file.sync_data().await?;
        file.close().await?;
        storage.rename(&staged, &path).await?;
        Ok(CheckpointFile { path, sequence: 0 })
    }

    /// Reads the newest good slot. `None` if the file does not exist, `Some(Err)` if neither slot is good.
    #[allow(clippy::type_complexity, reason = "three distinct outcomes, used once")]
    pub(crate) async fn load<S: Storage>(
        storage: &S,
        dir: &Path,
    ) -> Result<Option<Result<(CheckpointFile, Checkpoint), PathBuf>>, IoError> {
        let path = dir.join(CHECKPOINT_FILE);
        let file = match storage.open(&path, Access::Read).await {
            Ok(file) => file,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = file.read_at(0, SLOTS * BLOCK_BYTES).await?;
        file.close().await?;
        Ok(Some(match newest_slot(&bytes) {
            Some((sequence, checkpoint)) => Ok((CheckpointFile { path, sequence }, checkpoint)),
            None => Err(path),
        }))
    }

    /// Replaces the checkpoint, durably when it returns. If it fails, the one before may still be in force.
    pub(crate) async fn store<S: Storage>(&mut self, storage: &S, checkpoint: &Checkpoint) -> Result<(), IoError> {
        let sequence = self.sequence + 1;
        let file = storage.open(&self.path, Access::ReadWrite).await?;
        let mut buffer = storage.allocate_buffer(BLOCK_BYTES);
        buffer.as_mut().copy_from_slice(&encode(checkpoint, sequence));
        file.write_at(buffer, slot_at(sequence) as u64).await?;
        file.sync_data().await?;
        // Only now: a slot whose write failed is the one to be tried again, never the good one.
        self.sequence = sequence;
        // It is durable, and who changes the log goes by that.
        if let Err(error) = file.close().await {
            tracing::warn!(%error, "a checkpoint's file stays open");
        }
        Ok(())
    }
}

/// Why it cannot be told whose log a directory holds.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{} cannot be read: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// No slot is good.
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf },
}

/// Whose log `dir` holds, without opening it; `None` if it holds none. For looks at directories while no log is open in
/// them; it blocks.
pub fn read_identity(dir: &Path) -> Result<Option<LogIdentity>, IdentityError> {
    let path = dir.join(CHECKPOINT_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Io { path, source }),
    };
    let newest = newest_slot(&bytes);
    newest.map(|(_, checkpoint)| Some(checkpoint.identity)).ok_or(IdentityError::Damaged { path })
}

fn newest_slot(bytes: &[u8]) -> Option<(u64, Checkpoint)> {
    let slots = bytes.chunks_exact(BLOCK_BYTES).take(SLOTS);
    slots.filter_map(decode).max_by_key(|(sequence, _)| *sequence)
}

fn slot_at(sequence: u64) -> usize {
    (sequence % SLOTS as u64) as usize * BLOCK_BYTES
}

fn encode(checkpoint: &Checkpoint, sequence: u64) -> Vec<u8> {
    let mut rest = Vec::with_capacity(BLOCK_BYTES);
    rest.extend_from_slice(&VERSION.to_le_bytes());
    rest.extend_from_slice(&checkpoint.incarnation.0.to_le_bytes());
    rest.extend_from_slice(&sequence.to_le_bytes());
    rest.extend_from_slice(checkpoint.identity.topic_id.0.as_bytes());
    rest.extend_from_slice(&checkpoint.identity.partition.0.to_le_bytes());
    rest.extend_from_slice(&u32::from(checkpoint.clean_end.is_some()).to_le_bytes());
    rest.extend_from_slice(&checkpoint.log_start.0.to_le_bytes());
    for place in [checkpoint.settled, checkpoint.clean_end.unwrap_or(checkpoint.settled)] {
        rest.extend_from_slice(&place.segment_base.0.to_le_bytes());
        rest.extend_from_slice(&place.position.to_le_bytes());
        rest.extend_from_slice(&place.offset.0.to_le_bytes());
    }
    rest.extend_from_slice(&checkpoint.first_incarnation.0.to_le_bytes());
    debug_assert_eq!(rest.len() + 8, USED_BYTES);
    rest.resize(BLOCK_BYTES - 8, 0);
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(&MAGIC);
    block.extend_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    block.extend_from_slice(&rest);
    block
}

fn decode(block: &[u8]) -> Option<(u64, Checkpoint)> {
    let (head, mut rest) = block.split_at_checked(8)?;
    if head[..4] != MAGIC || head[4..] != crc32fast::hash(rest).to_le_bytes() {
        return None;
    }
    if u32::from_le_bytes(take(&mut rest)?) != VERSION {
        return None;
    }
    let incarnation = Incarnation(u32::from_le_bytes(take(&mut rest)?));
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let topic_id = TopicId(Uuid::from_bytes(take(&mut rest)?));
    let partition = PartitionId(i32::from_le_bytes(take(&mut rest)?));
    let clean = u32::from_le_bytes(take(&mut rest)?) != 0;
    let log_start = Offset(i64::from_le_bytes(take(&mut rest)?));
    let mut place = || {
        Some(LogPosition {
            segment_base: Offset(i64::from_le_bytes(take(&mut rest)?)),
            position: u64::from_le_bytes(take(&mut rest)?),
            offset: Offset(i64::from_le_bytes(take(&mut rest)?)),
        })
    };
    let settled = place()?;
    let end = place()?;
    let first_incarnation = Incarnation(u32::from_le_bytes(take(&mut rest)?));
    let identity = LogIdentity { topic_id, partition };
    let clean_end = clean.then_some(end);
    Some((sequence, Checkpoint { identity, incarnation, first_incarnation, log_start, settled, clean_end }))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            identity: LogIdentity { topic_id: TopicId(Uuid::from_u128(9)), partition: PartitionId(4) },
            incarnation: Incarnation(3),
            first_incarnation: Incarnation(2),
            log_start: Offset(17),
            settled: LogPosition { segment_base: Offset(10), position: 4096, offset: Offset(20) },
            clean_end: Some(LogPosition { segment_base: Offset(10), position: 8000, offset: Offset(25) }),
        }
    }

    #[test]
    fn the_identity_is_read_from_the_newest_good_slot() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_identity(dir.path()).unwrap(), None, "no log");
        let earlier = LogIdentity { topic_id: TopicId(Uuid::from_u128(8)), partition: PartitionId(0) };
        let mut slots =
            [encode(&Checkpoint { identity: earlier, ..checkpoint() }, 4), encode(&checkpoint(), 5)].concat();
        let file = dir.path().join(CHECKPOINT_FILE);
        std::fs::write(&file, &slots).unwrap();
        assert_eq!(read_identity(dir.path()).unwrap(), Some(checkpoint().identity));
        slots[BLOCK_BYTES + 50] ^= 1;
        std::fs::write(&file, &slots).unwrap();
        assert_eq!(read_identity(dir.path()).unwrap(), Some(earlier));
        slots[50] ^= 1;
        std::fs::write(&file, &slots).unwrap();
        assert!(matches!(read_identity(dir.path()), Err(IdentityError::Damaged { .. })));
        std::fs::write(&file, b"").unwrap();
        assert!(matches!(read_identity(dir.path()), Err(IdentityError::Damaged { .. })));
    }

    #[test]
    fn a_slot_survives_the_round_trip_and_no_flipped_bit() {
        let block = encode(&checkpoint(), 5);
        assert_eq!(block.len(), BLOCK_BYTES);
        assert_eq!(decode(&block), Some((5, checkpoint())));
        let unclean = Checkpoint { clean_end: None, ..checkpoint() };
        assert_eq!(decode(&encode(&unclean, 6)), Some((6, unclean)));
        for bit in 0..BLOCK_BYTES * 8 {
            let mut damaged = block.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
    }
}
