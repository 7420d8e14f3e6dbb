//! Bits that flip on the disk are noticed: the store opens with what was committed or not at all, and never panics.

use super::recorder::Recorder;
use super::{NODE, open, producer_ids};
use crate::image::MetadataImage;
use crate::store::database::MetadataDatabase;
use crate::store::{DATABASE_FILE, MetadataStore, OpenError};
use crate::testing::{Request, bootstrap, history};
use std::path::Path;
use tempfile::TempDir;

/// A database with a snapshot and a log behind it; and its file as a killed process would leave it.
fn filled(directory: &Path) -> (MetadataImage, Vec<u8>) {
    let create = |name| Request::CreateTopic { name, partitions: 4, replication_factor: 1, retention: true };
    let (mut store, _) = open(directory);
    store.database.set_log_records_min(5);
    for batch in &history(&[create(0), create(1)])[1..] {
        store.commit(batch).unwrap();
    }
    store.database.set_log_records_min(1000);
    let image = store.commit(&[producer_ids(2000)]).unwrap().image;
    let (log, snapshot) = store.database.record_counts();
    assert!(log > 0 && snapshot > 0);
    (image, std::fs::read(directory.join(DATABASE_FILE)).unwrap())
}

#[test]
fn flipped_bits_are_noticed() {
    let directory = TempDir::new().unwrap();
    let (expected, after_kill) = filled(directory.path());
    let after_close = std::fs::read(directory.path().join(DATABASE_FILE)).unwrap();
    flip_bits("after a kill", &after_kill, &expected);
    flip_bits("after a clean end", &after_close, &expected);
}

fn flip_bits(when: &str, intact: &[u8], expected: &MetadataImage) {
    let path = Path::new("simulated").join(DATABASE_FILE);
    // Every byte that is not zero or near one, thinned out to some thousand: the rest is free space.
    let is_used = |at: &usize| intact[at.saturating_sub(4)..=*at].iter().any(|byte| *byte != 0);
    let used: Vec<usize> = (0..intact.len()).filter(is_used).collect();
    let (mut refused, mut harmless) = (0, 0);
    for (turn, at) in used.iter().step_by(used.len().div_ceil(1500)).enumerate() {
        let mut damaged = intact.to_vec();
        damaged[*at] ^= 1 << (turn % 8);
        match MetadataDatabase::open_on(Recorder::of(damaged), &path) {
            Ok((_, image)) => {
                assert_eq!(image, *expected, "{when}, byte {at} of {} changed what was committed", intact.len());
                harmless += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("metadata.redb"), "which file? {error}");
                refused += 1;
            }
        }
    }
    // Much of the file is pages that are free again.
    assert!(refused > 20, "{when}: {refused} refused, {harmless} harmless");
}

#[test]
fn a_file_cut_short_or_of_something_else_is_refused() {
    let directory = TempDir::new().unwrap();
    filled(directory.path());
    let path = directory.path().join(DATABASE_FILE);
    let intact = std::fs::read(&path).unwrap();
    for length in [0, 1, 100, 4096, 10_000, intact.len() / 2, intact.len() - 1] {
        std::fs::write(&path, &intact[..length]).unwrap();
        let error = MetadataStore::open(directory.path(), NODE, &bootstrap()).unwrap_err();
        assert!(matches!(error, OpenError::Database(_)), "{length} bytes: {error}");
    }
    std::fs::write(&path, vec![0x5A; 100_000]).unwrap();
    let error = MetadataStore::open(directory.path(), NODE, &bootstrap()).unwrap_err();
    assert!(matches!(error, OpenError::Database(_)), "{error}");
}
