//! OffsetCommit and OffsetFetch from version 10 on name topics by id (KIP-848), the coordinator knows offsets by name.
//!
//! As in Kafka, the broker that is asked translates: before the request goes to its coordinators it gives names to topics
//! and takes out those that it does not know, and it puts them into the answer again. Ids stay beside the names, for the
//! coordinator to tell a topic from an earlier one of the same name.

use std::collections::{HashMap, VecDeque};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopics;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::api::{GroupReply, GroupRequest};
use super::versions::{TOPIC_IDS_VERSION, no_offset};

/// What is left to say about topics that no coordinator was asked about.
#[derive(Debug, Default)]
pub struct UnknownTopics {
    commits: Vec<OffsetCommitResponseTopic>,
    /// Of each group, as often as the request names it, in that order.
    fetches: HashMap<GroupId, VecDeque<Asked>>,
}

/// What a fetch wants of a group.
#[derive(Debug)]
enum Asked {
    /// All offsets that there are.
    All,
    /// Those of some topics, of which these are unknown.
    Some(Vec<OffsetFetchResponseTopics>),
}

/// Gives names to the topics of a request that names them by id. `name_of` knows the topics of the cluster.
pub fn resolve(
    request: &mut GroupRequest,
    api_version: i16,
    name_of: impl Fn(TopicId) -> Option<StrBytes>,
) -> UnknownTopics {
    let mut unknown = UnknownTopics::default();
    if api_version < TOPIC_IDS_VERSION {
        return unknown;
    }
    let code = ResponseError::UnknownTopicId.code();
    match request {
        GroupRequest::OffsetCommit(request) => {
            request.topics.retain_mut(|topic| match name_of(TopicId(topic.topic_id)) {
                Some(name) => {
                    topic.name = TopicName(name);
                    true
                }
                None => {
                    let partitions = topic.partitions.iter().map(|partition| {
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(partition.partition_index)
                            .with_error_code(code)
                    });
                    let answer = OffsetCommitResponseTopic::default().with_topic_id(topic.topic_id);
                    unknown.commits.push(answer.with_partitions(partitions.collect()));
                    false
                }
            })
        }
        GroupRequest::OffsetFetch(request) => {
            for group in &mut request.groups {
                let asked = match &mut group.topics {
                    None => Asked::All,
                    Some(topics) => {
                        let mut unknown = Vec::new();
                        topics.retain_mut(|topic| match name_of(TopicId(topic.topic_id)) {
                            Some(name) => {
                                topic.name = TopicName(name);
                                true
                            }
                            None => {
                                let partitions = topic.partition_indexes.iter().map(|index| no_offset(*index, code));
                                let answer = OffsetFetchResponseTopics::default().with_topic_id(topic.topic_id);
                                unknown.push(answer.with_partitions(partitions.collect()));
                                false
                            }
                        });
                        Asked::Some(unknown)
                    }
                };
                unknown.fetches.entry(group.group_id.clone()).or_default().push_back(asked);
            }
        }
        _ => {}
    }
    unknown
}

/// Completes the answer to a request that was [resolved](resolve): with the topics that are unknown, and with the ids of those
/// that the coordinator found by itself, in a fetch of all offsets. Topics that the cluster does not have (any more) cannot be
/// named and are left out of that, as in Kafka; so are offsets of an earlier topic of the same name.
pub fn complete(
    reply: GroupReply,
    api_version: i16,
    mut unknown: UnknownTopics,
    id_of: impl Fn(&str) -> Option<TopicId>,
) -> GroupReply {
    if api_version < TOPIC_IDS_VERSION {
        return reply;
    }
    match reply {
        GroupReply::OffsetCommit(mut response) => {
            unknown.commits.append(&mut response.topics);
            response.topics = unknown.commits;
            GroupReply::OffsetCommit(response)
        }
        GroupReply::OffsetFetch(mut response) => {
            for group in &mut response.groups {
                let asked = unknown.fetches.get_mut(&group.group_id).and_then(VecDeque::pop_front);
                match asked {
                    _ if group.error_code != 0 => {}
                    None => {}
                    Some(Asked::Some(unknown)) => group.topics.extend(unknown),
                    Some(Asked::All) => group.topics = with_ids(std::mem::take(&mut group.topics), &id_of),
                }
            }
            GroupReply::OffsetFetch(response)
        }
        other => other,
    }
}

/// Topics by the ids that their names have now. The coordinator gave those that were committed, as far as it knows them.
fn with_ids(
    topics: Vec<OffsetFetchResponseTopics>,
    id_of: impl Fn(&str) -> Option<TopicId>,
) -> Vec<OffsetFetchResponseTopics> {
    let mut named: Vec<OffsetFetchResponseTopics> = Vec::with_capacity(topics.len());
    for topic in topics {
        let Some(TopicId(current)) = id_of(&topic.name) else { continue };
        if !topic.topic_id.is_nil() && topic.topic_id != current {
            continue;
        }
        match named.last_mut().filter(|last| last.topic_id == current) {
            Some(last) => last.partitions.extend(topic.partitions),
            None => named.push(topic.with_topic_id(current)),
        }
    }
    named
}
