"""Committed offsets belong to a topic, not to its name: OffsetCommit and OffsetFetch 10, which name topics by id."""

import struct
import subprocess
import uuid

import pytest
from confluent_kafka import TopicCollection

from harness import quorum, wire
from harness.broker import TOOL_JVM, java
from harness.clients import CONFLUENT
from harness.clients.java_client import TOOLS
from harness.groups import committed
from harness.records import Record
from harness.topics import admin_client, create_topic, delete_topic
from harness.wait import PATIENCE_S, wait_until
from harness.wire import compact_string, int32, int64, uvarint

pytestmark = [pytest.mark.group, pytest.mark.timeout(300)]

UNKNOWN_TOPIC_ID = 100
STARTING = (14, 15, 16)  # COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR


def compact_array(items):
    return uvarint(len(items) + 1) + b"".join(items)


def compact(r: wire.Reader, one):
    """A compact array off a response."""
    return [one(r) for _ in range(r.uvarint() - 1)]


def read_string(r: wire.Reader):
    length = r.uvarint()
    return r.take(length - 1).decode() if length else None


def no_tags(r: wire.Reader):
    assert r.uvarint() == 0


def commit(address, group: str, offsets: dict[uuid.UUID, dict[int, int]]) -> dict[tuple[uuid.UUID, int], int]:
    """OffsetCommit v10 without a member; (topic id, partition) -> error."""
    one = lambda p, offset: int32(p) + int64(offset) + int32(-1) + compact_string("") + b"\0"  # noqa: E731
    topics = [
        topic.bytes + compact_array([one(p, offset) for p, offset in of_topic.items()]) + b"\0"
        for topic, of_topic in offsets.items()
    ]
    body = compact_string(group) + int32(-1) + compact_string("") + compact_string(None)
    with wire.Connection(address) as c:
        r = c.request(wire.OFFSET_COMMIT, 10, body + compact_array(topics) + b"\0", flexible=True)
    r.int32()  # throttle time

    def partition(r):
        found = r.int32(), r.int16()
        no_tags(r)
        return found

    def topic(r):
        found = uuid.UUID(bytes=r.take(16)), compact(r, partition)
        no_tags(r)
        return found

    return {(topic, p): error for topic, partitions in compact(r, topic) for p, error in partitions}


def fetch(address, group: str, topics: dict[uuid.UUID, list[int]] | None) -> dict[tuple[uuid.UUID, int], tuple[int, int]]:
    """OffsetFetch v10 of one group, of all its offsets if `topics` is None; (topic id, partition) -> (offset, error)."""
    if topics is None:
        asked = uvarint(0)
    else:
        asked = compact_array([t.bytes + compact_array([int32(p) for p in ps]) + b"\0" for t, ps in topics.items()])
    of_group = compact_string(group) + compact_string(None) + int32(-1) + asked + b"\0"
    with wire.Connection(address) as c:
        r = c.request(wire.OFFSET_FETCH, 10, compact_array([of_group]) + b"\1\0", flexible=True)
    r.int32()  # throttle time

    def partition(r):
        p, offset, _epoch, _metadata, error = r.int32(), r.int64(), r.int32(), read_string(r), r.int16()
        no_tags(r)
        return p, (offset, error)

    def topic(r):
        found = uuid.UUID(bytes=r.take(16)), compact(r, partition)
        no_tags(r)
        return found

    def group_of(r):
        assert read_string(r) == group
        found, error = compact(r, topic), r.int16()
        no_tags(r)
        assert error == 0
        return found

    ((found),) = compact(r, group_of)
    return {(topic, p): answer for topic, partitions in found for p, answer in partitions}


def topic_id(bootstrap, topic: str) -> uuid.UUID:
    admin = admin_client(bootstrap)
    found = admin.describe_topics(TopicCollection([topic]))[topic].result(PATIENCE_S).topic_id
    return uuid.UUID(bytes=struct.pack(">qq", found.get_most_significant_bits(), found.get_least_significant_bits()))


@pytest.mark.consumer_protocol
def test_kafkas_consumer_commits_by_id(group_broker, topic_name):
    """Kafka's own consumer, of the consumer protocol, asks for version 10, and goes on where it was."""
    bootstrap, group = group_broker.bootstrap, f"g-{topic_name}"
    create_topic(bootstrap, topic_name, 1)
    CONFLUENT.produce(bootstrap, topic_name, [Record(value=b"%d" % i) for i in range(30)])

    def consume(count: int) -> list[bytes]:
        command = java(
            TOOLS + "consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic_name, "--group", group,
            "--max-messages", str(count), "--timeout-ms", "60000",
            "--command-property", "group.protocol=consumer", "--command-property", "auto.offset.reset=earliest",
            jvm=(*TOOL_JVM, "-Dkafka.loglevel=debug"),
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=2 * PATIENCE_S, check=True)
        sent = done.stderr.decode(errors="replace")
        for api in ("OFFSET_COMMIT", "OFFSET_FETCH"):
            versions = {line.split("apiVersion=")[1].split(",")[0] for line in sent.splitlines() if f"apiKey={api}, " in line}
            assert versions == {"10"}, f"{api} was sent in versions {versions}"
        return done.stdout.split()

    assert consume(10) == [b"%d" % i for i in range(10)]
    assert committed(bootstrap, group, topic_name) == {0: 10}
    assert consume(20) == [b"%d" % i for i in range(10, 30)]
    assert committed(bootstrap, group, topic_name) == {0: 30}


def test_offsets_are_of_a_topic_not_of_its_name(group_broker, topic_name):
    """What the topic before had is not what its successor has, and an id that nobody has is told apart."""
    bootstrap, group = group_broker.bootstrap, f"g-{topic_name}"
    create_topic(bootstrap, topic_name, 2)
    create_topic(bootstrap, f"{topic_name}-other", 1)
    first, other, nobody = topic_id(bootstrap, topic_name), topic_id(bootstrap, f"{topic_name}-other"), uuid.uuid4()
    host, port = wait_until(lambda: coordinator(group_broker.address, group), "a coordinator")
    address = (host, port)

    def first_commit():
        answer = commit(address, group, {first: {0: 5, 1: 6, 7: 7}, nobody: {0: 8}, other: {0: 9}})
        return None if set(answer.values()) & set(STARTING) else answer

    assert wait_until(first_commit, "the coordinator to serve") == {
        (first, 0): 0, (first, 1): 0, (first, 7): wire.UNKNOWN_TOPIC_OR_PARTITION, (nobody, 0): UNKNOWN_TOPIC_ID, (other, 0): 0,
    }  # fmt: skip
    assert fetch(address, group, {first: [0, 1, 7], nobody: [0, 3]}) == {
        (first, 0): (5, 0), (first, 1): (6, 0), (first, 7): (-1, 0),
        (nobody, 0): (-1, UNKNOWN_TOPIC_ID), (nobody, 3): (-1, UNKNOWN_TOPIC_ID),
    }  # fmt: skip
    assert fetch(address, group, None) == {(first, 0): (5, 0), (first, 1): (6, 0), (other, 0): (9, 0)}

    delete_topic(bootstrap, topic_name)
    wait_until(lambda: commit(address, group, {first: {0: 1}}) == {(first, 0): UNKNOWN_TOPIC_ID}, "the topic to be gone")
    create_topic(bootstrap, topic_name, 2)
    second = topic_id(bootstrap, topic_name)
    assert second != first
    assert fetch(address, group, {first: [0], second: [0, 1]}) == {
        (second, 0): (-1, 0), (second, 1): (-1, 0), (first, 0): (-1, UNKNOWN_TOPIC_ID),
    }  # fmt: skip
    wait_until(lambda: fetch(address, group, None) == {(other, 0): (9, 0)}, "the first topic's offsets to be gone")
    assert commit(address, group, {first: {0: 1}, second: {1: 2}}) == {(first, 0): UNKNOWN_TOPIC_ID, (second, 1): 0}
    assert fetch(address, group, None) == {(second, 1): (2, 0), (other, 0): (9, 0)}


def coordinator(address, group: str):
    try:
        _, host, port = quorum.find_coordinator(address, group)
        return host, port
    except quorum.Unanswered:
        return None
