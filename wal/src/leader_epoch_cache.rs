//! Where each leader epoch of a partition begins in its log (KIP-101, KIP-279).
//!
//! Purpose: to answer "where did epoch *e* end here?", by which a follower or consumer finds the point up to which two
//! logs agree, and "which epoch wrote this offset?". Follows Kafka's `LeaderEpochFileCache`.
//!
//! Contract: entries rise strictly in epoch and in start offset. The cache holds one entry per epoch that wrote
//! something, so it grows with the leadership changes that the log still contains.
//!
//! Deliberately absent: files. [`LeaderEpochCache::encode`] gives the bytes to keep, [`LeaderEpochCache::decode`] reads them.

use protocol::{LeaderEpoch, Offset};

#[cfg(test)]
mod tests;

/// The end offset of an epoch that is not known.
pub const UNKNOWN_END_OFFSET: Offset = Offset(-1);

const MAGIC: &[u8; 4] = b"RLEC";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 12;
const ENTRY_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// One epoch and the first offset that was written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start_offset: Offset,
}

/// An epoch or start offset below 0, which no log can contain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader epoch {epoch} from offset {start_offset} was to be recorded; neither can be negative")]
pub struct AssignError {
    pub epoch: LeaderEpoch,
    pub start_offset: Offset,
}

/// Why bytes are not a leader epoch cache. It can be rebuilt from the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("leader epoch cache has {found} bytes, expected {expected}")]
    Length { expected: usize, found: usize },
    #[error("leader epoch cache begins with {found:02x?}, expected the magic bytes {MAGIC:02x?}")]
    BadMagic { found: [u8; 4] },
    #[error("leader epoch cache has version {found}, expected {VERSION}")]
    UnknownVersion { found: u16 },
    #[error("leader epoch cache CRC-32 is {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { expected: u32, found: u32 },
    #[error("leader epoch cache entry {at} (epoch {epoch} from offset {start_offset}) does not follow the one before")]
    NotMonotonic { at: usize, epoch: LeaderEpoch, start_offset: Offset },
}

/// The epochs of one partition's log. See the module's contract.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LeaderEpochCache {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochCache {
    #[must_use]
    pub fn new() -> LeaderEpochCache {
        LeaderEpochCache::default()
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch that wrote something, and from where.
    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Records that `epoch` wrote `start_offset` first; says whether that was news, and so worth persisting.
    ///
    /// To be called for every batch: for the epoch already latest it does nothing. Entries that contradict the new one
    /// (an epoch not below it, or an offset not below its start) are dropped.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> Result<bool, AssignError> {
        if epoch.0 < 0 || start_offset.0 < 0 {
            return Err(AssignError { epoch, start_offset });
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch && latest.start_offset <= start_offset) {
            return Ok(false);
        }
        while self.latest().is_some_and(|latest| latest.epoch >= epoch || latest.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        Ok(true)
    }

    /// Largest epoch not above `requested` that is known here, and the offset at which it ended: the start of the next
    /// epoch, or `log_end` for the latest.
    ///
    /// As in Kafka, ([`LeaderEpoch::UNKNOWN`], [`UNKNOWN_END_OFFSET`]) if `requested` is unknown or above the latest;
    /// if it is below every epoch here, then `requested` itself with the first known offset, since what it wrote has
    /// been removed since.
    #[must_use]
    pub fn end_offset_for(&self, requested: LeaderEpoch, log_end: Offset) -> (LeaderEpoch, Offset) {
        const UNKNOWN: (LeaderEpoch, Offset) = (LeaderEpoch::UNKNOWN, UNKNOWN_END_OFFSET);
        if requested == LeaderEpoch::UNKNOWN {
            return UNKNOWN;
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= requested);
        let floor = after.checked_sub(1).map(|at| self.entries[at].epoch);
        match (floor, self.entries.get(after)) {
            (Some(epoch), None) if epoch == requested => (epoch, log_end),
            (_, None) => UNKNOWN,
            (floor, Some(next)) => (floor.unwrap_or(requested), next.start_offset),
        }
    }

    /// The epoch that wrote, or would have written, `offset`; none below the first entry.
    #[must_use]
    pub fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// Follows a cut of the log at `end`: drops epochs that start there or after. Says whether any did.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// Follows the log start offset: epochs that lie wholly below `log_start` go, and the one that contains it starts
    /// there from now on. Says whether anything changed.
    pub fn truncate_from_start(&mut self, log_start: Offset) -> bool {
        let after = self.entries.partition_point(|entry| entry.start_offset <= log_start);
        let Some(first) = after.checked_sub(1) else { return false };
        if first == 0 && self.entries[0].start_offset == log_start {
            return false;
        }
        self.entries.drain(..first);
        self.entries[0].start_offset = log_start;
        true
    }

    /// The cache as bytes: magic `RLEC`, version u16, reserved u16, number of entries u32; per entry epoch i32 and start
    /// offset i64; the CRC-32 (IEEE) of all that. Big endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded_bytes(self.entries.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&0u16.to_be_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.epoch.0.to_be_bytes());
            out.extend_from_slice(&entry.start_offset.0.to_be_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads what [`LeaderEpochCache::encode`] wrote. Any damage is an error; memory follows the size of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<LeaderEpochCache, DecodeError> {
        let length = |expected| DecodeError::Length { expected, found: bytes.len() };
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or_else(|| length(encoded_bytes(0)))?;
        let [m0, m1, m2, m3, v0, v1, _, _, c0, c1, c2, c3] = *header;
        if [m0, m1, m2, m3] != *MAGIC {
            return Err(DecodeError::BadMagic { found: [m0, m1, m2, m3] });
        }
        let version = u16::from_be_bytes([v0, v1]);
        if version != VERSION {
            return Err(DecodeError::UnknownVersion { found: version });
        }
        let expected_bytes = encoded_bytes(u32::from_be_bytes([c0, c1, c2, c3]) as usize);
        if bytes.len() != expected_bytes {
            return Err(length(expected_bytes));
        }
        let (content, crc) = bytes.split_at(bytes.len() - CRC_BYTES);
        let expected = crc32fast::hash(content);
        let found = u32::from_be_bytes(crc.try_into().expect("four bytes"));
        if expected != found {
            return Err(DecodeError::CrcMismatch { expected, found });
        }
        let (chunks, _) = content[HEADER_BYTES..].as_chunks::<ENTRY_BYTES>();
        let mut entries: Vec<EpochEntry> = Vec::with_capacity(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            let epoch = LeaderEpoch(i32::from_be_bytes(chunk[..4].try_into().expect("four bytes")));
            let start_offset = Offset(i64::from_be_bytes(chunk[4..].try_into().expect("eight bytes")));
            let follows = match entries.last() {
                Some(last) => last.epoch < epoch && last.start_offset < start_offset,
                None => epoch.0 >= 0 && start_offset.0 >= 0,
            };
            if !follows {
                return Err(DecodeError::NotMonotonic { at, epoch, start_offset });
            }
            entries.push(EpochEntry { epoch, start_offset });
        }
        Ok(LeaderEpochCache { entries })
    }
}

fn encoded_bytes(entries: usize) -> usize {
    HEADER_BYTES + entries * ENTRY_BYTES + CRC_BYTES
}
