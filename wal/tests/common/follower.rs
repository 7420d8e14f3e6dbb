//! What a follower's log must do so that it can be kept equal to its leader's.

use std::path::Path;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use wal::producer_state::SequenceCheck;
use wal::{AppendError, Log, LogConfig, ReadError, RestartError, Storage};

use super::suite::delete;
use super::{BatchSpec, START_MS, append_replicated, batch, fill, log_config, read_all, stored_batch, with_log};

pub async fn everything<S: Storage>(storage: &S, root: &Path) {
    a_leaders_batches_are_taken_as_they_are(storage, root).await;
    what_does_not_continue_the_log_is_refused(storage, root).await;
    an_epoch_that_wrote_nothing_is_taken_back(storage, root).await;
    a_log_begins_anew_anywhere(storage, root).await;
    the_batch_before_an_offset_is_found(storage, root).await;
}

fn spec(number: i32, body_bytes: usize) -> BatchSpec {
    let plain = BatchSpec::plain(5, body_bytes, START_MS + i64::from(number));
    BatchSpec { producer_id: 7, base_sequence: number * 5, fill: number as u8, ..plain }
}

fn header(bytes: &[u8]) -> BatchHeader {
    BatchHeader::parse(bytes).unwrap()
}

async fn a_leaders_batches_are_taken_as_they_are<S: Storage>(storage: &S, root: &Path) {
    let body_bytes = |number: i32| if number % 6 == 5 { 20_000 } else { 700 };
    let epoch = |number: i32| if number < 10 { 3 } else { 8 };
    let stored: Vec<Vec<u8>> = (0..30)
        .map(|number| stored_batch(&spec(number, body_bytes(number)), Offset(i64::from(number) * 5), epoch(number)))
        .collect();
    let leader = stored.clone();
    // Some are larger than a segment here, since the leader's setting was another once.
    assert!(leader[5].len() as u64 > log_config().segment_bytes);
    with_log(storage, root, log_config(), |log| async move {
        for (number, bytes) in leader.iter().enumerate() {
            let appended = append_replicated(&log, bytes, START_MS).await.unwrap();
            assert_eq!((appended.base_offset.0, appended.last_offset.0), (number as i64 * 5, number as i64 * 5 + 4));
            if number % 4 == 0 {
                // Not durable yet, and from the cache or not the same bytes.
                assert_eq!(read_all(&log, Offset(0), 4_000).await, leader[..=number]);
            }
        }
        log.wait_ackable(Offset(150)).await.unwrap();
        assert_eq!(log.durable_end_offset(), Offset(150));
        check(&log, &leader).await;
        // As its own leader it has its own limits.
        let too_large = batch(&spec(30, 20_000));
        let refused = log.append(&too_large, &header(&too_large), LeaderEpoch(9), START_MS);
        assert!(matches!(refused, Err(AppendError::TooLarge { .. })), "{refused:?}");
    })
    .await;
    let leader = stored.clone();
    with_log(storage, root, log_config(), |log| async move { check(&log, &leader).await }).await;
    delete(storage, root).await;
}

/// Content and everything that follows from it.
async fn check<S: Storage>(log: &Log<S>, leader: &[Vec<u8>]) {
    assert_eq!(read_all(log, Offset(0), 4_000).await, leader);
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(8)));
    assert_eq!(log.epoch_end_offset(LeaderEpoch(7)), (LeaderEpoch(3), Offset(50)));
    assert_eq!(log.epoch_for_offset(Offset(49)), Some(LeaderEpoch(3)));
    let check = |number| log.producer_state().check(&header(&batch(&spec(number, 1))));
    assert!(matches!(check(29), Ok(SequenceCheck::Duplicate { base_offset: Offset(145), .. })));
    assert_eq!(check(30), Ok(SequenceCheck::Accept));
    assert!(check(31).is_err());
}

async fn what_does_not_continue_the_log_is_refused<S: Storage>(storage: &S, root: &Path) {
    let config = LogConfig { segment_bytes: 1 << 20, ..log_config() };
    with_log(storage, root, config, |log| async move {
        let mut stored = fill(&log, 4, 100, 5).await;
        let refusal = |base_offset, epoch| {
            let bytes = stored_batch(&spec(1, 100), Offset(base_offset), epoch);
            log.append_replicated(&bytes, &header(&bytes), START_MS).expect_err("it must be refused")
        };
        for found in [Offset(-1), Offset(0), Offset(39)] {
            assert_eq!(refusal(found.0, 5), AppendError::NotNext { expected: Offset(40), found });
        }
        for found in [LeaderEpoch(4), LeaderEpoch(-1)] {
            assert_eq!(refusal(40, found.0), AppendError::StaleEpoch { current: LeaderEpoch(5), found });
        }
        assert_eq!(log.log_end_offset(), Offset(40));
        assert_eq!(read_all(&log, Offset(0), 4_000).await, stored);
        // What is kept of a shared batch is that batch.
        let next = stored_batch(&spec(2, 3_000), Offset(40), 5);
        let shared = Bytes::from(next.clone());
        log.reserve(next.len(), START_MS).await.unwrap();
        log.append_replicated_shared(&shared, &header(&next), START_MS).unwrap();
        let cached = log.read_cached(Offset(40), Offset(45), 1, usize::MAX).expect("it was just appended");
        assert_eq!(cached.pieces.iter().map(|piece| piece.as_ptr()).collect::<Vec<_>>(), [shared.as_ptr()]);
        stored.push(next);
        assert_eq!(read_all(&log, Offset(0), 4_000).await, stored);
    })
    .await;
    // Nothing has written in any epoch yet.
    delete(storage, root).await;
    with_log(storage, root, config, |log| async move {
        let bytes = stored_batch(&spec(1, 100), Offset(0), -1);
        let refused = log.append_replicated(&bytes, &header(&bytes), START_MS);
        assert!(matches!(refused, Err(AppendError::StaleEpoch { found: LeaderEpoch(-1), .. })), "{refused:?}");
    })
    .await;
    delete(storage, root).await;
}

async fn an_epoch_that_wrote_nothing_is_taken_back<S: Storage>(storage: &S, root: &Path) {
    let is_known = |log: &Log<S>, epoch| log.epoch_end_offset(LeaderEpoch(epoch)).0 == LeaderEpoch(epoch);
    with_log(storage, root, log_config(), |log| async move {
        fill(&log, 4, 100, 5).await;
        for end in [Offset(40), Offset(1_000)] {
            log.assign_epoch(LeaderEpoch(9));
            assert!(is_known(&log, 9));
            assert_eq!(log.truncate_to(end).await.unwrap(), Offset(40));
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
            assert!(!is_known(&log, 9));
        }
        log.assign_epoch(LeaderEpoch(9));
        log.close().await.unwrap();
    })
    .await;
    // The close has kept it; whatever is done about it without writing anything does not outlive the process.
    for _ in 0..2 {
        with_log(storage, root, log_config(), |log| async move {
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(9)));
            let bytes = stored_batch(&spec(1, 100), Offset(40), 6);
            let refused = append_replicated(&log, &bytes, START_MS).await;
            assert!(matches!(refused, Err(AppendError::StaleEpoch { .. })), "{refused:?}");
            log.truncate_to(Offset(40)).await.unwrap();
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
        })
        .await;
    }
    // A batch of an older epoch does, and leaves no trace of it; also of the epoch that wrote last.
    for (number, epoch) in [(1, 5), (2, 6)] {
        let base = Offset(35 + i64::from(number) * 5);
        with_log(storage, root, log_config(), |log| async move {
            log.truncate_to(base).await.unwrap();
            append_replicated(&log, &stored_batch(&spec(number, 100), base, epoch), START_MS).await.unwrap();
            log.wait_ackable(base).await.unwrap();
        })
        .await;
        with_log(storage, root, log_config(), |log| async move {
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(epoch)));
            assert_eq!(log.epoch_for_offset(Offset(0)), Some(LeaderEpoch(5)));
            assert_eq!(log.epoch_for_offset(base), Some(LeaderEpoch(epoch)));
            assert!(!is_known(&log, 9));
            log.assign_epoch(LeaderEpoch(9));
            log.close().await.unwrap();
        })
        .await;
    }
    delete(storage, root).await;
}

async fn the_batch_before_an_offset_is_found<S: Storage>(storage: &S, root: &Path) {
    let stored = with_log(storage, root, log_config(), |log| async move {
        assert_eq!(log.last_batch().await.unwrap(), None);
        assert_eq!(log.batch_before(Offset(0)).await.unwrap(), None);
        let mut stored = Vec::new();
        for number in 0..40 {
            // Some are too large to be kept in memory.
            let body_bytes = if number % 5 == 4 { 12_000 } else { 500 };
            let bytes = stored_batch(&spec(number, body_bytes), Offset(i64::from(number) * 5), 3);
            append_replicated(&log, &bytes, START_MS).await.unwrap();
            assert_eq!(log.last_batch().await.unwrap(), Some(header(&bytes)));
            stored.push(bytes);
        }
        stored
    })
    .await;
    with_log(storage, root, log_config(), |log| async move {
        let of = |at: usize| Some(header(&stored[at]));
        assert_eq!(log.last_batch().await.unwrap(), of(39));
        for (end, at) in [(200, 39), (199, 39), (196, 39), (195, 38), (5, 0), (1, 0)] {
            assert_eq!(log.batch_before(Offset(end)).await.unwrap(), of(at), "{end}");
        }
        let beyond = log.batch_before(Offset(201)).await;
        assert!(matches!(beyond, Err(ReadError::OutOfRange { offset: Offset(201), .. })), "{beyond:?}");
        // Below the log start there is none, within a batch that contains it there is.
        log.advance_log_start(Offset(52)).await.unwrap();
        assert_eq!(log.batch_before(Offset(52)).await.unwrap(), None);
        assert_eq!(log.batch_before(Offset(-5)).await.unwrap(), None);
        assert_eq!(log.batch_before(Offset(53)).await.unwrap(), of(10));
        log.truncate_to(Offset(100)).await.unwrap();
        assert_eq!(log.last_batch().await.unwrap(), of(19));
        log.advance_log_start(Offset(100)).await.unwrap();
        assert_eq!(log.last_batch().await.unwrap(), None);
        log.close().await.unwrap();
        assert!(matches!(log.last_batch().await, Err(ReadError::Closed(_))));
    })
    .await;
    delete(storage, root).await;
}

/// Below the log start, at it, at a segment's begin, within a batch, at the end, behind it.
async fn a_log_begins_anew_anywhere<S: Storage>(storage: &S, root: &Path) {
    for (at, begin) in [7, 100, 165, 202, 300, 5_000].into_iter().enumerate() {
        let begin = Offset(begin);
        with_log(storage, root, log_config(), |log| async move {
            for number in 0..60 {
                let bytes = stored_batch(&spec(number, 900), Offset(i64::from(number) * 5), 2 + number / 30);
                append_replicated(&log, &bytes, START_MS).await.unwrap();
            }
            log.wait_ackable(Offset(300)).await.unwrap();
            log.advance_log_start(Offset(100)).await.unwrap();
            log.enforce_retention(START_MS, Offset(300)).await.unwrap();
            if at % 2 == 1 {
                log.close().await.unwrap();
            }
        })
        .await;
        with_log(storage, root, log_config(), |log| async move {
            let refused = log.restart_at(Offset(-1)).await;
            assert!(matches!(refused, Err(RestartError::Negative { offset: Offset(-1) })), "{refused:?}");
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(100), Offset(300)));
            let incarnation = log.incarnation();
            log.assign_epoch(LeaderEpoch(4));
            // Appended, and maybe not durable yet.
            let last = stored_batch(&spec(60, 100), Offset(300), 5);
            append_replicated(&log, &last, START_MS).await.unwrap();
            let (restarted, waited) = futures_util::join!(log.restart_at(begin), log.wait_ackable(Offset(305)));
            restarted.unwrap();
            waited.unwrap();
            assert!(log.incarnation() > incarnation);
            check_empty(&log, begin).await;
            assert_eq!((log.durable_end_offset(), log.ackable_end_offset()), (begin, begin));
            for offset in [Offset(begin.0 - 1), Offset(begin.0 + 1)] {
                assert!(matches!(
                    log.read(offset, Offset(6_000), 1, usize::MAX).await,
                    Err(ReadError::OutOfRange { .. })
                ));
                assert_eq!(log.read_cached(offset, Offset(6_000), 1, usize::MAX), None);
            }
        })
        .await;
        // After a crash, and another one.
        let stored = with_log(storage, root, log_config(), |log| async move {
            check_empty(&log, begin).await;
            // What was appended meanwhile is in memory, too.
            let replaced = stored_batch(&spec(50, 10), begin, 6);
            append_replicated(&log, &replaced, START_MS).await.unwrap();
            log.restart_at(begin).await.unwrap();
            check_empty(&log, begin).await;
            let mut stored = Vec::new();
            for number in 0..40 {
                let bytes = stored_batch(&spec(number, 700), Offset(begin.0 + i64::from(number) * 5), 1);
                append_replicated(&log, &bytes, START_MS).await.unwrap();
                stored.push(bytes);
            }
            log.wait_ackable(log.log_end_offset()).await.unwrap();
            assert_eq!(read_all(&log, begin, 4_000).await, stored);
            stored
        })
        .await;
        with_log(storage, root, log_config(), |log| async move {
            assert_eq!((log.log_start_offset(), log.log_end_offset()), (begin, Offset(begin.0 + 200)));
            assert_eq!(read_all(&log, begin, 4_000).await, stored);
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(1)));
            log.truncate_to(Offset(begin.0 + 12)).await.unwrap();
            assert_eq!(read_all(&log, begin, 4_000).await, stored[..2]);
        })
        .await;
        delete(storage, root).await;
    }
}

/// A log that begins and ends at `begin` and remembers nothing.
async fn check_empty<S: Storage>(log: &Log<S>, begin: Offset) {
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.size_bytes()), (begin, begin, 0));
    assert_eq!((log.latest_epoch(), log.producer_state().len()), (None, 0));
    let read = log.read(begin, Offset(6_000), 1, usize::MAX).await.unwrap();
    assert_eq!((read.bytes, read.next_offset), (0, begin));
    assert_eq!(log.bytes_between(Offset(0), Offset(6_000)), 0);
}
