//! What a group subscribes to, and how a change of the topics is noticed.
//!
//! A group keeps a hash of the topics that it subscribes to, as they were when its epoch was last raised. When topics have
//! come, gone or grown, the next heartbeat computes it anew, and another hash is another epoch (KIP-1101).
//!
//! The hash is ours (64-bit FNV-1a over names, ids and partition counts, in order of name), not Kafka's, which also covers
//! the racks of replicas: a group that moves from one to the other is assigned anew once.

use std::collections::BTreeMap;

use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::super::api::Environment;
use super::super::counts::count;
use super::group::{ConsumerGroup, count_member, count_resolved};
use super::member::ConsumerMember;

impl ConsumerGroup {
    /// The topics that the group subscribes to when `after` takes the place of `before`. Regular expressions that nobody
    /// subscribes to any more then are left out; what a new one stands for is not known yet.
    pub(in crate::groups) fn topics_with(
        &self,
        before: &ConsumerMember,
        after: &ConsumerMember,
    ) -> BTreeMap<StrBytes, usize> {
        let mut topics = self.topics().clone();
        count_member(&mut topics, after, true);
        count_member(&mut topics, before, false);
        if let Some(regex) = before.regex().filter(|regex| after.regex() != Some(*regex))
            && self.regex_members(regex) == 1
            && let Some(resolved) = self.recorded().regexes.get(regex)
        {
            count_resolved(&mut topics, resolved, false);
        }
        topics
    }

    /// The topics that the group subscribes to without these members, and the regular expressions that go with them.
    pub(in crate::groups) fn topics_without(
        &self,
        members: &[ConsumerMember],
    ) -> (BTreeMap<StrBytes, usize>, Vec<StrBytes>) {
        let mut topics = self.topics().clone();
        let mut leaving: BTreeMap<StrBytes, usize> = BTreeMap::new();
        for member in members {
            count_member(&mut topics, member, false);
            member.regex().into_iter().for_each(|regex| count(&mut leaving, regex, true));
        }
        let gone: Vec<StrBytes> = leaving
            .into_iter()
            .filter(|(regex, number)| self.regex_members(regex) == *number)
            .map(|(r, _)| r)
            .collect();
        for resolved in gone.iter().filter_map(|regex| self.recorded().regexes.get(regex)) {
            count_resolved(&mut topics, resolved, false);
        }
        (topics, gone)
    }

    /// When a regular expression of the group was last resolved, in milliseconds since the epoch, and by which version of
    /// the topics. `None`: none has been.
    pub(in crate::groups) fn last_resolved(&self) -> Option<(i64, i64)> {
        let resolved = self.recorded().regexes.values();
        resolved.map(|resolved| (resolved.timestamp_ms, resolved.version)).max()
    }
}

/// The ids of the topics of these names that exist.
pub(in crate::groups) fn topic_ids<'a>(
    names: impl IntoIterator<Item = &'a StrBytes>,
    environment: &dyn Environment,
) -> BTreeMap<TopicId, i32> {
    let found = names.into_iter().filter_map(|name| environment.topic(name));
    found.map(|topic| (topic.id, topic.partitions)).collect()
}

/// The hash of the topics of these names; 0 if none of them exists.
pub(in crate::groups) fn metadata_hash<'a>(
    names: impl IntoIterator<Item = &'a StrBytes>,
    environment: &dyn Environment,
) -> i64 {
    let mut hash = Fnv::new();
    let mut any = false;
    for topic in names.into_iter().filter_map(|name| environment.topic(name)) {
        any = true;
        hash.write(&(topic.name.len() as u64).to_be_bytes());
        hash.write(topic.name.as_bytes());
        hash.write(topic.id.0.as_bytes());
        hash.write(&topic.partitions.to_be_bytes());
    }
    if any { hash.0 as i64 } else { 0 }
}

/// 64-bit FNV-1a: the same on every machine and in every version, as a stored hash has to be.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
