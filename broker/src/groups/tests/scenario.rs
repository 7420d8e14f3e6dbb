//! Runs scenarios against one coordinator with a clock of its own.
//!
//! A line is `command => effects`, with effects separated by `; ` (none: nothing after `=>`, or no `=>` at all). Clients are
//! single words; a client's member id is printed as its name. All is about group `g` unless `group` says otherwise.
//!
//! | command | meaning |
//! |---|---|
//! | `join c [v=9] [i=instance] [p=range:meta,rr:meta] [type=consumer] [session=ms] [rebalance=ms] [new] [as=id]` | JoinGroup, with the member id that `c` was last given, or none if `new` |
//! | | protocol metadata `@t+u+t-0` is a consumer's subscription to t and u that owns t-0; assignment `@t-0+t-1` one of its kind |
//! | `sync c [v=5] [gen=n] [i=instance] [assign=a:x,b:y]` | SyncGroup of the client's generation |
//! | `beat c [gen=n] [i=instance]` | Heartbeat |
//! | `leave c [v=5] [i=instance] [as=id]` | LeaveGroup |
//! | `commit c t-0=5 … [v=9] [gen=n] [i=instance] [meta=m] [retention=ms] [id=other]` | OffsetCommit; `-` for a client outside the group; in version 10 by the topics' ids, of which `id=other` is one of another topic |
//! | `fetch t-0 … [stable] [as=id gen=epoch] [v=9] [id=other]`, `fetch all` | OffsetFetch, by nobody in particular unless `as` says by whom |
//! | `delete-offsets t-0 …`, `delete-group`, `delete-topic t [before]` (an earlier topic of that name), `describe`, `list` | as named |
//! | `hb c [e=epoch] [s=t,u] [re=regex] [own=t-0,t-1] [i=instance] [assignor=range] [rebalance=ms] [v=1] [as=id]` | ConsumerGroupHeartbeat of `c`; the epoch is the last that it was told, and 0 to begin with; what it owns is left out unless given (`own=` for nothing) |
//! | `cdescribe` | ConsumerGroupDescribe |
//! | `settings [session=ms] [interval=ms] [assign-every=ms]` | the group has these of its own from now on; without any, none |
//! | `topic t 5 [id=other]`, `topic t` | the topic has that many partitions from now on, or is gone |
//! | `group name` | the group that the following lines are about |
//! | `durable`, `fail notleader` | the oldest store ends (`unavailable`, `notleader`, `toolarge`) |
//! | `late` | the oldest store takes too long; it is still to end |
//! | `gone c` | the connection of the client's last request closes |
//! | `+500` | time passes, in milliseconds |
//! | `restart` | a new coordinator from what is durable; stores under way are lost |
//! | `resign` | another broker leads |

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest, GroupId,
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use protocol::TopicId;
use uuid::Uuid;

use super::super::{
    Environment, GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, GroupSettings, Loaded,
    RequestContext, RequestToken, StoreFailure, StoreId, StoreOutcome, StoredRecord, Topic,
    topic_ids::{self, UnknownTopics},
};

mod embedded;
mod line;

use embedded::{embedded_assignment, embedded_subscription};
use line::Line;

/// When scenarios begin, in milliseconds since the epoch.
pub(super) const START_MS: i64 = 1_000_000;

pub(super) fn text(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

/// Topics `t` and `u` with three partitions each, unless a test changes that.
pub(super) struct TestEnvironment {
    uuids: u128,
    pub(super) topics: Vec<Topic>,
    pub(super) version: i64,
}

impl Default for TestEnvironment {
    fn default() -> Self {
        let topic = |name| Topic { id: topic_id(name), name: text(name), partitions: 3 };
        TestEnvironment { uuids: 0, topics: vec![topic("t"), topic("u")], version: 1 }
    }
}

pub(super) fn topic_id(topic: &str) -> TopicId {
    let number = match topic {
        "t" => 0x100,
        "u" => 0x200,
        other => 0x1000 + other.bytes().fold(0, |number, byte| number * 256 + u128::from(byte)),
    };
    TopicId(Uuid::from_u128(number))
}

/// The id that `id=other` stands for.
pub(super) const OTHER_TOPIC_ID: TopicId = TopicId(Uuid::from_u128(0x300));

impl Environment for TestEnvironment {
    fn member_uuid(&mut self) -> Uuid {
        self.uuids += 1;
        Uuid::from_u128(self.uuids)
    }

    fn topic_id(&self, topic: &str, partition: i32) -> Option<TopicId> {
        self.topic(topic).filter(|topic| (0..topic.partitions).contains(&partition)).map(|topic| topic.id)
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        self.topics.iter().find(|topic| topic.name.as_str() == name).cloned()
    }

    fn topic_by_id(&self, id: TopicId) -> Option<Topic> {
        self.topics.iter().find(|topic| topic.id == id).cloned()
    }

    fn each_topic(&self, show: &mut dyn FnMut(&str)) {
        self.topics.iter().for_each(|topic| show(&topic.name));
    }

    fn topics_version(&self) -> i64 {
        self.version
    }
}

/// A coordinator, its clock, its log and its clients.
pub(super) struct Scenario {
    pub(super) coordinator: GroupCoordinator,
    config: GroupConfig,
    environment: TestEnvironment,
    pub(super) now_ms: i64,
    group: String,
    next_token: u64,
    /// Who sent a request, in which version.
    senders: HashMap<RequestToken, (String, i16)>,
    /// Of requests that name topics by id, what was not known.
    unknown_topics: HashMap<RequestToken, UnknownTopics>,
    last_token: HashMap<String, RequestToken>,
    /// Member id and generation of each client.
    pub(super) members: BTreeMap<String, (String, i32)>,
    pub(super) names: HashMap<String, String>,
    under_way: VecDeque<(StoreId, Vec<StoredRecord>)>,
    /// What is durable.
    pub(super) log: Vec<StoredRecord>,
}

impl Scenario {
    pub(super) fn new(config: GroupConfig) -> Scenario {
        let mut coordinator = GroupCoordinator::new(config.clone());
        assert_eq!(coordinator.activate(START_MS, 1), vec![]);
        Scenario {
            coordinator,
            config,
            environment: TestEnvironment::default(),
            now_ms: START_MS,
            group: "g".to_owned(),
            next_token: 0,
            senders: HashMap::new(),
            unknown_topics: HashMap::new(),
            last_token: HashMap::new(),
            members: BTreeMap::new(),
            names: HashMap::new(),
            under_way: VecDeque::new(),
            log: Vec::new(),
        }
    }

    /// Runs every line and compares the whole transcript, so that a failure shows all of it.
    pub(super) fn run(&mut self, script: &str) {
        let mut expected = String::new();
        let mut found = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (command, effects) = line.split_once("=>").unwrap_or((line, ""));
            let command = command.trim();
            expected.push_str(format!("{command} => {}", effects.trim()).trim_end());
            expected.push('\n');
            let effects = self.command(command);
            found.push_str(format!("{command} => {}", effects.join("; ")).trim_end());
            found.push('\n');
            self.coordinator.check();
        }
        assert!(expected == found, "expected:\n{expected}\nfound:\n{found}");
    }

    fn command(&mut self, command: &str) -> Vec<String> {
        let line = Line::parse(command);
        match line.verb {
            "group" => {
                self.group = line.word(0).to_owned();
                Vec::new()
            }
            "durable" => self.end_store(StoreOutcome::Durable),
            "fail" => self.end_store(StoreOutcome::Failed(match line.word(0) {
                "unavailable" => StoreFailure::Unavailable,
                "notleader" => StoreFailure::NotLeader,
                "toolarge" => StoreFailure::TooLarge,
                other => panic!("unknown failure {other}"),
            })),
            "late" => {
                let (store, _) = self.under_way.front().expect("a store is under way");
                let effects = self.coordinator.late(self.now_ms, *store);
                self.show(effects)
            }
            "gone" => {
                self.coordinator.disconnected(self.last_token[line.word(0)]);
                Vec::new()
            }
            "restart" => self.restart(),
            "settings" => {
                let default = GroupSettings::from(&self.config);
                let ms = |key, default: i32| line.number(key, default.into()) as i32;
                let settings = GroupSettings {
                    consumer_session_timeout_ms: ms("session", default.consumer_session_timeout_ms),
                    consumer_heartbeat_interval_ms: ms("interval", default.consumer_heartbeat_interval_ms),
                    consumer_assignment_interval_ms: ms("assign-every", default.consumer_assignment_interval_ms),
                };
                let own = (settings != default).then_some(settings);
                self.coordinator.set_group_settings(&self.group, own);
                Vec::new()
            }
            "resign" => {
                let effects = self.coordinator.resign();
                self.show(effects)
            }
            "delete-topic" => {
                let id = if line.words.len() > 1 { OTHER_TOPIC_ID } else { topic_id(line.word(0)) };
                let effects = self.coordinator.topic_deleted(line.word(0), id);
                self.show(effects)
            }
            "topic" => {
                self.environment.version += 1;
                let version = self.environment.version;
                let name = line.word(0);
                let is_new = self.environment.topic(name).is_none();
                self.environment.topics.retain(|topic| topic.name.as_str() != name);
                if let Some(partitions) = line.words.get(1) {
                    let partitions = partitions.parse().expect("a number of partitions");
                    let topic = Topic { id: line.topic_id(name), name: text(name), partitions };
                    self.environment.topics.push(topic);
                }
                self.coordinator.topics_changed([name], is_new, version);
                Vec::new()
            }
            verb if verb.starts_with('+') => self.advance(verb[1..].parse().expect("milliseconds")),
            _ => {
                let (client, version, request) = self.request(&line);
                let effects = self.send(&client, version, request);
                self.show(effects)
            }
        }
    }

    pub(super) fn send(&mut self, client: &str, api_version: i16, mut request: GroupRequest) -> Vec<GroupEffect> {
        let token = RequestToken(self.next_token);
        let name_of = |id| self.environment.topic_by_id(id).map(|topic| topic.name);
        self.unknown_topics.insert(token, topic_ids::resolve(&mut request, api_version, name_of));
        self.next_token += 1;
        self.senders.insert(token, (client.to_owned(), api_version));
        self.last_token.insert(client.to_owned(), token);
        let context = RequestContext { api_version, client_id: text(client), client_host: text("/127.0.0.1") };
        self.coordinator.handle(self.now_ms, token, &context, request, &mut self.environment)
    }

    fn end_store(&mut self, outcome: StoreOutcome) -> Vec<String> {
        let (store, records) = self.under_way.pop_front().expect("a store is under way");
        if outcome == StoreOutcome::Durable {
            self.log.extend(records);
        }
        let effects = self.coordinator.stored(self.now_ms, store, outcome);
        self.show(effects)
    }

    /// Wakes the coordinator at each of its deadlines on the way.
    fn advance(&mut self, by_ms: i64) -> Vec<String> {
        let until_ms = self.now_ms + by_ms;
        let mut shown = Vec::new();
        while let Some(deadline_ms) = self.coordinator.next_deadline_ms().filter(|deadline_ms| *deadline_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(deadline_ms);
            let effects = self.coordinator.tick(self.now_ms, &self.environment);
            shown.extend(self.show(effects));
        }
        self.now_ms = until_ms;
        shown
    }

    fn restart(&mut self) -> Vec<String> {
        self.coordinator = GroupCoordinator::new(self.config.clone());
        self.under_way.clear();
        for record in &self.log {
            assert_eq!(self.coordinator.load(&record.key, record.value.as_deref()), Ok(Loaded::Applied));
        }
        let effects = self.coordinator.activate(self.now_ms, self.environment.version);
        self.show(effects)
    }

    fn member(&self, client: &str) -> (String, i32) {
        self.members.get(client).cloned().unwrap_or_default()
    }

    fn request(&self, line: &Line<'_>) -> (String, i16, GroupRequest) {
        let group_id = GroupId(text(&self.group));
        let client = line.words.first().copied().unwrap_or("-").to_owned();
        let (known_id, known_generation) = self.member(&client);
        let member_id = text(line.option("as").unwrap_or(if line.flag("new") { "" } else { &known_id }));
        let instance_id = line.option("i").map(text);
        let generation = line.number("gen", if client == "-" { -1 } else { known_generation.into() }) as i32;
        let version = |default| line.number("v", default) as i16;
        match line.verb {
            "join" => {
                let protocols = line.option("p").unwrap_or("range:m").split(',').filter(|p| !p.is_empty()).map(|p| {
                    let (name, metadata) = p.split_once(':').unwrap_or((p, ""));
                    JoinGroupRequestProtocol::default()
                        .with_name(text(name))
                        .with_metadata(embedded_subscription(metadata))
                });
                let request = JoinGroupRequest::default()
                    .with_group_id(group_id)
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id)
                    .with_session_timeout_ms(line.number("session", 10_000) as i32)
                    .with_rebalance_timeout_ms(line.number("rebalance", 5_000) as i32)
                    .with_protocol_type(text(line.option("type").unwrap_or("consumer")))
                    .with_protocols(protocols.collect());
                (client, version(9), GroupRequest::JoinGroup(request))
            }
            "sync" => {
                let assignments = line.option("assign").unwrap_or("").split(',').filter(|a| !a.is_empty()).map(|a| {
                    let (to, assignment) = a.split_once(':').expect("client:assignment");
                    let member_id = self.members.get(to).map_or(to, |(id, _)| id);
                    SyncGroupRequestAssignment::default()
                        .with_member_id(text(member_id))
                        .with_assignment(embedded_assignment(assignment))
                });
                let request = SyncGroupRequest::default()
                    .with_group_id(group_id)
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id)
                    .with_generation_id(generation)
                    .with_protocol_type(Some(text(line.option("type").unwrap_or("consumer"))))
                    .with_protocol_name(Some(text(line.option("p").unwrap_or("range"))))
                    .with_assignments(assignments.collect());
                (client, version(5), GroupRequest::SyncGroup(request))
            }
            "beat" => {
                let request = HeartbeatRequest::default()
                    .with_group_id(group_id)
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id)
                    .with_generation_id(generation);
                (client, version(4), GroupRequest::Heartbeat(request))
            }
            "leave" => {
                let identity =
                    MemberIdentity::default().with_member_id(member_id.clone()).with_group_instance_id(instance_id);
                let request = LeaveGroupRequest::default().with_group_id(group_id);
                let request = if version(5) < 3 {
                    request.with_member_id(member_id)
                } else {
                    request.with_members(vec![identity])
                };
                (client, version(5), GroupRequest::LeaveGroup(request))
            }
            "commit" => {
                let topics = line.words[1..].iter().map(|word| {
                    let (partition, offset) = word.split_once('=').expect("t-0=5");
                    let (topic, partition) = topic_partition(partition);
                    let partition = OffsetCommitRequestPartition::default()
                        .with_partition_index(partition)
                        .with_committed_offset(offset.parse().expect("an offset"))
                        .with_committed_metadata(line.option("meta").map(text));
                    let named = OffsetCommitRequestTopic::default().with_partitions(vec![partition]);
                    if version(9) < 10 { named.with_name(topic) } else { named.with_topic_id(line.topic_id(&topic).0) }
                });
                let request = OffsetCommitRequest::default()
                    .with_group_id(group_id)
                    .with_member_id(member_id)
                    .with_group_instance_id(instance_id)
                    .with_generation_id_or_member_epoch(generation)
                    .with_retention_time_ms(line.number("retention", -1))
                    .with_topics(topics.collect());
                (client, version(9), GroupRequest::OffsetCommit(request))
            }
            "fetch" => {
                let stable = line.flag("stable");
                let asked: Vec<&&str> = line.words.iter().filter(|word| **word != "all").collect();
                let topics = asked.iter().map(|word| {
                    let (topic, partition) = topic_partition(word);
                    let named = OffsetFetchRequestTopics::default().with_partition_indexes(vec![partition]);
                    if version(9) < 10 { named.with_name(topic) } else { named.with_topic_id(line.topic_id(&topic).0) }
                });
                let topics = (!asked.is_empty()).then(|| topics.collect());
                let group = OffsetFetchRequestGroup::default()
                    .with_group_id(group_id)
                    .with_topics(topics)
                    .with_member_id(line.option("as").map(text))
                    .with_member_epoch(line.number("gen", -1) as i32);
                let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable);
                ("-".to_owned(), version(9), GroupRequest::OffsetFetch(request))
            }
            "delete-offsets" => {
                let topics = line.words.iter().map(|word| {
                    let (topic, partition) = topic_partition(word);
                    let partition = OffsetDeleteRequestPartition::default().with_partition_index(partition);
                    OffsetDeleteRequestTopic::default().with_name(topic).with_partitions(vec![partition])
                });
                let request = OffsetDeleteRequest::default().with_group_id(group_id).with_topics(topics.collect());
                ("-".to_owned(), 0, GroupRequest::OffsetDelete(request))
            }
            "delete-group" => {
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id]);
                ("-".to_owned(), version(2), GroupRequest::DeleteGroups(request))
            }
            "hb" => {
                let epoch = line.number("e", known_generation.into()) as i32;
                let joins = epoch == 0;
                let names = |list: &str| {
                    let names = list.split(',').filter(|name| !name.is_empty());
                    names.map(|name| TopicName(text(name))).collect::<Vec<_>>()
                };
                let subscribed = line.option("s").map(names);
                let owned = line.option("own").or(joins.then_some("")).map(|list| {
                    let mut topics: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
                    for word in list.split(',').filter(|word| !word.is_empty()) {
                        let (topic, partition) = topic_partition(word);
                        topics.entry(topic_id(&topic)).or_default().push(partition);
                    }
                    let of_topic = |(id, partitions): (TopicId, _)| {
                        TopicPartitions::default().with_topic_id(id.0).with_partitions(partitions)
                    };
                    topics.into_iter().map(of_topic).collect()
                });
                // Members make their ids themselves.
                let member_id =
                    if known_id.is_empty() { text(line.option("as").unwrap_or(&client)) } else { member_id };
                let request = ConsumerGroupHeartbeatRequest::default()
                    .with_group_id(group_id)
                    .with_member_id(member_id)
                    .with_member_epoch(epoch)
                    .with_instance_id(instance_id)
                    .with_rebalance_timeout_ms(line.number("rebalance", if joins { 5_000 } else { -1 }) as i32)
                    .with_subscribed_topic_names(subscribed)
                    .with_subscribed_topic_regex(line.option("re").map(text))
                    .with_server_assignor(line.option("assignor").map(text))
                    .with_topic_partitions(owned);
                (client, version(1), GroupRequest::ConsumerGroupHeartbeat(request))
            }
            "cdescribe" => {
                let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id]);
                ("-".to_owned(), version(1), GroupRequest::ConsumerGroupDescribe(request))
            }
            "describe" => {
                let request = DescribeGroupsRequest::default().with_groups(vec![group_id]);
                ("-".to_owned(), version(6), GroupRequest::DescribeGroups(request))
            }
            "list" => ("-".to_owned(), version(5), GroupRequest::ListGroups(ListGroupsRequest::default())),
            verb => panic!("unknown command {verb}"),
        }
    }

    /// Effects as text; stores are taken note of, and what clients learn from answers.
    pub(super) fn show(&mut self, effects: Vec<GroupEffect>) -> Vec<String> {
        for effect in &effects {
            if let GroupEffect::Reply { token, reply: GroupReply::JoinGroup(response) } = effect
                && !response.member_id.is_empty()
            {
                self.names.insert(response.member_id.to_string(), self.senders[token].0.clone());
            }
        }
        effects
            .into_iter()
            .map(|effect| match effect {
                GroupEffect::Reply { token, reply } => {
                    let (client, version) = self.senders.remove(&token).expect("answered once, and asked before");
                    let unknown = self.unknown_topics.remove(&token).expect("asked before");
                    let id_of = |name: &str| self.environment.topic(name).map(|topic| topic.id);
                    let reply = topic_ids::complete(reply, version, unknown, id_of);
                    encode(&reply, version);
                    self.show_reply(&client, reply)
                }
                GroupEffect::Store { store, records } => {
                    let shown: Vec<String> = records.iter().map(|record| self.show_record(record)).collect();
                    self.under_way.push_back((store, records));
                    format!("store [{}]", shown.join(", "))
                }
            })
            .collect()
    }

    /// The client that has a member id; until it has been told so, what the id begins with (client id or instance id).
    pub(super) fn name<'a>(&'a self, member_id: &'a str) -> &'a str {
        let prefix = member_id.len().checked_sub("-00000000-0000-0000-0000-000000000000".len());
        let unnamed = prefix.map_or(member_id, |length| &member_id[..length]);
        self.names.get(member_id).map_or(unnamed, String::as_str)
    }
}

/// An answer's bytes; fails if it has a field set that the version lacks.
pub(super) fn encode(reply: &GroupReply, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    match reply {
        GroupReply::JoinGroup(r) => r.encode(&mut bytes, version),
        GroupReply::SyncGroup(r) => r.encode(&mut bytes, version),
        GroupReply::Heartbeat(r) => r.encode(&mut bytes, version),
        GroupReply::LeaveGroup(r) => r.encode(&mut bytes, version),
        GroupReply::OffsetCommit(r) => r.encode(&mut bytes, version),
        GroupReply::OffsetFetch(r) => r.encode(&mut bytes, version),
        GroupReply::OffsetDelete(r) => r.encode(&mut bytes, version),
        GroupReply::ListGroups(r) => r.encode(&mut bytes, version),
        GroupReply::DescribeGroups(r) => r.encode(&mut bytes, version),
        GroupReply::DeleteGroups(r) => r.encode(&mut bytes, version),
        GroupReply::ConsumerGroupHeartbeat(r) => r.encode(&mut bytes, version),
        GroupReply::ConsumerGroupDescribe(r) => r.encode(&mut bytes, version),
    }
    .unwrap_or_else(|error| panic!("version {version} cannot hold {reply:?}: {error}"));
    bytes.freeze()
}

fn topic_partition(word: &str) -> (TopicName, i32) {
    let (topic, partition) = word.split_once('-').expect("t-0");
    (TopicName(text(topic)), partition.parse().expect("a partition"))
}

/// Settings with which most scenarios run: no initial delay, so that a first JoinGroup completes with the next tick.
pub(super) fn prompt() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }
}

/// Runs a scenario from an empty log.
pub(super) fn check(config: GroupConfig, script: &str) {
    Scenario::new(config).run(script);
}

impl Scenario {
    /// Settings from the next restart on.
    pub(super) fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }
}
