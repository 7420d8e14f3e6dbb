//! IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339).

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use metadata::controller::{AlterOp, ConfigAlteration, ConfigChange};

use super::alter_configs::answer;
use super::config_resource::{self, Altered, TYPE_BROKER_LOGGER};
use super::{Context, broker_loggers};
use crate::metadata_core::refusal::Refusal;
use crate::metadata_core::request::IncrementalAlterConfigs;

pub async fn handle(context: &Context, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let is_logger = |resource: &&AlterConfigsResource| resource.resource_type == TYPE_BROKER_LOGGER;
    // They are this broker's own; everything else is the controller's.
    let mut altered = loggers(context, request.resources.iter().filter(is_logger), validate_only);
    let others = request.resources.iter().filter(|resource| !is_logger(resource));
    let parsed: Vec<_> = others
        .map(|resource| (resource.resource_type, resource.resource_name.to_string(), alteration(resource)))
        .collect();
    if !parsed.is_empty() {
        let alter =
            |alterations| context.shard().metadata().ask(IncrementalAlterConfigs { alterations, validate_only });
        altered.extend(answer(parsed, alter).await);
    }
    let responses = altered
        .into_iter()
        .map(|Altered { resource_type, resource_name, error }| {
            let response = AlterConfigsResourceResponse::default()
                .with_resource_type(resource_type)
                .with_resource_name(resource_name.into());
            match error {
                None => response,
                Some((code, message)) => response.with_error_code(code.code()).with_error_message(Some(message.into())),
            }
        })
        .collect();
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn loggers<'a>(
    context: &Context,
    resources: impl Iterator<Item = &'a AlterConfigsResource>,
    validate_only: bool,
) -> Vec<Altered> {
    let mut seen = HashSet::new();
    let altered = resources.map(|resource| {
        let resource_name = resource.resource_name.to_string();
        let altered = match seen.insert(resource_name.clone()) {
            true => broker_loggers::alter(context.shard().broker_id(), resource, validate_only),
            false => Err((ResponseError::InvalidRequest, "Each resource must appear at most once.".to_owned())),
        };
        Altered { resource_type: TYPE_BROKER_LOGGER, resource_name, error: altered.err() }
    });
    altered.collect()
}

fn alteration(resource: &AlterConfigsResource) -> Result<ConfigAlteration, (ResponseError, String)> {
    let changes = resource.configs.iter().map(|config| {
        let op = AlterOp::from_wire(config.config_operation)
            .map_err(Refusal::from)
            .map_err(|refusal| (refusal.error(), refusal.message))?;
        Ok(ConfigChange { name: config.name.to_string(), op, value: config.value.as_ref().map(ToString::to_string) })
    });
    Ok(ConfigAlteration {
        resource: config_resource::parse(resource.resource_type, &resource.resource_name)?,
        changes: changes.collect::<Result<_, _>>()?,
    })
}
