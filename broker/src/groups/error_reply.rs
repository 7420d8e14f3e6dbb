//! Answers that consist of one error: for requests that a broker cannot take at all, and for those whose records could
//! not be stored.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response as described_group;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponseTopics};
use kafka_protocol::messages::{
    ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse, DeleteGroupsResponse, DescribeGroupsResponse,
    HeartbeatResponse, JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::api::{GroupReply, GroupRequest};
use super::versions;

impl GroupRequest {
    /// The answer that says only `error`, for a broker that does not coordinate the group (NOT_COORDINATOR) or does not
    /// yet (COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE). A heartbeat during loading succeeds, as in Kafka.
    pub fn error_reply(&self, api_version: i16, error: ResponseError) -> GroupReply {
        let code = error.code();
        let reply = match self {
            GroupRequest::JoinGroup(_) => GroupReply::JoinGroup(join_error(StrBytes::new(), error)),
            GroupRequest::SyncGroup(_) => GroupReply::SyncGroup(SyncGroupResponse::default().with_error_code(code)),
            GroupRequest::Heartbeat(_) => {
                let loading = error == ResponseError::CoordinatorLoadInProgress;
                GroupReply::Heartbeat(HeartbeatResponse::default().with_error_code(if loading { 0 } else { code }))
            }
            GroupRequest::LeaveGroup(_) => GroupReply::LeaveGroup(LeaveGroupResponse::default().with_error_code(code)),
            GroupRequest::OffsetCommit(request) => GroupReply::OffsetCommit(commit_error(request, code)),
            GroupRequest::OffsetFetch(request) => GroupReply::OffsetFetch(fetch_error(request, api_version, code)),
            GroupRequest::OffsetDelete(_) => {
                GroupReply::OffsetDelete(OffsetDeleteResponse::default().with_error_code(code))
            }
            GroupRequest::ListGroups(_) => GroupReply::ListGroups(ListGroupsResponse::default().with_error_code(code)),
            GroupRequest::DescribeGroups(request) => {
                let groups = request.groups.iter().map(|group| {
                    DescribedGroup::default()
                        .with_group_id(group.clone())
                        .with_error_code(code)
                        .with_error_message(None)
                        .with_authorized_operations(versions::NO_AUTHORIZED_OPERATIONS)
                });
                GroupReply::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups.collect()))
            }
            GroupRequest::ConsumerGroupHeartbeat(_) => GroupReply::ConsumerGroupHeartbeat(heartbeat_error(error, None)),
            GroupRequest::ConsumerGroupDescribe(request) => {
                let groups = request.group_ids.iter().map(|group| {
                    described_group::DescribedGroup::default().with_group_id(group.clone()).with_error_code(code)
                });
                GroupReply::ConsumerGroupDescribe(
                    ConsumerGroupDescribeResponse::default().with_groups(groups.collect()),
                )
            }
            GroupRequest::DeleteGroups(request) => {
                let results = request
                    .groups_names
                    .iter()
                    .map(|group| DeletableGroupResult::default().with_group_id(group.clone()).with_error_code(code));
                GroupReply::DeleteGroups(DeleteGroupsResponse::default().with_results(results.collect()))
            }
        };
        versions::fit(reply, api_version)
    }
}

/// Every partition of a commit with the same error.
pub(super) fn commit_error(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn fetch_error(request: &OffsetFetchRequest, api_version: i16, code: i16) -> OffsetFetchResponse {
    let groups = if api_version >= 8 {
        let failed = |group: &kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup| {
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code)
        };
        request.groups.iter().map(failed).collect()
    } else {
        let asked = request.topics.iter().flatten().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|p| versions::no_offset(*p, 0)).collect();
            OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        let group =
            OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone()).with_topics(asked.collect());
        vec![versions::offset_fetch_error(&group, code, api_version)]
    };
    OffsetFetchResponse::default().with_groups(groups)
}

/// What becomes of an answer that waited for records which could not be stored.
pub(super) fn failed(reply: GroupReply, error: ResponseError) -> GroupReply {
    let code = error.code();
    match reply {
        GroupReply::OffsetCommit(mut response) => {
            // Partitions of unknown topics never came to the coordinator and keep their error.
            let unknown = [ResponseError::UnknownTopicOrPartition, ResponseError::UnknownTopicId];
            let unknown = unknown.map(|error| error.code());
            for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                if !unknown.contains(&partition.error_code) {
                    partition.error_code = code;
                }
            }
            GroupReply::OffsetCommit(response)
        }
        GroupReply::OffsetFetch(mut response) => {
            // Consumers before 3.9 do not know COORDINATOR_NOT_AVAILABLE here; NOT_COORDINATOR makes them look again.
            let code = if error == ResponseError::CoordinatorNotAvailable {
                ResponseError::NotCoordinator.code()
            } else {
                code
            };
            for group in &mut response.groups {
                *group = versions::offset_fetch_error(group, code, 2);
            }
            GroupReply::OffsetFetch(response)
        }
        GroupReply::DeleteGroups(mut response) => {
            for result in &mut response.results {
                result.error_code = code;
            }
            GroupReply::DeleteGroups(response)
        }
        GroupReply::OffsetDelete(_) => GroupReply::OffsetDelete(OffsetDeleteResponse::default().with_error_code(code)),
        GroupReply::LeaveGroup(_) => GroupReply::LeaveGroup(LeaveGroupResponse::default().with_error_code(code)),
        GroupReply::Heartbeat(_) => GroupReply::Heartbeat(HeartbeatResponse::default().with_error_code(code)),
        GroupReply::ConsumerGroupHeartbeat(_) => GroupReply::ConsumerGroupHeartbeat(heartbeat_error(error, None)),
        GroupReply::JoinGroup(_) => GroupReply::JoinGroup(join_error(StrBytes::new(), error)),
        GroupReply::SyncGroup(_) => GroupReply::SyncGroup(sync_error(error)),
        // These never wait for records.
        GroupReply::ListGroups(_) | GroupReply::DescribeGroups(_) | GroupReply::ConsumerGroupDescribe(_) => reply,
    }
}

/// The answer to a ConsumerGroupHeartbeat that failed. Without a message of its own it has the error's.
pub(super) fn heartbeat_error(error: ResponseError, message: Option<String>) -> ConsumerGroupHeartbeatResponse {
    let message = message.map_or_else(|| StrBytes::from_string(error.to_string()), StrBytes::from_string);
    ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()).with_error_message(Some(message))
}

pub(super) fn join_error(member_id: StrBytes, error: ResponseError) -> JoinGroupResponse {
    JoinGroupResponse::default().with_member_id(member_id).with_error_code(error.code())
}

pub(super) fn sync_error(error: ResponseError) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(error.code())
}
