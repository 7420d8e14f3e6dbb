//! `ringlog topic delete`: asks before, where somebody can be asked.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{DeleteTopicsRequest, TopicName};
use serde_json::json;

use super::seen;
use crate::cli::confirming;
use crate::cli::kafka::{Client, refused};
use crate::cli::progress::waiting;
use crate::cli::told::{Deeds, Failure, Told};

#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub yes: bool,
    pub if_exists: bool,
    pub as_json: bool,
}

pub(super) async fn run(client: &Client, names: &[String], how: How) -> Result<Told, Failure> {
    if !how.yes {
        confirm(client, names).await?;
        // Whoever was asked took time that is not the brokers'.
        client.begin_step();
    }
    let topic = |name: &String| DeleteTopicState::default().with_name(Some(TopicName(name.clone().into())));
    let request = DeleteTopicsRequest::default()
        .with_topics(names.iter().map(topic).collect())
        .with_timeout_ms(client.patience_ms());
    let (_, response) = waiting(&format!("deleting {}", names.join(", ")), client.call_any(&request)).await?;
    let mut told: BTreeMap<String, _> = response
        .responses
        .into_iter()
        .filter_map(|result| Some((result.name.as_ref()?.0.to_string(), result)))
        .collect();
    let mut deeds = Deeds::new("topics", how.as_json);
    for name in names {
        let Some(result) = told.remove(name) else {
            deeds.add(json!({ "topic": name }), Err(format!("topic '{name}': the broker says nothing of it")));
            continue;
        };
        let outcome = match ResponseError::try_from_code(result.error_code) {
            None => Ok(format!("topic '{name}' was deleted")),
            Some(ResponseError::UnknownTopicOrPartition) if how.if_exists => {
                Ok(format!("topic '{name}' does not exist"))
            }
            Some(ResponseError::UnknownTopicOrPartition) => Err(client.unknown_topic(name).await),
            Some(error) => {
                Err(format!("topic '{name}' was not deleted: {}", refused(error, result.error_message.as_deref())))
            }
        };
        deeds.add(json!({ "topic": name }), outcome);
    }
    Ok(deeds.told())
}

/// Asks whoever sits at the terminal.
async fn confirm(client: &Client, names: &[String]) -> Result<(), Failure> {
    confirming::can_be_asked("delete")?;
    let (topics, problems) = seen::named(client, names).await?;
    for problem in &problems {
        eprintln!("{problem}");
    }
    for topic in &topics {
        eprintln!(
            "{}: {} partition(s), {} replica(s) each",
            topic.name,
            topic.partitions.len(),
            topic.replication_factor()
        );
    }
    confirming::ask("delete", &format!("Delete {}, with all records?", names.join(", ")))
}
