//! `ringlog config set` and `delete` (IncrementalAlterConfigs).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use serde_json::{Value, json};

use super::args::{Change, Op};
use super::resource::{Deed, Resource, advice_on, ask};
use crate::cli::kafka::{Client, refused};
use crate::cli::progress::waiting;
use crate::cli::told::{Failure, Told};

#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub dry_run: bool,
    pub as_json: bool,
}

/// All of the changes, or none.
pub(super) async fn run(client: &Client, resource: &Resource, changes: &[Change], how: How) -> Result<Told, Failure> {
    let config = |change: &Change| {
        AlterableConfig::default()
            .with_name(change.name.clone().into())
            .with_config_operation(change.op as i8)
            .with_value(change.value.clone().map(Into::into))
    };
    let altered = AlterConfigsResource::default()
        .with_resource_type(resource.kind)
        .with_resource_name(resource.name.clone().into())
        .with_configs(changes.iter().map(config).collect());
    let request =
        IncrementalAlterConfigsRequest::default().with_resources(vec![altered]).with_validate_only(how.dry_run);
    let response = waiting(&format!("changing {resource}"), ask(client, resource, &request)).await?;
    let result = response.responses.into_iter().next();
    let result = result.ok_or_else(|| format!("{resource}: the broker says nothing of it"))?;
    let refusal = match ResponseError::try_from_code(result.error_code) {
        None => None,
        Some(ResponseError::UnknownTopicOrPartition) if resource.is_topic() => {
            Some(client.unknown_topic(&resource.name).await)
        }
        Some(error) => {
            let names = changes.iter().map(|change| change.name.as_str());
            let advice = advice_on(client, resource, names, Deed::Change).await;
            Some(format!("{resource}: {}{advice}", refused(error, result.error_message.as_deref())))
        }
    };
    let mut told = Told::default();
    let lines = changes.iter().map(|change| format!("{}\n", line(resource, change, how.dry_run)));
    told.text = match (&refusal, how.as_json) {
        (None, false) => lines.collect(),
        (Some(_), false) => String::new(),
        (_, true) => format!("{}\n", to_json(resource, changes, how.dry_run, refusal.as_deref())),
    };
    told.problems.extend(refusal);
    Ok(told)
}

fn to_json(resource: &Resource, changes: &[Change], dry_run: bool, refusal: Option<&str>) -> Value {
    let changes = changes.iter().map(|change| {
        let op = match change.op {
            Op::Set => "set",
            Op::Delete => "delete",
            Op::Append => "append",
            Op::Subtract => "subtract",
        };
        json!({ "name": change.name, "operation": op, "value": change.value })
    });
    json!({
        "resource_type": resource.kind_name(),
        "resource_name": resource.shown_name(),
        "changes": changes.collect::<Vec<_>>(),
        "dry_run": dry_run,
        "done": refusal.is_none(),
        "error": refusal,
    })
}

fn line(resource: &Resource, Change { name, op, value }: &Change, dry_run: bool) -> String {
    let value = value.as_deref().unwrap_or_default();
    let (would, did) = match op {
        Op::Set => (format!("{name} could be set to '{value}'"), format!("{name} was set to '{value}'")),
        Op::Delete => (format!("{name} could be taken back"), format!("{name} was taken back")),
        Op::Append => (format!("'{value}' could be added to {name}"), format!("'{value}' was added to {name}")),
        Op::Subtract => {
            (format!("'{value}' could be taken out of {name}"), format!("'{value}' was taken out of {name}"))
        }
    };
    format!("{resource}: {}", if dry_run { would } else { did })
}
