//! The APIs of consumer groups and committed offsets: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, OffsetCommit,
//! OffsetFetch, OffsetDelete, ListGroups, DescribeGroups, DeleteGroups, ConsumerGroupHeartbeat, ConsumerGroupDescribe.
//!
//! Each goes to the coordinator of its group, wherever that lives; those about several groups are taken apart and their
//! answers put together ([`crate::groups::routing`]).

use futures_channel::oneshot;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ListGroupsResponse;
use metadata::image::MetadataImage;
use protocol::response::ResponseBody;
use protocol::{PartitionId, StrBytes};

use super::Context;
use super::topic_access::OFFSETS_TOPIC;
use crate::group_shard::GroupForward;
use crate::groups::routing::{Route, empty_reply, gather, route};
use crate::groups::{GroupReply, GroupRequest, RequestContext, topic_ids};
use crate::partition::PartitionKey;
use crate::shard::message::ShardMessage;

/// `None` when the broker stops before there is an answer.
pub async fn handle(context: &Context, mut request: GroupRequest) -> Option<ResponseBody> {
    let version = context.version();
    let image = context.shard().image();
    let name_of = |id| image.topic_by_id(id).map(|topic| StrBytes::from_string(topic.name.to_string()));
    let unknown = topic_ids::resolve(&mut request, version, name_of);
    let reply = ask(context, request, &image).await?;
    let image = context.shard().image();
    Some(body(topic_ids::complete(reply, version, unknown, |name| image.topic(name).map(|topic| topic.id))))
}

async fn ask(context: &Context, request: GroupRequest, image: &MetadataImage) -> Option<GroupReply> {
    let version = context.version();
    let Some(topic) = image.topic(OFFSETS_TOPIC) else {
        // No offset was ever committed and no group ever formed.
        let reply = match &request {
            GroupRequest::ListGroups(_) => GroupReply::ListGroups(ListGroupsResponse::default()),
            request => request.error_reply(version, ResponseError::CoordinatorNotAvailable),
        };
        return Some(reply);
    };
    let partitions = topic.partition_count();
    let topic_id = topic.id;
    let empty = empty_reply(&request);
    let parts: Vec<(i32, GroupRequest)> = match route(request, version, partitions) {
        Route::One { partition, request } => vec![(partition, request)],
        Route::Many(parts) => parts,
        Route::All(request) => (0..partitions).map(|partition| (partition, request.clone())).collect(),
    };
    if parts.is_empty() {
        return empty;
    }
    let client = RequestContext {
        api_version: version,
        client_id: context.header.client_id.clone().unwrap_or_default(),
        client_host: format!("/{}", context.connection.peer.ip()).into(),
    };
    let answers = parts.into_iter().map(|(partition, request)| {
        let partition = PartitionId(partition);
        let (answer, receiver) = oneshot::channel();
        let forward = GroupForward { partition, request, context: client.clone(), answer };
        let shard = context.shard();
        let owner = shard.owner_of(PartitionKey { topic_id, partition });
        if owner == shard.index() {
            shard.groups().serve_forward(shard, forward);
        } else {
            shard.send(owner, ShardMessage::Group(Box::new(forward)));
        }
        receiver
    });
    let replies: Option<Vec<GroupReply>> = join_all(answers).await.into_iter().map(Result::ok).collect();
    gather(replies?)
}

fn body(reply: GroupReply) -> ResponseBody {
    match reply {
        GroupReply::JoinGroup(body) => body.into(),
        GroupReply::SyncGroup(body) => body.into(),
        GroupReply::Heartbeat(body) => body.into(),
        GroupReply::LeaveGroup(body) => body.into(),
        GroupReply::OffsetCommit(body) => body.into(),
        GroupReply::OffsetFetch(body) => body.into(),
        GroupReply::OffsetDelete(body) => body.into(),
        GroupReply::ListGroups(body) => body.into(),
        GroupReply::DescribeGroups(body) => body.into(),
        GroupReply::DeleteGroups(body) => body.into(),
        GroupReply::ConsumerGroupHeartbeat(body) => body.into(),
        GroupReply::ConsumerGroupDescribe(body) => body.into(),
    }
}
