//! DescribeConfigs (key 32), versions 1-4.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;
use metadata::config::ConfigEntry;
use metadata::record::ConfigResource;

use super::{Context, broker_loggers, config_resource};

/// First version with types and documentation (KIP-569).
const VERSION_TYPES: i16 = 3;

pub fn handle(context: &Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    // A resource that is named again is answered once: an answer must not outgrow the cluster.
    let mut seen = HashSet::with_capacity(request.resources.len());
    let results = request
        .resources
        .iter()
        .filter(|resource| seen.insert((resource.resource_type, resource.resource_name.clone())))
        .map(|resource| {
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match results(context, resource, &request) {
                Ok(configs) => result.with_configs(configs),
                Err((error, message)) => result.with_error_code(error.code()).with_error_message(Some(message.into())),
            }
        })
        .collect();
    DescribeConfigsResponse::default().with_results(results)
}

fn results(
    context: &Context,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Result<Vec<DescribeConfigsResourceResult>, (ResponseError, String)> {
    if resource.resource_type == config_resource::TYPE_BROKER_LOGGER {
        let keys = resource.configuration_keys.as_deref();
        return broker_loggers::describe(context.shard().broker_id(), &resource.resource_name, keys);
    }
    let entries = entries(context, resource)?;
    Ok(entries.into_iter().map(|entry| entry_result(entry, context.version(), request)).collect())
}

fn entries(context: &Context, resource: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, (ResponseError, String)> {
    let shard = context.shard();
    let image = shard.image();
    let named = config_resource::parse(resource.resource_type, &resource.resource_name)?;
    match &named {
        ConfigResource::Topic(name) => {
            if let Err(error) = metadata::controller::check_topic_name(name) {
                return Err((ResponseError::InvalidTopicException, error.to_string()));
            }
            if image.topic(name).is_none() {
                let error = ResponseError::UnknownTopicOrPartition;
                return Err((error, "This server does not host this topic-partition.".to_owned()));
            }
        }
        ConfigResource::Broker(id) if *id != shard.broker_id() => {
            return Err((
                ResponseError::InvalidRequest,
                format!("Unexpected broker id, expected {} or empty string, but received {}", shard.broker_id(), id),
            ));
        }
        ConfigResource::Group(name) if name.is_empty() => {
            return Err((ResponseError::InvalidRequest, "Group name must not be empty".to_owned()));
        }
        ConfigResource::Group(_) | ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {}
    }
    let keys: Option<Vec<String>> =
        resource.configuration_keys.as_ref().map(|keys| keys.iter().map(ToString::to_string).collect());
    Ok(image.describe_configs(&named, shard.broker_id(), &shard.settings().static_config(), keys.as_deref()))
}

fn entry_result(entry: ConfigEntry, version: i16, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let result = DescribeConfigsResourceResult::default()
        .with_name(entry.name.into())
        .with_value(entry.value.map(Into::into))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.wire_id())
        .with_is_sensitive(entry.sensitive);
    let result = if request.include_synonyms {
        let synonyms = entry.synonyms.into_iter().map(|synonym| {
            DescribeConfigsSynonym::default()
                .with_name(synonym.name.into())
                .with_value(synonym.value.map(Into::into))
                .with_source(synonym.source.wire_id())
        });
        result.with_synonyms(synonyms.collect())
    } else {
        result
    };
    if version < VERSION_TYPES {
        return result;
    }
    let documentation = request.include_documentation.then(|| StrBytes::from_static_str(entry.documentation));
    result.with_config_type(entry.kind.wire_id()).with_documentation(documentation)
}
