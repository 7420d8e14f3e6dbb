//! `ringlog group delete` and `delete-offsets`.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId};
use serde_json::json;

use super::scope::TopicScope;
use super::{Told, committed, no_such_group, of_group};
use crate::cli::kafka::{Client, PartitionName, code_name};
use crate::cli::told::Deeds;

pub(super) async fn groups(client: &Client, names: &[String], as_json: bool) -> Result<Told, String> {
    let request = |groups: &[String]| {
        let ids = groups.iter().map(|group| GroupId(group.clone().into())).collect();
        DeleteGroupsRequest::default().with_groups_names(ids)
    };
    let parts = |response: DeleteGroupsResponse| {
        let result = response.results.into_iter().map(|result| {
            let outcome = ResponseError::try_from_code(result.error_code).map_or(Ok(()), |error| Err((error, None)));
            (result.group_id.0.to_string(), outcome)
        });
        result.collect()
    };
    let mut deeds = Deeds::new("groups", as_json);
    for (group, answer) in client.ask_coordinators(names, request, parts).await {
        let outcome = match answer {
            Ok(_) => Ok(format!("group '{group}' was deleted")),
            Err(error) => Err(match error.refusal() {
                Some(ResponseError::NonEmptyGroup) => {
                    format!(
                        "group '{group}' has members and was not deleted; `ringlog group describe {group} --members` prints them"
                    )
                }
                Some(ResponseError::GroupIdNotFound) => no_such_group(&group),
                _ => of_group(&group, &error),
            }),
        };
        deeds.add(json!({ "group": group }), outcome);
    }
    Ok(deeds.told())
}

/// Topics that are gone may be named with their partitions.
pub(super) async fn offsets(
    client: &Client,
    group: &str,
    scopes: &[TopicScope],
    as_json: bool,
) -> Result<Told, String> {
    let whole: Vec<TopicScope> = scopes.iter().filter(|scope| scope.partitions.is_none()).cloned().collect();
    let mut partitions: BTreeSet<PartitionName> = super::reset::resolve(client, &whole).await?;
    for TopicScope { topic, partitions: named } in scopes {
        partitions.extend(named.iter().flatten().map(|partition| (topic.clone(), *partition)));
    }
    let partitions: Vec<PartitionName> = partitions.into_iter().collect();
    let outcomes = committed::delete(client, group, &partitions).await.map_err(|error| of_group(group, &error))?;
    let mut deeds = Deeds::new("offsets", as_json);
    for (topic, partition) in &partitions {
        let outcome = match outcomes.get(&(topic.clone(), *partition)) {
            Some(None) => Ok(format!("offsets of group '{group}' for {topic}-{partition} were deleted")),
            Some(Some(error)) => Err(format!("{topic}-{partition}: {}", code_name(*error))),
            None => Err(format!("{topic}-{partition}: the broker says nothing of it")),
        };
        deeds.add(json!({ "topic": topic, "partition": partition }), outcome);
    }
    Ok(deeds.told())
}
