use super::*;

/// What rebalancing makes as small as it can: the smaller, the nearer is everybody to a share in proportion to shards.
fn unevenness(placement: &Placement, of: impl Fn((u64, u64)) -> u64) -> u64 {
    // Of up to 4 shards.
    const MULTIPLE: u64 = 12;
    let shards = |id: BrokerId| u64::from(placement.broker(id).unwrap().shards.max(1));
    held(placement).into_iter().map(|(id, held)| of(held) * of(held) * MULTIPLE / shards(id)).sum()
}

fn replicas_unevenness(placement: &Placement) -> u64 {
    unevenness(placement, |held| held.0)
}

fn leaders_unevenness(placement: &Placement) -> u64 {
    unevenness(placement, |held| held.1)
}

/// The placement with one partition's target changed.
fn with_target(placement: &Placement, partition: usize, target: Vec<BrokerId>) -> Placement {
    let mut changed = placement.clone();
    let mut partitions = changed.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    partitions.nth(partition).unwrap().replicas = target;
    changed
}

/// The smallest unevenness of leaders by any order of replicas.
fn best_leaders(placement: &Placement) -> u64 {
    let targets = targets(placement);
    let mut counts = vec![held(placement).into_keys().map(|id| (id, 0)).collect::<BTreeMap<BrokerId, u64>>()];
    for target in &targets {
        let leaders: Vec<BrokerId> = match target.first().filter(|first| placement.is_unfenced(**first)) {
            Some(_) => target.iter().copied().filter(|replica| placement.is_unfenced(*replica)).collect(),
            // Led by a broker that may come back: not counted.
            None => continue,
        };
        let with = |count: &BTreeMap<BrokerId, u64>, leader: &BrokerId| {
            let mut count = count.clone();
            *count.get_mut(leader).unwrap() += 1;
            count
        };
        let next: BTreeSet<_> =
            counts.iter().flat_map(|count| leaders.iter().map(move |leader| with(count, leader))).collect();
        counts = next.into_iter().collect();
    }
    let shards = |id: &BrokerId| u64::from(placement.broker(*id).unwrap().shards.max(1));
    counts.iter().map(|count| count.iter().map(|(id, held)| held * held * 12 / shards(id)).sum()).min().unwrap()
}

proptest! {
    #[test]
    fn equal_brokers_differ_by_one_at_most_and_no_replica_moves_without_need(placement in any_placement(PLAIN, 12)) {
        let moves = rebalance(&placement);
        let after = all_done(&placement, &moves);
        check_sound(&placement, &after);
        prop_assert!(spread(held(&after).values().map(|held| held.0)) <= 1, "{:?}", held(&after));
        // The fullest keep one more, if it does not come out even.
        let mut counts: Vec<u64> = held(&placement).values().map(|held| held.0).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let (each, more) = (counts.iter().sum::<u64>() / counts.len() as u64, counts.iter().sum::<u64>() % counts.len() as u64);
        let surplus = |(at, count): (usize, &u64)| count.saturating_sub(each + u64::from((at as u64) < more));
        let needed: u64 = counts.iter().enumerate().map(surplus).sum();
        prop_assert_eq!(moves.iter().map(|one| one.adding().count() as u64).sum::<u64>(), needed, "{:?}", shown(&moves));
    }

    #[test]
    fn leaders_are_as_even_as_order_can_make_them(placement in any_placement(ANY, 4)) {
        let after = all_done(&placement, &rebalance(&placement));
        prop_assert_eq!(leaders_unevenness(&after), best_leaders(&after), "{:?}", targets(&after));
    }

    #[test]
    fn no_other_move_would_make_it_more_even(placement in any_placement(ANY, 12)) {
        let after = all_done(&placement, &rebalance(&placement));
        check_sound(&placement, &after);
        for (at, target) in targets(&after).iter().enumerate() {
            for (old, new) in target.iter().flat_map(|old| after.brokers.iter().map(move |new| (old, new.broker))) {
                if target.contains(&new) || !after.is_unfenced(new) || !after.is_unfenced(*old) {
                    continue;
                }
                let other: Vec<BrokerId> = target.iter().map(|held| if held == old { new } else { *held }).collect();
                if racks(&after, &other) < racks(&after, target) {
                    continue;
                }
                let changed = with_target(&after, at, other);
                let (now, then) = (replicas_unevenness(&after), replicas_unevenness(&changed));
                prop_assert!(now <= then, "{target:?} with {new} for {old}: {now} to {then}");
            }
        }
    }

    #[test]
    fn racks_are_never_fewer_and_what_is_on_fenced_brokers_stays(placement in any_placement(ANY, 12)) {
        let after = all_done(&placement, &rebalance(&placement));
        let serving = placement.brokers.iter().filter(|broker| !broker.fenced).map(|broker| broker.broker);
        let racks_serving = racks(&placement, &serving.collect::<Vec<_>>());
        for (was, is) in targets(&placement).iter().zip(targets(&after)) {
            prop_assert!(racks(&placement, &is) >= racks(&placement, was), "{was:?} became {is:?}");
            if is.iter().all(|replica| placement.is_unfenced(*replica)) {
                prop_assert_eq!(racks(&placement, &is), is.len().min(racks_serving), "{:?} became {:?}", was, is);
            }
            for (position, replica) in was.iter().enumerate().filter(|(_, replica)| !placement.is_unfenced(**replica)) {
                prop_assert!(is.contains(replica), "{was:?} became {is:?}");
                prop_assert!(position != 0 || is[0] == *replica, "{was:?} became {is:?}");
            }
        }
    }

    #[test]
    fn what_is_balanced_needs_no_other_plan(placement in any_placement(ANY, 12)) {
        let after = all_done(&placement, &rebalance(&placement));
        prop_assert_eq!(shown(&rebalance(&after)), Vec::<String>::new());
    }

    #[test]
    fn any_part_of_a_plan_can_be_gone_on_from(placement in any_placement(ANY, 12), progress in progress()) {
        let moves = rebalance(&placement);
        let whole = all_done(&placement, &moves);
        let stopped = carried_out(&placement, &moves, &progress);
        let after = all_done(&stopped, &rebalance(&stopped));
        check_sound(&placement, &after);
        prop_assert_eq!(replicas_unevenness(&after), replicas_unevenness(&whole));
        prop_assert_eq!(leaders_unevenness(&after), best_leaders_or(&after, leaders_unevenness(&after)));
        prop_assert_eq!(shown(&rebalance(&after)), Vec::<String>::new());
        let under_way = carried_out(&placement, &moves, &vec![Progress::UnderWay; moves.len()]);
        prop_assert_eq!(shown(&rebalance(&under_way)), Vec::<String>::new(), "it has only to be waited for");
    }
}

/// Found out where that is quick.
fn best_leaders_or(placement: &Placement, otherwise: u64) -> u64 {
    if targets(placement).len() <= 10 { best_leaders(placement) } else { otherwise }
}

#[test]
fn a_new_broker_gets_its_share_of_every_topic() {
    let brokers = vec![broker(1, None), broker(2, None), broker(3, None), broker(4, None)];
    let replicas: [&[i32]; 6] = [&[1, 2], &[2, 3], &[3, 1], &[1, 2], &[2, 3], &[3, 1]];
    let topics = vec![topic("a", &replicas), topic("b", &replicas)];
    let placement = Placement { brokers, topics };
    let moves = rebalance(&placement);
    let after = all_done(&placement, &moves);
    assert!(held(&after).values().all(|held| *held == (6, 3)), "{:?}", shown(&moves));
    assert_eq!(moves.iter().filter(|one| one.moves_data()).count(), 6);
    for name in ["a", "b"] {
        let partitions = after.partitions().filter(|(topic, _)| topic.name == name);
        let on_new = partitions.filter(|(_, state)| state.replicas.contains(&BrokerId(4))).count();
        assert_eq!(on_new, 3, "{:?}", shown(&moves));
    }
}

#[test]
fn where_order_is_enough_nothing_else_changes() {
    let brokers = vec![broker(1, None), broker(2, None), broker(3, None)];
    let placement = Placement { brokers, topics: vec![topic("t", &[&[1, 2, 3], &[1, 2, 3], &[1, 3, 2]])] };
    let moves = rebalance(&placement);
    assert_eq!(shown(&moves), ["t-0: 1,2,3 -> 2,1,3", "t-1: 1,2,3 -> 3,2,1"]);
    assert!(moves.iter().all(|one| !one.moves_data()));
}

#[test]
fn a_broker_with_twice_the_shards_has_twice_the_replicas() {
    let brokers = vec![broker(1, None), BrokerPlace { shards: 4, ..broker(2, None) }];
    let placement = Placement { brokers, topics: vec![topic("t", &[&[1][..]; 9])] };
    let after = all_done(&placement, &rebalance(&placement));
    assert_eq!(held(&after)[&BrokerId(1)], (3, 3));
    assert_eq!(held(&after)[&BrokerId(2)], (6, 6));
}

#[test]
fn where_racks_are_in_the_way_replicas_go_by_way_of_others() {
    // 1 cannot give to 5, which is empty: what it has would be left on rack c alone. 2 can, and takes from 1.
    let racks_of = [(1, "a"), (2, "a"), (3, "b"), (4, "c"), (5, "c")];
    let brokers = racks_of.into_iter().map(|(id, rack)| broker(id, Some(rack))).collect();
    let topics = vec![topic("t", &[&[1, 4], &[1, 4], &[1, 4], &[1, 4], &[2, 3], &[3, 2], &[3, 2]])];
    let placement = Placement { brokers, topics };
    let after = all_done(&placement, &rebalance(&placement));
    assert!(spread(held(&after).values().map(|held| held.0)) <= 1, "{:?}", held(&after));
    assert!(targets(&after).iter().all(|target| racks(&after, target) == 2), "{:?}", targets(&after));
}

#[test]
fn what_was_on_its_way_to_a_broker_that_died_goes_back() {
    let brokers = vec![broker(1, None), broker(2, None), broker(3, None)];
    let mut placement = Placement { brokers, topics: vec![topic("t", &[&[1], &[1], &[2], &[2]])] };
    let moves = rebalance(&placement);
    assert_eq!(shown(&moves), ["t-2: 2 -> 3"]);
    placement = carried_out(&placement, &moves, &[Progress::UnderWay]);
    placement.brokers[2].fenced = true;
    let back = rebalance(&placement);
    assert_eq!(shown(&back), ["t-2: 3 -> 2"]);
    assert_eq!(shown(&rebalance(&all_done(&placement, &back))), Vec::<String>::new());
}
