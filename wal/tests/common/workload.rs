//! A random workload on some logs that keeps the model of each.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use wal::journal::{self, JournalConfig, JournalPlace, ReplayReport};
use wal::{Log, LogConfig, ReserveError, ShardWal, ShardWalConfig, Storage};

use super::model::{FIRST_PRODUCER, LogModel, PRODUCERS, Violation};
use super::{BatchSpec, START_MS, append, append_replicated, batch, dir, identity, stored_batch, with_shard};

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
    let report =
        journal::replay(storage, &dir, storage, root, &instruments::Counter::new()).await.map_err(Violation::Replay)?;
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
        0..48 => append_one(log, partition, world).await,
        48..60 => replicate_one(log, partition, world, number).await,
        60..75 => {
            let end = world.borrow().logs[partition].end();
            log.wait_ackable(end).await.expect("the log is open");
            assert!(log.durable_end_offset() >= end);
            let model = &mut world.borrow_mut().logs[partition];
            model.acknowledged = model.acknowledged.max(end);
        }
        75..80 => {
            let model = world.borrow().logs[partition].clone();
            model.check_content(partition as i32, log).await?;
            model.check_derived(partition as i32, log)?;
        }
        80..85 => retain(log, partition, world).await,
        85..89 => advance_start(log, partition, world, number).await,
        89..93 => truncate(log, partition, world, number).await,
        93..95 => restart(log, partition, world, number).await,
        95..97 => lead(log, partition, world),
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

/// A random batch for a log, and the time.
fn next_batch(world: &SharedWorld, partition: usize) -> (BatchSpec, i64) {
    let mut world = world.borrow_mut();
    let body_bytes_max = world.workload.body_bytes_max;
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
    (spec, world.now_ms)
}

async fn append_one<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld) {
    let epoch = {
        let mut world = world.borrow_mut();
        world.epoch += i32::from(world.random.random_ratio(1, 20));
        world.epoch
    };
    let (spec, now_ms) = next_batch(world, partition);
    let mut bytes = batch(&spec);
    match append(log, &mut bytes, epoch, now_ms).await {
        Ok(appended) => {
            let header = BatchHeader::parse(&bytes).unwrap();
            let model = &mut world.borrow_mut().logs[partition];
            assert_eq!((appended.base_offset, header.base_offset), (model.end(), model.end()), "offsets are dense");
            model.push(header, bytes);
        }
        Err(ReserveError::NoSpace(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Some batches as a leader's log has them, of any epoch that may come next; often after a truncation at the end, as a
/// follower makes it when it begins. Now and then one is larger than a segment.
async fn replicate_one<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld, number: u32) {
    let end = world.borrow().logs[partition].end();
    if number.is_multiple_of(2) {
        assert_eq!(log.truncate_to(Offset(end.0 + i64::from(number % 5))).await.expect("no error was injected"), end);
        world.borrow_mut().logs[partition].assigned = None;
    }
    let (mut spec, now_ms) = next_batch(world, partition);
    let epoch = {
        let mut world = world.borrow_mut();
        let segment_bytes = world.workload.log.segment_bytes as usize;
        // Where segments are large this would take long and show nothing else.
        if world.random.random_ratio(1, 15) && segment_bytes < 100_000 {
            spec.body_bytes += segment_bytes;
        }
        let model = &world.logs[partition];
        let least = model.assigned.or(model.epoch()).unwrap_or(0);
        let epoch = world.epoch;
        world.random.random_range(least..=epoch)
    };
    let bytes = stored_batch(&spec, end, epoch);
    let appended = append_replicated(log, &bytes, now_ms).await.expect("it continues the log");
    assert_eq!(appended.base_offset, end);
    let model = {
        let model = &mut world.borrow_mut().logs[partition];
        model.push(BatchHeader::parse(&bytes).unwrap(), bytes);
        model.clone()
    };
    if number.is_multiple_of(3) {
        model.check_batch_before(partition as i32, log, model.end()).await.expect("the batch was just appended");
    }
}

/// Becomes the leader, and writes nothing yet.
fn lead<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld) {
    let mut world = world.borrow_mut();
    world.epoch += 1;
    let epoch = world.epoch;
    log.assign_epoch(LeaderEpoch(epoch));
    let model = &mut world.logs[partition];
    model.assigned = Some(epoch);
    model.ever_assigned.push((model.end(), epoch));
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
    // All was made durable before it was cut; where there was nothing to cut, nothing was waited for.
    model.acknowledged = if boundary < end { boundary } else { model.acknowledged };
    model.cutting = None;
}

/// Anywhere, most often where the log has snapshots or nothing at all.
async fn restart<S: Storage>(log: &Log<S>, partition: usize, world: &SharedWorld, number: u32) {
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    let begin = match number % 5 {
        0 => start,
        1 => end,
        2 => Offset(start.0 / 2),
        3 => Offset(end.0 + i64::from(number) % 1_000),
        _ => Offset(start.0 + i64::from(number) % (end.0 - start.0 + 1)),
    };
    world.borrow_mut().logs[partition].restarting = Some(begin);
    log.restart_at(begin).await.expect("no error was injected");
    world.borrow_mut().logs[partition] = LogModel::empty(begin);
}
