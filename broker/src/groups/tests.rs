//! Tests of the coordinator as a whole.
//!
//! Scenarios are texts: each line is a command and, behind `=>`, exactly the effects that it must have; [`scenario`] has the
//! vocabulary.

mod administration;
mod consumer_group_records;
mod consumer_group_stores;
mod consumer_groups;
mod consumer_properties;
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

/// How many cases a property is tried with: `usual`, unless `PROPTEST_CASES` says otherwise.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}
