//! DeleteTopics (key 20), versions 1-6: by name, from version 6 on also by id (KIP-516).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::messages::{DeleteTopicsRequest, TopicName};
use metadata::controller::TopicToDelete;
use protocol::TopicId;

use super::Context;
use crate::metadata_core::request::DeleteTopics;

/// First version with `error_message` (KIP-599).
const VERSION_MESSAGES: i16 = 5;
/// First version with topic ids.
const VERSION_TOPIC_IDS: i16 = 6;

pub async fn handle(context: &Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let version = context.version();
    let topics: Vec<TopicToDelete> = if version >= VERSION_TOPIC_IDS {
        let by_either = request.topics.iter();
        by_either
            .map(|topic| TopicToDelete {
                name: topic.name.as_ref().map(|name| name.to_string()),
                id: TopicId(topic.topic_id),
            })
            .collect()
    } else {
        let by_name = request.topic_names.iter();
        by_name.map(|name| TopicToDelete { name: Some(name.to_string()), id: TopicId::ZERO }).collect()
    };
    let asked = topics.clone();
    let answers = context.shard().metadata().ask_within(request.timeout_ms, DeleteTopics { topics }).await;
    let results = match answers {
        Ok(answers) => answers
            .into_iter()
            .map(|(topic, answer)| match answer {
                Ok(deleted) => named(version, Some(deleted.name), deleted.id),
                Err(refusal) => failed(version, named(version, topic.name, topic.id), refusal.error(), refusal.message),
            })
            .collect(),
        Err(error) => asked
            .into_iter()
            .map(|topic| failed(version, named(version, topic.name, topic.id), error.code(), error.to_string()))
            .collect(),
    };
    DeleteTopicsResponse::default().with_responses(results)
}

fn named(version: i16, name: Option<String>, id: TopicId) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_name(name.map(|name| TopicName(name.into())));
    if version >= VERSION_TOPIC_IDS { result.with_topic_id(id.0) } else { result }
}

fn failed(version: i16, result: DeletableTopicResult, error: ResponseError, message: String) -> DeletableTopicResult {
    let result = result.with_error_code(error.code());
    if version >= VERSION_MESSAGES { result.with_error_message(Some(message.into())) } else { result }
}
