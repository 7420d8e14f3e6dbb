//! Power cuts at every write, sync and change of names of random workloads, with several outcomes of what was not
//! synced; after each, every log is recovered and compared with the model.
//!
//! Not verified: that async durability loses little; damage to media (`corruption.rs`).

mod common;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use common::model::Violation;
use common::workload::{SharedWorld, Workload, World, live};
use common::{ROOT, START_MS, dir, fill, identity, run_sim, shard_config, with_shard};
use protocol::Offset;
use wal::file::FlushScope;
use wal::file::sim::{SimBuffer, SimFile, SimStorage};
use wal::file::{Access, Storage, StorageFile};
use wal::journal::JournalConfig;
use wal::{IoError, Log, LogConfig, ShardWal, ShardWalConfig, remove_deleted};

/// Segments of a few blocks, batches from a few bytes to several blocks.
fn small() -> Workload {
    Workload {
        partitions: 3,
        steps: 60,
        body_bytes_max: 6_000,
        step_ms_max: 30,
        log: LogConfig {
            segment_bytes: 24 << 10,
            segment_ms: 1500,
            retention_bytes: 40 << 10,
            retention_ms: 2_000,
            index_interval_bytes: 256,
            ..LogConfig::default()
        },
        shard: shard_config(),
        journal: None,
    }
}

/// A journal of a few records a region, so that laps, write-backs and commits to segments come in every order.
fn journaled(regions: usize, logs_min: usize) -> Workload {
    let journal = JournalConfig {
        region_bytes: 40 << 10,
        regions,
        logs_min,
        entry_bytes_max: 3_000,
        write_back_bytes: 6 << 10,
        commits_before_use: 0,
    };
    Workload { journal: Some(journal), steps: 90, ..small() }
}

/// Segments that are prewritten, and recycled after retention.
fn prewritten() -> Workload {
    Workload {
        partitions: 2,
        steps: 160,
        body_bytes_max: 40_000,
        step_ms_max: 30,
        log: LogConfig {
            segment_bytes: 800 << 10,
            retention_bytes: 800 << 10,
            retention_ms: -1,
            ..LogConfig::default()
        },
        shard: ShardWalConfig { max_commit_bytes: 256 << 10, ..shard_config() },
        journal: None,
    }
}

fn shared(world: World) -> SharedWorld {
    Rc::new(RefCell::new(world))
}

fn unshare(world: SharedWorld) -> World {
    Rc::into_inner(world).expect("the work is over").into_inner()
}

/// Runs the workload up to the cut, then recovers `outcomes` times with different luck, each followed by some more steps
/// and a second cut, until everything is compared a last time.
fn cut_at<S: Storage>(
    workload: Workload,
    scope: FlushScope,
    seed: u64,
    effect: u64,
    outcomes: u64,
    wrap: impl Fn(SimStorage) -> S,
) -> Result<(), Violation> {
    let root = Path::new(ROOT);
    let storage = SimStorage::new(seed, scope, root);
    let world = shared(World::new(workload, seed));
    storage.cut_power_at(effect);
    let ended = run_sim(&storage, live(wrap(storage.clone()), root, world.clone(), workload.steps));
    assert!(ended.is_none(), "the workload ended before effect {effect}");
    let world = unshare(world);
    for outcome in 0..outcomes {
        let luck = seed.wrapping_mul(1_000_003) ^ (effect << 8) ^ outcome;
        let mut storage = storage.fork(luck).restart();
        let mut world = world.fork();
        for life in 0..3 {
            world.reseed(luck.wrapping_add(life));
            let shared = shared(world);
            // The second life ends in a cut somewhere, maybe during the recovery itself.
            if life == 1 {
                storage.cut_power_at(storage.effects() + 1 + luck % 60);
            }
            let steps = if life == 2 { 0 } else { 10 };
            let result = run_sim(&storage, live(wrap(storage.clone()), root, shared.clone(), steps));
            world = unshare(shared);
            result.unwrap_or(Ok(()))?;
            storage.cut_power();
            storage = storage.restart();
        }
    }
    Ok(())
}

fn effects_of(workload: Workload, scope: FlushScope, seed: u64) -> u64 {
    let root = Path::new(ROOT);
    let storage = SimStorage::new(seed, scope, root);
    let world = shared(World::new(workload, seed));
    run_sim(&storage, live(storage.clone(), root, world, workload.steps)).expect("no cut").expect("nothing is wrong");
    storage.effects()
}

/// RINGLOG_CRASH_SEED=n runs one seed only, RINGLOG_CRASH_SEEDS=n that many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    if let Some(seed) = number("RINGLOG_CRASH_SEED") {
        return seed..seed + 1;
    }
    0..number("RINGLOG_CRASH_SEEDS").unwrap_or(usual)
}

fn cut_everywhere(workload: Workload, scope: FlushScope, seeds: std::ops::Range<u64>, stride: u64) {
    for seed in seeds {
        let effects = effects_of(workload, scope, seed);
        println!("seed {seed}: {effects} effects, {scope:?}");
        for effect in (1..=effects).filter(|effect| effect % stride == seed % stride) {
            if let Err(violation) = cut_at(workload, scope, seed, effect, 2, |storage| storage) {
                panic!("seed {seed}, power cut at effect {effect}: {violation:?}");
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_with_one_flush_per_device() {
    cut_everywhere(small(), FlushScope::Device, seeds(6), 1);
}

#[test]
fn nothing_acknowledged_is_lost_with_a_sync_per_file() {
    cut_everywhere(small(), FlushScope::File, seeds(2), 1);
}

#[test]
fn nothing_acknowledged_is_lost_in_prewritten_and_recycled_segments() {
    cut_everywhere(prewritten(), FlushScope::Device, seeds(4), 3);
}

#[test]
fn nothing_acknowledged_is_lost_with_a_journal() {
    cut_everywhere(journaled(2, 1), FlushScope::Device, seeds(4), 1);
    cut_everywhere(journaled(3, 2), FlushScope::Device, seeds(2), 2);
}

#[test]
fn nothing_acknowledged_is_lost_by_commits_that_block() {
    let shard = ShardWalConfig { inline_commit_bytes: 8 << 10, ..shard_config() };
    cut_everywhere(Workload { shard, ..small() }, FlushScope::Device, seeds(2), 2);
    cut_everywhere(Workload { shard, ..journaled(2, 2) }, FlushScope::Device, seeds(2), 2);
}

#[test]
fn nothing_acknowledged_is_lost_with_a_journal_and_a_sync_per_file() {
    cut_everywhere(journaled(2, 1), FlushScope::File, seeds(2), 2);
}

/// The tests above would say nothing if hardly anything came back through the journal.
#[test]
fn much_comes_back_through_the_journal() {
    let (root, workload) = (Path::new(ROOT), journaled(2, 1));
    let (mut replayed, mut settled, mut stale) = (0, 0, 0);
    for seed in 0..5 {
        for effect in (1..effects_of(workload, FlushScope::Device, seed)).step_by(9) {
            let storage = SimStorage::new(seed, FlushScope::Device, root);
            let world = shared(World::new(workload, seed));
            storage.cut_power_at(effect);
            run_sim(&storage, live(storage.clone(), root, world.clone(), workload.steps));
            let storage = storage.restart();
            let before = world.borrow().replays.len();
            run_sim(&storage, live(storage.clone(), root, world.clone(), 0))
                .expect("no cut")
                .expect("nothing is wrong");
            for report in &world.borrow().replays[before..] {
                replayed += report.records;
                settled += report.valid_records - report.records;
                stale += report.stale_entries;
            }
        }
    }
    assert!(replayed > 50 && settled > 50 && stale > 5, "replayed {replayed}, settled {settled}, stale {stale}");
}

/// A topic is deleted and created again while power goes: either log is whole, and left-overs go.
#[test]
fn a_deletion_is_whole_or_has_not_happened() {
    let root = Path::new(ROOT);
    for effect in 1.. {
        let storage = SimStorage::new(effect, FlushScope::Device, root);
        let config = small().log;
        let life = |again: bool| {
            let storage = storage.clone();
            async move {
                let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
                let (log, _) = Log::open(&shard, &dir(root, 0), identity(0), config, START_MS).await.unwrap();
                let work = async {
                    if again {
                        log.delete().await.unwrap();
                    } else {
                        fill(&log, 20, 2_000, 0).await;
                    }
                };
                with_shard(&shard, work).await.1.unwrap();
            }
        };
        run_sim(&storage, life(false)).unwrap();
        storage.cut_power_at(storage.effects() + effect);
        let finished = run_sim(&storage, life(true)).is_some();
        storage.cut_power();
        let storage = storage.restart();
        run_sim(&storage, async {
            remove_deleted(&storage, root).await.unwrap();
            let names = storage.list_dir(root).await.unwrap();
            assert!(!finished || names.is_empty(), "{names:?}");
            let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
            let (log, report) = Log::open(&shard, &dir(root, 0), identity(0), config, START_MS).await.unwrap();
            assert_eq!(log.log_end_offset(), Offset(if report.created { 0 } else { 200 }), "effect {effect}");
        })
        .unwrap();
        if finished {
            assert!(effect > 10);
            return;
        }
    }
}

/// A disk whose sync of segments does nothing: the error that everything else here is about.
#[derive(Clone)]
struct NoSync(SimStorage);

struct NoSyncFile {
    file: SimFile,
    lies: bool,
}

impl NoSync {
    fn wrap(&self, file: SimFile, path: &Path) -> NoSyncFile {
        NoSyncFile { file, lies: path.to_string_lossy().contains(".log") }
    }
}

impl Storage for NoSync {
    type File = NoSyncFile;
    type WriteBuffer = SimBuffer;

    fn allocate_buffer(&self, len: usize) -> SimBuffer {
        self.0.allocate_buffer(len)
    }
    fn flush_scope(&self) -> FlushScope {
        self.0.flush_scope()
    }
    async fn open(&self, path: &Path, access: Access) -> Result<NoSyncFile, IoError> {
        Ok(self.wrap(self.0.open(path, access).await?, path))
    }
    async fn create(&self, path: &Path) -> Result<NoSyncFile, IoError> {
        Ok(self.wrap(self.0.create(path).await?, path))
    }
    async fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.0.rename(from, to).await
    }
    async fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.0.remove(path).await
    }
    async fn create_dir(&self, path: &Path) -> Result<(), IoError> {
        self.0.create_dir(path).await
    }
    async fn remove_dir(&self, path: &Path) -> Result<(), IoError> {
        self.0.remove_dir(path).await
    }
    async fn list_dir(&self, path: &Path) -> Result<Vec<String>, IoError> {
        self.0.list_dir(path).await
    }
    async fn sync_dir(&self, path: &Path) -> Result<(), IoError> {
        self.0.sync_dir(path).await
    }
}

impl StorageFile for NoSyncFile {
    type WriteBuffer = SimBuffer;
    type ReadBuffer = bytes::Bytes;

    async fn read_at(&self, position: u64, len: usize) -> Result<bytes::Bytes, IoError> {
        self.file.read_at(position, len).await
    }
    async fn write_at(&self, buffer: SimBuffer, position: u64) -> Result<(), IoError> {
        self.file.write_at(buffer, position).await
    }
    async fn write_zeros(&self, range: std::ops::Range<u64>) -> Result<(), IoError> {
        self.file.write_zeros(range).await
    }
    async fn write_durably_at(&self, buffer: SimBuffer, position: u64) -> Result<(), IoError> {
        self.write_at(buffer, position).await?;
        self.sync_data().await
    }
    async fn sync_data(&self) -> Result<(), IoError> {
        if self.lies { Ok(()) } else { self.file.sync_data().await }
    }
    async fn allocate(&self, len: u64) -> Result<(), IoError> {
        self.file.allocate(len).await
    }
    async fn shrink(&self, len: u64) -> Result<(), IoError> {
        self.file.shrink(len).await
    }
    async fn size(&self) -> Result<u64, IoError> {
        self.file.size().await
    }
    async fn close(self) -> Result<(), IoError> {
        self.file.close().await
    }
}

/// The test above would find it if a sync were missing.
#[test]
fn a_missing_sync_is_found() {
    let (mut lost, mut refused) = (0, 0);
    for seed in 0..24 {
        for effect in (10..80).step_by(2) {
            match cut_at(small(), FlushScope::File, seed, effect, 1, NoSync) {
                Err(Violation::Lost { acknowledged, log_end, .. }) => {
                    assert!(acknowledged > log_end && acknowledged > Offset(0));
                    lost += 1;
                }
                Err(Violation::Open { .. } | Violation::Read { .. }) => refused += 1,
                Err(other) => panic!("seed {seed}, effect {effect}: {other:?}"),
                Ok(()) => {}
            }
        }
    }
    println!("lost {lost}, refused {refused}");
    assert!(lost > 0, "acknowledged records must be found missing");
}
