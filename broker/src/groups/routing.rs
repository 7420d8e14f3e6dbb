//! Which `__consumer_offsets` partition, and so which coordinator, a request belongs to; requests about many groups are
//! taken apart and their answers put together again.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DescribeGroupsRequest, DescribeGroupsResponse, GroupId, ListGroupsResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};

use super::api::{GroupReply, GroupRequest};

/// The partition of `__consumer_offsets` that a group's records are in: Java's `String.hashCode`, over UTF-16 code units,
/// without its sign, modulo the number of partitions.
///
/// # Panics
/// If `partitions` is not positive.
pub fn partition_for_group(group_id: &str, partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % partitions
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// To one coordinator.
    One { partition: i32, request: GroupRequest },
    /// To several; [`gather`] makes one answer of theirs. Empty when the request names no group.
    Many(Vec<(i32, GroupRequest)>),
    /// To every coordinator of every broker's own partitions (ListGroups); [`gather`] makes one answer of theirs.
    All(GroupRequest),
}

/// Takes a request apart by coordinator. `partitions` is the number of partitions of `__consumer_offsets`.
///
/// # Panics
/// If `partitions` is not positive.
pub fn route(request: GroupRequest, api_version: i16, partitions: i32) -> Route {
    let one = |group_id: &GroupId| partition_for_group(group_id, partitions);
    let partition = match &request {
        GroupRequest::JoinGroup(r) => one(&r.group_id),
        GroupRequest::SyncGroup(r) => one(&r.group_id),
        GroupRequest::Heartbeat(r) => one(&r.group_id),
        GroupRequest::LeaveGroup(r) => one(&r.group_id),
        GroupRequest::OffsetCommit(r) => one(&r.group_id),
        GroupRequest::OffsetDelete(r) => one(&r.group_id),
        GroupRequest::ConsumerGroupHeartbeat(r) => one(&r.group_id),
        GroupRequest::OffsetFetch(r) if api_version < 8 => one(&r.group_id),
        GroupRequest::OffsetFetch(r) => {
            let mut seen = HashSet::with_capacity(r.groups.len());
            // As with `distinct`: a group without topics asks for all that it has committed.
            let groups = r.groups.iter().filter(|group| group.topics.is_some() || seen.insert(&group.group_id));
            let split = by_partition(groups.cloned().collect(), partitions, |group| &group.group_id);
            let part = |groups| {
                let part = OffsetFetchRequest::default().with_groups(groups).with_require_stable(r.require_stable);
                GroupRequest::OffsetFetch(part)
            };
            return Route::Many(split.into_iter().map(|(partition, groups)| (partition, part(groups))).collect());
        }
        GroupRequest::DescribeGroups(r) => {
            let split = by_partition(distinct(&r.groups), partitions, |group| group);
            let part = |groups| {
                let part = DescribeGroupsRequest::default().with_groups(groups);
                GroupRequest::DescribeGroups(part.with_include_authorized_operations(r.include_authorized_operations))
            };
            return Route::Many(split.into_iter().map(|(partition, groups)| (partition, part(groups))).collect());
        }
        GroupRequest::DeleteGroups(r) => {
            let split = by_partition(r.groups_names.clone(), partitions, |group| group);
            let part = |groups| GroupRequest::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(groups));
            return Route::Many(split.into_iter().map(|(partition, groups)| (partition, part(groups))).collect());
        }
        GroupRequest::ConsumerGroupDescribe(r) => {
            let split = by_partition(distinct(&r.group_ids), partitions, |group| group);
            let part = |groups| {
                let part = ConsumerGroupDescribeRequest::default().with_group_ids(groups);
                GroupRequest::ConsumerGroupDescribe(
                    part.with_include_authorized_operations(r.include_authorized_operations),
                )
            };
            return Route::Many(split.into_iter().map(|(partition, groups)| (partition, part(groups))).collect());
        }
        GroupRequest::ListGroups(_) => return Route::All(request),
    };
    Route::One { partition, request }
}

/// A group that is named again is described once: an answer must not outgrow what there is.
fn distinct(groups: &[GroupId]) -> Vec<GroupId> {
    let mut seen = HashSet::with_capacity(groups.len());
    groups.iter().filter(|group| seen.insert(*group)).cloned().collect()
}

fn by_partition<T>(items: Vec<T>, partitions: i32, group_id: impl Fn(&T) -> &GroupId) -> BTreeMap<i32, Vec<T>> {
    let mut split: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for item in items {
        split.entry(partition_for_group(group_id(&item), partitions)).or_default().push(item);
    }
    split
}

/// Puts the answers to the parts of one request together, in the order given. An error that is about a whole answer
/// (ListGroups) stands for all. `None` without answers or for answers to different requests.
pub fn gather(replies: impl IntoIterator<Item = GroupReply>) -> Option<GroupReply> {
    replies.into_iter().map(Some).reduce(|all, part| match (all?, part?) {
        (GroupReply::OffsetFetch(mut all), GroupReply::OffsetFetch(part)) => {
            all.groups.extend(part.groups);
            Some(GroupReply::OffsetFetch(all))
        }
        (GroupReply::DescribeGroups(mut all), GroupReply::DescribeGroups(part)) => {
            all.groups.extend(part.groups);
            Some(GroupReply::DescribeGroups(all))
        }
        (GroupReply::DeleteGroups(mut all), GroupReply::DeleteGroups(part)) => {
            all.results.extend(part.results);
            Some(GroupReply::DeleteGroups(all))
        }
        (GroupReply::ConsumerGroupDescribe(mut all), GroupReply::ConsumerGroupDescribe(part)) => {
            all.groups.extend(part.groups);
            Some(GroupReply::ConsumerGroupDescribe(all))
        }
        (GroupReply::ListGroups(mut all), GroupReply::ListGroups(part)) => {
            all.groups.extend(part.groups);
            if all.error_code == 0 {
                all.error_code = part.error_code;
            }
            if all.error_code != 0 {
                all.groups.clear();
            }
            Some(GroupReply::ListGroups(all))
        }
        _ => None,
    })?
}

/// The answer to a request that was split into no parts at all.
pub fn empty_reply(request: &GroupRequest) -> Option<GroupReply> {
    match request {
        GroupRequest::OffsetFetch(_) => Some(GroupReply::OffsetFetch(OffsetFetchResponse::default())),
        GroupRequest::DescribeGroups(_) => Some(GroupReply::DescribeGroups(DescribeGroupsResponse::default())),
        GroupRequest::DeleteGroups(_) => Some(GroupReply::DeleteGroups(DeleteGroupsResponse::default())),
        GroupRequest::ConsumerGroupDescribe(_) => {
            Some(GroupReply::ConsumerGroupDescribe(ConsumerGroupDescribeResponse::default()))
        }
        GroupRequest::ListGroups(_) => Some(GroupReply::ListGroups(ListGroupsResponse::default())),
        _ => None,
    }
}
