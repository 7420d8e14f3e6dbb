//! Databases of the format before Raft: read once, and converted.
//!
//! Tables: `snapshot` holds an image as chunks of records; `log` the batches committed since, each under the metadata offset
//! of its first record; `meta` says how far the snapshot reaches.

use super::DatabaseError;
use super::database::{FORMAT, FORMAT_KEY, META, change, failed, meta_number};
use crate::image::MetadataImage;
use crate::raft::snapshot::State;
use crate::raft::{create_tables, put_snapshot};
use crate::record::codec;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

pub(super) const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Metadata offset that the snapshot reaches.
pub(super) const SNAPSHOT_END_KEY: &str = "snapshot.end";

/// The image that such a database amounts to.
pub(super) fn load(database: &Database, path: &Path) -> Result<MetadataImage, DatabaseError> {
    let loader = Loader { path };
    let snapshot_end = u64::try_from(meta_number(database, path, SNAPSHOT_END_KEY)?)
        .map_err(|_| DatabaseError::BadMeta { path: path.to_owned(), key: SNAPSHOT_END_KEY })?;
    let transaction = database.begin_read().map_err(failed(path))?;
    let mut image = MetadataImage::default();
    let chunks = transaction.open_table(SNAPSHOT).map_err(failed(path))?;
    for (chunk, expected) in chunks.iter().map_err(failed(path))?.zip(0_u64..) {
        let (at, bytes) = chunk.map_err(failed(path))?;
        loader.check_position(expected, at.value())?;
        loader.apply(&mut image, bytes.value())?;
    }
    image = image.at_metadata_offset(snapshot_end);
    let log = transaction.open_table(LOG).map_err(failed(path))?;
    for batch in log.iter().map_err(failed(path))? {
        let (at, bytes) = batch.map_err(failed(path))?;
        loader.check_position(image.metadata_offset(), at.value())?;
        loader.apply(&mut image, bytes.value())?;
    }
    Ok(image)
}

/// Makes a database of today's format of one of this, whose group begins with `state`: all at once.
pub(super) fn convert(database: &Database, path: &Path, state: &State) -> Result<(), DatabaseError> {
    change(database, path, |transaction| {
        create_tables(transaction)?;
        put_snapshot(transaction, &state.encode())?;
        transaction.delete_table(SNAPSHOT)?;
        transaction.delete_table(LOG)?;
        let mut meta = transaction.open_table(META)?;
        meta.remove(SNAPSHOT_END_KEY)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        Ok(())
    })
}

/// Turns stored batches into an image, naming the place of whatever is wrong.
struct Loader<'a> {
    path: &'a Path,
}

impl Loader<'_> {
    fn check_position(&self, expected: u64, found: u64) -> Result<(), DatabaseError> {
        if expected != found {
            return Err(DatabaseError::Gap { path: self.path.to_owned(), expected, found });
        }
        Ok(())
    }

    fn apply(&self, image: &mut MetadataImage, bytes: &[u8]) -> Result<(), DatabaseError> {
        let records = codec::decode(bytes).map_err(|source| DatabaseError::BadBatch {
            path: self.path.to_owned(),
            metadata_offset: image.metadata_offset(),
            source,
        })?;
        records
            .iter()
            .try_for_each(|record| image.apply_in_place(record))
            .map_err(|source| DatabaseError::BadRecord { path: self.path.to_owned(), source })
    }
}
