use kafka_protocol::messages::fetch_response as library;
use kafka_protocol::messages::{self, TopicName};
use proptest::prelude::*;

use super::*;
use crate::response::encode_response;

/// The same response in the library's structs, with only what `version` has.
fn library_response(ours: &FetchResponse, version: i16) -> messages::FetchResponse {
    let partition = |partition: &FetchPartition| {
        let aborted = |(producer, first): &(ProducerId, Offset)| {
            library::AbortedTransaction::default().with_producer_id(producer.0.into()).with_first_offset(first.0)
        };
        let mut out = library::PartitionData::default()
            .with_partition_index(partition.partition.0)
            .with_error_code(partition.error_code)
            .with_high_watermark(partition.high_watermark.0)
            .with_last_stable_offset(partition.last_stable_offset.0)
            .with_log_start_offset(partition.log_start_offset.0)
            .with_aborted_transactions(
                partition.aborted_transactions.as_ref().map(|all| all.iter().map(aborted).collect()),
            )
            .with_records(Some(partition.records.concat().into()));
        if version >= 11 {
            out.preferred_read_replica = partition.preferred_read_replica.map_or(-1, |broker| broker.0).into();
        }
        if version >= 12 {
            if let Some((epoch, end)) = partition.diverging_epoch {
                out.diverging_epoch = library::EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end.0);
            }
            if let Some((leader, epoch)) = partition.current_leader {
                out.current_leader =
                    library::LeaderIdAndEpoch::default().with_leader_id(leader.0.into()).with_leader_epoch(epoch.0);
            }
        }
        out
    };
    let topic = |topic: &FetchTopic| {
        library::FetchableTopicResponse::default()
            .with_topic(TopicName(topic.name.clone()))
            .with_topic_id(topic.topic_id.0)
            .with_partitions(topic.partitions.iter().map(partition).collect())
    };
    let endpoint = |endpoint: &NodeEndpoint| {
        library::NodeEndpoint::default()
            .with_node_id(endpoint.node.0.into())
            .with_host(endpoint.host.clone())
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.clone())
    };
    let mut out = messages::FetchResponse::default()
        .with_throttle_time_ms(ours.throttle_time_ms)
        .with_responses(ours.topics.iter().map(topic).collect());
    if version >= 7 {
        out = out.with_error_code(ours.error_code).with_session_id(ours.session_id);
    }
    if version >= 16 {
        out = out.with_node_endpoints(ours.node_endpoints.iter().map(endpoint).collect());
    }
    out
}

fn text() -> impl Strategy<Value = StrBytes> {
    "[a-zäö.-]{0,140}".prop_map(StrBytes::from_string)
}

fn partition() -> impl Strategy<Value = FetchPartition> {
    let offsets = (any::<i64>(), any::<i64>(), any::<i64>());
    // An epoch of -1 with offset -1 is the library's default, which it takes for "not set".
    let diverging = prop::option::of((0..1000i32, any::<i64>()));
    let leader = prop::option::of((0..1000i32, any::<i32>()));
    let aborted = prop::option::of(prop::collection::vec((any::<i64>(), any::<i64>()), 0..4));
    let records = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4);
    (any::<i32>(), any::<i16>(), offsets, diverging, leader, aborted, prop::option::of(0..1000i32), records).prop_map(
        |(partition, error_code, (high, stable, start), diverging, leader, aborted, preferred, records)| {
            FetchPartition {
                partition: PartitionId(partition),
                error_code,
                high_watermark: Offset(high),
                last_stable_offset: Offset(stable),
                log_start_offset: Offset(start),
                diverging_epoch: diverging.map(|(epoch, end)| (LeaderEpoch(epoch), Offset(end))),
                current_leader: leader.map(|(broker, epoch)| (BrokerId(broker), LeaderEpoch(epoch))),
                aborted_transactions: aborted
                    .map(|all| all.into_iter().map(|(id, first)| (ProducerId(id), Offset(first))).collect()),
                preferred_read_replica: preferred.map(BrokerId),
                records: records.into_iter().map(Bytes::from).collect(),
            }
        },
    )
}

fn response() -> impl Strategy<Value = FetchResponse> {
    let topic = (text(), any::<u128>(), prop::collection::vec(partition(), 0..4))
        .prop_map(|(name, id, partitions)| FetchTopic { name, topic_id: TopicId(Uuid::from_u128(id)), partitions });
    let endpoint = (any::<i32>(), text(), any::<i32>(), prop::option::of(text()))
        .prop_map(|(node, host, port, rack)| NodeEndpoint { node: BrokerId(node), host, port, rack });
    let endpoints = prop::collection::vec(endpoint, 0..3);
    (any::<i32>(), any::<i16>(), any::<i32>(), prop::collection::vec(topic, 0..4), endpoints).prop_map(
        |(throttle_time_ms, error_code, session_id, topics, node_endpoints)| FetchResponse {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        },
    )
}

proptest! {
    #[test]
    fn equals_what_the_library_encodes(ours in response(), correlation_id: i32) {
        for version in ApiKey::Fetch.served().min..=ApiKey::Fetch.served().max {
            let chunks = ours.encode(version, correlation_id).unwrap();
            let theirs = encode_response(&library_response(&ours, version), version, correlation_id).unwrap();
            prop_assert_eq!(chunks.concat(), theirs, "version {}", version);
        }
    }
}

#[test]
fn records_are_the_very_buffers_that_were_given() {
    let (first, second) = (Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 10]));
    let mut partition = FetchPartition::empty(PartitionId(3), 0);
    partition.records = vec![first.clone(), Bytes::new(), second.clone()];
    assert_eq!(partition.records_bytes(), 1010);
    let topic = FetchTopic { partitions: vec![partition], ..FetchTopic::default() };
    let response = FetchResponse { topics: vec![topic], ..FetchResponse::default() };
    let chunks = response.encode(18, 7).unwrap();
    let addresses: Vec<_> = chunks.iter().map(|chunk| chunk.as_ptr()).collect();
    assert_eq!(chunks.len(), 4, "header, two pieces of records, trailer");
    assert_eq!(addresses[1..3], [first.as_ptr(), second.as_ptr()]);
}

#[test]
fn a_name_that_does_not_fit_is_an_error() {
    let name = StrBytes::from_string("x".repeat(STRING_BYTES_MAX + 1));
    let response =
        FetchResponse { topics: vec![FetchTopic { name, ..FetchTopic::default() }], ..FetchResponse::default() };
    assert!(matches!(response.encode(4, 0), Err(EncodeError::TooLong { bytes: 32_768, .. })));
    assert!(matches!(response.encode(12, 0), Err(EncodeError::TooLong { .. })));
    assert!(response.encode(13, 0).is_ok(), "version 13 carries the topic id alone");
}
