//! OffsetCommit and OffsetDelete, and the offsets of deleted topics.

use std::cmp::Ordering;
use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use protocol::{LeaderEpoch, Offset, TopicId};

use super::api::{Environment, GroupEffect, GroupReply, RequestContext, RequestToken, StoreId, StoredRecord};
use super::consumer::{ConsumerGroup, ConsumerMember};
use super::coordinator::{GroupCoordinator, group_id_fits, removal};
use super::error_reply::commit_error;
use super::group::{Group, GroupState};
use super::member::owned;
use super::offsets::{OffsetKey, View};
use super::records::consumer_group::AssignmentWithEpochs;
use super::records::{EncodeError, OffsetCommitValue, RecordKey};
use super::shell::Pending;

/// The version of OffsetCommit that can say that a group does not exist (KIP-848).
const GROUP_NOT_FOUND_VERSION: i16 = 9;
/// No retention time of the client's own.
const DEFAULT_RETENTION_MS: i64 = -1;
/// Records of one store of ours (tombstones of expired offsets and deleted topics).
pub(super) const STORE_RECORDS_MAX: usize = 1_000;

impl GroupCoordinator {
    pub(super) fn commit_offsets(
        &mut self,
        now_ms: i64,
        token: RequestToken,
        context: &RequestContext,
        mut request: OffsetCommitRequest,
        environment: &dyn Environment,
    ) {
        let mut response = take_unknown_partitions(&mut request, environment);
        if request.topics.is_empty() {
            return self.shell.reply(token, GroupReply::OffsetCommit(response));
        }
        let earlier = match self.check_commit(now_ms, context.api_version, &request) {
            Ok(earlier) => earlier,
            Err(error) => {
                merge(&mut response, commit_error(&request, error.code()));
                return self.shell.reply(token, GroupReply::OffsetCommit(response));
            }
        };
        let mut records = Vec::new();
        let mut changes = Vec::new();
        let mut accepted = OffsetCommitResponse::default();
        for topic in &request.topics {
            let topic_name = owned(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let key = OffsetKey {
                    group: request.group_id.0.clone(),
                    topic: topic_name.clone(),
                    partition: partition.partition_index,
                };
                let topic_id = TopicId(topic.topic_id);
                let stale = earlier.as_ref().and_then(|member| member.refuses(topic_id, key.partition));
                let result = match stale {
                    None => self.commit_record(now_ms, &key, topic_id, partition, request.retention_time_ms),
                    Some(error) => Err(error),
                };
                let code = result.as_ref().map_or_else(|error| error.code(), |_| 0);
                partitions.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(partition.partition_index)
                        .with_error_code(code),
                );
                if let Ok((record, value)) = result {
                    records.push(record);
                    changes.push((key, value));
                }
            }
            accepted.topics.push(
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(partitions),
            );
        }
        if !records.is_empty() && !self.ensure_group(&request.group_id, now_ms) {
            records.clear();
            accepted = commit_error(&request, ResponseError::CoordinatorNotAvailable.code());
        }
        merge(&mut response, accepted);
        if records.is_empty() {
            return self.shell.reply(token, GroupReply::OffsetCommit(response));
        }
        // From here on the group's own id is kept, not the request's.
        let classic = self.groups.get(&request.group_id.0).map(|group| &group.id);
        let group_id = classic.or(self.consumers.get(&request.group_id.0).map(|group| &group.id)).cloned();
        let group_id = group_id.unwrap_or_default();
        let store = self.shell.next_store_id();
        let mut keys = Vec::with_capacity(changes.len());
        for (mut key, value) in changes {
            key.group = group_id.clone();
            self.offsets.propose(&key, store, Some(value));
            keys.push(key);
        }
        let replies = vec![(token, GroupReply::OffsetCommit(response))];
        self.shell.store(records, Pending { offsets: keys, replies, ..Pending::default() });
    }

    /// Whether the group takes commits of this member and generation; if so, the session of a classic group's member is
    /// renewed. A member of a consumer group that comes with an earlier epoch is returned: it may commit what it has had
    /// since then.
    fn check_commit(
        &mut self,
        now_ms: i64,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<Option<EarlierEpoch>, ResponseError> {
        group_id_fits(&request.group_id)?;
        if let Some(group) = self.consumers.get(&request.group_id.0) {
            return check_member_commit(group, api_version, request);
        }
        let Some(mut turn) = self.turn(&request.group_id, now_ms) else {
            // Without a generation it comes from a consumer that assigns its partitions itself, or from an administrator:
            // a simple group is made.
            return if request.generation_id_or_member_epoch < 0 {
                Ok(None)
            } else if api_version >= GROUP_NOT_FOUND_VERSION {
                Err(ResponseError::GroupIdNotFound)
            } else {
                Err(ResponseError::IllegalGeneration)
            };
        };
        check_committer(turn.group, request)?;
        if matches!(turn.group.state(), GroupState::Stable | GroupState::PreparingRebalance) {
            turn.renew_session(&request.member_id);
        }
        Ok(None)
    }

    fn commit_record(
        &self,
        now_ms: i64,
        key: &OffsetKey,
        topic_id: TopicId,
        partition: &OffsetCommitRequestPartition,
        retention_ms: i64,
    ) -> Result<(StoredRecord, OffsetCommitValue), ResponseError> {
        let metadata = partition.committed_metadata.as_ref().map(owned).unwrap_or_default();
        if metadata.encode_utf16().count() > self.shell.config.offset_metadata_max_units {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        let value = OffsetCommitValue {
            offset: Offset(partition.committed_offset),
            leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
            metadata,
            commit_timestamp_ms: now_ms,
            expire_timestamp_ms: (retention_ms != DEFAULT_RETENTION_MS).then(|| now_ms.saturating_add(retention_ms)),
            topic_id,
        };
        let key = record_key(key).encode().map_err(|_| ResponseError::InvalidRequest)?;
        let encoded = value.encode().map_err(|_| ResponseError::OffsetMetadataTooLarge)?;
        Ok((StoredRecord { key, value: Some(encoded) }, value))
    }

    pub(super) fn delete_offsets(
        &mut self,
        token: RequestToken,
        request: &OffsetDeleteRequest,
        environment: &dyn Environment,
    ) {
        let mut unknown = Vec::new();
        let mut known = Vec::new();
        for topic in &request.topics {
            let (there, missing): (Vec<i32>, Vec<i32>) = topic
                .partitions
                .iter()
                .map(|partition| partition.partition_index)
                .partition(|partition| environment.topic_id(&topic.name, *partition).is_some());
            if !missing.is_empty() {
                unknown.push(deleted(&topic.name, &missing, ResponseError::UnknownTopicOrPartition.code()));
            }
            if !there.is_empty() {
                known.push((&topic.name, there));
            }
        }
        if let Err(error) = self.check_offset_delete(&request.group_id) {
            let response = OffsetDeleteResponse::default().with_error_code(error.code());
            return self.shell.reply(token, GroupReply::OffsetDelete(response));
        }
        let id = owned(&request.group_id);
        let mut topics = unknown;
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        for (topic, partitions) in known {
            if self.is_subscribed_to(&id, &topic.0) {
                topics.push(deleted(topic, &partitions, ResponseError::GroupSubscribedToTopic.code()));
                continue;
            }
            for partition in &partitions {
                let exists = self.offsets.get(View::Possible, &id, topic, *partition).is_some();
                if exists && seen.insert((topic.as_str(), *partition)) {
                    keys.push(OffsetKey { group: id.clone(), topic: owned(topic), partition: *partition });
                }
            }
            topics.push(deleted(topic, &partitions, 0));
        }
        let reply = GroupReply::OffsetDelete(OffsetDeleteResponse::default().with_topics(topics));
        self.store_tombstones(keys, Some((token, reply)));
    }

    fn check_offset_delete(&self, group_id: &GroupId) -> Result<(), ResponseError> {
        if group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        if self.consumers.contains_key(&group_id.0) {
            return Ok(());
        }
        let group = self.groups.get(&group_id.0).ok_or(ResponseError::GroupIdNotFound)?;
        if group.state() != GroupState::Empty && !group.uses_consumer_protocol() {
            return Err(ResponseError::NonEmptyGroup);
        }
        Ok(())
    }

    /// Whether a member of the group subscribes to the topic.
    pub(super) fn is_subscribed_to(&self, group: &StrBytes, topic: &StrBytes) -> bool {
        match self.consumers.get(group) {
            Some(group) => group.topics().contains_key(topic),
            None => self.groups.get(group).is_some_and(|group| group.is_subscribed_to(topic)),
        }
    }

    /// A topic has been deleted: its offsets go too, but not those of another topic that has the name by now.
    pub fn topic_deleted(&mut self, topic: &str, topic_id: TopicId) -> Vec<GroupEffect> {
        let keys = self.offsets.of_topic(&StrBytes::from_string(topic.to_owned()), topic_id);
        for chunk in keys.chunks(STORE_RECORDS_MAX) {
            self.store_tombstones(chunk.to_vec(), None);
        }
        self.shell.take_effects()
    }

    /// Stores tombstones for these offsets; the answer waits for them.
    fn store_tombstones(&mut self, keys: Vec<OffsetKey>, reply: Option<(RequestToken, GroupReply)>) {
        let store = self.shell.next_store_id();
        let records = self.propose_tombstones(&keys, store);
        if !records.is_empty() {
            let pending = Pending { replies: reply.into_iter().collect(), ..removal(keys, Vec::new()) };
            self.shell.store(records, pending);
        } else if let Some((token, reply)) = reply {
            self.shell.reply(token, reply);
        }
    }

    /// Takes these offsets out as soon as `store` is durable. Returns the records that it must have.
    pub(super) fn propose_tombstones(&mut self, keys: &[OffsetKey], store: StoreId) -> Vec<StoredRecord> {
        keys.iter().for_each(|key| self.offsets.propose(key, store, None));
        // No key is left out: that of an offset which is there has been written before.
        keys.iter().filter_map(|key| offset_tombstone(key).ok()).collect()
    }
}

/// A member of a consumer group that commits with an epoch which it has left. It may, for partitions that it has had since
/// then (KIP-1251).
struct EarlierEpoch {
    member: ConsumerMember,
    epoch: i32,
}

impl EarlierEpoch {
    /// Why it may not commit the partition's offset, if so.
    fn refuses(&self, topic: TopicId, partition: i32) -> Option<ResponseError> {
        let current = &self.member.current;
        let since = |own: &AssignmentWithEpochs| own.get(&topic)?.get(&partition).copied();
        let since = since(&current.assigned).or_else(|| since(&current.pending_revocation));
        let may = since.is_some_and(|since| self.epoch >= since);
        (!may).then(|| stale_epoch(&self.member))
    }
}

/// What a member is told whose epoch does not fit, in the words of its protocol.
pub(super) fn stale_epoch(member: &ConsumerMember) -> ResponseError {
    if member.classic().is_some() { ResponseError::IllegalGeneration } else { ResponseError::StaleMemberEpoch }
}

/// Kafka's `ConsumerGroup.validateOffsetCommit`.
fn check_member_commit(
    group: &ConsumerGroup,
    api_version: i16,
    request: &OffsetCommitRequest,
) -> Result<Option<EarlierEpoch>, ResponseError> {
    let epoch = request.generation_id_or_member_epoch;
    if epoch < 0 && group.members().is_empty() {
        // An administrator, or a consumer that assigns its partitions itself.
        return Ok(None);
    }
    let member = group.member(&request.member_id).ok_or(ResponseError::UnknownMemberId)?;
    if member.classic().is_none() && api_version < GROUP_NOT_FOUND_VERSION {
        return Err(ResponseError::UnsupportedVersion);
    }
    match epoch.cmp(&member.epoch()) {
        Ordering::Equal => Ok(None),
        Ordering::Greater => Err(stale_epoch(member)),
        Ordering::Less => Ok(Some(EarlierEpoch { member: member.clone(), epoch })),
    }
}

/// Kafka's `ClassicGroup.validateOffsetCommit`.
fn check_committer(group: &Group, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
    let generation = request.generation_id_or_member_epoch;
    if generation < 0 && group.state() == GroupState::Empty {
        // An administrator, or a consumer that assigns its partitions itself.
        return Ok(());
    }
    if generation >= 0 || !request.member_id.is_empty() || request.group_instance_id.is_some() {
        group.validate_member(&request.member_id, request.group_instance_id.as_ref())?;
        if generation != group.generation {
            return Err(ResponseError::IllegalGeneration);
        }
    } else if group.state() != GroupState::Empty {
        return Err(ResponseError::UnknownMemberId);
    }
    if group.state() == GroupState::CompletingRebalance {
        return Err(ResponseError::RebalanceInProgress);
    }
    Ok(())
}

/// Takes out what is not a partition of the cluster, with its error as the beginning of the answer. What stays gets the
/// topic's id, which is stored with the offset. A client that names the topic by id means no other of that name.
fn take_unknown_partitions(request: &mut OffsetCommitRequest, environment: &dyn Environment) -> OffsetCommitResponse {
    let mut response = OffsetCommitResponse::default();
    request.topics.retain_mut(|topic: &mut OffsetCommitRequestTopic| {
        let name = topic.name.clone();
        let asked = TopicId(topic.topic_id);
        let mut missing = Vec::new();
        topic.partitions.retain(|partition| {
            let error = match environment.topic_id(&name, partition.partition_index) {
                None => ResponseError::UnknownTopicOrPartition,
                Some(current) if asked != TopicId::ZERO && asked != current => ResponseError::UnknownTopicId,
                Some(current) => {
                    topic.topic_id = current.0;
                    return true;
                }
            };
            missing.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(error.code()),
            );
            false
        });
        if !missing.is_empty() {
            let answer = OffsetCommitResponseTopic::default().with_name(name).with_topic_id(asked.0);
            response.topics.push(answer.with_partitions(missing));
        }
        !topic.partitions.is_empty()
    });
    response
}

/// Adds the coordinator's answer to that about unknown partitions. A topic named twice in the request is so in the answer,
/// unless some of it was unknown: what Kafka does.
fn merge(response: &mut OffsetCommitResponse, more: OffsetCommitResponse) {
    if response.topics.is_empty() {
        response.topics = more.topics;
        return;
    }
    for topic in more.topics {
        match response.topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
}

fn deleted(topic: &TopicName, partitions: &[i32], code: i16) -> OffsetDeleteResponseTopic {
    let partitions = partitions.iter().map(|partition| {
        OffsetDeleteResponsePartition::default().with_partition_index(*partition).with_error_code(code)
    });
    OffsetDeleteResponseTopic::default().with_name(topic.clone()).with_partitions(partitions.collect())
}

fn record_key(key: &OffsetKey) -> RecordKey {
    RecordKey::OffsetCommit { group: key.group.clone(), topic: key.topic.clone(), partition: key.partition }
}

/// The tombstone of an offset.
fn offset_tombstone(key: &OffsetKey) -> Result<StoredRecord, EncodeError> {
    Ok(StoredRecord { key: record_key(key).encode()?, value: None })
}
