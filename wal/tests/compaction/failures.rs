//! Passes that fail: the log is as it was for who reads it, what was written for nothing goes at once, and the next pass does it.

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::path::{Path, PathBuf};

use protocol::record_batch::stamp;
use protocol::records::BatchBuilder;
use protocol::{LeaderEpoch, Offset};
use wal::compaction::{CompactionError, CompactionReport, CompactionRules, CompactionTask, KeyHashers};
use wal::file::FlushScope;
use wal::file::sim::SimStorage;
use wal::{AppendError, IoOp, Log, ShardWal};

use super::common::{ROOT, START_MS, dir, identity, run_sim, shard_config, with_shard};
use super::{Counting, header, read_records, small};

const EPERM: i32 = 1;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

/// Runs `work` on a log of some segments in which most records are superseded.
fn with_dirty_log<T>(work: impl AsyncFnOnce(&SimStorage, &Log<SimStorage>) -> T) -> T {
    let root = Path::new(ROOT);
    let storage = SimStorage::new(1, FlushScope::Device, root);
    let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
    let run = async {
        let log = Log::open(&shard, &dir(root, 0), identity(0), small().log, START_MS).await.unwrap().0;
        let work = async {
            for at in 0..35 {
                append(&log, at).await;
            }
            log.wait_ackable(log.log_end_offset()).await.unwrap();
            work(&storage, &log).await
        };
        let (result, ended) = with_shard(&shard, work).await;
        ended.unwrap();
        result
    };
    run_sim(&storage, run).expect("no cut")
}

async fn append(log: &Log<SimStorage>, at: u8) {
    let mut builder = BatchBuilder::new();
    builder.append(START_MS, Some(&[b'k', at % 5]), Some(&[at; 900]), &[]);
    let mut bytes = builder.build();
    stamp(&mut bytes, log.log_end_offset(), LeaderEpoch(0));
    loop {
        match log.append(&bytes, &header(&bytes), LeaderEpoch(0), START_MS) {
            Ok(_) => return,
            Err(AppendError::NeedsSpace) => log.reserve(bytes.len(), START_MS).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn compact(log: &Log<SimStorage>) -> Result<CompactionReport, CompactionError> {
    let rules = CompactionRules {
        min_cleanable_ratio: 0.0,
        min_compaction_lag_ms: 0,
        max_compaction_lag_ms: i64::MAX,
        delete_retention_ms: 0,
        // Two become one, twice.
        segment_bytes: 2 * small().log.segment_bytes,
    };
    let hashers = KeyHashers::new(RandomState::new(), RandomState::new());
    let limit = log.durable_end_offset();
    let task = CompactionTask { rules, limit, now_ms: START_MS, map_bytes: 1 << 20, hashers };
    log.compact(&task, &Counting::default()).await
}

/// The last value of each key.
async fn values(log: &Log<SimStorage>) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let records = read_records(log, Offset(0)).await;
    records.into_iter().map(|record| (record.key, record.value)).collect()
}

fn files_ending(storage: &SimStorage, with: &str) -> Vec<PathBuf> {
    storage.files().into_iter().filter(|path| path.to_str().unwrap().ends_with(with)).collect()
}

#[test]
fn a_pass_without_room_for_its_segment_takes_no_space() {
    with_dirty_log(async |storage, log| {
        let before = values(log).await;
        let (files, used_bytes) = (storage.files(), storage.used_bytes());
        storage.set_capacity_bytes(Some(used_bytes + (1 << 20)));
        let failed = compact(log).await;
        assert!(matches!(&failed, Err(CompactionError::Io(error)) if error.is_no_space()), "{failed:?}");
        assert_eq!((storage.files(), storage.used_bytes()), (files, used_bytes));
        assert_eq!(values(log).await, before);
        storage.set_capacity_bytes(None);
        let report = compact(log).await.unwrap();
        assert!(report.records_after < report.records_before, "{report:?}");
        assert_eq!(values(log).await, before);
        assert!(storage.used_bytes() < used_bytes);
    });
}

#[test]
fn whatever_fails_leaves_no_segments_behind() {
    let failures = [
        (IoOp::Open, EMFILE),
        (IoOp::Read, EIO),
        (IoOp::Create, EMFILE),
        (IoOp::Allocate, ENOSPC),
        (IoOp::Write, ENOSPC),
        (IoOp::Shrink, EPERM),
        (IoOp::Close, EIO),
        (IoOp::Remove, EACCES),
        (IoOp::Rename, EACCES),
    ];
    for (op, errno) in failures {
        let failed = (0..).take_while(|skip| fails_at(op, *skip, errno)).count();
        println!("{op:?}: {failed}");
        assert!(failed > 0, "{op:?} is none of a pass's operations: the test says nothing of it");
    }
}

/// Says whether the pass had so many operations of the kind that one of them failed.
fn fails_at(op: IoOp, skip: u64, errno: i32) -> bool {
    with_dirty_log(async |storage, log| {
        let (before, segments_before) = (values(log).await, log.segment_count());
        let begun = storage.count(op);
        storage.fail(op, skip, errno);
        let result = compact(log).await;
        if storage.count(op) - begun <= skip {
            result.unwrap();
            return false;
        }
        match &result {
            Err(CompactionError::Io(error)) => assert_eq!(error.op, op, "{skip}: {error}"),
            // An index is written once more.
            other => assert!(other.is_ok(), "{op:?} {skip}: {other:?}"),
        }
        assert_eq!(files_ending(storage, "compacted.tmp"), [""; 0].map(PathBuf::from), "{op:?} {skip}");
        if op != IoOp::Remove {
            let segments = files_ending(storage, ".log");
            assert_eq!(segments.len(), log.segment_count(), "{op:?} {skip}: {segments:?}");
            // Where the next one could not be named, its old segments are without.
            let is_installed = result.is_ok() || log.segment_count() < segments_before;
            if is_installed && op != IoOp::Rename {
                assert_eq!(
                    files_ending(storage, ".index").len(),
                    segments.len() - 1,
                    "{op:?} {skip}: of the active one"
                );
            }
        }
        assert_eq!(values(log).await, before, "{op:?} {skip}");
        compact(log).await.unwrap();
        assert_eq!(values(log).await, before, "{op:?} {skip}");
        true
    })
}
