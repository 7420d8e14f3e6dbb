//! The journal at run time on the simulated disk: that it goes on, and what its failures do. Power cuts are in `crash.rs`.

mod common;

use std::path::Path;

use common::{BatchSpec, ROOT, START_MS, append, batch, dir, identity, log_config, run_sim, shard_config, with_shard};
use instruments::Counter;
use protocol::LeaderEpoch;
use protocol::record_batch::BatchHeader;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use wal::file::sim::SimStorage;
use wal::file::{FlushScope, Storage};
use wal::journal::{JournalConfig, JournalPlace, RegionBytes, RegionHeader, scan_regions};
use wal::{IoOp, Log, LogConfig, ShardWal};

const EIO: i32 = 5;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 8 << 20, ..log_config() }
}

const JOURNAL: JournalConfig = JournalConfig {
    region_bytes: 40 << 10,
    regions: 4,
    logs_min: 2,
    entry_bytes_max: 3_000,
    write_back_bytes: 6 << 10,
    commits_before_use: 0,
};

/// A shard with a journal, and three logs.
async fn journaled_shard(storage: &SimStorage) -> (ShardWal<SimStorage>, Vec<Log<SimStorage>>) {
    let (root, journal_dir) = (Path::new(ROOT), Path::new(ROOT).join("journal"));
    storage.create_dir(&journal_dir).await.unwrap();
    let id = uuid::Uuid::from_u128(3);
    let place = JournalPlace { storage: storage.clone(), dir: journal_dir, shard: 0, id, config: JOURNAL };
    let shard = ShardWal::with_journal(storage.clone(), root.to_owned(), shard_config(), Some(place));
    let mut logs = Vec::new();
    for partition in 0..3 {
        let opened = Log::open(&shard, &dir(root, partition), identity(partition), config(), START_MS).await;
        logs.push(opened.unwrap().0);
    }
    (shard, logs)
}

/// A small batch to each log, all in one commit, durable.
async fn commit_to_all(logs: &[Log<SimStorage>]) {
    for log in logs {
        append(log, &mut batch(&BatchSpec::plain(1, 700, START_MS)), 0, START_MS).await.unwrap();
    }
    for log in logs {
        log.wait_ackable(log.log_end_offset()).await.unwrap();
    }
}

fn journal_sequence(storage: &SimStorage) -> u64 {
    let is_region = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "journal");
    let files: Vec<_> = storage.files().into_iter().filter(is_region).collect();
    let contents: Vec<_> = files.iter().map(|path| storage.content(path).unwrap()).collect();
    let regions: Vec<_> = files
        .iter()
        .zip(&contents)
        .map(|(path, bytes)| RegionBytes { path, header: RegionHeader::decode(bytes).unwrap(), bytes })
        .collect();
    scan_regions(&regions).expect("nothing is missing").next_sequence.0
}

/// Whenever logs are written back, all at once or hardly ever: a journal that is full for a while is used again.
#[test]
fn a_journal_goes_on_after_any_write_back() {
    for seed in 0..150 {
        let storage = SimStorage::new(seed, FlushScope::Device, Path::new(ROOT));
        let mut random = SmallRng::seed_from_u64(seed);
        run_sim(&storage, async {
            let (shard, logs) = journaled_shard(&storage).await;
            let work = async {
                for _ in 0..random.random_range(60..120) {
                    for log in &logs {
                        if random.random_ratio(1, 3) {
                            continue;
                        }
                        let mut bytes = batch(&BatchSpec::plain(1, random.random_range(50..2_500), START_MS));
                        append(log, &mut bytes, 0, START_MS).await.unwrap();
                    }
                    if random.random_ratio(3, 4) {
                        logs[0].wait_ackable(logs[0].log_end_offset()).await.unwrap();
                    }
                    if random.random_ratio(1, 12) {
                        shard.write_back();
                    }
                }
                let before = journal_sequence(&storage);
                for _ in 0..20 {
                    commit_to_all(&logs).await;
                }
                let after = journal_sequence(&storage);
                assert!(after > before, "seed {seed}: stuck at record {before}");
            };
            with_shard(&shard, work).await.1.unwrap();
        })
        .unwrap();
    }
}

/// A write-back that fails ends the shard also while a commit waits for it.
#[test]
fn a_failed_write_back_ends_the_shard() {
    for skip in 0..12 {
        for op in [IoOp::Write, IoOp::Sync] {
            let storage = SimStorage::new(skip, FlushScope::Device, Path::new(ROOT));
            run_sim(&storage, async {
                let (shard, logs) = journaled_shard(&storage).await;
                let work = async {
                    for _ in 0..10 {
                        commit_to_all(&logs).await;
                    }
                    storage.fail(op, skip, EIO);
                    shard.write_back();
                    for _ in 0..20 {
                        for log in &logs {
                            // Too large for the journal, so it follows the write-back into the segment.
                            let bytes = batch(&BatchSpec::plain(1, 4_000, START_MS));
                            let header = BatchHeader::parse(&bytes).unwrap();
                            log.reserve(bytes.len(), START_MS).await.ok();
                            if log.append(&bytes, &header, LeaderEpoch(0), START_MS).is_err()
                                || log.wait_ackable(log.log_end_offset()).await.is_err()
                            {
                                return;
                            }
                        }
                    }
                };
                let (_, ended) = with_shard(&shard, work).await;
                assert_eq!(ended.unwrap_err().errno(), Some(EIO), "{op:?}, {skip}");
            })
            .unwrap();
        }
    }
}

/// A partition that leaves and comes back begins empty, whatever the journal still has of its first life.
#[test]
fn a_deleted_log_that_begins_anew_gets_nothing_of_the_old_one() {
    let storage = SimStorage::new(11, FlushScope::Device, Path::new(ROOT));
    let root = Path::new(ROOT);
    let stored = run_sim(&storage, async {
        let (shard, logs) = journaled_shard(&storage).await;
        let work = async {
            for _ in 0..20 {
                commit_to_all(&logs).await;
            }
            logs[0].delete().await.unwrap();
            let (anew, _) = Log::open(&shard, &dir(root, 0), identity(0), config(), START_MS).await.unwrap();
            assert!(anew.incarnation() > logs[0].incarnation(), "{:?}", anew.incarnation());
            let mut bytes = batch(&BatchSpec { fill: 7, ..BatchSpec::plain(1, 700, START_MS) });
            append(&anew, &mut bytes, 0, START_MS).await.unwrap();
            anew.wait_ackable(anew.log_end_offset()).await.unwrap();
            storage.cut_power();
            bytes
        };
        with_shard(&shard, work).await.0
    });
    // The loops may not have ended before the cut was seen; what was stored is known then all the same.
    let stored = stored.unwrap_or_else(|| {
        let mut bytes = batch(&BatchSpec { fill: 7, ..BatchSpec::plain(1, 700, START_MS) });
        protocol::record_batch::stamp(&mut bytes, protocol::Offset::ZERO, LeaderEpoch(0));
        bytes
    });
    let storage = storage.restart();
    run_sim(&storage, async {
        let steps = Counter::new();
        let report = wal::journal::replay(&storage, &root.join("journal"), &storage, root, &steps).await.unwrap();
        assert!(steps.get() > 0, "nobody saw it get on");
        assert!(report.stale_entries > 0 && report.unplaced_entries == 0, "{report:?}");
        let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
        let (log, _) = Log::open(&shard, &dir(root, 0), identity(0), config(), START_MS).await.unwrap();
        let found = with_shard(&shard, common::read_all(&log, protocol::Offset::ZERO, 1 << 20)).await.0;
        assert_eq!(found, [stored]);
    })
    .unwrap();
}
