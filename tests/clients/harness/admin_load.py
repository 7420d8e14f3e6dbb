"""Threads that create, change and delete topics while brokers fail, and know what must have come of it.

A change that was not acknowledged (refused, timed out, connection lost) may have been made, now or later. So a topic is
never touched again after one: what it may look like is then known, whatever became of that last change.
"""

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from . import quorum
from .clients.franz_client import run as franz
from .cluster import Cluster
from .quorum import Address, Unanswered
from .wait import PATIENCE_S, wait_until

TIMEOUT_S = 10.0  # of one change
TOPICS_MAX = 40  # that a thread keeps at once
CONFIG = "retention.ms"
BATCH = 200  # topics that one DescribeConfigs asks for
BACKOFF_S = 0.05  # after a change that failed: a broker that is down refuses thousands a second


@dataclass
class Topic:
    """What is known of a topic: whether it must be there (None: it may), and the values its config may have."""

    name: str
    there: bool | None
    values: set[str]
    settled: bool = True  # no change of it is unacknowledged


@dataclass(eq=False)
class AdminLoader(threading.Thread):
    """One thread with one client. Subclasses make the changes, and raise when they are not acknowledged."""

    label: str
    cluster: Cluster
    seed: int
    topics: dict[str, Topic] = field(default_factory=dict)
    # (when it began, when it was acknowledged), monotonic seconds.
    acknowledged: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__(name=self.label, daemon=True)
        self.rng = random.Random(f"{self.seed} {self.name}")
        self.serial = itertools.count(1)
        self.stopping = threading.Event()

    # What differs.
    def create(self, topic: str, replicas: int, value: str):
        raise NotImplementedError

    def change(self, topic: str, value: str):
        raise NotImplementedError

    def delete(self, topic: str):
        raise NotImplementedError

    # The load.
    def run(self):
        while not self.stopping.is_set():
            usable = [t for t in self.topics.values() if t.there and t.settled]
            choice = self.rng.random()
            if not usable or (choice < 0.45 and len(usable) < TOPICS_MAX):
                self.create_one()
            elif choice < 0.8:
                self.change_one(self.rng.choice(usable))
            else:
                self.delete_one(self.rng.choice(usable))

    def create_one(self):
        value = str(10**6 + next(self.serial))
        topic = Topic(f"{self.name}-{next(self.serial)}", None, {value}, settled=False)
        self.topics[topic.name] = topic
        if self._attempt(lambda: self.create(topic.name, self.rng.choice((1, 3)), value)):
            topic.there, topic.settled = True, True

    def change_one(self, topic: Topic):
        value = str(10**6 + next(self.serial))
        topic.values.add(value)
        topic.settled = False
        if self._attempt(lambda: self.change(topic.name, value)):
            topic.values, topic.settled = {value}, True

    def delete_one(self, topic: Topic):
        topic.there, topic.settled = None, False
        if self._attempt(lambda: self.delete(topic.name)):
            topic.there, topic.settled = False, True

    def _attempt(self, make) -> bool:
        began = time.monotonic()
        try:
            make()
        except Exception as e:  # whatever a client raises: the change was not acknowledged
            self.failures.append(f"{type(e).__name__}: {e}")
            time.sleep(BACKOFF_S)
            return False
        self.acknowledged.append((began, time.monotonic()))
        return True

    def first_since(self, moment: float) -> float | None:
        """When the first change that began after `moment` was acknowledged."""
        return next((ended for began, ended in list(self.acknowledged) if began >= moment), None)

    def finish(self):
        self.stopping.set()
        self.join(4 * TIMEOUT_S)
        assert not self.is_alive(), f"{self.name} does not end; last failures: {self.failures[-3:]}"


class ConfluentAdminLoader(AdminLoader):
    """librdkafka, which asks the broker that Metadata calls the controller."""

    def __post_init__(self):
        super().__post_init__()
        self.client = AdminClient(
            {"bootstrap.servers": self.cluster.bootstrap, "log_level": 0, "socket.timeout.ms": 5000}
        )

    def create(self, topic, replicas, value):
        new = NewTopic(topic, num_partitions=1, replication_factor=replicas, config={CONFIG: value})
        self.client.create_topics([new], request_timeout=TIMEOUT_S)[topic].result(2 * TIMEOUT_S)

    def change(self, topic, value):
        entry = ConfigEntry(CONFIG, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.client.incremental_alter_configs([resource], request_timeout=TIMEOUT_S)[resource].result(2 * TIMEOUT_S)

    def delete(self, topic):
        self.client.delete_topics([topic], request_timeout=TIMEOUT_S)[topic].result(2 * TIMEOUT_S)


class KadmLoader(AdminLoader):
    """franz-go's kadm, a process for each change, which begins at each broker in turn."""

    def _run(self, operation, **arguments):
        nodes = [node.bootstrap for node in self.cluster.nodes.values()]
        first = next(self.serial) % len(nodes)
        bootstrap = ",".join(nodes[first:] + nodes[:first])
        out = franz(
            "admin", bootstrap, "-timeout", f"{TIMEOUT_S:.0f}s", operation, stdin=json.dumps(arguments),
            timeout_s=2 * TIMEOUT_S,
        )  # fmt: skip
        if error := json.loads(out).get("error"):
            raise Unanswered(error)

    def create(self, topic, replicas, value):
        self._run("create_topic", topic=topic, partitions=1, replication=replicas, configs={CONFIG: value})

    def change(self, topic, value):
        self._run("alter_configs", topic=topic, configs={CONFIG: value})

    def delete(self, topic):
        self._run("delete_topic", topic=topic)


class SocketLoader(AdminLoader):
    """Plain sockets: each change through the next broker and no other."""

    def _next(self) -> Address:
        nodes = list(self.cluster.nodes.values())
        return nodes[next(self.serial) % len(nodes)].address

    def create(self, topic, replicas, value):
        ids = list(self.cluster.nodes)
        assigned = self.rng.sample(ids, min(replicas, len(ids)))
        quorum.create_topic(self._next(), topic, {0: assigned}, configs={CONFIG: value}, timeout_s=TIMEOUT_S)

    def change(self, topic, value):
        quorum.set_topic_config(self._next(), topic, CONFIG, value, timeout_s=TIMEOUT_S)

    def delete(self, topic):
        quorum.delete_topic(self._next(), topic, timeout_s=TIMEOUT_S)


def start_load(cluster: Cluster, prefix: str, seed: int) -> list[AdminLoader]:
    """All kinds at once."""
    kinds = {
        "confluent-a": ConfluentAdminLoader,
        "confluent-b": ConfluentAdminLoader,
        "kadm": KadmLoader,
        "socket": SocketLoader,
    }
    loaders = [kind(f"{prefix}-{name}", cluster, seed) for name, kind in kinds.items()]
    for loader in loaders:
        loader.start()
    return loaders


def wait_acknowledged(loaders: list[AdminLoader], since: float, deadline_s: float, every=True) -> float:
    """Until every loader (or any) had a change acknowledged that it began after `since`; returns when."""
    choose = all if every else any

    def moments():
        found = [loader.first_since(since) for loader in loaders]
        return found if choose(moment is not None for moment in found) else None

    try:
        found = wait_until(moments, "changes to be acknowledged", deadline_s, poll_s=0.01)
    except AssertionError as e:
        raise AssertionError(f"{e}; {[(loader.name, loader.failures[-2:]) for loader in loaders]}") from None
    return (max if every else min)(moment for moment in found if moment is not None)


def differences(loaders: list[AdminLoader], address: Address) -> list[str]:
    """What one broker shows that the loaders' histories rule out."""
    found = quorum.topic_names(address, timeout_s=30.0)
    topics = [topic for loader in loaders for topic in loader.topics.values()]
    wrong = [f"{t.name}: lost" for t in topics if t.there is True and t.name not in found]
    wrong += [f"{t.name}: deleted and back" for t in topics if t.there is False and t.name in found]
    present = [t for t in topics if t.there is not False and t.name in found]
    for some in (present[at : at + BATCH] for at in range(0, len(present), BATCH)):
        values = quorum.topic_configs(address, [t.name for t in some], CONFIG, timeout_s=30.0)
        for t in some:
            value = values.get(t.name)
            if t.name in values and value not in t.values:
                wrong.append(f"{t.name}: {CONFIG} is {value}, can only be one of {sorted(t.values)}")
            elif t.name not in values and t.there is True:
                wrong.append(f"{t.name}: no configs")
    return wrong


def verify(cluster: Cluster, loaders: list[AdminLoader]):
    """Every running broker, asked alone, shows every acknowledged change, and nothing that was deleted."""
    cluster.settle()
    for node in cluster.running():
        last: list[str] = []

        def right(node=node, last=last):
            try:
                last[:] = differences(loaders, node.address)
            except Unanswered as e:
                last[:] = [str(e)]
            return not last

        try:
            wait_until(right, f"broker {node.id} to show all that was acknowledged", PATIENCE_S, poll_s=0.2)
        except AssertionError as e:
            raise AssertionError(f"{e}: {len(last)} differences: {last[:10]}") from None
