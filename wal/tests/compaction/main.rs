//! Compaction of whole logs against a model of Kafka's rule, with random workloads, and with power cuts at every write, sync and
//! change of names. What an operation that fails leaves behind is in `failures.rs`.
//!
//! Not verified here: which batches are copied byte for byte (`compaction/retention.rs`), and the formats' details.

#[path = "../common/mod.rs"]
mod common;
mod failures;
mod model;

use std::cell::{Cell, RefCell};
use std::hash::RandomState;
use std::path::Path;
use std::rc::Rc;

use common::{ROOT, START_MS, dir, identity, run_sim, shard_config, with_shard};
use model::{BegunPass, Model, ModelRecord};
use protocol::record_batch::{BatchHeader, Compression, batches, stamp};
use protocol::records::{BatchBuilder, DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};
use protocol::{LeaderEpoch, Offset, ProducerId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use wal::compaction::{CompactionError, CompactionReport, CompactionRules, CompactionTask, KeyHashers, Pace};
use wal::file::FlushScope;
use wal::file::sim::SimStorage;
use wal::journal::{self, JournalConfig, JournalPlace};
use wal::{AppendError, Log, LogConfig, ShardWal, Storage};

const KEYS: u8 = 12;
const PRODUCERS: usize = 2;
const DELETE_RETENTION_MS: i64 = 400;

/// Goes on at once, and counts how often it was asked, and for how many bytes.
#[derive(Default)]
struct Counting {
    pauses: Cell<u64>,
    io_bytes: Cell<u64>,
}

impl Pace for Counting {
    async fn took(&self, io_bytes: u64) -> bool {
        self.pauses.set(self.pauses.get() + 1);
        self.io_bytes.set(self.io_bytes.get() + io_bytes);
        true
    }
}

impl Counting {
    /// A pause costs a turn of the event loop: they come by bytes, however small the batches are.
    fn check(&self, report: &CompactionReport) {
        let io_bytes = report.read_bytes + report.written_bytes;
        assert!(self.io_bytes.get() <= io_bytes);
        assert!(self.pauses.get() <= io_bytes / (16 << 10), "{} pauses for {io_bytes} bytes", self.pauses.get());
    }
}

fn header(batch: &[u8]) -> BatchHeader {
    BatchHeader::parse(batch).unwrap()
}

fn producer_batch(producer: usize, sequence: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new().producer(ProducerId(100 + producer as i64), 0, sequence);
    builder.append(START_MS, Some(b"k"), None, &[]);
    builder
}

async fn read_batches<S: Storage>(log: &Log<S>, from: Offset) -> Vec<Vec<u8>> {
    let (mut found, mut next, end) = (Vec::new(), from, log.log_end_offset());
    while next < end {
        let read = log.read(next, end, 4_000, usize::MAX).await.unwrap();
        assert!(read.next_offset > next, "a read of {next} up to {end} gave nothing");
        next = read.next_offset;
        found.extend(batches(&read.contiguous()).map(|batch| batch.unwrap().1.to_vec()));
    }
    found
}

async fn read_records<S: Storage>(log: &Log<S>, from: Offset) -> Vec<ModelRecord> {
    let mut found = Vec::new();
    for batch in read_batches(log, from).await {
        header(&batch).verify_stored(&batch).unwrap();
        let mut reader = RecordReader::open(&batch, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
        while let Some(record) = reader.next_record().unwrap() {
            let (key, value) = (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
            found.push(ModelRecord { offset: record.offset.0, timestamp: record.timestamp, key, value });
        }
    }
    found
}

#[derive(Clone, Copy)]
struct Workload {
    steps: usize,
    value_bytes_max: usize,
    log: LogConfig,
    journal: Option<JournalConfig>,
    /// What a cut in the middle of one leaves is what `crash.rs` looks at.
    restarts: bool,
}

fn small() -> Workload {
    let log = LogConfig {
        segment_bytes: 8 << 10,
        segment_ms: 1_500,
        retention_ms: -1,
        delete_policy: false,
        index_interval_bytes: 256,
        ..LogConfig::default()
    };
    Workload { steps: 60, value_bytes_max: 500, log, journal: None, restarts: false }
}

fn journaled() -> Workload {
    let journal = JournalConfig {
        region_bytes: 40 << 10,
        regions: 2,
        logs_min: 1,
        entry_bytes_max: 3_000,
        write_back_bytes: 6 << 10,
        commits_before_use: 0,
    };
    Workload { journal: Some(journal), ..small() }
}

#[derive(Clone)]
struct World {
    workload: Workload,
    model: Model,
    random: SmallRng,
    now_ms: i64,
    epoch: i32,
    passes_whole: usize,
    passes_partial: usize,
    dropped: u64,
}

type SharedWorld = Rc<RefCell<World>>;

impl World {
    fn new(workload: Workload, seed: u64) -> World {
        let random = SmallRng::seed_from_u64(seed);
        let (passes_whole, passes_partial, dropped) = (0, 0, 0);
        World {
            workload,
            model: Model::default(),
            random,
            now_ms: START_MS,
            epoch: 0,
            passes_whole,
            passes_partial,
            dropped,
        }
    }
}

/// Opens the log, compares it with the model and runs `steps` random steps.
async fn live<S: Storage>(storage: S, root: &Path, world: SharedWorld, steps: usize) {
    let workload = world.borrow().workload;
    let mut left = steps;
    loop {
        let journal = match workload.journal {
            Some(config) => {
                let dir = root.join("journal");
                storage.create_dir(&dir).await.unwrap();
                storage.sync_dir(root).await.unwrap();
                let report =
                    journal::replay(&storage, &dir, &storage, root, &instruments::Counter::new()).await.unwrap();
                assert_eq!(report.unplaced_entries, 0);
                let id = uuid::Uuid::from_u128(world.borrow_mut().random.random());
                Some(JournalPlace { storage: storage.clone(), dir, shard: 0, id, config })
            }
            None => None,
        };
        let shard = ShardWal::with_journal(storage.clone(), root.to_owned(), shard_config(), journal);
        let now_ms = world.borrow().now_ms;
        let opened = Log::open(&shard, &dir(root, 0), identity(0), workload.log, now_ms).await;
        let log = opened.unwrap_or_else(|error| panic!("{error}")).0;
        let work = async {
            let mut model = world.borrow().model.clone();
            model.check(&log).await;
            world.borrow_mut().model = model;
            while left > 0 {
                left -= 1;
                if !step(&log, &world).await {
                    return;
                }
            }
        };
        with_shard(&shard, work).await.1.unwrap();
        if workload.journal.is_some() {
            shard.remove_journal().await.unwrap();
        }
        if left == 0 {
            return;
        }
    }
}

async fn step<S: Storage>(log: &Log<S>, world: &SharedWorld) -> bool {
    let choice = {
        let mut world = world.borrow_mut();
        world.now_ms += world.random.random_range(0..40);
        world.random.random_range(0..100)
    };
    match choice {
        0..60 => append_some(log, world).await,
        60..68 => {
            let end = world.borrow().model.end;
            log.wait_ackable(Offset(end)).await.unwrap();
            let model = &mut world.borrow_mut().model;
            model.acknowledged = model.acknowledged.max(end);
        }
        68..86 => compact(log, world).await,
        86..89 => {
            let model = world.borrow().model.clone();
            model.check_content(log).await;
        }
        89..92 => truncate(log, world).await,
        92..94 => advance_start(log, world).await,
        94..96 => {
            let now_ms = world.borrow().now_ms;
            log.enforce_retention(now_ms, log.durable_end_offset()).await.unwrap();
        }
        96..97 => restart(log, world).await,
        _ => {
            log.close().await.unwrap();
            let model = &mut world.borrow_mut().model;
            model.acknowledged = model.end;
            return false;
        }
    }
    true
}

/// As the leader, or as a follower whose leader has compacted what lay between.
async fn append_some<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    let count = world.borrow_mut().random.random_range(1..4);
    for _ in 0..count {
        append_one(log, world).await;
    }
}

async fn append_one<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    let (mut bytes, records, producer, now_ms, gap) = {
        let mut world = world.borrow_mut();
        world.epoch += i32::from(world.random.random_ratio(1, 20));
        let codec = [Compression::None, Compression::Lz4, Compression::Zstd][world.random.random_range(0..3)];
        let mut builder = BatchBuilder::new().compression(codec);
        let producer = world.random.random_range(0..PRODUCERS * 2);
        if producer < PRODUCERS {
            let sequence = world.model.next_sequence[producer];
            builder = builder.producer(ProducerId(100 + producer as i64), 0, sequence);
        }
        let mut records = Vec::new();
        for _ in 0..world.random.random_range(1..6) {
            let key = vec![b'k', world.random.random_range(0..KEYS)];
            let max = world.workload.value_bytes_max;
            let value = (!world.random.random_ratio(1, 4)).then(|| {
                let len = world.random.random_range(0..max);
                (0..len).map(|_| world.random.random()).collect::<Vec<u8>>()
            });
            let timestamp = world.now_ms - world.random.random_range(0..20);
            builder.append(timestamp, Some(&key), value.as_deref(), &[]);
            records.push(ModelRecord { offset: 0, timestamp, key, value });
        }
        let gap = if world.random.random_ratio(1, 5) { world.random.random_range(0..30) } else { 0 };
        (builder.build(), records, producer, world.now_ms, gap)
    };
    let epoch = LeaderEpoch(world.borrow().epoch);
    let base = log.log_end_offset().0 + gap;
    stamp(&mut bytes, Offset(base), epoch);
    let parsed = header(&bytes);
    let appended = loop {
        let result = if gap > 0 {
            log.append_replicated(&bytes, &parsed, now_ms)
        } else {
            log.append(&bytes, &parsed, epoch, now_ms)
        };
        match result {
            Ok(appended) => break appended,
            Err(AppendError::NeedsSpace) => log.reserve(bytes.len(), now_ms).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(appended.base_offset, Offset(base));
    let model = &mut world.borrow_mut().model;
    for (at, record) in records.into_iter().enumerate() {
        model.records.push(ModelRecord { offset: base + at as i64, ..record });
    }
    model.end = appended.last_offset.0 + 1;
    if producer < PRODUCERS {
        model.next_sequence[producer] = parsed.last_sequence() + 1;
        model.known[producer] = true;
    }
}

async fn compact<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    let (task, appends) = {
        let mut world = world.borrow_mut();
        let rules = CompactionRules {
            min_cleanable_ratio: 0.0,
            min_compaction_lag_ms: if world.random.random_ratio(1, 4) { 200 } else { 0 },
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: DELETE_RETENTION_MS,
            segment_bytes: world.workload.log.segment_bytes,
        };
        // Now and then a limit somewhere, and a map for a few keys.
        let durable = log.durable_end_offset().0;
        let limit = if world.random.random_ratio(1, 4) { world.random.random_range(0..=durable) } else { durable };
        let map_bytes = if world.random.random_ratio(1, 4) { 24 * world.random.random_range(2..8) } else { 1 << 20 };
        let hashers = KeyHashers::new(RandomState::new(), RandomState::new());
        let task = CompactionTask { rules, limit: Offset(limit), now_ms: world.now_ms, map_bytes, hashers };
        (task, world.random.random_bool(0.5))
    };
    loop {
        let cleanable = log.cleanable(&task.rules, task.limit, task.now_ms);
        assert!(cleanable.end <= task.limit.max(cleanable.first_dirty));
        let before = log.size_bytes();
        let pass = BegunPass { now_ms: task.now_ms, end: cleanable.end.0, is_whole: false };
        world.borrow_mut().model.passes.push(pass);
        let pace = Counting::default();
        let result = if appends {
            let beside = async {
                append_some(log, world).await;
                append_some(log, world).await;
                let found = read_records(log, log.log_start_offset()).await;
                world.borrow().model.check_records(&found);
            };
            futures_util::future::join(log.compact(&task, &pace), beside).await.0
        } else {
            log.compact(&task, &pace).await
        };
        let report: CompactionReport = match result {
            Ok(report) => report,
            Err(CompactionError::Changed) => return,
            Err(error) => panic!("{error}"),
        };
        pace.check(&report);
        if !appends {
            assert!(log.size_bytes() <= before + report.written_bytes);
        }
        world.borrow_mut().dropped += report.records_before - report.records_after;
        assert_eq!(log.cleanable(&task.rules, task.limit, task.now_ms).first_dirty, report.first_dirty);
        if report.is_partial {
            assert!(report.first_dirty > cleanable.first_dirty, "every pass goes on");
            world.borrow_mut().passes_partial += 1;
            continue;
        }
        if report.keys > 0 {
            world.borrow_mut().passes_whole += 1;
            world.borrow_mut().model.passes.last_mut().unwrap().is_whole = true;
            let found = read_records(log, log.log_start_offset()).await;
            let model = world.borrow().model.clone();
            model.check_pass(&found, model.passes.last().unwrap());
        }
        let model = world.borrow().model.clone();
        model.check_content(log).await;
        return;
    }
}

async fn truncate<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    let stored = read_batches(log, log.log_start_offset()).await;
    let headers: Vec<_> = stored.iter().map(|batch| header(batch)).collect();
    if headers.len() < 3 {
        return;
    }
    // Often near the end, now and then anywhere, at a boundary of batches or not.
    let (at, within) = {
        let mut world = world.borrow_mut();
        let len = headers.len();
        let first = if world.random.random_ratio(1, 3) { 1 } else { len - len.min(6) + 1 };
        (world.random.random_range(first..len), world.random.random_range(0..3))
    };
    let boundary = headers[at - 1].next_offset();
    if boundary < log.log_start_offset() {
        return;
    }
    let to = Offset((boundary.0 + within).min(headers[at].last_offset().0));
    world.borrow_mut().model.cutting = Some(boundary.0);
    let end = log.truncate_to(to).await.unwrap();
    assert_eq!(end, boundary, "a truncation to {to}");
    let model = &mut world.borrow_mut().model;
    model.cut(end.0);
    model.acknowledged = end.0;
    model.cutting = None;
}

async fn advance_start<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    let (start, durable) = (log.log_start_offset().0, log.durable_end_offset().0);
    let to = start + world.borrow_mut().random.random_range(0..=(durable - start) / 3);
    log.advance_log_start(Offset(to)).await.unwrap();
    world.borrow_mut().model.log_start = to;
}

async fn restart<S: Storage>(log: &Log<S>, world: &SharedWorld) {
    if !world.borrow().workload.restarts {
        return;
    }
    let at = log.log_end_offset();
    log.restart_at(at).await.unwrap();
    let mut world = world.borrow_mut();
    world.model =
        Model { end: at.0, acknowledged: at.0, log_start: at.0, next_sequence: [0; PRODUCERS], ..Model::default() };
}

fn shared(world: World) -> SharedWorld {
    Rc::new(RefCell::new(world))
}

fn unshare(world: SharedWorld) -> World {
    Rc::into_inner(world).expect("the work is over").into_inner()
}

/// RINGLOG_CRASH_SEED=n runs one seed only, RINGLOG_CRASH_SEEDS=n that many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|value: String| value.parse::<u64>().ok());
    if let Some(seed) = number("RINGLOG_CRASH_SEED") {
        return seed..seed + 1;
    }
    0..number("RINGLOG_CRASH_SEEDS").unwrap_or(usual)
}

#[test]
fn what_kafka_keeps_is_kept_and_nothing_else() {
    let root = Path::new(ROOT);
    let (mut whole, mut partial, mut dropped) = (0, 0, 0);
    for workload in [small(), journaled()].map(|workload| Workload { restarts: true, ..workload }) {
        for seed in seeds(3) {
            println!("seed {seed}");
            let storage = SimStorage::new(seed, FlushScope::Device, root);
            let world = shared(World::new(workload, seed));
            run_sim(&storage, live(storage.clone(), root, world.clone(), 250)).expect("no cut");
            let world = unshare(world);
            whole += world.passes_whole;
            partial += world.passes_partial;
            dropped += world.dropped;
        }
    }
    println!("{whole} whole passes, {partial} partial ones, {dropped} records dropped");
    assert!(whole > 60 && partial > 100 && dropped > 3_000, "{whole} {partial} {dropped}: the test says little");
}

fn cut_everywhere(workload: Workload, scope: FlushScope, seeds: std::ops::Range<u64>, stride: u64) {
    let root = Path::new(ROOT);
    for seed in seeds {
        let storage = SimStorage::new(seed, scope, root);
        run_sim(&storage, live(storage.clone(), root, shared(World::new(workload, seed)), workload.steps))
            .expect("no cut");
        let effects = storage.effects();
        println!("seed {seed}: {effects} effects, {scope:?}");
        for effect in (1..=effects).filter(|effect| effect % stride == seed % stride) {
            let storage = SimStorage::new(seed, scope, root);
            let world = shared(World::new(workload, seed));
            storage.cut_power_at(effect);
            let ended = run_sim(&storage, live(storage.clone(), root, world.clone(), workload.steps));
            assert!(ended.is_none(), "the workload ended before effect {effect}");
            let world = unshare(world);
            for outcome in 0..2 {
                println!("seed {seed}, effect {effect}, outcome {outcome}");
                let luck = seed.wrapping_mul(1_000_003) ^ (effect << 8) ^ outcome;
                let mut storage = storage.fork(luck).restart();
                let mut world = world.clone();
                for life in 0..3 {
                    world.random = SmallRng::seed_from_u64(luck.wrapping_add(life));
                    let shared = shared(world);
                    if life == 1 {
                        storage.cut_power_at(storage.effects() + 1 + luck % 80);
                    }
                    let steps = if life == 2 { 0 } else { 12 };
                    run_sim(&storage, live(storage.clone(), root, shared.clone(), steps));
                    world = unshare(shared);
                    storage.cut_power();
                    storage = storage.restart();
                }
            }
        }
    }
}

#[test]
fn a_power_cut_leaves_the_old_segments_or_the_new_one() {
    cut_everywhere(small(), FlushScope::Device, seeds(1), 31);
}

#[test]
fn a_power_cut_leaves_the_old_segments_or_the_new_one_with_a_sync_per_file() {
    cut_everywhere(small(), FlushScope::File, seeds(1), 37);
}

#[test]
fn a_power_cut_leaves_the_old_segments_or_the_new_one_with_a_journal() {
    cut_everywhere(journaled(), FlushScope::Device, seeds(1), 23);
}
