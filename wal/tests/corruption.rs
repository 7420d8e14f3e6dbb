//! Damage on the medium: below the last synced offset it is refused with its place, in the last commit it is a cut.

mod common;

use std::path::{Path, PathBuf};

use common::{
    BatchSpec, ROOT, START_MS, append, batch, dir, fill, identity, log_config, read_all, run_sim, shard_config, sim,
    with_shard,
};
use protocol::{LeaderEpoch, Offset};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use wal::file::sim::SimStorage;
use wal::frame::{self, FrameInfo};
use wal::recovery::{CutRule, Refusal};
use wal::segment::{FIRST_FRAME_POSITION, SegmentHeader};
use wal::{Log, LogConfig, OpenError, ReadError, RecoveryReport, ShardWal};

/// One segment for everything.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 1 << 20, ..log_config() }
}

fn shard(storage: &SimStorage) -> ShardWal<SimStorage> {
    ShardWal::new(storage.clone(), Path::new(ROOT).to_owned(), shard_config())
}

fn segment_path(base: i64) -> PathBuf {
    dir(Path::new(ROOT), 0).join(format!("{base:020}.log"))
}

fn open(storage: &SimStorage, config: LogConfig) -> Result<(Log<SimStorage>, RecoveryReport), OpenError> {
    let shard = shard(storage);
    let dir = dir(Path::new(ROOT), 0);
    run_sim(storage, Log::open(&shard, &dir, identity(0), config, START_MS)).unwrap()
}

/// Frames of a segment with the positions where they begin.
fn frames(storage: &SimStorage, path: &Path) -> Vec<(u64, FrameInfo)> {
    let content = storage.content(path).unwrap();
    let seed = SegmentHeader::decode(&content).unwrap().seed();
    let mut found = Vec::new();
    let mut position = FIRST_FRAME_POSITION;
    while let Ok((info, _)) = frame::decode(seed, &content[position as usize..]) {
        found.push((position, info));
        position += info.frame_bytes();
    }
    found
}

/// A log of several commits, the last one of three batches; the process then ended without closing it.
fn log_of_several_commits(config: LogConfig) -> SimStorage {
    let storage = sim(7);
    let shard = shard(&storage);
    run_sim(&storage, async {
        let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config, START_MS).await.unwrap();
        let work = async {
            for body_bytes in [10, 3_000, 500, 9_000, 100] {
                fill(&log, 2, body_bytes, 0).await;
            }
            log.reserve(10_000, START_MS).await.unwrap();
            fill(&log, 3, 700, 1).await;
        };
        with_shard(&shard, work).await.1.unwrap();
    })
    .unwrap();
    storage
}

#[test]
fn every_flipped_bit_is_refused_or_cut_where_it_is() {
    let path = segment_path(0);
    let intact = log_of_several_commits(config());
    let frames = frames(&intact, &path);
    let last_commit = frames.last().unwrap().1.synced_before;
    assert!(frames.iter().filter(|(_, info)| info.base_offset >= last_commit).count() == 3, "{frames:?}");
    let end = frames.last().map(|(position, info)| position + info.frame_bytes()).unwrap();

    let mut random = SmallRng::seed_from_u64(1);
    let (mut refused, mut cut) = (0, 0);
    for at in 0..600u64 {
        // Every frame's header gets its share beside the payloads.
        let byte = if at % 2 == 0 {
            random.random_range(0..end)
        } else {
            frames[random.random_range(0..frames.len())].0 + random.random_range(0..frame::FRAME_HEADER_BYTES as u64)
        };
        let bit = random.random_range(0..8);
        let storage = intact.fork(at);
        storage.flip_bit(&path, byte, bit);
        let hit = frames.iter().rfind(|(position, _)| *position <= byte);
        let result = open(&storage, config());
        match (hit, result) {
            (None, Err(OpenError::Header { path: found, .. })) => assert_eq!(found, path),
            (Some((position, info)), Err(OpenError::Corrupt(corruption))) => {
                assert!(info.base_offset < last_commit, "byte {byte}: {corruption}");
                assert_eq!((&corruption.path, corruption.position), (&path, *position), "byte {byte}");
                assert_eq!(corruption.offset, info.base_offset);
                assert_eq!((corruption.refusal, corruption.synced), (Refusal::SyncedDamaged, last_commit));
                let message = corruption.to_string();
                assert!(message.contains(&position.to_string()) && message.contains("00000.log"), "{message}");
                // A refused log is left as it was.
                assert!(open(&storage, config()).is_err());
                refused += 1;
            }
            (Some((position, info)), Ok((log, report))) => {
                assert!(info.base_offset >= last_commit, "byte {byte}: {report:?}");
                let found = report.cut.expect("a cut is reported");
                assert_eq!((found.path, found.position, found.offset), (path.clone(), *position, info.base_offset));
                let is_last = info.next_offset() == frames.last().unwrap().1.next_offset();
                assert_eq!(found.rule, if is_last { CutRule::Torn } else { CutRule::TornBefore });
                assert_eq!(log.log_end_offset(), info.base_offset);
                cut += 1;
            }
            (hit, result) => panic!("byte {byte}, bit {bit} in {hit:?}: {:?}", result.map(|(_, report)| report)),
        }
    }
    assert!(refused > 100 && cut > 50, "{refused} {cut}");
}

#[test]
fn damage_in_a_sealed_segment_shows_when_it_is_read() {
    let small = LogConfig { segment_bytes: 10_000, ..config() };
    let intact = log_of_several_commits(small);
    let path = segment_path(0);
    let frames = frames(&intact, &path);
    let mut random = SmallRng::seed_from_u64(2);
    for at in 0..100 {
        let (position, info) = frames[random.random_range(0..frames.len())];
        let storage = intact.fork(at);
        storage.flip_bit(&path, position + random.random_range(0..info.frame_bytes()), random.random_range(0..8));
        let (log, report) = open(&storage, small).unwrap();
        assert!(report.segments > 1 && report.rebuilt_indexes == 0);
        let shard = shard(&storage);
        drop(log);
        run_sim(&storage, async {
            let (log, _) = Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), small, START_MS).await.unwrap();
            let work = async {
                let error = log.read(info.base_offset, log.log_end_offset(), 1 << 20, usize::MAX).await.unwrap_err();
                let ReadError::Corrupt { path: found, position: at, .. } = error else { panic!("{error}") };
                assert_eq!((&found, at), (&path, position));
                // What comes before is served.
                let mut next = Offset(0);
                while next < info.base_offset {
                    next = log.read(next, log.log_end_offset(), 1 << 20, usize::MAX).await.unwrap().next_offset;
                }
                assert_eq!(next, info.base_offset);
            };
            with_shard(&shard, work).await.1.unwrap();
        })
        .unwrap();
    }
}

#[test]
fn a_damaged_index_is_built_anew_and_a_damaged_snapshot_does_not_matter() {
    let small = LogConfig { segment_bytes: 10_000, ..config() };
    let intact = log_of_several_commits(small);
    let (log, clean) = open(&intact.fork(0), small).unwrap();
    let expected = log.producer_state().snapshot();
    for (at, path) in intact.files().into_iter().enumerate() {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_owned();
        if !["index", "snapshot"].contains(&extension.as_str()) {
            continue;
        }
        let storage = intact.fork(at as u64);
        storage.flip_bit(&path, 30, 3);
        let (log, report) = open(&storage, small).unwrap();
        assert_eq!(report.rebuilt_indexes, usize::from(extension == "index"), "{}", path.display());
        assert_eq!((log.log_end_offset(), log.latest_epoch()), (clean.log_end, Some(LeaderEpoch(1))));
        assert_eq!(log.producer_state().snapshot(), expected);
        let (_, again) = open(&storage, small).unwrap();
        assert_eq!(again.rebuilt_indexes, 0);
    }
    // A sealed segment whose index is gone is scanned, and damage in it is refused then.
    let storage = intact.fork(99);
    storage.flip_bit(&dir(Path::new(ROOT), 0).join(format!("{:020}.index", 0)), 30, 3);
    storage.flip_bit(&segment_path(0), FIRST_FRAME_POSITION + 100, 3);
    let Err(OpenError::Corrupt(corruption)) = open(&storage, small) else { panic!("it must be refused") };
    assert_eq!(corruption.refusal, Refusal::SealedDamaged);
}

#[test]
fn one_damaged_checkpoint_slot_is_survived_and_two_are_not() {
    let intact = log_of_several_commits(config());
    let path = dir(Path::new(ROOT), 0).join("checkpoint");
    let storage = intact.fork(1);
    storage.flip_bit(&path, 20, 1);
    assert!(open(&storage, config()).is_ok());
    let storage = intact.fork(2);
    storage.flip_bit(&path, 20, 1);
    storage.flip_bit(&path, 4096 + 20, 1);
    assert!(matches!(open(&storage, config()), Err(OpenError::CheckpointDamaged { path: found }) if found == path));
}

#[test]
fn a_missing_file_is_noticed() {
    let small = LogConfig { segment_bytes: 10_000, ..config() };
    let intact = log_of_several_commits(small);
    let segments: Vec<PathBuf> = intact
        .files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    assert!(segments.len() > 3);
    // The last one is empty-handed news only if it was never opened; here it was not, so all others count.
    for (at, path) in segments[..segments.len() - 1].iter().enumerate() {
        let storage = intact.fork(at as u64);
        run_sim(&storage, wal::Storage::remove(&storage, path)).unwrap().unwrap();
        assert!(open(&storage, small).is_err(), "{}", path.display());
    }
    let storage = intact.fork(50);
    run_sim(&storage, wal::Storage::remove(&storage, &dir(Path::new(ROOT), 0).join("checkpoint"))).unwrap().unwrap();
    assert!(matches!(open(&storage, small), Err(OpenError::CheckpointMissing { .. })));
    let storage = intact.fork(51);
    let shard = shard(&storage);
    let other = run_sim(&storage, Log::open(&shard, &dir(Path::new(ROOT), 0), identity(1), small, START_MS)).unwrap();
    assert!(matches!(other, Err(OpenError::Identity { .. })));
}

/// A torn commit A B, of which B arrived; later A' takes A's place, of the same size: B fits behind it in every respect
/// but its incarnation. Frames are whole blocks here: otherwise rewriting the last block would wipe B out anyway.
#[test]
fn a_cut_tail_does_not_come_back_behind_a_batch_of_the_same_size() {
    let storage = sim(11);
    let body_bytes = 4096 - frame::FRAME_HEADER_BYTES - protocol::record_batch::HEADER_BYTES;
    let spec = |fill| BatchSpec { fill, ..BatchSpec::plain(10, body_bytes, START_MS) };
    let commit = |fills: Vec<u8>, storage: &SimStorage| {
        let shard = shard(storage);
        run_sim(storage, async {
            let (log, report) =
                Log::open(&shard, &dir(Path::new(ROOT), 0), identity(0), config(), START_MS).await.unwrap();
            let work = async {
                let before = log.log_end_offset();
                log.reserve(10_000, START_MS).await.unwrap();
                for fill in fills {
                    append(&log, &mut batch(&spec(fill)), 0, START_MS).await.unwrap();
                }
                log.wait_ackable(log.log_end_offset()).await.unwrap();
                (before, read_all(&log, Offset(0), 1 << 20).await, report)
            };
            let (result, ended) = with_shard(&shard, work).await;
            ended.unwrap();
            result
        })
        .unwrap()
    };
    commit(vec![1], &storage);
    commit(vec![2, 3], &storage);
    let frames_before = frames(&storage, &segment_path(0));
    assert_eq!(frames_before[2].1.synced_before, Offset(10));
    storage.flip_bit(&segment_path(0), frames_before[1].0 + 100, 0);
    let (end, stored, report) = commit(vec![4], &storage);
    assert_eq!((end, stored.len()), (Offset(10), 2));
    assert_eq!(report.cut.map(|cut| cut.valid_frames_beyond), Some(1));
    // The old frame still stands there, with its checksum and the offset that comes next.
    let frames_after = frames(&storage, &segment_path(0));
    assert_eq!((frames_after.len(), frames_after[2].1.base_offset), (3, Offset(20)));
    let (end, stored, report) = commit(vec![], &storage);
    assert_eq!((end, stored.len(), report.cut), (Offset(20), 2, None));
}
