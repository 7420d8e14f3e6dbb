//! Small files beside a log's segments: one payload each, replaced as a whole.
//!
//! Contract: after [`write`] returns, the file has the new content across a power cut; if it fails or the power goes, the
//! file has its old content, or did not exist before. [`read`] gives only what was written with the same kind. Damage is
//! reported as [`Content::Damaged`], since every sidecar can be rebuilt from the log.
//!
//! Layout: magic `RLSC`, kind u16, version u16, payload length u32, CRC-32 of kind to length and payload u32 (little
//! endian), payload, zeros up to a whole block.

use std::path::Path;

use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil};

const MAGIC: [u8; 4] = *b"RLSC";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
/// Largest payload that is read back; a damaged length must not make memory run out.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// Ending of a file that is not complete yet; one that a crash left behind is removed at the next open.
pub(crate) const STAGED_SUFFIX: &str = ".tmp";

/// What a sidecar holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    /// A sealed segment's summary and index. 1 was one with less in the summary: it reads as damaged, and is built anew.
    Index = 4,
    /// Producer state and leader epochs at an offset.
    State = 2,
    /// Up to where a log was compacted.
    Cleaner = 3,
}

/// What was found in a sidecar's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Missing,
    Damaged,
    Payload(Vec<u8>),
}

/// Writes `dir/name` as a whole. The caller syncs the directory when it needs the new name to be durable.
///
/// # Panics
/// If the payload is above [`PAYLOAD_BYTES_MAX`].
pub(crate) async fn write<S: Storage>(
    storage: &S,
    dir: &Path,
    name: &str,
    kind: Kind,
    payload: &[u8],
) -> Result<(), IoError> {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "{name}: payload of {} bytes", payload.len());
    let bytes = encode(kind, payload);
    let staged = dir.join(format!("{name}{STAGED_SUFFIX}"));
    let file = storage.create(&staged).await?;
    let mut buffer = storage.allocate_buffer(bytes.len());
    buffer.as_mut().copy_from_slice(&bytes);
    file.write_at(buffer, 0).await?;
    file.sync_data().await?;
    file.close().await?;
    storage.rename(&staged, &dir.join(name)).await
}

/// Reads `dir/name`.
pub(crate) async fn read<S: Storage>(storage: &S, dir: &Path, name: &str, kind: Kind) -> Result<Content, IoError> {
    let file = match storage.open(&dir.join(name), Access::Read).await {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Content::Missing),
        Err(error) => return Err(error),
    };
    let size = file.size().await?;
    let content = if size == 0 || size > block_ceil((HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64) {
        Content::Damaged
    } else {
        let bytes = file.read_at(0, block_ceil(size) as usize).await?;
        decode(kind, &bytes).map_or(Content::Damaged, |payload| Content::Payload(payload.to_vec()))
    };
    file.close().await?;
    Ok(content)
}

fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((HEADER_BYTES + payload.len()).next_multiple_of(BLOCK_BYTES));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(kind as u16).to_le_bytes());
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc(&bytes[4..12], payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
    bytes
}

pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let len = u32::from_le_bytes(header[8..12].try_into().ok()?) as usize;
    let payload = rest.get(..len)?;
    let fits = header[..4] == MAGIC
        && header[4..6] == (kind as u16).to_le_bytes()
        && header[6..8] == VERSION.to_le_bytes()
        && header[12..16] == crc(&header[4..12], payload).to_le_bytes();
    fits.then_some(payload)
}

fn crc(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipped_bits_and_other_kinds_are_noticed() {
        let bytes = encode(Kind::State, b"some state");
        assert_eq!(bytes.len(), BLOCK_BYTES);
        assert_eq!(decode(Kind::State, &bytes), Some(&b"some state"[..]));
        assert_eq!(decode(Kind::Index, &bytes), None);
        for bit in 0..(HEADER_BYTES + 10) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(Kind::State, &damaged), None, "bit {bit}");
        }
        assert_eq!(decode(Kind::State, &bytes[..HEADER_BYTES + 3]), None);
    }
}
