//! Targets for the metadata log.

use metadata::record::codec::{decode, encode};

/// Records that are read are written again as a batch that reads the same.
pub fn metadata_records(data: &[u8]) {
    if let Ok(records) = decode(data) {
        assert_eq!(decode(&encode(&records)).as_ref().ok(), Some(&records));
    }
}
