//! Followers of a cluster of real processes: who reads from them, how fast they may catch up, and what operators are shown of
//! them.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::*;
use serde_json::Value;

use crate::admin::{create, eventually, metadata};
use crate::cluster::{Cluster, ringlog};
use crate::harness::Client;

/// Generous: a bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(60);

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const TOPIC: &str = "orders";

/// A fetch of the topic's only partition.
#[derive(Clone, Copy)]
struct Read {
    version: i16,
    offset: i64,
    rack: &'static str,
    wait_ms: i32,
    /// Leader epoch of the last record that it has.
    last_epoch: i32,
    session: (i32, i32),
}

const READ: Read = Read { version: 12, offset: 0, rack: "", wait_ms: 0, last_epoch: -1, session: (0, -1) };

impl Read {
    fn ask(self, client: &mut Client) -> FetchResponse {
        let partition = FetchPartition::default()
            .with_fetch_offset(self.offset)
            .with_partition_max_bytes(1 << 20)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(self.last_epoch);
        let mut topic = FetchTopic::default().with_partitions(vec![partition]);
        if self.version >= 13 {
            let known = metadata(client, 12);
            topic.topic_id =
                known.topics.iter().find(|topic| topic.name.as_ref().unwrap().0 == *TOPIC).unwrap().topic_id;
        } else {
            topic.topic = TopicName(TOPIC.into());
        }
        let request = FetchRequest::default()
            .with_max_bytes(1 << 20)
            .with_min_bytes(1)
            .with_max_wait_ms(self.wait_ms)
            .with_session_id(self.session.0)
            .with_session_epoch(self.session.1)
            .with_rack_id(self.rack.into())
            .with_topics(vec![topic]);
        client.call(ApiKey::Fetch, self.version, &request)
    }

    fn of(self, address: SocketAddr) -> PartitionData {
        self.ask(&mut Client::connect(address)).responses[0].partitions[0].clone()
    }
}

/// Error, preferred replica, and whether there are records.
fn outcome(partition: &PartitionData) -> (i16, i32, bool) {
    let has_records = partition.records.as_ref().is_some_and(|records| !records.is_empty());
    (partition.error_code, partition.preferred_read_replica.0, has_records)
}

/// Sets a config of a topic (2) or of all brokers (4).
fn configure(client: &mut Client, resource: (i8, &'static str), name: &'static str, value: &'static str) {
    let config = AlterableConfig::default().with_name(name.into()).with_value(Some(value.into()));
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource.0)
        .with_resource_name(resource.1.into())
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response: IncrementalAlterConfigsResponse = client.call(ApiKey::IncrementalAlterConfigs, 1, &request);
    assert_eq!(response.responses[0].error_code, NONE, "{response:?}");
}

/// A config of the topic, as the broker knows it.
fn topic_config(client: &mut Client, name: &'static str) -> String {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(TOPIC.into())
        .with_configuration_keys(Some(vec![name.into()]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
    response.results[0].configs[0].value.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn show(cluster: &Cluster) -> Value {
    let since = Instant::now();
    loop {
        let (ok, out) =
            ringlog(&["partition", "show", TOPIC, "0", "--json", "--internal-addr", &cluster.nodes[&2].internal]);
        if ok {
            return serde_json::from_str(&out).unwrap();
        }
        assert!(since.elapsed() < HANG_MAX, "{out}");
    }
}

fn wait_for_isr(cluster: &Cluster, isr: &[i32]) -> Value {
    let since = Instant::now();
    loop {
        let shown = show(cluster);
        if shown["isr"] == serde_json::json!(isr) {
            return shown;
        }
        assert!(since.elapsed() < HANG_MAX, "not {isr:?}: {shown:#}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Three brokers in a rack each, with a partition that the first leads; all are in sync.
fn cluster() -> Cluster {
    let cluster = Cluster::start_with(|id| {
        let rack = ["a", "b", "c"][usize::try_from(id).unwrap() - 1];
        vec![
            format!("broker.rack={rack}"),
            "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector".to_owned(),
            // Longer than the other tests', because it is about who leads.
            "broker.session.timeout.ms=4000".to_owned(),
        ]
    });
    create(&mut Client::connect(cluster.nodes[&1].kafka), TOPIC, &[1, 2, 3]);
    wait_for_isr(&cluster, &[1, 2, 3]);
    cluster
}

#[test]
fn consumers_are_sent_to_a_follower_in_their_rack_and_served_there() {
    let cluster = cluster();
    let [first, second, third] = [1, 2, 3].map(|id| cluster.nodes[&id].kafka);
    let mut leader = Client::connect(first);
    assert_eq!(leader.produce(TOPIC, b"one"), (NONE, 0));
    // The leader says whom to ask, and reads nothing then.
    for (rack, expected) in
        [("a", (NONE, -1, true)), ("b", (NONE, 2, false)), ("c", (NONE, 3, false)), ("d", (NONE, -1, true))]
    {
        let told = Read { rack, ..READ }.of(first);
        assert_eq!((outcome(&told), told.high_watermark), (expected, 1), "rack {rack:?}");
    }
    let long = Read { rack: "b", offset: 1, wait_ms: 50_000, ..READ };
    let since = Instant::now();
    assert_eq!(outcome(&long.of(first)), (NONE, 2, false));
    assert!(since.elapsed() < Duration::from_secs(45), "it was told at once");
    assert_eq!(outcome(&Read { rack: "b", offset: 2, ..READ }.of(first)), (OFFSET_OUT_OF_RANGE, -1, false));
    // In a session it is told every time.
    let full = Read { rack: "b", session: (0, 0), ..READ }.ask(&mut leader);
    let next = Read { rack: "b", session: (full.session_id, 1), ..READ }.ask(&mut leader);
    for response in [&full, &next] {
        assert_eq!(outcome(&response.responses[0].partitions[0]), (NONE, 2, false), "{response:?}");
    }
    // Followers serve whoever knows of followers, up to the high watermark that they hear of, and send nobody on.
    eventually(second, &(NONE, -1, true), |client| {
        outcome(&Read { rack: "c", ..READ }.ask(client).responses[0].partitions[0])
    });
    assert_eq!(outcome(&Read { version: 10, ..READ }.of(second)).0, NOT_LEADER_OR_FOLLOWER);
    assert_eq!(outcome(&Read { offset: 2, ..READ }.of(second)).0, OFFSET_OUT_OF_RANGE);
    // A follower may lack the end of its newest epoch: it leaves it to the leader to say that logs have parted.
    let ahead = Read { offset: 9, last_epoch: 0, ..READ };
    let (told, leader_told) = (ahead.of(second), ahead.of(first));
    assert_eq!((told.error_code, told.diverging_epoch.epoch), (OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(
        (leader_told.error_code, leader_told.diverging_epoch.epoch, leader_told.diverging_epoch.end_offset),
        (NONE, 0, 1)
    );
    // One that waits at a follower hears of the next record there.
    let waiting = thread::spawn(move || (Instant::now(), Read { offset: 1, wait_ms: 50_000, ..READ }.of(third)));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(leader.produce(TOPIC, b"two"), (NONE, 1));
    let (since, heard) = waiting.join().unwrap();
    assert_eq!(outcome(&heard), (NONE, -1, true));
    assert!(since.elapsed() < Duration::from_secs(45), "it was woken");
}

#[test]
fn a_follower_that_lacks_records_catches_up_no_faster_than_it_may_and_serves_nobody_until_then() {
    let cluster = cluster();
    let mut leader = Client::connect(cluster.nodes[&1].kafka);
    let third = cluster.nodes[&3].kafka;
    let (value, count) = (vec![7; 100_000], 20);
    for (name, rate) in [
        ("leader.replication.throttled.replicas", "leader.replication.throttled.rate"),
        ("follower.replication.throttled.replicas", "follower.replication.throttled.rate"),
    ] {
        configure(&mut leader, (4, ""), rate, "400000");
        let listed = if rate.starts_with("leader") { "0:1" } else { "0:3" };
        configure(&mut leader, (2, TOPIC), name, listed);
        eventually(third, &listed.to_owned(), |client| topic_config(client, name));
        cluster.nodes[&3].broker.signal("STOP");
        wait_for_isr(&cluster, &[1, 2]);
        let since = Instant::now();
        for _ in 0..count {
            assert_eq!(leader.produce(TOPIC, &value).0, NONE, "others go on");
        }
        cluster.nodes[&3].broker.signal("CONT");
        // It knows who leads once it hears from the controller again.
        let refused = |client: &mut Client| {
            let response = Read { version: 16, ..READ }.ask(client);
            let partition = &response.responses[0].partitions[0];
            let nodes: Vec<i32> = response.node_endpoints.iter().map(|node| node.node_id.0).collect();
            (partition.error_code, partition.current_leader.leader_id.0, nodes)
        };
        eventually(third, &(NOT_LEADER_OR_FOLLOWER, 1, vec![1]), refused);
        assert!(show(&cluster)["isr"] == serde_json::json!([1, 2]), "{name}: it was refused while it lacks records");
        wait_for_isr(&cluster, &[1, 2, 3]);
        // 2 MB at 400 kB/s, less the first piece and what a pause may be made up for.
        let took = since.elapsed();
        assert!(took >= Duration::from_secs(4), "{name}: {took:?}");
        eventually(third, &NONE, |client| Read { ..READ }.ask(client).responses[0].partitions[0].error_code);
        configure(&mut leader, (2, TOPIC), name, "");
    }
}

#[test]
fn operators_are_shown_partitions_and_what_each_replica_lacks() {
    let cluster = cluster();
    let internal = &cluster.nodes[&2].internal;
    let partition = |words: &[&str]| {
        let args: Vec<&str> = ["partition"].iter().chain(words).copied().chain(["--internal-addr", internal]).collect();
        ringlog(&args)
    };
    let (ok, out) = partition(&["list", TOPIC]);
    let line: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(ok && line == [TOPIC, "0", "1", "0", "1,2,3", "1,2,3", "-"], "{out}");
    assert!(partition(&["list"]).1.contains(TOPIC));
    let mut leader = Client::connect(cluster.nodes[&1].kafka);
    assert_eq!(leader.produce(TOPIC, b"one"), (NONE, 0));
    cluster.nodes[&3].broker.signal("STOP");
    // The last of its threads stops a moment later.
    thread::sleep(Duration::from_millis(500));
    // It is still in sync, and nothing is committed without it.
    let acks_leader = 1;
    assert_eq!(leader.produce_with(TOPIC, &[7; 5000], acks_leader).0, NONE);
    let shown = wait_for_isr(&cluster, &[1, 2]);
    assert_eq!((&shown["leader"], &shown["log_start"], &shown["log_end"]), (&1.into(), &0.into(), &2.into()));
    let replica =
        |id: i64| shown["replicas"].as_array().unwrap().iter().find(|replica| replica["broker"] == id).unwrap();
    assert_eq!((&replica(3)["in_sync"], &replica(3)["durable_end"]), (&false.into(), &1.into()));
    assert_eq!(replica(3)["records_behind"], 1);
    assert!(replica(3)["bytes_behind"].as_u64().unwrap() > 5000, "{shown:#}");
    assert!(replica(3)["ms_behind"].as_u64().unwrap() > 0, "{shown:#}");
    assert_eq!((&replica(1)["records_behind"], &replica(1)["ms_behind"]), (&0.into(), &0.into()));
    let (ok, out) = partition(&["show", TOPIC, "0"]);
    assert!(
        ok && out.starts_with("orders-0: leader 1 at epoch 0, in sync 1,2\nlog 0 to 2, high watermark 2\n"),
        "{out}"
    );
    assert!(partition(&["list", TOPIC]).1.contains(" 1,2 "), "the metadata knows");
    // What cannot be answered says why.
    for (words, why) in [
        (&["list", "none"][..], "topic 'none' does not exist"),
        (&["show", "none", "0"], "topic 'none' does not exist"),
        (&["show", TOPIC, "7"], "topic 'orders' has no partition 7: it has 1"),
    ] {
        let (ok, out) = partition(words);
        assert!(!ok && out.contains(why), "{out}");
    }
    // Without the first there is no majority that could elect another leader.
    cluster.nodes[&1].broker.signal("STOP");
    let (ok, out) = partition(&["show", TOPIC, "0"]);
    assert!(!ok && out.contains("broker 1, which leads orders-0, cannot be reached"), "{out}");
    for id in [1, 3] {
        cluster.nodes[&id].broker.signal("CONT");
    }
}
