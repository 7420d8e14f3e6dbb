"""Who leads when a leader is gone: the longest log of those in sync, who is not in sync only where that is allowed, and nobody
who has lost what it acknowledged.

One cluster of four brokers, of which three vote: two may be away and metadata still changes. Elsewhere: that failover is quick
(`measure_failover.py`), and that it loses nothing under load (`test_replication_faults.py`, `test_failover_check.py`).
"""

import shutil

import pytest

from harness import paths, quorum, replicas, wire
from harness.batch import batch
from harness.cluster import Cluster
from harness.netns import network_or_skip
from harness.quorum import Unanswered
from harness.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
ringlog_only = lambda why: pytest.mark.skipif(paths.AGAINST == "kafka", reason=why)  # noqa: E731
UNCLEAN = "unclean.leader.election.enable"
# Who lags stays in the ISR while a test runs; who is gone is fenced at once (Ringlog), or soon.
SETTINGS = {"replica.lag.time.max.ms": "600000", "broker.session.timeout.ms": "4000"}


@pytest.fixture(scope="module")
def network():
    with network_or_skip(4) as network:
        yield network


@pytest.fixture(scope="module")
def elections_cluster(network, module_cluster) -> Cluster:
    return module_cluster("elections", SETTINGS, places=network.places(), voters=3, shards=2)


@pytest.fixture
def cluster(elections_cluster, network):
    elections_cluster.start_missing()
    yield elections_cluster
    network.mend()
    for node in elections_cluster.running():
        assert "panicked at" not in node.log_text(), f"a panic in broker {node.id}:\n{node.log_tail()}"


def places(cluster: Cluster) -> tuple[int, int, int, int]:
    """(broker that does not vote, two voters, controller): the first two may be away together."""
    controller, voters = cluster.wait_three_voters()
    (bystander,) = set(cluster.nodes) - voters
    one, other = sorted(voters - {controller})
    return bystander, one, other, controller


def produce(cluster: Cluster, node_id: int, topic: str, value: bytes, acks=-1):
    """One record, taken by this broker as soon as it leads."""

    def taken():
        with wire.Connection(cluster[node_id].address) as c:
            taken.last = wire.produce(c, topic, 0, batch([value]), acks=acks)
        return taken.last[0] == wire.NONE

    wait_until(taken, f"broker {node_id} to take a record of {topic}", poll_s=0.02)


def views(cluster: Cluster, topic: str, asked: int):
    try:
        return quorum.partitions(cluster[asked].address, topic).get(0)
    except Unanswered:
        return None


def wait_unfenced(cluster: Cluster, ids: set[int], asked: int):
    cluster.wait_formed(ids, asked={asked})


def wait_leader(cluster: Cluster, topic: str, leader: int, asked: int):
    def leads():
        leads.last = views(cluster, topic, asked)
        return leads.last is not None and leads.last.leader == leader

    leads.last = None
    try:
        wait_until(leads, f"broker {leader} to lead {topic}")
    except AssertionError as e:
        raise AssertionError(f"{e}; broker {asked} says {leads.last}\n{cluster.logs()}") from None


def assert_leaderless(cluster: Cluster, topic: str, asked: int):
    """Also once all that was acknowledged before is shown."""
    cluster.settle({asked})
    view = views(cluster, topic, asked)
    assert view is not None and view.leader == -1, f"{view}\n{cluster.logs()}"


def alone_in_sync(cluster: Cluster, topic: str, configs: dict[str, str]) -> tuple[int, int, int]:
    """(first, second, witness): the first leads with a record that the second lacks; the second is down, then both are."""
    first, second, _, witness = places(cluster)
    replicas.create(cluster, topic, {0: [first, second]}, configs)
    produce(cluster, first, topic, b"of both")
    cluster[second].stop()
    replicas.wait_in_sync(cluster, topic, {0: {first}}, asked={witness})
    produce(cluster, first, topic, b"of the first alone")
    cluster[first].stop()
    wait_leader(cluster, topic, -1, witness)
    return first, second, witness


def test_a_replica_out_of_sync_leads_where_the_topic_allows_it(cluster, topic_name):
    """unclean.leader.election.enable: what only the old leader had is lost, and all replicas are the same in the end."""
    first, second, witness = alone_in_sync(cluster, topic_name, {UNCLEAN: "true"})
    cluster.start_nodes(second, expected=set(cluster.nodes) - {first})
    wait_leader(cluster, topic_name, second, witness)
    produce(cluster, second, topic_name, b"of the second")
    cluster.start_nodes(first)
    replicas.wait_in_sync(cluster, topic_name, {0: {first, second}})
    copy = replicas.assert_identical(cluster, topic_name, 0, {first, second})
    assert b"of both" in copy.data and b"of the second" in copy.data and b"of the first alone" not in copy.data


def test_a_replica_out_of_sync_waits_where_it_does_not(cluster, topic_name):
    first, second, witness = alone_in_sync(cluster, topic_name, {})
    cluster.start_nodes(second, expected=set(cluster.nodes) - {first})
    assert_leaderless(cluster, topic_name, witness)
    if paths.AGAINST == "ringlog":
        # Kafka looks at it again every five minutes.
        quorum.set_topic_config(cluster[witness].address, topic_name, UNCLEAN, "true")
        wait_leader(cluster, topic_name, second, witness)
        cluster.start_nodes(first)
    else:
        cluster.start_nodes(first)
        wait_leader(cluster, topic_name, first, witness)
    replicas.wait_in_sync(cluster, topic_name, {0: {first, second}})
    kept = replicas.assert_identical(cluster, topic_name, 0, {first, second}).data
    assert (b"of the first alone" in kept) == (paths.AGAINST == "kafka")


@ringlog_only("Kafka elects the first in sync, and cuts what the others have beyond it")
def test_the_longest_log_of_those_in_sync_leads(cluster, network, topic_name):
    """The second replica is cut off from the leader alone: it stays in sync, and lacks what the third has.

    The controller waits a tenth of a second for logs' ends. Where a broker did not tell it in time, others may lead, and
    all is done again with another topic.
    """
    for attempt in range(5):
        topic, value = f"{topic_name}-{attempt}", b"not of the second, %d" % attempt
        _, first, second, third = places(cluster)
        replicas.create(cluster, topic, {0: [first, second, third]}, {"min.insync.replicas": "1"})
        produce(cluster, first, topic, b"of all")
        replicas.wait_same_extent(cluster, topic, 0, {first, second, third})
        network.drop(first, second)
        network.drop(second, first)
        produce(cluster, first, topic, value, acks=1)
        wait_until(lambda: replicas.on_disk(cluster[third], value), "the third replica to have the record")  # noqa: B023
        assert not replicas.on_disk(cluster[second], value)
        told = len(cluster[third].log_text())
        cluster[first].kill9()
        leader = replicas.leader_of(cluster, topic, among={second, third})
        network.mend()
        cluster.start_nodes(first)
        replicas.wait_in_sync(cluster, topic, {0: {first, second, third}})
        copy = replicas.assert_identical(cluster, topic, 0, {first, second, third})
        if leader == second and "has not told how its logs end" in cluster[third].log_text()[told:]:
            continue
        assert leader == third and value in copy.data
        return
    pytest.fail("brokers never told in time how their logs end")


@ringlog_only("ringlog.durability is Ringlog's")
def test_who_kept_records_in_memory_only_is_not_eligible_after_a_crash(cluster, topic_name):
    """Both were eligible when they were killed; what either acknowledged may be gone, so the last to lead does again."""
    first, second, _, witness = places(cluster)
    configs = {"min.insync.replicas": "2", "ringlog.durability": "async"}
    replicas.create(cluster, topic_name, {0: [first, second]}, configs)
    produce(cluster, first, topic_name, b"perhaps")
    cluster[first].kill9()
    wait_leader(cluster, topic_name, second, witness)
    cluster[second].kill9()
    wait_leader(cluster, topic_name, -1, witness)
    cluster.start_nodes(first, expected=set(cluster.nodes) - {second})
    assert "may lack records" in cluster[first].log_text()
    assert_leaderless(cluster, topic_name, witness)
    cluster.start_nodes(second)
    wait_leader(cluster, topic_name, second, witness)
    replicas.wait_in_sync(cluster, topic_name, {0: {first, second}})
    replicas.assert_identical(cluster, topic_name, 0, {first, second})


@ringlog_only("Kafka cuts a log at the first damage and goes on with what is left")
@pytest.mark.parametrize("comes_first", ["damaged", "whole"])
def test_a_replica_whose_log_cannot_be_opened_leaves_the_lead_to_another(cluster, topic_name, comes_first):
    first, second, _, witness = places(cluster)
    replicas.create(cluster, topic_name, {0: [first, second]}, {"min.insync.replicas": "2"})
    produce(cluster, first, topic_name, b"of both")
    cluster[second].stop()
    cluster[first].stop()
    wait_leader(cluster, topic_name, -1, witness)
    (folder,) = replicas.directories(cluster[first], topic_name, 0)
    for segment in folder.glob("*.log"):
        with open(segment, "r+b") as file:
            file.write(b"\xff" * 4096)
    if comes_first == "damaged":
        cluster.start_nodes(first, expected=set(cluster.nodes) - {second})
        assert_leaderless(cluster, topic_name, witness)
        cluster.start_nodes(second)
    else:
        cluster.start_nodes(second, expected=set(cluster.nodes) - {first})
        cluster.start_nodes(first)
    assert "its log cannot be opened" in cluster[first].log_text()
    wait_leader(cluster, topic_name, second, witness)
    # For the tests that follow.
    cluster[first].stop()
    shutil.rmtree(folder)
    cluster.start_nodes(first)
    replicas.wait_in_sync(cluster, topic_name, {0: {first, second}})
    assert b"of both" in replicas.assert_identical(cluster, topic_name, 0, {first, second}).data
