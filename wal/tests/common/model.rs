//! What a log must still be after a power cut, and a random workload that keeps a model of it.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use wal::journal::{self, JournalConfig, JournalPlace, ReplayError, ReplayReport};
use wal::producer_state::SequenceCheck;
use wal::{Log, LogConfig, OpenError, ReserveError, ShardWal, ShardWalConfig, Storage};

use super::{BatchSpec, START_MS, append, batch, dir, identity, read_all, with_shard};

/// What is wrong after a recovery.
#[derive(Debug)]
pub enum Violation {
    Replay(ReplayError),
    Unplaced(ReplayReport),
    Open { partition: i32, error: OpenError },
    Lost { partition: i32, acknowledged: Offset, log_end: Offset },
    Invented { partition: i32, appended: Offset, log_end: Offset },
    NotAtBatch { partition: i32, log_end: Offset },
    LogStart { partition: i32, expected: (Offset, Offset), found: Offset },
    Content { partition: i32, offset: Offset },
    Producer { partition: i32, producer_id: i64, found: String },
    Epoch { partition: i32, expected: Option<i32>, found: Option<LeaderEpoch> },
}

#[derive(Clone, Debug)]
struct StoredBatch {
    header: BatchHeader,
    bytes: Vec<u8>,
}

/// One log. A change that is under way leaves two possible outcomes.
#[derive(Clone, Debug, Default)]
pub struct LogModel {
    batches: Vec<StoredBatch>,
    /// Everything below was acknowledged.
    acknowledged: Offset,
    log_start: Offset,
    /// Largest log start that an unfinished change may have reached.
    log_start_max: Offset,
    /// Where an unfinished truncation cuts.
    cutting: Option<Offset>,
    next_sequence: [i32; PRODUCERS],
}

const PRODUCERS: usize = 3;
/// Producer ids begin here; smaller ones have none.
const FIRST_PRODUCER: i64 = 100;

impl LogModel {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |batch| batch.header.next_offset())
    }

    fn cut(&mut self, end: Offset) {
        self.batches.retain(|batch| batch.header.next_offset() <= end);
        self.acknowledged = self.acknowledged.min(end);
        for (at, next) in self.next_sequence.iter_mut().enumerate() {
            let of_producer = |batch: &&StoredBatch| batch.header.producer_id.0 == FIRST_PRODUCER + at as i64;
            *next = self.batches.iter().rfind(of_producer).map_or(0, |batch| batch.header.last_sequence() + 1);
        }
    }

    fn epoch(&self) -> Option<i32> {
        self.batches.last().map(|batch| batch.header.leader_epoch.0)
    }

    /// Checks a recovered log and takes over what it decided.
    async fn check<S: Storage>(&mut self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        let log_end = log.log_end_offset();
        let promised = self.acknowledged.min(self.cutting.unwrap_or(self.acknowledged));
        if log_end < promised {
            return Err(Violation::Lost { partition, acknowledged: promised, log_end });
        }
        if log_end > self.end() {
            return Err(Violation::Invented { partition, appended: self.end(), log_end });
        }
        // Between what a cut leaves and what was there before, nothing but both ends is possible once all was durable.
        let at_batch = log_end == Offset(0) || self.batches.iter().any(|batch| batch.header.next_offset() == log_end);
        let after_everything = self.batches.is_empty() && log_end == self.end();
        if !at_batch && !after_everything {
            return Err(Violation::NotAtBatch { partition, log_end });
        }
        let log_start = log.log_start_offset();
        if log_start < self.log_start || log_start > self.log_start_max.max(self.log_start) {
            let expected = (self.log_start, self.log_start_max);
            return Err(Violation::LogStart { partition, expected, found: log_start });
        }
        self.cut(log_end);
        self.cutting = None;
        self.log_start = log_start;
        self.log_start_max = log_start;
        // What was recovered is durable.
        self.acknowledged = log_end;
        self.check_content(partition, log).await?;
        self.check_derived(partition, log)
    }

    async fn check_content<S: Storage>(&self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        let found = read_all(log, self.log_start, 3_000).await;
        let expected = self.batches.iter().filter(|batch| batch.header.next_offset() > self.log_start);
        let mut offset = self.log_start;
        let mut found = found.into_iter();
        for batch in expected {
            if found.next().as_ref() != Some(&batch.bytes) {
                return Err(Violation::Content { partition, offset });
            }
            offset = batch.header.next_offset();
        }
        if found.next().is_some() { Err(Violation::Content { partition, offset }) } else { Ok(()) }
    }

    fn check_derived<S: Storage>(&self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        for at in 0..PRODUCERS {
            let producer_id = FIRST_PRODUCER + at as i64;
            let producers = log.producer_state();
            let last = self.batches.iter().rfind(|batch| batch.header.producer_id.0 == producer_id);
            let violation = |found| Err(Violation::Producer { partition, producer_id, found });
            if let Some(last) = last {
                let found = producers.check(&last.header);
                let expected = (last.header.base_offset, last.header.last_offset());
                match found {
                    Ok(SequenceCheck::Duplicate { base_offset, last_offset, .. })
                        if (base_offset, last_offset) == expected => {}
                    found => return violation(format!("{found:?} for a repeat of {expected:?}")),
                }
                let next = BatchHeader { base_sequence: self.next_sequence[at], ..last.header };
                if producers.check(&next) != Ok(SequenceCheck::Accept) {
                    return violation(format!("{:?} for the next batch", producers.check(&next)));
                }
                let gap = BatchHeader { base_sequence: self.next_sequence[at] + 1, ..last.header };
                if producers.check(&gap).is_ok() {
                    return violation("a gap was accepted".to_owned());
                }
            }
        }
        let (expected, found) = (self.epoch(), log.latest_epoch());
        // With no batch left, the epoch cache may or may not remember.
        let wrong =
            expected.is_some_and(|expected| self.end() > self.log_start && found != Some(LeaderEpoch(expected)));
        if wrong { Err(Violation::Epoch { partition, expected, found }) } else { Ok(()) }
    }
}

/// How a workload behaves.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub partitions: i32,
    pub steps: usize,
    pub body_bytes_max: usize,
    /// The clock moves up to that much per step.
    pub step_ms_max: i64,
    pub log: LogConfig,
    pub shard: ShardWalConfig,
    pub journal: Option<JournalConfig>,
}

/// Everything that outlives a power cut: the models and the random numbers.
pub struct World {
    pub workload: Workload,
    pub logs: Vec<LogModel>,
    /// What the replays at each start found.
    pub replays: Vec<ReplayReport>,
    random: SmallRng,
    now_ms: i64,
    epoch: i32,
}

pub type SharedWorld = Rc<RefCell<World>>;

impl World {
    pub fn new(workload: Workload, seed: u64) -> World {
        let logs = vec![LogModel::default(); workload.partitions as usize];
        let random = SmallRng::seed_from_u64(seed);
        World { workload, logs, replays: Vec::new(), random, now_ms: START_MS, epoch: 0 }
    }

    pub fn fork(&self) -> World {
        let random = self.random.clone();
        World {
            workload: self.workload,
            logs: self.logs.clone(),
            replays: Vec::new(),
            random,
            now_ms: self.now_ms,
            epoch: self.epoch,
        }
    }

    pub fn reseed(&mut self, seed: u64) {
        self.random = SmallRng::seed_from_u64(seed);
    }
}

/// Opens all logs, compares them with the model, and runs `steps` random steps.
pub async fn live<S: Storage>(storage: S, root: &Path, world: SharedWorld, steps: usize) -> Result<(), Violation> {
    let workload = world.borrow().workload;
    let mut left = steps;
    loop {
        let journal = match workload.journal {
            Some(config) => Some(replay_journal(&storage, root, config, &world).await?),
            None => None,
        };
        let shard = ShardWal::with_journal(storage.clone(), root.to_owned(), workload.shard, journal);
        let mut logs = Vec::new();
        for partition in 0..workload.partitions {
            let now_ms = world.borrow().now_ms;
            let opened = Log::open(&shard, &dir(root, partition), identity(partition), workload.log, now_ms).await;
            logs.push(opened.map_err(|error| Violation::Open { partition, error })?.0);
        }
        let work = async {
            for (partition, log) in logs.iter().enumerate() {
                let mut model = world.borrow().logs[partition].clone();
                model.check(partition as i32, log).await?;
                world.borrow_mut().logs[partition] = model;
            }
            while left > 0 {
                left -= 1;
                if !step(&logs, &world).await? {
                    return Ok(true);
                }
                if workload.journal.is_some() && world.borrow_mut().random.random_ratio(1, 30) {
                    shard.write_back();
                }
            }
            Ok(false)
        };
        let (result, ended) = with_shard(&shard, work).await;
        let closed = result?;
        ended.expect("no error was injected");
        if closed {
            let removed = shard.remove_journal().await.expect("no error was injected");
            assert_eq!(removed, workload.journal.is_some(), "a journal of closed logs is settled");
        }
        if left == 0 {
            return Ok(());
        }
    }
}

/// As a start does it, before any log is opened.
async fn replay_journal<S: Storage>(
    storage: &S,
    root: &Path,
    config: JournalConfig,
    world: &SharedWorld,
) -> Result<JournalPlace<S>, Violation> {
    let dir = root.join("journal");
    storage.create_dir(&dir).await.expect("no error was injected");
    storage.sync_dir(root).await.expect("no error was injected");
    let report = journal::replay(storage, &dir, storage, root).await.map_err(Violation::Replay)?;
    if report.unplaced_entries > 0 {
        return Err(Violation::Unplaced(report));
    }
    let id = Uuid::from_u128(world.borrow_mut().random.random());
    world.borrow_mut().replays.push(report);
    Ok(JournalPlace { storage: storage.clone(), dir, shard: 0, id, config })
}

/// One random step; `false` if the logs were closed.
async fn step<S: Storage>(logs: &[Log<S>], world: &SharedWorld) -> Result<bool, Violation> {
    let (choice, partition, number) = {
        let mut world = world.borrow_mut();
        let step_ms_max = world.workload.step_ms_max;
        world.now_ms += world.random.random_range(0..=step_ms_max);
        let partitions = logs.len();
        (world.random.random_range(0..100), world.random.random_range(0..partitions), world.random.random::<u32>())
    };
    let log = &logs[partition];
    match choice {
        0..60 => append_one(log, partition, world).await,
        60..76 => {
            let end = world.borrow().logs[partition].end();
            log.wait_ackable(end).await.expect("the log is open");
            assert!(log.durable_end_offset() >= end);
            let model = &mut world.borrow_mut().logs[partition];
            model.acknowledged = model.acknowledged.max(end);
        }
        76..82 => {
            let model = world.borrow().logs[partition].clone();
            model.check_content(partition as i32, log).await?;
            model.check_derived(partition as i32, log)?;
        }
        82..88 => retain(log, partition, world).await,
        88..92 => advance_start(log, partition, world, number).await,
        92..97 => truncate(log, partition, world, number).await,
        _ => {
            for (partition, log) in logs.iter().enumerate() {
                log.close().await.expect("no error was injected");
                let model = &mut world.borrow_mut().logs[partition];
                model.acknowledged = model.end();
            }
            return Ok(false);
        }
    }
    Ok(true)
}

async fn append_one<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld) {
    let (spec, epoch, now_ms) = {
        let mut world = world.borrow_mut();
        let body_bytes_max = world.workload.body_bytes_max;
        if world.random.random_ratio(1, 20) {
            world.epoch += 1;
        }
        let records = world.random.random_range(1..20);
        let producer = world.random.random_range(0..PRODUCERS * 2);
        let timestamp = if world.random.random_ratio(1, 10) { -1 } else { world.now_ms };
        // Small ones are as usual as large ones, so that many frames share a block.
        let body_bytes_max = if world.random.random() { body_bytes_max } else { body_bytes_max.min(100) };
        let mut spec = BatchSpec::plain(records, world.random.random_range(0..body_bytes_max), timestamp);
        spec.fill = world.random.random();
        if producer < PRODUCERS {
            spec.producer_id = FIRST_PRODUCER + producer as i64;
            spec.base_sequence = world.logs[partition].next_sequence[producer];
        }
        (spec, world.epoch, world.now_ms)
    };
    let mut bytes = batch(&spec);
    match append(log, &mut bytes, epoch, now_ms).await {
        Ok(appended) => {
            let header = BatchHeader::parse(&bytes).unwrap();
            let model = &mut world.borrow_mut().logs[partition];
            assert_eq!((appended.base_offset, header.base_offset), (model.end(), model.end()), "offsets are dense");
            if header.is_idempotent() {
                let producer = (header.producer_id.0 - FIRST_PRODUCER) as usize;
                model.next_sequence[producer] = header.last_sequence() + 1;
            }
            model.batches.push(StoredBatch { header, bytes });
        }
        Err(ReserveError::NoSpace(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn retain<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld) {
    let high_watermark = log.durable_end_offset();
    let now_ms = world.borrow().now_ms;
    world.borrow_mut().logs[partition].log_start_max = high_watermark;
    log.enforce_retention(now_ms, high_watermark).await.expect("no error was injected");
    let model = &mut world.borrow_mut().logs[partition];
    model.log_start = log.log_start_offset();
    model.log_start_max = model.log_start;
}

async fn advance_start<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld, number: u32) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    // Now and then everything goes, as far as it is durable: the log begins behind all that it holds.
    let to = if number.is_multiple_of(4) {
        log.durable_end_offset()
    } else {
        Offset(start.0 + i64::from(number) % (end.0 - start.0 + 1) / 2)
    };
    world.borrow_mut().logs[partition].log_start_max = to;
    log.advance_log_start(to).await.expect("no error was injected");
    let model = &mut world.borrow_mut().logs[partition];
    assert_eq!(log.log_start_offset(), to.max(start));
    model.log_start = to.max(start);
    model.log_start_max = model.log_start;
}

async fn truncate<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld, number: u32) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let to = Offset(end.0 - i64::from(number) % (end.0 - start.0 + 1) / 3);
    // A batch goes as a whole, and none that begins below the log start.
    let boundary = {
        let world = world.borrow();
        let batches = &world.logs[partition].batches;
        let at =
            batches.iter().find(|batch| batch.header.next_offset() > to).map_or(end, |batch| batch.header.base_offset);
        at.min(to)
    };
    if boundary < start {
        return;
    }
    world.borrow_mut().logs[partition].cutting = Some(boundary);
    assert_eq!(log.truncate_to(to).await.expect("no error was injected"), boundary);
    let model = &mut world.borrow_mut().logs[partition];
    model.cut(boundary);
    model.acknowledged = boundary;
    model.cutting = None;
}
