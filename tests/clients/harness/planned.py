"""A steady load on a cluster that is changed on purpose: four producers, each with a consumer of its own library.

Contract: `finish` fails if a producer or a consumer was told of any error, if a record is lost, doubled or out of
order, or if a consumer passed over one. Producers are idempotent, of acks=all, with their libraries' own time-outs.
"""

import re
import time

from . import replicas
from .clients import CLIENTS, Client, Member
from .cluster import Cluster
from .load import ConfluentLoader, FranzLoader, JavaLoader, KafkaPythonLoader, Loader, assert_exactly_once, sequence_of
from .records import by_partition
from .wait import PATIENCE_S, wait_until

Assignment = dict[int, list[int]]
PER_SECOND = 100.0
PRODUCERS: dict[str, type[Loader]] = {
    "confluent-kafka": ConfluentLoader,
    "kafka-python": KafkaPythonLoader,
    "franz-go": FranzLoader,
    "java-console": JavaLoader,
}
# So that Ringlog's logs tell how each log was opened.
LOG_LEVEL = "info,ringlog::storage=debug"
OPENED = re.compile(r"log recovered topic=(\S+) partition=(\S+) report=\S+ { created: (\w+), clean: (\w+)")
# Java's producer chooses partitions itself.
ONE_PARTITION = {"java-console"}


class PlannedLoad:
    """`with PlannedLoad(cluster, name, assignment, configs) as load`: topics made, and everybody at it."""

    def __init__(
        self, cluster: Cluster, name: str, assignment: Assignment, configs: dict[str, str] | None = None, ids=None
    ):
        self.cluster = cluster
        self.loaders: dict[str, Loader] = {}
        self.members: dict[str, Member] = {}
        self.clients: dict[str, Client] = {client.name: client for client in CLIENTS if client.name in PRODUCERS}
        self.assignments: dict[str, Assignment] = {}
        bootstrap = ",".join(cluster[n].bootstrap for n in ids) if ids else cluster.bootstrap
        for client, kind in PRODUCERS.items():
            topic = f"{name}-{client}"
            mine = {0: assignment[0]} if client in ONE_PARTITION else assignment
            self.assignments[topic] = mine
            cluster.create_topic(topic, mine, configs)
            self.loaders[client] = kind(client, topic, len(mine))
            self.loaders[client].bootstrap, self.loaders[client].per_second = bootstrap, PER_SECOND
            self.loaders[client].own_patience = True
        self.bootstrap = bootstrap

    def __enter__(self) -> "PlannedLoad":
        try:
            self.wait_in_sync()
            for client, loader in self.loaders.items():
                loader.start()
                self.members[client] = self.clients[client].member(
                    self.bootstrap, loader.topic, f"{loader.topic}-group"
                )
            self.progress("at first")
        except BaseException:
            self.__exit__()
            raise
        self.begin_pauses()
        return self

    def __exit__(self, *_):
        for loader in self.loaders.values():
            if loader._thread.ident is not None:
                loader.abandon()
        for member in self.members.values():
            member.end()

    @property
    def topics(self) -> list[str]:
        return list(self.assignments)

    # While it lasts.
    def check(self):
        """Nobody has been told of an error."""
        for loader in self.loaders.values():
            loader.check()
        for member in self.members.values():
            member.count()

    def progress(self, when: str, records=200):
        """Until each producer has so many more acknowledged, and each consumer has read more than it had."""
        targets = {name: loader.acknowledged() + records for name, loader in self.loaders.items()}
        read = {name: member.count() for name, member in self.members.items()}

        def moved_on():
            self.check()
            moved_on.last = (
                {name: loader.acknowledged() for name, loader in self.loaders.items()},
                {name: member.count() for name, member in self.members.items()},
            )
            acknowledged, consumed = moved_on.last
            return all(acknowledged[n] >= t for n, t in targets.items()) and all(
                consumed[n] > t for n, t in read.items()
            )

        moved_on.last = None
        try:
            wait_until(moved_on, f"everybody to go on {when}", 2 * PATIENCE_S, poll_s=0.2)
        except AssertionError as e:
            raise AssertionError(
                f"{e}; of {targets}, {read} there were {moved_on.last}\n{self.cluster.logs()}"
            ) from None

    def begin_pauses(self):
        for loader in self.loaders.values():
            loader.begin_pause()

    def pauses(self) -> dict[str, float]:
        """Each producer's longest time without an acknowledgement, since `begin_pauses`."""
        return {name: round(loader.pause_s, 3) for name, loader in self.loaders.items()}

    # Where the replicas are.
    def assign(self, assignment: Assignment):
        """What they are expected to be from now on."""
        self.assignments = {topic: {p: assignment[p] for p in of} for topic, of in self.assignments.items()}

    def wait_in_sync(self, asked: set[int] | None = None):
        for topic, assignment in self.assignments.items():
            expected = {p: set(ids) for p, ids in assignment.items()}
            replicas.wait_in_sync(self.cluster, topic, expected, asked=asked, timeout_s=2 * PATIENCE_S)

    # In the end.
    def finish(self) -> dict[str, int]:
        """Ends the producers; everything is checked. How many records each had acknowledged."""
        for loader in self.loaders.values():
            loader.finish()
        self.wait_in_sync()
        for client, loader in self.loaders.items():
            self._verify(client, loader)
        return {name: loader.acknowledged() for name, loader in self.loaders.items()}

    def _verify(self, client: str, loader: Loader):
        assignment = self.assignments[loader.topic]
        for p, ids in assignment.items():
            replicas.assert_identical(self.cluster, loader.topic, p, set(ids))
        total = sum(loader.sent.values())
        member = self.members[client]
        seen = lambda: len({(r.partition, r.offset) for r in member.reads()})  # noqa: E731
        wait_until(lambda: seen() >= total, f"{client} to read all of {total} records", 2 * PATIENCE_S, poll_s=0.5)
        member.close()
        for p, reads in by_partition(member.reads()).items():
            where = f"{loader.topic}-{p} by {client}"
            number = int if client in ONE_PARTITION else lambda value, p=p: sequence_of(value, loader.name, p)
            found = numbers_read(where, [(read.offset, number(read.value)) for read in reads])
            assert_exactly_once(where, found, loader.acked[p], loader.sent[p])


def numbers_read(where: str, reads: list[tuple[int, int]]) -> dict[int, int]:
    """Offset -> sequence number, of what a consumer of a group has read of one partition, in order.

    It may be handed again what it had not committed, and must neither pass over anything nor see it change.
    """
    found: dict[int, int] = {}
    for offset, number in reads:
        assert offset <= len(found), f"{where}: read {offset} after {len(found) - 1}"
        assert found.setdefault(offset, number) == number, f"{where}: two records at {offset}"
    return found


def assert_orderly(who: str, stopped: str, started: str):
    """Of Ringlog's logs: after this stop, the start had nothing to scan and nothing to replay. `LOG_LEVEL` makes it tell."""
    for told in (
        "log not closed cleanly",
        "its journal is still needed",
        "cut off",
        "without the controller's knowledge",
    ):
        assert told not in stopped, f"{who} stopped and said: {told}"
    assert stopped.rstrip().endswith(": stopped"), f"the log of {who} ends: {stopped[-300:]}"
    assert "journal replayed" not in started, f"{who} replayed a journal"
    opened = OPENED.findall(started)
    assert opened, f"{who} has not told how it opened its logs"
    scanned = [f"{topic}-{p}" for topic, p, created, clean in opened if created == "false" and clean == "false"]
    assert not scanned, f"logs that {who} had to scan after an orderly stop: {scanned[:5]} of {len(opened)}"


def restart(cluster: Cluster, node_id: int, status: int) -> float:
    """SIGTERM, and again; Ringlog's has nothing to recover. How many seconds the stop took."""
    node = cluster[node_id]
    stopped, began = node.log_file, time.monotonic()
    ended = node.stop()
    took = time.monotonic() - began
    assert ended == status, f"exit status of broker {node_id}: {ended}; its log ends:\n{node.log_tail()}"
    cluster.start_nodes(node_id)
    if cluster.against == "ringlog":
        assert_orderly(f"broker {node_id}", stopped.read_text(errors="replace"), node.log_text())
    return took
