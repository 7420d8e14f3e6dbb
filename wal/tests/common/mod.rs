//! What the tests of whole logs share: batches, a way to run a shard on a simulated disk, small settings.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::join3;
use protocol::record_batch::{self, BatchHeader, HEADER_BYTES};
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use wal::file::FlushScope;
use wal::file::sim::SimStorage;
use wal::{
    AppendError, Appended, FatalIo, Log, LogConfig, LogIdentity, ReadError, ReserveError, ShardWal, ShardWalConfig,
    Storage,
};

pub mod follower;
pub mod model;
pub mod suite;
pub mod workload;

pub const ROOT: &str = "/data";
/// A wall clock to begin with, in milliseconds since the Unix epoch.
pub const START_MS: i64 = 1_700_000_000_000;

/// What a test batch is to carry.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpec {
    pub records: i32,
    /// Bytes behind the header.
    pub body_bytes: usize,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub base_sequence: i32,
    /// Tells batches apart.
    pub fill: u8,
}

impl BatchSpec {
    pub fn plain(records: i32, body_bytes: usize, max_timestamp: i64) -> BatchSpec {
        BatchSpec { records, body_bytes, max_timestamp, producer_id: -1, base_sequence: -1, fill: records as u8 }
    }
}

/// A batch as a producer sends it: the header is right, the records are filler.
pub fn batch(spec: &BatchSpec) -> Vec<u8> {
    let mut bytes = vec![spec.fill; HEADER_BYTES + spec.body_bytes];
    bytes[..8].copy_from_slice(&0i64.to_be_bytes());
    bytes[8..12].copy_from_slice(&((HEADER_BYTES - 12 + spec.body_bytes) as i32).to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&0i16.to_be_bytes());
    bytes[23..27].copy_from_slice(&(spec.records - 1).to_be_bytes());
    bytes[27..35].copy_from_slice(&spec.max_timestamp.to_be_bytes());
    bytes[35..43].copy_from_slice(&spec.max_timestamp.to_be_bytes());
    bytes[43..51].copy_from_slice(&spec.producer_id.to_be_bytes());
    bytes[51..53].copy_from_slice(&0i16.to_be_bytes());
    bytes[53..57].copy_from_slice(&spec.base_sequence.to_be_bytes());
    bytes[57..61].copy_from_slice(&spec.records.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    BatchHeader::parse(&bytes).unwrap().verify(&bytes).unwrap();
    bytes
}

pub fn identity(partition: i32) -> LogIdentity {
    LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(0x1234)), partition: PartitionId(partition) }
}

pub fn dir(root: &Path, partition: i32) -> PathBuf {
    root.join(format!("topic-{partition}"))
}

pub fn shard_config() -> ShardWalConfig {
    ShardWalConfig {
        tail_cache_bytes: 8 << 10,
        read_cache_bytes: 1 << 20,
        max_commit_bytes: 64 << 10,
        inline_commit_bytes: 0,
        max_open_sealed_segments: 2,
        sealed_index_bytes: 1 << 10,
    }
}

pub fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 16 << 10, index_interval_bytes: 512, retention_ms: -1, ..LogConfig::default() }
}

pub fn sim(seed: u64) -> SimStorage {
    SimStorage::new(seed, FlushScope::Device, Path::new(ROOT))
}

/// Polls until the work ends or, for `None`, power is cut.
pub fn run_sim<T>(sim: &SimStorage, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    for _ in 0..2_000_000 {
        if let Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(result);
        }
        if sim.is_cut() {
            return None;
        }
    }
    panic!("the work makes no progress");
}

/// Runs the shard's loops beside `work`, and stops them after it.
pub async fn with_shard<S: Storage, T>(shard: &ShardWal<S>, work: impl Future<Output = T>) -> (T, Result<(), FatalIo>) {
    let work = async {
        let result = work.await;
        shard.stop();
        result
    };
    let (result, commits, background) = join3(work, shard.run_commits(), shard.run_background()).await;
    (result, commits.and(background))
}

/// Opens a shard with one log and runs `work` on it.
pub async fn with_log<S: Storage, T, F: Future<Output = T>>(
    storage: &S,
    root: &Path,
    config: LogConfig,
    work: impl FnOnce(Log<S>) -> F,
) -> T {
    let shard = ShardWal::new(storage.clone(), root.to_owned(), shard_config());
    let (log, _) = Log::open(&shard, &dir(root, 0), identity(0), config, START_MS).await.unwrap();
    let (result, ended) = with_shard(&shard, work(log)).await;
    ended.unwrap();
    result
}

/// Reserves as often as it takes, appends, and leaves `bytes` as they are stored.
pub async fn append<S: Storage>(
    log: &Log<S>,
    bytes: &mut [u8],
    epoch: i32,
    now_ms: i64,
) -> Result<Appended, ReserveError> {
    let header = BatchHeader::parse(bytes).unwrap();
    loop {
        match log.append(bytes, &header, LeaderEpoch(epoch), now_ms) {
            Ok(appended) => {
                record_batch::stamp(bytes, appended.base_offset, LeaderEpoch(epoch));
                return Ok(appended);
            }
            Err(AppendError::NeedsSpace) => log.reserve(bytes.len(), now_ms).await?,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A batch as it lies in a leader's log.
pub fn stored_batch(spec: &BatchSpec, base_offset: Offset, epoch: i32) -> Vec<u8> {
    let mut bytes = batch(spec);
    record_batch::stamp(&mut bytes, base_offset, LeaderEpoch(epoch));
    bytes
}

/// Reserves as often as it takes and appends a batch as it lies in its leader's log.
pub async fn append_replicated<S: Storage>(log: &Log<S>, bytes: &[u8], now_ms: i64) -> Result<Appended, AppendError> {
    let header = BatchHeader::parse(bytes).unwrap();
    loop {
        match log.append_replicated(bytes, &header, now_ms) {
            Err(AppendError::NeedsSpace) => log.reserve(bytes.len(), now_ms).await.unwrap(),
            result => return result,
        }
    }
}

/// Appends `count` plain batches of ten records and waits until they are durable; gives them as they were stored.
pub async fn fill<S: Storage>(log: &Log<S>, count: usize, body_bytes: usize, epoch: i32) -> Vec<Vec<u8>> {
    let mut stored = Vec::new();
    for at in 0..count {
        let timestamp = START_MS + log.log_end_offset().0;
        let mut bytes = batch(&BatchSpec { fill: at as u8, ..BatchSpec::plain(10, body_bytes, timestamp) });
        append(log, &mut bytes, epoch, timestamp).await.unwrap();
        stored.push(bytes);
    }
    log.wait_ackable(log.log_end_offset()).await.unwrap();
    stored
}

/// Reads everything from `from` on and gives it batch by batch.
pub async fn read_all<S: Storage>(log: &Log<S>, from: Offset, max_bytes: usize) -> Vec<Vec<u8>> {
    try_read_all(log, from, max_bytes).await.unwrap()
}

pub async fn try_read_all<S: Storage>(log: &Log<S>, from: Offset, max_bytes: usize) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut found = Vec::new();
    let mut next = from;
    let end = log.log_end_offset();
    while next < end {
        let read = log.read(next, end, max_bytes, usize::MAX).await?;
        assert!(read.next_offset > next, "a read of {next} up to {end} gave nothing");
        assert_eq!(read.bytes, read.pieces.iter().map(|bytes| bytes.len()).sum::<usize>());
        next = read.next_offset;
        found.extend(split(&read.contiguous()));
    }
    Ok(found)
}

/// Batches one by one.
pub fn split(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).unwrap();
        header.verify(rest).unwrap();
        found.push(rest[..header.size_bytes].to_vec());
        rest = &rest[header.size_bytes..];
    }
    found
}
