//! `ringlog topic add-partitions`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::{CreatePartitionsRequest, TopicName};
use serde_json::json;

use crate::cli::kafka::{Client, refused};
use crate::cli::progress::waiting;
use crate::cli::told::{Deeds, Failure, Told};

pub(super) async fn run(
    client: &Client,
    name: &str,
    total: i32,
    dry_run: bool,
    as_json: bool,
) -> Result<Told, Failure> {
    let topic = CreatePartitionsTopic::default()
        .with_name(TopicName(name.to_owned().into()))
        .with_count(total)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(client.patience_ms())
        .with_validate_only(dry_run);
    let (_, response) = waiting(&format!("adding partitions to {name}"), client.call_any(&request)).await?;
    let Some(result) = response.results.into_iter().find(|result| *result.name.0 == *name) else {
        return Err(Failure::Failed(format!("topic '{name}': the broker says nothing of it")));
    };
    let outcome = match ResponseError::try_from_code(result.error_code) {
        None if dry_run => Ok(format!("topic '{name}' could have {total} partitions")),
        None => Ok(format!("topic '{name}' has {total} partitions now")),
        Some(ResponseError::UnknownTopicOrPartition) => Err(client.unknown_topic(name).await),
        Some(error) => Err(format!(
            "topic '{name}' got no more partitions: {}{}",
            refused(error, result.error_message.as_deref()),
            match error {
                ResponseError::InvalidPartitions => {
                    format!(
                        "; --total is how many it is to have, and only more can be; `ringlog topic describe {name}` prints those it has"
                    )
                }
                _ => String::new(),
            }
        )),
    };
    let mut deeds = Deeds::new("topics", as_json);
    deeds.add(json!({ "topic": name, "partitions": total, "dry_run": dry_run }), outcome);
    Ok(deeds.told())
}
