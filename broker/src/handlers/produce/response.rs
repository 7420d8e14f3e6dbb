//! The answer to a Produce request, put together from what became of its partitions.

use std::cell::LazyCell;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use metadata::image::{MetadataImage, TopicImage};
use protocol::{PartitionId, TopicId};

use crate::handlers::current_leader::NamedLeaders;
use crate::partition::{AppendAck, Refused};

/// First version with `record_errors` and `error_message` (KIP-467).
const VERSION_RECORD_ERRORS: i16 = 8;
/// First version that names the current leader to who asked another broker (KIP-951).
const VERSION_CURRENT_LEADER: i16 = 10;
/// First version that names topics by id (KIP-516).
const VERSION_TOPIC_IDS: i16 = 13;

/// One topic of a request, as it is to be answered.
pub(super) struct TopicLayout {
    pub(super) name: TopicName,
    pub(super) topic_id: TopicId,
    pub(super) partitions: Vec<PartitionId>,
}

/// The topic as a request of `version` names it.
pub(super) fn find_topic<'a>(
    image: &'a MetadataImage,
    version: i16,
    name: &TopicName,
    topic_id: TopicId,
) -> Result<&'a Arc<TopicImage>, ResponseError> {
    if version >= VERSION_TOPIC_IDS {
        image.topic_by_id(topic_id).ok_or(ResponseError::UnknownTopicId)
    } else {
        image.topic(name.as_str()).ok_or(ResponseError::UnknownTopicOrPartition)
    }
}

/// The answer to a request of this layout; `image` is asked for leaders if there are any to be named, but for a broker that is
/// cut off.
pub(super) fn response<I: FnOnce() -> MetadataImage>(
    image: &LazyCell<MetadataImage, I>,
    layout: &[TopicLayout],
    mut results: impl Iterator<Item = Result<AppendAck, Refused>>,
    version: i16,
    cut_off: Option<protocol::BrokerId>,
) -> ProduceResponse {
    let mut leaders = NamedLeaders::new(cut_off);
    let responses = layout
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|partition| {
                    let result = results.next().expect("one result a partition");
                    let error = result.as_ref().err().map(|refused| refused.error);
                    let response = partition_response(*partition, result, version);
                    match error {
                        Some(error) if version >= VERSION_CURRENT_LEADER && NamedLeaders::belong_to(error) => {
                            let found = find_topic(image, version, &topic.name, topic.topic_id).ok();
                            let state = found.and_then(|topic| topic.partition(*partition));
                            response.with_current_leader(state.map_or_else(LeaderIdAndEpoch::default, |state| {
                                let (leader, epoch) = leaders.name(image, state);
                                let named = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader.0));
                                named.with_leader_epoch(epoch.0)
                            }))
                        }
                        _ => response,
                    }
                })
                .collect();
            let response = TopicProduceResponse::default().with_partition_responses(partitions);
            if version >= VERSION_TOPIC_IDS {
                response.with_topic_id(topic.topic_id.0)
            } else {
                response.with_name(topic.name.clone())
            }
        })
        .collect();
    let endpoints = leaders.into_brokers().map(|broker| {
        NodeEndpoint::default()
            .with_node_id(BrokerId(broker.broker.0))
            .with_host(broker.host.clone().into())
            .with_port(broker.port.into())
            .with_rack(broker.rack.clone().map(Into::into))
    });
    ProduceResponse::default().with_responses(responses).with_node_endpoints(endpoints.collect())
}

fn partition_response(
    partition: PartitionId,
    result: Result<AppendAck, Refused>,
    version: i16,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(partition.0);
    match result {
        Ok(ack) => {
            let response = response.with_base_offset(ack.base_offset.0).with_log_append_time_ms(ack.log_append_time_ms);
            if version >= 5 { response.with_log_start_offset(ack.log_start_offset.0) } else { response }
        }
        Err(refused) => {
            let response = response.with_error_code(refused.error.code()).with_base_offset(-1);
            if version < VERSION_RECORD_ERRORS {
                return response;
            }
            let record_errors = refused
                .record
                .map(|index| {
                    BatchIndexAndErrorMessage::default()
                        .with_batch_index(index)
                        .with_batch_index_error_message(Some(refused.message.clone().into()))
                })
                .into_iter()
                .collect();
            response.with_record_errors(record_errors).with_error_message(Some(refused.message.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{TOPIC, TOPIC_ID, image_of};
    use kafka_protocol::protocol::{Decodable, Encodable};

    #[test]
    fn who_asked_the_wrong_broker_is_told_who_leads_and_where() {
        let image = LazyCell::new(|| image_of(&[1, 2], &[(&[1, 2], Some(2), 4), (&[1], None, 5), (&[1], Some(1), 6)]));
        let layout = [TopicLayout {
            name: TopicName(TOPIC.to_owned().into()),
            topic_id: TOPIC_ID,
            partitions: (0..4).map(PartitionId).collect(),
        }];
        let errors = [
            ResponseError::NotLeaderOrFollower,
            ResponseError::NotLeaderOrFollower,
            ResponseError::KafkaStorageError,
            ResponseError::NotLeaderOrFollower,
        ];
        for version in [9, 10, 13] {
            let results = errors.iter().map(|error| Err(Refused::new(*error, "refused")));
            let response = response(&image, &layout, results, version, None);
            let mut bytes = bytes::BytesMut::new();
            response.encode(&mut bytes, version).expect("fits the version");
            let response = ProduceResponse::decode(&mut bytes.freeze(), version).unwrap();
            let partitions = &response.responses[0].partition_responses;
            let leaders: Vec<_> =
                partitions.iter().map(|p| (p.current_leader.leader_id.0, p.current_leader.leader_epoch)).collect();
            let endpoints: Vec<_> =
                response.node_endpoints.iter().map(|e| (e.node_id.0, e.host.as_str(), e.port)).collect();
            if version < 10 {
                assert_eq!((leaders, endpoints), (vec![(-1, -1); 4], vec![]));
            } else {
                assert_eq!(leaders, [(2, 4), (-1, 5), (-1, -1), (-1, -1)]);
                assert_eq!(endpoints, [(2, "host2", 9002)]);
            }
        }
    }
}
