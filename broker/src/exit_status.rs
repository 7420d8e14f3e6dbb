//! With which status the process ends: 1 where another try may do better, 2 where it cannot.
//!
//! A service manager starts the broker again after 1, and leaves it alone after 2 (`RestartPreventExitStatus=2`). So 1 is what
//! may be over next time: a full disk, a name that is not known yet, a port or a directory that the process before still has.
//! 2 waits for a human: a wrong setting or path, a directory of another node, damage. It is all decided here; pure. See
//! docs/deployment.md.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use metadata::raft::{self, LoadError};
use metadata::store::{DatabaseError, IdentityError, LockError, OpenError};
use wal::file::glommio::GlommioStorageError;
use wal::journal::ReplayError;

use crate::config::{ConfigError, ConfigErrors};
use crate::journal_dir::marker::MarkerError;
use crate::journal_dir::{JournalDirError, Refusal};
use crate::metadata_core::CoreError;
use crate::serve::ServeError;

/// What is to be expected of another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    MayPass,
    Stays,
}

impl Failure {
    pub const fn status(self) -> u8 {
        match self {
            Failure::MayPass => 1,
            // As clap has it for command lines.
            Failure::Stays => 2,
        }
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> ExitCode {
        ExitCode::from(failure.status())
    }
}

/// Of a path that somebody gave. Kinds that are not known are taken for those of a disk.
pub fn of_path(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::AlreadyExists
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidData
        | ErrorKind::ReadOnlyFilesystem => Failure::Stays,
        _ => Failure::MayPass,
    }
}

/// One mistake is enough.
pub fn of_config(errors: &ConfigErrors) -> Failure {
    let passes = |error: &ConfigError| match error {
        ConfigError::ReadFile { source, .. } => of_path(source) == Failure::MayPass,
        _ => false,
    };
    if errors.0.iter().all(passes) { Failure::MayPass } else { Failure::Stays }
}

/// Of a broker that did not start, or ended.
pub fn of_serve(error: &ServeError) -> Failure {
    match error {
        ServeError::DataDir { source, .. } => of_path(source),
        ServeError::Journal(error) => of_journal(error),
        ServeError::Store(error) => of_store(error),
        ServeError::Metadata(error) => of_core(error),
        // Of a port below 1024. An address that this machine does not have comes with its network.
        ServeError::Bind { source, .. } if source.kind() == ErrorKind::PermissionDenied => Failure::Stays,
        ServeError::Bind { .. } | ServeError::Resolve { .. } => Failure::MayPass,
        ServeError::Leftovers { .. } | ServeError::Thread(_) | ServeError::Runtime(_) | ServeError::Shard { .. } => {
            Failure::MayPass
        }
    }
}

fn of_store(error: &OpenError) -> Failure {
    match error {
        OpenError::Io { source, .. } => of_path(source),
        // A process that is about to end, as a rule.
        OpenError::Lock(LockError::Held { .. }) => Failure::MayPass,
        OpenError::Lock(LockError::Io { source, .. }) => of_path(source),
        OpenError::Identity(IdentityError::Io { source, .. }) => of_path(source),
        OpenError::Identity(
            IdentityError::OtherNode { .. }
            | IdentityError::OfKafka { .. }
            | IdentityError::UnknownVersion { .. }
            | IdentityError::Missing { .. }
            | IdentityError::Malformed { .. }
            | IdentityError::TooLarge { .. },
        ) => Failure::Stays,
        OpenError::Database(error) | OpenError::Raft(raft::OpenError::Load(LoadError::Database(error))) => {
            of_database(error)
        }
        OpenError::Raft(raft::OpenError::Load(_)) => Failure::Stays,
        OpenError::Raft(raft::OpenError::Thread(_)) => Failure::MayPass,
        OpenError::DatabaseMissing { .. }
        | OpenError::IdentityMismatch { .. }
        | OpenError::NoCluster
        | OpenError::Bootstrap(_) => Failure::Stays,
    }
}

fn of_database(error: &DatabaseError) -> Failure {
    match error {
        DatabaseError::Io { source, .. } => of_path(source),
        // A disk's errors are among these.
        DatabaseError::Database { .. } => Failure::MayPass,
        DatabaseError::UnknownFormat { .. }
        | DatabaseError::BadMeta { .. }
        | DatabaseError::BadBatch { .. }
        | DatabaseError::BadRecord { .. }
        | DatabaseError::Gap { .. } => Failure::Stays,
    }
}

fn of_journal(error: &JournalDirError) -> Failure {
    match error {
        JournalDirError::Io { source, .. } => of_path(source),
        JournalDirError::IsDataDir { .. } => Failure::Stays,
        JournalDirError::InUse { .. } => Failure::MayPass,
        JournalDirError::Marker(MarkerError::Io { source, .. }) => of_path(source),
        JournalDirError::Marker(MarkerError::Malformed { .. } | MarkerError::UnknownVersion { .. }) => Failure::Stays,
        // Its disk may not be mounted yet.
        JournalDirError::Refused(Refusal::NotThere { .. }) => Failure::MayPass,
        JournalDirError::Refused(Refusal::OfAnother { .. } | Refusal::Unclaimed { .. }) => Failure::Stays,
        JournalDirError::Thread(_) | JournalDirError::Leftovers(_) | JournalDirError::ReplayEnded => Failure::MayPass,
        JournalDirError::Storage(GlommioStorageError::Io(error)) => of_path(&error.source),
        JournalDirError::Storage(GlommioStorageError::Alignment { .. }) => Failure::Stays,
        JournalDirError::Replay(ReplayError::Io(_)) => Failure::MayPass,
        JournalDirError::Replay(
            ReplayError::Header { .. }
            | ReplayError::Damaged(_)
            | ReplayError::TwoDirectories { .. }
            | ReplayError::Record { .. }
            | ReplayError::Frame { .. },
        ) => Failure::Stays,
    }
}

fn of_core(error: &CoreError) -> Failure {
    match error {
        CoreError::NoPlace(_) => Failure::Stays,
        CoreError::Stopped(_) | CoreError::Refused(_) | CoreError::Listen(_) => Failure::MayPass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: ErrorKind) -> io::Error {
        kind.into()
    }

    #[test]
    fn a_wrong_path_stays_and_a_disk_may_heal() {
        for (kind, expected) in [
            (ErrorKind::NotFound, 2),
            (ErrorKind::PermissionDenied, 2),
            (ErrorKind::NotADirectory, 2),
            (ErrorKind::AlreadyExists, 2),
            (ErrorKind::ReadOnlyFilesystem, 2),
            (ErrorKind::StorageFull, 1),
            (ErrorKind::QuotaExceeded, 1),
            (ErrorKind::OutOfMemory, 1),
            (ErrorKind::StaleNetworkFileHandle, 1),
            (ErrorKind::Other, 1),
        ] {
            let dir = || "/d".to_owned();
            assert_eq!(of_serve(&ServeError::DataDir { dir: dir(), source: io(kind) }).status(), expected, "{kind}");
            let store = OpenError::Lock(LockError::Io { path: dir().into(), source: io(kind) });
            assert_eq!(of_serve(&store.into()).status(), expected, "{kind}");
            let journal = JournalDirError::Io { dir: dir().into(), source: io(kind) };
            assert_eq!(of_serve(&journal.into()).status(), expected, "{kind}");
        }
        // EIO has no kind of its own.
        assert_eq!(of_path(&io::Error::from_raw_os_error(5)), Failure::MayPass);
    }

    #[test]
    fn what_another_start_may_find_otherwise_is_tried_again() {
        let bind = |kind| ServeError::Bind { setting: "kafka-addr", address: "h:1".to_owned(), source: io(kind) };
        let held = LockError::Held { directory: "/d".into(), holder: "7".to_owned() };
        let not_there = Refusal::NotThere {
            data_dir: "/d".into(),
            journal_dir: "/j".into(),
            was: "/j".into(),
            expected: uuid::Uuid::nil(),
            found: None,
        };
        let of_another = Refusal::OfAnother { data_dir: "/d".into(), journal_dir: "/j".into(), owner: "/e".into() };
        let other_node = IdentityError::OtherNode {
            directory: "/d".into(),
            expected: protocol::BrokerId(1),
            found: protocol::BrokerId(2),
        };
        let missing = OpenError::DatabaseMissing { identity: "/d/i".into(), database: "/d/m".into() };
        for (error, expected) in [
            (bind(ErrorKind::AddrInUse), 1),
            (bind(ErrorKind::AddrNotAvailable), 1),
            (bind(ErrorKind::PermissionDenied), 2),
            (OpenError::Lock(held).into(), 1),
            (OpenError::Identity(other_node).into(), 2),
            (missing.into(), 2),
            (JournalDirError::InUse { dir: "/j".into() }.into(), 1),
            (JournalDirError::IsDataDir { dir: "/d".into() }.into(), 2),
            (JournalDirError::Refused(not_there).into(), 1),
            (JournalDirError::Refused(of_another).into(), 2),
            (CoreError::NoPlace("another's id".to_owned()).into(), 2),
            (CoreError::Refused("another process".to_owned()).into(), 1),
        ] {
            let error: ServeError = error;
            assert_eq!(of_serve(&error).status(), expected, "{error}");
        }
    }

    #[test]
    fn a_file_that_the_disk_does_not_give_is_the_disks_fault_and_any_mistake_is_not() {
        let unread = |kind| ConfigError::ReadFile {
            path: "/c".into(),
            origin: crate::config::Origin::Default,
            source: io(kind),
        };
        let twice = || ConfigError::NotKeyValue { text: "a".to_owned(), origin: crate::config::Origin::Default };
        for (errors, expected) in [
            (vec![unread(ErrorKind::NotFound)], 2),
            (vec![unread(ErrorKind::IsADirectory)], 2),
            (vec![unread(ErrorKind::Other)], 1),
            (vec![unread(ErrorKind::Other), twice()], 2),
            (vec![twice()], 2),
        ] {
            assert_eq!(of_config(&ConfigErrors(errors)).status(), expected);
        }
    }
}
