//! Recording allocates nothing, whatever is recorded.
//!
//! Without the test harness: the allocator counts for all threads, the harness's too.

use std::alloc::System;
use std::time::Duration;

use instruments::{ByteSizes, Counter, Counts, Durations, Gauge};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let (counter, gauge) = (Counter::new(), Gauge::new());
    let (durations, sizes, counts) = (Durations::new(), ByteSizes::new(), Counts::new());
    let region = Region::new(ALLOCATOR);
    for n in 0..100_000_u64 {
        counter.increment();
        counter.add_time(Duration::from_nanos(n));
        gauge.set(i64::MAX);
        gauge.set_time(Duration::from_secs(n));
        durations.observe(Duration::from_micros(n * n));
        sizes.observe(n * 1000);
        counts.observe(n);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    assert_eq!((counts.read().count(), durations.read().count()), (100_000, 100_000));
    println!("recording allocates nothing ... ok");
}
