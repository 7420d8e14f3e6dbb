//! `ringlog cluster drain` and `rebalance`: asks the controller for the reassignments of a plan, a few at a time, waits until
//! they are complete, and has the preferred leaders elected.
//!
//! Nothing is remembered outside the cluster: what is done and what is under way is in the metadata, and the rest is planned
//! anew by whoever runs next. So it can be stopped anywhere, and run twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use metadata::controller::{ElectionType, PartitionName, WantedReassignment};
use metadata::placement::{self, Move, PartitionPlace, Placement, TopicPlace};
use metadata::record::NodeBinding;
use protocol::{BrokerId, PartitionId};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::MovingArgs;
use super::asking::Asking;
use super::plan_table::{bytes_sent, move_json, plan_text, totals};
use super::progress::{Progress, Reporter};
use super::throttle::{self, Moving, Throttle};
use crate::cli::table::list;
use crate::cli::told::Told;
use crate::metadata_core::inspect::{LeaderView, LedSizes};
use crate::metadata_core::request::{AlterPartitionReassignments, ElectLeaders, PlacementSeen};

/// Pause between two looks at what is moving.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a leader may take to say how far replicas are; without its answer that is not known.
const VIEW_PATIENCE: Duration = Duration::from_secs(2);
/// Leaders' views that are asked for at once.
const VIEWS_MAX: usize = 500;
/// Partitions that one request names.
const PARTITIONS_MAX: usize = 1000;
/// Plans in a row that are refused before anything was moved.
const REFUSED_PLANS_MAX: usize = 3;

/// What is to be so in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Drain(BrokerId),
    Rebalance,
}

impl Goal {
    fn plan(self, placement: &Placement) -> Result<Vec<Move>, String> {
        match self {
            Goal::Drain(node) => placement::drain(placement, node).map_err(|error| error.to_string()),
            Goal::Rebalance => Ok(placement::rebalance(placement)),
        }
    }

    /// Whether the partition is on its way, and has to arrive.
    fn awaits(self, state: &PartitionPlace) -> bool {
        state.is_reassigned()
            && match self {
                Goal::Drain(node) => state.replicas.contains(&node),
                Goal::Rebalance => true,
            }
    }

    fn cancels(self, state: &PartitionPlace) -> bool {
        match self {
            Goal::Drain(node) => state.removing.contains(&node),
            Goal::Rebalance => state.is_reassigned(),
        }
    }
}

pub(super) async fn run(asking: &Asking, goal: Goal, args: MovingArgs) -> Result<Told, String> {
    if args.cancel {
        return cancel(asking, goal, args.json).await;
    }
    let mut run = Run::new(asking, goal, args);
    if args.dry_run {
        return run.dry_run().await;
    }
    let ended = tokio::select! {
        ended = run.carry_out() => ended,
        stopped = interrupted() => stopped.map(|()| None),
    };
    run.reporter.end();
    let mut outcome = match ended {
        Ok(Some(done)) => Ok(done),
        Ok(None) => Err(run.stopped().await),
        Err(why) => Err(why),
    };
    if args.throttle.is_some()
        && let Err(why) = throttle::clear(asking).await
    {
        let why = format!("replication throttles could not be removed, run it again to do so: {why}");
        outcome = Err(match outcome {
            Ok(_) => why,
            Err(first) => format!("{first}; {why}"),
        });
    }
    outcome
}

/// Ctrl-C, or what `kill` sends.
async fn interrupted() -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn cancel(asking: &Asking, goal: Goal, as_json: bool) -> Result<Told, String> {
    let seen = asking.placement(None).await?;
    let moving = seen.placement.partitions().filter(|(_, state)| goal.cancels(state));
    let names: Vec<PartitionName> = moving.map(|(topic, state)| (topic.name.clone(), state.partition)).collect();
    let wanted = names.into_iter().map(|(topic, partition)| WantedReassignment { topic, partition, target: None });
    let wanted: Vec<_> = wanted.collect();
    let (mut cancelled, mut refused) = (0, Vec::new());
    for wanted in wanted.chunks(PARTITIONS_MAX) {
        let request = AlterPartitionReassignments { wanted: wanted.to_vec(), may_change_replication_factor: false };
        for ((topic, partition), answer) in asking.ask(request).await? {
            match answer {
                Ok(()) => cancelled += 1,
                // It has arrived meanwhile.
                Err(refusal) if refusal.is(ResponseError::NoReassignmentInProgress) => {}
                Err(refusal) => refused.push(format!("{topic}-{partition}: {refusal}")),
            }
        }
    }
    throttle::clear(asking).await?;
    let mut told = match as_json {
        true => Told::json(&json!({ "cancelled": cancelled, "not_cancelled": refused.len() })),
        false => Told::text(format!("{cancelled} reassignment(s) were cancelled\n")),
    };
    told.problems = refused.into_iter().map(|refused| format!("not cancelled: {refused}")).collect();
    Ok(told)
}

struct Run<'a> {
    asking: &'a Asking,
    goal: Goal,
    concurrency: usize,
    as_json: bool,
    throttle: Option<Throttle>,
    reporter: Reporter,
    began: Instant,
    /// What was asked for, or found under way, and is not complete.
    in_flight: BTreeSet<PartitionName>,
    done: usize,
    bytes_done: u64,
    /// Sizes of logs when they were last asked for.
    bytes: BTreeMap<PartitionName, u64>,
    /// Brokers that are down, since when.
    fenced_since: BTreeMap<BrokerId, Instant>,
    /// Of those, the ones that are not waited for any more.
    given_up: BTreeSet<BrokerId>,
    /// Plans in a row that were refused.
    refused_plans: usize,
}

/// Why following a plan ended.
enum Followed {
    /// All of it is complete.
    Through,
    /// Things are not as they were when it was made.
    Outdated,
}

impl<'a> Run<'a> {
    fn new(asking: &'a Asking, goal: Goal, args: MovingArgs) -> Run<'a> {
        Run {
            asking,
            goal,
            concurrency: args.concurrency.into(),
            as_json: args.json,
            throttle: args.throttle.map(Throttle::new),
            reporter: Reporter::new(),
            began: Instant::now(),
            in_flight: BTreeSet::new(),
            done: 0,
            bytes_done: 0,
            bytes: BTreeMap::new(),
            fenced_since: BTreeMap::new(),
            given_up: BTreeSet::new(),
            refused_plans: 0,
        }
    }

    async fn dry_run(&mut self) -> Result<Told, String> {
        let (seen, plan) = self.plan().await?;
        let moving = seen.placement.partitions().filter(|(_, state)| self.goal.awaits(state)).count();
        let elections = led_by_others(&seen.placement).count();
        if self.as_json {
            let elections = (self.goal == Goal::Rebalance).then_some(elections);
            return Ok(Told::json(&json!({
                "dry_run": true,
                "moves": plan.iter().map(move_json).collect::<Vec<_>>(),
                "moving_already": moving,
                "led_by_others": elections,
            })));
        }
        let mut text = if plan.is_empty() { String::new() } else { plan_text(&plan) };
        text.push_str(&format!("{}\n", totals(&plan)));
        if moving > 0 {
            text.push_str(&format!("{moving} partition(s) are moving already\n"));
        }
        if self.goal == Goal::Rebalance {
            text.push_str(&format!("{elections} partition(s) are led by another than their preferred leader now\n"));
        }
        Ok(Told::text(text))
    }

    /// What is left to do, by what is so now.
    async fn plan(&mut self) -> Result<(PlacementSeen, Vec<Move>), String> {
        let mut seen = self.asking.placement(None).await?;
        self.measure(&mut seen).await;
        let plan = self.goal.plan(&seen.placement)?;
        Ok((seen, plan))
    }

    /// Asks all leaders for the sizes of their logs. Those that do not answer leave them unknown.
    async fn measure(&mut self, seen: &mut PlacementSeen) {
        let alive = seen.nodes.iter().filter(|node| seen.placement.is_unfenced(node.node));
        let asked = alive.map(|node| self.asking.inspect(node, LedSizes { leader: node.node }, self.asking.patience));
        let lines = join_all(asked).await.into_iter().flatten().flatten();
        let sizes: BTreeMap<_, _> = lines.map(|line| ((line.topic_id, line.partition), line.bytes)).collect();
        for topic in &mut seen.placement.topics {
            for state in &mut topic.partitions {
                state.bytes = sizes.get(&(topic.id, state.partition)).copied();
                if let Some(bytes) = state.bytes {
                    self.bytes.insert((topic.name.clone(), state.partition), bytes);
                }
            }
        }
    }

    /// Until nothing is left to do. Never gives `None`: that is who is interrupted.
    async fn carry_out(&mut self) -> Result<Option<Told>, String> {
        loop {
            let (seen, plan) = self.plan().await?;
            // What the plan has other places for is asked for again.
            let planned: BTreeSet<&PartitionName> = plan.iter().map(|one| &one.name).collect();
            let moving = seen.placement.partitions().filter(|(_, state)| self.goal.awaits(state));
            let moving = moving.map(|(topic, state)| (topic.name.clone(), state.partition));
            self.in_flight = moving.filter(|name| !planned.contains(name)).collect();
            if plan.is_empty() && self.in_flight.is_empty() {
                if self.goal == Goal::Rebalance {
                    let led_by_others: Vec<_> = led_by_others(&seen.placement).collect();
                    self.elect(led_by_others).await?;
                }
                return Ok(Some(self.summary()));
            }
            let under_way = match self.in_flight.len() {
                0 => String::new(),
                count => format!("; {count} partition(s) are moving already"),
            };
            self.reporter.note(&format!("to do: {}{under_way}", totals(&plan)));
            match self.follow(plan.into(), seen).await? {
                Followed::Through => {}
                Followed::Outdated => self.reporter.note("planning anew"),
            }
        }
    }

    async fn follow(&mut self, mut plan: VecDeque<Move>, mut seen: PlacementSeen) -> Result<Followed, String> {
        loop {
            if !self.begin(&mut plan, &seen.placement).await? {
                return Ok(Followed::Outdated);
            }
            let topics: BTreeSet<&String> = self.in_flight.iter().map(|(topic, _)| topic).collect();
            seen = self.asking.placement(Some(topics.into_iter().cloned().collect())).await?;
            self.complete(&seen.placement).await?;
            let now = Instant::now();
            if self.reporter.is_due(now) {
                let progress = self.progress(&plan, &seen).await;
                self.reporter.report(&progress, now);
            }
            if plan.is_empty() && self.in_flight.is_empty() {
                return Ok(Followed::Through);
            }
            if self.gives_up_brokers(&plan, &seen.placement, now) {
                return Ok(Followed::Outdated);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks for as many of the plan's moves as there is room for; false if the plan fits no more.
    async fn begin(&mut self, plan: &mut VecDeque<Move>, placement: &Placement) -> Result<bool, String> {
        let room = self.concurrency.saturating_sub(self.in_flight.len());
        // What would go to a broker that is down waits for it, at the end.
        let may_begin = |one: &Move| one.adding().all(|broker| placement.is_unfenced(broker));
        let mut batch = Vec::new();
        for _ in 0..plan.len() {
            if batch.len() == room {
                break;
            }
            let one = plan.pop_front().expect("it is that long");
            if may_begin(&one) { batch.push(one) } else { plan.push_back(one) }
        }
        if let Some(throttle) = &mut self.throttle {
            let mut moving = throttled(placement, &self.in_flight);
            for one in &batch {
                let from = placement.partition(&one.name.0, one.name.1).map_or(&[][..], |state| &state.replicas);
                let from = [from, &one.from].concat();
                moving.insert(one.name.clone(), Moving { from: unique(from), to: one.adding().collect() });
            }
            throttle.hold(self.asking, placement, &moving).await?;
        }
        for batch in batch.chunks(PARTITIONS_MAX) {
            let wanted = batch.iter().map(|one| WantedReassignment {
                topic: one.name.0.clone(),
                partition: one.name.1,
                target: Some(one.to.clone()),
            });
            let wanted = wanted.collect();
            let request = AlterPartitionReassignments { wanted, may_change_replication_factor: false };
            let mut refused = Vec::new();
            for (name, answer) in self.asking.ask(request).await? {
                match answer {
                    Ok(()) => drop(self.in_flight.insert(name)),
                    // It was deleted meanwhile.
                    Err(refusal) if refusal.is(ResponseError::UnknownTopicOrPartition) => {}
                    Err(refusal) => refused.push(format!("{}-{}: {refusal}", name.0, name.1)),
                }
            }
            if let Some(first) = refused.first() {
                let why = format!("the controller refused {} of {} moves: {first}", refused.len(), batch.len());
                self.refused_plans = if refused.len() < batch.len() { 0 } else { self.refused_plans + 1 };
                if self.refused_plans == REFUSED_PLANS_MAX {
                    return Err(why);
                }
                self.reporter.note(&why);
                return Ok(false);
            }
            self.refused_plans = 0;
        }
        Ok(true)
    }

    /// Finds out what is complete, and has its preferred leaders elected.
    async fn complete(&mut self, placement: &Placement) -> Result<(), String> {
        let (mut complete, mut led_by_others) = (Vec::new(), Vec::new());
        for name in &self.in_flight {
            match placement.partition(&name.0, name.1) {
                Some(state) if state.is_reassigned() => continue,
                Some(state) if state.leader != state.replicas.first().copied() => led_by_others.push(name.clone()),
                // Led well, or deleted.
                Some(_) | None => {}
            }
            complete.push(name.clone());
        }
        for name in complete {
            self.in_flight.remove(&name);
            self.done += 1;
            self.bytes_done = self.bytes_done.saturating_add(self.bytes.get(&name).copied().unwrap_or(0));
        }
        self.elect(led_by_others).await
    }

    async fn elect(&mut self, partitions: Vec<PartitionName>) -> Result<(), String> {
        for partitions in partitions.chunks(PARTITIONS_MAX) {
            let election = ElectionType::Preferred;
            let request = ElectLeaders { election, partitions: Some(partitions.to_vec()) };
            for ((topic, partition), answer) in self.asking.ask(request).await? {
                match answer {
                    Ok(()) => {}
                    Err(refusal)
                        if refusal.is(ResponseError::ElectionNotNeeded)
                            || refusal.is(ResponseError::UnknownTopicOrPartition) => {}
                    // It is no less where it should be; another election may make it lead.
                    Err(refusal) => self.reporter.note(&format!("{topic}-{partition}: {refusal}")),
                }
            }
        }
        Ok(())
    }

    /// Whether a broker that something goes to has been down for too long, so that it has to go elsewhere.
    fn gives_up_brokers(&mut self, plan: &VecDeque<Move>, placement: &Placement, now: Instant) -> bool {
        let fenced: BTreeSet<BrokerId> =
            placement.brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.broker).collect();
        self.fenced_since.retain(|broker, _| fenced.contains(broker));
        self.given_up.retain(|broker| fenced.contains(broker));
        for broker in fenced {
            self.fenced_since.entry(broker).or_insert(now);
        }
        let states = self.in_flight.iter().filter_map(|name| placement.partition(&name.0, name.1));
        let awaited = states.flat_map(|state| state.adding.iter().filter(|broker| !state.isr.contains(broker)));
        let awaited: Vec<BrokerId> = awaited.copied().chain(plan.iter().flat_map(Move::adding)).collect();
        let patience = self.asking.patience;
        let lost = self.fenced_since.iter().filter(|(broker, since)| {
            now.saturating_duration_since(**since) >= patience
                && awaited.contains(broker)
                && !self.given_up.contains(broker)
        });
        let lost: Vec<BrokerId> = lost.map(|(broker, _)| *broker).collect();
        if lost.is_empty() {
            return false;
        }
        let count = awaited.iter().filter(|broker| lost.contains(broker)).count();
        self.reporter.note(&format!(
            "broker {} has not been alive for {} s, and {count} replica(s) were to go there",
            list(&lost),
            patience.as_secs()
        ));
        self.given_up.extend(lost);
        true
    }

    async fn progress(&self, plan: &VecDeque<Move>, seen: &PlacementSeen) -> Progress {
        let moving = self.in_flight.iter().filter_map(|name| seen.placement.partition_of_topic(&name.0, name.1));
        let moving: Vec<(&TopicPlace, &PartitionPlace)> = moving.collect();
        let views = moving.iter().take(VIEWS_MAX).map(|(topic, state)| self.bytes_behind(topic, state, &seen.nodes));
        let views = join_all(views).await;
        let unseen = moving.iter().skip(VIEWS_MAX).map(|(topic, state)| self.bytes_to_send(topic, state));
        let not_begun = plan.iter().map(bytes_sent);
        Progress {
            done: self.done,
            moving: self.in_flight.len(),
            not_begun: plan.len(),
            leaderless: moving.iter().filter(|(_, state)| state.leader.is_none()).count(),
            bytes_left: views.into_iter().chain(unseen).chain(not_begun).sum(),
        }
    }

    /// Bytes that replicas on their way in lack, as the leader knows; all of them where it does not say.
    async fn bytes_behind(&self, topic: &TopicPlace, state: &PartitionPlace, nodes: &[NodeBinding]) -> Option<u64> {
        let leader = nodes.iter().find(|node| Some(node.node) == state.leader)?;
        let question = LeaderView { topic_id: topic.id, partition: state.partition };
        let Ok(Ok(view)) = self.asking.inspect(leader, question, VIEW_PATIENCE).await else {
            return self.bytes_to_send(topic, state);
        };
        let all = self.bytes.get(&(topic.name.clone(), state.partition)).copied();
        let replicas = view.replicas.iter().filter(|replica| state.adding.contains(&replica.broker));
        replicas.map(|replica| replica.behind_bytes.or(all)).sum()
    }

    fn bytes_to_send(&self, topic: &TopicPlace, state: &PartitionPlace) -> Option<u64> {
        let bytes = self.bytes.get(&(topic.name.clone(), state.partition))?;
        Some(bytes.saturating_mul(state.adding.len() as u64))
    }

    fn summary(&self) -> Told {
        let seconds = self.began.elapsed().as_secs();
        if self.as_json {
            return Told::json(&json!({ "moved_partitions": self.done, "seconds": seconds }));
        }
        let what = match self.goal {
            Goal::Drain(node) => {
                format!(
                    "node {node} has no replicas and leads nothing; 'ringlog cluster remove {node}' once it is stopped"
                )
            }
            Goal::Rebalance => "replicas and leaders are even".to_owned(),
        };
        Told::text(format!("{} partition(s) were moved in {seconds} s: {what}\n", self.done))
    }

    /// What becomes of what was begun.
    async fn stopped(&mut self) -> String {
        let how = "the same command goes on where this stands, and with --cancel takes back what is moving";
        match self.asking.placement(None).await {
            Ok(seen) => {
                let moving = seen.placement.partitions().filter(|(_, state)| self.goal.awaits(state)).count();
                let left = self
                    .goal
                    .plan(&seen.placement)
                    .map_or(String::new(), |plan| format!(", {} were not begun", plan.len()));
                format!("stopped: {} partition(s) are done, {moving} are moving and go on{left}; {how}", self.done)
            }
            Err(why) => {
                let why = String::from(why);
                format!("stopped, and what is moving goes on: {how} (how much that is is not known: {why})")
            }
        }
    }
}

/// Partitions whose preferred leader could lead, and does not.
fn led_by_others(placement: &Placement) -> impl Iterator<Item = PartitionName> + '_ {
    let partitions = placement.partitions().filter(|(_, state)| match state.replicas.first() {
        Some(first) => {
            state.leader.is_some_and(|leader| leader != *first)
                && state.isr.contains(first)
                && placement.is_unfenced(*first)
        }
        None => false,
    });
    partitions.map(|(topic, state)| (topic.name.clone(), state.partition))
}

/// What is throttled of partitions that are moving.
fn throttled(placement: &Placement, names: &BTreeSet<PartitionName>) -> BTreeMap<PartitionName, Moving> {
    let moving = names.iter().filter_map(|name: &(String, PartitionId)| {
        let state = placement.partition(&name.0, name.1)?;
        let from = state.replicas.iter().copied().filter(|replica| !state.adding.contains(replica)).collect();
        Some((name.clone(), Moving { from, to: state.adding.clone() }))
    });
    moving.collect()
}

fn unique(mut brokers: Vec<BrokerId>) -> Vec<BrokerId> {
    brokers.sort_unstable();
    brokers.dedup();
    brokers
}
