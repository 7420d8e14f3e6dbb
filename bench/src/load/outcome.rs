//! What a load run measured: the one shape that everything that shows, writes or compares results works on.
//!
//! Latencies are nanoseconds in HDR histograms of three significant digits, those of intervals of two, from 1 µs to 10
//! minutes; what is longer counts as the longest. At a fixed rate a latency begins at the *intended* send time, so a stall
//! is not hidden (coordinated omission); at the greatest rate it begins when the request is handed to the socket.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Shortest latency told apart, in nanoseconds.
pub const LATENCY_MIN_NS: u64 = 1_000;
/// Longest latency told apart, in nanoseconds: 10 minutes.
pub const LATENCY_MAX_NS: u64 = 600_000_000_000;
/// Significant decimal digits of recorded latencies.
pub const LATENCY_DIGITS: u8 = 3;

/// The same in intervals: an hour of them must fit in memory.
pub const INTERVAL_LATENCY_DIGITS: u8 = 2;

/// An empty histogram of latencies in nanoseconds.
#[must_use]
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, LATENCY_DIGITS).expect("the bounds are constants")
}

/// What a latency, and the counts beside it, are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Produce requests: from the (intended) send to the acknowledgement. One sample a request.
    Produce,
    /// Fetch requests with data, of a named consumer group: from the send to the complete answer. One sample a request.
    Fetch { group: String },
    /// Batches on their way from the (intended) send to a consumer of the group. One sample a batch.
    EndToEnd { group: String },
}

/// Counts and latencies of one role, or of one interval of it.
#[derive(Clone, Debug)]
pub struct Measure {
    pub requests: u64,
    pub batches: u64,
    pub records: u64,
    /// Bytes of record batches as they are on the wire.
    pub bytes: u64,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
}

impl Measure {
    #[must_use]
    pub fn new() -> Measure {
        Measure { requests: 0, batches: 0, records: 0, bytes: 0, latency: latency_histogram() }
    }

    /// Adds another measure's counts and latencies.
    pub fn add(&mut self, other: &Measure) {
        self.requests += other.requests;
        self.batches += other.batches;
        self.records += other.records;
        self.bytes += other.bytes;
        self.latency.add(&other.latency).expect("all histograms have the same bounds");
    }
}

impl Default for Measure {
    fn default() -> Measure {
        Measure::new()
    }
}

/// One interval of a run.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Since the measured time began.
    pub start: Duration,
    pub length: Duration,
    pub measure: Measure,
}

/// One role over the whole measured time (warm-up excluded).
#[derive(Clone, Debug)]
pub struct RoleOutcome {
    pub role: Role,
    /// What counts and rates are over.
    pub elapsed: Duration,
    pub total: Measure,
    /// One a second, in order; of runs that take long, one for 2, 4, 8 … seconds.
    pub intervals: Vec<Interval>,
}

/// What the verification of everything read found; a run with a lost or repeated record has failed already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records acknowledged, warm-up included.
    pub acknowledged_records: u64,
    /// Records read and checked (count, order per partition, checksum), over all consumer groups; 0: nothing was read.
    pub read_records: u64,
    pub consumer_groups: usize,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub workload: String,
    /// Wall clock when the measured time began, milliseconds since the Unix epoch.
    pub began_ms: u64,
    pub roles: Vec<RoleOutcome>,
    pub verified: Verified,
    /// CPU time of the client itself in the measured time.
    pub client_cpu: Duration,
    /// Share of intended sends that were made more than 1 ms late by the client itself, 0.0 to 1.0; only at a fixed rate.
    pub late_sends: Option<f64>,
    /// Share of intended sends that were given up because the broker was too far behind, 0.0 to 1.0; only at a fixed rate.
    /// Latencies of producing contain them, as long as they were by then; latencies from end to end do not.
    pub given_up: Option<f64>,
    /// Brokers that led some of the partitions.
    pub leading_brokers: usize,
}

/// Called about four times a second while a run goes on.
#[derive(Clone, Debug)]
pub struct Live {
    pub phase: Phase,
    /// Of this phase, 0.0 to 1.0.
    pub done: f64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    /// 99th percentile of the last second's latencies.
    pub p99: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Preparing,
    WarmUp,
    Measuring,
    /// Reading what is left, for the verification.
    Verifying,
}
