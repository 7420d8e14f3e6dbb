//! The state of one classic group, and the changes to it that involve neither time, answers nor records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::protocol::StrBytes;

use super::api::{RequestToken, StoreId};
use super::counts::most;
use super::embedded;
use super::member::{Member, Protocol};

/// Protocol type of the groups whose member metadata the coordinator can read (`ConsumerProtocol`).
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Kafka's `ClassicGroupState`. Kafka's fifth, Dead, never belongs to a group here: a group that is gone is not in the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupState {
    /// No members; offsets may be there.
    Empty,
    /// Waiting for the members to (re)join.
    PreparingRebalance,
    /// Every member has joined; waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member has, or can get, its assignment.
    Stable,
}

impl GroupState {
    /// As ListGroups and DescribeGroups print it.
    pub(super) fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// State of an initial rebalance, whose end moves as members come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// The delay under way.
    pub(super) delay_ms: i64,
    /// What may still be added, so that all delays together do not pass the rebalance timeout.
    pub(super) remaining_ms: i64,
}

/// One classic group.
///
/// Invariants:
/// - `awaiting_join_count` is the number of members with a waiting JoinGroup; `supported` counts each protocol's members.
/// - While there are members, there is a leader, it is one of them, and some protocol is supported by all.
/// - `static_members` maps exactly the instance ids of the static members to their member ids.
/// - A member id is not both in `members` and in `pending_join`.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: StrBytes,
    state: GroupState,
    previous_state: GroupState,
    /// When it came into its state, in milliseconds since the epoch; `None` in records of old format.
    state_since_ms: Option<i64>,
    /// `None`: a simple group, which only stores offsets.
    pub(super) protocol_type: Option<StrBytes>,
    pub(super) protocol: Option<StrBytes>,
    pub(super) generation: i32,
    pub(super) leader: Option<StrBytes>,
    members: BTreeMap<StrBytes, Member>,
    static_members: HashMap<StrBytes, StrBytes>,
    /// Member ids handed out (KIP-394) whose owners have not joined yet.
    pub(super) pending_join: BTreeSet<StrBytes>,
    /// Members of this generation that have not sent their SyncGroup yet.
    pub(super) pending_sync: BTreeSet<StrBytes>,
    awaiting_join_count: usize,
    supported: HashMap<StrBytes, usize>,
    /// Topics that any member subscribes to, where the coordinator can tell.
    subscribed_topics: Option<BTreeSet<StrBytes>>,
    pub(super) initial_delay: Option<InitialDelay>,
    /// A member came during the initial delay, so that it is to be extended.
    pub(super) new_member_added: bool,
    /// The store that made this group known, until it is durable.
    pub(super) creation: Option<StoreId>,
    /// The store that carries the assignment of this generation, until it is durable.
    pub(super) assignment_store: Option<StoreId>,
}

impl Group {
    pub(super) fn new(id: StrBytes, now_ms: i64) -> Group {
        Group::restored(id, GroupState::Empty, Some(now_ms))
    }

    /// A group without members in `state`; what a record says of it is filled in by the caller.
    pub(super) fn restored(id: StrBytes, state: GroupState, state_since_ms: Option<i64>) -> Group {
        Group {
            id,
            state,
            previous_state: state,
            state_since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join_count: 0,
            supported: HashMap::new(),
            subscribed_topics: None,
            initial_delay: None,
            new_member_added: false,
            creation: None,
            assignment_store: None,
        }
    }

    pub(super) fn state(&self) -> GroupState {
        self.state
    }

    pub(super) fn previous_state(&self) -> GroupState {
        self.previous_state
    }

    pub(super) fn state_since_ms(&self) -> Option<i64> {
        self.state_since_ms
    }

    pub(super) fn transition(&mut self, to: GroupState, now_ms: i64) {
        debug_assert!(to != GroupState::Stable || self.state == GroupState::CompletingRebalance, "{:?}", self.state);
        self.previous_state = self.state;
        self.state = to;
        self.state_since_ms = Some(now_ms);
    }

    /// Takes the group for one that has been stable all along, for a rebalance to begin from; nobody may wait in it.
    pub(super) fn forget_rebalance(&mut self, now_ms: i64) {
        self.pending_join.clear();
        self.pending_sync.clear();
        self.initial_delay = None;
        self.creation = None;
        self.assignment_store = None;
        for member in self.members.values_mut() {
            self.awaiting_join_count -= usize::from(member.awaiting_join.take().is_some());
            member.awaiting_sync = None;
        }
        self.state = if self.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.previous_state = self.state;
        self.state_since_ms = Some(now_ms);
    }

    /// A rebalance can start from anywhere but from within one.
    pub(super) fn can_rebalance(&self) -> bool {
        self.state != GroupState::PreparingRebalance
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub(super) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn member_ids(&self) -> Vec<StrBytes> {
        self.members.keys().cloned().collect()
    }

    pub(super) fn member_count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn has_member(&self, id: &StrBytes) -> bool {
        self.members.contains_key(id)
    }

    pub(super) fn member(&self, id: &StrBytes) -> Option<&Member> {
        self.members.get(id)
    }

    /// For the fields that the group does not count.
    pub(super) fn member_mut(&mut self, id: &StrBytes) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(super) fn is_leader(&self, id: &StrBytes) -> bool {
        self.leader.as_ref() == Some(id)
    }

    pub(super) fn static_member_id(&self, instance_id: &StrBytes) -> Option<&StrBytes> {
        self.static_members.get(instance_id)
    }

    pub(super) fn awaiting_join_count(&self) -> usize {
        self.awaiting_join_count
    }

    /// Adds a member that is not in the group; the first one becomes the leader and sets the protocol type.
    pub(super) fn add_member(&mut self, member: Member) {
        debug_assert!(!self.members.contains_key(&member.id));
        if self.members.is_empty() {
            self.protocol_type = Some(member.protocol_type.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_join.remove(&member.id);
        self.awaiting_join_count += usize::from(member.awaiting_join.is_some());
        self.count_protocols(&member.protocols, true);
        self.members.insert(member.id.clone(), member);
    }

    /// Forgets a member or pending member. The requests that still wait in what is returned are the caller's to answer.
    pub(super) fn remove_member(&mut self, id: &StrBytes) -> Option<Member> {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.awaiting_join_count -= usize::from(member.awaiting_join.is_some());
        self.count_protocols(&member.protocols, false);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Gives a static member a new id and keeps the rest (KIP-345). Returns the join and sync requests of the old id that
    /// were waiting; they are fenced.
    pub(super) fn replace_static_member(
        &mut self,
        old_id: &StrBytes,
        new_id: &StrBytes,
    ) -> (Option<RequestToken>, Option<RequestToken>) {
        let Some(mut member) = self.members.remove(old_id) else { return (None, None) };
        let join = member.awaiting_join.take();
        let sync = member.awaiting_sync.take();
        self.awaiting_join_count -= usize::from(join.is_some());
        member.id = new_id.clone();
        member.is_new = false;
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        (join, sync)
    }

    /// Sets what a member says of itself when it joins again.
    pub(super) fn update_member(
        &mut self,
        id: &StrBytes,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.protocols, protocols.clone());
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        self.count_protocols(&before, false);
        self.count_protocols(&protocols, true);
    }

    /// Makes `token` the member's waiting JoinGroup; returns the one it takes the place of.
    pub(super) fn await_join(&mut self, id: &StrBytes, token: RequestToken) -> Option<RequestToken> {
        let member = self.members.get_mut(id)?;
        let before = member.awaiting_join.replace(token);
        self.awaiting_join_count += usize::from(before.is_none());
        before
    }

    /// Takes the member's waiting JoinGroup, to answer it.
    pub(super) fn take_join(&mut self, id: &StrBytes) -> Option<RequestToken> {
        let token = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_join_count -= usize::from(token.is_some());
        token
    }

    pub(super) fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.awaiting_join_count && self.pending_join.is_empty()
    }

    /// The longest rebalance timeout of any member; 0 without members.
    pub(super) fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|m| i64::from(m.rebalance_timeout_ms)).fold(0, i64::max)
    }

    /// Whether a member that speaks `protocols` of `protocol_type` may be in the group: one of them must be supported by
    /// all members.
    pub(super) fn supports_protocols<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a StrBytes>,
    ) -> bool {
        if self.state == GroupState::Empty {
            !protocol_type.is_empty() && protocols.next().is_some()
        } else {
            self.protocol_type.as_deref() == Some(protocol_type)
                && protocols.any(|name| self.supported.get(name).copied().unwrap_or(0) == self.members.len())
        }
    }

    /// The protocol with the most votes among those that all members support; each member votes for the first it lists.
    /// Of equal ones the first in alphabetical order (Kafka's choice then hangs on its hash table). `None` without members.
    pub(super) fn select_protocol(&self) -> Option<StrBytes> {
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            let candidate = |p: &&Protocol| self.supported.get(&p.name) == Some(&self.members.len());
            if let Some(protocol) = member.protocols.iter().find(candidate) {
                *votes.entry(&protocol.name).or_default() += 1;
            }
        }
        most(&votes).map(|name| (*name).clone())
    }

    /// Keeps the leader if it has joined, else makes the first member that has the leader. False: nobody has joined.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|m| m.awaiting_join.is_some()) {
            return true;
        }
        match self.members.values().find(|m| m.awaiting_join.is_some()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// Begins the next generation, with whoever is in the group.
    pub(super) fn init_next_generation(&mut self, now_ms: i64) {
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.assignment_store = None;
        self.protocol = self.select_protocol();
        debug_assert_eq!(self.protocol.is_some(), !self.members.is_empty(), "members without a common protocol");
        self.refresh_subscribed_topics();
        let state = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.transition(state, now_ms);
        self.pending_sync.clear();
    }

    /// Reads the members' subscriptions for the chosen protocol, where they can be read.
    pub(super) fn refresh_subscribed_topics(&mut self) {
        self.subscribed_topics = self.read_subscribed_topics();
    }

    fn read_subscribed_topics(&self) -> Option<BTreeSet<StrBytes>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(embedded::topics(&member.metadata(protocol)).ok()?);
        }
        Some(topics)
    }

    pub(super) fn knows_subscribed_topics(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// Whether a member subscribes to `topic`. A consumer group whose subscriptions cannot be read counts as subscribed.
    pub(super) fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The member list that the leader gets.
    pub(super) fn join_response_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.clone().unwrap_or_default();
        self.members
            .values()
            .map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(member.id.clone())
                    .with_group_instance_id(member.instance_id.clone())
                    .with_metadata(member.metadata(&protocol))
            })
            .collect()
    }

    /// Checks that the member exists and, for a static one, that no later member took its place.
    pub(super) fn validate_member(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
    ) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(existing) if existing != member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.has_member(member_id) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// Whether nothing would be lost with the group.
    pub(super) fn is_pristine(&self) -> bool {
        self.state == GroupState::Empty
            && self.generation == 0
            && self.protocol_type.is_none()
            && self.members.is_empty()
            && self.pending_join.is_empty()
    }

    fn count_protocols(&mut self, protocols: &[Protocol], add: bool) {
        for protocol in protocols {
            if add {
                *self.supported.entry(protocol.name.clone()).or_default() += 1;
            } else if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
    }

    /// Checks the invariants that the type does not enforce.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let awaiting = self.members.values().filter(|m| m.awaiting_join.is_some()).count();
        assert_eq!(self.awaiting_join_count, awaiting, "count of waiting joins");
        assert!(self.pending_join.iter().all(|id| !self.members.contains_key(id)), "pending and a member");
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)), "pending sync and no member");
        assert_eq!(
            self.leader.as_ref().is_some_and(|leader| self.members.contains_key(leader)),
            !self.members.is_empty(),
            "leader {:?}",
            self.leader
        );
        let mut supported: HashMap<StrBytes, usize> = HashMap::new();
        for protocol in self.members.values().flat_map(|m| &m.protocols) {
            *supported.entry(protocol.name.clone()).or_default() += 1;
        }
        assert_eq!(self.supported, supported);
        assert!(self.members.is_empty() || self.select_protocol().is_some(), "no common protocol");
        let static_ids: HashMap<StrBytes, StrBytes> =
            self.members.values().filter_map(|m| Some((m.instance_id.clone()?, m.id.clone()))).collect();
        assert_eq!(self.static_members, static_ids);
        assert_eq!(self.members.is_empty(), self.state == GroupState::Empty || self.members.is_empty());
        if self.state == GroupState::Empty {
            assert!(self.members.is_empty(), "empty with members");
        }
    }
}
