//! What one shard counts, written by that shard alone and read by anyone.
//!
//! Recording is a few loads and stores of atomics that no other thread writes: no lock, no allocation. What belongs to one
//! partition or topic is not here ([`super::topics`]).

use std::sync::Arc;
use std::time::Duration;

use instruments::{Counter, Durations, Gauge};
use protocol::ApiKey;
use wal::metrics::WalMetrics;

/// One more than the largest API key served.
const API_KEYS: usize = 76;
/// Kafka's error codes from -1 on, those that are yet to come included; the last stands for all beyond.
const ERROR_CODES: usize = 160;
/// Of [`crate::shard::queues::TaskQueues`], in their order.
pub const QUEUES: [&str; 4] = ["produce", "fetch", "control", "background"];

/// See the module's documentation.
#[repr(align(128))]
pub struct ShardMetrics {
    /// Bytes and number of record batches that producers sent to partitions that this shard owns.
    pub produced_bytes: Counter,
    pub produced_batches: Counter,
    /// Bytes of record batches sent to consumers from this shard's connections.
    pub fetched_bytes: Counter,
    /// Shared with what counts them by topic.
    pub records: Arc<Records>,
    /// Bytes of record batches sent to followers, and received from leaders.
    pub replicated_out_bytes: Counter,
    pub replicated_in_bytes: Counter,
    pub connections_open: Gauge,
    /// By [`crate::connection::CloseReason`].
    closed: [Counter; Closed::ALL.len()],
    requests: [Counter; API_KEYS],
    latencies: [Durations; API_KEYS],
    errors: [[Counter; ERROR_CODES]; API_KEYS],
    pub compaction_read_bytes: Counter,
    pub compaction_written_bytes: Counter,
    pub compactions: Counter,
    /// In nanoseconds.
    pub last_compaction_time: Gauge,
    /// In millionths.
    pub max_dirty_ratio: Gauge,
    pub uncleanable_partitions: Gauge,
    /// From the start of the shard until its logs were open, in nanoseconds.
    pub recovery_time: Gauge,
    pub pulse: Pulse,
    pub wal: Arc<WalMetrics>,
}

/// Records of all topics of a shard, that whoever wants their sum need not ask the shard.
#[derive(Debug, Default)]
pub struct Records {
    pub produced: Counter,
    pub fetched: Counter,
}

/// How the shard's thread gets along, as it finds itself.
#[derive(Default)]
pub struct Pulse {
    /// Time in tasks and in the kernel for them, in nanoseconds.
    pub busy_time: Counter,
    /// The part of each queue of it.
    pub queue_time: [Counter; QUEUES.len()],
    /// From spawning a task into a queue until it ran.
    pub queue_delays: [Durations; QUEUES.len()],
    /// Heartbeats that came too late by a tenth of a second and more; by how much all of them together did, and the latest of
    /// all, in nanoseconds.
    pub stalls: Counter,
    pub stall_time: Counter,
    pub longest_stall: Gauge,
}

/// Why connections end, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    ByClient,
    MidRequest,
    MalformedFrame,
    BadRequest,
    Idle,
    StalledRequest,
    StalledResponse,
    Socket,
    Shutdown,
}

impl Closed {
    pub const ALL: [Closed; 9] = [
        Closed::ByClient,
        Closed::MidRequest,
        Closed::MalformedFrame,
        Closed::BadRequest,
        Closed::Idle,
        Closed::StalledRequest,
        Closed::StalledResponse,
        Closed::Socket,
        Closed::Shutdown,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Closed::ByClient => "client",
            Closed::MidRequest => "client_in_mid_request",
            Closed::MalformedFrame => "malformed_frame",
            Closed::BadRequest => "bad_request",
            Closed::Idle => "idle",
            Closed::StalledRequest => "stalled_request",
            Closed::StalledResponse => "stalled_response",
            Closed::Socket => "socket",
            Closed::Shutdown => "shutdown",
        }
    }
}

impl Default for ShardMetrics {
    fn default() -> ShardMetrics {
        ShardMetrics {
            produced_bytes: Counter::new(),
            produced_batches: Counter::new(),
            fetched_bytes: Counter::new(),
            records: Arc::default(),
            replicated_out_bytes: Counter::new(),
            replicated_in_bytes: Counter::new(),
            connections_open: Gauge::new(),
            closed: Default::default(),
            requests: [const { Counter::new() }; API_KEYS],
            latencies: [const { Durations::new() }; API_KEYS],
            errors: [const { [const { Counter::new() }; ERROR_CODES] }; API_KEYS],
            compaction_read_bytes: Counter::new(),
            compaction_written_bytes: Counter::new(),
            compactions: Counter::new(),
            last_compaction_time: Gauge::new(),
            max_dirty_ratio: Gauge::new(),
            uncleanable_partitions: Gauge::new(),
            recovery_time: Gauge::new(),
            pulse: Pulse::default(),
            wal: Arc::default(),
        }
    }
}

impl ShardMetrics {
    /// A producer's batch for a partition of this shard.
    pub fn produced(&self, bytes: usize) {
        self.produced_batches.increment();
        self.produced_bytes.add(bytes as u64);
    }

    pub fn closed(&self, why: Closed) {
        self.closed[why as usize].increment();
    }

    pub fn closed_count(&self, why: Closed) -> u64 {
        self.closed[why as usize].get()
    }

    /// A request has arrived.
    pub fn request(&self, api: ApiKey) {
        self.requests[place(api)].increment();
    }

    pub fn request_count(&self, api: ApiKey) -> u64 {
        self.requests[place(api)].get()
    }

    /// Its answer has been handed to the socket, so long after it arrived.
    pub fn answered(&self, api: ApiKey, took: Duration) {
        self.latencies[place(api)].observe(took);
    }

    pub fn latency(&self, api: ApiKey) -> &Durations {
        &self.latencies[place(api)]
    }

    /// Its answer has this error code, wherever.
    pub fn error(&self, api: ApiKey, code: i16) {
        let at = usize::try_from(i32::from(code) + 1).unwrap_or(ERROR_CODES);
        self.errors[place(api)][at.min(ERROR_CODES - 1)].increment();
    }

    /// Error codes that answers of the API had, with their number; `None` for those beyond what is known of Kafka.
    pub fn errors(&self, api: ApiKey) -> impl Iterator<Item = (Option<i16>, u64)> + '_ {
        let counted = self.errors[place(api)].iter().enumerate();
        counted.filter(|(_, counter)| counter.get() > 0).map(|(at, counter)| {
            let code = (at < ERROR_CODES - 1).then(|| i16::try_from(at).expect("a small number") - 1);
            (code, counter.get())
        })
    }

    /// A pass over a log has ended.
    pub fn compacted(&self, read_bytes: u64, written_bytes: u64, took: Duration) {
        self.compactions.increment();
        self.compaction_read_bytes.add(read_bytes);
        self.compaction_written_bytes.add(written_bytes);
        self.last_compaction_time.set_time(took);
    }

    /// This share of the dirtiest log may be compacted, 0 to 1; as of the last look for a log to compact.
    pub fn dirty(&self, ratio_max: f64) {
        self.max_dirty_ratio.set((ratio_max * 1e6) as i64);
    }

    /// So many partitions are not compacted for a failure.
    pub fn uncleanable(&self, partitions: usize) {
        self.uncleanable_partitions.set_size(partitions);
    }
}

/// Of an API in the arrays.
fn place(api: ApiKey) -> usize {
    usize::try_from(api.key()).expect("keys are not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_its_place() {
        let metrics = ShardMetrics::default();
        for api in ApiKey::ALL {
            metrics.request(*api);
            metrics.answered(*api, Duration::from_millis(1));
        }
        for api in ApiKey::ALL {
            assert_eq!((metrics.request_count(*api), metrics.latency(*api).read().count()), (1, 1), "{api}");
        }
    }

    #[test]
    fn errors_keep_their_codes_and_strange_ones_share_a_place() {
        let metrics = ShardMetrics::default();
        for code in [-1, 3, 3, 157, 158, 2000, i16::MAX, i16::MIN] {
            metrics.error(ApiKey::Metadata, code);
        }
        let counted: Vec<_> = metrics.errors(ApiKey::Metadata).collect();
        assert_eq!(counted, [(Some(-1), 1), (Some(3), 2), (Some(157), 1), (None, 4)]);
        assert_eq!(metrics.errors(ApiKey::Produce).count(), 0);
    }

    #[test]
    fn reasons_are_in_the_order_of_their_places() {
        for (at, why) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
    }
}
