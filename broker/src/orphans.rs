//! Partition directories that nobody claims any more.
//!
//! A topic is gone once its deletion is committed to the metadata, and a replica once it is assigned to others; the files
//! follow. A crash in between leaves them behind, so the start looks once, before any log is opened. Two things count: the
//! directory's name, and whose log its checkpoint says it is. A topic that was deleted and created again has its old name
//! and another id; the old files go, so that the new one's can take their place. A directory that does not look like ours
//! is left alone, with a warning. A deletion that the log itself had begun is the log's to finish
//! ([`wal::remove_deleted`]).
//!
//! Contract: the image is at least as new as the newest that this broker has opened logs by. By an older one, what it does
//! not know yet would be removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use instruments::Counter;
use metadata::image::MetadataImage;
use protocol::PartitionId;

use crate::partition::PartitionKey;

/// What a partition's directory holds besides its segments.
const CHECKPOINT_FILE: &str = "checkpoint";
/// Ending of a directory that is being removed; the log's own deletions use it too.
const DELETED_SUFFIX: &str = ".deleted";
/// Longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Removes leftovers of deleted topics below `data_dir`; returns how many directories. Takes as long as the file system does:
/// not for a shard's thread. `steps` rises with every directory that is looked at.
pub fn remove(data_dir: &Path, image: &MetadataImage, steps: &Counter) -> io::Result<usize> {
    let mut removed = 0;
    for (path, topic, partition) in directories(data_dir)? {
        steps.increment();
        let named = image.topic(&topic).filter(|topic| topic.partition(partition).is_some());
        if !path.join(CHECKPOINT_FILE).exists() {
            if named.is_none() {
                tracing::warn!(path = %path.display(), "this directory is named like a partition's and is none: left alone");
            }
            continue;
        }
        let claimed = match wal::read_identity(&path) {
            Ok(Some(identity)) => match image.topic_by_id(identity.topic_id) {
                Some(topic) => topic.partition(identity.partition).is_some(),
                None => false,
            },
            // Whose it is cannot be told: its name counts, and where that is claimed the open says what is wrong.
            Ok(None) | Err(_) => named.is_some(),
        };
        if claimed {
            continue;
        }
        tracing::warn!(path = %path.display(), "removing files of a partition that the metadata does not have: its topic was deleted");
        fs::remove_dir_all(set_aside(&path)?)?;
        removed += 1;
    }
    Ok(removed)
}

/// Sets directories aside of partitions that are not this broker's any more: those of which `is_elsewhere` says so. Gives what is
/// to be removed.
pub fn set_unassigned_aside(
    data_dir: &Path,
    image: &MetadataImage,
    is_elsewhere: impl Fn(PartitionKey) -> bool,
) -> io::Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for (path, topic, partition) in directories(data_dir)? {
        let Some(topic) = image.topic(&topic) else { continue };
        let key = PartitionKey { topic_id: topic.id, partition };
        if !is_elsewhere(key) {
            continue;
        }
        match wal::read_identity(&path) {
            Ok(Some(identity)) if (identity.topic_id, identity.partition) == (key.topic_id, partition) => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(%error, "left alone: the partition is not assigned to this broker, but whose files these are is unknown");
                continue;
            }
        }
        tracing::warn!(path = %path.display(), "removing files of a partition that is no longer assigned to this broker");
        aside.push(set_aside(&path)?);
    }
    Ok(aside)
}

/// Gives a partition's directory a name that no partition has and that the next start removes, durably. It is out of the way of
/// a new one then, and its files can go where nobody waits for them.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let ending = format!(".{}{DELETED_SUFFIX}", uuid::Uuid::new_v4().simple());
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // For whoever looks at the directory: the topic's name alone may be as long as a file's.
    let kept = &name[..name.floor_char_boundary(NAME_BYTES_MAX - ending.len())];
    let aside = dir.with_file_name(format!("{kept}{ending}"));
    fs::rename(dir, &aside)?;
    if let Some(parent) = dir.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(aside)
}

/// Removes what was set aside, from a shard's thread without holding it up. File by file, so that what else the shard wants of
/// the file system comes between. What somebody else has removed meanwhile is no error.
pub async fn remove_aside(aside: PathBuf) -> io::Result<()> {
    let dir = aside.clone();
    let paths = blocking(move || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    for path in there(paths.await)?.unwrap_or_default() {
        there(blocking(move || fs::remove_file(path)).await)?;
    }
    there(blocking(move || fs::remove_dir_all(aside)).await)?;
    Ok(())
}

/// Where the file system may take its time.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}

/// `None` of what is not there, or is a directory where a file was looked for.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => Ok(None),
        found => found.map(Some),
    }
}

/// Name of a partition's directory.
pub fn directory_name(topic: &str, partition: PartitionId) -> String {
    format!("{topic}-{partition}")
}

/// The directories below `data_dir` that are named like a partition's.
fn directories(data_dir: &Path) -> io::Result<Vec<(PathBuf, String, PartitionId)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((topic, partition)) = name.to_str().and_then(partition_of) else { continue };
        if entry.file_type()?.is_dir() {
            found.push((entry.path(), topic.to_owned(), partition));
        }
    }
    Ok(found)
}

/// Topic and partition of a directory's name, `<topic>-<partition>`.
fn partition_of(name: &str) -> Option<(&str, PartitionId)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let digits = !partition.is_empty() && partition.bytes().all(|b| b.is_ascii_digit());
    let valid = digits && metadata::controller::check_topic_name(topic).is_ok();
    if valid { Some((topic, PartitionId(partition.parse().ok()?))) } else { None }
}

#[cfg(test)]
mod tests {
    use glommio::LocalExecutor;
    use protocol::{BrokerId, TopicId};
    use wal::log::{Log, LogConfig, LogIdentity};
    use wal::shard::{ShardWal, ShardWalConfig};

    use super::*;
    use crate::shard::assignment::testing::{TOPIC_ID, image_of};
    use crate::shard::assignment::{Wanted, wanted};

    #[test]
    fn names_are_taken_apart_at_the_last_dash() {
        for (name, expected) in [
            ("orders-0", Some(("orders", 0))),
            ("my-topic-12", Some(("my-topic", 12))),
            ("-0", None),
            ("orders", None),
            ("orders-", None),
            ("orders-+1", None),
            ("orders-99999999999", None),
            ("..-1", None),
        ] {
            assert_eq!(partition_of(name), expected.map(|(topic, n)| (topic, PartitionId(n))), "{name}");
        }
    }

    /// A partition's directory as a log leaves it.
    fn log_dir(root: &Path, name: &str, topic_id: TopicId, partition: i32) {
        let dir = root.join(name);
        let identity = LogIdentity { topic_id, partition: PartitionId(partition) };
        LocalExecutor::default().run(async {
            let storage = crate::storage::open(root).await.unwrap();
            let wal = ShardWal::new(storage, root.to_owned(), ShardWalConfig::default());
            Log::open(&wal, &dir, identity, LogConfig::default(), 0).await.unwrap();
        });
    }

    fn root() -> tempfile::TempDir {
        // Logs are opened with O_DIRECT, and a temporary directory may be in memory.
        tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(root).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        // Opening the storage leaves a hidden file.
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    #[test]
    fn only_what_is_ours_and_unclaimed_goes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("gone-0", "checkpoint"),
            ("half.deleted", "x"),
            ("foreign-0", "x"),
            ("other", "checkpoint"),
            ("journal", "shard-0000-00.journal"),
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join(file), b"x").unwrap();
        }
        assert_eq!(remove(dir.path(), &MetadataImage::default(), &Counter::default()).unwrap(), 1);
        assert_eq!(names(dir.path()), ["foreign-0", "half.deleted", "journal", "other"]);
    }

    #[test]
    fn of_two_topics_with_one_name_the_living_keeps_its_files() {
        let image = image_of(&[1], &[(&[1], Some(1), 0), (&[1], Some(1), 0), (&[1], Some(1), 0)]);
        let root = root();
        let dead = TopicId(uuid::Uuid::from_u128(1));
        log_dir(root.path(), "orders-0", dead, 0);
        log_dir(root.path(), "orders-1", TOPIC_ID, 1);
        // Moved by somebody: whose files these are is what counts, and the open will say that they are misplaced.
        log_dir(root.path(), "payments-0", TOPIC_ID, 0);
        log_dir(root.path(), "orders-5", TOPIC_ID, 5);
        fs::create_dir(root.path().join("orders-2")).unwrap();
        fs::write(root.path().join("orders-2").join(CHECKPOINT_FILE), b"damaged").unwrap();
        let steps = Counter::default();
        assert_eq!(remove(root.path(), &image, &steps).unwrap(), 2);
        assert!(steps.get() > 2, "those that stay take time too");
        assert_eq!(names(root.path()), ["orders-1", "orders-2", "payments-0"]);
    }

    #[test]
    fn what_is_assigned_to_others_goes_and_nothing_else() {
        let image =
            image_of(&[1, 2], &[(&[1, 2], Some(2), 0), (&[2], Some(2), 0), (&[2], Some(2), 0), (&[2], Some(2), 0)]);
        let root = root();
        log_dir(root.path(), "orders-0", TOPIC_ID, 0);
        log_dir(root.path(), "orders-1", TOPIC_ID, 1);
        log_dir(root.path(), "orders-2", TopicId(uuid::Uuid::from_u128(1)), 2);
        log_dir(root.path(), "others-1", TOPIC_ID, 1);
        fs::create_dir(root.path().join("orders-3")).unwrap();
        fs::write(root.path().join("orders-3").join(CHECKPOINT_FILE), b"damaged").unwrap();
        let is_elsewhere = |key| wanted(&image, BrokerId(1), key) == Wanted::Elsewhere;
        let aside = set_unassigned_aside(root.path(), &image, is_elsewhere).unwrap();
        assert_eq!(aside.len(), 1);
        // Beside what else the shard does, and what another shard's start removes.
        fs::create_dir(aside[0].join("directory")).unwrap();
        LocalExecutor::default().run(remove_aside(aside[0].clone())).unwrap();
        LocalExecutor::default().run(remove_aside(aside[0].clone())).unwrap();
        assert_eq!(names(root.path()), ["orders-0", "orders-2", "orders-3", "others-1"]);
    }

    #[test]
    fn what_is_set_aside_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let longest = format!("{}-0", "x".repeat(249));
        for name in ["t-0", &longest] {
            for _ in 0..2 {
                fs::create_dir(dir.path().join(name)).unwrap();
                fs::write(dir.path().join(name).join(CHECKPOINT_FILE), b"x").unwrap();
                let aside = set_aside(&dir.path().join(name)).unwrap();
                assert!(aside.join(CHECKPOINT_FILE).exists());
            }
        }
        let names = names(dir.path());
        assert!(names.len() == 4 && names.iter().all(|name| name.ends_with(DELETED_SUFFIX)), "{names:?}");
    }
}
