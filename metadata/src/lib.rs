//! The cluster's truth: records make images, decisions make records, and a store keeps them.
//!
//! - [`record`]: the closed set of changes, and their bytes.
//! - [`image`]: what they add up to, immutable and shared; [`delta`]: what a shard is told of a change.
//! - [`config`]: the table of configs, their resolution and description.
//! - [`controller`]: decisions on an image and a request, as pure functions that give records and an answer.
//! - [`placement`]: plans for the replicas of existing partitions, for whoever asks for reassignments.
//! - [`store`]: the records on this node's disk, and the identity of its data directory.
//! - [`raft`]: the records in the order that a quorum agrees on.
//!
//! A change runs like this on the metadata thread: decide on the current image, commit the records to the store, apply
//! them to get the next image and its deltas, publish both to the shards, answer. Readers only ever see images; who
//! orders the log (this node alone, or a quorum) is invisible to them.

mod checked;
pub mod cluster_id;
pub mod config;
pub mod controller;
pub mod delta;
pub mod image;
pub mod placement;
pub mod raft;
pub mod record;
mod shown;
pub mod store;
#[cfg(test)]
mod testing;
