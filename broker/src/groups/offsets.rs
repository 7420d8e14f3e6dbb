//! Committed offsets of all groups of one coordinator: what is durable, and what is on its way there.
//!
//! A change takes two steps. [`Offsets::propose`] notes it with the store that carries it; clients do not see it yet.
//! [`Offsets::settle`] makes it visible once that store is durable, or drops it. Deletions cover all that
//! may be there when every store before them has ended, well or not.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::api::StoreId;
use super::records::OffsetCommitValue;
use crate::group_lag::{CommittedOffset, GroupOffsets};

/// A partition in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OffsetKey {
    pub(super) group: StrBytes,
    pub(super) topic: StrBytes,
    pub(super) partition: i32,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    durable: Option<OffsetCommitValue>,
    /// In the order of the log; `None` is a tombstone.
    proposed: Vec<(StoreId, Option<OffsetCommitValue>)>,
}

impl Entry {
    /// The newest value that is durable or may become so. A tombstone on its way does not hide it, since its store may fail
    /// and leave the value.
    fn possible(&self) -> Option<&OffsetCommitValue> {
        self.proposed.iter().rev().find_map(|(_, value)| value.as_ref()).or(self.durable.as_ref())
    }

    fn is_void(&self) -> bool {
        self.durable.is_none() && self.proposed.is_empty()
    }
}

type Partitions = BTreeMap<i32, Entry>;
type Topics = BTreeMap<StrBytes, Partitions>;

/// Which of the two views a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// What clients may be told.
    Durable,
    /// What may be there when everything on its way has ended, one way or the other: what a deletion has to cover.
    Possible,
}

/// The offsets. No entry is void, and no map in it is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    groups: HashMap<StrBytes, Topics>,
}

impl Offsets {
    /// Notes a change that `store` carries. Stores come in the order of the log.
    pub(super) fn propose(&mut self, key: &OffsetKey, store: StoreId, value: Option<OffsetCommitValue>) {
        let entry = self.entry(key);
        debug_assert!(entry.proposed.last().is_none_or(|(before, _)| *before <= store));
        entry.proposed.push((store, value));
    }

    /// Replays a record.
    pub(super) fn load(&mut self, key: &OffsetKey, value: Option<OffsetCommitValue>) {
        if value.is_some() {
            self.entry(key).durable = value;
        } else {
            self.change(key, |entry| entry.durable = None);
        }
    }

    /// Makes what `store` carried for `key` visible, or drops it.
    pub(super) fn settle(&mut self, key: &OffsetKey, store: StoreId, durable: bool) {
        self.change(key, |entry| {
            while let Some(place) = entry.proposed.iter().position(|(id, _)| *id == store) {
                let (_, value) = entry.proposed.remove(place);
                if durable {
                    entry.durable = value;
                }
            }
        });
    }

    pub(super) fn get(
        &self,
        view: View,
        group: &StrBytes,
        topic: &StrBytes,
        partition: i32,
    ) -> Option<&OffsetCommitValue> {
        let entry = self.groups.get(group)?.get(topic)?.get(&partition)?;
        match view {
            View::Durable => entry.durable.as_ref(),
            View::Possible => entry.possible(),
        }
    }

    /// All offsets of a group, in order of topic and partition.
    pub(super) fn of_group<'a>(
        &'a self,
        view: View,
        group: &StrBytes,
    ) -> impl Iterator<Item = (&'a StrBytes, i32, &'a OffsetCommitValue)> {
        self.groups.get(group).into_iter().flatten().flat_map(move |(topic, partitions)| {
            partitions.iter().filter_map(move |(partition, entry)| {
                let value = match view {
                    View::Durable => entry.durable.as_ref(),
                    View::Possible => entry.possible(),
                };
                value.map(|value| (topic, *partition, value))
            })
        })
    }

    /// What a group may have an offset of.
    pub(super) fn keys_of_group(&self, group: &StrBytes) -> Vec<OffsetKey> {
        let Some((group, _)) = self.groups.get_key_value(group) else { return Vec::new() };
        self.of_group(View::Possible, group)
            .map(|(topic, partition, _)| OffsetKey { group: group.clone(), topic: topic.clone(), partition })
            .collect()
    }

    /// Groups that have offsets, durable or on their way.
    pub(super) fn group_ids(&self) -> Vec<StrBytes> {
        self.groups.keys().cloned().collect()
    }

    /// What is durable of a group, if that is no more than `room` partitions; else how many there are. Names are shared, not
    /// copied.
    pub(super) fn durable(&self, group: &StrBytes, room: usize) -> Result<GroupOffsets, usize> {
        let partitions = self.groups.get(group).map_or(0, |topics| topics.values().map(BTreeMap::len).sum());
        if partitions > room {
            return Err(partitions);
        }
        let offsets = self.of_group(View::Durable, group).map(|(topic, partition, value)| CommittedOffset {
            topic: topic.clone(),
            topic_id: value.topic_id,
            partition,
            offset: value.offset.0,
        });
        Ok(GroupOffsets { group: group.clone(), offsets: offsets.collect() })
    }

    /// Partitions of `topic` that may have an offset, in any group. Offsets that do not say which topic of
    /// that name they are of count.
    pub(super) fn of_topic(&self, topic: &StrBytes, topic_id: TopicId) -> Vec<OffsetKey> {
        let mut keys = Vec::new();
        for (group, topics) in &self.groups {
            for (partition, entry) in topics.get(topic).into_iter().flatten() {
                let meant = |value: &OffsetCommitValue| value.topic_id == TopicId::ZERO || value.topic_id == topic_id;
                if entry.possible().is_some_and(meant) {
                    keys.push(OffsetKey { group: group.clone(), topic: topic.clone(), partition: *partition });
                }
            }
        }
        keys.sort_by(|a, b| (&a.group, a.partition).cmp(&(&b.group, b.partition)));
        keys
    }

    /// Whether anything is known of a group, durable or on its way.
    pub(super) fn has_group(&self, group: &StrBytes) -> bool {
        self.groups.contains_key(group)
    }

    /// Offsets of all groups in the durable view.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.groups.values().flat_map(|t| t.values()).flat_map(|p| p.values()).filter(|e| e.durable.is_some()).count()
    }

    fn entry(&mut self, key: &OffsetKey) -> &mut Entry {
        let topics = self.groups.entry(key.group.clone()).or_default();
        topics.entry(key.topic.clone()).or_default().entry(key.partition).or_default()
    }

    /// Changes an entry that exists, and forgets it and the maps around it when nothing is left.
    fn change(&mut self, key: &OffsetKey, change: impl FnOnce(&mut Entry)) {
        let Some(topics) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = topics.get_mut(&key.topic) else { return };
        let Some(entry) = partitions.get_mut(&key.partition) else { return };
        change(entry);
        if entry.is_void() {
            partitions.remove(&key.partition);
            if partitions.is_empty() {
                topics.remove(&key.topic);
            }
            if topics.is_empty() {
                self.groups.remove(&key.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{LeaderEpoch, Offset};

    fn key(group: &str, partition: i32) -> OffsetKey {
        OffsetKey { group: group.to_owned().into(), topic: StrBytes::from_static_str("t"), partition }
    }

    fn value(offset: i64) -> OffsetCommitValue {
        OffsetCommitValue {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: StrBytes::default(),
            commit_timestamp_ms: 0,
            expire_timestamp_ms: None,
            topic_id: TopicId::ZERO,
        }
    }

    #[test]
    fn metrics_get_what_is_durable_of_a_group_if_there_is_room_for_all_of_it() {
        let mut offsets = Offsets::default();
        for partition in 0..3 {
            offsets.load(&key("large", partition), Some(value(5)));
        }
        offsets.load(&key("small", 0), Some(value(7)));
        offsets.propose(&key("small", 0), StoreId(1), Some(value(9)));
        let told = |group: &str, room| {
            let told = offsets.durable(&group.to_owned().into(), room)?;
            Ok(told.offsets.iter().map(|offset| offset.offset).collect::<Vec<_>>())
        };
        assert_eq!(told("large", 3), Ok(vec![5, 5, 5]));
        assert_eq!(told("large", 2), Err(3));
        assert_eq!(told("small", 1), Ok(vec![7]), "what is not durable is not told");
        assert_eq!(told("none", 0), Ok(vec![]));
        let mut ids = offsets.group_ids();
        ids.sort();
        assert_eq!(ids, ["large", "small"].map(StrBytes::from_static_str));
    }
}
