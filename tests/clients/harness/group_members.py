"""Members for chapters about groups: librdkafka consumers whose names, shares and commits are the same in every run."""

import threading

from confluent_kafka import Consumer, KafkaError, TopicPartition

from .admins import ConfluentAdmin
from .cluster import Cluster
from .groups import committed
from .wait import PATIENCE_S, wait_until


class ChapterMember:
    """Reads and commits at once, in a thread. Its client id is its name; shares are by range, in the order of names."""

    def __init__(self, bootstrap: str, group: str, name: str, topics: list[str], protocol="classic", instance=None):
        self.group, self.name, self.topics = group, name, topics
        settings = {
            "bootstrap.servers": bootstrap, "group.id": group, "client.id": name, "auto.offset.reset": "earliest",
            "enable.auto.commit": False, "group.protocol": protocol,
        }  # fmt: skip
        if protocol == "classic":
            settings |= {"partition.assignment.strategy": "range", "heartbeat.interval.ms": 300, "session.timeout.ms": 30_000}
        else:
            settings |= {"group.remote.assignor": "range"}
        if instance:
            settings["group.instance.id"] = instance
        self.consumer = Consumer(settings)
        self.held: set[tuple[str, int]] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        def got(_, partitions):
            self.held |= {(p.topic, p.partition) for p in partitions}

        def went(_, partitions):
            self.held -= {(p.topic, p.partition) for p in partitions}

        self.consumer.subscribe(self.topics, on_assign=got, on_revoke=went)
        while not self._stop.is_set():
            for message in self.consumer.consume(100, 0.1):
                if message.error() is None:
                    place = TopicPartition(message.topic(), message.partition(), message.offset() + 1)
                    self.consumer.commit(offsets=[place], asynchronous=False)
                elif message.error().code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    self.failures.append(str(message.error()))
        self.consumer.close()

    def close(self):
        self._stop.set()
        self._thread.join(PATIENCE_S)


class ChapterMembers:
    """Those that the chapter at hand has in groups."""

    def __init__(self):
        self.there: dict[str, ChapterMember] = {}

    def join(self, cluster: Cluster, group: str, name: str, topics: list[str], shares: dict[str, int], **more):
        """Joins, and waits until the members hold as many partitions as `shares` says and have committed all."""
        self.there[name] = ChapterMember(cluster.bootstrap, group, name, topics, **more)

        def settled():
            mine = [m for m in self.there.values() if m.group == group]
            assert not any(m.failures for m in mine), [m.failures for m in mine]
            settled.last = {m.name: len(m.held) for m in mine}
            return settled.last == shares

        try:
            wait_until(settled, f"members of {group} to have {shares}")
        except AssertionError as e:
            raise AssertionError(f"{e}: they have {settled.last}") from None
        for topic in topics:
            wait_committed(cluster, group, topic)

    def leave(self, name: str):
        self.there.pop(name).close()

    def close_all(self):
        for name in list(self.there):
            self.leave(name)


def wait_committed(cluster: Cluster, group: str, topic: str):
    """Until all that is in the topic is committed by the group."""

    ends = ConfluentAdmin(cluster.bootstrap).list_offsets(topic, "latest")
    wanted = {p: end for p, end in ends.items() if end}
    wait_until(lambda: committed(cluster.bootstrap, group, topic) == wanted, f"{group} to have committed {topic}")
