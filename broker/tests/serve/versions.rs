//! Every advertised version of every API is answered, in a form that the version has.
//!
//! A response field that a version lacks makes the encoder refuse, and the broker then closes the connection; so each
//! request here names something that exists and something that does not, to fill as many fields as there are.

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use protocol::records::BatchBuilder;
use uuid::Uuid;

use crate::harness::{Broker, Client, directory};

const TOPIC: &str = "versions";
const GROUP: &str = "group";

fn topic(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

fn group(name: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(name))
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn batch() -> Bytes {
    let mut batch = BatchBuilder::new();
    batch.append(1_700_000_000_000, Some(b"key"), Some(b"value"), &[]);
    Bytes::from(batch.build())
}

/// The versions advertised, cut to those that the broker serves (Produce is advertised from 0 for old clients' sake).
fn versions(api: protocol::ApiKey) -> std::ops::RangeInclusive<i16> {
    let served = api.served();
    served.min..=served.max
}

/// Of OffsetCommit and OffsetFetch. Requests that name topics by id, which the library of this test's client does not have, are
/// tested where real clients are.
fn is_by_name(version: &i16) -> bool {
    *version < 10
}

/// A broker with a topic that has a record, and a connected client.
fn setup(dir: &tempfile::TempDir) -> (Broker, Client, Uuid) {
    let (broker, address) = Broker::start(dir.path());
    let mut client = Client::connect(address);
    client.create_topic(TOPIC);
    assert_eq!(client.produce(TOPIC, b"first").0, 0);
    let asked = metadata_request::MetadataRequestTopic::default().with_name(Some(topic(TOPIC)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let response: MetadataResponse = client.call(ApiKey::Metadata, 12, &request);
    (broker, client, response.topics[0].topic_id)
}

#[test]
fn data_apis_answer_in_every_version() {
    let dir = directory();
    let (broker, mut client, topic_id) = setup(&dir);
    for version in versions(protocol::ApiKey::Produce) {
        // A batch that is fine, and garbage with an error message.
        let data = |index: i32, records: Bytes| {
            produce_request::PartitionProduceData::default().with_index(index).with_records(Some(records))
        };
        let partitions = vec![data(0, batch()), data(0, Bytes::from_static(b"garbage")), data(7, batch())];
        let asked = produce_request::TopicProduceData::default().with_partition_data(partitions);
        let asked = if version >= 13 { asked.with_topic_id(topic_id) } else { asked.with_name(topic(TOPIC)) };
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![asked]);
        let response: ProduceResponse = client.call(ApiKey::Produce, version, &request);
        let errors: Vec<i16> = response.responses[0].partition_responses.iter().map(|p| p.error_code).collect();
        assert_eq!(errors, [0, 87, 3], "Produce {version}");
    }
    for version in versions(protocol::ApiKey::Fetch) {
        let partition = |index: i32, offset: i64| {
            let asked = fetch_request::FetchPartition::default()
                .with_partition(index)
                .with_fetch_offset(offset)
                .with_partition_max_bytes(1 << 20);
            if version >= 9 { asked.with_current_leader_epoch(-1) } else { asked }
        };
        let mut fetch = |partitions| {
            let asked = fetch_request::FetchTopic::default().with_partitions(partitions);
            let asked = if version >= 13 { asked.with_topic_id(topic_id) } else { asked.with_topic(topic(TOPIC)) };
            let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![asked]);
            let request = if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request };
            let mut response: FetchResponse = client.call(ApiKey::Fetch, version, &request);
            response.responses.remove(0).partitions
        };
        let found = fetch(vec![partition(0, 0), partition(7, 0)]);
        let errors: Vec<i16> = found.iter().map(|p| p.error_code).collect();
        assert_eq!(errors, [0, 3], "Fetch {version}");
        assert!(found[0].records.as_ref().is_some_and(|r| !r.is_empty()), "Fetch {version}");
        assert_eq!(fetch(vec![partition(0, 1 << 40)])[0].error_code, 1, "Fetch {version}");
    }
    for version in versions(protocol::ApiKey::ListOffsets) {
        let partition = |index: i32, timestamp: i64| {
            let asked = list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_timestamp(timestamp);
            if version >= 4 { asked.with_current_leader_epoch(-1) } else { asked }
        };
        for (timestamp, expected) in [(-2, 0), (1_700_000_000_000, 0), (1_800_000_000_000, -1)] {
            let asked = list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic(TOPIC))
                .with_partitions(vec![partition(0, timestamp), partition(7, -1)]);
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
            let response: ListOffsetsResponse = client.call(ApiKey::ListOffsets, version, &request);
            let partitions = &response.topics[0].partitions;
            assert_eq!(
                (partitions[0].error_code, partitions[0].offset),
                (0, expected),
                "ListOffsets {version} {timestamp}"
            );
            assert_eq!(partitions[1].error_code, 3, "ListOffsets {version}");
        }
    }
    for version in versions(protocol::ApiKey::OffsetForLeaderEpoch) {
        let partition = |index: i32| {
            offset_for_leader_epoch_request::OffsetForLeaderPartition::default()
                .with_partition(index)
                .with_current_leader_epoch(-1)
                .with_leader_epoch(0)
        };
        let asked = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(topic(TOPIC))
            .with_partitions(vec![partition(0), partition(7)]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![asked]);
        let response: OffsetForLeaderEpochResponse = client.call(ApiKey::OffsetForLeaderEpoch, version, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "OffsetForLeaderEpoch {version}");
        assert_eq!(response.topics[0].partitions[1].error_code, 3, "OffsetForLeaderEpoch {version}");
    }
    for version in versions(protocol::ApiKey::DeleteRecords) {
        let partition = |index: i32| {
            delete_records_request::DeleteRecordsPartition::default().with_partition_index(index).with_offset(0)
        };
        let asked = delete_records_request::DeleteRecordsTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(vec![partition(0), partition(7)]);
        let request = DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
        let response: DeleteRecordsResponse = client.call(ApiKey::DeleteRecords, version, &request);
        let errors: Vec<i16> = response.topics[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(errors, [0, 3], "DeleteRecords {version}");
    }
    for version in versions(protocol::ApiKey::InitProducerId) {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1000);
        let response: InitProducerIdResponse = client.call(ApiKey::InitProducerId, version, &request);
        assert_eq!(response.error_code, 0, "InitProducerId {version}");
    }
    broker.stop();
}

#[test]
fn cluster_apis_answer_in_every_version() {
    let dir = directory();
    let (broker, mut client, topic_id) = setup(&dir);
    for version in versions(protocol::ApiKey::ApiVersions) {
        let request = ApiVersionsRequest::default();
        let request = if version >= 3 {
            request.with_client_software_name(text("test")).with_client_software_version(text("1"))
        } else {
            request
        };
        let response: ApiVersionsResponse = client.call(ApiKey::ApiVersions, version, &request);
        assert_eq!(response.api_keys.len(), protocol::ApiKey::ALL.len(), "ApiVersions {version}");
    }
    for version in versions(protocol::ApiKey::Metadata) {
        let by_name =
            |name: &'static str| metadata_request::MetadataRequestTopic::default().with_name(Some(topic(name)));
        let mut topics = vec![by_name(TOPIC), by_name("no:such")];
        if version >= 10 {
            let by_id = |id: Uuid| metadata_request::MetadataRequestTopic::default().with_topic_id(id).with_name(None);
            if version >= 12 {
                topics.extend([by_id(topic_id), by_id(Uuid::from_u128(7))]);
            }
        }
        let request = MetadataRequest::default().with_topics(Some(topics));
        let request = if version >= 8 { request.with_include_topic_authorized_operations(true) } else { request };
        let request = if (8..=10).contains(&version) {
            request.with_include_cluster_authorized_operations(true)
        } else {
            request
        };
        let response: MetadataResponse = client.call(ApiKey::Metadata, version, &request);
        let errors: Vec<i16> = response.topics.iter().map(|t| t.error_code).collect();
        let expected: &[i16] = if version >= 12 { &[0, 17, 0, 100] } else { &[0, 17] };
        assert_eq!(errors, expected, "Metadata {version}");
        assert_eq!(response.brokers.len(), 1, "Metadata {version}");
    }
    for version in versions(protocol::ApiKey::CreateTopics) {
        let new = |name: &'static str| {
            create_topics_request::CreatableTopic::default()
                .with_name(topic(name))
                .with_num_partitions(1)
                .with_replication_factor(1)
        };
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new("another"), new("no:such")])
            .with_validate_only(true)
            .with_timeout_ms(10_000);
        let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, version, &request);
        let errors: Vec<i16> = response.topics.iter().map(|t| t.error_code).collect();
        assert_eq!(errors, [0, 17], "CreateTopics {version}");
    }
    for version in versions(protocol::ApiKey::CreatePartitions) {
        let new = |name: &'static str| {
            create_partitions_request::CreatePartitionsTopic::default()
                .with_name(topic(name))
                .with_count(3)
                .with_assignments(None)
        };
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![new(TOPIC), new("none")])
            .with_validate_only(true)
            .with_timeout_ms(10_000);
        let response: CreatePartitionsResponse = client.call(ApiKey::CreatePartitions, version, &request);
        let errors: Vec<i16> = response.results.iter().map(|t| t.error_code).collect();
        assert_eq!(errors, [0, 3], "CreatePartitions {version}");
    }
    for version in versions(protocol::ApiKey::DeleteTopics) {
        let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
        let request = if version >= 6 {
            let by_name = delete_topics_request::DeleteTopicState::default().with_name(Some(topic("none")));
            let by_id =
                delete_topics_request::DeleteTopicState::default().with_name(None).with_topic_id(Uuid::from_u128(7));
            request.with_topics(vec![by_name, by_id])
        } else {
            request.with_topic_names(vec![topic("none")])
        };
        let response: DeleteTopicsResponse = client.call(ApiKey::DeleteTopics, version, &request);
        let errors: Vec<i16> = response.responses.iter().map(|t| t.error_code).collect();
        let expected: &[i16] = if version >= 6 { &[3, 100] } else { &[3] };
        assert_eq!(errors, expected, "DeleteTopics {version}");
    }
    for version in versions(protocol::ApiKey::DescribeConfigs) {
        let resource = |kind: i8, name: &'static str| {
            describe_configs_request::DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource(2, TOPIC), resource(4, "1"), resource(4, ""), resource(2, "none")])
            .with_include_synonyms(true);
        let request = if version >= 3 { request.with_include_documentation(true) } else { request };
        let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, version, &request);
        let errors: Vec<i16> = response.results.iter().map(|r| r.error_code).collect();
        assert_eq!(errors, [0, 0, 0, 3], "DescribeConfigs {version}");
        assert!(response.results[0].configs.len() > 20, "DescribeConfigs {version}");
    }
    for version in versions(protocol::ApiKey::AlterConfigs) {
        let resource = |name: &'static str| {
            let config = alter_configs_request::AlterableConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("1000000")));
            alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        };
        let request = AlterConfigsRequest::default().with_resources(vec![resource(TOPIC), resource("none")]);
        let response: AlterConfigsResponse = client.call(ApiKey::AlterConfigs, version, &request);
        let errors: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
        assert_eq!(errors, [0, 3], "AlterConfigs {version}");
    }
    for version in versions(protocol::ApiKey::IncrementalAlterConfigs) {
        let resource = |name: &'static str, operation: i8| {
            let config = incremental_alter_configs_request::AlterableConfig::default()
                .with_name(text("retention.ms"))
                .with_config_operation(operation)
                .with_value(Some(text("2000000")));
            incremental_alter_configs_request::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(name))
                .with_configs(vec![config])
        };
        let request =
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource(TOPIC, 0), resource("none", 0)]);
        let response: IncrementalAlterConfigsResponse = client.call(ApiKey::IncrementalAlterConfigs, version, &request);
        let errors: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
        assert_eq!(errors, [0, 3], "IncrementalAlterConfigs {version}");
    }
    for version in versions(protocol::ApiKey::DescribeLogDirs) {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response: DescribeLogDirsResponse = client.call(ApiKey::DescribeLogDirs, version, &request);
        assert_eq!(response.results[0].topics.len(), 1, "DescribeLogDirs {version}");
    }
    for version in versions(protocol::ApiKey::DescribeCluster) {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
        let request = if version >= 2 { request.with_include_fenced_brokers(true) } else { request };
        let response: DescribeClusterResponse = client.call(ApiKey::DescribeCluster, version, &request);
        assert_eq!((response.error_code, response.brokers.len()), (0, 1), "DescribeCluster {version}");
        assert_eq!(response.controller_id, BrokerId(1), "DescribeCluster {version}");
    }
    for version in versions(protocol::ApiKey::DescribeTopicPartitions) {
        let asked =
            |name: &'static str| describe_topic_partitions_request::TopicRequest::default().with_name(topic(name));
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![asked("none"), asked(TOPIC)])
            .with_response_partition_limit(2000);
        let response: DescribeTopicPartitionsResponse = client.call(ApiKey::DescribeTopicPartitions, version, &request);
        let errors: Vec<i16> = response.topics.iter().map(|t| t.error_code).collect();
        assert_eq!(errors, [3, 0], "DescribeTopicPartitions {version}");
    }
    broker.stop();
}

#[test]
fn apis_of_clusters_answer_in_every_version() {
    let dir = directory();
    let (broker, mut client, _) = setup(&dir);
    for version in versions(protocol::ApiKey::DescribeQuorum) {
        let asked = |name: &'static str| {
            let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
            let asked = describe_quorum_request::TopicData::default().with_topic_name(topic(name));
            DescribeQuorumRequest::default().with_topics(vec![asked.with_partitions(vec![partition])])
        };
        let response: DescribeQuorumResponse =
            client.call(ApiKey::DescribeQuorum, version, &asked("__cluster_metadata"));
        let data = &response.topics[0].partitions[0];
        assert_eq!((response.error_code, data.error_code), (0, 0), "DescribeQuorum {version}");
        assert_eq!((data.leader_id.0, data.observers.len()), (1, 0), "DescribeQuorum {version}");
        assert!(data.leader_epoch > 0 && data.high_watermark > 0, "DescribeQuorum {version}: {data:?}");
        let voter = &data.current_voters[0];
        assert_eq!((voter.replica_id.0, data.current_voters.len()), (1, 1), "DescribeQuorum {version}");
        assert!(voter.log_end_offset >= data.high_watermark, "DescribeQuorum {version}: {data:?}");
        assert_eq!(voter.last_caught_up_timestamp > 1_700_000_000_000, version >= 1, "DescribeQuorum {version}");
        assert_eq!(!voter.replica_directory_id.is_nil(), version >= 2, "DescribeQuorum {version}");
        let listeners: Vec<_> =
            response.nodes.iter().flat_map(|n| &n.listeners).map(|l| (l.name.as_str(), l.host.as_str())).collect();
        let expected: &[_] = if version >= 2 { &[("INTERNAL", "127.0.0.1")] } else { &[] };
        assert_eq!(listeners, expected, "DescribeQuorum {version}");
        let response: DescribeQuorumResponse = client.call(ApiKey::DescribeQuorum, version, &asked(TOPIC));
        assert_eq!(response.topics[0].partitions[0].error_code, 3, "DescribeQuorum {version}");
    }
    for version in versions(protocol::ApiKey::UnregisterBroker) {
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(7));
        let response: UnregisterBrokerResponse = client.call(ApiKey::UnregisterBroker, version, &request);
        let message = response.error_message.as_ref().map(|message| message.as_str());
        let expected = (102, Some("Broker ID 7 is not currently registered"));
        assert_eq!((response.error_code, message), expected, "UnregisterBroker {version}");
    }
    for version in versions(protocol::ApiKey::AlterPartitionReassignments) {
        let partition = |index: i32, replicas: Option<Vec<BrokerId>>| {
            alter_partition_reassignments_request::ReassignablePartition::default()
                .with_partition_index(index)
                .with_replicas(replicas)
        };
        let partitions = vec![
            partition(0, Some(vec![BrokerId(1)])),
            partition(0, None),
            partition(0, Some(vec![BrokerId(2)])),
            partition(0, Some(vec![])),
            partition(7, None),
        ];
        let asked = alter_partition_reassignments_request::ReassignableTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(partitions);
        let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]);
        let request = if version >= 1 { request.with_allow_replication_factor_change(false) } else { request };
        let response: AlterPartitionReassignmentsResponse =
            client.call(ApiKey::AlterPartitionReassignments, version, &request);
        let errors: Vec<i16> = response.responses[0].partitions.iter().map(|p| p.error_code).collect();
        assert_eq!(errors, [0, 85, 39, 39, 3], "AlterPartitionReassignments {version}");
        assert_eq!(response.allow_replication_factor_change, version < 1, "AlterPartitionReassignments {version}");
    }
    for version in versions(protocol::ApiKey::ListPartitionReassignments) {
        let asked = list_partition_reassignments_request::ListPartitionReassignmentsTopics::default()
            .with_name(topic(TOPIC))
            .with_partition_indexes(vec![0, 7]);
        for topics in [None, Some(vec![asked])] {
            let request = ListPartitionReassignmentsRequest::default().with_topics(topics);
            let response: ListPartitionReassignmentsResponse =
                client.call(ApiKey::ListPartitionReassignments, version, &request);
            assert_eq!((response.error_code, response.topics.len()), (0, 0), "ListPartitionReassignments {version}");
        }
    }
    for version in versions(protocol::ApiKey::ElectLeaders) {
        let asked = |name: &'static str, partitions: Vec<i32>| {
            elect_leaders_request::TopicPartitions::default().with_topic(topic(name)).with_partitions(partitions)
        };
        let request = ElectLeadersRequest::default()
            .with_topic_partitions(Some(vec![asked(TOPIC, vec![0, 7]), asked("none", vec![0])]));
        let response: ElectLeadersResponse = client.call(ApiKey::ElectLeaders, version, &request);
        let errors: Vec<Vec<i16>> = response
            .replica_election_results
            .iter()
            .map(|topic| topic.partition_result.iter().map(|p| p.error_code).collect())
            .collect();
        assert_eq!(errors, [vec![84, 3], vec![3]], "ElectLeaders {version}");
        let all = ElectLeadersRequest::default().with_topic_partitions(None);
        let response: ElectLeadersResponse = client.call(ApiKey::ElectLeaders, version, &all);
        assert_eq!(response.replica_election_results, [], "ElectLeaders {version}");
        if version >= 1 {
            let response: ElectLeadersResponse =
                client.call(ApiKey::ElectLeaders, version, &request.with_election_type(9));
            let partition = &response.replica_election_results[1].partition_result[0];
            assert_eq!((response.error_code, partition.error_code), (42, 42), "ElectLeaders {version}");
        }
    }
    broker.stop();
}

#[test]
fn group_apis_answer_in_every_version() {
    let dir = directory();
    let (broker, mut client, _) = setup(&dir);
    for version in versions(protocol::ApiKey::FindCoordinator) {
        for (key_type, expected) in [(0, 0), (1, 42)] {
            if version == 0 && key_type != 0 {
                continue;
            }
            let request = FindCoordinatorRequest::default();
            let request = if version >= 1 { request.with_key_type(key_type) } else { request };
            let request = if version >= 4 {
                request.with_coordinator_keys(vec![text(GROUP)])
            } else {
                request.with_key(text(GROUP))
            };
            let response: FindCoordinatorResponse = client.call(ApiKey::FindCoordinator, version, &request);
            let error = if version >= 4 { response.coordinators[0].error_code } else { response.error_code };
            assert_eq!(error, expected, "FindCoordinator {version} {key_type}");
        }
    }
    for version in versions(protocol::ApiKey::OffsetCommit).filter(is_by_name) {
        let partition = |index: i32| {
            offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(index)
                .with_committed_offset(1)
                .with_committed_metadata(Some(text("")))
        };
        let asked = offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(vec![partition(0), partition(7)]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group(GROUP))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![asked]);
        let response: OffsetCommitResponse = client.call(ApiKey::OffsetCommit, version, &request);
        // As on Kafka, what is refused at once comes first.
        let errors: Vec<_> = response.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
        assert_eq!(errors, [(7, 3), (0, 0)], "OffsetCommit {version}");
    }
    for version in versions(protocol::ApiKey::OffsetFetch).filter(is_by_name) {
        let request = if version >= 8 {
            let asked = |name: &'static str| {
                offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(None)
            };
            OffsetFetchRequest::default().with_groups(vec![asked(GROUP), asked("none")])
        } else {
            let asked = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(topic(TOPIC))
                .with_partition_indexes(vec![0, 7]);
            OffsetFetchRequest::default().with_group_id(group(GROUP)).with_topics(Some(vec![asked]))
        };
        let response: OffsetFetchResponse = client.call(ApiKey::OffsetFetch, version, &request);
        let offset = if version >= 8 {
            let found = response.groups.iter().find(|g| g.group_id == group(GROUP)).expect("the group was asked for");
            found.topics[0].partitions[0].committed_offset
        } else {
            response.topics[0].partitions[0].committed_offset
        };
        assert_eq!(offset, 1, "OffsetFetch {version}");
    }
    for version in versions(protocol::ApiKey::JoinGroup) {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        // A member that nobody knows: answered at once, in every version.
        let request = JoinGroupRequest::default()
            .with_group_id(group("joined"))
            .with_session_timeout_ms(10_000)
            .with_member_id(text("nobody"))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let request = if version >= 1 { request.with_rebalance_timeout_ms(10_000) } else { request };
        let response: JoinGroupResponse = client.call(ApiKey::JoinGroup, version, &request);
        assert_eq!(response.error_code, 25, "JoinGroup {version}");
    }
    for version in versions(protocol::ApiKey::SyncGroup) {
        let request = SyncGroupRequest::default()
            .with_group_id(group("joined"))
            .with_generation_id(1)
            .with_member_id(text("nobody"));
        let request = if version >= 5 {
            request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
        } else {
            request
        };
        let response: SyncGroupResponse = client.call(ApiKey::SyncGroup, version, &request);
        assert_eq!(response.error_code, 25, "SyncGroup {version}");
    }
    for version in versions(protocol::ApiKey::Heartbeat) {
        let request = HeartbeatRequest::default()
            .with_group_id(group("joined"))
            .with_generation_id(1)
            .with_member_id(text("nobody"));
        let response: HeartbeatResponse = client.call(ApiKey::Heartbeat, version, &request);
        assert_eq!(response.error_code, 25, "Heartbeat {version}");
    }
    for version in versions(protocol::ApiKey::LeaveGroup) {
        let request = LeaveGroupRequest::default().with_group_id(group("joined"));
        let request = if version >= 3 {
            let member = leave_group_request::MemberIdentity::default().with_member_id(text("nobody"));
            request.with_members(vec![member])
        } else {
            request.with_member_id(text("nobody"))
        };
        let response: LeaveGroupResponse = client.call(ApiKey::LeaveGroup, version, &request);
        let error = if version >= 3 { response.members[0].error_code } else { response.error_code };
        assert_eq!(error, 25, "LeaveGroup {version}");
    }
    for version in versions(protocol::ApiKey::DescribeGroups) {
        let request = DescribeGroupsRequest::default().with_groups(vec![group(GROUP), group("none")]);
        let response: DescribeGroupsResponse = client.call(ApiKey::DescribeGroups, version, &request);
        assert_eq!(response.groups.len(), 2, "DescribeGroups {version}");
    }
    for version in versions(protocol::ApiKey::ListGroups) {
        let response: ListGroupsResponse = client.call(ApiKey::ListGroups, version, &ListGroupsRequest::default());
        assert_eq!(response.error_code, 0, "ListGroups {version}");
        assert!(response.groups.iter().any(|g| g.group_id == group(GROUP)), "ListGroups {version}: {response:?}");
    }
    for version in versions(protocol::ApiKey::OffsetDelete) {
        let partition = offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(0);
        let asked = offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(topic(TOPIC))
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group(GROUP)).with_topics(vec![asked]);
        let response: OffsetDeleteResponse = client.call(ApiKey::OffsetDelete, version, &request);
        assert_eq!(response.error_code, 0, "OffsetDelete {version}");
    }
    for version in versions(protocol::ApiKey::DeleteGroups) {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group("none")]);
        let response: DeleteGroupsResponse = client.call(ApiKey::DeleteGroups, version, &request);
        assert_eq!(response.results[0].error_code, 69, "DeleteGroups {version}");
    }
    broker.stop();
}
