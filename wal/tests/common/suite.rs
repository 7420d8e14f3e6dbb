//! What every storage must do, from an empty directory on.

use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use wal::{Durability, Log, LogConfig, ReadError, ShardWal, Storage, remove_deleted};

use super::{
    BatchSpec, START_MS, append, batch, dir, fill, follower, identity, log_config, read_all, shard_config, split,
    with_log, with_shard,
};

pub async fn everything<S: Storage>(storage: &S, root: &Path) {
    appended_batches_are_read_back(storage, root).await;
    listeners_hear_of_every_commit(storage, root).await;
    timestamps_are_found(storage, root).await;
    truncation_lasts(storage, root).await;
    retention_follows_size_age_and_start(storage, root).await;
    epochs_and_producers_outlive_restarts(storage, root).await;
    follower::everything(storage, root).await;
    a_deleted_log_is_gone(storage, root).await;
}

pub async fn delete<S: Storage>(storage: &S, root: &Path) {
    with_log(storage, root, log_config(), |log| async move { log.delete().await.unwrap() }).await;
    assert!(!storage.list_dir(root).await.unwrap().iter().any(|name| name.starts_with("topic-")));
}

async fn appended_batches_are_read_back<S: Storage>(storage: &S, root: &Path) {
    // Large batches and small ones, over many segments.
    let first = with_log(storage, root, log_config(), |log| async move {
        let mut stored = fill(&log, 30, 700, 0).await;
        stored.extend(fill(&log, 3, 15_000, 0).await);
        stored.extend(fill(&log, 100, 1, 0).await);
        assert_eq!(log.durable_end_offset(), Offset(1330));
        for max_bytes in [1, 5_000, 1 << 20] {
            assert_eq!(read_all(&log, Offset(0), max_bytes).await, stored);
        }
        // From within a batch: that batch comes as a whole.
        let read = log.read(Offset(15), Offset(1330), 1, usize::MAX).await.unwrap();
        assert_eq!(split(&read.contiguous()), stored[1..2]);
        let size = stored[1].len();
        for (max_bytes, first_max) in [(1, 0), (1, size - 1), (size - 1, 0)] {
            let read = log.read(Offset(15), Offset(1330), max_bytes, first_max).await.unwrap();
            assert_eq!((read.bytes, read.too_large_bytes, read.next_offset), (0, size, Offset(15)));
        }
        assert_eq!(log.read(Offset(15), Offset(1330), 1, size).await.unwrap().bytes, size);
        assert_eq!(log.read(Offset(15), Offset(19), 1 << 20, usize::MAX).await.unwrap().bytes, 0);
        assert_eq!(log.read(Offset(1330), Offset(1330), 1 << 20, usize::MAX).await.unwrap().next_offset, Offset(1330));
        assert!(matches!(log.read(Offset(1331), Offset(1331), 1, usize::MAX).await, Err(ReadError::OutOfRange { .. })));
        assert!(log.bytes_between(Offset(0), Offset(1330)) > 30 * 700 + 3 * 15_000);
        assert_eq!(log.bytes_between(Offset(1320), Offset(1330)), stored[132].len() as u64);
        stored
    })
    .await;
    // The process ended without closing the log.
    let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
    let (log, report) = Log::open(&shard, &dir(root, 0), identity(0), log_config(), START_MS).await.unwrap();
    assert!(!report.created && !report.clean && report.cut.is_none() && report.scanned_frames > 0, "{report:?}");
    let work = async {
        assert_eq!(read_all(&log, Offset(0), 4_000).await, first);
        let mut all = first.clone();
        all.extend(fill(&log, 5, 100, 0).await);
        assert_eq!(read_all(&log, Offset(0), 4_000).await, all);
        log.close().await.unwrap();
        assert!(log.read(Offset(0), Offset(1), 1, usize::MAX).await.is_err());
        all
    };
    let (all, ended) = with_shard(&shard, work).await;
    ended.unwrap();
    // It was closed in order.
    let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
    let (log, report) = Log::open(&shard, &dir(root, 0), identity(0), log_config(), START_MS).await.unwrap();
    assert!(report.clean && report.scanned_frames == 0, "{report:?}");
    let (_, ended) = with_shard(&shard, async {
        assert_eq!(read_all(&log, Offset(0), 4_000).await, all);
        let mut all = all;
        all.extend(fill(&log, 5, 100, 0).await);
        assert_eq!(read_all(&log, Offset(0), 4_000).await, all);
    })
    .await;
    ended.unwrap();
    delete(storage, root).await;
}

async fn listeners_hear_of_every_commit<S: Storage>(storage: &S, root: &Path) {
    with_log(storage, root, log_config(), |log| async move {
        let heard = Rc::new(std::cell::Cell::new(Offset(0)));
        let (listening, observed) = (heard.clone(), log.clone());
        log.set_durable_listener(Rc::new(move |end| {
            assert_eq!(end, observed.durable_end_offset());
            assert!(end > listening.get());
            listening.set(end);
        }));
        fill(&log, 3, 100, 0).await;
        assert_eq!(heard.get(), Offset(30));
        log.set_durable_listener(Rc::new(|_| {}));
        log.set_config(LogConfig { durability: Durability::Async, ..log_config() });
        let mut bytes = batch(&BatchSpec::plain(1, 10, START_MS));
        append(&log, &mut bytes, 0, START_MS).await.unwrap();
        assert!(log.durable_end_offset() < log.ackable_end_offset());
        log.wait_ackable(Offset(31)).await.unwrap();
        log.set_config(log_config());
        log.wait_ackable(Offset(31)).await.unwrap();
        assert_eq!(log.durable_end_offset(), Offset(31));
    })
    .await;
    delete(storage, root).await;
}

fn max_timestamp(batch: Option<Bytes>) -> Option<i64> {
    batch.map(|bytes| BatchHeader::parse(&bytes).unwrap().max_timestamp)
}

async fn timestamps_are_found<S: Storage>(storage: &S, root: &Path) {
    with_log(storage, root, log_config(), |log| async move {
        // Rising in steps, with a summit in the middle.
        let mut timestamps: Vec<i64> = (0..60).map(|at| START_MS + at / 3 * 100).collect();
        timestamps[30] = START_MS + 100_000;
        for (at, timestamp) in timestamps.iter().enumerate() {
            let mut bytes = batch(&BatchSpec { fill: at as u8, ..BatchSpec::plain(10, 1000, *timestamp) });
            append(&log, &mut bytes, 0, START_MS).await.unwrap();
        }
        let end = log.log_end_offset();
        for wanted in [0, START_MS, START_MS + 1, START_MS + 900, START_MS + 950, START_MS + 1_900, START_MS + 50_000] {
            let expected = timestamps.iter().position(|timestamp| *timestamp >= wanted).map(|at| at as i64 * 10);
            let found = log.first_batch_at_or_after_timestamp(wanted, end).await.unwrap();
            assert_eq!(found.map(|bytes| BatchHeader::parse(&bytes).unwrap().base_offset.0), expected, "{wanted}");
        }
        assert_eq!(log.first_batch_at_or_after_timestamp(START_MS + 200_000, end).await.unwrap(), None);
        assert_eq!(log.first_batch_at_or_after_timestamp(START_MS + 950, Offset(300)).await.unwrap(), None);
        assert_eq!(max_timestamp(log.batch_with_max_timestamp(end).await.unwrap()), Some(START_MS + 100_000));
        // The summit cannot be seen from here.
        assert_eq!(max_timestamp(log.batch_with_max_timestamp(Offset(300)).await.unwrap()), Some(START_MS + 900));
        assert_eq!(log.batch_with_max_timestamp(Offset(0)).await.unwrap(), None);
    })
    .await;
    delete(storage, root).await;
}

async fn truncation_lasts<S: Storage>(storage: &S, root: &Path) {
    let kept = with_log(storage, root, log_config(), |log| async move {
        let mut stored = fill(&log, 60, 900, 1).await;
        // Into a sealed segment, into a batch, and at the end.
        assert_eq!(log.truncate_to(Offset(505)).await.unwrap(), Offset(500));
        assert_eq!(log.truncate_to(Offset(103)).await.unwrap(), Offset(100));
        assert_eq!(log.truncate_to(Offset(100)).await.unwrap(), Offset(100));
        assert_eq!((log.log_end_offset(), log.durable_end_offset()), (Offset(100), Offset(100)));
        stored.truncate(10);
        assert_eq!(read_all(&log, Offset(0), 4_000).await, stored);
        stored
    })
    .await;
    let all = with_log(storage, root, log_config(), |log| async move {
        assert_eq!(log.log_end_offset(), Offset(100));
        assert_eq!(read_all(&log, Offset(0), 4_000).await, kept);
        let mut all = kept;
        all.extend(fill(&log, 2, 300, 1).await);
        all
    })
    .await;
    // What was cut stands right behind what was appended, with valid checksums and offsets that would fit some day.
    with_log(storage, root, log_config(), |log| async move {
        assert_eq!(read_all(&log, Offset(0), 4_000).await, all);
        let mut all = all;
        all.extend(fill(&log, 40, 900, 2).await);
        assert_eq!(read_all(&log, Offset(0), 4_000).await, all);
        assert!(log.truncate_to(Offset(0)).await.unwrap() == Offset(0));
        assert_eq!(log.latest_epoch(), None);
        fill(&log, 1, 10, 2).await;
    })
    .await;
    delete(storage, root).await;
}

async fn retention_follows_size_age_and_start<S: Storage>(storage: &S, root: &Path) {
    let end = with_log(storage, root, log_config(), |log| async move {
        let stored = fill(&log, 100, 1000, 0).await;
        let size = log.size_bytes();
        let sized = LogConfig { retention_bytes: 40_000, ..log_config() };
        // Not below the high watermark.
        log.set_config(sized);
        assert_eq!(log.enforce_retention(START_MS, Offset(0)).await.unwrap().segments, 0);
        // Not without the policy.
        log.set_config(LogConfig { delete_policy: false, ..sized });
        assert_eq!(log.enforce_retention(START_MS, Offset(1000)).await.unwrap().segments, 0);
        log.set_config(sized);
        let report = log.enforce_retention(START_MS, Offset(1000)).await.unwrap();
        assert!(report.segments > 2 && report.bytes == size - log.size_bytes() && !report.rolled, "{report:?}");
        assert!(log.size_bytes() >= 40_000 && log.size_bytes() < 40_000 + 16_384, "{}", log.size_bytes());
        let start = log.log_start_offset();
        assert!(matches!(log.read(start.prev(), Offset(1000), 1, usize::MAX).await, Err(ReadError::OutOfRange { .. })));
        assert_eq!(read_all(&log, start, 4_000).await, stored[start.0 as usize / 10..]);
        // DeleteRecords, then what lies below goes whatever the policy.
        log.set_config(LogConfig { delete_policy: false, ..log_config() });
        log.advance_log_start(Offset(start.0 + 145)).await.unwrap();
        assert!(log.advance_log_start(Offset(1001)).await.is_err());
        assert_eq!(log.log_start_offset(), Offset(start.0 + 145));
        assert_eq!(log.enforce_retention(START_MS, Offset(1000)).await.unwrap().segments, 1);
        assert_eq!(log.log_start_offset(), Offset(start.0 + 145));
        // Everything is old: the active segment goes, too.
        log.set_config(LogConfig { retention_ms: 1000, ..log_config() });
        let report = log.enforce_retention(START_MS + 1_000_000, Offset(1000)).await.unwrap();
        assert!(report.rolled && report.segments > 0);
        assert_eq!((log.log_start_offset(), log.size_bytes()), (Offset(1000), 0));
        fill(&log, 3, 1000, 0).await;
        log.log_end_offset()
    })
    .await;
    with_log(storage, root, log_config(), |log| async move {
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(1000), end));
        // By age the active segment rolls, and is kept.
        log.set_config(LogConfig { segment_ms: 1000, ..log_config() });
        let report = log.enforce_retention(START_MS + 1_000_000, end).await.unwrap();
        assert!(report.rolled && report.segments == 0);
        assert_eq!(read_all(&log, Offset(1000), 4_000).await.len(), 3);
    })
    .await;
    delete(storage, root).await;
}

async fn epochs_and_producers_outlive_restarts<S: Storage>(storage: &S, root: &Path) {
    let spec =
        |sequence: i32| BatchSpec { producer_id: 7, base_sequence: sequence, ..BatchSpec::plain(5, 2000, START_MS) };
    with_log(storage, root, log_config(), |log| async move {
        for (at, epoch) in [0, 0, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5].into_iter().enumerate() {
            append(&log, &mut batch(&spec(at as i32 * 5)), epoch, START_MS).await.unwrap();
        }
        log.wait_ackable(log.log_end_offset()).await.unwrap();
    })
    .await;
    for round in 0..3 {
        with_log(storage, root, log_config(), |log| async move {
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
            assert_eq!(log.epoch_end_offset(LeaderEpoch(0)), (LeaderEpoch(0), Offset(10)));
            assert_eq!(log.epoch_end_offset(LeaderEpoch(4)), (LeaderEpoch(3), Offset(25)));
            assert_eq!(log.epoch_end_offset(LeaderEpoch(5)), (LeaderEpoch(5), Offset(60)));
            assert_eq!(log.epoch_for_offset(Offset(24)), Some(LeaderEpoch(3)));
            let header = |sequence| BatchHeader::parse(&batch(&spec(sequence))).unwrap();
            assert!(matches!(
                log.producer_state().check(&header(55)),
                Ok(wal::producer_state::SequenceCheck::Duplicate {
                    base_offset: Offset(55),
                    last_offset: Offset(59),
                    ..
                })
            ));
            assert_eq!(log.producer_state().check(&header(60)), Ok(wal::producer_state::SequenceCheck::Accept));
            assert!(log.producer_state().check(&header(70)).is_err());
            if round == 1 {
                log.close().await.unwrap();
            }
        })
        .await;
    }
    with_log(storage, root, log_config(), |log| async move {
        log.truncate_to(Offset(20)).await.unwrap();
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(3)));
        let header = BatchHeader::parse(&batch(&spec(20))).unwrap();
        assert_eq!(log.producer_state().check(&header), Ok(wal::producer_state::SequenceCheck::Accept));
        log.assign_epoch(LeaderEpoch(9));
        assert_eq!(log.epoch_end_offset(LeaderEpoch(9)), (LeaderEpoch(9), Offset(20)));
        assert_eq!(log.epoch_end_offset(LeaderEpoch(8)), (LeaderEpoch(3), Offset(20)));
    })
    .await;
    delete(storage, root).await;
}

async fn a_deleted_log_is_gone<S: Storage>(storage: &S, root: &Path) {
    with_log(storage, root, log_config(), |log| async move {
        fill(&log, 30, 1000, 0).await;
        let mut bytes = batch(&BatchSpec::plain(1, 10, START_MS));
        append(&log, &mut bytes, 0, START_MS).await.unwrap();
        let (deleted, waited) = futures_util::join!(log.delete(), log.wait_ackable(log.log_end_offset()));
        deleted.unwrap();
        // Either the commit was under way already or it never comes; it does not hang.
        let _ = waited;
        assert!(log.delete().await.is_err() && log.read(Offset(0), Offset(1), 1, usize::MAX).await.is_err());
    })
    .await;
    assert!(!storage.list_dir(root).await.unwrap().iter().any(|name| name.starts_with("topic-")));
    // A crash came between.
    let leftover = root.join("topic-0.00.deleted");
    storage.create_dir(&leftover).await.unwrap();
    storage.create(&leftover.join("x.log")).await.unwrap();
    assert_eq!(remove_deleted(storage, root).await.unwrap(), 1);
    assert!(!storage.list_dir(root).await.unwrap().contains(&"topic-0.00.deleted".to_owned()));
}
