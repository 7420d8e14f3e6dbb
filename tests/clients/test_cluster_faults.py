"""Brokers of a cluster are killed, paused and cut off while topics are made, changed and deleted.

Shown after every fault: the cluster comes back; every acknowledged change is visible on every broker, asked alone; what
was deleted stays deleted. What was not acknowledged may be there or not. Each test prints a line of JSON: how long it
took until a change was acknowledged again. Absent: records.
"""

import time

import pytest

from harness import quorum
from harness.admin_load import AdminLoader, start_load, verify, wait_acknowledged
from harness.cluster import SETTINGS, Cluster
from harness.netns import network_or_skip
from harness.quorum import Unanswered
from harness.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.cluster_faults, pytest.mark.timeout(600)]
# Until changes are acknowledged again: much more than it takes, little enough to tell a cluster that is stuck.
DEADLINE_S = 90.0
WARM_UP = 20  # acknowledged changes of each thread before the fault


class Fault:
    """Something that happens to a cluster under load, and what is done to end it."""

    name: str
    controller_lost = False

    def strike(self, cluster: Cluster):
        raise NotImplementedError

    def end(self, cluster: Cluster):
        raise NotImplementedError


class KillController(Fault):
    name = "controller killed"
    controller_lost = True

    def strike(self, cluster):
        self.victim = cluster.wait_controller()
        cluster[self.victim].kill9()

    def end(self, cluster):
        cluster.start_nodes(self.victim)


class KillOther(KillController):
    name = "another broker killed"
    controller_lost = False

    def strike(self, cluster):
        controller = cluster.wait_controller()
        self.victim = next(node_id for node_id in cluster.nodes if node_id != controller)
        cluster[self.victim].kill9()


class KillAll(Fault):
    """All at once, and started again at once: until they run nothing can be acknowledged."""

    name = "all brokers killed"

    def strike(self, cluster):
        cluster.kill_all()
        cluster.start_nodes(*cluster.nodes)

    def end(self, cluster):
        pass


class PauseController(Fault):
    """Silent with open connections, until the others fence it; then it wakes and believes that it leads."""

    name = "controller paused"
    controller_lost = True

    def strike(self, cluster):
        self.victim = cluster.wait_controller()
        cluster[self.victim].pause()

    def end(self, cluster):
        others = set(cluster.nodes) - {self.victim}
        try:
            cluster.wait_formed(others, asked=others)
            assert cluster.wait_controller(others) in others
        finally:
            cluster[self.victim].resume()
        cluster.wait_formed()


class StopController(KillController):
    """In order, for comparison: leadership can be handed over."""

    name = "controller stopped"

    def strike(self, cluster):
        self.victim = cluster.wait_controller()
        cluster[self.victim].stop()


class KillMinority(Fault):
    """Two of five at once, the controller among them."""

    name = "two of five killed"
    controller_lost = True

    def strike(self, cluster):
        controller = cluster.wait_controller()
        self.victims = (controller, next(node_id for node_id in cluster.nodes if node_id != controller))
        for victim in self.victims:
            cluster[victim].kill9()

    def end(self, cluster):
        cluster.start_nodes(*self.victims)


FAULTS = [KillController, KillOther, PauseController, StopController, KillAll]


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    return module_cluster("faults")


@pytest.fixture(scope="module")
def before() -> list[AdminLoader]:
    """The loaders of the tests before: what they had acknowledged is checked again after every further fault."""
    return []


def warm_up(loaders: list[AdminLoader]):
    wait_until(
        lambda: all(len(loader.acknowledged) >= WARM_UP for loader in loaders), "the load to get going", DEADLINE_S
    )


def finish(loaders: list[AdminLoader]):
    for loader in loaders:
        loader.stopping.set()
    for loader in loaders:
        loader.finish()


def summary(loaders: list[AdminLoader]) -> dict[str, int]:
    return {
        "acknowledged": sum(len(loader.acknowledged) for loader in loaders),
        "not_acknowledged": sum(len(loader.failures) for loader in loaders),
    }


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_fault_under_load(kind, cluster, before, seed, report):
    """The fault strikes under load; changes are acknowledged again, and nothing acknowledged is lost on any broker."""
    strike_under_load(kind(), cluster, before, seed, report)


def test_minority_of_five(module_cluster, seed, report):
    """Five brokers that all vote go on without any two of them."""
    cluster = module_cluster("five", n=5)

    def five_vote():
        return len(quorum.describe_quorum(cluster[1].address).voters) == 5

    wait_until(five_vote, "five voters", DEADLINE_S)
    strike_under_load(KillMinority(), cluster, [], seed, report)


def strike_under_load(fault: Fault, cluster: Cluster, before: list[AdminLoader], seed, report):
    cluster.check_alive()
    loaders = start_load(cluster, fault.name.replace(" ", "-"), seed)
    try:
        warm_up(loaders)
        struck = time.monotonic()
        fault.strike(cluster)
        # Killed brokers are gone by now; changes that began while the signal was under way count from here.
        since = struck if isinstance(fault, KillAll) else time.monotonic()
        first = wait_acknowledged(loaders, since, DEADLINE_S, every=False) - struck
        fault.end(cluster)
        ended = time.monotonic()
        every = wait_acknowledged(loaders, ended, DEADLINE_S) - ended
        if fault.controller_lost:
            assert cluster.wait_controller() in cluster.nodes
    finally:
        finish(loaders)
    report(
        fault=fault.name, acknowledged_again_after_s=round(first, 3), all_threads_again_after_end_s=round(every, 3),
        **summary(loaders),
    )  # fmt: skip
    before += loaders
    verify(cluster, before)


def test_everything_is_there_after_all_were_killed_idle(cluster, before):
    """Once more without load: all is on disk, on every broker."""
    cluster.kill_all()
    cluster.start_nodes(*cluster.nodes)
    verify(cluster, before)


@pytest.fixture
def network():
    with network_or_skip(3, filters=False) as network:
        yield network


def refused_by(address, attempt: int):
    """A creation through a broker that is cut off; it must not be acknowledged."""
    name = f"cut-off-{attempt}"
    try:
        quorum.create_topic(address, name, {0: [1, 2, 3]}, timeout_s=3.0)
    except Unanswered:
        return
    raise AssertionError(f"{name} was acknowledged by a broker that reaches no other")


def test_controller_cut_off(network, seed, report):
    """The controller reaches no other broker, clients reach all: the majority goes on, it acknowledges nothing.

    The load goes through all three all the time: had the one that is cut off acknowledged anything, it would be missing
    afterwards. Healed, all three show the same.
    """
    cluster = Cluster("cut-off", SETTINGS, places=network.places())
    loaders: list[AdminLoader] = []
    passed = False
    try:
        cluster.start()
        loaders = start_load(cluster, "cut-off-load", seed)
        warm_up(loaders)
        controller = cluster.wait_controller()
        others = set(cluster.nodes) - {controller}
        network.isolate(controller)
        struck = time.monotonic()
        attempts = 0

        def majority_goes_on():
            nonlocal attempts
            attempts += 1
            refused_by(cluster[controller].address, attempts)
            return any(loader.first_since(struck) for loader in loaders)

        wait_until(majority_goes_on, "the majority to acknowledge a change", DEADLINE_S, poll_s=0.0)
        first = wait_acknowledged(loaders, struck, DEADLINE_S, every=False) - struck
        cluster.wait_formed(others, asked=others)
        assert cluster.wait_controller(others) in others
        cluster.settle(others)
        for _ in range(3):
            attempts += 1
            refused_by(cluster[controller].address, attempts)

        network.heal(controller)
        healed = time.monotonic()
        cluster.wait_formed()
        every = wait_acknowledged(loaders, healed, DEADLINE_S) - healed
        finish(loaders)
        report(
            fault="controller cut off", acknowledged_again_after_s=round(first, 3),
            all_threads_again_after_end_s=round(every, 3), refused_while_cut_off=attempts, **summary(loaders),
        )  # fmt: skip
        verify(cluster, loaders)
        passed = True
    finally:
        for loader in loaders:
            loader.stopping.set()
        if not passed:
            print(cluster.logs())
        cluster.kill_all()
        if passed:
            cluster.discard()
