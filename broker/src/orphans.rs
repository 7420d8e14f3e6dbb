//! Partition directories that no topic claims any more.
//!
//! A topic is gone once its deletion is committed to the metadata; the files follow. A crash in between leaves them
//! behind, so the start looks once, before any log is opened: a partition's directory whose partition the metadata does
//! not have is removed. A directory that does not look like ours is left alone, with a warning. A deletion that the log
//! itself had begun is the log's to finish ([`wal::remove_deleted`]).

use std::fs;
use std::io;
use std::path::Path;

use metadata::image::MetadataImage;
use protocol::PartitionId;

/// What a partition's directory holds besides its segments.
const CHECKPOINT_FILE: &str = "checkpoint";

/// Removes leftovers below `data_dir`; returns how many directories.
pub fn remove(data_dir: &Path, image: &MetadataImage) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(data_dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        let Some((topic, partition)) = partition_of(name) else { continue };
        if image.partition(topic, partition).is_some() {
            continue;
        }
        if !path.join(CHECKPOINT_FILE).exists() {
            tracing::warn!(path = %path.display(), "this directory is named like a partition's and is none: left alone");
            continue;
        }
        tracing::warn!(path = %path.display(), "removing files of a partition that the metadata does not have: its topic was deleted");
        fs::remove_dir_all(&path)?;
        removed += 1;
    }
    if removed > 0 {
        fs::File::open(data_dir)?.sync_all()?;
    }
    Ok(removed)
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
    use super::*;

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
        assert_eq!(remove(dir.path(), &MetadataImage::default()).unwrap(), 1);
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["foreign-0", "half.deleted", "journal", "other"]);
    }
}
