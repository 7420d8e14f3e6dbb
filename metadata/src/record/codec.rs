//! Batches of records as bytes.
//!
//! The version says which records a reader must know, so that an older program refuses a newer log by name instead of
//! misreading it.

use super::MetadataRecord;
use crate::checked::Format;

pub use crate::checked::CodecError;

/// Format of what this program writes, and the newest it reads.
pub const VERSION: u8 = 5;
const RECORD_BATCH: Format = Format { what: "record batch", version: VERSION, oldest: 1 };

/// The bytes of a batch.
#[must_use]
pub fn encode(records: &[MetadataRecord]) -> Vec<u8> {
    RECORD_BATCH.encode(records)
}

/// The records of a batch that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Vec<MetadataRecord>, CodecError> {
    RECORD_BATCH.decode(bytes)
}
