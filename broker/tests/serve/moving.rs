//! `ringlog cluster drain` and `rebalance` against a cluster of real processes: what they move, what is left as it was, and that
//! they can be stopped anywhere.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, node, ringlog};
use crate::harness::{Client, Process};

/// Generous: a bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(120);
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 12;
/// Of each partition's only record: more than a throttle of a byte per second lets through.
const VALUE_BYTES: usize = 64 << 10;

fn value(partition: i32) -> Vec<u8> {
    let mut value = format!("partition {partition};").into_bytes();
    value.resize(VALUE_BYTES, b'a' + u8::try_from(partition).unwrap());
    value
}

/// A topic of two replicas on brokers 1 to 3, with a record in each partition, and an empty broker 4.
fn cluster_and_a_new_broker() -> Cluster {
    let mut cluster = Cluster::start_with(|_| vec!["broker.session.timeout.ms=6000".to_owned()]);
    Client::connect(cluster.nodes[&1].kafka).create_replicated(TOPIC, PARTITIONS, 2);
    let values: Vec<Vec<u8>> = (0..PARTITIONS).map(value).collect();
    let mut written = 0;
    for node in cluster.nodes.values() {
        // Each takes what it leads, once it knows of the topic.
        while !node.topics().contains_key(TOPIC) {
            thread::sleep(Duration::from_millis(20));
        }
        let answers = Client::connect(node.kafka).produce_to_all(TOPIC, &values).unwrap();
        written += answers.iter().filter(|(error, _)| *error == 0).count();
    }
    assert_eq!(written, values.len());
    cluster.start_node(4);
    cluster
}

fn partitions(cluster: &Cluster) -> Vec<Value> {
    let (ok, out) = ringlog(&["partition", "list", TOPIC, "--json", "--internal-addr", &cluster.nodes[&2].internal]);
    assert!(ok, "{out}");
    let listed: Value = serde_json::from_str(&out).unwrap();
    listed["partitions"].as_array().unwrap().clone()
}

/// Replicas and leaders of each broker.
fn held(cluster: &Cluster) -> BTreeMap<i64, (usize, usize)> {
    let mut held = BTreeMap::new();
    for partition in partitions(cluster) {
        for replica in partition["replicas"].as_array().unwrap() {
            held.entry(replica.as_i64().unwrap()).or_insert((0, 0)).0 += 1;
        }
        held.entry(partition["leader"].as_i64().unwrap()).or_insert((0, 0)).1 += 1;
    }
    held
}

/// Waits until the broker that is asked knows what the controller has decided.
fn eventually(cluster: &Cluster, expected: &[(i64, (usize, usize))]) {
    let (since, expected) = (Instant::now(), expected.iter().copied().collect());
    while held(cluster) != expected {
        assert!(since.elapsed() < HANG_MAX, "{:?} is not {expected:?}", held(cluster));
        thread::sleep(Duration::from_millis(20));
    }
}

fn assert_all_is_there(cluster: &Cluster) {
    let leaders = cluster.nodes[&2].topics();
    for (partition, leader) in (0..).zip(&leaders[TOPIC]) {
        let (error, high_watermark, bytes) =
            Client::connect(cluster.nodes[leader].kafka).fetch_from(TOPIC, partition, 0);
        assert_eq!((error, high_watermark), (0, 1), "of partition {partition}");
        assert!(contains(&bytes, &value(partition)), "the record of partition {partition}");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// `ringlog cluster …`, by way of broker 2.
fn cluster_command(cluster: &Cluster, args: &[&str]) -> (bool, String) {
    ringlog(&[&["cluster"], args, &["--internal-addr", &cluster.nodes[&2].internal]].concat())
}

/// `ringlog cluster …` beside the test.
fn start_command(cluster: &Cluster, args: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringlog"));
    command.arg("cluster").args(args).args(["--internal-addr", &cluster.nodes[&2].internal]).env_clear();
    Process::spawn(&mut command, HANG_MAX)
}

#[test]
fn a_node_is_drained_and_gets_its_share_back() {
    let cluster = cluster_and_a_new_broker();
    let before = partitions(&cluster);
    assert_eq!(held(&cluster), BTreeMap::from([(1, (8, 4)), (2, (8, 4)), (3, (8, 4))]));
    let (ok, out) = cluster_command(&cluster, &["drain", "1", "--dry-run"]);
    assert!(ok && out.contains("PARTITION") && out.contains("8 partition(s)"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("orders-")).count(), 8, "{out}");
    assert!(!out.contains("unknown"), "sizes of what is led anywhere are known: {out}");
    assert_eq!(partitions(&cluster), before, "nothing was changed");
    let (ok, out) = cluster_command(&cluster, &["drain", "1", "--concurrency", "3"]);
    assert!(ok && out.contains("8 partition(s) were moved") && out.contains("leads nothing"), "{out}");
    eventually(&cluster, &[(2, (8, 4)), (3, (8, 4)), (4, (8, 4))]);
    assert_all_is_there(&cluster);
    let (ok, out) = cluster_command(&cluster, &["drain", "1"]);
    assert!(ok && out.contains("0 partition(s) were moved"), "{out}");
    // Broker 1 is as new now.
    let (ok, out) = cluster_command(&cluster, &["rebalance"]);
    assert!(ok && out.contains("replicas and leaders are even"), "{out}");
    eventually(&cluster, &[(1, (6, 3)), (2, (6, 3)), (3, (6, 3)), (4, (6, 3))]);
    assert_all_is_there(&cluster);
    let balanced = partitions(&cluster);
    let (ok, out) = cluster_command(&cluster, &["rebalance"]);
    assert!(ok && out.contains("0 partition(s) were moved"), "{out}");
    assert_eq!(partitions(&cluster), balanced);
    // One that was away leads nothing when it is back, until somebody says so.
    cluster.nodes[&3].broker.signal("STOP");
    cluster.wait_until("it is fenced", |status| node(status, 3).unwrap()["state"] == "fenced");
    wait_until("others lead", || held(&cluster)[&3] == (6, 0));
    cluster.nodes[&3].broker.signal("CONT");
    let in_sync = |partition: &Value| partition["isr"].as_array().unwrap().len() == 2;
    wait_until("it is in sync again", || partitions(&cluster).iter().all(in_sync));
    assert_eq!(held(&cluster)[&3], (6, 0));
    let (ok, out) = cluster_command(&cluster, &["rebalance"]);
    assert!(ok && out.contains("0 partition(s) were moved"), "{out}");
    eventually(&cluster, &[(1, (6, 3)), (2, (6, 3)), (3, (6, 3)), (4, (6, 3))]);
}

#[test]
fn what_cannot_be_drained_is_refused_and_said() {
    let cluster = Cluster::start();
    Client::connect(cluster.nodes[&1].kafka).create_replicated("everywhere", 2, 3);
    let (ok, out) = cluster_command(&cluster, &["drain", "9"]);
    assert!(!ok && out.contains("there is no node 9: the brokers are 1,2,3"), "{out}");
    let (ok, out) = cluster_command(&cluster, &["drain", "1"]);
    let why = "everywhere-0 has 3 replicas, and only 2 broker(s) besides broker 1 can have them; start another broker";
    assert!(!ok && out.contains(why) && out.contains("everywhere-1"), "{out}");
    let (ok, out) = cluster_command(&cluster, &["rebalance", "--throttle", "0"]);
    assert!(!ok && out.contains("out of range"), "{out}");
}

/// Topics and brokers with throttles, as another run of the command would find them.
fn throttles(cluster: &Cluster) -> Vec<String> {
    use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
    use kafka_protocol::messages::*;
    let mut found = Vec::new();
    let resources = [(2, TOPIC, "leader.replication.throttled.replicas")]
        .into_iter()
        .chain([(2, TOPIC, "follower.replication.throttled.replicas")])
        .chain([(4, "2", "leader.replication.throttled.rate"), (4, "2", "follower.replication.throttled.rate")]);
    for (kind, resource, name) in resources {
        let asked = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(resource.into())
            .with_configuration_keys(Some(vec![name.into()]));
        let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
        let mut client = Client::connect(cluster.nodes[&2].kafka);
        let response: DescribeConfigsResponse = client.call(ApiKey::DescribeConfigs, 4, &request);
        // A broker's that is not set is not listed.
        let config = response.results[0].configs.first();
        let value = config.and_then(|config| config.value.as_ref()).map(ToString::to_string).unwrap_or_default();
        if !value.is_empty() {
            found.push(format!("{resource} {name}={value}"));
        }
    }
    found
}

/// Waits until the broker that is asked knows of it.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < HANG_MAX, "not yet: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn wait_for_no_throttles(cluster: &Cluster) {
    wait_until("throttles are gone", || throttles(cluster).is_empty());
}

#[test]
fn a_drain_that_is_stopped_goes_on_and_one_that_was_killed_can_be_taken_back() {
    let cluster = cluster_and_a_new_broker();
    let before = held(&cluster);
    let slow = ["drain", "1", "--concurrency", "4", "--throttle", "1"];
    // Killed: what is under way stays so, throttled, until it is taken back.
    let mut running = start_command(&cluster, &slow);
    running.wait_for_line("moving");
    running.wait_for_line(" done, ");
    running.signal("KILL");
    assert_eq!(running.wait().0, None);
    wait_until("both rates and both lists are set", || throttles(&cluster).len() == 4);
    let (ok, out) = cluster_command(&cluster, &["drain", "1", "--dry-run"]);
    assert!(ok && out.contains("are moving already"), "{out}");
    let (ok, out) = cluster_command(&cluster, &["drain", "1", "--cancel"]);
    assert!(ok && !out.starts_with("0 reassignment(s)"), "{out}");
    wait_for_no_throttles(&cluster);
    let has_two = |partition: &Value| partition["replicas"].as_array().unwrap().len() == 2;
    wait_until("nothing moves", || partitions(&cluster).iter().all(has_two));
    assert!(held(&cluster)[&1].0 > 0, "{before:?} became {:?}", held(&cluster));
    // Stopped: throttles go, what is under way arrives, and nothing else begins.
    let mut running = start_command(&cluster, &slow);
    running.wait_for_line(" done, ");
    running.signal("INT");
    let (code, said) = running.wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("are moving and go on") && said.contains("goes on where this stands"), "{said}");
    wait_for_no_throttles(&cluster);
    assert!(held(&cluster)[&1].0 > 0, "some were not begun: {said}");
    let (ok, out) = cluster_command(&cluster, &["drain", "1"]);
    assert!(ok, "{out}");
    // What was taken back has its replicas in another order, as in Kafka, so that leaders may be less even.
    let replicas = || held(&cluster).into_iter().map(|(broker, (replicas, _))| (broker, replicas)).collect::<Vec<_>>();
    wait_until("the others have it all, evenly", || replicas() == [(2, 8), (3, 8), (4, 8)]);
    assert_all_is_there(&cluster);
}

#[test]
fn what_goes_to_a_broker_that_dies_goes_elsewhere() {
    let cluster = cluster_and_a_new_broker();
    // It hangs: for as long as its session lasts it counts as alive, and is planned with.
    cluster.nodes[&4].broker.signal("STOP");
    let mut running = start_command(&cluster, &["drain", "1", "--timeout", "2"]);
    running.wait_for_line("to do: 8 partition(s)");
    let (code, said) = running.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("broker 4 has not been alive for 2 s"), "{said}");
    wait_until("brokers 2 and 3 have it all", || held(&cluster).into_keys().eq([2, 3]));
    cluster.nodes[&4].broker.signal("CONT");
    cluster.wait_until("it is back", |status| node(status, 4).unwrap()["state"] == "alive");
    assert_all_is_there(&cluster);
}
