//! Sending what this shard leads: one [`link::Link`] to each shard of another broker that follows something of it, and on it a
//! [`stream::OutStream`] for each partition.

pub mod catch_up;
pub mod link;
pub mod stream;
