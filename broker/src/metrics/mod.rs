//! Counters of a shard, written by that shard alone and read by anyone.
//!
//! Relaxed atomics on cache lines of their own: a count costs the hot path an uncontended add.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::ApiKey;

/// One more than the largest API key served.
const API_KEYS: usize = 76;

/// What a shard counts.
#[repr(align(128))]
pub struct ShardMetrics {
    produced_bytes: AtomicU64,
    produced_batches: AtomicU64,
    fetched_bytes: AtomicU64,
    connections_refused: AtomicU64,
    connections_open: AtomicU64,
    compaction_read_bytes: AtomicU64,
    compaction_written_bytes: AtomicU64,
    compactions: AtomicU64,
    last_compaction_ms: AtomicU64,
    max_dirty_percent: AtomicU64,
    uncleanable_partitions: AtomicU64,
    requests: [AtomicU64; API_KEYS],
}

impl Default for ShardMetrics {
    fn default() -> ShardMetrics {
        ShardMetrics {
            produced_bytes: AtomicU64::new(0),
            produced_batches: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
            compaction_read_bytes: AtomicU64::new(0),
            compaction_written_bytes: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            last_compaction_ms: AtomicU64::new(0),
            max_dirty_percent: AtomicU64::new(0),
            uncleanable_partitions: AtomicU64::new(0),
            requests: [const { AtomicU64::new(0) }; API_KEYS],
        }
    }
}

/// Adds without a locked instruction: each counter has a single writer.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl ShardMetrics {
    pub fn produced(&self, bytes: usize) {
        add(&self.produced_batches, 1);
        add(&self.produced_bytes, bytes as u64);
    }

    pub fn fetched(&self, bytes: usize) {
        add(&self.fetched_bytes, bytes as u64);
    }

    /// A connection ended for a mistake of the client's.
    pub fn connection_refused(&self) {
        add(&self.connections_refused, 1);
    }

    /// A pass over a log has ended.
    pub fn compacted(&self, read_bytes: u64, written_bytes: u64, took: Duration) {
        add(&self.compactions, 1);
        add(&self.compaction_read_bytes, read_bytes);
        add(&self.compaction_written_bytes, written_bytes);
        self.last_compaction_ms.store(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// This share of the dirtiest log may be compacted, 0 to 1; as of the last look for a log to compact.
    pub fn dirty(&self, ratio_max: f64) {
        self.max_dirty_percent.store((ratio_max * 100.0) as u64, Ordering::Relaxed);
    }

    /// So many partitions are not compacted for a failure.
    pub fn uncleanable(&self, partitions: usize) {
        self.uncleanable_partitions.store(partitions as u64, Ordering::Relaxed);
    }

    pub fn connections(&self, open: usize) {
        self.connections_open.store(open as u64, Ordering::Relaxed);
    }

    pub fn request(&self, api: ApiKey) {
        if let Some(counter) = usize::try_from(api.key()).ok().and_then(|key| self.requests.get(key)) {
            add(counter, 1);
        }
    }
}

/// All shards' counters in the Prometheus text format (version 0.0.4).
pub fn render(shards: &[std::sync::Arc<ShardMetrics>]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, read: fn(&ShardMetrics) -> &AtomicU64| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (shard, metrics) in shards.iter().enumerate() {
            let _ = writeln!(out, "{name}{{shard=\"{shard}\"}} {}", read(metrics).load(Ordering::Relaxed));
        }
    };
    family("ringlog_produced_bytes_total", "counter", "Bytes of record batches received.", |m| &m.produced_bytes);
    family("ringlog_produced_batches_total", "counter", "Record batches received.", |m| &m.produced_batches);
    family("ringlog_fetched_bytes_total", "counter", "Bytes of record batches read for consumers.", |m| {
        &m.fetched_bytes
    });
    family("ringlog_connections_open", "gauge", "Client connections open.", |m| &m.connections_open);
    family("ringlog_compactions_total", "counter", "Passes of compaction over a log.", |m| &m.compactions);
    family("ringlog_compaction_read_bytes_total", "counter", "Bytes read by compaction.", |m| &m.compaction_read_bytes);
    family("ringlog_compaction_written_bytes_total", "counter", "Bytes written by compaction.", |m| {
        &m.compaction_written_bytes
    });
    family("ringlog_last_compaction_milliseconds", "gauge", "Duration of the last pass of compaction.", |m| {
        &m.last_compaction_ms
    });
    family(
        "ringlog_max_dirty_percent",
        "gauge",
        "Share of the dirtiest log that compaction has not been over and may be, in percent.",
        |m| &m.max_dirty_percent,
    );
    family(
        "ringlog_uncleanable_partitions",
        "gauge",
        "Partitions that compaction has failed for and leaves alone.",
        |m| &m.uncleanable_partitions,
    );
    family(
        "ringlog_connections_refused_total",
        "counter",
        "Connections closed for malformed or unserved requests.",
        |m| &m.connections_refused,
    );
    let _ = writeln!(
        out,
        "# HELP ringlog_requests_total Requests received, by API.\n# TYPE ringlog_requests_total counter"
    );
    for api in ApiKey::ALL {
        for (shard, metrics) in shards.iter().enumerate() {
            let Some(counter) = usize::try_from(api.key()).ok().and_then(|key| metrics.requests.get(key)) else {
                continue;
            };
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(out, "ringlog_requests_total{{api=\"{}\",shard=\"{shard}\"}} {count}", api.name());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_document_names_every_family_and_no_other() {
        let text = render(&[Arc::new(ShardMetrics::default())]) + &crate::group_lag::Lag::default().text();
        let told: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_whitespace().next()).collect();
        let document = include_str!("../../docs/metrics.md");
        let named: Vec<&str> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `ringlog_")?.split_once('`').map(|(name, _)| name))
            .collect();
        for family in &told {
            let name = family.strip_prefix("ringlog_").expect("all families begin with it");
            assert!(named.contains(&name), "docs/metrics.md does not name {family}");
        }
        assert_eq!(named.len(), told.len(), "docs/metrics.md names what is not there: {named:?}");
    }

    #[test]
    fn every_api_has_a_counter() {
        let metrics = Arc::new(ShardMetrics::default());
        for api in ApiKey::ALL {
            metrics.request(*api);
        }
        let text = render(std::slice::from_ref(&metrics));
        for api in ApiKey::ALL {
            let line = format!("ringlog_requests_total{{api=\"{}\",shard=\"0\"}} 1\n", api.name());
            assert!(text.contains(&line), "{line}");
        }
    }
}
