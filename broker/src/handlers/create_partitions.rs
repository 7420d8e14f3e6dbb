//! CreatePartitions (key 37), versions 0-3 (KIP-195).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use kafka_protocol::messages::{CreatePartitionsRequest, TopicName};
use metadata::controller::NewPartitions;
use protocol::BrokerId;

use super::Context;
use crate::metadata_core::request::CreatePartitions;

pub async fn handle(context: &Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let topics: Vec<NewPartitions> = request
        .topics
        .iter()
        .map(|topic| NewPartitions {
            topic: topic.name.to_string(),
            total_count: topic.count,
            assignments: topic.assignments.as_ref().map(|assignments| {
                assignments.iter().map(|a| a.broker_ids.iter().map(|id| BrokerId(id.0)).collect()).collect()
            }),
        })
        .collect();
    let validate_only = request.validate_only;
    let answers =
        context.shard().metadata().ask_within(request.timeout_ms, CreatePartitions { topics, validate_only }).await;
    let results = match answers {
        Ok(answers) => answers
            .into_iter()
            .map(|(name, answer)| {
                let result = CreatePartitionsTopicResult::default().with_name(TopicName(name.into()));
                match answer {
                    Ok(_) => result,
                    Err(refusal) => failed(result, refusal.error(), refusal.message),
                }
            })
            .collect(),
        Err(error) => request
            .topics
            .iter()
            .map(|topic| {
                let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
                failed(result, error.code(), error.to_string())
            })
            .collect(),
    };
    CreatePartitionsResponse::default().with_results(results)
}

fn failed(result: CreatePartitionsTopicResult, error: ResponseError, message: String) -> CreatePartitionsTopicResult {
    result.with_error_code(error.code()).with_error_message(Some(message.into()))
}
