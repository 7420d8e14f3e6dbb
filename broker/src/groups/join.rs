//! JoinGroup: new members, members that come again, static members that come back (KIP-345, KIP-394).

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Environment, GroupReply, RequestContext, RequestToken, StoreOutcome};
use super::config::GroupConfig;
use super::error_reply::{join_error, sync_error};
use super::group::{Group, GroupState};
use super::member::{Member, owned, owned_protocols};
use super::rebalance::Turn;
use super::records::STRING_BYTES_MAX;
use super::shell::{Pending, Replacement, Then, error_of};

/// How long a member that has never had an answer may wait in a rebalance (Kafka: `CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
/// It has no session yet, and a client that went away meanwhile would otherwise hold up the group for ever.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1_000;
/// From this version of JoinGroup on, a dynamic member first gets an id and joins again with it (KIP-394).
pub(super) const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// From this version on, a leader that comes back can be told not to compute an assignment (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;
/// What a UUID and its hyphen add to the client id or instance id in a member id.
const MEMBER_ID_SUFFIX_BYTES: usize = 37;

/// What can be said of a JoinGroup without looking at its group.
pub(super) fn check(
    config: &GroupConfig,
    context: &RequestContext,
    request: &JoinGroupRequest,
) -> Result<(), ResponseError> {
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    if !(config.min_session_timeout_ms..=config.max_session_timeout_ms).contains(&request.session_timeout_ms) {
        return Err(ResponseError::InvalidSessionTimeout);
    }
    // A record could not hold these. (Kafka's parser refuses longer strings and closes the connection.)
    let prefix = request.group_instance_id.as_ref().unwrap_or(&context.client_id);
    let strings = [&request.member_id, &request.protocol_type, &context.client_id, &context.client_host];
    let longest = strings.into_iter().chain(request.protocols.iter().map(|p| &p.name)).map(|s| s.len()).max();
    if longest.unwrap_or(0).max(prefix.len() + MEMBER_ID_SUFFIX_BYTES) > STRING_BYTES_MAX {
        return Err(ResponseError::InvalidRequest);
    }
    Ok(())
}

/// A JoinGroup in a group.
pub(super) struct Join<'a> {
    pub(super) token: RequestToken,
    pub(super) context: &'a RequestContext,
    pub(super) request: &'a JoinGroupRequest,
}

impl Join<'_> {
    /// Version 0 has no rebalance timeout; the session timeout stands in for it.
    fn rebalance_timeout_ms(&self) -> i32 {
        if self.context.api_version == 0 { self.request.session_timeout_ms } else { self.request.rebalance_timeout_ms }
    }

    fn supported_by(&self, group: &Group) -> bool {
        group.supports_protocols(&self.request.protocol_type, self.request.protocols.iter().map(|p| &p.name))
    }

    /// Whether it brings exactly the protocols that the member came with before, in the same order.
    fn matches(&self, member: &Member) -> bool {
        member.protocols == owned_protocols(&self.request.protocols)
    }
}

impl Turn<'_> {
    pub(super) fn join(&mut self, join: &Join<'_>, environment: &mut dyn Environment) {
        let member_id = &join.request.member_id;
        if !self.accepts(member_id) {
            self.forget_member(member_id, ResponseError::GroupMaxSizeReached);
            self.refuse_join(join, StrBytes::new(), ResponseError::GroupMaxSizeReached);
        } else if member_id.is_empty() {
            self.join_new(join, environment);
        } else {
            self.join_known(join);
        }
    }

    fn refuse_join(&mut self, join: &Join<'_>, member_id: StrBytes, error: ResponseError) {
        self.reply_join(Some(join.token), join_error(member_id, error));
    }

    /// Whether `group.max.size` leaves room. In a rebalance those who wait count, so that of a group that is too large
    /// the last to come back are left out; else the members do.
    fn accepts(&self, member_id: &StrBytes) -> bool {
        let max_size = self.shell.config.max_size;
        match self.group.state() {
            GroupState::Empty => true,
            GroupState::PreparingRebalance => {
                self.group.member(member_id).is_some_and(|member| member.awaiting_join.is_some())
                    || self.group.awaiting_join_count() < max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.group.has_member(member_id) || self.group.member_count() < max_size
            }
        }
    }

    fn join_new(&mut self, join: &Join<'_>, environment: &mut dyn Environment) {
        if !join.supported_by(self.group) {
            return self.refuse_join(join, StrBytes::new(), ResponseError::InconsistentGroupProtocol);
        }
        let instance_id = join.request.group_instance_id.as_ref();
        let prefix = instance_id.unwrap_or(&join.context.client_id);
        let new_id = StrBytes::from_string(format!("{}-{}", prefix.as_str(), environment.member_uuid()));
        match instance_id.map(|instance_id| self.group.static_member_id(instance_id).cloned()) {
            Some(Some(old_id)) => self.replace_static_member(join, &old_id, new_id),
            Some(None) => self.add_member(join, new_id),
            None if join.context.api_version >= MEMBER_ID_REQUIRED_VERSION => self.hand_out_member_id(join, new_id),
            None => self.add_member(join, new_id),
        }
    }

    /// Tells a new dynamic member its id, to join again with. If it does not within its session timeout, the id is
    /// forgotten; meanwhile a rebalance waits for it.
    fn hand_out_member_id(&mut self, join: &Join<'_>, new_id: StrBytes) {
        if self.group.pending_join.len() >= self.shell.config.pending_members_max {
            return self.refuse_join(join, StrBytes::new(), ResponseError::CoordinatorNotAvailable);
        }
        self.group.pending_join.insert(new_id.clone());
        self.schedule_heartbeat(&new_id, i64::from(join.request.session_timeout_ms));
        self.refuse_join(join, new_id, ResponseError::MemberIdRequired);
    }

    fn join_known(&mut self, join: &Join<'_>) {
        let member_id = &join.request.member_id;
        let instance_id = join.request.group_instance_id.as_ref();
        if !join.supported_by(self.group) {
            return self.refuse_join(join, member_id.clone(), ResponseError::InconsistentGroupProtocol);
        }
        if self.group.pending_join.contains(member_id) {
            // Ids are handed out to dynamic members only. Kafka answers this with UNKNOWN_SERVER_ERROR.
            if instance_id.is_some() {
                return self.refuse_join(join, StrBytes::new(), ResponseError::UnknownServerError);
            }
            return self.add_member(join, owned(member_id));
        }
        if let Err(error) = self.group.validate_member(member_id, instance_id) {
            return self.refuse_join(join, member_id.clone(), error);
        }
        let Some(member) = self.group.member(member_id) else { return };
        let rejoins = match self.group.state() {
            GroupState::PreparingRebalance => true,
            // The same metadata again: it may have missed the answer.
            GroupState::CompletingRebalance => !join.matches(member),
            // A leader can ask for a rebalance on account of what the coordinator does not see, such as new partitions.
            GroupState::Stable => self.group.is_leader(member_id) || !join.matches(member),
            // Not reached: an empty group has no members.
            GroupState::Empty => {
                return self.refuse_join(join, member_id.clone(), ResponseError::UnknownMemberId);
            }
        };
        if rejoins {
            let member_id = member.id.clone();
            self.update_member(join, &member_id);
            self.prepare_or_complete();
            return;
        }
        let mut response = self.join_response(member_id);
        if self.group.state() == GroupState::Stable {
            response.members.clear();
        }
        self.reply_join(Some(join.token), response);
    }

    /// Takes over what a member that joins again says, and lets it wait.
    fn update_member(&mut self, join: &Join<'_>, member_id: &StrBytes) {
        self.group.update_member(
            member_id,
            owned_protocols(&join.request.protocols),
            join.rebalance_timeout_ms(),
            join.request.session_timeout_ms,
        );
        let before = self.group.await_join(member_id, join.token);
        // Kafka lets go of the earlier request without an answer; its connection could never go on here.
        self.reply_join(before, join_error(member_id.clone(), ResponseError::RebalanceInProgress));
    }

    fn add_member(&mut self, join: &Join<'_>, member_id: StrBytes) {
        let initial =
            self.group.state() == GroupState::PreparingRebalance && self.group.previous_state() == GroupState::Empty;
        if initial {
            self.group.new_member_added = true;
        }
        self.group.add_member(Member {
            id: member_id.clone(),
            instance_id: join.request.group_instance_id.as_ref().map(owned),
            client_id: owned(&join.context.client_id),
            client_host: owned(&join.context.client_host),
            rebalance_timeout_ms: join.rebalance_timeout_ms(),
            session_timeout_ms: join.request.session_timeout_ms,
            protocol_type: owned(&join.request.protocol_type),
            protocols: owned_protocols(&join.request.protocols),
            assignment: Bytes::new(),
            awaiting_join: Some(join.token),
            awaiting_sync: None,
            is_new: true,
        });
        self.schedule_heartbeat(&member_id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.prepare_or_complete();
    }

    /// A static member is back, as a process that does not know its member id: it gets a new one, and whoever still uses
    /// the old one is fenced. In a stable group whose protocol stays, that needs no rebalance.
    fn replace_static_member(&mut self, join: &Join<'_>, old_id: &StrBytes, new_id: StrBytes) {
        let leader_before = self.group.leader.clone().unwrap_or_default();
        let (join_token, sync_token) = self.group.replace_static_member(old_id, &new_id);
        self.reply_join(join_token, join_error(old_id.clone(), ResponseError::FencedInstanceId));
        self.reply_sync(sync_token, sync_error(ResponseError::FencedInstanceId));
        // Kafka lets the old id's deadline pass without effect.
        self.shell.cancel_heartbeat(&self.group.id, old_id);
        if self.group.pending_sync.remove(old_id) {
            self.group.pending_sync.insert(new_id.clone());
        }
        let Some(member) = self.group.member(&new_id) else { return };
        let replacement = Replacement {
            group: self.group.id.clone(),
            old_id: old_id.clone(),
            new_id: new_id.clone(),
            old_protocols: member.protocols.clone(),
            old_rebalance_timeout_ms: member.rebalance_timeout_ms,
            old_session_timeout_ms: member.session_timeout_ms,
            leader_before,
            api_version: join.context.api_version,
        };
        self.renew_session(&new_id);
        self.update_member(join, &new_id);
        match self.group.state() {
            GroupState::Stable if self.group.select_protocol() == self.group.protocol => {
                let assignment = self.group.members().map(|m| (m.id.clone(), m.assignment.clone())).collect();
                let then = Then::StaticMemberReplaced(Box::new(replacement));
                if self.store_group(&assignment, Pending { then, ..Pending::default() }).is_err() {
                    // Not reached: what the group holds fits a record. The member waits for the next rebalance.
                    self.prepare_rebalance();
                }
            }
            // The leader may be computing with the old id, and the new one would come away empty-handed.
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance();
            }
            GroupState::PreparingRebalance => {
                self.maybe_complete_join();
            }
            GroupState::Empty => {}
        }
    }

    /// The record of a static member's new id is durable, or failed.
    pub(super) fn static_member_stored(&mut self, replacement: Replacement, outcome: StoreOutcome) {
        if !self.group.has_member(&replacement.new_id) {
            return;
        }
        if let StoreOutcome::Failed(failure) = outcome {
            return self.take_back_static_member(replacement, error_of(failure));
        }
        let Replacement { new_id, leader_before, api_version, .. } = replacement;
        if self.group.state() != GroupState::Stable {
            // A rebalance is under way, which its JoinGroup counts for. One that has ended has answered it.
            return;
        }
        let response = if api_version >= SKIP_ASSIGNMENT_VERSION {
            self.join_response(&new_id).with_skip_assignment(self.group.is_leader(&new_id))
        } else {
            // Told the leader's old id, a leader does not compute an assignment and syncs as a follower.
            self.join_response(&new_id).with_members(Vec::new()).with_leader(leader_before)
        };
        let token = self.group.take_join(&new_id);
        self.reply_join(token, response);
        // Its session may have ended while the store was under way, which was not held against it.
        self.renew_session(&new_id);
    }

    /// The member gets its old id back, since no restart would know the new one.
    fn take_back_static_member(&mut self, replacement: Replacement, error: ResponseError) {
        let Replacement { old_id, new_id, .. } = replacement;
        let token = self.group.take_join(&new_id);
        let response = self
            .join_response(&new_id)
            .with_members(Vec::new())
            .with_member_id(StrBytes::new())
            .with_leader(replacement.leader_before)
            .with_error_code(error.code());
        self.reply_join(token, response);
        self.group.update_member(
            &new_id,
            replacement.old_protocols,
            replacement.old_rebalance_timeout_ms,
            replacement.old_session_timeout_ms,
        );
        self.shell.cancel_heartbeat(&self.group.id, &new_id);
        let (_, sync_token) = self.group.replace_static_member(&new_id, &old_id);
        self.reply_sync(sync_token, sync_error(ResponseError::UnknownMemberId));
        if self.group.pending_sync.remove(&new_id) {
            self.group.pending_sync.insert(old_id.clone());
        }
        self.renew_session(&old_id);
    }

    /// The record that made the group known failed; nobody may go on with it.
    pub(super) fn dissolve(&mut self, error: ResponseError) {
        self.shell.cancel_all(self.group);
        for member_id in self.group.member_ids() {
            self.forget_member(&member_id, error);
        }
        self.group.pending_join.clear();
    }
}

/// The answer to a JoinGroup that no group is needed for.
pub(super) fn refused(request: &JoinGroupRequest, error: ResponseError) -> GroupReply {
    GroupReply::JoinGroup(
        JoinGroupResponse::default().with_member_id(request.member_id.clone()).with_error_code(error.code()),
    )
}
