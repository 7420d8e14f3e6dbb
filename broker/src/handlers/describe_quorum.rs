//! DescribeQuorum (key 55), versions 0-2 (KIP-595, KIP-836, KIP-853): the quorum that agrees on metadata, as its leader
//! sees it.
//!
//! Kafka's terms stand for Raft's: the leader epoch is the term, the high watermark what the leader has applied, observers
//! are learners. When a member last asked for entries nobody knows here, since the leader sends them; it is said of those
//! that have all of them that this is so now.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_quorum_request::{self, DescribeQuorumRequest};
use kafka_protocol::messages::describe_quorum_response::{
    DescribeQuorumResponse, Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use metadata::raft::{MemberStatus, QuorumStatus};

use super::Context;
use crate::config::HostPort;
use crate::metadata_core::request::DescribeQuorum;

/// The one topic that a quorum agrees on, with one partition.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// The listener that other nodes are reached at.
const INTERNAL_LISTENER: &str = "INTERNAL";
/// First version with messages, directory ids and nodes (KIP-853).
const VERSION_DIRECTORIES: i16 = 2;
/// An offset or a time that is not known.
const UNKNOWN: i64 = -1;

pub async fn handle(context: &Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse {
    let version = context.version();
    if !asks_for_metadata(&request.topics) {
        return not_replicated(&request.topics, version);
    }
    match context.shard().metadata().ask(DescribeQuorum).await {
        Ok(status) => describe(&status, version, crate::clock::now_ms()),
        Err(error) => {
            let response = DescribeQuorumResponse::default().with_error_code(error.code().code());
            if version >= VERSION_DIRECTORIES {
                response.with_error_message(Some(error.to_string().into()))
            } else {
                response
            }
        }
    }
}

/// Kafka wants exactly this partition, and nothing else beside it.
fn asks_for_metadata(topics: &[describe_quorum_request::TopicData]) -> bool {
    match topics {
        [topic] => {
            topic.topic_name.as_str() == METADATA_TOPIC
                && matches!(&topic.partitions[..], [only] if only.partition_index == 0)
        }
        _ => false,
    }
}

fn not_replicated(topics: &[describe_quorum_request::TopicData], version: i16) -> DescribeQuorumResponse {
    let message = StrBytes::from_static_str("This server does not host this topic-partition.");
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let data = PartitionData::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(ResponseError::UnknownTopicOrPartition.code());
            if version >= VERSION_DIRECTORIES { data.with_error_message(Some(message.clone())) } else { data }
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_topics(topics.collect())
}

fn describe(status: &QuorumStatus, version: i16, now_ms: i64) -> DescribeQuorumResponse {
    let leader_end =
        status.members.iter().find(|member| Some(member.node.node) == status.leader).and_then(|m| m.log_end);
    let replicas = |voters: bool| {
        let members = status.members.iter().filter(|member| member.is_voter == voters);
        members.map(|member| replica(member, leader_end, version, now_ms)).collect()
    };
    let data = PartitionData::default()
        .with_partition_index(0)
        .with_leader_id(BrokerId(status.leader.map_or(-1, |leader| leader.0)))
        .with_leader_epoch(i32::try_from(status.term).unwrap_or(i32::MAX))
        .with_high_watermark(offset(status.applied))
        .with_current_voters(replicas(true))
        .with_observers(replicas(false));
    let topic = TopicData::default()
        .with_topic_name(TopicName(StrBytes::from_static_str(METADATA_TOPIC)))
        .with_partitions(vec![data]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if version < VERSION_DIRECTORIES {
        return response;
    }
    // Of voters, as Kafka.
    response.with_nodes(status.members.iter().filter(|member| member.is_voter).map(node).collect())
}

fn replica(member: &MemberStatus, leader_end: Option<u64>, version: i16, now_ms: i64) -> ReplicaState {
    let has_all = member.log_end.is_some() && member.log_end >= leader_end;
    let time = if has_all { now_ms } else { UNKNOWN };
    let state = ReplicaState::default()
        .with_replica_id(BrokerId(member.node.node.0))
        .with_log_end_offset(member.log_end.map_or(UNKNOWN, offset))
        .with_last_fetch_timestamp(time)
        .with_last_caught_up_timestamp(time);
    if version >= VERSION_DIRECTORIES { state.with_replica_directory_id(member.node.directory_id) } else { state }
}

fn node(member: &MemberStatus) -> Node {
    let address: Option<HostPort> = member.node.address.parse().ok();
    let listeners = address.map(|address| {
        Listener::default()
            .with_name(StrBytes::from_static_str(INTERNAL_LISTENER))
            .with_host(address.host.to_string().into())
            .with_port(address.port)
    });
    Node::default().with_node_id(BrokerId(member.node.node.0)).with_listeners(listeners.into_iter().collect())
}

fn offset(entries: u64) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use metadata::record::NodeBinding;
    use uuid::Uuid;

    use super::*;

    fn member(id: i32, is_voter: bool, log_end: Option<u64>) -> MemberStatus {
        let (node, directory_id) = (protocol::BrokerId(id), Uuid::from_u128(id as u128));
        let address = format!("[::{id}]:9000");
        MemberStatus { node: NodeBinding { node, directory_id, address }, is_voter, log_end }
    }

    #[test]
    fn voters_and_observers_are_told_apart_and_those_behind_from_those_that_have_all() {
        let status = QuorumStatus {
            leader: Some(protocol::BrokerId(2)),
            term: 7,
            applied: 90,
            members: vec![
                member(1, true, Some(100)),
                member(2, true, Some(100)),
                member(3, true, Some(80)),
                member(4, false, None),
            ],
        };
        let response = describe(&status, 2, 5000);
        let data = &response.topics[0].partitions[0];
        assert_eq!((data.leader_id.0, data.leader_epoch, data.high_watermark), (2, 7, 90));
        let states = |replicas: &[ReplicaState]| -> Vec<_> {
            replicas
                .iter()
                .map(|r| (r.replica_id.0, r.log_end_offset, r.last_fetch_timestamp, r.last_caught_up_timestamp))
                .collect()
        };
        assert_eq!(states(&data.current_voters), [(1, 100, 5000, 5000), (2, 100, 5000, 5000), (3, 80, -1, -1)]);
        assert_eq!(states(&data.observers), [(4, -1, -1, -1)]);
        assert_eq!(data.observers[0].replica_directory_id, Uuid::from_u128(4));
        let nodes: Vec<_> = response.nodes.iter().map(|node| node.node_id.0).collect();
        assert_eq!(nodes, [1, 2, 3]);
        let listener = &response.nodes[0].listeners[0];
        assert_eq!((listener.name.as_str(), listener.host.as_str(), listener.port), ("INTERNAL", "::1", 9000));
    }
}
