//! Loading a coordinator: its partition's records, replayed in the order of the log.

use protocol::Offset;
use protocol::record_batch::batches;
use protocol::records::{DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};

use crate::groups::{GroupCoordinator, Loaded};
use crate::partition::Partition;

/// Bytes read at once.
const LOAD_READ_BYTES: usize = 1 << 20;

/// Why a coordinator could not load.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the log cannot be read at offset {offset}: {source}")]
    Read { offset: Offset, source: wal::reader::ReadError },
    #[error("the batch at offset {offset} cannot be decoded: {reason}")]
    Batch { offset: Offset, reason: String },
}

/// Replays what lies before `end`, which is committed.
pub(super) async fn load(partition: &Partition, end: Offset, state: &mut GroupCoordinator) -> Result<(), LoadError> {
    let mut offset = partition.log.log_start_offset();
    while offset < end {
        let read = partition
            .log
            .read(offset, end, LOAD_READ_BYTES, usize::MAX)
            .await
            .map_err(|source| LoadError::Read { offset, source })?;
        let undecodable = |reason: String| LoadError::Batch { offset, reason };
        for batch in batches(&read.contiguous()) {
            let (_, batch) = batch.map_err(|e| undecodable(e.to_string()))?;
            load_batch(batch, state).map_err(undecodable)?;
        }
        if read.next_offset <= offset {
            break;
        }
        offset = read.next_offset;
    }
    Ok(())
}

fn load_batch(batch: &[u8], state: &mut GroupCoordinator) -> Result<(), String> {
    let mut reader = RecordReader::open(batch, DECOMPRESSED_BYTES_MAX_DEFAULT).map_err(|e| e.to_string())?;
    while let Some(record) = reader.next_record().map_err(|e| e.to_string())? {
        let Some(key) = record.key else { continue };
        // A record of a kind that is not known here (another version's) says nothing about the others.
        match state.load(key, record.value) {
            Ok(Loaded::Applied) => {}
            Ok(Loaded::UnknownType { key_type }) => {
                tracing::warn!(offset = %record.offset, key_type, "group record of an unknown type skipped");
            }
            Err(error) => {
                tracing::error!(offset = %record.offset, %error, "group record skipped: it cannot be decoded");
            }
        }
    }
    Ok(())
}
