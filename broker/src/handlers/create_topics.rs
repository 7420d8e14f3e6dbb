//! CreateTopics (key 19), versions 2-7.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use metadata::config::{ConfigLayers, Described, describe};
use metadata::controller::{CreatedTopic, NewTopic};
use protocol::{BrokerId, PartitionId};

use super::Context;
use crate::metadata_core::request::CreateTopics;

/// First version whose answer describes the created topic (KIP-525).
const VERSION_DESCRIBES: i16 = 5;
/// First version whose answer has topic ids (KIP-516).
const VERSION_TOPIC_IDS: i16 = 7;

pub async fn handle(context: &Context, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let version = context.version();
    let topics: Vec<NewTopic> = request.topics.iter().map(new_topic).collect();
    let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
    let validate_only = request.validate_only;
    let answers =
        context.shard().metadata().ask_within(request.timeout_ms, CreateTopics { topics, validate_only }).await;
    let results = match answers {
        Ok(answers) => {
            let layers = context.shard().config_layers();
            answers
                .into_iter()
                .map(|(name, answer)| {
                    let result = CreatableTopicResult::default().with_name(TopicName(name.into()));
                    match answer {
                        Ok(created) => created_result(result, &created, version, &layers, validate_only),
                        Err(refusal) => failed(result, refusal.error(), refusal.message, version),
                    }
                })
                .collect()
        }
        Err(error) => names
            .into_iter()
            .map(|name| {
                let result = CreatableTopicResult::default().with_name(TopicName(name.into()));
                failed(result, error.code(), error.to_string(), version)
            })
            .collect(),
    };
    CreateTopicsResponse::default().with_topics(results)
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    NewTopic {
        name: topic.name.to_string(),
        num_partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic
            .assignments
            .iter()
            .map(|a| (PartitionId(a.partition_index), a.broker_ids.iter().map(|id| BrokerId(id.0)).collect()))
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)))
            .collect(),
    }
}

fn created_result(
    result: CreatableTopicResult,
    created: &CreatedTopic,
    version: i16,
    layers: &ConfigLayers,
    validate_only: bool,
) -> CreatableTopicResult {
    if version < VERSION_DESCRIBES {
        return result;
    }
    let configs = describe(Described::Topic(&created.configs), layers, None)
        .into_iter()
        .map(|entry| {
            CreatableTopicConfigs::default()
                .with_name(entry.name.into())
                .with_value(entry.value.map(Into::into))
                .with_read_only(entry.read_only)
                .with_config_source(entry.source.wire_id())
                .with_is_sensitive(entry.sensitive)
        })
        .collect();
    let result = result
        .with_num_partitions(created.num_partitions)
        .with_replication_factor(created.replication_factor)
        .with_configs(Some(configs));
    // As Kafka: a topic that was only checked has no id yet.
    if version >= VERSION_TOPIC_IDS && !validate_only { result.with_topic_id(created.topic_id.0) } else { result }
}

fn failed(result: CreatableTopicResult, error: ResponseError, message: String, version: i16) -> CreatableTopicResult {
    let result = result.with_error_code(error.code()).with_error_message(Some(message.into()));
    if version >= VERSION_DESCRIBES {
        result.with_num_partitions(-1).with_replication_factor(-1).with_configs(Some(Vec::new()))
    } else {
        result
    }
}
