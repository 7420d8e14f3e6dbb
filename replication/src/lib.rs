//! Decisions about a partition's replicas, without sockets, clocks or files: events go in, consequences come out.
//!
//! - [`leader`]: up to where a partition's records are committed, and who is in sync, as its leader sees it.
//! - [`sender`] and [`receiver`]: the two ends of a stream, which carries one partition's batches in one leader epoch from its
//!   leader to one follower. They agree first on where the two logs part ([`divergence`]).
//! - [`message`]: what they say to each other, in bytes.
//! - [`turns`]: whose turn it is on a connection that many streams share; [`throttle`]: how fast replicas that catch up may;
//!   [`backoff`]: when a connection that failed is tried again.
//!
//! Whoever executes owns the logs, the sockets and the time, and lets these decide (`broker`; the simulation in `tests`).

pub mod backoff;
pub mod divergence;
pub mod leader;
pub mod message;
pub mod receiver;
pub mod sender;
#[cfg(test)]
mod testing;
pub mod throttle;
pub mod turns;
