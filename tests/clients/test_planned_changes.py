"""What operators do to a cluster that is in use: brokers restarted, added and changed, replicas and leaders moved.

All of it under the load of `harness/planned.py`, whose clients must not be told of any error, lose, double or reorder
anything. Each test prints a line of JSON with the longest pause of each producer; no time is asserted.
"""

import contextlib
import threading

import pytest

from harness import quorum, replicas, wire
from harness.clients import CONFLUENT
from harness.clients.java_client import tool
from harness.cluster import Cluster
from harness.groups import positions
from harness.paths import AGAINST
from harness.planned import LOG_LEVEL, PlannedLoad, restart
from harness.quorum import Unanswered
from harness.records import Record
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
EXIT_STATUS = {"ringlog": 0, "kafka": 143}[AGAINST]  # Kafka's JVM reports SIGTERM
SAFE = {"min.insync.replicas": "2"}
EVERYWHERE = {0: [1, 2, 3], 1: [2, 3, 1], 2: [3, 1, 2]}
ringlog_only = pytest.mark.skipif(AGAINST != "ringlog", reason="Ringlog's own")


@pytest.fixture
def make_cluster(own_cluster, request):
    """`make_cluster(settings, n=3, shards={1: 2})`: started, or only the `first` of its brokers."""

    def make(settings=None, *, first: set[int] | None = None, shards: dict[int, int] | None = None, **kwargs):
        cluster = own_cluster(request.node.originalname[5:30], settings, start=False, **kwargs)
        for node in cluster.nodes.values():
            node.environment["RINGLOG_LOG_LEVEL"] = LOG_LEVEL
            node.shards = (shards or {}).get(node.id, 2)
        if first is None:
            return cluster.start()
        cluster.start_nodes(*first, first=True, expected=first)
        return cluster

    return make


def asking(cluster: Cluster, ask, what: str):
    """What the first broker to answer says; asked again until one does."""

    def answered():
        for node in cluster.running():
            try:
                return ask(node.address) or True
            except Unanswered as e:
                answered.last = e
        return None

    answered.last = None
    try:
        return wait_until(answered, what)
    except AssertionError as e:
        raise AssertionError(f"{e}: {answered.last}") from None


def leaders(cluster: Cluster, topic: str) -> dict[int, int]:
    """By the first broker."""
    return {p: view.leader for p, view in quorum.partitions(cluster[1].address, topic).items()}


def test_rolling_restart(make_cluster, topic_name, report):
    """All brokers in turn, each when the one before is in sync again. Twice, so that each is stopped as a leader."""
    cluster = make_cluster()
    pauses, took = [], []
    with PlannedLoad(cluster, topic_name, EVERYWHERE, SAFE) as load:
        for node_id in (1, 2, 3, 1, 2, 3):
            load.begin_pauses()
            took.append(round(restart(cluster, node_id, EXIT_STATUS), 2))
            load.wait_in_sync()
            load.progress(f"after the restart of broker {node_id}")
            pauses.append(load.pauses())
        acknowledged = load.finish()
    longest = {name: max(pause[name] for pause in pauses) for name in pauses[0]}
    report(longest_pause_s=longest, pauses_s=pauses, stops_took_s=took, acknowledged=acknowledged)


RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
THROTTLED = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")


def throttle(cluster: Cluster, topics: list[str], bytes_per_second: int):
    for node in cluster.nodes.values():
        for rate in RATES:
            asking(
                cluster,
                lambda _, n=node, r=rate: quorum.set_broker_config(n.address, n.id, r, str(bytes_per_second)),
                f"{rate} of broker {node.id}",
            )
    for topic in topics:
        for config in THROTTLED:
            asking(cluster, lambda a, t=topic, c=config: quorum.set_topic_config(a, t, c, "*"), f"{config} of {topic}")


def reassign(cluster: Cluster, load: PlannedLoad, to: dict[int, list[int] | None]):
    for topic, assignment in load.assignments.items():
        mine = {p: to[p] for p in assignment}
        asking(cluster, lambda a, t=topic, m=mine: quorum.reassign(a, t, m), f"a reassignment of {topic}")


def under_way(cluster: Cluster) -> dict[tuple[str, int], quorum.Reassignment]:
    found = asking(cluster, quorum.reassignments, "the reassignments under way")
    return {} if found is True else found


def test_replication_factor_under_load(make_cluster, topic_name, report):
    """From one replica to three, throttled: cancelled on the way, then to the end; and from three to two other leaders."""
    cluster = make_cluster()
    alone = {p: ids[:1] for p, ids in EVERYWHERE.items()}
    fewer = {p: ids[1:] for p, ids in EVERYWHERE.items()}
    with PlannedLoad(cluster, topic_name, alone) as load:
        load.progress("so that there is something to copy", records=1000)
        throttle(cluster, load.topics, 10_000)  # less than comes in: never in sync
        reassign(cluster, load, EVERYWHERE)
        load.progress("while replicas are added")
        wanted = {(topic, p) for topic, assignment in load.assignments.items() for p in assignment}
        assert set(under_way(cluster)) == wanted, "all are still under way, held back by the throttle"
        reassign(cluster, load, dict.fromkeys(EVERYWHERE))
        wait_until(lambda: not under_way(cluster), "the reassignments to be cancelled")
        load.wait_in_sync()
        for topic, assignment in load.assignments.items():
            for p, ids in assignment.items():
                others = [node for node in cluster.nodes.values() if node.id not in ids]
                gone = lambda t=topic, p=p, o=others: not any(replicas.directories(node, t, p) for node in o)  # noqa: E731
                wait_until(gone, f"replicas of {topic}-{p} that were begun to be gone", 2 * PATIENCE_S)
        load.progress("after the cancel")
        cancelled = load.pauses()

        load.begin_pauses()
        throttle(cluster, load.topics, 20_000_000)
        reassign(cluster, load, EVERYWHERE)
        load.assign(EVERYWHERE)
        load.wait_in_sync()
        wait_until(lambda: not under_way(cluster), "three replicas each")
        for topic in load.topics:
            asking(cluster, lambda a, t=topic: quorum.set_topic_config(a, t, "min.insync.replicas", "2"), "min ISR")
        load.progress("with three replicas")
        more = load.pauses()

        load.begin_pauses()
        reassign(cluster, load, fewer)
        load.assign(fewer)
        load.wait_in_sync()
        wait_until(lambda: not under_way(cluster), "two replicas each")
        load.progress("with two replicas and another leader")
        report(
            pauses_s={"1, cancelled": cancelled, "1 to 3": more, "3 to 2": load.pauses()}, acknowledged=load.finish()
        )


def test_fourth_broker_under_load(make_cluster, topic_name, report):
    """A broker comes to a cluster in use, and partitions and their leaders move to it."""
    cluster = make_cluster(n=4, voters=3, first={1, 2, 3})
    moved = {0: [4, 2, 3], 1: [2, 4, 1], 2: [4, 3, 1]}
    with PlannedLoad(cluster, topic_name, EVERYWHERE, SAFE, ids=[1, 2, 3]) as load:
        cluster.start_nodes(4)
        load.progress("with a fourth broker")
        reassign(cluster, load, moved)
        load.assign(moved)
        load.wait_in_sync()
        wait_until(lambda: not under_way(cluster), "the partitions to have moved")
        for topic in load.topics:
            asking(cluster, lambda a, t=topic: elect_preferred(a, t, 0), f"{topic} to be led by the fourth broker")
            replicas.leader_of(cluster, topic, 0, among={4})
        load.progress("on the fourth broker")
        report(pauses_s=load.pauses(), acknowledged=load.finish())


@ringlog_only
def test_all_stopped_at_once_and_started_again(make_cluster, topic_name):
    """Whoever asks a broker that is being stopped is told of brokers, though none is let in: librdkafka forgets those that an
    answer does not name, and never comes back where it names none (Kafka's may)."""
    cluster = make_cluster()
    cluster.create_topic(topic_name, EVERYWHERE, SAFE)
    member = CONFLUENT.member(cluster.bootstrap, topic_name, f"{topic_name}-g")
    for times in range(1, 4):
        CONFLUENT.produce(cluster.bootstrap, topic_name, [Record(value=b"v", partition=p) for p in EVERYWHERE])
        wait_until(lambda: len(positions(member.reads())) == 3 * times, f"what was produced the {times}. time to be read")  # noqa: B023
        asked = [BrokersTold(node.address) for node in cluster.running()]
        assert set(cluster.stop().values()) == {0}
        assert min(min(one.end()) for one in asked) > 0, "a broker named nobody"
        cluster.start_nodes(*cluster.nodes)
    member.close()


class BrokersTold:
    """How many brokers the answers of one name, asked on one connection as fast as it answers, until it closes that."""

    def __init__(self, address: tuple[str, int]):
        self.numbers: list[int] = []
        self._thread = threading.Thread(target=self._ask, args=[address], daemon=True)
        self._thread.start()
        wait_until(lambda: self.numbers, f"{address} to be asked")

    def _ask(self, address):
        with wire.Connection(address) as connection, contextlib.suppress(wire.Closed):
            while True:
                self.numbers.append(len(wire.brokers_told(connection)))

    def end(self) -> list[int]:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the broker did not close the connection"
        return self.numbers


@ringlog_only
def test_other_shards(make_cluster, topic_name, report):
    """Brokers of different numbers of shards replicate to each other, also when each starts with another number."""
    cluster = make_cluster(shards={1: 1, 2: 2, 3: 3})
    with PlannedLoad(cluster, topic_name, {p: EVERYWHERE[p % 3] for p in range(7)}, SAFE) as load:
        for shards in ({1: 3, 2: 1, 3: 2}, {1: 2, 2: 3, 3: 1}):
            for node_id, count in shards.items():
                cluster[node_id].shards = count
                restart(cluster, node_id, EXIT_STATUS)
                assert f" shards={count} " in cluster[node_id].log_text(), f"broker {node_id} has {count} shards"
                load.wait_in_sync()
                load.progress(f"with {count} shards of broker {node_id}")
        report(pauses_s=load.pauses(), acknowledged=load.finish())


# Leaders that come back.
def elect_preferred(address, topic: str, partition: int) -> bool:
    error = quorum.elect_leader(address, topic, partition, quorum.PREFERRED)
    if error not in (0, 84):  # ELECTION_NOT_NEEDED: it leads
        raise Unanswered(f"preferred election of {topic}-{partition}: error {error}")
    return True


def preferred(load: PlannedLoad) -> dict[str, dict[int, int]]:
    return {topic: {p: ids[0] for p, ids in assignment.items()} for topic, assignment in load.assignments.items()}


def led(cluster: Cluster, load: PlannedLoad) -> dict[str, dict[int, int]]:
    return {topic: leaders(cluster, topic) for topic in load.topics}


def test_preferred_leaders_by_the_tool(make_cluster, topic_name, report):
    """After a restart leaders are where they went, until kafka-leader-election has them come back."""
    cluster = make_cluster()
    with PlannedLoad(cluster, topic_name, EVERYWHERE, SAFE) as load:
        restart(cluster, 2, EXIT_STATUS)
        load.wait_in_sync()
        load.progress("after the restart")
        assert all(2 not in by.values() for by in led(cluster, load).values()), "nobody has balanced leaders by itself"
        load.begin_pauses()
        words = ("--bootstrap-server", cluster.bootstrap, "--election-type", "preferred", "--all-topic-partitions")
        tool("LeaderElectionCommand", *words)
        wait_until(lambda: led(cluster, load) == preferred(load), "leaders to be back")
        load.progress("with leaders where they belong")
        report(pauses_s=load.pauses(), acknowledged=load.finish())


def test_preferred_leaders_by_themselves(make_cluster, topic_name, report):
    """auto.leader.rebalance.enable brings leaders back after a restart, under load."""
    settings = {"auto.leader.rebalance.enable": "true", "leader.imbalance.check.interval.seconds": "1"}
    cluster = make_cluster(settings)
    with PlannedLoad(cluster, topic_name, EVERYWHERE, SAFE) as load:
        for node_id in (1, 2, 3):
            restart(cluster, node_id, EXIT_STATUS)
            load.wait_in_sync()
            wait_until(lambda: led(cluster, load) == preferred(load), f"leaders to be back on broker {node_id}")
            load.progress(f"after the restart of broker {node_id}")
        report(pauses_s=load.pauses(), acknowledged=load.finish())
