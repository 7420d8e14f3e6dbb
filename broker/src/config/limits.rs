//! The bounds on what the broker keeps in memory.
//!
//! None of it is allocated in advance: an idle broker holds none of these bytes.

/// What is on its way to a shard's logs: appended while a commit is in flight, and in the commit.
const WRITE_BUFFER_BYTES: u64 = 2 * (16 << 20);
/// A connection with the begin of a request that is not counted yet.
const CONNECTION_BYTES: u64 = 16 << 10;

/// Named limits; each one's meaning for operators is in the table of settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Client connections of the whole broker.
    pub connections_max: usize,
    /// Requests of one connection that are read but not yet answered, at least 1.
    pub connection_requests_max: usize,
    /// Bytes of those requests. One request is always let in, however large it may be.
    pub connection_request_bytes_max: u64,
    /// Request bytes of all of a shard's connections, not yet answered.
    pub shard_request_bytes_max: u64,
    /// Response bytes of all of a shard's connections, not yet sent.
    pub shard_response_bytes_max: u64,
    /// Newest record batches kept per shard; 0 for none.
    pub shard_tail_cache_bytes_max: u64,
    /// Log bytes read ahead per shard; 0 for none.
    pub shard_read_ahead_bytes_max: u64,
    /// What only the journal has is also in memory, per shard; 0 for no journal.
    pub shard_journal_bytes_max: u64,
}

impl MemoryLimits {
    /// What the limits of `shards` shards add up to, in bytes. See [`super::ServeConfig::memory_bytes_max`].
    #[must_use]
    pub fn total_bytes_max(&self, shards: usize) -> u64 {
        let per_shard = [
            self.shard_request_bytes_max,
            self.shard_response_bytes_max,
            self.shard_tail_cache_bytes_max,
            self.shard_read_ahead_bytes_max,
            self.shard_journal_bytes_max,
            WRITE_BUFFER_BYTES,
        ];
        let sum = per_shard.into_iter().fold(0, u64::saturating_add);
        let connections = (self.connections_max as u64).saturating_mul(CONNECTION_BYTES);
        sum.saturating_mul(shards as u64).saturating_add(connections)
    }
}
