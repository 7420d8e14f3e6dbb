//! ConsumerGroupHeartbeat: joining, staying and leaving.
//!
//! A heartbeat is three steps, each of which may find nothing to do: the member and with it the group's epoch, the target
//! assignment for that epoch, and the member's own way to its target.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::api::{Environment, GroupReply, RequestContext, RequestToken};
use super::super::assignor::Assignment as Partitions;
use super::super::config::GroupConfig;
use super::super::coordinator::GroupCoordinator;
use super::super::error_reply::heartbeat_error;
use super::super::group::GroupState;
use super::super::member::owned as owned_string;
use super::super::records::consumer_group::{AssignmentWithEpochs, ConsumerGroupMemberMetadataValue as MemberMetadata};
use super::change::Change;
use super::group::ConsumerGroup;
use super::member::{ConsumerMember, JOINING_EPOCH, LEAVING_EPOCH, STATIC_LEAVING_EPOCH};
use super::target::Update;
use super::work::{Deadline, Refusal, RegexChange, Sender, Surroundings, Work, identify, refuse};

/// From this version on, members make their ids themselves.
const OWN_MEMBER_ID_VERSION: i16 = 1;
/// What a request has in place of a rebalance timeout that has not changed.
const NO_TIMEOUT: i32 = -1;

/// What can be said of a heartbeat without looking at its group.
fn check(config: &GroupConfig, api_version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let invalid = |message: &str| refuse(ResponseError::InvalidRequest, message);
    let epoch = request.member_epoch;
    let is_empty = |string: &Option<StrBytes>| string.as_ref().is_some_and(|string| string.trim().is_empty());
    let needs_id = api_version >= OWN_MEMBER_ID_VERSION || epoch > JOINING_EPOCH || epoch == LEAVING_EPOCH;
    if needs_id && request.member_id.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if is_empty(&request.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&request.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if epoch == JOINING_EPOCH {
        if request.rebalance_timeout_ms == NO_TIMEOUT {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
    } else if epoch == STATIC_LEAVING_EPOCH {
        if request.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        }
    } else if epoch < STATIC_LEAVING_EPOCH {
        return invalid("MemberEpoch is invalid.");
    }
    let offered = &config.consumer_assignors;
    match &request.server_assignor {
        Some(asked) if !offered.iter().any(|assignor| assignor.name() == asked.as_str()) => {
            let names: Vec<&str> = offered.iter().map(|assignor| assignor.name()).collect();
            refuse(
                ResponseError::UnsupportedAssignor,
                format!(
                    "ServerAssignor {} is not supported. Supported assignors: {}.",
                    asked.as_str(),
                    names.join(", ")
                ),
            )
        }
        _ => Ok(()),
    }
}

impl GroupCoordinator {
    pub(in crate::groups) fn consumer_group_heartbeat(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        environment: &mut dyn Environment,
    ) {
        let checked = check(&self.shell.config, context.api_version, request);
        let done = checked.and_then(|()| match request.member_epoch {
            LEAVING_EPOCH | STATIC_LEAVING_EPOCH => self.leave_consumer_group(now_ms, token, request, environment),
            _ => self.beat(now_ms, token, context, request, environment),
        });
        if let Err(Refusal { error, message }) = done {
            let reply = GroupReply::ConsumerGroupHeartbeat(heartbeat_error(error, Some(message)));
            self.shell.reply(token, reply);
        }
    }

    fn beat(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        environment: &mut dyn Environment,
    ) -> Result<(), Refusal> {
        let member_id =
            if request.member_id.is_empty() { new_member_id(environment) } else { request.member_id.clone() };
        let environment = &*environment;
        let mut work = self.begin(&request.group_id, request.member_epoch == JOINING_EPOCH, environment)?;
        let around = self.surroundings(now_ms, &work.group.id, environment);
        match work.beat(&around, context, request, &member_id) {
            Ok(response) => {
                let reply = GroupReply::ConsumerGroupHeartbeat(response);
                self.finish(now_ms, work, Some((token, reply)));
                Ok(())
            }
            Err(refusal) => {
                self.abandon(work);
                Err(refusal)
            }
        }
    }

    /// Takes out the group that a heartbeat is about. A member that joins makes one, or makes a consumer group of a classic
    /// one.
    fn begin(&mut self, id: &StrBytes, joins: bool, environment: &dyn Environment) -> Result<Work, Refusal> {
        if let Some(group) = self.consumers.remove(id) {
            return Ok(Work::on(group));
        }
        let Some(classic) = self.groups.get(id) else {
            if !joins {
                let message = format!("Consumer group {} not found.", id.as_str());
                return refuse(ResponseError::GroupIdNotFound, message);
            }
            if self.groups.len() + self.consumers.len() >= self.shell.config.groups_max {
                return refuse(
                    ResponseError::CoordinatorNotAvailable,
                    "The coordinator has as many groups as it may have.",
                );
            }
            return Ok(Work::new(owned_string(id)));
        };
        if !joins {
            return refuse(ResponseError::GroupIdNotFound, format!("Group {} is not a consumer group.", id.as_str()));
        }
        if classic.state() != GroupState::Empty {
            return self.upgrade(id, environment);
        }
        // It has only offsets, and member ids at most that were handed out and not used.
        let Some(classic) = self.groups.remove(id) else { return Ok(Work::new(owned_string(id))) };
        Ok(Work::conversion(classic, vec![Change::Classic(None)]))
    }

    fn leave_consumer_group(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        request: &ConsumerGroupHeartbeatRequest,
        environment: &dyn Environment,
    ) -> Result<(), Refusal> {
        let (id, member_id) = (&request.group_id.0, &request.member_id);
        let Some(group) = self.consumers.get(id) else {
            return refuse(ResponseError::GroupIdNotFound, self.no_consumer_group(id));
        };
        let member = identify(group, member_id, request.instance_id.as_ref())?.clone();
        let response = ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(member_id.clone()))
            .with_member_epoch(request.member_epoch);
        let reply = (token, GroupReply::ConsumerGroupHeartbeat(response));
        // Without an instance id, -2 cannot come here.
        if request.member_epoch == STATIC_LEAVING_EPOCH {
            self.static_member_left(now_ms, id, &member, reply);
        } else {
            self.fence(now_ms, id, vec![member], Some(reply), environment);
        }
        Ok(())
    }

    /// A static member goes and says that it will be back: its partitions stay its own until its session ends.
    fn static_member_left(
        &mut self,
        now_ms: i64,
        id: &StrBytes,
        member: &ConsumerMember,
        reply: (RequestToken, GroupReply),
    ) {
        let Some(group) = self.consumers.remove(id) else { return };
        let mut work = Work::on(group);
        let mut current = (*member.current).clone();
        current.member_epoch = STATIC_LEAVING_EPOCH;
        current.pending_revocation.clear();
        work.changes.push(Change::Current(member.id.clone(), Some(std::rc::Rc::new(current))));
        self.finish(now_ms, work, Some(reply));
    }

    /// Takes members out of a consumer group: they left, or were not heard of in time. With the last one that speaks the
    /// consumer protocol, the group becomes a classic one.
    pub(in crate::groups) fn fence(
        &mut self,
        now_ms: i64,
        id: &StrBytes,
        members: Vec<ConsumerMember>,
        reply: Option<(RequestToken, GroupReply)>,
        environment: &dyn Environment,
    ) {
        let Some(group) = self.consumers.get(id) else { return };
        if members.is_empty() {
            if let Some((token, reply)) = reply {
                self.reply_when_durable(id, token, reply);
            }
            return;
        }
        for member in &members {
            self.shell.cancel_member(&group.id, &member.id);
        }
        if self.may_downgrade(group, &members) {
            return self.downgrade(now_ms, id, &members, reply, environment);
        }
        let Some(group) = self.consumers.remove(id) else { return };
        let mut work = Work::on(group);
        work.remove(&members, environment);
        self.finish(now_ms, work, reply);
    }

    /// A member has not been heard of in time.
    pub(in crate::groups) fn session_ended(
        &mut self,
        now_ms: i64,
        id: &StrBytes,
        member_id: &StrBytes,
        environment: &dyn Environment,
    ) {
        let member = self.consumers.get(id).and_then(|group| group.member(member_id)).cloned();
        if let Some(member) = member {
            self.fence(now_ms, id, vec![member], None, environment);
        }
    }

    /// A member has not given its partitions back in time, if it is still in the epoch that it was to leave.
    pub(in crate::groups) fn revocation_expired(
        &mut self,
        now_ms: i64,
        id: &StrBytes,
        member_id: &StrBytes,
        environment: &dyn Environment,
    ) {
        let Some(group) = self.consumers.get_mut(id) else { return };
        let epoch = group.revocations.remove(member_id);
        let member = group.member(member_id).filter(|member| Some(member.epoch()) == epoch).cloned();
        if let Some(member) = member {
            self.fence(now_ms, id, vec![member], None, environment);
        }
    }
}

impl Work {
    fn beat(
        &mut self,
        around: &Surroundings<'_>,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        member_id: &StrBytes,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.check_room(around.config, member_id)?;
        let owned = request.topic_partitions.as_deref();
        let sender = Sender {
            member_id,
            instance_id: request.instance_id.as_ref(),
            claim: Some((request.member_epoch, owned)),
            joins: request.member_epoch == JOINING_EPOCH,
        };
        let (before, replaced) = self.member(&sender)?;
        let (after, names_changed) = self.update(&before, told(&before.metadata, context, request));
        let regex = self.update_regexes(around, &before, &after)?;
        let update = Update { before: &before, after: &after, replaced: replaced.as_ref() };
        // A regular expression of which nothing is known raises the epoch when something is.
        let raise = names_changed || regex == RegexChange::Resolved;
        let epoch = self.update_epoch(raise, &update, around.environment);
        let target = self.update_target(around, epoch, &update)?;
        let subscription_changed = names_changed || regex != RegexChange::None;
        let after = self.reconcile(after.clone(), &target, subscription_changed, owned, around.environment)?;
        self.deadlines.push(Deadline::Session { member: after.id.clone() });
        let is_full = request.rebalance_timeout_ms != NO_TIMEOUT
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        let tells = sender.joins || is_full || after.current.assigned != before.current.assigned;
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(after.id.clone()))
            .with_member_epoch(after.epoch())
            .with_heartbeat_interval_ms(around.settings.consumer_heartbeat_interval_ms)
            .with_assignment(tells.then(|| assignment(&after.current.assigned))))
    }

    /// Whether `group.consumer.max.size` leaves room for the member.
    pub(in crate::groups) fn check_room(&self, config: &GroupConfig, member_id: &StrBytes) -> Result<(), Refusal> {
        let (members, max) = (self.group.members().len(), config.consumer_max_size);
        if members >= max && self.group.member(member_id).is_none() {
            let message = format!("The consumer group has reached its maximum capacity of {max} members.");
            return refuse(ResponseError::GroupMaxSizeReached, message);
        }
        Ok(())
    }
}

/// What a member is known by after this heartbeat: what the request leaves out stays.
fn told(before: &MemberMetadata, context: &RequestContext, request: &ConsumerGroupHeartbeatRequest) -> MemberMetadata {
    let or_before = |asked: &Option<StrBytes>, before: &Option<StrBytes>| match asked {
        Some(asked) => Some(owned_string(asked)),
        None => before.clone(),
    };
    MemberMetadata {
        instance_id: or_before(&request.instance_id, &before.instance_id),
        rack_id: or_before(&request.rack_id, &before.rack_id),
        client_id: owned_string(&context.client_id),
        client_host: owned_string(&context.client_host),
        subscribed_topic_names: match &request.subscribed_topic_names {
            Some(names) => Work::owned_names(names.iter().map(|name| &name.0)),
            None => before.subscribed_topic_names.clone(),
        },
        subscribed_topic_regex: or_before(&request.subscribed_topic_regex, &before.subscribed_topic_regex),
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            NO_TIMEOUT => before.rebalance_timeout_ms,
            timeout_ms => timeout_ms,
        },
        server_assignor: or_before(&request.server_assignor, &before.server_assignor),
        classic: None,
    }
}

/// An id for a member that leaves it to the coordinator, as Kafka prints a UUID: 22 characters of URL-safe base64.
pub(in crate::groups) fn new_member_id(environment: &mut dyn Environment) -> StrBytes {
    use base64::Engine as _;
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(environment.member_uuid().as_bytes());
    StrBytes::from_string(id)
}

fn assignment(assigned: &AssignmentWithEpochs) -> Assignment {
    let topics = assigned.iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

impl ConsumerGroup {
    /// Partitions by topic, without the epochs.
    pub(in crate::groups) fn without_epochs(assigned: &AssignmentWithEpochs) -> Partitions {
        assigned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
    }
}
