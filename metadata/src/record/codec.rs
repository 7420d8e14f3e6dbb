//! Batches of records as bytes: a version, a CRC-32 (IEEE) of what follows, and the records in postcard's format.
//!
//! The version says which records a reader must know, so that an older program refuses a newer log by name instead of
//! misreading it.

use super::MetadataRecord;

/// Format of what this program writes, and the newest it reads.
pub const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// Why bytes are no batch of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("record batch of {found_bytes} bytes is shorter than its header of {HEADER_BYTES}")]
    Truncated { found_bytes: usize },
    #[error("record batch has format version {found}, this program reads versions 1 to {VERSION}: use a newer one")]
    UnknownVersion { found: u8 },
    #[error("record batch has CRC-32 {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { expected: u32, found: u32 },
    #[error("record batch passes its checksum and cannot be decoded: {source}")]
    Malformed {
        #[source]
        source: postcard::Error,
    },
    #[error("record batch has {bytes} bytes after its last record")]
    TrailingBytes { bytes: usize },
}

/// The bytes of a batch.
#[must_use]
pub fn encode(records: &[MetadataRecord]) -> Vec<u8> {
    let header = vec![VERSION, 0, 0, 0, 0];
    let mut bytes = postcard::to_extend(records, header).expect("records hold nothing that postcard cannot write");
    let crc = crc32fast::hash(&bytes[HEADER_BYTES..]);
    bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The records of a batch that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Vec<MetadataRecord>, CodecError> {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(CodecError::Truncated { found_bytes: bytes.len() });
    };
    let [version, crc @ ..] = *header;
    if version != VERSION {
        return Err(CodecError::UnknownVersion { found: version });
    }
    let (expected, found) = (crc32fast::hash(body), u32::from_le_bytes(crc));
    if expected != found {
        return Err(CodecError::CrcMismatch { expected, found });
    }
    let (records, rest) = postcard::take_from_bytes(body).map_err(|source| CodecError::Malformed { source })?;
    if !rest.is_empty() {
        return Err(CodecError::TrailingBytes { bytes: rest.len() });
    }
    Ok(records)
}
