//! The state of one consumer group: what its records say, and what follows from that.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::super::counts::count;
use super::super::group::CONSUMER_PROTOCOL_TYPE;
use super::super::records::consumer_group::{
    ConsumerGroupRegularExpressionValue as ResolvedRegex, ConsumerGroupTargetAssignmentMemberValue as Target,
};
use super::change::Change;
use super::member::{ConsumerMember, LEAVING_EPOCH, MemberState};

/// Kafka's `ConsumerGroupState`. Its fifth, Dead, never belongs to a group that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum ConsumerGroupState {
    Empty,
    /// The target assignment is of an earlier epoch than the group.
    Assigning,
    /// Members are on their way to the target assignment.
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    /// As ListGroups and ConsumerGroupDescribe print it.
    pub(in crate::groups) fn name(self) -> &'static str {
        match self {
            ConsumerGroupState::Empty => "Empty",
            ConsumerGroupState::Assigning => "Assigning",
            ConsumerGroupState::Reconciling => "Reconciling",
            ConsumerGroupState::Stable => "Stable",
        }
    }
}

/// The epoch, and that of the target assignment, of a group whose records say neither. A first member that subscribes by
/// name therefore makes it 2; one that subscribes by a regular expression leaves it until that has been resolved.
const INITIAL_EPOCH: i32 = 1;

/// What the records of a group say. Cheap to copy: a pointer for each member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Recorded {
    pub(in crate::groups) epoch: i32,
    pub(in crate::groups) metadata_hash: i64,
    pub(in crate::groups) members: BTreeMap<StrBytes, ConsumerMember>,
    pub(in crate::groups) target_epoch: i32,
    /// When the target assignment was computed, in milliseconds since the epoch; 0 if that is not known.
    pub(in crate::groups) target_at_ms: i64,
    pub(in crate::groups) targets: BTreeMap<StrBytes, Rc<Target>>,
    pub(in crate::groups) regexes: BTreeMap<StrBytes, Rc<ResolvedRegex>>,
    /// There is a record of Kafka 4.0, to be deleted with the next change.
    pub(in crate::groups) has_partition_metadata: bool,
}

impl Default for Recorded {
    fn default() -> Self {
        Recorded {
            epoch: INITIAL_EPOCH,
            metadata_hash: 0,
            members: BTreeMap::new(),
            target_epoch: INITIAL_EPOCH,
            target_at_ms: 0,
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            has_partition_metadata: false,
        }
    }
}

impl Recorded {
    pub(in crate::groups) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Makes a change. False: the group is gone with it.
    pub(in crate::groups) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Group(None) => return false,
            Change::Group(Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            Change::PartitionMetadata(there) => self.has_partition_metadata = *there,
            Change::Member(id, Some(metadata)) => self.member_mut(id).metadata = metadata.clone(),
            Change::Member(id, None) => {
                self.members.remove(id);
            }
            Change::Current(id, Some(current)) => self.member_mut(id).current = current.clone(),
            Change::Current(id, None) => {
                // The tombstone of the member itself follows.
                if let Some(member) = self.members.get_mut(id) {
                    member.current = ConsumerMember::new(id.clone()).current;
                    Rc::make_mut(&mut member.current).member_epoch = LEAVING_EPOCH;
                }
            }
            Change::TargetEpoch(value) => {
                self.target_epoch = value.as_ref().map_or(-1, |value| value.assignment_epoch);
                self.target_at_ms = value.as_ref().map_or(0, |value| value.assignment_timestamp_ms);
            }
            Change::Target(id, Some(target)) => {
                self.targets.insert(id.clone(), target.clone());
            }
            Change::Target(id, None) => {
                self.targets.remove(id);
            }
            Change::Regex(regex, Some(resolved)) => {
                self.regexes.insert(regex.clone(), resolved.clone());
            }
            Change::Regex(regex, None) => {
                self.regexes.remove(regex);
            }
            Change::Classic(_) => {}
        }
        true
    }

    fn member_mut(&mut self, id: &StrBytes) -> &mut ConsumerMember {
        self.members.entry(id.clone()).or_insert_with(|| ConsumerMember::new(id.clone()))
    }

    /// Whether the member subscribes to the topic, by name or by a regular expression that has been resolved.
    pub(in crate::groups) fn is_subscribed(&self, member: &ConsumerMember, topic: &StrBytes) -> bool {
        let by_regex = || {
            member.regex().and_then(|regex| self.regexes.get(regex)).is_some_and(|found| found.topics.contains(topic))
        };
        member.metadata.subscribed_topic_names.contains(topic) || by_regex()
    }
}

/// Counts kept up with every change, each of which could be had from [`Recorded`] by looking at all members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Index {
    /// Member id of each instance id.
    static_ids: HashMap<StrBytes, StrBytes>,
    /// How many members have each partition: 1, unless records got lost.
    owners: BTreeMap<(TopicId, i32), usize>,
    /// How many members and resolved regular expressions ask for each topic.
    topics: BTreeMap<StrBytes, usize>,
    /// How many members subscribe to each regular expression.
    regexes: BTreeMap<StrBytes, usize>,
    /// How many members ask for each assignor.
    assignors: BTreeMap<StrBytes, usize>,
    classic_members: usize,
    /// How many classic members support each protocol.
    classic_protocols: BTreeMap<StrBytes, usize>,
}

/// Counts the topics that a member subscribes to by name, or does so no more.
pub(in crate::groups) fn count_member(topics: &mut BTreeMap<StrBytes, usize>, member: &ConsumerMember, add: bool) {
    member.metadata.subscribed_topic_names.iter().for_each(|topic| count(topics, topic, add));
}

/// Counts the topics of a regular expression: once, however many members subscribe to it.
pub(in crate::groups) fn count_resolved(topics: &mut BTreeMap<StrBytes, usize>, resolved: &ResolvedRegex, add: bool) {
    resolved.topics.iter().for_each(|topic| count(topics, topic, add));
}

impl Index {
    fn of(recorded: &Recorded) -> Index {
        let mut index = Index::default();
        recorded.members.values().for_each(|member| index.member(member, true));
        recorded.regexes.values().for_each(|resolved| count_resolved(&mut index.topics, resolved, true));
        index
    }

    fn member(&mut self, member: &ConsumerMember, add: bool) {
        if let Some(instance_id) = member.instance_id() {
            if add {
                self.static_ids.insert(instance_id.clone(), member.id.clone());
            } else if self.static_ids.get(instance_id) == Some(&member.id) {
                self.static_ids.remove(instance_id);
            }
        }
        member.owned().for_each(|partition| count(&mut self.owners, &partition, add));
        count_member(&mut self.topics, member, add);
        member.regex().into_iter().for_each(|regex| count(&mut self.regexes, regex, add));
        member.metadata.server_assignor.iter().for_each(|assignor| count(&mut self.assignors, assignor, add));
        if let Some(classic) = member.classic() {
            self.classic_members = if add { self.classic_members + 1 } else { self.classic_members - 1 };
            let protocols = &mut self.classic_protocols;
            classic.supported_protocols.iter().for_each(|protocol| count(protocols, &protocol.name, add));
        }
    }
}

/// One consumer group.
///
/// Invariant: `index` is what [`Index::of`] makes of `recorded`.
#[derive(Clone, Debug)]
pub(in crate::groups) struct ConsumerGroup {
    pub(in crate::groups) id: StrBytes,
    recorded: Recorded,
    index: Index,
    /// Topics may have changed since the metadata hash was computed.
    pub(in crate::groups) refresh_wanted: bool,
    /// The epoch in which a member was when it was told to give partitions back, while it has yet to.
    pub(in crate::groups) revocations: HashMap<StrBytes, i32>,
}

impl ConsumerGroup {
    pub(in crate::groups) fn new(id: StrBytes) -> ConsumerGroup {
        ConsumerGroup::restored(id, Recorded::default())
    }

    pub(in crate::groups) fn restored(id: StrBytes, recorded: Recorded) -> ConsumerGroup {
        let index = Index::of(&recorded);
        ConsumerGroup { id, recorded, index, refresh_wanted: true, revocations: HashMap::new() }
    }

    pub(in crate::groups) fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    pub(in crate::groups) fn state(&self) -> ConsumerGroupState {
        self.recorded.state()
    }

    pub(in crate::groups) fn members(&self) -> &BTreeMap<StrBytes, ConsumerMember> {
        &self.recorded.members
    }

    pub(in crate::groups) fn member(&self, id: &StrBytes) -> Option<&ConsumerMember> {
        self.recorded.members.get(id)
    }

    pub(in crate::groups) fn static_member(&self, instance_id: &StrBytes) -> Option<&ConsumerMember> {
        self.member(self.index.static_ids.get(instance_id)?)
    }

    pub(in crate::groups) fn target(&self, member_id: &StrBytes) -> Option<&Rc<Target>> {
        self.recorded.targets.get(member_id)
    }

    pub(in crate::groups) fn is_owned(&self, topic: TopicId, partition: i32) -> bool {
        self.index.owners.contains_key(&(topic, partition))
    }

    pub(in crate::groups) fn topics(&self) -> &BTreeMap<StrBytes, usize> {
        &self.index.topics
    }

    pub(in crate::groups) fn regexes(&self) -> &BTreeMap<StrBytes, usize> {
        &self.index.regexes
    }

    /// Members that subscribe to this regular expression.
    pub(in crate::groups) fn regex_members(&self, regex: &StrBytes) -> usize {
        self.index.regexes.get(regex).copied().unwrap_or(0)
    }

    pub(in crate::groups) fn assignors(&self) -> &BTreeMap<StrBytes, usize> {
        &self.index.assignors
    }

    pub(in crate::groups) fn classic_members(&self) -> usize {
        self.index.classic_members
    }

    /// Whether a classic member that speaks `protocols` may be in the group: one of them must be supported by all the
    /// classic members.
    pub(in crate::groups) fn supports_protocols<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a StrBytes>,
    ) -> bool {
        let all = self.index.classic_members;
        protocol_type == CONSUMER_PROTOCOL_TYPE
            && protocols.any(|name| self.index.classic_protocols.get(name).copied().unwrap_or(0) == all)
    }

    /// Makes a change. False: the group is gone with it.
    pub(in crate::groups) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Member(id, _) | Change::Current(id, _) => {
                let before = self.recorded.members.get(id).cloned();
                self.recorded.apply(change);
                before.iter().for_each(|member| self.index.member(member, false));
                self.recorded.members.get(id).iter().for_each(|member| self.index.member(member, true));
                true
            }
            Change::Regex(regex, _) => {
                let before = self.recorded.regexes.get(regex).cloned();
                self.recorded.apply(change);
                let topics = &mut self.index.topics;
                before.iter().for_each(|resolved| count_resolved(topics, resolved, false));
                self.recorded.regexes.get(regex).iter().for_each(|resolved| count_resolved(topics, resolved, true));
                true
            }
            _ => self.recorded.apply(change),
        }
    }

    /// Whether a partition that the member waits for is still somebody else's.
    pub(in crate::groups) fn waits_for_release(&self, member: &ConsumerMember) -> bool {
        let target = self.target(&member.id).map(|target| &target.partitions);
        member.state() == MemberState::UnreleasedPartitions
            && target.into_iter().flatten().any(|(topic, partitions)| {
                let has = member.current.assigned.get(topic);
                partitions.iter().any(|partition| {
                    !has.is_some_and(|has| has.contains_key(partition)) && self.is_owned(*topic, *partition)
                })
            })
    }

    /// Checks the invariants that the type does not enforce.
    #[cfg(test)]
    pub(in crate::groups) fn check(&self) {
        assert_eq!(self.index, Index::of(&self.recorded));
    }
}
