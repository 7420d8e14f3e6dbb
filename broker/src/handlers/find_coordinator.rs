//! FindCoordinator (key 10), versions 0-6: which broker coordinates a group.
//!
//! The first question creates the topic of committed offsets, and is answered once it is there. Transactions and share
//! groups are not served: their coordinators are refused as unsupported rather than promised for later.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest};
use kafka_protocol::protocol::StrBytes;

use super::Context;

const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;
const KEY_TYPE_SHARE: i8 = 2;
/// First version that asks for several keys at once (KIP-699).
const VERSION_BATCHED: i16 = 4;

pub async fn handle(context: &Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let version = context.version();
    if version >= VERSION_BATCHED {
        // One broker coordinates everything, so the answer is the same for every key.
        let coordinator = match find(context, request.key_type).await {
            Ok(found) => Coordinator::default()
                .with_node_id(BrokerId(found.node))
                .with_host(found.host.into())
                .with_port(found.port),
            Err((error, message)) => not_found(error, message),
        };
        let coordinators = request.coordinator_keys.into_iter().map(|key| coordinator.clone().with_key(key));
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let response = FindCoordinatorResponse::default();
    match find(context, request.key_type).await {
        Ok(found) => response.with_node_id(BrokerId(found.node)).with_host(found.host.into()).with_port(found.port),
        Err((error, message)) => {
            let response =
                response.with_error_code(error.code()).with_node_id(BrokerId(-1)).with_host("".into()).with_port(-1);
            if version >= 1 { response.with_error_message(Some(message)) } else { response }
        }
    }
}

fn not_found(error: ResponseError, message: StrBytes) -> Coordinator {
    Coordinator::default()
        .with_error_code(error.code())
        .with_error_message(Some(message))
        .with_node_id(BrokerId(-1))
        .with_host("".into())
        .with_port(-1)
}

struct Found {
    node: i32,
    host: String,
    port: i32,
}

async fn find(context: &Context, key_type: i8) -> Result<Found, (ResponseError, StrBytes)> {
    let refuse = |error: ResponseError, message: &'static str| Err((error, StrBytes::from_static_str(message)));
    match key_type {
        KEY_TYPE_GROUP => {}
        KEY_TYPE_TRANSACTION => return refuse(ResponseError::InvalidRequest, "transactions are not supported"),
        KEY_TYPE_SHARE => return refuse(ResponseError::InvalidRequest, "share groups are not supported"),
        _ => return refuse(ResponseError::InvalidRequest, "unknown coordinator key type"),
    }
    let shard = context.shard();
    if let Err(error) = shard.ensure_offsets_topic().await {
        tracing::warn!(%error, "the topic of committed offsets could not be created");
        return refuse(ResponseError::CoordinatorNotAvailable, "the topic of committed offsets cannot be created");
    }
    match shard.image().broker(shard.broker_id()) {
        Some(broker) => Ok(Found { node: broker.broker.0, host: broker.host.clone(), port: broker.port.into() }),
        None => refuse(ResponseError::CoordinatorNotAvailable, "the broker is not registered"),
    }
}
