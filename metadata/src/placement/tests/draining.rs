use super::*;

const NODE: BrokerId = BrokerId(1);

fn on_node(placement: &Placement) -> usize {
    targets(placement).iter().filter(|target| target.contains(&NODE)).count()
}

/// The most racks that the partition can be on when another stands in for the node.
fn best_racks(placement: &Placement, target: &[BrokerId]) -> usize {
    let others: Vec<BrokerId> = target.iter().copied().filter(|replica| *replica != NODE).collect();
    let free = placement.brokers.iter().filter(|broker| !broker.fenced && !target.contains(&broker.broker));
    free.map(|broker| racks(placement, &[&others[..], &[broker.broker]].concat())).max().expect("there is one")
}

proptest! {
    #[test]
    fn the_node_is_empty_afterwards_and_nothing_else_has_moved(placement in any_placement(ANY, 12)) {
        let Ok(moves) = drain(&placement, NODE) else { return Ok(()) };
        let after = all_done(&placement, &moves);
        check_sound(&placement, &after);
        prop_assert_eq!(on_node(&after), 0);
        for (was, is) in targets(&placement).iter().zip(targets(&after)) {
            if was.contains(&NODE) {
                let stayed = was.iter().filter(|replica| **replica != NODE).all(|replica| is.contains(replica));
                prop_assert!(stayed, "{was:?} became {is:?}");
                prop_assert_eq!(racks(&placement, &is), best_racks(&placement, was), "{:?} became {:?}", was, is);
            } else {
                prop_assert_eq!(was, &is);
            }
        }
        prop_assert_eq!(drain(&after, NODE), Ok(Vec::new()));
    }

    #[test]
    fn it_is_refused_where_a_partition_has_nowhere_to_go_and_only_there(placement in any_placement(ANY, 12)) {
        let has_place = |target: &Vec<BrokerId>| {
            let can = |broker: &BrokerPlace| !broker.fenced && !target.contains(&broker.broker);
            placement.brokers.iter().any(can)
        };
        let stuck = targets(&placement).iter().filter(|target| target.contains(&NODE) && !has_place(target)).count();
        match drain(&placement, NODE) {
            Ok(_) => prop_assert_eq!(stuck, 0),
            Err(DrainError::TooFewBrokers { partitions, replication_factor, found, .. }) => {
                prop_assert_eq!(partitions.len(), stuck);
                prop_assert!(found < replication_factor, "{} for {}", found, replication_factor);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn a_plan_that_was_stopped_goes_on_where_it_stands(
        placement in any_placement(ANY, 12),
        begun in 0..30_usize,
        progress in progress(),
    ) {
        let Ok(moves) = drain(&placement, NODE) else { return Ok(()) };
        // In order, as they are carried out; which of those that were begun are done is anybody's guess.
        let begun = begun.min(moves.len());
        let progress: Vec<Progress> = (0..moves.len())
            .map(|at| match progress[at % progress.len()] {
                _ if at >= begun => Progress::NotBegun,
                Progress::NotBegun => Progress::UnderWay,
                other => other,
            })
            .collect();
        let stopped = carried_out(&placement, &moves, &progress);
        let rest = drain(&stopped, NODE).unwrap();
        prop_assert_eq!(shown(&rest), shown(&moves[begun..]));
    }

    #[test]
    fn any_part_of_a_plan_can_be_gone_on_from(placement in any_placement(ANY, 12), progress in progress()) {
        let Ok(moves) = drain(&placement, NODE) else { return Ok(()) };
        let stopped = carried_out(&placement, &moves, &progress);
        let rest = drain(&stopped, NODE).unwrap();
        let begun = moves.iter().zip(&progress).filter(|(_, progress)| **progress != Progress::NotBegun).count();
        prop_assert_eq!(rest.len() + begun.min(moves.len()), moves.len(), "nothing is moved twice");
        let after = all_done(&stopped, &rest);
        check_sound(&placement, &after);
        prop_assert_eq!(on_node(&after), 0);
    }

    #[test]
    fn every_replica_goes_to_who_has_least_by_then(placement in any_placement(PLAIN, 12)) {
        let Ok(moves) = drain(&placement, NODE) else { return Ok(()) };
        for (done, one) in moves.iter().enumerate() {
            let held = held(&all_done(&placement, &moves[..done]));
            let chosen = one.adding().next().expect("every move is away from the node");
            let free = held.keys().filter(|broker| **broker != NODE && !one.from.contains(broker));
            prop_assert_eq!(Some(held[&chosen].0), free.map(|broker| held[broker].0).min(), "{:?} of {:?}", one, held);
            // Nor has any other of its replicas fewer to lead.
            if one.from[0] == NODE {
                let fewest = one.to.iter().map(|broker| held[broker].1).min();
                prop_assert_eq!(Some(held[&one.to[0]].1), fewest, "{:?} of {:?}", one, held);
            }
        }
    }
}

#[test]
fn replicas_leaders_and_bytes_go_where_there_is_least() {
    let brokers = vec![broker(1, None), broker(2, None), broker(3, None), broker(4, None)];
    let mut topic = topic("t", &[&[1, 2], &[2, 3], &[3, 1], &[1, 3], &[2, 3]]);
    for (partition, bytes) in topic.partitions.iter_mut().zip([10, 20, 30, 40, 50]) {
        partition.bytes = Some(bytes);
    }
    let placement = Placement { brokers, topics: vec![topic] };
    let moves = drain(&placement, NODE).unwrap();
    // Broker 4 has nothing at first. 2 leads two, 3 one, and 4 one when it comes to the last.
    assert_eq!(shown(&moves), ["t-0: 1,2 -> 4,2", "t-2: 3,1 -> 3,4", "t-3: 1,3 -> 3,4"]);
    assert_eq!(moves[1].bytes, Some(30));
    assert_eq!(moves[1].adding().collect::<Vec<_>>(), ids(&[4]));
}

#[test]
fn a_node_of_twice_the_size_takes_twice_as_much() {
    let brokers = vec![broker(1, None), broker(2, None), BrokerPlace { shards: 4, ..broker(3, None) }];
    let placement = Placement { brokers, topics: vec![topic("t", &[&[1][..]; 9])] };
    let after = all_done(&placement, &drain(&placement, NODE).unwrap());
    assert_eq!(held(&after)[&BrokerId(2)], (3, 3));
    assert_eq!(held(&after)[&BrokerId(3)], (6, 6));
}

#[test]
fn racks_come_first() {
    let brokers = vec![broker(1, Some("a")), broker(2, Some("b")), broker(3, Some("b")), broker(4, Some("a"))];
    let topics = vec![topic("t", &[&[1, 2], &[3, 1], &[4, 2], &[4, 2]])];
    let moves = drain(&Placement { brokers, topics }, NODE).unwrap();
    assert_eq!(shown(&moves), ["t-0: 1,2 -> 2,4", "t-1: 3,1 -> 3,4"], "though 3 has least");
}

#[test]
fn a_node_that_is_dead_or_forgotten_is_emptied_too() {
    let topics = vec![topic("t", &[&[1, 2]])];
    for brokers in [
        vec![BrokerPlace { fenced: true, ..broker(1, None) }, broker(2, None), broker(3, None)],
        vec![broker(2, None), broker(3, None)],
    ] {
        let moves = drain(&Placement { brokers, topics: topics.clone() }, NODE).unwrap();
        assert_eq!(shown(&moves), ["t-0: 1,2 -> 2,3"], "who has everything leads");
    }
}

#[test]
fn what_was_on_its_way_to_a_broker_that_died_goes_elsewhere() {
    let brokers = vec![broker(1, None), broker(2, None), broker(3, None), broker(4, None)];
    let mut placement = Placement { brokers, topics: vec![topic("t", &[&[1, 2], &[2, 4]])] };
    let moves = drain(&placement, NODE).unwrap();
    assert_eq!(shown(&moves), ["t-0: 1,2 -> 3,2"]);
    placement = carried_out(&placement, &moves, &[Progress::UnderWay]);
    assert_eq!(drain(&placement, NODE), Ok(Vec::new()));
    placement.brokers[2].fenced = true;
    assert_eq!(shown(&drain(&placement, NODE).unwrap()), ["t-0: 3,2 -> 4,2"]);
}

#[test]
fn refusals_say_what_is_missing() {
    let brokers = vec![broker(1, None), broker(2, None), BrokerPlace { fenced: true, ..broker(3, None) }];
    let placement = Placement { brokers, topics: vec![topic("t", &[&[1, 2], &[2, 3], &[2, 1]])] };
    assert_eq!(
        drain(&placement, NODE).unwrap_err().to_string(),
        "2 partition(s) have no other broker to go to: t-0 has 2 replicas, and only 1 broker(s) besides broker 1 can have \
         them; start another broker, or take replicas off these partitions (`ringlog partition reassign`); the others are \
         t-2"
    );
    assert_eq!(
        drain(&placement, BrokerId(9)).unwrap_err().to_string(),
        "there is no node 9: the brokers are 1,2,3, and no partition has a replica on it"
    );
}
