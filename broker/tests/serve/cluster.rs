//! Several processes that become one cluster: who is taken in and who is refused, what any of them answers, and what goes on
//! without some of them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use serde_json::Value;

use crate::harness::{Broker, Client, directory, field};

/// Generous: a bound on a hang, never on speed.
const HANG_MAX: Duration = Duration::from_secs(60);
/// Short, so that who is silent is fenced soon, and longer than a busy machine keeps silent who is not.
const TIMEOUTS: [&str; 4] = ["--set", "broker.session.timeout.ms=6000", "--set", "broker.heartbeat.interval.ms=500"];

pub struct Node {
    pub broker: Broker,
    pub kafka: SocketAddr,
    /// `HOST:PORT` for other brokers.
    pub internal: String,
}

impl Node {
    /// Starts a node and waits until it serves.
    fn start(data_dir: &Path, id: i32, join: Option<&str>) -> Node {
        Node::serving(Node::spawn(data_dir, id, join))
    }

    /// As [`Node::start`], with these of Kafka's settings.
    fn start_with(data_dir: &Path, id: i32, join: Option<&str>, settings: &[String]) -> Node {
        Node::serving(Node::spawn_with("127.0.0.1:0", data_dir, id, join, settings))
    }

    fn serving(mut broker: Broker) -> Node {
        let internal = field(&broker.wait_for_line("ringlog starts"), "internal=").replace('"', "");
        let kafka = field(&broker.wait_for_line("kafka listener bound"), "addr=").parse().unwrap();
        Node { broker, kafka, internal }
    }

    fn spawn(data_dir: &Path, id: i32, join: Option<&str>) -> Broker {
        Node::spawn_at("127.0.0.1:0", data_dir, id, join)
    }

    fn spawn_at(internal_addr: &str, data_dir: &Path, id: i32, join: Option<&str>) -> Broker {
        Node::spawn_with(internal_addr, data_dir, id, join, &[])
    }

    fn spawn_with(internal_addr: &str, data_dir: &Path, id: i32, join: Option<&str>, settings: &[String]) -> Broker {
        let id = id.to_string();
        let mut more = vec!["--node-id", &id, "--shards", "1", "--internal-addr", internal_addr];
        more.extend(TIMEOUTS);
        more.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        more.extend(join.into_iter().flat_map(|join| ["--join", join]));
        Broker::spawn(data_dir, "127.0.0.1:0", &more)
    }

    /// What it knows of the cluster: topics with the leaders of their partitions.
    pub fn topics(&self) -> BTreeMap<String, Vec<i32>> {
        let request = MetadataRequest::default().with_topics(None);
        let response: MetadataResponse = Client::connect(self.kafka).call(ApiKey::Metadata, 9, &request);
        let leaders = |topic: &kafka_protocol::messages::metadata_response::MetadataResponseTopic| {
            topic.partitions.iter().map(|partition| partition.leader_id.0).collect()
        };
        response.topics.iter().map(|topic| (topic.name.as_ref().unwrap().to_string(), leaders(topic))).collect()
    }
}

/// A cluster of three that has three voters.
pub struct Cluster {
    dirs: Vec<tempfile::TempDir>,
    pub nodes: BTreeMap<i32, Node>,
    /// Kafka's settings of each broker.
    settings: fn(i32) -> Vec<String>,
}

impl Cluster {
    pub fn start() -> Cluster {
        Cluster::start_with(|_| Vec::new())
    }

    pub fn start_with(settings: fn(i32) -> Vec<String>) -> Cluster {
        let mut cluster = Cluster::empty(settings);
        (1..=3).for_each(|id| cluster.start_node(id));
        cluster.wait_until("three vote", |status| count(status, |node| node["quorum"] != "observer") == 3);
        cluster
    }

    fn empty(settings: fn(i32) -> Vec<String>) -> Cluster {
        Cluster { dirs: (0..3).map(|_| directory()).collect(), nodes: BTreeMap::new(), settings }
    }

    fn dir(&self, id: i32) -> PathBuf {
        self.dirs[usize::try_from(id).unwrap() - 1].path().to_owned()
    }

    pub fn start_node(&mut self, id: i32) {
        // More than those of the first ones, for whoever comes later.
        while self.dirs.len() < usize::try_from(id).unwrap() {
            self.dirs.push(directory());
        }
        let join = self.nodes.values().next().map(|node| node.internal.clone());
        let node = Node::start_with(&self.dir(id), id, join.as_deref(), &(self.settings)(id));
        self.nodes.insert(id, node);
    }

    pub fn take(&mut self, id: i32) -> Broker {
        self.nodes.remove(&id).expect("it runs").broker
    }

    pub fn any(&self) -> &Node {
        self.nodes.values().next().expect("somebody runs")
    }

    fn status(&self) -> Option<Value> {
        let (ok, out) = ringlog(&["cluster", "status", "--json", "--internal-addr", &self.any().internal]);
        ok.then(|| serde_json::from_str(&out).unwrap())
    }

    pub fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| holds(status)) {
                return status.clone();
            }
            assert!(since.elapsed() < HANG_MAX, "not yet: {what}; {status:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn leader(&self) -> i32 {
        let status = self.wait_until("somebody leads", |status| status["leader"].is_i64());
        i32::try_from(status["leader"].as_i64().unwrap()).unwrap()
    }

    /// All nodes that run know the same topics, and these are among them.
    fn assert_topics(&self, names: &[&str]) {
        let since = Instant::now();
        loop {
            let known: Vec<_> = self.nodes.values().map(Node::topics).collect();
            let agreed = known.windows(2).all(|pair| pair[0] == pair[1]);
            if agreed && names.iter().all(|name| known[0].contains_key(*name)) {
                return;
            }
            assert!(since.elapsed() < HANG_MAX, "{names:?} are not known to all: {known:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn count(status: &Value, holds: impl Fn(&Value) -> bool) -> usize {
    status["nodes"].as_array().unwrap().iter().filter(|node| holds(node)).count()
}

pub fn node(status: &Value, id: i32) -> Option<&Value> {
    status["nodes"].as_array().unwrap().iter().find(|node| node["node"] == id)
}

/// Runs the binary; whether it succeeded, and what it printed.
pub fn ringlog(args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringlog")).args(args).env_clear().output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn any_broker_changes_metadata_and_all_of_them_know() {
    let mut cluster = Cluster::start();
    let mut names = Vec::new();
    for (node, name) in cluster.nodes.values().zip(["by-1", "by-2", "by-3"]) {
        Client::connect(node.kafka).create_topic_of(name, 6);
        // The broker that was asked knows at once.
        assert_eq!(node.topics()[name].len(), 6);
        names.push(name);
    }
    cluster.assert_topics(&names);
    let leaders = cluster.any().topics();
    for id in 1..=3 {
        let led = leaders.values().flatten().filter(|leader| **leader == id).count();
        assert_eq!(led, 6, "leaders are even over the brokers: {leaders:?}");
    }
    // Without the controller the others go on; it learns what it missed.
    let leader = cluster.leader();
    cluster.take(leader).kill9();
    Client::connect(cluster.any().kafka).create_topic("without-one");
    Client::connect(cluster.any().kafka).delete_topic("by-1");
    cluster.wait_until("the dead one is fenced", |status| node(status, leader).unwrap()["state"] == "fenced");
    let noticed = cluster.nodes.values().any(|node| node.broker.has_logged("the broker's process has ended"));
    assert!(noticed, "a port that refuses connections is not waited for");
    let partition_dir = cluster.dir(leader).join("by-1-0");
    let had = (0..6).any(|partition| cluster.dir(leader).join(format!("by-1-{partition}")).exists());
    assert!(had, "the dead one had some of the deleted topic: {}", partition_dir.display());
    cluster.start_node(leader);
    cluster.wait_until("all are alive", |status| count(status, |node| node["state"] == "alive") == 3);
    cluster.assert_topics(&["by-2", "by-3", "without-one"]);
    let left = (0..6).filter(|partition| cluster.dir(leader).join(format!("by-1-{partition}")).exists()).count();
    assert_eq!(left, 0, "files of a topic that was deleted while the broker was down");
    // All at once, and nothing that was acknowledged is gone.
    for id in 1..=3 {
        cluster.nodes[&id].broker.signal("KILL");
    }
    let ports: BTreeMap<i32, String> = cluster.nodes.iter().map(|(id, node)| (*id, node.internal.clone())).collect();
    cluster.nodes.clear();
    for id in 1..=3 {
        // Where they all have moved at once, each needs to be told of one that it can ask.
        let join = cluster.nodes.values().next().map(|node| node.internal.clone());
        let mut broker = Node::spawn(&cluster.dir(id), id, join.as_deref());
        let internal = field(&broker.wait_for_line("ringlog starts"), "internal=").replace('"', "");
        assert_ne!(Some(&internal), ports.get(&id), "a port that is drawn anew");
        cluster.nodes.insert(id, Node { broker, kafka: "127.0.0.1:1".parse().unwrap(), internal });
    }
    for node in cluster.nodes.values_mut() {
        node.kafka = field(&node.broker.wait_for_line("kafka listener bound"), "addr=").parse().unwrap();
    }
    cluster.assert_topics(&["by-2", "by-3", "without-one"]);
    assert!(!cluster.any().topics().contains_key("by-1"));
    for id in 1..=3 {
        cluster.take(id).stop();
    }
}

#[test]
fn names_and_ipv6_addresses_serve_as_well() {
    let mut cluster = Cluster::empty(|_| Vec::new());
    let mut join = None;
    for (id, addr) in [(1, "[::1]:0"), (2, "localhost:0"), (3, "127.0.0.1:0")] {
        let node = Node::serving(Node::spawn_at(addr, &cluster.dir(id), id, join.as_deref()));
        assert!(node.internal.starts_with(addr.trim_end_matches('0')), "{}", node.internal);
        // One of the addresses is nobody's: any of those that are given will do.
        join = Some(format!("127.0.0.1:1,{}", node.internal));
        cluster.nodes.insert(id, node);
    }
    cluster.wait_until("three vote", |status| count(status, |node| node["quorum"] != "observer") == 3);
    Client::connect(cluster.nodes[&3].kafka).create_topic("seen-by-all");
    cluster.assert_topics(&["seen-by-all"]);
}

#[test]
fn a_stopped_broker_is_known_to_be_gone_and_a_paused_one_is_fenced_until_it_is_back() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader();
    let paused = 1 + leader % 3;
    cluster.nodes[&paused].broker.signal("STOP");
    let others: Vec<i32> = (1..=3).filter(|id| *id != paused).collect();
    let mut view = Cluster::empty(|_| Vec::new());
    view.nodes = others.iter().map(|id| (*id, cluster.nodes.remove(id).unwrap())).collect();
    view.wait_until("the paused one is fenced", |status| node(status, paused).unwrap()["state"] == "fenced");
    cluster.nodes[&paused].broker.signal("CONT");
    view.wait_until("it is let in again", |status| node(status, paused).unwrap()["state"] == "alive");
    cluster.nodes.extend(view.nodes);
    // The controller itself: it must not take the others for silent when it wakes, nor be one that still decides.
    cluster.nodes[&leader].broker.signal("STOP");
    let stopped = cluster.nodes.remove(&leader).unwrap();
    cluster.wait_until("another leads and has fenced it", |status| {
        status["leader"] != leader && node(status, leader).unwrap()["state"] == "fenced"
    });
    stopped.broker.signal("CONT");
    let status = cluster.wait_until("all are alive", |status| count(status, |node| node["state"] == "alive") == 3);
    assert_ne!(status["leader"], leader);
    cluster.nodes.insert(leader, stopped);
    for node in cluster.nodes.values() {
        Client::connect(node.kafka).fetch("nothing");
    }
    // A broker that stops in order is fenced before its process has ended.
    let (log, gone) = (cluster.take(leader).stop(), leader);
    assert!(!log.contains("without the controller's knowledge"), "{log}");
    let status = cluster.status().unwrap();
    assert_eq!(node(&status, gone).unwrap()["state"], "fenced");
}

#[test]
fn whoever_does_not_belong_is_refused_and_told_why() {
    let mut cluster = Cluster::start();
    let seed = cluster.nodes[&1].internal.clone();
    // A node id that another directory has.
    let twin = directory();
    let (code, log) = Node::spawn(twin.path(), 2, Some(&seed)).wait();
    assert_eq!(code, Some(2));
    assert!(
        log.contains("node id 2 belongs to the data directory") && log.contains("choose another --node-id"),
        "{log}"
    );
    // A directory of another cluster, and of another node.
    let alone = directory();
    Node::start(alone.path(), 7, None).broker.stop();
    let (code, log) = Node::spawn(alone.path(), 7, Some(&seed)).wait();
    assert_eq!(code, Some(2));
    assert!(log.contains("the data directory belongs to cluster") && log.contains(&seed), "{log}");
    let (code, log) = Node::spawn(alone.path(), 8, Some(&seed)).wait();
    assert_eq!(code, Some(2));
    assert!(log.contains("belongs to node 7, and this is node 8"), "{log}");
    let misled = cluster.nodes.values().any(|node| node.broker.has_logged("the broker's process has ended"));
    assert!(!misled, "whoever claimed to be node 2 has ended, not node 2");
    // A lost disk: its id is given free only when an operator says so, and only when the node is gone.
    let (ok, out) = ringlog(&["cluster", "remove", "3", "--internal-addr", &seed]);
    assert!(!ok && out.contains("broker 3 is alive: stop it"), "{out}");
    cluster.take(3).kill9();
    cluster.wait_until("the dead one is fenced", |status| node(status, 3).unwrap()["state"] == "fenced");
    let old = std::mem::replace(&mut cluster.dirs[2], directory());
    let (code, log) = Node::spawn(&cluster.dir(3), 3, Some(&seed)).wait();
    assert_eq!(code, Some(2));
    assert!(log.contains("'ringlog cluster remove 3' frees the id"), "{log}");
    let (ok, out) = ringlog(&["cluster", "remove", "3", "--internal-addr", &cluster.nodes[&2].internal]);
    assert!(ok && out == "node 3 was removed\n", "{out}");
    cluster.wait_until("it is forgotten", |status| node(status, 3).is_none());
    let (ok, out) = ringlog(&["cluster", "remove", "3", "--internal-addr", &seed]);
    assert!(!ok && out.contains("Broker ID 3 is not currently registered"), "{out}");
    // Its id is taken by a new disk; the one that was lost comes back too late.
    cluster.start_node(3);
    cluster.wait_until("three vote again", |status| count(status, |node| node["quorum"] != "observer") == 3);
    let (code, log) = Node::spawn(old.path(), 3, Some(&seed)).wait();
    assert_eq!(code, Some(2));
    assert!(log.contains("node id 3 belongs to the data directory"), "{log}");
    // A node that was removed and is started again with its own disk joins again.
    cluster.take(2).kill9();
    cluster.wait_until("the dead one is fenced", |status| node(status, 2).unwrap()["state"] == "fenced");
    let (ok, out) = ringlog(&["cluster", "remove", "2", "--internal-addr", &cluster.nodes[&3].internal]);
    assert!(ok, "{out}");
    cluster.start_node(2);
    cluster.wait_until("three vote again", |status| count(status, |node| node["quorum"] != "observer") == 3);
    let (ok, out) = ringlog(&["cluster", "voters", "--internal-addr", &seed]);
    assert!(ok && out.lines().count() == 4 && out.matches("leader").count() == 1, "a header and three: {out}");
}

/// A handshake for replication by a shard of node 1, as from node 2; the answer from its version on.
fn call_for_shard(internal: &str, cluster_id: &[u8; 16], shard: u8) -> (u16, Vec<u8>) {
    let hello = [&[2, shard, 1, 16][..], cluster_id, &[1, 4], &[7; 16], b"\x03h:1", &[0, 0xff, 0x7f]].concat();
    let head = b"RINGLOG\0\x02\0\x02\0";
    let mut socket = TcpStream::connect(internal).unwrap();
    socket.set_read_timeout(Some(HANG_MAX)).unwrap();
    socket.write_all(&[&head[..], &(hello.len() as u32).to_le_bytes(), &hello].concat()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    (u16::from_le_bytes([answer[8], answer[9]]), answer[14..].to_vec())
}

#[test]
fn a_replication_connection_reaches_the_shard_that_it_is_for() {
    let dir = directory();
    let mut node = Node::start(dir.path(), 1, None);
    let properties = std::fs::read_to_string(dir.path().join("meta.properties")).unwrap();
    let id = properties.lines().find_map(|line| line.strip_prefix("cluster.id=")).unwrap();
    let cluster_id: metadata::cluster_id::ClusterId = id.parse().unwrap();
    let (version, _) = call_for_shard(&node.internal, cluster_id.0.as_bytes(), 0);
    assert_eq!(version, 2);
    // A leader that says nothing is given up.
    let line = node.broker.wait_for_line("a leader's replication connection has ended");
    assert!(line.contains("shard=0") && line.contains("leader=2") && line.contains("nothing was heard"), "{line}");
    assert_eq!(call_for_shard(&node.internal, cluster_id.0.as_bytes(), 9).0, 0);
    node.broker.wait_for_line("it has no shard 9: there are 1");
    assert_eq!(call_for_shard(&node.internal, &[1; 16], 0).0, 0);
    node.broker.wait_for_line("the caller to cluster AQEBAQEBAQEBAQEBAQEBAQ");
    node.broker.stop();
}

#[test]
fn garbage_on_the_internal_port_costs_its_sender_the_connection_and_nothing_else() {
    let dir = directory();
    let mut node = Node::start(dir.path(), 1, None);
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"RINGLOG\0\x63\0\x64\0\0\0\0\0",
        b"RINGLOG\0\x02\0\x02\0\xff\xff\xff\x7f",
        &[0; 64],
    ] {
        let mut socket = TcpStream::connect(&node.internal).unwrap();
        socket.set_read_timeout(Some(HANG_MAX)).unwrap();
        socket.write_all(bytes).unwrap();
        // The answer, if there is one, and the end.
        let _ = socket.read_to_end(&mut Vec::new());
    }
    let line = node.broker.wait_for_line("is not Ringlog's internal protocol");
    assert!(line.contains("WARN") && line.contains("peer="), "{line}");
    node.broker.wait_for_line("it speaks versions 2 to 2 of the internal protocol, the caller 99 to 100");
    node.broker.wait_for_line("its part of the handshake has 2147483647 bytes");
    Client::connect(node.kafka).create_topic("goes-on");
    node.broker.stop();
}

#[test]
fn a_quorum_that_is_lost_is_shown_with_what_is_needed() {
    let mut cluster = Cluster::start();
    let (internal, kafka) = (cluster.nodes[&1].internal.clone(), cluster.nodes[&1].kafka.to_string());
    for id in [2, 3] {
        cluster.take(id).kill9();
    }
    let ask = |command: &[&str]| {
        let (ok, out) = ringlog(&[command, &["--timeout", "2", "--internal-addr", &internal]].concat());
        assert!(!ok && out.contains("1 of 3 voters answers, and 2 are needed"), "{out}");
        assert!(out.contains("start 1 of node 2 (") && !out.contains("panicked"), "{out}");
        out
    };
    for command in ["status", "voters"] {
        let out = ask(&["cluster", command]);
        assert!(out.starts_with("NODE  INTERNAL") && out.matches("  no  ").count() == 2, "{out}");
    }
    let out = ask(&["cluster", "voters", "--json"]);
    let seen: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&seen["leader"], &seen["voters_needed"]), (&Value::Null, &2.into()), "{seen:#}");
    let answers: Vec<_> = seen["voters"].as_array().unwrap().iter().map(|voter| voter["answers"] == true).collect();
    assert_eq!(answers, [true, false, false], "{seen:#}");
    ask(&["cluster", "remove", "3"]);
    // The port is the right one, and is not blamed.
    let (ok, out) = ringlog(&["topic", "create", "t", "--timeout", "10", "--bootstrap-server", &kafka]);
    assert!(!ok && out.contains("the controller did not answer within 8 s: "), "{out}");
    assert!(!out.contains("is this the Kafka port"), "{out}");
}
