"""A node of four is drained while producers write, with a stop in the middle, and the cluster evened out again.

Shown: producers see no error, and what was acknowledged is there exactly once and in the order of sending, with the same
bytes on all replicas; the drained node has nothing and leads nothing; stopped by Ctrl-C, a drain goes on where it stood; and
a rebalance gives the node its share back. Ringlog alone: Kafka has no such commands.
"""

import signal
import subprocess
import threading

import pytest

from harness import paths, quorum, replicas
from harness.cluster import MARKER, Cluster, host_port
from harness.load import ConfluentLoader, FranzLoader, KafkaPythonLoader, Loader, wait_progress
from harness.wait import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.cluster_faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka has no command that drains a broker"),
]
DEADLINE_S = 120.0
PER_SECOND = 300.0  # records of each producer
NODES = (1, 2, 3, 4)
DRAINED = 1
PARTITIONS = 8
# Slow enough that a stop comes in the middle.
BYTES_PER_SECOND = 64 << 10


class FourBrokers(Cluster):
    def make_marker(self):
        """Not on all of them: a partition that is everywhere can be drained from nowhere."""
        self.create_topic(MARKER, {0: [2, 3, 4]})


@pytest.fixture
def cluster():
    cluster = FourBrokers("drain", n=len(NODES), voters=3, shards=2).start()
    passed = False
    try:
        yield cluster
        passed = True
    finally:
        cluster.kill_all()
        if passed:
            cluster.discard()


class Command:
    """`ringlog cluster …`, whose lines are read as they come."""

    def __init__(self, cluster: Cluster, *args: str):
        self.args = args
        command = [str(paths.ringlog_binary()), "cluster", *args]
        command += ["--internal-addr", host_port(cluster[2].place.internal)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def wait_for_line(self, text: str):
        def said():
            assert self.process.poll() is None, f"{self.args} has ended: {self.lines}"
            return any(text in line for line in self.lines)

        wait_until(said, f"{text!r} of {self.args}, which said {self.lines}", DEADLINE_S)

    def end(self) -> tuple[int, str]:
        try:
            code = self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
        self.reader.join()
        return code, "".join(self.lines)


def test_drain_under_load(cluster, topic_name, report):
    """Stopped and gone on with, it empties the node; a rebalance fills it again; nothing acknowledged is lost."""
    placed = {p: [NODES[(p + i) % len(NODES)] for i in range(3)] for p in range(PARTITIONS)}
    replicas.create(cluster, topic_name, placed, {"min.insync.replicas": "2"})
    loaders: list[Loader] = [
        each(name, topic_name, PARTITIONS)
        for name, each in (("confluent", ConfluentLoader), ("franz", FranzLoader), ("python", KafkaPythonLoader))
    ]
    passed = False
    try:
        for loader in loaders:
            loader.bootstrap, loader.per_second, loader.own_patience = cluster.bootstrap, PER_SECOND, True
            loader.start()
        wait_progress(loaders, "before the drain", DEADLINE_S)
        slowly = ("--concurrency", "2", "--throttle", str(BYTES_PER_SECOND))
        drain = Command(cluster, "drain", str(DRAINED), *slowly)
        drain.wait_for_line(" done, ")
        drain.process.send_signal(signal.SIGINT)
        code, said = drain.end()
        assert code == 1 and "goes on where this stands" in said, said
        assert on(cluster, topic_name, DRAINED), f"nothing was left to do: {said}"
        wait_progress(loaders, "after the stop", DEADLINE_S)

        code, said = Command(cluster, "drain", str(DRAINED)).end()
        assert code == 0 and "leads nothing" in said, said
        wait_until(lambda: not on(cluster, topic_name, DRAINED), "all brokers to know", DEADLINE_S)
        leaders = [view.leader for view in quorum.partitions(cluster[2].address, topic_name).values()]
        assert {leaders.count(node) for node in NODES if node != DRAINED} == {2, 3}, leaders
        wait_progress(loaders, "with the node empty", DEADLINE_S)

        code, said = Command(cluster, "rebalance", "--concurrency", "3").end()
        assert code == 0 and "replicas and leaders are even" in said, said
        wait_until(lambda: len(on(cluster, topic_name, DRAINED)) in (5, 6, 7), "its share back", DEADLINE_S)
        wait_progress(loaders, "after the rebalance", DEADLINE_S)
        for loader in loaders:
            loader.finish()
        report(acknowledged={loader.name: loader.acknowledged() for loader in loaders})
        verify(cluster, loaders)
        passed = True
    finally:
        if not passed:
            print({loader.name: loader.failures[:3] for loader in loaders})
            print(cluster.logs())
        for loader in loaders:
            loader.abandon()


def on(cluster: Cluster, topic: str, node: int) -> list[int]:
    """Partitions with a replica on the node, by the word of another broker."""
    return [p for p, view in quorum.partitions(cluster[2].address, topic).items() if node in view.replicas]


def verify(cluster: Cluster, loaders: list[Loader]):
    """All replicas are in sync and the same, and hold just what each producer had acknowledged, in order."""
    topic = loaders[0].topic
    placed = {p: view.replicas for p, view in quorum.partitions(cluster[2].address, topic).items()}
    assert all(len(set(ids)) == 3 for ids in placed.values()), placed
    replicas.wait_in_sync(cluster, topic, {p: set(ids) for p, ids in placed.items()}, timeout_s=DEADLINE_S)
    replicas.assert_hold_acknowledged(cluster, loaders, placed)
