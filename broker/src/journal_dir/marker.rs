//! `journal-id`: the file that ties a data directory and a journal directory together. Both have one, with the same id.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// Name of the file in both directories.
pub const MARKER_FILE: &str = "journal-id";
const NEW_FILE: &str = "journal-id.new";
const VERSION: &str = "1";
/// More is no marker. In bytes.
const SIZE_MAX: u64 = 64 << 10;

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Drawn when the two directories were first used together.
    pub id: Uuid,
    /// For messages, and for who looks at the files without the broker's settings; the id alone decides.
    pub data_dir: PathBuf,
    pub journal_dir: PathBuf,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} does not say which journal belongs to the data directory: it has no {missing}", path.display())]
    Malformed { path: PathBuf, missing: &'static str },
    #[error("{} has version {found}, this program reads version {VERSION}: use a newer one", path.display())]
    UnknownVersion { path: PathBuf, found: String },
}

impl MarkerError {
    pub fn is_no_space(&self) -> bool {
        matches!(self, MarkerError::Io { source, .. } if is_no_space(source))
    }
}

/// No space or no quota left.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Marker {
    /// `None` if there is no such file, or no such directory.
    pub fn read(dir: &Path) -> Result<Option<Marker>, MarkerError> {
        let path = dir.join(MARKER_FILE);
        let text = fs::metadata(&path).and_then(|metadata| {
            if metadata.len() > SIZE_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
            }
            fs::read_to_string(&path)
        });
        match text {
            Ok(text) => Marker::parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MarkerError::Io { action: "read", path, source }),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Marker, MarkerError> {
        let get = |key: &'static str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let value = lines.into_iter().find_map(|(found, value)| (found == key).then_some(value));
            value.ok_or_else(|| MarkerError::Malformed { path: path.to_owned(), missing: key })
        };
        match get("version")? {
            VERSION => {}
            found => return Err(MarkerError::UnknownVersion { path: path.to_owned(), found: found.to_owned() }),
        }
        let id = get("id")?.parse();
        Ok(Marker {
            id: id.map_err(|_| MarkerError::Malformed { path: path.to_owned(), missing: "id" })?,
            data_dir: PathBuf::from(get("data.dir")?),
            journal_dir: PathBuf::from(get("journal.dir")?),
        })
    }

    /// Writes the file, whole or not at all, durably.
    pub fn write(&self, dir: &Path) -> Result<(), MarkerError> {
        let (path, new_path) = (dir.join(MARKER_FILE), dir.join(NEW_FILE));
        let text = format!(
            "# Which journal belongs to which data directory. Do not edit.\nversion={VERSION}\nid={}\ndata.dir={}\n\
             journal.dir={}\n",
            self.id,
            self.data_dir.display(),
            self.journal_dir.display()
        );
        let write = || -> io::Result<()> {
            let mut file = File::create(&new_path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new_path, &path)?;
            sync_directory(dir)
        };
        write().map_err(|source| {
            // What there was no room for stays in nobody's way.
            let _ = fs::remove_file(&new_path);
            MarkerError::Io { action: "write", path, source }
        })
    }

    /// Removes the file, durably; it is no error if there is none.
    pub fn remove(dir: &Path) -> Result<(), MarkerError> {
        let path = dir.join(MARKER_FILE);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(()) => sync_directory(dir),
            Err(error) => Err(error),
        };
        removed.map_err(|source| MarkerError::Io { action: "remove", path, source })
    }
}

pub fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker { id: Uuid::from_u128(7), data_dir: "/data = x".into(), journal_dir: "/journal".into() }
    }

    #[test]
    fn a_marker_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(dir.path()).unwrap(), None);
        assert_eq!(Marker::read(&dir.path().join("missing")).unwrap(), None);
        marker().write(dir.path()).unwrap();
        assert_eq!(Marker::read(dir.path()).unwrap(), Some(marker()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        Marker::remove(dir.path()).unwrap();
        Marker::remove(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_marker_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MARKER_FILE);
        let large = "x".repeat(SIZE_MAX as usize + 1);
        for (text, expected) in [
            ("", "has no version"),
            ("version=2\nid=x\n", "has version 2"),
            ("version=1\nid=x\ndata.dir=a\njournal.dir=b", "has no id"),
            ("version=1\nid=00000000-0000-0000-0000-000000000007\njournal.dir=b", "has no data.dir"),
            (&large, "too large"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Marker::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(MARKER_FILE), "{error}");
        }
    }
}
