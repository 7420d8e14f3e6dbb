//! What a commit costs and what it waits for, counted on the simulated disk.

mod common;

use std::path::Path;

use common::{
    BatchSpec, ROOT, START_MS, append, batch, dir, fill, identity, log_config, run_sim, shard_config, sim, with_shard,
};
use futures_util::future::join_all;
use protocol::Offset;
use wal::file::sim::SimStorage;
use wal::{IoOp, Log, LogConfig, ShardWal, ShardWalConfig};

const LOGS: i32 = 8;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 8 << 20, ..log_config() }
}

fn shard(storage: &SimStorage) -> ShardWal<SimStorage> {
    let config = ShardWalConfig { max_commit_bytes: 1 << 20, ..shard_config() };
    ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), config)
}

async fn open_all(shard: &ShardWal<SimStorage>, config: LogConfig) -> Vec<Log<SimStorage>> {
    let mut logs = Vec::new();
    for partition in 0..LOGS {
        let dir = dir(Path::new(ROOT), partition);
        logs.push(Log::open(shard, &dir, identity(partition), config, START_MS).await.unwrap().0);
    }
    logs
}

/// One batch for each log, all in one commit.
async fn commit_all(logs: &[Log<SimStorage>], body_bytes: usize, now_ms: i64) {
    for log in logs {
        let mut bytes = batch(&BatchSpec::plain(1, body_bytes, now_ms));
        append(log, &mut bytes, 0, now_ms).await.unwrap();
    }
    join_all(logs.iter().map(|log| log.wait_ackable(log.log_end_offset()))).await;
}

#[test]
fn once_prewritten_one_flush_serves_all_logs_of_a_commit() {
    let storage = sim(1);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let logs = open_all(&shard, config()).await;
        let work = async {
            let mut now_ms = START_MS;
            // Into fresh space: each file needs its own sync.
            let before = storage.count(IoOp::Sync);
            commit_all(&logs, 4_000, now_ms).await;
            assert_eq!(storage.count(IoOp::Sync) - before, LOGS as u64);
            let (mut cheap, commits) = (0, 500);
            for _ in 0..commits {
                now_ms += 10;
                let before = storage.count(IoOp::Sync);
                commit_all(&logs, 4_000, now_ms).await;
                cheap += u32::from(storage.count(IoOp::Sync) - before == 1);
            }
            // Prewriting syncs, too, now and then.
            assert!(cheap > commits * 3 / 4, "{cheap} of {commits} commits took one flush");
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
}

/// The first log of each commit is the one whose file is synced; what the others rely on must be durable before.
#[test]
fn what_another_files_flush_covers_survives_a_power_cut() {
    for seed in 0..10 {
        let storage = sim(seed);
        let shard = self::shard(&storage);
        let commits = 150 + seed as i64;
        run_sim(&storage, async {
            let logs = open_all(&shard, config()).await;
            let work = async {
                for at in 0..commits {
                    commit_all(&logs, 4_000, START_MS + at * 10).await;
                }
                storage.cut_power();
            };
            with_shard(&shard, work).await.1.unwrap();
        });
        let storage = storage.restart();
        let shard = self::shard(&storage);
        run_sim(&storage, async {
            for log in open_all(&shard, config()).await {
                assert_eq!(log.log_end_offset(), Offset(commits), "seed {seed}, {:?}", log.dir());
            }
        })
        .unwrap();
    }
}

/// Its old frames stand there with good checksums of their own; none is ever taken for data.
#[test]
fn a_deleted_segment_of_a_busy_log_becomes_a_new_one() {
    let storage = sim(5);
    let shard = shard(&storage);
    let config = LogConfig { segment_bytes: 100_000, retention_bytes: 100_000, ..config() };
    let spare = dir(Path::new(ROOT), 0).join("spare");
    let stored = run_sim(&storage, async {
        let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config, START_MS).await.unwrap();
        let work = async {
            let (mut stored, mut recycled) = (Vec::new(), 0);
            for at in 0..300 {
                let now_ms = START_MS + at * 10;
                let mut bytes = batch(&BatchSpec { fill: at as u8, ..BatchSpec::plain(1, 3_000, now_ms) });
                let had_spare = storage.content(&spare).is_some();
                append(&log, &mut bytes, 0, now_ms).await.unwrap();
                recycled += u32::from(had_spare && storage.content(&spare).is_none());
                log.wait_ackable(log.log_end_offset()).await.unwrap();
                log.enforce_retention(now_ms, log.log_end_offset()).await.unwrap();
                stored.push(bytes);
            }
            assert!(recycled > 3, "{recycled}");
            let start = log.log_start_offset();
            assert_eq!(common::read_all(&log, start, 10_000).await, stored[start.0 as usize..]);
            // Once it is idle, the spare goes.
            log.enforce_retention(START_MS + 1_000_000, log.log_end_offset()).await.unwrap();
            assert!(storage.content(&spare).is_none());
            stored
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
        let (log, report) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config, START_MS).await.unwrap();
        assert_eq!((log.log_end_offset(), report.cut), (Offset(300), None));
        let start = log.log_start_offset();
        let (found, _) = with_shard(&shard, common::read_all(&log, start, 10_000)).await;
        assert_eq!(found, stored[start.0 as usize..]);
    })
    .unwrap();
}

#[test]
fn an_idle_log_takes_next_to_nothing() {
    let storage = sim(2);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let logs = open_all(&shard, config()).await;
        let (_, ended) = with_shard(&shard, async {}).await;
        ended.unwrap();
        assert!(storage.used_bytes() <= LOGS as u64 * 16_384, "{} for {LOGS} empty logs", storage.used_bytes());
        drop(logs);
    })
    .unwrap();
    let shard = self::shard(&storage);
    run_sim(&storage, async {
        let logs = open_all(&shard, config()).await;
        with_shard(&shard, commit_all(&logs, 100, START_MS)).await.1.unwrap();
        assert!(storage.used_bytes() <= LOGS as u64 * 65_536, "{} for {LOGS} small logs", storage.used_bytes());
    })
    .unwrap();
}

#[test]
fn appends_wait_when_too_much_is_gathered() {
    let storage = sim(3);
    let shard = ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), shard_config());
    run_sim(&storage, async {
        let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config(), START_MS).await.unwrap();
        let work = async {
            fill(&log, 1, 10, 0).await;
            log.reserve(1 << 20, START_MS).await.unwrap();
            let bytes = batch(&BatchSpec::plain(1, 10_000, START_MS));
            let header = protocol::record_batch::BatchHeader::parse(&bytes).unwrap();
            let mut accepted = 0;
            while log.append(&bytes, &header, protocol::LeaderEpoch(0), START_MS).is_ok() {
                accepted += 1;
            }
            // 64 KiB may be gathered.
            assert_eq!(accepted, 6);
            log.reserve(bytes.len(), START_MS).await.unwrap();
            log.append(&bytes, &header, protocol::LeaderEpoch(0), START_MS).unwrap();
            log.wait_ackable(Offset(17)).await.unwrap();
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
}

#[test]
fn stopping_commits_what_was_appended() {
    let storage = sim(4);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let logs = open_all(&shard, config()).await;
        let work = async {
            for log in &logs {
                append(log, &mut batch(&BatchSpec::plain(1, 100, START_MS)), 0, START_MS).await.unwrap();
            }
        };
        with_shard(&shard, work).await.1.unwrap();
        assert!(logs.iter().all(|log| log.durable_end_offset() == Offset(1)));
        assert!(logs[0].reserve(1, START_MS).await.is_err() && logs[0].close().await.is_err());
    })
    .unwrap();
}

#[test]
fn a_caller_that_gives_up_stops_no_write() {
    for polls in 0..40 {
        let storage = sim(polls);
        let shard = shard(&storage);
        run_sim(&storage, async {
            let config = LogConfig { segment_bytes: 8_000, ..log_config() };
            let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config, START_MS).await.unwrap();
            let work = async {
                let stored = fill(&log, 1, 3_000, 0).await;
                // Rolls half way, as far as the caller knows.
                let mut reserve = Box::pin(log.reserve(3_000, START_MS));
                for _ in 0..polls {
                    if futures_util::poll!(&mut reserve).is_ready() {
                        break;
                    }
                    futures_util::pending!();
                }
                drop(reserve);
                fill(&log, 3, 3_000, 0).await;
                assert_eq!(common::read_all(&log, Offset(0), 1 << 20).await[..1], stored);
                log.close().await.unwrap();
            };
            // `pending!` above relies on the driver to poll again.
            with_shard(&shard, work).await.1.unwrap();
        })
        .unwrap();
    }
}
