//! `meta.properties`: which node of which cluster a data directory belongs to, for operators and for refusing mix-ups.
//!
//! Kafka's file of the same name and shape is told apart by our own version key, so that neither broker takes over the
//! other's data.

use super::sync_directory;
use crate::cluster_id::{ClusterId, ClusterIdError};
use protocol::newtypes::BrokerId;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FILE: &str = "meta.properties";
const NEW_FILE: &str = "meta.properties.new";
const VERSION: &str = "1";
const VERSION_KEY: &str = "ringlog.version";
/// More is no identity file. In bytes.
const SIZE_MAX: u64 = 64 * 1024;

/// Whose data directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: ClusterId,
    pub node_id: BrokerId,
    /// Drawn when the directory was made: a wiped disk comes back with another.
    pub directory_id: Uuid,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {}, node {}, directory {}", self.cluster_id, self.node_id, self.directory_id)
    }
}

/// The identity file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "data directory {} belongs to node {found}, and this is node {expected}: start with --node-id {found}, or choose \
         another directory", directory.display()
    )]
    OtherNode { directory: PathBuf, expected: BrokerId, found: BrokerId },
    #[error("{} is of an Apache Kafka broker: choose another data directory", path.display())]
    OfKafka { path: PathBuf },
    #[error("{} has version {found}, this program reads version {VERSION}: use a newer one", path.display())]
    UnknownVersion { path: PathBuf, found: String },
    #[error("{} has no {key}", path.display())]
    Missing { path: PathBuf, key: &'static str },
    #[error("{} has {key}={found}, expected {expected}", path.display())]
    Malformed { path: PathBuf, key: &'static str, found: String, expected: &'static str },
    #[error("{} has {found_bytes} bytes, too many for an identity file", path.display())]
    TooLarge { path: PathBuf, found_bytes: u64 },
}

impl Identity {
    pub(super) fn path(directory: &Path) -> PathBuf {
        directory.join(FILE)
    }

    /// `None` if there is no such file.
    pub(super) fn read(directory: &Path) -> Result<Option<Identity>, IdentityError> {
        let path = Identity::path(directory);
        let read_error = |source| IdentityError::Io { action: "read", path: path.clone(), source };
        let found_bytes = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(read_error(error)),
        };
        if found_bytes > SIZE_MAX {
            return Err(IdentityError::TooLarge { path, found_bytes });
        }
        let text = std::fs::read_to_string(&path).map_err(read_error)?;
        Identity::parse(&text, &path).map(Some)
    }

    fn parse(text: &str, path: &Path) -> Result<Identity, IdentityError> {
        let values: BTreeMap<&str, &str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let get = |key| values.get(key).copied().ok_or_else(|| IdentityError::Missing { path: path.to_owned(), key });
        let malformed = |key, expected| {
            let found = values.get(key).copied().unwrap_or_default().to_owned();
            IdentityError::Malformed { path: path.to_owned(), key, found, expected }
        };
        match values.get(VERSION_KEY).copied() {
            Some(VERSION) => {}
            Some(found) => {
                return Err(IdentityError::UnknownVersion { path: path.to_owned(), found: found.to_owned() });
            }
            None if values.contains_key("version") => return Err(IdentityError::OfKafka { path: path.to_owned() }),
            None => return Err(IdentityError::Missing { path: path.to_owned(), key: VERSION_KEY }),
        }
        Ok(Identity {
            cluster_id: get("cluster.id")?
                .parse()
                .map_err(|_: ClusterIdError| malformed("cluster.id", "22 characters of URL-safe base64"))?,
            node_id: get("node.id")?.parse().map(BrokerId).map_err(|_| malformed("node.id", "a whole number"))?,
            directory_id: get("directory.id")?.parse().map_err(|_| malformed("directory.id", "a UUID"))?,
        })
    }

    /// Writes the file anew, whole or not at all.
    pub(super) fn write(&self, directory: &Path) -> Result<(), IdentityError> {
        let (path, new_path) = (Identity::path(directory), directory.join(NEW_FILE));
        let text = format!(
            "# Whose data this directory holds. Do not edit.\n{VERSION_KEY}={VERSION}\ncluster.id={}\nnode.id={}\n\
             directory.id={}\n",
            self.cluster_id, self.node_id, self.directory_id
        );
        let write = || -> io::Result<()> {
            let mut file = std::fs::File::create(&new_path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new_path, &path)?;
            sync_directory(directory)
        };
        write().map_err(|source| IdentityError::Io { action: "write", path: path.clone(), source })
    }

    pub(super) fn check_node(&self, directory: &Path, expected: BrokerId) -> Result<(), IdentityError> {
        if self.node_id != expected {
            let directory = directory.to_owned();
            return Err(IdentityError::OtherNode { directory, expected, found: self.node_id });
        }
        Ok(())
    }
}
