//! SyncGroup and Heartbeat.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{RequestToken, StoreId, StoreOutcome};
use super::error_reply::sync_error;
use super::group::GroupState;
use super::member::owned;
use super::rebalance::Turn;
use super::shell::{Pending, Then, error_of};
use super::timers::TimerKey;

/// From this version of SyncGroup on, it names the protocol it is about (KIP-559).
const PROTOCOL_REQUIRED_VERSION: i16 = 5;

/// What can be said of a SyncGroup without looking at its group.
pub(super) fn check(api_version: i16, request: &SyncGroupRequest) -> Result<(), ResponseError> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if api_version >= PROTOCOL_REQUIRED_VERSION && !named {
        Err(ResponseError::InconsistentGroupProtocol)
    } else if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else {
        Ok(())
    }
}

impl Turn<'_> {
    pub(super) fn sync(&mut self, token: RequestToken, request: &SyncGroupRequest) {
        if let Err(error) = self.validate_sync(request) {
            return self.reply_sync(Some(token), sync_error(error));
        }
        let member_id = &request.member_id;
        match self.group.state() {
            // Not reached: an empty group has no members.
            GroupState::Empty => self.reply_sync(Some(token), sync_error(ResponseError::UnknownMemberId)),
            GroupState::PreparingRebalance => {
                self.reply_sync(Some(token), sync_error(ResponseError::RebalanceInProgress));
            }
            GroupState::CompletingRebalance => {
                let before = self.group.member_mut(member_id).and_then(|member| member.awaiting_sync.replace(token));
                // As with JoinGroup, an earlier request that the client gave up on must not stay without an answer.
                self.reply_sync(before, sync_error(ResponseError::RebalanceInProgress));
                self.sync_arrived(member_id);
                if self.group.is_leader(member_id) && self.group.assignment_store.is_none() {
                    self.assign(request);
                }
            }
            GroupState::Stable => {
                self.sync_arrived(member_id);
                let assignment = self.group.member(member_id).map(|m| m.assignment.clone()).unwrap_or_default();
                let response = SyncGroupResponse::default()
                    .with_protocol_type(self.group.protocol_type.clone())
                    .with_protocol_name(self.group.protocol.clone())
                    .with_assignment(assignment);
                self.reply_sync(Some(token), response);
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ResponseError> {
        if self.group.state() == GroupState::Empty {
            return Err(ResponseError::UnknownMemberId);
        }
        self.group.validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        let differs = |asked: &Option<StrBytes>, has: &Option<StrBytes>| asked.is_some() && asked != has;
        if request.generation_id != self.group.generation {
            Err(ResponseError::IllegalGeneration)
        } else if differs(&request.protocol_type, &self.group.protocol_type)
            || differs(&request.protocol_name, &self.group.protocol)
        {
            Err(ResponseError::InconsistentGroupProtocol)
        } else {
            Ok(())
        }
    }

    fn sync_arrived(&mut self, member_id: &StrBytes) {
        self.group.pending_sync.remove(member_id);
        if self.group.pending_sync.is_empty() {
            self.shell.timers.cancel(&TimerKey::Sync { group: self.group.id.clone() });
        }
    }

    /// Stores the leader's assignment; members get it once it is durable. Who is left out gets an empty one; assignments
    /// of others than members are dropped.
    fn assign(&mut self, request: &SyncGroupRequest) {
        let mut assignment: BTreeMap<StrBytes, Bytes> = BTreeMap::new();
        for given in &request.assignments {
            if self.group.has_member(&given.member_id) {
                assignment.insert(owned(&given.member_id), Bytes::copy_from_slice(&given.assignment));
            }
        }
        for member in self.group.members() {
            assignment.entry(member.id.clone()).or_default();
        }
        let then = Then::Assigned {
            group: self.group.id.clone(),
            generation: self.group.generation,
            assignment: assignment.clone(),
        };
        match self.store_group(&assignment, Pending { then, ..Pending::default() }) {
            Ok(store) => self.group.assignment_store = Some(store),
            // Not reached: what the group holds fits a record, bar the sum of 2 GiB of assignments.
            Err(_) => self.assignment_failed(ResponseError::UnknownServerError),
        }
    }

    fn assignment_failed(&mut self, error: ResponseError) {
        self.drop_assignments(error);
        self.prepare_or_complete();
    }

    /// The record with an assignment is durable, or failed. By then the group may have moved on; then it does nothing.
    pub(super) fn assignment_stored(
        &mut self,
        store: StoreId,
        generation: i32,
        assignment: &BTreeMap<StrBytes, Bytes>,
        outcome: StoreOutcome,
    ) {
        let current = self.group.state() == GroupState::CompletingRebalance
            && self.group.generation == generation
            && self.group.assignment_store == Some(store);
        if !current {
            return;
        }
        self.group.assignment_store = None;
        match outcome {
            StoreOutcome::Failed(failure) => self.assignment_failed(error_of(failure)),
            StoreOutcome::Durable => {
                self.set_assignments(assignment, None);
                self.group.transition(GroupState::Stable, self.now_ms);
            }
        }
    }

    /// A heartbeat. During a rebalance it says so, and keeps the session all the same.
    pub(super) fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ResponseError> {
        self.group.validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.group.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        self.renew_session(&request.member_id);
        match self.group.state() {
            GroupState::Empty => Err(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            // A member may send heartbeats from the answer to its JoinGroup on.
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }
}
