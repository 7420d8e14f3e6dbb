//! The answer to a Fetch, put together and encoded.

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use metadata::image::MetadataImage;
use metadata::record::BrokerState;
use protocol::error_code;
use protocol::fetch_response::{FetchPartition, FetchResponse, FetchTopic, NodeEndpoint};
use protocol::header::RequestHeader;
use protocol::response::EncodeError;

use super::{Fetched, Outcome, find_topic};
use crate::fetch_session::{FetchKey, TopicRef};
use crate::handlers::current_leader::NamedLeaders;
use crate::shard::budget::Held;

/// The response nests partitions under topics; a session's order may have torn a topic apart.
pub(super) fn group_by_topic(partitions: &mut [(FetchKey, Outcome)]) {
    let mut first_seen: HashMap<TopicRef, usize> = HashMap::new();
    for (at, (key, _)) in partitions.iter().enumerate() {
        if !first_seen.contains_key(&key.topic) {
            first_seen.insert(key.topic.clone(), at);
        }
    }
    partitions.sort_by_key(|(key, _)| first_seen[&key.topic]);
}

/// Says who leads where this broker does not; gives the leaders' addresses.
pub(super) fn name_leaders(
    image: impl FnOnce() -> MetadataImage,
    partitions: &mut [(FetchKey, Outcome)],
    cut_off: Option<protocol::BrokerId>,
) -> Vec<NodeEndpoint> {
    let mut named = NamedLeaders::new(cut_off);
    let image = LazyCell::new(image);
    for (key, outcome) in partitions {
        if !outcome.error.is_some_and(NamedLeaders::belong_to) {
            continue;
        }
        let state = find_topic(&image, &key.topic).ok().and_then(|topic| topic.partition(key.partition));
        outcome.current_leader = state.map(|state| named.name(&image, state));
    }
    let endpoint = |broker: Arc<BrokerState>| NodeEndpoint {
        node: broker.broker,
        host: broker.host.clone().into(),
        port: broker.port.into(),
        rack: broker.rack.clone().map(Into::into),
    };
    named.into_brokers().map(endpoint).collect()
}

/// The bytes of the answer, and what they hold of the response budget.
pub fn encode(
    fetched: Fetched,
    header: &RequestHeader,
    throttle_time_ms: i32,
) -> Result<(Vec<Bytes>, Option<Held>), EncodeError> {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut current: Option<TopicRef> = None;
    for (key, outcome) in fetched.partitions {
        if current.as_ref() != Some(&key.topic) {
            topics.push(match &key.topic {
                TopicRef::Id(topic_id) => FetchTopic { topic_id: *topic_id, ..FetchTopic::default() },
                TopicRef::Name(name) => FetchTopic { name: name.to_string().into(), ..FetchTopic::default() },
            });
            current = Some(key.topic);
        }
        let topic = topics.last_mut().expect("pushed above");
        topic.partitions.push(FetchPartition {
            high_watermark: outcome.high_watermark,
            last_stable_offset: outcome.high_watermark,
            log_start_offset: outcome.log_start_offset,
            diverging_epoch: outcome.diverging,
            current_leader: outcome.current_leader,
            preferred_read_replica: outcome.preferred_read_replica,
            records: outcome.records,
            ..FetchPartition::empty(key.partition, error_code::code(outcome.error))
        });
    }
    let response = FetchResponse {
        throttle_time_ms,
        error_code: error_code::code(fetched.error),
        session_id: fetched.session_id,
        topics,
        node_endpoints: fetched.node_endpoints,
    };
    Ok((response.encode(header.version, header.correlation_id)?, fetched.held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{TOPIC, TOPIC_ID, image_of};
    use kafka_protocol::ResponseError;
    use protocol::{BrokerId, LeaderEpoch, PartitionId};

    #[test]
    fn who_asked_the_wrong_broker_is_told_who_leads_and_where() {
        let image = image_of(&[1, 2], &[(&[1, 2], Some(2), 4), (&[1], None, 5), (&[1], Some(1), 6)]);
        let topics = [TopicRef::Id(TOPIC_ID), TopicRef::Name(TOPIC.into())];
        for topic in topics {
            let errors = [
                ResponseError::NotLeaderOrFollower,
                ResponseError::FencedLeaderEpoch,
                ResponseError::OffsetOutOfRange,
                ResponseError::NotLeaderOrFollower,
            ];
            let mut partitions: Vec<_> = (0..)
                .zip(errors)
                .map(|(at, error)| {
                    let key = FetchKey { topic: topic.clone(), partition: PartitionId(at) };
                    (key, Outcome::failed(error))
                })
                .collect();
            let endpoints = name_leaders(|| image.clone(), &mut partitions, None);
            let leaders: Vec<_> = partitions.iter().map(|(_, outcome)| outcome.current_leader).collect();
            let leader = |id, epoch| Some((BrokerId(id), LeaderEpoch(epoch)));
            assert_eq!(leaders, [leader(2, 4), leader(-1, 5), None, None]);
            let endpoints: Vec<_> = endpoints.iter().map(|e| (e.node.0, e.host.as_str(), e.port)).collect();
            assert_eq!(endpoints, [(2, "host2", 9002)]);
        }
    }
}
