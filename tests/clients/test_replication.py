"""Partitions with several replicas: copied, acknowledged, shown, cut and caught up as Kafka does it.

Two clusters. In the `quick` one a broker that is silent is fenced, and a replica that lags leaves the ISR, within seconds;
it has four brokers, of which three vote, so that a partition can lose two replicas and the cluster goes on. In the
`patient` one neither happens while a test runs: a broker that is paused stays in the ISR.
"""

import json
import re
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from harness import paths, quorum, replicas, wire
from harness.admins import ConfluentAdmin
from harness.admins.java_admin import JavaAdmin
from harness.admins.kadm_admin import KadmAdmin
from harness.batch import batch
from harness.broker import java
from harness.clients import CONFLUENT
from harness.clients.java_client import TOOLS, tool
from harness.cluster import RACKS, Cluster
from harness.load import ConfluentLoader, KafkaPythonLoader, Loader, assert_exactly_once, sequence_of
from harness.rack_consumer import RackConsumer
from harness.records import Record
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
SELECTOR = {"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}
SEGMENT_BYTES = 1 << 20  # the smallest that Kafka allows
PER_SECOND = 2000.0  # records of each producer that writes beside something else


@pytest.fixture(scope="module")
def quick_cluster(module_cluster) -> Cluster:
    settings = {**SELECTOR, "replica.lag.time.max.ms": "3000", "log.retention.check.interval.ms": "500"}
    if paths.AGAINST == "kafka":
        settings["log.initial.task.delay.ms"] = "500"  # else the first look for old segments is after 30 s
    return module_cluster("quick", settings, n=4, voters=3, shards=2)


@pytest.fixture(scope="module")
def patient_cluster(module_cluster) -> Cluster:
    forever = str(600_000)
    settings = {**SELECTOR, "replica.lag.time.max.ms": forever, "broker.session.timeout.ms": forever}
    return module_cluster("patient", settings, shards=2)


@pytest.fixture
def quick(quick_cluster):
    yield from whole(quick_cluster)


@pytest.fixture
def patient(patient_cluster):
    yield from whole(patient_cluster)


def whole(cluster: Cluster):
    """Every test begins with all brokers running."""
    cluster.start_missing()
    yield cluster
    for node in cluster.running():
        node.resume()
        assert "panicked at" not in node.log_text(), f"a panic in broker {node.id}:\n{node.log_tail()}"


def roles(cluster: Cluster) -> tuple[int, int, int]:
    """(leader, follower, follower) of four brokers: both followers may go, since at most one of them votes."""
    controller, voters = cluster.wait_three_voters()
    (bystander,) = set(cluster.nodes) - voters
    # The controller stays out of it: that it is replaced while a broker is away has tests of its own.
    leader, follower = sorted(voters - {controller})
    return leader, follower, bystander


def values(some) -> list[bytes]:
    return [r.value for r in sorted(some, key=lambda r: r.offset)]


def consumed(cluster: Cluster, topic: str) -> list[bytes]:
    """All of a topic of one partition, by an ordinary consumer."""
    return values(CONFLUENT.consume(cluster.bootstrap, topic, replicas.end_of(cluster, topic)))


def verify(cluster: Cluster, loader: Loader):
    """All that an idempotent producer had acknowledged is there once, in order."""
    found = {offset: sequence_of(value, loader.name, 0) for offset, value in enumerate(consumed(cluster, loader.topic))}
    assert_exactly_once(loader.topic, found, loader.acked[0], loader.sent[0])


def produce(node, topic, some: list[bytes], acks=-1, timeout_ms=30_000, **numbers) -> tuple[int, int]:
    """One batch over a plain socket, which shows the error code as it is; only a topic that this broker has not heard of yet,
    as clients do, is tried again: another of its threads may have, and may have told of it."""
    answered = []

    def known():
        with wire.Connection(node.address, timeout_s=2 * PATIENCE_S) as c:
            answered[:] = wire.produce(c, topic, 0, batch(some, **numbers), acks=acks, timeout_ms=timeout_ms)
        return answered[0] != wire.UNKNOWN_TOPIC_OR_PARTITION

    wait_until(known, f"broker {node.id} to know {topic}", poll_s=0.02)
    return tuple(answered)


def error_for_client(cluster: Cluster, topic: str) -> str | None:
    """What a producer of acks=all is told by librdkafka, which is not to try again here."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "acks": "all", "retries": 0, "log_level": 0})
    told = []
    producer.produce(topic, b"by a client", partition=0, on_delivery=lambda error, _: told.append(error))
    producer.flush(PATIENCE_S)
    assert told, "no report about the record"
    return told[0].name() if told[0] else None


# Records are copied, acknowledged and shown.
def test_acknowledged_by_all_and_read_from_the_follower(patient, topic_name):
    """acks=all with two replicas; a consumer in the follower's rack reads from the follower, even with a silent leader.

    The leader tells such a consumer to go to the follower (KIP-392), which it does with its next fetch.
    """
    leader, follower = 1, 2
    topic = replicas.create(patient, topic_name, {0: [leader, follower]})
    producer = KafkaProducer(bootstrap_servers=patient.bootstrap, acks="all")
    sent = [b"record %d" % n for n in range(100)]
    try:
        answers = [producer.send(topic, value, partition=0) for value in sent]
        assert [answer.get(PATIENCE_S).offset for answer in answers] == list(range(100))
    finally:
        producer.close()

    with (
        RackConsumer(patient.bootstrap, topic) as anywhere,
        RackConsumer(patient.bootstrap, topic, RACKS[follower - 1]) as near,
    ):
        assert anywhere.read(100) == near.read(100) == list(enumerate(sent))
        anywhere.wait_answered_by(leader)
        near.wait_answered_by(follower)
        patient[leader].pause()
        near.seek(0)
        assert near.read(100) == list(enumerate(sent)), "from the follower, while the leader says nothing"
        patient[leader].resume()
        produce(patient[leader], topic, [b"later"])
        assert near.read(1) == anywhere.read(1) == [(100, b"later")]
    replicas.assert_identical(patient, topic, 0, {leader, follower})


def test_each_broker_holds_what_it_is_assigned(quick, topic_name):
    """Ten partitions with 1, 2 and 3 replicas: a directory on each broker that is to have it, and on no other.

    Three topics, because within one Kafka wants as many replicas of each partition (INVALID_REPLICA_ASSIGNMENT else).
    """
    assigned = {
        f"{topic_name}-1": [[1], [2], [4]],
        f"{topic_name}-2": [[1, 2], [2, 3], [3, 1], [4, 1]],
        f"{topic_name}-3": [[1, 2, 3], [2, 4, 1], [3, 1, 4]],
    }
    admin = AdminClient({"bootstrap.servers": quick.bootstrap})
    topics = [NewTopic(t, num_partitions=len(a), replica_assignment=a) for t, a in assigned.items()]
    for future in admin.create_topics(topics).values():
        future.result(PATIENCE_S)
    for topic, partitions in assigned.items():
        replicas.wait_in_sync(quick, topic, {p: set(ids) for p, ids in enumerate(partitions)})
        CONFLUENT.produce(quick.bootstrap, topic, [Record(b"%d" % p, partition=p) for p in range(len(partitions))])
        for p, ids in enumerate(partitions):
            replicas.assert_identical(quick, topic, p, set(ids))
            holding = {node.id for node in quick.nodes.values() if replicas.directories(node, topic, p)}
            assert holding == set(ids), f"brokers with a directory of {topic}-{p}"


def test_only_up_to_the_high_watermark(patient, topic_name):
    """What one follower lacks is shown by nobody: not by the leader, nor by the follower that has it."""
    leader, follower, silent = 1, 2, 3
    topic = replicas.create(patient, topic_name, {0: [leader, follower, silent]})
    assert produce(patient[leader], topic, [b"everywhere"]) == (wire.NONE, 0)
    replicas.wait_same_extent(patient, topic, 0, {leader, follower, silent})
    with (
        RackConsumer(patient.bootstrap, topic) as anywhere,
        RackConsumer(patient.bootstrap, topic, RACKS[follower - 1]) as near,
    ):
        near.wait_answered_by(follower)
        anywhere.wait_answered_by(leader)
        patient[silent].pause()
        marked = b"not everywhere yet: " + topic.encode()
        assert produce(patient[leader], topic, [marked], acks=1) == (wire.NONE, 1)
        wait_until(lambda: replicas.on_disk(patient[follower], marked), "the record to be copied to the other follower")
        for node_id in (leader, follower):
            # Waiting for more does not bring it either.
            shown = replicas.fetch(patient[node_id], topic, 0, 1, max_wait_ms=500)
            assert (shown.error, shown.high_watermark, shown.data) == (wire.NONE, 1, b""), f"broker {node_id}"
        for consumer in (anywhere, near):
            consumer.seek(0)
            assert consumer.read_to_end() == ([(0, b"everywhere")], 1)
        patient[silent].resume()
        assert near.read(1) == anywhere.read(1) == [(1, marked)]
    replicas.assert_identical(patient, topic, 0, {leader, follower, silent})


def test_follower_that_hangs_in_the_isr(patient, topic_name):
    """acks=all ends with REQUEST_TIMED_OUT; the records are in the log all the same, and shown when it is back."""
    leader, follower, silent = 1, 2, 3
    topic = replicas.create(patient, topic_name, {0: [leader, follower, silent]}, {"min.insync.replicas": "2"})
    # Nothing waits for the lag's limit or for anything like it: that is ten minutes here.
    assert produce(patient[leader], topic, [b"first"], timeout_ms=30_000) == (wire.NONE, 0)
    patient[silent].pause()
    assert produce(patient[leader], topic, [b"late"], timeout_ms=1_000)[0] == wire.REQUEST_TIMED_OUT
    assert produce(patient[leader], topic, [b"later"], acks=1) == (wire.NONE, 2)
    assert quorum.partitions(patient[leader].address, topic)[0].in_sync == {leader, follower, silent}
    assert replicas.end_of(patient, topic) == 1
    patient[silent].resume()
    assert produce(patient[leader], topic, [b"last"]) == (wire.NONE, 3)
    assert consumed(patient, topic) == [b"first", b"late", b"later", b"last"]
    replicas.assert_identical(patient, topic, 0, {leader, follower, silent})


def test_fewer_in_sync_than_min_insync_replicas(quick, topic_name):
    """With one of three in sync and min.insync.replicas=2: acks=all is refused, acks=1 accepted and not shown.

    Kafka shows nothing new while there are too few (KIP-966, since 3.7), whatever the acks. That is also why a produce of
    acks=all that waits while the ISR gets too small is not told NOT_ENOUGH_REPLICAS_AFTER_APPEND: Kafka looks at the
    size of the ISR when the high watermark has reached the records, which it cannot now, so it ends with
    REQUEST_TIMED_OUT. Either is a refusal that clients take for "perhaps".
    """
    leader, follower, other = roles(quick)
    topic = replicas.create(quick, topic_name, {0: [leader, follower, other]}, {"min.insync.replicas": "2"})
    java_admin = JavaAdmin(quick[leader].bootstrap)

    def shown_by_tools(in_sync: set[int]):
        """kafka-topics asks DescribeTopicPartitions, confluent-kafka Metadata."""
        for admin in (java_admin, ConfluentAdmin(quick[leader].bootstrap)):
            found_leader, assigned, found = admin.describe_topic(topic)[0]
            assert (found_leader, assigned, set(found)) == (leader, [leader, follower, other], in_sync), admin.name

    def listed(which: str) -> bool:
        return f"Topic: {topic}\t" in java_admin._run("TopicCommand", "--describe", which)

    assert produce(quick[leader], topic, [b"first"]) == (wire.NONE, 0)
    assert error_for_client(quick, topic) is None
    shown_by_tools({leader, follower, other})
    assert not listed("--under-replicated-partitions")

    with ThreadPoolExecutor(1) as pool:
        quick[follower].pause()
        quick[other].pause()
        waiting = pool.submit(produce, quick[leader], topic, [b"waits"], timeout_ms=12_000)
        running = set(quick.nodes) - {follower, other}
        replicas.wait_in_sync(quick, topic, {0: {leader}}, asked=running)
        error, _ = waiting.result()
        assert error in (wire.REQUEST_TIMED_OUT, wire.NOT_ENOUGH_REPLICAS_AFTER_APPEND), error
        # They leave the ISR before they are fenced, and as long as they are not, clients may ask them and wait in vain.
        quick.wait_formed(running, asked=running)

    assert produce(quick[leader], topic, [b"refused"])[0] == wire.NOT_ENOUGH_REPLICAS
    assert error_for_client(quick, topic) == "NOT_ENOUGH_REPLICAS"
    for n in range(3):
        assert produce(quick[leader], topic, [b"%d" % n], acks=1) == (wire.NONE, 3 + n)
        seen = replicas.fetch(quick[leader], topic, 0, 2)
        assert (seen.error, seen.high_watermark, seen.data) == (wire.NONE, 2, b"")
    with RackConsumer(quick[leader].bootstrap, topic) as consumer:
        assert consumer.read_to_end() == ([(0, b"first"), (1, b"by a client")], 2)
        shown_by_tools({leader})
        assert listed("--under-replicated-partitions") and listed("--under-min-isr-partitions")

        quick[other].resume()
        replicas.wait_in_sync(quick, topic, {0: {leader, other}}, asked=running)
        assert [value for _, value in consumer.read(4)] == [b"waits", b"0", b"1", b"2"]
    assert produce(quick[leader], topic, [b"enough"]) == (wire.NONE, 6)
    assert not listed("--under-min-isr-partitions")
    quick[follower].resume()
    replicas.wait_in_sync(quick, topic, {0: {leader, follower, other}})
    shown_by_tools({leader, follower, other})
    assert not listed("--under-replicated-partitions")
    assert consumed(quick, topic) == [b"first", b"by a client", b"waits", b"0", b"1", b"2", b"enough"]
    replicas.assert_identical(quick, topic, 0, {leader, follower, other})


# Replicas that were away.
def test_deleted_records_go_on_all_replicas(quick, topic_name):
    """DeleteRecords moves the log start of every replica, and of one that was down when it is back.

    Kafka acknowledges when all replicas whose brokers are alive have moved; it does not wait for one that is down.
    """
    leader, follower, other = roles(quick)
    ids = {leader, follower, other}
    topic = replicas.create(quick, topic_name, {0: [leader, follower, other]})
    for n in range(20):
        assert produce(quick[leader], topic, [b"%d" % (5 * n + i) for i in range(5)])[0] == wire.NONE
    assert ConfluentAdmin(quick.bootstrap).delete_records(topic, {0: 42}) == {0: 42}
    assert replicas.wait_same_extent(quick, topic, 0, ids) == (42, 100)

    quick[other].stop()
    left = {leader, follower}
    replicas.wait_in_sync(quick, topic, {0: left}, asked=left)
    assert ConfluentAdmin(quick.bootstrap_without(other)).delete_records(topic, {0: 71}) == {0: 71}
    assert produce(quick[leader], topic, [b"100", b"101"])[0] == wire.NONE
    assert replicas.wait_same_extent(quick, topic, 0, left) == (71, 102)

    quick.start_nodes(other)
    replicas.wait_in_sync(quick, topic, {0: ids})
    assert replicas.wait_same_extent(quick, topic, 0, ids) == (71, 102)
    replicas.assert_identical(quick, topic, 0, ids, whole=False)
    assert replicas.fetch(quick[other], topic, 0, 70).error == wire.OFFSET_OUT_OF_RANGE
    assert values(CONFLUENT.consume(quick.bootstrap, topic, 31)) == [b"%d" % n for n in range(71, 102)]


def test_follower_whose_records_are_all_gone(quick, topic_name):
    """Retention took all that a follower had while it was down: it begins anew at the leader's log start."""
    leader, _, follower = roles(quick)
    configs = {"segment.bytes": str(SEGMENT_BYTES), "retention.ms": "-1"}
    topic = replicas.create(quick, topic_name, {0: [leader, follower]}, configs)
    assert produce(quick[leader], topic, [b"%d" % n for n in range(10)])[0] == wire.NONE
    replicas.wait_same_extent(quick, topic, 0, {leader, follower})
    quick[follower].stop()
    replicas.wait_in_sync(quick, topic, {0: {leader}}, asked={leader})
    CONFLUENT.produce(
        quick[leader].bootstrap, topic, [Record(bytes(50_000)) for _ in range(100)], batch_bytes=200_000
    )
    ConfluentAdmin(quick[leader].bootstrap).alter_configs(topic, {"retention.bytes": str(SEGMENT_BYTES)})
    end = replicas.end_of(quick, topic)
    wait_until(
        lambda: replicas.extent(quick[leader], topic, 0, end)[0] > 10, "the leader to delete all that the follower has"
    )
    quick.start_nodes(follower)
    replicas.wait_in_sync(quick, topic, {0: {leader, follower}})
    start, _ = replicas.wait_same_extent(quick, topic, 0, {leader, follower})
    assert start > 10
    assert produce(quick[leader], topic, [b"last"]) == (wire.NONE, end)
    replicas.assert_identical(quick, topic, 0, {leader, follower}, whole=False)


def test_leader_returns_with_records_of_its_own(quick, topic_name):
    """What only the old leader has is cut off when it is back, though its log is longer than the new leader's.

    Its followers are killed first, so that its last records cannot reach them in any way. It dies as the last that is in
    sync (or, in Kafka, before anybody notices), so its followers may lead by an unclean election only.
    """
    leader, follower, other = roles(quick)
    topic = replicas.create(
        quick, topic_name, {0: [leader, follower, other]},
        {"min.insync.replicas": "1"},
    )  # fmt: skip
    assert produce(quick[leader], topic, [b"a", b"b", b"c"]) == (wire.NONE, 0)
    replicas.wait_same_extent(quick, topic, 0, {leader, follower, other})
    quick[follower].kill9()
    quick[other].kill9()
    alone = b"of the old leader alone: " + topic.encode()
    for n in range(50):
        assert produce(quick[leader], topic, [alone, b"%d" % n], acks=1) == (wire.NONE, 3 + 2 * n)
    quick[leader].kill9()
    assert [node_id for node_id in quick.nodes if replicas.on_disk(quick[node_id], alone)] == [leader]

    others = set(quick.nodes) - {leader}
    quick.start_nodes(follower, other, expected=others)
    replicas.elect_uncleanly(quick, topic, 0, asked=others)
    successor = replicas.leader_of(quick, topic, among={follower, other})
    replicas.wait_in_sync(quick, topic, {0: {follower, other}}, asked=others)
    assert produce(quick[successor], topic, [b"d"]) == (wire.NONE, 3)
    assert produce(quick[successor], topic, [b"e", b"f"]) == (wire.NONE, 4)

    quick.start_nodes(leader)
    replicas.wait_in_sync(quick, topic, {0: {leader, follower, other}})
    assert produce(quick[successor], topic, [b"g"]) == (wire.NONE, 6)
    replicas.assert_identical(quick, topic, 0, {leader, follower, other})
    expected = [b"a", b"b", b"c", b"d", b"e", b"f", b"g"]
    for node_id in (leader, follower, other):
        with RackConsumer(quick.bootstrap, topic, RACKS[node_id - 1]) as consumer:
            consumer.wait_answered_by(node_id)
            consumer.seek(0)
            assert consumer.read_to_end() == (list(enumerate(expected)), 7)
            assert consumer.answering == node_id


# Producers over a change of leaders.
def sequences(copy: replicas.Copy) -> list[tuple[tuple[int, int], int, int, int]]:
    """((producer id, its epoch), first sequence number, records, leader epoch) of each batch."""
    found = []
    for data in copy.batches:
        (leader_epoch,) = struct.unpack_from(">i", data, 12)
        producer_id, epoch, sequence, count = struct.unpack_from(">qhii", data, 43)
        found.append(((producer_id, epoch), sequence, count, leader_epoch))
    return found


def test_idempotent_clients_over_a_change_of_leaders(quick, topic_name):
    """The leader is killed under a load: each producer's sequence goes on at the new leader; nothing twice, all in order."""
    leader, follower, other = roles(quick)
    ids = {leader, follower, other}
    loaders = []
    for kind in (ConfluentLoader, KafkaPythonLoader):
        topic = f"{topic_name}-{kind.__name__}"
        replicas.create(quick, topic, {0: [leader, follower, other]}, {"min.insync.replicas": "2"})
        loader = kind(kind.__name__, topic, 1)
        loader.bootstrap, loader.per_second = quick.bootstrap, PER_SECOND
        loaders.append(loader.start())

    def moves_on(what: str, records=500):
        targets = [loader.acknowledged() + records for loader in loaders]

        def moved():
            for loader in loaders:
                loader.check()
            return all(loader.acknowledged() >= target for loader, target in zip(loaders, targets))

        wait_until(moved, f"records to be acknowledged {what}", 2 * PATIENCE_S)

    try:
        moves_on("by the first leader")
        quick[leader].kill9()
        for loader in loaders:
            replicas.leader_of(quick, loader.topic, among={follower, other})
        moves_on("by the second leader")
        quick.start_nodes(leader)
        for loader in loaders:
            replicas.wait_in_sync(quick, loader.topic, {0: ids})
            loader.finish()
    finally:
        for loader in loaders:
            loader.abandon()
    for loader in loaders:
        copy = replicas.assert_identical(quick, loader.topic, 0, ids)
        found = sequences(copy)
        assert len({leader_epoch for *_, leader_epoch in found}) >= 2, "records of both leaders"
        at = 0
        for producer, sequence, count, _ in found:
            assert (producer, sequence) == (found[0][0], at), f"{loader.name}: {producer} {sequence} after {at} records"
            at += count
        verify(quick, loader)


def new_producer_id(node) -> int:
    def answer():
        with wire.Connection(node.address) as c:
            r = c.request(wire.INIT_PRODUCER_ID, 0, wire.string(None) + wire.int32(60_000))
        r.int32()  # throttle time
        error, producer_id = r.int16(), r.int64()
        # A Kafka broker that only just started has no ids yet: COORDINATOR_LOAD_IN_PROGRESS.
        return (producer_id,) if error == wire.NONE else None

    return wait_until(answer, "a producer id")[0]


def test_new_leader_knows_what_a_producer_sent_before(quick, topic_name):
    """A batch that the old leader acknowledged is a duplicate to the new one, which tells its first offset again."""
    leader, follower, other = roles(quick)
    topic = replicas.create(quick, topic_name, {0: [leader, follower, other]})
    producer_id = new_producer_id(quick[leader])

    def send(node, sequence):
        return produce(node, topic, [b"%d" % sequence], producer_id=producer_id, producer_epoch=0, base_sequence=sequence)

    assert [send(quick[leader], n) for n in range(4)] == [(wire.NONE, n) for n in range(4)]
    quick[leader].kill9()
    successor = replicas.leader_of(quick, topic, among={follower, other})
    # The new leader answers as soon as it knows that it leads, which is not when the others know.
    wait_until(lambda: send(quick[successor], 3) == (wire.NONE, 3), "the duplicate to be known")
    assert send(quick[successor], 6)[0] == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(quick[successor], 4) == (wire.NONE, 4)
    quick.start_nodes(leader)
    replicas.wait_in_sync(quick, topic, {0: {leader, follower, other}})
    tool("LeaderElectionCommand", "--bootstrap-server", quick.bootstrap, "--election-type", "preferred",
         "--topic", topic, "--partition", "0")  # fmt: skip
    wait_until(lambda: send(quick[leader], 4) == (wire.NONE, 4), "the first leader to know it too")
    assert send(quick[leader], 5) == (wire.NONE, 5)
    assert consumed(quick, topic) == [b"%d" % n for n in range(6)]
    replicas.assert_identical(quick, topic, 0, {leader, follower, other})


# Replicas that are added.
def configs_tool(cluster: Cluster, *words: str) -> str:
    return tool("kafka.admin.ConfigCommand", "--bootstrap-server", cluster.bootstrap, *words).stdout.decode()


RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
THROTTLED = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")


def test_throttled_catch_up(quick, topic_name, report):
    """A replica that is throttled takes its time to be added; an unthrottled one between the same brokers goes on."""
    mebibytes, rate = 8, 1 << 20
    leader, _, added = roles(quick)
    slow = replicas.create(quick, f"{topic_name}-slow", {0: [leader]})
    tail = replicas.create(quick, f"{topic_name}-tail", {0: [leader, added]}, {"min.insync.replicas": "2"})
    count = (mebibytes << 20) // 50_000
    CONFLUENT.produce(quick.bootstrap, slow, [Record(bytes(50_000)) for _ in range(count)], batch_bytes=200_000)

    brokers = ("--entity-type", "brokers", "--entity-name")
    topics = ("--entity-type", "topics", "--entity-name", slow)
    for node_id, name in zip((leader, added), RATES):
        configs_tool(quick, "--alter", *brokers, str(node_id), "--add-config", f"{name}={rate}")
    configs_tool(quick, "--alter", *topics, "--add-config", f"{THROTTLED[0]}=0:{leader},{THROTTLED[1]}=0:{added}")
    for node_id, name in zip((leader, added), RATES):
        assert f"{name}={rate} " in configs_tool(quick, "--describe", *brokers, str(node_id))
    told = configs_tool(quick, "--describe", *topics)
    assert f"{THROTTLED[0]}=0:{leader} " in told and f"{THROTTLED[1]}=0:{added} " in told, told

    loader = ConfluentLoader("tail", tail, 1)
    loader.bootstrap, loader.per_second = quick.bootstrap, PER_SECOND
    loader.start()
    try:
        wait_until(lambda: loader.acknowledged() > 0, "the load at the tail")
        began, before = time.monotonic(), loader.acknowledged()
        KadmAdmin(quick.bootstrap)._run("alter_assignment", topic=slow, assignment={"0": [leader, added]})
        replicas.wait_in_sync(quick, slow, {0: {leader, added}})
        took, acknowledged = time.monotonic() - began, loader.acknowledged() - before
        loader.finish()
    finally:
        loader.abandon()
    report(bytes=mebibytes << 20, rate=rate, took_s=round(took, 2), acknowledged_at_the_tail=acknowledged)
    # A lower bound: a throttle may let one full answer through before it counts it.
    assert took >= (mebibytes - 2) * (1 << 20) / rate, f"{mebibytes} MiB at {rate} bytes/s within {took:.1f} s"
    assert acknowledged > 1000, f"records acknowledged at the tail while the other caught up: {acknowledged}"
    replicas.assert_identical(quick, slow, 0, {leader, added})

    for node_id, name in zip((leader, added), RATES):
        configs_tool(quick, "--alter", *brokers, str(node_id), "--delete-config", name)
        assert name not in configs_tool(quick, "--describe", *brokers, str(node_id))
    configs_tool(quick, "--alter", *topics, "--delete-config", ",".join(THROTTLED))
    told = configs_tool(quick, "--describe", *topics)
    assert not [name for name in THROTTLED if name in told], told


def test_replica_is_added_by_reassignment(quick, topic_name, tmp_path):
    """kafka-reassign-partitions adds a replica and takes another away, under a load; the new one has all of it.

    kafka-replica-verification, which compares replicas by itself, agrees.
    """
    leader, follower, other = roles(quick)
    topic = replicas.create(quick, topic_name, {0: [leader, follower]})
    loader = ConfluentLoader("moved", topic, 1)
    loader.bootstrap, loader.per_second = quick.bootstrap, PER_SECOND
    loader.start()

    def reassign(to: list[int]):
        plan = tmp_path / "plan.json"
        plan.write_text(
            json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": to}]})
        )
        words = ("--bootstrap-server", quick.bootstrap, "--reassignment-json-file", str(plan))
        tool("reassign.ReassignPartitionsCommand", *words, "--execute")
        completed = f"Reassignment of partition {topic}-0 is completed".encode()
        verified = lambda: completed in tool("reassign.ReassignPartitionsCommand", *words, "--verify").stdout  # noqa: E731
        wait_until(verified, f"the reassignment to {to} to be completed")
        replicas.wait_in_sync(quick, topic, {0: set(to)})

    try:
        wait_until(lambda: loader.acknowledged() > 1000, "some records")
        reassign([leader, follower, other])
        reassign([leader, other])
        gone = lambda: not replicas.directories(quick[follower], topic, 0)  # noqa: E731
        wait_until(gone, "the replica that was taken away to be gone from its broker")
        loader.finish()
    finally:
        loader.abandon()
    replicas.assert_identical(quick, topic, 0, {leader, other})
    verify(quick, loader)
    assert max_lag(quick, topic) == 0


def max_lag(cluster: Cluster, topic: str) -> int:
    """What kafka-replica-verification reports first; it goes on for ever."""
    command = java(f"{TOOLS}ReplicaVerificationTool", "--broker-list", cluster.bootstrap, "--topics-include", topic,
                   "--report-interval-ms", "500")  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"max lag is (-?\d+) for partition (\S+)", line):
                    return int(found[1])
        finally:
            process.kill()
    raise AssertionError("kafka-replica-verification ended without a report")
