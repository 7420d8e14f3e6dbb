//! The store on a real directory: what survives, what is refused, what stays small.

mod crash;
mod damage;
mod recorder;

use super::*;
use crate::cluster_id::ClusterId;
use crate::controller::{NewTopic, create_topics};
use crate::testing::{bootstrap, cluster_id, history, request};
use proptest::prelude::*;
use protocol::newtypes::{ProducerId, TopicId};
use tempfile::TempDir;
use uuid::Uuid;

const NODE: BrokerId = BrokerId(1);

fn open(directory: &Path) -> (MetadataStore, MetadataImage) {
    MetadataStore::open(directory, NODE, &bootstrap()).unwrap()
}

fn open_error(directory: &Path) -> String {
    MetadataStore::open(directory, NODE, &bootstrap()).unwrap_err().to_string()
}

fn producer_ids(next: i64) -> MetadataRecord {
    MetadataRecord::ProducerIdsAllocated { next: ProducerId(next) }
}

#[test]
fn an_empty_directory_becomes_a_cluster_and_stays_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("new/data");
    let (store, image) = open(&directory);
    assert_eq!(image.cluster_id(), Some(cluster_id()));
    assert_eq!(image.metadata_offset(), bootstrap().len() as u64);
    let identity = store.identity().clone();
    drop(store);
    let other_cluster = crate::controller::bootstrap_records(ClusterId(Uuid::from_u128(9)), 2);
    let (store, again) = MetadataStore::open(&directory, NODE, &other_cluster).unwrap();
    assert_eq!(again, image, "a directory begins once");
    assert_eq!(*store.identity(), identity);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn every_commit_is_there_after_reopening(requests in proptest::collection::vec(request(), 0..15)) {
        let directory = TempDir::new().unwrap();
        let mut expected = open(directory.path()).1;
        for batch in &history(&requests)[1..] {
            let (mut store, image) = open(directory.path());
            prop_assert_eq!(&image, &expected);
            let committed = store.commit(batch).unwrap();
            let (next, deltas) = expected.apply_batch(batch).unwrap();
            prop_assert_eq!(&committed.image, &next);
            prop_assert_eq!(committed.deltas, deltas);
            expected = next;
        }
        prop_assert_eq!(open(directory.path()).1, expected);
    }
}

#[test]
fn a_commit_that_does_not_fit_writes_nothing() {
    let directory = TempDir::new().unwrap();
    let (mut store, _) = open(directory.path());
    let before = store.commit(&[producer_ids(5)]).unwrap().image;
    let error = store.commit(&[producer_ids(7), producer_ids(6)]).unwrap_err();
    assert!(matches!(error, CommitError::Misfit(_)), "{error}");
    let after = store.commit(&[]).unwrap().image;
    assert_eq!(after, before);
    drop(store);
    assert_eq!(open(directory.path()).1, before);
}

#[test]
fn without_space_nothing_is_written_and_with_space_it_goes_on() {
    let directory = TempDir::new().unwrap();
    let (mut store, before) = open(directory.path());
    store.free_bytes_min = u64::MAX;
    let error = store.commit(&[producer_ids(5)]).unwrap_err();
    assert!(matches!(error, CommitError::NoSpace { .. }), "{error}");
    store.free_bytes_min = 0;
    let after = store.commit(&[producer_ids(4)]).unwrap().image;
    assert_eq!(after.metadata_offset(), before.metadata_offset() + 1);
    drop(store);
    assert_eq!(open(directory.path()).1, after);
}

#[test]
fn one_process_at_a_time() {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(directory.path());
    let expected = format!(
        "data directory {} is in use by process {}: stop that broker, or choose another directory",
        directory.path().display(),
        std::process::id()
    );
    assert_eq!(open_error(directory.path()), expected);
    drop(store);
    open(directory.path());
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()));
    let error = MetadataStore::open(directory.path(), BrokerId(2), &bootstrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "data directory {} belongs to node 1, and this is node 2: start with --node-id 1, or choose another directory",
            directory.path().display()
        )
    );
    // Also when only the metadata can tell.
    std::fs::remove_file(directory.path().join("meta.properties")).unwrap();
    let error = MetadataStore::open(directory.path(), BrokerId(2), &bootstrap()).unwrap_err();
    assert!(matches!(error, OpenError::Identity(IdentityError::OtherNode { .. })), "{error}");
}

#[test]
fn identity_files_that_cannot_be_used_are_refused() {
    let id = cluster_id();
    let complete = format!("ringlog.version=1\ncluster.id={id}\nnode.id=1\ndirectory.id={}\n", Uuid::from_u128(3));
    let cases = [
        (
            "version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n".to_owned(),
            "is of an Apache Kafka broker: choose another data directory",
        ),
        (complete.replace("version=1", "version=2"), "has version 2, this program reads version 1: use a newer one"),
        (complete.replace("cluster.id", "cluster"), "has no cluster.id"),
        (complete.replace(&id.to_string(), "abc"), "has cluster.id=abc, expected 22 characters of URL-safe base64"),
        (complete.replace("node.id=1", "node.id=one"), "has node.id=one, expected a whole number"),
        (String::new(), "has no ringlog.version"),
        ("#".repeat(70_000), "has 70000 bytes, too many for an identity file"),
    ];
    for (text, expected) in cases {
        let directory = TempDir::new().unwrap();
        drop(open(directory.path()));
        let path = directory.path().join("meta.properties");
        std::fs::write(&path, text).unwrap();
        assert_eq!(open_error(directory.path()), format!("{} {expected}", path.display()));
    }
}

#[test]
fn what_belongs_together_must_be_together() {
    let directory = TempDir::new().unwrap();
    let (store, image) = open(directory.path());
    let identity = store.identity().clone();
    drop(store);

    std::fs::remove_file(directory.path().join("meta.properties")).unwrap();
    let (store, again) = open(directory.path());
    assert_eq!((store.identity(), &again), (&identity, &image), "the database knows whose it is");
    drop(store);
    assert_eq!(Identity::read(directory.path()).unwrap(), Some(identity.clone()));

    Identity { cluster_id: ClusterId(Uuid::from_u128(9)), ..identity.clone() }.write(directory.path()).unwrap();
    assert!(open_error(directory.path()).contains("disagree: the first is of cluster"));

    identity.write(directory.path()).unwrap();
    std::fs::remove_file(directory.path().join(DATABASE_FILE)).unwrap();
    assert!(open_error(directory.path()).contains("is gone: put it back"));
}

#[test]
fn a_first_start_that_was_cut_short_begins_anew() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join(NEW_DATABASE_FILE), b"half a database").unwrap();
    let (_, image) = open(directory.path());
    assert_eq!(image.cluster_id(), Some(cluster_id()));
    assert!(!directory.path().join(NEW_DATABASE_FILE).exists());
}

#[test]
fn a_cluster_must_begin_with_its_id() {
    let directory = TempDir::new().unwrap();
    let error = MetadataStore::open(directory.path(), NODE, &[producer_ids(1)]).unwrap_err();
    assert!(matches!(error, OpenError::NoCluster), "{error}");
    assert!(matches!(
        MetadataStore::open(directory.path(), NODE, &[bootstrap(), bootstrap()].concat()).unwrap_err(),
        OpenError::Bootstrap(_)
    ));
    open(directory.path());
}

#[test]
fn ten_thousand_partitions_are_kept() {
    let directory = TempDir::new().unwrap();
    let (mut store, _) = open(directory.path());
    let registration = MetadataRecord::BrokerRegistered(crate::testing::registration(1, 0));
    let mut image = store.commit(&[registration]).unwrap().image;
    let broker = crate::config::BrokerConfig::resolve(&crate::config::ConfigLayers::default());
    for name in ["t", "u"] {
        let topic = NewTopic { name: name.into(), num_partitions: 5000, replication_factor: 1, ..NewTopic::default() };
        let id = || TopicId(Uuid::new_v4());
        let (records, _) = create_topics(&image, &broker, &[topic], id);
        image = store.commit(&records).unwrap().image;
    }
    assert_eq!(image.partition_count(), 10_000);
    drop(store);
    let (store, again) = open(directory.path());
    assert_eq!(again, image);
    drop(store);
    let (log, snapshot) = open(directory.path()).0.database.record_counts();
    assert_eq!((log, snapshot), (0, 10_005), "a snapshot was due with the second topic");
}

#[test]
fn snapshots_keep_the_file_in_proportion_to_the_image() {
    let directory = TempDir::new().unwrap();
    let (mut store, _) = open(directory.path());
    store.database.set_log_records_min(20);
    let path = directory.path().join(DATABASE_FILE);
    let mut size_early = u64::MAX;
    for commit in 1..=600 {
        let image = store.commit(&[producer_ids(commit)]).unwrap().image;
        if commit == 100 {
            size_early = std::fs::metadata(&path).unwrap().len();
        }
        if commit % 50 == 0 {
            drop(store);
            let (reopened, loaded) = open(directory.path());
            assert_eq!(loaded, image, "after commit {commit}");
            store = reopened;
            store.database.set_log_records_min(20);
        }
    }
    let (log, snapshot) = store.database.record_counts();
    assert!(log < 20 && snapshot == 3, "{log} records in the log, {snapshot} in the snapshot");
    // The database keeps what it freed for later; how much of it depends on the order of its pages.
    let size_late = std::fs::metadata(&path).unwrap().len();
    assert!(size_late < 2 * size_early, "{size_early} bytes after 100 commits, {size_late} after 600");
}
