//! The course of a rebalance: who is waited for, for how long, and what happens when the wait ends.
//!
//! Follows Kafka's `GroupMetadataManager` (classic groups) step by step, its timers included.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::JoinGroupResponse;
use kafka_protocol::messages::SyncGroupResponse;
use kafka_protocol::protocol::StrBytes;

use super::api::{GroupReply, RequestToken, StoreId, StoredRecord};
use super::error_reply::{join_error, sync_error};
use super::group::{Group, GroupState, InitialDelay};
use super::member::Member;
use super::records::{EncodeError, GroupMetadataValue, MemberMetadata, RecordKey};
use super::shell::{Pending, Shell, Then};
use super::timers::TimerKey;

/// One group, at one moment, with what it needs to act.
pub(super) struct Turn<'a> {
    pub(super) group: &'a mut Group,
    pub(super) shell: &'a mut Shell,
    pub(super) now_ms: i64,
}

impl Turn<'_> {
    fn after(&self, timeout_ms: i64) -> i64 {
        self.now_ms.saturating_add(timeout_ms)
    }

    fn join_key(&self) -> TimerKey {
        TimerKey::Join { group: self.group.id.clone() }
    }

    fn sync_key(&self) -> TimerKey {
        TimerKey::Sync { group: self.group.id.clone() }
    }

    /// Starts a member's session anew.
    pub(super) fn renew_session(&mut self, member_id: &StrBytes) {
        if let Some(member) = self.group.member(member_id) {
            let deadline_ms = self.after(i64::from(member.session_timeout_ms));
            self.shell.schedule_heartbeat(&self.group.id, member_id, deadline_ms);
        }
    }

    pub(super) fn schedule_heartbeat(&mut self, member_id: &StrBytes, timeout_ms: i64) {
        let deadline_ms = self.after(timeout_ms);
        self.shell.schedule_heartbeat(&self.group.id, member_id, deadline_ms);
    }

    /// Answers a waiting JoinGroup, if there is one.
    pub(super) fn reply_join(&mut self, token: Option<RequestToken>, response: JoinGroupResponse) {
        if let Some(token) = token {
            self.shell.reply(token, GroupReply::JoinGroup(response));
        }
    }

    /// Answers a waiting SyncGroup, if there is one.
    pub(super) fn reply_sync(&mut self, token: Option<RequestToken>, response: SyncGroupResponse) {
        if let Some(token) = token {
            self.shell.reply(token, GroupReply::SyncGroup(response));
        }
    }

    /// The successful answer to a member's JoinGroup; the leader gets the member list.
    pub(super) fn join_response(&self, member_id: &StrBytes) -> JoinGroupResponse {
        let members = if self.group.is_leader(member_id) { self.group.join_response_members() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_members(members)
            .with_member_id(member_id.clone())
            .with_generation_id(self.group.generation)
            .with_protocol_type(self.group.protocol_type.clone())
            .with_protocol_name(self.group.protocol.clone())
            .with_leader(self.group.leader.clone().unwrap_or_default())
    }

    pub(super) fn prepare_or_complete(&mut self) -> Option<StoreId> {
        if self.group.can_rebalance() { self.prepare_rebalance() } else { self.maybe_complete_join() }
    }

    /// Begins a rebalance. The first one of an empty group waits `group.initial.rebalance.delay.ms` for more members.
    pub(super) fn prepare_rebalance(&mut self) -> Option<StoreId> {
        if self.group.state() == GroupState::CompletingRebalance {
            self.drop_assignments(ResponseError::RebalanceInProgress);
        }
        self.group.pending_sync.clear();
        self.shell.timers.cancel(&self.sync_key());
        let initial = self.group.state() == GroupState::Empty;
        self.group.transition(GroupState::PreparingRebalance, self.now_ms);
        if !initial {
            self.group.initial_delay = None;
            return self.complete_join_or_schedule();
        }
        let delay_ms = i64::from(self.shell.config.initial_rebalance_delay_ms.max(0));
        let remaining_ms = (self.group.rebalance_timeout_ms() - delay_ms).max(0);
        self.group.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
        self.group.new_member_added = false;
        let (key, deadline_ms) = (self.join_key(), self.after(delay_ms));
        self.shell.timers.schedule(key, deadline_ms);
        None
    }

    fn complete_join_or_schedule(&mut self) -> Option<StoreId> {
        if self.group.has_all_members_joined() {
            return self.complete_join();
        }
        let (key, deadline_ms) = (self.join_key(), self.after(self.group.rebalance_timeout_ms()));
        self.shell.timers.schedule(key, deadline_ms);
        None
    }

    /// Ends the join phase if nobody is missing; an initial rebalance only ends by its timer.
    pub(super) fn maybe_complete_join(&mut self) -> Option<StoreId> {
        let ready = self.group.state() == GroupState::PreparingRebalance
            && self.group.previous_state() != GroupState::Empty
            && self.group.has_all_members_joined();
        if ready { self.complete_join() } else { None }
    }

    /// The deadline of the join phase has passed.
    pub(super) fn join_expired(&mut self) -> Option<StoreId> {
        if self.group.state() != GroupState::PreparingRebalance {
            return None;
        }
        let Some(initial) = self.group.initial_delay else { return self.complete_join() };
        if !self.group.new_member_added || initial.remaining_ms == 0 {
            return self.complete_join();
        }
        // Somebody came during the delay: wait for more, but not beyond the rebalance timeout.
        self.group.new_member_added = false;
        let delay_ms = i64::from(self.shell.config.initial_rebalance_delay_ms.max(0)).min(initial.remaining_ms);
        let remaining_ms = (initial.remaining_ms - initial.delay_ms).max(0);
        self.group.initial_delay = Some(InitialDelay { delay_ms, remaining_ms });
        let (key, deadline_ms) = (self.join_key(), self.after(delay_ms));
        self.shell.timers.schedule(key, deadline_ms);
        None
    }

    /// Ends the join phase: dynamic members that have not joined are out, the generation rises, and everybody who waits
    /// is told. Static members stay until their session ends, joined or not.
    fn complete_join(&mut self) -> Option<StoreId> {
        self.shell.timers.cancel(&self.join_key());
        self.group.initial_delay = None;
        let absent: Vec<StrBytes> = self
            .group
            .members()
            .filter(|member| member.awaiting_join.is_none() && !member.is_static())
            .map(|member| member.id.clone())
            .collect();
        for member_id in absent {
            self.forget_member(&member_id, ResponseError::UnknownMemberId);
        }
        if !self.group.elect_joined_leader() && self.group.member_count() > 0 {
            // Only static members, none of which has joined: wait on until they do or their sessions end. At least one
            // millisecond, so that a timeout of 0 does not keep the shard busy.
            let timeout_ms = self.group.rebalance_timeout_ms().max(1);
            let (key, deadline_ms) = (self.join_key(), self.after(timeout_ms));
            self.shell.timers.schedule(key, deadline_ms);
            return None;
        }
        self.group.init_next_generation(self.now_ms);
        if self.group.state() == GroupState::Empty {
            // If this fails, a restart finds the generation before, whose members are gone by then: no harm.
            return self.store_group(&BTreeMap::new(), Pending::default()).ok();
        }
        for member_id in self.group.member_ids() {
            let response = self.join_response(&member_id);
            let token = self.group.take_join(&member_id);
            self.reply_join(token, response);
            self.renew_session(&member_id);
            if let Some(member) = self.group.member_mut(&member_id) {
                member.is_new = false;
            }
            self.group.pending_sync.insert(member_id);
        }
        let (key, deadline_ms) = (self.sync_key(), self.after(self.group.rebalance_timeout_ms().max(1)));
        self.shell.timers.schedule(key, deadline_ms);
        None
    }

    /// Members that have not sent their SyncGroup within the rebalance timeout are out.
    pub(super) fn sync_expired(&mut self) -> Option<StoreId> {
        let waits = matches!(self.group.state(), GroupState::CompletingRebalance | GroupState::Stable);
        if !waits || self.group.pending_sync.is_empty() {
            return None;
        }
        for member_id in std::mem::take(&mut self.group.pending_sync) {
            self.forget_member(&member_id, ResponseError::UnknownMemberId);
        }
        self.prepare_rebalance()
    }

    /// A member, or the owner of a member id handed out, has not been heard of in time.
    pub(super) fn heartbeat_expired(&mut self, member_id: &StrBytes) -> Option<StoreId> {
        if self.group.pending_join.contains(member_id) {
            self.group.remove_member(member_id);
            return self.complete_if_all_joined();
        }
        let member = self.group.member(member_id)?;
        if member.has_satisfied_heartbeat() {
            return None;
        }
        self.forget_member(member_id, ResponseError::UnknownMemberId);
        match self.group.state() {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_or_complete(),
            GroupState::PreparingRebalance => self.complete_if_all_joined(),
            GroupState::Empty => None,
        }
    }

    fn complete_if_all_joined(&mut self) -> Option<StoreId> {
        let ready = self.group.state() == GroupState::PreparingRebalance && self.group.has_all_members_joined();
        if ready { self.complete_join() } else { None }
    }

    /// Takes a member out of the group; what it waits for is answered with `error`, without a member id, so that it
    /// starts over.
    pub(super) fn forget_member(&mut self, member_id: &StrBytes, error: ResponseError) -> Option<Member> {
        self.shell.cancel_heartbeat(&self.group.id, member_id);
        let member = self.group.remove_member(member_id)?;
        self.reply_join(member.awaiting_join, join_error(StrBytes::new(), error));
        self.reply_sync(member.awaiting_sync, sync_error(error));
        Some(member)
    }

    /// Takes back the assignment of a generation that will not complete, and tells who waits for it.
    pub(super) fn drop_assignments(&mut self, error: ResponseError) {
        self.group.assignment_store = None;
        self.set_assignments(&BTreeMap::new(), Some(error));
    }

    /// Gives every member its assignment (empty where there is none) and answers the waiting SyncGroups.
    pub(super) fn set_assignments(&mut self, assignment: &BTreeMap<StrBytes, Bytes>, error: Option<ResponseError>) {
        for member_id in self.group.member_ids() {
            let Some(member) = self.group.member_mut(&member_id) else { continue };
            member.assignment = assignment.get(&member_id).cloned().unwrap_or_default();
            let Some(token) = member.awaiting_sync.take() else { continue };
            let response = match error {
                Some(error) => sync_error(error),
                None => SyncGroupResponse::default()
                    .with_protocol_type(self.group.protocol_type.clone())
                    .with_protocol_name(self.group.protocol.clone())
                    .with_assignment(assignment.get(&member_id).cloned().unwrap_or_default()),
            };
            self.shell.reply(token, GroupReply::SyncGroup(response));
            // Its session may have ended while it waited, which was not held against it.
            self.renew_session(&member_id);
        }
    }

    /// Stores the group as it is, with these assignments.
    pub(super) fn store_group(
        &mut self,
        assignment: &BTreeMap<StrBytes, Bytes>,
        pending: Pending,
    ) -> Result<StoreId, EncodeError> {
        let record = group_record(self.group, assignment)?;
        Ok(self.shell.store(vec![record], pending))
    }

    /// Makes a group that has just come into being known to the log, without what its members will make of it.
    pub(super) fn store_creation(&mut self) -> Result<StoreId, EncodeError> {
        let value = GroupMetadataValue {
            protocol_type: StrBytes::new(),
            generation: 0,
            protocol: None,
            leader: None,
            current_state_timestamp_ms: self.group.state_since_ms().unwrap_or(-1),
            members: Vec::new(),
        };
        let record = StoredRecord { key: group_key(self.group)?, value: Some(value.encode()?) };
        let then = Then::GroupCreated { group: self.group.id.clone() };
        let store = self.shell.store(vec![record], Pending { then, ..Pending::default() });
        self.group.creation = Some(store);
        Ok(store)
    }
}

fn group_key(group: &Group) -> Result<Bytes, EncodeError> {
    RecordKey::GroupMetadata { group: group.id.clone() }.encode()
}

/// The tombstone of a group.
pub(super) fn group_tombstone(group: &StrBytes) -> Result<StoredRecord, EncodeError> {
    Ok(StoredRecord { key: RecordKey::GroupMetadata { group: group.clone() }.encode()?, value: None })
}

fn group_record(group: &Group, assignment: &BTreeMap<StrBytes, Bytes>) -> Result<StoredRecord, EncodeError> {
    Ok(StoredRecord { key: group_key(group)?, value: Some(group_value(group, assignment).encode()?) })
}

/// The group as a record has it, with these assignments.
pub(super) fn group_value(group: &Group, assignment: &BTreeMap<StrBytes, Bytes>) -> GroupMetadataValue {
    let protocol = group.protocol.clone().unwrap_or_default();
    let members = group.members().map(|member| MemberMetadata {
        member_id: member.id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout_ms,
        subscription: member.metadata(&protocol),
        assignment: assignment.get(&member.id).cloned().unwrap_or_default(),
    });
    GroupMetadataValue {
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        protocol: group.protocol.clone(),
        leader: group.leader.clone(),
        current_state_timestamp_ms: group.state_since_ms().unwrap_or(-1),
        members: members.collect(),
    }
}
