//! What goes into the coordinator and what comes out of it.

use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;
use uuid::Uuid;

/// Names a request that is waiting for its answer. The broker makes it, unique among the requests waiting at one
/// coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// Names a set of records on its way to the log. The coordinator counts them up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// What a request's header and connection say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContext {
    /// Version of the request; the reply is made for it.
    pub api_version: i16,
    /// Empty when the header has none, as in Kafka.
    pub client_id: StrBytes,
    /// As Kafka prints it: `/127.0.0.1`.
    pub client_host: StrBytes,
}

/// A topic of the cluster, as far as its subscribers are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub id: TopicId,
    pub name: StrBytes,
    /// Number of partitions; they are counted from 0.
    pub partitions: i32,
}

/// What the coordinator needs of the world around it while it handles a request or a deadline.
pub trait Environment {
    /// A random UUID, for a new member id (`<client id or instance id>-<uuid>`). Never the same twice.
    fn member_uuid(&mut self) -> Uuid;

    /// The id of the topic, if the cluster has this partition of it; else offsets of it are UNKNOWN_TOPIC_OR_PARTITION.
    fn topic_id(&self, topic: &str, partition: i32) -> Option<TopicId>;

    /// The topic of this name.
    fn topic(&self, name: &str) -> Option<Topic>;

    /// The topic of this id.
    fn topic_by_id(&self, id: TopicId) -> Option<Topic>;

    /// Shows the name of every topic that a client may subscribe to.
    fn each_topic(&self, show: &mut dyn FnMut(&str));

    /// How new the topics are; it rises with every change to them.
    fn topics_version(&self) -> i64;
}

/// A request, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupRequest {
    /// Versions 0-9.
    JoinGroup(JoinGroupRequest),
    /// Versions 0-5.
    SyncGroup(SyncGroupRequest),
    /// Versions 0-4.
    Heartbeat(HeartbeatRequest),
    /// Versions 0-5.
    LeaveGroup(LeaveGroupRequest),
    /// Versions 2-10, the last with names beside the ids ([`super::topic_ids`]).
    OffsetCommit(OffsetCommitRequest),
    /// Versions 1-10, the last with names beside the ids ([`super::topic_ids`]).
    OffsetFetch(OffsetFetchRequest),
    /// Version 0.
    OffsetDelete(OffsetDeleteRequest),
    /// Versions 0-5.
    ListGroups(ListGroupsRequest),
    /// Versions 0-6.
    DescribeGroups(DescribeGroupsRequest),
    /// Versions 0-2.
    DeleteGroups(DeleteGroupsRequest),
    /// Versions 0-1.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Versions 0-1.
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
}

/// An answer. Only fields that the request's version has are set, so it can be encoded in that version.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupReply {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    ListGroups(ListGroupsResponse),
    DescribeGroups(DescribeGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(ConsumerGroupDescribeResponse),
}

/// A record for the internal topic, in Kafka's own format. No value: a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What the broker has to do, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupEffect {
    /// Send this answer.
    Reply { token: RequestToken, reply: GroupReply },
    /// Append these records behind those of every earlier store, then call
    /// [`GroupCoordinator::stored`](super::GroupCoordinator::stored). They may be split over several batches as long as
    /// their order is kept and one outcome is reported; the clients' answers wait for it. When a store fails, every store
    /// that was issued before that is reported has to fail as well, since it may rest on what did not get to the log.
    Store { store: StoreId, records: Vec<StoredRecord> },
}

/// How a store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// Every record is committed.
    Durable,
    /// At least one record is not, and none will become visible.
    Failed(StoreFailure),
}

/// Why records could not be stored. Clients see Kafka's mapping of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// The partition does not exist (any more), too few replicas are in sync, or it took too long:
    /// COORDINATOR_NOT_AVAILABLE.
    Unavailable,
    /// This broker does not lead the partition, or its storage failed: NOT_COORDINATOR.
    NotLeader,
    /// The records exceed what a batch may hold: UNKNOWN_SERVER_ERROR.
    TooLarge,
}
