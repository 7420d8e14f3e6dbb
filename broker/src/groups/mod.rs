//! The group coordinator: pure state machines for one partition of `__consumer_offsets`. Groups of the classic protocol are
//! in the files here, those of the consumer protocol (KIP-848) in [`consumer`]; `docs/design/groups.md` says how they hang
//! together.
//!
//! # Contract
//! A shard owns one [`GroupCoordinator`] for each `__consumer_offsets` partition that it leads. It replays the partition's
//! records through [`GroupCoordinator::load`], calls [`GroupCoordinator::activate`], and from then on feeds every request
//! to [`GroupCoordinator::handle`] and wakes [`GroupCoordinator::tick`] at [`GroupCoordinator::next_deadline_ms`]. Each call
//! returns [`GroupEffect`]s, to be executed in order:
//!
//! - [`GroupEffect::Reply`] answers a request. Every [`RequestToken`] given to `handle` is answered exactly once, at once or
//!   in a later call, unless its connection went away ([`GroupCoordinator::disconnected`]).
//! - [`GroupEffect::Store`] appends records to the internal topic. Several may be under way at once; they must reach the log
//!   in the order they were issued. Once the records are durable, or could not be made so, the broker reports that through
//!   [`GroupCoordinator::stored`], which returns the answers that waited for it. Nothing that a client was told depends on
//!   a record that is not durable.
//!
//! Semantics, error codes and record bytes are those of Kafka 4.3; where we are stricter, the place says so.
//!
//! # Bounds
//! What a group keeps is copied out of the request, so no request buffer stays alive for it, and never exceeds the
//! request's own size. Members per group are bounded by `group.max.size`, member ids handed out but not used yet by
//! [`GroupConfig::pending_members_max`] (and each lives for one session timeout), groups by [`GroupConfig::groups_max`],
//! members of a consumer group by `group.consumer.max.size` and its regular expressions by [`GroupConfig::regexes_max`],
//! the metadata of one committed offset by `offset.metadata.max.bytes`, and every string by the 32,767 bytes of a record.
//!
//! # Deliberately absent
//! FindCoordinator, authorisation and the choice of shard (the broker's; [`routing`] says which partition a request goes
//! to), share and streams groups, and transactional offset commits.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;

mod api;
mod assignor;
mod commit;
mod config;
mod consumer;
mod coordinator;
mod counts;
mod describe;
mod embedded;
mod error_reply;
mod expiry;
mod fetch;
mod group;
mod join;
mod leave;
mod load;
mod member;
mod offsets;
mod rebalance;
pub mod records;
pub mod routing;
mod shell;
mod sync;
mod timers;
pub mod topic_ids;
#[allow(unused_imports)] // The kinds of syntax errors are named by its tests alone.
mod topic_regex;
mod versions;

#[cfg(test)]
mod tests;

pub use api::{
    Environment, GroupEffect, GroupReply, GroupRequest, RequestContext, RequestToken, StoreFailure, StoreId,
    StoreOutcome, StoredRecord, Topic,
};
pub use assignor::Assignor;
pub use config::{GroupConfig, GroupSettings, MigrationPolicy};
pub use coordinator::{GroupCoordinator, GroupSizes};
pub use load::Loaded;

/// The partitions that a classic member of protocol type `consumer` was assigned, by the bytes that its group's leader sent
/// for it (`ConsumerProtocolAssignment`); `None` if they are something else.
pub fn assigned_partitions(assignment: &[u8]) -> Option<BTreeMap<StrBytes, BTreeSet<i32>>> {
    embedded::assignment(assignment).ok().map(|assignment| assignment.partitions)
}
