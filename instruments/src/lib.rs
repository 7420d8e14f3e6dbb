//! What is counted while the broker works, and the text that it is told in.
//!
//! - [`Counter`], [`Gauge`], [`Histogram`] and [`Durations`]: written by one thread, read by any.
//! - [`Exposition`]: families with their samples as text, for Prometheus (0.0.4) and for OpenMetrics (1.0).
//!
//! Contract: recording takes no lock, makes no system call and allocates nothing; it is a load and a store of an atomic that
//! nobody else writes. Reading sums what it finds: a histogram that is read while it is written may be one observation ahead
//! in one of its numbers.
//!
//! Deliberately absent: which families there are, names of anything that is counted, registries, clocks.

mod counter;
mod exposition;
mod family;
mod histogram;

pub use counter::{Counter, Gauge};
pub use exposition::{Exposition, Format, Value};
pub use family::{Families, Family, Kind};
pub use histogram::{ByteSizes, Counts, DURATION_BUCKETS, Durations, Histogram, Reading};
