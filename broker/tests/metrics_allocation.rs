//! What a shard counts for a request allocates nothing, and takes no lock: there is none in it.
//!
//! The program has an allocator of its own, so the module is compiled here by itself, with one that counts; and without the test
//! harness, whose threads would be counted too.

use std::alloc::System;
use std::time::Duration;

use protocol::ApiKey;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "../src/metrics/shard.rs"]
#[allow(dead_code, unused_imports, reason = "neither what scrapes read nor the module's own tests are used here")]
mod shard;
#[path = "../src/metrics/topics.rs"]
#[allow(dead_code, unused_imports, reason = "as above")]
mod topics;

use shard::{Closed, ShardMetrics};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let metrics = ShardMetrics::default();
    let traffic = topics::ShardTopics::new(metrics.records.clone()).of(protocol::TopicId::ZERO);
    let region = Region::new(ALLOCATOR);
    for n in 0..10_000_u16 {
        for api in ApiKey::ALL {
            metrics.request(*api);
            metrics.error(*api, n as i16);
            metrics.answered(*api, Duration::from_micros(n.into()));
        }
        metrics.produced(1000);
        traffic.produced(1000, 10);
        traffic.fetched(1000, 10);
        metrics.fetched_bytes.add(1000);
        metrics.connections_open.set(1);
        metrics.closed(Closed::Idle);
        metrics.wal.commit_bytes.observe(n.into());
        metrics.wal.sync_time.observe(Duration::from_micros(n.into()));
        metrics.pulse.queue_delays[0].observe(Duration::from_micros(n.into()));
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    assert_eq!(metrics.request_count(ApiKey::Produce), 10_000);
    println!("counting a request allocates nothing ... ok");
}
