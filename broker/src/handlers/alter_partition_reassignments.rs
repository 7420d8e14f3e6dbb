//! AlterPartitionReassignments (key 45), versions 0-1 (KIP-455, KIP-860).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, TopicName};
use metadata::controller::{PartitionName, WantedReassignment};
use protocol::{BrokerId, PartitionId};

use super::Context;
use super::by_topic::by_topic;
use crate::metadata_core::request::AlterPartitionReassignments;

/// First version in which a change of the replication factor may be forbidden (KIP-860).
const VERSION_REPLICATION_FACTOR: i16 = 1;

pub async fn handle(
    context: &Context,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let may_change_replication_factor = request.allow_replication_factor_change;
    let wanted: Vec<WantedReassignment> = request
        .topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| WantedReassignment {
                topic: topic.name.to_string(),
                partition: PartitionId(partition.partition_index),
                target: partition.replicas.as_ref().map(|ids| ids.iter().map(|id| BrokerId(id.0)).collect()),
            })
        })
        .collect();
    let names: Vec<PartitionName> = wanted.iter().map(|wanted| (wanted.topic.clone(), wanted.partition)).collect();
    let asked = AlterPartitionReassignments { wanted, may_change_replication_factor };
    let response = match context.shard().metadata().ask_within(request.timeout_ms, asked).await {
        Ok(answers) => respond(answers.into_iter().map(|(name, answer)| {
            let error = answer.err().map(|refusal| (refusal.error(), refusal.message));
            (name, error)
        })),
        // As Kafka, that is said of the whole and of each partition.
        Err(error) => respond(names.into_iter().map(|name| (name, Some((error.code(), error.to_string())))))
            .with_error_code(error.code().code())
            .with_error_message(Some(error.to_string().into())),
    };
    if context.version() >= VERSION_REPLICATION_FACTOR {
        response.with_allow_replication_factor_change(may_change_replication_factor)
    } else {
        response
    }
}

fn respond(
    answers: impl IntoIterator<Item = (PartitionName, Option<(ResponseError, String)>)>,
) -> AlterPartitionReassignmentsResponse {
    let responses = by_topic(answers).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, error)| {
            let response = ReassignablePartitionResponse::default().with_partition_index(partition.0);
            match error {
                None => response,
                Some((error, message)) => {
                    response.with_error_code(error.code()).with_error_message(Some(message.into()))
                }
            }
        });
        ReassignableTopicResponse::default().with_name(TopicName(topic.into())).with_partitions(partitions.collect())
    });
    AlterPartitionReassignmentsResponse::default().with_responses(responses.collect())
}
