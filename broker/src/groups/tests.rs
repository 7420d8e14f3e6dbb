//! Tests of the coordinator as a whole.
//!
//! Scenarios are texts: each line is a command and, behind `=>`, exactly the effects that it must have; [`scenario`] has the
//! vocabulary.

mod administration;
mod consumer_group_records;
mod consumer_group_stores;
mod consumer_groups;
mod conversions;
mod members;
mod offsets;
mod properties;
mod rebalances;
mod records;
mod scenario;
mod static_members;
mod stores;
mod transcript;
mod versions;
