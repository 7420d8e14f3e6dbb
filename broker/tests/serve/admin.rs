//! Administration of a cluster of real processes: replicas that move, elections, fenced and forgotten brokers, and configs and
//! log directories of one broker among several.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::*;

use crate::cluster::{Cluster, node};
use crate::harness::Client;

/// Generous: a bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(60);

const NONE: i16 = 0;
const LEADER_NOT_AVAILABLE: i16 = 5;
const INVALID_REQUEST: i16 = 42;
const PREFERRED_LEADER_NOT_AVAILABLE: i16 = 80;
const ELIGIBLE_LEADERS_NOT_AVAILABLE: i16 = 83;
const ELECTION_NOT_NEEDED: i16 = 84;
const BROKER_ID_NOT_REGISTERED: i16 = 102;

fn name(topic: &'static str) -> TopicName {
    TopicName(topic.into())
}

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn numbers(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}

/// A topic of one partition with these replicas.
pub fn create(client: &mut Client, topic: &'static str, replicas: &[i32]) {
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(ids(replicas));
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment]);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let response: CreateTopicsResponse = client.call(ApiKey::CreateTopics, 5, &request);
    assert_eq!(response.topics[0].error_code, NONE, "{response:?}");
}

fn reassign(client: &mut Client, topic: &'static str, target: Option<&[i32]>) -> i16 {
    let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(target.map(ids));
    let topic = ReassignableTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]);
    let response: AlterPartitionReassignmentsResponse = client.call(ApiKey::AlterPartitionReassignments, 1, &request);
    assert_eq!(response.error_code, NONE, "{response:?}");
    response.responses[0].partitions[0].error_code
}

/// A topic whose partition is moving: its replicas, those that are added and those that are removed.
type Ongoing = (String, [Vec<i32>; 3]);

/// What is under way of all partitions.
fn ongoing(client: &mut Client) -> Vec<Ongoing> {
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    let response: ListPartitionReassignmentsResponse = client.call(ApiKey::ListPartitionReassignments, 0, &request);
    let partitions = response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    partitions
        .map(|(topic, partition)| {
            let lists = [&partition.replicas, &partition.adding_replicas, &partition.removing_replicas];
            (topic.name.to_string(), lists.map(|list| numbers(list)))
        })
        .collect()
}

fn elect(client: &mut Client, election_type: i8, topic: &'static str) -> i16 {
    let asked = TopicPartitions::default().with_topic(name(topic)).with_partitions(vec![0]);
    let request =
        ElectLeadersRequest::default().with_election_type(election_type).with_topic_partitions(Some(vec![asked]));
    let response: ElectLeadersResponse = client.call(ApiKey::ElectLeaders, 2, &request);
    assert_eq!(response.error_code, NONE, "{response:?}");
    response.replica_election_results[0].partition_result[0].error_code
}

fn unregister(client: &mut Client, broker: i32) -> i16 {
    let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(broker));
    let response: UnregisterBrokerResponse = client.call(ApiKey::UnregisterBroker, 0, &request);
    response.error_code
}

/// Brokers, and all topics' first partitions by name.
pub fn metadata(client: &mut Client, version: i16) -> MetadataResponse {
    // In version 0 an empty list stands for all topics, and null is not allowed.
    let topics = (version == 0).then(Vec::new);
    client.call(ApiKey::Metadata, version, &MetadataRequest::default().with_topics(topics))
}

fn partition(response: &MetadataResponse, topic: &'static str) -> MetadataResponsePartition {
    let found = response.topics.iter().find(|found| found.name.as_ref() == Some(&name(topic)));
    found.expect("it exists").partitions[0].clone()
}

/// Ids and whether they are fenced.
fn members(client: &mut Client, include_fenced: bool) -> Vec<(i32, bool)> {
    let request = DescribeClusterRequest::default().with_include_fenced_brokers(include_fenced);
    let response: DescribeClusterResponse = client.call(ApiKey::DescribeCluster, 2, &request);
    response.brokers.iter().map(|broker| (broker.broker_id.0, broker.is_fenced)).collect()
}

fn alter_broker(client: &mut Client, broker: &'static str, value: &'static str) -> (i16, String) {
    let config = AlterableConfig::default().with_name("log.retention.ms".into()).with_value(Some(value.into()));
    let resource = AlterConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(broker.into())
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response: IncrementalAlterConfigsResponse = client.call(ApiKey::IncrementalAlterConfigs, 1, &request);
    let response = &response.responses[0];
    (response.error_code, response.error_message.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// `log.retention.ms` of a broker, or the error with its message.
fn describe_broker(client: &mut Client, broker: &'static str) -> Result<String, (i16, String)> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(broker.into())
        .with_configuration_keys(Some(vec!["log.retention.ms".into()]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    let result = &response.results[0];
    match result.error_code {
        NONE => Ok(result.configs[0].value.as_ref().map(ToString::to_string).unwrap_or_default()),
        error => Err((error, result.error_message.as_ref().map(ToString::to_string).unwrap_or_default())),
    }
}

/// Topics that a broker has files of, among all or those named.
fn held(client: &mut Client, topics: Option<&[&'static str]>) -> Vec<String> {
    let asked = |topic: &&'static str| {
        describe_log_dirs_request::DescribableLogDirTopic::default().with_topic(name(topic)).with_partitions(vec![0])
    };
    let request =
        DescribeLogDirsRequest::default().with_topics(topics.map(|topics| topics.iter().map(asked).collect()));
    let response: DescribeLogDirsResponse = client.call(ApiKey::DescribeLogDirs, 4, &request);
    assert_eq!((response.error_code, response.results.len(), response.results[0].error_code), (NONE, 1, NONE));
    response.results[0].topics.iter().map(|topic| topic.name.to_string()).collect()
}

/// Asks anew until the answer is as it should be: other brokers hear of a change a moment later.
pub fn eventually<T: PartialEq + std::fmt::Debug>(address: SocketAddr, expected: &T, ask: impl Fn(&mut Client) -> T) {
    let since = Instant::now();
    let mut client = Client::connect(address);
    loop {
        let found = ask(&mut client);
        if found == *expected {
            return;
        }
        assert!(since.elapsed() < HANG_MAX, "{found:?} is not {expected:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn wait_until_fenced(cluster: &Cluster, broker: i32) {
    cluster.wait_until("it is fenced", |status| node(status, broker).unwrap()["state"] == "fenced");
}

#[test]
fn replicas_move_and_leaders_are_elected_through_any_broker() {
    let cluster = Cluster::start();
    let mut clients: Vec<Client> = cluster.nodes.values().map(|node| Client::connect(node.kafka)).collect();
    create(&mut clients[0], "t", &[1, 2]);
    // No copy is needed: done at once, and the leader stays until one is elected.
    assert_eq!(reassign(&mut clients[1], "t", Some(&[2, 1])), NONE);
    assert_eq!(ongoing(&mut clients[1]), []);
    let state = partition(&metadata(&mut clients[1], 9), "t");
    assert_eq!((state.leader_id.0, numbers(&state.replica_nodes)), (1, vec![2, 1]));
    assert_eq!(elect(&mut clients[2], 0, "t"), NONE);
    assert_eq!(elect(&mut clients[0], 0, "t"), ELECTION_NOT_NEEDED);
    let state = partition(&metadata(&mut clients[2], 9), "t");
    assert_eq!((state.leader_id.0, state.leader_epoch), (2, 1));
    // A new replica has to catch up, and does.
    assert_eq!(reassign(&mut clients[2], "t", Some(&[3, 2])), NONE);
    for node in cluster.nodes.values() {
        eventually(node.kafka, &Vec::new(), ongoing);
        eventually(node.kafka, &(2, vec![3, 2], vec![2, 3]), |client| {
            let state = partition(&metadata(client, 9), "t");
            let mut isr = numbers(&state.isr_nodes);
            isr.sort_unstable();
            (state.leader_id.0, numbers(&state.replica_nodes), isr)
        });
    }
    // The leader itself goes, where another is in sync.
    assert_eq!(reassign(&mut clients[0], "t", Some(&[3])), NONE);
    let state = partition(&metadata(&mut clients[0], 9), "t");
    assert_eq!((state.leader_id.0, numbers(&state.replica_nodes), numbers(&state.isr_nodes)), (3, vec![3], vec![3]));
}

#[test]
fn clients_are_told_which_brokers_are_gone_and_elect_uncleanly_only_where_they_ask() {
    let mut cluster = Cluster::start();
    // Not the controller, so that only one thing happens at once.
    let leader = cluster.leader();
    let gone = 1 + leader % 3;
    let alive = 6 - leader - gone;
    let mut client = Client::connect(cluster.nodes[&alive].kafka);
    for (id, node) in &cluster.nodes {
        let named = metadata(&mut Client::connect(node.kafka), 9).controller_id;
        assert_eq!(named.0, *id, "each passes on what is for the controller");
    }
    create(&mut client, "single", &[gone]);
    create(&mut client, "pair", &[gone, alive]);
    assert_eq!(unregister(&mut client, gone), INVALID_REQUEST, "it is alive");
    cluster.take(gone).kill9();
    wait_until_fenced(&cluster, gone);
    let is_told = |client: &mut Client| metadata(client, 9).brokers.len() == 2;
    eventually(cluster.nodes[&alive].kafka, &true, is_told);
    let told = metadata(&mut client, 9);
    assert!(told.brokers.iter().all(|broker| broker.node_id.0 != gone), "{told:?}");
    let single = partition(&told, "single");
    assert_eq!((single.error_code, single.leader_id.0), (LEADER_NOT_AVAILABLE, -1));
    assert_eq!((numbers(&single.isr_nodes), numbers(&single.offline_replicas)), (vec![], vec![gone]));
    let pair = partition(&told, "pair");
    assert_eq!((pair.error_code, pair.leader_id.0), (NONE, alive));
    assert_eq!((numbers(&pair.replica_nodes), numbers(&pair.offline_replicas)), (vec![gone, alive], vec![gone]));
    let of_before = partition(&metadata(&mut client, 0), "pair");
    assert_eq!((of_before.error_code, numbers(&of_before.replica_nodes)), (9, vec![alive]), "REPLICA_NOT_AVAILABLE");
    assert_eq!(members(&mut client, false).iter().filter(|(id, _)| *id == gone).count(), 0);
    let mut expected = vec![(leader, false), (gone, true), (alive, false)];
    expected.sort_unstable();
    assert_eq!(members(&mut client, true), expected);
    assert_eq!(elect(&mut client, 0, "pair"), PREFERRED_LEADER_NOT_AVAILABLE);
    assert_eq!(elect(&mut client, 1, "single"), ELIGIBLE_LEADERS_NOT_AVAILABLE);
    assert_eq!(elect(&mut client, 1, "pair"), ELECTION_NOT_NEEDED);
    // One that never had it leads, empty, where that is asked for.
    assert_eq!(reassign(&mut client, "single", Some(&[alive])), NONE);
    assert_eq!(ongoing(&mut client), [("single".to_owned(), [vec![alive, gone], vec![alive], vec![gone]])]);
    assert_eq!(elect(&mut client, 1, "single"), NONE);
    let single = partition(&metadata(&mut client, 9), "single");
    assert_eq!((single.leader_id.0, numbers(&single.replica_nodes)), (alive, vec![alive]));
    assert_eq!(unregister(&mut client, gone), NONE);
    assert_eq!(unregister(&mut client, gone), BROKER_ID_NOT_REGISTERED);
    assert_eq!(members(&mut client, true).len(), 2);
    // Of a broker that nobody knows any more.
    let pair = partition(&metadata(&mut client, 9), "pair");
    assert_eq!(numbers(&pair.offline_replicas), [gone]);
}

#[test]
fn a_broker_is_configured_through_any_other_and_describes_itself_alone() {
    let cluster = Cluster::start();
    let address = |id: i32| cluster.nodes[&id].kafka;
    let mut first = Client::connect(address(1));
    assert_eq!(alter_broker(&mut first, "2", "70000"), (NONE, String::new()));
    eventually(address(2), &Ok("70000".to_owned()), |client| describe_broker(client, "2"));
    assert_eq!(describe_broker(&mut first, "1"), Ok(String::new()), "its own is not set");
    let refused = "Unexpected broker id, expected 1 or empty string, but received 2";
    assert_eq!(describe_broker(&mut first, "2"), Err((INVALID_REQUEST, refused.to_owned())));
    let (error, message) = alter_broker(&mut first, "2", "soon");
    assert_eq!(error, INVALID_REQUEST);
    assert_eq!(message, "Invalid value soon for configuration log.retention.ms: Not a number of type LONG");
    assert_eq!(alter_broker(&mut first, "9", "70000").0, INVALID_REQUEST);
    // Files of a topic are described by the brokers that have some.
    create(&mut first, "t", &[1]);
    create(&mut first, "u", &[2, 1]);
    for (id, all) in [(1, vec!["t", "u"]), (2, vec!["u"]), (3, vec![])] {
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        eventually(address(id), &all, |client| held(client, None));
        eventually(address(id), &all, |client| held(client, Some(&["t", "none", "u"])));
    }
}
