use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, PartitionId, TopicId};

use super::*;
use crate::checkpoint::LogPosition;
use crate::file::sim::SimStorage;
use crate::frame::FRAME_HEADER_BYTES;
use crate::segment::FIRST_FRAME_POSITION;
use crate::{Log, LogConfig, ShardWal, ShardWalConfig};

const DIR: &str = "/data/topic-0";
const BATCHES: i64 = 12;

fn batch() -> Vec<u8> {
    let mut bytes = vec![3; 1500];
    bytes[..8].fill(0);
    bytes[8..12].copy_from_slice(&(1500i32 - 12).to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].fill(0);
    bytes[23..27].copy_from_slice(&4i32.to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&5i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A log of several segments, its last batches in one commit each; copied to a real directory.
fn log_on_disk(close: bool) -> tempfile::TempDir {
    let storage = SimStorage::new(1, crate::file::FlushScope::File, Path::new("/data"));
    let shard = ShardWal::new(storage.clone(), "/data".into(), ShardWalConfig::default());
    let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(0) };
    let config = LogConfig { segment_bytes: 10_000, ..LogConfig::default() };
    let work = async {
        let (log, _) = Log::open(&shard, Path::new(DIR), identity, config, 0).await.unwrap();
        let work = async {
            for _ in 0..BATCHES {
                let bytes = batch();
                let header = BatchHeader::parse(&bytes).unwrap();
                log.reserve(bytes.len(), 0).await.unwrap();
                log.append(&bytes, &header, LeaderEpoch(2), 0).unwrap();
                log.wait_ackable(log.log_end_offset()).await.unwrap();
            }
            if close {
                log.close().await.unwrap();
            }
            shard.stop();
        };
        futures_util::join!(work, shard.run_commits(), shard.run_background()).1.unwrap();
    };
    let mut work = pin!(work);
    while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    let dir = tempfile::tempdir().unwrap();
    for path in storage.files() {
        fs::write(dir.path().join(path.file_name().unwrap()), storage.content(&path).unwrap()).unwrap();
    }
    dir
}

fn flip(path: &Path, byte: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte as usize] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn write_checkpoint(dir: &Path, checkpoint: &Checkpoint) {
    let storage = SimStorage::new(1, crate::file::FlushScope::File, dir);
    let mut work = pin!(CheckpointFile::create(&storage, dir, checkpoint));
    while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    let file = dir.join(CHECKPOINT_FILE);
    fs::write(&file, storage.content(&file).unwrap()).unwrap();
}

fn segment(dir: &Path, base: i64) -> PathBuf {
    dir.join(file_name(Offset(base), NameKind::Log))
}

#[test]
fn a_good_log_has_no_findings_and_shows_every_batch() {
    for close in [false, true] {
        let dir = log_on_disk(close);
        let mut shown = Vec::new();
        let inspection = inspect(dir.path(), None, |frame| {
            assert_eq!((frame.batch.size_bytes, frame.frame.leader_epoch), (1500, LeaderEpoch(2)));
            assert!(frame.position >= FIRST_FRAME_POSITION && frame.frame_bytes == 1552 && frame.frame_crc != 0);
            shown.push(frame.frame.base_offset.0);
        })
        .unwrap();
        assert_eq!(shown, (0..BATCHES).map(|at| at * 5).collect::<Vec<_>>());
        assert_eq!(inspection.findings, []);
        assert_eq!((inspection.frames, inspection.bytes), (BATCHES as u64, BATCHES as u64 * 1552));
        assert_eq!((inspection.segments, inspection.log_end), (4, Offset(60)));
        let one = verify(&segment(dir.path(), 15), None).unwrap();
        assert_eq!((one.frames, one.log_end, one.findings), (3, Offset(30), vec![]));
    }
}

#[test]
fn damage_is_found_in_every_segment_and_inspection_goes_on() {
    let dir = log_on_disk(true);
    flip(&segment(dir.path(), 0), FIRST_FRAME_POSITION + 1552 + FRAME_HEADER_BYTES as u64 + 3);
    flip(&segment(dir.path(), 30), 17);
    flip(&segment(dir.path(), 45), FIRST_FRAME_POSITION + 3);
    let inspection = verify(dir.path(), None).unwrap();
    assert!(!inspection.is_good() && inspection.findings.len() == 3, "{:?}", inspection.findings);
    let Finding::Frame(corruption) = &inspection.findings[0] else { panic!("{:?}", inspection.findings) };
    assert_eq!((corruption.position, corruption.offset, corruption.valid_frames_beyond), (4096 + 1552, Offset(5), 1));
    assert!(matches!(&inspection.findings[1], Finding::Header { .. }));
    // The last segment, below what the clean close says was synced.
    assert!(matches!(&inspection.findings[2], Finding::Frame(corruption) if corruption.offset == Offset(45)));
    assert_eq!(inspection.frames, 1 + 3);
}

#[test]
fn a_tail_an_index_and_left_over_segments_are_no_damage() {
    let dir = log_on_disk(false);
    flip(&segment(dir.path(), 45), FIRST_FRAME_POSITION + 2 * 1552 + 3);
    fs::remove_file(dir.path().join(file_name(Offset(15), NameKind::Index))).unwrap();
    let inspection = verify(dir.path(), None).unwrap();
    assert!(inspection.is_good(), "{:?}", inspection.findings);
    assert!(matches!(&inspection.findings[0], Finding::IndexUnreadable { .. }));
    assert!(matches!(&inspection.findings[1], Finding::Tail(tail) if tail.offset == Offset(55)));
    assert_eq!(inspection.findings.len(), 2);
}

/// A crash right after the checkpoint of a restart leaves the old log's files, all of them or some.
#[test]
fn what_a_restart_left_is_no_damage() {
    let dir = log_on_disk(true);
    let old = verify(dir.path(), None).unwrap().checkpoint.expect("a checkpoint");
    let incarnation = Incarnation(old.incarnation.0 + 1);
    let settled = LogPosition { segment_base: Offset(30), position: FIRST_FRAME_POSITION, offset: Offset(30) };
    let begun = Checkpoint {
        incarnation,
        first_incarnation: incarnation,
        log_start: Offset(30),
        settled,
        clean_end: None,
        ..old
    };
    write_checkpoint(dir.path(), &begun);
    for left in (0..4).rev() {
        let inspection = verify(dir.path(), None).unwrap();
        assert!(inspection.is_good(), "{:?}", inspection.findings);
        assert_eq!(inspection.findings.len(), left + 1);
        assert!(inspection.findings.iter().all(|finding| matches!(finding, Finding::CutOff { .. })));
        assert_eq!((inspection.frames, inspection.segments, inspection.log_end), (0, 0, Offset(30)));
        fs::remove_file(segment(dir.path(), left as i64 * 15)).unwrap();
    }
    assert_eq!(verify(dir.path(), None).unwrap().findings, []);
    // After the next open a segment must be there.
    let opened = Checkpoint { incarnation: Incarnation(incarnation.0 + 1), ..begun };
    write_checkpoint(dir.path(), &opened);
    assert!(matches!(verify(dir.path(), None).unwrap().findings[..], [Finding::SegmentMissing { .. }]));
}

#[test]
fn missing_files_are_found() {
    let dir = log_on_disk(true);
    fs::remove_file(segment(dir.path(), 0)).unwrap();
    assert!(matches!(
        verify(dir.path(), None).unwrap().findings[..],
        [Finding::SegmentMissing { offset: Offset(0), .. }]
    ));
    let dir = log_on_disk(true);
    fs::remove_file(segment(dir.path(), 15)).unwrap();
    assert!(
        matches!(&verify(dir.path(), None).unwrap().findings[..], [Finding::Frame(corruption)] if corruption.offset == Offset(15))
    );
    fs::remove_file(dir.path().join(CHECKPOINT_FILE)).unwrap();
    assert!(matches!(verify(dir.path(), None).unwrap().findings[..], [Finding::Checkpoint { .. }, ..]));
    assert_eq!(find_logs(dir.path()).unwrap(), [dir.path()]);
    let data = tempfile::tempdir().unwrap();
    assert!(matches!(verify(data.path(), None), Err(InspectError::NotALog { .. })));
    fs::create_dir(data.path().join("lost+found")).unwrap();
    fs::rename(dir.path(), data.path().join("topic-0")).unwrap();
    assert_eq!(find_logs(data.path()).unwrap(), [data.path().join("topic-0")]);
}

/// The files of a log whose batches hold one key again and again: as it was written, and after a compaction.
fn compacted_on_disk() -> [tempfile::TempDir; 2] {
    use std::hash::RandomState;

    use protocol::records::BatchBuilder;

    use crate::compaction::{CompactionRules, CompactionTask, KeyHashers, Pace};

    struct Unpaced;
    impl Pace for Unpaced {
        async fn took(&self, _io_bytes: u64) -> bool {
            true
        }
    }
    let storage = SimStorage::new(1, crate::file::FlushScope::File, Path::new("/data"));
    let shard = ShardWal::new(storage.clone(), "/data".into(), ShardWalConfig::default());
    let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(0) };
    let config = LogConfig { segment_bytes: 10_000, ..LogConfig::default() };
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let copy_to = |dir: &tempfile::TempDir| {
        for path in storage.files() {
            fs::write(dir.path().join(path.file_name().unwrap()), storage.content(&path).unwrap()).unwrap();
        }
    };
    let work = async {
        let (log, _) = Log::open(&shard, Path::new(DIR), identity, config, 0).await.unwrap();
        let work = async {
            for _ in 0..BATCHES {
                let mut builder = BatchBuilder::new();
                for key in [&b"always the same"[..], b"so is this"] {
                    builder.append(1, Some(key), Some(&[7; 700]), &[]);
                }
                let bytes = builder.build();
                let header = BatchHeader::parse(&bytes).unwrap();
                log.reserve(bytes.len(), 0).await.unwrap();
                log.append(&bytes, &header, LeaderEpoch(2), 0).unwrap();
                log.wait_ackable(log.log_end_offset()).await.unwrap();
            }
            copy_to(&dirs[0]);
            let rules = CompactionRules {
                min_cleanable_ratio: 0.0,
                min_compaction_lag_ms: 0,
                max_compaction_lag_ms: i64::MAX,
                delete_retention_ms: 0,
                segment_bytes: 10_000,
            };
            let hashers = KeyHashers::new(RandomState::new(), RandomState::new());
            let task = CompactionTask { rules, limit: log.log_end_offset(), now_ms: 2, map_bytes: 1 << 16, hashers };
            log.compact(&task, &Unpaced).await.unwrap();
            copy_to(&dirs[1]);
            shard.stop();
        };
        futures_util::join!(work, shard.run_commits(), shard.run_background()).1.unwrap();
    };
    let mut work = Box::pin(work);
    while work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
    drop(work);
    dirs
}

/// Of the four segments of six offsets each the first three were compacted, into one and one.
#[test]
fn gaps_of_a_compacted_log_are_told_and_are_no_damage() {
    let [before, after] = compacted_on_disk();
    let whole = verify(before.path(), None).unwrap();
    assert_eq!((whole.segments, whole.frames, whole.records, whole.log_end), (4, 12, 24, Offset(24)));
    assert_eq!((whole.compacted_segments, whole.gaps, whole.gap_offsets), (0, 0, 0));

    let mut shown = Vec::new();
    let inspection = inspect(after.path(), None, |frame| {
        shown.push((
            frame.frame.base_offset.0,
            frame.batch.base_offset.0,
            frame.batch.record_count,
            frame.compacted_up_to,
        ));
    })
    .unwrap();
    let (one, other) = (Some(Offset(12)), Some(Offset(18)));
    // The last batch of a compacted segment stays, without records where a later one supersedes them.
    let of_active = [18, 20, 22].map(|offset| (offset, offset, 2, None));
    assert_eq!(shown, [&[(0, 10, 0, one), (12, 16, 2, other)][..], &of_active].concat());
    assert_eq!(inspection.findings, []);
    assert_eq!((inspection.segments, inspection.compacted_segments), (3, 2));
    assert_eq!((inspection.records, inspection.gaps, inspection.gap_offsets), (8, 2, 10 + 4));

    // What it was made of is left over, and what follows is needed.
    fs::copy(segment(before.path(), 6), segment(after.path(), 6)).unwrap();
    let inspection = verify(after.path(), None).unwrap();
    assert!(inspection.is_good() && inspection.frames == 5, "{:?}", inspection.findings);
    assert!(matches!(&inspection.findings[..], [Finding::Superseded { path }] if *path == segment(after.path(), 6)));
    fs::remove_file(segment(after.path(), 6)).unwrap();
    fs::remove_file(segment(after.path(), 12)).unwrap();
    let inspection = verify(after.path(), None).unwrap();
    assert!(matches!(inspection.findings[..], [Finding::SegmentMissing { offset: Offset(12), .. }]));
    assert_eq!(inspection.frames, 4, "the others are looked at all the same");
}

/// At any frame: the segment that was begun is read to its end, and what follows is found where it is then.
#[test]
fn a_compaction_meanwhile_is_no_damage_and_hides_nothing() {
    for at_frame in 0..12 {
        let [dir, after] = compacted_on_disk();
        let mut ends = Vec::new();
        let inspection = inspect(dir.path(), None, |frame| {
            if ends.len() == at_frame {
                for name in [file_name(Offset(0), NameKind::Log), file_name(Offset(12), NameKind::Log)] {
                    fs::copy(after.path().join(&name), dir.path().join("new")).unwrap();
                    fs::rename(dir.path().join("new"), dir.path().join(name)).unwrap();
                }
                for name in [file_name(Offset(0), NameKind::Index), file_name(Offset(12), NameKind::Index)] {
                    fs::copy(after.path().join(&name), dir.path().join(name)).unwrap();
                }
                fs::remove_file(segment(dir.path(), 6)).unwrap();
                fs::remove_file(dir.path().join(file_name(Offset(6), NameKind::Index))).unwrap();
            }
            ends.push(frame.frame.next_offset().0);
        })
        .unwrap();
        assert_eq!(inspection.findings, [], "at frame {at_frame}");
        assert!(ends.is_sorted_by(|a, b| a < b), "{ends:?}");
        // What the old segments had not shown yet comes from the new ones.
        let from_old = [6, 6, 6, 12, 12, 12, 18, 18, 18, 24, 24, 24][at_frame];
        let mut expected: Vec<i64> = (1..=from_old / 2).map(|at| at * 2).collect();
        expected.extend([12, 18, 20, 22, 24].into_iter().filter(|end| *end > from_old));
        assert_eq!(ends, expected, "at frame {at_frame}");
    }
}
