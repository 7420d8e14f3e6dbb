//! Random requests, times, failures and restarts against a model of what clients may rely on.
//!
//! Not checked here: that a rebalance makes progress while its members behave (the scenarios do), and expiry.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::super::{
    GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, RequestContext, RequestToken, StoreFailure,
    StoreId, StoreOutcome, StoredRecord,
};
use super::scenario::{START_MS, TestEnvironment, encode, prompt, text};

const GROUPS: [&str; 2] = ["g", "h"];
/// Clients of each group; the last two are static.
const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Join {
        client: usize,
        version: i16,
        fresh: bool,
        changed: bool,
    },
    /// By the leader it carries an assignment for every member it was told of.
    Sync {
        client: usize,
        old_generation: bool,
    },
    Beat {
        client: usize,
    },
    Leave {
        client: usize,
    },
    /// By no member if `simple`.
    Commit {
        client: usize,
        simple: bool,
        partition: i32,
        offset: i64,
    },
    Fetch {
        group: usize,
        stable: bool,
    },
    DeleteOffset {
        group: usize,
        partition: i32,
    },
    DeleteGroup {
        group: usize,
    },
    Wait {
        ms: i64,
    },
    EndStore {
        failure: Option<StoreFailure>,
    },
    Disconnect {
        client: usize,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..GROUPS.len() * CLIENTS;
    let failure = prop_oneof![
        8 => Just(None),
        1 => Just(Some(StoreFailure::Unavailable)),
        1 => Just(Some(StoreFailure::NotLeader)),
    ];
    prop_oneof![
        6 => (client.clone(), 0i16..=9, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(client, version, fresh, changed)| Step::Join { client, version, fresh, changed }),
        5 => (client.clone(), prop::bool::weighted(0.1))
            .prop_map(|(client, old_generation)| Step::Sync { client, old_generation }),
        2 => client.clone().prop_map(|client| Step::Beat { client }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        3 => (client.clone(), prop::bool::weighted(0.4), 0i32..3, 0i64..1_000)
            .prop_map(|(client, simple, partition, offset)| Step::Commit { client, simple, partition, offset }),
        2 => (0..GROUPS.len(), any::<bool>()).prop_map(|(group, stable)| Step::Fetch { group, stable }),
        1 => (0..GROUPS.len(), 0i32..3).prop_map(|(group, partition)| Step::DeleteOffset { group, partition }),
        1 => (0..GROUPS.len()).prop_map(|group| Step::DeleteGroup { group }),
        3 => prop_oneof![Just(1i64), Just(1_000), Just(5_000), Just(11_000)].prop_map(|ms| Step::Wait { ms }),
        8 => failure.prop_map(|failure| Step::EndStore { failure }),
        1 => client.prop_map(|client| Step::Disconnect { client }),
        1 => prop::bool::weighted(0.3).prop_map(|yes| if yes { Step::Restart } else { Step::Wait { ms: 0 } }),
    ]
}

/// What a client knows of itself.
#[derive(Clone, Debug, Default)]
struct Client {
    member_id: StrBytes,
    generation: i32,
    /// As the leader: the members, by id, with their metadata, which is the client's name.
    members: Vec<(StrBytes, String)>,
}

/// What is to become of an offset when the answer is a success.
#[derive(Clone, Debug)]
enum Intent {
    Join { client: usize },
    Sync { client: usize, generation: i32 },
    Commit { group: usize, partition: i32, offset: i64 },
    Fetch { group: usize },
    DeleteOffset { group: usize, partition: i32 },
    DeleteGroup { group: usize },
    Nothing,
}

struct World {
    coordinator: GroupCoordinator,
    environment: TestEnvironment,
    now_ms: i64,
    clients: Vec<Client>,
    intents: HashMap<RequestToken, (Intent, i16)>,
    disconnected: HashSet<RequestToken>,
    next_token: u64,
    last_token: HashMap<usize, RequestToken>,
    under_way: VecDeque<(StoreId, Vec<StoredRecord>)>,
    log: Vec<StoredRecord>,
    /// The offsets that a client may rely on: group, partition of `t`.
    offsets: BTreeMap<(usize, i32), i64>,
    /// The newest generation that was told to anybody since the group came into being.
    generations: BTreeMap<usize, i32>,
}

fn config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 500, max_size: 3, ..prompt() }
}

fn name(client: usize) -> String {
    format!("c{client}")
}

fn instance_id(client: usize) -> Option<StrBytes> {
    (client % CLIENTS >= 2).then(|| text(&format!("instance-{client}")))
}

fn group_id(group: usize) -> GroupId {
    GroupId(text(GROUPS[group]))
}

impl World {
    fn new() -> World {
        let mut coordinator = GroupCoordinator::new(config());
        coordinator.activate(START_MS, 1);
        World {
            coordinator,
            environment: TestEnvironment::default(),
            now_ms: START_MS,
            clients: vec![Client::default(); GROUPS.len() * CLIENTS],
            intents: HashMap::new(),
            disconnected: HashSet::new(),
            next_token: 0,
            last_token: HashMap::new(),
            under_way: VecDeque::new(),
            log: Vec::new(),
            offsets: BTreeMap::new(),
            generations: BTreeMap::new(),
        }
    }

    fn send(&mut self, client: usize, api_version: i16, request: GroupRequest, intent: Intent) {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.intents.insert(token, (intent, api_version));
        self.last_token.insert(client, token);
        let context = RequestContext { api_version, client_id: text(&name(client)), client_host: text("/127.0.0.1") };
        let effects = self.coordinator.handle(self.now_ms, token, &context, request, &mut self.environment);
        self.execute(effects);
    }

    fn execute(&mut self, effects: Vec<GroupEffect>) {
        self.coordinator.check();
        for effect in effects {
            match effect {
                GroupEffect::Store { store, records } => {
                    assert!(!records.is_empty());
                    assert!(self.under_way.back().is_none_or(|(before, _)| *before < store), "stores are counted up");
                    self.under_way.push_back((store, records));
                }
                GroupEffect::Reply { token, reply } => {
                    assert!(!self.disconnected.contains(&token), "an answer to nobody");
                    let (intent, version) = self.intents.remove(&token).expect("one answer to each request");
                    encode(&reply, version);
                    self.learn(intent, reply);
                }
            }
        }
    }

    fn learn(&mut self, intent: Intent, reply: GroupReply) {
        match (intent, reply) {
            (Intent::Join { client }, GroupReply::JoinGroup(response)) => {
                if response.error_code == 0 {
                    let newest = self.generations.entry(client / CLIENTS).or_default();
                    assert!(response.generation_id >= *newest, "generation {} after {newest}", response.generation_id);
                    *newest = response.generation_id;
                    assert!(!response.leader.is_empty());
                    let members = response.members.iter().map(|member| {
                        (member.member_id.clone(), String::from_utf8_lossy(&member.metadata).into_owned())
                    });
                    self.clients[client] = Client {
                        member_id: response.member_id.clone(),
                        generation: response.generation_id,
                        members: members.collect(),
                    };
                } else if !response.member_id.is_empty() {
                    self.clients[client].member_id = response.member_id;
                }
            }
            (Intent::Sync { client, generation }, GroupReply::SyncGroup(response)) if response.error_code == 0 => {
                // Whoever leads assigns every member its generation and name, so that is what everybody must get.
                let expected = format!("{generation}:{}", name(client));
                assert_eq!(String::from_utf8_lossy(&response.assignment), expected, "assignment");
            }
            (Intent::Commit { group, partition, offset }, GroupReply::OffsetCommit(response))
                if response.topics[0].partitions[0].error_code == 0 =>
            {
                self.offsets.insert((group, partition), offset);
            }
            (Intent::Fetch { group }, GroupReply::OffsetFetch(response)) if response.groups[0].error_code == 0 => {
                let found: BTreeMap<(usize, i32), i64> = response.groups[0]
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .map(|partition| ((group, partition.partition_index), partition.committed_offset))
                    .collect();
                assert_eq!(found, self.offsets_of(group));
            }
            (Intent::DeleteOffset { group, partition }, GroupReply::OffsetDelete(response))
                if response.error_code == 0 && response.topics[0].partitions[0].error_code == 0 =>
            {
                self.offsets.remove(&(group, partition));
            }
            (Intent::DeleteGroup { group }, GroupReply::DeleteGroups(response))
                if response.results[0].error_code == 0 =>
            {
                self.offsets.retain(|(of, _), _| *of != group);
            }
            _ => {}
        }
    }

    fn offsets_of(&self, group: usize) -> BTreeMap<(usize, i32), i64> {
        self.offsets.range((group, 0)..(group + 1, 0)).map(|(key, offset)| (*key, *offset)).collect()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { client, version, fresh, changed } => self.join(client, version, fresh, changed),
            Step::Sync { client, old_generation } => self.sync(client, old_generation),
            Step::Beat { client } => {
                let known = &self.clients[client];
                let request = HeartbeatRequest::default()
                    .with_group_id(group_id(client / CLIENTS))
                    .with_member_id(known.member_id.clone())
                    .with_generation_id(known.generation)
                    .with_group_instance_id(instance_id(client));
                self.send(client, 4, GroupRequest::Heartbeat(request), Intent::Nothing);
            }
            Step::Leave { client } => {
                let member = MemberIdentity::default()
                    .with_member_id(self.clients[client].member_id.clone())
                    .with_group_instance_id(instance_id(client));
                let request =
                    LeaveGroupRequest::default().with_group_id(group_id(client / CLIENTS)).with_members(vec![member]);
                self.send(client, 5, GroupRequest::LeaveGroup(request), Intent::Nothing);
            }
            Step::Commit { client, simple, partition, offset } => self.commit(client, simple, partition, offset),
            Step::Fetch { group, stable } => self.fetch(group, stable),
            Step::DeleteOffset { group, partition } => {
                let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(partition)];
                let topic =
                    OffsetDeleteRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(partitions);
                let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
                self.send(
                    usize::MAX,
                    0,
                    GroupRequest::OffsetDelete(request),
                    Intent::DeleteOffset { group, partition },
                );
            }
            Step::DeleteGroup { group } => {
                let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(group)]);
                self.send(usize::MAX, 2, GroupRequest::DeleteGroups(request), Intent::DeleteGroup { group });
                // Another group of that name counts from the beginning.
                self.generations.remove(&group);
            }
            Step::Wait { ms } => self.wait(ms),
            Step::EndStore { failure } => self.end_store(failure.map_or(StoreOutcome::Durable, StoreOutcome::Failed)),
            Step::Disconnect { client } => {
                // Not of a commit: the model could not tell whether it took effect.
                let token = self.last_token.get(&client).copied().filter(|token| {
                    matches!(self.intents.get(token), Some((Intent::Join { .. } | Intent::Sync { .. }, _)))
                });
                if let Some(token) = token {
                    self.intents.remove(&token);
                    self.disconnected.insert(token);
                    self.coordinator.disconnected(token);
                }
            }
            Step::Restart => self.restart(),
        }
    }

    fn join(&mut self, client: usize, version: i16, fresh: bool, changed: bool) {
        let instance_id = instance_id(client);
        let version = if instance_id.is_some() { version.max(5) } else { version };
        let protocols = if changed { vec!["range", "rr"] } else { vec!["range"] };
        let protocols = protocols.into_iter().map(|protocol| {
            JoinGroupRequestProtocol::default().with_name(text(protocol)).with_metadata(Bytes::from(name(client)))
        });
        let member_id = if fresh { StrBytes::new() } else { self.clients[client].member_id.clone() };
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(client / CLIENTS))
            .with_member_id(member_id)
            .with_group_instance_id(instance_id)
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(5_000)
            // No protocol type whose metadata the coordinator would read.
            .with_protocol_type(text("test"))
            .with_protocols(protocols.collect());
        self.send(client, version, GroupRequest::JoinGroup(request), Intent::Join { client });
    }

    fn sync(&mut self, client: usize, old_generation: bool) {
        let known = &self.clients[client];
        let generation = known.generation - i32::from(old_generation);
        let assignments = known.members.iter().map(|(member_id, of)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member_id.clone())
                .with_assignment(Bytes::from(format!("{generation}:{of}")))
        });
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(client / CLIENTS))
            .with_member_id(known.member_id.clone())
            .with_generation_id(generation)
            .with_group_instance_id(instance_id(client))
            .with_assignments(assignments.collect());
        self.send(client, 4, GroupRequest::SyncGroup(request), Intent::Sync { client, generation });
    }

    fn commit(&mut self, client: usize, simple: bool, partition: i32, offset: i64) {
        let group = client / CLIENTS;
        let partitions =
            vec![OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset)];
        let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(partitions);
        let mut request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        if !simple {
            let known = &self.clients[client];
            request = request
                .with_member_id(known.member_id.clone())
                .with_generation_id_or_member_epoch(known.generation)
                .with_group_instance_id(instance_id(client));
        }
        self.send(client, 9, GroupRequest::OffsetCommit(request), Intent::Commit { group, partition, offset });
    }

    fn fetch(&mut self, group: usize, stable: bool) {
        let asked = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None);
        let request = OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable);
        self.send(usize::MAX, 9, GroupRequest::OffsetFetch(request), Intent::Fetch { group });
    }

    fn wait(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while let Some(deadline_ms) = self.coordinator.next_deadline_ms().filter(|deadline_ms| *deadline_ms <= until_ms)
        {
            self.now_ms = self.now_ms.max(deadline_ms);
            let effects = self.coordinator.tick(self.now_ms, &self.environment);
            self.execute(effects);
        }
        self.now_ms = until_ms;
    }

    fn end_store(&mut self, outcome: StoreOutcome) {
        let Some((store, records)) = self.under_way.pop_front() else { return };
        if outcome == StoreOutcome::Durable {
            self.log.extend(records);
        } else {
            // It may have been the one that made the group known; then another of its name begins anew.
            self.generations.clear();
        }
        let effects = self.coordinator.stored(self.now_ms, store, outcome);
        self.execute(effects);
    }

    /// The process dies: stores under way are lost and so are the connections.
    fn restart(&mut self) {
        self.under_way.clear();
        self.intents.clear();
        self.generations.clear();
        self.coordinator = GroupCoordinator::new(config());
        for record in &self.log {
            self.coordinator.load(&record.key, record.value.as_deref()).expect("our own record");
        }
        self.coordinator.activate(self.now_ms, 1);
        self.coordinator.check();
        for group in 0..GROUPS.len() {
            self.fetch(group, false);
        }
    }

    /// Everybody falls silent.
    fn end(&mut self) {
        for _ in 0..2 {
            while !self.under_way.is_empty() {
                self.end_store(StoreOutcome::Durable);
            }
            self.wait(400_000);
        }
        while !self.under_way.is_empty() {
            self.end_store(StoreOutcome::Durable);
        }
        let counts = self.coordinator.counts();
        assert_eq!(counts.waiting_requests, 0, "requests without an answer: {:?}", self.intents);
        assert!(self.intents.is_empty(), "{:?}", self.intents);
        assert_eq!(counts.members, 0, "members that nobody has heard of");
        self.restart();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: super::cases(600), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clients_can_rely_on_what_they_are_told(steps in proptest::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.end();
    }
}
