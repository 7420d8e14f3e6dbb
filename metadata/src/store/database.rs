//! The embedded database under the store: its tables, and the images they amount to.
//!
//! Tables: `snapshot` holds an image as chunks of records; `log` holds the batches committed since, each under the
//! metadata offset of its first record; `meta` says what the snapshot covers and whose database this is. Every change is
//! one transaction, committed in two phases: with one phase, damage to the newest commit is taken for a crash and undone
//! in silence.

use super::identity::Identity;
use crate::cluster_id::ClusterId;
use crate::image::{ApplyError, MetadataImage};
use crate::record::MetadataRecord;
use crate::record::codec::{self, CodecError};
use protocol::newtypes::BrokerId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const META: TableDefinition<&str, u128> = TableDefinition::new("meta");
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

const FORMAT: u128 = 1;
const FORMAT_KEY: &str = "format";
const CLUSTER_ID_KEY: &str = "cluster.id";
const NODE_ID_KEY: &str = "node.id";
const DIRECTORY_ID_KEY: &str = "directory.id";
/// Metadata offset that the snapshot reaches.
const SNAPSHOT_END_KEY: &str = "snapshot.end";

/// Records per chunk of a snapshot: some 100 KiB.
const SNAPSHOT_CHUNK_RECORDS: usize = 1000;
/// A log shorter than this is not worth a snapshot, in records; loading it takes some milliseconds.
const LOG_RECORDS_MIN: u64 = 10_000;
/// The database's own cache, in bytes. It is read once and then only written.
const CACHE_BYTES: usize = 4 << 20;

/// The database cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("cannot use {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The database found itself damaged, or failed in a way of its own.
    #[error("metadata {} cannot be used: {source}", path.display())]
    Database {
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
    #[error("metadata {} has format {found}, this program reads format {FORMAT}: use a newer one", path.display())]
    UnknownFormat { path: PathBuf, found: u128 },
    #[error("metadata {} is damaged: '{key}' is missing or out of range", path.display())]
    BadMeta { path: PathBuf, key: &'static str },
    #[error("metadata {} is damaged at offset {metadata_offset}: {source}", path.display())]
    BadBatch { path: PathBuf, metadata_offset: u64, source: CodecError },
    #[error("metadata {} is damaged: {source}", path.display())]
    BadRecord { path: PathBuf, source: ApplyError },
    #[error("metadata {} is damaged: expected records from offset {expected}, found offset {found}", path.display())]
    Gap { path: PathBuf, expected: u64, found: u64 },
}

/// The open database.
#[derive(Debug)]
pub(super) struct MetadataDatabase {
    database: Database,
    path: PathBuf,
    identity: Identity,
    /// Records in the log and in the snapshot.
    log_records: u64,
    snapshot_records: u64,
    log_records_min: u64,
}

impl MetadataDatabase {
    /// Makes a new database without records.
    pub fn create(path: &Path, identity: &Identity) -> Result<MetadataDatabase, DatabaseError> {
        let database = builder().create(path).map_err(failed(path))?;
        MetadataDatabase::initialize(database, path, identity)
    }

    fn initialize(database: Database, path: &Path, identity: &Identity) -> Result<MetadataDatabase, DatabaseError> {
        let created = MetadataDatabase {
            database,
            path: path.to_owned(),
            identity: identity.clone(),
            log_records: 0,
            snapshot_records: 0,
            log_records_min: LOG_RECORDS_MIN,
        };
        created.write(|transaction| {
            transaction.open_table(LOG)?;
            transaction.open_table(SNAPSHOT)?;
            let mut meta = transaction.open_table(META)?;
            meta.insert(FORMAT_KEY, FORMAT)?;
            meta.insert(CLUSTER_ID_KEY, identity.cluster_id.0.as_u128())?;
            meta.insert(NODE_ID_KEY, identity.node_id.0 as u32 as u128)?;
            meta.insert(DIRECTORY_ID_KEY, identity.directory_id.as_u128())?;
            meta.insert(SNAPSHOT_END_KEY, 0)?;
            Ok(())
        })?;
        Ok(created)
    }

    /// Opens an existing database and loads its image.
    pub fn open(path: &Path) -> Result<(MetadataDatabase, MetadataImage), DatabaseError> {
        let database = builder().open(path).map_err(failed(path))?;
        MetadataDatabase::load(database, path)
    }

    fn load(database: Database, path: &Path) -> Result<(MetadataDatabase, MetadataImage), DatabaseError> {
        let loader = Loader { path };
        let transaction = database.begin_read().map_err(failed(path))?;
        let meta = transaction.open_table(META).map_err(failed(path))?;
        let number = |key: &'static str| match meta.get(key) {
            Ok(Some(value)) => Ok(value.value()),
            Ok(None) => Err(DatabaseError::BadMeta { path: path.to_owned(), key }),
            Err(error) => Err(failed(path)(error)),
        };
        let format = number(FORMAT_KEY)?;
        if format != FORMAT {
            return Err(DatabaseError::UnknownFormat { path: path.to_owned(), found: format });
        }
        let out_of_range = |key| move |_| DatabaseError::BadMeta { path: path.to_owned(), key };
        let node_id = u32::try_from(number(NODE_ID_KEY)?).map_err(out_of_range(NODE_ID_KEY))?;
        let identity = Identity {
            cluster_id: ClusterId(Uuid::from_u128(number(CLUSTER_ID_KEY)?)),
            node_id: BrokerId(node_id as i32),
            directory_id: Uuid::from_u128(number(DIRECTORY_ID_KEY)?),
        };
        let snapshot_end = u64::try_from(number(SNAPSHOT_END_KEY)?).map_err(out_of_range(SNAPSHOT_END_KEY))?;

        let mut image = MetadataImage::default();
        let chunks = transaction.open_table(SNAPSHOT).map_err(failed(path))?;
        for (chunk, expected) in chunks.iter().map_err(failed(path))?.zip(0_u64..) {
            let (at, bytes) = chunk.map_err(failed(path))?;
            loader.check_position(expected, at.value())?;
            loader.apply(&mut image, bytes.value())?;
        }
        let snapshot_records = image.metadata_offset();
        image = image.at_metadata_offset(snapshot_end);

        let log = transaction.open_table(LOG).map_err(failed(path))?;
        for batch in log.iter().map_err(failed(path))? {
            let (at, bytes) = batch.map_err(failed(path))?;
            loader.check_position(image.metadata_offset(), at.value())?;
            loader.apply(&mut image, bytes.value())?;
        }
        let log_records = image.metadata_offset() - snapshot_end;
        drop((meta, chunks, log, transaction));
        let path = path.to_owned();
        let opened = MetadataDatabase {
            database,
            path,
            identity,
            log_records,
            snapshot_records,
            log_records_min: LOG_RECORDS_MIN,
        };
        Ok((opened, image))
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The file has another name now.
    pub fn renamed(&mut self, path: &Path) {
        self.path = path.to_owned();
    }

    /// Makes a batch durable whose first record has this metadata offset.
    pub fn append(&mut self, metadata_offset: u64, records: &[MetadataRecord]) -> Result<(), DatabaseError> {
        let bytes = codec::encode(records);
        self.write(|transaction| {
            transaction.open_table(LOG)?.insert(metadata_offset, bytes.as_slice())?;
            Ok(())
        })?;
        self.log_records += records.len() as u64;
        Ok(())
    }

    /// Replaces snapshot and log by a snapshot of `image` once the log has outgrown the snapshot, so that the file stays
    /// in proportion to the image, and the work to the number of changes.
    pub fn compact_if_due(&mut self, image: &MetadataImage) -> Result<(), DatabaseError> {
        if self.log_records < self.log_records_min.max(2 * self.snapshot_records) {
            return Ok(());
        }
        let records: Vec<MetadataRecord> = image.to_records().collect();
        self.write(|transaction| {
            transaction.delete_table(SNAPSHOT)?;
            transaction.delete_table(LOG)?;
            transaction.open_table(LOG)?;
            let mut chunks = transaction.open_table(SNAPSHOT)?;
            for (at, chunk) in (0_u64..).zip(records.chunks(SNAPSHOT_CHUNK_RECORDS)) {
                chunks.insert(at, codec::encode(chunk).as_slice())?;
            }
            transaction.open_table(META)?.insert(SNAPSHOT_END_KEY, u128::from(image.metadata_offset()))?;
            Ok(())
        })?;
        self.snapshot_records = records.len() as u64;
        self.log_records = 0;
        Ok(())
    }

    #[cfg(test)]
    pub fn create_on(
        file: impl redb::StorageBackend,
        path: &Path,
        identity: &Identity,
    ) -> Result<MetadataDatabase, DatabaseError> {
        let database = builder().create_with_backend(file).map_err(failed(path))?;
        MetadataDatabase::initialize(database, path, identity)
    }

    #[cfg(test)]
    pub fn open_on(
        file: impl redb::StorageBackend,
        path: &Path,
    ) -> Result<(MetadataDatabase, MetadataImage), DatabaseError> {
        let database = builder().create_with_backend(file).map_err(failed(path))?;
        MetadataDatabase::load(database, path)
    }

    /// Snapshots after a few records already.
    #[cfg(test)]
    pub fn set_log_records_min(&mut self, records: u64) {
        self.log_records_min = records;
    }

    /// Records in the log, and in the snapshot.
    #[cfg(test)]
    pub fn record_counts(&self) -> (u64, u64) {
        (self.log_records, self.snapshot_records)
    }

    fn write(&self, change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) -> Result<(), DatabaseError> {
        let attempt = || -> Result<(), redb::Error> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_two_phase_commit(true);
            change(&transaction)?;
            // Immediate durability is the default: this returns after the sync.
            transaction.commit()?;
            Ok(())
        };
        attempt().map_err(failed(&self.path))
    }
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

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    // The check reads the whole file, which compaction keeps small, and turns damage into an error instead of a panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn failed<E: Into<redb::Error>>(path: &Path) -> impl FnOnce(E) -> DatabaseError {
    let path = path.to_owned();
    move |error| match error.into() {
        redb::Error::Io(source) => DatabaseError::Io { path, source },
        source => DatabaseError::Database { path, source: Box::new(source) },
    }
}
