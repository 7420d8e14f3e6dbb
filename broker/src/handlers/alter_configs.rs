//! AlterConfigs (key 33), versions 0-2: replaces all configs of a resource, as Kafka's older admin clients do.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use metadata::controller::ConfigReplacement;
use metadata::record::ConfigResource;

use super::Context;
use super::config_resource::{self, Altered};
use crate::metadata_core::RequestFailed;
use crate::metadata_core::request::{AlterConfigs, Answers};

pub async fn handle(context: &Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let validate_only = request.validate_only;
    let parsed = request
        .resources
        .iter()
        .map(|resource| (resource.resource_type, resource.resource_name.to_string(), replacement(resource)));
    let altered = answer(parsed.collect(), |replacements| {
        context.shard().metadata().ask(AlterConfigs { replacements, validate_only })
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
    AlterConfigsResponse::default().with_responses(responses)
}

fn replacement(resource: &AlterConfigsResource) -> Result<ConfigReplacement, (ResponseError, String)> {
    let configs = resource.configs.iter();
    Ok(ConfigReplacement {
        resource: config_resource::parse(resource.resource_type, &resource.resource_name)?,
        configs: configs
            .map(|config| (config.name.to_string(), config.value.as_ref().map(ToString::to_string)))
            .collect(),
    })
}

/// One resource of a request: its number and name on the wire, and what it was understood as.
type Parsed<A> = (i8, String, Result<A, (ResponseError, String)>);

/// Carries out the alterations that could be understood and answers every resource, those that could not be first.
pub async fn answer<A, F>(parsed: Vec<Parsed<A>>, alter: impl FnOnce(Vec<A>) -> F) -> Vec<Altered>
where
    F: Future<Output = Result<Answers<ConfigResource, ()>, RequestFailed>>,
{
    let mut altered = Vec::with_capacity(parsed.len());
    let mut asked = Vec::new();
    let mut alterations = Vec::new();
    for (resource_type, resource_name, alteration) in parsed {
        match alteration {
            Ok(alteration) => {
                asked.push((resource_type, resource_name));
                alterations.push(alteration);
            }
            Err(error) => altered.push(Altered { resource_type, resource_name, error: Some(error) }),
        }
    }
    match alter(alterations).await {
        Ok(answers) => altered.extend(answers.into_iter().map(|(resource, answer)| {
            let (resource_type, resource_name) = config_resource::to_wire(&resource);
            let error = answer.err().map(|refusal| (refusal.error(), refusal.message));
            Altered { resource_type, resource_name, error }
        })),
        Err(failed) => altered.extend(asked.into_iter().map(|(resource_type, resource_name)| Altered {
            resource_type,
            resource_name,
            error: Some((failed.code(), failed.to_string())),
        })),
    }
    altered
}
