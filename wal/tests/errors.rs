//! Disks that are full or fail: what may go on, what must end, and what is never acknowledged.

mod common;

use std::path::Path;

use common::{
    BatchSpec, ROOT, START_MS, append, batch, dir, fill, identity, log_config, read_all, run_sim, shard_config, sim,
    with_shard,
};
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use wal::file::sim::SimStorage;
use wal::{
    AdvanceStartError, AppendError, FatalIo, IoOp, Log, LogConfig, ReadError, ReserveError, ShardWal, ShardWalConfig,
};

const EIO: i32 = 5;
const EMFILE: i32 = 24;

fn shard(storage: &SimStorage) -> ShardWal<SimStorage> {
    ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), shard_config())
}

async fn open(shard: &ShardWal<SimStorage>, config: LogConfig) -> Log<SimStorage> {
    Log::open(shard, &dir(Path::new(ROOT), 0), identity(0), config, START_MS).await.unwrap().0
}

#[test]
fn a_full_disk_refuses_appends_serves_reads_and_recovers() {
    for seed in 0..20 {
        let storage = sim(seed);
        let shard = shard(&storage);
        let stored = run_sim(&storage, async {
            let log = open(&shard, log_config()).await;
            let work = async {
                let mut stored = fill(&log, 3, 500, 0).await;
                storage.set_capacity_bytes(Some(storage.used_bytes() + 30_000 + seed * 1_000));
                // Through rolls, which need space for more than batches, until there is none.
                let refused = loop {
                    let mut bytes = batch(&BatchSpec::plain(10, 900, START_MS));
                    match append(&log, &mut bytes, 0, START_MS).await {
                        Ok(_) => stored.push(bytes),
                        Err(error) => break error,
                    }
                };
                assert!(matches!(refused, ReserveError::NoSpace(_)), "{refused}");
                assert!(refused.to_string().contains("topic-0"), "{refused}");
                // What was accepted is committed, and everything can be read.
                log.wait_ackable(log.log_end_offset()).await.unwrap();
                assert_eq!(read_all(&log, Offset(0), 4_000).await, stored);
                assert!(matches!(log.reserve(900, START_MS).await, Err(ReserveError::NoSpace(_))));
                // Retention works on a full disk, since it makes space.
                log.set_config(LogConfig { retention_bytes: 5_000, ..log_config() });
                assert!(log.enforce_retention(START_MS, log.log_end_offset()).await.unwrap().segments > 0);
                storage.set_capacity_bytes(None);
                stored.extend(fill(&log, 20, 900, 0).await);
                let start = log.log_start_offset();
                (start, stored.split_off(start.0 as usize / 10))
            };
            let (stored, ended) = with_shard(&shard, work).await;
            ended.unwrap();
            stored
        })
        .unwrap();
        storage.cut_power();
        let storage = storage.restart();
        let shard = self::shard(&storage);
        run_sim(&storage, async {
            let log = open(&shard, log_config()).await;
            let (found, _) = with_shard(&shard, read_all(&log, stored.0, 4_000)).await;
            assert!(found == stored.1, "seed {seed}");
        })
        .unwrap();
    }
}

/// Appends and waits until the shard ends; nothing may be acknowledged that is not on disk afterwards.
fn fails_with(op: IoOp, skip: u64, seed: u64) -> Option<FatalIo> {
    let storage = sim(seed);
    let shard = shard(&storage);
    let (acknowledged, ended) = run_sim(&storage, async {
        let log = open(&shard, log_config()).await;
        storage.fail(op, skip, EIO);
        let work = async {
            let mut acknowledged = Offset(0);
            for _ in 0..30 {
                let bytes = batch(&BatchSpec::plain(10, 1_500, START_MS));
                let header = BatchHeader::parse(&bytes).unwrap();
                match log.append(&bytes, &header, LeaderEpoch(0), START_MS) {
                    Ok(_) => {}
                    Err(AppendError::NeedsSpace) => match log.reserve(bytes.len(), START_MS).await {
                        Ok(()) => continue,
                        Err(ReserveError::Fatal(_) | ReserveError::Closed(_)) => break,
                        Err(other) => panic!("{other}"),
                    },
                    Err(AppendError::Closed(_)) => break,
                    Err(other) => panic!("{other}"),
                }
                if log.wait_ackable(log.log_end_offset()).await.is_err() {
                    break;
                }
                acknowledged = log.ackable_end_offset();
            }
            acknowledged
        };
        let result = with_shard(&shard, work).await;
        if result.1.is_err() {
            assert!(log.reserve(1, START_MS).await.is_err());
            assert!(log.wait_ackable(log.log_end_offset().max(Offset(1_000))).await.is_err());
            assert!(log.close().await.is_err() && log.truncate_to(Offset(0)).await.is_err());
            assert_eq!(log.ackable_end_offset(), result.0, "nothing was acknowledged after the failure");
        }
        result
    })
    .unwrap();
    // Power goes, too: what the failed sync should have covered may be lost.
    storage.cut_power();
    let storage = storage.restart();
    let shard = self::shard(&storage);
    let log = run_sim(&storage, open(&shard, log_config())).unwrap();
    assert!(log.log_end_offset() >= acknowledged, "{op:?} {skip} {seed}: {acknowledged} {}", log.log_end_offset());
    ended.err()
}

#[test]
fn a_failed_write_or_sync_ends_the_shard_and_acknowledges_nothing() {
    for op in [IoOp::Write, IoOp::Sync, IoOp::SyncDir] {
        let mut failures = 0;
        for skip in 0..30 {
            if let Some(fatal) = fails_with(op, skip, skip) {
                failures += 1;
                assert_eq!((fatal.op(), fatal.errno()), (op, Some(EIO)));
                assert!(fatal.path().starts_with(dir(Path::new(ROOT), 0)));
                let message = fatal.to_string();
                assert!(message.contains("topic-0") && message.contains("os error 5"), "{message}");
            }
        }
        assert!(failures > 2, "{op:?}: {failures}");
    }
}

#[test]
fn a_failed_read_harms_only_the_reader() {
    let storage = sim(1);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let log = open(&shard, log_config()).await;
        let work = async {
            let stored = fill(&log, 60, 1_000, 0).await;
            storage.fail(IoOp::Read, 0, EIO);
            assert!(matches!(log.read(Offset(0), Offset(600), 1, usize::MAX).await, Err(ReadError::Io(_))));
            storage.fail(IoOp::Open, 0, EMFILE);
            assert!(matches!(log.read(Offset(150), Offset(600), 1, usize::MAX).await, Err(ReadError::Io(_))));
            assert_eq!(read_all(&log, Offset(0), 4_000).await, stored);
            fill(&log, 1, 1_000, 0).await;
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
}

#[test]
fn a_failed_change_of_the_log_start_leaves_it_or_ends_the_shard() {
    let storage = sim(1);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let log = open(&shard, log_config()).await;
        let work = async {
            fill(&log, 10, 1_000, 0).await;
            storage.fail(IoOp::Open, 0, EMFILE);
            assert!(matches!(log.advance_log_start(Offset(20)).await, Err(AdvanceStartError::Io(_))));
            assert_eq!(log.log_start_offset(), Offset(0));
            log.advance_log_start(Offset(20)).await.unwrap();
            storage.fail(IoOp::Sync, 0, EIO);
            assert!(matches!(log.advance_log_start(Offset(30)).await, Err(AdvanceStartError::Fatal(_))));
            assert_eq!(log.log_start_offset(), Offset(20));
        };
        assert!(with_shard(&shard, work).await.1.is_err());
    })
    .unwrap();
}

/// Prewriting is a convenience: no space for it, no harm.
#[test]
fn prewriting_stops_quietly_on_a_full_disk() {
    let storage = sim(1);
    let config = ShardWalConfig { max_commit_bytes: 1 << 20, ..shard_config() };
    let shard = ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), config);
    run_sim(&storage, async {
        let config = LogConfig { segment_bytes: 64 << 20, ..log_config() };
        let log = open(&shard, config).await;
        storage.set_capacity_bytes(Some(300_000));
        let work = async {
            for at in 0..40 {
                let mut bytes = batch(&BatchSpec::plain(1, 5_000, START_MS));
                append(&log, &mut bytes, 0, START_MS + at * 20).await.unwrap();
                log.wait_ackable(log.log_end_offset()).await.unwrap();
            }
            storage.set_capacity_bytes(None);
            let before = storage.used_bytes();
            for at in 40..120 {
                let mut bytes = batch(&BatchSpec::plain(1, 5_000, START_MS));
                append(&log, &mut bytes, 0, START_MS + at * 20).await.unwrap();
                log.wait_ackable(log.log_end_offset()).await.unwrap();
            }
            assert!(storage.used_bytes() > before + 500_000, "prewriting goes on when there is space");
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
}
