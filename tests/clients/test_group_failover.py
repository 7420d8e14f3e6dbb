"""The broker that coordinates many groups fails: all go on, and no committed offset goes back or is lost.

Of both protocols. Members are those of `harness/group_load.py`. The tests hold for Kafka too; no time is asserted, but each prints how long
groups took to go on.
"""

import signal

import pytest

from harness import groups, replicas
from harness.coordinators import OFFSETS, gather, other_than_controller
from harness.group_load import GroupLoad
from harness.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.cluster_faults, pytest.mark.group, pytest.mark.timeout(600)]

GROUPS = 1000
GONE_ON_TIMEOUT_S = 120.0
PROTOCOLS = pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.consumer_protocol)])


@pytest.fixture(scope="module")
def cluster(module_cluster):
    return module_cluster("coordinators")


@pytest.fixture
def whole(cluster):
    """With every broker running, and in sync."""
    cluster.start_missing()
    return cluster


def sound(load: GroupLoad):
    """All committed offsets are there, none lower than what was acknowledged, none that nobody sent."""
    status = load.check()
    assert (status.checked, status.failed, status.violations) == (load.groups, 0, None), status


@pytest.mark.parametrize("fault", ["kill", "pause"])
@pytest.mark.parametrize("victim", ["coordinator", "coordinator and controller"])
@PROTOCOLS
def test_the_coordinator_fails(whole, topic_name, report, protocol, fault, victim):
    cluster = whole
    coordinator = cluster.wait_controller() if "controller" in victim else other_than_controller(cluster)
    isr = gather(cluster, coordinator)
    others = set(cluster.nodes) - {coordinator}
    replicas.create(cluster, topic_name, {0: sorted(others)})
    cluster.settle()
    node = cluster[coordinator]
    with GroupLoad(cluster.bootstrap, topic_name, GROUPS, protocol=protocol, commit="1s", prefix=topic_name) as load:
        load.wait_stable()
        node.kill9() if fault == "kill" else node.pause()
        try:
            load.mark()  # only now: what was answered before the fault is no sign of going on
            status = load.wait_gone_on(GONE_ON_TIMEOUT_S)
            sound(load)
        finally:
            if fault == "pause":
                node.resume()
        if fault == "kill":
            cluster.start_nodes(coordinator)
        # With the one that failed back among them.
        replicas.wait_in_sync(cluster, OFFSETS, isr)
        load.mark()
        load.wait_gone_on(GONE_ON_TIMEOUT_S)
        sound(load)
        last = load.status()
        assert last.joins == 0, "nobody had to join again when it came back"
    report(groups=GROUPS, gone_on_s=round(status.seconds, 2), joined_again=status.joins, told=status.errors)


@PROTOCOLS
def test_coordinators_fail_in_turn(whole, topic_name, report, protocol):
    """One after the other: what the next has loaded is what the one before had from the one before it."""
    cluster = whole
    gather(cluster, other_than_controller(cluster))
    replicas.create(cluster, topic_name, {0: sorted(cluster.nodes)})
    took = []
    with GroupLoad(cluster.bootstrap, topic_name, 200, protocol=protocol, commit="200ms", prefix=topic_name) as load:
        load.wait_stable()
        for node_id in sorted(cluster.nodes):
            cluster[node_id].kill9()
            load.mark()
            took.append(round(load.wait_gone_on(GONE_ON_TIMEOUT_S).seconds, 2))
            sound(load)
            cluster.start_nodes(node_id)
            replicas.wait_in_sync(cluster, OFFSETS, {p: set(cluster.nodes) for p in range(4)})
    report(gone_on_s=took)


def test_the_load_finds_what_is_wrong(broker, topic):
    """An offset that was moved back behind its back, and one that it never sent."""
    name = topic()
    group = f"{name}-0"
    with GroupLoad(broker.bootstrap, name, 1, commit="50ms", session="6s", prefix=name) as load:
        load.wait_stable()
        wait_until(lambda: load.status().commits > 5, "some commits")
        sound(load)
        load.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: groups.describe(broker.bootstrap, group)[0] == "EMPTY", "the member to be gone")
            groups.commit(broker.bootstrap, group, name, {0: 1})
        finally:
            load.process.send_signal(signal.SIGCONT)
        found = wait_until(lambda: load.status().violations, "what is wrong")
        assert f"group {group}, partition 0: offset 1 is committed" in found[0]
    with GroupLoad(broker.bootstrap, name, 1, commit="0", prefix=name) as load:
        found = wait_until(lambda: load.check().violations, "what is wrong")
        assert "0 was acknowledged and 0 the last sent" in found[0]
