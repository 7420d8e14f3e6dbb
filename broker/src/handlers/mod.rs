//! From a frame to an answer: one file per Kafka API (groups' APIs share one), and [`dispatch`], which knows them all.
//!
//! What is served is the list in [`protocol::api_versions`]; the match below is exhaustive over it, so an API that is
//! advertised without a handler does not compile.

mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
mod availability;
mod by_topic;
mod config_resource;
mod create_partitions;
pub mod create_topics;
mod current_leader;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod describe_quorum;
mod describe_topic_partitions;
mod elect_leaders;
pub mod fetch;
mod find_coordinator;
mod group;
mod incremental_alter_configs;
pub mod init_producer_id;
mod list_config_resources;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_for_leader_epoch;
pub mod produce;
pub mod topic_access;
mod unregister_broker;

use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use protocol::ApiKey;
use protocol::header::RequestHeader;
use protocol::request::{RequestBody, RequestError, decode_request};
use protocol::response::ResponseBody;

use crate::connection::Connection;
use crate::connection::response::{Response, ResponseBytes};
use crate::groups::GroupRequest;

/// A request's header and where it came from, for handlers that need either.
#[derive(Clone)]
pub struct Context {
    pub connection: Rc<Connection>,
    pub header: RequestHeader,
}

impl Context {
    pub fn version(&self) -> i16 {
        self.header.version
    }

    pub fn shard(&self) -> &Rc<crate::shard::Shard> {
        &self.connection.shard
    }
}

/// The client id with which Kafka's own admin tools may write to internal topics.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// A request under way.
pub struct Started {
    pub response: LocalBoxFuture<'static, Response>,
    /// Whether the request's bytes are still needed. A produce whose batches are all in this shard's logs needs them no
    /// more, and should not count against others while it waits for its turn to be answered.
    pub keeps_frame: bool,
}

/// Starts the request in `frame`, or says why the connection must be closed.
pub fn dispatch(connection: &Rc<Connection>, frame: Bytes) -> Result<Started, String> {
    let frame_bytes = frame.len();
    let request = match decode_request(frame) {
        Ok(request) => request,
        Err(RequestError::UnsupportedVersion { api: ApiKey::ApiVersions, correlation_id, .. }) => {
            let body = protocol::api_versions::unsupported_api_versions_response().into();
            let response = encode(&body, 0, correlation_id).boxed_ready();
            return Ok(Started { response, keeps_frame: false });
        }
        Err(error) => return Err(describe(&error)),
    };
    let context = Context { connection: connection.clone(), header: request.header };
    connection.shard.metrics().request(context.header.api);
    match request.body {
        RequestBody::Produce(body) => {
            let internal_topics_allowed = context.header.client_id.as_deref() == Some(ADMIN_CLIENT_ID);
            let (produced, keeps_frame) =
                produce::dispatch(context.shard(), context.version(), body, frame_bytes, internal_topics_allowed);
            let response = async move {
                match produced.await {
                    produce::Produced::Respond(body) => context.encode(&body.into()),
                    produce::Produced::Silent => Response::Silent,
                    produce::Produced::Close { reason } => Response::Close { reason },
                }
            }
            .boxed_local();
            Ok(Started { response, keeps_frame })
        }
        RequestBody::Fetch(body) => {
            let turn = connection.lanes.fetch.join();
            let queue = connection.shard.queues().fetch();
            let response = run_in(queue, async move {
                turn.come().await;
                let fetched = fetch::handle(&context, body).await;
                match fetch::encode(fetched, &context.header) {
                    Ok((chunks, held)) => Response::Send(ResponseBytes { chunks, held, turn: Some(turn) }),
                    Err(error) => context.encode_failed(&error),
                }
            });
            Ok(Started { response, keeps_frame: true })
        }
        body => {
            let turn = connection.lanes.control.join();
            let queue = connection.shard.queues().control();
            let response = run_in(queue, async move {
                turn.come().await;
                let answer = control(&context, body).await;
                drop(turn);
                match answer {
                    Some(body) => context.encode(&body),
                    None => Response::Close { reason: "the request was abandoned at shutdown".into() },
                }
            });
            Ok(Started { response, keeps_frame: true })
        }
    }
}

/// Everything but Produce and Fetch. `None` when the broker stops before there is an answer.
async fn control(context: &Context, body: RequestBody) -> Option<ResponseBody> {
    Some(match body {
        RequestBody::Produce(_) | RequestBody::Fetch(_) => unreachable!("dispatched apart"),
        RequestBody::ListOffsets(body) => list_offsets::handle(context, body).await.into(),
        RequestBody::Metadata(body) => metadata::handle(context, body).await.into(),
        RequestBody::FindCoordinator(body) => find_coordinator::handle(context, body).await.into(),
        RequestBody::ApiVersions(body) => api_versions::handle(context, body).into(),
        RequestBody::CreateTopics(body) => create_topics::handle(context, body).await.into(),
        RequestBody::DeleteTopics(body) => delete_topics::handle(context, body).await.into(),
        RequestBody::DeleteRecords(body) => delete_records::handle(context, body).await.into(),
        RequestBody::InitProducerId(body) => init_producer_id::handle(context, body).await.into(),
        RequestBody::OffsetForLeaderEpoch(body) => offset_for_leader_epoch::handle(context, body).await.into(),
        RequestBody::DescribeConfigs(body) => describe_configs::handle(context, body).into(),
        RequestBody::AlterConfigs(body) => alter_configs::handle(context, body).await.into(),
        RequestBody::ElectLeaders(body) => elect_leaders::handle(context, body).await.into(),
        RequestBody::IncrementalAlterConfigs(body) => incremental_alter_configs::handle(context, body).await.into(),
        RequestBody::AlterPartitionReassignments(body) => {
            alter_partition_reassignments::handle(context, body).await.into()
        }
        RequestBody::ListPartitionReassignments(body) => list_partition_reassignments::handle(context, body).into(),
        RequestBody::DescribeLogDirs(body) => describe_log_dirs::handle(context, body).await.into(),
        RequestBody::CreatePartitions(body) => create_partitions::handle(context, body).await.into(),
        RequestBody::DescribeQuorum(body) => describe_quorum::handle(context, body).await.into(),
        RequestBody::DescribeCluster(body) => describe_cluster::handle(context, body).into(),
        RequestBody::UnregisterBroker(body) => unregister_broker::handle(context, body).await.into(),
        RequestBody::ListConfigResources(body) => list_config_resources::handle(context, &body).into(),
        RequestBody::DescribeTopicPartitions(body) => describe_topic_partitions::handle(context, body).into(),
        RequestBody::JoinGroup(body) => return group::handle(context, GroupRequest::JoinGroup(body)).await,
        RequestBody::SyncGroup(body) => return group::handle(context, GroupRequest::SyncGroup(body)).await,
        RequestBody::Heartbeat(body) => return group::handle(context, GroupRequest::Heartbeat(body)).await,
        RequestBody::LeaveGroup(body) => return group::handle(context, GroupRequest::LeaveGroup(body)).await,
        RequestBody::OffsetCommit(body) => return group::handle(context, GroupRequest::OffsetCommit(body)).await,
        RequestBody::OffsetFetch(body) => return group::handle(context, GroupRequest::OffsetFetch(body)).await,
        RequestBody::OffsetDelete(body) => return group::handle(context, GroupRequest::OffsetDelete(body)).await,
        RequestBody::ListGroups(body) => return group::handle(context, GroupRequest::ListGroups(body)).await,
        RequestBody::DescribeGroups(body) => return group::handle(context, GroupRequest::DescribeGroups(body)).await,
        RequestBody::DeleteGroups(body) => return group::handle(context, GroupRequest::DeleteGroups(body)).await,
        RequestBody::ConsumerGroupHeartbeat(body) => {
            return group::handle(context, GroupRequest::ConsumerGroupHeartbeat(body)).await;
        }
        RequestBody::ConsumerGroupDescribe(body) => {
            return group::handle(context, GroupRequest::ConsumerGroupDescribe(body)).await;
        }
    })
}

/// Starts `future` in a task of its own; dropping what is returned cancels it.
fn run_in(
    queue: glommio::TaskQueueHandle,
    future: impl Future<Output = Response> + 'static,
) -> LocalBoxFuture<'static, Response> {
    glommio::spawn_local_into(future, queue).expect("the shard's task queues exist").boxed_local()
}

impl Context {
    fn encode(&self, body: &ResponseBody) -> Response {
        encode(body, self.header.version, self.header.correlation_id)
    }

    fn encode_failed(&self, error: &dyn std::error::Error) -> Response {
        encode_failed(error)
    }
}

fn encode(body: &ResponseBody, version: i16, correlation_id: i32) -> Response {
    match body.encode(version, correlation_id) {
        Ok(bytes) => Response::Send(ResponseBytes::plain(bytes.freeze())),
        Err(error) => encode_failed(&error),
    }
}

/// A response that cannot be encoded is our own mistake; the client is not left waiting for it.
fn encode_failed(error: &dyn std::error::Error) -> Response {
    let reason = describe(error);
    tracing::error!(%reason, "a response could not be encoded");
    Response::Close { reason }
}

/// An error with its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Response {
    fn boxed_ready(self) -> LocalBoxFuture<'static, Response> {
        std::future::ready(self).boxed_local()
    }
}
