"""Compacted topics with three replicas: one that missed what was compacted meanwhile gets the same records, and leads with them."""

import pytest

from harness import quorum, replicas, wire
from harness.clients import CONFLUENT
from harness.compacted import CONFIGS, SETTINGS, check, read_all, rounds, stored_records
from harness.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def cluster(module_cluster):
    return module_cluster("compaction", {**SETTINGS, "replica.lag.time.max.ms": "3000"}, shards=2)


def records_of(copy: replicas.Copy) -> int:
    return sum(count for data in copy.batches for _, _, count, _, _ in replicas.batch_headers(data))


def lead(cluster, topic, order):
    """Has the first of `order` lead."""
    quorum.reassign(cluster[order[0]].address, topic, {0: order})

    def leads():
        error = quorum.elect_leader(cluster[order[0]].address, topic, 0, quorum.PREFERRED)
        return error in (wire.NONE, wire.ELECTION_NOT_NEEDED) and replicas.leader_of(cluster, topic) == order[0]

    wait_until(leads, f"broker {order[0]} to lead {topic}", PATIENCE_S)


@pytest.mark.parametrize("was", ["down", "not assigned"])
def test_a_replica_that_missed_what_was_compacted(was, cluster, topic_name):
    """While a follower is down, or there is none yet, the leader compacts. The follower catches up over the gaps, is in
    sync, leads, and has the last value of every key, at its offset; it goes on as a leader, and compacts."""
    controller = cluster.wait_controller()
    leader, late = sorted(set(cluster.nodes) - {controller})
    topic = topic_name
    first = [leader, controller, late] if was == "down" else [leader, controller]
    replicas.create(cluster, topic, {0: first}, CONFIGS)

    def produce(lot):
        CONFLUENT.produce(cluster.bootstrap, topic, lot, batch_bytes=50_000)
        sent.extend(lot)

    sent = []
    produce(rounds(20))
    if was == "down":
        replicas.wait_same_extent(cluster, topic, 0, {leader, controller, late})
        cluster[late].kill9()
        replicas.wait_in_sync(cluster, topic, {0: {leader, controller}}, timeout_s=PATIENCE_S)
    produce(rounds(60, first=20))
    compacted = lambda: stored_records(cluster[leader], topic) < len(sent) // 3  # noqa: E731
    wait_until(compacted, "the leader to have compacted", PATIENCE_S)

    if was == "down":
        cluster.start_nodes(late)
    else:
        quorum.reassign(cluster[leader].address, topic, {0: [leader, controller, late]})
    replicas.wait_in_sync(cluster, topic, {0: {leader, controller, late}}, timeout_s=PATIENCE_S)
    replicas.wait_same_extent(cluster, topic, 0, {leader, controller, late})
    assert records_of(replicas.read(cluster[late], topic)) < len(sent), "it was not sent what is gone"

    lead(cluster, topic, [late, leader, controller])
    check(read_all(cluster.bootstrap, topic), sent)
    produce(rounds(60, first=80))
    compacted = lambda: stored_records(cluster[late], topic) < len(sent) // 3  # noqa: E731
    wait_until(compacted, "the new leader to have compacted", PATIENCE_S)
    check(read_all(cluster.bootstrap, topic), sent)

    # And so have the others, by leading in their turn.
    replicas.wait_same_extent(cluster, topic, 0, {leader, controller, late})
    for order in ([controller, late, leader], [leader, controller, late]):
        lead(cluster, topic, order)
        check(read_all(cluster.bootstrap, topic), sent)
    for node in cluster.running():
        assert "panicked at" not in node.log_text(), f"a panic in broker {node.id}:\n{node.log_tail()}"
