//! What a log does for every batch, without a disk: `cargo bench -p ringlog-wal`.
//!
//! Logs lie on the simulated file system, and only the calls that the broker's data path makes are timed, not what the
//! simulation does for commits. What a real disk makes of it: the example `append_throughput`.

use std::future::Future;
use std::hint::black_box;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join3;
use protocol::record_batch::BatchHeader;
use protocol::records::BatchBuilder;
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use wal::file::FlushScope;
use wal::file::sim::SimStorage;
use wal::{AppendError, Log, LogConfig, LogIdentity, ShardWal, ShardWalConfig};

const ROOT: &str = "/data";
const NOW_MS: i64 = 1_700_000_000_000;
const SEED: u64 = 1;
/// Bytes appended before a log is given up for a fresh one: the simulated disk is memory.
const LOG_BYTES_MAX: usize = 32 << 20;
/// Batches in the logs that are read.
const READ_BATCHES: usize = 2_000;
const RECORDS_PER_BATCH: usize = 10;

/// Records of 100 bytes in a batch.
const BATCHES: [(&str, usize); 2] = [("1 record", 1), ("64 KiB", 610)];

fn batch(records: usize) -> (Vec<u8>, BatchHeader) {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.append(NOW_MS, None, Some(&[b'x'; 100]), &[]);
    }
    let batch = builder.build();
    let header = BatchHeader::parse(&batch).expect("a good batch");
    (batch, header)
}

/// Opens a log on a fresh simulated disk, and runs `work` on it beside the shard's loops.
fn with_log<T, F: Future<Output = T>>(work: impl FnOnce(Log<SimStorage>) -> F) -> T {
    let all = async {
        let storage = SimStorage::new(SEED, FlushScope::Device, Path::new(ROOT));
        let shard = ShardWal::new(storage, ROOT.into(), ShardWalConfig::default());
        let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(0) };
        let config = LogConfig { segment_bytes: 16 << 20, ..LogConfig::default() };
        let dir = Path::new(ROOT).join("topic-0");
        let (log, _) = Log::open(&shard, &dir, identity, config, NOW_MS).await.expect("it opens");
        let work = async {
            let result = work(log).await;
            shard.stop();
            result
        };
        let (result, commits, background) = join3(work, shard.run_commits(), shard.run_background()).await;
        commits.and(background).expect("the simulated disk works");
        result
    };
    let mut all = pin!(all);
    loop {
        if let Poll::Ready(result) = all.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

/// Appends `count` batches and gives the time that the appends themselves took.
async fn append(log: &Log<SimStorage>, (batch, header): &(Vec<u8>, BatchHeader), count: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..count {
        loop {
            let began = Instant::now();
            let appended = log.append(black_box(batch), header, LeaderEpoch(0), NOW_MS);
            let elapsed = began.elapsed();
            match appended {
                Ok(_) => {
                    took += elapsed;
                    break;
                }
                Err(AppendError::NeedsSpace) => log.reserve(batch.len(), NOW_MS).await.expect("there is space"),
                Err(error) => panic!("{error}"),
            }
        }
    }
    log.wait_ackable(log.log_end_offset()).await.expect("the log is open");
    took
}

fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    for (name, records) in BATCHES {
        let batch = &batch(records);
        let per_log = (LOG_BYTES_MAX / batch.0.len()) as u64;
        group.throughput(Throughput::Bytes(batch.0.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut took = Duration::ZERO;
                let mut left = iterations;
                while left > 0 {
                    let count = left.min(per_log);
                    took += with_log(|log| async move { append(&log, batch, count).await });
                    left -= count;
                }
                took
            });
        });
    }
    group.finish();
}

/// Times a look at a log with [`READ_BATCHES`] batches, at offsets that jump about.
fn look(criterion: &mut Criterion, name: &str, look: impl Fn(&Log<SimStorage>, Offset)) {
    let look = &look;
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            with_log(|log| async move {
                append(&log, &batch(RECORDS_PER_BATCH), READ_BATCHES as u64).await;
                let records = (READ_BATCHES * RECORDS_PER_BATCH) as u64;
                let began = Instant::now();
                for number in 0..iterations {
                    // A stride that has no divisor in common with the number of records meets every offset.
                    look(&log, Offset((number.wrapping_mul(7919) % records) as i64));
                }
                began.elapsed()
            })
        });
    });
}

fn reads(criterion: &mut Criterion) {
    look(criterion, "tail cache read, 64 KiB", |log, from| {
        let read = log.read_cached(black_box(from), log.log_end_offset(), 64 << 10, usize::MAX);
        black_box(read.expect("all of it is in memory"));
    });
    look(criterion, "index look-up", |log, from| {
        black_box(log.bytes_between(black_box(from), log.log_end_offset()));
    });
}

criterion_group!(hot_loops, appends, reads);
criterion_main!(hot_loops);
