//! Members of a consumer group that speak the classic protocol (KIP-848, online migration).
//!
//! To such a member its epoch is the generation, and what it is assigned comes with SyncGroup, without a leader. It learns
//! of a rebalance by its heartbeat, joins again, and says in its subscription what it owns; that is how it gives partitions
//! back. Two deadlines keep it going: it has to join when it was told to, and to sync when it has joined.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::super::api::{Environment, GroupReply, RequestContext, RequestToken};
use super::super::config::GroupConfig;
use super::super::coordinator::GroupCoordinator;
use super::super::embedded::{self, Subscription};
use super::super::error_reply::{join_error, sync_error};
use super::super::group::CONSUMER_PROTOCOL_TYPE;
use super::super::join::MEMBER_ID_REQUIRED_VERSION;
use super::super::leave::left;
use super::super::member::{owned as owned_string, owned_protocols};
use super::super::records::consumer_group::{
    ClassicMemberMetadata, ConsumerGroupMemberMetadataValue as MemberMetadata,
};
use super::convert::{by_id, classic_protocol, embedded_assignment, group_tombstones};
use super::group::{ConsumerGroup, ConsumerGroupState};
use super::member::{ConsumerMember, MemberState};
use super::target::Update;
use super::work::{Deadline, Refusal, RegexChange, Sender, Surroundings, Work, identify, refuse, unknown_instance};

/// What a JoinGroup leads to.
struct Joined {
    member: ConsumerMember,
    /// The group becomes a classic one, because the member takes the place of the last that spoke the consumer protocol.
    downgrade: Option<Downgrade>,
}

struct Downgrade {
    replaced: StrBytes,
    subscription_changed: bool,
}

impl GroupCoordinator {
    /// Whether a request of the classic protocol is for a consumer group with members.
    pub(in crate::groups) fn has_consumer_members(&self, id: &StrBytes) -> bool {
        self.consumers.get(id).is_some_and(|group| group.state() != ConsumerGroupState::Empty)
    }

    /// Deletes an empty consumer group, so that a classic one can have its id.
    pub(in crate::groups) fn delete_empty_consumer_group(&mut self, id: &StrBytes) {
        let Some(group) = self.consumers.remove(id) else { return };
        let changes = group_tombstones(&group, group.members().keys());
        // Not reached: the group's own records had these keys.
        let Ok(records) = super::stores::records_of(id, &changes) else { return };
        let before = self.wants_before(id).then(|| super::stores::Durable::Consumer(group.recorded().clone()));
        self.store_changes(&group.id, before, records, changes);
    }

    pub(in crate::groups) fn join_consumer_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &JoinGroupRequest,
        environment: &mut dyn Environment,
    ) {
        let is_unknown = request.member_id.is_empty();
        let member_id =
            if is_unknown { super::heartbeat::new_member_id(environment) } else { request.member_id.clone() };
        let environment = &*environment;
        let Some(group) = self.consumers.remove(&request.group_id.0) else { return };
        let mut work = Work::on(group);
        if let Err(Refusal { error, .. }) = work.check_join(&self.shell.config, &member_id, request) {
            self.abandon(work);
            return self.shell.reply(token, GroupReply::JoinGroup(join_error(request.member_id.clone(), error)));
        }
        if is_unknown && request.group_instance_id.is_none() && context.api_version >= MEMBER_ID_REQUIRED_VERSION {
            self.abandon(work);
            let response = join_error(member_id, ResponseError::MemberIdRequired);
            return self.shell.reply(token, GroupReply::JoinGroup(response));
        }
        let around = self.surroundings(now_ms, &work.group.id, environment);
        let joined = match work.join(&around, context, request, &member_id, is_unknown) {
            Ok(joined) => joined,
            Err(Refusal { error, .. }) => {
                self.abandon(work);
                return self.shell.reply(token, GroupReply::JoinGroup(join_error(request.member_id.clone(), error)));
            }
        };
        let member = joined.member;
        let first = member.classic().and_then(|classic| classic.supported_protocols.first());
        let response = JoinGroupResponse::default()
            .with_member_id(member.id.clone())
            .with_generation_id(member.epoch())
            .with_protocol_type(Some(StrBytes::from_static_str(CONSUMER_PROTOCOL_TYPE)))
            .with_protocol_name(first.map(|protocol| protocol.name.clone()));
        let id = work.group.id.clone();
        let reply = Some((token, GroupReply::JoinGroup(response)));
        self.shell.cancel_classic_join(&id, &member.id);
        match joined.downgrade {
            None => {
                work.deadlines.push(Deadline::Session { member: member.id.clone() });
                let deadline_ms = now_ms.saturating_add(member.metadata.rebalance_timeout_ms.into());
                self.shell.schedule_classic_sync(&id, &member.id, deadline_ms);
                self.finish(now_ms, work, reply);
            }
            Some(Downgrade { replaced, subscription_changed }) => {
                let stays = |of: &&ConsumerMember| of.id != replaced && of.id != member.id;
                let mut members: Vec<ConsumerMember> = work.group.members().values().filter(stays).cloned().collect();
                members.push(member.clone());
                let mut changes = std::mem::take(&mut work.changes);
                let ids: Vec<StrBytes> = members.iter().map(|member| member.id.clone()).collect();
                changes.extend(group_tombstones(&work.group, ids.iter()));
                self.become_classic(now_ms, work.group, members, changes, reply, environment);
                if let Some(mut turn) = self.turn(&id, now_ms).filter(|_| subscription_changed) {
                    turn.prepare_rebalance();
                }
            }
        }
    }

    pub(in crate::groups) fn sync_consumer_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        request: &SyncGroupRequest,
        environment: &dyn Environment,
    ) {
        let Some(group) = self.consumers.get(&request.group_id.0) else { return };
        let id = group.id.clone();
        let member = match check_sync(group, request) {
            Ok(member) => member.clone(),
            Err(error) => {
                if error == ResponseError::RebalanceInProgress {
                    self.expect_classic_join(now_ms, &id, &request.member_id);
                }
                return self.shell.reply(token, GroupReply::SyncGroup(sync_error(error)));
            }
        };
        self.shell.cancel_classic_sync(&id, &member.id);
        self.shell.renew_session(now_ms, &id, &member);
        let response = SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(embedded_assignment(&member, environment));
        self.reply_when_durable(&id, token, GroupReply::SyncGroup(response));
    }

    pub(in crate::groups) fn beat_consumer_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        request: &HeartbeatRequest,
    ) {
        let Some(group) = self.consumers.get(&request.group_id.0) else { return };
        let id = group.id.clone();
        let checked =
            check_generation(group, &request.member_id, request.group_instance_id.as_ref(), request.generation_id);
        let (member, must_join) = match checked {
            Ok(member) => (member.clone(), must_join(group, member)),
            Err(error) => {
                let response = HeartbeatResponse::default().with_error_code(error.code());
                return self.shell.reply(token, GroupReply::Heartbeat(response));
            }
        };
        self.shell.renew_session(now_ms, &id, &member);
        let mut response = HeartbeatResponse::default();
        if must_join {
            self.expect_classic_join(now_ms, &id, &member.id);
            response.error_code = ResponseError::RebalanceInProgress.code();
        }
        self.reply_when_durable(&id, token, GroupReply::Heartbeat(response));
    }

    /// A member has been told to join again, which it has to do within its rebalance timeout.
    fn expect_classic_join(&mut self, now_ms: i64, id: &StrBytes, member_id: &StrBytes) {
        let member = self.consumers.get(id).and_then(|group| group.member(member_id));
        if let Some(member) = member {
            let deadline_ms = now_ms.saturating_add(member.metadata.rebalance_timeout_ms.into());
            self.shell.expect_classic_join(id, member_id, deadline_ms);
        }
    }

    pub(in crate::groups) fn leave_consumer_members(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        id: &StrBytes,
        identities: &[MemberIdentity],
        environment: &dyn Environment,
    ) {
        let Some(group) = self.consumers.get(id) else { return };
        let mut members: Vec<ConsumerMember> = Vec::new();
        let mut responses = Vec::with_capacity(identities.len());
        for identity in identities {
            let found = find(group, &identity.member_id, identity.group_instance_id.as_ref());
            if let Ok(member) = found
                && !members.iter().any(|known| known.id == member.id)
            {
                members.push(member.clone());
            }
            responses.push(left(identity, found.map(|_| ()).map_err(|refusal| refusal.error)));
        }
        let reply = GroupReply::LeaveGroup(LeaveGroupResponse::default().with_members(responses));
        self.fence(now_ms, id, members, Some((token, reply)), environment);
    }
}

/// The member that a LeaveGroup names; an administrator names a static one by its instance id alone.
fn find<'a>(
    group: &'a ConsumerGroup,
    member_id: &StrBytes,
    instance_id: Option<&StrBytes>,
) -> Result<&'a ConsumerMember, Refusal> {
    match instance_id {
        Some(instance_id) if member_id.is_empty() => {
            group.static_member(instance_id).ok_or_else(|| unknown_instance(instance_id))
        }
        _ => identify(group, member_id, instance_id),
    }
}

/// The member that a request of the classic protocol is from, if it speaks that and knows its epoch.
fn check_generation<'a>(
    group: &'a ConsumerGroup,
    member_id: &StrBytes,
    instance_id: Option<&StrBytes>,
    generation: i32,
) -> Result<&'a ConsumerMember, ResponseError> {
    let member = identify(group, member_id, instance_id).map_err(|refusal| refusal.error)?;
    if member.classic().is_none() {
        Err(ResponseError::UnknownMemberId)
    } else if member.epoch() != generation {
        Err(ResponseError::IllegalGeneration)
    } else {
        Ok(member)
    }
}

fn check_sync<'a>(group: &'a ConsumerGroup, request: &SyncGroupRequest) -> Result<&'a ConsumerMember, ResponseError> {
    let instance_id = request.group_instance_id.as_ref();
    let member = check_generation(group, &request.member_id, instance_id, request.generation_id)?;
    let protocol = member.classic().and_then(|classic| classic.supported_protocols.first());
    let differs = |asked: &Option<StrBytes>, has: Option<&str>| asked.is_some() && asked.as_deref() != has;
    if differs(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
        || differs(&request.protocol_name, protocol.map(|protocol| protocol.name.as_str()))
    {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    // Who has yet to give partitions back goes on with that first.
    if group.recorded().target_epoch > member.epoch() && member.state() != MemberState::UnrevokedPartitions {
        return Err(ResponseError::RebalanceInProgress);
    }
    Ok(member)
}

/// Whether a member can get on only by joining again: its target is of a later epoch, it has partitions to give back, or
/// those that it waits for are free.
fn must_join(group: &ConsumerGroup, member: &ConsumerMember) -> bool {
    member.epoch() < group.recorded().target_epoch
        || member.state() == MemberState::UnrevokedPartitions
        || member.state() == MemberState::UnreleasedPartitions && !group.waits_for_release(member)
}

impl Work {
    /// Begins the sessions of members that come from a classic group.
    pub(in crate::groups) fn begin_classic_sessions(&mut self) {
        for member in self.group.members().values() {
            self.deadlines.push(Deadline::Session { member: member.id.clone() });
        }
    }

    fn check_join(
        &self,
        config: &GroupConfig,
        member_id: &StrBytes,
        request: &JoinGroupRequest,
    ) -> Result<(), Refusal> {
        self.check_room(config, member_id)?;
        let names = request.protocols.iter().map(|protocol| &protocol.name);
        if !self.group.supports_protocols(&request.protocol_type, names) {
            let message = format!("Member {}'s protocols are not supported.", member_id.as_str());
            return refuse(ResponseError::InconsistentGroupProtocol, message);
        }
        Ok(())
    }

    fn join(
        &mut self,
        around: &Surroundings<'_>,
        context: &RequestContext,
        request: &JoinGroupRequest,
        member_id: &StrBytes,
        is_unknown: bool,
    ) -> Result<Joined, Refusal> {
        let subscription = read_subscription(request)?;
        let instance_id = request.group_instance_id.as_ref();
        let holder = instance_id.and_then(|instance_id| self.group.static_member(instance_id)).cloned();
        let joins = instance_id.is_none() || is_unknown;
        let (before, replaced) = self.member(&Sender { member_id, instance_id, claim: None, joins })?;
        let downgrades = holder.is_some_and(|holder| self.may_downgrade_by(around, &holder));
        let owned: Vec<TopicPartitions> = by_id(&subscription.owned, around.environment)
            .into_iter()
            .map(|(topic, own)| {
                TopicPartitions::default().with_topic_id(topic.0).with_partitions(own.into_iter().collect())
            })
            .collect();
        let rebalance_timeout_ms =
            if context.api_version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
        let metadata = MemberMetadata {
            instance_id: instance_id.map(owned_string).or_else(|| before.metadata.instance_id.clone()),
            rack_id: subscription.rack_id.or_else(|| before.metadata.rack_id.clone()),
            client_id: owned_string(&context.client_id),
            client_host: owned_string(&context.client_host),
            subscribed_topic_names: subscription.topics,
            subscribed_topic_regex: Some(StrBytes::new()),
            rebalance_timeout_ms,
            server_assignor: before.metadata.server_assignor.clone(),
            classic: Some(ClassicMemberMetadata {
                session_timeout_ms: request.session_timeout_ms,
                supported_protocols: owned_protocols(&request.protocols).iter().map(classic_protocol).collect(),
            }),
        };
        let (after, names_changed) = self.update(&before, metadata);
        let regex = self.update_regexes(around, &before, &after)?;
        let changed = names_changed || regex != RegexChange::None;
        let update = Update { before: &before, after: &after, replaced: replaced.as_ref() };
        let epoch = self.update_epoch(changed, &update, around.environment);
        let target = if downgrades {
            // The classic group's own rebalance follows where the subscription has changed.
            let from = replaced.as_ref().unwrap_or(&after.id);
            let partitions = self.group.target(from).map(|target| target.partitions.clone()).unwrap_or_default();
            (self.group.recorded().target_epoch, partitions)
        } else {
            self.update_target(around, epoch, &update)?
        };
        let member = if downgrades && changed {
            after.clone()
        } else {
            self.reconcile(after.clone(), &target, changed, Some(&owned), around.environment)?
        };
        let downgrade =
            downgrades.then(|| Downgrade { replaced: replaced.unwrap_or(before.id), subscription_changed: changed });
        Ok(Joined { member, downgrade })
    }

    /// Whether the group becomes a classic one when a classic member takes the place of this one.
    fn may_downgrade_by(&self, around: &Surroundings<'_>, holder: &ConsumerMember) -> bool {
        holder.classic().is_none()
            && self.group.classic_members() + 1 == self.group.members().len()
            && around.config.consumer_migration_policy.downgrades()
            && self.group.members().len() <= around.config.max_size
    }
}

/// All protocols of a member carry the same subscription.
fn read_subscription(request: &JoinGroupRequest) -> Result<Subscription, Refusal> {
    let first = request.protocols.first();
    let read = first.and_then(|protocol| embedded::subscription(&protocol.metadata).ok());
    // Kafka answers malformed ones with UNKNOWN_SERVER_ERROR.
    read.map_or_else(|| refuse(ResponseError::UnknownServerError, "Malformed embedded consumer protocol."), Ok)
}
