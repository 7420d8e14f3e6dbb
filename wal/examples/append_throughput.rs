//! Durable appends per second on a real disk: `cargo run --release -p ringlog-wal --example append_throughput -- DIR`.
//!
//! For 1, 16, 256 and 1000 partitions on one shard, without and with a journal: one producer per partition that waits for
//! each batch (what a commit costs), and one that keeps 16 batches in flight (what group commit makes of it); then a
//! sequential read of what was written. Prints figures and checks nothing.
#![cfg(feature = "glommio")]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::{join_all, join3};
use glommio::LocalExecutor;
use protocol::record_batch::{BatchHeader, HEADER_BYTES};
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use wal::file::glommio::GlommioStorage;
use wal::journal::{JournalConfig, JournalPlace};
use wal::{AppendError, Log, LogConfig, LogIdentity, ShardWal, ShardWalConfig};

const SECONDS: u64 = 3;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64
}

/// A batch of one record; its content is filler.
fn batch(bytes: usize) -> Vec<u8> {
    let mut batch = vec![0x5a; bytes.max(HEADER_BYTES)];
    batch[8..12].copy_from_slice(&((bytes - 12) as i32).to_be_bytes());
    batch[16] = 2;
    batch[21..27].fill(0);
    batch[27..35].copy_from_slice(&now_ms().to_be_bytes());
    batch[35..43].copy_from_slice(&now_ms().to_be_bytes());
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&1i32.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

struct Outcome {
    batches: u64,
    latencies: Vec<Duration>,
}

async fn produce(log: Log<GlommioStorage>, bytes: usize, in_flight: i64, until: Instant) -> Outcome {
    let batch = batch(bytes);
    let header = BatchHeader::parse(&batch).expect("a good batch");
    let mut outcome = Outcome { batches: 0, latencies: Vec::new() };
    while Instant::now() < until {
        let begin = Instant::now();
        for _ in 0..in_flight {
            let now_ms = now_ms();
            while let Err(error) = log.append(&batch, &header, LeaderEpoch(0), now_ms) {
                assert_eq!(error, AppendError::NeedsSpace);
                log.reserve(bytes, now_ms).await.expect("there is space");
            }
            outcome.batches += 1;
        }
        log.wait_ackable(log.log_end_offset()).await.expect("the log is open");
        outcome.latencies.push(begin.elapsed());
    }
    outcome
}

struct Case {
    partitions: i32,
    bytes: usize,
    in_flight: i64,
    journal: bool,
}

async fn run(storage: GlommioStorage, root: PathBuf, case: Case) {
    let Case { partitions, bytes, in_flight, journal } = case;
    let place = JournalPlace {
        storage: storage.clone(),
        dir: root.clone(),
        shard: 0,
        id: uuid::Uuid::new_v4(),
        config: JournalConfig::default(),
    };
    let shard = ShardWal::with_journal(storage, root.clone(), ShardWalConfig::default(), journal.then_some(place));
    let mut logs = Vec::new();
    for partition in 0..partitions {
        let identity = LogIdentity { topic_id: TopicId(uuid::Uuid::from_u128(1)), partition: PartitionId(partition) };
        let dir = root.join(format!("bench-{partition}"));
        logs.push(Log::open(&shard, &dir, identity, LogConfig::default(), now_ms()).await.expect("it opens").0);
    }
    let work = async {
        let warm = Instant::now() + Duration::from_secs(1);
        join_all(logs.iter().map(|log| produce(log.clone(), bytes, in_flight, warm))).await;
        let begin = Instant::now();
        let until = begin + Duration::from_secs(SECONDS);
        let outcomes = join_all(logs.iter().map(|log| produce(log.clone(), bytes, in_flight, until))).await;
        let seconds = begin.elapsed().as_secs_f64();
        let batches: u64 = outcomes.iter().map(|outcome| outcome.batches).sum();
        let mut latencies: Vec<Duration> = outcomes.into_iter().flat_map(|outcome| outcome.latencies).collect();
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_micros();
        println!(
            "{partitions:4} partitions  {bytes:6} B x {in_flight:2}  {:7}  {:9.0} batches/s  {:7.1} MB/s  p50 {:6} us  p99 {:6} us  max {:6} us",
            if journal { "journal" } else { "" },
            batches as f64 / seconds,
            batches as f64 * bytes as f64 / seconds / 1e6,
            at(0.5),
            at(0.99),
            at(1.0)
        );
        if partitions == 1 && !journal {
            read(&logs[0]).await;
        }
        for log in &logs {
            log.delete().await.expect("it is deleted");
        }
        shard.stop();
    };
    let (_, commits, background) = join3(work, shard.run_commits(), shard.run_background()).await;
    commits.and(background).expect("the disk works");
    shard.remove_journal().await.expect("the journal can be removed");
}

async fn read(log: &Log<GlommioStorage>) {
    let (begin, end) = (Instant::now(), log.log_end_offset());
    let (mut next, mut bytes) = (Offset(0), 0);
    while next < end && begin.elapsed() < Duration::from_secs(SECONDS) {
        let read = log.read(next, end, 1 << 20, usize::MAX).await.expect("it can be read");
        bytes += read.bytes;
        next = read.next_offset;
    }
    println!(
        "     read in order {:7.1} MB/s ({:.0} MB)",
        bytes as f64 / begin.elapsed().as_secs_f64() / 1e6,
        bytes as f64 / 1e6
    );
}

fn main() {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let root = tempfile::Builder::new().prefix("ringlog-append-").tempdir_in(parent).expect("a directory can be made");
    let path = Rc::new(root.path().to_owned());
    LocalExecutor::default().run(async move {
        let storage = GlommioStorage::new(&path).await.expect("O_DIRECT works");
        for (bytes, in_flight) in [(200, 1), (1 << 10, 1), (1 << 10, 16), (16 << 10, 16)] {
            for partitions in [1, 16, 256, 1000] {
                for journal in [false, true] {
                    let case = Case { partitions, bytes, in_flight, journal };
                    run(storage.clone(), path.to_path_buf(), case).await;
                }
            }
        }
        let case = Case { partitions: 1, bytes: 256 << 10, in_flight: 4, journal: false };
        run(storage.clone(), path.to_path_buf(), case).await;
    });
}
