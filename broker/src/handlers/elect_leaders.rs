//! ElectLeaders (key 43), versions 0-2 (KIP-183, KIP-460).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};
use metadata::controller::{ElectionType, PartitionName};
use protocol::PartitionId;

use super::Context;
use super::by_topic::by_topic;
use crate::metadata_core::refusal::Refusal;
use crate::metadata_core::request::ElectLeaders;

/// First version with an error of the whole request.
const VERSION_ERROR: i16 = 1;

pub async fn handle(context: &Context, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let partitions: Option<Vec<PartitionName>> = request.topic_partitions.as_ref().map(|topics| {
        let names = topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.topic.to_string(), PartitionId(*partition)))
        });
        names.collect()
    });
    let election = match ElectionType::from_wire(request.election_type).map_err(Refusal::from) {
        Ok(election) => election,
        Err(refusal) => return failed(context, partitions, refusal.error(), &refusal.message),
    };
    match context
        .shard()
        .metadata()
        .ask_within(request.timeout_ms, ElectLeaders { election, partitions: partitions.clone() })
        .await
    {
        Ok(answers) => respond(answers.into_iter().map(|(name, answer)| {
            let error = answer.err().map(|refusal| (refusal.error(), refusal.message));
            (name, error)
        })),
        Err(error) => failed(context, partitions, error.code(), &error.to_string()),
    }
}

fn respond(
    answers: impl IntoIterator<Item = (PartitionName, Option<(ResponseError, String)>)>,
) -> ElectLeadersResponse {
    let results = by_topic(answers).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            let result = PartitionResult::default().with_partition_id(partition.0);
            match error {
                None => result,
                Some((error, message)) => result.with_error_code(error.code()).with_error_message(Some(message.into())),
            }
        });
        ReplicaElectionResult::default().with_topic(TopicName(topic.into())).with_partition_result(partitions.collect())
    });
    ElectLeadersResponse::default().with_replica_election_results(results.collect())
}

/// All of it has failed: as Kafka, that is said of the whole and of each partition that was named.
fn failed(
    context: &Context,
    partitions: Option<Vec<PartitionName>>,
    error: ResponseError,
    message: &str,
) -> ElectLeadersResponse {
    let named = partitions.into_iter().flatten();
    let response = respond(named.map(|name| (name, Some((error, message.to_owned())))));
    if context.version() >= VERSION_ERROR { response.with_error_code(error.code()) } else { response }
}
