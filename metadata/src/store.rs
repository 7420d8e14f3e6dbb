//! The metadata log of this node, durable, and the identity of the data directory it lies in.
//!
//! Contract: [`MetadataStore::commit`] returns once the records are on disk; after a crash, [`MetadataStore::open`] gives
//! the image of every commit that returned, and of the one that was under way either all or nothing. One process at a time
//! owns a directory, and a directory belongs to one node of one cluster for ever.
//!
//! An embedded database (redb) holds a snapshot and the records since; both carry checksums of their own besides the
//! database's. All calls block on the disk: they are for the metadata thread.
//!
//! Deliberately absent: repair. Damage is reported with its place and left for a human.

mod database;
mod identity;
mod lock;
#[cfg(test)]
mod tests;

pub use database::DatabaseError;
pub use identity::{Identity, IdentityError};
pub use lock::LockError;

use crate::delta::MetadataDelta;
use crate::image::{ApplyError, MetadataImage};
use crate::record::MetadataRecord;
use database::MetadataDatabase;
use lock::DirectoryLock;
use protocol::newtypes::BrokerId;
use std::io;
use std::path::{Path, PathBuf};

const DATABASE_FILE: &str = "metadata.redb";
const NEW_DATABASE_FILE: &str = "metadata.redb.new";
/// Free space below which nothing is written, in bytes. The database cannot go on after a write failed for want of space,
/// so one is not begun that could; 64 MiB is far above what a commit takes, whatever else writes meanwhile.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// The data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(
        "{} says that this directory belongs to a node, and its metadata {} is gone: put it back, or start with an empty \
         directory", identity.display(), database.display()
    )]
    DatabaseMissing { identity: PathBuf, database: PathBuf },
    #[error("{} and {} disagree: the first is of cluster {found}, the second of cluster {expected}",
        database.display(), identity.display())]
    ClusterMismatch { identity: PathBuf, database: PathBuf, expected: String, found: String },
    #[error("the records that a new directory starts with do not create a cluster")]
    NoCluster,
    #[error("the records that a new directory starts with do not fit together: {0}")]
    Bootstrap(ApplyError),
}

/// A change could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The decision was wrong; nothing was written, and the store goes on.
    #[error(transparent)]
    Misfit(#[from] ApplyError),
    /// Nothing was written, and the store goes on.
    #[error(
        "{} has {free_bytes} bytes free, and metadata is not changed below {minimum_bytes}: free some space",
        path.display()
    )]
    NoSpace { path: PathBuf, free_bytes: u64, minimum_bytes: u64 },
    /// Whether the change is on disk is not known: the process must end, and the next start will see.
    #[error(transparent)]
    Failed(#[from] DatabaseError),
}

/// A durable change.
#[derive(Debug)]
pub struct Committed {
    /// The image that the change led to.
    pub image: MetadataImage,
    /// What shards must know of it, in order.
    pub deltas: Vec<MetadataDelta>,
}

/// The metadata log on this node's disk.
#[derive(Debug)]
pub struct MetadataStore {
    database: MetadataDatabase,
    directory: PathBuf,
    identity: Identity,
    image: MetadataImage,
    free_bytes_min: u64,
    /// Held as long as the store is.
    _lock: DirectoryLock,
}

impl MetadataStore {
    /// Takes possession of a data directory and loads its metadata; an empty or missing directory becomes one of this node
    /// that starts with the records of `bootstrap` ([`crate::controller::bootstrap_records`]).
    ///
    /// # Errors
    /// When another process has it, it is another node's, or what it holds is damaged or newer than this program.
    pub fn open(
        directory: &Path,
        node_id: BrokerId,
        bootstrap: &[MetadataRecord],
    ) -> Result<(MetadataStore, MetadataImage), OpenError> {
        create_directory(directory).map_err(io_error("create", directory))?;
        let lock = DirectoryLock::take(directory)?;
        let path = directory.join(DATABASE_FILE);
        let identity = Identity::read(directory)?;
        if let Some(identity) = &identity {
            identity.check_node(directory, node_id)?;
        }
        let exists = path.try_exists().map_err(io_error("look for", &path))?;
        if exists {
            let (database, image) = MetadataDatabase::open(&path)?;
            let identity = complete_identity(directory, &path, identity, &database, &image, node_id)?;
            return Ok(MetadataStore::new(database, directory, identity, image, lock));
        }
        if identity.is_some() {
            let identity = Identity::path(directory);
            return Err(OpenError::DatabaseMissing { identity, database: path });
        }
        let (database, identity, image) = create(directory, node_id, bootstrap)?;
        Ok(MetadataStore::new(database, directory, identity, image, lock))
    }

    fn new(
        database: MetadataDatabase,
        directory: &Path,
        identity: Identity,
        image: MetadataImage,
        lock: DirectoryLock,
    ) -> (MetadataStore, MetadataImage) {
        let store = MetadataStore {
            database,
            directory: directory.to_owned(),
            identity,
            image: image.clone(),
            free_bytes_min: FREE_BYTES_MIN,
            _lock: lock,
        };
        (store, image)
    }

    /// Makes a batch of records durable, all or nothing, and gives what they lead to. Blocks until the disk has them.
    pub fn commit(&mut self, records: &[MetadataRecord]) -> Result<Committed, CommitError> {
        let (image, deltas) = self.image.apply_batch(records)?;
        if records.is_empty() {
            return Ok(Committed { image, deltas });
        }
        self.check_free_space()?;
        self.database.append(self.image.metadata_offset(), records)?;
        self.image = image.clone();
        self.database.compact_if_due(&self.image)?;
        Ok(Committed { image, deltas })
    }

    /// Whose directory this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn check_free_space(&self) -> Result<(), CommitError> {
        let stat = rustix::fs::statvfs(&self.directory)
            .map_err(|errno| DatabaseError::Io { path: self.directory.clone(), source: errno.into() })?;
        let (free_bytes, minimum_bytes) = (stat.f_bavail.saturating_mul(stat.f_frsize), self.free_bytes_min);
        if free_bytes < minimum_bytes {
            return Err(CommitError::NoSpace { path: self.directory.clone(), free_bytes, minimum_bytes });
        }
        Ok(())
    }
}

/// A directory's first moments. The database is made under another name and gets its own by renaming, so that it is there
/// whole or not at all; the identity file comes last.
fn create(
    directory: &Path,
    node_id: BrokerId,
    bootstrap: &[MetadataRecord],
) -> Result<(MetadataDatabase, Identity, MetadataImage), OpenError> {
    let (image, _) = MetadataImage::default().apply_batch(bootstrap).map_err(OpenError::Bootstrap)?;
    let cluster_id = image.cluster_id().ok_or(OpenError::NoCluster)?;
    let identity = Identity { cluster_id, node_id, directory_id: uuid::Uuid::new_v4() };
    let (path, new_path) = (directory.join(DATABASE_FILE), directory.join(NEW_DATABASE_FILE));
    match std::fs::remove_file(&new_path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("remove", &new_path)(error)),
    }
    let mut database = MetadataDatabase::create(&new_path, &identity)?;
    database.append(0, bootstrap)?;
    std::fs::rename(&new_path, &path).map_err(io_error("rename to", &path))?;
    sync_directory(directory).map_err(io_error("sync", directory))?;
    identity.write(directory)?;
    database.renamed(&path);
    Ok((database, identity, image))
}

/// Holds the identity file against the database, and writes it anew where a crash at the first start left none.
fn complete_identity(
    directory: &Path,
    path: &Path,
    identity: Option<Identity>,
    database: &MetadataDatabase,
    image: &MetadataImage,
    node_id: BrokerId,
) -> Result<Identity, OpenError> {
    let stored = database.identity().clone();
    match identity {
        Some(identity) if image.cluster_id() == Some(identity.cluster_id) => Ok(identity),
        Some(identity) => Err(OpenError::ClusterMismatch {
            identity: Identity::path(directory),
            database: path.to_owned(),
            expected: identity.cluster_id.to_string(),
            found: image.cluster_id().map_or("none".to_owned(), |id| id.to_string()),
        }),
        None => {
            stored.check_node(directory, node_id)?;
            tracing::warn!(directory = %directory.display(), "identity file is missing, writing it from the metadata");
            stored.write(directory)?;
            Ok(stored)
        }
    }
}

/// Makes a directory and those above it, durably.
fn create_directory(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    std::fs::create_dir_all(directory)?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(|parent| {
        // The parent of a bare name is the working directory.
        sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    })
}

/// Makes the names in a directory durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}
