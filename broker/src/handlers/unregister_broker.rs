//! UnregisterBroker (key 64), version 0 (KIP-631): forgets a broker that has gone for good.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use protocol::BrokerId;

use super::Context;
use crate::metadata_core::request::RemoveNode;

pub async fn handle(context: &Context, request: UnregisterBrokerRequest) -> UnregisterBrokerResponse {
    match context.shard().metadata().ask(RemoveNode(BrokerId(request.broker_id.0))).await {
        Ok(Ok(())) => UnregisterBrokerResponse::default(),
        Ok(Err(refusal)) => failed(refusal.error(), refusal.message),
        Err(error) => failed(error.code(), error.to_string()),
    }
}

fn failed(error: ResponseError, message: String) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse::default().with_error_code(error.code()).with_error_message(Some(message.into()))
}
