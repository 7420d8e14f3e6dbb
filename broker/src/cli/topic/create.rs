//! `ringlog topic create`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest, TopicName};
use serde_json::json;

use super::args::CreateArgs;
use crate::cli::config_command::nearest_topic_config;
use crate::cli::kafka::{Client, refused};
use crate::cli::progress::waiting;
use crate::cli::told::{Deeds, Failure, Told};

pub(super) async fn run(client: &Client, args: &CreateArgs) -> Result<Told, Failure> {
    let name = &args.name;
    let request = request(args, client.patience_ms());
    let (_, response) = waiting(&format!("creating {name}"), client.call_any(&request)).await?;
    let Some(result) = response.topics.into_iter().find(|topic| *topic.name.0 == **name) else {
        return Err(Failure::Failed(format!("topic '{name}': the broker says nothing of it")));
    };
    let mut what = json!({
        "topic": name,
        "partitions": result.num_partitions,
        "replication_factor": result.replication_factor,
        "topic_id": (!result.topic_id.is_nil()).then(|| protocol::TopicId(result.topic_id).to_string()),
        "dry_run": args.dry_run,
    });
    let outcome = match ResponseError::try_from_code(result.error_code) {
        None => Ok(format!(
            "topic '{name}' {} with {} partition(s) of {} replica(s)",
            if args.dry_run { "could be created" } else { "was created" },
            result.num_partitions,
            result.replication_factor
        )),
        Some(ResponseError::TopicAlreadyExists) if args.if_not_exists => {
            what["existed"] = true.into();
            Ok(format!("topic '{name}' exists, and was left as it is"))
        }
        Some(error) => {
            what = json!({ "topic": name, "dry_run": args.dry_run });
            let message = result.error_message.as_deref();
            Err(format!("topic '{name}' was not created: {}{}", refused(error, message), advice(args, error)))
        }
    };
    let mut deeds = Deeds::new("topics", args.json);
    deeds.add(what, outcome);
    Ok(deeds.told())
}

fn request(args: &CreateArgs, timeout_ms: i32) -> CreateTopicsRequest {
    let assignment = |(partition, replicas): (usize, &super::args::Replicas)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
            .with_broker_ids(replicas.0.iter().copied().map(BrokerId).collect())
    };
    let config = |config: &super::args::KeyValue| {
        CreatableTopicConfig::default()
            .with_name(config.key.clone().into())
            .with_value(Some(config.value.clone().into()))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(args.name.clone().into()))
        .with_num_partitions(args.partitions.unwrap_or(-1))
        .with_replication_factor(args.replication_factor.unwrap_or(-1))
        .with_assignments(args.replica_assignment.iter().enumerate().map(assignment).collect())
        .with_configs(args.config.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(timeout_ms).with_validate_only(args.dry_run)
}

/// What to do next, as the end of the sentence.
fn advice(args: &CreateArgs, error: ResponseError) -> String {
    match error {
        ResponseError::TopicAlreadyExists => {
            format!("; `ringlog topic describe {}` prints it, and --if-not-exists leaves it as it is", args.name)
        }
        ResponseError::InvalidReplicationFactor | ResponseError::InvalidReplicaAssignment => {
            "; `ringlog cluster brokers` prints the brokers that there are".to_owned()
        }
        ResponseError::InvalidConfig => {
            let names = args.config.iter().map(|config| config.key.as_str());
            nearest_topic_config(names)
        }
        _ => String::new(),
    }
}
