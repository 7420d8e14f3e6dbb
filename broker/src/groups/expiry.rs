//! Expiry of offsets (`offsets.retention.minutes`) and of the groups that are left with none (KIP-211).
//!
//! A cleanup looks at every group once per `offsets.retention.check.interval.ms`, a bounded number of them in each call of
//! `tick`, so that many groups do not hold up a shard.

use kafka_protocol::protocol::StrBytes;

use super::commit::STORE_RECORDS_MAX;
use super::consumer::ConsumerGroupState;
use super::coordinator::{GroupCoordinator, removal};
use super::group::{Group, GroupState};
use super::offsets::{OffsetKey, View};
use super::rebalance::group_tombstone;
use super::records::OffsetCommitValue;
use super::shell::Pending;
use super::timers::TimerKey;

/// Groups and offsets that one call looks at before it leaves the rest to the next.
const LOOKED_AT_MAX: usize = 10_000;

/// What expired in one group.
struct Expired {
    offsets: Vec<OffsetKey>,
    /// Nothing is left in it and nobody is.
    group: bool,
    looked_at: usize,
}

impl GroupCoordinator {
    pub(super) fn schedule_cleanup(&mut self, now_ms: i64) {
        let interval_ms = self.shell.config.offsets_retention_check_interval_ms.max(1);
        self.shell.timers.schedule(TimerKey::Cleanup, now_ms.saturating_add(interval_ms));
    }

    pub(super) fn clean_up(&mut self, now_ms: i64) {
        if self.cleanup_queue.is_empty() {
            self.cleanup_queue = self.groups.keys().chain(self.consumers.keys()).cloned().collect();
            self.cleanup_queue.sort_by(|a, b| b.cmp(a));
        }
        let mut looked_at = 0;
        let mut records = Vec::new();
        let mut keys = Vec::new();
        let mut removed = Vec::new();
        let mut changed = Vec::new();
        while looked_at < LOOKED_AT_MAX && records.len() < STORE_RECORDS_MAX {
            let Some(group_id) = self.cleanup_queue.pop() else { break };
            let Some(expired) = self.expired(&group_id, now_ms) else { continue };
            looked_at += expired.looked_at;
            let store = self.shell.next_store_id();
            records.extend(self.propose_tombstones(&expired.offsets, store));
            keys.extend(expired.offsets);
            if expired.group && self.consumers.contains_key(&group_id) {
                // It is empty, and its offsets are all among those above.
                if let Ok(tombstones) = self.delete_consumer_group(&group_id, store) {
                    records.extend(tombstones);
                    changed.push(group_id);
                }
            } else if expired.group {
                records.extend(group_tombstone(&group_id));
                removed.extend(self.remove_group(&group_id).0);
            }
        }
        if !records.is_empty() {
            self.shell.store(records, Pending { changed, ..removal(keys, removed) });
        }
        if self.cleanup_queue.is_empty() {
            self.schedule_cleanup(now_ms);
        } else {
            self.shell.timers.schedule(TimerKey::Cleanup, now_ms);
        }
    }

    fn expired(&self, id: &StrBytes, now_ms: i64) -> Option<Expired> {
        let classic = self.groups.get(id);
        let consumer = self.consumers.get(id);
        let id = classic.map(|group| &group.id).or(consumer.map(|group| &group.id))?;
        let mut expired = Expired { offsets: Vec::new(), group: true, looked_at: 1 };
        for (topic, partition, value) in self.offsets.of_group(View::Possible, id) {
            expired.looked_at += 1;
            let is_expired = match classic {
                Some(group) => self.is_expired(group, value, now_ms),
                None => self.is_past(value, value.commit_timestamp_ms, now_ms),
            };
            if is_expired && !self.is_subscribed_to(id, topic) {
                expired.offsets.push(OffsetKey { group: id.clone(), topic: topic.clone(), partition });
            } else {
                expired.group = false;
            }
        }
        // Kafka also deletes a group whose members have their ids and have not joined yet; they would have to start over.
        let is_empty = |group: &Group| {
            group.state() == GroupState::Empty && group.pending_join.is_empty() && group.creation.is_none()
        };
        expired.group &=
            classic.is_none_or(is_empty) && consumer.is_none_or(|group| group.state() == ConsumerGroupState::Empty);
        Some(expired)
    }

    fn is_expired(&self, group: &Group, value: &OffsetCommitValue, now_ms: i64) -> bool {
        let since_ms = if group.protocol_type.is_none() {
            // A simple group: nobody knows whether its consumers live, so every offset ages from its commit.
            value.commit_timestamp_ms
        } else if group.state() == GroupState::Empty {
            // From when the last member left; records of old format do not say.
            group.state_since_ms().unwrap_or(value.commit_timestamp_ms)
        } else if group.state() == GroupState::Stable
            && group.uses_consumer_protocol()
            && group.knows_subscribed_topics()
        {
            // Of a topic that no member subscribes to any more.
            value.commit_timestamp_ms
        } else {
            return false;
        };
        self.is_past(value, since_ms, now_ms)
    }

    fn is_past(&self, value: &OffsetCommitValue, since_ms: i64, now_ms: i64) -> bool {
        match value.expire_timestamp_ms {
            Some(expire_timestamp_ms) => now_ms >= expire_timestamp_ms,
            None => now_ms.saturating_sub(since_ms) >= self.shell.config.offsets_retention_ms,
        }
    }
}
