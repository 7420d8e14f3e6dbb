//! A node's data directory: whose it is, who uses it, and the database that its metadata lies in.
//!
//! Contract: one process at a time owns a directory, and a directory belongs to one node of one cluster for ever. It comes to
//! be whole or not at all: after a crash at any moment of a first start the next one begins anew or goes on.
//!
//! The embedded database (redb) holds what Raft keeps ([`crate::raft`]) and the identity once more, each value with a checksum
//! of its own besides the database's.
//!
//! Space of the disk is reserved for it ([`reserved_file`]), and how full that may be for which change is in [`room`].
//!
//! Deliberately absent: repair. Damage is reported with its place and left for a human.

pub(crate) mod database;
mod identity;
mod lock;
mod reserved_file;
mod room;
mod single_node;
#[cfg(test)]
pub(crate) mod tests;

pub use database::DatabaseError;
pub use identity::{Identity, IdentityError};
pub use lock::LockError;
pub use room::{Effect, FREE_BYTES_MIN, FREEING_BYTES_MIN, NoRoom, Room};

use crate::cluster_id::ClusterId;
use crate::image::{ApplyError, MetadataImage};
use crate::raft::{self, Member, Opened, Published, first_state};
use crate::record::{MetadataRecord, NodeBinding};
use database::Found;
use lock::DirectoryLock;
use protocol::newtypes::BrokerId;
use redb::Database;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

const DATABASE_FILE: &str = "metadata.redb";
const NEW_DATABASE_FILE: &str = "metadata.redb.new";

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
    #[error(transparent)]
    Raft(#[from] raft::OpenError),
    #[error(
        "{} says that this directory belongs to a node, and its metadata {} is gone: put it back, or start with an empty \
         directory", identity.display(), database.display()
    )]
    DatabaseMissing { identity: PathBuf, database: PathBuf },
    #[error(
        "{} and {} disagree: the first is of {found}, the second of {expected}; each directory needs its own files",
        database.display(), identity.display()
    )]
    IdentityMismatch { identity: PathBuf, database: PathBuf, expected: Box<Identity>, found: Box<Identity> },
    #[error("the records that a new directory starts with do not create a cluster")]
    NoCluster,
    #[error("the records that a new directory starts with do not fit together: {0}")]
    Bootstrap(ApplyError),
}

/// What an empty directory becomes.
#[derive(Clone, Copy, Debug)]
pub enum Beginning<'a> {
    /// The first one of a new cluster of this node alone, which starts with these records
    /// ([`crate::controller::bootstrap_records`]).
    Form(&'a [MetadataRecord]),
    /// One of a node that is about to join this cluster, and knows nothing of it yet.
    Join(ClusterId),
}

/// Owns a data directory as long as it exists.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    identity: Identity,
    _lock: DirectoryLock,
}

impl DataDirectory {
    /// Whether a directory is still to become one of a node: [`DataDirectory::open`] will use its `beginning`.
    ///
    /// # Errors
    /// As [`DataDirectory::open`]'s.
    pub fn is_new(path: &Path) -> Result<bool, OpenError> {
        let database = path.join(DATABASE_FILE);
        let exists = database.try_exists().map_err(io_error("look for", &database))?;
        Ok(!exists && Identity::read(path)?.is_none())
    }

    /// Takes possession of a directory and loads what Raft kept in it; an empty or missing directory begins as `beginning`
    /// says. Other members reach this node at `internal_address`. Images in force are sent to `published` as they come.
    ///
    /// # Errors
    /// When another process has it, it is another node's, or what it holds is damaged or newer than this program.
    pub fn open(
        path: &Path,
        node_id: BrokerId,
        internal_address: &str,
        beginning: Beginning<'_>,
        published: mpsc::UnboundedSender<Published>,
    ) -> Result<(DataDirectory, Opened), OpenError> {
        create_directory(path).map_err(io_error("create", path))?;
        let lock = DirectoryLock::take(path)?;
        let database_path = path.join(DATABASE_FILE);
        let identity = Identity::read(path)?;
        if let Some(identity) = &identity {
            identity.check_node(path, node_id)?;
        }
        let exists = database_path.try_exists().map_err(io_error("look for", &database_path))?;
        let (database, identity) = match (exists, identity) {
            (true, identity) => {
                let (database, stored) = open_database(&database_path, internal_address)?;
                (database, complete_identity(path, &database_path, identity, stored, node_id)?)
            }
            (false, Some(_)) => {
                let identity = Identity::path(path);
                return Err(OpenError::DatabaseMissing { identity, database: database_path });
            }
            (false, None) => create(path, node_id, internal_address, beginning)?,
        };
        let opened = raft::open(database, &database_path, published)?;
        Ok((DataDirectory { path: path.to_owned(), identity, _lock: lock }, opened))
    }

    /// Whose directory this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the disk has left for metadata.
    #[must_use]
    pub fn room(&self) -> Room {
        // A file system that does not tell is taken for one with room: the write will.
        let free_bytes =
            rustix::fs::statvfs(&self.path).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        Room { free_bytes, reserved_bytes: reserved_file::reserved_bytes(&self.path.join(DATABASE_FILE)) }
    }

    /// Whether there is room for a change of metadata; what it does is asked only where it matters.
    ///
    /// # Errors
    /// If there is not.
    pub fn check_room(&self, effect: impl FnOnce() -> Effect) -> Result<(), NoRoom> {
        let room = self.room();
        if room.suffices_for(Effect::Grows) {
            return Ok(());
        }
        let effect = effect();
        if room.suffices_for(effect) { Ok(()) } else { Err(NoRoom::new(self.path.clone(), room, effect)) }
    }
}

/// Opens a database, converting one of the format before Raft.
fn open_database(path: &Path, internal_address: &str) -> Result<(Database, Identity), OpenError> {
    match database::open(path)? {
        Found::Current(database, identity) => Ok((database, identity)),
        Found::SingleNode(database, identity) => {
            let image = single_node::load(&database, path)?;
            let member = Member { directory_id: identity.directory_id, address: internal_address.to_owned() };
            let state = first_state(image, identity.node_id, member);
            single_node::convert(&database, path, &state)?;
            tracing::info!(path = %path.display(), "metadata was converted to the format with Raft's log");
            Ok((database, identity))
        }
    }
}

/// A directory's first moments. The database is made under another name and gets its own by renaming, so that it is there
/// whole or not at all; the identity file comes last.
fn create(
    directory: &Path,
    node_id: BrokerId,
    internal_address: &str,
    beginning: Beginning<'_>,
) -> Result<(Database, Identity), OpenError> {
    let directory_id = uuid::Uuid::new_v4();
    let (cluster_id, state) = match beginning {
        Beginning::Join(cluster_id) => (cluster_id, None),
        Beginning::Form(records) => {
            let node = NodeBinding { node: node_id, directory_id, address: internal_address.to_owned() };
            let records = [records, &[MetadataRecord::NodeBound(node)]].concat();
            let (image, _) = MetadataImage::default().apply_batch(&records).map_err(OpenError::Bootstrap)?;
            let cluster_id = image.cluster_id().ok_or(OpenError::NoCluster)?;
            let member = Member { directory_id, address: internal_address.to_owned() };
            (cluster_id, Some(first_state(image, node_id, member)))
        }
    };
    let identity = Identity { cluster_id, node_id, directory_id };
    let (path, new_path) = (directory.join(DATABASE_FILE), directory.join(NEW_DATABASE_FILE));
    match std::fs::remove_file(&new_path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("remove", &new_path)(error)),
    }
    let database = database::create(&new_path, &identity, state.as_ref())?;
    std::fs::rename(&new_path, &path).map_err(io_error("rename to", &path))?;
    sync_directory(directory).map_err(io_error("sync", directory))?;
    identity.write(directory)?;
    Ok((database, identity))
}

/// Holds the identity file against the database, and writes it anew where a crash at the first start left none.
fn complete_identity(
    directory: &Path,
    database: &Path,
    identity: Option<Identity>,
    stored: Identity,
    node_id: BrokerId,
) -> Result<Identity, OpenError> {
    match identity {
        Some(identity) if identity == stored => Ok(identity),
        // A vote that was given under one directory id must not be forgotten under another.
        Some(identity) => Err(OpenError::IdentityMismatch {
            identity: Identity::path(directory),
            database: database.to_owned(),
            expected: Box::new(identity),
            found: Box::new(stored),
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
