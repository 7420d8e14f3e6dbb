//! `/api/v1/cluster`: brokers, the metadata quorum, and what is wrong with partitions. By this broker's image.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use metadata::image::{MetadataImage, PartitionImage};
use metadata::raft::QuorumStatus;
use protocol::BrokerId;
use serde::Serialize;

use super::Console;
use super::answer::{Answered, laid_out};

/// Partitions with something wrong that are named; all are counted.
const PROBLEMS_MAX: usize = 50;
/// Brokers that are listed.
const BROKERS_MAX: usize = 1000;

#[derive(Serialize)]
struct Cluster {
    cluster_id: Option<String>,
    /// The broker that answers.
    broker: i32,
    version: &'static str,
    console: &'static str,
    metadata_offset: u64,
    quorum: Quorum,
    brokers: Vec<Broker>,
    totals: Totals,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Quorum {
    /// The controller.
    leader: Option<i32>,
    term: u64,
    members: Vec<Member>,
}

#[derive(Serialize)]
struct Member {
    broker: i32,
    address: String,
    voter: bool,
    /// Entries of the metadata log that it has, as far as that is known.
    log_end: Option<u64>,
}

#[derive(Serialize)]
struct Broker {
    id: i32,
    state: &'static str,
    host: String,
    port: u16,
    internal_address: Option<String>,
    rack: Option<String>,
    shards: u32,
    #[serde(flatten)]
    load: Load,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Load {
    /// Replicas that are assigned to it.
    replicas: u32,
    leaders: u32,
    /// Replicas that are not in sync.
    out_of_sync: u32,
}

#[derive(Default, Serialize)]
struct Totals {
    topics: usize,
    partitions: usize,
    offline: usize,
    under_replicated: usize,
    under_min_isr: usize,
    reassigning: usize,
    not_led_by_preferred: usize,
}

#[derive(Serialize)]
struct Problem {
    topic: Arc<str>,
    partition: i32,
    /// `offline`, `under_min_isr` or `under_replicated`: the worst.
    what: &'static str,
    leader: Option<i32>,
    replicas: Vec<i32>,
    isr: Vec<i32>,
}

/// What is wrong with a partition, the worst first.
pub fn trouble(partition: &PartitionImage, min_insync_replicas: i32) -> Option<&'static str> {
    if partition.leader.is_none() {
        return Some("offline");
    }
    if partition.is_under_min_isr(min_insync_replicas) {
        return Some("under_min_isr");
    }
    partition.is_under_replicated().then_some("under_replicated")
}

pub fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

pub async fn cluster(State(console): State<Arc<Console>>) -> Answered {
    let peers = console.peers()?;
    let (image, me, mode) = (peers.image(), peers.me, console.mode);
    let quorum = peers.quorum().await;
    laid_out(move || {
        let (loads, totals, problems) = partitions(&image);
        Ok(Cluster {
            cluster_id: image.cluster_id().map(|id| id.to_string()),
            broker: me.0,
            version: env!("CARGO_PKG_VERSION"),
            console: mode.word(),
            metadata_offset: image.metadata_offset(),
            quorum: Quorum::of(quorum),
            brokers: brokers(&image, &loads),
            totals,
            problems,
        })
    })
    .await
}

impl Quorum {
    fn of(status: QuorumStatus) -> Quorum {
        let member = |member: metadata::raft::MemberStatus| Member {
            broker: member.node.node.0,
            address: member.node.address,
            voter: member.is_voter,
            log_end: member.log_end,
        };
        Quorum {
            leader: status.leader.map(|leader| leader.0),
            term: status.term,
            members: status.members.into_iter().take(BROKERS_MAX).map(member).collect(),
        }
    }
}

fn brokers(image: &MetadataImage, loads: &HashMap<BrokerId, Load>) -> Vec<Broker> {
    let broker = |state: &Arc<metadata::record::BrokerState>| Broker {
        id: state.broker.0,
        state: if state.is_fenced() { "fenced" } else { "unfenced" },
        host: state.host.clone(),
        port: state.port,
        internal_address: image.node(state.broker).map(|node| node.address.clone()),
        rack: state.rack.clone(),
        shards: state.shards,
        load: loads.get(&state.broker).copied().unwrap_or_default(),
    };
    image.brokers().take(BROKERS_MAX).map(broker).collect()
}

fn partitions(image: &MetadataImage) -> (HashMap<BrokerId, Load>, Totals, Vec<Problem>) {
    let mut loads: HashMap<BrokerId, Load> = HashMap::new();
    let mut totals = Totals { topics: image.topic_count(), partitions: image.partition_count(), ..Totals::default() };
    let mut problems = Vec::new();
    for topic in image.topics() {
        let min_insync_replicas = image.min_insync_replicas(&topic.name);
        for (id, partition) in topic.partitions() {
            for replica in partition.replicas.iter() {
                let load = loads.entry(*replica).or_default();
                load.replicas += 1;
                load.leaders += u32::from(partition.leader == Some(*replica));
                let arrives = partition.reassignment.as_ref().is_some_and(|moving| moving.adding.contains(replica));
                load.out_of_sync += u32::from(!arrives && !partition.isr.contains(replica));
            }
            totals.reassigning += usize::from(partition.reassignment.is_some());
            totals.under_replicated += usize::from(partition.is_under_replicated());
            totals.not_led_by_preferred += usize::from(partition.leader.as_ref() != partition.replicas.first());
            let Some(what) = trouble(partition, min_insync_replicas) else { continue };
            totals.offline += usize::from(what == "offline");
            totals.under_min_isr += usize::from(what == "under_min_isr");
            problems.push(Problem {
                topic: topic.name.clone(),
                partition: id.0,
                what,
                leader: partition.leader.map(|leader| leader.0),
                replicas: ids(&partition.replicas),
                isr: ids(&partition.isr),
            });
        }
    }
    let severity = |what| ["offline", "under_min_isr", "under_replicated"].iter().position(|known| *known == what);
    problems.sort_by_key(|problem| severity(problem.what));
    problems.truncate(PROBLEMS_MAX);
    (loads, totals, problems)
}
