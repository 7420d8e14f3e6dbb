//! `ringlog topic list`.

use serde_json::json;

use super::seen::{self, Topic};
use crate::cli::kafka::Client;
use crate::cli::table::{Table, known, numbers, words};
use crate::cli::told::{Failure, Told};

pub(super) async fn run(client: &Client, with_internal: bool, as_json: bool) -> Result<Told, Failure> {
    let mut topics = seen::all(client).await?;
    topics.retain(|topic| with_internal || !topic.is_internal);
    if as_json {
        let topics = topics.iter().map(|topic| {
            json!({
                "topic": topic.name,
                "topic_id": topic.id,
                "partitions": topic.partitions.len(),
                "replication_factor": topic.replication_factor(),
                "is_internal": topic.is_internal,
            })
        });
        return Ok(Told::json(&json!({ "topics": topics.collect::<Vec<_>>() })));
    }
    let mut told = Told::text(to_text(&topics));
    if topics.is_empty() {
        told = Told::default();
        told.notes.push("there are no topics; `ringlog topic create TOPIC` creates one".to_owned());
    }
    Ok(told)
}

fn to_text(topics: &[Topic]) -> String {
    let columns = [words("TOPIC"), numbers("PARTITIONS"), numbers("REPLICAS"), words("ID")];
    let rows = topics.iter().map(|topic| {
        vec![
            topic.name.clone(),
            topic.partitions.len().to_string(),
            topic.replication_factor().to_string(),
            known(topic.id.as_ref()),
        ]
    });
    Table::new(columns, rows).text()
}
