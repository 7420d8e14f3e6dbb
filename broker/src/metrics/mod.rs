//! What `/metrics` tells: which families there are, what shards and the metadata core count, and how a scrape gathers it.
//!
//! - [`families`]: the one list of families.
//! - [`shard`]: counters of a shard, in atomics; [`snapshot`]: what else a shard knows, told when it is asked.
//! - [`topics`]: traffic by topic, within a bound; [`changes`]: elections and changes of ISRs; [`cluster`]: what follows from
//!   the metadata; [`process`]: what the system knows of this process.
//! - [`scrape`]: asks, puts together and lays out.
//!
//! Whoever works counts, and nobody who works waits for a scrape: shards answer as a task among others, and what is laid out
//! is laid out on a thread of its own. See docs/design/metrics.md.

pub mod changes;
pub mod cluster;
pub mod families;
mod process;
pub mod scrape;
pub mod shard;
pub mod snapshot;
mod text;
pub mod topics;

pub use families::Metric;
pub use scrape::{Scraper, SeriesLimits};
pub use shard::ShardMetrics;

#[cfg(test)]
mod document;
