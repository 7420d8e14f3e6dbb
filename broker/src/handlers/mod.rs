//! From a frame to an answer: one file per Kafka API (groups' APIs share one), and [`dispatch`], which knows them all.
//!
//! What is served is the list in [`protocol::api_versions`]; the match below is exhaustive over it, so an API that is
//! advertised without a handler does not compile.

mod alter_configs;
mod alter_partition_reassignments;
mod answer_size;
mod api_versions;
mod availability;
mod broker_loggers;
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
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use protocol::ApiKey;
use protocol::header::RequestHeader;
use protocol::request::{Inspected, RequestBody, RequestError};
use protocol::request_guard::Measured;
use protocol::response::ResponseBody;

use crate::connection::response::{Response, ResponseBytes};
use crate::connection::{Connection, LaneTurn};
use crate::groups::GroupRequest;
use crate::logging::limit;
use crate::metrics::ShardMetrics;
use crate::shard::budget::{Held, SMALL_BYTES};

/// A request's header and where it came from, for handlers that need either.
#[derive(Clone)]
pub struct Context {
    pub connection: Rc<Connection>,
    pub header: RequestHeader,
    /// Of the answer, among those of the connection.
    place: u64,
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
    pub api: ApiKey,
    pub response: LocalBoxFuture<'static, Response>,
    /// What the request keeps in memory until it is answered: its frame, if that is still needed, and what it became when it
    /// was decoded. A produce whose batches are all in this shard's logs needs its frame no more, and should not count
    /// against others while it waits for its turn to be answered.
    pub request_bytes: usize,
}

/// What an element of a request takes in memory, decoded and with what is noted about it, on the average of the APIs.
const ELEMENT_BYTES: usize = 256;

/// What a request takes in memory, its frame included, once it is decoded.
pub fn decoded_bytes(request: &Inspected) -> usize {
    request.frame_bytes + bytes_beside_frame(request.measured)
}

fn bytes_beside_frame(measured: Measured) -> usize {
    measured.elements * ELEMENT_BYTES + measured.fixed_elements * size_of::<i32>()
}

/// Starts a request, or says why the connection must be closed.
pub fn dispatch(connection: &Rc<Connection>, request: Result<Inspected, RequestError>) -> Result<Started, String> {
    let (measured, frame_bytes) = match &request {
        Ok(inspected) => (inspected.measured, inspected.frame_bytes),
        Err(_) => (Measured::default(), 0),
    };
    let request = match request.and_then(Inspected::decode) {
        Ok(request) => request,
        Err(RequestError::UnsupportedVersion { api: ApiKey::ApiVersions, correlation_id, .. }) => {
            let body = protocol::api_versions::unsupported_api_versions_response().into();
            let metrics = connection.shard.metrics();
            metrics.request(ApiKey::ApiVersions);
            let response = encode(metrics, &body, 0, correlation_id).boxed_ready();
            return Ok(Started { api: ApiKey::ApiVersions, response, request_bytes: 0 });
        }
        Err(error) => return Err(describe(&error)),
    };
    let place = connection.next_place();
    let context = Context { connection: connection.clone(), header: request.header, place };
    let decoded_bytes = bytes_beside_frame(measured);
    let api = context.header.api;
    connection.shard.metrics().request(api);
    match request.body {
        RequestBody::Produce(body) => {
            let internal_topics_allowed = context.header.client_id.as_deref() == Some(ADMIN_CLIENT_ID);
            let (produced, keeps_frame) =
                produce::dispatch(context.shard(), context.version(), body, frame_bytes, internal_topics_allowed);
            let response = async move {
                match produced.await {
                    produce::Produced::Respond(body) => {
                        let body = body.with_throttle_time_ms(context.connection.throttle_time_ms());
                        // What is in the log is answered, room or none.
                        context.encode(&body.into(), None, None)
                    }
                    produce::Produced::Silent => Response::Silent,
                    produce::Produced::Close { reason } => Response::Close { reason },
                }
            }
            .boxed_local();
            Ok(Started { api, response, request_bytes: decoded_bytes + if keeps_frame { frame_bytes } else { 0 } })
        }
        RequestBody::Fetch(body) => {
            let turn = connection.lanes.fetch.join();
            let queue = connection.shard.queues().fetch();
            let mut context = context;
            let response = run_in(queue, async move {
                turn.come().await;
                let fetched = fetch::handle(&mut context, body).await;
                let metrics = context.shard().metrics();
                fetched.errors().for_each(|error| metrics.error(ApiKey::Fetch, error.code()));
                match fetch::encode(fetched, &context.header, context.connection.throttle_time_ms()) {
                    Ok((chunks, held)) => {
                        let bytes: usize = chunks.iter().map(Bytes::len).sum();
                        // Beside records much may be said of many partitions.
                        let held = held.map(|held| if bytes > SMALL_BYTES { held.settle(bytes) } else { held });
                        Response::Send(ResponseBytes { chunks, held, turn: Some(turn) })
                    }
                    Err(error) => context.encode_failed(&error),
                }
            });
            Ok(Started { api, response, request_bytes: decoded_bytes + frame_bytes })
        }
        body => {
            let answer_bytes = answer_size::estimate(&body, measured, &connection.shard.image());
            let turn = connection.lanes.control.join();
            let queue = connection.shard.queues().control();
            let response = run_in(queue, async move {
                turn.come().await;
                let room = context.room_for_answer(answer_bytes).await;
                match control(&context, body).await {
                    Some(body) => context.encode(&body, room, Some(turn)),
                    None => Response::Close { reason: "the request was abandoned at shutdown".into() },
                }
            });
            Ok(Started { api, response, request_bytes: decoded_bytes + frame_bytes })
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
    /// Waits until the connection's next answer is this request's; see [`Connection::come_to_front`].
    pub async fn come_to_front(&self) {
        self.connection.come_to_front(self.place).await;
    }

    /// The request keeps no more than so many bytes in memory from now on.
    pub fn keep_only(&self, bytes: usize) {
        self.connection.keep_only(self.place, bytes);
    }

    /// Waits, if the answer may be large, until the shard has room for it; such an answer is not worked at before.
    async fn room_for_answer(&self, answer_bytes: usize) -> Option<Held> {
        if answer_bytes <= SMALL_BYTES {
            return None;
        }
        self.come_to_front().await;
        let since = Instant::now();
        let held = self.shard().response_budget().admit(answer_bytes).await;
        self.connection.note_held_up(since);
        Some(held)
    }

    /// The answer's bytes, with their share of the shard's budget if they are many. `turn`: a client that does not read its
    /// answers is worked for no more once one of them is large.
    fn encode(&self, body: &ResponseBody, room: Option<Held>, turn: Option<LaneTurn>) -> Response {
        count_errors(self.shard().metrics(), body);
        let bytes = match body.encode(self.header.version, self.header.correlation_id) {
            Ok(bytes) => bytes.freeze(),
            Err(error) => return encode_failed(&error),
        };
        if bytes.len() <= SMALL_BYTES {
            return Response::Send(ResponseBytes::plain(bytes));
        }
        let mut held = room.unwrap_or_else(|| self.shard().response_budget().hold(0));
        held.resize(bytes.len());
        Response::Send(ResponseBytes { chunks: vec![bytes], held: Some(held), turn })
    }

    fn encode_failed(&self, error: &dyn std::error::Error) -> Response {
        encode_failed(error)
    }
}

/// Of all answers but Fetch's, which counts its own.
fn count_errors(metrics: &ShardMetrics, body: &ResponseBody) {
    body.for_each_error(|code| metrics.error(body.api(), code));
}

fn encode(metrics: &ShardMetrics, body: &ResponseBody, version: i16, correlation_id: i32) -> Response {
    count_errors(metrics, body);
    match body.encode(version, correlation_id) {
        Ok(bytes) => Response::Send(ResponseBytes::plain(bytes.freeze())),
        Err(error) => encode_failed(&error),
    }
}

/// A response that cannot be encoded is our own mistake; the client is not left waiting for it.
fn encode_failed(error: &dyn std::error::Error) -> Response {
    let reason = describe(error);
    if limit::REQUEST_FAILED.admit() {
        tracing::error!(%reason, "a response could not be encoded");
    }
    Response::Close { reason }
}

/// An error with its causes in one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Most errors tell their cause themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

impl Response {
    fn boxed_ready(self) -> LocalBoxFuture<'static, Response> {
        std::future::ready(self).boxed_local()
    }
}
