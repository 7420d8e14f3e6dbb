//! What passes through this broker, by the second, for the last ten minutes: what the console's plots are made of.
//!
//! Once a second, on the metadata core's runtime, [`LiveSource`] tells how far the shards' counters are, and the differences
//! are kept in a ring of fixed size. Pure but for [`Live::sample_for_ever`], which has the clock.
//!
//! Deliberately absent: anything that is kept longer, or on disk. That is what `/metrics` and Prometheus are for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use instruments::Durations;
use protocol::ApiKey;
use serde::{Deserialize, Serialize};

use crate::metrics::ShardMetrics;

/// Samples that are kept: ten minutes.
pub const SAMPLES_MAX: usize = 600;
/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// A shard's counters since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Client connections that are open now.
    pub connections: u64,
    pub requests: u64,
    pub produce_requests: u64,
    pub fetch_requests: u64,
    pub produced_bytes: u64,
    pub produced_batches: u64,
    pub produced_records: u64,
    pub fetched_bytes: u64,
    pub fetched_records: u64,
    /// Microseconds for which the shard's thread had something to do.
    pub busy_us: u64,
    /// How long Produce and Fetch requests took until their answers left.
    pub produce_times: Times,
    pub fetch_times: Times,
}

/// How many took up to 16, 32, 64, ... microseconds, and longer than all of these.
pub type Times = [u64; TIMES];

const _: () = assert!(TIMES == instruments::DURATION_BUCKETS);

/// Number of [`Times`]: the last bound is 8.4 s.
pub const TIMES: usize = 21;
/// The first bound of [`Times`], in microseconds.
const TIMES_FIRST_US: u64 = 16;

/// Quantiles of the requests that were answered in the second, in microseconds; `None` if none were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    pub produce_p50_us: Option<u32>,
    pub produce_p99_us: Option<u32>,
    pub fetch_p50_us: Option<u32>,
    pub fetch_p99_us: Option<u32>,
}

/// Where the numbers come from. Asked once a second, by one caller; it must not take long.
pub trait LiveSource: Send + 'static {
    /// Of each shard, always in the same order.
    fn totals(&self) -> Vec<Totals>;
}

impl LiveSource for Arc<[Arc<ShardMetrics>]> {
    fn totals(&self) -> Vec<Totals> {
        self.iter().map(|shard| of_shard(shard)).collect()
    }
}

fn of_shard(shard: &ShardMetrics) -> Totals {
    Totals {
        connections: u64::try_from(shard.connections_open.get()).unwrap_or(0),
        requests: ApiKey::ALL.iter().map(|api| shard.request_count(*api)).sum(),
        produce_requests: shard.request_count(ApiKey::Produce),
        fetch_requests: shard.request_count(ApiKey::Fetch),
        produced_bytes: shard.produced_bytes.get(),
        produced_batches: shard.produced_batches.get(),
        produced_records: shard.records.produced.get(),
        fetched_bytes: shard.fetched_bytes.get(),
        fetched_records: shard.records.fetched.get(),
        busy_us: shard.pulse.busy_time.get() / 1000,
        produce_times: times(shard.latency(ApiKey::Produce)),
        fetch_times: times(shard.latency(ApiKey::Fetch)),
    }
}

/// Both count in the same bounds.
fn times(durations: &Durations) -> Times {
    let mut times = [0; TIMES];
    times.copy_from_slice(durations.read().counts());
    times
}

/// One second of the whole broker. All but connections and latencies are per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The second's end, in milliseconds since the Unix epoch. Rises from sample to sample.
    pub at_ms: u64,
    pub connections: u64,
    pub requests: u64,
    pub produce_requests: u64,
    pub fetch_requests: u64,
    pub produced_bytes: u64,
    pub produced_batches: u64,
    pub produced_records: u64,
    pub fetched_bytes: u64,
    pub fetched_records: u64,
    pub latency: Latency,
}

/// One shard in the last second, and since it started. Rates are per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLine {
    pub connections: u64,
    pub requests: u64,
    pub requests_total: u64,
    pub produced_bytes: u64,
    pub produced_bytes_total: u64,
    pub fetched_bytes: u64,
    pub fetched_bytes_total: u64,
    /// Share of the second for which the thread had something to do, in percent.
    pub busy_percent: u32,
}

/// What a broker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveView {
    pub version: String,
    /// How long the process has run, in milliseconds.
    pub uptime_ms: u64,
    pub shards: Vec<ShardLine>,
    /// Oldest first.
    pub samples: Vec<Sample>,
}

/// The ring, shared by whoever asks.
pub struct Live {
    started: Instant,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    before: Option<Vec<Totals>>,
    shards: Vec<ShardLine>,
    samples: VecDeque<Sample>,
}

impl Default for Live {
    fn default() -> Live {
        Live { started: Instant::now(), ring: Mutex::default() }
    }
}

impl Live {
    /// Takes samples for as long as the process lives.
    pub async fn sample_for_ever(self: Arc<Live>, source: impl LiveSource) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut before = Instant::now();
        loop {
            ticks.tick().await;
            let (now, at_ms) = (Instant::now(), u64::try_from(crate::clock::now_ms()).unwrap_or(0));
            let totals = source.totals();
            self.lock().push(at_ms, now.duration_since(before), totals);
            before = now;
        }
    }

    /// What came after `since_ms`.
    pub fn view(&self, since_ms: u64) -> LiveView {
        let ring = self.lock();
        LiveView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            shards: ring.shards.clone(),
            samples: ring.samples.iter().filter(|sample| sample.at_ms > since_ms).copied().collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, at_ms: u64, took: Duration, totals: Vec<Totals>) {
        let before = self.before.replace(totals.clone());
        // The first look has nothing to be compared with.
        let Some(before) = before.filter(|before| before.len() == totals.len()) else { return };
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1000) / took_ms;
        let rate_of = |of: fn(&Totals) -> u64| -> u64 {
            totals.iter().zip(&before).map(|(now, before)| rate(of(now), of(before))).sum()
        };
        let times = |of: fn(&Totals) -> &Times| -> Times {
            let mut all = [0; TIMES];
            for (now, before) in totals.iter().zip(&before) {
                let counts = of(now).iter().zip(of(before));
                all.iter_mut().zip(counts).for_each(|(all, (now, before))| *all += now.saturating_sub(*before));
            }
            all
        };
        let (produce, fetch) = (times(|totals| &totals.produce_times), times(|totals| &totals.fetch_times));
        let latency = Latency {
            produce_p50_us: quantile_us(&produce, 0.5),
            produce_p99_us: quantile_us(&produce, 0.99),
            fetch_p50_us: quantile_us(&fetch, 0.5),
            fetch_p99_us: quantile_us(&fetch, 0.99),
        };
        let sample = Sample {
            // Plots go from left to right, also when the clock was put back.
            at_ms: self.samples.back().map_or(at_ms, |last| at_ms.max(last.at_ms + 1)),
            connections: totals.iter().map(|now| now.connections).sum(),
            requests: rate_of(|totals| totals.requests),
            produce_requests: rate_of(|totals| totals.produce_requests),
            fetch_requests: rate_of(|totals| totals.fetch_requests),
            produced_bytes: rate_of(|totals| totals.produced_bytes),
            produced_batches: rate_of(|totals| totals.produced_batches),
            produced_records: rate_of(|totals| totals.produced_records),
            fetched_bytes: rate_of(|totals| totals.fetched_bytes),
            fetched_records: rate_of(|totals| totals.fetched_records),
            latency,
        };
        let line = |(now, before): (&Totals, &Totals)| ShardLine {
            connections: now.connections,
            requests: rate(now.requests, before.requests),
            requests_total: now.requests,
            produced_bytes: rate(now.produced_bytes, before.produced_bytes),
            produced_bytes_total: now.produced_bytes,
            fetched_bytes: rate(now.fetched_bytes, before.fetched_bytes),
            fetched_bytes_total: now.fetched_bytes,
            busy_percent: u32::try_from(rate(now.busy_us, before.busy_us) / 10_000).unwrap_or(100).min(100),
        };
        self.shards = totals.iter().zip(&before).map(line).collect();
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }
}

/// The time that this share of the requests took at most, as if those between two bounds were spread evenly.
fn quantile_us(times: &Times, share: f64) -> Option<u32> {
    let all: u64 = times.iter().sum();
    let wanted = (all as f64 * share).max(f64::MIN_POSITIVE);
    let mut below = 0;
    for (at, count) in times.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bound = (TIMES_FIRST_US << at.min(TIMES - 2)) as f64;
        let from = if at == 0 { 0.0 } else { (TIMES_FIRST_US << (at - 1)) as f64 };
        if (below + count) as f64 >= wanted {
            let within = (wanted - below as f64) / *count as f64;
            return Some((from + (bound - from) * within) as u32);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(produced_bytes: u64, requests: u64) -> Totals {
        Totals { produced_bytes, requests, connections: 2, ..Totals::default() }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn samples_are_differences_per_second_of_all_shards() {
        let mut ring = Ring::default();
        ring.push(1000, SECOND, vec![totals(100, 1), totals(50, 1)]);
        assert!(ring.samples.is_empty(), "nothing to be compared with");
        ring.push(3000, 2 * SECOND, vec![totals(300, 5), totals(50, 1)]);
        let sample = ring.samples[0];
        assert_eq!((sample.at_ms, sample.produced_bytes, sample.requests, sample.connections), (3000, 100, 2, 4));
        assert_eq!(sample.latency, Latency::default());
        assert_eq!((ring.shards[0].produced_bytes, ring.shards[0].produced_bytes_total), (100, 300));
        assert_eq!(ring.shards[1].produced_bytes, 0);
    }

    #[test]
    fn a_shard_is_busy_for_a_share_of_the_second() {
        let busy = |busy_us| Totals { busy_us, produced_records: busy_us, ..totals(0, 0) };
        let mut ring = Ring::default();
        ring.push(1000, SECOND, vec![busy(0), busy(0)]);
        ring.push(2000, SECOND, vec![busy(250_000), busy(2_000_000)]);
        assert_eq!([ring.shards[0].busy_percent, ring.shards[1].busy_percent], [25, 100]);
        assert_eq!(ring.samples[0].produced_records, 2_250_000);
    }

    fn times(counts: &[(usize, u64)]) -> Times {
        let mut times = [0; TIMES];
        counts.iter().for_each(|(at, count)| times[*at] = *count);
        times
    }

    #[test]
    fn latencies_are_those_of_the_last_second_over_all_shards() {
        let timed = |produce: &[(usize, u64)]| Totals { produce_times: times(produce), ..totals(0, 0) };
        let mut ring = Ring::default();
        ring.push(1000, SECOND, vec![timed(&[(20, 1000)]), timed(&[])]);
        ring.push(2000, SECOND, vec![timed(&[(20, 1000), (3, 50)]), timed(&[(3, 49), (10, 1)])]);
        ring.push(3000, SECOND, vec![timed(&[(20, 1000), (3, 50)]), timed(&[(3, 49), (10, 1)])]);
        let latency = ring.samples[0].latency;
        assert!(latency.produce_p50_us.is_some_and(|us| (90..110).contains(&us)), "{latency:?}");
        assert!(latency.produce_p99_us.is_some_and(|us| (120..=128).contains(&us)), "{latency:?}");
        assert_eq!(latency.fetch_p50_us, None, "none were answered");
        assert_eq!(ring.samples[1].latency, Latency::default(), "none were answered");
    }

    #[test]
    fn quantiles_lie_within_the_bounds_of_what_was_counted() {
        assert_eq!(quantile_us(&times(&[]), 0.99), None);
        assert_eq!(quantile_us(&times(&[(0, 1)]), 0.5), Some(8));
        assert_eq!(quantile_us(&times(&[(1, 100)]), 1.0), Some(32));
        assert_eq!(quantile_us(&times(&[(0, 98), (5, 2)]), 0.99), Some(384));
        // Beyond the last bound nothing is known but that.
        assert_eq!(quantile_us(&times(&[(TIMES - 1, 5)]), 0.5), Some(8 << 20));
    }

    #[test]
    fn the_ring_is_bounded_and_goes_on_when_the_clock_is_put_back() {
        let mut ring = Ring::default();
        for second in 0..=2 * SAMPLES_MAX as u64 {
            ring.push(1000 * second, SECOND, vec![totals(second, 0)]);
        }
        assert_eq!(ring.samples.len(), SAMPLES_MAX);
        ring.push(5, SECOND, vec![totals(0, 0)]);
        let [before, last] = [ring.samples[SAMPLES_MAX - 2], ring.samples[SAMPLES_MAX - 1]];
        assert_eq!(last.at_ms, before.at_ms + 1);
        assert_eq!(last.produced_bytes, 0, "a counter that went back is not a rate");
        let live = Live { ring: Mutex::new(ring), ..Live::default() };
        assert_eq!(live.view(before.at_ms).samples, [last]);
    }
}
