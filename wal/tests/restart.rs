//! A log that is replaced by an empty one: power cuts at every step of it and of the recoveries after it, and disks that
//! fail meanwhile. Afterwards there is either log, as a whole, or the process has ended.

mod common;

use std::path::Path;

use common::{
    BatchSpec, ROOT, START_MS, append, append_replicated, batch, dir, identity, log_config, read_all, run_sim,
    shard_config, sim, stored_batch, with_shard,
};
use protocol::{LeaderEpoch, Offset};
use wal::file::sim::SimStorage;
use wal::{IoOp, Log, ReadError, RestartError, ShardWal};

const START: Offset = Offset(100);
const END: Offset = Offset(300);
const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;

fn shard(storage: &SimStorage) -> ShardWal<SimStorage> {
    ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), shard_config())
}

async fn open(shard: &ShardWal<SimStorage>) -> Log<SimStorage> {
    Log::open(shard, &dir(Path::new(ROOT), 0), identity(0), log_config(), START_MS).await.unwrap().0
}

fn spec(number: i64) -> BatchSpec {
    let plain = BatchSpec::plain(5, 900, START_MS);
    BatchSpec { producer_id: 7, base_sequence: number as i32 * 5, fill: number as u8, ..plain }
}

/// A log of several segments that begins within itself, closed in order: there are sidecars of every kind.
fn old_log(seed: u64) -> SimStorage {
    let storage = sim(seed);
    run_sim(&storage, async {
        let shard = shard(&storage);
        let log = open(&shard).await;
        let work = async {
            for number in 0..60 {
                append(&log, &mut batch(&spec(number)), 2 + number as i32 / 30, START_MS).await.unwrap();
            }
            log.wait_ackable(END).await.unwrap();
            log.advance_log_start(START).await.unwrap();
            log.enforce_retention(START_MS, END).await.unwrap();
            log.close().await.unwrap();
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
    storage
}

/// Offsets at which segments of the old log begin: where the snapshots are.
fn segments(storage: &SimStorage) -> Vec<Offset> {
    let logs = storage.files().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "log"));
    logs.map(|path| Offset(path.file_stem().unwrap().to_str().unwrap().parse().unwrap())).collect()
}

/// The old log, or the one that was to replace it at `begin`; says whether it was replaced.
async fn is_replaced(log: &Log<SimStorage>, begin: Offset) -> bool {
    let ends = (log.log_start_offset(), log.log_end_offset());
    let (epoch, producers) = (log.latest_epoch(), log.producer_state().len());
    let stored = read_all(log, ends.0, 4_000).await;
    match ends {
        (START, END) => {
            assert_eq!((epoch, producers, stored.len()), (Some(LeaderEpoch(3)), 1, 40));
            false
        }
        _ => {
            assert_eq!((ends, epoch, producers, stored.len()), ((begin, begin), None, 0, 0));
            true
        }
    }
}

#[test]
fn a_restart_is_whole_or_has_not_happened() {
    let segments = segments(&old_log(0));
    assert!(segments.len() > 3, "{segments:?}");
    let begins = [Offset(7), START, segments[2], Offset(202), END, Offset(5_000)];
    let (mut kept, mut replaced) = (0, 0);
    for (seed, begin) in (0..).zip(begins) {
        for effect in 1.. {
            let storage = old_log(seed);
            let finished = run_sim(&storage, async {
                let shard = shard(&storage);
                let log = open(&shard).await;
                storage.cut_power_at(storage.effects() + effect);
                with_shard(&shard, async { log.restart_at(begin).await.unwrap() }).await.1.unwrap();
            })
            .is_some();
            storage.cut_power();
            for luck in 0..4 {
                let mut storage = storage.fork(seed * 1_000 + effect * 10 + luck).restart();
                // The recovery is cut short as well, somewhere.
                storage.cut_power_at(1 + luck * 3);
                run_sim(&storage, async { open(&shard(&storage)).await });
                storage.cut_power();
                storage = storage.restart();
                let is_new = run_sim(&storage, async {
                    let shard = shard(&storage);
                    let log = open(&shard).await;
                    with_shard(&shard, is_replaced(&log, begin)).await.0
                })
                .unwrap();
                assert!(is_new || !finished, "{begin} {effect} {luck}: the restart was durable");
                (kept, replaced) = (kept + usize::from(!is_new), replaced + usize::from(is_new));
                storage.cut_power();
                goes_on(&storage.restart(), if is_new { begin } else { END });
            }
            if finished {
                assert!(effect > 10);
                break;
            }
        }
    }
    assert!(kept > 50 && replaced > 200, "{kept} {replaced}");
}

/// Whatever is left of the old log, with the same offsets maybe, stays out of the new one.
fn goes_on(storage: &SimStorage, end: Offset) {
    let stored = run_sim(storage, async {
        let shard = shard(storage);
        let log = open(&shard).await;
        let work = async {
            let mut stored = Vec::new();
            for number in 0..50 {
                let bytes = stored_batch(&spec(number), Offset(end.0 + number * 5), 9);
                append_replicated(&log, &bytes, START_MS).await.unwrap();
                stored.push(bytes);
            }
            log.wait_ackable(log.log_end_offset()).await.unwrap();
            stored
        };
        with_shard(&shard, work).await.0
    })
    .unwrap();
    storage.cut_power();
    let storage = storage.restart();
    run_sim(&storage, async {
        let shard = shard(&storage);
        let log = open(&shard).await;
        assert_eq!((log.log_end_offset(), log.latest_epoch()), (Offset(end.0 + 250), Some(LeaderEpoch(9))));
        assert_eq!(log.epoch_for_offset(end), Some(LeaderEpoch(9)));
        assert!(with_shard(&shard, read_all(&log, end, 4_000)).await.0 == stored);
    })
    .unwrap();
}

/// Before it is a fact, a restart that fails changes nothing; after it, the process ends.
#[test]
fn a_restart_on_a_failing_disk_leaves_the_log_or_ends_the_shard() {
    let (mut unchanged, mut ended_anew) = (0, 0);
    let ops =
        [IoOp::Create, IoOp::Allocate, IoOp::Open, IoOp::Write, IoOp::Sync, IoOp::Remove, IoOp::Rename, IoOp::SyncDir];
    for (op, errno) in ops.into_iter().flat_map(|op| [(op, ENOSPC), (op, EMFILE), (op, EIO)]) {
        for skip in 0..4 {
            let storage = old_log(1);
            let begin = Offset(202);
            let outcome = run_sim(&storage, async {
                let shard = shard(&storage);
                let log = open(&shard).await;
                let work = async {
                    storage.fail(op, skip, errno);
                    let result = log.restart_at(begin).await;
                    if matches!(result, Err(RestartError::Io(_))) {
                        assert!(!is_replaced(&log, begin).await);
                        append(&log, &mut batch(&spec(60)), 3, START_MS).await.unwrap();
                        log.wait_ackable(Offset(305)).await.unwrap();
                    }
                    result
                };
                with_shard(&shard, work).await
            })
            .unwrap();
            if matches!(outcome, (Ok(()), Ok(()))) {
                // It has fewer operations of that kind; the error is yet to come.
                continue;
            }
            storage.cut_power();
            let storage = storage.restart();
            let (is_new, end) = run_sim(&storage, async {
                let shard = shard(&storage);
                let log = open(&shard).await;
                (log.log_start_offset() == begin, log.log_end_offset())
            })
            .unwrap();
            match outcome {
                (Err(RestartError::Io(_)), Ok(())) => {
                    assert_eq!((is_new, end), (false, Offset(305)));
                    unchanged += 1;
                }
                (Err(RestartError::Fatal(_)), Err(_)) => ended_anew += usize::from(is_new),
                other => panic!("{op:?} {errno} {skip}: {other:?}"),
            }
        }
    }
    assert!(unchanged > 5 && ended_anew > 5, "{unchanged} {ended_anew}");
}

/// Readers that are under way get the old log's batches or learn that they are gone.
#[test]
fn readers_of_a_log_that_begins_anew_see_one_log() {
    let mut gone = 0;
    for seed in 0..40 {
        let storage = old_log(seed);
        let begin = segments(&storage)[2];
        run_sim(&storage, async {
            let shard = shard(&storage);
            let log = open(&shard).await;
            let work = async {
                let old = read_all(&log, START, 4_000).await;
                let read = async {
                    let mut next = START;
                    while next < END {
                        match log.read(next, END, 2_500, usize::MAX).await {
                            Ok(read) => {
                                let at = (next.0 - START.0) as usize / 5;
                                for (batch, expected) in common::split(&read.contiguous()).iter().zip(&old[at..]) {
                                    assert_eq!(batch, expected);
                                }
                                if read.bytes == 0 {
                                    return;
                                }
                                next = read.next_offset;
                            }
                            Err(ReadError::OutOfRange { start, .. }) => {
                                assert_eq!(start, begin);
                                gone += 1;
                                return;
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                };
                let restart = async {
                    log.restart_at(begin).await.unwrap();
                    let bytes = stored_batch(&spec(3), begin, 9);
                    append_replicated(&log, &bytes, START_MS).await.unwrap();
                };
                futures_util::join!(read, restart);
            };
            with_shard(&shard, work).await.1.unwrap();
        })
        .unwrap();
    }
    assert!(gone > 5, "{gone}");
}
