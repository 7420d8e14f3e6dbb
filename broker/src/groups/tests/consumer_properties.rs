//! Random heartbeats, topics, times, failures and restarts against a model of what members of a consumer group may rely on.
//!
//! Members behave as real clients do: one heartbeat at a time, sent again when its answer is lost; they give partitions back
//! before they take others, and report what they own. At any time a partition is in the hands of one member at most, nobody
//! is told what is not durable or is thrown out without a reason, and replay of the log makes what is in memory. When
//! nothing happens any more, every partition is in the hands of exactly one member, and shares are even ([`quiet`]).
//!
//! Not checked here: members of the classic protocol, and committed offsets.

mod client;
mod quiet;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use proptest::prelude::*;
use protocol::TopicId;
use uuid::Uuid;

use self::client::{Client, Partitions};
use super::super::consumer::{ConsumerGroup, Recorded};
use super::super::{
    GroupConfig, GroupCoordinator, GroupEffect, GroupReply, GroupRequest, RequestContext, RequestToken, StoreFailure,
    StoreId, StoreOutcome, StoredRecord, Topic,
};
use super::scenario::{START_MS, TestEnvironment, encode, prompt, text};

const GROUP: &str = "g";
/// The last three have instance ids, the last two of them the same one.
const CLIENTS: usize = 6;
const TOPICS: [&str; 4] = ["t", "u", "ta", "v"];
/// Names, and a regular expression (empty: none).
const SUBSCRIPTIONS: [(&[&str], &str); 7] =
    [(&["t"], ""), (&["t", "u"], ""), (&["u", "v"], ""), (&[], "t.*"), (&["u"], "t.*"), (&[], "[uv]"), (&[], "")];
const REBALANCE_TIMEOUT_MS: i32 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    /// `impatient`: gives up an answer that is still to come.
    Beat {
        client: usize,
        full: bool,
        impatient: bool,
    },
    /// The client brings what it owns in line with what it was told.
    Reconcile {
        client: usize,
    },
    Subscribe {
        client: usize,
        subscription: usize,
    },
    /// `stays`: a static member says that it will be back.
    Leave {
        client: usize,
        stays: bool,
    },
    /// The process ends without a word; the next one has another member id.
    Die {
        client: usize,
    },
    LoseAnswer {
        client: usize,
        disconnected: bool,
    },
    /// The topic comes, grows by this many partitions, or goes (0).
    Topic {
        topic: usize,
        more: i32,
    },
    Wait {
        ms: i64,
    },
    EndStore {
        failure: Option<StoreFailure>,
    },
    Late,
    /// Another coordinator takes over from what is durable, and from the first `kept` of the stores that are under way.
    Restart {
        kept: usize,
        resigns: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let failure = prop_oneof![
        12 => Just(None),
        1 => Just(Some(StoreFailure::Unavailable)),
        1 => Just(Some(StoreFailure::NotLeader)),
    ];
    prop_oneof![
        20 => (client.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(client, full, impatient)| Step::Beat { client, full, impatient }),
        8 => client.clone().prop_map(|client| Step::Reconcile { client }),
        2 => (client.clone(), 0..SUBSCRIPTIONS.len())
            .prop_map(|(client, subscription)| Step::Subscribe { client, subscription }),
        1 => (client.clone(), prop::bool::weighted(0.7)).prop_map(|(client, stays)| Step::Leave { client, stays }),
        1 => client.clone().prop_map(|client| Step::Die { client }),
        1 => (client, any::<bool>()).prop_map(|(client, disconnected)| Step::LoseAnswer { client, disconnected }),
        2 => (0..TOPICS.len(), 0i32..3).prop_map(|(topic, more)| Step::Topic { topic, more }),
        5 => prop_oneof![Just(0i64), Just(1), Just(1_000), Just(5_000), Just(11_000), Just(30_000)]
            .prop_map(|ms| Step::Wait { ms }),
        16 => failure.prop_map(|failure| Step::EndStore { failure }),
        1 => Just(Step::Late),
        1 => (0usize..3, any::<bool>()).prop_map(|(kept, resigns)| Step::Restart { kept, resigns }),
    ]
}

/// What all members ask for, or each of them on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assignors {
    Default,
    Range,
    Mixed,
}

/// A heartbeat that has yet to be answered.
#[derive(Clone, Debug)]
struct Sent {
    client: usize,
    at_ms: i64,
    request: ConsumerGroupHeartbeatRequest,
    subscription: Option<usize>,
}

struct World {
    coordinator: GroupCoordinator,
    /// Loads what is durable as it comes.
    replayed: GroupCoordinator,
    environment: TestEnvironment,
    topics_made: u128,
    now_ms: i64,
    clients: Vec<Client>,
    sent: HashMap<RequestToken, Sent>,
    next_token: u64,
    under_way: VecDeque<(StoreId, Vec<StoredRecord>)>,
    /// So many of them are to fail because one before them has.
    failing: usize,
    log: Vec<StoredRecord>,
    /// The group's epoch, as far as it was durable.
    epoch: i32,
}

fn config() -> GroupConfig {
    GroupConfig { consumer_max_size: 5, ..prompt() }
}

fn recorded(coordinator: &GroupCoordinator) -> Option<&Recorded> {
    coordinator.consumers.get(&text(GROUP)).map(ConsumerGroup::recorded)
}

impl World {
    fn new(assignors: Assignors, subscription: usize) -> World {
        let mut coordinator = GroupCoordinator::new(config());
        coordinator.activate(START_MS, 1);
        World {
            coordinator,
            replayed: GroupCoordinator::new(config()),
            environment: TestEnvironment::default(),
            topics_made: 0x10_000,
            now_ms: START_MS,
            clients: (0..CLIENTS).map(|number| Client::new(number, assignors, subscription)).collect(),
            sent: HashMap::new(),
            next_token: 0,
            under_way: VecDeque::new(),
            failing: 0,
            log: Vec::new(),
            epoch: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Beat { client, full, impatient } => {
                if impatient {
                    self.lose(client, false);
                }
                if self.clients[client].pending.is_none() {
                    self.beat(client, full);
                }
            }
            Step::Reconcile { client } => self.clients[client].reconcile(),
            Step::Subscribe { client, subscription } => self.clients[client].subscription = subscription,
            Step::Leave { client, stays } => self.leave(client, stays),
            Step::Die { client } => {
                self.lose(client, true);
                self.clients[client].start_over(true);
            }
            Step::LoseAnswer { client, disconnected } => self.lose(client, disconnected),
            Step::Topic { topic, more } => self.change_topic(TOPICS[topic], more),
            Step::Wait { ms } => self.wait(ms),
            Step::EndStore { failure } => self.end_store(failure.map_or(StoreOutcome::Durable, StoreOutcome::Failed)),
            Step::Late => {
                if let Some((store, _)) = self.under_way.front() {
                    let effects = self.coordinator.late(self.now_ms, *store);
                    self.execute(effects);
                }
            }
            Step::Restart { kept, resigns } => self.restart(kept, resigns),
        }
    }

    fn send(&mut self, client: usize, request: ConsumerGroupHeartbeatRequest, subscription: Option<usize>) {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        let version = if client == 0 { 0 } else { 1 };
        let name = text(&format!("c{client}"));
        let context = RequestContext { api_version: version, client_id: name, client_host: text("/127.0.0.1") };
        let sent = Sent { client, at_ms: self.now_ms, request: request.clone(), subscription };
        self.sent.insert(token, sent);
        // Whoever leaves does not wait for an answer.
        self.clients[client].pending = Some(token).filter(|_| request.member_epoch >= 0);
        let request = GroupRequest::ConsumerGroupHeartbeat(request);
        let effects = self.coordinator.handle(self.now_ms, token, &context, request, &mut self.environment);
        self.execute(effects);
    }

    fn beat(&mut self, client: usize, full: bool) {
        let (request, subscription) = self.clients[client].heartbeat(full);
        self.send(client, request, subscription);
    }

    /// The client gives its partitions up, says so and does not listen any more.
    fn leave(&mut self, number: usize, stays: bool) {
        self.lose(number, false);
        let client = &mut self.clients[number];
        if client.epoch == 0 {
            return;
        }
        let request = client.farewell(stays);
        client.start_over(!stays);
        self.send(number, request, None);
    }

    /// The answer that the client waits for does not reach it.
    fn lose(&mut self, client: usize, disconnected: bool) {
        let Some(token) = self.clients[client].pending.take() else { return };
        self.clients[client].is_sure = false;
        if disconnected {
            self.sent.remove(&token);
            self.coordinator.disconnected(token);
        }
    }

    fn execute(&mut self, effects: Vec<GroupEffect>) {
        self.coordinator.check();
        for effect in effects {
            match effect {
                GroupEffect::Store { store, records } => {
                    assert!(!records.is_empty());
                    self.under_way.push_back((store, records));
                }
                GroupEffect::Reply { token, reply } => {
                    let sent = self.sent.remove(&token).expect("one answer to each request");
                    encode(&reply, 1);
                    let GroupReply::ConsumerGroupHeartbeat(response) = reply else { panic!("{reply:?}") };
                    self.answered(token, &sent, &response);
                }
            }
        }
        self.check();
    }

    fn answered(&mut self, token: RequestToken, sent: &Sent, response: &ConsumerGroupHeartbeatResponse) {
        let client = &mut self.clients[sent.client];
        let is_heard = client.pending == Some(token);
        let error = ResponseError::try_from_code(response.error_code);
        if error.is_none() && sent.request.member_epoch >= 0 {
            let group = self.coordinator.durable_consumer_group(&text(GROUP)).expect("a member has joined it");
            let member = group.members.get(&response.member_id.clone().expect("an id")).expect("a durable member");
            let assigned = client::partitions(&member.current.assigned);
            assert_eq!(response.member_epoch, member.epoch(), "an epoch that is not durable");
            if let Some(told) = &response.assignment {
                assert_eq!(client::told(told), assigned, "an assignment that is not durable");
            }
            if is_heard {
                client.accepted(sent, response, &assigned);
            }
        } else if is_heard {
            client.refused(self.now_ms, &config(), error.expect("only an error is left"));
        }
    }

    /// What has to hold at any time.
    fn check(&mut self) {
        let durable = self.coordinator.durable_consumer_group(&text(GROUP));
        let epoch = durable.map_or(0, |group| group.epoch);
        assert!(durable.is_none() || epoch >= self.epoch, "epoch {epoch} after {}", self.epoch);
        self.epoch = epoch;
        let mut owners: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for (number, client) in self.clients.iter().enumerate() {
            // Whoever has been thrown out and does not know yet does not count: its session has ended.
            if durable.is_none_or(|group| !group.members.contains_key(&client.member_id)) {
                continue;
            }
            for partition in &client.owned {
                let other = owners.insert(*partition, number);
                assert!(other.is_none(), "{partition:?} is in the hands of {number} and {other:?}");
            }
        }
        let Some(group) = recorded(&self.coordinator) else { return };
        assert!(group.target_epoch <= group.epoch, "target {} of epoch {}", group.target_epoch, group.epoch);
        let mut owners = BTreeSet::new();
        for member in group.members.values() {
            assert!(member.epoch() <= group.target_epoch, "member epoch {}", member.epoch());
            for partition in member.owned() {
                assert!(owners.insert(partition), "{partition:?} has two owners");
            }
        }
    }

    fn change_topic(&mut self, name: &str, more: i32) {
        let before = self.environment.topics.iter().position(|topic| topic.name.as_str() == name);
        match before {
            Some(at) if more == 0 => {
                self.environment.topics.remove(at);
            }
            Some(at) => self.environment.topics[at].partitions += more,
            None if more == 0 => return,
            None => {
                self.topics_made += 1;
                let id = TopicId(Uuid::from_u128(self.topics_made));
                self.environment.topics.push(Topic { id, name: text(name), partitions: more });
            }
        }
        self.environment.version += 1;
        self.coordinator.topics_changed([name], before.is_none(), self.environment.version);
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
        let outcome = if self.failing > 0 { StoreOutcome::Failed(StoreFailure::Unavailable) } else { outcome };
        self.failing = match outcome {
            StoreOutcome::Durable => 0,
            StoreOutcome::Failed(_) if self.failing > 0 => self.failing - 1,
            StoreOutcome::Failed(_) => self.under_way.len(),
        };
        if outcome == StoreOutcome::Durable {
            self.append(records);
        }
        let effects = self.coordinator.stored(self.now_ms, store, outcome);
        let durable = self.coordinator.durable_consumer_group(&text(GROUP));
        assert_eq!(durable, recorded(&self.replayed), "memory and replay");
        self.execute(effects);
    }

    fn append(&mut self, records: Vec<StoredRecord>) {
        for record in &records {
            self.replayed.load(&record.key, record.value.as_deref()).expect("our own record");
        }
        self.log.extend(records);
    }

    fn restart(&mut self, kept: usize, resigns: bool) {
        if resigns {
            let effects = self.coordinator.resign();
            self.execute(effects);
        }
        for client in 0..CLIENTS {
            self.lose(client, false);
        }
        self.sent.clear();
        let kept = if self.failing > 0 { 0 } else { kept };
        self.failing = 0;
        for (_, records) in std::mem::take(&mut self.under_way).into_iter().take(kept) {
            self.append(records);
        }
        self.coordinator = GroupCoordinator::new(config());
        for record in &self.log {
            self.coordinator.load(&record.key, record.value.as_deref()).expect("our own record");
        }
        let group = recorded(&self.coordinator);
        assert_eq!(group, recorded(&self.replayed));
        // Sessions begin anew.
        for client in &mut self.clients {
            if group.is_some_and(|group| group.members.contains_key(&client.member_id)) {
                client.heard_ms = self.now_ms;
            }
        }
        let effects = self.coordinator.activate(self.now_ms, self.environment.version);
        self.execute(effects);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: super::cases(600), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn members_can_rely_on_what_they_have(
        assignors in prop_oneof![Just(Assignors::Default), Just(Assignors::Range), Just(Assignors::Mixed)],
        subscription in 0..SUBSCRIPTIONS.len(),
        steps in proptest::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new(assignors, subscription);
        for step in &steps {
            world.step(step);
        }
        world.quiet(assignors);
    }
}
