//! A power cut at every moment of a workload: after each write and sync of the database, with any part of what was not
//! synced gone, the store has exactly what was committed, and of the commit under way all or nothing.

use super::producer_ids;
use super::recorder::{Operation, Recorder};
use crate::image::MetadataImage;
use crate::store::database::MetadataDatabase;
use crate::store::identity::Identity;
use crate::testing::{Request, cluster_id, history};
use protocol::newtypes::BrokerId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use uuid::Uuid;

const SECTOR_BYTES: usize = 512;
const PATH: &str = "simulated/metadata.redb";

/// What the disk may hold after `operations`: everything up to the last sync, and of what came after any sectors.
fn after_power_cut(operations: &[Operation], random: &mut StdRng) -> Vec<u8> {
    let synced = operations.iter().rposition(|operation| matches!(operation, Operation::Sync)).map_or(0, |at| at + 1);
    let mut file = Vec::new();
    operations[..synced].iter().for_each(|operation| operation.apply(&mut file));
    for operation in &operations[synced..] {
        match operation {
            Operation::Write { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min((at + from) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at);
                    if random.random_bool(0.5) {
                        Operation::Write { at: at + from, bytes: bytes[from..to].to_vec() }.apply(&mut file);
                    }
                    from = to;
                }
            }
            // The length is metadata of the file system, which keeps it in order with the data.
            other => other.apply(&mut file),
        }
    }
    file
}

/// The images that were acknowledged, each with the operations done by then.
fn workload(recorder: &Recorder) -> Vec<(usize, MetadataImage)> {
    let identity = Identity { cluster_id: cluster_id(), node_id: BrokerId(1), directory_id: Uuid::from_u128(3) };
    let mut database = MetadataDatabase::create_on(recorder.clone(), Path::new(PATH), &identity).unwrap();
    database.set_log_records_min(12);
    let create = |name| Request::CreateTopic { name, partitions: 3, replication_factor: 1, retention: true };
    let mut batches = history(&[create(0), create(1), Request::DeleteTopic { name: 0 }, create(3)]);
    batches.extend((1..60).map(|block| vec![producer_ids(block * 1000)]));
    let mut image = MetadataImage::default();
    let mut acknowledged = vec![(recorder.operations().len(), image.clone())];
    let mut snapshots = 0;
    for batch in batches {
        database.append(image.metadata_offset(), &batch).unwrap();
        image = image.apply_batch(&batch).unwrap().0;
        acknowledged.push((recorder.operations().len(), image.clone()));
        database.compact_if_due(&image).unwrap();
        snapshots += usize::from(database.record_counts().0 == 0);
    }
    assert!(snapshots >= 2, "{snapshots} snapshots: the workload does not cover them");
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_is_cut() {
    let recorder = Recorder::default();
    let acknowledged = workload(&recorder);
    let operations = recorder.operations();
    let seed: u64 = std::env::var("RINGLOG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    eprintln!("RINGLOG_SEED={seed}, {} operations", operations.len());
    let mut random = StdRng::seed_from_u64(seed);
    for cut in acknowledged[0].0..=operations.len() {
        // What was acknowledged by then, or the commit after it.
        let at_least = acknowledged.iter().rposition(|(done, _)| *done <= cut).unwrap();
        for _ in 0..3 {
            let disk = Recorder::of(after_power_cut(&operations[..cut], &mut random));
            let (_, image) = MetadataDatabase::open_on(disk, Path::new(PATH))
                .unwrap_or_else(|error| panic!("cut after operation {cut}: {error}"));
            let found = acknowledged.iter().position(|(_, known)| *known == image);
            let found = found.unwrap_or_else(|| panic!("cut after operation {cut}: an image that never was"));
            assert!(
                found == at_least || found == at_least + 1,
                "cut after operation {cut}: image {found} where {at_least} was acknowledged"
            );
        }
    }
}
