//! What a message costs from one shard to another and back, as the broker sends it: an async-channel between two glommio
//! executors. `cargo bench -p ringlog-broker`.
//!
//! One message at a time is the worst case, where every hop wakes a thread that sleeps; many at a time is what a shard
//! under load sees.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use glommio::{LocalExecutorBuilder, Placement};

/// As in the broker: bounds a rare lost wake-up of glommio 0.9.
const HEARTBEAT: Duration = Duration::from_millis(10);

/// A message of about the size of the broker's own.
type Message = [u64; 8];

/// Sends `count` messages to another executor, which sends each back, `in_flight` at a time; gives the time it took.
fn round_trips(count: u64, in_flight: u64) -> Duration {
    let (there, arrivals) = async_channel::unbounded::<Message>();
    let (back, answers) = async_channel::unbounded::<Message>();
    let far = LocalExecutorBuilder::new(Placement::Unbound).name("far").spawn(move || async move {
        heartbeat();
        while let Ok(message) = arrivals.recv().await {
            if back.send(message).await.is_err() {
                return;
            }
        }
    });
    let near = LocalExecutorBuilder::new(Placement::Unbound).name("near").spawn(move || async move {
        heartbeat();
        // The first one waits for the other executor to be there.
        there.send([0; 8]).await.expect("the other executor listens");
        answers.recv().await.expect("the other executor answers");
        let began = Instant::now();
        let (mut sent, mut received) = (0, 0);
        while received < count {
            while sent < count && sent - received < in_flight {
                there.send([sent; 8]).await.expect("the other executor listens");
                sent += 1;
            }
            answers.recv().await.expect("the other executor answers");
            received += 1;
        }
        began.elapsed()
    });
    let near = near.expect("an executor starts").join().expect("it ends in order");
    far.expect("an executor starts").join().expect("it ends in order");
    near
}

fn heartbeat() {
    glommio::spawn_local(async {
        loop {
            glommio::timer::sleep(HEARTBEAT).await;
        }
    })
    .detach();
}

fn hops(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message to another shard and back");
    group.sample_size(10).throughput(Throughput::Elements(1));
    for in_flight in [1, 64] {
        group.bench_function(BenchmarkId::new("in flight", in_flight), |bencher| {
            bencher.iter_custom(|count| round_trips(count, in_flight));
        });
    }
    group.finish();
}

criterion_group!(cross_core, hops);
criterion_main!(cross_core);
