//! Decisions about a partition's replicas, without sockets, clocks or files: events go in, consequences come out.
//!
//! - [`high_watermark`]: up to where a partition's records are committed, as its leader sees it.
//!
//! Deliberately absent so far: streams to followers, changes of the ISR, divergence and truncation. A leader without
//! followers needs none of them.

pub mod high_watermark;
