"""`__consumer_offsets` in clusters that grow, and commits that take too long.

Kafka makes the topic only when there are as many brokers as `offsets.topic.replication.factor` says, and never gives it more
replicas; how it comes by its replicas in a growing cluster is Ringlog's own.
"""

import pytest

from harness import quorum, replicas, wire
from harness.group_load import GroupLoad
from harness.paths import AGAINST
from harness.quorum import Unanswered
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.group, pytest.mark.timeout(300)]
OFFSETS = "__consumer_offsets"
PARTITIONS = 12
ringlog_only = pytest.mark.skipif(AGAINST != "ringlog", reason="Ringlog's own")


def wait_replicas(cluster, asked: set[int], count: int):
    """Until these brokers show so many replicas of every partition, all of them in sync."""

    def shown():
        shown.last = replicas.views(cluster, OFFSETS, asked)
        wanted = [len(p.replicas) == len(p.in_sync) == count for view in shown.last.values() for p in view.values()]
        return len(wanted) == len(asked) * PARTITIONS and all(wanted)

    shown.last = None
    try:
        wait_until(shown, f"{count} replicas of each partition, in sync")
    except AssertionError as e:
        raise AssertionError(f"{e}; brokers say: {shown.last}\n{cluster.logs()}") from None


def assigned(cluster) -> dict[int, tuple[int, ...]]:
    return {p: view.replicas for p, view in quorum.partitions(cluster[1].address, OFFSETS, PATIENCE_S).items()}


@ringlog_only
def test_replicas_come_with_brokers_while_groups_commit(own_cluster, report):
    """1, 2, 3, 4 brokers: nobody is told of an error, no leader moves, and with three the first may die."""
    # A commit waits for a replica that has just come, however slow its disk is while its broker starts.
    settings = {"offsets.topic.num.partitions": str(PARTITIONS), "offsets.commit.timeout.ms": "30000"}
    cluster = own_cluster("grow", settings, start=False, n=4, voters=3)
    cluster.start_nodes(1, expected={1})
    cluster.create_topic("load", {0: [1]})
    options = {"groups": 40, "commit": "100ms", "heartbeat": "500ms", "request_timeout": "30s"}
    with GroupLoad(cluster[1].bootstrap, "load", **options) as load:
        load.wait_stable()
        wait_replicas(cluster, {1}, 1)
        epochs = quorum.leader_epochs(cluster[1].address, OFFSETS, PATIENCE_S)
        commits = []
        for node in (2, 3, 4):
            load.mark()
            cluster.start_nodes(node, expected=set(range(1, node + 1)))
            wait_replicas(cluster, set(range(1, node + 1)), min(3, node))
            status = load.wait_gone_on(60)
            commits.append(status.commits)
            assert (status.errors, status.joins, status.violations) == ({}, 0, None)
            assert quorum.leader_epochs(cluster[1].address, OFFSETS, PATIENCE_S) == epochs, "no leader moves"
            if node == 3:
                three = assigned(cluster)
        assert all(len(ids) == 3 and ids[0] == 1 for ids in three.values()), three
        assert assigned(cluster) == three, "a fourth broker changes nothing"
    with GroupLoad(cluster.bootstrap, "load", **options, prefix="after") as load:
        # Its leader does not matter to these groups: only the topic of committed offsets has replicas.
        load.wait_stable()
        cluster.wait_three_voters()
        load.mark()
        cluster[1].kill9()
        load.wait_gone_on(60)
        status = load.check()
        assert (status.checked, status.violations) == (40, None)
    report(commits_while_replicas_came=commits)


@ringlog_only
def test_the_operator_has_the_last_word(own_cluster):
    """A number of replicas that somebody asked for stays, over a change of controller too; so does a lower factor."""
    settings = {"offsets.topic.num.partitions": str(PARTITIONS), "offsets.topic.replication.factor": "2"}
    cluster = own_cluster("word", settings, start=False, n=3)
    cluster.start_nodes(1, expected={1})
    cluster.create_topic("load", {0: [1]})
    with GroupLoad(cluster[1].bootstrap, "load", groups=4) as load:
        load.wait_stable()
    quorum.reassign(cluster[1].address, OFFSETS, {5: [1]}, PATIENCE_S)  # no choice: it says nothing new
    cluster.start_nodes(2, expected={1, 2})
    wait_replicas(cluster, {1, 2}, 2)
    quorum.reassign(cluster[1].address, OFFSETS, {3: [2]}, PATIENCE_S)
    cluster.start_nodes(3, expected={1, 2, 3})
    cluster.make_marker()

    def chosen_stays():
        now = assigned(cluster)
        return now if now[3] == (2,) else None

    before = wait_until(chosen_stays, "partition 3 to have one replica")
    assert {len(ids) for p, ids in before.items() if p != 3} == {2}, "the configured factor is 2"
    cluster.wait_three_voters()
    cluster[1].kill9()
    cluster.wait_formed({2, 3}, asked={2, 3})
    cluster.start_nodes(1)
    # The first change by an operator comes after all that the controller had to do by itself when it saw the broker come.
    cluster.settle()
    assert assigned(cluster) == before


def commit_raw(address, group: str, topic: str, offset: int, timeout_s=30.0) -> int:
    """OffsetCommit v2 without a member, of partition 0; its error code."""
    body = wire.string(group) + wire.int32(-1) + wire.string("") + wire.int64(-1)
    one = wire.int32(0) + wire.int64(offset) + wire.string("")
    body += wire.array([wire.string(topic) + wire.array([one])])
    with wire.Connection(address, timeout_s) as c:
        r = c.request(wire.OFFSET_COMMIT, 2, body)
    ((_, ((_, error),)),) = r.array(lambda r: (r.string(), r.array(lambda r: (r.int32(), r.int16()))))
    return error


def fetch_raw(address, group: str, topic: str) -> int:
    """OffsetFetch v2 of partition 0."""
    body = wire.string(group) + wire.array([wire.string(topic) + wire.array([wire.int32(0)])])
    with wire.Connection(address) as c:
        r = c.request(wire.OFFSET_FETCH, 2, body)
    ((_, ((_, offset, _, error),)),) = r.array(
        lambda r: (r.string(), r.array(lambda r: (r.int32(), r.int64(), r.string(), r.int16())))
    )
    assert (error, r.int16()) == (0, 0)
    return offset


COORDINATOR_NOT_AVAILABLE = 15


def test_a_commit_that_takes_too_long(own_cluster):
    """`offsets.commit.timeout.ms`: who waits is told to ask again; what came of the commit is seen once it is known."""
    settings = {
        "offsets.commit.timeout.ms": "500",
        # A follower that is silent stays in sync, and its broker is not fenced, for longer than that.
        "replica.lag.time.max.ms": "20000",
        "broker.session.timeout.ms": "20000",
    }
    cluster = own_cluster("late", settings)
    cluster.create_topic("t", {0: [1, 2, 3]})

    def committed(offset: int):
        def done():
            try:
                _, host, port = quorum.find_coordinator(cluster[1].address, "g")
                return (host, port) if commit_raw((host, port), "g", "t", offset) == 0 else None
            except Unanswered:
                return None

        return wait_until(done, "a commit")

    address = committed(5)
    coordinator = next(node for node in cluster.nodes.values() if node.address == address)
    replicas.wait_in_sync(cluster, OFFSETS, {p: {1, 2, 3} for p in range(4)})
    silent = cluster[next(n for n in (3, 2, 1) if n not in (coordinator.id, cluster.wait_controller()))]
    silent.pause()
    try:
        assert commit_raw(address, "g", "t", 6) == COORDINATOR_NOT_AVAILABLE
        assert fetch_raw(address, "g", "t") == 5, "it is not known to be committed"
    finally:
        silent.resume()
    wait_until(lambda: fetch_raw(address, "g", "t") == 6, "the commit to be seen")
    committed(7)
