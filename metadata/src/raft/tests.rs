//! Raft's storage on the real database: what openraft asks of it, what survives, and a whole group of one.

mod crash;
mod group_of_one;
pub(super) mod simulation;

use super::snapshot::{SnapshotError, State};
use super::stored::{decode_entry, encode_entry};
use super::*;
use crate::controller::bootstrap_records;
use crate::delta::MetadataDelta;
use crate::image::MetadataImage;
use crate::testing::{bootstrap, cluster_id, history, request};
use openraft::storage::RaftStateMachine;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftSnapshotBuilder};
use proptest::prelude::*;
use protocol::newtypes::ProducerId;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use tempfile::TempDir;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn open_in(directory: &Path) -> (Opened, mpsc::UnboundedReceiver<Published>) {
    let path = directory.join("raft.redb");
    let (sender, published) = mpsc::unbounded_channel();
    let database = crate::store::database::builder().create(&path).unwrap();
    (open(database, &path, sender).unwrap(), published)
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn command(index: u64, decided_at: u64, records: Vec<MetadataRecord>) -> Entry {
    Entry { log_id: log_id(index), payload: EntryPayload::Normal(Command { decided_at, records: records.into() }) }
}

fn member(number: u128) -> Member {
    Member { directory_id: Uuid::from_u128(number), address: format!("broker{number}:9093") }
}

fn membership() -> Membership {
    let members: BTreeMap<u64, Member> = (1..=4).map(|id| (id, member(u128::from(id)))).collect();
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2, 3])], members)
}

struct OnDisk;

impl StoreBuilder<MetadataRaft, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let directory = TempDir::new().unwrap();
        let (opened, _) = open_in(directory.path());
        Ok((directory, opened.log, opened.state_machine))
    }
}

#[test]
fn it_is_what_openraft_asks_for() {
    Suite::test_all(OnDisk).unwrap();
}

#[test]
fn a_decision_counts_only_for_the_image_that_it_was_made_on() {
    let directory = TempDir::new().unwrap();
    let (mut opened, mut published) = open_in(directory.path());
    let ids = |next| vec![MetadataRecord::ProducerIdsAllocated { next: ProducerId(next) }];
    let entries = vec![
        command(1, 0, bootstrap()),
        command(2, 2, ids(1000)),
        command(3, 2, ids(2000)),
        command(4, 3, bootstrap_records(cluster_id(), 1)),
        command(5, 3, ids(3000)),
    ];
    let outcomes = run(opened.state_machine.apply(entries)).unwrap();
    assert_eq!(
        outcomes[..3],
        [
            Outcome::Applied { metadata_offset: 2 },
            Outcome::Applied { metadata_offset: 3 },
            Outcome::Stale { metadata_offset: 3 }
        ]
    );
    assert!(matches!(outcomes[3], Outcome::Misfit(_)), "{:?}", outcomes[3]);
    assert_eq!(outcomes[4], Outcome::Applied { metadata_offset: 4 });
    let Published { image, deltas } = published.try_recv().unwrap();
    assert_eq!(image.next_producer_id(), ProducerId(3000));
    assert!(matches!(deltas[..], [MetadataDelta::BrokerConfigChanged { .. }]), "{deltas:?}");
    assert!(published.try_recv().is_err(), "entries that come together are told together");
    assert_eq!(
        run(opened.state_machine.apply(vec![command(6, 3, ids(9000))])).unwrap(),
        [Outcome::Stale { metadata_offset: 4 }]
    );
    assert!(published.try_recv().is_err(), "nothing changed");
}

fn state_of(batches: &[Vec<MetadataRecord>]) -> State {
    let fold = |image: MetadataImage, batch: &Vec<MetadataRecord>| image.apply_batch(batch).unwrap().0;
    State {
        image: batches.iter().fold(MetadataImage::default(), fold),
        last_applied: Some(log_id(batches.len() as u64)),
        membership: StoredMembership::new(Some(log_id(1)), membership()),
    }
}

#[test]
fn an_installed_snapshot_replaces_the_image_and_tells_the_difference() {
    let (ahead_in, behind_in) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mut ahead, _) = open_in(ahead_in.path());
    let (mut behind, mut published) = open_in(behind_in.path());
    let records = bootstrap();
    run(behind.state_machine.apply(vec![command(1, 0, records.clone())])).unwrap();
    let before = published.try_recv().unwrap().image;
    let ids = MetadataRecord::ProducerIdsAllocated { next: ProducerId(5) };
    run(ahead.state_machine.apply(vec![command(1, 0, records), command(2, 2, vec![ids])])).unwrap();
    let snapshot = run(async { ahead.state_machine.get_snapshot_builder().await.build_snapshot().await }).unwrap();
    run(behind.state_machine.install_snapshot(&snapshot.meta, snapshot.snapshot)).unwrap();
    let Published { image, deltas } = published.try_recv().unwrap();
    assert_eq!((image.metadata_offset(), image.next_producer_id()), (3, ProducerId(5)));
    assert_eq!(deltas, MetadataDelta::between(&before, &image));
    // And it is what the node starts from.
    drop((behind.log, behind.state_machine));
    behind.thread.join();
    let (mut again, _) = open_in(behind_in.path());
    assert_eq!(*again.state_machine.image(), image);
    let kept = run(again.state_machine.get_current_snapshot()).unwrap().unwrap();
    assert_eq!(kept.meta, snapshot.meta);
    let garbage: snapshot::SnapshotBytes = vec![9; 100].into();
    assert!(run(again.state_machine.install_snapshot(&snapshot.meta, Box::new(garbage))).is_err());
    assert_eq!(*again.state_machine.image(), image, "garbage changes nothing");
}

proptest! {
    #[test]
    fn entries_and_snapshots_are_read_as_they_were_written(requests in proptest::collection::vec(request(), 0..20)) {
        let batches = history(&requests);
        let state = state_of(&batches);
        prop_assert_eq!(State::decode(&state.encode()), Ok(state.clone()));
        prop_assert_eq!(state.encode(), state_of(&batches).encode(), "the same state gives the same bytes");
        for (index, batch) in (1..).zip(batches) {
            let entry = command(index, 7, batch);
            prop_assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }

    #[test]
    fn a_snapshot_that_was_changed_or_cut_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let bytes = state_of(&[bootstrap()]).encode();
        let mut changed = bytes.to_vec();
        changed[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(State::decode(&changed).is_err());
        prop_assert!(State::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn garbage_is_no_snapshot_and_no_entry(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(State::decode(&bytes).is_err());
        prop_assert!(decode_entry(&bytes).is_err());
    }
}

#[test]
fn entries_of_all_kinds_are_read_as_they_were_written() {
    for payload in [EntryPayload::Blank, EntryPayload::Membership(membership())] {
        let entry = Entry { log_id: LogId::new(CommittedLeaderId::new(u64::MAX, 3), 9), payload };
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }
}

#[test]
fn a_snapshot_without_its_last_records_is_refused() {
    // Whole sections may be missing without a checksum that is wrong.
    let records: Vec<MetadataRecord> = (1..=1500)
        .map(|next| MetadataRecord::ConfigChanged {
            resource: crate::record::ConfigResource::BrokerDefault,
            name: format!("c{next}"),
            value: Some("1".to_owned()),
        })
        .collect();
    let bytes = state_of(&[bootstrap(), records]).encode();
    let mut at = 0;
    let mut ends = Vec::new();
    while at < bytes.len() {
        at += 4 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        ends.push(at);
    }
    assert_eq!(ends.len(), 3);
    assert_eq!(State::decode(&bytes[..ends[1]]), Err(SnapshotError::RecordCount { expected: 1502, found: 1000 }));
}
