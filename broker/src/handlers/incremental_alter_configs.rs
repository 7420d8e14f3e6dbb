//! IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use metadata::controller::{AlterOp, ConfigAlteration, ConfigChange};

use super::Context;
use super::alter_configs::answer;
use super::config_resource::{self, Altered};
use crate::metadata_core::refusal::Refusal;
use crate::metadata_core::request::IncrementalAlterConfigs;

pub async fn handle(context: &Context, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let parsed = request
        .resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.to_string(), alteration(resource)));
    let altered = answer(parsed.collect(), |alterations| {
        context.shard().metadata().ask(IncrementalAlterConfigs { alterations, validate_only })
    })
    .await;
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
