//! A group goes from one protocol to the other while its members work (KIP-848, online migration).
//!
//! A classic group becomes a consumer group with the first member that joins by the consumer protocol, and a classic group
//! again with the last that leaves, as far as `group.consumer.migration.policy` allows. In between, members of both kinds
//! are served by one consumer group; [`classic`](super::classic) is how.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::SyncGroupResponse;
use kafka_protocol::protocol::StrBytes;

use super::super::api::{Environment, GroupReply, RequestToken};
use super::super::assignor::Assignment;
use super::super::config::MigrationPolicy;
use super::super::coordinator::GroupCoordinator;
use super::super::embedded::{self, NamedPartitions};
use super::super::error_reply::{failed, join_error};
use super::super::group::{CONSUMER_PROTOCOL_TYPE, Group, GroupState};
use super::super::member::{Member, Protocol};
use super::super::rebalance::{Turn, group_value};
use super::super::records::consumer_group::{
    AssignmentWithEpochs, ClassicMemberMetadata, ClassicProtocol,
    ConsumerGroupCurrentMemberAssignmentValue as CurrentAssignment, ConsumerGroupMemberMetadataValue as MemberMetadata,
    ConsumerGroupMetadataValue as GroupEpoch, ConsumerGroupTargetAssignmentMemberValue as Target,
    ConsumerGroupTargetAssignmentMetadataValue as TargetEpoch,
};
use super::change::Change;
use super::group::ConsumerGroup;
use super::member::{ConsumerMember, MemberState};
use super::stores::{Durable, records_of};
use super::subscription::metadata_hash;
use super::work::{Refusal, Work, refuse};

/// What a classic member becomes.
struct Converted {
    id: StrBytes,
    metadata: MemberMetadata,
    partitions: Assignment,
}

impl GroupCoordinator {
    /// Makes a consumer group of a classic one, for a member that joins by the consumer protocol.
    pub(in crate::groups) fn upgrade(&mut self, id: &StrBytes, environment: &dyn Environment) -> Result<Work, Refusal> {
        let Some(group) = self.groups.get(id) else { return Ok(Work::new(id.clone())) };
        let refused = |why: &str| {
            let message = format!("Cannot upgrade classic group {} to consumer group because {why}.", id.as_str());
            refuse(ResponseError::GroupIdNotFound, message)
        };
        if !self.shell.config.consumer_migration_policy.upgrades() {
            return refused("online upgrade is disabled");
        }
        if !group.uses_consumer_protocol() {
            return refused("the group does not use the consumer embedded protocol");
        }
        if group.member_count() > self.shell.config.consumer_max_size {
            return refused("the group size exceeds the consumer group maximum size");
        }
        let mut members = Vec::with_capacity(group.member_count());
        for member in group.members() {
            match converted(group, member, environment) {
                Ok(Some(member)) => members.push(member),
                Ok(None) => {
                    return refused(
                        "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                         default assignor before re-attempting the upgrade",
                    );
                }
                Err(_) => return refused("the embedded consumer protocol is malformed"),
            }
        }
        let changes = creation(group.generation, members, environment);
        let Some(mut group) = self.groups.remove(id) else { return Ok(Work::new(id.clone())) };
        // Whoever waits for the classic group's rebalance joins the next one, which is the consumer group's.
        let error = ResponseError::RebalanceInProgress;
        for member_id in group.member_ids() {
            let join = group.take_join(&member_id);
            let sync = group.member_mut(&member_id).and_then(|member| member.awaiting_sync.take());
            if let Some(token) = join {
                self.shell.reply(token, GroupReply::JoinGroup(join_error(member_id, error)));
            }
            if let Some(token) = sync {
                let response = SyncGroupResponse::default().with_error_code(error.code());
                self.shell.reply(token, GroupReply::SyncGroup(response));
            }
        }
        let mut work = Work::conversion(group, changes);
        work.begin_classic_sessions();
        Ok(work)
    }

    /// Whether the group is to become a classic one when these members are gone.
    pub(in crate::groups) fn may_downgrade(&self, group: &ConsumerGroup, leaving: &[ConsumerMember]) -> bool {
        let left = group.members().len() - leaving.len();
        leaving.iter().all(|member| member.classic().is_none())
            && group.classic_members() == left
            && left > 0
            && self.shell.config.consumer_migration_policy.downgrades()
            && left <= self.shell.config.max_size
    }

    /// Makes a classic group of a consumer group whose last members of the consumer protocol leave. Those that stay begin a
    /// rebalance.
    pub(in crate::groups) fn downgrade(
        &mut self,
        now_ms: i64,
        id: &StrBytes,
        leaving: &[ConsumerMember],
        reply: Option<(RequestToken, GroupReply)>,
        environment: &dyn Environment,
    ) {
        let Some(group) = self.consumers.remove(id) else { return };
        let is_leaving = |member: &&ConsumerMember| leaving.iter().any(|left| left.id == member.id);
        let staying = group.members().values().filter(|member| !is_leaving(member)).cloned().collect();
        let changes = group_tombstones(&group, group.members().keys());
        self.become_classic(now_ms, group, staying, changes, reply, environment);
        if let Some(mut turn) = self.turn(id, now_ms) {
            turn.prepare_rebalance();
        }
    }

    /// Goes on as a classic group of these members. `changes` end the consumer group; `reply` waits for the store.
    pub(in crate::groups) fn become_classic(
        &mut self,
        now_ms: i64,
        consumer: ConsumerGroup,
        members: Vec<ConsumerMember>,
        mut changes: Vec<Change>,
        reply: Option<(RequestToken, GroupReply)>,
        environment: &dyn Environment,
    ) {
        let id = consumer.id.clone();
        let (classic, assignment) = classic_group(&consumer, &members, now_ms, environment);
        changes.push(Change::Classic(Some(Rc::new(group_value(&classic, &assignment)))));
        let Ok(records) = records_of(&id, &changes) else {
            // Not reached: what the members said of themselves fitted records before.
            self.consumers.insert(id, consumer);
            if let Some((token, reply)) = reply {
                self.shell.reply(token, failed(reply, ResponseError::UnknownServerError));
            }
            return;
        };
        for member in consumer.members().keys() {
            self.shell.cancel_member(&id, member);
        }
        let before = self.wants_before(&id).then(|| Durable::Consumer(consumer.recorded().clone()));
        self.store_changes(&id, before, records, changes);
        self.groups.insert(id.clone(), classic);
        if let Some(mut turn) = self.turn(&id, now_ms) {
            for member_id in turn.group.member_ids() {
                turn.renew_session(&member_id);
            }
        }
        if let Some((token, reply)) = reply {
            self.reply_when_durable(&id, token, reply);
        }
    }
}

/// A member as the consumer group is to have it. `None`: its assignor told it more than partitions, which would be lost.
fn converted(
    group: &Group,
    member: &Member,
    environment: &dyn Environment,
) -> Result<Option<Converted>, super::super::records::DecodeError> {
    let assignment = embedded::assignment(&member.assignment)?;
    if assignment.has_user_data {
        return Ok(None);
    }
    let metadata = match &group.protocol {
        Some(protocol) => member.metadata(protocol),
        // No rebalance has ended yet. All protocols carry the same subscription.
        None => member.protocols.first().map(|protocol| protocol.metadata.clone()).unwrap_or_default(),
    };
    let subscription = embedded::subscription(&metadata)?;
    let metadata = MemberMetadata {
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        subscribed_topic_names: subscription.topics,
        subscribed_topic_regex: Some(StrBytes::new()),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: member.protocols.iter().map(classic_protocol).collect(),
        }),
    };
    let partitions = by_id(&assignment.partitions, environment);
    Ok(Some(Converted { id: member.id.clone(), metadata, partitions }))
}

pub(in crate::groups) fn classic_protocol(protocol: &Protocol) -> ClassicProtocol {
    ClassicProtocol { name: protocol.name.clone(), metadata: protocol.metadata.clone() }
}

/// Partitions of topics that exist.
pub(in crate::groups) fn by_id(partitions: &NamedPartitions, environment: &dyn Environment) -> Assignment {
    let known = partitions.iter().filter_map(|(name, own)| Some((environment.topic(name)?.id, own.clone())));
    known.filter(|(_, own)| !own.is_empty()).collect()
}

/// The changes by which a classic group becomes a consumer group, everybody with the partitions that the leader gave them.
fn creation(generation: i32, members: Vec<Converted>, environment: &dyn Environment) -> Vec<Change> {
    let mut changes = vec![Change::Classic(None)];
    let topics: BTreeSet<&StrBytes> =
        members.iter().flat_map(|member| &member.metadata.subscribed_topic_names).collect();
    let metadata_hash = metadata_hash(topics, environment);
    // A partition has one owner, also where a leader or a record has got that wrong.
    let mut given = BTreeSet::new();
    let mut targets = Vec::with_capacity(members.len());
    for member in members {
        let mut partitions = member.partitions;
        for (topic, own) in &mut partitions {
            own.retain(|partition| given.insert((*topic, *partition)));
        }
        partitions.retain(|_, own| !own.is_empty());
        changes.push(Change::Member(member.id.clone(), Some(Rc::new(member.metadata))));
        targets.push((member.id, partitions));
    }
    changes.push(Change::Group(Some(GroupEpoch { epoch: generation, metadata_hash })));
    for (id, partitions) in &targets {
        let target = Target { partitions: partitions.clone() };
        changes.push(Change::Target(id.clone(), Some(Rc::new(target))));
    }
    let epoch = TargetEpoch { assignment_epoch: generation, assignment_timestamp_ms: 0 };
    changes.push(Change::TargetEpoch(Some(epoch)));
    for (id, partitions) in targets {
        let with_epoch = |own: BTreeSet<i32>| own.into_iter().map(|p| (p, generation)).collect();
        let current = CurrentAssignment {
            member_epoch: generation,
            previous_member_epoch: generation,
            state: MemberState::Stable.number(),
            assigned: partitions.into_iter().map(|(topic, own)| (topic, with_epoch(own))).collect(),
            pending_revocation: AssignmentWithEpochs::new(),
        };
        changes.push(Change::Current(id, Some(Rc::new(current))));
    }
    changes
}

/// What deletes every record of a group, in Kafka's order. `members` are those that the records name.
pub(in crate::groups) fn group_tombstones<'a>(
    group: &ConsumerGroup,
    members: impl Iterator<Item = &'a StrBytes> + Clone,
) -> Vec<Change> {
    let mut changes: Vec<Change> = members.clone().map(|id| Change::Current(id.clone(), None)).collect();
    changes.extend(members.clone().map(|id| Change::Target(id.clone(), None)));
    changes.push(Change::TargetEpoch(None));
    changes.extend(members.map(|id| Change::Member(id.clone(), None)));
    changes.extend(group.recorded().regexes.keys().map(|regex| Change::Regex(regex.clone(), None)));
    changes.push(Change::PartitionMetadata(false));
    changes.push(Change::Group(None));
    changes
}

/// The classic group of these members, and what each is to be assigned.
fn classic_group(
    consumer: &ConsumerGroup,
    members: &[ConsumerMember],
    now_ms: i64,
    environment: &dyn Environment,
) -> (Group, BTreeMap<StrBytes, Bytes>) {
    let mut group = Group::restored(consumer.id.clone(), GroupState::Stable, Some(now_ms));
    let mut assignment = BTreeMap::new();
    for member in members {
        let Some(classic) = member.classic() else { continue };
        let own = embedded_assignment(member, environment);
        assignment.insert(member.id.clone(), own.clone());
        group.add_member(Member {
            id: member.id.clone(),
            instance_id: member.metadata.instance_id.clone(),
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            rebalance_timeout_ms: member.metadata.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocol_type: StrBytes::from_static_str(CONSUMER_PROTOCOL_TYPE),
            protocols: classic
                .supported_protocols
                .iter()
                .map(|protocol| Protocol { name: protocol.name.clone(), metadata: protocol.metadata.clone() })
                .collect(),
            assignment: own,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        });
    }
    group.generation = consumer.recorded().epoch;
    group.protocol = group.select_protocol();
    group.refresh_subscribed_topics();
    (group, assignment)
}

/// What the member has, in the words of the classic protocol, and the version that it speaks.
pub(in crate::groups) fn embedded_assignment(member: &ConsumerMember, environment: &dyn Environment) -> Bytes {
    let first = member.classic().and_then(|classic| classic.supported_protocols.first());
    let version = first.and_then(|protocol| embedded::version(&protocol.metadata).ok()).unwrap_or(0);
    let assigned = ConsumerGroup::without_epochs(&member.current.assigned);
    let named = assigned.into_iter().filter_map(|(topic, own)| Some((environment.topic_by_id(topic)?.name, own)));
    embedded::encode_assignment(version, &named.collect())
}

impl MigrationPolicy {
    pub(in crate::groups) fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Upgrade | MigrationPolicy::Bidirectional)
    }

    pub(in crate::groups) fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Downgrade | MigrationPolicy::Bidirectional)
    }
}

impl Turn<'_> {
    /// Goes on with a classic group whose members have been told to join again.
    pub(in crate::groups) fn resume(&mut self) {
        self.group.forget_rebalance(self.now_ms);
        if self.group.member_count() == 0 {
            return;
        }
        for member_id in self.group.member_ids() {
            self.renew_session(&member_id);
        }
        self.prepare_rebalance();
    }
}
