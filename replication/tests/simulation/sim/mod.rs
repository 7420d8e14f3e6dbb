//! Partitions of a whole cluster in virtual time: the real leaders, senders and receivers, and the controller's real
//! decisions, over a network that breaks, stalls and is cut, on disks that forget what was not synced.
//!
//! Everything random is drawn from a seed, and nothing depends on real time, so a failing seed fails again. [`run`] runs one;
//! `cargo run -p ringlog-replication --example simulate -- --seeds 10000` runs many, and says what it found.
//!
//! [`checks`] says what must hold, and [`bug`] which mistakes must be found. Deliberately absent: bytes of batches, logs that
//! cannot be opened, changes of configs, and the group that agrees on the metadata.

pub mod bug;
pub mod checks;
mod clients;
mod controller;
mod electing;
mod ending;
mod events;
mod faults;
mod following;
mod leading;
mod lease;
mod lives;
mod log;
mod network;
mod operating;
mod proposing;
mod random;
mod report;
mod shell;
mod tampering;
mod world;

pub use bug::Bug;
pub use checks::Checker;
pub use report::Report;
pub use world::{Options, run};
