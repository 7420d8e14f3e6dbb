//! How long logs take to open: `cargo run --release -p ringlog-wal --example recovery_time -- DIR GIGABYTES PARTITIONS IDLE`.
//!
//! Writes that much to that many partitions and ends without closing them, then opens them; then creates IDLE empty
//! partitions, and opens them after such an end and after a clean shutdown, with the memory and disk that they take.
//! Prints figures and checks nothing.
#![cfg(feature = "glommio")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::future::{join_all, join3};
use futures_util::stream::{self, StreamExt};
use glommio::LocalExecutor;
use protocol::record_batch::{BatchHeader, HEADER_BYTES};
use protocol::{LeaderEpoch, PartitionId, TopicId};
use wal::file::glommio::GlommioStorage;
use wal::{AppendError, Log, LogConfig, LogIdentity, ShardWal, ShardWalConfig};

const BATCH_BYTES: usize = 64 << 10;
/// Logs opened at the same time.
const OPENS_IN_FLIGHT: usize = 8;

fn batch() -> Vec<u8> {
    let mut batch = vec![0x5a; BATCH_BYTES.max(HEADER_BYTES)];
    batch[8..12].copy_from_slice(&((BATCH_BYTES - 12) as i32).to_be_bytes());
    batch[16] = 2;
    batch[21..27].fill(0);
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&1i32.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

async fn open(
    storage: &GlommioStorage,
    root: &Path,
    name: &str,
    count: i32,
) -> (ShardWal<GlommioStorage>, Vec<Log<GlommioStorage>>) {
    let shard = ShardWal::new(storage.clone(), root.to_owned(), ShardWalConfig::default());
    let begin = Instant::now();
    let opens = (0..count).map(|partition| {
        let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(partition) };
        let (shard, dir) = (shard.clone(), root.join(format!("{name}-{partition}")));
        async move { Log::open(&shard, &dir, identity, LogConfig::default(), 0).await.expect("it opens") }
    });
    let opened: Vec<_> = stream::iter(opens).buffered(OPENS_IN_FLIGHT).collect().await;
    let scanned: u64 = opened.iter().map(|(_, report)| report.scanned_bytes).sum();
    let (created, clean) =
        (opened.iter().any(|(_, report)| report.created), opened.iter().all(|(_, report)| report.clean));
    println!(
        "opened {count} logs in {:.2} s, {:.0} MB scanned{}",
        begin.elapsed().as_secs_f64(),
        scanned as f64 / 1e6,
        if created {
            " (created)"
        } else if clean {
            " (closed in order)"
        } else {
            ""
        }
    );
    (shard, opened.into_iter().map(|(log, _)| log).collect())
}

async fn write(log: &Log<GlommioStorage>, bytes: u64) {
    let batch = batch();
    let header = BatchHeader::parse(&batch).expect("a good batch");
    for _ in 0..bytes / BATCH_BYTES as u64 {
        while let Err(error) = log.append(&batch, &header, LeaderEpoch(0), 0) {
            assert_eq!(error, AppendError::NeedsSpace);
            log.reserve(BATCH_BYTES, 0).await.expect("there is space");
        }
    }
}

fn memory_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number = |usual: u64| arguments.next().and_then(|argument| argument.parse().ok()).unwrap_or(usual);
    let (gigabytes, partitions, idle) = (number(2), number(4) as i32, number(1_000) as i32);
    let root =
        tempfile::Builder::new().prefix("ringlog-recovery-").tempdir_in(parent).expect("a directory can be made");
    let path = root.path().to_owned();
    LocalExecutor::default().run(async move {
        let storage = GlommioStorage::new(&path).await.expect("O_DIRECT works");
        let (shard, logs) = open(&storage, &path, "busy", partitions).await;
        let begin = Instant::now();
        let work = async {
            join_all(logs.iter().map(|log| write(log, (gigabytes << 30) / partitions as u64))).await;
            shard.stop();
        };
        let (_, commits, background) = join3(work, shard.run_commits(), shard.run_background()).await;
        commits.and(background).expect("the disk works");
        println!("wrote {gigabytes} GB in {:.1} s", begin.elapsed().as_secs_f64());
        drop((shard, logs));
        drop(open(&storage, &path, "busy", partitions).await);

        let before = memory_mb();
        let (shard, logs) = open(&storage, &path, "idle", idle).await;
        println!("{} MB more memory with {idle} idle logs", memory_mb().saturating_sub(before));
        drop((shard, logs));
        let (shard, logs) = open(&storage, &path, "idle", idle).await;
        let work = async {
            let begin = Instant::now();
            for close in logs.iter().map(Log::close) {
                close.await.expect("it closes");
            }
            println!("closed {idle} logs in {:.2} s", begin.elapsed().as_secs_f64());
            shard.stop();
        };
        join3(work, shard.run_commits(), shard.run_background()).await.1.expect("the disk works");
        drop((shard, logs));
        drop(open(&storage, &path, "idle", idle).await);
    });
}
