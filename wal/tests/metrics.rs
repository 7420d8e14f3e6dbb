//! What a shard's logs count, against what was done.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{
    BatchSpec, ROOT, START_MS, append, batch, dir, fill, identity, log_config, run_sim, shard_config, sim, with_shard,
};
use futures_util::future::join_all;
use protocol::Offset;
use wal::metrics::WalMetrics;
use wal::{Log, ShardWal, ShardWalConfig};

#[test]
fn a_commit_is_counted_once_with_its_logs_and_its_way() {
    let storage = sim(1);
    let metrics = Arc::<WalMetrics>::default();
    let shard = ShardWal::counting(storage.clone(), Path::new(ROOT).to_owned(), shard_config(), None, metrics.clone());
    run_sim(&storage, async {
        let mut logs = Vec::new();
        for partition in 0..3 {
            let dir = dir(Path::new(ROOT), partition);
            logs.push(Log::open(&shard, &dir, identity(partition), log_config(), START_MS).await.unwrap().0);
        }
        let work = async {
            for log in &logs {
                append(log, &mut batch(&BatchSpec::plain(1, 5_000, START_MS)), 0, START_MS).await.unwrap();
            }
            join_all(logs.iter().map(|log| log.wait_ackable(log.log_end_offset()))).await;
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
    let logs = metrics.commit_logs.read();
    assert_eq!(logs.sum(), 3.0, "each log's part is in one commit");
    assert_eq!((metrics.commits.segments.get(), metrics.commits.inline.get()), (logs.count(), 0));
    assert_eq!((metrics.commits.journal.get(), metrics.commits.mixed.get()), (0, 0));
    for durations in [&metrics.commit_time, &metrics.write_time, &metrics.sync_time] {
        assert_eq!(durations.read().count(), logs.count());
    }
    let bytes = metrics.segment_bytes.get();
    assert!(bytes >= 15_000 && metrics.commit_bytes.read().sum() == bytes as f64, "{bytes}");
}

#[test]
fn what_an_open_checks_is_counted_while_it_does() {
    let storage = sim(3);
    let root = Path::new(ROOT).to_owned();
    let (first, second) = (Arc::<WalMetrics>::default(), Arc::<WalMetrics>::default());
    let shard = ShardWal::counting(storage.clone(), root.clone(), shard_config(), None, first.clone());
    run_sim(&storage, async {
        let log = Log::open(&shard, &dir(&root, 0), identity(0), log_config(), START_MS).await.unwrap().0;
        let work = async {
            append(&log, &mut batch(&BatchSpec::plain(1, 5_000, START_MS)), 0, START_MS).await.unwrap();
            log.wait_ackable(log.log_end_offset()).await.unwrap();
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
    assert_eq!(first.recovered_bytes.get(), 0, "there was nothing");
    let storage = storage.restart();
    let shard = ShardWal::counting(storage.clone(), root.clone(), shard_config(), None, second.clone());
    let opened = run_sim(&storage, Log::open(&shard, &dir(&root, 0), identity(0), log_config(), START_MS)).unwrap();
    assert_eq!(opened.unwrap().1.scanned_frames, 1);
    assert!(second.recovered_bytes.get() >= 5_000, "{}", second.recovered_bytes.get());
}

#[test]
fn reads_are_counted_by_where_they_found_what_they_read_and_say_how_many_records_it_is() {
    let storage = sim(2);
    for tail_cache_bytes in [1 << 20, 0] {
        let metrics = Arc::<WalMetrics>::default();
        let config = ShardWalConfig { tail_cache_bytes, ..shard_config() };
        let root = Path::new(ROOT).to_owned();
        let shard = ShardWal::counting(storage.clone(), root.clone(), config, None, metrics.clone());
        let partition = i32::from(tail_cache_bytes == 0);
        run_sim(&storage, async {
            let log = Log::open(&shard, &dir(&root, partition), identity(partition), log_config(), START_MS).await;
            let log = log.unwrap().0;
            let work = async {
                fill(&log, 4, 100, 0).await;
                append(&log, &mut batch(&BatchSpec::plain(7, 100, START_MS)), 0, START_MS).await.unwrap();
                log.wait_ackable(log.log_end_offset()).await.unwrap();
                let read = log.read(Offset::ZERO, log.log_end_offset(), 1 << 20, usize::MAX).await.unwrap();
                assert_eq!(read.records as i64, log.log_end_offset().0);
            };
            with_shard(&shard, work).await.1.unwrap();
        })
        .unwrap();
        let from_cache = tail_cache_bytes > 0;
        assert_eq!(metrics.tail_hits.get() > 0, from_cache);
        assert_eq!(metrics.tail_misses.get() > 0, !from_cache);
        assert_eq!(metrics.demanded_reads.get() > 0, !from_cache);
        assert_eq!(metrics.read_time.read().count(), metrics.demanded_reads.get());
    }
}
