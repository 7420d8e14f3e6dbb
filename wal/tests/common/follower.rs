//! What a follower's log must do so that it can be kept equal to its leader's.

use std::path::Path;

use bytes::Bytes;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use wal::producer_state::SequenceCheck;
use wal::{AppendError, Log, LogConfig, Storage};

use super::suite::delete;
use super::{BatchSpec, START_MS, append_replicated, batch, fill, log_config, read_all, stored_batch, with_log};

pub async fn everything<S: Storage>(storage: &S, root: &Path) {
    a_leaders_batches_are_taken_as_they_are(storage, root).await;
    what_does_not_continue_the_log_is_refused(storage, root).await;
    an_epoch_that_wrote_nothing_is_taken_back(storage, root).await;
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
        for found in [Offset(-1), Offset(0), Offset(39), Offset(41), Offset(i64::MAX)] {
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
        let cached = log.read_cached(Offset(40), Offset(45), 1, true).expect("it was just appended");
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
    // A batch of an epoch between does.
    with_log(storage, root, log_config(), |log| async move {
        log.truncate_to(Offset(40)).await.unwrap();
        append_replicated(&log, &stored_batch(&spec(1, 100), Offset(40), 6), START_MS).await.unwrap();
        log.wait_ackable(Offset(45)).await.unwrap();
    })
    .await;
    with_log(storage, root, log_config(), |log| async move {
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(6)));
        assert_eq!(log.epoch_end_offset(LeaderEpoch(5)), (LeaderEpoch(5), Offset(40)));
        assert!(!is_known(&log, 9));
        append_replicated(&log, &stored_batch(&spec(2, 100), Offset(45), 6), START_MS).await.unwrap();
    })
    .await;
    delete(storage, root).await;
}
