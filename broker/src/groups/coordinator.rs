//! The coordinator of one `__consumer_offsets` partition: dispatch of requests, timers, and the ends of stores.

use std::collections::HashMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::api::{
    Environment, GroupEffect, GroupReply, GroupRequest, RequestContext, RequestToken, StoreFailure, StoreId,
    StoreOutcome,
};
use super::config::{GroupConfig, GroupSettings};
use super::consumer::{ConsumerGroup, Flight};
use super::error_reply::{failed, sync_error};
use super::group::Group;
#[cfg(test)]
use super::group::GroupState;
use super::join::{self, Join};
use super::leave;
use super::member::owned;
use super::offsets::{OffsetKey, Offsets};
use super::rebalance::Turn;
use super::records::STRING_BYTES_MAX;
use super::shell::{Pending, Shell, Then, error_of};
use super::sync;
use super::timers::TimerKey;
use crate::group_lag::GroupOffsets;

/// Counts, for checks.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCounts {
    pub empty: usize,
    pub preparing_rebalance: usize,
    pub completing_rebalance: usize,
    pub stable: usize,
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
    /// Requests without an answer yet.
    pub waiting_requests: usize,
    pub stores_in_flight: usize,
}

/// How many groups there are, and members of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSizes {
    /// Of the classic protocol, and those that only commit offsets.
    pub classic: usize,
    /// Of the consumer protocol (KIP-848).
    pub consumer: usize,
    pub members: usize,
}

impl GroupSizes {
    pub fn add(&mut self, other: GroupSizes) {
        self.classic += other.classic;
        self.consumer += other.consumer;
        self.members += other.members;
    }
}

/// Groups and committed offsets of one `__consumer_offsets` partition. See the [module](super) for the contract.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(super) groups: HashMap<StrBytes, Group>,
    /// Consumer groups of KIP-848. A group is in one of the two maps.
    pub(super) consumers: HashMap<StrBytes, ConsumerGroup>,
    /// Changes of groups that are on their way to the log, by group.
    pub(super) flights: HashMap<StrBytes, Flight>,
    /// The version of the topics with which the last new topic came.
    pub(super) newest_topic_version: i64,
    pub(super) offsets: Offsets,
    pub(super) shell: Shell,
    /// Groups that the cleanup under way has still to look at.
    pub(super) cleanup_queue: Vec<StrBytes>,
}

impl GroupCoordinator {
    /// A coordinator that knows nothing yet: [`load`](Self::load) it, then [`activate`](Self::activate) it.
    pub fn new(config: GroupConfig) -> Self {
        GroupCoordinator {
            groups: HashMap::new(),
            consumers: HashMap::new(),
            flights: HashMap::new(),
            newest_topic_version: 0,
            offsets: Offsets::default(),
            shell: Shell::new(config),
            cleanup_queue: Vec::new(),
        }
    }

    /// Groups that may have committed offsets.
    pub fn groups_with_offsets(&self) -> Vec<StrBytes> {
        self.offsets.group_ids()
    }

    /// What a group has committed, for metrics, if that is no more than `room` partitions; else how many there are.
    pub fn committed_offsets(&self, group: &StrBytes, room: usize) -> Result<GroupOffsets, usize> {
        self.offsets.durable(group, room)
    }

    /// Begins to serve: every loaded member gets a session from now on. `topics_version` is the version of the topics now,
    /// which may have changed since the groups last looked.
    pub fn activate(&mut self, now_ms: i64, topics_version: i64) -> Vec<GroupEffect> {
        self.newest_topic_version = topics_version;
        let mut consumer_ids: Vec<StrBytes> = self.consumers.keys().cloned().collect();
        consumer_ids.sort();
        for group_id in consumer_ids {
            self.resume_consumer_group(now_ms, &group_id);
        }
        let mut group_ids: Vec<StrBytes> = self.groups.keys().cloned().collect();
        group_ids.sort();
        for group_id in group_ids {
            let Some(mut turn) = self.turn(&group_id, now_ms) else { continue };
            for member_id in turn.group.member_ids() {
                turn.renew_session(&member_id);
            }
            if turn.group.member_count() > turn.shell.config.max_size {
                // group.max.size has been lowered: a rebalance leaves the last to come back out.
                turn.prepare_rebalance();
            }
        }
        self.schedule_cleanup(now_ms);
        self.shell.take_effects()
    }

    /// Stops to serve, because another broker leads the partition: whoever waits is told NOT_COORDINATOR, and everything
    /// is forgotten. What [`stored`](Self::stored) reports later has no effect.
    pub fn resign(&mut self) -> Vec<GroupEffect> {
        let error = ResponseError::NotCoordinator;
        for (_, pending) in self.shell.end_all_stores() {
            for (token, reply) in pending.replies {
                self.shell.reply(token, failed(reply, error));
            }
            for (token, request) in pending.fetches {
                self.shell.reply(token, GroupRequest::failed_fetch(request, error));
            }
        }
        let mut groups: Vec<Group> = std::mem::take(&mut self.groups).into_values().collect();
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        for group in groups {
            for member in group.members() {
                if let Some(token) = member.awaiting_join {
                    let response = super::error_reply::join_error(member.id.clone(), error);
                    self.shell.reply(token, GroupReply::JoinGroup(response));
                }
                if let Some(token) = member.awaiting_sync {
                    self.shell.reply(token, GroupReply::SyncGroup(sync_error(error)));
                }
            }
        }
        self.consumers.clear();
        self.flights.clear();
        self.offsets = Offsets::default();
        self.cleanup_queue.clear();
        self.shell.timers.clear();
        self.shell.take_effects()
    }

    /// Handles a request for groups of this partition. `now_ms` is wall-clock time in milliseconds since the epoch, since
    /// offsets expire by it; it must not go back.
    pub fn handle(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: GroupRequest,
        environment: &mut dyn Environment,
    ) -> Vec<GroupEffect> {
        self.shell.expect_reply(token, context.api_version);
        match request {
            GroupRequest::JoinGroup(request) => self.join_group(now_ms, token, context, &request, environment),
            GroupRequest::SyncGroup(request) => self.sync_group(now_ms, token, context, &request, environment),
            GroupRequest::Heartbeat(request) => self.heartbeat(now_ms, token, &request),
            GroupRequest::LeaveGroup(request) => self.leave_group(now_ms, token, context, &request, environment),
            GroupRequest::ConsumerGroupHeartbeat(request) => {
                self.consumer_group_heartbeat(now_ms, token, context, &request, environment);
            }
            GroupRequest::ConsumerGroupDescribe(request) => {
                self.describe_consumer_groups(token, &request, environment);
            }
            GroupRequest::OffsetCommit(request) => self.commit_offsets(now_ms, token, context, request, environment),
            GroupRequest::OffsetFetch(request) => self.fetch_offsets(token, context, request),
            GroupRequest::OffsetDelete(request) => self.delete_offsets(token, &request, environment),
            GroupRequest::ListGroups(request) => self.list_groups(token, &request),
            GroupRequest::DescribeGroups(request) => self.describe_groups(token, context.api_version, &request),
            GroupRequest::DeleteGroups(request) => self.delete_groups(token, &request),
        }
        self.shell.take_effects()
    }

    /// Topics have been created or deleted, or have more partitions: whoever subscribes to them looks again with the next
    /// heartbeat. `version` is that of the topics now; `has_new` says whether one is new, which regular expressions may mean.
    pub fn topics_changed<'a>(&mut self, names: impl IntoIterator<Item = &'a str>, has_new: bool, version: i64) {
        let names: Vec<StrBytes> = names.into_iter().map(|name| StrBytes::from_string(name.to_owned())).collect();
        for group in self.consumers.values_mut() {
            if names.iter().any(|name| group.topics().contains_key(name)) {
                group.refresh_wanted = true;
            }
        }
        if has_new {
            self.newest_topic_version = version;
        }
    }

    /// The group has settings of its own from now on, or none any more. Before [`activate`](Self::activate) as well, for the
    /// sessions that begin there; groups need not exist.
    pub fn set_group_settings(&mut self, group: &str, settings: Option<GroupSettings>) {
        self.shell.set_settings(StrBytes::from_string(group.to_owned()), settings);
    }

    /// Lets what is due at `now_ms` happen.
    pub fn tick(&mut self, now_ms: i64, environment: &dyn Environment) -> Vec<GroupEffect> {
        let mark = self.shell.timers.mark();
        while let Some(key) = self.shell.timers.pop_due(now_ms, mark) {
            match key {
                TimerKey::Cleanup => self.clean_up(now_ms),
                TimerKey::Join { group } => {
                    self.turn(&group, now_ms).and_then(|mut turn| turn.join_expired());
                }
                TimerKey::Sync { group } => {
                    self.turn(&group, now_ms).and_then(|mut turn| turn.sync_expired());
                }
                TimerKey::Heartbeat { group, member } if self.consumers.contains_key(&group) => {
                    self.session_ended(now_ms, &group, &member, environment);
                }
                TimerKey::ClassicJoin { group, member } | TimerKey::ClassicSync { group, member } => {
                    self.session_ended(now_ms, &group, &member, environment);
                }
                TimerKey::Revocation { group, member } => {
                    self.revocation_expired(now_ms, &group, &member, environment);
                }
                TimerKey::Regexes { group } => self.resolve_regexes(now_ms, &group, environment),
                TimerKey::Heartbeat { group, member } => {
                    self.turn(&group, now_ms).and_then(|mut turn| turn.heartbeat_expired(&member));
                }
            }
        }
        self.shell.take_effects()
    }

    /// When [`tick`](Self::tick) has something to do next, in milliseconds since the epoch.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.shell.timers.next_deadline_ms()
    }

    /// A store has ended. Reports come in the order of the stores.
    pub fn stored(&mut self, now_ms: i64, store: StoreId, outcome: StoreOutcome) -> Vec<GroupEffect> {
        let Some(pending) = self.shell.end_store(store) else { return Vec::new() };
        for key in &pending.offsets {
            self.offsets.settle(key, store, outcome == StoreOutcome::Durable);
        }
        if matches!(outcome, StoreOutcome::Failed(_)) {
            self.take_back(&pending.offsets, pending.removed_groups);
        }
        for (token, reply) in pending.replies {
            let reply = match outcome {
                StoreOutcome::Durable => reply,
                StoreOutcome::Failed(failure) => failed(reply, error_of(failure)),
            };
            self.shell.reply(token, reply);
        }
        for (token, request) in pending.fetches {
            self.reply_to_stable_fetch(token, &request, outcome);
        }
        for group in &pending.changed {
            self.changes_ended(now_ms, group, store, outcome);
        }
        self.store_ended(now_ms, store, pending.then, outcome);
        self.shell.take_effects()
    }

    /// A store takes longer than `offsets.commit.timeout.ms`: whoever waits for it is told so, as Kafka tells them
    /// (COORDINATOR_NOT_AVAILABLE). Its records may become durable nevertheless: [`stored`](Self::stored) is still to say
    /// what came of them, and nobody sees before what they change.
    ///
    /// As in Kafka, an assignment, or a static member's new id, counts as not stored: members come again. Who waits for stable
    /// offsets gets those that are durable, as Kafka answers at once.
    pub fn late(&mut self, now_ms: i64, store: StoreId) -> Vec<GroupEffect> {
        let Some(pending) = self.shell.store_under_way(store) else { return Vec::new() };
        let (replies, fetches) = (std::mem::take(&mut pending.replies), std::mem::take(&mut pending.fetches));
        let then = match pending.then {
            // The group is there, and its record on its way.
            Then::Nothing | Then::GroupCreated { .. } => Then::Nothing,
            Then::Assigned { .. } | Then::StaticMemberReplaced(_) => std::mem::take(&mut pending.then),
        };
        let failure = StoreFailure::Unavailable;
        for (token, reply) in replies {
            self.shell.reply(token, failed(reply, error_of(failure)));
        }
        for (token, request) in fetches {
            self.reply_to_stable_fetch(token, &request, StoreOutcome::Durable);
        }
        self.store_ended(now_ms, store, then, StoreOutcome::Failed(failure));
        self.shell.take_effects()
    }

    /// The connection of a waiting request is gone; it needs no answer any more. As in Kafka, which cannot tell either,
    /// a member whose JoinGroup was waiting still counts as having joined.
    pub fn disconnected(&mut self, token: RequestToken) {
        self.shell.forget(token);
    }

    pub fn sizes(&self) -> GroupSizes {
        let classic_members: usize = self.groups.values().map(|group| group.member_count()).sum();
        let consumer_members: usize = self.consumers.values().map(|group| group.members().len()).sum();
        GroupSizes {
            classic: self.groups.len(),
            consumer: self.consumers.len(),
            members: classic_members + consumer_members,
        }
    }

    #[cfg(test)]
    pub fn counts(&self) -> GroupCounts {
        let mut counts = GroupCounts {
            offsets: self.offsets.count(),
            waiting_requests: self.shell.waiting_count(),
            stores_in_flight: self.shell.stores_in_flight(),
            ..GroupCounts::default()
        };
        for group in self.groups.values() {
            counts.members += group.member_count();
            match group.state() {
                GroupState::Empty => counts.empty += 1,
                GroupState::PreparingRebalance => counts.preparing_rebalance += 1,
                GroupState::CompletingRebalance => counts.completing_rebalance += 1,
                GroupState::Stable => counts.stable += 1,
            }
        }
        counts
    }

    /// Checks what must hold between calls.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for group in self.groups.values() {
            group.check();
        }
        for (id, group) in &self.consumers {
            assert!(!self.groups.contains_key(id), "{id:?} is both");
            group.check();
        }
    }

    pub(super) fn turn(&mut self, group: &StrBytes, now_ms: i64) -> Option<Turn<'_>> {
        self.groups.get_mut(group).map(|group| Turn { group, shell: &mut self.shell, now_ms })
    }

    /// Makes a group if there is none. False: there is none and no room for one.
    pub(super) fn ensure_group(&mut self, group: &StrBytes, now_ms: i64) -> bool {
        if !self.groups.contains_key(group) && !self.consumers.contains_key(group) {
            if self.groups.len() + self.consumers.len() >= self.shell.config.groups_max {
                return false;
            }
            let id = owned(group);
            self.groups.insert(id.clone(), Group::new(id, now_ms));
        }
        true
    }

    fn join_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &JoinGroupRequest,
        environment: &mut dyn Environment,
    ) {
        let checked = join::check(&self.shell.config, context, request).and_then(|()| group_id_fits(&request.group_id));
        if let Err(error) = checked {
            return self.shell.reply(token, join::refused(request, error));
        }
        if self.has_consumer_members(&request.group_id) {
            return self.join_consumer_group(now_ms, token, context, request, environment);
        }
        let is_new_group = !self.groups.contains_key(&request.group_id.0);
        if is_new_group && !request.member_id.is_empty() {
            return self.shell.reply(token, join::refused(request, ResponseError::UnknownMemberId));
        }
        self.delete_empty_consumer_group(&request.group_id);
        if !self.ensure_group(&request.group_id, now_ms) {
            return self.shell.reply(token, join::refused(request, ResponseError::CoordinatorNotAvailable));
        }
        let Some(mut turn) = self.turn(&request.group_id, now_ms) else { return };
        turn.join(&Join { token, context, request }, environment);
        if is_new_group && turn.store_creation().is_err() {
            // Not reached: the group id has been checked to fit a record.
            turn.dissolve(ResponseError::UnknownServerError);
            self.groups.remove(&request.group_id.0);
        }
    }

    fn sync_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &SyncGroupRequest,
        environment: &dyn Environment,
    ) {
        let refusal = match sync::check(context.api_version, request) {
            Err(error) => error,
            Ok(()) if self.has_consumer_members(&request.group_id) => {
                return self.sync_consumer_group(now_ms, token, request, environment);
            }
            Ok(()) => match self.turn(&request.group_id, now_ms) {
                Some(mut turn) => return turn.sync(token, request),
                None => ResponseError::UnknownMemberId,
            },
        };
        self.shell.reply(token, GroupReply::SyncGroup(sync_error(refusal)));
    }

    fn heartbeat(&mut self, now_ms: i64, token: RequestToken, request: &HeartbeatRequest) {
        let result = if request.group_id.is_empty() {
            Err(ResponseError::InvalidGroupId)
        } else if self.consumers.contains_key(&request.group_id.0) {
            return self.beat_consumer_group(now_ms, token, request);
        } else {
            match self.turn(&request.group_id, now_ms) {
                Some(mut turn) => turn.heartbeat(request),
                None => Err(ResponseError::UnknownMemberId),
            }
        };
        let code = result.map_or_else(|error| error.code(), |()| 0);
        self.shell.reply(token, GroupReply::Heartbeat(HeartbeatResponse::default().with_error_code(code)));
    }

    fn leave_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &LeaveGroupRequest,
        environment: &dyn Environment,
    ) {
        let identities = leave::identities(context.api_version, request);
        let response = if request.group_id.is_empty() {
            LeaveGroupResponse::default().with_error_code(ResponseError::InvalidGroupId.code())
        } else if self.consumers.contains_key(&request.group_id.0) {
            return self.leave_consumer_members(now_ms, token, &request.group_id, &identities, environment);
        } else if let Some(mut turn) = self.turn(&request.group_id, now_ms) {
            return turn.leave(token, &identities);
        } else {
            let unknown = |identity| leave::left(identity, Err(ResponseError::UnknownMemberId));
            LeaveGroupResponse::default().with_members(identities.iter().map(unknown).collect())
        };
        self.shell.reply(token, GroupReply::LeaveGroup(response));
    }

    /// Undoes what a store that failed had already changed.
    fn take_back(&mut self, offsets: &[OffsetKey], removed: Vec<Group>) {
        for mut group in removed {
            // Nobody has a deadline in it any more, so nobody may be waited for in it either.
            group.pending_join.clear();
            self.groups.entry(group.id.clone()).or_insert(group);
        }
        for key in offsets {
            // A simple group that this store would have brought into being.
            let forgotten =
                self.groups.get(&key.group).is_some_and(|group| group.is_pristine() && group.creation.is_none());
            if forgotten && !self.offsets.has_group(&key.group) {
                self.groups.remove(&key.group);
            }
        }
    }

    fn store_ended(&mut self, now_ms: i64, store: StoreId, then: Then, outcome: StoreOutcome) {
        match then {
            Then::Nothing => {}
            Then::GroupCreated { group } => {
                let Some(mut turn) = self.turn(&group, now_ms).filter(|turn| turn.group.creation == Some(store)) else {
                    return;
                };
                turn.group.creation = None;
                if let StoreOutcome::Failed(failure) = outcome {
                    turn.dissolve(error_of(failure));
                    self.groups.remove(&group);
                    // Offsets that came meanwhile have made their own way to the log.
                    if self.offsets.has_group(&group) {
                        self.groups.insert(group.clone(), Group::new(group, now_ms));
                    }
                }
            }
            Then::Assigned { group, generation, assignment } => {
                if let Some(mut turn) = self.turn(&group, now_ms) {
                    turn.assignment_stored(store, generation, &assignment, outcome);
                }
            }
            Then::StaticMemberReplaced(replacement) => {
                if let Some(mut turn) = self.turn(&replacement.group.clone(), now_ms) {
                    turn.static_member_stored(*replacement, outcome);
                }
            }
        }
    }
}

/// A group id has to fit the key of a record. (Kafka's parser refuses longer strings and closes the connection.)
pub(super) fn group_id_fits(group_id: &StrBytes) -> Result<(), ResponseError> {
    if group_id.len() > STRING_BYTES_MAX { Err(ResponseError::InvalidGroupId) } else { Ok(()) }
}

/// What a store that only changes offsets and groups leaves to do.
pub(super) fn removal(offsets: Vec<OffsetKey>, removed_groups: Vec<Group>) -> Pending {
    Pending { offsets, removed_groups, ..Pending::default() }
}
