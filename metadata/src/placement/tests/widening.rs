use super::*;

fn named(partitions: &[(&str, i32)]) -> BTreeSet<PartitionName> {
    partitions.iter().map(|(topic, partition)| ((*topic).to_owned(), PartitionId(*partition))).collect()
}

#[test]
fn new_racks_come_first_then_whoever_has_least() {
    let brokers = vec![
        broker(1, Some("a")),
        broker(2, Some("a")),
        broker(3, Some("b")),
        broker(4, Some("b")),
        broker(5, Some("b")),
    ];
    let topics = vec![topic("full", &[&[3], &[3], &[4]]), topic("o", &[&[1], &[1], &[1, 2]])];
    let placement = Placement { brokers, topics };
    let moves = widen(&placement, &named(&[("o", 0), ("o", 2), ("x", 0), ("o", 9)]), 2);
    assert_eq!(shown(&moves), ["o-0: 1 -> 1,5"], "5 has least of rack b, and o-2 has enough");
    let moves = widen(&placement, &named(&[("o", 0), ("o", 1)]), 3);
    assert_eq!(shown(&moves), ["o-0: 1 -> 1,5,4", "o-1: 1 -> 1,5,2"]);
}

#[test]
fn there_are_no_more_replicas_than_brokers_that_are_alive() {
    let mut placement = Placement {
        brokers: vec![broker(1, None), broker(2, None), broker(3, None)],
        topics: vec![topic("o", &[&[1]])],
    };
    placement.brokers[2].fenced = true;
    assert_eq!(shown(&widen(&placement, &named(&[("o", 0)]), 5)), ["o-0: 1 -> 1,2"]);
    // Broker 3 is awaited in vain.
    placement.topics[0].partitions[0].replicas = ids(&[1, 3]);
    placement.topics[0].partitions[0].adding = ids(&[3]);
    assert_eq!(shown(&widen(&placement, &named(&[("o", 0)]), 2)), ["o-0: 1,3 -> 1,2"]);
    placement.brokers[1].fenced = true;
    assert_eq!(shown(&widen(&placement, &named(&[("o", 0)]), 2)), ["o-0: 1,3 -> 1"]);
}
