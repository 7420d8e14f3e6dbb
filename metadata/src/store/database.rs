//! The embedded database: whose it is, and how it is opened and changed.
//!
//! Table `meta` says what format this is and whose database; what Raft keeps is in tables of its own
//! ([`crate::raft`]). Every change is one transaction, committed in two phases: with one phase, damage to the newest commit is
//! taken for a crash and undone in silence.

use super::identity::Identity;
use super::reserved_file::ReservedFile;
use crate::cluster_id::ClusterId;
use crate::image::ApplyError;
use crate::raft::snapshot::State;
use crate::raft::{create_tables, put_snapshot};
use crate::record::codec::CodecError;
use protocol::newtypes::BrokerId;
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use uuid::Uuid;

pub(super) const META: TableDefinition<&str, u128> = TableDefinition::new("meta");

/// Of a database in which Raft keeps its log.
pub(super) const FORMAT: u128 = 2;
/// Of the database of a broker that could only stand alone.
pub(super) const FORMAT_SINGLE_NODE: u128 = 1;
pub(super) const FORMAT_KEY: &str = "format";
const CLUSTER_ID_KEY: &str = "cluster.id";
const NODE_ID_KEY: &str = "node.id";
const DIRECTORY_ID_KEY: &str = "directory.id";

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
    #[error("metadata {} has format {found}, this program reads formats up to {FORMAT}: use a newer one", path.display())]
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

/// What a file turned out to be.
pub(super) enum Found {
    Current(Database, Identity),
    /// To be converted.
    SingleNode(Database, Identity),
}

/// Makes a new database whose Raft group begins with this state; without one it is to be taken into a group.
pub(super) fn create(path: &Path, identity: &Identity, state: Option<&State>) -> Result<Database, DatabaseError> {
    let file = File::options().read(true).write(true).create_new(true).open(path).map_err(failed(path))?;
    let database = with_reserve(file).map_err(failed(path))?;
    initialize(&database, path, identity, state)?;
    Ok(database)
}

pub(super) fn initialize(
    database: &Database,
    path: &Path,
    identity: &Identity,
    state: Option<&State>,
) -> Result<(), DatabaseError> {
    change(database, path, |transaction| {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(CLUSTER_ID_KEY, identity.cluster_id.0.as_u128())?;
        meta.insert(NODE_ID_KEY, identity.node_id.0 as u32 as u128)?;
        meta.insert(DIRECTORY_ID_KEY, identity.directory_id.as_u128())?;
        create_tables(transaction)?;
        match state {
            Some(state) => put_snapshot(transaction, &state.encode()),
            None => Ok(()),
        }
    })
}

/// Opens an existing database.
pub(super) fn open(path: &Path) -> Result<Found, DatabaseError> {
    let file = File::options().read(true).write(true).open(path).map_err(failed(path))?;
    // An empty file would become a new database.
    let is_empty = file.metadata().map_err(failed(path))?.len() == 0;
    let database = if is_empty { builder().open(path) } else { with_reserve(file) };
    identify(database.map_err(failed(path))?, path)
}

fn with_reserve(file: File) -> Result<Database, redb::DatabaseError> {
    builder().create_with_backend(ReservedFile::new(file)?)
}

pub(super) fn identify(database: Database, path: &Path) -> Result<Found, DatabaseError> {
    let format = meta_number(&database, path, FORMAT_KEY)?;
    if format != FORMAT && format != FORMAT_SINGLE_NODE {
        return Err(DatabaseError::UnknownFormat { path: path.to_owned(), found: format });
    }
    let out_of_range = |key| move |_| DatabaseError::BadMeta { path: path.to_owned(), key };
    let node_id = u32::try_from(meta_number(&database, path, NODE_ID_KEY)?).map_err(out_of_range(NODE_ID_KEY))?;
    let identity = Identity {
        cluster_id: ClusterId(Uuid::from_u128(meta_number(&database, path, CLUSTER_ID_KEY)?)),
        node_id: BrokerId(node_id as i32),
        directory_id: Uuid::from_u128(meta_number(&database, path, DIRECTORY_ID_KEY)?),
    };
    Ok(match format {
        FORMAT => Found::Current(database, identity),
        _ => Found::SingleNode(database, identity),
    })
}

pub(super) fn meta_number(database: &Database, path: &Path, key: &'static str) -> Result<u128, DatabaseError> {
    let transaction = database.begin_read().map_err(failed(path))?;
    let meta = transaction.open_table(META).map_err(failed(path))?;
    match meta.get(key) {
        Ok(Some(value)) => Ok(value.value()),
        Ok(None) => Err(DatabaseError::BadMeta { path: path.to_owned(), key }),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Makes a change durable, all or nothing: returns after the sync.
pub(crate) fn change(
    database: &Database,
    path: &Path,
    work: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), DatabaseError> {
    let attempt = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        work(&transaction)?;
        // Immediate durability is the default.
        transaction.commit()?;
        Ok(())
    };
    attempt().map_err(failed(path))
}

pub(crate) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    // The check reads the whole file, which snapshots keep small, and turns damage into an error instead of a panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

pub(crate) fn failed<E: Into<redb::Error>>(path: &Path) -> impl FnOnce(E) -> DatabaseError {
    let path = path.to_owned();
    move |error| match error.into() {
        redb::Error::Io(source) => DatabaseError::Io { path, source },
        source => DatabaseError::Database { path, source: Box::new(source) },
    }
}
