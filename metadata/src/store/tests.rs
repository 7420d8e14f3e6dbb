//! The store on a real directory: what survives, what is refused, what is converted.

pub(crate) mod crash;
mod damage;
pub(crate) mod recorder;

use super::database::{FORMAT_KEY, FORMAT_SINGLE_NODE, META, builder, change};
use super::*;
use crate::cluster_id::ClusterId;
use crate::testing::{bootstrap, cluster_id, history, request};
use proptest::prelude::*;
use protocol::newtypes::ProducerId;
use tempfile::TempDir;
use uuid::Uuid;

const NODE: BrokerId = BrokerId(1);
const ADDRESS: &str = "localhost:9093";

type Open = Result<(DataDirectory, Opened), OpenError>;

fn open_as(directory: &Path, node: BrokerId, bootstrap: &[MetadataRecord]) -> Open {
    DataDirectory::open(directory, node, ADDRESS, Beginning::Form(bootstrap), mpsc::unbounded_channel().0)
}

/// Closes what was opened.
fn close((directory, opened): (DataDirectory, Opened)) {
    opened.close();
    drop(directory);
}

/// Opens and closes a directory: whose it is, and the image that its Raft group begins with.
fn look(directory: &Path) -> (Identity, MetadataImage) {
    let (open, opened) = open_as(directory, NODE, &bootstrap()).unwrap();
    let found = (open.identity().clone(), opened.state_machine.image().clone());
    close((open, opened));
    found
}

fn open_error(directory: &Path) -> String {
    error_of(open_as(directory, NODE, &bootstrap())).to_string()
}

fn error_of(open: Open) -> OpenError {
    match open {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn producer_ids(next: i64) -> MetadataRecord {
    MetadataRecord::ProducerIdsAllocated { next: ProducerId(next) }
}

#[test]
fn an_empty_directory_becomes_a_cluster_and_stays_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("new/data");
    let (identity, image) = look(&directory);
    assert_eq!(image.cluster_id(), Some(cluster_id()));
    assert_eq!(image.metadata_offset(), bootstrap().len() as u64 + 1, "and the node itself");
    assert_eq!(image.node(NODE).unwrap().directory_id, identity.directory_id);
    let other_cluster = crate::controller::bootstrap_records(ClusterId(Uuid::from_u128(9)), 2);
    let again = open_as(&directory, NODE, &other_cluster).unwrap();
    assert_eq!(*again.1.state_machine.image(), image, "a directory begins once");
    assert_eq!(*again.0.identity(), identity);
    let voters: Vec<u64> = again.1.state_machine.membership().voter_ids().collect();
    assert_eq!(voters, [1]);
    let member = again.1.state_machine.membership().membership().get_node(&1).cloned();
    assert_eq!(member, Some(Member { directory_id: identity.directory_id, address: ADDRESS.to_owned() }));
    close(again);
}

/// A directory as brokers left it that could only stand alone: a snapshot of some batches, and the others behind it.
fn single_node_directory(directory: &Path, batches: &[Vec<MetadataRecord>], in_snapshot: usize) -> MetadataImage {
    let fold = |batches: &[Vec<MetadataRecord>]| {
        let apply = |image: MetadataImage, batch: &Vec<MetadataRecord>| image.apply_batch(batch).unwrap().0;
        batches.iter().fold(MetadataImage::default(), apply)
    };
    std::fs::create_dir_all(directory).unwrap();
    let path = directory.join(DATABASE_FILE);
    let database = builder().create(&path).unwrap();
    let snapshot = fold(&batches[..in_snapshot]);
    change(&database, &path, |transaction| {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT_SINGLE_NODE)?;
        meta.insert("cluster.id", cluster_id().0.as_u128())?;
        meta.insert("node.id", 1)?;
        meta.insert("directory.id", 77)?;
        meta.insert(single_node::SNAPSHOT_END_KEY, u128::from(snapshot.metadata_offset()))?;
        let mut chunks = transaction.open_table(single_node::SNAPSHOT)?;
        let records: Vec<MetadataRecord> = snapshot.to_records().collect();
        for (at, chunk) in (0_u64..).zip(records.chunks(3)) {
            chunks.insert(at, crate::record::codec::encode(chunk).as_slice())?;
        }
        let mut log = transaction.open_table(single_node::LOG)?;
        let mut offset = snapshot.metadata_offset();
        for batch in batches[in_snapshot..].iter().filter(|batch| !batch.is_empty()) {
            log.insert(offset, crate::record::codec::encode(batch).as_slice())?;
            offset += batch.len() as u64;
        }
        Ok(())
    })
    .unwrap();
    fold(batches)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn the_format_before_raft_is_converted_once(
        requests in proptest::collection::vec(request(), 0..15),
        in_snapshot in any::<prop::sample::Index>(),
    ) {
        let directory = TempDir::new().unwrap();
        let batches = history(&requests);
        let expected = single_node_directory(directory.path(), &batches, in_snapshot.index(batches.len()));
        let (identity, image) = look(directory.path());
        prop_assert_eq!(&image, &expected);
        prop_assert_eq!(identity.directory_id, Uuid::from_u128(77));
        // And it is an ordinary one from then on.
        let (again, image) = look(directory.path());
        prop_assert_eq!((again, image), (identity, expected));
    }
}

#[test]
fn damage_of_the_format_before_raft_is_named() {
    let damaged = |work: &dyn Fn(&redb::WriteTransaction) -> Result<(), redb::Error>| {
        let directory = TempDir::new().unwrap();
        single_node_directory(directory.path(), &history(&[]), 1);
        let path = directory.path().join(DATABASE_FILE);
        let database = builder().open(&path).unwrap();
        change(&database, &path, |transaction| work(transaction)).unwrap();
        drop(database);
        open_error(directory.path()).replace(&path.display().to_string(), "PATH")
    };
    let gap = damaged(&|transaction| {
        let mut log = transaction.open_table(single_node::LOG)?;
        let last = crate::record::codec::encode(&[producer_ids(3)]);
        log.insert(99, last.as_slice())?;
        Ok(())
    });
    let end = history(&[]).concat().len();
    assert_eq!(gap, format!("metadata PATH is damaged: expected records from offset {end}, found offset 99"));
    let flipped = damaged(&|transaction| {
        transaction.open_table(single_node::SNAPSHOT)?.insert(0, &[1_u8, 0, 0, 0, 0, 9][..])?;
        Ok(())
    });
    assert!(flipped.starts_with("metadata PATH is damaged at offset 0: record batch has CRC-32"), "{flipped}");
    let no_end = damaged(&|transaction| {
        transaction.open_table(META)?.remove(single_node::SNAPSHOT_END_KEY)?;
        Ok(())
    });
    assert_eq!(no_end, "metadata PATH is damaged: 'snapshot.end' is missing or out of range");
    let newer = damaged(&|transaction| {
        transaction.open_table(META)?.insert(FORMAT_KEY, 3)?;
        Ok(())
    });
    assert_eq!(newer, "metadata PATH has format 3, this program reads formats up to 2: use a newer one");
}

#[test]
fn one_process_at_a_time() {
    let directory = TempDir::new().unwrap();
    let open = open_as(directory.path(), NODE, &bootstrap()).unwrap();
    let expected = format!(
        "data directory {} is in use by process {}: stop that broker, or choose another directory",
        directory.path().display(),
        std::process::id()
    );
    assert_eq!(open_error(directory.path()), expected);
    close(open);
    look(directory.path());
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let directory = TempDir::new().unwrap();
    look(directory.path());
    let error = error_of(open_as(directory.path(), BrokerId(2), &bootstrap()));
    assert_eq!(
        error.to_string(),
        format!(
            "data directory {} belongs to node 1, and this is node 2: start with --node-id 1, or choose another directory",
            directory.path().display()
        )
    );
    // Also when only the metadata can tell.
    std::fs::remove_file(directory.path().join("meta.properties")).unwrap();
    let error = error_of(open_as(directory.path(), BrokerId(2), &bootstrap()));
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
        look(directory.path());
        let path = directory.path().join("meta.properties");
        std::fs::write(&path, text).unwrap();
        assert_eq!(open_error(directory.path()), format!("{} {expected}", path.display()));
    }
}

#[test]
fn what_belongs_together_must_be_together() {
    let directory = TempDir::new().unwrap();
    let (identity, image) = look(directory.path());
    std::fs::remove_file(directory.path().join("meta.properties")).unwrap();
    assert_eq!(look(directory.path()), (identity.clone(), image), "the database knows whose it is");
    assert_eq!(Identity::read(directory.path()).unwrap(), Some(identity.clone()));

    let of_other_cluster = Identity { cluster_id: ClusterId(Uuid::from_u128(9)), ..identity.clone() };
    let of_other_directory = Identity { directory_id: Uuid::from_u128(9), ..identity.clone() };
    for other in [of_other_cluster, of_other_directory] {
        other.write(directory.path()).unwrap();
        assert!(open_error(directory.path()).contains("disagree: the first is of cluster"));
    }

    identity.write(directory.path()).unwrap();
    std::fs::remove_file(directory.path().join(DATABASE_FILE)).unwrap();
    assert!(open_error(directory.path()).contains("is gone: put it back"));
}

#[test]
fn a_first_start_that_was_cut_short_begins_anew() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join(NEW_DATABASE_FILE), b"half a database").unwrap();
    let (_, image) = look(directory.path());
    assert_eq!(image.cluster_id(), Some(cluster_id()));
    assert!(!directory.path().join(NEW_DATABASE_FILE).exists());
}

#[test]
fn a_cluster_must_begin_with_its_id() {
    let directory = TempDir::new().unwrap();
    let error = error_of(open_as(directory.path(), NODE, &[producer_ids(1)]));
    assert!(matches!(error, OpenError::NoCluster), "{error}");
    let error = error_of(open_as(directory.path(), NODE, &[bootstrap(), bootstrap()].concat()));
    assert!(matches!(error, OpenError::Bootstrap(_)), "{error}");
    look(directory.path());
}
