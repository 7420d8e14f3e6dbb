//! OffsetFetch.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::api::{GroupReply, GroupRequest, RequestContext, RequestToken, StoreOutcome};
use super::commit::stale_epoch;
use super::coordinator::GroupCoordinator;
use super::error_reply::failed;
use super::offsets::View;
use super::records::OffsetCommitValue;
use super::shell::error_of;
use super::versions::no_offset;

/// The version of OffsetFetch that asks for many groups (KIP-709).
const MANY_GROUPS_VERSION: i16 = 8;

impl GroupCoordinator {
    /// Answers from what is durable. With `require_stable` it waits for what is on its way, so that the answer is the last
    /// word on every commit before it.
    pub(super) fn fetch_offsets(&mut self, token: RequestToken, context: &RequestContext, request: OffsetFetchRequest) {
        let request = by_group(context.api_version, request);
        let request = if request.require_stable {
            let Some(request) = self.shell.fetch_after_stores(token, request) else { return };
            request
        } else {
            request
        };
        let response = self.fetch(&request);
        self.shell.reply(token, GroupReply::OffsetFetch(response));
    }

    pub(super) fn reply_to_stable_fetch(
        &mut self,
        token: RequestToken,
        request: &OffsetFetchRequest,
        outcome: StoreOutcome,
    ) {
        let mut reply = GroupReply::OffsetFetch(self.fetch(request));
        if let StoreOutcome::Failed(failure) = outcome {
            reply = failed(reply, error_of(failure));
        }
        self.shell.reply(token, reply);
    }

    fn fetch(&self, request: &OffsetFetchRequest) -> OffsetFetchResponse {
        let groups = request.groups.iter().map(|asked| {
            if let Err(error) = self.check_fetch(asked) {
                return offset_fetch_error(asked, error.code());
            }
            // A group that does not exist is one without offsets, so it need not be looked up; one whose deletion is on its
            // way to the log still has them.
            let topics = match &asked.topics {
                None => self.all_offsets(&asked.group_id),
                Some(topics) => topics.iter().map(|topic| self.topic_offsets(&asked.group_id, topic)).collect(),
            };
            OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone()).with_topics(topics)
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    /// Whether a member of a consumer group that says who it is may read the offsets: as of its own epoch.
    fn check_fetch(&self, asked: &OffsetFetchRequestGroup) -> Result<(), ResponseError> {
        let Some(group) = self.durable_consumer_group(&asked.group_id) else { return Ok(()) };
        if asked.member_id.is_none() && asked.member_epoch < 0 {
            // An administrator, or a client that does not say.
            return Ok(());
        }
        let member = asked.member_id.as_ref().and_then(|id| group.members.get(id));
        let member = member.ok_or(ResponseError::UnknownMemberId)?;
        if member.epoch() == asked.member_epoch { Ok(()) } else { Err(stale_epoch(member)) }
    }

    /// Where both the client and the record say which topic of that name they mean, it is the same.
    fn topic_offsets(&self, group: &StrBytes, topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let asked = TopicId(topic.topic_id);
        let is_meant = |value: &&OffsetCommitValue| {
            asked == TopicId::ZERO || value.topic_id == TopicId::ZERO || value.topic_id == asked
        };
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let value = self.offsets.get(View::Durable, group, &topic.name, *partition).filter(is_meant);
            value.map_or_else(|| no_offset(*partition, 0), |value| fetched(*partition, value))
        });
        OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    }

    /// A topic comes once for each id that its offsets were committed with, which is one unless it has been made anew.
    fn all_offsets(&self, group: &StrBytes) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        for (topic, partition, value) in self.offsets.of_group(View::Durable, group) {
            let TopicId(id) = value.topic_id;
            if topics.last().is_none_or(|last| last.name.0 != *topic || last.topic_id != id) {
                let name = TopicName(topic.clone());
                topics.push(OffsetFetchResponseTopics::default().with_name(name).with_topic_id(id));
            }
            if let Some(last) = topics.last_mut() {
                last.partitions.push(fetched(partition, value));
            }
        }
        topics
    }
}

fn offset_fetch_error(asked: &OffsetFetchRequestGroup, error_code: i16) -> OffsetFetchResponseGroup {
    OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone()).with_error_code(error_code)
}

/// The request in the form of version 8 and later. The broker hands on only groups of this coordinator.
fn by_group(api_version: i16, mut request: OffsetFetchRequest) -> OffsetFetchRequest {
    if api_version < MANY_GROUPS_VERSION {
        let topics = request.topics.take().map(|topics| {
            topics
                .into_iter()
                .map(|topic| {
                    OffsetFetchRequestTopics::default()
                        .with_name(topic.name)
                        .with_partition_indexes(topic.partition_indexes)
                })
                .collect()
        });
        let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id.clone()).with_topics(topics);
        request.groups = vec![group];
    }
    request
}

fn fetched(partition: i32, value: &OffsetCommitValue) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(value.offset.0)
        .with_committed_leader_epoch(value.leader_epoch.0)
        .with_metadata(Some(value.metadata.clone()))
}

impl GroupRequest {
    /// The answer to an OffsetFetch that has been brought into the form of version 8.
    pub(super) fn failed_fetch(request: OffsetFetchRequest, error: ResponseError) -> GroupReply {
        GroupRequest::OffsetFetch(request).error_reply(MANY_GROUPS_VERSION, error)
    }
}
