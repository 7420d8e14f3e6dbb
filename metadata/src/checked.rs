//! Values as bytes: a version, a CRC-32 (IEEE), and the value in postcard's format. The CRC is of the value, and from version 3
//! on of the version before it: no flipped bit makes a 2 of a 1, but one makes a 3 of either, or the other way round.
//!
//! The version says what a reader must know, so that an older program refuses what a newer one wrote by name instead of
//! misreading it. What is inside may be anything a disk or a peer gives: decoding it cannot panic, nor take more memory than
//! the bytes bear out.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) const HEADER_BYTES: usize = 5;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{what} of {found_bytes} bytes is shorter than its header of {HEADER_BYTES}")]
    Truncated { what: &'static str, found_bytes: usize },
    #[error("{what} has format version {found}, this program reads versions {oldest} to {newest}")]
    UnknownVersion { what: &'static str, found: u8, oldest: u8, newest: u8 },
    #[error("{what} has CRC-32 {found:#010x}, its content gives {expected:#010x}")]
    CrcMismatch { what: &'static str, expected: u32, found: u32 },
    #[error("{what} passes its checksum and cannot be decoded: {source}")]
    Malformed {
        what: &'static str,
        #[source]
        source: postcard::Error,
    },
    #[error("{what} has {bytes} bytes after its end")]
    TrailingBytes { what: &'static str, bytes: usize },
}

/// A kind of value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// As errors call it.
    pub what: &'static str,
    /// Of what this program writes, and the newest it reads.
    pub version: u8,
    /// The oldest that this program reads; those up to the newest differ in what they may hold, not in how it is encoded.
    pub oldest: u8,
}

impl Format {
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Vec<u8> {
        let header = vec![self.version, 0, 0, 0, 0];
        let mut bytes = postcard::to_extend(value, header).expect("values hold nothing that postcard cannot write");
        let crc = checksum(self.version, &bytes[HEADER_BYTES..]);
        bytes[1..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What [`Format::encode`] was given.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        let Format { what, version: newest, oldest } = self;
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(CodecError::Truncated { what, found_bytes: bytes.len() });
        };
        let [version, crc @ ..] = *header;
        if !(oldest..=newest).contains(&version) {
            return Err(CodecError::UnknownVersion { what, found: version, oldest, newest });
        }
        let (expected, found) = (checksum(version, body), u32::from_le_bytes(crc));
        if expected != found {
            return Err(CodecError::CrcMismatch { what, expected, found });
        }
        let (value, rest) = postcard::take_from_bytes(body).map_err(|source| CodecError::Malformed { what, source })?;
        if !rest.is_empty() {
            return Err(CodecError::TrailingBytes { what, bytes: rest.len() });
        }
        Ok(value)
    }
}

/// See the module's documentation.
pub(crate) fn checksum(version: u8, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    if version >= 3 {
        crc.update(&[version]);
    }
    crc.update(body);
    crc.finalize()
}
