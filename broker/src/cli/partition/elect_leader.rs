//! `ringlog partition elect-leader` (ElectLeaders, KIP-460).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{ElectLeadersRequest, TopicName};
use protocol::ApiKey;
use serde_json::json;

use super::args::ElectArgs;
use crate::cli::kafka::{Client, ClientError, refused};
use crate::cli::progress::waiting;
use crate::cli::told::{Deeds, Failure, Told};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) async fn run(client: &Client, args: &ElectArgs) -> Result<Told, Failure> {
    let partitions = match (&args.topic, args.partition) {
        (None, _) => None,
        (Some(topic), Some(partition)) => Some(named(topic, vec![partition])),
        (Some(topic), None) => {
            let partitions = client.topics(&[topic.clone()].into()).await?.remove(topic).expect("it is in the outcome");
            let partitions = match partitions {
                Err(error) if error.refusal() == Some(ResponseError::UnknownTopicOrPartition) => {
                    return Err(Failure::Failed(client.unknown_topic(topic).await));
                }
                partitions => partitions?,
            };
            Some(named(topic, partitions.into_keys().collect()))
        }
    };
    let request = ElectLeadersRequest::default()
        .with_election_type(if args.unclean { UNCLEAN } else { PREFERRED })
        .with_topic_partitions(partitions)
        .with_timeout_ms(client.patience_ms());
    let (address, response) = waiting("electing leaders", client.call_any(&request)).await?;
    if let Some(error) = ResponseError::try_from_code(response.error_code) {
        return Err(ClientError::Refused { address, api: ApiKey::ElectLeaders, error }.into());
    }
    let mut deeds = Deeds::new("partitions", args.json);
    let mut count = 0;
    for topic in response.replica_election_results {
        for result in topic.partition_result {
            count += 1;
            let name = format!("{}-{}", *topic.topic, result.partition_id);
            let outcome = match ResponseError::try_from_code(result.error_code) {
                None => Ok(format!("{name}: a leader was elected")),
                Some(ResponseError::ElectionNotNeeded) if args.unclean => Ok(format!("{name}: has a leader")),
                Some(ResponseError::ElectionNotNeeded) => Ok(format!("{name}: the preferred replica leads")),
                Some(ResponseError::UnknownTopicOrPartition) => {
                    let of_topic = if client.has_topic(&topic.topic.0).await? {
                        format!("topic '{}' has no partition {}", *topic.topic, result.partition_id)
                    } else {
                        client.unknown_topic(&topic.topic.0).await
                    };
                    Err(of_topic)
                }
                Some(error) => {
                    let advice = match error {
                        ResponseError::PreferredLeaderNotAvailable | ResponseError::EligibleLeadersNotAvailable => {
                            format!("; `ringlog topic describe {}` prints who is in sync", *topic.topic)
                        }
                        _ => String::new(),
                    };
                    Err(format!("{name}: {}{advice}", refused(error, result.error_message.as_deref())))
                }
            };
            deeds.add(json!({ "topic": topic.topic.0.as_str(), "partition": result.partition_id }), outcome);
        }
    }
    if count == 0 {
        deeds.note("no election was needed".to_owned());
    }
    Ok(deeds.told())
}

fn named(topic: &str, partitions: Vec<i32>) -> Vec<TopicPartitions> {
    vec![TopicPartitions::default().with_topic(TopicName(topic.to_owned().into())).with_partitions(partitions)]
}
