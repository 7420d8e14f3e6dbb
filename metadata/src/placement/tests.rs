use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod draining;
mod rebalancing;
mod widening;

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

fn broker(id: i32, rack: Option<&str>) -> BrokerPlace {
    BrokerPlace { broker: BrokerId(id), rack: rack.map(str::to_owned), fenced: false, shards: 2 }
}

fn partition(id: i32, replicas: &[i32]) -> PartitionPlace {
    let replicas = ids(replicas);
    PartitionPlace {
        partition: PartitionId(id),
        isr: replicas.clone(),
        leader: replicas.first().copied(),
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
        bytes: None,
    }
}

fn topic(name: &str, partitions: &[&[i32]]) -> TopicPlace {
    let partitions = (0..).zip(partitions).map(|(id, replicas)| partition(id, replicas)).collect();
    TopicPlace { name: name.to_owned(), id: TopicId::ZERO, partitions }
}

/// A move as `topic-partition: from -> to`.
fn shown(moves: &[Move]) -> Vec<String> {
    let list = |brokers: &[BrokerId]| brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    moves.iter().map(|one| format!("{}-{}: {} -> {}", one.name.0, one.name.1, list(&one.from), list(&one.to))).collect()
}

/// How far a move has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    NotBegun,
    UnderWay,
    Done,
}

fn progress() -> impl Strategy<Value = Vec<Progress>> {
    let one = prop_oneof![Just(Progress::NotBegun), Just(Progress::UnderWay), Just(Progress::Done)];
    prop::collection::vec(one, 64)
}

/// The placement when that much of a plan is carried out; moves beyond the list's end are done.
fn carried_out(placement: &Placement, moves: &[Move], progress: &[Progress]) -> Placement {
    let mut placement = placement.clone();
    for (at, one) in moves.iter().enumerate() {
        let topic = placement.topics.iter_mut().find(|topic| topic.name == one.name.0).expect("it is planned for");
        let state = &mut topic.partitions[usize::try_from(one.name.1.0).unwrap()];
        assert_eq!(state.target(), one.from, "what the plan starts from");
        let original: Vec<BrokerId> =
            state.replicas.iter().copied().filter(|replica| !state.adding.contains(replica)).collect();
        match progress.get(at).copied().unwrap_or(Progress::Done) {
            Progress::NotBegun => {}
            Progress::UnderWay => {
                let not_in = |these: &[BrokerId], those: &[BrokerId]| -> Vec<BrokerId> {
                    these.iter().copied().filter(|broker| !those.contains(broker)).collect()
                };
                state.adding = not_in(&one.to, &original);
                state.removing = not_in(&original, &one.to);
                state.replicas = [&one.to[..], &state.removing].concat();
            }
            Progress::Done => {
                state.replicas.clone_from(&one.to);
                state.isr.clone_from(&one.to);
                state.leader = one.to.first().copied();
                state.adding.clear();
                state.removing.clear();
            }
        }
    }
    placement
}

fn all_done(placement: &Placement, moves: &[Move]) -> Placement {
    carried_out(placement, moves, &[])
}

/// Where every partition is, or is on its way to.
fn targets(placement: &Placement) -> Vec<Vec<BrokerId>> {
    placement.partitions().map(|(_, state)| state.target()).collect()
}

fn racks(placement: &Placement, replicas: &[BrokerId]) -> usize {
    let rack = |id: &BrokerId| placement.broker(*id).and_then(|broker| broker.rack.clone()).ok_or(*id);
    replicas.iter().map(rack).collect::<BTreeSet<_>>().len()
}

/// What each unfenced broker has: replicas, and preferred leaders.
fn held(placement: &Placement) -> BTreeMap<BrokerId, (u64, u64)> {
    let unfenced = placement.brokers.iter().filter(|broker| !broker.fenced);
    let mut held: BTreeMap<_, _> = unfenced.map(|broker| (broker.broker, (0, 0))).collect();
    for target in targets(placement) {
        for (position, replica) in target.iter().enumerate() {
            if let Some(held) = held.get_mut(replica) {
                held.0 += 1;
                held.1 += u64::from(position == 0);
            }
        }
    }
    held
}

fn spread(counts: impl Iterator<Item = u64> + Clone) -> u64 {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

/// What no plan may do to a partition.
fn check_sound(before: &Placement, after: &Placement) {
    for (was, is) in targets(before).iter().zip(targets(after)) {
        assert_eq!(was.len(), is.len(), "replication factor of {was:?} and {is:?}");
        assert_eq!(is.iter().collect::<BTreeSet<_>>().len(), is.len(), "a broker twice in {is:?}");
        for replica in is.iter().filter(|replica| !was.contains(replica)) {
            assert!(after.is_unfenced(*replica), "{replica} of {is:?} cannot be given anything");
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    racks: bool,
    different_sizes: bool,
    fenced: bool,
}

const PLAIN: Shape = Shape { racks: false, different_sizes: false, fenced: false };
const ANY: Shape = Shape { racks: true, different_sizes: true, fenced: true };

prop_compose! {
    fn some_broker(shape: Shape)(
        rack in prop::option::weighted(0.9, 0..3_usize),
        shards in if shape.different_sizes { 0..5_u32 } else { 2..3_u32 },
        fenced in prop::bool::weighted(0.15),
    ) -> (Option<usize>, u32, bool) {
        (rack.filter(|_| shape.racks), shards, fenced && shape.fenced)
    }
}

/// Anywhere, however uneven.
fn any_placement(shape: Shape, partitions_max: usize) -> impl Strategy<Value = Placement> {
    let brokers = prop::collection::vec(some_broker(shape), 2..7_usize);
    let some_partition = || (1..=3_usize, prop::collection::vec(any::<u32>(), 7), prop::option::of(0..1000_u64));
    let topics = prop::collection::vec(prop::collection::vec(some_partition(), 0..=partitions_max), 1..4_usize);
    (brokers, topics).prop_map(|(brokers, topics)| {
        let brokers: Vec<BrokerPlace> = (1..)
            .zip(brokers)
            .map(|(id, (rack, shards, fenced))| BrokerPlace {
                rack: rack.map(|rack| format!("rack{rack}")),
                fenced,
                shards,
                ..broker(id, None)
            })
            .collect();
        let topics = ["a", "b", "c"].iter().zip(topics).map(|(name, partitions)| {
            let partitions = (0..).zip(partitions).map(|(id, (replication_factor, order, bytes))| {
                let mut all: Vec<i32> = brokers.iter().map(|broker| broker.broker.0).collect();
                all.sort_by_key(|id| order[usize::try_from(*id).unwrap() - 1] / u32::try_from(*id).unwrap());
                all.truncate(replication_factor);
                PartitionPlace { bytes, ..partition(id, &all) }
            });
            TopicPlace { name: (*name).to_owned(), id: TopicId::ZERO, partitions: partitions.collect() }
        });
        Placement { topics: topics.collect(), brokers }
    })
}
