//! Fits an answer to the version it goes out in, as the constructors of Kafka's response classes do.

use kafka_protocol::messages::{
    ConsumerGroupDescribeResponse, DescribeGroupsResponse, JoinGroupResponse, LeaveGroupResponse, OffsetFetchResponse,
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
};
use kafka_protocol::protocol::StrBytes;

use super::api::GroupReply;

/// The version of OffsetCommit and OffsetFetch from which topics are named by id (KIP-848).
pub(super) const TOPIC_IDS_VERSION: i16 = 10;
/// What `authorized_operations` is when nobody asked for it.
pub(super) const NO_AUTHORIZED_OPERATIONS: i32 = i32::MIN;

pub(super) fn fit(reply: GroupReply, version: i16) -> GroupReply {
    match reply {
        GroupReply::JoinGroup(response) => GroupReply::JoinGroup(join_group(response, version)),
        GroupReply::LeaveGroup(response) => GroupReply::LeaveGroup(leave_group(response, version)),
        GroupReply::OffsetFetch(response) => GroupReply::OffsetFetch(offset_fetch(response, version)),
        GroupReply::DescribeGroups(response) => GroupReply::DescribeGroups(describe_groups(response, version)),
        GroupReply::ConsumerGroupDescribe(response) => {
            GroupReply::ConsumerGroupDescribe(consumer_group_describe(response, version))
        }
        // The fields that older versions of these lack are dropped by the encoder.
        GroupReply::SyncGroup(_)
        | GroupReply::Heartbeat(_)
        | GroupReply::OffsetCommit(_)
        | GroupReply::OffsetDelete(_)
        | GroupReply::ListGroups(_)
        | GroupReply::DeleteGroups(_)
        | GroupReply::ConsumerGroupHeartbeat(_) => reply,
    }
}

fn join_group(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < 7 {
        // The name became nullable in 7; before, none is the empty string.
        response.protocol_name = Some(response.protocol_name.unwrap_or_default());
        response.protocol_type = None;
    } else if response.protocol_name.as_deref() == Some("") {
        response.protocol_name = None;
    }
    response
}

/// Before batches of members (version 3) the one member's error was the answer's.
fn leave_group(mut response: LeaveGroupResponse, version: i16) -> LeaveGroupResponse {
    if version < 3 {
        if response.error_code == 0 {
            response.error_code = response.members.first().map_or(0, |member| member.error_code);
        }
        response.members.clear();
    }
    response
}

fn describe_groups(mut response: DescribeGroupsResponse, version: i16) -> DescribeGroupsResponse {
    for group in &mut response.groups {
        if version < 6 {
            group.error_message = None;
        }
        if version < 3 {
            group.authorized_operations = NO_AUTHORIZED_OPERATIONS;
        }
    }
    response
}

/// Version 1 brought the type of a member.
fn consumer_group_describe(mut response: ConsumerGroupDescribeResponse, version: i16) -> ConsumerGroupDescribeResponse {
    if version < 1 {
        for member in response.groups.iter_mut().flat_map(|group| &mut group.members) {
            member.member_type = -1;
        }
    }
    response
}

/// The coordinator answers in groups, as version 8 and later do; before, there is one group, and in version 1 an error
/// has only the partitions to be in.
fn offset_fetch(mut response: OffsetFetchResponse, version: i16) -> OffsetFetchResponse {
    if version < TOPIC_IDS_VERSION {
        response.groups.iter_mut().for_each(by_name);
    }
    if version >= 8 {
        return response;
    }
    let Some(group) = response.groups.pop() else { return response };
    response.groups.clear();
    response.topics = group
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.into_iter().map(old_partition).collect();
            OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        })
        .collect();
    if version >= 2 {
        response.error_code = group.error_code;
    }
    response
}

/// Where topics are named, those of one name are one.
fn by_name(group: &mut OffsetFetchResponseGroup) {
    group.topics.dedup_by(|topic, before| {
        let is_same = topic.name == before.name && topic.topic_id != before.topic_id;
        if is_same {
            before.partitions.append(&mut topic.partitions);
        }
        is_same
    });
}

fn old_partition(partition: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition::default()
        .with_partition_index(partition.partition_index)
        .with_committed_offset(partition.committed_offset)
        .with_committed_leader_epoch(partition.committed_leader_epoch)
        .with_metadata(partition.metadata)
        .with_error_code(partition.error_code)
}

/// A partition without an offset, or with an error.
pub(super) fn no_offset(partition: i32, error_code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::new()))
        .with_error_code(error_code)
}

/// The same error for a whole group. The partitions carry it too where the version has no other place for it.
pub(super) fn offset_fetch_error(
    group: &OffsetFetchResponseGroup,
    error_code: i16,
    version: i16,
) -> OffsetFetchResponseGroup {
    let failed = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
    if version >= 2 {
        return failed.with_error_code(error_code);
    }
    let topics = group.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| no_offset(p.partition_index, error_code)).collect();
        OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    failed.with_topics(topics.collect())
}
